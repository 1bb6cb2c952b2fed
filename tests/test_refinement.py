import json

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score, silhouette_samples
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from clusterkit.clusterers import KMeans, RefinedKMeans, distances, refinement
from clusterkit.clusterers.distances import silhouettes
from clusterkit.clusterers.refinement import share_moved
from clusterkit.clustering.evaluation import evaluate
from clusterkit.errors import InvalidInputError
from clusterkit.utils.parallel import map_serially
from clusterkit.utils.text import percent
from tests.benchmarks.draws import draw_classes, read_sets


def refine(X, k, **parameters):
    """Fit on the unchanged rows."""
    parameters = {"normalize": False, "random_state": 0} | parameters
    return RefinedKMeans(k, **parameters).fit(X)


def chosen(model):
    """Return the only chosen candidate."""
    (candidate,) = [candidate for candidate in model.candidates_ if candidate.chosen]
    return candidate


def stretched(n):
    """Return two groups of unequal size that spread far in a direction that does not part them."""
    truth = np.arange(n) % 4 == 0
    X = np.random.default_rng(0).normal(size=(n, 40))
    X[:, 1] *= 6
    X[truth, 0] += 8
    return X, truth


def test_round_clusters_stay_with_k_means():
    X, truth = make_blobs(300, centers=4, n_features=5, random_state=0)
    model = refine(X, 4)
    assert chosen(model).name == "k-means"
    assert adjusted_rand_score(truth, model.labels_) == 1
    plain = KMeans(4, normalize=False, random_state=0).fit(X)
    np.testing.assert_array_equal(model.labels_, plain.labels_)


def test_stretched_clusters_are_found():
    X, truth = stretched(600)
    model = refine(X, 2)
    assert chosen(model).name.startswith("whitened")
    assert adjusted_rand_score(truth, model.candidates_[0].labels) < 0.1
    assert adjusted_rand_score(truth, model.labels_) > 0.95


def test_photos_of_classes_of_unequal_size_gain(shared):
    (photos,) = (s for s in read_sets(shared / "bench") if s.name == "imagenette_xception")
    draw = draw_classes(photos, "chosen on", 23, equal=False)
    assert np.bincount(draw.labels).tolist() == [39, 28, 6, 69, 5]
    model = RefinedKMeans(draw.truth, random_state=0).fit(draw.vectors)
    plain = KMeans(draw.truth, random_state=0).fit(draw.vectors)
    assert evaluate(draw.labels, plain.labels_).accuracy < 0.8
    assert evaluate(draw.labels, model.labels_).accuracy > 0.95


def test_candidates_say_what_was_compared():
    X, _ = stretched(200)
    model = refine(X, 2)
    names = [candidate.name for candidate in model.candidates_]
    whitened = [f"whitened, {n} neighbours" for n in (3, 5, 10)]
    lengths = ("", ", unit length")
    expected = ["k-means", *(name + length for name in whitened for length in lengths)]
    assert names[: len(expected)] == expected
    runs = names[len(expected) :]
    assert runs
    assert all(name.startswith("k-means, run ") for name in runs)
    first, best = model.candidates_[0], chosen(model)
    assert best.silhouette == max(candidate.silhouette for candidate in model.candidates_)
    assert best.gain == pytest.approx(best.silhouette - first.silhouette)
    assert best.gain > 2 * best.error > 0
    assert (first.gain, first.error, first.moved) == (0, 0, 0)
    described = json.loads(json.dumps(model.describe()))
    assert [entry["name"] for entry in described["candidates"] if entry["chosen"]] == [best.name]
    assert described["reason"] == model.reason_
    share = f"differs from k-means in {percent(best.moved, 1)} of the rows; silhouette "
    assert model.reason_.startswith(f"{best.name}: {share}{best.silhouette:.3f}")
    np.testing.assert_array_equal(model.labels_, best.labels)


def test_runs_that_end_alike_are_compared_once():
    X, _ = make_blobs(300, centers=2, n_features=5, random_state=0)
    assert not [c.name for c in refine(X, 2).candidates_ if "run" in c.name]
    X = np.random.default_rng(0).normal(size=(120, 5))
    labels = [c.labels.tobytes() for c in refine(X, 6).candidates_ if c.name.startswith("k-means")]
    assert len(set(labels)) == len(labels) > 1


def test_rows_that_move_are_counted_under_the_best_matching():
    before = np.array([0, 0, 0, 1, 1, 2], np.int32)
    assert share_moved(before, np.array([2, 2, 2, 0, 0, 1], np.int32)) == 0
    assert share_moved(before, np.array([1, 1, 0, 0, 0, 0], np.int32)) == pytest.approx(1 / 3)


def test_silhouettes_are_those_of_scikit_learn(monkeypatch):
    # Several blocks of rows, the last one shorter.
    monkeypatch.setattr(distances, "_N_DISTANCES", 50 * 7)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4)).astype(np.float32)
    labellings = [np.r_[np.arange(k), rng.integers(0, k - 1, 50 - k)] for k in (2, 6)]
    widths = silhouettes(X, labellings, map_serially).widths
    expected = [silhouette_samples(X, labels) for labels in labellings]
    np.testing.assert_allclose(widths, expected, atol=1e-6)


def test_whitened_neighbours_differ_equally_in_every_direction():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(2000, 3)) * [1, 5, 25]).astype(np.float32)
    (points,) = refinement._whiten(X, X, np.arange(2000), [3]).values()
    _, neighbors = NearestNeighbors(n_neighbors=3).fit(X).kneighbors()
    gaps = (points[:, None] - points[neighbors]).reshape(-1, 3)
    np.testing.assert_allclose(gaps.T @ gaps / len(gaps), np.eye(3), atol=0.1)


def test_copies_are_no_neighbours():
    X, _ = stretched(100)
    once, copied = (refine(rows, 2) for rows in (X, np.repeat(X, 15, axis=0)))
    assert chosen(once).name.startswith("whitened")
    np.testing.assert_array_equal(copied.labels_[::15], once.labels_)


def test_points_on_a_line_have_two_directions():
    X = np.random.default_rng(0).normal(size=(60, 1))
    names = [candidate.name for candidate in refine(X, 4).candidates_]
    names = [name for name in names if not name.startswith("k-means, run ")]
    assert names == ["k-means", *(f"whitened, {n} neighbours" for n in (3, 5, 10))]


@pytest.mark.parametrize(
    ("n_clusters", "n_columns", "obstacle"),
    [
        (1, 3, "there is one cluster"),
        (2, 12, "12 different rows are too few to whiten 12 columns"),
        (2, 100, "12 different rows are too few to whiten 64 columns"),
        (4, 3, "there are too few different rows for 3 neighbours in a cluster"),
        (12, 3, "there are too few different rows for 3 neighbours in a cluster"),
    ],
)
def test_nothing_to_choose(n_clusters, n_columns, obstacle):
    X = np.random.default_rng(0).normal(size=(12, n_columns))
    model = refine(X, n_clusters)
    assert len(np.unique(model.labels_)) == n_clusters
    assert f"nothing else was compared, because {obstacle}" in model.reason_
    (only,) = model.describe()["candidates"]
    assert (only["name"], only["silhouette"], only["chosen"]) == ("k-means", None, True)


def test_clusters_are_larger_than_the_number_of_neighbours():
    X = np.random.default_rng(0).normal(size=(21, 3))
    names = {candidate.name for candidate in refine(X, 4).candidates_}
    assert {name for name in names if not name.startswith("k-means, run ")} == {
        "k-means",
        *(f"whitened, {n} neighbours{length}" for n in (3, 5) for length in ("", ", unit length")),
    }


def test_bursts_of_pictures_are_left_to_k_means():
    rng = np.random.default_rng(0)
    moments = make_blobs([10, 4, 2], n_features=5, random_state=0)[0]
    X = np.repeat(moments, 30, axis=0) + rng.normal(0, 1e-3, (480, 5))
    model = refine(X, 3)
    assert chosen(model).name == "k-means"


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.filterwarnings("ignore::clusterkit.clusterers.ClusteringWarning")
def test_few_rows(n):
    labels = refine(np.random.default_rng(0).normal(size=(n, 3)), 2).labels_
    assert set(labels) == {0, 1}


def test_one_row_is_refused():
    with pytest.raises(InvalidInputError, match="at least 2 rows"):
        refine(np.ones((1, 3)), 1)


def test_rows_beyond_the_sample_join_their_neighbors():
    X, truth = stretched(1500)
    model = refine(X, 2, max_rows=400)
    assert len(chosen(model).labels) == 400
    assert adjusted_rand_score(truth, model.labels_) > 0.9


def test_sample_of_fewer_rows_than_clusters():
    with pytest.raises(InvalidInputError, match="max_rows must be an integer of at least 5"):
        refine(np.eye(9), 5, max_rows=4)


# BLAS sums few columns in the same order on any number of threads, and many in others.
@pytest.mark.parametrize("n_noise", [0, 500])
def test_threads_change_nothing(n_noise):
    X, _ = stretched(700)
    X = np.hstack([X, np.random.default_rng(1).normal(size=(700, n_noise))])
    fitted = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            fitted.append(refine(X, 5))
    assert fitted[0].candidates_ == fitted[1].candidates_
    np.testing.assert_array_equal(fitted[0].labels_, fitted[1].labels_)
