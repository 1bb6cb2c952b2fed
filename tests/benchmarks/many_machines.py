"""Where the limit moves as machines are added: a simulation with costs that are measured here.

``python -m tests.benchmarks.many_machines measure --images DIR --weights FILE -o costs.json``
measures, on one core: to decode an image, to run it through the network, to write a part, and what
the process that started the run does for a part.  ``... simulate costs.json`` then plays 1 to 64
workers that share one storage and one such process, and tells for each number the images per
second, the share of linear growth, and what is busiest.

Assumed rather than measured: the storage's bandwidth (``--storage``, MB/s), and, to see what a GPU
changes, a rate of the network (``--forward``, images/s).
"""

import argparse
import heapq
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from clusterkit.embedding.embed import describe
from clusterkit.embedding.on_ray import PIECE_ROWS
from clusterkit.extractors.applications import KerasApplication
from clusterkit.images.batches import read_batches
from clusterkit.images.folder import ImageFolder
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store

WORKERS = (1, 2, 4, 8, 16, 32, 64)
# Ledgers that wait when a part is written, and parts that are measured.
N_PARTS = 33


@dataclass(frozen=True)
class Costs:
    """Seconds of one core.

    Attributes
    ----------
    decode, forward : float
        For an image.
    write : float
        For a part, in a worker.
    driver : float
        For a part, in the process that started the run.
    row_bytes, file_bytes : float
        Bytes of an image's row in a part, and of its file.
    """

    decode: float
    forward: float
    write: float
    driver: float
    row_bytes: float
    file_bytes: float


def main() -> None:
    """Measure or simulate."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    one = what.add_parser("measure")
    one.add_argument("--images", type=Path, required=True)
    one.add_argument("--weights", type=Path, required=True)
    one.add_argument("--network", default="xception")
    one.add_argument("-o", "--output", type=Path, required=True)
    two = what.add_parser("simulate")
    two.add_argument("costs", type=Path)
    two.add_argument("--cpus", type=int, default=1, help="of a worker")
    two.add_argument("--forward", type=float, help="images/s of a GPU in the place of the CPUs")
    two.add_argument("--storage", type=float, default=100.0, help="MB/s that all workers share")
    two.add_argument("--file", type=float, help="MB of an image file, if not as measured")
    options = parser.parse_args()
    if options.what == "measure":
        costs = measure(options.images, options.weights, options.network)
        options.output.write_text(json.dumps(asdict(costs), indent=2) + "\n")
        print(json.dumps(asdict(costs), indent=2))
        return
    costs = Costs(**json.loads(options.costs.read_text()))
    if options.file is not None:
        costs = replace(costs, file_bytes=options.file * 1e6)
    show(costs, options.cpus, options.forward, options.storage * 1e6)


def measure(folder: Path, weights: Path, network: str) -> Costs:
    """Measure all costs on one core, in processor time where nothing waits."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    of_ray = measure_ray()  # first: no Ray starts beside TensorFlow
    images = ImageFolder(folder)[:128]
    extractor = KerasApplication(network, weights=weights, precision="float32", batch_size=32)
    extractor.prepare(len(images) * 10)
    batches = [one.images for one in read_batches(images.files, extractor.image_size, 32)]
    extractor.extract(batches[0])
    start = time.process_time()
    list(read_batches(images.files, extractor.image_size, 32))
    decode = (time.process_time() - start) / len(images)
    start = time.process_time()
    for batch in batches:
        extractor.extract(batch)
    forward = (time.process_time() - start) / sum(map(len, batches))
    write, driver, row_bytes = measure_parts(extractor)
    file_bytes = float(np.mean([file.stat().st_size for file in images.files]))
    return Costs(decode, forward, write, driver + of_ray, row_bytes, file_bytes)


def measure_parts(extractor: KerasApplication) -> tuple[float, float, float]:
    """Return the seconds to write a part, and to take its list over, and the bytes of a row."""
    n_rows, rng = PIECE_ROWS["CPU"], np.random.default_rng(0)
    vectors = rng.random((n_rows, extractor.dimension), np.float32)
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name) / "store")
        space = store.open_space(describe(extractor))
        with store.writing(space):
            start = time.perf_counter()
            for i in range(N_PARTS):
                rows = [
                    Row(f"{i}/{j}.jpg", "photos", f"{i:032}{j:032}", 1, 1, 9, 9, vector=vector)
                    for j, vector in enumerate(vectors)
                ]
                with space.adding(f"ray{i}"):
                    space.append(rows)
            written = time.perf_counter()
            space.ledgers.absorb()
            ended = time.perf_counter()
        size = sum(file.stat().st_size for file in space.parts)
    return (written - start) / N_PARTS, (ended - written) / N_PARTS, size / N_PARTS / n_rows


def measure_ray(n_pieces: int = 200) -> float:
    """Return the seconds that Ray takes for a piece of no work."""
    import ray.data

    from clusterkit.utils.ray_engine import RayEngine

    class Nothing:
        def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return batch

    with RayEngine().started(memory=0.5, cpus=1, gpus=False):
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        items = [{"piece": bytes(PIECE_ROWS["CPU"] * 60)} for _ in range(n_pieces)]
        found = ray.data.from_items(items, override_num_blocks=n_pieces).map_batches(
            Nothing, batch_size=1, compute=ray.data.ActorPoolStrategy(size=1), num_cpus=1
        )
        times = [time.perf_counter() for _ in found.iter_batches(batch_size=1, prefetch_batches=0)]
    return (times[-1] - times[0]) / (n_pieces - 1)


def show(costs: Costs, cpus: int, forward: float | None, storage: float) -> None:
    """Print a table of all numbers of workers."""
    rows = PIECE_ROWS["CPU" if forward is None else "GPU"]
    scale = rows / PIECE_ROWS["CPU"]
    # What is written grows with the part; what a part costs besides does not.
    costs = replace(costs, write=costs.write * scale)
    if forward is None:
        seconds = (costs.decode + costs.forward) / cpus
    else:
        # Decoding and the network go on side by side.
        seconds = max(costs.decode / cpus, 1 / forward)
    line = "{:>8}{:>11}{:>10}{:>22}  {}"
    print(line.format("workers", "images/s", "of linear", "hours for a million", "busiest"))
    alone = None
    for n in WORKERS:
        rate, busy = simulate(costs, n, rows, seconds, storage)
        alone = alone or rate
        name = max(busy, key=lambda one: busy[one])
        cells = f"{rate:.1f}", f"{rate / alone / n:.0%}", f"{1e6 / rate / 3600:.1f}"
        print(line.format(n, *cells, f"{name} ({busy[name]:.0%})"))
    print(f"{asdict(costs)}, part of {rows} rows", file=sys.stderr)


def simulate(
    costs: Costs, n_workers: int, rows: int, seconds: float, storage: float
) -> tuple[float, dict[str, float]]:
    """Play workers until each has done some pieces; return images/s and what is busy how much."""
    n_pieces, begun, end = 40 * n_workers, 0, 0.0
    free = {"storage": 0.0, "driver": 0.0}
    busy = {"workers": 0.0, "storage": 0.0, "driver": 0.0}
    # In order of time: when, who, and what is next.
    events = [(0.0, worker, "read") for worker in range(n_workers)]

    def serve(name: str, now: float, duration: float) -> float:
        """Let one take its turn at what all share; return when it is done."""
        free[name] = max(free[name], now) + duration
        busy[name] += duration
        return free[name]

    while events:
        now, worker, step = heapq.heappop(events)
        if step == "read" and begun < n_pieces:
            begun += 1
            # Files are read ahead while others are computed.
            read = serve("storage", now, rows * costs.file_bytes / storage)
            busy["workers"] += (rows * seconds + costs.write) / n_workers
            heapq.heappush(events, (max(now + rows * seconds, read), worker, "write"))
        elif step == "write":
            written = serve("storage", now, rows * costs.row_bytes / storage) + costs.write
            heapq.heappush(events, (written, worker, "tell"))
            heapq.heappush(events, (written, worker, "read"))
        elif step == "tell":
            end = max(end, serve("driver", now, costs.driver))
    return n_pieces * rows / end, {name: amount / end for name, amount in busy.items()}


if __name__ == "__main__":
    main()
