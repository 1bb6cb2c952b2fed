"""The graph of nearest neighbours: its parts and eigenvectors, and how good a partition is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Labels = NDArray[np.int32]
# Up to this many nodes all eigenvectors are computed, from then on iteratively those needed.
_N_DENSE = 500


def link_neighbors(points: Matrix, n_neighbors: int) -> Any:
    """Link each point to its nearest ones.

    Parameters
    ----------
    points : ndarray of shape (n, d), float32
        The points, at least 2.
    n_neighbors : int
        Links from each; to all others where there are fewer.

    Returns
    -------
    sparse array of shape (n, n)
        Symmetric; a link that is found from both sides counts 1, from one side half.
    """
    from scipy.sparse import csr_array
    from sklearn.neighbors import kneighbors_graph

    graph = csr_array(kneighbors_graph(points, min(n_neighbors, len(points) - 1)))
    return (graph + graph.T) / 2


def number_parts(graph: Any) -> tuple[int, Labels]:
    """Return how many parts a graph has that no link joins, and the part of each node."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(graph, directed=False)


def leading_eigenvectors(
    graph: Any, n_vectors: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the leading eigenvectors of a graph's normalised adjacency.

    Parameters
    ----------
    graph : sparse array of shape (n, n)
        Symmetric weights of the links, none negative, each node with at least one.
    n_vectors : int
        Number of eigenvectors, at most n.
    seed : int
        Decides where the iterations start.

    Returns
    -------
    values : ndarray of shape (n_vectors,)
        The largest eigenvalues, descending: 1 for each part of the graph.
    vectors : ndarray of shape (n, n_vectors)
        Their eigenvectors, orthonormal.  A node's row says where it belongs: groups with few links
        between them point in different directions.

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
    # Each part has the eigenvalue 1; of equal ones, an iteration over the whole would miss some.
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
    """Return the largest eigenvalues of a symmetric matrix, and their eigenvectors."""
    n = matrix.shape[0]
    if n <= max(_N_DENSE, n_vectors):
        from scipy.linalg import eigh

        # LAPACK's drivers for some of the eigenvectors fail where others are equal.
        values, vectors = eigh(matrix.toarray(), driver="evd")
        return values[n - n_vectors :], vectors[:, n - n_vectors :]
    from scipy.sparse.linalg import eigsh

    start = np.random.default_rng(seed).standard_normal(n)
    return eigsh(matrix, n_vectors, which="LA", v0=start)


def modularity_shares(graph: Any, labels: Labels) -> NDArray[np.float64]:
    """Return what each node adds to the modularity of a partition, times the number of nodes.

    Parameters
    ----------
    graph : sparse array of shape (n, n)
        Symmetric weights of the links.
    labels : ndarray of shape (n,), int
        Cluster of each node, from 0.

    Returns
    -------
    ndarray of shape (n,), float64
        Their mean is the modularity.

    References
    ----------
    Newman, Girvan: Finding and evaluating community structure in networks. Physical Review E 69,
    2004.
    """
    n = len(labels)
    degrees = graph.sum(axis=1)
    total = degrees.sum()
    within = _links_within(graph, labels)
    expected = degrees * np.bincount(labels, degrees)[labels] / total
    return n * (within - expected) / total


def conductances(graph: Any, labels: Labels) -> NDArray[np.float64]:
    """Return for each cluster of a partition the share of its links that leave it.

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
    inside = np.bincount(labels, _links_within(graph, labels))
    return 1 - inside / np.where(volumes > 0, volumes, 1)


def _links_within(graph: Any, labels: Labels) -> NDArray[np.float64]:
    """Return the weight of each node's links to its own cluster."""
    links = graph @ np.eye(labels.max() + 1)[labels]
    return links[np.arange(len(labels)), labels]
