"""Explanations: figures compared with their definitions, and degenerate cases."""

import json
import subprocess
import sys

import numpy as np
import pytest

from clusterkit.errors import InvalidInputError, NotFoundError, SpaceMismatchError
from clusterkit.similarity.explanation import explain_vectors, latent_histograms, rank_similarity
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.text import percent


@pytest.fixture
def emb(tmp_path):
    vectors = np.random.default_rng(0).gamma(0.3, size=(60, 40)).astype(np.float32)
    return Embeddings(
        vectors,
        paths=[f"wild/{row}.jpg" for row in range(60)],
        root=tmp_path,
        space={"extractor": "test", "fingerprint": "f" * 64},
    )


def all_similarities(vectors):
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(vectors), 1)]


def test_figures_follow_their_definitions(emb):
    explanation = explain_vectors("wild/3.jpg", "wild/9.jpg", emb)
    a, b = emb.vectors[[3, 9]].astype(np.float64)
    similarity = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert explanation.similarity == pytest.approx(similarity, abs=1e-6)
    everything = all_similarities(emb.vectors)
    assert explanation.n_pairs == 60 * 59 // 2
    assert explanation.is_exact
    expected = 100 * (everything < similarity - 1e-6).mean()
    assert explanation.percentile == pytest.approx(expected, abs=1e-9)
    edges = explanation.bin_edges
    counts = [np.histogram(values, edges)[0] / 40 for values in (a, b)]
    np.testing.assert_allclose(explanation.histogram_a, counts[0])
    np.testing.assert_allclose(explanation.histogram_b, counts[1])
    assert explanation.intersection == pytest.approx(np.minimum(*counts).sum())


def test_top_dimensions_are_addends_of_the_similarity():
    explanation = explain_vectors([3, 0, 4, 0], [1, 9, 2, 0], np.eye(4))
    top = explanation.top_dimensions
    assert [entry.dimension for entry in top] == [2, 0]
    assert (top[0].value_a, top[0].value_b) == (4, 2)
    assert sum(entry.cosine for entry in top) == pytest.approx(explanation.similarity)
    assert "the 2 strongest shared features are 100 % of it" in explanation.to_text()


def test_probabilities_are_explained_by_their_square_roots(unsure_predictions):
    explanation = explain_vectors(0, 1, unsure_predictions)
    roots = np.sqrt(unsure_predictions)
    assert explanation.similarity == pytest.approx(roots[0] @ roots[1], abs=1e-6)
    expected = 100 * (all_similarities(roots) < explanation.similarity - 1e-6).mean()
    assert explanation.percentile == pytest.approx(expected, abs=0.1)
    first = explanation.top_dimensions[0]
    assert first.value_a == pytest.approx(unsure_predictions[0, first.dimension])
    assert first.cosine == pytest.approx(roots[0, first.dimension] * roots[1, first.dimension])
    below = roots[:, first.dimension] < roots[0, first.dimension] - 1e-6
    assert first.percentile_a == pytest.approx(100 * below.mean())


def test_a_share_that_is_not_the_whole_is_not_written_as_it():
    explanation = explain_vectors([1, *[1e-4] * 30], [1] * 31, np.eye(31))
    strongest = sum(entry.cosine for entry in explanation.top_dimensions)
    assert 0.995 < strongest / explanation.similarity < 1
    assert "strongest shared features are 99." in explanation.to_text()


@pytest.mark.parametrize(
    ("share", "decimals", "text"),
    [
        (0, 0, "0 %"),
        (1, 0, "100 %"),
        (1 - 1e-8, 0, "100 %"),
        (0.9996, 0, "99.96 %"),
        (0.9996, 1, "99.96 %"),
        (0.99999, 0, "99.999 %"),
        (0.995, 0, "99.5 %"),
        (0.994, 0, "99 %"),
        (0.004, 0, "0.4 %"),
        (0.00002, 1, "0.002 %"),
        (0.123, 1, "12.3 %"),
        (1.04, 0, "104 %"),
    ],
)
def test_only_nothing_is_0_percent_and_only_the_whole_100(share, decimals, text):
    assert percent(share, decimals) == text


@pytest.mark.parametrize("key", ["wild/3.jpg", 3, np.int64(3)])
def test_images_are_named_by_path_or_row(emb, key):
    explanation = explain_vectors(key, 9, emb)
    assert (explanation.path_a, explanation.path_b) == ("wild/3.jpg", "wild/9.jpg")
    assert explanation.file_a == emb.root / "wild/3.jpg"


def test_vectors_from_elsewhere(emb):
    expected = explain_vectors(3, 9, emb)
    bare = explain_vectors(emb.vectors[3], emb[[9]], emb)
    assert bare.path_a is None
    assert bare.file_a is None
    assert bare.path_b == "wild/9.jpg"
    assert bare.similarity == expected.similarity
    assert bare.percentile == expected.percentile


def test_classes_are_passed_on():
    top5 = [[("red_fox", 0.8)], [("lynx", 0.4)]]
    explanation = explain_vectors(0, 1, Embeddings(np.eye(2), top5=top5))
    assert explanation.top5_a == [("red_fox", 0.8)]
    assert explain_vectors(0, [1, 1], Embeddings(np.eye(2))).top5_b is None


def test_same_spread_of_other_features_overlaps_without_similarity():
    a = np.zeros(1000)
    a[:100] = np.random.default_rng(0).uniform(1, 2, 100)
    explanation = explain_vectors(a, np.roll(a, 500), np.eye(1000)[:3])
    assert explanation.intersection == pytest.approx(1)
    assert explanation.similarity == 0
    assert explanation.top_dimensions == ()
    assert "overlap by 100 %, which compares the distribution" in explanation.to_text()


def test_same_image_is_above_all_pairs(emb):
    explanation = explain_vectors(5, 5, emb)
    assert explanation.similarity == pytest.approx(1)
    assert explanation.percentile == 100
    assert explanation.intersection == pytest.approx(1)
    assert explanation.summary.startswith("1.00 similar, closer than all pairs of images: ")


def test_percentile_never_counts_the_pair_itself(emb):
    highest = all_similarities(emb.vectors).argmax()
    a, b = (int(rows[highest]) for rows in np.triu_indices(60, 1))
    explanation = explain_vectors(a, b, emb)
    assert explanation.percentile == pytest.approx(100 * (1 - 1 / explanation.n_pairs))
    assert "closer than 99.9 % of all pairs" in explanation.to_text()


def test_blocks_see_each_pair_once():
    vectors = np.random.default_rng(1).normal(size=(1100, 5))
    standing = rank_similarity(0.3, vectors)
    assert standing.n_pairs == 1100 * 1099 // 2
    assert standing.percentile == pytest.approx(
        100 * (all_similarities(vectors) < 0.3).mean(), abs=0.001
    )
    assert rank_similarity(-1, vectors).percentile == 0


def test_a_large_store_is_sampled_by_seed():
    vectors = np.random.default_rng(1).normal(size=(1100, 5))
    exact = rank_similarity(0.3, vectors).percentile
    sampled = [rank_similarity(0.3, vectors, max_rows=1000, random_state=s) for s in (0, 0, 1)]
    assert not sampled[0].is_exact
    assert sampled[0].n_pairs == 200_000
    assert sampled[0] == sampled[1]
    assert sampled[0] != sampled[2]
    assert sampled[0].percentile == pytest.approx(exact, abs=0.5)


@pytest.mark.parametrize("max_rows", [1, 9])
def test_no_image_is_a_pair_with_itself(max_rows):
    vectors = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert rank_similarity(0.5, vectors, max_rows=max_rows).percentile == 100
    assert rank_similarity(0, vectors, max_rows=max_rows).percentile == 0


def test_one_row_store_has_no_percentile():
    explanation = explain_vectors(0, 0, np.ones((1, 4)))
    assert explanation.percentile is None
    assert explanation.n_pairs == 0
    assert explanation.to_text().startswith("1.00 similar: this is one image")


@pytest.mark.parametrize("n", [2, 4, 5])
def test_a_rank_among_a_few_pairs_is_not_told(n):
    explanation = explain_vectors(0, 1, np.random.default_rng(0).uniform(size=(n, 6)))
    few = "; with 5 images or more this is compared with other pairs."
    assert explanation.summary.endswith(few) == (n < 5)
    assert (explanation.percentile is None) == (n < 5)
    assert explanation.n_pairs == n * (n - 1) // 2
    assert (" % of all" in explanation.to_text()) == (n == 5)


def test_zero_and_constant_vectors():
    explanation = explain_vectors(np.zeros(4), np.zeros(4), np.ones((5, 4)))
    assert explanation.similarity == 0
    assert explanation.percentile == 0
    assert explanation.intersection == 1
    constant = explain_vectors(0, 1, np.array([[2, 2, 2, 2], [5, 5, 5, 5]]))
    assert constant.similarity == pytest.approx(1)
    assert constant.intersection == 0


@pytest.mark.parametrize(
    "values",
    [np.zeros(2048), np.eye(2048)[0], np.r_[np.full(2000, 1e-12), np.linspace(0, 1, 48)]],
)
def test_number_of_bins_stays_within_limits(values):
    histogram, _, edges = latent_histograms(values, values)
    assert 10 <= len(histogram) <= 100
    assert histogram.sum() == pytest.approx(1)
    assert len(edges) == len(histogram) + 1


def test_number_of_bins_can_be_given(emb):
    assert len(explain_vectors(0, 1, emb, bins=7).histogram_b) == 7


def test_to_dict_is_json(emb):
    explanation = explain_vectors(0, 1, emb)
    again = json.loads(json.dumps(explanation.to_dict()))
    assert again["similarity"] == explanation.similarity
    assert again["path_a"] == "wild/0.jpg"
    assert again["summary"] == explanation.summary == explanation.to_text().partition("\n")[0]
    fields = {"dimension", "value_a", "value_b", "cosine", "usual", "percentile_a", "percentile_b"}
    assert set(again["top_dimensions"][0]) == fields
    assert sum(again["histogram_a"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("a", "error", "message"),
    [
        ("wild/99.jpg", NotFoundError, "wild/99.jpg is not among the 60"),
        (60, InvalidInputError, "Received: 60 of 60"),
        ([1, 2, 3], InvalidInputError, "dimension 40. Received: 1 of dimension 3"),
        (np.ones((2, 40)), InvalidInputError, "Received: 2 of dimension 40"),
        (np.full(40, np.nan), InvalidInputError, "finite"),
        (
            Embeddings(np.ones((1, 40)), space={"fingerprint": "e" * 64}),
            SpaceMismatchError,
            "never mix",
        ),
    ],
)
def test_bad_images(emb, a, error, message):
    with pytest.raises(error, match=message):
        explain_vectors(a, 0, emb)


def test_bad_bins(emb):
    with pytest.raises(InvalidInputError, match="bins=0"):
        explain_vectors(0, 1, emb, bins=0)


def test_starts_without_scikit_learn():
    code = "import sys, clusterkit.similarity.explanation; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
