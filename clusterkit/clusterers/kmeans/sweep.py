"""k-means for a range of numbers of clusters in one computation."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.clusterers.base import (
    ClusteringWarning,
    check_n_clusters,
    check_rows,
    check_weights,
    describe_sizes,
    find_unit,
    find_zeros,
    in_units,
    seed_from,
    to_float32,
    warn_of_zeros,
)
from clusterkit.clusterers.kmeans.lloyd import Solution
from clusterkit.clusterers.kmeans.restarts import Problem, Search
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.scaling import Scaling
from clusterkit.utils.arguments import check_at_least
from clusterkit.utils.parallel import workers

# Lloyd's algorithm stops when an iteration lowers the inertia by less than this fraction.
_TOL = 1e-5


class SweepPoint(NamedTuple):
    """The clustering for one number of clusters.

    Attributes
    ----------
    n_clusters : int
        The requested number of clusters.
    labels : ndarray of shape (n,), int32
        Cluster of each row, from 0 (the largest).
    cluster_centers : ndarray of shape (n_clusters, d), float32
        Mean of each cluster; fewer than ``n_clusters`` if there are fewer different rows.
    inertia : float
        Sum of squared distances of the rows to their centres, weighted by ``sample_weight``.
    """

    n_clusters: int
    labels: NDArray[np.int32]
    cluster_centers: NDArray[np.float32]
    inertia: float


def kmeans_sweep(
    X: ArrayLike,
    n_clusters: Iterable[int] = range(2, 21),
    *,
    normalize: Scaling = True,
    random_state: int | np.random.RandomState | None = None,
    n_init: int = 5,
    sample_weight: ArrayLike | None = None,
) -> list[SweepPoint]:
    """Run k-means for each number of clusters.

    The runs share their work: all use the same principal components, and each k also tries the
    clustering of the next smaller k with clusters split, and that of the next larger k with
    clusters merged.  The inertia never increases with k.

    Parameters
    ----------
    X : array-like of shape (n, d)
        The rows; Embeddings are accepted.
    n_clusters : iterable of int, default range(2, 21)
        Numbers of clusters, in any order, each from 2 to n.
    normalize : bool or "sqrt", default True
        Whether to scale the rows to length 1; "sqrt" for their square roots, for probabilities.
    random_state : int, RandomState or None
        Seed.  The result for a seed is the same on any number of threads.
    n_init : int, default 5
        Number of initialisations for each k.
    sample_weight : array-like of shape (n,), optional
        Weight of each row, 0 or above; 1 by default.

    Returns
    -------
    list of SweepPoint
        One for each k, ascending.

    Raises
    ------
    InvalidInputError
        If ``n_clusters`` is empty or out of range, or the rows or weights are invalid.

    Warns
    -----
    ClusteringWarning
        Once, if some clusters are tiny or of very unequal size, or there are too few different
        rows.

    References
    ----------
    See :class:`clusterkit.clusterers.KMeans`.

    Examples
    --------
    >>> X = [[1, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, 0], [-1, 0.1]]
    >>> [round(point.inertia, 3) for point in kmeans_sweep(X, [2, 3], random_state=0)]
    [1.811, 0.015]
    """
    rows = check_rows(X)
    numbers = _check_range(n_clusters, len(rows))
    check_at_least(n_init, 1, "n_init")
    seed = seed_from(random_state)
    weights = check_weights(sample_weight, len(rows))
    unit = 1.0 if normalize else find_unit(rows)
    rows = to_float32(rows, normalize=normalize, unit=unit)
    if normalize:
        warn_of_zeros(find_zeros(rows), stacklevel=3)
    with workers() as run:
        problem = Problem(rows, weights)
        search = Search(problem.X, problem.weights, seed=seed, run=run)
        solutions = [search.start(number, n_init)[0] for number in numbers]
        solutions = run(search.breathe, _exchange(search, solutions, numbers))
        solutions = run(lambda solution: search.finish(solution, tol=_TOL), solutions)
        settled = run(problem.settle, _never_rising(search, solutions, numbers))
    # Equal inertias may differ by rounding.
    inertias = accumulate((solution.inertia for solution in settled), min)
    points = [
        SweepPoint(number, solution.labels, in_units(solution.centers, unit), inertia * unit * unit)
        for number, solution, inertia in zip(numbers, settled, inertias, strict=True)
    ]
    _warn(points)
    return points


def _check_range(n_clusters: Iterable[int], n_samples: int) -> list[int]:
    """Return the numbers of clusters, ascending and each once."""
    numbers = sorted({check_n_clusters(number, n_samples, minimum=2) for number in n_clusters})
    if not numbers:
        raise InvalidInputError(
            "n_clusters must hold at least one number, such as range(2, 21). "
            f"Received: {n_clusters!r}"
        )
    return numbers


def _exchange(search: Search, solutions: list[Solution], numbers: list[int]) -> list[Solution]:
    """Improve each solution from that of the next smaller and next larger k."""
    solutions = list(solutions)
    last = len(solutions) - 1
    for i in range(1, last + 1):
        other = search.split(solutions[i - 1], numbers[i])
        solutions[i] = _better(solutions[i], other)
    for i in range(last - 1, -1, -1):
        other = search.merge(solutions[i + 1], numbers[i])
        solutions[i] = _better(solutions[i], other)
    return solutions


def _better(solution: Solution, other: Solution) -> Solution:
    """Return the solution of lower inertia, unless it has fewer clusters."""
    if len(other.centers) < len(solution.centers) or other.inertia >= solution.inertia:
        return solution
    return other


def _never_rising(search: Search, solutions: list[Solution], numbers: list[int]) -> list[Solution]:
    """Replace a solution that is worse than the one before it by a split of that one."""
    solutions = list(solutions)
    for i in range(1, len(solutions)):
        if solutions[i].inertia > solutions[i - 1].inertia:
            solutions[i] = search.split_finished(solutions[i - 1], numbers[i])
    return solutions


def _warn(points: list[SweepPoint]) -> None:
    """Warn once about all odd clusterings."""
    alike = [point for point in points if len(point.cluster_centers) < point.n_clusters]
    if alike:
        warnings.warn(
            f"there are only {len(alike[0].cluster_centers):,} different rows, fewer than "
            f"n_clusters={alike[0].n_clusters}",
            ClusteringWarning,
            stacklevel=3,
        )
        return
    odd = {point.n_clusters: describe_sizes(point.labels) for point in points}
    if reasons := [f"k={number}: {reason}" for number, reason in odd.items() if reason]:
        more = f", and {len(reasons) - 1} more" if reasons[1:] else ""
        warnings.warn(f"{reasons[0]}{more}", ClusteringWarning, stacklevel=3)
