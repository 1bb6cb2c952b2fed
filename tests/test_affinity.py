import warnings

import numpy as np
import pytest
from sklearn.cluster import AffinityPropagation as ReferencePropagation
from sklearn.datasets import load_digits, load_iris, load_wine, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize, scale
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from clusterkit.clusterers import (
    AffinityPropagation,
    ClusteringWarning,
    ConvergenceWarning,
    base,
)
from clusterkit.clusterers.affinity.estimator import Run, search_preference
from clusterkit.clusterers.affinity.message_passing import Exemplars
from clusterkit.clusterers.affinity.similarities import memory_needed
from clusterkit.errors import InvalidInputError
from clusterkit.utils.memory import available_memory

DIGITS, DIGIT_NAMES = load_digits(return_X_y=True)


@parametrize_with_checks([AffinityPropagation(), AffinityPropagation(n_clusters=3)])
def test_follows_scikit_learn_conventions(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=ClusteringWarning)
        check(estimator)


def blobs(n_samples, n_features, centers, spread, seed):
    X, _ = make_blobs(n_samples, n_features, centers=centers, cluster_std=spread, random_state=seed)
    return X


SETS = {
    "digits": (DIGITS[:900], {}),
    "digits, float32": (DIGITS[900:].astype(np.float32), {}),
    "iris": (load_iris().data, {}),
    # Without scaling, one column outweighs all others, and the last bit decides about a row.
    "wine": (scale(load_wine().data), {}),
    "wide blobs": (blobs(400, 64, 6, 8.0, 0), {"damping": 0.8}),
    "overlapping blobs": (blobs(500, 2, 4, 3.0, 1), {"damping": 0.9}),
    "low preference": (DIGITS[:500], {"preference": -8.0, "damping": 0.7}),
}


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("name", SETS)
def test_same_labels_as_scikit_learn(name, normalized):
    X, parameters = SETS[name]
    ours = AffinityPropagation(normalize=normalized, random_state=7, **parameters).fit(X)
    reference = ReferencePropagation(random_state=7, **parameters)
    reference.fit(normalize(X) if normalized else X)
    np.testing.assert_array_equal(ours.labels_, reference.labels_)
    np.testing.assert_array_equal(ours.cluster_centers_indices_, reference.cluster_centers_indices_)
    np.testing.assert_allclose(ours.cluster_centers_, reference.cluster_centers_, rtol=1e-6)


def test_same_labels_on_any_number_of_threads():
    results = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads):
            results.append(AffinityPropagation(random_state=0).fit_predict(DIGITS[:700]))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("n_clusters", [1, 2, 7, 10, 40, 300])
def test_finds_the_wanted_number_of_clusters(n_clusters):
    model = AffinityPropagation(n_clusters, random_state=0).fit(DIGITS[:300])
    assert len(np.unique(model.labels_)) == len(model.cluster_centers_) == n_clusters
    assert model.converged_


def test_found_preference_gives_the_same_clusters():
    found = AffinityPropagation(10, random_state=0).fit(DIGITS[:300])
    again = AffinityPropagation(
        preference=found.preference_, damping=found.damping_, random_state=0
    ).fit(DIGITS[:300])
    np.testing.assert_array_equal(found.labels_, again.labels_)


def test_more_damping_where_messages_do_not_settle():
    X = blobs(600, 32, 5, 1.0, 3)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=200 .* damping=0.5"):
        fixed = AffinityPropagation(normalize=False, damping=0.5, random_state=0).fit(X)
    free = AffinityPropagation(normalize=False, random_state=0).fit(X)
    assert (fixed.converged_, fixed.damping_) == (False, 0.5)
    assert (free.converged_, free.damping_) == (True, 0.75)


def test_all_candidates_as_exemplars_are_no_result_for_a_low_preference():
    # After 16 iterations, messages seem to have converged, long before they do.
    model = AffinityPropagation(preference=-50, n_candidates=150, random_state=0)
    with pytest.warns(ConvergenceWarning, match="did not settle"):
        model.set_params(damping=0.5).fit(DIGITS[:300])
    assert (model.n_iter_, len(model.cluster_centers_)) == (16, 150)
    model.set_params(damping=None).fit(DIGITS[:300])
    assert (model.converged_, len(model.cluster_centers_)) == (True, 1)


@pytest.mark.parametrize("max_iter", [1, 2, 5])
def test_without_convergence_every_row_has_a_cluster(max_iter):
    with pytest.warns(ConvergenceWarning, match=f"max_iter={max_iter} "):
        model = AffinityPropagation(max_iter=max_iter, preference=-100, random_state=0).fit(
            DIGITS[:100]
        )
    n_clusters = len(model.cluster_centers_indices_)
    assert not model.converged_
    assert n_clusters >= 1
    np.testing.assert_array_equal(np.unique(model.labels_), np.arange(n_clusters))


def test_attributes_agree():
    X = normalize(DIGITS[:400])
    model = AffinityPropagation(random_state=0).fit(X)
    np.testing.assert_allclose(model.cluster_centers_, X[model.cluster_centers_indices_])
    np.testing.assert_array_equal(
        model.labels_[model.cluster_centers_indices_], np.arange(len(model.cluster_centers_))
    )
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert model.labels_.dtype == np.int32
    gaps = ((X[:, None] - X) ** 2).sum(axis=2)
    assert model.preference_ == pytest.approx(-np.median(gaps))


def test_few_candidates_do_nearly_as_well():
    X, truth = DIGITS[:600], DIGIT_NAMES[:600]
    full = AffinityPropagation(12, random_state=0).fit(X)
    some = AffinityPropagation(12, n_candidates=150, random_state=0).fit(X)

    def total(model):
        gaps = normalize(X) - model.cluster_centers_[model.labels_]
        return (gaps**2).sum()

    assert len(some.cluster_centers_) == 12
    assert total(some) <= 1.03 * total(full)
    assert adjusted_rand_score(truth, some.labels_) >= 0.5


def test_more_candidates_than_rows_are_all_rows():
    labels = AffinityPropagation(n_candidates=500, random_state=0).fit_predict(DIGITS[:200])
    everything = AffinityPropagation(random_state=0).fit_predict(DIGITS[:200])
    np.testing.assert_array_equal(labels, everything)


def test_one_row_is_one_cluster():
    assert AffinityPropagation().fit_predict([[1.0, 2.0]]).tolist() == [0]
    assert AffinityPropagation(1).fit_predict([[1.0, 2.0]]).tolist() == [0]


@pytest.mark.parametrize("n_clusters", [None, 1, 2, 6])
def test_identical_rows_are_one_cluster(n_clusters):
    with pytest.warns(ClusteringWarning, match="all 6 rows are equally far .* one cluster"):
        labels = AffinityPropagation(n_clusters).fit_predict(np.ones((6, 3)))
    assert labels.tolist() == [0] * 6


@pytest.mark.parametrize(
    ("parameters", "labels"),
    [
        ({"preference": -5.0}, [0, 0, 0]),
        ({"preference": -0.5}, [0, 1, 2]),
        ({"n_clusters": 3}, [0, 1, 2]),
    ],
)
def test_equally_far_rows_follow_the_preference(parameters, labels):
    with pytest.warns(ClusteringWarning, match="all 3 rows are equally far"):
        found = AffinityPropagation(**parameters).fit_predict(np.eye(3, dtype=np.float32))
    assert found.tolist() == labels


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_duplicates_give_complete_labels():
    X = np.repeat(DIGITS[:100], 3, axis=0)
    model = AffinityPropagation(random_state=0).fit(X)
    reference = ReferencePropagation(random_state=0).fit(normalize(X))
    assert model.labels_.min() == 0
    assert adjusted_rand_score(model.labels_, reference.labels_) >= 0.9


def test_refuses_what_does_not_fit_in_memory(monkeypatch):
    monkeypatch.setattr(base, "available_memory", lambda: 3 * 10**9)
    X = np.zeros((30_000, 2), dtype=np.float32)
    X[:, 0] = 1
    message = r"about 10.9 GB .* n_samples=30000, and 3.0 GB are available; .* n_candidates="
    with pytest.raises(InvalidInputError, match=message):
        AffinityPropagation().fit(X)


def test_memory_needed_covers_what_is_used():
    assert memory_needed(16_000, 16_000, 4) < 5e9
    assert memory_needed(5_000, 5_000, 4) > 2 * 5_000**2 * 4
    assert memory_needed(100_000, 2_000, 4) < 3e9


def test_available_memory_is_known_on_this_system():
    free = available_memory()
    assert free is None or 10**7 < free < 10**14


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_clusters": 51}, "n_clusters=51, n_samples=50"),
        ({"n_clusters": 0}, "n_clusters=0"),
        ({"n_clusters": 5, "n_candidates": 4}, "n_candidates=4, n_clusters=5"),
        ({"n_candidates": 1}, "n_candidates=1"),
        ({"damping": 0.4}, "from 0.5 to below 1. Received: damping=0.4"),
        ({"damping": 1.0}, "damping=1.0"),
        ({"preference": float("nan")}, "preference=nan"),
        ({"preference": "low"}, "preference='low'"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"convergence_iter": 1.5}, "convergence_iter=1.5"),
    ],
)
def test_refuses_parameters(parameters, message):
    with pytest.raises(InvalidInputError, match=message):
        AffinityPropagation(**parameters).fit(DIGITS[:50])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_rows_that_are_not_finite(bad):
    X = DIGITS[:50].copy()
    X[3, 4] = bad
    with pytest.raises(InvalidInputError, match=r"NaN|infinity"):
        AffinityPropagation().fit(X)


def test_search_settles_for_the_nearest_number():
    def step(preference):
        k = 3 if preference < -1 else 8
        return Run(preference, 0.5, Exemplars(np.arange(k), 20, True))

    assert search_preference(step, 7, start=-0.5).n_clusters == 8
    assert search_preference(step, 4, start=-0.5).n_clusters == 3


def test_says_when_the_wanted_number_was_not_found():
    X = np.repeat(np.eye(3), 5, axis=0) + np.repeat([[0.0], [0.1], [0.2]], 5, axis=0)
    with pytest.warns(ClusteringWarning, match=r"n_clusters=7; the nearest is \d"):
        AffinityPropagation(7, random_state=0).fit(X)
