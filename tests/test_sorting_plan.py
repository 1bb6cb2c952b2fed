"""A sorting is planned and checked as a whole; an interrupted one continues with the same call."""

import errno
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clusterkit.errors import InvalidInputError, Notice
from clusterkit.images.folder import ImageFolder
from clusterkit.routing import sort_into_folders, undo
from tests.grid_colours import without_privileges
from tests.letters import take, texts


def sort(photos: list[Path], into: Path, mode: str = "move", **options: Any) -> Any:
    """Sort the first two photos as cats, the others as dogs."""
    names = ["cat", "cat", "dog", "dog"][: len(photos)]
    return sort_into_folders(photos, names, into, mode=mode, **options)


def refuse_twice(message: str, photos: list[Path], names: list[str], into: Path, mode: str) -> None:
    """Expect an error of the dry run and of the call, and nothing done."""
    before = sorted(photos[0].parent.parent.rglob("*"))
    for dry_run in (True, False):
        with pytest.raises(InvalidInputError, match=message):
            sort_into_folders(photos, names, into, mode=mode, dry_run=dry_run)
    assert sorted(photos[0].parent.parent.rglob("*")) == before


def test_columns_of_a_table_and_generators(tmp_path: Path) -> None:
    photos = take(tmp_path / "photos")
    names = ["cat", "dog", "cat", "dog"]
    table = pd.DataFrame({"file": photos, "name": names}).iloc[::-1]
    into = tmp_path / "sorted"
    for files, folders in (
        (table["file"], table["name"]),
        (iter(photos), iter(names)),
        (ImageFolder(tmp_path / "photos"), names),
    ):
        found = sort_into_folders(files, folders, into, dry_run=True)
        assert {Path(t.source): t.folder for t in found.transfers} == dict(
            zip(photos, names, strict=True)
        )
    with pytest.raises(InvalidInputError, match=r"files must be paths. Received: b'a.jpg'"):
        sort_into_folders([b"a.jpg"], ["cat"], into)  # type: ignore[list-item]
    assert sort_into_folders([], [], into).n_present == 0
    assert not into.exists()
    # Their order counts, not their index.
    photos[0].unlink()
    with pytest.warns(Notice, match="left out: 1 of the 4 files"):
        found = sort_into_folders(table["file"], table["name"], into, strict=False)
    assert {Path(t.source): t.folder for t in found.transfers} == dict(
        zip(photos[1:], names[1:], strict=True)
    )


@pytest.mark.parametrize("mode", ["copy", "link", "move"])
def test_a_photo_that_is_in_its_folder_stays_as_it_is(tmp_path: Path, mode: str) -> None:
    photos = take(tmp_path / "photos/cat")
    before = texts(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for into in ("photos", "link", "photos"):
        done = sort(photos, tmp_path / into, mode)
        assert (len(done.transfers), done.n_present) == ((2, 2) if into == "photos" else (0, 4))
        assert set(texts(tmp_path / "photos")) >= {"cat/a.jpg", "cat/b.jpg", "dog/c.jpg"}
        assert not list(tmp_path.rglob("*(2)*"))
        if into == "link":
            undo(tmp_path / "photos")
            assert texts(tmp_path) == before


def test_a_sorted_photo_that_would_now_go_elsewhere_is_told(tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    sort(take(tmp_path / "photos"), into)
    before = texts(into)
    here = sorted(into.glob("*/*.jpg"))
    with pytest.warns(Notice, match=r"2 files sorted before .*c\.jpg to cat, and stay .* undo"):
        done = sort_into_folders(here, ["cat"] * 4, into, mode="move")
    assert (done.transfers, done.n_present, texts(into)) == ([], 4, before)


@pytest.mark.parametrize("name", [None, np.nan, pd.NA, ("train", None), ()])
def test_files_without_a_name(tmp_path: Path, name: Any) -> None:
    photos = take(tmp_path / "photos")
    message = f"must have the name of a folder, .*: 2 files, such as {photos[1]}"
    refuse_twice(message, photos, ["cat", name, "cat", name], tmp_path / "sorted", "move")


@pytest.mark.parametrize("mode", ["copy", "link", "move"])
def test_a_folder_that_could_not_be_made_once(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a full disk, after the manifest was written."""
    photos = take(tmp_path / "photos")
    mkdir = Path.mkdir

    def full(self: Path, *arguments: Any, **options: Any) -> None:
        if self.name == "dog":
            raise OSError(errno.ENOSPC, "No space left on device")
        mkdir(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(InvalidInputError, match=r"cannot make the folder .*dog: No space left"):
        sort(photos, tmp_path / "sorted", mode)
    assert len(texts(tmp_path / "photos")) == 4
    monkeypatch.undo()
    sort(photos, tmp_path / "sorted", mode)
    assert len(texts(tmp_path / "sorted")) == 4
    undo(tmp_path / "sorted")
    assert list(tmp_path.iterdir()) == [tmp_path / "photos"]


def test_a_folder_that_was_removed_by_hand(tmp_path: Path) -> None:
    """It was there before the first run, so that the manifest did not name it; now it does."""
    photos = take(tmp_path / "photos")
    (tmp_path / "sorted/dog").mkdir(parents=True)
    sort(photos[:2], tmp_path / "sorted")
    (tmp_path / "sorted/dog").rmdir()
    sort(photos[2:], tmp_path / "sorted")  # both as cats
    sort_into_folders(take(tmp_path / "more", "e"), ["dog"], tmp_path / "sorted", mode="move")
    undo(tmp_path / "sorted")
    assert list((tmp_path / "sorted").iterdir()) == []


def test_something_in_the_way_of_a_folder(tmp_path: Path) -> None:
    photos, into = take(tmp_path / "photos"), tmp_path / "sorted"
    into.mkdir()
    for make in (
        lambda path: path.write_text("x"),
        lambda path: path.symlink_to("nowhere"),
        os.mkfifo,
    ):
        make(into / "dog")
        names = ["cat", "cat", "dog", "dog"]
        refuse_twice(r"cannot make the folder .*dog: a file has", photos, names, into, "move")
        (into / "dog").unlink()
    (into / "dog").symlink_to(tmp_path / "photos")
    refuse_twice(r"dog is a link that leads out of", photos, names, into, "copy")
    (into / "dog").unlink()
    assert sort(photos, into).folders == {"cat": 2, "dog": 2}


WITHOUT_PERMISSION = """
import sys
from pathlib import Path
from clusterkit.errors import InvalidInputError
from clusterkit.routing import sort_into_folders
for home in map(Path, sys.argv[1:]):
    files = sorted((home / "photos").iterdir())
    try:
        sort_into_folders(files, ["cat", "cat", "dog", "dog"], home / "sorted", mode="move")
    except InvalidInputError as error:
        print(error)
"""


def test_folders_without_permission(tmp_path: Path) -> None:
    folders = [tmp_path / "0/photos", tmp_path / "1/sorted", tmp_path / "2/sorted/dog"]
    homes = [tmp_path / str(number) for number in range(3)]
    for home in homes:
        take(home / "photos")
        (home / "sorted/dog").mkdir(parents=True)
    for folder in folders:
        folder.chmod(0o555)
    try:
        command = without_privileges([sys.executable, "-c", WITHOUT_PERMISSION, *map(str, homes)])
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert run.stdout.splitlines() == [
        f"no permission to move files out of {folders[0]}",
        f"cannot write in {folders[1]}: Permission denied",
        f"cannot write in {folders[2]}: no permission",
    ]
    assert [len(texts(home / "photos")) for home in homes] == [4, 4, 4]


@pytest.mark.parametrize("mode", ["copy", "link", "move"])
def test_two_paths_to_one_file(tmp_path: Path, mode: str) -> None:
    photos = take(tmp_path / "photos/2024")
    (tmp_path / "photos/best").symlink_to("2024")
    again = [tmp_path / "photos/best" / file.name for file in photos]
    names = ["cat", "cat", "dog", "dog"] * 2
    for n_new in (4, 0):
        sorting = sort_into_folders(photos + again, names, tmp_path / "sorted", mode=mode)
        assert (len(sorting.transfers), sorting.n_present) == (n_new, 8 - n_new)
    assert sorted(texts(tmp_path / "sorted")) == [
        f"{p}.jpg" for p in ("cat/a", "cat/b", "dog/c", "dog/d")
    ]
    assert undo(tmp_path / "sorted").n_undone == 4
    assert sorted(path.name for path in (tmp_path / "photos").rglob("*.jpg")) == [
        file.name for file in photos
    ]


def test_two_paths_to_one_file_and_two_folders(tmp_path: Path) -> None:
    photos = take(tmp_path / "photos/2024", "a")
    (tmp_path / "photos/best").symlink_to("2024")
    photos.append(tmp_path / "photos/best/a.jpg")
    message = r"2024/a\.jpg and .*best/a\.jpg are two paths to one file"
    refuse_twice(message, photos, ["cat", "dog"], tmp_path / "sorted", "move")


def test_two_names_of_one_file_are_two_files(tmp_path: Path) -> None:
    """Each hard link is a separate entry, and is moved like any other file."""
    photos = take(tmp_path / "photos", "a")
    os.link(photos[0], tmp_path / "photos/b.jpg")
    photos.append(tmp_path / "photos/b.jpg")
    sort(photos, tmp_path / "sorted")
    assert len(texts(tmp_path / "sorted")) == 2
    assert undo(tmp_path / "sorted").n_undone == 2
    assert len(texts(tmp_path / "photos")) == 2


@pytest.mark.parametrize("mode", ["copy", "link", "move"])
@pytest.mark.parametrize(
    "name",
    [
        "x" * 251 + ".jpg",
        "é" * 125 + "x.jpg",
        "🐈" * 62 + "abc.jpg",
        "." + "x" * 254,
        "x." + "y" * 253,
    ],
    ids=["ascii", "two bytes", "four bytes", "hidden", "suffix"],
)
def test_names_of_255_bytes(tmp_path: Path, name: str, mode: str) -> None:
    assert len(os.fsencode(name)) == 255
    photos = []
    for number in range(3):
        photos.append(tmp_path / "photos" / str(number) / name)
        photos[-1].parent.mkdir(parents=True)
        photos[-1].write_text(str(number))
    before = sorted((tmp_path / "photos").rglob("*"))
    sort_into_folders(photos, ["cat"] * 3, tmp_path / "sorted", mode=mode)
    found = sorted((tmp_path / "sorted/cat").iterdir())
    assert sorted(file.read_text() for file in found) == ["0", "1", "2"]
    assert all(file.suffix == photos[0].suffix or len(photos[0].suffix) > 32 for file in found)
    assert sort_into_folders(photos, ["cat"] * 3, tmp_path / "sorted", mode=mode).transfers == []
    assert undo(tmp_path / "sorted").n_undone == 3
    assert sorted((tmp_path / "photos").rglob("*")) == before


@pytest.mark.parametrize("n_folders", [19, 25])
def test_a_path_that_is_too_long(tmp_path: Path, n_folders: int) -> None:
    photos = take(tmp_path / "photos/one")
    into = tmp_path / "photos" / "/".join(["x" * 200] * n_folders) / ("y" * 200)
    refuse_twice("File name too long", photos, ["cat"] * 4, into, "move")


@pytest.mark.parametrize(
    ("one", "other"),
    [("Cat", "cat"), ("STRASSE", "straße"), (unicodedata.normalize("NFD", "café"), "café")],
)
def test_folders_that_are_one_on_other_systems(tmp_path: Path, one: str, other: str) -> None:
    photos = take(tmp_path / "photos/one", "ab")
    message = "one folder on Windows and macOS"
    refuse_twice(message, photos, [one, other], tmp_path / "sorted", "move")
    # Neither beside one that is there already.
    sort_into_folders(photos[:1], [one], tmp_path / "sorted")
    with pytest.raises(InvalidInputError, match=message):
        sort_into_folders(photos[1:], [other], tmp_path / "sorted")


def test_a_photo_that_was_moved_on_by_hand_is_there(tmp_path: Path) -> None:
    photos, into = take(tmp_path / "photos"), tmp_path / "sorted"
    sort(photos, into)
    (into / "cat/a.jpg").rename(into / "dog/a.jpg")
    again = sort(photos, into)
    assert (again.transfers, again.n_present) == ([], 4)
    # It is still known when a new photo has its old name.
    photos[0].write_text("a new one")
    assert sort(photos, into).folders == {"cat": 1}
    done = undo(into)
    assert (done.n_undone, len(done.kept)) == (4, 1)
    assert sorted(texts(tmp_path).values()) == ["a new one"] + [f"photo {name}" for name in "abcd"]


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_a_copy_that_was_moved_on_by_hand_is_not_made_again(tmp_path: Path, mode: str) -> None:
    photos, into = take(tmp_path / "photos"), tmp_path / "sorted"
    sort(photos, into, mode)
    (into / "cat/a.jpg").rename(into / "dog/mine.jpg")
    again = sort(photos, into, mode)
    assert (again.transfers, again.n_present) == ([], 4)
    assert not (into / "cat/a.jpg").exists()
    # One that was deleted is made again.
    (into / "dog/mine.jpg").unlink()
    assert sort(photos, into, mode).folders == {"cat": 1}


def cut_move(tmp_path: Path, content: str) -> tuple[list[Path], Path, Path]:
    """Interrupt a move between disks like a power loss: one photo exists only in a part."""
    photos, into = take(tmp_path / "photos"), tmp_path / "sorted"
    sort(photos, into)
    part = into / "cat/.clusterkit.part"
    (into / "cat/a.jpg").unlink()
    part.write_text(content)
    return photos, into, part


@pytest.mark.parametrize("way", ["same command", "other files", "undo"])
def test_a_part_is_adopted_by_its_digest(tmp_path: Path, way: str) -> None:
    photos, into, part = cut_move(tmp_path, "photo a")
    if way == "same command":
        assert sort(photos, into).n_present == 3
    elif way == "other files":
        sort_into_folders(take(tmp_path / "more", "e"), ["cat"], into, mode="move")
    else:
        assert undo(into, dry_run=True).n_undone == 4
    if way != "undo":
        assert (into / "cat/a.jpg").read_text() == "photo a"
        assert not part.exists()
    undo(into)
    assert texts(tmp_path / "photos") == {f"{name}.jpg": f"photo {name}" for name in "abcd"}
    assert not into.exists()


def test_a_part_of_unknown_content_is_kept_and_said(tmp_path: Path) -> None:
    _, into, part = cut_move(tmp_path, "nobody knows this")
    for act in (
        lambda: sort_into_folders(take(tmp_path / "more", "e"), ["cat"], into),
        lambda: undo(into),
    ):
        with pytest.warns(UserWarning, match=r"\.clusterkit\.part .* it is kept"):
            act()
        assert part.read_text() == "nobody knows this"
    assert len(texts(tmp_path / "photos")) == 3


@pytest.mark.parametrize("content", ["", "phot", "photo a"])
def test_a_part_of_a_file_that_is_still_there_goes(tmp_path: Path, content: str) -> None:
    photos, into = take(tmp_path / "photos"), tmp_path / "sorted"
    sort(photos[1:2], into, "copy")
    (into / "cat/.clusterkit.part").write_text(content)
    sort(photos[:2], into, "copy")
    assert [path.name for path in (into / "cat").iterdir()].count(".clusterkit.part") == 0
    (into / "cat/.clusterkit.part").write_text(content)
    undo(into)
    assert not into.exists()
    assert len(texts(tmp_path / "photos")) == 4


def test_a_part_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    photos, into = take(tmp_path / "photos"), tmp_path / "sorted"
    (into / "cat").mkdir(parents=True)
    (tmp_path / "precious").write_text("precious")
    (into / "cat/.clusterkit.part").symlink_to(tmp_path / "precious")
    sort(photos, into, "copy")
    assert (tmp_path / "precious").read_text() == "precious"


def test_an_undo_that_was_cut_between_disks(tmp_path: Path) -> None:
    """Its part is next to the old place, and the sorted file is gone: the rename was lost."""
    photos, into = take(tmp_path / "photos"), tmp_path / "sorted"
    sort(photos, into)
    (into / "cat/a.jpg").rename(tmp_path / "photos/.clusterkit.part")
    assert undo(into).n_undone == 4
    assert texts(tmp_path / "photos") == {f"{name}.jpg": f"photo {name}" for name in "abcd"}
    assert not (tmp_path / "photos/.clusterkit.part").exists()


@pytest.mark.parametrize("across", [True, False])
def test_what_is_flushed_before_a_file_is_removed(
    tmp_path: Path, across: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Manifest, folders, content and name are on the disk before the only other copy goes."""
    photos, into = take(tmp_path / "photos", "a"), tmp_path / "sorted"
    events: list[tuple[str, str]] = []
    link, unlink = os.link, os.unlink

    def fsync(descriptor: int) -> None:
        events.append(("flush", str(Path(f"/proc/self/fd/{descriptor}").readlink())))

    def linked(source: Any, target: Any, **options: Any) -> None:
        if across and Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target, **options)
        events.append(("name", str(target)))

    def unlinked(path: Any, **options: Any) -> None:
        unlink(path, **options)
        events.append(("remove", str(path)))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "unlink", unlinked)
    sort_into_folders(photos, ["cat"], into, mode="move")
    photo, target = str(photos[0]), str(into / "cat/a.jpg")
    removed = events.index(("remove", photo))
    before = events[:removed]
    assert ("flush", str(tmp_path)) in before  # the name of the sorted folder
    assert before.index(("flush", str(into))) < before.index(("name", target))  # manifest
    assert ("flush", str(into)) in before[before.index(("flush", str(into))) + 1 :]  # class folder
    if across:
        part = str(into / "cat/.clusterkit.part")
        assert before.index(("flush", part)) < before.index(("name", target))
        named = before.index(("name", target))
        assert ("flush", str(into / "cat")) in before[named:]
    assert {("flush", str(into / "cat")), ("flush", photo.rpartition("/")[0])} <= set(
        events[removed:] if not across else events
    )
