"""Clusterings: labels with distances, exemplars and their origin."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import DBSCAN

from clusterkit.clustering import cluster, distances_to_centers
from clusterkit.embeddings import Embeddings, Failure
from clusterkit.errors import InvalidInputError, OutputExistsError


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
    clustering = cluster(emb, name, n_clusters=3)
    assert clustering.k == 3
    assert sorted(clustering.sizes.values()) == [10, 10, 10]
    assert clustering.exemplars.sum() == 3
    assert all(len(set(clustering.labels[i : i + 10])) == 1 for i in (0, 10, 20))


def test_auto_takes_the_verdict(emb: Embeddings) -> None:
    assert cluster(emb, n_clusters="auto").k == 3


def test_any_scikit_learn_clusterer_works_and_noise_has_no_distance(emb: Embeddings) -> None:
    far = Embeddings(np.concatenate([emb.vectors, [[9.0] * 8]]).astype(np.float32))
    clustering = cluster(far, DBSCAN(eps=0.5, min_samples=3))
    assert clustering.algorithm == "DBSCAN"
    assert clustering.k == 3
    assert clustering.sizes[-1] == 1
    assert np.isnan(clustering.distances[-1])
    assert not clustering.exemplars[-1]


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


def test_what_cannot_be_clustered_is_said(emb: Embeddings) -> None:
    empty = Embeddings(np.zeros((0, 8)), failures=[Failure("a.png", "the file is empty")])
    with pytest.raises(InvalidInputError, match="no embedded images to cluster, and 1 failures"):
        cluster(empty, n_clusters=2)
    with pytest.raises(InvalidInputError, match="leave out n_clusters"):
        cluster(emb, "hdbscan", n_clusters=3)
    with pytest.raises(InvalidInputError, match=r"31.*30|30.*31"):
        cluster(emb, n_clusters=31)
