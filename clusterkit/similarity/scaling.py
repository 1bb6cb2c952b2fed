"""How rows are scaled before they are compared: to length 1, or first to their square roots."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.similarity.nearest import unit_rows
from clusterkit.store.stream import VectorStream
from clusterkit.utils.arguments import check_vectors

# Whether rows are scaled to length 1; "sqrt" for their square roots, which is for probabilities.
Scaling = bool | Literal["sqrt"]
# Difference of a sum of probabilities from 1 by rounding.
_ROUNDING = 0.01
# Number of rows of a stream that tell whether all are probabilities.
_N_LOOKED_AT = 4096


def are_probabilities(X: ArrayLike | VectorStream) -> bool:
    """Return whether rows are probabilities, such as predictions: none negative, of sum 1."""
    is_stream = isinstance(X, VectorStream)
    rows = np.asarray(next(X.iter_batches(_N_LOOKED_AT), []) if is_stream else X)  # type: ignore[union-attr]
    if rows.ndim != 2 or not rows.size or rows.min() < 0:
        return False
    return np.allclose(rows.sum(axis=1), 1, atol=_ROUNDING)


def find_scaling(X: ArrayLike | VectorStream) -> Scaling:
    """Return how rows are compared by default: "sqrt" for probabilities, otherwise True."""
    return "sqrt" if are_probabilities(X) else True


def as_scaling(normalize: Any) -> Scaling:
    """Return the scaling of any estimator's or table's ``normalize``."""
    return "sqrt" if isinstance(normalize, str) and normalize == "sqrt" else bool(normalize)


def check_scaling(normalize: Any) -> Scaling:
    """Return the scaling, or raise InvalidInputError."""
    if isinstance(normalize, bool | np.bool_) or as_scaling(normalize) == "sqrt":
        return as_scaling(normalize)
    raise InvalidInputError(f"normalize must be True, False or 'sqrt'. Received: {normalize!r}")


def scale_rows(X: ArrayLike, normalize: Scaling) -> NDArray[Any]:
    """Scale rows.

    Parameters
    ----------
    X : array-like of shape (n, dimension)
        Finite numbers of any magnitude.
    normalize : bool or "sqrt"
        False for no change; True for rows of length 1; "sqrt" for the square roots of numbers that
        are not negative, as rows of length 1.

    Returns
    -------
    ndarray of shape (n, dimension)
        float32 unless the rows are not changed.

    Raises
    ------
    InvalidInputError
        If ``normalize`` is none of these, a number is negative for "sqrt", or as
        :func:`~clusterkit.similarity.nearest.unit_rows`.

    Notes
    -----
    The scalar product of the square roots of two distributions is their Bhattacharyya coefficient,
    and the Euclidean distance of the roots is, up to a factor, the Hellinger distance.  A plain
    scalar product of probabilities depends on hardly more than the largest of each row, so that
    images of which a network is unsure are like no other.

    References
    ----------
    Bhattacharyya: On a measure of divergence between two statistical populations defined by their
    probability distributions. Bulletin of the Calcutta Mathematical Society 35, 1943.
    Arandjelovic, Zisserman: Three things everyone should know to improve object retrieval.
    CVPR, 2012, for the square roots of histograms.
    """
    normalize = check_scaling(normalize)
    check_vectors(X)
    if not normalize:
        return np.asarray(X)
    if normalize == "sqrt":
        rows = np.asarray(X)
        if rows.size and rows.min() < 0:
            raise InvalidInputError(
                "normalize='sqrt' is for probabilities and other numbers that are not negative. "
                f"Received: {rows.min():.3g}"
            )
        X = np.sqrt(rows, dtype=np.result_type(rows, np.float32))
    return unit_rows(X)
