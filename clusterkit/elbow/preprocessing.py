"""Input checks and scaling for the elbow."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.clusterers.kmeans.lloyd import Matrix
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.nearest import unit_rows
from clusterkit.utils.arguments import check_at_least, check_vectors

# Lengths that vary by less than a quarter of their mean carry little information.  Rows whose mean
# is shorter than a quarter of theirs lie all around the origin.
_MAX_VARIATION = _MIN_COMMON = 0.25
# Relative squared spread below which rows differ only by rounding.
_ROUNDING = 1e-10


def check_matrix(X: ArrayLike) -> NDArray[Any]:
    """Return X as a finite float32 or float64 matrix."""
    check_vectors(X)
    try:
        rows = np.asarray(X)
        rows = rows if rows.dtype == np.float32 else rows.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"X must be a matrix of numbers. Received: {error}") from error
    if rows.ndim != 2 or rows.size == 0:
        raise InvalidInputError(f"X must have shape (n_samples, dimension). Received: {rows.shape}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise InvalidInputError(f"X must be finite. Received: NaN or infinity in row {row}")
    return rows


def check_numbers(k: Iterable[int], n_samples: int) -> list[int]:
    """Return the numbers of clusters, sorted and unique."""
    if not isinstance(k, Iterable):
        raise InvalidInputError(
            f"k must be the numbers of clusters to try, such as range(2, 21). Received: k={k}"
        )
    numbers = sorted({check_at_least(number, 2, "k") for number in k})
    if n_samples < 2:
        raise InvalidInputError(f"groups need at least 2 rows. Received: n_samples={n_samples}")
    if not numbers:
        raise InvalidInputError(f"k must hold at least one number of clusters. Received: {k!r}")
    if numbers[-1] > n_samples:
        raise InvalidInputError(
            "k must be at most the number of rows. "
            f"Received: k={numbers[-1]}, n_samples={n_samples}"
        )
    return numbers


def prepare(X: Matrix, normalize: Any) -> Matrix:
    """Scale the rows to length 1 if requested, or with "auto" if only their directions differ."""
    if normalize not in (True, False, "auto"):
        raise InvalidInputError(f"normalize must be True, False or 'auto'. Received: {normalize!r}")
    if normalize == "auto":
        lengths = np.linalg.norm(X, axis=1)
        common = np.linalg.norm(X.mean(axis=0, dtype=np.float64))
        are_similar = lengths.std() <= _MAX_VARIATION * lengths.mean()
        normalize = are_similar and common >= _MIN_COMMON * lengths.mean()
    return unit_rows(X) if normalize else X


def all_alike(X: Matrix) -> bool:
    """Return whether the rows differ only by rounding."""
    spread = np.square(X - X[0], dtype=np.float64).mean()
    return bool(spread <= _ROUNDING * np.square(X, dtype=np.float64).mean())
