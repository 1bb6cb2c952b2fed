"""Copies of a picture are found in any size, quality and format; other pictures are none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from clusterkit.datasets.copies import find_copies, make_thumbnails
from clusterkit.images.folder import ImageFolder


def landscape(seed: int, side: int = 96) -> Image.Image:
    """Return a picture of smooth random shapes."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


CHANGES: dict[str, Callable[[Image.Image, Path], None]] = {
    "equal.png": lambda image, file: image.save(file),
    "poor.jpg": lambda image, file: image.save(file, quality=20),
    "small.png": lambda image, file: image.resize((50, 50)).save(file),
    "large.webp": lambda image, file: image.resize((200, 200)).save(file),
    "dark.png": lambda image, file: ImageEnhance.Brightness(image).enhance(0.6).save(file),
    "grey.png": lambda image, file: image.convert("L").save(file),
    "mirrored.png": lambda image, file: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_copy_is_found(name: str, tmp_path: Path) -> None:
    files = []
    for seed in range(6):
        files.append(tmp_path / f"{seed}.png")
        landscape(seed).save(files[-1])
    files.append(tmp_path / name)
    CHANGES[name](landscape(4), files[-1])
    assert find_copies(files) == [(4, 6)]


@pytest.mark.parametrize("scale", [0.9, 0.55, 1.1, 2.3])
@pytest.mark.parametrize("shape", [(224, 224), (1023, 767), (181, 256)])
def test_a_jpeg_in_another_size_looks_the_same(
    shape: tuple[int, int], scale: float, tmp_path: Path
) -> None:
    # Fine detail, since blocks of eight pixels matter; sides that are no multiples of eight.
    coarse = np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(shape, Image.Resampling.NEAREST)
    image.save(tmp_path / "a.jpg", quality=92)
    size = round(shape[0] * scale), round(shape[1] * scale)
    image.resize(size, Image.Resampling.LANCZOS).save(tmp_path / "b.jpg", quality=92)
    one, other = make_thumbnails([tmp_path / "a.jpg", tmp_path / "b.jpg"])
    assert one.picture is not None
    assert other.picture is not None
    assert np.corrcoef(one.picture.ravel(), other.picture.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", ["species10", "cat_dog_wild"])
def test_photos_and_their_smaller_copies_are_linked(
    shared: Path, tmp_path: Path, name: str
) -> None:
    files = sorted((shared / "data" / name).rglob("*.jpg"))[::8]
    for number, file in enumerate(files):
        with Image.open(file) as image:
            size = image.width * 9 // 10, image.height * 9 // 10
            small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
            small.save(tmp_path / f"{number:03}.jpg", quality=90)
    pairs = find_copies([*files, *sorted(tmp_path.iterdir())])
    assert {(row, len(files) + row) for row in range(len(files))} <= set(pairs)


def test_all_copies_of_one_picture_are_linked(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.jpg" for number in range(30)]
    for number, file in enumerate(files):
        landscape(number % 2).save(file, quality=95 - number)
    pairs = find_copies(files)
    assert all((a - b) % 2 == 0 for a, b in pairs)
    linked = {0, 1}
    for _ in files:
        linked |= {row for pair in pairs for row in pair if linked & set(pair)}
    assert linked == set(range(30))


def test_pixels_are_compared_as_files_are() -> None:
    pictures = np.stack([np.asarray(landscape(seed)) for seed in (0, 1, 0)])
    pictures[2] //= 2
    assert find_copies(pictures) == [(0, 2)]
    grey = pictures.mean(axis=3, keepdims=True).astype(np.uint8)
    assert find_copies(grey) == [(0, 2)]


@pytest.mark.parametrize("side", [8, 32])
def test_small_pictures_are_copies_only_if_equal(side: int) -> None:
    pictures = np.stack([np.asarray(landscape(0, side))] * 3)
    pictures[1] //= 2
    assert find_copies(pictures) == [(0, 2)]


def test_pictures_of_one_tone_and_broken_files_are_like_no_other(tmp_path: Path) -> None:
    for level in (10, 11, 200):
        Image.new("L", (64, 64), level).save(tmp_path / f"{level}.png")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "empty.jpg").touch()
    files = [*ImageFolder(tmp_path).files, tmp_path / "gone.jpg"]
    assert find_copies(files) == []


def test_vectors_have_digests_only() -> None:
    vectors: NDArray[np.float32] = np.eye(4, 100, dtype=np.float32)[[0, 1, 0]]
    assert find_copies(vectors) == [(0, 2)]  # type: ignore[arg-type]
    assert find_copies([]) == []


def test_real_duplicates(shared: Path) -> None:
    images = ImageFolder(shared / "data/near_dup")
    names = [Path(path).name for path in images.paths]
    found = {frozenset((names[a], names[b])) for a, b in find_copies(images.files)}
    original = "ukbench00120.jpg"
    assert frozenset((original, "ukbench00120_hflip.jpg")) in found
    assert frozenset(("ukbench09268.jpg",)) in found  # the same file in two folders
    # ukbench00000 to 00003 and the like are different photos of one thing.
    others = {pair for pair in found if not any("00120" in name for name in pair)}
    assert others == {frozenset(("ukbench09268.jpg",))}


@pytest.mark.parametrize("name", ["species10", "cat_dog_wild", "imbalanced10"])
def test_photos_of_one_kind_are_no_copies(shared: Path, name: str) -> None:
    images = ImageFolder(shared / "data" / name)
    pairs = find_copies(images.files)
    assert len(pairs) <= 2, [(images.paths[a], images.paths[b]) for a, b in pairs]
