"""Lloyd's algorithm on weighted float32 rows, with matrix products."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.utils.parallel import Map, map_serially

Matrix = NDArray[np.float32]
Labels = NDArray[np.int32]
# Squared distances below this fraction of a squared length are lost to float32 rounding.
RESOLUTION = 1e-6
# Rows per task: large enough for BLAS, small enough for a core's cache.
CHUNK = 4096
# Indicator matrices of up to this many entries are dense, which is faster.
_SMALL = 20_000


class Solution(NamedTuple):
    """One clustering.

    Attributes
    ----------
    labels : ndarray of shape (n,), int32
        Cluster of each row.
    centers : ndarray of shape (k, d), float32
        Weighted mean of each cluster.
    inertia : float
        Weighted sum of squared distances of the rows to the centres of their clusters.
    n_iter : int
        Number of iterations.
    """

    labels: Labels
    centers: Matrix
    inertia: float
    n_iter: int


def assign(X: Matrix, centers: Matrix) -> tuple[Labels, Matrix]:
    """Find the nearest centre of each row.

    Returns
    -------
    labels : ndarray of shape (n,), int32
        The nearest centre; the first one on ties.
    distances : ndarray of shape (n,), float32
        Squared Euclidean distance to it.
    """
    # |x - c|² without |x|², which is the same for all centres.
    partial = X @ (-2 * centers.T)
    partial += np.einsum("ij,ij->i", centers, centers)
    labels = partial.argmin(axis=1)
    squares = np.einsum("ij,ij->i", X, X)
    distances = partial[np.arange(len(X)), labels] + squares
    distances[distances < RESOLUTION * squares] = 0
    return labels.astype(np.int32), distances


def assign_all(X: Matrix, centers: Matrix, run: Map = map_serially) -> tuple[Labels, Matrix]:
    """Find the nearest centre of each row in chunks; see :func:`assign`."""
    parts = run(lambda rows: assign(X[rows], centers), _chunks(len(X)))
    labels, distances = zip(*parts, strict=True)
    return np.concatenate(labels), np.concatenate(distances)


def sum_clusters(
    X: Matrix, weights: NDArray[np.float32], labels: Labels, k: int, run: Map = map_serially
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted sum of the rows of each cluster (k, d), and its weight (k,)."""

    def sum_chunk(rows: slice) -> NDArray[np.float32]:
        """Sum one chunk as the product of an indicator matrix and the rows."""
        return _indicator(weights[rows], labels[rows], k) @ X[rows]

    totals = np.zeros((k, X.shape[1]))
    for part in run(sum_chunk, _chunks(len(X))):
        totals += part
    return totals, np.bincount(labels, weights, minlength=k).astype(np.float64)


def _indicator(weights: NDArray[np.float32], labels: Labels, k: int) -> Any:
    """Return the matrix (k, n) that holds the weight of each row at its cluster."""
    n = len(labels)
    if k * n > _SMALL:
        from scipy.sparse import csc_matrix

        return csc_matrix((weights, labels, np.arange(n + 1)), shape=(k, n))
    indicator = np.zeros((k, n), np.float32)
    indicator[labels, np.arange(n)] = weights
    return indicator


def lloyd(
    X: Matrix,
    weights: NDArray[np.float32],
    centers: Matrix,
    *,
    max_iter: int = 300,
    tol: float = 0.0,
    run: Map = map_serially,
) -> Solution:
    """Run Lloyd's algorithm until the inertia converges.

    An empty cluster is given the row farthest from its own centre, so that the number of clusters
    is kept if there are enough different rows.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows.
    weights : ndarray of shape (n,), float32
        Weight of each row.
    centers : ndarray of shape (k, d), float32
        Initial centres.
    max_iter : int
        Maximum number of iterations.
    tol : float
        Stop when an iteration lowers the inertia by less than this fraction of it.
    run : callable
        From :func:`clusterkit.utils.parallel.workers`.

    Returns
    -------
    Solution
        The clustering; ``centers`` are the means of its labels.

    References
    ----------
    Lloyd: Least squares quantization in PCM. IEEE Transactions on Information Theory 28, 1982.
    """
    k = len(centers)
    energy = float(weights @ np.einsum("ij,ij->i", X, X, dtype=np.float64))
    last_labels, last_inertia, n_iter = None, np.inf, 0
    while n_iter < max_iter:
        n_iter += 1
        labels, distances = assign_all(X, centers, run)
        _refill_empty(labels, weights * distances, k)
        totals, sizes = sum_clusters(X, weights, labels, k, run)
        filled = sizes > 0
        means = centers.astype(np.float64)
        means[filled] = totals[filled] / sizes[filled, None]
        # Huygens: within = all - between, for the means of these labels.
        inertia = max(energy - float(sizes @ np.einsum("ij,ij->i", means, means)), 0.0)
        centers = means.astype(np.float32)
        if last_labels is not None and (
            last_inertia - inertia <= tol * inertia or np.array_equal(labels, last_labels)
        ):
            break
        last_labels, last_inertia = labels, inertia
    return Solution(labels, centers, inertia, n_iter)


def measure_inertia(
    X: Matrix,
    weights: NDArray[np.float32],
    labels: Labels,
    centers: Matrix,
    run: Map = map_serially,
) -> float:
    """Return the weighted sum of squared distances to the centres, without cancellation."""

    def measure_chunk(rows: slice) -> float:
        """Measure one chunk."""
        gaps = X[rows] - centers[labels[rows]]
        return float(weights[rows] @ np.einsum("ij,ij->i", gaps, gaps).astype(np.float64))

    return sum(run(measure_chunk, _chunks(len(X))))


def _refill_empty(labels: Labels, costs: Matrix, k: int) -> None:
    """Give each empty cluster the row of highest cost from a cluster with several rows."""
    sizes = np.bincount(labels, minlength=k)
    empty = np.flatnonzero(sizes == 0)
    if not len(empty):
        return
    for row in np.argsort(-costs, kind="stable"):
        if not len(empty) or costs[row] <= 0:
            return
        if sizes[labels[row]] > 1:
            sizes[labels[row]] -= 1
            labels[row], empty = empty[0], empty[1:]


def _chunks(n: int) -> list[slice]:
    """Cut n rows into slices of at most ``CHUNK`` rows."""
    return [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
