"""Candidate clusterings for refinement, and the neighbour graphs that they are compared on."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.kmeans.estimator import KMeans
from clusterkit.clusterers.mixture import GaussianMixture
from clusterkit.clusterers.neighbor_graph import leading_eigenvectors, link_neighbors
from clusterkit.clusterers.refinement.selection import FIRST, Labels
from clusterkit.utils.parallel import workers

Rows = NDArray[np.float32]
# Neighbours in the two graphs: few, to find clusters of 20 rows, and more, to keep large clusters
# connected.
N_NEIGHBORS = (10, 20)
# Principal components for the mixtures, and number of initialisations of each.
MIXTURE_COORDINATES = (10, 20)
N_MIXTURES = 16


def link_graphs(points: Rows) -> dict[int, Any]:
    """Return the neighbour graphs, keyed by number of neighbours."""
    return {n_neighbors: link_neighbors(points, n_neighbors) for n_neighbors in N_NEIGHBORS}


def make_candidates(
    rows: Rows, points: Rows, graphs: dict[int, Any], k: int, seed: int
) -> dict[str, Labels]:
    """Cluster the rows with several methods.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float32
        The rows.
    points : ndarray of shape (n, m), float32
        Their leading principal components.
    graphs : dict of int to sparse array of shape (n, n)
        From :func:`link_graphs`.  Without any, only k-means is made.
    k : int
        Number of clusters.
    seed : int
        Random seed.

    Returns
    -------
    dict of str to ndarray of shape (n,), int32
        Name to cluster of each row, numbered from the largest; k-means first.  Methods that fail,
        because rows are too few or too similar, are left out.
    """
    makers: dict[str, Callable[[], Labels]] = {FIRST: partial(_kmeans_labels, rows, k, seed)}
    if graphs:
        starts = np.random.RandomState(seed).randint(2**31 - 1, size=N_MIXTURES)
        for n in MIXTURE_COORDINATES:
            for run, start in enumerate(starts, 1):
                make = partial(_mixture_labels, points, k, n, int(start))
                makers[f"mixture, {n} coordinates, run {run}"] = make
    for n, graph in graphs.items():
        makers[f"spectral, {n} neighbors"] = partial(spectral_labels, graph, k, seed)
    with workers() as run_all, warnings.catch_warnings():
        # Warnings matter only for the chosen candidate, which is checked again.
        warnings.simplefilter("ignore")
        made = run_all(_try, makers.values())
    return {name: labels for name, labels in zip(makers, made, strict=True) if labels is not None}


def spectral_labels(graph: Any, k: int, seed: int) -> Labels:
    """Cluster the nodes of a graph by its leading eigenvectors.

    Parameters
    ----------
    graph : sparse array of shape (n, n)
        Symmetric weights of the links, none negative, each node with at least one.
    k : int
        Number of clusters, below n.
    seed : int
        Random seed.

    Returns
    -------
    ndarray of shape (n,), int32
        Cluster of each node.

    References
    ----------
    Ng, Jordan, Weiss: On spectral clustering: analysis and an algorithm. NeurIPS 2001.
    """
    _, vectors = leading_eigenvectors(graph, k, seed)
    return KMeans(k, random_state=seed).fit(vectors).labels_


def _kmeans_labels(rows: Rows, k: int, seed: int) -> Labels:
    """Cluster by k-means."""
    return KMeans(k, normalize=False, random_state=seed).fit(rows).labels_


def _mixture_labels(points: Rows, k: int, n_coordinates: int, seed: int) -> Labels:
    """Cluster by one run of a mixture of Gaussians."""
    model = GaussianMixture(
        k, normalize=False, n_coordinates=n_coordinates, n_init=1, random_state=seed
    )
    return model.fit(points).labels_


def _try(make: Callable[[], Labels]) -> Labels | None:
    """Make a candidate, or None where its method fails."""
    try:
        return make()
    except (ValueError, RuntimeError, np.linalg.LinAlgError):
        return None
