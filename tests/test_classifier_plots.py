"""Plots of classifiers show the figures of their reports."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Text
from PIL import Image

from clusterkit.classifiers import ClassificationReport
from clusterkit.classifiers.predict import Prediction
from clusterkit.classifiers.tasks import Task
from clusterkit.classifiers.train import ClassifierTraining
from clusterkit.datasets.labelled_images import LabelledImages
from clusterkit.errors import InvalidInputError, NotFoundError, OutputExistsError
from clusterkit.plots import (
    ClassCountsDisplay,
    ClassScoresDisplay,
    ClassSimilarityDisplay,
    ConfusionDisplay,
    Display,
    PredictionsDisplay,
    RankingCurvesDisplay,
    ReliabilityDisplay,
    check_report_folder,
    classifier_report,
    render_figure,
    save_classifier_report,
    save_figure,
)
from clusterkit.plots.style import INK, QUIET, VERMILION


def make_report(n_classes: int, n: int = 120, *, several: bool = False) -> ClassificationReport:
    """Return a report on random images, predicted slightly better than chance."""
    rng = np.random.default_rng(0)
    classes = [f"class {number:02}" for number in range(n_classes)]
    y = [str(name) for name in rng.choice(classes, n)]
    labels = [(name, classes[0]) for name in y] if several else y
    task = Task.from_labels(labels)
    scores = np.exp(rng.normal(0, 1, (n, n_classes)) + 2 * task.indicators(labels))
    probabilities = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    thresholds = np.full(n_classes, 1 / n_classes) if several else None
    names = [f"{row}.png" for row in range(n)]
    report = ClassificationReport.from_predictions(task, names, labels, probabilities, thresholds)
    return replace(report, images=rng.integers(0, 256, (n, 8, 8, 1), np.uint8))


def texts(display: Display) -> list[str]:
    return [text for text in map(Text.get_text, display.figure_.findobj(Text)) if text]


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_curves_of_few_classes_are_named_with_their_area() -> None:
    report = make_report(3)
    left, right = RankingCurvesDisplay.from_report(report).axes_
    assert legend(left) == [
        *(f"{name}  {report.per_class[name]['roc_auc']:.3f}" for name in report.classes),
        f"mean of all  {report.macro['roc_auc']:.3f}",
    ]
    assert legend(right)[-1] == f"mean of all  {report.macro['average_precision']:.3f}"
    # The area below the steps is scikit-learn's average precision.
    recall, precision = right.get_lines()[0].get_data()
    area = (np.diff(recall, prepend=0) * precision).sum()
    assert area == pytest.approx(report.per_class["class 00"]["average_precision"])


def test_of_many_classes_the_worst_are_named() -> None:
    report = make_report(24, 480)
    _, right = RankingCurvesDisplay.from_report(report).axes_
    worst = sorted(report.classes, key=lambda name: report.per_class[name]["average_precision"])
    shown = legend(right)
    assert shown.pop(-1).startswith("mean of all")
    assert "20 other classes" in shown
    assert {text.split("  ")[0] for text in shown} - {"20 other classes"} == set(worst[:4])
    assert sum(line.get_color() == QUIET for line in right.get_lines()) == 20
    assert right.get_lines()[-1].get_color() == INK


def test_curves_need_a_class_that_is_not_everywhere() -> None:
    truth = np.ones((3, 2), bool)
    with pytest.raises(InvalidInputError, match="some images show"):
        RankingCurvesDisplay(truth, np.ones((3, 2)), ["a", "b"]).plot()


def test_reliability_draws_each_bin() -> None:
    report = make_report(3)
    upper, lower = ReliabilityDisplay.from_report(report).axes_
    assert [bar.get_height() for bar in lower.patches] == report.reliability.counts.tolist()
    assert f"{report.reliability.expected_error:.3f}" in upper.get_title(loc="left")


def test_the_surest_mistakes_are_drawn_first_and_framed() -> None:
    report = make_report(3, 40)
    n_wrong = int((~report.is_right).sum())
    display = PredictionsDisplay.from_report(report, n_images=n_wrong + 2)
    assert len(display.pictures) == n_wrong + 2
    assert list(display.mistakes) == list(range(n_wrong))
    first = report.worst_first[0]
    sure, real = display.lines[0]
    assert sure.is_bold
    assert sure.text == report.named(report.predicted)[first][0]
    assert sure.probability == pytest.approx(report.probabilities[first].max())
    assert real.text == f"is {report.named(report.truth)[first][0]}"
    assert display.lines[-1][0].text.startswith("class")
    frames = [patch for patch in display.ax_.patches if not patch.get_fill()]
    red = [patch.get_edgecolor() == to_rgba(VERMILION) for patch in frames]
    assert red == [True] * n_wrong + [False] * 2
    assert f"{n_wrong} of 40 images wrong" in texts(display)[0]
    perfect = PredictionsDisplay.from_report(replace(report, predicted=report.truth))
    assert "all 40 images right, the least sure first" in texts(perfect)[0]
    assert not perfect.mistakes


def test_predictions_of_several_labels() -> None:
    report = make_report(24, several=True)
    display = PredictionsDisplay.from_report(report, n_images=5)
    for lines, row in zip(display.lines, report.worst_first, strict=False):
        shown = {line.text.removeprefix("is ") for line in lines}
        assert set(report.named(report.truth)[row]) <= shown
        assert len(lines) <= 6


def test_a_report_without_images_draws_none() -> None:
    report = replace(make_report(3), images=None)
    with pytest.raises(InvalidInputError, match="without its images"):
        PredictionsDisplay.from_report(report)
    with pytest.raises(InvalidInputError, match="without embeddings"):
        ClassSimilarityDisplay.from_report(report)


def test_predictions_of_files_and_of_pixels(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    Image.new("RGB", (9, 5), "red").save(file)
    probabilities = {"cat": 0.2, "dog": 0.7, "fox": 0.04, "owl": 0.06}
    predictions = [
        Prediction(str(file), ("dog",), probabilities),
        Prediction("test.csv:0", ("fox", "cat"), probabilities),
    ]
    pixels = LabelledImages(np.zeros((1, 4, 4, 1), np.uint8), ["test.csv:0"], None)
    display = PredictionsDisplay.from_predictions(predictions, pixels)
    assert [line.text for line in display.lines[0]] == ["dog", "cat", "owl"]
    assert [line.text for line in display.lines[1]] == ["cat", "fox", "dog"]
    assert [line.is_bold for line in display.lines[1]] == [True, True, False]
    assert {"photo.png", "test.csv:0", "0.70"} <= set(texts(display))
    assert len(display.ax_.images) == 2


def test_counts_are_drawn_part_by_part() -> None:
    counts = {"train": {"a": 90, "b": 1200}, "val": {}, "test": {"b": 30, "c": 1}}
    display = ClassCountsDisplay(counts).plot()
    # There is no validation image, hence no bar.
    assert [bar.get_width() for bar in display.ax_.patches] == [90, 1200, 0, 0, 30, 1]
    assert legend(display.ax_) == ["train", "test"]
    assert "1,200" in texts(display)
    with pytest.raises(InvalidInputError, match="at least one image"):
        ClassCountsDisplay({"train": {}}).plot()


def test_scores_of_several_labels_have_thresholds() -> None:
    report = make_report(4, several=True)
    left, right = ClassScoresDisplay.from_report(report).axes_
    f1 = [scores["f1"] for scores in report.per_class.values()]
    assert [bar.get_width() for bar in left.patches] == pytest.approx(f1)
    assert [bar.get_width() for bar in right.patches] == report.truth.sum(axis=0).tolist()
    assert "threshold" in legend(left)
    assert "threshold" not in legend(ClassScoresDisplay.from_report(make_report(3)).axes_[0])


def test_a_class_without_images_has_no_scores() -> None:
    keys = ("f1", "precision", "recall", "support")
    scores = {"a": dict.fromkeys(keys, 0.5), "b": dict(zip(keys, (0, 0, np.nan, 0), strict=True))}
    assert "no images" not in texts(ClassScoresDisplay({"a": scores["a"]}).plot())
    display = ClassScoresDisplay(scores).plot()
    assert texts(display).count("no images") == 1
    (recall,) = [line for line in display.axes_[0].lines if line.get_label() == "recall"]
    np.testing.assert_array_equal(recall.get_xdata(), [0.5, np.nan])


def test_similarity_writes_every_cosine() -> None:
    similarity = np.array([[1, 0.62, np.nan], [0.62, 1, np.nan], [np.nan] * 3])
    display = ClassSimilarityDisplay(similarity, ["a", "b", "c"]).plot()
    cells = [text.get_text() for text in display.ax_.texts]
    assert sorted(cells) == ["0.62", "0.62", "1.00", "1.00"]
    with pytest.raises(InvalidInputError, match=r"shape \(2, 2\)"):
        ClassSimilarityDisplay(similarity, ["a", "b"]).plot()


def training(test: ClassificationReport | None) -> ClassifierTraining:
    """Return the report on a training of two epochs."""
    history = {name: [0.5, 0.4] for name in ("loss", "val_loss", "accuracy", "val_accuracy")}
    classes = np.array(["a", "b"])
    task = SimpleNamespace(kind="multiclass")
    classifier: Any = SimpleNamespace(
        history_=history,
        best_epoch_=2,
        temperature_=1.0,
        network="nn",
        task_=task,
        classes_=classes,
    )
    counts = {"train": {"a": 3, "b": 4}, "val": {"a": 1}, "test": {}}
    return ClassifierTraining(Path("clf.keras"), classifier, counts, [], test, 1.0, 0.5)


def test_the_report_of_a_training_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier_report, "save_figure", partial(save_figure, dpi=30))
    folder = tmp_path / "clf-report"
    test = replace(make_report(2), class_similarity=np.eye(2))
    written = save_classifier_report(training(test), folder)
    assert set(written) == set(folder.iterdir())
    assert {file.name for file in written} == {
        "report.json",
        "predictions.csv",
        *(f"{name}.png" for name in ("classes", "confusion", "curves", "predictions", "ranking")),
        *(f"{name}.png" for name in ("reliability", "similarity")),
    }
    figures = json.loads((folder / "report.json").read_text())
    assert figures["test"]["accuracy"] == test.accuracy
    # Nothing is replaced unasked; and of an earlier report nothing remains but others' files.
    (folder / "notes.txt").write_text("mine")
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(OutputExistsError, match=r"report\.json exists"):
        save_classifier_report(training(None), folder)
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    save_classifier_report(training(None), folder, overwrite=True)
    names = {file.name for file in folder.iterdir()}
    assert names == {"report.json", "classes.png", "curves.png", "notes.txt"}


def test_the_report_of_several_labels_has_scores_in_place_of_a_confusion_matrix() -> None:
    test = replace(make_report(4, several=True), class_similarity=np.eye(4))
    displays = dict(classifier_report._displays(training(test)))
    assert "confusion.png" not in displays
    assert len(render_figure(displays["scores.png"], dpi=30)) > 1000


def test_a_folder_that_no_report_can_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such folder"):
        check_report_folder(tmp_path / "none" / "clf-report")
    (tmp_path / "file").touch()
    with pytest.raises(OutputExistsError, match="exists"):
        check_report_folder(tmp_path / "file", overwrite=True)


def test_of_very_many_classes_those_to_look_at_are_drawn() -> None:
    names = [f"class {number}" for number in range(200)]
    table = 5 * np.eye(200, dtype=int)
    table[150, 7] = table[160, 150] = 3
    confusion = ConfusionDisplay(table, names, title="accuracy", max_classes=3).plot()
    ticks = [label.get_text() for label in confusion.ax_.get_yticklabels()]
    assert ticks == ["class 7", "class 150", "class 160"]
    assert confusion.ax_.get_title(loc="left") == "accuracy (3 of 200 classes: the most mistakes)"
    similarity = np.eye(200)
    similarity[3, 9] = similarity[9, 3] = 0.9
    display: Display = ClassSimilarityDisplay(similarity, names, max_classes=2).plot()
    assert {"class 3", "class 9", "0.90"} < set(texts(display))
    scores = {name: dict.fromkeys(("f1", "precision", "recall", "support"), 1.0) for name in names}
    scores["class 42"]["f1"] = 0.5
    display = ClassScoresDisplay(scores, max_classes=1).plot()
    assert "class 42" in texts(display)
    assert "class 41" not in texts(display)
    counts = {"train": {name: 100 + number for number, name in enumerate(names)}}
    display = ClassCountsDisplay(counts, max_classes=4).plot()
    assert {"class 0", "class 1", "class 198", "class 199"} < set(texts(display))
    assert "images (4 of 200 classes: the largest and smallest)" in texts(display)
    # At 150 dots per inch no picture is larger than matplotlib can draw.
    for kind in (confusion, ClassCountsDisplay(counts), ClassScoresDisplay(scores)):
        assert max(kind._size()) * 150 / 72 < 2**16 / 4


@pytest.mark.parametrize("n_classes", [3, 1000])
@pytest.mark.parametrize("name", ["c", "a rather long name of a class {}"])
@pytest.mark.parametrize("title", ["weighted F1 0.912, macro F1 0.870", "My network " * 9])
def test_titles_of_scores_do_not_collide(n_classes: int, name: str, title: str) -> None:
    scores = {
        f"{name} {number}": dict.fromkeys(("f1", "precision", "recall", "support"), 0.5)
        for number in range(n_classes)
    }
    display = ClassScoresDisplay(scores, title=title, max_classes=8).plot()
    figure: Any = display.figure_
    figure.draw_without_rendering()
    titles = [
        text.get_window_extent()
        for axes in display.axes_
        for text in axes.findobj(Text)
        if text.get_text() and text.get_text() == axes.get_title(loc="left")
    ]
    assert len(titles) == 2
    assert titles[0].x1 < titles[1].x0
    assert titles[0].y1 <= figure.bbox.y1


def test_pictures_of_many_classes_can_be_drawn() -> None:
    report = replace(make_report(12), class_similarity=np.eye(12))
    for kind in (ClassScoresDisplay, ClassSimilarityDisplay, RankingCurvesDisplay):
        assert len(render_figure(kind.from_report(report), dpi=30)) > 1000
