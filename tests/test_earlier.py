"""The clusters of an earlier run: read from its table, and matched with the current images."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clusterkit.clustering.decisions import Decisions, Placed
from clusterkit.clustering.earlier import EarlierClusters, check_earlier, find_placed, read_earlier
from clusterkit.clustering.matching import continue_kmeans
from clusterkit.clustering.saved import Origin
from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.store.embeddings import Embeddings

SPACE = {"extractor": "colour", "fingerprint": "f" * 64}


@pytest.fixture
def emb() -> Embeddings:
    return Embeddings(
        np.eye(3, dtype=np.float32),
        paths=["a/1.png", "a/2.png", "b/1.png"],
        root=Path("/photos"),
        space=SPACE,
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write a table, and the file that describes how it was made."""
    table = tmp_path / "clusters.csv"
    table.write_text(
        "path,cluster,distance,exemplar,name\na/1.png,0,0.1,true,fox\nb.png,-1,,false,\n"
    )
    origin = {"root": "/photos", "fingerprint": "f" * 64, "space": "colour-ffffffff"}
    table.with_suffix(".json").write_text(json.dumps(origin))
    return table


def test_a_table_and_what_made_it_are_read(table: Path) -> None:
    earlier = read_earlier(table)
    assert earlier[:5] == (
        [0, -1],
        ["a/1.png", "b.png"],
        "/photos",
        "f" * 64,
        "colour-ffffffff",
    )
    # The description does not say that the name is its own.
    assert (earlier.names, earlier.decisions.names) == ({0: "fox"}, {0: "fox"})


@pytest.mark.parametrize("origin", [None, "not JSON", "[]", "{}", "3"])
def test_the_table_alone_will_do(table: Path, origin: str | None) -> None:
    beside = table.with_suffix(".json")
    beside.unlink() if origin is None else beside.write_text(origin)
    damaged = nullcontext() if origin in (None, "{}") else pytest.warns(Notice, match="is damaged")
    with damaged:
        earlier = read_earlier(table)
    assert earlier[:5] == EarlierClusters([0, -1], ["a/1.png", "b.png"])[:5]
    assert earlier.names == {0: "fox"}


@pytest.mark.parametrize("cluster", ["fox", "-2"])
def test_only_numbers_can_be_kept(table: Path, cluster: str) -> None:
    table.write_text(f"path,cluster\na.png,2\nb.png,{cluster}\n")
    message = f"Received: cluster {cluster} in .*clusters.csv, for b.png"
    with pytest.raises(InvalidInputError, match=message):
        read_earlier(table)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.csv"):
        read_earlier(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("root", "paths"),
    [
        ("/photos", ["a/1.png", "gone.png"]),
        (None, ["a/1.png", "gone.png"]),
        ("/photos/a", ["1.png", "gone.png"]),
        ("/", ["photos/a/1.png", "photos/gone.png"]),
        ("/elsewhere", ["a/1.png", "gone.png"]),
        (None, ["/photos/a/1.png", "/photos/gone.png"]),
        ("/photos", ["/photos/a/1.png", "gone.png"]),
        ("/elsewhere", ["/photos/a/1.png", "gone.png"]),
    ],
    ids=["same", "unknown", "below", "above", "moved", "absolute", "mixed", "absolute and moved"],
)
def test_images_are_found_whatever_the_root(
    emb: Embeddings, root: str | None, paths: list[str]
) -> None:
    assert "a/1.png" in check_earlier(EarlierClusters([0, 0], paths, root), emb).paths


def test_edits_and_moved_files_are_known_in_a_table_of_absolute_paths(
    tmp_path: Path, emb: Embeddings
) -> None:
    table = tmp_path / "clusters.csv"
    table.write_text("path,cluster\n/photos/a/1.png,0\n/photos/a/2.png,1\n/photos/old.png,1\n")
    origin = Origin(
        {"root": "/photos"},
        clusters={"a/1.png": 0, "a/2.png": 0, "old.png": 1},
        digests={"a/1.png": "1", "a/2.png": "2", "old.png": "3"},
    )
    table.with_suffix(".json").write_text(json.dumps(origin.to_dict()))
    emb = replace(emb, digests=["1", "2", "3"])
    earlier = check_earlier(read_earlier(table), emb)
    assert earlier.paths == ["a/1.png", "a/2.png", "b/1.png"]
    (placed,) = earlier.decisions.placed
    assert (placed.digest, placed.cluster) == ("2", 1)
    assert find_placed(earlier, emb) == {"a/2.png": 1}


@pytest.mark.parametrize("digests", [None, [None] * 3])
def test_an_image_of_unknown_content_is_followed_nowhere(
    emb: Embeddings, digests: list[str | None] | None
) -> None:
    gone = Decisions(placed=(Placed("gone.png", None, 1),))
    earlier = EarlierClusters([0, 0, 0], emb.paths, digests=digests, decisions=gone)
    assert find_placed(earlier, emb) == {}


def test_copies_may_be_in_different_clusters(emb: Embeddings) -> None:
    emb = replace(emb, digests=["1", "1", "2"])
    first = Decisions(placed=(Placed("a/1.png", "1", 3), Placed("b/1.png", "2", 5)))
    both = first | Decisions(placed=(Placed("a/2.png", "1", 4),))
    earlier = EarlierClusters([0, 0, 0], emb.paths, digests=emb.digests, decisions=both)
    assert find_placed(earlier, emb) == {"a/1.png": 3, "a/2.png": 4, "b/1.png": 5}
    # One that is gone does not decide about the other.
    assert find_placed(earlier, emb[1:]) == {"a/2.png": 4, "b/1.png": 5}
    # The newest decision about a file that was moved counts.
    moved = both | Decisions(placed=(Placed("c.png", "2", 6),))
    elsewhere = replace(emb, paths=["a/1.png", "a/2.png", "d.png"])
    found = find_placed(earlier._replace(decisions=moved), elsewhere)
    assert found == {"a/1.png": 3, "a/2.png": 4, "d.png": 6}


def test_nothing_in_common_is_an_error(emb: Embeddings) -> None:
    earlier = EarlierClusters([0], ["z.png"], "/photos", "f" * 64)
    with pytest.raises(InvalidInputError, match=r"in common.*3 images now, such as a/1\.png"):
        check_earlier(earlier, emb)


def test_a_table_without_its_description_after_the_root_changed_names_the_remedy(
    emb: Embeddings, table: Path
) -> None:
    above = replace(emb, paths=[f"photos/{path}" for path in emb.paths], root=Path("/"))
    assert "photos/a/1.png" in check_earlier(read_earlier(table), above).paths
    copy = table.rename(table.with_name("copy.csv"))
    remedy = r"such as a/1\.png\. No \.json file beside the table tells .*: copy that of the"
    with pytest.raises(InvalidInputError, match=remedy):
        check_earlier(read_earlier(copy), above)
    table.with_suffix(".json").rename(copy.with_suffix(".json"))
    assert "photos/a/1.png" in check_earlier(read_earlier(copy), above).paths


def test_another_space_is_warned_of(emb: Embeddings) -> None:
    earlier = EarlierClusters([0], ["a/1.png"], "/photos", "0" * 64, "shape-00000000")
    with pytest.warns(UserWarning, match="shape-00000000, these of colour-ffffffff"):
        check_earlier(earlier, emb, is_previous=True)
    with pytest.warns(UserWarning, match="shape-00000000, the vectors of colour-ffffffff"):
        check_earlier(earlier, emb)


def test_kmeans_goes_on_where_another_solution_fits_as_well() -> None:
    # A square of four bundles: two partitions into two clusters are equally good.
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32).repeat(5, axis=0)
    rows = corners + np.random.default_rng(0).normal(0, 0.01, corners.shape).astype(np.float32)
    above = np.tile(np.repeat([0, 1], 5), 2)
    beside = np.repeat([0, 1], 10)
    inertia = sum(((rows[beside == i] - rows[beside == i].mean(axis=0)) ** 2).sum() for i in (0, 1))
    previous = np.where(np.arange(20) % 5 == 0, -1, above)
    continued = continue_kmeans(rows, beside, 1.01 * inertia, previous=previous)
    np.testing.assert_array_equal(continued, above)
    np.testing.assert_array_equal(
        continue_kmeans(rows, beside, 0.9 * inertia, previous=previous), beside
    )
    np.testing.assert_array_equal(
        continue_kmeans(rows, beside, 1.01 * inertia, previous=np.arange(20)), beside
    )


def test_kmeans_goes_on_far_from_the_origin() -> None:
    rng = np.random.default_rng(0)
    before = np.repeat([0, 1, 2], 100)
    rows = (5 * np.eye(3)[before] + rng.normal(size=(300, 3)) + 10_000).astype(np.float32)
    exact = rows.astype(float)
    inertia = sum(((exact[before == i] - exact[before == i].mean(0)) ** 2).sum() for i in range(3))
    previous = np.where(rng.random(300) < 0.3, rng.integers(0, 3, 300), before)
    continued = continue_kmeans(rows, 2 - before, inertia, previous=previous)
    np.testing.assert_array_equal(continued, before)
