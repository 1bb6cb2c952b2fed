"""Measure embedding on Ray: the speed-up by a second machine, and what is lost when machines die.

Two nodes on this machine, each bound to one core, represent two machines.

``python -m tests.benchmarks.on_ray speed --images DIR --weights FILE`` embeds the same photos in
one process, with one worker and with two, and compares the rows.  Rates exclude start-up: they are
measured from the moment when a third of the photos are in the store.

``python -m tests.benchmarks.on_ray kills --kills 50`` kills a machine, a worker or the command
itself at random moments, runs the same command again, and counts what is lost, wrong, or embedded
more than once.

``python -m tests.benchmarks.on_ray kmeans --rows 200000`` clusters a store of that many rows in
this process and with 1, 2 and 4 workers, and compares the centres.  Each prints its results as
JSON.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit.clusterers.kmeans.estimator import KMeans
from clusterkit.images.folder import ImageFolder
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store
from clusterkit.utils.ray_engine import RayEngine
from tests.benchmarks.store import paint
from tests.grid_colours import REPOSITORY, GridColours, embed_command
from tests.ray_cluster import Machines, machines
from tests.stores import rows_of

# Share of the photos after which the rate is measured.
_STARTED = 1 / 3


def main() -> None:
    """Run one of the measurements, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    speed = what.add_parser("speed")
    speed.add_argument("--images", nargs="+", type=Path, required=True)
    speed.add_argument("--weights", type=Path, required=True)
    kills = what.add_parser("kills")
    kills.add_argument("--kills", type=int, default=50)
    kills.add_argument(
        "--photos", type=int, default=96, help="number of new photos before each kill"
    )
    kills.add_argument("--seed", type=int, default=0)
    kmeans = what.add_parser("kmeans")
    kmeans.add_argument("--rows", type=int, default=200_000)
    kmeans.add_argument("--dimension", type=int, default=256)
    kmeans.add_argument("--clusters", type=int, default=50)
    kmeans.add_argument("--passes", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "speed":
            found = measure_speed(Path(folder), options.images, options.weights)
        elif options.what == "kills":
            found = after_kills(Path(folder), options.kills, options.photos, options.seed)
        else:
            numbers = options.rows, options.dimension, options.clusters, options.passes
            found = compare_centres(Path(folder), *numbers)
    print(json.dumps(found, indent=2))


def measure_speed(folder: Path, sources: list[Path], weights: Path) -> dict[str, Any]:
    """Embed photos in one process and with one and two workers; compare rates and rows."""
    images = ImageFolder(*sources)
    found: dict[str, Any] = {"images": len(images)}
    with machines(2) as cluster:
        on_ray = ["--engine", "ray", "--ray-address", cluster.address, "--workers"]
        for name, options in (
            ("one worker", [*on_ray, "1"]),
            ("two workers", [*on_ray, "2"]),
            ("one process", []),
        ):
            store = folder / name
            command = [sys.executable, "-m", "clusterkit", "embed", *map(str, sources)]
            command += ["--weights", str(weights), "--precision", "float32", "-s", str(store)]
            before, start = os.getloadavg()[0], time.time()
            process = subprocess.Popen(
                command + options,
                cwd=REPOSITORY,
                # Like a machine with one core.
                preexec_fn=None if options else lambda: os.sched_setaffinity(0, {0}),
            )
            peak, parts = 0.0, dict[Path, tuple[float, int]]()
            while process.poll() is None:
                peak = max([peak, *map(peak_memory, cluster.find_workers())])
                look_for_parts(store, parts)
                time.sleep(1)
            if process.returncode:
                raise SystemExit(f"{name} failed")
            found[name] = rates(parts, len(images), start) | {"load before": before}
            found[name] |= {"GB of a worker": peak} if options else {}
            print(name, found[name], file=sys.stderr)
    spaces = [Store(folder / name).space() for name in ("one process", "one worker", "two workers")]
    reference, *others = [space.read() for space in spaces]
    found["two / one"] = found["two workers"]["images/s"] / found["one worker"]["images/s"]
    rows = [rows_of(space.folder.parent) for space in spaces]
    found["same rows"] = rows[0] == rows[1] == rows[2]
    found["same vectors to the bit"] = all(
        np.array_equal(other.vectors, reference.vectors) for other in others
    )
    return found


def peak_memory(process: Any) -> float:
    """Return the peak memory of a process in GB."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return max(
        (int(line.split()[1]) / 1e6 for line in lines if line.startswith("VmHWM")), default=0
    )


def look_for_parts(store: Path, parts: dict[Path, tuple[float, int]]) -> None:
    """Record when new parts are written, and their rows, since small ones are merged at the end."""
    import pyarrow.parquet as pq

    for file in set(store.rglob("part-*.parquet")) - set(parts):
        # It may have been deleted meanwhile.
        with suppress(OSError):
            parts[file] = file.stat().st_mtime, pq.read_metadata(file).num_rows


def rates(parts: dict[Path, tuple[float, int]], n_rows: int, start: float) -> dict[str, float]:
    """Return the time of a run in seconds, and its rate after start-up."""
    times, rows = np.array(sorted(parts.values())).T
    done = np.cumsum(rows)
    first = int(np.searchsorted(done, _STARTED * n_rows))
    steady = (n_rows - done[first]) / (times[-1] - times[first])
    return {"images/s": float(steady), "seconds with start-up": float(times[-1] - start)}


# Rows of a part, and seconds of a batch of 8 images, so that kills hit working workers.
PART_ROWS, SECONDS = 16, 0.3
KINDS = ("machine", "worker", "command")


def after_kills(folder: Path, n_kills: int, n_new: int, seed: int) -> dict[str, int]:
    """Kill the embedding of new photos, embed again, and check the store after each kill."""
    rng, paints = random.Random(seed), np.random.default_rng(seed)
    photos, store, log = folder / "photos", folder / "store", folder / "log"
    log.touch()
    counts: Counter[str] = Counter(lost=0, doubled=0, wrong=0, failed=0, redone=0)
    vector_of: dict[str, np.ndarray] = {}
    with machines(2) as cluster:
        command = embed_command(photos, store, log=log, part_rows=PART_ROWS, seconds=SECONDS)
        command += ["--ray-address", cluster.address]
        for i in range(n_kills):
            paint(photos, [f"{i:03}-{j:03}.png" for j in range(n_new)], paints)
            (photos / f"{i:03}-broken.png").write_bytes(b"broken")
            before = count_embedded(log)
            kind = rng.choice(KINDS)
            process = subprocess.Popen(
                command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            # Kill while both workers are busy, until about the end of the run.
            wanted = before + rng.randint(8, n_new)
            wait_for(lambda wanted=wanted: count_embedded(log) >= wanted, process)
            time.sleep(rng.random() * SECONDS)
            counts[f"{kind}s killed"] += kill(kind, process, cluster)
            _, errors = process.communicate()
            if process.returncode == -signal.SIGKILL:
                done = subprocess.run(
                    command, cwd=REPOSITORY, capture_output=True, text=True, check=False
                )
                counts["failed"] += done.returncode != 0
                errors = done.stderr
            else:
                counts["failed"] += process.returncode != 0
            check_rows(store, photos, vector_of, counts)
            redone = count_embedded(log) - before - n_new
            # A kill may cost the current part of each worker that it hits.
            bound = PART_ROWS * (2 if kind == "command" else 1)
            counts["redone"] += redone
            counts["more redone than a part"] += redone > bound
            print(i, kind, "redone", redone, dict(counts), errors[-300:], file=sys.stderr)
            while len(cluster.nodes) < 2:
                cluster.add()
    return dict(counts)


def kill(kind: str, process: subprocess.Popen[str], cluster: Machines) -> bool:
    """Kill a machine, a worker or the command; return whether it was running."""
    if kind == "command":
        process.kill()
        return process.wait() == -signal.SIGKILL
    if kind == "machine":
        cluster.lose(random.choice(cluster.nodes))
        return True
    return cluster.kill_worker()


def check_rows(
    store: Path, photos: Path, vector_of: dict[str, np.ndarray], counts: Counter[str]
) -> None:
    """Compare the rows of a store with the expected ones."""
    space, extractor = Store(store).space(), GridColours()
    try:
        rows = rows_of(store)
    except AssertionError:
        counts["doubled"] += 1
        return
    files = ImageFolder(photos).files
    counts["lost"] += len({str(file) for file in files} ^ rows.keys())
    counts["damaged"] += len(Store(store).verify())
    emb = space.read()
    counts["broken that are no rows"] += len(list(photos.glob("*broken*"))) - len(emb.failures)
    for path, vector in zip(emb.paths, emb.vectors, strict=True):
        if path not in vector_of:
            vector_of[path] = extractor.transform([photos / path])[0]
        counts["wrong"] += not np.array_equal(vector, vector_of[path])


def compare_centres(
    folder: Path, n_rows: int, dimension: int, n_clusters: int, n_passes: int
) -> dict[str, Any]:
    """Cluster the parts of a store in this process and on Ray, and compare the centres."""
    rng, n_part = np.random.default_rng(0), 2048
    middles = rng.normal(size=(3 * n_clusters, dimension)).astype(np.float32)
    description = {"fingerprint": "f" * 64, "extractor": "none", "dimension": dimension}
    space = Store(folder / "store").open_space(description)
    with Store(folder / "store").writing(space):
        for start in range(0, n_rows, n_part):
            n = min(n_part, n_rows - start)
            rows = middles[rng.integers(0, len(middles), n)]
            rows += rng.normal(0, 0.7, rows.shape).astype(np.float32)
            space.append([Row(f"{start + i}", "x", vector=row) for i, row in enumerate(rows)])
    stream = space.stream()
    found: dict[str, Any] = {"rows": n_rows, "dimension": dimension, "clusters": n_clusters}
    reference: KMeans | None = None
    with machines(4) as cluster:
        for name, engine in [
            ("local", "local"),
            *((f"{n} workers", RayEngine(cluster.address, workers=n)) for n in (1, 2, 4)),
        ]:
            peaks: list[float] = [0.0]
            is_over = threading.Event()

            def watch(peaks: list[float] = peaks, is_over: threading.Event = is_over) -> None:
                while not is_over.wait(0.2):
                    peaks.extend(map(peak_memory, cluster.find_workers("_sum_group")))

            watcher, start = threading.Thread(target=watch), time.perf_counter()
            watcher.start()
            kmeans = KMeans(n_clusters, max_iter=n_passes, random_state=0)
            kmeans.fit(stream, engine=engine)
            seconds = time.perf_counter() - start
            is_over.set()
            watcher.join()
            reference = reference or kmeans
            found[name] = {
                "seconds": seconds,
                "passes": kmeans.n_iter_,
                "inertia": kmeans.inertia_,
                "same centres to the bit": np.array_equal(
                    kmeans.cluster_centers_, reference.cluster_centers_
                ),
                "same labels": np.array_equal(kmeans.labels_, reference.labels_),
                "GB of a worker": max(peaks),
            }
            print(name, found[name], file=sys.stderr)
    return found


def count_embedded(log: Path) -> int:
    """Return the number of images embedded so far."""
    return sum(map(int, log.read_text().split()))


def wait_for(is_so: Any, process: subprocess.Popen[str]) -> None:
    """Wait for a condition, or for the end of a process."""
    while not is_so() and process.poll() is None:
        time.sleep(0.02)


if __name__ == "__main__":
    main()
