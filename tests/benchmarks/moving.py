"""Measure how long it takes to recognise moved files.

``python -m tests.benchmarks.moving --files 6000`` embeds pictures with the extractor "pixels" in
parts of ``--part-rows`` rows, and then runs ``clusterkit embed`` again: unchanged, after all files
were renamed, and after their folder was renamed.  The first run only finds all files and compares
their status with the store; it writes nothing.  Prints wall time, CPU time and numbers of parts as
JSON.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clusterkit.embedding import embed as pipeline
from clusterkit.embedding.embed import embed_to_store
from clusterkit.images.folder import ImageFolder
from clusterkit.store.store import Store


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=6000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--part-rows", type=int, default=pipeline.PART_ROWS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.files, options.side, options.part_rows)
    print(json.dumps(vars(options) | found))


def measure(folder: Path, n_files: int, side: int, part_rows: int) -> dict[str, Any]:
    """Embed and move pictures; return times and numbers of parts."""
    photos, store = folder / "photos", folder / "store"
    photos.mkdir()
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (side, side, 3), np.uint8)
    for i in range(n_files):
        picture[:8, :8] = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(picture).save(photos / f"{i:06}.jpg", quality=90)
    found: dict[str, Any] = {
        "mb_of_files": round(sum(file.stat().st_size for file in photos.iterdir()) / 1e6, 1)
    }

    def run(name: str, images: Path) -> None:
        """Run the command in a new process."""
        command = [sys.executable, "-m", "clusterkit", "embed", images, "-e", "pixels"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done, seconds = timed(
            lambda: subprocess.run(
                [*command, "-s", store, "--json"], capture_output=True, check=True
            )
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found[name] = {
            "seconds": seconds,
            "cpu_seconds": round(cpu_seconds, 2),
            "parts": len(Store(store).space().parts),
            "embedded": json.loads(done.stdout)["embedded"],
        }

    usual, pipeline.PART_ROWS = pipeline.PART_ROWS, part_rows
    _, found["seconds_of_reading_names"] = timed(lambda: ImageFolder(photos))
    embed_to_store(ImageFolder(photos), "pixels", store)
    pipeline.PART_ROWS = usual
    run("list", photos)
    before = Store(store).space().read()
    names = random.Random(0).sample(range(n_files), n_files)
    for number, file in zip(names, sorted(photos.iterdir()), strict=True):
        file.rename(photos / f"renamed-{number:06}.jpg")
    run("renamed", photos)
    after = Store(store).space().read()
    of_digest = dict(zip(before.digests or [], before.vectors, strict=True))
    pairs = zip(after.digests or [], after.vectors, strict=True)
    found["wrong"] = sum(not np.array_equal(of_digest[digest], vector) for digest, vector in pairs)
    found["missing"] = n_files - len(after)
    photos.rename(folder / "elsewhere")
    run("folder_moved", folder / "elsewhere")
    for name in ("renamed", "folder_moved"):
        for unit in ("seconds", "cpu_seconds"):
            times = found[name][unit] / found["list"][unit]
            found[name][f"{unit}_times_listing"] = round(times, 2)
    return found


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of an action, and its time in seconds."""
    start = time.perf_counter()
    result = action()
    return result, round(time.perf_counter() - start, 2)


if __name__ == "__main__":
    main()
