"""Stability and separation of spectral clusterings of subsamples."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.kmeans.lloyd import Labels, Matrix
from clusterkit.clusterers.neighbor_graph import (
    conductances,
    leading_eigenvectors,
    link_neighbors,
    modularity_shares,
)
from clusterkit.utils.parallel import Map

Curve = NDArray[np.float64]

# Maximum fraction of the rows in a subsample (Ben-Hur et al., 2002).
_KEPT = 0.8
# Number of reference clouds without clusters, and subsamples of each.
_N_CLOUDS, _N_CLOUD_DRAWS = 4, 4
# Number of neighbours per log(number of rows), enough to keep groups connected (von Luxburg, 2007).
# Subsamples alternate between these: groups should be stable across scales.
_LINKS = (2.7, 4.0)
# Few rows may be small groups, which more links would connect.
_N_FEW, _MIN_NEIGHBORS = 270, 3


class Resampled(NamedTuple):
    """Means over the subsamples, for each of ``m`` numbers of groups.

    Attributes
    ----------
    stability : ndarray of shape (m,)
        Mean adjusted Rand index between the groups of two subsamples: 1 if identical, 0 for chance.
    modularity : ndarray of shape (m,)
        Mean share of the links within groups, minus that of random links between the same rows.
    conductance : ndarray of shape (m,)
        Mean share of a group's links that leave it, each group with the same weight.
    eigengap : ndarray of shape (m,)
        Mean difference between the k-th largest eigenvalue and the next.
    """

    stability: Curve
    modularity: Curve
    conductance: Curve
    eigengap: Curve


class _Draw(NamedTuple):
    """Result of one subsample: labels of shape (m, n_compared), and one value per k."""

    labels: Labels
    modularity: Curve
    conductance: Curve
    eigengap: Curve


def resample(
    X: Matrix,
    numbers: Sequence[int],
    *,
    n_resamples: int,
    max_samples: int,
    seed: int,
    run: Map,
    advance: Callable[[], object] = lambda: None,
) -> tuple[Resampled, Resampled]:
    """Cluster subsamples of the rows, and of normal distributions of the same mean and covariance.

    Each subsample is clustered by spectral clustering of its nearest-neighbour graph.  Unlike
    k-means it cuts where rows are sparse, for groups of any size and shape, and one set of
    eigenvectors serves every k.  All subsamples are compared on the same rows; rows outside a
    subsample are labelled by majority vote of their neighbours in it.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows in random order, preferably of few dimensions.
    numbers : sequence of int, length m
        The numbers of groups, ascending.
    n_resamples : int
        Number of subsamples, at least 2.
    max_samples : int
        Maximum number of rows of a subsample, and of compared rows.
    seed : int
        Random seed.
    run : callable
        From :func:`clusterkit.utils.parallel.workers`.
    advance : callable, optional
        Called after each of :func:`count_draws` subsamples, from any thread.

    Returns
    -------
    rows, clouds : Resampled
        Results for the rows, and their mean over the clouds, which have no groups, as a reference.
        NaN for numbers of groups that are too large for a subsample.

    References
    ----------
    Ben-Hur, Elisseeff, Guyon: A stability based method for discovering structure in clustered data.
    Pacific Symposium on Biocomputing, 2002.  von Luxburg: A tutorial on spectral clustering.
    Statistics and Computing 17, 2007.
    """
    size = min(max_samples, int(_KEPT * len(X)))
    possible = [k for k in numbers if k < size]
    if not possible:
        nothing = Resampled(*np.full((4, len(numbers)), np.nan))
        return nothing, nothing

    def draw(task: tuple[Matrix, int]) -> _Draw:
        """Draw and cluster one subsample."""
        rows, i = task
        kept = np.random.default_rng((seed, i)).permutation(len(rows))[:size]
        n_neighbors = _count_neighbors(i, size)
        found = _group(rows, kept, possible, len(rows[:max_samples]), n_neighbors, seed)
        advance()
        return found

    clouds = clouds_like(X, _N_CLOUDS, seed)
    tasks = [(X, i) for i in range(n_resamples)]
    tasks += [(cloud, i) for cloud in clouds for i in range(_N_CLOUD_DRAWS)]
    draws = run(draw, tasks)
    groups = [draws[:n_resamples]]
    groups += [
        draws[start : start + _N_CLOUD_DRAWS]
        for start in range(n_resamples, len(draws), _N_CLOUD_DRAWS)
    ]
    first, *others = run(lambda found: _summarise(found, possible), groups)
    table = np.full((2, 4, len(numbers)), np.nan)
    table[:, :, : len(possible)] = first, np.mean(others, axis=0)
    return Resampled(*table[0]), Resampled(*table[1])


def count_draws(n_resamples: int) -> int:
    """Return the number of subsamples of :func:`resample`, including those of the clouds."""
    return n_resamples + _N_CLOUDS * _N_CLOUD_DRAWS


def clouds_like(X: Matrix, n_clouds: int, seed: int) -> list[Matrix]:
    """Draw samples of n rows from the normal distribution with the mean and covariance of X.

    Returns
    -------
    list of ndarray of shape (n, d), float32
        The clouds.
    """
    rng = np.random.default_rng(seed)
    covariance = np.atleast_2d(np.cov(X, rowvar=False))
    # With fewer rows than dimensions, rounding gives slightly negative eigenvalues.
    drawn = rng.multivariate_normal(
        X.mean(axis=0), covariance, (n_clouds, len(X)), method="eigh", check_valid="ignore"
    )
    return list(drawn.astype(np.float32))


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


def _group(
    X: Matrix,
    kept: NDArray[np.int64],
    numbers: Sequence[int],
    n_compared: int,
    n_neighbors: int,
    seed: int,
) -> _Draw:
    """Cluster the subsample, and return the group of each compared row."""
    rows = X[kept]
    graph = link_neighbors(rows, n_neighbors)
    values, vectors = leading_eigenvectors(graph, numbers[-1] + 1, seed)
    place = np.full(len(X), -1)
    place[kept] = np.arange(len(kept))
    own = place[:n_compared]
    # Only rows outside the subsample are labelled by their neighbours.
    near = np.repeat(own[:, None], min(n_neighbors, len(rows)), axis=1)
    lacking = np.flatnonzero(own < 0)
    if lacking.size:
        near[lacking] = _neighbors(rows, X[lacking], n_neighbors)
    found, quality = [], []
    for k in numbers:
        labels = find_groups(vectors[:, :k])
        found.append(_most_frequent(labels[near], k))
        shares, leaving = modularity_shares(graph, labels), conductances(graph, labels)
        quality.append((shares.mean(), leaving.mean()))
    gaps = values[:-1] - values[1:]
    modularity, conductance = np.array(quality).T
    return _Draw(np.array(found), modularity, conductance, gaps[np.array(numbers) - 1])


def _count_neighbors(i: int, size: int) -> int:
    """Return the number of neighbours in the graph of subsample ``i`` of ``size`` rows."""
    usual = _LINKS[i % len(_LINKS)] * math.log(size)
    return max(int(usual * min(size / _N_FEW, 1)), _MIN_NEIGHBORS)


def _neighbors(X: Matrix, queries: Matrix, n_neighbors: int) -> NDArray[np.int64]:
    """Return the nearest rows of each query."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=min(n_neighbors, len(X))).fit(X)
    return index.kneighbors(queries, return_distance=False)


def _most_frequent(labels: Labels, k: int) -> Labels:
    """Return the most frequent label of each row, the lowest on ties."""
    n = len(labels)
    cells = labels + k * np.arange(n)[:, None]
    return np.bincount(cells.ravel(), minlength=n * k).reshape(n, k).argmax(axis=1).astype(np.int32)


def _summarise(draws: Sequence[_Draw], numbers: Sequence[int]) -> Resampled:
    """Average the agreement over pairs of subsamples, and the other values over subsamples."""
    labels = np.array([draw.labels for draw in draws])
    stability = [
        np.mean(np.concatenate([_adjusted_rand(a, found[:i], k) for i, a in enumerate(found) if i]))
        for k, found in zip(numbers, labels.transpose(1, 0, 2), strict=True)
    ]
    others = np.mean([draw[1:] for draw in draws], axis=0)
    return Resampled(np.array(stability), *others)


def _adjusted_rand(a: Labels, others: Labels, k: int) -> Curve:
    """Return the adjusted Rand index (Hubert, Arabie, 1985) of ``a`` and each row of ``others``."""
    m, n = others.shape
    # Cells of a table of k x k for each of the others, counted together: scikit-learn is slower.
    cells = a * k + others + k * k * np.arange(m)[:, None]
    tables = np.bincount(cells.ravel(), minlength=m * k * k).reshape(m, k, k)
    counts = tables.reshape(m, -1), tables.sum(axis=2), tables.sum(axis=1)
    both, in_a, in_b = ((np.einsum("ij,ij->i", count, count) - n) / 2 for count in counts)
    expected = in_a * in_b / (n * (n - 1) / 2)
    highest = (in_a + in_b) / 2
    alike = highest == expected
    return np.where(alike, 1.0, (both - expected) / np.where(alike, 1.0, highest - expected))
