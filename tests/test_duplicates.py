"""Copies of a picture are found in any size, quality and format; other pictures are not copies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from clusterkit.datasets import copy_candidates
from clusterkit.datasets.copies import (
    CopyGroup,
    find_copies,
    group_copies,
    make_thumbnails,
    pair_likely_copies,
)
from clusterkit.datasets.copy_confirmation import Comparison
from clusterkit.errors import InvalidInputError
from clusterkit.images.folder import ImageFolder


def landscape(seed: int, side: int = 96) -> Image.Image:
    """Return a picture of smooth random shapes."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Return a picture of shapes of several sizes, with more contrast in coarse ones."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3))
    for side, strength in ((4, 60), (9, 35), (20, 20)):
        coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        pixels += strength / 128 * (np.asarray(coarse.resize(size, 3), float) - 127.5)
    return Image.fromarray(np.clip(pixels + 127.5, 0, 255).astype(np.uint8))


def groups_of(images: list[Image.Image], **options: Any) -> list[CopyGroup]:
    """Group pictures after resizing them to one shape."""
    pixels = np.stack([np.asarray(image.resize((128, 128), 3)) for image in images])
    return group_copies(pixels, make_thumbnails(pixels), **options)


CHANGES: dict[str, Callable[[Image.Image, Path], None]] = {
    "equal.png": lambda image, file: image.save(file),
    "poor.jpg": lambda image, file: image.save(file, quality=20),
    "small.png": lambda image, file: image.resize((50, 50)).save(file),
    "large.webp": lambda image, file: image.resize((200, 200)).save(file),
    "dark.png": lambda image, file: ImageEnhance.Brightness(image).enhance(0.6).save(file),
    "grey.png": lambda image, file: image.convert("L").save(file),
    "mirrored.png": lambda image, file: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file),
}
EDITS: dict[str, tuple[Callable[[Image.Image], Image.Image], str]] = {
    "crop": (lambda image: image.crop((0, 15, 140, 120)), "cropped to 7"),
    "crop from the middle": (lambda image: image.crop((20, 15, 140, 105)), "cropped to 5"),
    "mirrored": (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "mirrored"),
    "upside down": (
        lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        "mirrored, turned by 180°",
    ),
    "turned": (lambda image: image.rotate(25, Image.Resampling.BICUBIC), "turned by 25°"),
    "turned a little": (lambda image: image.rotate(-5, Image.Resampling.BICUBIC), "turned by 5°"),
    "on its side": (lambda image: image.transpose(Image.Transpose.ROTATE_90), "turned by 90°"),
    "on white": (
        lambda image: image.rotate(10, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255)),
        "turned by 10°",
    ),
    "square": (lambda image: image.resize((120, 120)), "stretched"),
    "bright": (lambda image: ImageEnhance.Brightness(image).enhance(1.3), "saved again"),
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
    # Fine detail, since blocks of eight pixels matter; sides are not multiples of eight.
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


def test_images_to_compare_may_come_in_any_form(tmp_path: Path) -> None:
    for number, seed in enumerate((0, 1, 0)):
        landscape(seed).save(tmp_path / f"{number}.png")
    images = ImageFolder(tmp_path)
    pixels = [np.asarray(landscape(seed)) for seed in (0, 1, 0)]
    for given in (images, iter(images.files), pd.Series(images.files, range(3, 6)), pixels):
        assert find_copies(given) == [(0, 2)]  # type: ignore[arg-type]
    assert [group.kept for group in group_copies(images)] == [0]
    # A path is no list of its characters, and 0.5 of 1 is no grey value.
    for find in (find_copies, group_copies):
        with pytest.raises(InvalidInputError, match="images must be several"):
            find(str(tmp_path))
        with pytest.raises(InvalidInputError, match=r"must be uint8.*Received: float64"):
            find(np.stack(pixels) / 255)


def test_vectors_have_digests_only() -> None:
    vectors: NDArray[np.float32] = np.eye(4, 100, dtype=np.float32)[[0, 1, 0]]
    assert find_copies(vectors) == [(0, 2)]  # type: ignore[arg-type]
    assert find_copies([]) == []


@pytest.mark.parametrize("n", [2, 4])
def test_vectors_of_other_images_are_refused(n: int) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (3, 48, 48, 3)).astype(np.uint8)
    for find in (find_copies, group_copies):
        with pytest.raises(InvalidInputError, match=f"one vector per image.*{n} vectors, 3 images"):
            find(pictures, vectors=np.ones((n, 5), np.float32))


def test_a_split_knows_a_copy_most_of_which_is_overexposed(shared: Path, tmp_path: Path) -> None:
    file = shared / "data/imbalanced10/cassette_player/n02979186_11883.jpg"
    with Image.open(file) as image:
        ImageEnhance.Brightness(image).enhance(1.2).save(tmp_path / "bright.jpg", quality=92)
    files = [file, tmp_path / "bright.jpg"]
    assert pair_likely_copies(files, make_thumbnails(files)) == [(0, 1)]


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


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_is_found_and_described(edit: str, tmp_path: Path) -> None:
    change, how = EDITS[edit]
    files = [tmp_path / f"{seed}.png" for seed in range(8)]
    for seed, file in enumerate(files):
        scene(seed).save(file)
    change(scene(5)).save(tmp_path / "copy.jpg", quality=90)
    files.append(tmp_path / "copy.jpg")
    [(kept, [copy])] = group_copies(files, make_thumbnails(files))
    assert (kept, copy.row) == (5, 8)
    assert how in copy.how
    assert 0.95 <= copy.likeness <= 1


def test_every_copy_was_compared_with_the_image_that_is_kept() -> None:
    # A chain: each step to the right shows three quarters of the previous one.
    wide = scene(1, (400, 128))
    steps = [wide.crop((left, 0, left + 128, 128)) for left in range(0, 256, 24)]
    pixels = np.stack([np.asarray(step) for step in steps])
    groups = group_copies(pixels, make_thumbnails(pixels))
    assert len(groups) > 1
    for kept, found in groups:
        for copy in found:
            # They have at least a fifth of the picture in common.
            assert abs(copy.row - kept) <= 4


def test_copies_of_a_copy_join_the_image_that_is_kept() -> None:
    whole = scene(1, (256, 256))
    images = [whole.crop(box) for box in ((0, 0, 200, 200), (0, 0, 256, 256), (56, 56, 256, 256))]
    for order in ([1, 0, 2], [1, 2, 0]):
        [(kept, copies)] = groups_of(images, order=order)
        assert (kept, [copy.row for copy in copies]) == (1, [0, 2])


def test_of_a_long_film_only_near_frames_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two scenes side by side, seen through a moving window.
    film = np.concatenate([np.asarray(scene(seed, (96, 96))) for seed in range(14)], axis=1)
    frames = np.stack([film[:, 6 * row : 6 * row + 96] for row in range(200)])
    n_compared = 0

    confirm = Comparison.confirm

    def count(comparison: Comparison, candidates: Any, **options: Any) -> Any:
        nonlocal n_compared
        n_compared += len(candidates.pairs)
        return confirm(comparison, candidates, **options)

    monkeypatch.setattr(Comparison, "confirm", count)
    groups = group_copies(frames, make_thumbnails(frames))
    assert len(groups) > 5
    assert n_compared < 4 * len(frames)


def test_the_order_says_what_is_kept() -> None:
    images = [scene(1), scene(2), scene(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT), scene(1)]
    assert [group.kept for group in groups_of(images)] == [0]
    [(kept, copies)] = groups_of(images, order=[2, 1, 3, 0])
    assert kept == 2
    assert [(copy.row, copy.how) for copy in copies] == [(0, "mirrored"), (3, "mirrored")]
    [(kept, copies)] = groups_of(images, order=[3, 2, 1, 0])
    assert [copy[:2] for copy in copies] == [(0, "equal"), (2, "mirrored")]


def test_a_pair_that_is_no_copy_is_no_link() -> None:
    images = [scene(1), scene(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    pixels = np.stack([np.asarray(image) for image in images])
    thumbnails = make_thumbnails(pixels)
    apart = [(min(pair), max(pair)) for pair in [[one.digest for one in thumbnails]]]
    assert group_copies(pixels, thumbnails)
    assert not group_copies(pixels, thumbnails, apart=apart)


def test_another_picture_in_the_same_frame_is_no_copy() -> None:
    frame = Image.new("RGB", (128, 128), "white")
    images = []
    for seed in range(6):
        framed = frame.copy()
        framed.paste(scene(seed, (70, 70)), (29, 29))
        images += [framed, framed.rotate(20)]
    groups = groups_of(images)
    assert [(kept, [copy.row for copy in copies]) for kept, copies in groups] == [
        (row, [row + 1]) for row in range(0, 12, 2)
    ]


def test_marks_on_a_plain_ground_are_no_copies() -> None:
    marks = []
    for place in ((30, 40), (80, 20), (60, 90), (20, 100)):
        mark = Image.new("RGB", (128, 128), "white")
        mark.paste("black", (*place, place[0] + 9, place[1] + 9))
        marks.append(mark)
    assert not groups_of(marks)


def test_the_same_object_in_another_colour_is_another_picture(tmp_path: Path) -> None:
    files = []
    for name, colour in (("a", "green"), ("b", "red"), ("c", "green")):
        image = Image.new("RGB", (240, 200), "white")
        shade = scene(1, (120, 140)).convert("L")
        shirt = ImageOps.colorize(shade, (20, 20, 20), colour)  # type: ignore[no-untyped-call]
        image.paste(shirt, (60, 30))
        image = ImageEnhance.Color(image).enhance(1 if name == "a" else 0.8)
        files.append(tmp_path / f"{name}.jpg")
        image.save(files[-1])
    assert find_copies(files) == [(0, 2)]
    # A split keeps them together, so that no shape is in both parts.
    assert pair_likely_copies(files, make_thumbnails(files)) == [(0, 1), (0, 2), (1, 2)]
    Image.open(files[0]).convert("L").save(tmp_path / "grey.jpg")
    files.append(tmp_path / "grey.jpg")
    assert {(0, 3), (1, 3)} <= set(find_copies(files))


def test_a_copy_may_differ_in_corners_that_are_nearly_plain(tmp_path: Path) -> None:
    pixels = np.full((256, 256), 120.0)
    pixels[64:192, 64:192] = np.asarray(scene(2, (128, 128)).convert("L"))
    ramp = np.broadcast_to(np.linspace(-8, 8, 32), (32, 32))
    files = []
    for name, shade in (("a", ramp), ("b", 0.6 * ramp + 0.8 * ramp.T)):
        for corner in (slice(0, 32), slice(224, 256)):
            pixels[corner, corner] = 120 + shade
        files.append(tmp_path / f"{name}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(files[-1])
    assert find_copies(files) == [(0, 1)]


def test_an_edit_of_a_part_is_another_picture() -> None:
    changed = scene(1)
    changed.paste(scene(2, (80, 60)), (40, 30))
    assert not groups_of([scene(1), changed])


def test_a_file_that_is_gone_meanwhile_is_no_copy(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    scene(1).save(files[0])
    scene(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(files[1])
    thumbnails = make_thumbnails(files)
    assert group_copies(files, thumbnails)
    files[1].unlink()
    assert not group_copies(files, thumbnails)


def test_many_images_are_searched_by_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [scene(seed, (64, 64)) for seed in range(150)]
    images += [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images[::10]]
    whole = groups_of(images)
    monkeypatch.setattr(copy_candidates, "_MAX_EXACT", 10)
    monkeypatch.setattr(copy_candidates, "_BATCH_SIZE", 40)
    assert groups_of(images) == whole
    assert [(kept, copies[0].row) for kept, copies in whole] == [
        (10 * number, 150 + number) for number in range(15)
    ]


def test_a_search_by_parts_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(copy_candidates, "_MAX_EXACT", 100)
    vectors = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    assert len(copy_candidates.find_near(vectors))
    # faiss writes to the streams of the process.
    assert capfd.readouterr() == ("", "")


def test_near_vectors_are_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.stack([np.asarray(scene(seed, (64, 64))) for seed in (0, 1, 2, 1)])
    pixels[3] = pixels[3, :, ::-1]
    vectors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0.1]], np.float32)
    near = copy_candidates.find_near(vectors)
    assert [1, 3] in near.tolist()
    pictures = np.array([thumbnail.picture for thumbnail in make_thumbnails(pixels)])
    shapes = np.full((4, 2), 64)
    # As if there were many images with more similar discs.
    monkeypatch.setattr(
        copy_candidates,
        "_make_search",
        lambda _, **__: lambda wanted: np.full((len(wanted), 1), -1),
    )
    assert not len(copy_candidates.find_candidates(pictures, shapes).pairs)
    assert copy_candidates.find_candidates(pictures, shapes, near).pairs.tolist() == [[1, 3]]


@pytest.mark.parametrize("n", [2, 5, 6, 90, 300])
def test_the_nearest_vectors_are_found_in_groups(n: int) -> None:
    vectors = np.random.default_rng(n).standard_normal((n, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = np.argsort(-vectors @ vectors.T, axis=1)[:, : min(n, 5)]
    expected = {(min(a, b), max(a, b)) for a, row in enumerate(nearest) for b in row if a != b}
    assert set(map(tuple, copy_candidates.find_near(vectors).tolist())) == expected


def test_vectors_of_many_dimensions_and_of_failures_are_searched() -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 2048)).astype(np.float32)
    vectors[7], vectors[20] = vectors[3] * 2, 0
    near = copy_candidates.find_near(vectors).tolist()
    assert [3, 7] in near
    assert not any(20 in pair for pair in near)


@pytest.mark.parametrize("name", ["species10", "posters700", "anime5"])
def test_edited_photos_are_linked_to_their_originals_only(
    shared: Path, tmp_path: Path, name: str
) -> None:
    files = sorted((shared / "data" / name).rglob("*.jpg"))[5::40][:12]
    own = len(files)
    for row, file in enumerate(files[:own]):
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        width, height = image.size
        edits = [
            image.crop((0, height // 8, width * 7 // 8, height)),
            image.rotate(25, Image.Resampling.BICUBIC),
            image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((width // 2, height // 2)),
        ]
        for number, edit in enumerate(edits):
            files.append(tmp_path / f"{row:02}-{number}.jpg")
            edit.save(files[-1], quality=60)
    groups = group_copies(files, make_thumbnails(files))
    wanted = [(row, [own + 3 * row + number for number in range(3)]) for row in range(own)]
    assert [(kept, [copy.row for copy in copies]) for kept, copies in groups] == wanted
