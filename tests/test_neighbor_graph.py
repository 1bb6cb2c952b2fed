import numpy as np
import pytest
from scipy.sparse import block_diag, csr_array, diags_array

from clusterkit.clusterers import KMeans
from clusterkit.clusterers.neighbor_graph import (
    conductances,
    leading_eigenvectors,
    link_neighbors,
    modularity_shares,
    number_parts,
)


def cliques(sizes):
    """Return a graph of cliques without links between them."""
    return csr_array(block_diag([np.ones((n, n)) - np.eye(n) for n in sizes]))


def test_links_are_nearest_neighbours_from_either_side():
    graph = link_neighbors(np.array([[0], [1], [3], [30]], np.float32), 1)
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 0] = 1
    expected[1, 2] = expected[2, 1] = expected[2, 3] = expected[3, 2] = 0.5
    np.testing.assert_array_equal(graph.toarray(), expected)


def test_more_neighbours_than_points_link_all():
    graph = link_neighbors(np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32), 9)
    np.testing.assert_array_equal(graph.toarray(), 1 - np.eye(5))


def test_modularity_is_links_within_less_chance():
    rng = np.random.default_rng(0)
    A = rng.integers(0, 3, (30, 30))
    A = A + A.T
    labels = rng.integers(0, 4, 30)
    degrees = A.sum(axis=1)
    same = labels[:, None] == labels
    expected = ((A - np.outer(degrees, degrees) / A.sum()) * same).sum() / A.sum()
    assert modularity_shares(csr_array(A), labels).mean() == pytest.approx(expected)


def test_modularity_of_cliques():
    graph = cliques([4, 4])
    assert modularity_shares(graph, np.repeat([0, 1], 4)).mean() == pytest.approx(0.5)
    assert modularity_shares(graph, np.zeros(8, int)).mean() == pytest.approx(0)


def test_conductance_is_the_share_of_links_that_leave():
    path = csr_array(np.diag([2, 1, 3], 1) + np.diag([2, 1, 3], -1))
    assert conductances(path, np.array([0, 0, 1, 1])) == pytest.approx([1 / 5, 1 / 7])
    # A cluster without nodes holds nothing together.
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
    # Two parts, of which one holds many rows that are the same.
    X = rng.normal(size=(n_samples, 3)).astype(np.float32)
    X[: n_samples // 3] = np.round(X[: n_samples // 3]) + 100
    graph = link_neighbors(X, 10)
    assert number_parts(graph)[0] > 1
    values, vectors = leading_eigenvectors(graph, 12, seed=0)
    scale = diags_array(1 / np.sqrt(graph.sum(axis=1)))
    matrix = (scale @ graph @ scale).toarray()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(12), atol=1e-8)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-7)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix)[::-1][:12], atol=1e-8)


def test_same_seed_same_eigenvectors():
    X = np.random.default_rng(0).normal(size=(700, 3)).astype(np.float32)
    graph = link_neighbors(X, 10)
    first, second = (leading_eigenvectors(graph, 5, seed=1)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)
