"""Cosine search: exact, with the contract of scikit-learn, in a fixed order."""

import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.estimator_checks import parametrize_with_checks

from clusterkit.errors import InvalidInputError
from clusterkit.images.folder import ImageFolder, read_image
from clusterkit.similarity.nearest import nearest, nearest_of_any_length
from clusterkit.similarity.neighbors import CosineNeighbors
from clusterkit.similarity.scaling import unit_rows
from clusterkit.similarity.similar import find_similar
from clusterkit.store.embeddings import Embeddings


@parametrize_with_checks([CosineNeighbors()])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(300, 17)).astype(np.float32)


@pytest.mark.parametrize("own", [True, False])
def test_agrees_with_scikit_learn(vectors, own):
    queries = None if own else np.random.default_rng(1).normal(size=(40, 17))
    reference = NearestNeighbors(n_neighbors=7, metric="cosine", algorithm="brute")
    expected_distances, expected = reference.fit(vectors).kneighbors(queries)
    distances, indices = CosineNeighbors(7).fit(vectors).kneighbors(queries)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(distances, expected_distances, atol=1e-6)


def test_own_row_is_no_neighbour_but_a_twin_is(vectors):
    vectors[200] = 3 * vectors[5]
    distances, indices = CosineNeighbors(4).fit(vectors).kneighbors()
    assert (indices != np.arange(300)[:, None]).all()
    assert indices[5, 0] == 200
    assert indices[200, 0] == 5
    assert distances[5, 0] < 1e-7


def test_identical_vectors_are_at_distance_zero(vectors):
    distances, indices = CosineNeighbors(1).fit(vectors).kneighbors(vectors)
    assert indices[:, 0].tolist() == list(range(300))
    assert (distances == 0).all()


def test_ties_come_in_order_of_row(vectors):
    vectors[::2] = vectors[0]
    neighbors = CosineNeighbors(20).fit(vectors)
    assert neighbors.kneighbors(vectors[:1])[1][0].tolist() == list(range(0, 40, 2))
    assert neighbors.kneighbors()[1][0].tolist() == list(range(2, 42, 2))
    assert neighbors.kneighbors()[1][298].tolist() == list(range(0, 40, 2))


def test_finer_than_float32_products():
    """Distances near 1e-10 cannot be distinguished by scalar products in float32."""
    rng = np.random.default_rng(0)
    near = rng.normal(size=50) + 1e-5 * rng.normal(size=(400, 50))
    unit = unit_rows(near)
    distances, rows = nearest(unit, unit[:30], 5)
    exact = ((unit[:30, None].astype(np.float64) - unit) ** 2).sum(axis=2) / 2
    np.testing.assert_array_equal(rows, np.argsort(exact, axis=1, kind="stable")[:, :5])
    np.testing.assert_allclose(distances, np.sort(exact, axis=1)[:, :5], rtol=1e-6)


@pytest.mark.parametrize("kind", ["equal", "at right angles", "nearly equal", "mixed"])
def test_thousands_of_ties_are_settled_in_bounded_memory(kind):
    rng = np.random.default_rng(0)
    n, width = 3000, 64
    if kind == "at right angles":
        rows = np.eye(n, dtype=np.float32)
    elif kind == "nearly equal":
        rows = rng.normal(size=width) + 1e-5 * rng.normal(size=(n, width))
    else:
        rows = np.repeat(rng.normal(size=(1, width)), n, axis=0)
        rows[::3] *= 4
    if kind == "mixed":
        rows[100:120] = rng.normal(size=(20, width))
        rows[7] = 0
    unit = unit_rows(rows)
    tracemalloc.start()
    distances, found = nearest(unit, unit[:40], 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * unit.nbytes + 2**27
    wide = unit.astype(np.float64)
    for query in (0, 7, 39):
        exact = ((wide - wide[query]) ** 2).sum(axis=1) / 2
        exact[~wide.any(axis=1)] = 1
        if not wide[query].any():
            exact[:] = 1
        expected = np.argsort(exact, kind="stable")[:5]
        assert found[query].tolist() == expected.tolist()
        np.testing.assert_allclose(distances[query], exact[expected], atol=1e-15)


def test_rows_of_any_length_are_searched_without_a_copy(vectors, monkeypatch):
    rows = (vectors * np.geomspace(1e-30, 1e30, 300)[:, None]).astype(np.float32)
    rows[50:90] = rows[50]
    rows[3] = 0
    expected = nearest(unit_rows(rows), unit_rows(rows[50:53]), 30)
    monkeypatch.setattr("clusterkit.similarity.nearest._PART_VALUES", 17 * 23)
    for found, wanted in zip(nearest_of_any_length(rows, rows[50:53], 30), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert nearest_of_any_length(rows, rows[:1], 300)[1].shape == (1, 300)


def test_one_query_takes_little_memory_beside_the_vectors():
    rows = np.random.default_rng(0).random((60_000, 256), dtype=np.float32)
    emb = Embeddings(rows)
    find_similar("5", emb)
    tracemalloc.start()
    find_similar("5", emb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.6 * rows.nbytes + 2**24


def test_distances_span_zero_to_two():
    neighbors = CosineNeighbors(3).fit([[-2, 0], [0, 1], [5, 0]])
    distances, indices = neighbors.kneighbors([[1, 0]])
    assert indices.tolist() == [[2, 1, 0]]
    np.testing.assert_allclose(distances, [[0, 1, 2]], atol=1e-7)


def test_zero_vectors_are_at_distance_one_from_everything():
    neighbors = CosineNeighbors(3).fit([[0, 0], [1, 0], [-1, 0], [0, 0]])
    distances, indices = neighbors.kneighbors([[0, 0], [2, 0]])
    assert distances.tolist() == [[1, 1, 1], [0, 1, 1]]
    assert indices.tolist() == [[0, 1, 2], [1, 0, 3]]


def test_extreme_lengths_keep_their_direction():
    vectors = [[3e30, 4e30], [3e-30, 4e-30]]
    np.testing.assert_allclose(unit_rows(vectors), [[0.6, 0.8]] * 2, rtol=1e-6)


def test_takes_embeddings_and_read_only_maps(vectors, tmp_path):
    np.save(tmp_path / "x.npy", vectors)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = CosineNeighbors(3).fit(vectors).kneighbors(return_distance=False)
    for X in (Embeddings(vectors), mapped, vectors.astype(np.float64)):
        np.testing.assert_array_equal(CosineNeighbors(3).fit(X).kneighbors()[1], expected)


def test_a_number_of_numpy(vectors):
    found = CosineNeighbors(np.int64(3)).fit(vectors)
    expected = CosineNeighbors(3).fit(vectors)
    for X in (None, vectors[:2]):
        for n in (None, np.int16(2)):
            for one, other in zip(
                found.kneighbors(X, n), expected.kneighbors(X, n and int(n)), strict=True
            ):
                np.testing.assert_array_equal(one, other)


def test_survives_pickling(vectors):
    neighbors = CosineNeighbors(3).fit(vectors)
    again = pickle.loads(pickle.dumps(neighbors))
    np.testing.assert_array_equal(again.kneighbors()[1], neighbors.kneighbors()[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.kneighbors([[1, 0]], n_neighbors=4), "n_neighbors=4, n_samples_fit=3"),
        (lambda f: f.kneighbors(n_neighbors=3), "at most 2, the number of other vectors"),
        (lambda f: f.kneighbors([[1, 0]], n_neighbors=0), "at least 1. Received: n_neighbors=0"),
        (lambda f: CosineNeighbors(1.5).fit([[1, 0]]), "at least 1. Received: n_neighbors=1.5"),
        (lambda f: nearest(f.vectors_, f.vectors_, 4), "n_neighbors=4, n_samples=3"),
        (lambda f: nearest(f.vectors_, f.vectors_[:, :1], 1), "Received: 1 and 2"),
        (lambda f: unit_rows([[1, 0], [np.nan, 0]]), "in row 1"),
        (lambda f: unit_rows([1, 2, 3]), r"shape \(n, dimension\). Received: \(3,\)"),
    ],
)
def test_errors_name_both_numbers(call, message):
    fitted = CosineNeighbors(2).fit([[1, 0], [0, 1], [1, 1]])
    with pytest.raises(InvalidInputError, match=message):
        call(fitted)


def test_agrees_with_all_pairs_on_the_pixels_of_real_photos(shared):
    images = ImageFolder(shared / "data" / "cat_dog_wild")[:60]
    pixels = np.array([read_image(file, (16, 16)).ravel() for file in images.files], np.float64)
    distances, _ = CosineNeighbors(5).fit(pixels).kneighbors()
    unit = pixels / np.linalg.norm(pixels, axis=1, keepdims=True)
    all_pairs = 1 - unit @ unit.T
    np.fill_diagonal(all_pairs, np.inf)
    np.testing.assert_allclose(distances, np.sort(all_pairs, axis=1)[:, :5], atol=1e-6)


def test_search_imports_neither_scikit_learn_nor_keras():
    code = (
        "import sys, numpy as np; from clusterkit.similarity.nearest import nearest, unit_rows;"
        "u = unit_rows(np.eye(4)); nearest(u, u, 2);"
        "sys.exit(bool({'sklearn', 'scipy', 'keras', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
