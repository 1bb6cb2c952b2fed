"""The report on a classifier: every figure agrees with an independent definition."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from clusterkit.classifiers import ClassificationReport, Classifier
from clusterkit.classifiers.evaluation import Reliability, class_similarity, predict_with_features
from clusterkit.classifiers.tasks import Task
from clusterkit.datasets.labelled_images import LabelledImages
from clusterkit.errors import InvalidInputError


def report_of(
    y: list[Any], probabilities: NDArray[Any], thresholds: NDArray[Any] | None = None
) -> ClassificationReport:
    names = [f"{row}.png" for row in range(len(y))]
    probabilities = np.asarray(probabilities, np.float32)
    return ClassificationReport.from_predictions(
        Task.from_labels(y), names, y, probabilities, thresholds
    )


@pytest.fixture(scope="module")
def report() -> ClassificationReport:
    """Return a report on 60 images of three classes, predicted slightly better than chance."""
    rng = np.random.default_rng(0)
    y = rng.choice(["a", "b", "c"], 60).tolist()
    scores = rng.normal(0, 1, (60, 3)) + Task.from_labels(y).indicators(y)
    return report_of(y, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def several() -> ClassificationReport:
    """Return a report on images with several labels; all have "x", one has "z"."""
    y = [("x",), ("x", "y"), ("x", "y", "z"), ("x",)]
    probabilities = [[0.9, 0.2, 0.1], [0.8, 0.7, 0.3], [0.9, 0.4, 0.2], [0.3, 0.6, 0.1]]
    return report_of(y, np.array(probabilities), np.array([0.5, 0.5, 0.15]))


def test_ranking_and_loss_agree_with_scikit_learn(report: ClassificationReport) -> None:
    truth = report.truth.argmax(axis=1)
    for column, name in enumerate(report.classes):
        scores = report.per_class[name]
        sides = report.truth[:, column], report.probabilities[:, column]
        assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(*sides))
        assert scores["average_precision"] == pytest.approx(metrics.average_precision_score(*sides))
    expected = metrics.roc_auc_score(report.truth, report.probabilities, average="macro")
    assert report.macro["roc_auc"] == pytest.approx(expected)
    assert report.log_loss == pytest.approx(metrics.log_loss(truth, report.probabilities), rel=1e-5)


def test_ranking_of_a_class_that_all_images_show_or_none_is_absent(
    several: ClassificationReport,
) -> None:
    assert "roc_auc" not in several.per_class["x"]
    assert several.per_class["z"]["roc_auc"] == pytest.approx(2 / 3)
    assert several.macro["roc_auc"] == pytest.approx((2 / 3 + 0.75) / 2)
    only_a = ClassificationReport.from_predictions(
        Task.from_labels(["a", "b"]), ["1"], ["a"], np.array([[0.9, 0.1]], np.float32)
    )
    assert "roc_auc" not in only_a.macro
    assert "ROC AUC" not in only_a.to_text()
    json.dumps(only_a.to_dict(), allow_nan=False)


def test_scores_of_a_class_without_images_are_unknown() -> None:
    # Nobody shows c, which is predicted once, nor d, which never is.
    task, y = Task.from_labels(["a", "b", "c", "d"]), ["a", "a", "b", "b"]
    best = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    found = ClassificationReport.from_predictions(task, list("1234"), y, 0.9 * best + 0.02)
    truth, predicted = found.truth.argmax(axis=1), found.predicted.argmax(axis=1)
    expected = metrics.precision_recall_fscore_support(
        truth, predicted, labels=[0, 1, 2, 3], zero_division=np.nan
    )
    names = ("precision", "recall", "f1", "support")
    for column, name in enumerate(found.classes):
        row = [found.per_class[name][key] for key in names]
        np.testing.assert_allclose(row, [values[column] for values in expected])
    assert np.isnan(found.per_class["d"]["f1"])
    assert found.macro["recall"] == pytest.approx(np.nanmean(expected[1])) == 0.75
    assert found.macro["precision"] == 1
    weighted = metrics.recall_score(truth, predicted, labels=[0, 1], average="weighted")
    assert found.weighted["recall"] == pytest.approx(weighted)
    lines = found.to_text().splitlines()
    assert lines[3].split() == ["c", "0.000", "-", "0.000", "-", "-", "0"]
    assert lines[4].split() == ["d", "-", "-", "-", "-", "-", "0"]
    assert "-" not in lines[1] + lines[5] + lines[6]
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["classes"]["c"] == {"precision": 0, "recall": None, "f1": 0, "support": 0}
    assert "nan" not in found._repr_html_().casefold()


def test_several_labels_have_a_loss_and_thresholds(several: ClassificationReport) -> None:
    expected = metrics.log_loss(several.truth.ravel(), several.probabilities.ravel())
    assert several.log_loss == pytest.approx(expected, rel=1e-5)
    assert several.per_class["z"]["threshold"] == 0.15
    weighted = metrics.f1_score(several.truth, several.predicted, average="weighted")
    text = several.to_text()
    assert f"weighted F1: {weighted:.3f}; all classes of the image right: 0.25" in text
    assert text.splitlines()[3].split()[-2:] == ["0.150", "1"]
    assert several.to_dict()["confusion"] is None


def test_images_with_none_of_several_labels_have_a_report(several: ClassificationReport) -> None:
    nothing = replace(several, truth=np.zeros_like(several.truth))
    assert nothing.macro == nothing.weighted == {"precision": 0, "recall": 0, "f1": 0}
    json.dumps(nothing.to_dict(), allow_nan=False)


def test_reliability_is_the_expected_calibration_error() -> None:
    # Two confident predictions, of which one is right, and a right unsure one: in five bins.
    found = Reliability.from_predictions(
        np.array([0.9, 1.0, 0.2, 0.0]), np.array([True, False, True, False]), n_bins=5
    )
    assert found.counts.tolist() == [2, 0, 0, 0, 2]
    assert found.confidence[[0, 4]].tolist() == pytest.approx([0.1, 0.95])
    assert np.isnan(found.accuracy[1])
    assert found.expected_error == pytest.approx((0.4 + 0.45) / 2)
    bins = found.to_dict()["bins"]
    assert [row["n"] for row in bins] == [2, 2]
    assert bins[1]["from"] == pytest.approx(0.8)


def test_probabilities_that_come_true_have_no_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(0, 1, 20_000)
    came_true = rng.uniform(0, 1, 20_000) < probabilities
    assert Reliability.from_predictions(probabilities, came_true).expected_error < 0.02
    assert Reliability.from_predictions(probabilities, ~came_true).expected_error > 0.4


def test_the_surest_mistakes_come_first() -> None:
    probabilities = [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [0.45, 0.55]]
    found = report_of(["a", "b", "a", "b", "b"], np.array(probabilities))
    # Wrong: b at 0.7, a at 0.6.  Right: at 0.55, 0.8 and 0.9.
    assert found.worst_first.tolist() == [2, 1, 4, 3, 0]


def test_with_several_labels_the_highest_loss_comes_first(several: ClassificationReport) -> None:
    assert several.worst_first[0] == np.argmax(several.losses)
    assert (np.diff(several.losses[several.worst_first]) <= 0).all()


def test_classes_are_compared_by_the_cosine_of_their_means() -> None:
    vectors = np.array([[2, 0], [0, 2], [0, 4], [3, 0]], np.float32)
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], bool)
    similarity = class_similarity(vectors, truth)
    np.testing.assert_allclose(similarity[:2, :2], [[1, 0.5**0.5], [0.5**0.5, 1]])
    # No image has the third label.
    assert np.isnan(similarity[2]).all()
    found = report_of(["a", "b"], np.eye(2))
    shown = replace(found, class_similarity=similarity).to_dict()["class_similarity"]
    assert shown[0][0] == pytest.approx(1)
    assert shown[2] == [None] * 3


def test_measuring_a_classifier_keeps_images_and_compares_classes() -> None:
    rng = np.random.default_rng(0)
    colours = {"a": (200, 30, 30), "b": (200, 60, 30), "c": (30, 30, 200)}
    y = [name for name in colours for _ in range(12)]
    noise = rng.integers(-20, 20, (36, 8, 8, 3))
    images = (np.array([colours[name] for name in y])[:, None, None] + noise).astype(np.uint8)
    classifier = Classifier("dnn", epochs=3, batch_size=8, random_state=0).fit(images, y)
    probabilities, features = predict_with_features(classifier, images)
    head = classifier.model_.get_layer("head")
    expected = classifier.predict_proba(images)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(np.asarray(head(features)), expected, atol=1e-5)
    data = LabelledImages(images, list(map(str, range(36))), y)
    found = ClassificationReport.from_classifier(classifier, data)
    assert (
        found.accuracy == (found.probabilities.argmax(axis=1) == found.truth.argmax(axis=1)).mean()
    )
    assert found.images is images
    assert found.class_similarity is not None
    # Two reds are more similar than red and blue.
    assert found.class_similarity[0, 1] > found.class_similarity[0, 2]
    with pytest.raises(InvalidInputError, match="needs images with labels"):
        ClassificationReport.from_classifier(classifier, replace(data, labels=None))


def test_a_table_of_predictions(several: ClassificationReport, tmp_path: Path) -> None:
    several.to_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["filename", "truth", "prediction", "x", "y", "z"]
    assert rows[2] == ["1.png", "x|y", "x|y|z", "0.800000", "0.700000", "0.300000"]
    assert rows[4][:3] == ["3.png", "x", "y"]


def test_bad_input() -> None:
    with pytest.raises(InvalidInputError, match="at least one image"):
        ClassificationReport.from_predictions(
            Task.from_labels(["a", "b"]), [], [], np.empty((0, 2), np.float32)
        )
    none = LabelledImages(np.empty((0, 4, 4, 3), np.uint8), [], [])
    with pytest.raises(InvalidInputError, match="images with labels"):
        ClassificationReport.from_classifier(Classifier(), none)
    with pytest.raises(InvalidInputError, match="diverged"):
        report_of(["a", "b"], np.full((2, 2), np.nan))


def test_a_class_called_as_a_column_has_its_own_heading() -> None:
    frame = report_of(["prediction", "x"], np.array([[0.9, 0.1], [0.8, 0.2]])).to_frame()
    assert frame["prediction"].tolist() == ["prediction"] * 2
    np.testing.assert_allclose(frame["probability of prediction"], [0.9, 0.8])
    assert list(frame) == ["filename", "truth", "prediction", "probability of prediction", "x"]


def test_a_class_called_as_an_average_keeps_its_scores() -> None:
    y, probabilities = ["macro", "x", "x"], np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    report = report_of(y, probabilities)
    named = [line.split()[0] for line in report.to_text().splitlines()[1:5]]
    assert named == ["macro", "x", "macro", "weighted"]
    assert report.to_text().splitlines()[1].split()[1:4] == ["0.500", "1.000", "0.667"]
    shown = report._repr_html_()
    assert shown.count("<td>macro</td>") == shown.count("<td>weighted</td>") + 1


def test_a_class_with_a_line_break_stays_in_its_line() -> None:
    text = report_of(["two\nlines", "x"], np.array([[0.9, 0.1], [0.2, 0.8]])).to_text()
    assert text.splitlines()[1].startswith(r"two\nlines  ")
    assert text.splitlines()[2].startswith("x           ")
