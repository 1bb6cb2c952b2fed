"""Vectors that stay glued to their paths."""

import os
import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans

from clusterkit import clusterers
from clusterkit.elbow import elbow_curve
from clusterkit.errors import InvalidInputError, NotFoundError, SpaceMismatchError
from clusterkit.similarity import CosineNeighbors
from clusterkit.store.embeddings import Embeddings, Failure, describe_space

ROOT = Path("/photos")
SPACE = {"extractor": "xception", "fingerprint": "5d41402abc4b2a76", "dimension": 2}


@pytest.fixture
def emb() -> Embeddings:
    return Embeddings(
        [[0, 1], [2, 3], [4, 5]],
        paths=["a.png", "b/c.png", "d.png"],
        root=ROOT,
        space=SPACE,
        top5=[[("fox", 0.5)], None, [("cat", 0.25)]],
        digests=["1", "2", "3"],
        failures=[Failure("broken.png", "the file is empty")],
    )


def test_it_is_an_array_wherever_one_is_taken(emb: Embeddings) -> None:
    assert np.asarray(emb).dtype == np.float32
    assert np.asarray(emb) is emb.vectors
    assert np.array(emb) is not emb.vectors
    assert np.asarray(emb, dtype=np.float64).dtype == np.float64
    assert (len(emb), emb.shape, emb.ndim, emb.dtype) == (3, (3, 2), 2, np.float32)
    assert np.array_equal(list(emb), emb.vectors)
    assert KMeans(2, n_init=1, random_state=0).fit(emb).labels_.shape == (3,)


def test_attributes_are_not_assigned_to_but_replaced_in_a_copy(emb: Embeddings) -> None:
    for name in ("vectors", "paths", "root", "space", "top5", "digests", "failures"):
        with pytest.raises(FrozenInstanceError):
            setattr(emb, name, None)
    moved = replace(emb, root=Path("/other"))
    assert moved.files[0] == Path("/other/a.png")
    assert moved.find("/other/d.png") == 2
    assert emb.find("/other/d.png") is None


@pytest.mark.parametrize("kind", [str, Path])
def test_a_root_is_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    monkeypatch.chdir(tmp_path)
    emb = Embeddings(np.eye(2), paths=["a.png", "b.png"], root=kind("photos"))
    assert emb.root == tmp_path / "photos"
    assert emb.files == [tmp_path / "photos/a.png", tmp_path / "photos/b.png"]
    assert emb.row(Path("photos/b.png")) == 1


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (1, [1]),
        (-1, [2]),
        (np.int64(2), [2]),
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        ([2, 0], [2, 0]),
        (np.array([True, False, True]), [0, 2]),
        ([], []),
        ("d.png", [2]),
        (ROOT / "b/c.png", [1]),
        (["d.png", ROOT / "a.png"], [2, 0]),
        (np.array(["b/c.png"]), [1]),
        (np.array(["b/c.png", ROOT / "a.png"], dtype=object), [1, 0]),
        (("a.png", "d.png"), [0, 2]),
        ([True, False, True], [0, 2]),
        (np.array([True, False, True], dtype=object), [0, 2]),
        (np.array([], dtype=float), []),
        (range(2), [0, 1]),
        (pd.Series([2, 0], index=[7, 8]), [2, 0]),
        (pd.Series([True, False, True], index=[7, 8, 9]), [0, 2]),
        (pd.Series(["d.png"], dtype="string"), [2]),
        (pd.Index([1]), [1]),
        (Ellipsis, [0, 1, 2]),
        ((slice(2), slice(None)), [0, 1]),
        (([1, 2], Ellipsis), [1, 2]),
    ],
    ids=str,
)
def test_selection_keeps_everything_of_a_row(emb: Embeddings, key: object, rows: list[int]) -> None:
    part = emb[key]
    assert np.array_equal(part.vectors, emb.vectors[rows])
    assert part.paths == [emb.paths[row] for row in rows]
    assert part.top5 == [emb.top5[row] for row in rows]
    assert part.digests == [emb.digests[row] for row in rows]
    assert (part.root, part.space) == (ROOT, SPACE)


@pytest.mark.parametrize(
    "key",
    [
        (slice(2), slice(1)),
        (slice(None), 0),
        (1, 1),
        (Ellipsis, slice(1)),
        ([2, 0], [1, 0]),
        (np.array([True, False, True]), 1),
        (slice(None), None),
        (slice(None), [True, False]),
        (slice(None), slice(None, None, -1)),
        np.array([[True, False], [False, False], [False, True]]),
    ],
    ids=str,
)
def test_columns_are_selected_as_of_an_array(emb: Embeddings, key: Any) -> None:
    part = emb[key]
    assert type(part) is type(emb.vectors[key])
    np.testing.assert_array_equal(part, emb.vectors[key])


def test_columns_of_rows_that_are_named_by_path(emb: Embeddings) -> None:
    assert emb["d.png", 1] == 5
    assert emb[["d.png", "a.png"], :1].tolist() == [[4], [0]]


@pytest.mark.parametrize(
    "key", [7, [0, 7], [True], 1.5, [0.5], {"a.png": 1, "x": 2}, (slice(None), 5)], ids=str
)
def test_what_is_not_there_is_no_row(emb: Embeddings, key: Any) -> None:
    with pytest.raises((IndexError, NotFoundError)):
        emb[key]


@pytest.mark.parametrize(
    "paths",
    [
        np.array(["x.png", "y.png"]),
        np.array([Path("x.png"), Path("y.png")]),
        pd.Series(["x.png", "y.png"], index=[5, 6]),
        ("x.png", "y.png"),
        iter(["x.png", "y.png"]),
    ],
    ids=lambda paths: type(paths).__name__,
)
def test_paths_come_in_any_sequence(paths: Any) -> None:
    emb = Embeddings(np.eye(2), paths=paths)
    assert emb.paths == ["x.png", "y.png"]
    assert all(type(path) is str for path in emb.paths)
    assert emb["y.png"].vectors.tolist() == [[0, 1]]


def test_the_index_of_a_data_frame_names_the_images() -> None:
    rows = pd.DataFrame(np.eye(2), index=["x.png", "y.png"])
    column = pd.Series(list(np.eye(2)), index=rows.index)
    for given in (rows, column):
        assert Embeddings(given).paths == ["x.png", "y.png"]
        assert Embeddings(given, paths=["a.png", "b.png"]).paths == ["a.png", "b.png"]
    for index in ([4, 3], ["x.png", "x.png"]):
        assert Embeddings(rows.set_axis(index)).paths == ["0", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vectors": np.eye(2), "paths": np.arange(2)}, "paths must be strings. Received: "),
        ({"vectors": np.eye(2), "paths": ["a.png", None]}, "strings. Received: None"),
        ({"vectors": np.eye(2), "paths": "ab"}, "sequence of paths. Received: 'ab'"),
        ({"vectors": np.eye(2), "digests": ["1"]}, "one digest per vector. Received: 1 digests"),
        ({"vectors": np.eye(2), "top5": [None]}, "one list of classes per vector"),
        ({"vectors": [["a", "b"]]}, "must be numbers"),
        ({"vectors": [[1, 2], [3]]}, "must be numbers"),
        ({"vectors": None}, "must have shape"),
    ],
)
def test_what_does_not_fit_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Embeddings(**arguments)


def test_a_row_is_found_by_the_end_of_one_path() -> None:
    paths = ["2019/a.jpg", "2019/b.jpg", "2020/a.jpg", "x\\y.jpg"]
    emb = Embeddings(np.eye(4), paths=paths, root=Path("/photos"))
    assert [emb.row("b.jpg"), emb.row("2020\\a.jpg"), emb.row("x\\y.jpg")] == [1, 2, 3]
    with pytest.raises(InvalidInputError, match=r"^a\.jpg could be 2019/a\.jpg or 2020/a\.jpg: "):
        emb.row("a.jpg")
    # Part of a name is no name.
    with pytest.raises(NotFoundError, match="is not among the 4"):
        emb.row(".jpg")


def test_a_row_is_found_by_path_and_by_file(
    emb: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert emb.row("b/c.png") == emb.row("/photos/b/c.png") == emb.row("/photos/b/../b/c.png") == 1
    monkeypatch.setattr(os, "getcwd", lambda: "/photos/b")
    assert emb.row("c.png") == 1
    assert emb.row("b\\c.png") == 1
    assert emb.find("nowhere.png") is None
    with pytest.raises(NotFoundError, match=r"nowhere\.png is not among the 3 embedded images"):
        emb.row("nowhere.png")
    for name in ("broken.png", "/photos/broken.png"):
        with pytest.raises(NotFoundError, match="could not be embedded: the file is empty"):
            emb.row(name)
    with pytest.raises(IndexError):
        emb[7]


def test_in_tells_whether_an_image_is_there(emb: Embeddings) -> None:
    assert "b/c.png" in emb
    assert ROOT / "d.png" in emb
    for other in ("nowhere.png", "broken.png", 0, None, emb.vectors[0]):
        assert other not in emb


def test_files_are_absolute(emb: Embeddings) -> None:
    assert emb.files == [ROOT / "a.png", ROOT / "b/c.png", ROOT / "d.png"]
    assert Embeddings(np.eye(2)).files == [Path("0"), Path("1")]


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.array([[1e39, 1.0]]), "range of float32"),
        ([[1.0, 10**400]], "range of float32"),
        (np.array([[1j, 1.0]]), "complex numbers"),
        (np.array([["2026-12-01"]], "datetime64[D]"), "dates or times"),
        ([["a", "b"]], "could not convert"),
    ],
)
def test_numbers_that_would_change_are_refused(vectors: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        Embeddings(vectors)


@pytest.mark.parametrize("kind", ["pandas", "polars", "polars array"])
def test_vectors_come_as_a_column_of_a_data_frame(kind: str) -> None:
    rows = [[0.0, 1.0], [2.0, 3.0]]
    column: Any
    if kind == "pandas":
        column = pd.Series([np.array(row, np.float32) for row in rows], index=[7, 8])
    else:
        polars = pytest.importorskip("polars")
        inner = polars.List(polars.Float32)
        column = polars.Series(rows, dtype=inner if kind == "polars" else None)
        column = column if kind == "polars" else column.list.to_array(2)
    assert Embeddings(column).vectors.tolist() == rows


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (csr_matrix(np.eye(3)), "not be a sparse matrix: .* Received: csr_matrix of shape .3, 3."),
        (np.ma.masked_equal(np.eye(3), 0), "no masked numbers"),
    ],
    ids=["sparse", "masked"],
)
def test_sparse_and_masked_numbers_are_refused_everywhere(wrong: Any, said: str) -> None:
    for take in (Embeddings, clusterers.KMeans(2).fit, CosineNeighbors(2).fit, elbow_curve):
        with pytest.raises(InvalidInputError, match=said) as caught:
            take(wrong)
        # scikit-learn's checks expect it.
        assert isinstance(caught.value, TypeError) == isinstance(wrong, csr_matrix)
    assert Embeddings(np.ma.masked_array(np.eye(3))).shape == (3, 3)
    assert Embeddings(pd.DataFrame({"_mask": [1.0, 0.0]})).shape == (2, 1)


def test_a_table_with_paths_beside_the_vectors_names_its_column() -> None:
    """Such as ``pandas.read_parquet`` makes of a space or an export."""
    columns = {"path": ["a.png", "b.png"], "vector": [[1.0, 0.0], [0.0, 1.0]]}
    polars = pytest.importorskip("polars")
    for table in (pd.DataFrame(columns), polars.DataFrame(columns)):
        with pytest.raises(InvalidInputError, match=r"table\['vector'\].*the columns path, vector"):
            Embeddings(table)
    with pytest.raises(InvalidInputError, match="the columns 0, 1"):
        Embeddings(pd.DataFrame([["a.png", 1.0]]))
    named = Embeddings(pd.DataFrame(columns).set_index("path")["vector"])
    assert named.paths == ["a.png", "b.png"]
    assert named.shape == (2, 2)


def test_bad_shapes() -> None:
    with pytest.raises(InvalidInputError, match=r"shape \(n, dimension\). Received: \(3,\)"):
        Embeddings([1, 2, 3])
    with pytest.raises(InvalidInputError, match="1 paths, 2 vectors"):
        Embeddings(np.eye(2), paths=["a.png"])
    empty = Embeddings(np.zeros((0, 5)))
    assert (len(empty), empty.shape, empty.paths) == (0, (0, 5), [])


def test_spaces_never_mix(emb: Embeddings) -> None:
    other = Embeddings(emb.vectors, space=SPACE | {"fingerprint": "ffffffffff"})
    with pytest.raises(SpaceMismatchError, match="xception-5d41402a and xception-ffffffff"):
        emb.check_same_space(other)
    emb.check_same_space(Embeddings(emb.vectors))
    emb.check_same_space(emb.vectors)


def test_words_for_people(emb: Embeddings) -> None:
    assert repr(emb) == "Embeddings(3 x 2, xception-5d41402a)"
    assert repr(Embeddings(np.eye(2))) == "Embeddings(2 x 2, unknown space)"
    assert describe_space({}) == "unknown space"


def test_it_can_be_sent_to_another_process(emb: Embeddings) -> None:
    emb.row("a.png")
    copy = pickle.loads(pickle.dumps(emb))
    assert copy.row("d.png") == 2
    assert np.array_equal(copy.vectors, emb.vectors)


def test_a_notebook_shows_some_images():
    """Small, without a script, and with names as they are."""
    paths = [f"<b>{number}.png" for number in range(9)]
    top5 = [[("red fox", 0.75)], *[None] * 8]
    emb = Embeddings(np.eye(9, dtype="float32"), paths=paths, top5=top5)
    shown = emb._repr_html_()
    assert "9 images in 9 dimensions, unknown space, the first 5 of them shown" in shown
    assert "red fox (0.75)" in shown
    assert "&lt;b&gt;0.png" in shown
    assert "<b>" not in shown
    assert "most probable" not in Embeddings(np.eye(2))._repr_html_()
    assert "0 images" in Embeddings(np.zeros((0, 3)))._repr_html_()
