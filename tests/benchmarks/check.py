"""Measure what ``clusterkit check`` finds, its speed, and its detection of off-topic images.

    python -m tests.benchmarks.check planted --seeds 3
    python -m tests.benchmarks.check clean
    python -m tests.benchmarks.check speed --images 10000
    python -m tests.benchmarks.check offtopic STORE

The limits were chosen on half of species10, and on anime5, near_dup and MNIST; ``planted`` and
``clean`` use cat_dog_wild, imbalanced10, afhq_faces and posters700.  The score of off-topic images
was chosen on every second of the 70 species of the stored vectors, in order of name, and confirmed
on the other half.  ``offtopic`` measures on the embeddings of species10 in a store, and prints for
each share the mean over both kinds of strangers.
"""

import io
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageFilter
from sklearn.metrics import average_precision_score

import clusterkit as ck
from clusterkit.datasets.labels import labels_from_folders
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import read_bytes
from clusterkit.preparation import KINDS, score_off_topic
from clusterkit.preparation.file_inspection import decoding_size, inspect_files
from clusterkit.preparation.off_topic import OFF_TOPIC
from clusterkit.utils.parallel import map_ahead

SHARED = Path(os.environ.get("CLUSTERKIT_SHARED", "../shared"))
SETS = ("cat_dog_wild", "imbalanced10", "afhq_faces", "posters700")
N_PHOTOS, N_OF_KIND = 500, 4
# Kinds of pairs, of which either image may be listed.
PAIRS = ("duplicate", "near-copy", "two-labels", "two-sides")


def photos_of(name: str) -> list[Path]:
    """Return the photos of a set."""
    return sorted((SHARED / "data" / name).rglob("*.jp*g"))


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """Encode an image, and return the content of the file."""
    content = io.BytesIO()
    image.save(content, kind, **({"quality": 92} if kind == "JPEG" else {}) | options)
    return content.getvalue()


def expose(image: Image.Image, gain: float, *, flare: float = 0.0) -> Image.Image:
    """Change the exposure of a photo in linear light, and clip it; flare lifts the blacks."""
    light = ((np.asarray(image) / 255.0) ** 2.2 + flare) * gain
    return Image.fromarray(np.round(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8))


def harm(kind: str, file: Path, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return the suffix and the content of a file with a fault, made from a photo."""
    data = file.read_bytes()
    image = Image.open(file).convert("RGB")
    width, height = image.size
    choice = int(rng.integers(4))
    if kind == "unreadable":
        page = b"<!DOCTYPE html><html>404 Not Found</html>"
        return ".jpg", [page, b"", rng.bytes(5_000), bytes(5_000)][choice]
    if kind == "truncated":
        whole, suffix = [(data, ".jpg"), (encode(image, "PNG"), ".png")][choice % 2]
        return suffix, whole[: int(rng.uniform(0.3, 0.95) * len(whole))]
    if kind == "suffix":
        kinds = [("PNG", ".jpg"), ("JPEG", ".png"), ("WEBP", ".jpg"), ("GIF", ".png")]
        return kinds[choice][1], encode(image, kinds[choice][0])
    if kind == "tiny":
        side = int(rng.integers(12, 40))
        return ".png", encode(image.resize((side, side)), "PNG")
    if kind == "single-colour":
        colour = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (30, 90, 200)][choice]
        return ".jpg", encode(Image.new("RGB", image.size, colour))
    if kind == "aspect":
        part = image.crop((0, height // 3, width, height // 3 + int(width / rng.uniform(5, 9))))
        return ".jpg", encode(part.transpose(Image.Transpose.ROTATE_90) if choice % 2 else part)
    if kind == "animated":
        name = ["GIF", "PNG", "WEBP", "TIFF"][choice]
        frames = [image.rotate(angle) for angle in (5, 10)]
        return f".{name.lower()}", encode(image, name, save_all=True, append_images=frames)
    if kind == "oversized":
        return ".jpg", encode(image.resize((7_000, 6_200)), quality=75)
    if kind == "blurred":
        radius = rng.uniform(2.5, 6) * min(image.size) / 224
        blurs = [ImageFilter.GaussianBlur(radius), ImageFilter.BoxBlur(2 * radius)]
        return ".jpg", encode(image.filter(blurs[choice % 2]))
    if kind == "dark":
        return ".jpg", encode(expose(image, 2.0 ** rng.uniform(-8, -6)))
    if kind == "blown-out":
        # Exposed until 95 % of the pixels are white; lens flare lifts the others.
        low = np.quantile(np.asarray(image.convert("L")), 0.05)
        gain = (255 / max(low, 4)) ** 2.2
        return ".jpg", encode(expose(image, gain, flare=0.1 / gain))
    if kind == "near-copy":
        copies = [
            image.resize((width // 2, height // 2)),
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            expose(image, 1.3),
            image,
        ]
        return ".jpg", encode(copies[choice], quality=60)
    # The same file in another place.
    return ".jpg", data


def plant(folder: Path, seed: int) -> dict[str, list[str]]:
    """Write photos in two parts of a folder, plant faults, and return their paths by kind."""
    rng = np.random.default_rng(seed)
    everything = [file for name in SETS for file in photos_of(name)]
    kinds = [kind for kind in KINDS if kind != "off-topic"]
    n_faults = N_OF_KIND * len(kinds)
    drawn = [everything[row] for row in rng.permutation(len(everything))[: N_PHOTOS + n_faults]]
    places: list[Path] = []
    for row, file in enumerate(drawn[:N_PHOTOS]):
        of_set = file.relative_to(SHARED / "data").parts
        part = "test" if row % 5 == 0 else "train"
        place = folder / part / f"{of_set[0]}-{of_set[1]}" / f"photo-{row}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
        places.append(place)
    originals = [place for place in rng.permutation(np.array(places)) if place.parts[-3] == "train"]
    planted: dict[str, list[str]] = {kind: [] for kind in kinds}
    for number, (kind, file) in enumerate(
        zip(np.repeat(kinds, N_OF_KIND).tolist(), drawn[N_PHOTOS:], strict=True)
    ):
        near = Path(originals[number])
        suffix, content = harm(kind, near if kind in PAIRS else file, rng)
        place = near.with_name(f"fault-{number}{suffix}")
        if kind == "two-labels":
            others = sorted(p for p in near.parents[1].iterdir() if p != near.parent)
            place = others[int(rng.integers(len(others)))] / place.name
        if kind == "two-sides":
            place = folder / "test" / near.parent.name / place.name
            place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        planted[kind].append(place.relative_to(folder).as_posix())
    return planted


@click.group()
def main() -> None:
    """Measure the check."""


@main.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--first", default=0, show_default=True)
def planted(seeds: int, first: int) -> None:
    """Plant faults in 500 photos, and count which are found, and the false alarms."""
    for seed in range(first, first + seeds):
        with tempfile.TemporaryDirectory() as name:
            faults = plant(Path(name), seed)
            found = ck.check(name, store=Path(name) / "none")
        kind_of = {path: kind for kind, paths in faults.items() for path in paths}
        seen = {(f.kind, path) for f in found.findings for path in (f.path, f.related)}
        missed = [pair for pair in kind_of.items() if pair[::-1] not in seen]
        own = [f for f in found.findings if kind_of.get(f.path, kind_of.get(f.related)) == f.kind]
        others = [f for f in found.findings if f not in own]
        alarms = [f for f in others if f.path not in kind_of and f.related not in kind_of]
        n = len(kind_of)
        print(f"seed {seed}: {n - len(missed)} of {n} faults of {len(faults)} kinds, ", end="")
        print(f"{len(alarms)} false alarms, {len(others) - len(alarms)} more of planted files")
        for path, kind in missed:
            print(f"   missed {kind}: {path}")
        for finding in others:
            what = "false alarm" if finding in alarms else f"also ({kind_of.get(finding.path)})"
            print(f"   {what} {finding.kind}: {finding.path} {finding.related} {finding.detail}")


@main.command()
def clean() -> None:
    """Check the unchanged sets, and print all findings: real faults, or false alarms."""
    for name in SETS:
        found = ck.check(SHARED / "data" / name, store="none")
        print(f"{name}: {len(found.paths)} images, {found.counts}", *found.notes[:-1])
        for finding in found.findings:
            print(f"   {finding.kind}: {finding.path} {finding.related} ({finding.detail})")


def enlarge(files: list[Path], side: int, folder: Path) -> None:
    """Write photos whose longer side has ``side`` pixels; with 0, copies of the files."""
    for number, file in enumerate(files):
        if not side:
            shutil.copy(file, folder / f"{number}.jpg")
            continue
        image = Image.open(file).convert("RGB")
        scale = side / max(image.size)
        size = round(scale * image.width), round(scale * image.height)
        place = folder / f"{number}.jpg"
        place.write_bytes(encode(image.resize(size, Image.Resampling.LANCZOS)))


def time_of(run: Callable[[], object]) -> tuple[float, float]:
    """Return the wall time and the CPU time of a call, in seconds."""
    start, busy = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - busy


def decode_reduced(file: Path) -> None:
    """Read and decode a file in the size that the check uses."""
    data = read_bytes(file)
    decode_image(data, decoding_size(data))


def decode_with_pillow(file: Path) -> None:
    """Read and decode a file as a script would."""
    with Image.open(file) as image:
        image.convert("RGB")


@main.command()
@click.option("--images", default=10_000, show_default=True)
@click.option(
    "--side", default=1_024, show_default=True, help="Longer side of the photos; 0 for their own."
)
@click.option("--rounds", default=3, show_default=True)
def speed(images: int, side: int, rounds: int) -> None:
    """Compare the speed of the check with that of decoding alone, on photos of one size."""
    names = [*SETS, "species10", "anime5", "near_dup/ukbench", "near_dup/holidays"]
    files = [file for name in names for file in photos_of(name)]
    files = [files[row] for row in np.random.default_rng(0).permutation(len(files))]
    found = Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        enlarge(files[:images], side, folder)
        made = sorted(folder.iterdir())

        def decode_all(decode: Callable[[Path], object]) -> None:
            for _ in map_ahead(decode, made, ahead=64):
                pass

        def look_at_all() -> None:
            for _ in inspect_files(made):
                pass

        runs: dict[str, Callable[[], object]] = {
            "decoded by Pillow": lambda: decode_all(decode_with_pillow),
            "decoded in full": lambda: decode_all(lambda file: decode_image(read_bytes(file))),
            "decoded in the size of the check": lambda: decode_all(decode_reduced),
            "looked at": look_at_all,
            "checked": lambda: found.update(ck.check(folder, store=folder / "none").counts),
        }
        # Run in turns, and keep the best time of each, since other processes may use the cores.
        seconds: dict[str, list[tuple[float, float]]] = {what: [] for what in runs}
        for _ in range(rounds):
            for what, run in runs.items():
                seconds[what].append(time_of(run))
    size = f"{side} pixels" if side else "their own size"
    print(f"{len(made)} photos of {size}, in images a second (and a second of a core):")
    best = {what: np.min(times, axis=0) for what, times in seconds.items()}
    for what, times in best.items():
        rates = [f"{len(made) / one:,.0f}" for one in times]
        ratios = [f"{one:.2f}" for one in times / best["checked"]]
        print(
            f"   {what}: {rates[0]} ({rates[1]}); checked {ratios[0]} ({ratios[1]}) times as fast"
        )


def contaminate(
    labels: np.ndarray, name: str, share: float, n_others: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a folder with a share of strangers, and which rows are strangers."""
    own = np.flatnonzero(labels == name)
    n = max(1, round(share / (1 - share) * len(own)))
    others = rng.permutation([other for other in np.unique(labels) if other != name])
    pool = np.concatenate([np.flatnonzero(labels == other) for other in others[:n_others]])
    strangers = rng.choice(pool, min(n, len(pool)), replace=False)
    return np.r_[own, strangers], np.r_[np.zeros(len(own)), np.ones(len(strangers))]


def draws(labels: np.ndarray, seeds: int) -> Iterator[tuple[float, str, str, int]]:
    """Yield the share, the kind of strangers, the class and the seed of each folder."""
    for share in (0.1, 0.3):
        for kind in ("of one class", "of all others"):
            for name in np.unique(labels):
                for seed in range(seeds):
                    yield share, kind, str(name), seed


@main.command()
@click.argument("store", type=click.Path(exists=True))
@click.option("--seeds", default=3, show_default=True)
def offtopic(store: str, seeds: int) -> None:
    """Plant images of other classes in the folder of one, alone or beside the other folders."""
    embeddings = ck.Store(store).read()
    labels = np.array(labels_from_folders(embeddings.paths))
    vectors = np.asarray(embeddings)
    found: dict[tuple[float, str], list[list[float]]] = {}
    for share, kind, name, seed in draws(labels, seeds):
        rng = np.random.default_rng(seed)
        n_others = 1 if kind == "of one class" else len(labels)
        rows, is_strange = contaminate(labels, name, share, n_others, rng)
        alone = score_off_topic(vectors[rows], ["folder"] * len(rows))
        # Strangers are removed from their own folders.
        beside = np.setdiff1d(np.flatnonzero(labels != name), rows)
        folders = ["folder"] * len(rows) + labels[beside].tolist()
        scores = score_off_topic(vectors[np.r_[rows, beside]], folders)[: len(rows)]
        figures = [average_precision_score(is_strange, one) for one in (alone, scores)]
        figures += [(one >= OFF_TOPIC)[is_strange == 1].mean() for one in (alone, scores)]
        found.setdefault((share, kind), []).append(figures)
    for (share, kind), figures in found.items():
        mean = np.mean(figures, axis=0)
        worst = np.min(np.reshape([one[:2] for one in figures], (-1, seeds, 2)).mean(1), axis=0)
        print(
            f"{share:.0%} {kind}: average precision {mean[0]:.3f} alone (worst class "
            f"{worst[0]:.3f}), {mean[1]:.3f} beside the others ({worst[1]:.3f}); called off-topic "
            f"{mean[2]:.2f} and {mean[3]:.2f} of them"
        )
    for share in sorted({share for share, _ in found}):
        both = [figures for (one, _), figures in found.items() if one == share]
        mean = np.mean(both, axis=(0, 1))
        print(f"{share:.0%} of either kind: {mean[0]:.3f} alone, {mean[1]:.3f} beside the others")
    clean_scores = score_off_topic(vectors, labels.tolist())
    alarms = Counter(labels[clean_scores >= OFF_TOPIC].tolist())
    n_alarms = sum(alarms.values())
    print(f"clean folders: {n_alarms} of {len(labels)} images called off-topic {dict(alarms)}")


if __name__ == "__main__":
    main()
