"""Candidate clusterings for refinement: k-means on whitened rows."""

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.kmeans.estimator import KMeans
from clusterkit.clusterers.refinement.selection import FIRST, Labels
from clusterkit.clusterers.refinement.whitening import Points
from clusterkit.similarity.nearest import unit_rows
from clusterkit.utils.parallel import Map


def make_candidates(
    rows: NDArray[np.float32], whitened: dict[int, Points], k: int, seed: int, run: Map
) -> dict[str, Labels]:
    """Cluster the rows by k-means, as they are and whitened.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float32
        The rows.
    whitened : dict of int to ndarray of shape (n, m)
        Number of neighbours to the rows whitened by that many; may be empty.
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
        Clusterings of fewer clusters are left out.
    """
    makers: dict[str, Callable[[], Labels]] = {FIRST: partial(_cluster, rows, k, seed)}
    for n_neighbors, points in whitened.items():
        name = f"whitened, {n_neighbors} neighbors"
        makers[name] = partial(_cluster, points, k, seed)
        makers[f"{name}, unit length"] = partial(_cluster, unit_rows(points), k, seed)
    with warnings.catch_warnings():
        # Warnings matter only for the chosen candidate, which is checked again.
        warnings.simplefilter("ignore")
        made = dict(zip(makers, run(lambda make: make(), makers.values()), strict=True))
    # Points on one line have only two directions.
    return {name: labels for name, labels in made.items() if name == FIRST or labels.max() == k - 1}


def _cluster(points: Points, k: int, seed: int) -> Labels:
    """Cluster by k-means."""
    return KMeans(k, normalize=False, random_state=seed).fit(points).labels_
