"""Predict files, and send each into the folder of its class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from clusterkit.classifiers.classifier import Classifier
from clusterkit.classifiers.inputs import list_files
from clusterkit.classifiers.tasks import MULTILABEL
from clusterkit.datasets.labelled_images import LabelledImages
from clusterkit.errors import InvalidInputError
from clusterkit.images.folder import ImageFolder
from clusterkit.routing.sorting import Sorting, sort_into_folders

UNSURE = "unsure"


class Prediction(NamedTuple):
    """What a classifier says of one image.

    Attributes
    ----------
    name : str
        The image: its file, or its place in a table.
    classes : tuple of str
        The most probable class, or all above their threshold where there may be several.
    probabilities : dict of str to float
        Of every class.
    """

    name: str
    classes: tuple[str, ...]
    probabilities: dict[str, float]

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return max(self.probabilities.values())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "path": self.name,
            "classes": list(self.classes),
            "probability": self.probability,
            "probabilities": self.probabilities,
        }


@dataclass(frozen=True)
class Routing:
    """Where files were sent, or would be.

    Attributes
    ----------
    sorting : Sorting
        What was done.
    predictions : list of Prediction
        Of the files, in order.
    failures : list of (str, str)
        Path and reason of each file that could not be read; it stays where it is.
    """

    sorting: Sorting
    predictions: list[Prediction]
    failures: list[tuple[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return self.sorting.to_dict() | {
            "predictions": [prediction.to_dict() for prediction in self.predictions],
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
        }


def classify(
    images: ImageFolder | LabelledImages | Sequence[str | Path],
    classifier: Classifier,
    *,
    progress: bool = False,
) -> tuple[list[Prediction], list[tuple[str, str]]]:
    """Predict images in batches.

    Parameters
    ----------
    images : ImageFolder, LabelledImages, or sequence of paths
        The images; labels are not looked at.
    classifier : Classifier
        Trained.
    progress : bool
        Draw a progress bar on stderr.

    Returns
    -------
    predictions : list of Prediction
        Of all images that can be read, in order.
    failures : list of (str, str)
        Path and reason of the others.
    """
    if isinstance(images, LabelledImages):
        inputs, names = images.images, images.names
    else:
        inputs = list_files(images)
        names = [str(file) for file in inputs]
    classes = [str(name) for name in classifier.classes_]
    predictions, failures = [], []
    with tqdm(
        total=len(names), desc="Predicting", unit=" images", disable=None if progress else True
    ) as bar:
        for rows, probabilities, failed in classifier.predict_batches(inputs):
            chosen = classifier.task_.decide(probabilities, classifier.thresholds_)
            for row, numbers, shown in zip(rows, probabilities, chosen, strict=True):
                values = dict(zip(classes, map(float, numbers), strict=True))
                found = tuple(name for name, is_in in zip(classes, shown, strict=True) if is_in)
                predictions.append(Prediction(names[row], found, values))
            failures += [(names[row], reason) for row, reason in failed]
            bar.update(len(rows) + len(failed))
    return predictions, failures


def route(
    images: ImageFolder,
    classifier: Classifier,
    into: str | Path,
    *,
    mode: str = "copy",
    threshold: float = 0.5,
    dry_run: bool = False,
    progress: bool = False,
) -> Routing:
    """Send images into the folders of their classes.

    Parameters
    ----------
    images : ImageFolder
        The images.  One that cannot be read is listed and stays where it is.
    classifier : Classifier
        Trained on one class an image.
    into : path
        Where the folders are made.
    mode : {"copy", "link", "move"}
        See :func:`clusterkit.routing.sort_into_folders`, which can go on after an interruption and
        whose work :func:`clusterkit.routing.undo` takes back.
    threshold : float
        Images whose class is less probable go to ``unsure``.
    dry_run : bool
        Plan only: nothing is written.
    progress : bool
        Draw progress bars on stderr.

    Returns
    -------
    Routing
        What was done, or planned.

    Raises
    ------
    InvalidInputError
        If the threshold is out of range, an image may have several classes, a class is called
        ``unsure``, or no image can be read.
    """
    if not 0 <= threshold <= 1:
        raise InvalidInputError(f"threshold must be between 0 and 1. Received: {threshold}")
    if classifier.task_.kind == MULTILABEL:
        raise InvalidInputError(
            "only a classifier with one class an image can sort images into folders. Received: "
            "one with several labels an image; its predictions are what `clusterkit predict` gives"
        )
    if UNSURE in map(str, classifier.classes_):
        raise InvalidInputError(f"{UNSURE!r} must not be a class: it is the folder for the others")
    predictions, failures = classify(images, classifier, progress=progress)
    if not predictions:
        raise InvalidInputError(
            f"none of the {len(images)} images can be read, such as {failures[0][0]}: "
            f"{failures[0][1]}"
        )
    names = [p.classes[0] if p.probability >= threshold else UNSURE for p in predictions]
    files = [prediction.name for prediction in predictions]
    sorting = sort_into_folders(files, names, into, mode=mode, dry_run=dry_run, progress=progress)
    return Routing(sorting, predictions, failures)
