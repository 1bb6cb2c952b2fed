"""Predict images, and sort files into the folders of their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from clusterkit.classifiers.classifier import Classifier
from clusterkit.classifiers.evaluation import prediction_table
from clusterkit.classifiers.tasks import MULTILABEL
from clusterkit.datasets.labelled_images import LabelledImages, is_table, read_labelled
from clusterkit.datasets.results import Result, Rows, TableResult
from clusterkit.errors import InvalidInputError
from clusterkit.images.batches import list_files, pixel_batches
from clusterkit.images.folder import ImageFolder, as_image_folder
from clusterkit.images.pixels import as_images
from clusterkit.images.thumbnails import thumbnails
from clusterkit.routing.sorting import Sorting, check_local, sort_into_folders
from clusterkit.utils.arguments import is_number
from clusterkit.utils.html import Markup
from clusterkit.utils.locations import as_path
from clusterkit.utils.parallel import default_batch_size
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import plural, printable

UNSURE = "unsure"
# Number of pictures in a notebook.
_SHOWN = 20


class Prediction(NamedTuple):
    """Prediction for one image.

    Attributes
    ----------
    name : str
        The image: its file, or its row in a table.
    classes : tuple of str
        The most probable class; for multilabel tasks, all classes above their thresholds.
    probabilities : dict of str to float
        Probability of each class.
    """

    name: str
    classes: tuple[str, ...]
    probabilities: dict[str, float]

    @property
    def probability(self) -> float:
        """Probability of the most probable class."""
        return max(self.probabilities.values())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "path": self.name,
            "classes": list(self.classes),
            "probability": self.probability,
            "probabilities": self.probabilities,
        }

    def to_text(self) -> str:
        """Return the predicted classes with their probability, and the name, as one line."""
        shown = ", ".join(f"{name} {self.probabilities[name]:.3f}" for name in self.classes)
        return printable(f"{shown or '(none)'}  {self.name}")


@dataclass(frozen=True, repr=False)
class Routing(Result):
    """Result of :func:`route`.

    Attributes
    ----------
    sorting : Sorting
        The performed or planned transfers.
    predictions : list of Prediction
        Predictions of the files, in order.
    failures : list of (str, str)
        Path and reason of each unreadable file, which is not moved.
    """

    sorting: Sorting
    predictions: list[Prediction]
    failures: list[tuple[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return self.sorting.to_dict() | Predictions(self.predictions, self.failures).to_dict()

    def to_text(self) -> str:
        """Return the number of files in each folder."""
        return self.sorting.to_text()

    def _headline(self) -> str:
        """Return the number of files."""
        return self.sorting._headline()


@dataclass(frozen=True, repr=False)
class Predictions(TableResult):
    """Result of :func:`classify`.

    Attributes
    ----------
    predictions : list of Prediction
        Predictions of all readable images, in order.
    failures : list of (str, str)
        Path and reason of each unreadable image.
    """

    predictions: list[Prediction]
    failures: list[tuple[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "predictions": [prediction.to_dict() for prediction in self.predictions],
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
        }

    def to_text(self) -> str:
        """Return the predicted classes with their probability, and the name of each image."""
        return "\n".join(prediction.to_text() for prediction in self.predictions)

    def _headline(self) -> str:
        """Return the number of images, and of those that cannot be read."""
        failed = f", {len(self.failures):,} cannot be read" if self.failures else ""
        return f"{plural(len(self.predictions), 'prediction')}{failed}"

    def _table(self) -> Rows:
        """Return the classes and all probabilities of each image."""
        probabilities = [prediction.probabilities for prediction in self.predictions]
        return prediction_table(
            [prediction.name for prediction in self.predictions],
            {"prediction": [prediction.classes for prediction in self.predictions]},
            list(probabilities[0]) if probabilities else [],
            np.array([list(one.values()) for one in probabilities]),
        )

    def _table_shown(self) -> Rows:
        """Return pictures, classes and their probability."""
        pictures = thumbnails(prediction.name for prediction in self.predictions[:_SHOWN])
        pictures += [Markup()] * (len(self.predictions) - len(pictures))
        rows = [
            [picture, Path(one.name).name, ", ".join(one.classes), one.probability]
            for picture, one in zip(pictures, self.predictions, strict=True)
        ]
        return Rows(["", "image", "prediction", "probability"], rows)


def open_images(
    sources: Sequence[str | Path], *, exclude: Sequence[str] = ()
) -> ImageFolder | LabelledImages:
    """Open images to predict.

    Parameters
    ----------
    sources : sequence of path
        Files, folders and ``.txt`` lists of paths; or a table with a column per pixel, a table of
        files, or idx files as of MNIST, whose labels are ignored.
    exclude : sequence of str
        Patterns of files to exclude; see :class:`~clusterkit.images.folder.ImageFolder`.

    Returns
    -------
    ImageFolder or LabelledImages
        For :func:`classify`.
    """
    if len(sources) == 1 and is_table(source := as_path(sources[0])):
        return read_labelled(source, exclude=exclude, ignore_labels=True)
    return ImageFolder(sources, exclude=exclude)


def classify(
    images: ImageFolder | LabelledImages | str | Path | Sequence[str | Path],
    classifier: Classifier | str | Path,
    *,
    progress: bool = False,
) -> Predictions:
    """Predict images in batches.

    Parameters
    ----------
    images : ImageFolder, LabelledImages, path, or sequence of paths
        The images; labels are ignored.  One path is a source of :func:`open_images`.
    classifier : Classifier or path
        A fitted classifier, or its ``.keras`` file.
    progress : bool
        Whether to show a progress bar on stderr.

    Returns
    -------
    Predictions
        Predictions of the readable images, and reasons for the others.
    """
    classifier = as_classifier(classifier)
    if isinstance(images, str | Path):
        images = open_images([images])
    if isinstance(images, LabelledImages):
        inputs, names = images.images, images.names
    else:
        inputs = list_files(images)
        names = [str(file) for file in inputs]
    classes = [str(name) for name in classifier.classes_]
    predictions, failures = [], []
    with progress_bar(name="Predicting", total=len(names), unit=" images", enabled=progress) as bar:
        for rows, pixels, failed in pixel_batches(
            as_images(inputs),
            classifier.input_shape_,
            default_batch_size(),
            resize=classifier.resize,
        ):
            # A batch of unreadable files has no pixels.
            if rows:
                probabilities = classifier.predict_proba(pixels)
                chosen = classifier.task_.decide(probabilities, classifier.thresholds_)
                for row, numbers, shown in zip(rows, probabilities, chosen, strict=True):
                    values = dict(zip(classes, map(float, numbers), strict=True))
                    found = tuple(name for name, is_in in zip(classes, shown, strict=True) if is_in)
                    predictions.append(Prediction(names[row], found, values))
            failures += [(names[row], reason) for row, reason in failed]
            bar.update(len(rows) + len(failed))
    return Predictions(predictions, failures)


def route(
    images: ImageFolder | str | Path | Sequence[str | Path],
    classifier: Classifier | str | Path,
    into: str | Path,
    *,
    mode: str = "copy",
    threshold: float = 0.5,
    dry_run: bool = False,
    progress: bool = False,
) -> Routing:
    """Sort images into the folders of their predicted classes.

    Parameters
    ----------
    images : ImageFolder, path, or sequence of paths
        The images; unreadable ones are listed and not moved.
    classifier : Classifier or path
        A fitted classifier with one class per image, or its ``.keras`` file.
    into : path
        Parent of the class folders.
    mode : {"copy", "link", "move"}
        See :func:`clusterkit.routing.sort_into_folders`, which can be continued after an
        interruption, and undone with :func:`clusterkit.routing.undo`.
    threshold : float
        Images whose class is less probable go to ``unsure``.
    dry_run : bool
        Whether to only plan, without writing anything.
    progress : bool
        Whether to show progress bars on stderr.

    Returns
    -------
    Routing
        The transfers, predictions and failures.

    Raises
    ------
    InvalidInputError
        If the threshold is out of range, the classifier is multilabel, a class is called
        ``unsure``, or no image can be read.
    """
    if not (is_number(threshold) and 0 <= threshold <= 1):
        raise InvalidInputError(f"threshold must be between 0 and 1. Received: {threshold!r}")
    images, classifier = as_image_folder(images), as_classifier(classifier)
    if classifier.task_.kind == MULTILABEL:
        raise InvalidInputError(
            "only a classifier with one class per image can sort images into folders. Received: "
            "one with several labels per image; use `clusterkit predict` for its predictions"
        )
    if UNSURE in map(str, classifier.classes_):
        raise InvalidInputError(f"{UNSURE!r} must not be a class: it is the folder for the others")
    check_local(images.files)
    found = classify(images, classifier, progress=progress)
    predictions, failures = found.predictions, found.failures
    if not predictions:
        raise InvalidInputError(
            f"none of the {len(images):,} images can be read, such as {failures[0][0]}: "
            f"{failures[0][1]}"
        )
    names = [p.classes[0] if p.probability >= threshold else UNSURE for p in predictions]
    files = [prediction.name for prediction in predictions]
    sorting = sort_into_folders(files, names, into, mode=mode, dry_run=dry_run, progress=progress)
    return Routing(sorting, predictions, failures)


def as_classifier(classifier: Classifier | str | Path) -> Classifier:
    """Return a classifier itself, which must be fitted, or the one in a ``.keras`` file."""
    if isinstance(classifier, str | Path):
        return Classifier.load(classifier)
    check_is_fitted(classifier)
    return classifier
