"""A k-means problem as it was posed, made ready for the search, and its answer."""

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.base import unite_equal
from clusterkit.clusterers.lloyd import Matrix, Solution, assign_all, measure_inertia
from clusterkit.clusterers.parallel import Map, map_serially
from clusterkit.search import find_equal


class Problem:
    """Rows and weights to cluster; made and settled by the :func:`workers` that search.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float32
        All rows.
    weights : ndarray of shape (n,), float32
        Weight of each row, 0 or above, not all 0.

    Attributes
    ----------
    X : ndarray of shape (m, d), float32
        The rows of weight above 0, moved so that their mean is the origin, where float32 is most
        precise.
    weights : ndarray of shape (m,), float32
        Their weights.
    """

    def __init__(self, rows: Matrix, weights: NDArray[np.float32]) -> None:
        self._mean = (weights / weights.sum()) @ rows
        rows = rows - self._mean
        # A row of weight 0 gets a label, and has no part in anything else.
        counts = weights > 0
        self._rows = rows
        self.X, self.weights = (rows, weights) if counts.all() else (rows[counts], weights[counts])
        self._first = find_equal(self.X)

    def settle(self, solution: Solution, run: Map = map_serially) -> Solution:
        """Return a solution for ``X`` as the answer for all rows, where they were at first.

        Clusters are numbered from the largest to the smallest, so that their numbers depend on
        the clustering alone; a cluster without rows is left out.  Equal rows are in one.
        """
        k, found = len(solution.centers), unite_equal(solution.labels, self._first)
        sizes = np.bincount(found, self.weights, minlength=k)
        # Equal sizes: in order of the first coordinate.
        order = np.lexsort((solution.centers[:, 0], -sizes))[: np.count_nonzero(sizes)]
        numbers = np.zeros(k, np.int32)
        numbers[order] = np.arange(len(order))
        labels, centers = numbers[found], solution.centers[order]
        inertia = measure_inertia(self.X, self.weights, labels, centers, run)
        if len(labels) < len(self._rows):
            labels, _ = assign_all(self._rows, centers, run)
        return Solution(labels, centers + self._mean, inertia, solution.n_iter)
