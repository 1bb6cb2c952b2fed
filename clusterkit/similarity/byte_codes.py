"""Exact search with one byte per number, which excludes most rows before vectors are read.

A million rows of 512 dimensions take 0.1 s and 0.5 GB, a quarter of their vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterkit.similarity.nearest import FLOAT32_NOISE
from clusterkit.utils.parallel import workers

_STEPS = 127  # of the largest number of a vector, on each side of 0
# Numbers that are multiplied at a time: 2 MB, which stay in a core's cache.
_CACHE_VALUES = 2**19


def encode(
    units: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Return rows as whole numbers of a step.

    Parameters
    ----------
    units : ndarray of shape (n, dimension), float32
        Rows of length 1 or 0.

    Returns
    -------
    codes : ndarray of shape (n, dimension), int8
    steps : ndarray of shape (n,), float32
        The step of each row.
    errors : ndarray of shape (n,), float32
        Length of the rounding error of each row, including that of float32 products.
    """
    rows = units.astype(np.float64)
    steps = (np.abs(rows).max(axis=1, initial=0) / _STEPS).astype(np.float32)
    divisors = np.where(steps > 0, steps, 1).astype(np.float64)
    codes = np.clip(np.rint(rows / divisors[:, None]), -_STEPS, _STEPS)
    lost = np.linalg.norm(rows - codes * steps[:, None].astype(np.float64), axis=1)
    errors = (lost * (1 + 1e-6) + 2 * FLOAT32_NOISE).astype(np.float32)
    return codes.astype(np.int8), steps, errors


def find_candidates(
    similarities: NDArray[np.float32], errors: NDArray[np.float32], n_neighbors: int
) -> NDArray[np.int64]:
    """Return all rows that may be among the nearest, by their similarities and errors.

    The scalar product of a unit vector with the error of a row is at most the length of the error.
    """
    least = np.partition(similarities - errors, len(errors) - n_neighbors)[-n_neighbors]
    return np.flatnonzero(similarities + errors >= least)


def similarities_of(
    codes: NDArray[np.int8], steps: NDArray[np.float32], unit: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the cosine similarity of a vector of length 1 to each row, up to the errors."""
    found = np.empty(len(codes), np.float32)
    step = max(1, _CACHE_VALUES // codes.shape[1])
    wide = np.empty((step, codes.shape[1]), np.float32)
    # A separate thread for each small product would take longer than the product.
    with workers():
        for start in range(0, len(codes), step):
            part = codes[start : start + step]
            np.copyto(wide[: len(part)], part)
            np.dot(wide[: len(part)], unit, out=found[start : start + len(part)])
    found *= steps
    return found
