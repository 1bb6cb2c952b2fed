"""Clusterings: labels with distances, exemplars and their origin."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import DBSCAN
from sklearn.linear_model import LogisticRegression

from clusterkit.clusterers import KMeans
from clusterkit.clusterers.distances import distances_to_centers
from clusterkit.clustering.cluster import cluster
from clusterkit.clustering.decisions import Decisions
from clusterkit.clustering.inspection import inspect_clusters
from clusterkit.clustering.reopening import reopen_clustering
from clusterkit.clustering.saved import read_clusters
from clusterkit.embedding.embed import embed
from clusterkit.errors import InvalidInputError, NotFoundError, OutputExistsError
from clusterkit.plots import MapDisplay
from clusterkit.store.embeddings import Embeddings, Failure
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store
from clusterkit.utils.text import json_text
from tests.grid_colours import GridColours
from tests.stores import make_photos


@pytest.fixture
def emb() -> Embeddings:
    """Return three tight bundles of directions in eight dimensions, ten images each."""
    rng = np.random.default_rng(0)
    directions = np.eye(8)[:3].repeat(10, axis=0)
    return Embeddings(
        directions + rng.normal(0, 0.05, directions.shape),
        paths=[f"{'abc'[i // 10]}/{i:02d}.png" for i in range(30)],
        space={"extractor": "bundles", "fingerprint": "0" * 64},
    )


def test_distances_are_those_to_the_mean_of_the_cluster() -> None:
    X = np.array([[0, 0], [2, 0], [1, 0], [5, 5]], np.float32)
    distances, exemplars = distances_to_centers(X, np.array([0, 0, 0, -1]))
    np.testing.assert_array_equal(distances, [1, 1, 0, np.nan])
    np.testing.assert_array_equal(exemplars, [False, False, True, False])


@pytest.mark.parametrize(
    "name", ["kmeans", "minibatch-kmeans", "agglomerative", "gaussian-mixture"]
)
def test_bundles_come_out_whole_by_any_clusterer(emb: Embeddings, name: str) -> None:
    clustering = cluster(emb, name, n_clusters=3, random_state=0)
    assert clustering.n_clusters == 3
    assert sorted(clustering.sizes.values()) == [10, 10, 10]
    assert clustering.exemplars.sum() == 3
    assert all(len(set(clustering.labels[i : i + 10])) == 1 for i in (0, 10, 20))


def test_refinement_says_what_was_compared(emb: Embeddings, tmp_path: Path) -> None:
    clustering = cluster(emb, "refined-kmeans", n_clusters=3, random_state=0)
    assert clustering.algorithm == "refined-kmeans"
    assert clustering.sizes == {0: 10, 1: 10, 2: 10}
    clustering.to_csv(tmp_path / "clusters.csv")
    written = json.loads((tmp_path / "clusters.json").read_text())["refinement"]
    assert written == clustering.refinement
    assert [entry["name"] for entry in written["candidates"] if entry["chosen"]] == ["k-means"]
    assert written["reason"].startswith("k-means: ")
    assert cluster(emb, n_clusters=3, random_state=0).to_dict()["refinement"] is None


@pytest.mark.usefixtures("few_resamples")
def test_auto_takes_the_verdict(emb: Embeddings) -> None:
    assert cluster(emb, n_clusters="auto", random_state=0).n_clusters == 3


@pytest.mark.usefixtures("two_levels")
def test_auto_takes_the_best_level_or_the_one_asked_for(emb: Embeddings, tmp_path: Path) -> None:
    best, coarse = (
        cluster(emb, n_clusters="auto", level=level, random_state=0) for level in (None, 1)
    )
    assert (best.n_clusters, coarse.n_clusters) == (3, 2)
    assert coarse.to_dict()["level"] == {
        "level": 1,
        "k": 2,
        "confidence": 0.6,
        "levels": [{"k": 2, "confidence": 0.6}, {"k": 3, "confidence": 0.85}],
        "sample": None,
    }
    lines = best.to_text().split("\n")
    assert lines[1] == "Chosen by the elbow: level 2 of 2, 3 clusters, confidence 0.85"
    assert lines[2] == "Other levels: --level 1 (2 clusters, confidence 0.60)"
    coarse.to_csv(tmp_path / "clusters.csv")
    written = json.loads((tmp_path / "clusters.json").read_text())
    assert written["level"] == coarse.to_dict()["level"]
    assert cluster(emb, n_clusters=3, random_state=0).to_dict()["level"] is None
    of_numpy = cluster(emb, n_clusters=np.int64(3), random_state=np.int64(0))
    assert of_numpy.to_dict() == cluster(emb, n_clusters=3, random_state=0).to_dict()
    of_numpy = cluster(emb, n_clusters="auto", level=np.int64(1), random_state=0)
    assert json_text(of_numpy.to_dict()) == json_text(coarse.to_dict())


@pytest.mark.usefixtures("two_levels")
def test_levels_are_of_the_images_that_no_decision_holds(emb: Embeddings) -> None:
    first = cluster(emb, n_clusters=3, random_state=0)
    first.decisions = Decisions(names={0: "mine"})
    again = cluster(emb, n_clusters="auto", level=1, previous=first, random_state=0)
    assert again.n_clusters == 3
    assert (
        "Chosen by the elbow for the images outside the kept clusters: level 1 of 2, 2 clusters"
        in again.to_text()
    )


@pytest.mark.usefixtures("two_levels")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_clusters": "auto", "level": 3}, r"level must be one of these: 1 \(2 .*, 2 \(3 "),
        ({"n_clusters": "auto", "level": 0}, "level must be an integer of at least 1"),
        ({"n_clusters": 3, "level": 1}, "n_clusters='auto' finds. Received: level=1"),
        ({"level": 1}, "n_clusters=None"),
    ],
)
def test_a_level_that_is_not_there_is_refused(
    emb: Embeddings, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        cluster(emb, random_state=0, **settings)


@pytest.mark.parametrize("wrong", ["3", "Auto", 3.0, True, 0, -1, [3]])
def test_a_number_of_clusters_that_is_none_is_refused(emb: Embeddings, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="n_clusters must be an integer of at least 1"):
        cluster(emb, n_clusters=wrong)


def test_a_store_is_as_good_as_its_embeddings(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 12)
    emb = embed(photos, GridColours(), store=tmp_path / "store")
    for source in (Store(tmp_path / "store"), str(tmp_path / "store")):
        labels = cluster(source, n_clusters=3, random_state=0).labels
        assert labels.tolist() == cluster(emb, n_clusters=3, random_state=0).labels.tolist()
    with pytest.raises(NotFoundError, match="no embeddings in the store"):
        cluster(tmp_path / "nowhere", n_clusters=3)


def test_a_number_of_clusters_may_be_one_of_numpy(emb: Embeddings) -> None:
    assert cluster(emb, n_clusters=np.int64(3), random_state=0).n_clusters == 3  # type: ignore[arg-type]


def test_any_scikit_learn_clusterer_works_and_noise_has_no_distance(emb: Embeddings) -> None:
    far = Embeddings(np.concatenate([emb.vectors, [[9.0] * 8]]).astype(np.float32))
    clustering = cluster(far, DBSCAN(eps=0.5, min_samples=3))
    assert clustering.algorithm == "DBSCAN"
    assert clustering.n_clusters == 3
    assert clustering.sizes[-1] == 1
    assert np.isnan(clustering.distances[-1])
    assert not clustering.exemplars[-1]


class Labelled(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """A clusterer of somebody, with given labels."""

    def __init__(self, labels: Any) -> None:
        self.labels = labels

    def fit(self, X: Any, y: Any = None) -> "Labelled":
        self.labels_ = np.asarray(self.labels)
        return self


def test_labels_of_any_clusterer_may_be_whole_floats(emb: Embeddings) -> None:
    labels = [-1.0, *[0.0] * 14, *[2.0] * 15]
    assert cluster(emb, Labelled(labels)).labels.tolist() == labels


@pytest.mark.parametrize(
    "labels",
    [[np.nan, *[0.0] * 29], [0.5] * 30, ["a", "b"] * 15, [0, 1, 1], [-2, *[0] * 29]],
    ids=["nan", "fraction", "text", "too few", "below noise"],
)
def test_other_labels_of_a_clusterer_are_an_error(emb: Embeddings, labels: list[Any]) -> None:
    message = "labels of Labelled must be integers of at least -1, one for each of 30 rows"
    with pytest.raises(InvalidInputError, match=message):
        cluster(emb, Labelled(labels))


def test_the_table_and_its_origin(emb: Embeddings, tmp_path: Path) -> None:
    clustering = cluster(emb, n_clusters=3, random_state=1)
    with clustering.to_csv(tmp_path / "clusters.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == emb.paths
    assert [int(row["cluster"]) for row in rows] == clustering.labels.tolist()
    assert [row["exemplar"] == "true" for row in rows] == clustering.exemplars.tolist()
    origin = json.loads((tmp_path / "clusters.json").read_text())
    assert origin["parameters"]["random_state"] == 1
    assert origin["fingerprint"] == "0" * 64
    with pytest.raises(OutputExistsError, match=r"clusters\.csv exists"):
        clustering.to_csv(tmp_path / "clusters.csv")
    with pytest.raises(InvalidInputError, match=r"must end in \.csv"):
        clustering.to_csv(tmp_path / "groups.json")


def test_a_table_holds_each_image_once(emb: Embeddings, tmp_path: Path) -> None:
    repeated = cluster(emb[[0, *range(30)]], n_clusters=3, random_state=1)
    with pytest.raises(InvalidInputError, match=f"must hold each path once. Twice: {emb.paths[0]}"):
        repeated.to_csv(tmp_path / "clusters.csv")
    assert not list(tmp_path.iterdir())


def with_classes(emb: Embeddings) -> Embeddings:
    """Add the ImageNet classes of three animals."""
    names = ("fox squirrel", "lion", "zebra")
    return replace(emb, top5=[[(name, 0.9)] for name in names for _ in range(10)])


def test_clusters_are_named_where_classes_are_known(emb: Embeddings, tmp_path: Path) -> None:
    assert cluster(emb, n_clusters=3, random_state=0).names == {}
    clustering = cluster(with_classes(emb), n_clusters=3, random_state=0)
    assert [clustering.names[label] for label in clustering.labels[[0, 10, 20]]] == [
        "fox squirrel",
        "lion",
        "zebra",
    ]
    assert clustering.to_dict()["names"] == {str(k): v for k, v in clustering.names.items()}
    table = clustering.to_csv(tmp_path / "clusters.csv")
    with table.open(newline="") as stream:
        assert [row["name"] for row in csv.DictReader(stream)][9:11] == ["fox squirrel", "lion"]
    assert read_clusters(table)[:2] == (emb.paths, clustering.labels.tolist())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("as_table", [True, False])
def test_a_second_run_keeps_the_numbers(
    emb: Embeddings, tmp_path: Path, seed: int, as_table: bool
) -> None:
    first = cluster(emb, n_clusters=3, random_state=0)
    first.labels = (first.labels + seed + 3) % 7  # as if it went on from runs before it
    previous = first.to_csv(tmp_path / "clusters.csv") if as_table else first
    second = cluster(emb, "minibatch-kmeans", n_clusters=3, random_state=seed, previous=previous)
    np.testing.assert_array_equal(second.labels, first.labels)
    assert second.sizes == first.sizes
    assert second.exemplars.sum() == 3
    assert second.identity is not None
    assert second.identity.to_text() == "30 of 30 images keep their number"


@pytest.mark.parametrize("before", [np.repeat([0, 1], 20), np.tile(np.repeat([0, 1], 10), 2)])
def test_of_two_solutions_that_fit_as_well_the_earlier_one_stays(before: np.ndarray) -> None:
    # Four bundles in a square: two partitions into pairs are equally good.
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]).repeat(10, axis=0)
    square = Embeddings(corners + np.random.default_rng(0).normal(0, 1e-4, corners.shape))
    first = cluster(square, KMeans(2, normalize=False, random_state=0))
    first.labels = before
    second = cluster(square, KMeans(2, normalize=False, random_state=0), previous=first)
    np.testing.assert_array_equal(second.labels, before)


def test_added_images_leave_the_numbers_as_they_are(emb: Embeddings) -> None:
    first = cluster(emb[5:], n_clusters=3, random_state=0)
    rng = np.random.default_rng(1)
    added = Embeddings(
        np.concatenate([emb.vectors, np.eye(8)[[5] * 4] + rng.normal(0, 0.05, (4, 8))]),
        paths=[*emb.paths, "w.png", "x.png", "y.png", "z.png"],
        space=emb.space,
    )
    second = cluster(added, n_clusters=4, previous=first, random_state=0)
    np.testing.assert_array_equal(second.labels[5:30], first.labels)
    assert second.identity is not None
    assert second.identity.new == [3]
    assert (second.identity.n_added, second.identity.n_kept) == (9, 25)
    assert second.to_dict()["identity"]["new"] == [3]
    assert set(second.labels[30:]) == {3}


def test_an_earlier_clustering_that_does_not_fit_is_said_before_any_work(emb: Embeddings) -> None:
    other = Embeddings(emb.vectors, paths=[f"other/{row}.png" for row in range(30)])
    earlier = cluster(other, n_clusters=3, random_state=0)
    with pytest.raises(InvalidInputError, match="in common"):
        cluster(emb, n_clusters=31, previous=earlier)
    other = Embeddings(emb.vectors, paths=emb.paths, space={"fingerprint": "1" * 64})
    with pytest.warns(UserWarning, match="the earlier clusters are of the space"):
        cluster(
            emb, n_clusters=3, previous=cluster(other, n_clusters=3, random_state=0), random_state=0
        )


def test_one_cluster_and_as_many_as_images(emb: Embeddings) -> None:
    emb = with_classes(emb)
    one = cluster(emb, n_clusters=1, random_state=0)
    assert one.sizes == {0: 30}
    each = cluster(emb, n_clusters=30, previous=one, random_state=0)
    assert list(each.sizes.values()) == [1] * 30
    assert set(each.names.values()) == {"fox squirrel", "lion", "zebra"}
    assert each.identity is not None
    assert each.identity.split == {0: list(range(30))}


def test_identical_vectors_are_one_group_with_a_name() -> None:
    same = Embeddings(np.ones((6, 4)), top5=[[("lion", 0.9)]] * 6)
    clustering = cluster(same, n_clusters=1, random_state=0)
    assert clustering.names == {0: "lion"}
    assert cluster(same, n_clusters=1, previous=clustering, random_state=0).identity is not None


def test_a_root_that_is_not_utf8_is_written(emb: Embeddings, tmp_path: Path) -> None:
    emb = replace(emb, root=Path("/photos/\udcff"))
    clustering = cluster(emb, n_clusters=3, random_state=0)
    clustering.to_csv(tmp_path / "clusters.csv")
    again = cluster(emb, n_clusters=3, previous=tmp_path / "clusters.csv", random_state=0)
    np.testing.assert_array_equal(again.labels, clustering.labels)


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("name", ["kmeans", "agglomerative", "affinity-propagation"])
def test_probabilities_are_compared_by_their_square_roots(
    unsure_predictions: np.ndarray, name: str
) -> None:
    probabilities = Embeddings(np.vstack([unsure_predictions, unsure_predictions[:, ::-1]]))
    found = cluster(probabilities, name, n_clusters=2, random_state=0)
    assert found.parameters["normalize"] == "sqrt"
    roots = cluster(Embeddings(np.sqrt(probabilities)), name, n_clusters=2, random_state=0)
    assert roots.parameters["normalize"] is True
    np.testing.assert_array_equal(found.labels, roots.labels)
    np.testing.assert_allclose(found.distances, roots.distances, atol=1e-5)
    # By their plain cosine, an image of which the network is unsure would be no image's neighbour.
    assert (found.labels[:7] == found.labels[0]).all()
    np.testing.assert_array_equal(inspect_clusters(found).nearest, inspect_clusters(roots).nearest)


def test_a_clusterer_of_ones_own_scales_probabilities_as_it_is_told(
    unsure_predictions: np.ndarray,
) -> None:
    found = cluster(Embeddings(unsure_predictions), KMeans(2, random_state=0))
    assert found.parameters["normalize"] is True


def test_a_table_remembers_the_square_roots(unsure_predictions: np.ndarray, tmp_path: Path) -> None:
    probabilities = Embeddings(unsure_predictions)
    found = cluster(probabilities, n_clusters=2, random_state=0)
    again = reopen_clustering(found.to_csv(tmp_path / "clusters.csv"), probabilities)
    assert again.parameters["normalize"] == "sqrt"
    np.testing.assert_allclose(again.distances, found.distances, atol=1e-6)


def test_a_stream_is_clustered_as_its_embeddings_are(emb: Embeddings, tmp_path: Path) -> None:
    names = [("fox squirrel", "lion", "zebra")[i // 10] for i in range(30)]
    space = Store(tmp_path / "store").open_space(emb.space | {"dimension": 8})
    for rows in (range(29, 14, -1), range(15)):
        space.append(
            [Row(emb.paths[i], "", vector=emb.vectors[i], top5=[(names[i], 0.9)]) for i in rows]
        )
    for number in (3, "auto"):
        streamed = cluster(space.stream(), "minibatch-kmeans", n_clusters=number, random_state=0)
        loaded = cluster(space.read(), "minibatch-kmeans", n_clusters=number, random_state=0)
        order = np.argsort(streamed.embeddings.paths)
        np.testing.assert_allclose(streamed.distances[order], loaded.distances, rtol=1e-4)
        np.testing.assert_array_equal(streamed.exemplars[order], loaded.exemplars)
        assert set(streamed.names.values()) == set(loaded.names.values()) == set(names)
        files = [streamed.to_csv(tmp_path / "a.csv", overwrite=True)]
        files.append(loaded.to_csv(tmp_path / "b.csv", overwrite=True))
        assert read_clusters(files[0])[0] == read_clusters(files[1])[0]
    again = cluster(
        space.stream(), "minibatch-kmeans", n_clusters=3, previous=files[0], random_state=0
    )
    assert again.identity is not None
    assert again.identity.moved == []
    with pytest.raises(InvalidInputError, match="a map needs all vectors"):
        MapDisplay.from_clustering(again)
    MapDisplay.from_clustering(again, space.read()[again.embeddings.paths])
    with pytest.raises(InvalidInputError, match="only kmeans, minibatch-kmeans and refined-kmeans"):
        cluster(space.stream(), "agglomerative", n_clusters=3)


@pytest.mark.parametrize("wrong", [5, KMeans, None, np.eye(3), LogisticRegression()])
def test_what_is_no_clusterer_is_said(emb: Embeddings, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^clusterer must be the name of one, or an inst"):
        cluster(emb, wrong)


def test_what_cannot_be_clustered_is_said(emb: Embeddings) -> None:
    empty = Embeddings(np.zeros((0, 8)), failures=[Failure("a.png", "the file is empty")])
    with pytest.raises(InvalidInputError, match=r"no embedded images to cluster, and 1 failure$"):
        cluster(empty, n_clusters=2)
    with pytest.raises(InvalidInputError, match=r"no embedded images to cluster$"):
        cluster(emb[:0], n_clusters=2)
    with pytest.raises(InvalidInputError, match="leave out n_clusters"):
        cluster(emb, "hdbscan", n_clusters=3)
    with pytest.raises(InvalidInputError, match=r"31.*30|30.*31"):
        cluster(emb, n_clusters=31)


def test_groups_by_tone_are_said_to_be_so(emb: Embeddings) -> None:
    for name, is_said in (("pixels", True), ("autoencoder", True), ("xception", False)):
        made = replace(emb, space={"extractor": name, "fingerprint": "0" * 64})
        text = cluster(made, n_clusters=3, random_state=0).to_text()
        assert (f"{name} groups photos by colour and tone" in text) == is_said


def test_plain_vectors_are_named_by_their_rows(emb: Embeddings, tmp_path: Path) -> None:
    for vectors in (emb.vectors, emb.vectors.tolist()):
        clustering = cluster(vectors, n_clusters=3, random_state=0)
        np.testing.assert_array_equal(
            clustering.labels, cluster(emb, n_clusters=3, random_state=0).labels
        )
        assert clustering.embeddings.paths[:2] == ["0", "1"]
    assert clustering.to_csv(tmp_path / "c.csv").read_text().splitlines()[1].startswith("0,")
    with pytest.raises(InvalidInputError, match=r"shape \(n, dimension\)"):
        cluster(np.arange(5))
    with pytest.raises(InvalidInputError, match="must be numbers"):
        cluster([["a.png", "b.png"]])


def test_clusters_go_on_at_any_scale(emb: Embeddings) -> None:
    for scale in (1e-30, 1, 1e20):
        scaled = Embeddings(emb.vectors * np.float32(scale), paths=emb.paths)
        before = cluster(scaled, KMeans(3, normalize=False, random_state=0))
        after = cluster(scaled, KMeans(3, normalize=False, random_state=1), previous=before)
        np.testing.assert_array_equal(after.labels, before.labels)
        np.testing.assert_allclose(
            after.distances / scale,
            cluster(emb, KMeans(3, normalize=False, random_state=0)).distances,
            rtol=1e-4,
        )


def test_clusters_are_sorted_into_folders_of_their_names(emb: Embeddings, tmp_path: Path) -> None:
    for path in emb.paths:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path)
    found = cluster(
        Embeddings(emb.vectors, paths=emb.paths, root=tmp_path, top5=with_classes(emb).top5),
        n_clusters=3,
        random_state=0,
    )
    sorting = found.sort_into(tmp_path / "sorted", mode="move")
    # The same text as in the table.
    names = sorted(folder.partition(" ")[2] for folder in sorting.folders)
    assert names == ["fox squirrel", "lion", "zebra"]
    assert set(sorting.folders.values()) == {10}
    with pytest.raises(NotFoundError, match="30 of the 30 files are gone"):
        found.sort_into(tmp_path / "elsewhere")


def test_classes_are_looked_up_in_a_store(emb: Embeddings, tmp_path: Path) -> None:
    images = Embeddings(emb.vectors, paths=emb.paths, root=tmp_path)
    space = Store(tmp_path / "store").open_space(
        {"fingerprint": "b" * 64, "extractor": "guess", "dimension": 8}
    )
    rows = zip(emb.paths, emb.vectors, with_classes(emb).top5 or (), strict=True)
    space.append(
        [
            Row(path, space.root_of(tmp_path), vector=vector.astype(np.float32), top5=top5)
            for path, vector, top5 in rows
        ]
    )
    assert cluster(images, n_clusters=3, random_state=0).names_from is None
    found = cluster(images, n_clusters=3, store=tmp_path / "store", random_state=0)
    assert found.names_from == "guess-bbbbbbbb"
    assert sorted(found.names.values()) == ["fox squirrel", "lion", "zebra"]
    assert images.top5 is None
