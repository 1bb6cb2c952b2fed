"""Distances of rows to the mean of their cluster and to other clusters, and silhouettes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.clusterers.row_stream import BATCH_ROWS, ArrayStream, RowStream
from clusterkit.similarity.scaling import Scaling, scale_rows
from clusterkit.utils.parallel import Map

# Number of distances between rows that are held at a time, in each thread.
_N_DISTANCES = 4_000_000


class Silhouettes(NamedTuple):
    """Silhouettes of n rows in each of m clusterings.

    Attributes
    ----------
    widths : ndarray of shape (m, n), float64
        In [-1, 1]; 0 for clusters of one row.
    nearest : ndarray of shape (m, n), int
        The other cluster whose rows are nearest on average.
    """

    widths: NDArray[np.float64]
    nearest: NDArray[np.intp]


def cluster_means(
    X: ArrayLike | RowStream, labels: NDArray[np.int64], *, normalize: Scaling = False
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the mean of the rows of each cluster.

    Parameters
    ----------
    X, labels, normalize
        See :func:`distances_to_centers`.

    Returns
    -------
    clusters : ndarray of shape (n_clusters,), int64
        The clusters, without noise.
    means : ndarray of shape (n_clusters, d), float64
        Their means.
    """
    stream = X if isinstance(X, RowStream) else ArrayStream(np.asarray(X))
    clusters, numbers = np.unique(labels, return_inverse=True)
    means = _means(stream, numbers, len(clusters), normalize)
    return clusters[clusters >= 0], means[clusters >= 0]


def distances_to_centers(
    X: ArrayLike | RowStream, labels: NDArray[np.int64], *, normalize: Scaling = False
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the distance of each row to the mean of its cluster.

    Parameters
    ----------
    X : array-like of shape (n, d), or RowStream
        The rows; a stream is read twice, in batches.
    labels : ndarray of shape (n,), int
        Cluster of each row; -1 is noise.
    normalize : bool or "sqrt"
        See :func:`~clusterkit.similarity.scaling.scale_rows`.

    Returns
    -------
    distances : ndarray of shape (n,), float64
        Euclidean distance to the mean of the row's cluster; NaN for noise.
    exemplars : ndarray of shape (n,), bool
        Mask of the row nearest to the mean of each cluster, the first on ties.
    """
    stream = X if isinstance(X, RowStream) else ArrayStream(np.asarray(X))
    clusters, numbers = np.unique(labels, return_inverse=True)
    centers = _means(stream, numbers, len(clusters), normalize)
    distances = np.full(len(labels), np.nan)
    for place, rows in _batches(stream, normalize):
        distances[place] = np.linalg.norm(rows - centers[numbers[place]], axis=1)
    distances[labels < 0] = np.nan
    exemplars = np.zeros(len(labels), dtype=bool)
    for number in np.flatnonzero(clusters >= 0):
        members = np.flatnonzero(numbers == number)
        exemplars[members[np.argmin(distances[members])]] = True
    return distances, exemplars


def margins_to_others(
    X: ArrayLike | RowStream, labels: NDArray[np.int64], *, normalize: Scaling = False
) -> NDArray[np.float64]:
    """Return how much nearer each row is to the mean of its cluster than to the nearest other one.

    Parameters
    ----------
    X, labels, normalize
        See :func:`distances_to_centers`.

    Returns
    -------
    ndarray of shape (n,), float64
        Difference of two Euclidean distances, negative where another mean is nearer.  NaN for noise
        and infinity if there is only one cluster.
    """
    stream = X if isinstance(X, RowStream) else ArrayStream(np.asarray(X))
    clusters, numbers = np.unique(labels, return_inverse=True)
    centers = _means(stream, numbers, len(clusters), normalize)
    margins = np.full(len(labels), np.nan)
    for place, rows in _batches(stream, normalize):
        squares = (rows**2).sum(axis=1)[:, None] + (centers**2).sum(axis=1)
        distances = np.sqrt(np.maximum(squares - 2 * rows @ centers.T, 0))
        own = np.arange(len(rows)), numbers[place]
        nearest = distances[own]
        distances[own] = np.inf
        distances[:, clusters < 0] = np.inf
        margins[place] = distances.min(axis=1) - nearest
    margins[labels < 0] = np.nan
    return margins


def nearest_means(
    X: ArrayLike | RowStream,
    labels: NDArray[np.int64],
    rows: NDArray[np.bool_],
    *,
    normalize: Scaling = False,
) -> NDArray[np.int64]:
    """Return the cluster whose mean is nearest to each of some rows.

    Parameters
    ----------
    X, normalize
        See :func:`distances_to_centers`.
    labels : ndarray of shape (n,), int
        Cluster of each row; negative ones have no mean, others must have a row.
    rows : ndarray of shape (n,), bool
        Which rows to assign.

    Returns
    -------
    ndarray of shape (number of these rows,), int64
        Their clusters, in order; of equal distances the lowest.
    """
    stream = X if isinstance(X, RowStream) else ArrayStream(np.asarray(X))
    clusters, numbers = np.unique(labels, return_inverse=True)
    centers = _means(stream, numbers, len(clusters), normalize)[clusters >= 0]
    squares = (centers**2).sum(axis=1)
    nearest = [
        np.argmin(squares - 2 * batch[rows[place]] @ centers.T, axis=1)
        for place, batch in _batches(stream, normalize)
    ]
    found: NDArray[np.int64] = clusters[clusters >= 0][np.concatenate(nearest)]
    return found


def silhouettes(
    points: NDArray[np.float32], labellings: Sequence[NDArray[np.integer]], run: Map
) -> Silhouettes:
    """Return the silhouettes of each row in several clusterings, from the same distances.

    Parameters
    ----------
    points : ndarray of shape (n, m), float32
        The rows.
    labellings : sequence of ndarray of shape (n,), int
        Cluster of each row, from 0; at least 2 clusters, none empty.
    run : callable
        From :func:`clusterkit.utils.parallel.workers`.

    Returns
    -------
    Silhouettes

    References
    ----------
    Rousseeuw: Silhouettes. Journal of Computational and Applied Mathematics 20, 1987.
    """
    from sklearn.metrics import euclidean_distances

    n, exact = len(points), points.astype(np.float64)
    members = [np.eye(labels.max() + 1, dtype=np.float32)[labels] for labels in labellings]
    step = max(1, _N_DISTANCES // n)

    def measure(start: int) -> list[Silhouettes]:
        """Measure some rows."""
        block = slice(start, start + step)
        # Equal rows are at a distance of rounding, far below the others.
        distances = euclidean_distances(exact[block], exact).astype(np.float32)
        return [
            _silhouettes(distances @ inside, labels[block], inside.sum(axis=0))
            for labels, inside in zip(labellings, members, strict=True)
        ]

    parts = run(measure, range(0, n, step))
    widths, nearest = (
        np.concatenate([np.stack([one[field] for one in part]) for part in parts], axis=1)
        for field in (0, 1)
    )
    return Silhouettes(widths, nearest)


def _silhouettes(
    totals: NDArray[np.float32], own: NDArray[np.integer], sizes: NDArray[np.float32]
) -> Silhouettes:
    """Return the silhouettes of rows from their total distances to each cluster."""
    rows = np.arange(len(own))
    others = sizes[own] - 1
    inside = totals[rows, own] / np.maximum(others, 1)
    means = (totals / sizes).astype(np.float64)
    means[rows, own] = np.inf
    nearest = means.argmin(axis=1)
    outside = means[rows, nearest]
    largest = np.maximum(np.maximum(inside, outside), np.finfo(np.float64).tiny)
    return Silhouettes(np.where(others > 0, (outside - inside) / largest, 0), nearest)


def _means(
    stream: RowStream, numbers: NDArray[np.intp], n_clusters: int, normalize: Scaling
) -> NDArray[np.float64]:
    """Return the mean of the rows of each cluster."""
    from scipy.sparse import csr_array

    sizes = np.bincount(numbers, minlength=n_clusters)
    total = None
    for place, rows in _batches(stream, normalize):
        own = numbers[place]
        shares = csr_array(
            (1 / sizes[own], own, np.arange(len(own) + 1)), shape=(len(own), n_clusters)
        )
        part = shares.T @ rows
        total = part if total is None else total + part
    return np.empty((n_clusters, 0)) if total is None else total


def _batches(stream: RowStream, normalize: Scaling) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield float64 batches of a stream with their slices."""
    start = 0
    for batch in stream.iter_batches(BATCH_ROWS):
        rows = scale_rows(batch, normalize)
        yield slice(start, start + len(rows)), rows.astype(np.float64)
        start += len(rows)
