"""Nearest-neighbour graph: weights, connected components, eigenvectors and conductance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int32]
# Maximum number of nodes for a full eigendecomposition; larger graphs are solved iteratively.
_N_DENSE = 500
# Halvings of the interval of a node's scale; more do not change float32 distances' weights.
_N_BISECTIONS = 32


def weigh_neighbors(distances: NDArray[np.float64], neighbors: NDArray[np.int64]) -> Any:
    """Return the symmetric graph of nearest neighbours with weights that fall with the distance.

    The nearest neighbour has weight 1, and the scale of each node is such that its weights sum to
    the binary logarithm of the number of neighbours.  So a group of fewer rows than neighbours
    hardly touches the next group, at any density.

    Parameters
    ----------
    distances : ndarray of shape (n, m)
        Distances to the nearest neighbours, ascending.
    neighbors : ndarray of shape (n, m)
        The neighbours' rows.

    Returns
    -------
    sparse array of shape (n, n)
        Symmetric weights from 0 to 1.

    References
    ----------
    McInnes, Healy, Melville: UMAP: uniform manifold approximation and projection for dimension
    reduction. arXiv 1802.03426, 2018, section 3.1.
    """
    from scipy.sparse import csr_array

    n, m = neighbors.shape
    beyond = distances - distances[:, :1]
    low, high = np.zeros(n), np.full(n, np.inf)
    scale = np.maximum(beyond.mean(axis=1), np.finfo(np.float32).tiny)
    for _ in range(_N_BISECTIONS):
        too_much = np.exp(-beyond / scale[:, None]).sum(axis=1) > np.log2(m + 1)
        low, high = np.where(too_much, low, scale), np.where(too_much, scale, high)
        scale = np.where(np.isinf(high), 2 * scale, (low + high) / 2)
        scale = np.maximum(scale, np.finfo(np.float32).tiny)
    weights = np.exp(-beyond / scale[:, None])
    nodes = np.repeat(np.arange(n), m)
    graph = csr_array((weights.ravel(), (nodes, neighbors.ravel())), shape=(n, n))
    # Linked if one or the other is.
    return graph + graph.T - graph * graph.T


def number_parts(graph: Any) -> tuple[int, Labels]:
    """Return the number of connected components of a graph, and the component of each node."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(graph, directed=False)


def leading_eigenvectors(
    graph: Any, n_vectors: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the leading eigenvectors of a graph's normalised adjacency matrix.

    Parameters
    ----------
    graph : sparse array of shape (n, n)
        Symmetric non-negative weights; each node has at least one link.
    n_vectors : int
        Number of eigenvectors, at most n.
    seed : int
        Seed of the starting vector.

    Returns
    -------
    values : ndarray of shape (n_vectors,)
        The largest eigenvalues, descending; 1 for each connected component.
    vectors : ndarray of shape (n, n_vectors)
        Their orthonormal eigenvectors.  The rows of nodes in groups with few links between them
        point in different directions.

    References
    ----------
    von Luxburg: A tutorial on spectral clustering. Statistics and Computing 17, 2007.
    Lehoucq, Sorensen, Yang: ARPACK users' guide. SIAM 1998.
    """
    from scipy.sparse import diags_array

    scale = diags_array(1 / np.sqrt(graph.sum(axis=1)))
    normalised = (scale @ graph @ scale).tocsr()
    n_parts, part_of_node = number_parts(graph)
    values, columns = [], []
    # Each component has the eigenvalue 1; iterative solvers miss some of several equal eigenvalues.
    for part in range(n_parts):
        nodes = np.flatnonzero(part_of_node == part)
        inside = normalised if n_parts == 1 else normalised[nodes][:, nodes]
        found, vectors = _solve(inside, min(n_vectors, len(nodes)), seed)
        padded = np.zeros((graph.shape[0], len(found)))
        padded[nodes] = vectors
        values.append(found)
        columns.append(padded)
    all_values = np.concatenate(values)
    order = np.argsort(-all_values, kind="stable")[:n_vectors]
    return all_values[order], np.hstack(columns)[:, order]


def _solve(matrix: Any, n_vectors: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the largest eigenvalues of a symmetric matrix and their eigenvectors."""
    n = matrix.shape[0]
    if n <= max(_N_DENSE, n_vectors):
        from scipy.linalg import eigh

        # LAPACK's drivers for a subset of eigenvectors fail on equal eigenvalues.
        values, vectors = eigh(matrix.toarray(), driver="evd")
        return values[n - n_vectors :], vectors[:, n - n_vectors :]
    from scipy.sparse.linalg import eigsh

    start = np.random.default_rng(seed).standard_normal(n)
    return eigsh(matrix, n_vectors, which="LA", v0=start)


def conductances(graph: Any, labels: Labels) -> NDArray[np.float64]:
    """Return the conductance of each cluster: the share of its links that leave it.

    Parameters
    ----------
    graph : sparse array of shape (n, n)
        Symmetric weights of the links.
    labels : ndarray of shape (n,), int
        Cluster of each node, from 0.

    Returns
    -------
    ndarray of shape (n_clusters,), float64
        From 0 to 1; 1 for a cluster without nodes.

    References
    ----------
    Kannan, Vempala, Vetta: On clusterings: good, bad and spectral. Journal of the ACM 51, 2004.
    """
    volumes = np.bincount(labels, graph.sum(axis=1))
    inside = np.bincount(labels, links_within(graph, labels))
    return 1 - inside / np.where(volumes > 0, volumes, 1)


def links_within(graph: Any, labels: Labels) -> NDArray[np.float64]:
    """Return the total weight of each node's links to its own cluster."""
    links = graph @ np.eye(labels.max() + 1)[labels]
    return links[np.arange(len(labels)), labels]
