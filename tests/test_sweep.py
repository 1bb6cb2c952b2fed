import numpy as np
import pytest
from sklearn.cluster import KMeans as ReferenceKMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from clusterkit.clusterers import ClusteringWarning, KMeans, kmeans_sweep
from clusterkit.errors import InvalidInputError


@pytest.fixture(scope="module")
def digits():
    return load_digits().data.astype(np.float32)


@pytest.fixture(scope="module")
def points(digits):
    return kmeans_sweep(digits, random_state=0)


def test_one_point_for_each_k(points, digits):
    assert [point.n_clusters for point in points] == list(range(2, 21))
    for point in points:
        assert point.labels.shape == (len(digits),)
        assert set(point.labels) == set(range(point.n_clusters))
        assert point.cluster_centers.shape == (point.n_clusters, 64)


def test_inertia_belongs_to_labels_and_centers(points, digits):
    unit = normalize(digits.astype(float))
    for point in points:
        gaps = unit - point.cluster_centers[point.labels]
        assert point.inertia == pytest.approx((gaps**2).sum(), rel=1e-5)
        for label in range(point.n_clusters):
            mean = unit[point.labels == label].mean(axis=0)
            assert point.cluster_centers[label] == pytest.approx(mean, abs=1e-5)


def test_as_good_as_many_runs_of_scikit_learn(points, digits):
    unit, ks = normalize(digits), (3, 8, 10, 17)
    reference = sum(ReferenceKMeans(k, n_init=5, random_state=0).fit(unit).inertia_ for k in ks)
    ours = sum(point.inertia for point in points if point.n_clusters in ks)
    assert ours <= 1.001 * reference


@pytest.mark.parametrize("n_features", [2, 100])
@pytest.mark.parametrize("seed", range(3))
def test_curve_never_rises_even_to_as_many_clusters_as_rows(n_features, seed):
    X = np.random.default_rng(seed).normal(size=(40, n_features))
    inertias = [p.inertia for p in kmeans_sweep(X, range(2, 41), random_state=seed, n_init=1)]
    assert (np.diff(inertias) <= 0).all()
    assert inertias[-1] == pytest.approx(0, abs=1e-6)


def test_same_result_on_any_number_of_threads(digits):
    with threadpool_limits(1):
        one = kmeans_sweep(digits[:500], [2, 5, 9], random_state=1)
    with threadpool_limits(2):
        two = kmeans_sweep(digits[:500], [2, 5, 9], random_state=1)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.cluster_centers, b.cluster_centers)
        assert a.inertia == b.inertia


def test_agrees_with_kmeans(points, digits):
    alone = KMeans(10, random_state=0).fit(digits)
    assert points[8].inertia == pytest.approx(alone.inertia_, rel=2e-3)


def test_weights_and_lengths():
    centers = [[1, 9], [9, 1], [9, 9]]
    X, _ = make_blobs([30, 30, 30], centers=centers, shuffle=False, random_state=0)
    weights = np.repeat([1.0, 1.0, 0.0], 30)
    (point,) = kmeans_sweep(X, [2], normalize=False, sample_weight=weights, random_state=0)
    groups = [X[:30], X[30:60]]
    assert point.inertia == pytest.approx(sum(((g - g.mean(0)) ** 2).sum() for g in groups))


def test_descending_range_and_repeats_come_back_ascending():
    X = np.random.default_rng(0).normal(size=(30, 3))
    points = kmeans_sweep(X, [5, 3, 2, 3], random_state=0)
    assert [point.n_clusters for point in points] == [2, 3, 5]


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (range(20, 2), r"n_clusters must hold at least one number.*range\(20, 2\)"),
        ([1, 2], "at least 2. Received: n_clusters=1"),
        (range(2, 12), "n_clusters=9, n_samples=8"),
        ([2.5], "n_clusters=2.5"),
    ],
)
def test_bad_range_is_named(k, message):
    with pytest.raises(InvalidInputError, match=message):
        kmeans_sweep(np.eye(8), k)


@pytest.mark.parametrize(
    ("X", "message"),
    [([[1.0, 2.0]], "n_clusters=2, n_samples=1"), ([[1, np.nan]] * 30, "NaN")],
)
def test_bad_rows_are_named(X, message):
    with pytest.raises(InvalidInputError, match=message):
        kmeans_sweep(X)


def test_identical_rows_warn_once_and_lie_flat():
    with pytest.warns(ClusteringWarning, match="only 1 different rows") as caught:
        points = kmeans_sweep(np.ones((30, 5)), range(2, 6), random_state=0)
    assert len(caught) == 1
    assert [point.inertia for point in points] == pytest.approx([0] * 4, abs=1e-9)


def test_zero_rows_are_named():
    X = np.vstack([np.eye(8), np.zeros((1, 8))])
    with pytest.warns(ClusteringWarning, match="1 of 9 rows are zero .* row 8") as caught:
        kmeans_sweep(X, [2, 3], random_state=0)
    assert caught[0].filename == __file__


def test_tiny_clusters_warn_once():
    X, _ = make_blobs([200, 200, 1], centers=[[0, 0], [9, 9], [999, 0]], random_state=0)
    with pytest.warns(ClusteringWarning, match="k=2: one of 2|k=2: 1 of 2") as caught:
        kmeans_sweep(X, range(2, 6), normalize=False, random_state=0)
    assert len(caught) == 1
