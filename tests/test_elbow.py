import json
import warnings

import numpy as np
import pytest
from sklearn.datasets import make_moons

from clusterkit.elbow import elbow_curve
from clusterkit.elbow.curve import prepare
from clusterkit.elbow.indices import (
    cloud_like,
    distances_between,
    find_groups,
    measure_valley,
)
from clusterkit.elbow.verdict import count_votes, find_peaks, judge, knee, may_be_more, rank
from clusterkit.errors import InvalidInputError
from clusterkit.store.embeddings import Embeddings

FEW = range(2, 9)


def blobs(k, n=240, d=64, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(k, d))
    return (centers[np.arange(n) % k] + rng.normal(size=(n, d)) / 2).astype(np.float32)


def half_circle(angles):
    return np.outer(np.cos(angles), np.eye(64)[0]) + np.outer(np.sin(angles), np.eye(64)[1])


def find(X, k=FEW, n_resamples=3, **options):
    return elbow_curve(X, k=k, random_state=0, n_resamples=n_resamples, **options)


@pytest.fixture(scope="module")
def five():
    return find(blobs(5))


@pytest.mark.parametrize("k", [2, 3, 7])
def test_finds_clearly_separated_clusters(k):
    assert find(blobs(k)).k == k


def test_finds_clusters_in_two_dimensions_around_the_origin():
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0], [9, 0], [0, 9], [-9, -9]])
    assert find(centers[np.arange(200) % 4] + rng.normal(size=(200, 2))).k == 4


@pytest.mark.parametrize(("k", "n"), [(3, 15), (5, 60), (20, 240)])
def test_small_clusters_of_few_rows_are_not_tied_to_each_other(k, n):
    assert find(blobs(k, n=n), k=range(2, min(n - 2, 24))).k == k


@pytest.mark.parametrize(
    "kind", ["gaussian", "uniform", "filament", "half circle", "ring", "helix", "moons"]
)
def test_one_cloud_has_no_clear_number(kind):
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(300, 64))
    turns = rng.uniform(0, 6 * np.pi, 300)
    clouds = {
        "gaussian": noise,
        "uniform": rng.uniform(size=(300, 64)),
        "filament": noise + np.outer(rng.uniform(-30, 30, 300), np.eye(64)[0]),
        "half circle": noise + 30 * half_circle(rng.uniform(0, np.pi, 300)),
        "ring": noise / 20 + half_circle(rng.uniform(0, 2 * np.pi, 300)),
        "helix": noise / 3 + 5 * half_circle(turns) + np.outer(turns, np.eye(64)[2]),
        # A known limit: groups are as compact as k-means makes them.
        "moons": make_moons(300, noise=0.05, random_state=0)[0],
    }
    curve = elbow_curve(clouds[kind], random_state=0, n_resamples=3)
    assert curve.k is None
    assert curve.verdict.startswith("No clear number of clusters: ")
    assert curve.confidence < 0.5
    assert curve.labels is None
    assert curve.levels == ()
    assert curve.probability.sum() < 0.5


def test_levels_are_nested_groups():
    rng = np.random.default_rng(0)
    # Three kinds far apart, with three species each.
    centers = np.repeat(4 * rng.normal(size=(3, 64)), 3, axis=0) + 1.5 * rng.normal(size=(9, 64))
    species = np.repeat(np.arange(9), 40)
    curve = elbow_curve(centers[species] + rng.normal(size=(360, 64)), random_state=0)
    levels = {level.n_clusters: level.labels for level in curve.levels}
    assert {3, 9} <= set(levels)
    assert curve.k in (3, 9)
    coarse, fine = levels[3], levels[9]
    assert len(set(zip(coarse.tolist(), species // 3, strict=True))) == 3
    assert len(set(zip(fine.tolist(), species, strict=True))) == 9
    assert len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == 9
    assert curve.to_dict()["levels"] == [
        {"k": level.n_clusters, "confidence": level.confidence} for level in curve.levels
    ]


@pytest.mark.parametrize("sizes", [[1000, 10], [200, 10], [400, 400, 8], [950, 10, 10, 10, 10, 10]])
def test_groups_of_very_unequal_size_are_counted(sizes):
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(len(sizes), 64))
    X = centers[np.repeat(np.arange(len(sizes)), sizes)] + rng.normal(size=(sum(sizes), 64)) / 2
    assert find(X).k == len(sizes)


def test_result_describes_every_number(five):
    assert five.k == 5
    assert five.confidence > 0.9
    assert five.verdict.startswith("5 clusters: they come back")
    assert five.n_clusters.tolist() == list(FEW)
    assert len(np.unique(five.labels)) == 5
    assert (np.diff(five.inertia) <= 0).all()
    assert set(five.votes) >= {"knee", "silhouette", "stability", "valley", "eigengap"}
    assert {five.votes[name] for name in ("silhouette", "stability", "eigengap")} == {5}
    chosen = five.n_clusters == 5
    assert five.probability[chosen] > 0.9
    assert five.probability.sum() == pytest.approx(1, abs=0.05)
    # Five groups without links between them, which are all found.
    assert five.conductance[chosen] == pytest.approx(0, abs=0.01)
    assert five.stability[chosen] == 1 > five.stability[-1]
    assert five.valley[chosen] > 0.3 > five.valley[-1]
    assert (five.chance_conductance[2:] > 0.1).all()


def test_silhouette_is_scikit_learns_in_few_dimensions():
    from sklearn.metrics import silhouette_score

    X = blobs(3, n=90, d=8)
    curve = find(X, k=[3], normalize=False)
    assert curve.silhouette[0] == pytest.approx(silhouette_score(X, curve.labels), abs=1e-4)


def test_to_dict_is_json_with_null_for_nan(five):
    found = json.loads(json.dumps(five.to_dict(), allow_nan=False))
    assert found["k"] == 5
    assert found["verdict"] == five.verdict
    assert [row["k"] for row in found["curve"]] == list(FEW)
    assert found["curve"][0]["inertia"] == pytest.approx(five.inertia[0])
    same = elbow_curve(np.ones((9, 4)), k=[2, 3])
    assert same.to_dict()["curve"][0]["silhouette"] is None


def test_same_seed_same_result_whatever_the_order_of_k():
    X = blobs(3, n=100)
    assert find(X, k=[4, 2, 3]).to_dict() == find(X, k=[2, 3, 4]).to_dict()


def test_embeddings_and_other_dtypes_give_the_same():
    X = np.round(blobs(3, n=90, d=8) * 100)
    X32 = X.astype(np.float32)
    X32.flags.writeable = False
    expected = find(X32, k=[2, 3]).to_dict()
    for other in (X.astype(np.float64), X.astype(np.int64), Embeddings(X32)):
        assert find(other, k=[2, 3]).to_dict() == expected


def test_costly_indices_use_a_sample():
    X = blobs(4, n=3000, d=8)
    curve = find(X, k=[3, 4, 5], max_samples=200)
    assert curve.k == 4
    assert len(curve.labels) == 3000


def test_by_default_the_range_grows_while_there_may_be_more():
    X = blobs(22, n=440, d=32)
    curve = elbow_curve(X, random_state=0, n_resamples=4)
    assert curve.k == 22
    assert curve.n_clusters.tolist() == list(range(2, 41))
    assert elbow_curve(X[:12], random_state=0, n_resamples=4).n_clusters[-1] == 12


def test_groups_beyond_the_range_are_suspected():
    curve = find(blobs(30, n=600), k=range(2, 13))
    assert curve.verdict.endswith("More than 12 were not tried: there may be more.")


def test_identical_rows_have_no_clear_number():
    curve = elbow_curve(np.ones((30, 5)), k=range(2, 6))
    assert curve.k is None
    assert "all rows are the same" in curve.verdict
    assert curve.inertia.tolist() == [0] * 4


@pytest.mark.parametrize(("k", "n_copies"), [(3, 20), (2, 40)])
def test_few_different_rows(k, n_copies):
    X = np.repeat(np.eye(3)[:k], n_copies, axis=0)
    assert find(X, k=range(2, 6)).k == k


def test_as_many_clusters_as_rows():
    curve = find(blobs(2, n=6), k=range(2, 7))
    assert curve.inertia[-1] == pytest.approx(0, abs=1e-5)
    assert np.isnan(curve.silhouette[-1])


def test_too_few_rows_for_subsamples():
    curve = find(np.array([[0.0, 1], [1, 0]]), k=[2])
    assert curve.k is None
    assert np.isnan(curve.stability).all()


def test_zero_rows_are_no_error():
    X = blobs(3, n=90)
    X[0] = 0
    assert find(X, k=[2, 3, 4], normalize=True).k == 3


@pytest.mark.parametrize(
    ("k", "message"),
    [
        ([], "at least one number of clusters"),
        (range(20, 2), "at least one number of clusters"),
        ([1, 2], "at least 2. Received: k=1"),
        ([2, 41], "k=41, n_samples=40"),
    ],
)
def test_wrong_numbers_of_clusters(k, message):
    with pytest.raises(InvalidInputError, match=message):
        elbow_curve(blobs(3, n=40), k=k)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(5), "Expected 2D array, got 1D array"),
        (np.zeros((0, 3)), r"shape=\(0, 3\)"),
        (np.array([[0, 1], [np.nan, 1], [1, 1]]), "row 1"),
        (np.array([[0, 1], [1, 1], [np.inf, 1]]), "row 2"),
        (np.ones((1, 4)), "at least 2 rows. Received: n_samples=1"),
    ],
)
def test_wrong_rows(X, message):
    with pytest.raises(InvalidInputError, match=message):
        elbow_curve(X, k=[2])


@pytest.mark.parametrize("option", [{"normalize": "yes"}, {"n_resamples": 0}, {"max_samples": 1}])
def test_wrong_options(option):
    with pytest.raises(InvalidInputError, match=f"Received.*{next(iter(option.values()))}"):
        elbow_curve(blobs(2, n=40), k=[2], **option)


@pytest.mark.parametrize("normalize", [True, False, "auto"])
def test_the_scale_of_the_rows_does_not_matter(normalize):
    X = blobs(3, n=60, d=2).astype(np.float64)
    options = {"k": [2, 3, 4], "normalize": normalize, "n_resamples": 4, "random_state": 0}
    expected = elbow_curve(X, **options)
    for scale, dtype in [(1e-30, np.float32), (1e-100, np.float64)]:
        curve = elbow_curve((X * scale).astype(dtype), **options)
        assert curve.k == expected.k
        if curve.labels is not None:
            np.testing.assert_array_equal(curve.labels, expected.labels)
        unit = 1 if normalize is True else scale
        np.testing.assert_allclose(curve.inertia / unit / unit, expected.inertia, rtol=1e-4)


@pytest.mark.parametrize("k", [5, 5.0, np.int64(3), 2.5])
def test_a_single_number_of_clusters_is_no_range(k):
    with pytest.raises(InvalidInputError, match=r"such as range\(2, 21\). Received: k="):
        elbow_curve(blobs(2, n=40), k=k)


def test_the_smallest_and_the_largest_number_are_tried():
    curve = elbow_curve(blobs(3, n=90), k_min=3, k_max=5, n_resamples=4, random_state=0)
    assert curve.n_clusters.tolist() == [3, 4, 5]
    few = elbow_curve(blobs(3, n=12), k_min=4, n_resamples=4, random_state=0)
    assert few.n_clusters.tolist() == list(range(4, 13))
    with pytest.raises(InvalidInputError, match="Received: k_min=9, k_max=5"):
        elbow_curve(blobs(3, n=90), k_min=9, k_max=5)


@pytest.mark.parametrize("X", [[["a", "b"]], [[1, 2], [3]], np.array([[1, 2j]]), None, "photos"])
def test_what_is_no_matrix_is_named(X):
    message = r"could not convert|inhomogeneous|Complex data|shape \(n"
    with pytest.raises(InvalidInputError, match=message):
        elbow_curve(X)


def test_auto_compares_probabilities_by_their_square_roots(unsure_predictions):
    rows = np.vstack([np.roll(unsure_predictions, 7 * i, axis=1) for i in range(4)])
    found, roots = find(rows, k=range(2, 9)), find(np.sqrt(rows), k=range(2, 9), normalize=True)
    assert found.k == roots.k
    np.testing.assert_allclose(found.inertia, roots.inertia, rtol=1e-5)
    np.testing.assert_array_equal(find(rows, k=[4], normalize="sqrt").inertia, found.inertia[2:3])


def test_auto_normalizes_only_rows_of_similar_length():
    features = np.abs(blobs(2)) + 1
    assert np.allclose(np.linalg.norm(prepare(features, "auto"), axis=1), 1)
    around_the_origin = blobs(2, d=2)
    assert prepare(around_the_origin, "auto") is around_the_origin


def test_knee_guards_kneed():
    numbers = np.arange(2, 9)
    assert knee(numbers, 100.0 / numbers**2) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert knee(numbers, np.full(7, 3.0)) is None
        assert knee(numbers, 10.0 - numbers) is None
        assert knee(numbers[:2], np.array([2.0, 1.0])) is None


def test_same_result_on_any_number_of_threads():
    from threadpoolctl import threadpool_limits

    results = []
    for n_threads in (1, 3):
        with threadpool_limits(n_threads):
            results.append(find(blobs(4, n=900), k=[3, 4, 5]).to_dict())
    assert results[0] == results[1]


def test_groups_are_read_off_the_eigenvectors_of_separate_groups():
    sizes = [40, 25, 10, 5]
    labels = np.repeat(np.arange(4), sizes)
    # Whatever basis an eigensolver finds for equal eigenvalues.
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    found = find_groups((np.eye(4)[labels] / np.sqrt(np.array(sizes)[labels, None])) @ rotation)
    assert [len(np.unique(found[labels == group])) for group in range(4)] == [1] * 4
    assert len(np.unique(found)) == 4


def test_borders_in_a_valley_are_sparser():
    from scipy.sparse import csr_array

    # A chain of rows that is cut in the middle.
    n = 40
    chain = np.eye(n, k=1) + np.eye(n, k=-1)
    halves = np.repeat([0, 1], n // 2).astype(np.int32)
    even = np.zeros(n)
    assert measure_valley(csr_array(chain), halves, even) == 0
    sparse_middle = np.where(np.abs(np.arange(n) - 19.5) < 1, 0.3, 0.0)
    # Half of the links of either border row leave, so it counts half for the inside.
    assert measure_valley(csr_array(chain), halves, sparse_middle) == pytest.approx(0.3, rel=0.05)
    assert measure_valley(csr_array(chain), halves, -sparse_middle) == -0.2
    chain[19, 20] = chain[20, 19] = 0
    assert measure_valley(csr_array(chain), halves, even) == 0.5


def test_the_cloud_has_the_covariance_of_the_rows():
    rng = np.random.default_rng(0)
    X = np.float32(rng.normal(size=(3000, 3)) @ [[3, 1, 0], [0, 1, 0], [0, 0, 0.2]] + 100)
    cloud = cloud_like(X, rng)
    np.testing.assert_allclose(np.cov(cloud.T), np.cov(X.T), atol=0.6)


def test_distances_far_from_the_origin_are_not_rounding():
    X = np.float32(np.array([[0, 0], [3, 4]]) + 30_000)
    np.testing.assert_allclose(distances_between(X), [[0, 5], [5, 0]])


def made_up(eigengap, silhouette, *, valley=0.2, separation=0.4, stability=1.0):
    """Evaluate the verdict on curves that start at 2."""
    n = len(eigengap)
    numbers = np.arange(2, n + 2)
    curves = {name: np.linspace(1, 0.5, n) for name in ("inertia", "calinski_harabasz")}
    curves |= {"davies_bouldin": np.linspace(1, 2, n)}
    curves |= {"eigengap": np.array(eigengap), "silhouette": np.array(silhouette)}
    curves |= {"valley": np.full(n, valley), "stability": np.full(n, stability)}
    curves |= {"chance_conductance": np.full(n, separation + 0.1), "conductance": np.full(n, 0.1)}
    return judge(numbers, curves, count_votes(numbers, curves))


def test_the_number_has_a_gap_and_a_high_silhouette():
    found = made_up([0.01, 0.3, 0.01, 0.01], [0.3, 0.4, 0.35, 0.3])
    assert found.k == 3
    assert found.confidence > 0.8
    assert found.sentence == (
        "3 clusters: they come back when some rows are left out, and there are gaps between them."
    )
    assert made_up([0.01, 0.01, 0.3, 0.01], [0.3, 0.3, 0.4, 0.3]).k == 4


def test_reasons_for_no_number_are_told_apart():
    curves = [0.01, 0.3, 0.01, 0.01], [0.3, 0.4, 0.35, 0.3]
    unstable = made_up(*curves, valley=0.0, separation=0.0, stability=0.5)
    assert "for no number from 2 to 5 do the same groups come back" in unstable.sentence
    joined = made_up(*curves, valley=0.0, separation=0.0)
    assert "for no number from 2 to 5 are there gaps" in joined.sentence
    sliced = made_up(*curves, valley=0.06, separation=-0.1)
    assert "looks like one group" in sliced.sentence
    for found in (unstable, joined, sliced):
        assert found.k is None
        assert found.levels == {}


def test_no_number_where_none_stands_out():
    """Below a confidence of 0.15 it would nearly always be wrong."""
    flat = made_up([0.1] * 30, [0.3] * 15 + [0.3001] + [0.3] * 14)
    assert flat.k is None
    assert flat.confidence < 0.15
    assert flat.levels == {}
    assert flat.sentence.startswith(
        "No clear number of clusters: many numbers are about as probable, and none stands out"
    )


def test_levels_stand_out_from_the_numbers_between_them():
    found = made_up([0.01, 0.3, 0.001, 0.001, 0.2, 0.001], [0.4, 0.4, 0.3, 0.3, 0.4, 0.3])
    assert found.k == 3
    assert list(found.levels) == [3, 6]
    assert found.levels[3] > found.levels[6] > 0
    assert find_peaks(np.array([0.1, 0.4, 0.3, 0.2])) == [1]
    assert find_peaks(np.array([0.4, 0.01, 0.09, 0.5])) == [3, 0]
    assert find_peaks(np.array([1.0])) == [0]


def test_the_best_level_has_the_highest_confidence():
    """Three alone is more probable than six, but less so than five, six and seven together."""
    found = made_up([0.1] * 7, [0.2, 0.35, 0.2, 0.34, 0.345, 0.34, 0.2])
    assert found.probability.argmax() == 1
    assert found.k == 6
    assert list(found.levels) == [3, 6]
    assert found.confidence == found.levels[6] > found.levels[3]
    single = "3 alone is more probable, but less surely within one of the right number."
    assert single in found.sentence
    sharp = made_up([0.1] * 7, [0.2, 0.35, 0.2, 0.2, 0.345, 0.2, 0.2])
    assert sharp.k == 3
    assert sharp.confidence == sharp.levels[3] > sharp.levels[6]
    assert "alone" not in sharp.sentence.partition("Taken")[0]


def test_doubt_and_the_end_of_the_range_are_said():
    doubtful = made_up([0.1, 0.1, 0.1, 0.12], [0.3, 0.31, 0.3, 0.3])
    assert doubtful.confidence < 0.9
    assert "there may be more" in doubtful.sentence
    assert "the silhouette says 3" in doubtful.sentence
    numbers = np.arange(2, 22)
    assert may_be_more(numbers, np.eye(20)[18])
    assert not may_be_more(numbers, np.eye(20)[3])
    assert not may_be_more(np.array([4]), np.ones(1))


def test_numbers_without_indices_have_no_probability():
    curves = {name: np.array([0.1, np.nan]) for name in ("eigengap", "silhouette")}
    assert rank(curves).tolist() == [1, 0]
    assert rank({name: np.array([np.nan]) for name in curves}).tolist() == [0]


def test_digits_are_about_ten():
    from sklearn.datasets import load_digits

    curve = elbow_curve(load_digits().data[:900], k=range(6, 15, 2), random_state=0, n_resamples=3)
    assert 8 <= curve.k <= 12
