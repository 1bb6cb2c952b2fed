"""Sorting files into folders: nothing is lost or overwritten, and all of it can be undone."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clusterkit.errors import InvalidInputError, NotFoundError, OutputExistsError
from clusterkit.routing import MANIFEST_NAME, MODES, sort_into_folders, undo
from clusterkit.routing.manifest import read_manifest
from clusterkit.routing.signatures import sign_moves
from clusterkit.utils.files import locked
from tests.kills import Killed, killed_at

NAMES = ("cat", "dog", "wild")


@pytest.fixture
def photos(tmp_path):
    """Twelve files in two folders that share their file names."""
    for folder in ("one", "two"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for number in range(6):
            file = tmp_path / "photos" / folder / f"{number}.jpg"
            file.write_text(f"{folder} {number}")
            os.utime(file, ns=(10**18, 10**18 + number))
    return tmp_path / "photos"


def names_of(files):
    return [NAMES[int(Path(file).stem.split()[0]) % 3] for file in files]


def sort(photos, into, files=None, **options):
    files = sorted(photos.rglob("*.jpg")) if files is None else files
    return sort_into_folders(files, names_of(files), into, **options)


def contents(folder):
    """Return every file below a folder with its digest, and every folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def refuse(*arguments, **options):
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("mode", MODES)
def test_sorts_and_takes_back(photos, tmp_path, mode):
    before = contents(tmp_path)
    sorting = sort(photos, tmp_path / "sorted", mode=mode)
    assert sorting.folders == {"cat": 4, "dog": 4, "wild": 4}
    assert (tmp_path / "sorted/cat/0.jpg").read_text() == "one 0"
    assert (tmp_path / "sorted/cat/0 (2).jpg").read_text() == "two 0"
    assert (tmp_path / "sorted/cat/0.jpg").is_symlink() == (mode == "link")
    assert (tmp_path / "sorted/wild/5.jpg").stat().st_mtime_ns == 10**18 + 5
    assert len(list(photos.rglob("*.jpg"))) == (0 if mode == "move" else 12)
    undoing = undo(tmp_path / "sorted")
    assert (undoing.n_undone, undoing.kept, undoing.missing) == (12, [], [])
    assert contents(tmp_path) == before
    assert (photos / "one/5.jpg").stat().st_mtime_ns == 10**18 + 5


@pytest.mark.parametrize("mode", MODES)
def test_running_again_changes_nothing(photos, tmp_path, mode):
    files = sorted(photos.rglob("*.jpg"))
    sort(photos, tmp_path / "sorted", files, mode=mode)
    before = contents(tmp_path)
    again = sort(photos, tmp_path / "sorted", files, mode=mode)
    assert (again.transfers, again.n_present) == ([], 12)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("mode", MODES)
def test_a_dry_run_writes_nothing(photos, tmp_path, mode):
    before = contents(tmp_path)
    planned = sort(photos, tmp_path / "sorted", mode=mode, dry_run=True)
    assert contents(tmp_path) == before
    done = sort(photos, tmp_path / "sorted", mode=mode)
    assert [t[:3] for t in planned.transfers] == [t[:3] for t in done.transfers]
    before = contents(tmp_path)
    assert undo(tmp_path / "sorted", dry_run=True).n_undone == 12
    assert contents(tmp_path) == before


def test_further_files_can_be_added(photos, tmp_path):
    files = sorted(photos.rglob("*.jpg"))
    before = contents(tmp_path)
    sort(photos, tmp_path / "sorted", files[:6], mode="move")
    added = sort(photos, tmp_path / "sorted", files[6:], mode="move")
    assert [Path(t.target).name for t in added.transfers] == [f"{n} (2).jpg" for n in range(6)]
    undo(tmp_path / "sorted")
    assert contents(tmp_path) == before


def test_the_sorted_folder_may_lie_among_the_files(photos):
    before = contents(photos)
    for _ in range(2):
        sort(photos, photos / "sorted", mode="copy")
    assert len(list((photos / "sorted").rglob("*.jpg"))) == 12
    undo(photos / "sorted")
    for _ in range(2):
        sort(photos, photos, mode="move")
    assert {path.name for path in photos.iterdir()} == {"one", "two", *NAMES, MANIFEST_NAME}
    undo(photos)
    assert contents(photos) == before


def test_files_of_others_are_never_overwritten(photos, tmp_path):
    for name in ("0.jpg", "0 (2).JPG"):
        (tmp_path / "sorted/cat").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sorted/cat" / name).write_text("precious")
    before = contents(tmp_path)
    sort(photos, tmp_path / "sorted", mode="move")
    assert (tmp_path / "sorted/cat/0.jpg").read_text() == "precious"
    assert (tmp_path / "sorted/cat/0 (3).jpg").read_text() == "one 0"
    assert (tmp_path / "sorted/cat/0 (4).jpg").read_text() == "two 0"
    undo(tmp_path / "sorted")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_file_that_appears_meanwhile_is_not_overwritten(
    photos, tmp_path, mode, hard_links, monkeypatch
):
    before = contents(photos)
    if not hard_links:
        monkeypatch.setattr(os, "link", refuse)

    make_folder = Path.mkdir

    def mkdir(self, *arguments, **options):
        make_folder(self, *arguments, **options)
        if self.name == "cat":
            (self / "3.jpg").write_text("precious")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(InvalidInputError, match=r"cannot .*3\.jpg: File exists\. 3 of 12"):
        sort(photos, tmp_path / "sorted", mode=mode)
    monkeypatch.undo()
    sort(photos, tmp_path / "sorted", mode=mode)
    assert (tmp_path / "sorted/cat/3.jpg").read_text() == "precious"
    assert len(list((tmp_path / "sorted").rglob("*.jpg"))) == 13
    undo(tmp_path / "sorted")
    assert contents(photos) == before
    assert [path.name for path in (tmp_path / "sorted").rglob("*.jpg")] == ["3.jpg"]


def run_until_killed(run, victim, count, across=False):
    sign_moves([])  # makes the user's key, once
    with killed_at(count, victim=victim, across=across), pytest.raises(Killed):
        run()


@pytest.mark.parametrize(
    ("mode", "victim", "count", "across"),
    [
        ("move", (os, "link"), 1, False),
        ("move", (os, "link"), 6, False),
        # Between the two steps of a move, the file is in both places.
        ("move", (os, "unlink"), 6, False),
        ("move", (os, "unlink"), 17, True),
        ("move", (os, "fsync"), 5, True),
        ("copy", (os, "link"), 6, False),
        ("link", (os, "symlink"), 6, False),
    ],
)
@pytest.mark.parametrize("resume", [True, False])
def test_a_killed_run_goes_on_and_is_undone(photos, tmp_path, mode, victim, count, across, resume):
    files = sorted(photos.rglob("*.jpg"))
    before = contents(tmp_path)
    everything = sorted(digest for digest in before.values() if digest)
    run_until_killed(lambda: sort(photos, tmp_path / "sorted", mode=mode), victim, count, across)
    assert set(everything) <= set(contents(tmp_path).values()), "a file is lost"
    if resume:
        # Like a user, by the same call on the files that are still listed.
        left = sorted(photos.rglob("*.jpg"))
        sort(photos, tmp_path / "sorted", left if mode == "move" else files, mode=mode)
        assert (
            sorted(
                digest
                for path, digest in contents(tmp_path / "sorted").items()
                if path.endswith(".jpg")
            )
            == everything
        )
        assert bool(list(photos.rglob("*.jpg"))) == (mode != "move")
        # Each is in the place that the first run planned, and each is planned once.
        found = {path.name for path in (tmp_path / "sorted").glob("*/*.jpg")}
        assert found == {f"{n}.jpg" for n in range(6)} | {f"{n} (2).jpg" for n in range(6)}
        assert len((tmp_path / "sorted" / MANIFEST_NAME).read_text().splitlines()) == 13
    undoing = undo(tmp_path / "sorted")
    assert (undoing.kept, undoing.missing) == ([], [])
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("victim", "count"), [((os, "link"), 4), ((os, "unlink"), 4), ((os, "rmdir"), 2)]
)
def test_a_killed_undo_goes_on(photos, tmp_path, victim, count):
    before = contents(tmp_path)
    sort(photos, tmp_path / "sorted", mode="move")
    run_until_killed(lambda: undo(tmp_path / "sorted"), victim, count)
    undoing = undo(tmp_path / "sorted")
    assert (undoing.kept, undoing.missing) == ([], [])
    assert contents(tmp_path) == before


def test_moving_between_disks(photos, tmp_path, monkeypatch):
    """On this disk, with the error that another disk would raise."""
    link = os.link

    def other_disk(source, target, **options):
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target, **options)

    monkeypatch.setattr(os, "link", other_disk)
    before = contents(tmp_path)
    sort(photos, tmp_path / "sorted", mode="move")
    assert list(photos.rglob("*.jpg")) == []
    assert (tmp_path / "sorted/wild/5.jpg").stat().st_mtime_ns == 10**18 + 5
    undo(tmp_path / "sorted")
    assert contents(tmp_path) == before


def test_a_disk_without_hard_links(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)
    before = contents(tmp_path)
    for mode in ("copy", "move"):
        sort(photos, tmp_path / "sorted", mode=mode)
        assert len(list((tmp_path / "sorted").rglob("*.jpg"))) == 12
        undo(tmp_path / "sorted")
        assert contents(tmp_path) == before


def test_a_full_disk_loses_nothing(photos, tmp_path, monkeypatch):
    copyfile = shutil.copyfile
    before = contents(photos)

    def fill_up(source, target, **options):
        copyfile(source, target, **options)
        if Path(source).name == "4.jpg":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fill_up)
    with pytest.raises(InvalidInputError, match=r"No space left on device\. 4 of 12 files"):
        sort(photos, tmp_path / "sorted", mode="copy")
    assert len(list((tmp_path / "sorted").rglob("*.*"))) == 4 + 1
    assert contents(photos) == before
    monkeypatch.undo()
    assert sort(photos, tmp_path / "sorted", mode="copy").n_present == 4
    undo(tmp_path / "sorted")
    assert not (tmp_path / "sorted").exists()


def test_a_folder_from_which_nothing_can_be_removed(photos, tmp_path, monkeypatch):
    unlink = Path.unlink

    def locked_folder(self, **options):
        if self.parent.name == "two":
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(self, **options)

    monkeypatch.setattr(Path, "unlink", locked_folder)
    with pytest.raises(InvalidInputError, match=r"cannot move .*two/0\.jpg .*Permission denied"):
        sort(photos, tmp_path / "sorted", mode="move")
    # Not in two places.
    assert len(list(tmp_path.rglob("*.jpg"))) == 12
    assert len(list((photos / "two").iterdir())) == 6


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_a_file_that_changes_while_it_is_copied(photos, tmp_path, mode, monkeypatch):
    copyfile = shutil.copyfile

    def change(source, target, **options):
        Path(source).write_text("changed")
        copyfile(source, target, **options)

    def other_disk(source, target, **options):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(shutil, "copyfile", change)
    monkeypatch.setattr(os, "link", other_disk)
    with pytest.raises(InvalidInputError, match=r"0\.jpg changed while it was being sorted"):
        sort(photos, tmp_path / "sorted", mode=mode)
    assert (photos / "one/0.jpg").read_text() == "changed"
    assert list((tmp_path / "sorted/cat").iterdir()) == []


def test_undo_keeps_what_would_be_lost(photos, tmp_path):
    sort(photos, tmp_path / "sorted", mode="copy")
    (tmp_path / "sorted/cat/0.jpg").write_text("retouched")
    (photos / "one/1.jpg").unlink()
    (tmp_path / "sorted/wild/2.jpg").unlink()
    undoing = undo(tmp_path / "sorted")
    assert undoing.n_undone == 9
    assert [(Path(path).name, reason) for path, reason in undoing.kept] == [
        ("0.jpg", "it was changed after it was sorted"),
        ("1.jpg", f"its original is gone: {photos / 'one/1.jpg'}"),
    ]
    assert (tmp_path / "sorted/dog/1.jpg").read_text() == "one 1"
    assert not (tmp_path / "sorted/wild").exists()
    assert len((tmp_path / "sorted" / MANIFEST_NAME).read_text().splitlines()) == 1 + 2
    # Resolved, another call takes back the rest.
    (photos / "one/1.jpg").write_text("one 1")
    (tmp_path / "sorted/cat/0.jpg").unlink()
    assert undo(tmp_path / "sorted").n_undone == 1
    assert not (tmp_path / "sorted").exists()


def test_undo_never_overwrites_the_old_place(photos, tmp_path):
    sort(photos, tmp_path / "sorted", mode="move")
    (photos / "one/0.jpg").write_text("another")
    (tmp_path / "sorted/dog/1.jpg").unlink()
    undoing = undo(tmp_path / "sorted")
    assert undoing.n_undone == 10
    assert undoing.missing == [str(photos / "one/1.jpg")]
    assert [Path(path).name for path, _ in undoing.kept] == ["0.jpg"]
    assert "another file is in its old place" in undoing.kept[0][1]
    assert (photos / "one/0.jpg").read_text() == "another"
    assert (tmp_path / "sorted/cat/0.jpg").read_text() == "one 0"


def test_undo_makes_a_removed_folder_again(photos, tmp_path):
    before = contents(photos)
    sort(photos, tmp_path / "sorted", mode="move")
    (photos / "one").rmdir()
    (tmp_path / "sorted").rename(tmp_path / "elsewhere")
    undo(tmp_path / "elsewhere")
    assert contents(photos) == before


def test_a_new_file_at_the_place_of_a_moved_one_is_sorted_too(photos, tmp_path):
    sort(photos, tmp_path / "sorted", mode="move")
    (photos / "one/0.jpg").write_text("new")
    assert sort(photos, tmp_path / "sorted", mode="move").folders == {"cat": 1}
    assert (tmp_path / "sorted/cat/0 (3).jpg").read_text() == "new"
    assert (tmp_path / "sorted/cat/0.jpg").read_text() == "one 0"


def test_an_edited_file_is_planned_anew(photos, tmp_path):
    sort(photos, tmp_path / "sorted", mode="copy")
    (tmp_path / "sorted/cat/0.jpg").unlink()
    (photos / "one/0.jpg").write_text("retouched")
    assert sort(photos, tmp_path / "sorted", mode="copy").n_present == 11
    assert (tmp_path / "sorted/cat/0.jpg").read_text() == "retouched"
    assert len((tmp_path / "sorted" / MANIFEST_NAME).read_text().splitlines()) == 13
    assert undo(tmp_path / "sorted").n_undone == 12


def test_odd_file_names(tmp_path):
    files = [
        tmp_path / name
        for name in ("a, b.jpg", 'say "hi".jpg', "two\nlines.jpg", "日本.jpg", ".jpg", "-n")
    ] + [tmp_path / os.fsdecode(b"\xff.jpg")]
    for number, file in enumerate(files):
        file.write_text(str(number))
    before = contents(tmp_path)
    sorting = sort_into_folders(files, [0] * 7, tmp_path / "sorted", mode="move")
    json.dumps(sorting.to_dict())
    assert len(list((tmp_path / "sorted/0").iterdir())) == 7
    undo(tmp_path / "sorted")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("a/b", "a_b"),
        ("..", "_"),
        ("", "_"),
        (" cat. ", "cat"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("what?*", "what__"),
        (-1, "-1"),
        ("é" * 200, "é" * 60),
        ("/etc/passwd", "_etc_passwd"),
    ],
)
def test_names_become_safe_folders(tmp_path, name, folder):
    (tmp_path / "x.jpg").write_text("x")
    sorting = sort_into_folders([tmp_path / "x.jpg"], [name], tmp_path / "sorted")
    assert list(sorting.folders) == [folder]
    assert (tmp_path / "sorted" / folder / "x.jpg").read_text() == "x"


def test_names_that_would_share_a_folder(tmp_path):
    files = [tmp_path / "x.jpg", tmp_path / "y.jpg"]
    with pytest.raises(InvalidInputError, match="'a/b' and 'a:b', which both become 'a_b'"):
        sort_into_folders(files, ["a/b", "a:b"], tmp_path / "sorted")


def test_thousands_of_files_of_one_name_are_planned_quickly(tmp_path):
    files = []
    for number in range(3000):
        (tmp_path / str(number)).mkdir()
        files.append(tmp_path / str(number) / "image.jpg")
        files[-1].touch()
    sorting = sort_into_folders(files, ["cat"] * 3000, tmp_path / "sorted", dry_run=True)
    assert sorting.transfers[-1].target == "cat/image (3000).jpg"


@pytest.mark.parametrize(
    ("files", "names", "mode", "message"),
    [
        (["a"], ["cat"], "hardlink", "must be one of copy, link, move. Received: 'hardlink'"),
        (["a", "b"], ["cat"], "copy", "Received: 2 files, 1 name"),
        (["a", "b", "c"], "cat", "copy", "Received: 3 files, 1 name"),
        (["a", "a"], ["cat", "dog"], "copy", "Twice: .*/a"),
    ],
)
def test_bad_arguments(tmp_path, files, names, mode, message):
    with pytest.raises(InvalidInputError, match=message):
        sort_into_folders(files, names, tmp_path / "sorted", mode=mode)
    assert not (tmp_path / "sorted").exists()


@pytest.mark.parametrize("origin", [{"k": [1]}, {"is_final": True}, "k = 3", [{"k": 3}, "k"]])
def test_an_origin_that_undo_could_not_read_stops_before_anything_is_done(photos, tmp_path, origin):
    with pytest.raises(InvalidInputError, match="origin must map names to texts, numbers or None"):
        sort(photos, tmp_path / "sorted", mode="move", origin=origin)
    assert not (tmp_path / "sorted").exists()


def test_an_origin_may_hold_numbers_of_numpy(photos, tmp_path):
    origin = {"k": np.int64(3), "share": np.float32(0.5), "seed": None}
    sort(photos, tmp_path / "sorted", origin=origin)
    sort(photos, tmp_path / "sorted", origin=origin)
    assert read_manifest(tmp_path / "sorted").origins == [{"k": 3, "share": 0.5, "seed": None}]
    assert undo(tmp_path / "sorted").n_undone == 12


def test_missing_files_stop_before_anything_is_done(photos, tmp_path):
    files = [*sorted(photos.rglob("*.jpg")), photos / "7.jpg"]
    with pytest.raises(NotFoundError, match=r"1 of the 13 files .* such as .*/7\.jpg"):
        sort(photos, tmp_path / "sorted", files, mode="move")
    assert not (tmp_path / "sorted").exists()
    assert len(list(photos.rglob("*.jpg"))) == 12


def test_folders_and_links_are_not_moved(photos, tmp_path):
    with pytest.raises(InvalidInputError, match="one is not a regular file"):
        sort_into_folders([photos / "one"], ["cat"], tmp_path / "sorted", mode="move")
    (photos / "7.jpg").symlink_to(photos / "one/0.jpg")
    with pytest.raises(InvalidInputError, match=r"7\.jpg is a link"):
        sort(photos, tmp_path / "sorted", mode="move")
    sort(photos, tmp_path / "sorted", mode="copy")
    assert (tmp_path / "sorted/dog/7.jpg").read_text() == "one 0"
    assert not (tmp_path / "sorted/dog/7.jpg").is_symlink()


def test_other_folders_or_modes_need_an_undo_first(photos, tmp_path):
    files = sorted(photos.rglob("*.jpg"))
    sort(photos, tmp_path / "sorted", mode="copy")
    with pytest.raises(OutputExistsError, match=r"0\.jpg was sorted into .* `clusterkit undo "):
        sort_into_folders(files, ["cluster"] * 12, tmp_path / "sorted")
    with pytest.raises(OutputExistsError, match=r"\(mode copy\).* \(mode link\)"):
        sort(photos, tmp_path / "sorted", mode="link")


def test_a_target_that_is_no_folder(photos, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInputError, match="cannot make the folder"):
        sort(photos, tmp_path / "file", mode="move")
    (tmp_path / "sorted").mkdir()
    (tmp_path / "sorted/dog").write_text("x")
    with pytest.raises(InvalidInputError, match=r"cannot make the folder .*dog"):
        sort(photos, tmp_path / "sorted", mode="move")
    assert len(list(photos.rglob("*.jpg"))) == 12


def test_two_runs_at_once(photos, tmp_path):
    (tmp_path / "sorted").mkdir()
    with (
        locked(tmp_path / "sorted"),
        pytest.raises(InvalidInputError, match="another run is sorting files in"),
    ):
        sort(photos, tmp_path / "sorted")
    assert list((tmp_path / "sorted").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged"),
        ("no json\n", "is damaged"),
        ("[]\n", "is damaged"),
        ('{"clusterkit_manifest": 2, "folders": []}\n', "must have format 1 .* Received: 2"),
        ('{"clusterkit_manifest": 1, "folders": []}\n{"source": "/x"}\n', "is damaged"),
        ('{"clusterkit_manifest": 1, "folders": ["../.."]}\n', "is not inside of its folder"),
        (
            '{"clusterkit_manifest": 1, "folders": []}\n'
            '{"source": "/x", "target": "/y", "mode": "move", "digest": ""}\n',
            "/y is not inside of its folder",
        ),
    ],
)
def test_a_damaged_manifest(photos, tmp_path, text, message):
    (tmp_path / MANIFEST_NAME).write_text(text)
    for call in (lambda: undo(tmp_path), lambda: sort(photos, tmp_path, mode="move")):
        with pytest.raises(InvalidInputError, match=message):
            call()
    assert len(list(photos.rglob("*.jpg"))) == 12


def test_nothing_to_undo(tmp_path):
    with pytest.raises(NotFoundError, match=f"no {MANIFEST_NAME} in {tmp_path}: nothing was"):
        undo(tmp_path)
    with pytest.raises(NotFoundError, match=f"no such folder: {tmp_path}/nowhere"):
        undo(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


LOCKING_RUN = """
import os, sys
from pathlib import Path
from clusterkit.errors import InvalidInputError
from clusterkit.utils.files import locked
folder, n_rounds = Path(sys.argv[1]), int(sys.argv[2])
n_held = n_shared = 0
while n_held < n_rounds:
    try:
        with locked(folder):
            try:
                os.close(os.open(folder / "held", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                n_shared += 1
            else:
                os.sched_yield()
                os.unlink(folder / "held")
            n_held += 1
    except InvalidInputError:
        os.sched_yield()
print(n_shared)
"""


def test_of_four_processes_one_holds_the_lock(tmp_path):
    command = [sys.executable, "-c", LOCKING_RUN, str(tmp_path), "20"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [run.communicate()[0] for run in runs] == ["0\n"] * 4
    assert list(tmp_path.iterdir()) == []
