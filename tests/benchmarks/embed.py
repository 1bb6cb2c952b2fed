"""How close embedding comes to the limit of the machine, and how far it is ahead of a script.

``python -m tests.benchmarks.embed --images DIR --weights FILE`` measures, in one run: decoding
only; forward passes only, with whole batches in memory, for each runtime and precision; the script
that a user would write instead; and clusterkit end to end.  Start-up (imports, building, the first
batch) is outside all times.  The table goes to stderr, the same as JSON to stdout.
"""

import argparse
import json
import platform
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
from clusterkit.utils.parallel import count_cpus

FORWARD_IMAGES = 256


@dataclass
class Measurement:
    """One line of the table.

    ``of_limit`` is relative to the lower of the limits of decoding and of the same forward passes,
    ``times_script`` to the user's script; ``cosine`` is the lowest to the vectors of float32.
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
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--weights", required=True, type=Path)
    parser.add_argument("--network", default="xception", choices=NETWORKS)
    parser.add_argument("--repeats", default=3, type=int, help="of each limit; the best counts")
    arguments = parser.parse_args()
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


def started_extractors(images: ImageFolder, network: str, weights: Path) -> list[KerasApplication]:
    """Return an extractor for each runtime and precision that there is, Keras in float32 first."""
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
    """Read and decode all images, in as many threads as a run has."""

    def work() -> None:
        for _ in read_batches(images.files, extractor.image_size, extractor.full_batch):
            pass

    return measure(work, len(images), repeats, "decode", "-", "-")


def forward_only(images: ImageFolder, extractor: KerasApplication, repeats: int) -> Measurement:
    """Run full batches that are in memory."""
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
    """Run what a user would write with Keras alone."""
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
    """Time some work, the best of several runs."""
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
