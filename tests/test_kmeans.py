import tracemalloc

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, ward
from sklearn.cluster import KMeans as ReferenceKMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from clusterkit.clusterers import ClusteringWarning, KMeans, MiniBatchKMeans
from clusterkit.clusterers.kmeans import restarts
from clusterkit.clusterers.kmeans.lloyd import sum_clusters
from clusterkit.clusterers.kmeans.restarts import Search, mean_silhouette, merge_centers
from clusterkit.clusterers.principal_axes import principal_axes
from clusterkit.errors import InvalidInputError


@pytest.fixture(scope="module")
def digits():
    return load_digits().data.astype(np.float32)


@pytest.fixture(scope="module")
def wide():
    """Noisy directions in more dimensions than the search uses."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(7, 200))
    return np.repeat(centers, 60, axis=0) + rng.normal(size=(420, 200)), np.repeat(range(7), 60)


def test_finds_clusters_in_many_dimensions(wide):
    X, truth = wide
    labels = KMeans(7, random_state=0).fit_predict(X)
    assert adjusted_rand_score(truth, labels) == 1


def test_as_good_as_scikit_learn_on_normalised_rows(digits):
    reference = ReferenceKMeans(10, n_init=10, random_state=0).fit(normalize(digits))
    ours = KMeans(10, random_state=0).fit(digits)
    assert ours.inertia_ <= 1.001 * reference.inertia_


def test_inertia_is_the_sum_of_squared_distances(digits):
    model = KMeans(10, random_state=0).fit(digits)
    gaps = normalize(digits.astype(float)) - model.cluster_centers_[model.labels_]
    assert model.inertia_ == pytest.approx((gaps**2).sum(), rel=1e-5)
    assert model.score(digits) == pytest.approx(-model.inertia_, rel=1e-4)
    assert model.transform(digits).min(axis=1) ** 2 == pytest.approx(
        (gaps**2).sum(axis=1), abs=1e-5
    )


def test_all_seeds_find_the_same_clustering(digits):
    inertias = [KMeans(10, random_state=seed).fit(digits).inertia_ for seed in range(5)]
    assert max(inertias) <= 1.001 * min(inertias)


def test_mean_silhouette_is_that_of_scikit_learn(wide):
    X = wide[0].astype(np.float32)
    distances = np.linalg.norm(X[:, None] - X, axis=2)
    weights = np.ones(len(X), np.float32)
    # Clusters of about 60, of one, and an empty one.
    for labels in (wide[1], np.where(np.arange(len(X)) == 5, 9, wide[1])):
        expected = silhouette_score(X, labels)
        assert mean_silhouette(distances, weights, labels) == pytest.approx(expected, abs=1e-5)
    assert mean_silhouette(distances, weights, np.zeros(len(X), int)) == 0


def test_the_clearer_of_nearly_equal_solutions_is_chosen(wide):
    X = (wide[0] - wide[0].mean(axis=0)).astype(np.float32)
    search = Search(X, np.ones(len(X), np.float32), seed=0)
    right = search.finish(search.start(7, 5)[0])
    wrong = right._replace(labels=np.roll(right.labels, 9))
    clear = right._replace(inertia=right.inertia * 1.0009)
    assert search.choose([wrong, clear]) is clear
    far = right._replace(inertia=right.inertia * 1.0011)
    assert search.choose([wrong, far]) is wrong


@pytest.mark.parametrize("rows", [slice(None), slice(0, 300)])
def test_same_result_on_any_number_of_threads(wide, rows):
    X = np.tile(wide[0], (12, 1)) + np.random.default_rng(1).normal(size=(5040, 200))
    results = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads):
            results.append(KMeans(9, random_state=3).fit(X[rows]))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].labels_, other.labels_)
        np.testing.assert_array_equal(results[0].cluster_centers_, other.cluster_centers_)
        assert results[0].inertia_ == other.inertia_


def test_labels_are_numbered_from_the_largest_cluster():
    X, _ = make_blobs([20, 50, 30], centers=[[0, 0], [9, 9], [0, 9]], random_state=0)
    labels = KMeans(3, normalize=False, random_state=0).fit_predict(X)
    assert np.bincount(labels).tolist() == [50, 30, 20]


def test_weights_count_as_repetitions(digits):
    weights = np.random.default_rng(0).integers(0, 4, 300)
    weighted = KMeans(5, random_state=0).fit(digits[:300], sample_weight=weights)
    repeated = KMeans(5, random_state=0).fit(np.repeat(digits[:300], weights, axis=0))
    assert weighted.inertia_ == pytest.approx(repeated.inertia_, rel=1e-6)
    np.testing.assert_allclose(
        weighted.cluster_centers_, repeated.cluster_centers_, atol=1e-5, rtol=1e-4
    )
    assert len(weighted.labels_) == 300


def test_length_is_ignored_unless_normalize_is_off():
    X = np.array([[1, 0], [100, 1], [0, 1], [1, 100]])
    assert KMeans(2, random_state=0).fit_predict(X).tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    labels = KMeans(3, normalize=False, random_state=0).fit_predict(X)
    assert labels[0] == labels[2] != labels[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32, np.uint8])
def test_any_number_type(digits, dtype):
    expected = KMeans(4, random_state=0).fit(digits[:200])
    model = KMeans(4, random_state=0).fit(digits[:200].astype(dtype))
    assert model.cluster_centers_.dtype == np.float32
    np.testing.assert_array_equal(model.labels_, expected.labels_)


def test_read_only_memory_map(tmp_path, digits):
    np.save(tmp_path / "X.npy", digits)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        KMeans(4, random_state=0).fit_predict(mapped),
        KMeans(4, random_state=0).fit_predict(digits),
    )


@pytest.mark.parametrize("normalize", [True, False])
def test_input_is_left_alone(digits, normalize):
    before = digits.copy()
    KMeans(4, normalize=normalize, random_state=0).fit(digits)
    np.testing.assert_array_equal(digits, before)


def test_one_copy_of_the_rows_is_made():
    X = np.random.default_rng(0).standard_normal((40_000, 200), np.float32)
    tracemalloc.start()
    with threadpool_limits(1):  # each thread holds a few thousand rows
        KMeans(2, n_init=1, random_state=0).fit(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.2 * X.nbytes


@pytest.mark.parametrize("n_features", [3, 100])
@pytest.mark.parametrize("value", [0.1, 1.0, 1e6])
def test_identical_rows_are_one_cluster(n_features, value):
    X = np.full((20, n_features), value)
    with pytest.warns(ClusteringWarning, match="only 1 different rows, fewer than n_clusters=3"):
        model = KMeans(3, random_state=0).fit(X)
    assert set(model.labels_) == {0}
    assert model.inertia_ == pytest.approx(0, abs=1e-9)


def test_fewer_different_rows_than_clusters():
    X = np.repeat(np.eye(4, 70), [5, 4, 3, 2], axis=0)
    with pytest.warns(ClusteringWarning, match="only 4 different rows"):
        model = KMeans(6, random_state=0).fit(X)
    assert model.labels_.tolist() == [0] * 5 + [1] * 4 + [2] * 3 + [3] * 2


def test_as_many_clusters_as_rows(wide):
    X = wide[0][:30]
    model = KMeans(30, random_state=0).fit(X)
    assert sorted(model.labels_) == list(range(30))
    assert model.inertia_ == pytest.approx(0, abs=1e-6)


def test_one_row_and_one_cluster():
    model = KMeans(1).fit([[3.0, 4.0]])
    assert model.labels_.tolist() == [0]
    assert model.cluster_centers_ == pytest.approx(np.array([[0.6, 0.8]]))


def test_zero_rows_are_named():
    X = [[1, 0], [1, 0.1], [0, 0], [0, 1]]
    with pytest.warns(ClusteringWarning, match="1 of 4 rows are zero .* the first is row 2"):
        labels = KMeans(3, random_state=0).fit_predict(X)
    assert labels[0] == labels[1]
    assert len(set(labels)) == 3


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (np.eye(3), {"n_clusters": 4}, "n_clusters=4, n_samples=3"),
        (np.eye(3), {"n_clusters": 0}, "at least 1. Received: n_clusters=0"),
        (np.eye(3), {"n_clusters": 2.5}, "n_clusters=2.5"),
        (np.eye(3), {"n_clusters": 2, "n_init": 0}, "n_init=0"),
        (np.eye(3), {"n_clusters": 2, "max_iter": 0}, "max_iter=0"),
        ([[1.0, np.nan]], {"n_clusters": 1}, "NaN"),
        ([[1.0, np.inf]], {"n_clusters": 1}, "infinity"),
        ([[1e300, 1.0]], {"n_clusters": 1}, "1e\\+300"),
        ([1.0, 2.0], {"n_clusters": 1}, "2D array"),
        (np.empty((0, 3)), {"n_clusters": 1}, "0 sample"),
    ],
)
def test_bad_input_is_named(X, parameters, message):
    with pytest.raises(InvalidInputError, match=message):
        KMeans(**parameters).fit(X)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1], "n_samples=3"),
        ([1, 1, -1], "-1"),
        ([0, 0, 0], "not all zero"),
        ([1, 1, np.nan], "finite"),
        ([1, 1, 1e39], "finite.* Received: 1.0 to inf"),
        (["a", "b", "c"], "one number per row. Received: could not convert"),
    ],
)
def test_bad_weights_are_named(weights, message):
    for clusterer in (KMeans(2), MiniBatchKMeans(2)):
        with pytest.raises(InvalidInputError, match=message):
            clusterer.fit(np.eye(3), sample_weight=weights)


def test_tiny_cluster_is_warned_of():
    X, _ = make_blobs([100, 100, 1], centers=[[0, 0], [9, 9], [99, 99]], random_state=0)
    with pytest.warns(ClusteringWarning, match="1 of 3 clusters hold 1 or fewer of 201 rows"):
        KMeans(3, normalize=False, random_state=0).fit(X)


def test_grossly_unequal_clusters_are_warned_of():
    X, _ = make_blobs([1000, 30, 30], centers=[[0, 0], [9, 9], [9, 0]], random_state=0)
    with pytest.warns(ClusteringWarning, match="one of 3 clusters holds 1,000 of 1,060"):
        KMeans(3, normalize=False, random_state=0).fit(X)


@pytest.mark.parametrize("n", [50, 9000])
def test_weighted_sums_of_few_and_of_many_rows(n):
    rng = np.random.default_rng(0)
    X, weights = rng.random((n, 3), np.float32), rng.random(n, np.float32)
    # The fourth cluster is empty.
    labels = rng.integers(3, size=n).astype(np.int32)
    totals, sizes = sum_clusters(X, weights, labels, 4)
    of = [labels == cluster for cluster in range(4)]
    assert totals == pytest.approx(np.array([weights[rows] @ X[rows] for rows in of]), rel=1e-4)
    assert sizes == pytest.approx(np.array([weights[rows].sum() for rows in of]), rel=1e-4)


def test_principal_axes_of_few_rows_of_low_rank_span_them() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((55, 8)) @ rng.standard_normal((8, 1000))
    rows = (rows - rows.mean(axis=0)).astype(np.float32)
    axes = principal_axes(rows, np.ones(55, np.float32), 64, rng)
    assert axes.shape == (1000, 64)
    np.testing.assert_allclose(axes.T @ axes, np.eye(64), atol=1e-4)
    np.testing.assert_allclose(rows @ axes[:, :8] @ axes[:, :8].T, rows, atol=1e-2)


def test_merging_measures_each_pair_about_once(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 8)).astype(np.float32)
    measured = []
    distances = restarts._distances

    def count(rows, squares, centers):
        measured.append(len(rows) * len(centers))
        return distances(rows, squares, centers)

    monkeypatch.setattr(restarts, "_distances", count)
    merged = merge_centers(X, np.ones(200), 5)
    labels = fcluster(ward(X), 5, "maxclust")
    means = np.array([X[labels == label].mean(axis=0) for label in np.unique(labels)])
    assert np.allclose(np.sort(merged, axis=0), np.sort(means, axis=0), atol=1e-6)
    assert sum(measured) <= 2 * 200**2
