"""Choose the runtime and precision of a network for the machine and the work at hand.

bfloat16 halves the work on processors that multiply matrices in it, and changes vectors by less
than two images of the same scene differ.  Other processors have instructions for it and are slower:
an Intel processor whose AMX is hidden from virtual machines took 1.5 to 1.8 times as long (Xception
and ResNet-50, TensorFlow and OpenVINO).  It is used only if the first :data:`COMPARED_IMAGES`
images took less time and each of their vectors agreed with float32 to a cosine of
:data:`MIN_COSINE`, now or in an earlier run on this machine.  Vectors of both precisions and of all
runtimes therefore belong to the same embedding space, and neither is part of an extractor's
fingerprint.

For fewer than :data:`FEW_IMAGES` images, converting and comparing would take longer than they save,
and are skipped.
"""

import importlib.util
import math
import os
import time
import warnings

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import (
    ClusterkitWarning,
    InvalidInputError,
    MissingDependencyError,
    WeightsError,
)
from clusterkit.networks.runtimes.base import (
    MIN_COSINE,
    NetworkSource,
    Run,
    Runtime,
    Started,
    lowest_cosine,
)
from clusterkit.networks.runtimes.cache import Comparison, ComparisonFile
from clusterkit.utils.imports import find_backend_problem, require
from clusterkit.utils.parallel import has_gpu

RUNTIMES = ("auto", "keras", "openvino")

PRECISIONS = ("auto", "float32", "bfloat16")


# Below this, preparing the fastest runtime takes longer than it saves (Xception, two cores).
FEW_IMAGES = 128

# Number of images on which bfloat16 and float32 are compared: 32 took 2 s on two cores.
COMPARED_IMAGES = 8
# Number of times that each precision is timed on them.
TIMED_PASSES = 2


class OpenNetwork:
    """A loaded network, which chooses its precision at the first batch.

    Parameters
    ----------
    source : NetworkSource
        The network.
    runtime : {"auto", "keras", "openvino"}
        ``auto`` is OpenVINO if it is installed and there is no GPU, otherwise Keras.
    precision : {"auto", "float32", "bfloat16"}
        ``auto`` is bfloat16 if the hardware is faster in it, otherwise float32.
    few : bool
        Whether there are fewer than :data:`FEW_IMAGES` images: then ``auto`` is float32, and
        OpenVINO only if it has the converted network.

    Raises
    ------
    InvalidInputError
        If a choice is unknown.
    MissingDependencyError
        If OpenVINO was requested and is not installed, or Keras' backend is not.
    WeightsError
        If the network cannot be built.
    """

    def __init__(
        self,
        source: NetworkSource,
        *,
        runtime: str = "auto",
        precision: str = "auto",
        few: bool = False,
    ) -> None:
        for kind, value, allowed in (
            ("runtime", runtime, RUNTIMES),
            ("precision", precision, PRECISIONS),
        ):
            if value not in allowed:
                raise InvalidInputError(
                    f"{kind} must be one of {', '.join(allowed)}. Received: {value!r}"
                )
        problem = find_backend_problem()
        if problem is not None:
            raise MissingDependencyError(problem)
        self.few = few
        self._source = source
        self._runtime = _open(source, runtime, few)
        self._precision = precision

    def start(self, images: NDArray[np.uint8], *, batch_size: int) -> Started:
        """Compile the network for this machine.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, 3), uint8
            The first batch, on whose first images bfloat16 is compared with float32 unless an
            earlier run has done so.
        batch_size : int
            Maximum number of images per batch.

        Returns
        -------
        Started
            The function to call with every batch, with the chosen runtime and precision.

        Raises
        ------
        InvalidInputError
            If bfloat16 was requested and disagrees with float32.
        """
        runtime, wanted = self._runtime, self._precision
        if wanted == "float32" or (wanted == "auto" and (self.few or not runtime.has_bfloat16)):
            return Started(runtime.compile("float32", batch_size), runtime.name, "float32")
        file = ComparisonFile(self._source, runtime.name)
        found = file.read()
        fast = exact = None
        if found is None:
            fast = runtime.compile("bfloat16", batch_size)
            exact = runtime.compile("float32", batch_size)
            found = _compare(fast, exact, images[:COMPARED_IMAGES])
            file.write(found)
        agrees, is_worth_it = found.cosine >= MIN_COSINE, found.speedup > 1
        if agrees and (is_worth_it or wanted == "bfloat16"):
            fast = fast or runtime.compile("bfloat16", batch_size)
            return Started(fast, runtime.name, "bfloat16")
        if not agrees:
            finding = (
                f"bfloat16 moves the vectors of {self._source.name} too far from float32 "
                f"(cosine {found.cosine:.4f}, at least {MIN_COSINE} is allowed)"
            )
            if wanted == "bfloat16":
                raise InvalidInputError(f"{finding}: use the precision float32 or auto")
            if is_worth_it:
                warnings.warn(f"{finding}: computing in float32", ClusterkitWarning, stacklevel=2)
        exact = exact or runtime.compile("float32", batch_size)
        return Started(exact, runtime.name, "float32")


def _compare(fast: Run, exact: Run, images: NDArray[np.uint8]) -> Comparison:
    """Compare bfloat16 with float32 on some images."""
    # Only vectors are compared; class probabilities need less precision.
    cosine = lowest_cosine(fast(images)[:1], exact(images)[:1])
    # The first passes have prepared the network.  The best of several counts, and the precisions
    # take turns: other work of the machine may slow down any pass.
    seconds = {fast: math.inf, exact: math.inf}
    for run in (fast, exact) * TIMED_PASSES:
        start = time.perf_counter()
        run(images)
        seconds[run] = min(seconds[run], time.perf_counter() - start)
    return Comparison(cosine, seconds[exact] / seconds[fast])


def _open(source: NetworkSource, runtime: str, few: bool) -> Runtime:
    """Open a network with a runtime, by default the fastest that supports it."""
    from clusterkit.networks.runtimes.keras import KerasRuntime
    from clusterkit.networks.runtimes.openvino import OpenVinoRuntime, is_converted

    if runtime == "openvino":
        require("openvino", extra="openvino", caller="the runtime openvino")
        return OpenVinoRuntime(source)
    if runtime == "auto" and _openvino_is_faster() and (not few or is_converted(source)):
        try:
            return OpenVinoRuntime(source)
        except WeightsError:
            raise
        # OpenVINO and its converter raise many kinds of errors; fall back to Keras.
        except Exception as error:
            warnings.warn(
                f"OpenVINO cannot run {source.name} ({error}): using Keras",
                ClusterkitWarning,
                stacklevel=3,
            )
    return KerasRuntime(source)


def _openvino_is_faster() -> bool:
    """Return whether OpenVINO is available and faster than Keras.

    On every measured processor it is at least as fast as TensorFlow, and starts faster; a fixed
    rule gives the same choice in every run.  Another Keras backend or a GPU is the user's choice.
    """
    chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
    return chosen in ("tensorflow", "openvino") and _openvino_is_installed() and not has_gpu()


def _openvino_is_installed() -> bool:
    """Return whether OpenVINO is installed, without importing it."""
    return importlib.util.find_spec("openvino") is not None
