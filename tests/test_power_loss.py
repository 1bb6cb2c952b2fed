"""A power loss loses nothing that was sorted, tested with file systems in files."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from clusterkit.routing import MANIFEST_NAME, sort_into_folders

N_PHOTOS = 50

# Sorts, writes a table like `clusterkit cluster`, and reports that it is done.
RUN = """
import sys
from pathlib import Path
from clusterkit.utils.files import write_whole
from clusterkit.routing import sort_into_folders, undo
photos, into, table, mode, action = sys.argv[1:]
if action == "undo":
    undo(into)
else:
    files = sorted(Path(photos).glob("*.jpg"))
    print("starts", flush=True)
    sort_into_folders(files, [file.stem[-1] for file in files], into, mode=mode)
    write_whole(table, "path,cluster\\n")
print("done", flush=True)
"""


class Disk(NamedTuple):
    """A file system in a file."""

    image: Path
    mounted: Path


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Disk]:
    """Mount a file system; skip the test if that is not permitted."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not permitted: {done.stderr.decode().strip()}")
    try:
        yield Disk(image, place)
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[list[Disk]]:
    """Mount two ext4 file systems."""
    tools = [shutil.which("mount"), shutil.which("mkfs.ext4")]
    if os.name == "nt" or os.geteuid() != 0 or None in tools:
        pytest.skip("mounting is not permitted: needs root, mount and mkfs.ext4")
    images = [tmp_path / "one.img", tmp_path / "other.img"]
    for image in images:
        with image.open("wb") as file:
            file.truncate(16 * 2**20)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with (
        mounted(images[0], tmp_path / "one") as one,
        mounted(images[1], tmp_path / "other") as other,
    ):
        yield [one, other]


def take(folder: Path) -> dict[str, bytes]:
    """Write photos, and flush them to the disk."""
    folder.mkdir()
    photos = {f"{number:02}.jpg": os.urandom(20_000) for number in range(N_PHOTOS)}
    for name, data in photos.items():
        (folder / name).write_bytes(data)
    os.sync()
    return photos


@contextmanager
def after_power_loss(disks: list[Disk], tmp_path: Path) -> Iterator[list[Path]]:
    """Mount copies of the disks, without anything that the system has not yet written."""
    copies = []
    for number, disk in enumerate(disks):
        copies.append(tmp_path / f"copy {number}.img")
        shutil.copyfile(disk.image, copies[-1])
    with (
        mounted(copies[0], tmp_path / "copy 0") as one,
        mounted(copies[1], tmp_path / "copy 1") as other,
    ):
        yield [one.mounted, other.mounted]


def start(photos: Path, into: Path, table: Path, mode: str, action: str) -> subprocess.Popen[str]:
    arguments = [str(argument) for argument in (photos, into, table, mode, action)]
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def found(*folders: Path) -> set[bytes]:
    """Return the content of every photo, under whatever name."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path.read_bytes() for path in files}


@pytest.mark.parametrize(("mode", "across"), [("move", False), ("move", True), ("copy", True)])
def test_after_success(disks: list[Disk], tmp_path: Path, mode: str, across: bool) -> None:
    """What is reported as done is done, also for undo."""
    photos = take(disks[0].mounted / "photos")
    place = int(across)
    into = disks[place].mounted / "sorted"
    table = disks[0].mounted / "clusters.csv"
    run = start(disks[0].mounted / "photos", into, table, mode, "sort")
    assert run.communicate()[0] == "starts\ndone\n"
    with after_power_loss(disks, tmp_path) as cut:
        assert (cut[0] / "clusters.csv").read_text() == "path,cluster\n"
        sorted_folder = cut[place] / "sorted"
        assert len((sorted_folder / MANIFEST_NAME).read_text().splitlines()) == N_PHOTOS + 1
        for name, data in photos.items():
            assert (sorted_folder / name[1] / name).read_bytes() == data
        assert len(list((cut[0] / "photos").iterdir())) == (0 if mode == "move" else N_PHOTOS)
    run = start(disks[0].mounted / "photos", into, table, mode, "undo")
    assert run.communicate()[0] == "done\n"
    with after_power_loss(disks, tmp_path) as cut:
        for name, data in photos.items():
            assert (cut[0] / "photos" / name).read_bytes() == data


@pytest.mark.parametrize("across", [False, True], ids=["one disk", "two disks"])
def test_in_the_middle(disks: list[Disk], tmp_path: Path, across: bool) -> None:
    """Cut anywhere, every photo is there, and the same command and undo go on."""
    photos = take(disks[0].mounted / "photos")
    place = int(across)
    into = disks[place].mounted / "sorted"
    run = start(disks[0].mounted / "photos", into, disks[0].mounted / "t.csv", "move", "sort")
    assert run.stdout is not None
    run.stdout.readline()
    while len(list(into.glob("*/*.jpg"))) < 10 and run.poll() is None:
        time.sleep(0.001)
    with suppress(ProcessLookupError):
        os.kill(run.pid, signal.SIGSTOP)
    try:
        with after_power_loss(disks, tmp_path) as cut:
            assert set(photos.values()) <= found(*cut)
            # The copies have other paths, so the manifest is not that of this run.
            files = sorted((cut[0] / "photos").glob("*.jpg"))
            names = [file.stem[-1] for file in files]
            sort_into_folders(files, names, cut[place] / "sorted", mode="move")
            assert set(photos.values()) <= found(*cut)
    finally:
        run.kill()
        run.communicate()
