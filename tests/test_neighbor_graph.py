import numpy as np
import pytest
from scipy.sparse import block_diag, csr_array, diags_array

from clusterkit.clusterers import KMeans
from clusterkit.clusterers.neighbor_graph import (
    conductances,
    leading_eigenvectors,
    number_parts,
    weigh_neighbors,
)


def cliques(sizes):
    """Return a graph of cliques without links between them."""
    return csr_array(block_diag([csr_array(np.ones((n, n)) - np.eye(n)) for n in sizes]))


def link(X, n_neighbors):
    """Link the rows to their nearest neighbours."""
    from sklearn.neighbors import NearestNeighbors

    return weigh_neighbors(*NearestNeighbors(n_neighbors=n_neighbors).fit(X).kneighbors())


def test_weights_of_a_row_sum_to_the_logarithm_of_the_number_of_neighbours():
    distances = np.array([[1.0, 1.5, 3.0], [2.0, 2.5, 9.0], [1.0, 1.0, 1.0], [1.0, 2.0, 2.0]])
    neighbors = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    graph = weigh_neighbors(distances, neighbors).toarray()
    np.testing.assert_array_equal(graph, graph.T)
    np.testing.assert_array_equal(np.diag(graph), 0)
    # The nearest neighbour has weight 1, and so has every one that is equally near.
    assert graph[0, 1] == graph[2].max() == 1
    one_way = np.array([1, 0.6, 0.4])
    assert one_way.sum() == np.log2(4)
    assert 0 < graph[1, 3] < 1


def test_a_small_group_hardly_touches_the_next():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (100, 16)), rng.normal(9, 1, (5, 16))])
    graph = link(X, 10)
    assert conductances(graph, np.repeat([0, 1], [100, 5]).astype(np.int32))[1] < 0.15
    # Each of the five has six of its ten neighbours in the other group.
    assert (graph[100:, :100] > 0).sum() >= 5 * 6


def test_equal_rows_are_linked():
    graph = link(np.repeat(np.eye(3), 5, axis=0), 4)
    assert number_parts(graph)[0] == 3
    assert set(graph.data) == {1.0}


def test_conductance_is_the_share_of_links_that_leave():
    path = csr_array(np.diag([2, 1, 3], 1) + np.diag([2, 1, 3], -1))
    assert conductances(path, np.array([0, 0, 1, 1])) == pytest.approx([1 / 5, 1 / 7])
    # A cluster without nodes has no links.
    assert conductances(path, np.array([0, 0, 2, 2])) == pytest.approx([1 / 5, 1, 1 / 7])


# Below 500 nodes all eigenvectors are found at once, from there on step by step.
@pytest.mark.parametrize("sizes", [[30, 20, 10], [300, 200, 100, 50, 40, 30, 20, 10]])
def test_parts_of_a_graph_are_found(sizes):
    values, vectors = leading_eigenvectors(cliques(sizes), len(sizes), seed=0)
    np.testing.assert_allclose(values, 1)
    labels = KMeans(len(sizes), random_state=0).fit(vectors).labels_
    np.testing.assert_array_equal(labels, np.repeat(np.arange(len(sizes)), sizes))


@pytest.mark.parametrize("n_samples", [60, 1200])
def test_eigenvectors_are_those_of_the_whole_graph(n_samples):
    rng = np.random.default_rng(0)
    # Two parts, one of which contains many equal rows.
    X = rng.normal(size=(n_samples, 3)).astype(np.float32)
    X[: n_samples // 3] = np.round(X[: n_samples // 3]) + 100
    graph = link(X, 10)
    assert number_parts(graph)[0] > 1
    values, vectors = leading_eigenvectors(graph, 12, seed=0)
    scale = diags_array(1 / np.sqrt(graph.sum(axis=1)))
    matrix = (scale @ graph @ scale).toarray()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(12), atol=1e-8)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-7)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix)[::-1][:12], atol=1e-8)


def test_same_seed_same_eigenvectors():
    X = np.random.default_rng(0).normal(size=(700, 3)).astype(np.float32)
    graph = link(X, 10)
    first, second = (leading_eigenvectors(graph, 5, seed=1)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)
