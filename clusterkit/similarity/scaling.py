"""How rows are scaled before they are compared: to length 1, or first to their square roots."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.store.stream import VectorStream
from clusterkit.utils.arguments import check_vectors

# Whether rows are scaled to length 1; "sqrt" for their square roots, which is for probabilities.
Scaling = bool | Literal["sqrt"]
# Difference of a sum of probabilities from 1 by rounding.
_ROUNDING = 0.01
# Number of rows of a stream that tell whether all are probabilities.
_N_LOOKED_AT = 4096
_FEW = 16


def are_probabilities(X: ArrayLike | VectorStream) -> bool:
    """Return whether rows are probabilities, such as predictions: none negative, of sum 1.

    Not those that each have a single 1, which are their own square roots.
    """
    is_stream = isinstance(X, VectorStream)
    rows = np.asarray(next(X.iter_batches(_N_LOOKED_AT), []) if is_stream else X)  # type: ignore[union-attr]
    if rows.ndim != 2 or not rows.size:
        return False
    # A few rows tell most others apart, so that a search does not read all of them once more.
    for part in (rows[:_FEW], rows):
        if part.min() < 0 or not np.allclose(part.sum(axis=1), 1, atol=_ROUNDING):
            return False
    return not bool((rows.max(axis=1) == 1).all())


def find_scaling(X: Any) -> Scaling:
    """Return how rows are compared by default: "sqrt" for probabilities, otherwise True.

    Parameters
    ----------
    X : array-like of shape (n, dimension), VectorStream, Embeddings or Catalogue
        A Catalogue knows it.
    """
    known: Scaling | None = getattr(X, "scaling", None)
    return known or ("sqrt" if are_probabilities(X) else True)


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
        :func:`unit_rows`.

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
    return unit_rows(take_roots(X, normalize)) if normalize else np.asarray(X)


def take_roots(X: ArrayLike, normalize: Scaling) -> NDArray[Any]:
    """Return the square roots of rows for "sqrt", otherwise the rows.

    Raises
    ------
    InvalidInputError
        If a number is negative for "sqrt".
    """
    rows = np.asarray(X)
    if normalize != "sqrt":
        return rows
    if rows.size and rows.min() < 0:
        raise InvalidInputError(
            "normalize='sqrt' is for probabilities and other numbers that are not negative. "
            f"Received: {rows.min():.3g}"
        )
    return np.sqrt(rows, dtype=np.result_type(rows, np.float32))


def unit_rows(vectors: Any) -> NDArray[np.float32]:
    """Scale every row to length 1; a zero row stays zero.

    Parameters
    ----------
    vectors : array-like of shape (n, dimension)
        Finite numbers of any magnitude.

    Returns
    -------
    ndarray of shape (n, dimension), float32
        A new array.

    Raises
    ------
    InvalidInputError
        If the array is not two-dimensional or contains NaN or infinite values.
    """
    check_vectors(vectors, "vectors")
    rows = np.asarray(vectors)
    if rows.ndim != 2:
        raise InvalidInputError(f"vectors must have shape (n, dimension). Received: {rows.shape}")
    if rows.dtype != np.float32:
        rows = level_rows(rows.astype(np.float64, copy=False)).astype(np.float32)
    # Squares of float32 numbers fit in float64, so that lengths neither overflow nor underflow.
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    if not np.isfinite(lengths).all():
        row = int(np.flatnonzero(~np.isfinite(lengths))[0])
        raise InvalidInputError(f"vectors must be finite. Received: NaN or infinity in row {row}")
    lengths[lengths == 0] = 1
    return np.divide(rows, lengths[:, None], out=np.empty_like(rows), casting="same_kind")


def level_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiply each row by a power of two so that its largest number is in [0.5, 1)."""
    _, exponents = np.frexp(np.abs(rows).max(axis=1, initial=0))
    return np.ldexp(rows, -exponents[:, None])
