import tracemalloc

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from clusterkit.clusterers import ClusteringWarning, KMeans, MiniBatchKMeans, RefinedKMeans
from clusterkit.clusterers.row_stream import ArrayStream, Reservoir
from clusterkit.errors import InvalidInputError
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store


@pytest.fixture(scope="module")
def digits():
    return load_digits().data.astype(np.float32)


class Stream:
    """Rows in batches of a fixed size; counts how often they are read."""

    def __init__(self, *parts):
        self.parts = parts
        self.n_reads = 0

    def iter_batches(self, n_rows):
        self.n_reads += 1
        for part in self.parts:
            yield from (part[i : i + n_rows] for i in range(0, len(part), n_rows))


class MadeUpRows:
    """Very many rows around 10 directions, generated when they are read."""

    def __init__(self, n, d):
        self.n, self.d = n, d
        self.centers = np.random.default_rng(0).normal(size=(10, d)).astype(np.float32)

    def iter_batches(self, n_rows):
        for start in range(0, self.n, n_rows):
            rng = np.random.default_rng(start)
            n = min(n_rows, self.n - start)
            yield self.centers[rng.integers(10, size=n)] + rng.random((n, self.d), np.float32)


@pytest.mark.parametrize("n_sample", [300, 20_000])
def test_close_to_kmeans(digits, n_sample):
    alone = KMeans(10, random_state=0).fit(digits)
    batched = MiniBatchKMeans(10, batch_size=100, n_sample=n_sample, random_state=0).fit(digits)
    assert batched.inertia_ <= 1.005 * alone.inertia_


def test_labels_and_inertia_belong_to_the_centers(digits):
    model = MiniBatchKMeans(10, batch_size=100, n_sample=300, random_state=0).fit(digits)
    np.testing.assert_array_equal(model.labels_, model.predict(digits))
    assert model.inertia_ == pytest.approx(-model.score(digits), rel=1e-4)
    sizes = np.bincount(model.labels_)
    assert sizes.tolist() == sorted(sizes, reverse=True)
    np.testing.assert_array_equal(model.counts_, sizes)


def test_a_stream_gives_what_its_array_gives(digits):
    stream = Stream(digits[:1000], digits[1000:])
    model = MiniBatchKMeans(6, batch_size=500, n_sample=400, random_state=0)
    from_stream = model.fit(stream).labels_
    # Once for the sample, and once for each pass.
    assert stream.n_reads == 1 + model.n_iter_
    assert model.n_features_in_ == 64
    from_array = MiniBatchKMeans(6, batch_size=500, n_sample=400, random_state=0).fit(digits)
    assert adjusted_rand_score(from_stream, from_array.labels_) > 0.99
    np.testing.assert_array_equal(model.predict(stream), from_stream)


@pytest.mark.parametrize("clusterer", [KMeans, MiniBatchKMeans, RefinedKMeans])
def test_a_stream_has_no_names_of_columns(clusterer, digits):
    table = pd.DataFrame(digits[:100], columns=[f"pixel {number}" for number in range(64)])
    model = clusterer(3, random_state=0).fit(table)
    assert list(model.feature_names_in_) == list(table)
    model.fit(Stream(digits[:100, :20]))
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == 20


@pytest.mark.parametrize("clusterer", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_stream_with_a_row_that_is_not_finite_is_not_labelled(
    clusterer, value, normalize, digits
):
    model = clusterer(3, normalize=normalize, random_state=0).fit(Stream(digits[:100]))
    damaged = digits[:100].copy()
    damaged[7, 3] = value
    with pytest.raises(InvalidInputError, match="must be finite"):
        model.predict(Stream(damaged))


def test_the_lowest_integer_has_no_negative():
    rows = np.array([[-128, 1], [-127, 3], [100, 0], [103, 3]], np.int8)
    model = MiniBatchKMeans(2, normalize=False, random_state=0).fit(rows)
    assert model.inertia_ == pytest.approx(11.5)
    assert model.labels_.tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])


def test_fits_a_space_from_its_parts(digits, tmp_path):
    description = {"extractor": "own", "fingerprint": "0123456789abcdef", "dimension": 64}
    space = Store(tmp_path / "store").open_space(description)
    for start in range(0, len(digits), 500):
        numbers = range(start, min(start + 500, len(digits)))
        space.append([Row(f"{i:04d}.png", "digits", vector=digits[i]) for i in numbers])
    space.append([Row("0003.png", "digits", error="it is broken now")])
    stream = space.stream()
    model = MiniBatchKMeans(10, batch_size=400, random_state=0).fit(stream)
    assert stream.paths[2:4] == ["0002.png", "0004.png"]
    rows = np.delete(digits, 3, axis=0)
    in_memory = MiniBatchKMeans(10, batch_size=400, random_state=0).fit(rows)
    assert adjusted_rand_score(model.labels_, in_memory.labels_) > 0.99
    np.testing.assert_array_equal(model.predict(rows), model.labels_)
    np.testing.assert_array_equal(model.predict(stream), model.labels_)


def test_batch_size_does_not_matter_but_for_rounding(digits):
    inertias = [
        MiniBatchKMeans(6, batch_size=size, random_state=0).fit(digits).inertia_
        for size in (50, 5000)
    ]
    assert inertias[0] == pytest.approx(inertias[1], rel=1e-5)


def test_memory_does_not_grow_with_the_rows():
    stream = MadeUpRows(60_000, 128)
    tracemalloc.start()
    model = MiniBatchKMeans(10, batch_size=1000, n_sample=2000, random_state=0).fit(stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(model.labels_) == 60_000
    # All rows would take 31 MB.
    assert peak < 10e6


def test_weights_count_as_repetitions(digits):
    weights = np.random.default_rng(0).integers(0, 4, 300)
    parameters = {"n_clusters": 5, "batch_size": 64, "random_state": 0}
    weighted = MiniBatchKMeans(**parameters).fit(digits[:300], sample_weight=weights)
    repeated = MiniBatchKMeans(**parameters).fit(np.repeat(digits[:300], weights, axis=0))
    assert weighted.inertia_ == pytest.approx(repeated.inertia_, rel=1e-4)
    assert len(weighted.labels_) == 300


def test_same_result_on_any_number_of_threads(digits):
    results = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            results.append(MiniBatchKMeans(7, batch_size=200, random_state=1).fit(digits))
    np.testing.assert_array_equal(results[0].cluster_centers_, results[1].cluster_centers_)
    np.testing.assert_array_equal(results[0].labels_, results[1].labels_)


def test_partial_fit_follows_the_batches(digits):
    model = MiniBatchKMeans(10, random_state=0)
    for start in range(0, len(digits), 300):
        model.partial_fit(digits[start : start + 300])
    assert model.n_iter_ == 6
    assert model.counts_.sum() == len(digits)
    assert -model.score(digits) <= 1.03 * KMeans(10, random_state=0).fit(digits).inertia_


def test_partial_fit_moves_centers_to_the_mean_of_all_their_rows():
    model = MiniBatchKMeans(2, normalize=False, random_state=0)
    model.partial_fit([[0.0, 0], [0, 2], [10, 10]]).partial_fit([[0.0, 4]])
    assert model.cluster_centers_ == pytest.approx(np.array([[0, 2], [10, 10]]))
    model.partial_fit([[10.0, 13]], sample_weight=[2])
    assert model.cluster_centers_ == pytest.approx(np.array([[0, 2], [10, 12]]))


def test_partial_fit_needs_enough_rows_at_first():
    with pytest.raises(InvalidInputError, match="n_clusters=8, n_samples=3"):
        MiniBatchKMeans().partial_fit(np.eye(3))
    with pytest.raises(InvalidInputError, match="n_clusters=3, 2 different rows"):
        MiniBatchKMeans(3).partial_fit([[1, 0], [1, 0], [0, 1]])


def test_identical_rows_are_one_cluster():
    with pytest.warns(ClusteringWarning, match="only 1 different rows, fewer than n_clusters=3"):
        model = MiniBatchKMeans(3, random_state=0).fit(np.ones((20, 4)))
    assert set(model.labels_) == {0}


def test_zero_rows_are_counted_over_all_batches():
    X = np.vstack([np.eye(6)] * 5)
    X[[13, 20]] = 0
    with pytest.warns(ClusteringWarning, match="2 of 30 rows are zero .* row 13") as caught:
        MiniBatchKMeans(3, batch_size=7, random_state=0).fit(X)
    assert len(caught) == 1


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
def test_zero_rows_of_a_stream_are_a_warning_at_the_call(kind):
    X = np.vstack([np.eye(6)] * 5)
    X[13] = 0
    with pytest.warns(ClusteringWarning, match="1 of 30 rows are zero") as caught:
        kind(3, random_state=0).fit(ArrayStream(X.astype(np.float32)))
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (Stream(np.eye(3)), {"n_clusters": 4}, "n_clusters=4, n_samples=3"),
        (Stream(), {}, "n_samples=0"),
        (Stream(np.eye(3), np.eye(4)), {"n_clusters": 2}, "3 columns. Received: 4"),
        (Stream(np.eye(3), [[1, np.nan, 0]]), {"n_clusters": 2}, "NaN"),
        (np.eye(3), {"batch_size": 0}, "batch_size=0"),
        (np.eye(3), {"n_clusters": 2, "max_iter": 0}, "max_iter=0"),
        (np.eye(3), {"n_clusters": 2, "n_sample": 0}, "n_sample=0"),
    ],
)
def test_bad_input_is_named(X, parameters, message):
    with pytest.raises(InvalidInputError, match=message):
        MiniBatchKMeans(**parameters).fit(X)


@pytest.mark.parametrize("n_weights", [2, 4])
def test_weights_must_fit_the_rows(n_weights):
    with pytest.raises(InvalidInputError, match=rf"\({n_weights},\), n_samples=3"):
        MiniBatchKMeans(2).fit(Stream(np.eye(3)), sample_weight=np.ones(n_weights))


def test_reservoir_is_fair():
    counts = np.zeros(30)
    for seed in range(600):
        sample = Reservoir(10, np.random.default_rng(seed))
        for start in range(0, 30, 7):
            rows = np.arange(start, min(start + 7, 30), dtype=np.float32)[:, None]
            sample.add(rows, np.ones(len(rows), np.float32))
        drawn = sample.rows[:, 0].astype(int)
        assert len(set(drawn)) == 10
        counts[drawn] += 1
    # Each row is expected 200 times, with a standard deviation of 11.5.
    assert abs(counts - 200).max() < 5 * 11.5


def test_reservoir_keeps_all_of_few():
    sample = Reservoir(10, np.random.default_rng(0))
    rows = np.arange(6, dtype=np.float32)[:, None]
    sample.add(rows, rows[:, 0])
    np.testing.assert_array_equal(sample.rows, rows)
    np.testing.assert_array_equal(sample.weights, rows[:, 0])
