"""Check that routing is safe: moves that are killed, resumed and undone bring every file back.

``python -m tests.benchmarks.route --images DIR`` trains a small network on DIR (one folder per
class).  It copies the photos to one folder under other names, adds broken files, and routes the
folder in separate processes: the first is killed halfway, and the next one resumes; the same for
undoing.  Files are compared by SHA-256 and modification time.  Prints one JSON document.
"""

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clusterkit.images.folder import ImageFolder
from clusterkit.routing import MANIFEST_NAME

# Runs the command line, and exits at a given call of os.link, which moves a file.
_COMMAND = """
import os, signal, sys
count, *arguments = sys.argv[1:]
link, calls = os.link, iter(range(1, 10**9))

def deadly(*paths, **options):
    if next(calls) == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return link(*paths, **options)

os.link = deadly
from clusterkit.cli import main
main(arguments)
"""
NEVER = 0


def run(*arguments: str | Path, killed_at_call: int = NEVER) -> dict[str, Any]:
    """Run the command line in a new process; return its JSON, or {} if it was killed."""
    command = [sys.executable, "-c", _COMMAND, str(killed_at_call), *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if killed_at_call != NEVER:
        assert done.returncode == -signal.SIGKILL, done.stderr
        return {}
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Return the digest and the modification time of each file below a folder, by path.

    Files that sorting keeps for itself are left out.
    """
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (MANIFEST_NAME, ".clusterkit.lock")
    }


def mix(photos: Path, folder: Path, n: int) -> None:
    """Write a folder of ``n`` files: photos with meaningless names, and some broken files."""
    files = ImageFolder(photos).files
    rng = random.Random(0)
    rng.shuffle(files)
    n_broken = max(1, n // 100)
    for number, file in enumerate(files[: n - n_broken]):
        # As from three cameras with the same numbering: each name is in every folder.
        target = folder / f"camera {number % 3}" / f"IMG_{number // 3:04}{file.suffix.upper()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    for number in range(n_broken):
        (folder / f"broken {number}.jpg").write_bytes(rng.randbytes(1000))
    (folder / "notes.txt").write_text("not an image\n")
    assert len(ImageFolder(folder)) == n


def check(
    model: Path,
    folder: Path,
    into: Path,
    *,
    threshold: float = 0.4,
    run: Callable[..., dict[str, Any]] = run,
) -> dict[str, Any]:
    """Move the images of a folder with interruptions, undo it with one, and compare at each step.

    Parameters
    ----------
    model, folder, into : path
        The classifier, the images, and the folder to which they are moved.
    threshold : float
        Minimum probability; images below it are doubtful.
    run : callable
        Runs the command line, like :func:`run`.

    Returns
    -------
    dict
        Number of images ``n``, number of those moved before the kill, folders after the run was
        resumed, and ``failures`` that were not moved.
    """
    before = state(folder)
    everything = sorted(before.values())
    n_images = len(ImageFolder(folder))
    options = (folder, "--model", model, "--into", into, "--mode", "move", "--threshold", threshold)
    route = ("route", *map(str, options))
    planned = run(*route, "--dry-run")
    assert (state(folder), into.exists()) == (before, False), "a dry run has changed something"

    run(*route, killed_at_call=planned["n"] // 2)
    moved = state(into)
    both = sorted([*state(folder).values(), *moved.values()])
    assert both == everything, "a file was lost or doubled by the kill"

    done = run(*route)
    routed = state(into)
    assert sorted([*state(folder).values(), *routed.values()]) == everything
    assert len(routed) == planned["n"] == n_images - len(planned["failures"])
    planned_targets = {transfer["target"] for transfer in planned["transfers"]}
    assert set(routed) == planned_targets, "a file is not where the first plan wanted it"

    run("undo", into, killed_at_call=planned["n"] // 3)
    undone = run("undo", into)
    assert (undone["kept"], undone["missing"]) == ([], [])
    assert state(folder) == before, "a file is not back"
    assert not into.exists()
    return {
        "n": n_images,
        "moved_when_killed": len(moved),
        "moved_after": done["n"],
        "folders": planned["folders"],
        "failures": len(planned["failures"]),
    }


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="photos, one folder per class")
    parser.add_argument("--model", type=Path, help="classifier; by default, a small one is trained")
    parser.add_argument("-n", type=int, default=300, help="number of files to route")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model = options.model or Path(name, "clf.keras")
        if options.model is None:
            arguments = ["--network", "two-conv", "--image-size", "32", "--epochs", "12", "-o"]
            run("train", "classifier", options.images, *arguments, model)
        mix(options.images, Path(name, "mixed"), options.n)
        print(json.dumps(check(model, Path(name, "mixed"), Path(name, "sorted")), indent=2))


if __name__ == "__main__":
    main()
