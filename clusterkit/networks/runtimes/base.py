"""Interface of runtimes, which run batches of images through a network."""

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
    """Description of a network for a runtime.

    Attributes
    ----------
    name : str
        Name for messages.
    identity : dict
        JSON-able properties that determine the outputs, with weights as a digest.
    build : callable
        Function of a Keras dtype policy that returns a ``keras.Model`` from uint8 images of shape
        (n, height, width, 3) to float32 outputs of shape (n, length), vectors first.
    """

    name: str
    identity: dict[str, Any]
    build: Callable[[str], Any]


class Runtime(Protocol):
    """A network that can be compiled for a precision."""

    name: str

    @property
    def has_bfloat16(self) -> bool:
        """Whether hardware and runtime support bfloat16 efficiently."""

    def compile(self, precision: str, batch_size: int) -> Run:
        """Return the function that runs batches of up to ``batch_size`` images."""


class Started(NamedTuple):
    """A compiled network with its runtime and precision."""

    run: Run
    runtime: str
    precision: str


def lowest_cosine(a: list[NDArray[np.float32]], b: list[NDArray[np.float32]]) -> float:
    """Return the lowest cosine between corresponding rows of two lists of outputs."""
    lowest = 1.0
    for x, y in zip(a, b, strict=True):
        norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        same = (x == y).all(axis=1)
        # Zero vectors agree only with zero vectors, and non-finite ones with none.
        cosines = np.divide((x * y).sum(axis=1), norms, out=same * 1.0, where=norms != 0)
        lowest = min(lowest, float(np.nan_to_num(cosines, nan=-1.0).min()))
    return lowest
