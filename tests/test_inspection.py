"""Inspecting clusters: silhouettes, doubtful and odd images, near clusters."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_samples

import clusterkit as ck
from clusterkit.clusterers import KMeans
from clusterkit.clustering import Clustering
from clusterkit.clustering.inspection import inspect_clusters
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.plots import InspectionDisplay, inspection, pictures
from clusterkit.report.page_images import read_page_images


@pytest.fixture(scope="module")
def clustering() -> ck.Clustering:
    """Two near blobs, a distant one, a row between the near ones, and an outlier."""
    centers = np.array([[10, 0, 0], [10, 4, 0], [0, 0, 10]])
    X, _ = make_blobs([30, 30, 30], centers=centers, cluster_std=0.4, random_state=0)
    X = np.vstack([X, [[10, 2.2, 0], [10, -1, 6]]]).astype(np.float32)
    kmeans = KMeans(3, random_state=0, normalize=False)
    return ck.cluster(ck.Embeddings(X), kmeans)


def test_silhouettes_are_those_of_scikit_learn(clustering):
    found = inspect_clusters(clustering)
    expected = silhouette_samples(np.asarray(clustering.embeddings), clustering.labels)
    assert np.allclose(found.silhouettes, expected, atol=1e-5)
    assert (found.is_doubtful == (found.silhouettes <= 0)).all()


def test_the_nearest_clusters_and_the_odd_image(clustering):
    found = inspect_clusters(clustering)
    centers = np.array([[10, 0, 0], [10, 4, 0], [0, 0, 10]])
    far = np.linalg.norm(clustering.embeddings.vectors[:, None] - centers, axis=2)
    first, second, third = clustering.labels[far.argmin(axis=0)]
    assert found.neighbors[int(first)][0].cluster == second
    assert found.neighbors[int(second)][0].cluster == first
    assert {near.cluster for near in found.neighbors[int(third)]} == {first, second}
    assert found.is_odd[91]
    assert found.is_odd.sum() <= 6
    assert 91 in found.odd(int(clustering.labels[91]))
    central = found.central(int(first), 1)[0]
    assert clustering.exemplars[central]


def test_unsure_predictions_are_not_odd(unsure_predictions):
    one = ck.cluster(ck.Embeddings(unsure_predictions), KMeans(1, random_state=0))
    assert set(np.flatnonzero(inspect_clusters(one).is_odd)) <= {7}


def test_noise_one_cluster_and_single_images(clustering):
    labels = np.zeros(92, int)
    one = Clustering(
        clustering.embeddings, labels, np.zeros(92), labels == 1, algorithm="", parameters={}
    )
    found = inspect_clusters(one)
    assert np.isnan(found.silhouettes).all()
    assert (found.nearest == -1).all()
    assert not found.is_doubtful.any()
    assert found.neighbors == {0: []}
    labels = clustering.labels.copy()
    labels[:5], labels[5] = -1, 7
    some = Clustering(
        clustering.embeddings, labels, np.zeros(92), labels == -9, algorithm="", parameters={}
    )
    found = inspect_clusters(some)
    assert np.isnan(found.silhouettes[:5]).all()
    assert found.silhouettes[5] == 0
    assert not found.is_doubtful[5]
    assert (found.nearest[:5] == -1).all()
    assert "noise" in found.to_text()


def test_it_is_a_table_json_and_a_picture(clustering, tmp_path):
    found = inspect_clusters(clustering)
    lines = found.to_csv(tmp_path / "images.csv").read_text().splitlines()
    assert lines[0] == "path,cluster,silhouette,nearest,doubtful,odd"
    assert len(lines) == 93
    document = json.loads(json.dumps(found.to_dict()))
    assert len(document["clusters"]) == 3
    assert "92 images in 3 clusters" in repr(found)
    assert "<table" in found._repr_html_()
    InspectionDisplay.from_inspection(found).save(tmp_path / "inside.png")


def photos(folder, n_copies):
    """Return clusters of files: three copies of one picture are the most central of the first."""
    rng = np.random.default_rng(0)
    paths = [f"{i:02d}.png" for i in range(12)]
    pictures = [rng.integers(0, 255, (6, 6, 3), dtype=np.uint8) for _ in paths]
    for i, path in enumerate(paths):
        pixels = pictures[0] if i < n_copies else pictures[i]
        Image.fromarray(pixels).resize((60, 60), Image.Resampling.BICUBIC).save(folder / path)
    labels = np.repeat([0, 1], 6)
    vectors = np.eye(2, dtype=np.float32)[labels] + np.arange(12)[:, None] * [0.001, -0.001]
    emb = ck.Embeddings(vectors.astype(np.float32), paths=paths, root=folder)
    return Clustering(
        emb, labels, np.arange(12) / 100, labels < 0, algorithm="", parameters={"normalize": True}
    )


def texts(display):
    return [text.get_text() for text in display.figure_.findobj(Text) if text.get_text()]


def test_the_picture_has_copies_once_and_no_empty_columns(tmp_path):
    found = inspect_clusters(photos(tmp_path, 3))
    assert found.central(0, 3) == [0, 1, 2]
    display = InspectionDisplay.from_inspection(found)
    names = [[file.name for file in row.central] for row in display.rows]
    assert names == [["00.png", "03.png", "04.png"], ["06.png", "07.png", "08.png"]]
    assert texts(display).count("x 3") == 1
    # No image is doubtful or odd: these columns are left out, and this is said.
    assert "odd" not in texts(display)
    assert "no image is doubtful; no image is odd" in texts(display)
    narrow = display.figure_.get_figwidth()
    found = replace(found, is_odd=np.arange(12) == 4, is_doubtful=np.arange(12) == 4)
    display = InspectionDisplay.from_inspection(found)
    assert display.figure_.get_figwidth() > 1.2 * narrow
    assert {"odd", "doubtful: nearer to"} <= {*texts(display)}
    assert not any("no image" in text for text in texts(display))


def test_images_that_are_no_copies_by_a_decision_are_all_drawn(tmp_path):
    clustering = photos(tmp_path, 2)
    with Image.open(tmp_path / "00.png") as image:
        image.save(tmp_path / "01.png", compress_level=1)
    pair = sorted(
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("00.png", "01.png")
    )
    (first, _) = InspectionDisplay.from_inspection(inspect_clusters(clustering)).rows
    assert [file.name for file in first.central][:2] == ["00.png", "02.png"]
    decisions = replace(clustering.decisions, not_copies=frozenset({(pair[0], pair[1])}))
    found = inspect_clusters(replace(clustering, decisions=decisions))
    (first, _) = InspectionDisplay.from_inspection(found).rows
    assert [file.name for file in first.central][:2] == ["00.png", "01.png"]


def test_copies_are_not_searched_in_clusters_that_are_not_drawn(tmp_path, monkeypatch):
    clustering = photos(tmp_path, 3)
    monkeypatch.setattr(inspection, "_MAX_CLUSTERS", 1)
    read = []
    make_thumbnails = pictures.make_thumbnails

    def make(files):
        read.extend(file.name for file in files)
        return make_thumbnails(files)

    monkeypatch.setattr(pictures, "make_thumbnails", make)
    display = InspectionDisplay.from_inspection(inspect_clusters(clustering))
    assert sorted(read) == [f"{i:02d}.png" for i in range(6)]
    assert [file.name for file in display.rows[1].central] == ["06.png", "07.png", "08.png"]
    assert "… and 1 more cluster; no image is doubtful; no image is odd" in texts(display)


def test_a_path_is_refused():
    with pytest.raises(InvalidInputError, match=r"reopen_clustering.*Received: 'clusters.csv'"):
        inspect_clusters("clusters.csv")


def test_a_stream_is_refused(clustering):
    with pytest.raises(InvalidInputError, match="of a stream cannot be inspected"):
        inspect_clusters(replace(clustering, embeddings=np.zeros((92, 3))))


def test_reopening_says_what_is_only_in_one_of_both(clustering, tmp_path):
    table = clustering.to_csv(tmp_path / "clusters.csv")
    with pytest.warns(
        Notice, match=r"left out 12 images of .*clusters\.csv without a vector in the store"
    ):
        part = ck.reopen_clustering(table, clustering.embeddings[:80])
    assert (part.labels == clustering.labels[:80]).all()
    assert inspect_clusters(part).silhouettes.shape == (80,)


def test_distances_are_those_of_the_clusterer_in_a_table_and_a_page(clustering, tmp_path):
    expected = inspect_clusters(clustering).silhouettes
    table = clustering.to_csv(tmp_path / "clusters.csv")
    again = ck.reopen_clustering(table, clustering.embeddings)
    assert np.allclose(inspect_clusters(again).silhouettes, expected)
    page_images = read_page_images(clustering).to_clustering()
    assert np.allclose(inspect_clusters(page_images).silhouettes, expected)
    # What a table alone does not say is as by default.
    (tmp_path / "clusters.json").unlink()
    alone = ck.reopen_clustering(table, clustering.embeddings)
    assert alone.parameters == {"normalize": True}


def test_a_page_of_other_images_is_refused(clustering, tmp_path):
    others = ck.Embeddings(np.eye(3), paths=["a", "b", "c"])
    with pytest.raises(InvalidInputError, match="none of the 92 clustered images, such as 0"):
        ck.write_report(clustering, tmp_path / "report.html", embeddings=others)
    with pytest.warns(Notice, match="12 images of the clustering without a vector in the store"):
        ck.write_report(clustering, tmp_path / "report.html", embeddings=clustering.embeddings[:80])
