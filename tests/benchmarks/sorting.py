"""Check that sorting loses nothing when it is killed, or runs in four processes at once.

``python -m tests.benchmarks.sorting kills --images DIR`` copies the photos in DIR, embeds them, and
alternates ``clusterkit cluster --into sorted --mode move`` and ``clusterkit undo`` in processes
that are killed (SIGKILL) at random moments, until ``-n`` sortings were killed: within one disk, and
between two disks if ``--other`` is a folder on another one.  ``together`` lets four processes sort
files into one folder, and undo it, for ``--seconds``.  After each kill, and at the end, every file
must exist, by its SHA-256, and every file in the sorted folder must be in the manifest.  Prints one
JSON document.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from clusterkit.errors import InvalidInputError, NotFoundError
from clusterkit.images.folder import ImageFolder
from clusterkit.routing import MANIFEST_NAME, sort_into_folders, undo
from clusterkit.routing.manifest import read_manifest
from clusterkit.utils.files import LOCK_NAME

OWN = (MANIFEST_NAME, LOCK_NAME)


def contents(*folders: Path) -> dict[Path, str]:
    """Return the digest of every file below folders, without the files of sorting itself."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.name not in OWN
    }


def check(expected: set[str], photos: Path, into: Path) -> None:
    """Check that no file is lost, and that the manifest has all files of the sorted folder."""
    assert expected == set(contents(photos, into).values()) & expected, "a file is lost"
    listed = set()
    if (into / MANIFEST_NAME).exists():
        listed = {into / transfer.target for transfer in read_manifest(into).transfers}
    unlisted = [path for path in contents(into) if path not in listed and path.suffix != ".part"]
    assert not unlisted, f"not in the manifest: {unlisted}"


def start(command: list[str], folder: Path) -> int:
    """Run the command line in a fork of this process, which has all imports already."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.chdir(folder)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        if "CLUSTERKIT_SHOW" not in os.environ:
            os.dup2(silence, 2)
        from clusterkit.cli import main

        main(command, standalone_mode=False)
        status = 0
    finally:
        os._exit(status)


def kills(images: Path, n: int, other: Path | None, seed: int) -> dict[str, Any]:
    """Kill sortings and undos until ``n`` sortings were killed, and check after each kill."""
    import clusterkit.clustering.cluster
    import clusterkit.store.store  # noqa: F401 (for the forks)

    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory(dir=other) as away:
        home = Path(name)
        shutil.copytree(images, home / "photos")
        embed = ["embed", "photos", "-e", "pixels"]
        assert os.waitpid(start(embed, home), 0)[1] == 0
        photos = home / "photos"
        expected = set(contents(photos).values())
        counts = {"files": len(expected), "killed sortings": 0, "killed undoings": 0, "finished": 0}
        while counts["killed sortings"] < n:
            into = Path(away, "sorted") if other and rng.random() < 0.5 else home / "sorted"
            steps = [["cluster", "-k", "5", "--into", str(into), "--mode", "move", "--overwrite"]]
            steps.append(["undo", str(into)])
            for command in steps:
                is_done = False
                while not is_done:
                    counted = f"killed {'sortings' if command[0] == 'cluster' else 'undoings'}"
                    child = start(command, home)
                    # k-means runs first; sorting begins with the manifest.
                    waits_until = time.monotonic() + 10
                    while not (into / MANIFEST_NAME).exists() and time.monotonic() < waits_until:
                        time.sleep(0.0005)
                    if rng.random() < (0.9 if command[0] == "cluster" else 0.4):
                        time.sleep(rng.uniform(0, 1.0))
                        os.kill(child, signal.SIGKILL)
                    status = os.waitpid(child, 0)[1]
                    if status == 0:
                        counts["finished"] += 1
                        is_done = True
                    else:
                        assert os.WIFSIGNALED(status), f"{command} failed"
                        counts[counted] += 1
                    check(expected, photos, into)
            assert not into.exists()
            assert set(contents(photos).values()) == expected, "undo left a file behind"
        return counts


_TOGETHER = "import sys; from tests.benchmarks.sorting import take_turns; take_turns(*sys.argv[1:])"


def take_turns(photos: str, into: str, seconds: str, seed: str) -> None:
    """Sort files into a folder that other processes use, too, and sometimes undo everything."""
    rng, end = random.Random(int(seed)), time.monotonic() + float(seconds)
    counts = {"sorted": 0, "undone": 0, "waited": 0}
    while time.monotonic() < end:
        try:
            if rng.random() < 0.1:
                undo(into)
                counts["undone"] += 1
            else:
                files = ImageFolder(photos).files
                chosen = rng.sample(files, rng.randint(1, len(files)))
                names = [rng.choice(["cat", "dog", "wild"]) for _ in chosen]
                sort_into_folders(chosen, names, into, mode="move")
                counts["sorted"] += 1
        except NotFoundError:
            counts["waited"] += 1  # Nothing to undo.
        except InvalidInputError as error:
            # Another process holds the lock, or all files are sorted until a process undoes it.
            reasons = ("another run", "no image", "cannot write in")
            if not any(reason in str(error) for reason in reasons):
                raise
            counts["waited"] += 1
            time.sleep(0.001)
    print(json.dumps(counts))


def together(images: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Let four processes sort into one folder at once."""
    files = ImageFolder(images).files
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        runs = []
        for number in range(4):
            (home / "photos" / str(number)).mkdir(parents=True)
            for file in files[number::4][:50]:
                shutil.copy(file, home / "photos" / str(number) / f"{number} {file.name}")
        expected = set(contents(home / "photos").values())
        n_files = len(contents(home / "photos"))
        for number in range(4):
            arguments = [home / "photos" / str(number), home / "sorted", seconds, seed + number]
            command = [sys.executable, "-c", _TOGETHER, *map(str, arguments)]
            runs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        printed = [run.communicate()[0] for run in runs]
        assert [run.returncode for run in runs] == [0] * 4, "a traceback"
        check(expected, home / "photos", home / "sorted")
        assert len(contents(home / "photos", home / "sorted")) == n_files
        if (home / "sorted" / MANIFEST_NAME).exists():
            assert not undo(home / "sorted").kept
        assert len(contents(home / "photos")) == n_files
        counts = [json.loads(line) for line in printed]
        return {"files": n_files} | {key: sum(c[key] for c in counts) for key in counts[0]}


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["kills", "together"])
    parser.add_argument("--images", type=Path, required=True, help="photos")
    parser.add_argument("-n", type=int, default=100, help="number of sortings to kill")
    parser.add_argument("--other", type=Path, help="folder on another disk")
    parser.add_argument(
        "--seconds", type=float, default=120, help="duration of `together` in seconds"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.what == "kills":
        found = kills(options.images, options.n, options.other, options.seed)
    else:
        found = together(options.images, options.seconds, options.seed)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
