"""Correlation of vectors, also of probabilities of which a network is more or less sure."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.similarity.scaling import are_probabilities, unit_rows

# Probabilities are compared by this power of them.
_POWER = 0.25
# Vectors with fewer numbers have no useful correlation; shorter ones, without their mean, are
# rounding.
_MIN_DIMENSION, _MIN_LENGTH = 3, 1e-5


def correlation_rows(X: ArrayLike) -> NDArray[np.float32]:
    """Return rows whose scalar products are the correlations of vectors.

    Parameters
    ----------
    X : array-like of shape (n, dimension)
        Finite numbers of any magnitude.

    Returns
    -------
    ndarray of shape (n, dimension), float32
        Rows of length 1, or 0 without variance.

    Raises
    ------
    InvalidInputError
        As :func:`~clusterkit.similarity.scaling.unit_rows`.

    Notes
    -----
    The correlation is the cosine after subtracting the mean of each vector.  Of probabilities, it
    is that of their fourth root: otherwise an image of which the network is unsure is unlike all
    others, since it shares hardly any of its probability with any of them.

    References
    ----------
    Perronnin, Sánchez, Mensink: Improving the Fisher kernel for large-scale image classification.
    ECCV, 2010, for the power of the numbers.
    """
    rows = unit_rows(np.asarray(X) ** _POWER if are_probabilities(X) else X)
    if rows.shape[1] < _MIN_DIMENSION:
        return rows
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    rows /= np.maximum(lengths, _MIN_LENGTH)[:, None]
    rows[lengths < _MIN_LENGTH] = 0
    return rows
