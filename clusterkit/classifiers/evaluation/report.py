"""Evaluation of a classifier on test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.class_similarity import class_similarity, predict_with_features
from clusterkit.classifiers.evaluation.reliability import Reliability
from clusterkit.classifiers.evaluation.tables import prediction_table, score_table
from clusterkit.classifiers.tasks import MULTILABEL, Task
from clusterkit.clustering.provenance import (
    LabelOrigin,
    find_origins,
    origins_document,
    scores_text,
)
from clusterkit.datasets.labelled_images import LabelledImages
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.errors import InvalidInputError
from clusterkit.utils.noise import without_nan

if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier

_MEASURES = ("precision", "recall", "f1")
# Keras' smallest probability in a loss.
_EPSILON = 1e-7


@dataclass(frozen=True, eq=False, repr=False)
class ClassificationReport(TableResult):
    """Predictions and true classes of images, with metrics.

    Attributes
    ----------
    classes : list of str
        The classes.
    names : list of str
        The images.
    truth, predicted : ndarray of shape (n, n_classes), bool
        True and predicted classes of each image.
    probabilities : ndarray of shape (n, n_classes), float32
        Predicted probabilities.
    is_multilabel : bool
        Whether images may have any number of classes.
    thresholds : ndarray of shape (n_classes,), or None
        For multilabel tasks, the probabilities from which classes are predicted.
    images : list of path, or ndarray of shape (n, height, width, channels), uint8, or None
        The images, for figures.
    class_similarity : ndarray of shape (n_classes, n_classes), or None
        See :func:`~clusterkit.classifiers.class_similarity.class_similarity`.
    origins : tuple of LabelOrigin
        The clusterings that the true classes came from, if known; see
        :func:`~clusterkit.clustering.provenance.find_origins`.
    """

    classes: list[str]
    names: list[str]
    truth: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    is_multilabel: bool
    thresholds: NDArray[np.float64] | None = None
    images: list[Path] | NDArray[np.uint8] | None = None
    class_similarity: NDArray[np.float64] | None = None
    origins: tuple[LabelOrigin, ...] = ()

    @classmethod
    def from_classifier(
        cls, classifier: Classifier, data: LabelledImages, *, inputs: Any = None
    ) -> ClassificationReport:
        """Evaluate a classifier on labelled images.

        Parameters
        ----------
        classifier : Classifier
            A fitted classifier.
        data : LabelledImages
            Images that are not in the training set, see :func:`clusterkit.read_labelled`.
        inputs : as for ``Classifier.predict_proba``, optional
            Inputs to use instead of the images, such as their embeddings.

        Returns
        -------
        ClassificationReport
            The report, with the images and the similarity of the classes.

        Raises
        ------
        InvalidInputError
            If there is no image, or a label is missing or unknown.
        """
        if data.labels is None:
            raise InvalidInputError("a report needs images with labels. Received: none")
        X = data.images if inputs is None else inputs
        probabilities, vectors = predict_with_features(classifier, X)
        report = cls.from_predictions(
            classifier.task_, data.names, data.labels, probabilities, classifier.thresholds_
        )
        return replace(
            report,
            images=data.images,
            class_similarity=class_similarity(vectors, report.truth),
            origins=find_origins(data),
        )

    @classmethod
    def from_predictions(
        cls,
        task: Task,
        names: Sequence[str],
        y: Sequence[Any],
        probabilities: NDArray[np.float32],
        thresholds: NDArray[np.float64] | None = None,
    ) -> ClassificationReport:
        """Compare predictions with known labels.

        Parameters
        ----------
        task : Task
            The task of the classifier.
        names : sequence of str
            The images.
        y : sequence
            Their true labels.
        probabilities : ndarray of shape (n, n_classes)
            As from ``Classifier.predict_proba``.
        thresholds : ndarray of shape (n_classes,), optional
            As from ``Classifier.thresholds_``.

        Returns
        -------
        ClassificationReport
            The report, without images.

        Raises
        ------
        InvalidInputError
            If there is no image, a label is unknown, or a probability is NaN.
        """
        if not len(names):
            raise InvalidInputError("a report needs at least one image. Received: none")
        if not np.isfinite(probabilities).all():
            raise InvalidInputError(
                "probabilities must be numbers. Received: NaN, as of a training that diverged"
            )
        return cls(
            [str(name) for name in task.classes],
            list(names),
            task.indicators(y),
            task.decide(probabilities, thresholds),
            probabilities,
            task.kind == MULTILABEL,
            thresholds,
        )

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether exactly the true classes of each image are predicted, of shape (n,)."""
        return (self.truth == self.predicted).all(axis=1)

    @property
    def accuracy(self) -> float:
        """Fraction of images whose class, or exact set of classes, is predicted."""
        return float(self.is_right.mean())

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """Metrics of each class.

        ``precision``, ``recall``, ``f1``, ``support`` (number of images), ``roc_auc`` and
        ``average_precision`` (missing if all images or none are of the class) and, for multilabel
        tasks, ``threshold``.  Without images of a class its recall is NaN and, if it is never
        predicted either, so are precision and F1.  A class with images that is never predicted has
        a precision of 0, as in scikit-learn.
        """
        columns = [*self._scores(), self.truth.sum(axis=0)]
        names = [*_MEASURES, "support"]
        if self.thresholds is not None:
            columns.append(self.thresholds)
            names.append("threshold")
        return {
            name: dict(zip(names, map(float, row), strict=True)) | self._ranking.get(name, {})
            for name, row in zip(self.classes, zip(*columns, strict=True), strict=True)
        }

    @property
    def macro(self) -> dict[str, float]:
        """Mean of each metric over the classes with images for which it is defined."""
        present = self.truth.any(axis=0)
        means = dict(zip(_MEASURES, self._scores()[:, present].mean(axis=1), strict=True))
        for name in ("roc_auc", "average_precision") if self._ranking else ():
            means[name] = np.mean([scores[name] for scores in self._ranking.values()])
        return {name: float(mean) for name, mean in means.items()}

    @property
    def weighted(self) -> dict[str, float]:
        """Mean of each metric over the classes, weighted by their number of images."""
        support = self.truth.sum(axis=0)
        # Only scores of classes without images are NaN.
        means = np.nan_to_num(self._scores()) @ support / max(int(support.sum()), 1)
        return dict(zip(_MEASURES, map(float, means), strict=True))

    @property
    def losses(self) -> NDArray[np.float64]:
        """Log loss of each image, of shape (n,); for multilabel tasks, the mean over classes."""
        given = np.where(self.truth, self.probabilities, 1 - self.probabilities)
        losses = -np.log(np.clip(given.astype(np.float64), _EPSILON, 1))
        return losses.mean(axis=1) if self.is_multilabel else losses[self.truth]

    @property
    def log_loss(self) -> float:
        """Mean of the losses."""
        return float(self.losses.mean())

    @property
    def reliability(self) -> Reliability:
        """Calibration of the probabilities."""
        if self.is_multilabel:
            return Reliability.from_predictions(self.probabilities.ravel(), self.truth.ravel())
        return Reliability.from_predictions(self.probabilities.max(axis=1), self.is_right)

    @property
    def worst_first(self) -> NDArray[np.intp]:
        """Rows of all images, those most worth reviewing first.

        Mistakes by descending confidence, then correct predictions by ascending confidence; for
        multilabel tasks, by descending loss.
        """
        if self.is_multilabel:
            return np.argsort(-self.losses, kind="stable")
        sureness = self.probabilities.max(axis=1)
        return np.lexsort((np.where(self.is_right, sureness, -sureness), self.is_right))

    @property
    def confusion(self) -> NDArray[np.int64] | None:
        """Confusion matrix: true classes in rows, predicted ones in columns.

        None for multilabel tasks.
        """
        if self.is_multilabel:
            return None
        return self.truth.T.astype(np.int64) @ self.predicted.astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return all metrics as JSON-able values."""
        confusion, similarity = self.confusion, self.class_similarity
        classes = {
            name: {key: None if np.isnan(value) else value for key, value in scores.items()}
            for name, scores in self.per_class.items()
        }
        return {
            "n": len(self.names),
            "accuracy": self.accuracy,
            "log_loss": self.log_loss,
            "macro": self.macro,
            "weighted": self.weighted,
            "classes": classes,
            "confusion": None if confusion is None else confusion.tolist(),
            "calibration": self.reliability.to_dict(),
            "class_similarity": None if similarity is None else without_nan(similarity),
            "labels_from_clusters": origins_document(self.origins),
        }

    def to_text(self) -> str:
        """Return the metrics as a text table, with a note if the labels came from clusters."""
        averages = {"macro": self.macro, "weighted": self.weighted}
        lines = [score_table(self.per_class | averages), self._verdict()]
        if self.origins:
            lines.append(scores_text(self.origins))
        return "\n".join(lines)

    def _verdict(self) -> str:
        """Return the most important metrics as one line."""
        n = len(self.names)
        verdict = f"accuracy: {self.accuracy:.3f} of {n} images"
        if self.is_multilabel:
            verdict = (
                f"weighted F1: {self.weighted['f1']:.3f}; all classes of the image right: "
                f"{self.accuracy:.3f} of {n} images"
            )
        error = self.reliability.expected_error
        return f"{verdict}; loss {self.log_loss:.3f}; calibration error {error:.3f}"

    def _headline(self) -> str:
        """Return the verdict, with a note if the labels came from clusters."""
        return f"{self._verdict()}{'; the labels came from clusters' if self.origins else ''}"

    def _table(self) -> Rows:
        """Return file name, truth, prediction and each class's probability of each image."""
        labels = {"truth": self.named(self.truth), "prediction": self.named(self.predicted)}
        return prediction_table(self.names, labels, self.classes, self.probabilities)

    def _table_shown(self) -> Rows:
        """Return the metrics of each class."""
        scores = self.per_class | {"macro": self.macro, "weighted": self.weighted}
        columns = list(dict.fromkeys(name for one in scores.values() for name in one))
        rows = [[name, *(one.get(column) for column in columns)] for name, one in scores.items()]
        return Rows(["", *columns], rows)

    def named(self, indicators: NDArray[np.bool_]) -> list[list[str]]:
        """Convert indicators to lists of class names."""
        return [[self.classes[column] for column in np.flatnonzero(row)] for row in indicators]

    @cached_property
    def _ranking(self) -> dict[str, dict[str, float]]:
        """Metrics without a threshold, of the classes of some but not all images."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        usable = self.truth.any(axis=0) & ~self.truth.all(axis=0)
        measures = {"roc_auc": roc_auc_score, "average_precision": average_precision_score}
        return {
            self.classes[column]: {
                name: float(measure(self.truth[:, column], self.probabilities[:, column]))
                for name, measure in measures.items()
            }
            for column in np.flatnonzero(usable)
        }

    def _scores(self) -> NDArray[np.float64]:
        """Return precision, recall and F1 of each class, of shape (3, n_classes)."""
        hits = (self.truth & self.predicted).sum(axis=0)
        n_true, n_predicted = self.truth.sum(axis=0), self.predicted.sum(axis=0)
        scores = np.stack(
            [
                hits / np.maximum(n_predicted, 1),
                hits / np.maximum(n_true, 1),
                2 * hits / np.maximum(n_true + n_predicted, 1),
            ]
        )
        scores[:, (n_true == 0) & (n_predicted == 0)] = np.nan
        scores[_MEASURES.index("recall"), n_true == 0] = np.nan
        return scores
