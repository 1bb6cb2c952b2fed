"""Vectors that stay glued to their paths."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans

from clusterkit.embeddings import Embeddings, Failure, concatenate, describe_space
from clusterkit.errors import InvalidInputError, NotFoundError, SpaceMismatchError

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
    assert (len(emb), emb.shape) == (3, (3, 2))
    assert np.array_equal(list(emb), emb.vectors)
    assert KMeans(2, n_init=1, random_state=0).fit(emb).labels_.shape == (3,)


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


def test_a_row_is_found_by_path_and_by_file(
    emb: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert emb.row("b/c.png") == emb.row("/photos/b/c.png") == emb.row("/photos/b/../b/c.png") == 1
    monkeypatch.setattr(os, "getcwd", lambda: "/photos/b")
    assert emb.row("c.png") == 1
    assert emb.find("nowhere.png") is None
    with pytest.raises(NotFoundError, match=r"nowhere\.png is not among the 3 embedded images"):
        emb.row("nowhere.png")
    for name in ("broken.png", "/photos/broken.png"):
        with pytest.raises(NotFoundError, match="could not be embedded: the file is empty"):
            emb.row(name)
    with pytest.raises(IndexError):
        emb[7]


def test_files_are_absolute(emb: Embeddings) -> None:
    assert emb.files == [ROOT / "a.png", ROOT / "b/c.png", ROOT / "d.png"]
    assert Embeddings(np.eye(2)).files == [Path("0"), Path("1")]


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
    with pytest.raises(SpaceMismatchError):
        concatenate([emb, Embeddings(emb.vectors, root=ROOT, space=other.space)])


def test_concatenate(emb: Embeddings) -> None:
    both = concatenate([emb, emb[[1]]])
    assert both.paths == ["a.png", "b/c.png", "d.png", "b/c.png"]
    assert both.vectors.shape == (4, 2)
    assert both.top5 == [*emb.top5, None]
    assert both.failures == emb.failures
    assert concatenate([emb, Embeddings(np.eye(2), root=ROOT)]).digests is None
    with pytest.raises(InvalidInputError, match="share one root"):
        concatenate([emb, Embeddings(np.eye(2), root=Path("/other"))])
    with pytest.raises(InvalidInputError, match="at least one"):
        concatenate([])


def test_words_for_people(emb: Embeddings) -> None:
    assert repr(emb) == "Embeddings(3 x 2, xception-5d41402a)"
    assert repr(Embeddings(np.eye(2))) == "Embeddings(2 x 2, unknown space)"
    assert describe_space({}) == "unknown space"


def test_it_can_be_sent_to_another_process(emb: Embeddings) -> None:
    emb.row("a.png")
    copy = pickle.loads(pickle.dumps(emb))
    assert copy.row("d.png") == 2
    assert np.array_equal(copy.vectors, emb.vectors)
