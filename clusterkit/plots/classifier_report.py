"""All that is known of a classifier, as a folder of pictures and tables."""

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
from clusterkit.utils.paths import json_text

if TYPE_CHECKING:
    from clusterkit.classifiers.train import TrainingReport

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


def check_report_folder(folder: str | Path, *, overwrite: bool = False) -> Path:
    """Check, before any work is done, that a report can be written to this folder.

    Parameters
    ----------
    folder : path
        The folder, which need not exist.
    overwrite : bool
        Whether an earlier report in it may be replaced.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    NotFoundError
        If the folder that it shall lie in does not exist.
    OutputExistsError
        If it holds a report and ``overwrite`` is false, or is a file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return check_output(folder)
    for name in (_FIGURES, _TABLE, *_PICTURES):
        check_output(folder / name, overwrite=overwrite)
    return folder


def save_classifier_report(
    report: "TrainingReport", folder: str | Path, *, overwrite: bool = False
) -> list[Path]:
    """Write what a training reached, for a person to look at.

    Parameters
    ----------
    report : TrainingReport
        From :func:`clusterkit.classifiers.train_classifier`.
    folder : path
        Where to; it is made where it does not exist.  In it are

        - ``report.json``: all figures;
        - ``classes.png``: the number of images of each class;
        - ``curves.png``: loss and accuracy of training and validation;

        and where there were test images,

        - ``predictions.csv``: truth, prediction and every class's probability for each image;
        - ``predictions.png``: the worst mistakes;
        - ``confusion.png``, or with several labels an image ``scores.png``;
        - ``ranking.png``: ROC and precision-recall curves;
        - ``reliability.png``: whether probabilities come true;
        - ``similarity.png``: how near the classes lie to each other.
    overwrite : bool
        Whether an earlier report may be replaced.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    NotFoundError, OutputExistsError
        As :func:`check_report_folder`.
    """
    folder = check_report_folder(folder, overwrite=overwrite)
    folder.mkdir(exist_ok=True)
    for name in (_FIGURES, _TABLE, *_PICTURES):
        # A picture that this report has not shall not remain of an earlier one.
        (folder / name).unlink(missing_ok=True)
    written = [folder / _FIGURES]
    write_whole(written[0], json_text(report.to_dict()))
    if report.test is not None:
        written.append(folder / _TABLE)
        report.test.to_csv(written[1])
    for name, display in _displays(report):
        written.append(save_figure(display, folder / name))
    return written


def _displays(report: "TrainingReport") -> Iterator[tuple[str, Display]]:
    """Yield the pictures that there are figures for."""
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
