"""How good a classifier is on images that it did not learn from."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.tasks import MULTILABEL, Task
from clusterkit.errors import InvalidInputError
from clusterkit.files import write_whole
from clusterkit.paths import escape_path

_MEASURES = ("precision", "recall", "f1")


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """Predictions beside the truth.

    Attributes
    ----------
    classes : list of str
        The classes.
    names : list of str
        The images.
    truth, predicted : ndarray of shape (n, n_classes), bool
        Which classes each image shows, and which were predicted.
    probabilities : ndarray of shape (n, n_classes), float32
        As predicted.
    is_multilabel : bool
        Whether an image may have any number of classes.
    """

    classes: list[str]
    names: list[str]
    truth: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    is_multilabel: bool

    @classmethod
    def from_predictions(
        cls,
        task: Task,
        names: Sequence[str],
        y: Sequence[Any],
        probabilities: NDArray[np.float32],
        thresholds: NDArray[np.float64] | None = None,
    ) -> "ClassificationReport":
        """Hold predictions against known labels.

        Parameters
        ----------
        task : Task
            Of the classifier.
        names : sequence of str
            The images.
        y : sequence
            Their labels.
        probabilities : ndarray of shape (n, n_classes)
            As of ``Classifier.predict_proba``.
        thresholds : ndarray of shape (n_classes,), optional
            As of ``Classifier.thresholds_``.

        Raises
        ------
        InvalidInputError
            If there is no image, or a label is unknown.
        """
        if not len(names):
            raise InvalidInputError("a report needs at least one image. Received: none")
        return cls(
            [str(name) for name in task.classes],
            list(names),
            task.indicators(y),
            task.decide(probabilities, thresholds),
            probabilities,
            task.kind == MULTILABEL,
        )

    @property
    def accuracy(self) -> float:
        """Fraction of images whose class, or whose whole set of classes, is predicted."""
        return float((self.truth == self.predicted).all(axis=1).mean())

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """``precision``, ``recall``, ``f1`` and ``support`` (number of images) of each class.

        A measure whose denominator is 0 counts as 0.
        """
        scores = np.column_stack([*self._scores(), self.truth.sum(axis=0)])
        return {
            name: dict(zip((*_MEASURES, "support"), map(float, row), strict=True))
            for name, row in zip(self.classes, scores, strict=True)
        }

    @property
    def macro(self) -> dict[str, float]:
        """Mean of each measure over the classes that the images show."""
        present = self.truth.any(axis=0)
        means = self._scores()[:, present].mean(axis=1)
        return dict(zip(_MEASURES, map(float, means), strict=True))

    @property
    def weighted(self) -> dict[str, float]:
        """Mean of each measure over the classes, weighted by their number of images."""
        support = self.truth.sum(axis=0)
        means = self._scores() @ support / max(support.sum(), 1)
        return dict(zip(_MEASURES, map(float, means), strict=True))

    @property
    def confusion(self) -> NDArray[np.int64] | None:
        """Number of images of each class (rows) predicted as each (columns).

        None where an image may have several classes.
        """
        if self.is_multilabel:
            return None
        return self.truth.T.astype(np.int64) @ self.predicted.astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON-able values."""
        confusion = self.confusion
        return {
            "n": len(self.names),
            "accuracy": self.accuracy,
            "macro": self.macro,
            "weighted": self.weighted,
            "classes": self.per_class,
            "confusion": None if confusion is None else confusion.tolist(),
        }

    def to_text(self) -> str:
        """Return a table of the figures, for people."""
        width = max(len("weighted"), *map(len, self.classes))
        rows = [f"{'':{width}}  precision  recall     f1  images"]
        averages = {"macro": self.macro, "weighted": self.weighted}
        for name, scores in (self.per_class | averages).items():
            support = int(scores.get("support", len(self.names)))
            rows.append(
                f"{name:{width}}  {scores['precision']:9.3f}  {scores['recall']:6.3f}  "
                f"{scores['f1']:5.3f}  {support:6}"
            )
        what = "all classes of the image right" if self.is_multilabel else "accuracy"
        return "\n".join([*rows, f"{what}: {self.accuracy:.3f} of {len(self.names)} images"])

    def to_csv(self, path: str | Path) -> None:
        """Write a line an image: file name, truth, prediction, and each class's probability."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["filename", "truth", "prediction", *self.classes])
        for row, name in enumerate(self.names):
            numbers = [f"{value:.6f}" for value in self.probabilities[row]]
            sides = (self._joined(self.truth[row]), self._joined(self.predicted[row]))
            writer.writerow([escape_path(name), *sides, *numbers])
        write_whole(path, text.getvalue())

    def _joined(self, row: NDArray[np.bool_]) -> str:
        """Return the classes of an image in one cell, as labels are read."""
        return "|".join(name for name, shown in zip(self.classes, row, strict=True) if shown)

    def _scores(self) -> NDArray[np.float64]:
        """Return precision, recall and F1 of each class, of shape (3, n_classes)."""
        hits = (self.truth & self.predicted).sum(axis=0)
        n_true, n_predicted = self.truth.sum(axis=0), self.predicted.sum(axis=0)
        return np.stack(
            [
                hits / np.maximum(n_predicted, 1),
                hits / np.maximum(n_true, 1),
                2 * hits / np.maximum(n_true + n_predicted, 1),
            ]
        )
