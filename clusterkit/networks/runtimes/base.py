"""What a runtime is: a network that runs batches of images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

MIN_COSINE = 0.999

# uint8 images in, up to a full batch, and the network's outputs as float32 out.
Run = Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]


@dataclass(frozen=True)
class NetworkSource:
    """What a runtime needs to know of a network.

    Attributes
    ----------
    name : str
        For messages.
    identity : dict
        What decides its outputs, weights as a digest; JSON-able.
    build : callable
        From a Keras dtype policy to a ``keras.Model`` that takes uint8 images of shape
        (n, height, width, 3) and returns float32 outputs of shape (n, length), vectors first.
    """

    name: str
    identity: dict[str, Any]
    build: Callable[[str], Any]


class Runtime(Protocol):
    """A network that is ready to be compiled for one precision."""

    name: str

    @property
    def has_bfloat16(self) -> bool:
        """Whether the hardware computes in bfloat16, and this runtime gains by it."""

    def compile(self, precision: str, batch_size: int) -> Run:
        """Return the function that runs batches of up to ``batch_size`` images."""


class Started(NamedTuple):
    """A network that runs, and how it does."""

    run: Run
    runtime: str
    precision: str


def lowest_cosine(a: list[NDArray[np.float32]], b: list[NDArray[np.float32]]) -> float:
    """Return the lowest cosine between matching rows of two lists of outputs."""
    lowest = 1.0
    for x, y in zip(a, b, strict=True):
        norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        same = (x == y).all(axis=1)
        # Vectors of zeros agree with themselves only; what is not finite agrees with nothing.
        cosines = np.divide((x * y).sum(axis=1), norms, out=same * 1.0, where=norms != 0)
        lowest = min(lowest, float(np.nan_to_num(cosines, nan=-1.0).min()))
    return lowest
