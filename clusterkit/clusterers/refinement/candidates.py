"""Candidate clusterings for refinement: other runs of k-means, and k-means on whitened rows."""

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.kmeans.estimator import KMeans
from clusterkit.clusterers.kmeans.restarts import Problem, Search
from clusterkit.clusterers.refinement.selection import FIRST, Labels
from clusterkit.clusterers.refinement.whitening import Points
from clusterkit.similarity.nearest import unit_rows
from clusterkit.utils.parallel import Map

# Number of single runs, as many as k-means begins with.
N_RUNS = 10


def make_candidates(
    rows: NDArray[np.float32],
    points: Points,
    whitened: dict[int, Points],
    k: int,
    seed: int,
    run: Map,
) -> dict[str, Labels]:
    """Cluster the rows by k-means, as they are and whitened.

    The single runs end in other optima than k-means, whose lower inertia may come from cutting a
    large group.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float32
        The rows.
    points : ndarray of shape (n, m), float32
        Their leading principal components, for the single runs.
    whitened : dict of int to ndarray of shape (n, m)
        Number of neighbours to the rows whitened by that many; if empty, no choice is possible, and
        only k-means is run.
    k : int
        Number of clusters.
    seed : int
        Random seed.
    run : callable
        From :func:`clusterkit.utils.parallel.workers`.

    Returns
    -------
    dict of str to ndarray of shape (n,), int32
        Name to cluster of each row, numbered from the largest; k-means on the rows first.
        Clusterings of fewer clusters are left out, and single runs that end as one before them.
    """
    makers: dict[str, Callable[[], Labels]] = {FIRST: partial(_cluster, rows, k, seed)}
    for n_neighbors, scaled in whitened.items():
        name = f"whitened, {n_neighbors} neighbors"
        makers[name] = partial(_cluster, scaled, k, seed)
        makers[f"{name}, unit length"] = partial(_cluster, unit_rows(scaled), k, seed)
    with warnings.catch_warnings():
        # Warnings matter only for the chosen candidate, which is checked again.
        warnings.simplefilter("ignore")
        made = dict(zip(makers, run(lambda make: make(), makers.values()), strict=True))
    if whitened:
        seen = {made[FIRST].tobytes()}
        for number, labels in enumerate(_run_singly(points, k, seed, run), start=1):
            if labels.tobytes() not in seen:
                seen.add(labels.tobytes())
                made[f"{FIRST}, run {number}"] = labels
    # Points on one line have only two directions.
    return {name: labels for name, labels in made.items() if name == FIRST or labels.max() == k - 1}


def _cluster(points: Points, k: int, seed: int) -> Labels:
    """Cluster by k-means."""
    return KMeans(k, normalize=False, random_state=seed).fit(points).labels_


def _run_singly(points: Points, k: int, seed: int, run: Map) -> list[Labels]:
    """Cluster by single runs of Lloyd's algorithm, the best first."""
    problem = Problem(points, np.ones(len(points), np.float32))
    search = Search(problem.X, problem.weights, seed=seed, run=run)
    finished = run(search.finish, search.start(k, N_RUNS))
    return [problem.settle(solution).labels for solution in finished]
