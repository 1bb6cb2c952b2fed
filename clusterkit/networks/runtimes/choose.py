"""Choose the runtime and precision of a network for the machine.

bfloat16 halves the work on processors with hardware support, and changes vectors by less than two
images of the same scene differ.  It is used only if every vector of the first batch agrees with
float32 to a cosine of :data:`MIN_COSINE`.  Vectors of both precisions and of all runtimes therefore
belong to the same embedding space, and neither is part of an extractor's fingerprint.
"""

import importlib.util
import os
import warnings

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError, MissingDependencyError, WeightsError
from clusterkit.networks.runtimes.base import (
    MIN_COSINE,
    NetworkSource,
    Runtime,
    Started,
    lowest_cosine,
)
from clusterkit.utils.optional_imports import find_backend_problem, require
from clusterkit.utils.parallel import has_gpu

RUNTIMES = ("auto", "keras", "openvino")

PRECISIONS = ("auto", "float32", "bfloat16")


def start(
    source: NetworkSource,
    images: NDArray[np.uint8],
    *,
    batch_size: int,
    runtime: str = "auto",
    precision: str = "auto",
) -> Started:
    """Compile a network for this machine.

    Parameters
    ----------
    source : NetworkSource
        The network.
    images : ndarray of shape (n, height, width, 3), uint8
        The first batch, on which bfloat16 is compared with float32.
    batch_size : int
        Maximum number of images per batch.
    runtime : {"auto", "keras", "openvino"}
        ``auto`` is OpenVINO if it is installed and there is no GPU, otherwise Keras.
    precision : {"auto", "float32", "bfloat16"}
        ``auto`` is bfloat16 if the hardware supports it, otherwise float32.

    Returns
    -------
    Started
        The function to call with every batch, with the chosen runtime and precision.

    Raises
    ------
    InvalidInputError
        If a choice is unknown, or bfloat16 was requested and disagrees with float32.
    MissingDependencyError
        If OpenVINO was requested and is not installed, or Keras' backend is not.
    WeightsError
        If the network cannot be built.
    """
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
    opened = _open(source, runtime)
    exact = opened.compile("float32", batch_size)
    if precision == "float32" or (precision == "auto" and not opened.has_bfloat16):
        return Started(exact, opened.name, "float32")
    fast = opened.compile("bfloat16", batch_size)
    # Only vectors are compared; class probabilities need less precision.
    cosine = lowest_cosine(fast(images)[:1], exact(images)[:1])
    if cosine >= MIN_COSINE:
        return Started(fast, opened.name, "bfloat16")
    finding = (
        f"bfloat16 moves the vectors of {source.name} too far from float32 "
        f"(cosine {cosine:.4f}, at least {MIN_COSINE} is allowed)"
    )
    if precision == "bfloat16":
        raise InvalidInputError(f"{finding}: use the precision float32 or auto")
    warnings.warn(f"{finding}: computing in float32", stacklevel=2)
    return Started(exact, opened.name, "float32")


def _open(source: NetworkSource, runtime: str) -> Runtime:
    """Open a network with a runtime, by default the fastest that supports it."""
    from clusterkit.networks.runtimes.keras import KerasRuntime
    from clusterkit.networks.runtimes.openvino import OpenVinoRuntime

    if runtime == "openvino":
        require("openvino", extra="openvino", caller="the runtime openvino")
        return OpenVinoRuntime(source)
    if runtime == "auto" and _openvino_is_faster():
        try:
            return OpenVinoRuntime(source)
        except WeightsError:
            raise
        # OpenVINO and its converter raise many kinds of errors; fall back to Keras.
        except Exception as error:
            warnings.warn(f"OpenVINO cannot run {source.name} ({error}): using Keras", stacklevel=3)
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
