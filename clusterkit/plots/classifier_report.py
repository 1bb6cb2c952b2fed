"""Write a classifier report as a folder of figures and tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.plots.class_counts import ClassCountsDisplay
from clusterkit.plots.class_scores import ClassScoresDisplay
from clusterkit.plots.class_similarity import ClassSimilarityDisplay
from clusterkit.plots.confusion import ConfusionDisplay
from clusterkit.plots.display import Display, save_figure
from clusterkit.plots.predictions import PredictionsDisplay
from clusterkit.plots.ranking import RankingCurvesDisplay
from clusterkit.plots.reliability import ReliabilityDisplay
from clusterkit.plots.training import LearningCurvesDisplay
from clusterkit.utils.files import check_output, write_whole
from clusterkit.utils.text import json_text

if TYPE_CHECKING:
    from clusterkit.classifiers.train import ClassifierTraining

_FIGURES, _TABLE = "report.json", "predictions.csv"
_PICTURES = (
    "classes.png",
    "curves.png",
    "confusion.png",
    "scores.png",
    "ranking.png",
    "reliability.png",
    "similarity.png",
    "predictions.png",
)


def report_folder(output: str | Path) -> Path:
    """Return the folder for the report of a classifier: ``NAME-report`` beside ``NAME.keras``.

    Parameters
    ----------
    output : path
        The ``.keras`` file.

    Returns
    -------
    pathlib.Path
        The folder, which need not exist.
    """
    output = Path(output)
    return output.with_name(f"{output.stem}-report")


def check_classifier_report(output: str | Path, *, overwrite: bool = False) -> Path:
    """Check that the report beside a ``.keras`` file can be written."""
    return check_report_folder(report_folder(output), overwrite=overwrite)


def check_report_folder(folder: str | Path, *, overwrite: bool = False) -> Path:
    """Check that a report can be written to a folder.

    Parameters
    ----------
    folder : path
        The folder, which need not exist.
    overwrite : bool
        Whether to overwrite an earlier report.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    NotFoundError
        If the parent folder does not exist.
    OutputExistsError
        If the folder contains a report and ``overwrite`` is False, or is a file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return check_output(folder)
    for name in (_FIGURES, _TABLE, *_PICTURES):
        check_output(folder / name, overwrite=overwrite)
    return folder


def save_classifier_report(
    report: ClassifierTraining, folder: str | Path | None = None, *, overwrite: bool = False
) -> list[Path]:
    """Write a training report to a folder.

    Parameters
    ----------
    report : ClassifierTraining
        From :func:`clusterkit.classifiers.train_classifier`.
    folder : path, optional
        The folder, by default that of :func:`report_folder`; created if it does not exist.  Its
        files are

        - ``report.json``: all figures;
        - ``classes.png``: the number of images of each class;
        - ``curves.png``: loss and accuracy of training and validation;

        and, with test images,

        - ``predictions.csv``: truth, prediction and every class's probability for each image;
        - ``predictions.png``: the worst mistakes;
        - ``confusion.png``, or ``scores.png`` for multi-label classifiers;
        - ``ranking.png``: ROC and precision-recall curves;
        - ``reliability.png``: the reliability diagram;
        - ``similarity.png``: the similarity of classes.
    overwrite : bool
        Whether to overwrite an earlier report.

    Returns
    -------
    list of pathlib.Path
        The written files.

    Raises
    ------
    NotFoundError, OutputExistsError
        As for :func:`check_report_folder`.
    """
    folder = check_report_folder(folder or report_folder(report.output), overwrite=overwrite)
    folder.mkdir(exist_ok=True)
    for name in (_FIGURES, _TABLE, *_PICTURES):
        # Remove figures of an earlier report that this one does not have.
        (folder / name).unlink(missing_ok=True)
    written = [folder / _FIGURES]
    write_whole(written[0], json_text(report.to_dict()))
    if report.test is not None:
        written.append(folder / _TABLE)
        report.test.to_csv(written[1])
    for name, display in _displays(report):
        written.append(save_figure(display, folder / name))
    return written


def _displays(report: ClassifierTraining) -> Iterator[tuple[str, Display]]:
    """Yield file names and displays of the available results."""
    yield "classes.png", ClassCountsDisplay.from_report(report)
    yield "curves.png", LearningCurvesDisplay.from_classifier(report.classifier)
    test = report.test
    if test is None:
        return
    yield "predictions.png", PredictionsDisplay.from_report(test)
    yield "reliability.png", ReliabilityDisplay.from_report(test)
    yield "similarity.png", ClassSimilarityDisplay.from_report(test)
    if test.is_multilabel:
        yield "scores.png", ClassScoresDisplay.from_report(test)
    else:
        yield "confusion.png", ConfusionDisplay.from_report(test)
    if "roc_auc" in test.macro:
        yield "ranking.png", RankingCurvesDisplay.from_report(test)
