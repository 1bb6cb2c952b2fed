"""An index of unit vectors finds what an exact search finds, in any dimension."""

from pathlib import Path

import numpy as np
import pytest

from clusterkit.errors import InvalidInputError
from clusterkit.similarity.nearest import exact_distances, nearest, nearest_among
from clusterkit.similarity.neighbor_index import NeighborIndex
from clusterkit.similarity.scaling import unit_rows


def make_units(n: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors in groups of about 50."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(max(1, n // 50), dimension))
    rows = centers[rng.integers(len(centers), size=n)] + rng.normal(size=(n, dimension)) / 2
    return unit_rows(rows.astype(np.float32))


@pytest.mark.parametrize("dimension", [1, 3, 64, 515])
def test_neighbours_are_nearly_those_of_an_exact_search(tmp_path: Path, dimension: int) -> None:
    units = make_units(1500, dimension)
    NeighborIndex.build(units, tmp_path / "index.faiss")
    index = NeighborIndex(tmp_path / "index.faiss", units)
    queries = units[:40]
    expected, rows = nearest(units, queries, 10)
    found = index.search(queries, 10)
    assert found is not None
    # Of many equal rows, any may be found.
    recall = np.mean([len({*a} & {*b}) for a, b in zip(found[1], rows, strict=True)]) / 10
    assert recall > (0.9 if dimension > 3 else 0)
    np.testing.assert_allclose(found[0], expected, atol=0.01)
    alone = index.search(queries[[3]], 10)
    assert alone is not None
    np.testing.assert_array_equal(alone[1][0], found[1][3])


def test_the_distances_of_what_is_found_are_exact(tmp_path: Path) -> None:
    units = make_units(300, 32)
    NeighborIndex.build(units, tmp_path / "index.faiss")
    # All rows are compared exactly.
    found = NeighborIndex(tmp_path / "index.faiss", units).search(units[:20], 7)
    assert found is not None
    expected, rows = nearest(units, units[:20], 7)
    np.testing.assert_array_equal(found[1], rows)
    np.testing.assert_array_equal(found[0], expected)


def test_what_an_index_cannot_answer_is_left_to_an_exact_search(tmp_path: Path) -> None:
    units = make_units(300, 8)
    NeighborIndex.build(units, tmp_path / "index.faiss")
    index = NeighborIndex(tmp_path / "index.faiss", units)
    assert index.search(np.zeros((1, 8), np.float32), 3) is None
    with pytest.raises(InvalidInputError, match="other vectors"):
        NeighborIndex(tmp_path / "index.faiss", units[:-1])


@pytest.mark.parametrize("exponent", [-20, 0, 19])
@pytest.mark.parametrize("kind", ["ordinary", "equal", "zeros"])
def test_the_nearest_among_candidates_are_exact(kind: str, exponent: int) -> None:
    """Rows that float32 excludes are never among the nearest."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 24)).astype(np.float32) * np.float32(10.0**exponent)
    if kind != "ordinary":
        rows[rng.choice(200, 90, replace=False)] = rows[0] if kind == "equal" else 0
    for n_neighbors in (1, 7, 199, 200):
        for query in unit_rows(rows[:3]):
            distances, found = nearest_among(rows, query, rng.permutation(200), n_neighbors)
            exact = exact_distances(unit_rows(rows)[None], query[None])[0]
            order = np.lexsort((np.arange(200), exact))[:n_neighbors]
            np.testing.assert_array_equal(found, order)
            np.testing.assert_array_equal(distances, exact[order])


def test_the_nearest_of_some_rows_are_those_of_an_exact_search_among_them() -> None:
    units = make_units(200, 16)
    units[50] = units[10]
    candidates = np.array([150, 50, 10, 3, 77, 120])
    distances, rows = nearest_among(units, units[10], candidates, 3)
    expected, places = nearest(units[np.sort(candidates)], units[[10]], 3)
    assert rows.tolist() == np.sort(candidates)[places[0]].tolist()
    assert rows.tolist()[:2] == [10, 50]  # ties are in order of row
    np.testing.assert_array_equal(distances, expected[0])
