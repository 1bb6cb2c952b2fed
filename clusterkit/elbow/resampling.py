"""Stability and separation: whether clusters come back, and whether there are gaps between them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.lloyd import Labels, Matrix, assign, lloyd
from clusterkit.clusterers.parallel import Map
from clusterkit.clusterers.search import Search, seed_centers
from clusterkit.elbow.valleys import Valleys

# The share of the rows that each subsample keeps (Ben-Hur et al., 2002).
_KEPT = 0.8
# Clouds without clusters, and subsamples of each.
_N_CLOUDS, _N_CLOUD_DRAWS = 4, 4
# Few runs of k-means on purpose: where the number of clusters is right, even a hasty search finds
# the same groups each time; where it is wrong, a thorough one finds the same arbitrary groups
# (Bubeck, Meila, von Luxburg: How the initialization affects the stability of the k-means
# algorithm. ESAIM: Probability and Statistics 16, 2012).
_N_INIT = 3
# A cluster whose best counterpart shares less has dissolved (Hennig: Cluster-wise assessment of
# cluster stability. Computational Statistics & Data Analysis 52, 2007).
_DISSOLVED = 0.5
# Valleys deeper than this are as good as empty gaps.
_DEEP = 0.5


class Subsample(NamedTuple):
    """A clustering of some of the rows.

    Attributes
    ----------
    held_out : ndarray of int
        The rows that were not clustered.
    centers : ndarray of shape (k, d)
        The centres.
    labels : ndarray of shape (n,)
        The nearest centre to each row, held out or not.
    """

    held_out: NDArray[np.int64]
    centers: Matrix
    labels: Labels


class Resampling:
    """Subsamples that are drawn and clustered for every number of clusters, as many as it takes.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows, best of few dimensions.
    numbers : sequence of int
        The numbers of clusters, ascending.
    seed : int
        Decides the subsamples and their clusterings.
    run : callable
        From :func:`clusterkit.clusterers.parallel.workers`.
    """

    def __init__(self, X: Matrix, numbers: Sequence[int], *, seed: int, run: Map) -> None:
        self._X, self._seed, self._run = X, seed, run
        self._found: dict[int, list[Subsample]] = {k: [] for k in _possible(numbers, len(X))}
        self._n_numbers, self._n_drawn = len(numbers), 0

    def draw(self, n: int) -> None:
        """Draw until there are ``n`` subsamples."""
        found = cluster_subsamples(
            self._X,
            list(self._found),
            draws=range(self._n_drawn, n),
            seed=self._seed,
            run=self._run,
        )
        for k, subsamples in found.items():
            self._found[k] += subsamples
        self._n_drawn = n

    def curves(self) -> NDArray[np.float64]:
        """Return stability and separation, of shape (2, numbers of clusters); NaN if impossible."""
        table = np.full((2, self._n_numbers), np.nan)
        for row, (k, found) in enumerate(self._found.items()):
            agreement = agreements(found, k)
            typical = found[int(agreement.argmax())].labels
            table[:, row] = agreement.mean(), separation(self._X, found, typical, k)
        return table


def chance(X: Matrix, numbers: Sequence[int], *, seed: int, run: Map) -> NDArray[np.float64]:
    """Return the mean stability of clouds without clusters, of shape (numbers of clusters,)."""
    possible = _possible(numbers, len(X))
    # A cloud of few dimensions may happen to be cut stably; several seldom are.
    clouds = [
        cluster_subsamples(cloud, possible, draws=range(_N_CLOUD_DRAWS), seed=seed, run=run)
        for cloud in clouds_like(X, _N_CLOUDS, seed)
    ]
    means = [np.mean([agreements(cloud[k], k).mean() for cloud in clouds]) for k in possible]
    return np.array(means + [np.nan] * (len(numbers) - len(possible)))


def _possible(numbers: Sequence[int], n_samples: int) -> list[int]:
    """Return the numbers of clusters that a subsample can have."""
    return [k for k in numbers if k <= int(_KEPT * n_samples)]


def cluster_subsamples(
    X: Matrix, numbers: Sequence[int], *, draws: Iterable[int], seed: int, run: Map
) -> dict[int, list[Subsample]]:
    """Cluster random subsamples of the rows, each anew for every number of clusters.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows, best of few dimensions.
    numbers : sequence of int
        The numbers of clusters, ascending, each at most the rows of a subsample.
    draws : iterable of int
        The numbers of the subsamples: each number stands for one subsample.
    seed : int
        Decides the subsamples and their clusterings.
    run : callable
        From :func:`clusterkit.clusterers.parallel.workers`.

    Returns
    -------
    dict of int to list of Subsample
        For each number of clusters.
    """

    def cluster_once(i: int) -> list[Subsample]:
        """Draw one subsample, and cluster it for every number."""
        kept, held_out = np.split(
            np.random.default_rng((seed, i)).permutation(len(X)), [int(_KEPT * len(X))]
        )
        centers = _search_centers(X[kept], numbers, seed=seed + i)
        return [Subsample(held_out, found, assign(X, found)[0]) for found in centers]

    by_subsample = run(cluster_once, draws)
    return dict(zip(numbers, map(list, zip(*by_subsample, strict=True)), strict=True))


def agreements(subsamples: Sequence[Subsample], k: int) -> NDArray[np.float64]:
    """Return how much each clustering into k agrees with the others.

    Returns
    -------
    ndarray of shape (n_resamples,)
        Mean adjusted Rand index of a subsample's labels of all rows with those of each other
        subsample: 1 for the same groups each time, 0 for chance.  Their mean is the stability.

    References
    ----------
    Ben-Hur, Elisseeff, Guyon: A stability based method for discovering structure in clustered
    data. Pacific Symposium on Biocomputing, 2002.
    """
    n = len(subsamples)
    table = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            table[i, j] = _adjusted_rand(subsamples[i].labels, subsamples[j].labels, k)
    return (table + table.T).sum(axis=1) / (n - 1)


def separation(X: Matrix, subsamples: Sequence[Subsample], typical: Labels, k: int) -> float:
    """Return to what share the k clusters have gaps around them.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows.
    subsamples : sequence of Subsample
        Clusterings into k; their held-out rows are counted.
    typical : ndarray of shape (n,)
        The labels of the subsample that agrees best with the others: the clusters to be judged.
    k : int
        The number of clusters.

    Returns
    -------
    float
        Mean over the clusters of the depth of the shallowest valley around each, relative to half
        empty, from 0 to 1; 0 for a cluster that dissolves in other subsamples.
    """
    valleys, overlaps = Valleys(k), []
    for held_out, centers, labels in subsamples:
        if len(centers) < k:
            # Fewer different rows than clusters.
            return 0.0
        order = _match(typical, labels, k)
        matched = np.argsort(order).astype(np.int32)[labels]
        valleys.add(X[held_out], matched[held_out], centers[order])
        overlaps.append(_overlaps(typical, matched, k))
    n_times = len(subsamples) * len(subsamples[0].held_out) / len(X)
    depths = np.clip(valleys.depths(n_times) / _DEEP, 0, 1)
    return float(np.mean(depths * (np.mean(overlaps, axis=0) >= _DISSOLVED)))


def clouds_like(X: Matrix, n_clouds: int, seed: int) -> list[Matrix]:
    """Draw as many rows, a few times, from the one normal distribution of X's mean and covariance.

    Returns
    -------
    list of ndarray of shape (n, d), float32
        The clouds.
    """
    rng = np.random.default_rng(seed)
    covariance = np.atleast_2d(np.cov(X, rowvar=False))
    # Rounding leaves slightly negative eigenvalues where there are fewer rows than dimensions.
    drawn = rng.multivariate_normal(
        X.mean(axis=0), covariance, (n_clouds, len(X)), method="eigh", check_valid="ignore"
    )
    return list(drawn.astype(np.float32))


def _search_centers(X: Matrix, numbers: Sequence[int], *, seed: int) -> list[Matrix]:
    """Cluster hastily for every number, or thoroughly where that has missed clusters."""
    weights = np.ones(len(X), np.float32)
    search = Search(X, weights, seed=seed)
    # Too many centres leave no cluster without one; those that share one are merged.
    largest = max(numbers, default=1)
    n_most = min(largest + max(3, largest // 2), len(X))
    # The first k centres of a long start are a start for k.
    starts = [
        seed_centers(X, weights, n_most, np.random.default_rng((seed, run)))
        for run in range(_N_INIT)
    ]
    thorough = lloyd(X, weights, starts[0])
    found = []
    for k in reversed(numbers):
        finer, thorough = thorough, search.merge(thorough, k)
        hasty = min((lloyd(X, weights, start[:k]) for start in starts), key=lambda s: s.inertia)
        # A search that has missed a clear cluster, and cut another in two instead, loses more than
        # one cluster more would save.
        n_more = len(finer.centers) - k
        missed = (hasty.inertia - thorough.inertia) * n_more > thorough.inertia - finer.inertia
        found.append(thorough.centers if missed and len(thorough.centers) == k else hasty.centers)
    return found[::-1]


def _contingency(a: Labels, b: Labels, k: int) -> NDArray[np.int64]:
    """Count the rows that have each pair of labels, as a table of shape (k, k)."""
    return np.bincount(a.astype(np.int64) * k + b, minlength=k * k).reshape(k, k)


def _match(labels: Labels, others: Labels, k: int) -> NDArray[np.int64]:
    """Return for each cluster of ``labels`` its counterpart among ``others``."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(_contingency(labels, others, k), maximize=True)[1]


def _overlaps(labels: Labels, matched: Labels, k: int) -> NDArray[np.float64]:
    """Return the Jaccard index of each cluster with its counterpart."""
    table = _contingency(labels, matched, k)
    both = np.diag(table)
    return both / np.maximum(table.sum(axis=0) + table.sum(axis=1) - both, 1)


def _adjusted_rand(a: Labels, b: Labels, k: int) -> float:
    """Return the adjusted Rand index (Hubert, Arabie, 1985), quicker than scikit-learn's."""
    table = _contingency(a, b, k)
    both, in_a, in_b = (np.sum(n * (n - 1)) / 2 for n in (table, table.sum(1), table.sum(0)))
    expected = in_a * in_b / (len(a) * (len(a) - 1) / 2)
    highest = (in_a + in_b) / 2
    return 1.0 if highest == expected else float((both - expected) / (highest - expected))
