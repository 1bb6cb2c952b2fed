"""Run a network with OpenVINO, converted from Keras and cached.

8-bit weights and activations were tried and rejected.  Xception quantised by NNCF on 100 photos ran
1.9 times as fast as in bfloat16 (87.5 and 46.6 images/s on two cores) and clustered 380 photos of
ten animals as well (accuracy 0.948 and 0.941), but the cosine of its vectors was as low as 0.964,
while 1 - cosine of bfloat16 is below 0.0004: a separate embedding space that every user would have
to calibrate, with another heavy dependency.
"""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ClusterkitError, InvalidInputError
from clusterkit.images.batches import pad_batch
from clusterkit.networks.runtimes.base import MIN_COSINE, NetworkSource, Run, lowest_cosine
from clusterkit.networks.runtimes.cache import cached_path
from clusterkit.utils.files import atomic_folder
from clusterkit.utils.parallel import count_cpus

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoRuntime:
    """A network converted to OpenVINO's format, on the CPU.

    The converted network is kept in the :mod:`cache <clusterkit.networks.runtimes.cache>` by the
    digest of its weights and the versions that made it, so that later runs start without Keras.

    Parameters
    ----------
    source : NetworkSource
        The network.

    Raises
    ------
    InvalidInputError
        If the cache cannot be written.
    """

    name = "openvino"

    def __init__(self, source: NetworkSource) -> None:
        import openvino

        self._core = openvino.Core()
        self._network = _open(self._core, source)

    @property
    def has_bfloat16(self) -> bool:
        """Whether the CPU supports bfloat16."""
        return "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def compile(self, precision: str, batch_size: int) -> Run:
        """Return the function that runs batches of up to ``batch_size`` images.

        A batch is split into chunks of a few images for independent streams, whose threads do not
        wait for each other after each layer.
        """
        import openvino

        chunk = min(4, batch_size)
        network = self._network.clone()
        network.reshape([chunk, *list(network.input(0).partial_shape)[1:]])
        compiled = self._core.compile_model(
            network,
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
                "INFERENCE_NUM_THREADS": count_cpus(),
            },
        )
        queue = openvino.AsyncInferQueue(compiled)
        lengths = [output.shape[1] for output in compiled.outputs]

        def run(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
            """Run the chunks of one batch in parallel; the last is padded."""
            n_images = len(images)
            images = pad_batch(images, -(-n_images // chunk) * chunk)
            outputs = [np.empty((len(images), n), np.float32) for n in lengths]

            def keep(request: Any, start: int) -> None:
                for output, tensor in zip(outputs, request.output_tensors, strict=True):
                    output[start : start + chunk] = tensor.data

            queue.set_callback(keep)
            for start in range(0, len(images), chunk):
                queue.start_async({0: images[start : start + chunk]}, start)
            queue.wait_all()
            return [output[:n_images] for output in outputs]

        return run


def is_converted(source: NetworkSource) -> bool:
    """Return whether an earlier run has converted the network."""
    return cached_path("openvino", source, library="openvino").exists()


def _open(core: Any, source: NetworkSource) -> Any:
    """Return a converted network: from the cache, or converted and kept."""
    folder = cached_path("openvino", source, library="openvino")
    file = folder / "network.xml"
    try:
        if folder.exists():
            # A damaged network, for which OpenVINO raises several kinds of errors, counts as
            # missing.
            with suppress(Exception):
                return _read(core, file)
            shutil.rmtree(folder)
        with atomic_folder(folder) as part:
            _convert(source, part / file.name)
    except ClusterkitError:
        raise
    except OSError as error:
        raise InvalidInputError(
            f"cannot write the cache {folder.parent}: {error.strerror}. Choose another folder "
            "with the environment variable CLUSTERKIT_CACHE"
        ) from error
    return _read(core, file)


def _convert(source: NetworkSource, file: Path) -> None:
    """Convert a network, and compare the result with Keras."""
    import openvino

    model = source.build("float32")
    model.export(str(file), format="openvino", verbose=False)
    core = openvino.Core()
    converted = core.compile_model(_read(core, file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    noise = np.random.default_rng(0).integers(0, 256, (2, *model.input.shape[1:]), np.uint8)
    expected = model(noise, training=False)
    expected = expected if isinstance(expected, list) else [expected]
    cosine = lowest_cosine(list(converted(noise).values()), [np.asarray(x) for x in expected])
    if cosine < MIN_COSINE:
        raise ClusterkitError(f"the converted network disagrees with Keras (cosine {cosine:.4f})")


def _read(core: Any, file: Path) -> Any:
    """Read a converted network."""
    network = core.read_model(file)
    for result in network.get_results():
        # The converter treats the inside of each swish as an output; ours are vectors.
        if result.get_output_partial_shape(0).rank.get_length() != 2:
            network.remove_result(result)
    return network
