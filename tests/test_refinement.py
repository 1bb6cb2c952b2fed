import json

import numpy as np
import pytest
from sklearn.datasets import make_blobs, make_circles
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from clusterkit.clusterers import KMeans, RefinedKMeans
from clusterkit.clustering.evaluation import evaluate
from clusterkit.errors import InvalidInputError


def refine(X, k, **parameters):
    """Fit on rows as they are."""
    parameters = {"normalize": False, "random_state": 0} | parameters
    return RefinedKMeans(k, **parameters).fit(X)


def chosen(model):
    """Return the one chosen candidate."""
    (candidate,) = [candidate for candidate in model.candidates_ if candidate.chosen]
    return candidate


def test_round_clusters_stay_with_k_means():
    X, truth = make_blobs(300, centers=4, n_features=5, random_state=0)
    model = refine(X, 4)
    assert chosen(model).name == "k-means"
    assert adjusted_rand_score(truth, model.labels_) == 1
    plain = KMeans(4, normalize=False, random_state=0).fit(X)
    np.testing.assert_array_equal(model.labels_, plain.labels_)


def test_clusters_of_different_spread_find_the_mixture():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(0, 6, (300, 5)), rng.normal(1, 1, (300, 5))])
    truth = np.repeat([0, 1], 300)
    model = refine(X, 2)
    assert chosen(model).name.startswith("mixture")
    assert adjusted_rand_score(truth, model.candidates_[0].labels) < 0.3
    assert adjusted_rand_score(truth, model.labels_) > 0.9


def test_rings_find_the_graph():
    X, truth = make_circles(600, noise=0.04, factor=0.4, random_state=0)
    model = refine(X, 2)
    assert chosen(model).name.startswith("spectral")
    assert adjusted_rand_score(truth, model.candidates_[0].labels) < 0.1
    assert adjusted_rand_score(truth, model.labels_) == 1


def test_digits_gain(shared):
    table = np.loadtxt(
        shared / "data" / "mnist" / "kaggle_2000.csv", delimiter=",", skiprows=1, max_rows=500
    )
    truth, X = table[:, 0].astype(int), table[:, 1:]
    model = RefinedKMeans(10, random_state=1).fit(X)
    plain = KMeans(10, random_state=1).fit(X)
    assert evaluate(truth, model.labels_).accuracy > evaluate(truth, plain.labels_).accuracy + 0.05


def test_candidates_say_what_was_compared():
    X, _ = make_circles(200, noise=0.04, factor=0.4, random_state=0)
    model = refine(X, 2)
    names = [candidate.name for candidate in model.candidates_]
    assert names == [
        "k-means",
        *(f"mixture, {n} coordinates, run {run}" for n in (10, 20) for run in range(1, 17)),
        "spectral, 10 neighbors",
        "spectral, 20 neighbors",
    ]
    first, best = model.candidates_[0], chosen(model)
    assert best.modularity == max(candidate.modularity for candidate in model.candidates_)
    assert best.gain == pytest.approx(best.modularity - first.modularity)
    assert best.gain > 3 * best.error > 0
    assert (first.gain, first.error) == (0, 0)
    described = json.loads(json.dumps(model.describe()))
    assert [entry["name"] for entry in described["candidates"] if entry["chosen"]] == [best.name]
    assert described["reason"] == model.reason_
    assert model.reason_.startswith(f"{best.name}: modularity {best.modularity:.3f}")
    np.testing.assert_array_equal(model.labels_, best.labels)


@pytest.mark.parametrize("n_clusters", [1, 12])
def test_nothing_to_choose(n_clusters):
    X = np.random.default_rng(0).normal(size=(12, 3))
    model = refine(X, n_clusters)
    assert len(np.unique(model.labels_)) == n_clusters
    assert "nothing else was compared" in model.reason_


def test_bursts_of_pictures_are_left_to_k_means():
    rng = np.random.default_rng(0)
    moments = make_blobs([10, 4, 2], n_features=5, random_state=0)[0]
    X = np.repeat(moments, 30, axis=0) + rng.normal(0, 1e-3, (480, 5))
    model = refine(X, 3)
    assert "more parts than clusters" in model.reason_
    assert [candidate.name for candidate in model.candidates_] == ["k-means"]


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.filterwarnings("ignore::clusterkit.clusterers.ClusteringWarning")
def test_few_rows(n):
    labels = refine(np.random.default_rng(0).normal(size=(n, 3)), 2).labels_
    assert set(labels) == {0, 1}


def test_one_row_is_refused():
    with pytest.raises(InvalidInputError, match="at least 2 rows"):
        refine(np.ones((1, 3)), 1)


def test_rows_beyond_the_sample_join_their_neighbors():
    X, truth = make_circles(1500, noise=0.04, factor=0.4, random_state=0)
    model = refine(X, 2, max_rows=400)
    assert len(chosen(model).labels) == 400
    assert adjusted_rand_score(truth, model.labels_) == 1


def test_sample_of_fewer_rows_than_clusters():
    with pytest.raises(InvalidInputError, match="max_rows must be an integer of at least 5"):
        refine(np.eye(9), 5, max_rows=4)


def test_threads_change_nothing():
    X, _ = make_circles(700, noise=0.1, factor=0.6, random_state=0)
    fitted = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            fitted.append(refine(X, 5))
    assert fitted[0].candidates_ == fitted[1].candidates_
    np.testing.assert_array_equal(fitted[0].labels_, fitted[1].labels_)
