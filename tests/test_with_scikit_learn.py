"""Embeddings and lists of images can be used wherever scikit-learn accepts X."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import cluster, linear_model, neighbors
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils import resample, shuffle

from clusterkit.clusterers import HDBSCAN, KMeans
from clusterkit.embedding.embed import embed
from clusterkit.extractors import Pixels
from clusterkit.images.folder import ImageFolder
from clusterkit.store.embeddings import Embeddings

Y = list("ab") * 15


@pytest.fixture
def emb() -> Embeddings:
    rows = np.random.default_rng(0).random((30, 8)).astype(np.float32)
    rows[::2, 0] += 3
    return Embeddings(
        rows,
        paths=[f"{row}.png" for row in range(30)],
        space={"extractor": "made", "fingerprint": "a" * 64},
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """Return 12 pictures of different sizes, alternately dark and bright."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(12):
        picture = np.full((8 + number, 9, 3), 200 * (number % 2) + number, np.uint8)
        Image.fromarray(picture).save(folder / f"{number:02}.png")
    return ImageFolder(folder)


def test_parts_keep_their_paths_and_space(emb: Embeddings) -> None:
    for parts in (
        train_test_split(emb, test_size=0.2, random_state=0),
        train_test_split(emb, Y, stratify=Y, random_state=0)[:2],
        [shuffle(emb, random_state=0)],
        [resample(emb, random_state=0)],
    ):
        for part in parts:
            assert part.fingerprint == "a" * 64
            rows = [int(path.removesuffix(".png")) for path in part.paths]
            np.testing.assert_array_equal(part.vectors, emb.vectors[rows])


@pytest.mark.parametrize("cv", [2, StratifiedKFold(3, shuffle=True, random_state=0)])
def test_cross_validation_is_that_of_the_array(emb: Embeddings, cv: Any) -> None:
    model = linear_model.LogisticRegression()
    for validate in (cross_val_score, cross_val_predict):
        np.testing.assert_array_equal(
            validate(model, emb, Y, cv=cv), validate(model, emb.vectors, Y, cv=cv)
        )


@pytest.mark.parametrize(
    ("model", "grid"),
    [
        (KMeans(random_state=0), {"n_clusters": [2, 3]}),
        (cluster.KMeans(random_state=0), {"n_clusters": [2, 3]}),
        (
            make_pipeline(StandardScaler(), PCA(3), linear_model.LogisticRegression()),
            {"pca__n_components": [2, 3]},
        ),
        (make_pipeline(Normalizer(), KMeans(random_state=0)), {"kmeans__n_clusters": [2, 3]}),
    ],
    ids=["ours", "theirs", "pipeline", "mixed"],
)
def test_a_search_for_parameters_is_that_of_the_array(
    emb: Embeddings, model: Any, grid: dict[str, Any]
) -> None:
    scores = [
        GridSearchCV(clone(model), grid, cv=2).fit(X, Y).cv_results_["mean_test_score"]
        for X in (emb, emb.vectors)
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize(
    "model",
    [
        StandardScaler(),
        PCA(3, random_state=0),
        cluster.HDBSCAN(copy=True),
        HDBSCAN(5, random_state=0),
        neighbors.NearestNeighbors(),
        make_pipeline(StandardScaler(), PCA(2), KMeans(2, random_state=0)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_estimators_take_it_and_leave_it_as_it_was(emb: Embeddings, model: Any) -> None:
    before = emb.vectors.copy()
    results = []
    for X in (emb, emb.vectors):
        fitted = clone(model).fit(X)
        apply = [name for name in ("transform", "predict", "labels_") if hasattr(fitted, name)]
        results.append([np.asarray(getattr(fitted, n)(X) if n[-1] != "_" else 0) for n in apply])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(emb.vectors, before)


def test_a_list_of_images_is_cut_without_reading(
    images: ImageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.images.folder.read_image", None)
    assert images.shape == (12,)
    for key in ([3, 1], np.array([3, 1]), (np.array([3, 1]), Ellipsis)):
        assert images[key].paths == ["03.png", "01.png"]
    assert images[np.arange(12) < 2].paths == images[:2].paths == ["00.png", "01.png"]
    assert images[[]].paths == images[np.array([])].paths == []
    with pytest.raises(IndexError):
        images[[12]]
    train, test = train_test_split(images, random_state=0)
    assert sorted([*train.paths, *test.paths]) == images.paths
    assert train.root == images.root


def test_files_of_a_table_keep_its_order(images: ImageFolder, tmp_path: Path) -> None:
    table = pd.DataFrame({"file": images.files}, index=range(20, 8, -1))[::-1]
    wanted = images.paths[::-1]
    assert ImageFolder(table["file"]).paths == wanted
    in_memory = embed(table["file"], "pixels")
    for _ in range(2):  # embedded, and read
        stored = embed(table["file"], "pixels", store=tmp_path)
        assert stored.paths == in_memory.paths == wanted
        np.testing.assert_array_equal(stored.vectors, in_memory.vectors)
    # An image is listed once, and folders are searched in order.
    assert ImageFolder([*images.files[2:0:-1], images.files[2]]).paths == ["02.png", "01.png"]
    assert ImageFolder(images.files[2], images.root).paths == images.paths
    part = images[[4, 1, 4]]
    assert embed(part, "pixels", store=tmp_path).paths == part.paths


def test_images_in_pipelines(images: ImageFolder) -> None:
    y = np.arange(12) % 2
    model = make_pipeline(Pixels(), linear_model.LogisticRegression())
    assert cross_val_score(model, images, y, cv=3).tolist() == [1, 1, 1]
    assert cross_val_score(model, images.files, y, cv=3).tolist() == [1, 1, 1]
    found = GridSearchCV(model, {"logisticregression__C": [1, 10]}, cv=2).fit(images, y)
    assert found.predict(images[[1, 0]]).tolist() == [1, 0]
