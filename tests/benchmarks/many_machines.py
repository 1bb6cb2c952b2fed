"""Simulate how embedding scales with the number of machines, from costs measured on this one.

``python -m tests.benchmarks.many_machines measure --images DIR --weights FILE -o costs.json``
measures, on one core: decoding an image, running the network on it, writing a part, and the work
for a part in the process that started the run.  ``... simulate costs.json`` simulates 1 to 64
workers that share one storage and one such process, and prints, for each number of workers, the
images per second, the share of linear scaling, and the busiest resource.

The bandwidth of the storage (``--storage``, in MB/s) is an assumption, and so is the rate of the
network (``--forward``, in images/s) that simulates a GPU.
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
# Number of ledgers that exist when a part is written, and number of measured parts.
N_PARTS = 33


@dataclass(frozen=True)
class Costs:
    """Costs in seconds of one core.

    Attributes
    ----------
    decode, forward : float
        Cost of an image.
    write : float
        Cost of a part in a worker.
    driver : float
        Cost of a part in the process that started the run.
    row_bytes, file_bytes : float
        Size of the row of an image in a part, and of its file, in bytes.
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
    two.add_argument("--cpus", type=int, default=1, help="CPUs of a worker")
    two.add_argument("--forward", type=float, help="images/s of a GPU that replaces the CPUs")
    two.add_argument(
        "--storage", type=float, default=100.0, help="bandwidth that all workers share, in MB/s"
    )
    two.add_argument(
        "--file", type=float, help="size of an image file in MB; by default, as measured"
    )
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
    """Measure all costs on one core, in CPU time where nothing waits."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    of_ray = measure_ray()  # First, since Ray does not start beside TensorFlow.
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
    """Return the seconds to write a part and to absorb its ledger, and the bytes of a row."""
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
    """Return the seconds that Ray takes for an empty piece."""
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
    """Print a table with a line for each number of workers."""
    rows = PIECE_ROWS["CPU" if forward is None else "GPU"]
    scale = rows / PIECE_ROWS["CPU"]
    # The bytes of a part grow with its rows; its other costs do not.
    costs = replace(costs, write=costs.write * scale)
    if forward is None:
        seconds = (costs.decode + costs.forward) / cpus
    else:
        # Decoding and the network run in parallel.
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
    """Simulate some pieces per worker; return images/s and how busy each resource is."""
    n_pieces, begun, end = 40 * n_workers, 0, 0.0
    free = {"storage": 0.0, "driver": 0.0}
    busy = {"workers": 0.0, "storage": 0.0, "driver": 0.0}
    # Heap of events: time, worker, and its next step.
    events = [(0.0, worker, "read") for worker in range(n_workers)]

    def serve(name: str, now: float, duration: float) -> float:
        """Use a shared resource after those before; return when it is done."""
        free[name] = max(free[name], now) + duration
        busy[name] += duration
        return free[name]

    while events:
        now, worker, step = heapq.heappop(events)
        if step == "read" and begun < n_pieces:
            begun += 1
            # Files are read ahead during computation.
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
