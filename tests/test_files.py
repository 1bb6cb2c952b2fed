"""Result files are written completely or not at all, and never over another file."""

import errno
import os
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from clusterkit.errors import InvalidInputError, NotFoundError, OutputExistsError
from clusterkit.utils.files import atomic_folder, check_output, flush, write_whole
from tests.grid_colours import REPOSITORY, without_privileges


def test_what_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    assert check_output(str(tmp_path / "new.csv")) == tmp_path / "new.csv"
    with pytest.raises(NotFoundError, match=r"no such folder: .*nowhere"):
        check_output(tmp_path / "nowhere/new.csv")
    with pytest.raises(OutputExistsError, match="is a folder; name a file"):
        check_output(tmp_path, overwrite=True)
    (tmp_path / "old.csv").touch()
    (tmp_path / "dangling.csv").symlink_to("nowhere")
    for name in ("old.csv", "dangling.csv"):
        with pytest.raises(OutputExistsError, match=f"{name} exists.*--overwrite .*overwrite=True"):
            check_output(tmp_path / name)
        check_output(tmp_path / name, overwrite=True)


def test_a_device_or_pipe_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "stdout").symlink_to("/dev/null")
    for name in ("pipe", "stdout"):
        with pytest.raises(InvalidInputError, match=f"{name} is a device or pipe, not a regular"):
            check_output(tmp_path / name, overwrite=True)
    with pytest.raises(InvalidInputError, match=r"results are files: name one.* Received: -"):
        check_output("-", overwrite=True)


def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    new = tmp_path / "closed" / "new.csv"
    code = f"from clusterkit.utils.files import check_output; check_output('{new}')"
    command = without_privileges([sys.executable, "-c", code])
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.stderr.endswith(f"InvalidInputError: no permission to write in {tmp_path}/closed\n")


def test_a_file_appears_whole_and_replaces(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "ünï")
    assert (tmp_path / "a.txt").read_bytes() == "ünï".encode()
    write_whole(str(tmp_path / "a.txt"), b"\0\1")
    assert (tmp_path / "a.txt").read_bytes() == b"\0\1"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    # A limit on the size of files simulates a full disk.
    code = (
        "import resource;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "from clusterkit.utils.files import write_whole;"
        f"write_whole('{tmp_path}/a.txt', bytes(5000))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.stderr.endswith(
        f"InvalidInputError: cannot write {tmp_path}/a.txt: File too large\n"
    )
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot write .*No such file or directory"):
        write_whole(tmp_path / "nowhere/a.txt", "")


@pytest.mark.parametrize("name", ["a.txt", "."])
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_disk_that_flushes_no_folder(
    tmp_path: Path, name: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("a")

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    is_fine = name == "." and number == errno.EINVAL
    with nullcontext() if is_fine else pytest.raises(OSError, match=os.strerror(number)):
        flush(tmp_path / name)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "new"
    with suppress(ZeroDivisionError), atomic_folder(folder) as part:
        (part / "half.txt").touch()
        raise ZeroDivisionError
    assert list(folder.parent.iterdir()) == []
    for content in ("first", "second"):
        with atomic_folder(folder) as part:
            (part / "file.txt").write_text(content)
    # A file that another process wrote meanwhile is kept.
    assert (folder / "file.txt").read_text() == "first"
    assert list(folder.parent.iterdir()) == [folder]
