"""Indices of clusterings: of k-means clusters, and of partitions of nearest-neighbour graphs."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.kmeans.lloyd import Labels, Matrix
from clusterkit.clusterers.neighbor_graph import (
    conductances,
    leading_eigenvectors,
    links_within,
    weigh_neighbors,
)
from clusterkit.utils.parallel import Map

Curve = NDArray[np.float64]
Rows = NDArray[np.int64]

# Numbers of neighbours in the graphs: UMAP's default, half and twice as many.  Fewer find groups of
# few rows, more keep large groups together.
SCALES = (7, 15, 30)
# Borders are measured in the graph of fewest neighbours, in which small groups are whole.
_FINEST = SCALES[0]
# Number of normal distributions; the groups of one vary with the rows that are drawn.
_N_CLOUDS = 4
# The sparseness at a row is the distance to its neighbour of this rank.
_RANK = 10
# Fraction of the rows in a subsample (Ben-Hur et al., 2002).
_KEPT = 0.8
# Range of the valleys: between groups that no link joins there is no border to measure.
_LOWEST, _HIGHEST = -0.2, 0.5
# A share of leaving links below this comes from single rows between the groups.
_TRACE = 0.002


class InternalIndices(NamedTuple):
    """The internal indices of one clustering; NaN if undefined.

    Attributes
    ----------
    silhouette : float
        Mean silhouette width, in [-1, 1]; higher is better.
    calinski_harabasz : float
        Ratio of the variance between clusters to that within clusters; higher is better.
    davies_bouldin : float
        Mean over clusters of the largest ratio of spread to distance; lower is better.
    """

    silhouette: float
    calinski_harabasz: float
    davies_bouldin: float


class Partitions(NamedTuple):
    """Indices for each of ``m`` numbers of groups; NaN for more groups than a subsample has rows.

    Attributes
    ----------
    eigengap : ndarray of shape (m,)
        Difference between the k-th largest eigenvalue and the next, mean over the graphs.
    valley : ndarray of shape (m,)
        Logarithm of how much farther neighbours are at the border of a group than inside it, mean
        over the groups, for the k-means clusters or the groups of a graph, whichever is more: 0 or
        less if the groups cut a cloud.
    conductance, chance_conductance : ndarray of shape (m,)
        Mean share of a group's links that leave it, each group with the same weight; and the same
        for a normal distribution of the same mean and covariance, which has no groups.
    stability, chance_stability : ndarray of shape (m,)
        Adjusted Rand index between the groups of all rows and those of a subsample, mean over the
        subsamples: 1 if all groups come back, 0 for chance; and the same for the normal
        distribution.
    """

    eigengap: Curve
    valley: Curve
    conductance: Curve
    chance_conductance: Curve
    stability: Curve
    chance_stability: Curve


class _Graph(NamedTuple):
    """A graph of n rows, its eigenvalues, and its groups, of shape (m, n), for each k."""

    links: Any
    values: Curve
    labels: NDArray[np.int32]


def internal_indices(
    X: NDArray[np.float32], labels: NDArray[np.int32], distances: NDArray[np.float32]
) -> InternalIndices:
    """Compute the internal indices of one clustering.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        The rows.
    labels : ndarray of shape (n,)
        Their clusters.
    distances : ndarray of shape (n, n)
        Euclidean distances between the rows, with a zero diagonal: computed once for all k.

    Returns
    -------
    InternalIndices

    References
    ----------
    Rousseeuw: Silhouettes. Journal of Computational and Applied Mathematics 20, 1987.
    Calinski, Harabasz: A dendrite method for cluster analysis. Communications in Statistics 3,
    1974.
    Davies, Bouldin: A cluster separation measure. IEEE PAMI 1, 1979.
    """
    if not 2 <= len(np.unique(labels)) < len(X):
        return InternalIndices(np.nan, np.nan, np.nan)
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

    return InternalIndices(
        float(silhouette_score(distances, labels, metric="precomputed")),
        float(calinski_harabasz_score(X, labels)),
        float(davies_bouldin_score(X, labels)),
    )


def partition(
    X: Matrix,
    distances: Matrix,
    numbers: Sequence[int],
    clusters: Sequence[Labels],
    *,
    n_resamples: int,
    seed: int,
    run: Map,
    advance: Callable[[], object] = lambda: None,
) -> Partitions:
    """Partition the nearest-neighbour graphs of rows and of subsamples, and compare the groups.

    Unlike k-means, spectral clustering cuts where rows are sparse, for groups of any size and
    shape, and one set of eigenvectors serves every k.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows.
    distances : ndarray of shape (n, n), float32
        Euclidean distances between them.
    numbers : sequence of int, length m
        The numbers of groups, ascending.
    clusters : sequence of m ndarrays of shape (n,)
        The k-means clusters for each number.
    n_resamples : int
        Number of subsamples, at least 1.
    seed : int
        Random seed.
    run : callable
        From :func:`clusterkit.utils.parallel.workers`.
    advance : callable, optional
        Called after each of :func:`count_graphs` graphs, from any thread.

    Returns
    -------
    Partitions

    References
    ----------
    von Luxburg: A tutorial on spectral clustering. Statistics and Computing 17, 2007.  Ben-Hur,
    Elisseeff, Guyon: A stability based method for discovering structure in clustered data. Pacific
    Symposium on Biocomputing, 2002.  Lange, Roth, Braun, Buhmann: Stability-based validation of
    clustering solutions. Neural Computation 16, 2004, for the comparison with a distribution
    without groups.
    """
    size = int(_KEPT * len(X))
    possible = [k for k in numbers if k < size]
    table = np.full((len(Partitions._fields), len(numbers)), np.nan)
    if not possible:
        return Partitions(*table)
    rng = np.random.default_rng(seed)
    kept = [np.sort(rng.permutation(len(X))[:size]) for _ in range(n_resamples)]
    scales = [SCALES[i % len(SCALES)] for i in range(n_resamples)]
    clouds = [distances_between(cloud_like(X, rng)) for _ in range(_N_CLOUDS)]
    every = np.arange(len(X))
    tasks = [(distances, every, scale) for scale in SCALES]
    tasks += [(distances, rows, scale) for rows, scale in zip(kept, scales, strict=True)]
    tasks += [(cloud, every, _FINEST) for cloud in clouds]
    tasks += [(cloud, kept[0], _FINEST) for cloud in clouds]

    def draw(task: tuple[Matrix, Rows, int]) -> _Graph:
        """Link some of the rows, and find the groups."""
        table, rows, scale = task
        found = _partition(table[np.ix_(rows, rows)], possible, scale, seed)
        advance()
        return found

    drawn = iter(run(draw, tasks))
    graphs = list(islice(drawn, len(SCALES)))
    parts = list(islice(drawn, n_resamples))
    of_clouds, of_parts = list(islice(drawn, _N_CLOUDS)), list(drawn)
    of_scale = dict(zip(SCALES, graphs, strict=True))
    pairs = [
        (of_scale[scale].labels[:, rows], part.labels)
        for scale, rows, part in zip(scales, kept, parts, strict=True)
    ]
    sparseness, finest = _sparseness(distances), of_scale[_FINEST]

    def compare(j: int) -> tuple[Any, ...]:
        """Compute the indices of one number of groups."""
        k = possible[j]
        return (
            np.mean([graph.values[k - 1] - graph.values[k] for graph in graphs]),
            max(
                measure_valley(finest.links, groups, sparseness)
                for groups in (clusters[j], finest.labels[j])
            ),
            conductances(finest.links, finest.labels[j]).mean(),
            np.mean([conductances(graph.links, graph.labels[j]).mean() for graph in of_clouds]),
            np.mean([_adjusted_rand(whole[j], part[j], k) for whole, part in pairs]),
            np.mean(
                [
                    _adjusted_rand(whole.labels[j, kept[0]], part.labels[j], k)
                    for whole, part in zip(of_clouds, of_parts, strict=True)
                ]
            ),
        )

    table[:, : len(possible)] = np.transpose(run(compare, range(len(possible))))
    return Partitions(*table)


def count_graphs(n_resamples: int) -> int:
    """Return the number of graphs of :func:`partition`."""
    return len(SCALES) + n_resamples + 2 * _N_CLOUDS


def distances_between(X: Matrix) -> Matrix:
    """Return the Euclidean distances between all rows, of shape (n, n)."""
    from sklearn.metrics import pairwise_distances

    # In float32, distances between rows far from the origin would be rounding.
    distances = pairwise_distances(X - X.mean(axis=0))
    np.fill_diagonal(distances, 0)
    return distances


def cloud_like(X: Matrix, rng: np.random.Generator) -> Matrix:
    """Draw as many rows from the normal distribution with the mean and covariance of X."""
    centered = X - X.mean(axis=0)
    mixed: Matrix = rng.standard_normal((len(X), len(X)), dtype=np.float32) @ centered
    mixed /= np.float32(np.sqrt(len(X)))
    return mixed


def find_groups(vectors: NDArray[np.float64]) -> Labels:
    """Find as many groups of nodes as there are eigenvectors, without random initialisation.

    If groups are well separated, the nodes' rows lie along orthogonal lines, one per group.
    Pivoting finds a node on each line, and every node joins the nearest line.

    Parameters
    ----------
    vectors : ndarray of shape (n, k)
        Orthonormal eigenvectors of a graph.

    Returns
    -------
    ndarray of shape (n,), int32
        The groups; some of the k may be empty.

    References
    ----------
    Damle, Minden, Ying: Simple, direct and efficient multi-way spectral clustering. Information and
    Inference 8, 2019.
    """
    from scipy.linalg import qr, svd

    k = vectors.shape[1]
    pivots = qr(vectors.T, pivoting=True, mode="r")[1][:k]
    left, _, right = svd(vectors[pivots].T)
    return np.abs(vectors @ (left @ right)).argmax(axis=1).astype(np.int32)


def measure_valley(links: Any, clusters: Labels, sparseness: Curve) -> float:
    """Return how much sparser clusters are at their borders than inside, mean over the clusters.

    Each row counts for the border by the share of its links that leave its cluster, and for the
    inside by the others.

    Parameters
    ----------
    links : sparse array of shape (n, n)
        The graph.
    clusters : ndarray of shape (n,)
        The cluster of each row.
    sparseness : ndarray of shape (n,)
        Logarithm of each row's distance to its neighbours.

    Returns
    -------
    float
        From -0.2 to 0.5; 0.5 if no link leaves a cluster.
    """
    leaving = 1 - links_within(links, clusters) / links.sum(axis=1)
    at_border = np.bincount(clusters, leaving)
    sizes = np.bincount(clusters)
    inside = sizes - at_border
    touched = (at_border > _TRACE * sizes) & (inside > 0)
    if not touched.any():
        return _HIGHEST
    border = np.bincount(clusters, leaving * sparseness)[touched] / at_border[touched]
    within = np.bincount(clusters, (1 - leaving) * sparseness)[touched] / inside[touched]
    return float(np.clip((border - within).mean(), _LOWEST, _HIGHEST))


def _partition(distances: Matrix, numbers: Sequence[int], scale: int, seed: int) -> _Graph:
    """Link the rows to their nearest neighbours, and find the groups for each number."""
    links = weigh_neighbors(*_nearest(distances, scale))
    values, vectors = leading_eigenvectors(links, numbers[-1] + 1, seed)
    return _Graph(links, values, np.array([find_groups(vectors[:, :k]) for k in numbers]))


def _nearest(distances: Matrix, n_neighbors: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return distances and rows of the nearest other rows, ascending."""
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    n_neighbors = min(n_neighbors, len(others) - 1)
    near = np.argpartition(others, n_neighbors - 1, axis=1)[:, :n_neighbors]
    lengths = np.take_along_axis(others, near, axis=1)
    order = np.argsort(lengths, axis=1, kind="stable")
    return (
        np.take_along_axis(lengths, order, axis=1).astype(np.float64),
        np.take_along_axis(near, order, axis=1),
    )


def _sparseness(distances: Matrix) -> Curve:
    """Return the logarithm of each row's distance to a near neighbour."""
    rank = min(_RANK, len(distances) - 1)
    radii = np.partition(distances, rank, axis=1)[:, rank].astype(np.float64)
    # Equal rows are as near as rounding can tell.
    widest = max(float(radii.max()), float(np.finfo(np.float32).tiny))
    return np.log(np.maximum(radii, 1e-6 * widest))


def _adjusted_rand(groups: Labels, others: Labels, k: int) -> float:
    """Return the adjusted Rand index (Hubert, Arabie, 1985); scikit-learn's checks take longer."""
    n = len(groups)
    table = np.bincount(groups * k + others, minlength=k * k).reshape(k, k)
    counts = table, table.sum(axis=1), table.sum(axis=0)
    equal, in_one, in_other = (float((count * (count - 1) / 2).sum()) for count in counts)
    expected = in_one * in_other / (n * (n - 1) / 2)
    highest = (in_one + in_other) / 2
    return 1.0 if highest == expected else (equal - expected) / (highest - expected)
