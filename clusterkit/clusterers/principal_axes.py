"""Principal axes of rows, in whose few coordinates clusterers search and measure density."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.base import seed_from
from clusterkit.utils.arguments import check_at_least
from clusterkit.utils.parallel import serial_blas

# Number of rows that the axes are computed from.
_MAX_ROWS = 10_000


class Projection(NamedTuple):
    """Projection of rows on their leading principal axes.

    Attributes
    ----------
    mean : ndarray of shape (d,), float32
        Mean of the rows.
    axes : ndarray of shape (d, n_coordinates), float32
        Orthonormal columns.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the principal components of rows, the same on any number of threads."""
        with serial_blas():
            components: Any = (rows - self.mean) @ self.axes
        return components


def principal_axes(
    X: NDArray[np.float32],
    weights: NDArray[np.float32],
    n_axes: int,
    rng: np.random.Generator,
    *,
    mean: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Approximate the leading principal axes by randomised SVD.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows; above 10,000 a random sample is used.
    weights : ndarray of shape (n,), float32
        Weight of each row.
    n_axes : int
        Number of axes, at most d.
    rng : numpy.random.Generator
        Random generator.
    mean : ndarray of shape (d,), float32, optional
        Mean of the rows; by default they are centred already.

    Returns
    -------
    ndarray of shape (d, n_axes), float32
        Orthonormal columns.

    References
    ----------
    Halko, Martinsson, Tropp: Finding structure with randomness: probabilistic algorithms for
    constructing approximate matrix decompositions. SIAM Review 53, 2011 (algorithm 4.4).
    """
    rows = rng.permutation(len(X))[:_MAX_ROWS]
    sample = X[rows]
    if mean is not None:
        sample -= mean
    sample *= np.sqrt(weights[rows, None])
    d = X.shape[1]
    axes = rng.standard_normal((d, min(n_axes + 10, d)), dtype=np.float32)
    for _ in range(3):
        axes, _ = np.linalg.qr(sample.T @ (sample @ axes))
    # Not the SVD, which may fail to converge for fewer rows than axes, where the rank is low.
    _, rotation = np.linalg.eigh(axes.T @ (sample.T @ (sample @ axes)))
    return axes @ rotation[:, ::-1][:, :n_axes]


def find_projection(
    rows: NDArray[np.float32],
    n_coordinates: int | None,
    random_state: int | np.random.RandomState | None,
) -> Projection:
    """Find the projection on the leading principal axes of rows.

    The axes are the identity if there are at most ``n_coordinates`` columns, or if it is None.
    """
    mean, d = rows.mean(axis=0), rows.shape[1]
    if n_coordinates is None or d <= check_at_least(n_coordinates, 1, "n_coordinates"):
        return Projection(mean, np.eye(d, dtype=np.float32))
    rng = np.random.default_rng(seed_from(random_state))
    with serial_blas():
        weights = np.ones(len(rows), np.float32)
        axes = principal_axes(rows, weights, n_coordinates, rng, mean=mean)
    return Projection(mean, axes)
