import json

import numpy as np
import pytest

from clusterkit.elbow import elbow_curve
from clusterkit.errors import InvalidInputError


def blobs(k, n=400, d=64, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(k, d)) * 2
    return (centers[np.arange(n) % k] + rng.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize("k", [3, 8])
def test_finds_clearly_separated_clusters(k):
    curve = elbow_curve(blobs(k), k=range(2, 13), random_state=0)
    assert curve.k == k


def test_a_single_cloud_has_no_clear_number():
    rows = np.random.default_rng(0).normal(size=(400, 64))
    assert elbow_curve(rows, k=range(2, 13), random_state=0).k is None


def test_identical_rows_have_no_clear_number():
    curve = elbow_curve(np.ones((30, 5)), k=range(2, 6))
    assert curve.k is None
    assert "the same" in curve.verdict


def test_to_dict_is_json():
    found = json.loads(json.dumps(elbow_curve(blobs(3), k=range(2, 6), random_state=0).to_dict()))
    assert found["k"] == 3
    assert [row["k"] for row in found["curve"]] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("k", "message"), [([], "at least one"), ([1], "at least 2"), ([41], "k=41, n_samples=40")]
)
def test_wrong_numbers_of_clusters(k, message):
    with pytest.raises(InvalidInputError, match=message):
        elbow_curve(blobs(3, n=40), k=k)
