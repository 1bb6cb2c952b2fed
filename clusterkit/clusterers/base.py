"""Base class of clusterers, with input checks, scaling and warnings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, validate_data

from clusterkit.clusterers.row_stream import RowStream
from clusterkit.errors import ClusterkitWarning, InvalidInputError
from clusterkit.similarity.scaling import Scaling, check_scaling, scale_rows
from clusterkit.store.embeddings import check_fitted_space, fingerprint_of
from clusterkit.utils.arguments import check_at_least, check_vectors, is_number
from clusterkit.utils.memory import available_memory, format_gb
from clusterkit.utils.noise import NOISE

# Squares of numbers this many times larger than the fitted ones would overflow.
_MAX_RATIO = 1e18
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


class ClusteringWarning(ClusterkitWarning):
    """The clustering may not be what was intended."""


class UnitClusterer(ClusterMixin, BaseEstimator):
    """Base of clusterers that scale rows to length 1 if ``normalize=True``.

    With ``normalize="sqrt"``, their square roots are scaled, see
    :func:`~clusterkit.similarity.scaling.scale_rows`.  With ``normalize=False``, rows are divided
    by a power of two near the largest number, so that the result does not depend on their scale.

    Attributes
    ----------
    fingerprint_ : str or None
        Fingerprint of the fitted embedding space; None for plain arrays.  Vectors of another space
        raise an error.
    """

    normalize: Scaling
    fingerprint_: str | None
    n_features_in_: int
    # The unit of work.
    _unit: float

    def _check_rows(self, X: ArrayLike, *, reset: bool = True) -> NDArray[np.float32]:
        """Check X and return it as a scaled float32 matrix."""
        if not reset:
            check_fitted_space(self, X)
        check_vectors(X)
        rows = as_invalid_input(validate_data)(
            self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=False
        )
        find_largest(rows)
        if reset:
            self.fingerprint_ = fingerprint_of(X)
            self._unit = 1.0 if self.normalize else find_unit(rows)
        rows = to_float32(rows, normalize=self.normalize, unit=self._unit)
        if reset and self.normalize:
            warn_of_zeros(find_zeros(rows))
        return rows

    def _keep_stream(self, stream: RowStream, n_columns: int, unit: float) -> None:
        """Set the attributes that :meth:`_check_rows` sets for rows in memory."""
        self.fingerprint_, self.n_features_in_ = fingerprint_of(stream), n_columns
        self._unit = unit
        # Streams have no names of columns; these are of a table fitted before.
        self.__dict__.pop("feature_names_in_", None)


def check_rows(X: ArrayLike, name: str = "X") -> NDArray[Any]:
    """Return X as a finite matrix of float32 or float64 numbers.

    Parameters
    ----------
    X : array-like of shape (n, d)
        The rows.
    name : str
        What they are, for the message if they are not finite.

    Raises
    ------
    InvalidInputError
        If X is not a matrix, is empty, or contains NaN or infinite values.
    """
    check_vectors(X)
    rows = as_invalid_input(check_array)(X, dtype=[np.float64, np.float32], ensure_all_finite=False)
    find_largest(rows, name)
    return rows


def find_largest(X: NDArray[Any], name: str = "X") -> float:
    """Return the largest absolute value of X; for ``name`` see :func:`check_rows`.

    Raises
    ------
    InvalidInputError
        If there are NaN or infinite values, with the first row of any.
    """
    # Integers of NumPy, and its truth values, have no negative of the lowest.
    largest = max(float(X.max(initial=0)), -float(X.min(initial=0)))
    if not np.isfinite(largest):
        row = int(np.flatnonzero(~np.isfinite(X).all(axis=1))[0])
        raise InvalidInputError(f"{name} must be finite. Received: NaN or infinity in row {row}")
    return largest


def find_unit(X: NDArray[Any]) -> float:
    """Return the largest power of two up to the largest absolute value of X; 1 for zeros."""
    largest = find_largest(X)
    return float(np.ldexp(1.0, np.frexp(largest)[1] - 1)) if largest else 1.0


def to_float32(X: NDArray[Any], *, normalize: Scaling, unit: float = 1.0) -> NDArray[np.float32]:
    """Return a contiguous float32 matrix, with rows scaled to length 1 if ``normalize``.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Finite numbers.
    normalize : bool or "sqrt"
        See :func:`~clusterkit.similarity.scaling.scale_rows`; a zero row stays zero.
    unit : float, default 1.0
        A power of two that divides rows which are not normalised.

    Returns
    -------
    ndarray of shape (n, d), float32
        X itself if it needs no change.

    Raises
    ------
    InvalidInputError
        If there are NaN or infinite values, or a number is too large for float32 or for the unit.
    """
    if check_scaling(normalize) and X.dtype == np.float32:
        return scale_rows(X, normalize)
    largest = find_largest(X, "a batch")  # all others are checked already
    if X.dtype != np.float32 and largest > _MAX_FLOAT32:
        raise InvalidInputError(
            f"numbers must fit in float32, up to 3.4e38. Received: up to {largest:.3g}"
        )
    if normalize:
        return scale_rows(X, normalize)
    if largest / _MAX_RATIO > unit:
        raise InvalidInputError(
            "numbers are too large beside those that were fitted, of about "
            f"{unit:.3g}. Received: up to {largest:.3g}"
        )
    return np.ascontiguousarray(X if unit == 1 else X / unit, dtype=np.float32)


def in_units(X: NDArray[np.float32], unit: float) -> NDArray[Any]:
    """Undo the division by the unit; float64 if float32 cannot hold the result."""
    if unit == 1:
        return X
    range_ = np.finfo(np.float32)
    fits = float(range_.tiny) <= unit <= float(range_.max) / _MAX_RATIO
    return X * np.float32(unit) if fits else X * np.float64(unit)


def count_distinct(first: NDArray[np.intp]) -> int:
    """Return the number of different rows, from ``find_equal``."""
    return int((first == np.arange(len(first))).sum())


def unite_equal(labels: NDArray[Any], first: NDArray[np.intp]) -> NDArray[Any]:
    """Give equal rows the most frequent of their labels, the lowest on ties.

    Parameters
    ----------
    labels : ndarray of shape (n,), int
        Cluster of each row.
    first : ndarray of shape (n,), int
        From ``find_equal``.
    """
    if np.array_equal(labels, labels[first]):
        return labels
    (rows, found), counts = np.unique(np.stack([first, labels]), axis=1, return_counts=True)
    order = np.lexsort((found, -counts, rows))
    kinds, places = np.unique(rows[order], return_index=True)
    return found[order][places][np.searchsorted(kinds, first)].astype(labels.dtype)


def find_zeros(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return a mask of the zero rows."""
    return ~np.asarray(rows.any(axis=1))


def warn_of_zeros(is_zero: NDArray[np.bool_], *, stacklevel: int = 4) -> None:
    """Warn about zero rows, which cannot be normalised; by default for the caller of ``fit``."""
    if is_zero.any():
        warnings.warn(
            f"{is_zero.sum():,} of {len(is_zero):,} rows are zero and have no direction, the first "
            f"is row {is_zero.argmax()}; they stay zero",
            ClusteringWarning,
            stacklevel=stacklevel,
        )


def random_state_from(random_state: int | np.random.RandomState | None) -> np.random.RandomState:
    """Return NumPy's random state for a seed, as scikit-learn does, or raise InvalidInputError."""
    try:
        return check_random_state(random_state)
    except ValueError as error:
        raise InvalidInputError(
            "random_state must be an integer from 0 to 2**32 - 1, a RandomState, or None. "
            f"Received: random_state={random_state!r}"
        ) from error


def seed_from(random_state: int | np.random.RandomState | None) -> int:
    """Draw a seed for NumPy's generators from a random state as scikit-learn accepts it."""
    return int(random_state_from(random_state).randint(2**31 - 1))


def check_tol(tol: Any) -> float:
    """Return a tolerance, or raise InvalidInputError."""
    if not is_number(tol) or tol < 0:
        raise InvalidInputError(f"tol must be a number of at least 0. Received: tol={tol!r}")
    return float(tol)


def check_n_clusters(n_clusters: Any, n_samples: int, *, minimum: int = 1) -> int:
    """Return the number of clusters as an int.

    Raises
    ------
    InvalidInputError
        If it is not an integer, below the minimum, or above the number of rows.
    """
    check_at_least(n_clusters, minimum, "n_clusters")
    if n_clusters > n_samples:
        raise InvalidInputError(
            "n_clusters must be at most the number of rows. "
            f"Received: n_clusters={n_clusters}, n_samples={n_samples}"
        )
    return int(n_clusters)


def check_weights(sample_weight: ArrayLike | None, n_samples: int) -> NDArray[np.float32]:
    """Return one weight per row, 1 by default.

    Raises
    ------
    InvalidInputError
        If there is not one weight per row, or weights are no numbers, negative, not finite or all
        zero.
    """
    if sample_weight is None:
        return np.ones(n_samples, np.float32)
    try:
        with np.errstate(over="ignore"):  # infinite weights are refused below
            weights = np.asarray(sample_weight, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"sample_weight must hold one number per row. Received: {error}"
        ) from error
    if weights.shape != (n_samples,):
        raise InvalidInputError(
            "sample_weight must hold one number per row. "
            f"Received: shape {weights.shape}, n_samples={n_samples}"
        )
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise InvalidInputError(
            "sample_weight must be finite, not negative, and not all zero. "
            f"Received: {weights.min()} to {weights.max()}"
        )
    return weights


def check_memory(
    needed: float, clusterer: str, n_samples: int, *, remedy: Callable[[float], str]
) -> None:
    """Raise InvalidInputError if a clusterer needs more memory than there is.

    Parameters
    ----------
    needed : float
        Memory in bytes.
    clusterer : str
        Name of the clusterer, for the message.
    n_samples : int
        Number of rows.
    remedy : callable
        Returns what to do, from the share of the memory that is available.
    """
    free = available_memory()
    if free is not None and needed > free:
        raise InvalidInputError(
            f"{clusterer} would need about {format_gb(needed)} of memory for "
            f"n_samples={n_samples}, and {format_gb(free)} are available; {remedy(free / needed)}"
        )


def centers_of(X: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return the mean of the rows of each cluster, for any clusterer.

    Parameters
    ----------
    X : array-like of shape (n, d)
        The rows, normalised if the clusterer normalises.
    labels : array-like of shape (n,), int
        Cluster of each row, from 0; noise (-1) is ignored.

    Returns
    -------
    ndarray of shape (max(labels) + 1, d), float64
        NaN for labels without rows.

    Raises
    ------
    InvalidInputError
        If there is not one label per row.
    """
    check_vectors(X)
    X, labels = np.asarray(X), np.asarray(labels)
    if len(X) != len(labels):
        raise InvalidInputError(
            f"there must be one label per row. Received: {len(labels):,} labels, {len(X):,} rows"
        )
    centers = np.full((labels.max(initial=NOISE) + 1, X.shape[1]), np.nan)
    for label in np.unique(labels[labels != NOISE]):
        centers[label] = X[labels == label].mean(axis=0, dtype=np.float64)
    return centers


def number_by_size(labels: ArrayLike) -> NDArray[np.int32]:
    """Number clusters from the largest to the smallest; noise (-1) stays noise.

    Ties are in order of their first row.
    """
    labels = np.asarray(labels)
    found, first, sizes = np.unique(labels[labels != NOISE], return_index=True, return_counts=True)
    # Noise is in the last place, at index -1.
    numbers = np.full(labels.max(initial=NOISE) + 2, NOISE, dtype=np.int32)
    numbers[found[np.lexsort((first, -sizes))]] = np.arange(len(found))
    return numbers[labels]


def describe_sizes(labels: NDArray[np.int32]) -> str | None:
    """Describe odd cluster sizes, or return None.

    With a mean of at least 10 rows per cluster, a cluster is odd if it has a single row or less
    than a fiftieth of the mean, or more than half of all rows and 10 times as many as the next.
    Classes of real photo collections differ in size by a factor of 10 and more, so that alone is
    not odd.
    """
    sizes = np.sort(np.bincount(labels[labels != NOISE]))[::-1]
    n, k = int(sizes.sum()), len(sizes)
    if k < 2 or n < 10 * k:
        return None
    tiny = sizes[sizes <= max(1, n / k / 50)]
    if len(tiny):
        return f"{len(tiny)} of {k} clusters hold {tiny.max():,} or fewer of {n:,} rows"
    if sizes[0] > n / 2 and sizes[0] > 10 * sizes[1]:
        return f"one of {k} clusters holds {sizes[0]:,} of {n:,} rows, the next {sizes[1]:,}"
    return None


def warn_of_clusters(labels: NDArray[np.int32], n_found: int, n_clusters: int) -> None:
    """Warn the caller of ``fit`` about too few clusters or odd sizes."""
    if n_found < n_clusters:
        reason: str | None = _too_few(n_found, n_clusters)
    else:
        reason = describe_sizes(labels)
    if reason:
        warnings.warn(reason, ClusteringWarning, stacklevel=3)


def warn_of_equal_rows(n_distinct: int, n_clusters: int) -> None:
    """Warn the caller of ``fit`` about fewer different rows than clusters."""
    if n_distinct < n_clusters:
        warnings.warn(_too_few(n_distinct, n_clusters), ClusteringWarning, stacklevel=3)


def _too_few(n_distinct: int, n_clusters: int) -> str:
    """Return the message for fewer different rows than clusters."""
    return f"there are only {n_distinct:,} different rows, fewer than n_clusters={n_clusters}"


def as_invalid_input(check: Callable[..., Any]) -> Callable[..., Any]:
    """Convert the ValueError of a scikit-learn check to InvalidInputError."""

    @wraps(check)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            return check(*args, **kwargs)
        except ValueError as error:
            raise InvalidInputError(str(error)) from error

    return checked
