"""Search for the k-means clustering of lowest inertia, shared by KMeans and the sweep.

Most of the work is done on a few principal components, where iterations are much cheaper and
clusterings rank almost the same; the best few are then finished in full dimension.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.base import unite_equal
from clusterkit.clusterers.kmeans.lloyd import (
    RESOLUTION,
    Matrix,
    Solution,
    assign_all,
    lloyd,
    measure_inertia,
    sum_clusters,
)
from clusterkit.clusterers.principal_axes import principal_axes
from clusterkit.similarity.nearest import find_equal
from clusterkit.utils.parallel import Map, map_serially

# Number of principal components.  With 64, ten runs reach the same inertia as ten runs in full
# dimension, on network features of 1,000 to 4,000 photos (32 to 128 differ little).
N_COORDINATES = 64
# Inertias that differ by less than this fraction count as equal, and the silhouette decides.  On
# eight sets of photo features and digits, one of them with two k, this improved the accuracy in
# eight cases (by 0.3 to 4.7 points) and left it unchanged in one.
EQUAL_INERTIA = 1e-3
# Maximum number of finished solutions, and number of rows for the silhouette.
N_FINALISTS = 8
N_SILHOUETTE_ROWS = 2_000
# Number of rows used for the search; the final runs use all rows.
N_SEARCH_ROWS = 10_000


class Problem:
    """Rows and weights to cluster.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float32
        All rows.
    weights : ndarray of shape (n,), float32
        Weight of each row, 0 or above, not all 0.
    overwrite : bool
        Whether the rows may be changed, which saves a copy of them.

    Attributes
    ----------
    X : ndarray of shape (m, d), float32
        The rows of positive weight, centred, since float32 is most precise near the origin.
    weights : ndarray of shape (m,), float32
        Their weights.
    """

    def __init__(
        self, rows: Matrix, weights: NDArray[np.float32], *, overwrite: bool = False
    ) -> None:
        self._mean = np.asarray((weights / weights.sum()) @ rows, np.float32)
        rows = np.subtract(rows, self._mean, out=rows if overwrite else None)
        # Rows of weight 0 are labelled but otherwise ignored.
        counts = weights > 0
        self._rows = rows
        self.X, self.weights = (rows, weights) if counts.all() else (rows[counts], weights[counts])
        self._first = find_equal(self.X)

    def settle(self, solution: Solution, run: Map = map_serially) -> Solution:
        """Convert a solution for ``X`` to all rows in their original position.

        Clusters are numbered from the largest to the smallest, so that the numbers depend only on
        the clustering; empty clusters are left out.  Equal rows are in the same cluster.
        """
        k, found = len(solution.centers), unite_equal(solution.labels, self._first)
        sizes = np.bincount(found, self.weights, minlength=k)
        # Ties are in order of the first coordinate.
        order = np.lexsort((solution.centers[:, 0], -sizes))[: np.count_nonzero(sizes)]
        numbers = np.zeros(k, np.int32)
        numbers[order] = np.arange(len(order))
        labels, centers = numbers[found], solution.centers[order]
        inertia = measure_inertia(self.X, self.weights, labels, centers, run)
        if len(labels) < len(self._rows):
            labels, _ = assign_all(self._rows, centers, run)
        return Solution(labels, centers + self._mean, inertia, solution.n_iter)


def seed_centers(
    X: Matrix,
    weights: NDArray[np.float32],
    k: int,
    rng: np.random.Generator,
    *,
    centers: Matrix | None = None,
) -> Matrix:
    """Choose rows as centres by greedy k-means++, in addition to given centres.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows.
    weights : ndarray of shape (n,), float32
        Weight of each row.
    k : int
        Number of centres to return.
    rng : numpy.random.Generator
        Source of the draws.
    centers : ndarray of shape (m, d), float32, optional
        Centres to keep, ``m <= k``.

    Returns
    -------
    ndarray of shape (k, d), float32
        Fewer if there are fewer than k different rows.

    References
    ----------
    Arthur, Vassilvitskii: k-means++: the advantages of careful seeding. SODA 2007.
    Grunau, Özüdoğru, Rozhoň, Tětek: A nearly tight analysis of greedy k-means++. SODA 2023.
    """
    squares = np.einsum("ij,ij->i", X, X)
    if centers is None:
        first = _draw(weights, 1, rng)
        centers = X[first]
    found = list(centers)
    costs = np.min(_distances(X, squares, centers), axis=1)
    n_trials = 2 + int(np.log(k))
    while len(found) < k and (mass := weights * costs).any():
        rows = _draw(mass, n_trials, rng)
        trials = np.minimum(_distances(X, squares, X[rows]), costs[:, None])
        best = int((weights @ trials).argmin())
        found.append(X[rows[best]])
        costs = trials[:, best]
        costs[rows[best]] = 0
    return np.array(found)


def merge_centers(centers: Matrix, sizes: NDArray[np.float64], k: int) -> Matrix:
    """Merge the pair that increases the inertia least, until k centres are left.

    References
    ----------
    Ward: Hierarchical grouping to optimize an objective function. JASA 58, 1963.
    """
    centers, sizes = centers.astype(np.float64), np.maximum(sizes, np.finfo(float).tiny)
    squares = np.einsum("ij,ij->i", centers, centers)
    costs = _distances(centers, squares, centers) * sizes[:, None] * sizes
    costs /= sizes[:, None] + sizes
    np.fill_diagonal(costs, np.inf)
    left = np.ones(len(centers), bool)
    for _ in range(len(centers) - k):
        i, j = divmod(int(costs.argmin()), len(centers))
        centers[i] = np.average(centers[[i, j]], axis=0, weights=sizes[[i, j]])
        sizes[i] += sizes[j]
        squares[i] = centers[i] @ centers[i]
        left[j] = False
        # A merge changes only the costs of its own pairs.
        gaps = _distances(centers, squares, centers[[i]])[:, 0]
        costs[i] = np.where(left, gaps * sizes[i] * sizes / (sizes[i] + sizes), np.inf)
        costs[i, i] = costs[j] = costs[:, j] = np.inf
        costs[:, i] = costs[i]
    return centers[left].astype(np.float32)


def mean_silhouette(
    distances: Matrix, weights: NDArray[np.float32], labels: NDArray[np.int32]
) -> float:
    """Return the weighted mean silhouette width; 0 for clusters of one row.

    References
    ----------
    Rousseeuw: Silhouettes: a graphical aid to the interpretation and validation of cluster
    analysis. Journal of Computational and Applied Mathematics 20, 1987.
    """
    found, own = np.unique(labels, return_inverse=True)
    if len(found) == 1:
        return 0.0
    rows = np.arange(len(labels))
    members = np.zeros((len(labels), len(found)), np.float32)
    members[rows, own] = weights
    sizes, totals = members.sum(axis=0), distances @ members
    others = sizes[own] - weights
    inside = totals[rows, own] / np.where(others > 0, others, np.inf)
    means = totals / sizes
    means[rows, own] = np.inf
    outside = means.min(axis=1)
    widths = (outside - inside) / np.maximum(np.maximum(inside, outside), np.finfo(float).tiny)
    return float(np.average(np.where(others > 0, widths, 0), weights=weights))


def _draw(mass: Matrix, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw rows with probability in proportion to their mass."""
    cumulated = np.cumsum(mass, dtype=np.float64)
    drawn = np.searchsorted(cumulated, rng.random(size) * cumulated[-1], side="right")
    # Rounding must not draw past the last row of positive mass.
    return np.minimum(drawn, np.flatnonzero(mass)[-1])


def _distances(X: NDArray[Any], squares: NDArray[Any], centers: NDArray[Any]) -> NDArray[Any]:
    """Return squared Euclidean distances of shape (n, k)."""
    partial = X @ (-2 * centers.T)
    partial += squares[:, None]
    partial += np.einsum("ij,ij->i", centers, centers)
    partial[partial < RESOLUTION * squares[:, None]] = 0
    return partial


class Search:
    """k-means on the same rows for one or several numbers of clusters.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows.
    weights : ndarray of shape (n,), float32
        Weight of each row, above 0.
    seed : int
        Random seed; the order of calls does not matter.
    run : callable
        From :func:`clusterkit.utils.parallel.workers`.
    """

    def __init__(
        self, X: Matrix, weights: NDArray[np.float32], *, seed: int, run: Map = map_serially
    ) -> None:
        self.X, self.weights, self.seed, self.run = X, weights, seed, run
        rng = np.random.default_rng(seed)
        narrow = X.shape[1] <= N_COORDINATES
        self._reduced = X if narrow else X @ principal_axes(X, weights, N_COORDINATES, rng)
        # If the sample is all rows, it keeps their order.
        rows = np.sort(rng.permutation(len(X))[:N_SEARCH_ROWS])
        self._sample, self._sample_weights = self._reduced[rows], weights[rows]

    def start(self, k: int, n_init: int) -> list[Solution]:
        """Run k-means ``n_init`` times on the sample; return the best first."""

        def run_once(i: int) -> Solution:
            """Seed and run Lloyd's algorithm once."""
            rng = np.random.default_rng((self.seed, k, i))
            return self._lloyd(seed_centers(self._sample, self._sample_weights, k, rng))

        return _rank(self.run(run_once, range(n_init)))

    def improve(self, solutions: Sequence[Solution]) -> list[Solution]:
        """Run breathing k-means on each solution on the sample; return the best first."""
        return _rank(self.run(self.breathe, solutions))

    def split(self, solution: Solution, k: int) -> Solution:
        """Increase to k clusters on the sample by adding the centres that help most."""
        centers = self._add(self._sample, self._sample_weights, solution.centers, k)
        return self._lloyd(centers)

    def merge(self, solution: Solution, k: int) -> Solution:
        """Reduce to k clusters on the sample, merging the pairs that raise the inertia least."""
        k_now = len(solution.centers)
        sizes = np.bincount(solution.labels, self._sample_weights, minlength=k_now)
        return self._lloyd(merge_centers(solution.centers, sizes.astype(np.float64), k))

    def breathe(self, solution: Solution) -> Solution:
        """Add and merge centres, in decreasing numbers, while the inertia falls.

        Based on Fritzke: The breathing k-means algorithm. arXiv:2006.15666, 2020.
        """
        k = len(solution.centers)
        breadth = min(3, k)
        while breadth:
            other = self.merge(self.split(solution, k + breadth), k)
            if len(other.centers) == k and other.inertia < solution.inertia * (1 - 1e-6):
                solution = other
            else:
                breadth -= 1
        return solution

    def finish(self, solution: Solution, *, max_iter: int = 300, tol: float = 0.0) -> Solution:
        """Run Lloyd's algorithm on all rows and dimensions, starting from the sample's solution."""
        X, weights, run = self.X, self.weights, self.run
        if len(self._sample) < len(X):
            solution = lloyd(
                self._reduced, weights, solution.centers, max_iter=max_iter, tol=tol, run=run
            )
        if self._reduced is X:
            return solution
        k = len(solution.centers)
        totals, sizes = sum_clusters(X, weights, solution.labels, k, run)
        centers = (totals / np.maximum(sizes, np.finfo(float).tiny)[:, None]).astype(np.float32)
        return lloyd(X, weights, centers, max_iter=max_iter, tol=tol, run=run)

    def shortlist(self, solutions: Sequence[Solution]) -> list[Solution]:
        """Return the distinct solutions on the sample that are worth finishing."""
        ranked = _rank(solutions)
        kept = ranked[:1]
        for solution in ranked[1:]:
            is_new = solution.inertia > kept[-1].inertia * (1 + 1e-6)
            if is_new and solution.inertia <= ranked[0].inertia * (1 + 3 * EQUAL_INERTIA):
                kept.append(solution)
        return kept[:N_FINALISTS]

    def choose(self, solutions: Sequence[Solution]) -> Solution:
        """Return the solution of lowest inertia; among near ties, the one of best silhouette."""
        ranked = _rank(solutions)
        equals = [s for s in ranked if s.inertia <= ranked[0].inertia * (1 + EQUAL_INERTIA)]
        if len(equals) == 1:
            return equals[0]
        rng = np.random.default_rng(self.seed)
        rows = rng.permutation(len(self.X))[:N_SILHOUETTE_ROWS]
        reduced, weights = self._reduced[rows], self.weights[rows]
        squares = np.einsum("ij,ij->i", reduced, reduced)
        distances = np.sqrt(_distances(reduced, squares, reduced))
        return max(equals, key=lambda s: mean_silhouette(distances, weights, s.labels[rows]))

    def split_finished(self, solution: Solution, k: int) -> Solution:
        """Increase to k clusters on all rows in full dimension; the inertia cannot increase."""
        centers = self._add(self.X, self.weights, solution.centers, k)
        return lloyd(self.X, self.weights, centers, run=self.run)

    def _add(self, X: Matrix, weights: NDArray[np.float32], centers: Matrix, k: int) -> Matrix:
        """Add centres where they lower the inertia most."""
        rng = np.random.default_rng((self.seed, k))
        return seed_centers(X, weights, k, rng, centers=centers)

    def _lloyd(self, centers: Matrix) -> Solution:
        """Run Lloyd's algorithm on the sample."""
        return lloyd(self._sample, self._sample_weights, centers)


def _rank(solutions: Sequence[Solution]) -> list[Solution]:
    """Sort by inertia (stable)."""
    return sorted(solutions, key=lambda solution: solution.inertia)
