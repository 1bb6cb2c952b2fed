import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import clusterkit.clusterers
from clusterkit.clusterers import (
    CLUSTERERS,
    HDBSCAN,
    AffinityPropagation,
    AgglomerativeClustering,
    ClusteringWarning,
    GaussianMixture,
    SpectralClustering,
    base,
    centers_of,
    kmeans_sweep,
)
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.scaling import scale_rows


@pytest.fixture(scope="module")
def directions():
    """Five tight bundles of directions, with unequal sizes and any lengths, and their labels."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), [60, 50, 40, 30, 20])
    X = rng.normal(size=(5, 80))[truth] + 0.2 * rng.normal(size=(200, 80))
    order = rng.permutation(200)
    return (X * rng.uniform(0.1, 10, size=(200, 1)))[order], truth[order]


def create(name, n_clusters=5):
    """Build a clusterer, with a number of clusters and a seed if it has these parameters."""
    estimator = CLUSTERERS[name]()
    wanted = {"n_clusters": n_clusters, "random_state": 0}
    known = estimator.get_params()
    return estimator.set_params(**{key: wanted[key] for key in wanted if key in known})


# The checks use such small sets that some of our warnings apply.
@pytest.mark.filterwarnings("ignore::clusterkit.clusterers.ClusteringWarning")
@parametrize_with_checks([CLUSTERERS[name]() for name in CLUSTERERS])
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
def test_far_from_the_origin(name):
    # With more groups, spectral clustering of old versions of SciPy depends on the seed.
    X, truth = make_blobs(200, centers=2, cluster_std=0.3, random_state=0)
    labels = create(name, 2).set_params(normalize=False).fit_predict(X + 1e5)
    assert adjusted_rand_score(truth, labels) == 1


@pytest.mark.parametrize("name", CLUSTERERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_number_types(name, dtype, directions):
    X, truth = directions
    labels = create(name).fit_predict((X * 1000).astype(dtype))
    assert adjusted_rand_score(truth, labels) == 1


@pytest.mark.parametrize("name", CLUSTERERS)
def test_truth_values_are_numbers(name):
    X = np.random.default_rng(0).random((60, 12)) < 0.5
    X[:, 0] = True
    model = create(name, n_clusters=3)
    labels = model.fit_predict(X)
    np.testing.assert_array_equal(labels, clone(model).fit_predict(X.astype(np.float32)))
    if hasattr(model, "predict"):
        np.testing.assert_array_equal(model.predict(X), model.predict(X.astype(np.float32)))


@pytest.mark.parametrize("name", CLUSTERERS)
def test_read_only_memory_map(name, directions, tmp_path):
    X, truth = directions
    np.save(tmp_path / "X.npy", X.astype(np.float32))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert adjusted_rand_score(truth, create(name).fit_predict(mapped)) == 1


@pytest.mark.parametrize("normalize", [False, True, "sqrt"])
def test_what_is_no_matrix_is_not_scaled(normalize):
    masked = np.ma.MaskedArray(np.eye(3), np.eye(3) > 0)
    for wrong in (csr_array(np.eye(3)), masked, "vectors.npy", ["a.png"]):
        with pytest.raises(InvalidInputError):
            scale_rows(wrong, normalize)


@pytest.mark.parametrize("name", CLUSTERERS)
def test_rows_are_compared_by_their_square_roots_if_asked(name, unsure_predictions):
    rows = np.vstack([unsure_predictions, unsure_predictions[:, ::-1]])
    model = create(name, 2).set_params(normalize="sqrt")
    labels = create(name, 2).fit_predict(np.sqrt(rows))
    np.testing.assert_array_equal(model.fit_predict(rows), labels)
    if hasattr(model, "predict"):
        np.testing.assert_array_equal(model.predict(rows[:3]), model.labels_[:3])
    with pytest.raises(InvalidInputError, match=r"not negative\. Received: -1"):
        model.fit(-rows / rows.max())
    with pytest.raises(InvalidInputError, match=r"True, False or 'sqrt'\. Received: 'root'"):
        model.set_params(normalize="root").fit(rows)


@pytest.mark.parametrize("name", CLUSTERERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_are_refused(name, value, dtype):
    X = np.eye(9000, 2, dtype=dtype)
    X[8500, 1] = value
    model = create(name)
    with pytest.raises(InvalidInputError, match=r"^X must be finite.* NaN or infinity in row 8500"):
        model.fit(X)
    if hasattr(model, "predict"):
        model.fit(np.random.default_rng(0).normal(size=(9, 2)))
        with pytest.raises(InvalidInputError, match=r"^X must be finite.* in row 8500"):
            model.predict(X)


@pytest.mark.parametrize("name", ["agglomerative", "hdbscan", "spectral", "gaussian-mixture"])
def test_one_row_is_refused(name):
    with pytest.raises(InvalidInputError, match=r"needs at least 2 rows\. Received: n_samples=1"):
        create(name, n_clusters=1).fit([[3.0, 4.0]])


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
@pytest.mark.parametrize("name", CLUSTERERS)
def test_identical_rows_are_alike(name):
    labels = create(name, n_clusters=2).fit_predict(np.ones((30, 4)))
    assert len(set(labels)) == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CLUSTERERS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", ["few of many", "many of few", "in between", "zeros"])
def test_equal_rows_are_in_one_cluster(name, normalize, kind):
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(20, 6)).astype(np.float32)
    rows = np.repeat(kinds, rng.integers(1, 5, 20), axis=0)
    if kind == "many of few":
        rows = np.repeat(kinds[:4], 25, axis=0)
    elif kind == "in between":
        rows = np.vstack(
            [np.repeat([[-1, 0], [1, 0]], 20, axis=0), np.repeat([[0, 1]], 21, axis=0)]
        )
    elif kind == "zeros":
        rows[:7] = [[0.0], [-0.0], [0.0], [-0.0], [0.0], [0.0], [-0.0]]
    rows = rng.permutation(rows).astype(np.float32)
    for n_clusters in (2, 7, len(rows) - 1):
        model = create(name, n_clusters).set_params(normalize=normalize).fit(rows)
        _, numbers = np.unique(rows, axis=0, return_inverse=True)
        numbers = numbers.ravel()  # a column in NumPy 2.0
        for number in range(numbers.max() + 1):
            assert len(set(model.labels_[numbers == number].tolist())) == 1
        found = model.labels_[model.labels_ >= 0]
        assert set(found.tolist()) == set(range(len(set(found.tolist()))))
        if hasattr(model, "predict"):
            np.testing.assert_array_equal(model.predict(rows), model.labels_)


def test_labels_of_equal_rows_are_united():
    first = np.array([0, 0, 0, 3, 3, 5, 0])
    labels = np.array([2, 1, 1, 4, 0, 2, -1], np.int32)
    # The most frequent label, the lowest on ties.
    assert base.unite_equal(labels, first).tolist() == [1, 1, 1, 0, 0, 2, 1]


@pytest.mark.parametrize("name", sorted(set(CLUSTERERS) - {"hdbscan"}))
def test_fewer_different_rows_than_clusters_are_warned_of(name):
    rows = np.repeat(np.tri(4)[:3], 6, axis=0)
    with pytest.warns(ClusteringWarning, match="only 3 different rows"):
        model = create(name, n_clusters=5).fit(rows)
    assert sorted(np.bincount(model.labels_).tolist()) == [6, 6, 6]


SCALES = [
    (1e20, np.float32),
    (1e-30, np.float32),
    (3e-42, np.float32),
    (1e37, np.float64),
    (1e-200, np.float64),
    (5e-320, np.float64),
]


@pytest.mark.filterwarnings("ignore::clusterkit.clusterers.ClusteringWarning")
@pytest.mark.parametrize("name", CLUSTERERS)
@pytest.mark.parametrize("normalize", [True, False])
def test_the_scale_of_the_rows_does_not_matter(name, normalize):
    X, _ = make_blobs([30, 20, 15], centers=[[5, 5, 0], [1, 0, 2], [0, 6, 1]], random_state=0)
    X = (X - X.min()) / np.ptp(X)
    new = X[::7] * 1.01
    model = create(name, n_clusters=3).set_params(normalize=normalize)
    expected = clone(model).fit(X)
    for scale, dtype in SCALES:
        rows = (X * scale).astype(dtype)
        found = clone(model).fit(rows)
        # Values near zero have only a few exact digits.
        is_exact = scale > 1e-310 and (scale > 1e-37 or dtype == np.float64)
        agreement = adjusted_rand_score(expected.labels_, found.labels_)
        assert agreement == 1 if is_exact else agreement > 0.9, (scale, dtype)
        if hasattr(model, "predict") and is_exact:
            labels = found.predict((new * scale).astype(dtype))
            assert adjusted_rand_score(expected.predict(new), labels) == 1
        if not normalize and hasattr(found, "cluster_centers_") and is_exact:
            centers = np.sort(np.asarray(found.cluster_centers_, float) / scale, axis=0)
            wanted = np.sort(expected.cluster_centers_, axis=0)
            np.testing.assert_allclose(centers, wanted, rtol=1e-4)


def test_measures_are_on_the_scale_of_the_rows():
    X, _ = make_blobs([60, 40], centers=[[5, 5], [50, 50]], random_state=0)
    for name in ("kmeans", "minibatch-kmeans"):
        model = create(name, 2).set_params(normalize=False)
        small, large = clone(model).fit(X), clone(model).fit(X * 1e20)
        assert large.inertia_ == pytest.approx(small.inertia_ * 1e40, rel=1e-4)
        # Sums of squares in float32; their rounding depends on the processor.
        assert large.score(X * 1e20) == pytest.approx(small.score(X) * 1e40, rel=1e-4)
        distances = small.transform(X) * 1e20
        np.testing.assert_allclose(large.transform(X * 1e20), distances, rtol=1e-3)
    model = AffinityPropagation(preference=-50.0, normalize=False, random_state=0)
    large = clone(model).set_params(preference=-50e40).fit(X * 1e20)
    np.testing.assert_array_equal(large.labels_, model.fit(X).labels_)
    assert large.preference_ == pytest.approx(-50e40)
    points = [
        kmeans_sweep(X * scale, [2, 3], normalize=False, random_state=0) for scale in (1, 1e20)
    ]
    for one, two in zip(*points, strict=True):
        np.testing.assert_array_equal(one.labels, two.labels)
        assert two.inertia == pytest.approx(one.inertia * 1e40, rel=1e-5)


def test_rows_far_beyond_those_fitted_are_refused():
    X, _ = make_blobs([60, 40], centers=[[5, 5], [50, 50]], random_state=0)
    for name in ("kmeans", "minibatch-kmeans", "gaussian-mixture", "affinity-propagation"):
        model = create(name, 2).set_params(normalize=False).fit(X)
        with pytest.raises(InvalidInputError, match="too large beside those that were fitted"):
            model.predict(X * 1e25)


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
    with pytest.warns(ClusteringWarning, match="5 components, more than n_clusters=2"):
        SpectralClustering(2, n_neighbors=5, random_state=0).fit(directions[0])


def test_a_spectral_cluster_per_row_is_refused():
    with pytest.raises(InvalidInputError, match=r"more rows than clusters.*n_clusters=8, n_s"):
        SpectralClustering(8).fit(np.eye(8))


def test_linkage_is_passed_on(directions):
    model = AgglomerativeClustering(5, linkage="average").fit(directions[0])
    assert model.model_.linkage == "average"


def test_distances_of_all_pairs_must_fit_in_memory(directions, monkeypatch):
    monkeypatch.setattr(base, "available_memory", lambda: 300_000)
    message = r"about 0.0 GB .* n_samples=200, and 0.0 GB are available; use linkage=\"single\""
    with pytest.raises(InvalidInputError, match=message):
        AgglomerativeClustering(5).fit(directions[0])
    AgglomerativeClustering(5, linkage="single").fit(directions[0])


@pytest.mark.parametrize(
    "model",
    [
        AgglomerativeClustering(linkage="far"),
        GaussianMixture(n_init=0),
        GaussianMixture(covariance_type="far"),
        GaussianMixture(n_coordinates=0),
        SpectralClustering(n_neighbors=0),
        HDBSCAN(min_samples=0),
    ],
    ids=lambda model: str(model).partition("(")[2],
)
def test_parameters_out_of_range_are_named(model):
    with pytest.raises(InvalidInputError, match=r"must be an? (str|int).* (Got|Received)"):
        model.fit(np.eye(20))


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
