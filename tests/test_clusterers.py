import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import clusterkit.clusterers
from clusterkit.clusterers import (
    CLUSTERERS,
    HDBSCAN,
    AgglomerativeClustering,
    ClusteringWarning,
    GaussianMixture,
    SpectralClustering,
    centers_of,
)
from clusterkit.errors import InvalidInputError


@pytest.fixture(scope="module")
def directions():
    """Five tight bundles of directions of unequal size, of all lengths, and their truth."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), [60, 50, 40, 30, 20])
    X = rng.normal(size=(5, 80))[truth] + 0.2 * rng.normal(size=(200, 80))
    order = rng.permutation(200)
    return (X * rng.uniform(0.1, 10, size=(200, 1)))[order], truth[order]


def create(name, n_clusters=5):
    """Build a clusterer, with a number of clusters and a seed where it takes them."""
    estimator = CLUSTERERS.create(name)
    wanted = {"n_clusters": n_clusters, "random_state": 0}
    known = estimator.get_params()
    return estimator.set_params(**{key: wanted[key] for key in wanted if key in known})


# Checks use sets so small that some of our warnings are true.
@pytest.mark.filterwarnings("ignore::clusterkit.clusterers.ClusteringWarning")
@parametrize_with_checks([CLUSTERERS.create(name) for name in CLUSTERERS])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", CLUSTERERS)
def test_finds_directions_whatever_the_lengths(name, directions):
    X, truth = directions
    assert adjusted_rand_score(truth, create(name).fit_predict(X)) == 1


@pytest.mark.parametrize("name", sorted(set(CLUSTERERS) - {"affinity-propagation"}))
def test_clusters_are_numbered_from_the_largest(name, directions):
    X, truth = directions
    np.testing.assert_array_equal(create(name).fit_predict(X), truth)


@pytest.mark.parametrize("name", CLUSTERERS)
def test_same_seed_same_labels(name, directions):
    X, _ = directions
    model = create(name, n_clusters=8)
    np.testing.assert_array_equal(model.fit_predict(X), clone(model).fit_predict(X))


@pytest.mark.parametrize("name", CLUSTERERS)
def test_normalize_off(name):
    X, truth = make_blobs([60, 40], centers=[[5, 5], [50, 50]], random_state=0)
    labels = create(name, n_clusters=2).set_params(normalize=False).fit_predict(X)
    assert len(set(labels[truth == 0]) & set(labels[truth == 1])) == 0


@pytest.mark.parametrize("name", CLUSTERERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_number_types(name, dtype, directions):
    X, truth = directions
    labels = create(name).fit_predict((X * 1000).astype(dtype))
    assert adjusted_rand_score(truth, labels) == 1


@pytest.mark.parametrize("name", CLUSTERERS)
def test_read_only_memory_map(name, directions, tmp_path):
    X, truth = directions
    np.save(tmp_path / "X.npy", X.astype(np.float32))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert adjusted_rand_score(truth, create(name).fit_predict(mapped)) == 1


@pytest.mark.parametrize("name", CLUSTERERS)
def test_nan_and_infinity_are_refused(name):
    for value in (np.nan, np.inf):
        X = np.eye(20)
        X[3, 3] = value
        with pytest.raises(InvalidInputError, match=r"NaN|infinity"):
            create(name).fit(X)


@pytest.mark.parametrize("name", CLUSTERERS)
def test_more_clusters_than_rows(name):
    model = create(name, n_clusters=9)
    if "n_clusters" not in model.get_params():
        pytest.skip("finds the number itself")
    with pytest.raises(InvalidInputError, match="n_clusters=9, n_samples=8"):
        model.fit(np.eye(8))


@pytest.mark.parametrize("name", CLUSTERERS)
def test_zero_rows_are_warned_of_or_stay_apart(name, directions):
    X, truth = directions
    X = np.vstack([X, np.zeros((1, X.shape[1]))])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labels = create(name).fit_predict(X)
    assert any("1 of 201 rows are zero" in str(w.message) for w in caught)
    assert adjusted_rand_score(truth, labels[:-1]) > 0.9


@pytest.mark.filterwarnings("ignore::clusterkit.clusterers.ClusteringWarning")
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.filterwarnings("ignore:All samples have mutually equal similarities")
@pytest.mark.parametrize("name", sorted(set(CLUSTERERS) - {"agglomerative", "spectral"}))
def test_identical_rows_are_alike(name):
    labels = create(name, n_clusters=2).fit_predict(np.ones((30, 4)))
    assert len(set(labels)) == 1


def test_centers_of():
    X = np.array([[1.0, 1], [3, 1], [9, 9], [5, 5]], dtype=np.float32)
    centers = centers_of(X, [0, 0, -1, 2])
    np.testing.assert_array_equal(centers, [[2, 1], [np.nan, np.nan], [5, 5]])
    assert centers_of(X, [-1] * 4).shape == (0, 2)
    with pytest.raises(InvalidInputError, match="3 labels, 4 rows"):
        centers_of(X, [0, 0, 0])


def test_noise_keeps_its_label():
    X, truth = make_blobs([60, 40], centers=[[0, 0], [30, 30]], random_state=0)
    stray = [[-500, 0], [0, 900], [800, -800]]
    labels = HDBSCAN(normalize=False).fit_predict(np.vstack([X, stray]))
    assert labels[-3:].tolist() == [-1] * 3
    found = labels[:-3] >= 0
    np.testing.assert_array_equal(labels[:-3][found], truth[found])
    assert found.mean() > 0.9


def test_nothing_but_noise():
    X = np.random.default_rng(0).normal(size=(30, 5))
    assert set(HDBSCAN(20).fit_predict(X)) == {-1}


def test_mixture_predicts_what_it_labelled(directions):
    X, truth = directions
    model = GaussianMixture(5, random_state=0).fit(X)
    np.testing.assert_array_equal(model.predict(X[:30]), truth[:30])
    chances = model.predict_proba(X)
    assert chances.sum(axis=1) == pytest.approx(1)
    np.testing.assert_array_equal(chances.argmax(axis=1), model.labels_)


def test_graph_in_too_many_parts_is_warned_of(directions):
    with pytest.warns(ClusteringWarning, match="5 parts, more than n_clusters=2"):
        SpectralClustering(2, n_neighbors=5, random_state=0).fit(directions[0])


def test_linkage_is_passed_on(directions):
    model = AgglomerativeClustering(5, linkage="average").fit(directions[0])
    assert model.model_.linkage == "average"


def test_unknown_name_lists_the_known():
    with pytest.raises(InvalidInputError, match=r"kmeans, .*Received: 'k-means'"):
        CLUSTERERS["k-means"]


def test_all_names_load():
    for name in clusterkit.clusterers.__all__:
        assert getattr(clusterkit.clusterers, name) is not None
    with pytest.raises(AttributeError, match="NoSuchThing"):
        clusterkit.clusterers.NoSuchThing  # noqa: B018


def test_the_table_imports_nothing_heavy():
    code = "import sys, clusterkit.clusterers; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
