"""A split is what training reads, respects copies and shares, and can be undone completely."""

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageEnhance, ImageOps

from clusterkit.cli import main
from clusterkit.clustering.provenance import LabelOrigin, find_origins
from clusterkit.datasets.labelled_images import LabelledImages, read_labelled
from clusterkit.errors import InvalidInputError, NotFoundError, Notice, OutputExistsError
from clusterkit.plots import ClassCountsDisplay
from clusterkit.preparation import split_folder
from clusterkit.routing import MANIFEST_NAME, sort_into_folders, undo
from clusterkit.routing.manifest import read_manifest
from tests.kills import Killed, killed_at

N = {"cat": 20, "dog": 10}
MODES = ["copy", "link", "move"]


def picture(seed: int) -> Image.Image:
    """Return a smooth picture, unlike that of another seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64))


def fill(photos: Path, counts: dict[str, int]) -> Path:
    """Write different pictures for each class, with different times."""
    for place, (name, n) in enumerate(counts.items()):
        (photos / name).mkdir(parents=True)
        for number in range(n):
            file = photos / name / f"{name}{number}.png"
            picture(100 * place + number).save(file)
            os.utime(file, (1_000_000_000 + number, 1_000_000_000 + number))
    return photos


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("split") / "photos", N)


@pytest.fixture
def photos(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "photos")


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Return the digest and time of each file."""
    return {
        file.relative_to(folder).as_posix(): (
            hashlib.sha256(file.read_bytes()).hexdigest(),
            file.stat().st_mtime_ns,
        )
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def divide(photos: Path, mode: str = "copy", **options: Any) -> Any:
    return split_folder(photos, photos.parent / "into", mode=mode, random_state=0, **options)


def read(into: Path, mode: str = "list", **columns: Any) -> LabelledImages:
    """Read what a split wrote; of a table it is said which columns are used."""
    if mode != "list":
        return read_labelled(into)
    with pytest.warns(Notice, match="parts from column 'part'"):
        return read_labelled(into / "split.csv", **columns)


@pytest.mark.parametrize("mode", [*MODES, "list"])
def test_training_reads_what_a_split_wrote(photos: Path, mode: str) -> None:
    found = divide(photos, mode)
    assert found.counts == {
        "train": {"cat": 16, "dog": 8},
        "val": {"cat": 2, "dog": 1},
        "test": {"cat": 2, "dog": 1},
    }
    data = read(photos.parent / "into", mode)
    known = {
        (Path(file).name, label, part)
        for file, label, part in zip(data.images, data.labels or [], data.parts or [], strict=True)
    }
    names = [Path(name).name for name in found.names]
    assert known == set(zip(names, found.labels, found.parts, strict=True))
    assert len(known) == 30
    assert found.to_frame()["part"].value_counts().to_dict() == {"train": 24, "val": 3, "test": 3}


def test_the_same_seed_is_the_same_split(photos: Path) -> None:
    plans = [divide(photos, dry_run=True).parts for _ in range(2)]
    other = split_folder(photos, photos.parent / "into", random_state=1, dry_run=True).parts
    assert plans[0] == plans[1] != other
    assert not (photos.parent / "into").exists()


def test_numbers_of_numpy_are_those_of_python(photos: Path) -> None:
    options = {"random_state": np.int64(0), "val": np.float32(0.25), "test": np.float64(0.25)}
    found = split_folder(photos, photos.parent / "into", **options)
    plain = split_folder(photos, photos.parent / "other", val=0.25, test=0.25, random_state=0)
    assert (found.names, found.parts) == (plain.names, plain.parts)
    again = split_folder(photos, photos.parent / "into", **options)
    assert again.sorting.n_present == 30


@pytest.mark.parametrize("mode", MODES)
def test_undo_brings_every_file_back(photos: Path, mode: str) -> None:
    before = state(photos)
    divide(photos, mode)
    assert (state(photos) == before) == (mode != "move")
    done = undo(photos.parent / "into")
    assert (done.n_undone, done.kept, done.missing) == (30, [], [])
    assert state(photos) == before
    assert not (photos.parent / "into").exists()


@pytest.mark.parametrize("mode", MODES)
def test_undo_of_a_split_that_was_killed(template: Path, tmp_path: Path, mode: str) -> None:
    before = state(template)
    for count in (3, 12, 25, 48, 60):
        photos = shutil.copytree(template, tmp_path / str(count) / "photos")
        with killed_at(count), pytest.raises(Killed):
            divide(photos, mode)
        if (photos.parent / "into" / MANIFEST_NAME).exists():
            undo(photos.parent / "into")
        assert state(photos) == before
        # A kill may leave a lock and an unfinished manifest, which are hidden.
        left = state(photos.parent / "into") if (photos.parent / "into").exists() else {}
        assert not [path for path in left if not path.startswith(".")]


@pytest.mark.parametrize("mode", MODES)
def test_a_split_that_was_killed_goes_on_as_it_was_planned(photos: Path, mode: str) -> None:
    plan = divide(photos, mode, dry_run=True)
    with killed_at(60), pytest.raises(Killed):
        divide(photos, mode)
    if mode == "move":
        with pytest.warns(Notice, match="continuing the split"):
            found = divide(photos, mode)
    else:
        found = divide(photos, mode)
    assert dict(zip(found.names, found.parts, strict=True)) == dict(
        zip(plan.names, plan.parts, strict=True)
    )
    into = photos.parent / "into"
    assert len(list(into.rglob("*.png"))) == 30
    undo(into)
    assert len(state(photos)) == 30


@pytest.mark.parametrize("mode", MODES)
def test_a_split_without_a_seed_goes_on_too(photos: Path, mode: str) -> None:
    into = photos.parent / "into"
    with killed_at(60), pytest.raises(Killed):
        split_folder(photos, into, mode=mode)
    planned = {transfer.target for transfer in read_manifest(into).transfers}
    with pytest.warns(Notice, match="continuing the split"):
        found = split_folder(photos, into, mode=mode)
    assert found.mode == mode
    assert {file.relative_to(into).as_posix() for file in into.rglob("*.png")} == planned
    assert len(planned) == len(found.names) == 30


def test_a_move_of_someone_elses_manifest_does_not_go_on(photos: Path) -> None:
    divide(photos, "move")
    manifest = photos.parent / "into" / MANIFEST_NAME
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    (photos.parent / "secret.png").write_text("secret")
    lines[1] |= {"source": str(photos.parent / "secret.png")}
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InvalidInputError, match=r"was not written by you.*secret\.png"):
        divide(photos, "move")
    assert (photos.parent / "secret.png").exists()


def plant(photos: Path) -> dict[str, int]:
    """Write copies of some cats, one of them as a dog; return the picture of each file."""
    shown = {file.relative_to(photos).as_posix(): place for place, file in enumerate(_all(photos))}
    for number in range(4):
        name = f"cat/cat{number}.png"
        original = Image.open(photos / name)
        for how, copy in {
            "small": original.resize((50, 50)),
            "mirrored": ImageOps.mirror(original),
            "bright": ImageEnhance.Brightness(original).enhance(1.2),
        }.items():
            folder = "dog" if (number, how) == (0, "bright") else "cat"
            copy.save(photos / folder / f"{how}{number}.png")
            shown[f"{folder}/{how}{number}.png"] = shown[name]
    return shown


def _all(photos: Path) -> list[Path]:
    return sorted(photos.rglob("*.png"))


def test_what_rounding_takes_from_a_part_in_one_class_it_gets_in_the_next(tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos", dict.fromkeys(["ape", "bat", "cat", "dog"], 5))
    found = split_folder(photos, tmp_path / "into", val=0.3, test=0.3, dry_run=True)
    assert {part: sum(counts.values()) for part, counts in found.counts.items()} == {
        "train": 8,
        "val": 6,
        "test": 6,
    }
    assert {*found.counts["val"].values()} == {*found.counts["test"].values()} == {1, 2}


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_in_one_part_whatever_their_labels(photos: Path, seed: int) -> None:
    shown = plant(photos)
    found = split_folder(
        photos, photos.parent / "into", val=0.2, test=0.2, random_state=seed, dry_run=True
    )
    sides: dict[int, set[str]] = {}
    for name, part in zip(found.names, found.parts, strict=True):
        sides.setdefault(shown[name], set()).add(part)
    assert all(len(parts) == 1 for parts in sides.values())
    assert sorted(map(len, found.copies)) == [4, 4, 4, 4]
    for part, share in {"train": 0.6, "val": 0.2, "test": 0.2}.items():
        assert abs(found.counts[part]["cat"] - 31 * share) <= 1
        assert abs(found.counts[part]["dog"] - 11 * share) <= 1
    # Copies with two labels, one of which is wrong, are not in the test part.
    assert sides[shown["dog/bright0.png"]] == {"train"}


def test_files_that_cannot_be_read_are_listed_and_left(photos: Path) -> None:
    (photos / "cat/broken.png").write_bytes(b"no image")
    found = divide(photos, "move")
    assert [path for path, _ in found.failures] == ["cat/broken.png"]
    assert [file.name for file in _all(photos)] == ["broken.png"]
    with pytest.warns(Notice, match="continuing"):
        assert divide(photos, "move").failures == found.failures


def test_parts_of_the_source_are_kept(photos: Path, tmp_path: Path) -> None:
    parted = tmp_path / "parted"
    shutil.copytree(photos, parted / "train")
    fill(parted / "test_set", {"cat": 1})
    picture(999).save(parted / "test_set/cat/cat0.png")
    with (
        pytest.warns(Notice, match="test kept as they are, and only val taken from its training"),
        pytest.warns(UserWarning, match="test has no image of dog"),
    ):
        found = divide(parted)
    assert found.counts["test"] == {"cat": 1}
    # Shares are relative to all images.
    fill(tmp_path / "half/train", {"cat": 10, "dog": 10})
    fill(tmp_path / "half/test", {"other": 0, "further": 0, "cat": 10, "dog": 10})
    (tmp_path / "half/test/other").rmdir()
    (tmp_path / "half/test/further").rmdir()
    with pytest.warns(Notice, match="test kept as they are"):
        half = split_folder(tmp_path / "half", tmp_path / "other", val=0.2, dry_run=True)
    assert half.counts["val"] == {"cat": 4, "dog": 4}
    assert found.counts["val"] == {"cat": 2, "dog": 1}


def test_it_is_said_which_copies_the_parts_of_the_source_share(
    photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "parted/train")
    fill(tmp_path / "parted/test", {"cat": 2, "dog": 2})
    with (
        pytest.warns(Notice, match="test kept as they are"),
        pytest.warns(UserWarning, match="also among the training images"),
    ):
        found = divide(tmp_path / "parted")
    assert "4 groups of copies (8 images), 4 of these groups in several parts" in found.to_text()


def test_a_table_finds_its_files_and_not_what_was_sorted_from_them(photos: Path) -> None:
    lines = [f"{file.relative_to(photos).as_posix()},{file.parent.name}" for file in _all(photos)]
    table = photos.parent / "labels.csv"
    table.write_text("\n".join(["path,label", *lines]))
    into = photos.parent / "into"
    for mode, n_before in [("copy", 0), ("copy", 30), ("move", 0), ("move", 30)]:
        if mode == "move" and not n_before:
            undo(into)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Notice)
            found = split_folder(table, into, mode=mode, random_state=0)
            assert len(read_labelled(table)) == 30
        assert found.sorting.n_present == n_before


def test_a_table_of_several_labels(photos: Path, tmp_path: Path) -> None:
    rows = [
        f"{file.relative_to(tmp_path).as_posix()},{'pet|' if row % 3 else ''}{file.parent.name}"
        for row, file in enumerate(_all(photos))
    ]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,labels", *rows]))
    with pytest.raises(InvalidInputError, match=r"mode must be list\. Received: 'copy'"):
        split_folder(table, tmp_path / "into")
    found = split_folder(table, tmp_path / "into", mode="list", random_state=0)
    data = read(tmp_path / "into")
    assert data.is_multilabel
    assert data.labels == found.labels
    assert {Path(file).resolve() for file in data.images} == set(_all(photos))
    with pytest.raises(OutputExistsError, match=r"is not empty: it holds split\.csv"):
        split_folder(table, tmp_path / "into", mode="list", random_state=0)


def test_labels_that_a_table_could_not_say(photos: Path, tmp_path: Path) -> None:
    (photos / "cat").rename(photos / "cat, tame")
    (photos / "dog").rename(photos / "cat, wild")
    with pytest.warns(Notice, match="read it with --label-separator none"):
        found = divide(photos, "list")
    assert read(tmp_path / "into", label_separator="none").labels == found.labels
    (photos / "cat, tame").rename(photos / "nan")
    (photos / "cat, wild").rename(photos / "a dog")
    with pytest.raises(InvalidInputError, match=r"cannot hold these labels.*Received: nan$"):
        split_folder(photos, tmp_path / "other", mode="list")
    assert not (tmp_path / "other").exists()


def test_a_class_that_is_called_otherwise_as_a_folder(photos: Path, tmp_path: Path) -> None:
    names = {"cat": "a/b", "dog": "dog"}
    rows = [f"photos/{f.parent.name}/{f.name},{names[f.parent.name]}" for f in _all(photos)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    with pytest.warns(Notice, match="a/b is a_b"):
        split_folder(tmp_path / "labels.csv", tmp_path / "into")
    assert (tmp_path / "into/train/a_b").is_dir()


def test_labels_from_clusters_stay_known(photos: Path, tmp_path: Path) -> None:
    origin = LabelOrigin("clusters.csv", "kmeans", 2, "pixels-0")
    files = _all(photos)
    names = [file.parent.name for file in files]
    sort_into_folders(files, names, tmp_path / "sorted", origin=origin.to_dict())
    split_folder(tmp_path / "sorted", tmp_path / "into")
    assert find_origins(read_labelled(tmp_path / "into")) == (origin,)
    split_folder(photos, tmp_path / "plain")
    assert find_origins(read_labelled(tmp_path / "plain")) == ()


def test_bad_input_is_told_before_anything_is_done(photos: Path, tmp_path: Path) -> None:
    before = state(tmp_path)
    fill(tmp_path / "small", {"cat": 9, "dog": 2})
    fill(tmp_path / "one", {"cat": 9})
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    (tmp_path / "file").write_text("a file")
    for source, into, options, error, message in [
        (photos, "into", {"train": 0.8, "val": 0.3}, InvalidInputError, "sum to 1.*1.2"),
        (photos, "into", {"val": -0.1}, InvalidInputError, "from 0 to 1"),
        (photos, "into", {"val": 0, "test": 0}, InvalidInputError, "must be above 0"),
        (photos, "into", {"val": 0.5, "test": 0.5}, InvalidInputError, "must be above 0"),
        (photos, "into", {"mode": "burn"}, InvalidInputError, "mode must be one of copy, link"),
        (photos, "photos/cat/into", {}, InvalidInputError, "is in .*photos, which is"),
        (photos, "photos", {}, InvalidInputError, "is in .*photos, which is"),
        (photos, "", {}, InvalidInputError, "holds .*photos, which is"),
        (photos, "full", {}, OutputExistsError, "is not empty: it holds mine.txt"),
        (photos, "file", {}, OutputExistsError, "is not a folder"),
        (photos, "file/into", {}, InvalidInputError, "cannot make the folder"),
        (tmp_path / "small", "into", {}, InvalidInputError, "at least 3 different images for 3 p"),
        (tmp_path / "one", "into", {}, InvalidInputError, "at least 2 classes. Received: cat"),
        (tmp_path / "empty", "into", {}, InvalidInputError, "no images in"),
        (tmp_path / "nowhere", "into", {}, NotFoundError, "no such file or folder"),
        (photos / "cat", "into", {}, InvalidInputError, "has no label"),
    ]:
        with pytest.raises(error, match=message):
            split_folder(source, tmp_path / into, **options)
    with pytest.raises(InvalidInputError, match="label_column must be for a source that is a path"):
        split_folder(read_labelled(photos), tmp_path / "into", label_column="kind")
    after = {
        path: found
        for path, found in state(tmp_path).items()
        if path.partition("/")[0] not in ("small", "one", "full", "file")
    }
    assert after == before
    assert not (tmp_path / "into").exists()


def test_a_folder_of_another_split_is_left_alone(photos: Path) -> None:
    divide(photos)
    before = state(photos.parent)
    with pytest.raises(OutputExistsError, match="clusterkit undo"):
        divide(photos, "link")
    with pytest.raises(OutputExistsError, match="clusterkit undo"):
        split_folder(photos, photos.parent / "into", test=0.3, random_state=0)
    assert state(photos.parent) == before
    assert divide(photos).sorting.n_present == 30


def test_pixels_and_numbers_that_are_none_are_refused(photos: Path, tmp_path: Path) -> None:
    pixels = LabelledImages(np.zeros((2, 4, 4, 1), np.uint8), ["a", "b"], ["cat", "dog"])
    with pytest.raises(InvalidInputError, match="only image files can be split"):
        split_folder(pixels, tmp_path / "into")
    with pytest.raises(InvalidInputError, match="test must be a number from 0 to 1"):
        split_folder(photos, tmp_path / "into", test="0.2")  # type: ignore[arg-type]


def test_the_command(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (photos / "cat/broken.png").write_bytes(b"no image")
    command = ["split", "photos", "--into", "into", "--exclude", "cat1?.png"]
    planned = CliRunner().invoke(main, [*command, "--table", "t.csv", "--dry-run", "--json"])
    document = json.loads(planned.stdout)
    assert document["parts"] == {"train": 16, "val": 2, "test": 2}
    assert document["table"] is None
    assert "t.csv is not written: this is a dry run" in planned.stderr
    assert document["failures"][0]["path"] == "cat/broken.png"
    assert not (tmp_path / "into").exists()
    assert not (tmp_path / "t.csv").exists()
    done = CliRunner().invoke(main, [*command, "--table", "t.csv"])
    assert done.exit_code == 0
    assert "20 images copied to" in done.stdout
    assert "Left out: cat/broken.png" in done.stderr
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 21
    assert CliRunner().invoke(main, ["undo", "into"]).exit_code == 0
    lists = ["split", "photos", "--into", "lists", "--mode", "list", "-o", "counts.png", "--json"]
    document = json.loads(CliRunner().invoke(main, lists).stdout)
    assert document["list"] == str(tmp_path / "lists/split.csv")
    assert document["output"] == "counts.png"
    wrong = CliRunner().invoke(main, [*command, "--train", "0.9"])
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)


def test_a_picture_of_the_classes(photos: Path) -> None:
    display = ClassCountsDisplay.from_report(divide(photos, dry_run=True))
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == [
        "train",
        "val",
        "test",
    ]
