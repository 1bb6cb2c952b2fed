"""Measure how many copies of real photos are found, and how many other images are taken for copies.

    python -m tests.benchmarks.copies kinds SET... [--images 100] [--seed 0]
    python -m tests.benchmarks.copies originals SET...
    python -m tests.benchmarks.copies size [--images 100000]

The sets are folders in ``data`` of the shared files.  ``kinds`` adds copies of some images to each
set, and groups all images.  It omits the first 60 images in the random order of seed 0, on which
the thresholds were chosen.  ``originals`` groups the unchanged sets, and prints all groups.
``size`` groups crops of these images, 1 % of which are mirrored copies of others.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from clusterkit.datasets.copies import group_copies, make_thumbnails
from clusterkit.images.folder import ImageFolder

DATA = Path(os.environ.get("CLUSTERKIT_SHARED", "../shared")) / "data"
SETS = ("species10", "cat_dog_wild", "imbalanced10", "anime5", "posters700")
N_CHOSEN = 60


def copies_of(image: Image.Image, rng: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """Yield 11 copies of an image: the five of imagededup's transformed set, and six others."""
    width, height = image.size
    crop = round(width * 0.875), round(height * 0.875)
    left, top = int(rng.integers(width - crop[0] + 1)), int(rng.integers(height - crop[1] + 1))
    yield "crop", image.crop((left, top, left + crop[0], top + crop[1]))
    yield "mirrored", image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    yield "upside down", image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    angle = 25 if rng.random() < 0.5 else -25
    yield "turned 25°", image.rotate(angle, Image.Resampling.BICUBIC)
    # Stretched to a square; a square to 4:3.
    side = min(image.size)
    other = (side, side) if width != height else (width, round(width * 0.75))
    yield "other aspect", image.resize(other, Image.Resampling.LANCZOS)
    yield "JPEG 30", image
    yield "brighter", ImageEnhance.Brightness(image).enhance(1.2)
    yield "darker", ImageEnhance.Brightness(image).enhance(0.8)
    yield "half size", image.resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    left, top = round(0.05 * width), round(0.05 * height)
    yield "5 % cropped", image.crop((left, top, width - left, height - top))
    yield "turned 5°", image.rotate(5 if angle < 0 else -5, Image.Resampling.BICUBIC)


def measure_kinds(name: str, n_images: int, seed: int, into: Path) -> None:
    """Print the recall of each kind of copies in one set, and the precision."""
    folder = ImageFolder(DATA / name)
    files = list(folder.files)
    order = np.random.default_rng(0).permutation(len(files))[N_CHOSEN:]
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(order)[:n_images]
    family, kinds = list(range(len(files))), [""] * len(files)
    for row in chosen.tolist():
        with Image.open(files[row]) as opened:
            image = opened.convert("RGB")
        for kind, copy in copies_of(image, rng):
            file = into / f"{row:05}-{kind}.jpg"
            copy.save(file, quality=30 if kind == "JPEG 30" else 90)
            files.append(file)
            family.append(row)
            kinds.append(kind)
    start = time.perf_counter()
    thumbnails = make_thumbnails(files)
    read = time.perf_counter()
    groups = group_copies(files, thumbnails)
    grouped = time.perf_counter()
    group_of = {
        row: index
        for index, (kept, found) in enumerate(groups)
        for row in (kept, *(copy.row for copy in found))
    }
    found: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row in range(len(folder.files), len(files)):
        total[kinds[row]] += 1
        found[kinds[row]] += group_of.get(row, -1) == group_of.get(family[row], -2)
    links = [(group.kept, copy) for group in groups for copy in group.copies]
    wrong = [(kept, copy) for kept, copy in links if family[kept] != family[copy.row]]
    print(
        f"\n{name}: {len(files)} images, {sum(total.values())} copies; "
        f"read in {read - start:.1f} s, grouped in {grouped - read:.1f} s"
    )
    print(
        "  recall "
        + f"{sum(found.values()) / sum(total.values()):.3f}: "
        + ", ".join(f"{kind} {found[kind] / total[kind]:.2f}" for kind in total)
    )
    print(f"  {len(links)} links, {len(wrong)} between different files of the set")
    for kept, copy in wrong[:40]:
        names = f"{Path(files[kept]).name}  {Path(files[copy.row]).name}"
        print(f"    {names}  {copy.how}  {copy.likeness:.3f}")


def list_originals(name: str) -> None:
    """Print the groups of an unchanged set."""
    files = ImageFolder(DATA / name).files
    groups = group_copies(files, make_thumbnails(files))
    print(f"{name}: {len(files)} images, {len(groups)} groups")
    for kept, found in groups:
        for copy in found:
            print(f"  {files[kept]}\t{files[copy.row]}\t{copy.how}\t{copy.likeness:.3f}")


def measure_size(n_images: int) -> None:
    """Print the time to group crops of images, 1 % of which are mirrored copies."""
    tiles: list[np.ndarray] = []
    files = [file for name in SETS for file in ImageFolder(DATA / name).files]
    n_rows = max(1, round((0.99 * n_images / len(files)) ** 0.5))
    n_columns = -(-round(0.99 * n_images) // (n_rows * len(files)))
    for file in files:
        with Image.open(file) as opened:
            image = opened.convert("L")
        width, height = image.width // n_columns, image.height // n_rows
        for row in range(n_rows):
            for column in range(n_columns):
                box = column * width, row * height, (column + 1) * width, (row + 1) * height
                tiles.append(np.asarray(image.resize((64, 64), box=box)))
    rng = np.random.default_rng(0)
    n_copies = n_images // 100
    pictures = np.stack(tiles)[rng.permutation(len(tiles))[: n_images - n_copies], :, :, None]
    pictures = np.concatenate([pictures, pictures[:n_copies, :, ::-1]])
    thumbnails = make_thumbnails(pictures)
    start = time.perf_counter()
    groups = group_copies(pictures, thumbnails)
    seconds = time.perf_counter() - start
    links = {(kept, copy.row) for kept, found in groups for copy in found}
    wanted = {(row, len(pictures) - n_copies + row) for row in range(n_copies)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{len(pictures)} images of {n_rows} x {n_columns} parts: grouped in {seconds:.1f} s, "
        f"{len(wanted & links)} of {n_copies} copies, {len(links - wanted)} other links, "
        f"peak memory {peak:.2f} GiB"
    )


def main() -> None:
    """Run one of the measurements."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["kinds", "originals", "size"])
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.what == "size":
        measure_size(options.images or 100_000)
        return
    for name in options.sets:
        if options.what == "kinds":
            with tempfile.TemporaryDirectory() as into:
                measure_kinds(name, options.images or 100, options.seed, Path(into))
        elif options.what == "originals":
            list_originals(name)


if __name__ == "__main__":
    main()
