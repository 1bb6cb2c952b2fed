"""Compare the speed of embedding with the limits of the machine and with a simple Keras script.

``python -m tests.benchmarks.embed limits --images DIR --weights FILE`` measures, in one run:
decoding only; forward passes only, with whole batches in memory, for each runtime and precision;
a script that a user would write instead; and clusterkit as a whole.  Start-up (imports, building
the network, the first batch) is not timed.

``python -m tests.benchmarks.embed processes --images DIR --weights FILE`` measures whole processes
in turns: the script, then ``clusterkit embed`` on first use (with an empty cache) and on second
use, for 15, 300 and 1,000 images.

Tables are printed to stderr, and the same as JSON to stdout.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.embedding.embed import embed_to_store
from clusterkit.errors import MissingDependencyError
from clusterkit.extractors.applications import NETWORKS, KerasApplication
from clusterkit.images.batches import read_batches
from clusterkit.images.folder import ImageFolder
from clusterkit.networks.runtimes.base import lowest_cosine
from clusterkit.store.store import Store
from clusterkit.utils.parallel import count_cpus, describe_processor

FORWARD_IMAGES = 256


@dataclass
class Measurement:
    """One line of the table.

    ``of_limit`` is the rate relative to the lower limit, that of decoding or of the same forward
    passes; ``times_script`` is relative to the user's script; ``cosine`` is the lowest cosine of a
    vector with that in float32.
    """

    what: str
    runtime: str
    precision: str
    images_per_second: float
    cpu_ms_per_image: float
    of_limit: float | None = None
    times_script: float | None = None
    cosine: float | None = None


def main() -> None:
    """Measure, and print table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_subparsers(required=True)
    for name, function, repeats in (
        ("limits", measure_limits, "of each limit; the best counts"),
        ("processes", measure_processes, "of each process; ratios are medians"),
    ):
        command = what.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--images", required=True, type=Path)
        command.add_argument("--weights", required=True, type=Path)
        command.add_argument("--network", default="xception", choices=NETWORKS)
        command.add_argument("--repeats", default=3, type=int, help=repeats)
        if name == "processes":
            command.add_argument("--numbers", nargs="+", type=int, default=[15, 300, 1000])
    arguments = parser.parse_args()
    arguments.function(arguments)


def measure_limits(arguments: argparse.Namespace) -> None:
    """Measure rates without start-up."""
    images = ImageFolder(arguments.images)
    extractors = started_extractors(images, arguments.network, arguments.weights)

    decode = decode_only(images, extractors[0], arguments.repeats)
    forwards = [forward_only(images, extractor, arguments.repeats) for extractor in extractors]
    script = user_script(images, arguments.network, arguments.weights)
    results = [decode, *forwards, script]
    exact = None
    for extractor, forward in zip(extractors, forwards, strict=True):
        result, vectors = end_to_end(images, extractor)
        exact = vectors if exact is None else exact
        limit = min(decode.images_per_second, forward.images_per_second)
        result.of_limit = result.images_per_second / limit
        result.times_script = result.images_per_second / script.images_per_second
        result.cosine = lowest_cosine([vectors], [exact])
        results.append(result)
    report(results, images, arguments.network)


SCRIPT = """
import sys
import keras, numpy
from importlib import import_module
folder, weights, module, builder, side, output = sys.argv[1:]
side = int(side)
model = getattr(keras.applications, builder)(
    weights=weights, include_top=False, pooling="avg", input_shape=(side, side, 3)
)
data = keras.utils.image_dataset_from_directory(
    folder, labels=None, shuffle=False, image_size=(side, side), batch_size=32
).map(import_module(f"keras.applications.{module}").preprocess_input)
numpy.save(output, model.predict(data))
"""


def measure_processes(arguments: argparse.Namespace) -> None:
    """Measure whole processes in turn, and print their medians and the ratios of pairs."""
    files = [Path(file) for file in ImageFolder(arguments.images).files]
    # Only formats that TensorFlow's reader in the script can decode.
    files = [file for file in files if file.suffix.lower() in (".jpg", ".jpeg", ".png")]
    np.random.default_rng(0).shuffle(files)  # type: ignore[arg-type]
    row = NETWORKS[arguments.network]
    document: dict[str, Any] = {
        "network": arguments.network,
        "processors": count_cpus(),
        "machine": describe_processor(),
        "load": os.getloadavg(),
        "numbers": {},
    }
    line = "{:>7}  {:<12}{:>9}{:>9}{:>18}{:>18}"
    print(
        line.format("images", "", "wall s", "CPU s", "wall / script", "CPU / script"),
        file=sys.stderr,
    )
    for number in arguments.numbers:
        times: dict[str, list[tuple[float, float]]] = {
            "script": [],
            "first use": [],
            "second use": [],
        }
        for _ in range(arguments.repeats):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                (folder / "images").mkdir()
                for i, file in enumerate(files[:number]):
                    shutil.copy(file, folder / "images" / f"{i:05d}{file.suffix}")
                built = [row.module, row.builder, str(row.side), str(folder / "vectors.npy")]
                script = [sys.executable, "-c", SCRIPT, str(folder / "images")]
                times["script"].append(
                    time_process([*script, str(arguments.weights), *built], folder)
                )
                for use in ("first use", "second use"):
                    command = [sys.executable, "-m", "clusterkit", "embed", str(folder / "images")]
                    command += ["-e", arguments.network, "--weights", str(arguments.weights)]
                    store = ["-s", str(folder / use)]
                    times[use].append(time_process([*command, *store], folder))
        rows = {}
        for what, measured in times.items():
            ratios = np.array(measured) / np.array(times["script"])
            wall, cpu = np.median(measured, axis=0)
            rows[what] = {
                "wall": wall,
                "cpu": cpu,
                "wall_ratios": list(ratios[:, 0]),
                "cpu_ratios": list(ratios[:, 1]),
            }
            shown = [
                f"{np.median(each):.2f} ({min(each):.2f}-{max(each):.2f})" for each in ratios.T
            ]
            print(line.format(number, what, f"{wall:.1f}", f"{cpu:.1f}", *shown), file=sys.stderr)
        document["numbers"][str(number)] = rows
    print(json.dumps(document, indent=2))


def time_process(command: list[str], folder: Path) -> tuple[float, float]:
    """Return the wall time and the CPU time of a process, in seconds."""
    environment = os.environ | {"CLUSTERKIT_CACHE": str(folder / "cache")}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def started_extractors(images: ImageFolder, network: str, weights: Path) -> list[KerasApplication]:
    """Return an extractor for each available runtime and precision, Keras in float32 first."""
    extractors: list[KerasApplication] = []
    for runtime in ("keras", "openvino"):
        for precision in ("float32", "auto"):
            extractor = KerasApplication(
                network, weights=weights, runtime=runtime, precision=precision
            )
            try:
                extractor.transform(images[: extractor.full_batch])
            except MissingDependencyError as error:
                print(error, file=sys.stderr)
                return extractors
            if precision != "auto" or extractor.precision_ != "float32":
                extractors.append(extractor)
    return extractors


def decode_only(images: ImageFolder, extractor: KerasApplication, repeats: int) -> Measurement:
    """Read and decode all images, with as many threads as a run has."""

    def work() -> None:
        for _ in read_batches(images.files, extractor.image_size, extractor.full_batch):
            pass

    return measure(work, len(images), repeats, "decode", "-", "-")


def forward_only(images: ImageFolder, extractor: KerasApplication, repeats: int) -> Measurement:
    """Run the network on whole batches in memory."""
    full = extractor.full_batch
    n_batches = max(1, min(FORWARD_IMAGES, len(images)) // full)
    some = images[: n_batches * full].files
    batches = [b.images for b in read_batches(some, extractor.image_size, full)]

    def work() -> None:
        for batch in batches:
            extractor.extract(batch)

    n_images = sum(map(len, batches))
    how = extractor.runtime_, extractor.precision_
    return measure(work, n_images, repeats, "forward", *how)


def user_script(images: ImageFolder, network: str, weights: Path) -> Measurement:
    """Embed images by a script that a user would write with Keras alone."""
    import keras

    row = NETWORKS[network]
    module = import_module(f"keras.applications.{row.module}")
    model = getattr(keras.applications, row.builder)(
        weights=str(weights), include_top=False, pooling="avg", input_shape=(row.side, row.side, 3)
    )
    data = keras.utils.image_dataset_from_directory(
        images.root,
        labels=None,
        shuffle=False,
        image_size=(row.side, row.side),
        batch_size=32,
        verbose=False,
    ).map(module.preprocess_input)
    model.predict(data.take(1), verbose=0)
    return measure(
        lambda: model.predict(data, verbose=0), len(images), 1, "script", "keras", "float32"
    )


def end_to_end(
    images: ImageFolder, extractor: KerasApplication
) -> tuple[Measurement, NDArray[np.float32]]:
    """Embed all images into a new store."""
    with tempfile.TemporaryDirectory() as folder:
        how = extractor.runtime_, extractor.precision_
        work = lambda: embed_to_store(images, extractor, folder, progress=True)  # noqa: E731
        result = measure(work, len(images), 1, "clusterkit", *how)
        return result, np.asarray(Store(folder).space().read(images))


def measure(
    work: Callable[[], Any], n_images: int, repeats: int, what: str, runtime: str, precision: str
) -> Measurement:
    """Time a function, and return the best of several runs."""
    best = None
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if best is None or wall < best[0]:
            best = wall, cpu
    assert best is not None
    wall, cpu = best
    return Measurement(what, runtime, precision, n_images / wall, 1e3 * cpu / n_images)


def report(results: list[Measurement], images: ImageFolder, network: str) -> None:
    """Print the table and the JSON document."""
    heads = ["", "runtime", "precision", "images/s", "CPU ms", "of limit", "x script", "cosine"]
    line = "{:<11}{:<10}{:<10}{:>9}{:>8}{:>10}{:>10}{:>10}"
    print(line.format(*heads), file=sys.stderr)
    for result in results:
        what, runtime, precision, speed, cpu, *ratios = asdict(result).values()
        shown = ["" if ratio is None else f"{ratio:.4f}" for ratio in ratios]
        print(
            line.format(what, runtime, precision, f"{speed:.1f}", f"{cpu:.1f}", *shown),
            file=sys.stderr,
        )
    document = {
        "images": len(images),
        "network": network,
        "processors": count_cpus(),
        "machine": platform.platform(),
        "results": [asdict(result) for result in results],
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
