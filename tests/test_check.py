"""A check finds problems in gathered images, and moves files so that they can be moved back."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

import clusterkit as ck
from clusterkit.cli import main
from clusterkit.clustering import label
from clusterkit.clustering.cluster import cluster
from clusterkit.errors import InvalidInputError, NotFoundError, Notice, OutputExistsError
from clusterkit.images import decoding
from clusterkit.images.folder import ImageFolder, digest_file
from clusterkit.images.formats import fits_suffix, has_frames, name_format
from clusterkit.images.quality import may_be_extreme, measure_steepness, take_lines
from clusterkit.plots import CheckDisplay
from clusterkit.preparation import KINDS, faults, file_inspection, off_topic, score_off_topic
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store
from tests.image_writers import encode
from tests.kills import Killed, killed_at
from tests.odd_files import make_all
from tests.stores import SPACE

REPOSITORY = Path(__file__).parent.parent


def paint(seed: int, side: int = 96) -> Image.Image:
    """Return a picture of sharp fields with random colours."""
    fields = np.random.default_rng(seed).integers(20, 236, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(fields).resize((side, side), Image.Resampling.NEAREST)


def fill(folder: Path, n: int = 6, *, first: int = 0) -> Path:
    """Write different pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + n):
        paint(seed).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write six different pictures of cats and six of dogs."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "photos/cat")
    fill(tmp_path / "photos/dog", first=100)
    return tmp_path / "photos"


def kinds_of(found: Any) -> dict[str, list[str]]:
    """Return the paths of each kind of finding."""
    return {kind: [finding.path for finding in found.of_kind(kind)] for kind in found.counts}


def grey(values: NDArray[Any]) -> Image.Image:
    """Return a picture of grey levels."""
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")


FAULTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "unreadable": ("page.jpg", lambda: b"<!DOCTYPE html><title>404</title>"),
    "truncated": ("cut.png", lambda: encode(paint(50), "PNG")[:-80]),
    "suffix": ("photo.jpg", lambda: encode(paint(50), "PNG")),
    "tiny": ("icon.png", lambda: encode(paint(50, 21), "PNG")),
    "single-colour": (
        "sky.jpg",
        lambda: encode(Image.new("RGB", (90, 90), (90, 120, 200)), "JPEG"),
    ),
    "aspect": ("strip.png", lambda: encode(paint(50).crop((0, 0, 96, 16)), "PNG")),
    "animated": (
        "film.gif",
        lambda: encode(paint(50), "GIF", save_all=True, append_images=[paint(51)]),
    ),
    "blurred": (
        "soft.png",
        lambda: encode(paint(50).filter(ImageFilter.GaussianBlur(3)), "PNG"),
    ),
    "dark": ("night.png", lambda: encode(paint(50).point(lambda level: level // 5), "PNG")),
    "blown-out": ("sun.png", lambda: encode(paint(50).point(lambda level: 6 * level), "PNG")),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_of_one_file_is_found_and_nothing_else(photos: Path, kind: str) -> None:
    name, make = FAULTS[kind]
    (photos / "cat" / name).write_bytes(make())
    found = ck.check(photos)
    assert kinds_of(found) == {kind: [f"cat/{name}"]}
    (finding,) = found.findings
    assert finding.suggestion == KINDS[kind][1]
    assert finding.detail


def test_oversized(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_LARGE_PIXELS", 9_999)
    paint(50, 100).save(photos / "cat/wall.png")
    found = ck.check(photos)
    assert kinds_of(found) == {"oversized": ["cat/wall.png"]}
    assert found.findings[0].figure == pytest.approx(0.01)


def test_every_file_is_read_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    read_bytes = file_inspection.read_bytes
    monkeypatch.setattr(
        file_inspection, "read_bytes", lambda file: (reads.append(file), read_bytes(file))[1]
    )
    assert not ck.check(photos).findings
    assert sorted(reads) == ImageFolder(photos).files


def test_odd_files_are_unreadable_exactly_if_they_cannot_be_embedded(tmp_path: Path) -> None:
    """The files include damaged metadata, wrong suffixes, animations and strips of one pixel."""
    odd = [
        one for one in make_all(tmp_path) if one.event is None and one.name != "five_gigabytes.jpg"
    ]
    is_root = os.access(tmp_path / "unreadable.png", os.R_OK)
    found = ck.check(tmp_path)
    bad = {f.path for f in found.findings if f.kind in ("unreadable", "truncated")}
    for one in odd:
        if one.name != "unreadable.png" or not is_root:
            assert (one.name in bad) == (one.corners is None), one.name
    cut = {one.name for one in odd if one.reason == "runcated"}
    assert cut <= {finding.path for finding in found.of_kind("truncated")}
    names = {finding.path for finding in found.of_kind("animated")}
    assert names == {"animated.gif", "animated.webp", "animated.png", "ten_pages.tif"}
    assert {finding.path for finding in found.of_kind("suffix")} == {"wrong_suffix.jpg"}


@pytest.mark.parametrize(
    ("kind", "suffixes"),
    [("JPEG", ".jpg .JPE"), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tif"), ("PPM", ".pgm"),
     ("BMP", ".bmp"), ("JPEG2000", ".jp2"), ("TGA", ".tga"), ("AVIF", ".avif"), ("GIF", ".gif")],
)  # fmt: skip
def test_formats_by_their_first_bytes(kind: str, suffixes: str) -> None:
    data = encode(paint(0), kind)
    for suffix in suffixes.split():
        assert fits_suffix(data, f"a{suffix}")
    assert not fits_suffix(data, "a.jpg" if kind != "JPEG" else "a.png")
    assert fits_suffix(data, "a.unknown")
    assert not has_frames(data)
    if kind in ("PNG", "WEBP", "TIFF", "GIF"):
        frames = encode(paint(0), kind, save_all=True, append_images=[paint(1)])
        assert has_frames(frames)
        # Truncated or damaged files have no frames, and raise no error.
        for cut in (4, 12, 21, 40):
            has_frames(frames[:cut])
    assert name_format(b"") == "other"


# Frequent false alarms of blur detection.


def steepness(image: Image.Image) -> float:
    [found] = measure_steepness([take_lines(np.asarray(image.convert("L")))])
    assert found is not None
    return found


def test_a_smooth_background_is_no_blur() -> None:
    scene = grey(np.add.outer(np.linspace(60, 200, 200), np.linspace(0, 40, 200)))
    ImageDraw.Draw(scene).ellipse((80, 90, 120, 130), fill=(20, 60, 30))
    assert steepness(scene) == 0.5
    assert steepness(scene.filter(ImageFilter.GaussianBlur(4))) < 0.35


def test_a_camera_that_moved_is_blur_in_one_direction() -> None:
    moved = np.asarray(paint(3, 210).convert("L"), float)
    moved = np.mean([np.roll(moved, by, axis=1) for by in range(15)], axis=0)
    assert steepness(grey(moved)) < 0.3


def test_pictures_are_measured_alike_alone_and_together() -> None:
    pictures = [np.asarray(paint(seed, 40 + 9 * seed).convert("L")) for seed in range(5)]
    pictures += [np.zeros((3, 300), np.uint8), np.full((1, 1), 9, np.uint8)]
    lines = [take_lines(picture) for picture in pictures]
    assert measure_steepness(lines) == [measure_steepness([one])[0] for one in lines]
    assert measure_steepness([]) == []


@pytest.mark.parametrize("kind", ["single-colour", "dark", "blown-out"])
def test_what_a_fault_of_tones_needs_is_seen_in_the_brightness(kind: str) -> None:
    picture = Image.open(io.BytesIO(FAULTS[kind][1]()))
    assert may_be_extreme(take_lines(np.asarray(picture.convert("L"))))


def test_the_colours_of_ordinary_jpegs_are_not_decoded(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    files = [file.with_suffix(".jpg") for file in ImageFolder(photos).files]
    for file in files:
        Image.open(file.with_suffix(".png")).save(file, quality=95)
    product = np.full((96, 96), 255)
    product[18:78, 18:78] = np.linspace(80, 180, 60)
    files.append(photos / "product.jpg")
    grey(product).save(files[-1])
    monkeypatch.setattr(file_inspection, "decode_image", refuse)
    for info in file_inspection.inspect_files(files):
        assert info.quality is not None
        assert info.quality.tones is None
    (photos / "night.jpg").write_bytes(FAULTS["dark"][1]())
    with pytest.raises(AssertionError):
        list(file_inspection.inspect_files([photos / "night.jpg"]))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_no_picture_is_decoded_in_colour_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    Image.new("RGB", (90, 90), "white").save(tmp_path / f"white{suffix}")
    decoded, decode = [], decoding.decode_image

    def count(*arguments: Any, **options: Any) -> Any:
        decoded.append(1)
        return decode(*arguments, **options)

    monkeypatch.setattr(decoding, "decode_image", count)
    monkeypatch.setattr(file_inspection, "decode_image", count)
    (info,) = file_inspection.inspect_files([tmp_path / f"white{suffix}"])
    assert info.quality is not None
    assert info.quality.tones is not None
    assert len(decoded) == 1


def test_files_are_inspected_alike_alone_and_in_batches(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "cat/3.png").write_bytes(b"no image")
    files = [*ImageFolder(photos).files, photos / "none.png"]
    alone = [file_inspection.inspect_files([file]) for file in files]
    monkeypatch.setattr(file_inspection, "_BATCH_SIZE", 5)
    together = list(file_inspection.inspect_files(files))
    assert [str(info) for info in together] == [str(info) for one in alone for info in one]


def test_lights_in_the_night_and_ink_on_paper(photos: Path) -> None:
    night = Image.new("RGB", (96, 96), (4, 4, 8))
    paper = Image.new("RGB", (96, 96), "white")
    for image, ink in ((night, (250, 220, 120)), (paper, (0, 0, 0))):
        draw = ImageDraw.Draw(image)
        for place in range(10, 90, 12):
            draw.rectangle((place, place, place + 8, place + 8), fill=ink)
    night.save(photos / "cat/night.png")
    paper.save(photos / "cat/paper.png")
    assert not ck.check(photos).findings


def test_bright_objects_on_a_white_ground_are_not_overexposed(photos: Path) -> None:
    for name, colour, shade in (("tool", (200, 40, 30), 0), ("glass", (240, 244, 244), 12)):
        image = Image.new("RGBA", (160, 120))
        draw = ImageDraw.Draw(image)
        draw.line((30, 90, 120, 30), fill=(*colour, 255), width=14)
        draw.ellipse((125, 75, 150, 100), fill=(*(level - shade for level in colour), 255))
        image.save(photos / f"cat/{name}.png")
    # A glass is not much more than white.
    assert kinds_of(ck.check(photos)) == {"blown-out": ["cat/glass.png"]}


def test_a_set_of_small_pictures_is_no_set_of_faults() -> None:
    found = ck.check(REPOSITORY / "data/digits", store="none")
    assert not {"tiny", "blurred", "dark", "blown-out", "single-colour"} & set(found.counts)


def test_what_all_images_are_is_said_once(tmp_path: Path) -> None:
    for number in range(30):
        paint(number).point(lambda level: level // 5).save(tmp_path / f"{number}.png")
    found = ck.check(tmp_path)
    assert "dark" not in found.counts
    assert "dark: 30 of 30 images, so this is usual here and not listed" in found.to_text()


def test_real_photos_raise_no_alarm(shared: Path) -> None:
    for name in ("data/afhq_faces", "data/near_dup/ukbench"):
        assert not ck.check(shared / name, store="none").findings


# Copies.


def save_copies(folder: Path) -> None:
    """Write a small, a large, and an equal copy of a picture; the small one is the oldest."""
    paint(7, 192).save(folder / "b.png")
    (folder / "c.png").write_bytes((folder / "b.png").read_bytes())
    paint(7).save(folder / "a.png")
    for age, name in enumerate(("c", "b", "a")):
        os.utime(folder / f"{name}.png", (10_000 - age, 10_000 - age))


@pytest.mark.parametrize(
    ("keep", "kept", "others"),
    [
        ("largest", "photos/cat/b.png", {"near-copy": "a", "duplicate": "c"}),
        ("oldest", "photos/cat/a.png", {"near-copy": "bc"}),
        ("folder", "photos/cat/a.png", {"near-copy": "bc"}),
    ],
)
def test_which_copy_is_kept(photos: Path, keep: str, kept: str, others: dict[str, str]) -> None:
    save_copies(photos / "cat")
    found = ck.check(photos, keep=keep)
    wanted = {kind: [f"cat/{name}.png" for name in names] for kind, names in others.items()}
    assert kinds_of(found) == dict(sorted(wanted.items()))
    assert {f"photos/{finding.related}" for finding in found.findings} == {kept}
    assert f"the one that is {keep if keep != 'folder' else 'in the first folder'} is kept" in (
        found.to_text()
    )


def test_the_folder_that_is_named_first_keeps_its_copy(photos: Path) -> None:
    (photos / "cat/0.png").rename(photos / "cat/z.png")
    (photos / "dog/z.png").write_bytes((photos / "cat/z.png").read_bytes())
    for first, second in (("cat", "dog"), ("dog", "cat")):
        found = ck.check([photos / first, photos / second], keep="folder")
        (finding,) = found.findings
        assert (finding.kind, finding.path) == ("two-labels", f"{second}/z.png")
        assert finding.related == f"{first}/z.png"


def test_one_picture_under_two_labels_and_on_two_sides(tmp_path: Path) -> None:
    for place, part in enumerate(("train", "test")):
        for name in ("cat", "dog"):
            fill(tmp_path / part / name, first=200 * place + 100 * (name == "dog"))
    data = (tmp_path / "train/cat/1.png").read_bytes()
    (tmp_path / "train/dog/x.png").write_bytes(data)
    (tmp_path / "test/cat/y.png").write_bytes(data)
    paint(2, 144).save(tmp_path / "test/dog/z.png")
    found = ck.check(tmp_path, keep="folder")
    # Each copy is compared with the kept image, the first by path.
    assert {(f.kind, f.path, f.related) for f in found.findings} == {
        ("two-sides", "train/cat/1.png", "test/cat/y.png"),
        ("two-labels", "train/dog/x.png", "test/cat/y.png"),
        ("two-sides", "train/dog/x.png", "test/cat/y.png"),
        ("two-labels", "train/cat/2.png", "test/dog/z.png"),
        ("two-sides", "train/cat/2.png", "test/dog/z.png"),
    }
    assert found.parts == {"test": 14, "train": 13}
    assert found.classes == {"cat": 13, "dog": 14}


def test_pairs_that_a_person_called_no_copies(photos: Path) -> None:
    save_copies(photos / "cat")
    Path("no.csv").write_text("# looked at\ncat/a.png,cat/b.png\nphotos/cat/a.png, cat/c.png\n")
    with Path("no.csv").open("a") as file:
        file.write("cat/b.png,cat/c.png\n")
    equal = r"1 pair in no.csv without effect, .* such as cat/b.png and cat/c.png"
    with pytest.warns(Notice, match=equal):
        found = ck.check(photos, not_copies="no.csv")
    assert kinds_of(found) == {"duplicate": ["cat/c.png"]}
    ck.check(photos).to_csv("issues.csv")
    for save in (str, saved_again):
        save(Path("issues.csv"))
        with pytest.warns(Notice, match=r"1 pair in issues.csv without effect, since equal files"):
            assert not ck.check(photos, not_copies="issues.csv").of_kind("near-copy")
    Path("no.csv").write_text("# looked at\ncat/a.png,cat/b.png\n")
    saved_again(Path("no.csv"))
    assert kinds_of(ck.check(photos, not_copies="no.csv")) == {"duplicate": ["cat/c.png"]}
    Path("no.csv").write_text("cat/a.png cat/gone.png\n")
    with pytest.warns(Notice, match=r"1 path in no.csv belong to none .* such as cat/gone.png"):
        assert ck.check(photos, not_copies="no.csv").counts == {"duplicate": 1, "near-copy": 1}
    Path("no.csv").write_text("cat/a.png,cat/b.png\ncat/a.png\n")
    with pytest.raises(InvalidInputError, match=r"no.csv, line 2: must be two paths"):
        ck.check(photos, not_copies="no.csv")
    with pytest.raises(NotFoundError, match=r"none.csv"):
        ck.check(photos, not_copies="none.csv")


def saved_again(file: Path) -> None:
    """Save a table as spreadsheets in many languages do."""
    text = file.read_text().replace(",", ";").replace("path", '"Path"', 1)
    file.write_text(text, "utf-8-sig", newline="\r\n")


def embed(folder: Path, vectors: NDArray[np.float32]) -> Embeddings:
    """Return vectors of the images of a folder."""
    images = ImageFolder(folder)
    return Embeddings(
        vectors,
        paths=images.paths,
        root=images.root,
        digests=[digest_file(file) for file in images.files],
        space=SPACE,
    )


def test_decisions_beside_a_table_of_clusters(photos: Path) -> None:
    save_copies(photos / "cat")
    vectors = np.eye(3, dtype=np.float32).repeat(5, axis=0)
    table = cluster(embed(photos, vectors), n_clusters=3, random_state=0).to_csv("clusters.csv")
    label(table, not_copies=[("cat/a.png", "cat/b.png")])
    assert kinds_of(ck.check(photos, not_copies=table)) == {"duplicate": ["cat/c.png"]}
    saved_again(table)
    with pytest.warns(Notice, match="with semicolons between its columns"):
        assert kinds_of(ck.check(photos, not_copies=table)) == {"duplicate": ["cat/c.png"]}


# Off-topic.


def draw_topic(rng: np.random.Generator, axis: int, n: int) -> NDArray[np.float32]:
    """Return vectors around a direction."""
    center = np.zeros(40)
    center[axis] = 8
    return (center + rng.normal(size=(n, 40))).astype(np.float32)


@pytest.mark.parametrize("n_strangers", [4, 16])
@pytest.mark.parametrize("is_one_kind", [True, False])
def test_strangers_in_a_folder_are_unlike_the_others(n_strangers: int, is_one_kind: bool) -> None:
    """Also if strangers are similar to each other, so that each is near its own neighbours."""
    rng = np.random.default_rng(0)
    axes = np.ones(n_strangers, int) if is_one_kind else np.arange(1, n_strangers + 1)
    strangers = [draw_topic(rng, axis, 1) for axis in axes]
    scores = score_off_topic(
        np.concatenate([draw_topic(rng, 0, 40), *strangers]), [0] * (40 + n_strangers)
    )
    assert set(np.argsort(-scores)[:n_strangers]) == set(range(40, 40 + n_strangers))


def test_a_stranger_of_another_folder_is_farther_than_one_of_nowhere() -> None:
    rng = np.random.default_rng(0)
    own, other = draw_topic(rng, 0, 30), draw_topic(rng, 1, 30)
    strangers = np.zeros((2, 40), np.float32)
    strangers[[0, 1], [1, 2]] = 8
    X, folders = np.concatenate([own, strangers, other]), ["a"] * 32 + ["b"] * 30
    scores = score_off_topic(X, folders)
    assert scores[30] > scores[31] > off_topic.OFF_TOPIC
    alone = score_off_topic(X[:32], ["a"] * 32)
    assert scores[30] - scores[31] > 2 * abs(alone[30] - alone[31])


def test_what_the_numbers_of_an_image_share_says_nothing() -> None:
    """Features of networks are rarely negative, which alone does not make images similar."""
    rng = np.random.default_rng(0)
    X = np.concatenate([draw_topic(rng, 0, 40), draw_topic(rng, 1, 4)])
    lifted = X + rng.uniform(0, 20, (len(X), 1)).astype(np.float32)
    scores = score_off_topic(lifted * rng.uniform(1, 9, (len(X), 1)), ["a"] * 44)
    np.testing.assert_allclose(scores, score_off_topic(X, ["a"] * 44), atol=1e-2)
    assert set(np.argsort(-scores)[:4]) == {40, 41, 42, 43}


def test_scores_of_many_images_are_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X = np.concatenate([draw_topic(rng, 0, 300), draw_topic(rng, 1, 30)])
    exact = score_off_topic(X, ["a"] * 330)
    monkeypatch.setattr(off_topic, "_MANY", 100)
    rough = score_off_topic(X, ["a"] * 330)
    assert np.corrcoef(exact, rough)[0, 1] > 0.99
    assert set(np.argsort(-rough)[:30]) == set(range(300, 330))


def test_unsure_predictions_are_not_off_topic(unsure_predictions: NDArray[np.float64]) -> None:
    scores = score_off_topic(unsure_predictions, ["a"] * 100)
    assert np.flatnonzero(scores >= off_topic.OFF_TOPIC).tolist() == [7]


def test_scores_of_few_images_and_of_equal_ones() -> None:
    assert np.isnan(score_off_topic(np.eye(9, dtype=np.float32), ["a"] * 9)).all()
    assert (score_off_topic(np.ones((12, 3), np.float32), ["a"] * 12) == 0).all()
    with pytest.raises(InvalidInputError, match=r"one folder per vector. Received: 2 folders, 3 v"):
        score_off_topic(np.eye(3), ["a", "b"])


def save_space(folder: Path, vectors: NDArray[np.float32]) -> list[str]:
    """Write vectors of the images of a folder into the store; return their paths."""
    images = ImageFolder(folder)
    space = Store().open_space(SPACE | {"dimension": vectors.shape[1]})
    root = space.root_of(images.root)
    space.append(
        [
            Row(path, root, digest_file(file), vector=vector, width=96, height=96)
            for path, file, vector in zip(images.paths, images.files, vectors, strict=True)
        ]
    )
    return images.paths


def test_off_topic_images_are_found_if_they_are_embedded(photos: Path) -> None:
    fill(photos / "cat", 30)
    found = ck.check(photos)
    assert found.off_topic is None
    assert "There was no search for off-topic images: the store has no" in found.to_text()
    rng = np.random.default_rng(0)
    vectors = np.concatenate([draw_topic(rng, 0, 30), draw_topic(rng, 1, 6)])
    vectors[4] = draw_topic(rng, 2, 1)
    paths = save_space(photos, vectors)
    found = ck.check(photos)
    assert kinds_of(found) == {"off-topic": [paths[4]]}
    assert "fewer than 10): dog" in found.to_text()
    # The store learns the new places of the moved files.
    assert ck.check(photos, quarantine_into="aside", kinds=["off-topic"]).moved is not None
    moved = Path("aside/off-topic", Path(paths[4]).name)
    assert moved.resolve() in [file.resolve() for file in Store().read().files]
    ck.undo("aside", store=Store())
    # A vector of previous content of the file is not used.
    paint(999).save(photos / paths[4])
    found = ck.check(photos)
    assert paths[4] not in {finding.path for finding in found.findings}
    assert "with the others of the folder, without embeddings: 1 image." in found.to_text()


def test_a_space_that_is_named_must_exist(photos: Path) -> None:
    with pytest.raises(NotFoundError, match="no embeddings in the store"):
        ck.check(photos, extractor="xception")


# Quarantine.


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content and the time of each file."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {
        str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in files
    }


@pytest.fixture
def faulty(photos: Path) -> Path:
    """Add copies, a blurred picture and a broken file to the pictures."""
    save_copies(photos / "cat")
    (photos / "dog/page.jpg").write_bytes(b"<html>")
    paint(60).filter(ImageFilter.GaussianBlur(3)).save(photos / "dog/soft.png")
    return photos


def test_quarantine_and_undo_bring_every_byte_and_time_back(faulty: Path) -> None:
    before = state(faulty)
    planned = ck.check(faulty, quarantine_into="aside", dry_run=True)
    assert planned.moved is not None
    assert planned.moved.folders == {"duplicate": 1, "near-copy": 1, "unreadable": 1}
    assert "3 files would be moved" in planned.to_text()
    assert state(faulty) == before
    assert not Path("aside").exists()
    found = ck.check(faulty, quarantine_into="aside")
    assert found.moved is not None
    assert found.moved.folders == planned.moved.folders
    assert Path("aside/duplicate/c.png").exists()
    left = ck.check(faulty)
    assert kinds_of(left) == {"blurred": ["dog/soft.png"]}
    # Again, first without new findings, then with some.
    assert ck.check(faulty, quarantine_into="aside").moved.transfers == []
    assert ck.check(faulty, quarantine_into="aside", kinds="blurred").moved.folders == {
        "blurred": 1
    }
    assert ck.undo("aside").n_undone == 4
    assert state(faulty) == before
    assert not Path("aside").exists()


@pytest.mark.parametrize("count", [*range(1, 12), 14, 18, 25])
def test_killed_half_way_and_taken_back(faulty: Path, count: int) -> None:
    before = state(faulty)
    try:
        with killed_at(count):
            ck.check(faulty, quarantine_into="aside")
    except Killed:
        pass
    if Path("aside/clusterkit-manifest.jsonl").exists():
        ck.undo("aside")
    assert state(faulty) == before


def test_killed_half_way_and_taken_up_again(faulty: Path) -> None:
    before = state(faulty)
    with killed_at(2, victim=(os, "link")), pytest.raises(Killed):
        ck.check(faulty, quarantine_into="aside")
    ck.check(faulty, quarantine_into="aside")
    assert kinds_of(ck.check(faulty)) == {"blurred": ["dog/soft.png"]}
    ck.undo("aside")
    assert state(faulty) == before


def test_the_store_hears_of_moves_of_a_killed_run(
    faulty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ck.embed(faulty, "pixels", store=".clusterkit")
    with monkeypatch.context() as patch:
        patch.setattr("clusterkit.routing.sorting.tell_store", Mock(side_effect=Killed))
        with pytest.raises(Killed):
            ck.check(faulty, quarantine_into="aside")
    (space,) = Store(".clusterkit").spaces()
    assert not [file for file in space.read().files if "aside" in file.parts]
    ck.check(faulty, quarantine_into="aside")
    files = space.read().files
    assert [file for file in files if "aside" in file.parts]
    assert all(file.exists() for file in files)


def test_a_copy_that_stays_is_not_put_aside_for_another_reason(photos: Path) -> None:
    """The largest copy is moved because it is blurred, so the other one stays."""
    paint(60, 300).filter(ImageFilter.GaussianBlur(9)).save(photos / "cat/large.png")
    paint(60).save(photos / "cat/small.png")
    found = ck.check(photos, quarantine_into="aside", kinds=["blurred", "near-copy"])
    assert found.moved is not None
    assert [Path(one.source).name for one in found.moved.transfers] == ["large.png"]


def test_links_stay(photos: Path) -> None:
    (photos / "cat/gone.png").symlink_to("nowhere.png")
    found = ck.check(photos, quarantine_into="aside")
    assert found.counts == {"unreadable": 1}
    assert found.moved is not None
    assert not found.moved.transfers


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"quarantine_into": "photos/aside"}, InvalidInputError, "must lie outside of the checked"),
        ({"quarantine_into": "."}, InvalidInputError, "must lie outside of the checked"),
        ({"quarantine_into": "mine"}, OutputExistsError, "mine holds files of another origin"),
        ({"quarantine_into": "sorted"}, OutputExistsError, "holds files of another origin"),
        ({"quarantine_into": "mine/a.txt"}, OutputExistsError, "is a file; name a folder"),
        (
            {"quarantine_into": "x", "kinds": ["bad"]},
            InvalidInputError,
            "must be one of unreadable",
        ),
        ({"dry_run": True}, InvalidInputError, "name a folder to move it to"),
        ({"keep": "best"}, InvalidInputError, "one of largest, oldest, folder. Received: 'best'"),
    ],
)
def test_bad_requests_are_refused_before_any_work(
    faulty: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    Path("mine").mkdir()
    Path("mine/a.txt").write_text("mine")
    ck.sort_into_folders([fill(Path("others")) / "0.png"], ["cat"], "sorted")
    before = state(Path())
    monkeypatch.setattr("clusterkit.preparation.checking.inspect_files", None)
    with pytest.raises(error, match=message):
        ck.check("photos", **options)
    assert state(Path()) == before


def test_a_source_that_cannot_be_written(faulty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "dog" not in str(path) and access(path, mode)
    )
    with pytest.raises(InvalidInputError, match=r"no permission to move files out of .*dog: check"):
        ck.check(faulty, quarantine_into="aside")
    assert not Path("aside").exists()


def test_folders_that_cannot_be_checked(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=r"no images in .*empty"):
        ck.check(tmp_path / "empty")
    with pytest.raises(NotFoundError, match=r"no such file or folder: .*none"):
        ck.check(tmp_path / "none")
    with pytest.raises(InvalidInputError, match="at least one folder"):
        ck.check([])
    assert "All images are in one folder" not in ck.check(photos).to_text()
    fill(tmp_path / "one/cat")
    assert (
        "All images are in one folder, cat: if that is a class, there is one."
        in ck.check(tmp_path / "one").to_text()
    )


def test_classes_and_what_was_passed_over(photos: Path) -> None:
    fill(photos / "cat", 13)
    (photos / "cat/film.mp4").write_bytes(b"")
    found = ck.check(photos)
    assert found.classes == {"cat": 13, "dog": 6}
    said = found.to_text()
    assert "cat (13) has 2.2 times the images of dog (6)" in said
    assert "Passed over: 1 video." in said
    assert "PNG 19; median 96 x 96 pixels" in said


# The command, the table and the picture.


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(main, ["check", *arguments])
    assert result.exit_code == 0, result.output
    return result


def test_the_command(faulty: Path) -> None:
    result = run("photos", "--table", "issues.csv", "-o", "issues.png", "--json")
    document = json.loads(result.stdout)
    assert document["images"] == 17
    assert document["counts"] == {"unreadable": 1, "duplicate": 1, "near-copy": 1, "blurred": 1}
    lines = Path("issues.csv").read_text().splitlines()
    assert lines[0] == "path,kind,figure,related,detail,suggestion"
    assert len(lines) == 5
    assert lines[2].startswith("cat/c.png,duplicate,1.0000,cat/b.png,equal,")
    with Image.open("issues.png") as picture:
        assert picture.width > 600
    assert "3 files would be moved" in run("photos", "--quarantine", "a", "--dry-run").stdout
    run("photos", "--quarantine", "a", "--kind", "blurred", "--keep", "oldest")
    assert [file.name for file in Path("a").rglob("*.png")] == ["soft.png"]
    wrong = CliRunner().invoke(main, ["check", "photos", "--kind", "ugly"])
    assert "Error: a kind must be one of unreadable" in wrong.output
    wrong = CliRunner().invoke(main, ["check", "photos", "--quarantine", "photos/a"])
    assert wrong.exit_code == 1
    assert wrong.output.startswith("Error: the quarantine must lie outside")


def test_in_a_notebook(faulty: Path) -> None:
    found = ck.check(faulty)
    frame = found.to_frame()
    assert frame["kind"].tolist() == ["unreadable", "duplicate", "near-copy", "blurred"]
    assert repr(found) == f"<Check: 17 images of {faulty}: 4 findings in 4 files>"
    assert found._repr_html_().count("<img") == 3
    with pytest.raises(InvalidInputError, match="a kind must be one of unreadable"):
        found.of_kind("ugly")


def test_the_picture_shows_files_where_they_are_now(faulty: Path) -> None:
    found = ck.check(faulty, quarantine_into="aside")
    display = CheckDisplay.from_check(found)
    assert list(display.counts) == ["unreadable", "duplicate", "near-copy", "blurred"]
    assert all(file.exists() for shown in display.images.values() for file, _ in shown)
    with pytest.raises(InvalidInputError, match="something to draw"):
        CheckDisplay({}, {}).plot()
