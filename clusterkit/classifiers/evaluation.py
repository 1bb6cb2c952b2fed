"""Evaluate a classifier on test images: metrics, calibration, and similarity of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.tasks import MULTILABEL, Task
from clusterkit.classifiers.training.networks import HEAD
from clusterkit.clustering.provenance import (
    LabelOrigin,
    find_origins,
    origins_document,
    scores_text,
)
from clusterkit.datasets.label_tables import LABEL_SEPARATOR
from clusterkit.datasets.labelled_images import LabelledImages
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.errors import InvalidInputError
from clusterkit.images.batches import strict_batches
from clusterkit.networks.runtimes.keras import run_network
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.parallel import default_batch_size
from clusterkit.utils.text import printable, without_nan

if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier

# Columns of the text table, with their headings.
_HEADINGS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "   F1",
    "roc_auc": "ROC AUC",
    "average_precision": "avg. prec.",
    "threshold": "threshold",
    "support": "images",
}
_MEASURES = ("precision", "recall", "f1")
# Keras' smallest probability in a loss.
_EPSILON = 1e-7


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted probabilities and observed accuracy in bins of equal width.

    For single-label tasks, the probability of the predicted class of each image; for multilabel
    tasks, the probability of every class for every image.

    Attributes
    ----------
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins, from 0 to 1.
    counts : ndarray of shape (n_bins,), int
        Number of predictions in each bin.
    confidence : ndarray of shape (n_bins,)
        Their mean probability; NaN in empty bins.
    accuracy : ndarray of shape (n_bins,)
        Fraction of correct predictions; NaN in empty bins.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @classmethod
    def from_predictions(
        cls, probabilities: NDArray[Any], is_right: NDArray[np.bool_], *, n_bins: int = 15
    ) -> Reliability:
        """Compute the bins of predictions.

        Parameters
        ----------
        probabilities : ndarray of shape (n,)
            Predicted probabilities, in [0, 1].
        is_right : ndarray of shape (n,), bool
            Whether each prediction is correct.
        n_bins : int
            Number of bins.
        """
        edges = np.linspace(0, 1, n_bins + 1)
        # Bins include their upper edge, as in Guo et al.
        place = np.clip(np.ceil(probabilities * n_bins).astype(int) - 1, 0, n_bins - 1)
        counts = np.bincount(place, minlength=n_bins)
        filled = np.where(counts, counts, np.nan)
        sums = (np.bincount(place, values, n_bins) for values in (probabilities, is_right))
        confidence, accuracy = (total / filled for total in sums)
        return cls(edges, counts, confidence, accuracy)

    @property
    def expected_error(self) -> float:
        """Expected calibration error, in [0, 1]; 0 is perfect.

        The mean difference between accuracy and probability over the bins, weighted by their
        counts: Guo et al. (2017), "On calibration of modern neural networks", equation 3.
        """
        distances = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(distances * self.counts) / self.counts.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return the error and the non-empty bins as JSON-able values."""
        columns = (self.edges, self.edges[1:], self.counts, self.confidence, self.accuracy)
        names = ("from", "to", "n", "confidence", "accuracy")
        rows = zip(*(column.tolist() for column in columns), strict=False)
        bins = [dict(zip(names, row, strict=True)) for row in rows]
        return {"expected_error": self.expected_error, "bins": [row for row in bins if row["n"]]}


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
        See :func:`class_similarity`.
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
        if not data.labels:
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
        # Sums and not means: with several labels per image, no class may be present.
        sums = self._scores()[:, present].sum(axis=1)
        means = dict(zip(_MEASURES, sums / max(int(present.sum()), 1), strict=True))
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
        lines = [_score_table(self._scores_shown()), self._verdict()]
        if self.origins:
            lines.append(scores_text(self.origins))
        return "\n".join(lines)

    def _verdict(self) -> str:
        """Return the most important metrics as one line."""
        n = len(self.names)
        verdict = f"accuracy: {self.accuracy:.3f} of {n:,} images"
        if self.is_multilabel:
            verdict = (
                f"weighted F1: {self.weighted['f1']:.3f}; all classes of the image right: "
                f"{self.accuracy:.3f} of {n:,} images"
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
        scores = self._scores_shown()
        columns = list(dict.fromkeys(name for _, one in scores for name in one))
        rows = [[name, *(one.get(column) for column in columns)] for name, one in scores]
        return Rows(["", *columns], rows)

    def _scores_shown(self) -> list[tuple[str, Mapping[str, float]]]:
        """Return the metrics of each class, then the averages, whose names a class may have."""
        return [*self.per_class.items(), ("macro", self.macro), ("weighted", self.weighted)]

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


def class_similarity(vectors: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the cosine similarity of the mean vectors of classes.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
        Embeddings of images.
    truth : ndarray of shape (n, n_classes), bool
        The classes of each image.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), float64
        Cosine similarities, in [-1, 1]; NaN for classes without images or with a mean of 0.
    """
    # The cosine does not depend on lengths, so sums can replace means.
    sums = truth.T.astype(np.float64) @ vectors
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    directions = sums / np.where(lengths, lengths, np.nan)
    return np.clip(directions @ directions.T, -1, 1)


def predict_with_features(
    classifier: Classifier, X: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Predict images, and return the inputs of the last layer.

    Parameters
    ----------
    classifier : Classifier
        A fitted classifier.
    X : as for ``Classifier.predict_proba``
        The images, or embeddings by the pretrained network.

    Returns
    -------
    probabilities : ndarray of shape (n, n_classes), float32
        As from ``Classifier.predict_proba``.
    features : ndarray of shape (n, d), float32
        Activations before the last layer; embeddings are returned unchanged.
    """
    if isinstance(X, Embeddings):
        return classifier.predict_proba(X), X.vectors
    import keras

    def show_features(layer: Any) -> Any:
        """Return the layer; the last one is replaced by a network that also outputs its input."""
        if layer.name != HEAD:
            return layer
        features = keras.Input(layer.input.shape[1:])
        outputs = keras.layers.Concatenate(dtype="float32")([features, layer(features)])
        return keras.Model(features, outputs)

    network = keras.models.clone_model(classifier.model_, clone_function=show_features)
    size = default_batch_size()
    batches = strict_batches(X, classifier.input_shape_, size, resize=classifier.resize)
    found = np.concatenate([run_network(network, pixels, size) for _, pixels in batches])
    features, outputs = np.split(found, [-classifier.task_.n_outputs], axis=1)
    return classifier.task_.probabilities(outputs), features


def prediction_table(
    names: Sequence[str],
    labels: Mapping[str, Sequence[Sequence[str]]],
    classes: Sequence[str],
    probabilities: NDArray[np.floating],
) -> Rows:
    """Return file name, labels and each class's probability of each image.

    Parameters
    ----------
    names : sequence of str, length n
        The images.
    labels : mapping of str to sequence of length n
        Columns of labels, such as ``truth`` and ``prediction``: the classes of each image, joined
        with ``|``.
    classes : sequence of str
        The columns of ``probabilities``.  A class that is called as another column gets the heading
        ``probability of NAME``.
    probabilities : ndarray of shape (n, n_classes)
        Predicted probabilities.
    """
    rows = [
        [name, *(LABEL_SEPARATOR.join(column[row]) for column in labels.values()), *values]
        for row, (name, values) in enumerate(zip(names, probabilities.tolist(), strict=True))
    ]
    columns = ["filename", *labels]
    headings = [f"probability of {name}" if name in columns else name for name in classes]
    return Rows([*columns, *headings], rows, decimals=6)


def _score_table(scores: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Format metrics as a text table.

    Parameters
    ----------
    scores : sequence of (str, mapping of str to float)
        Metrics of each class or average, with its name; metrics that none of them has are left
        out.  Undefined metrics of a class are written as ``-``.
    """
    has = set().union(*(row for _, row in scores))
    columns = {key: title for key, title in _HEADINGS.items() if key in has}
    named = [(printable(name), row) for name, row in scores]
    width = max(len(name) for name, _ in named)
    lines = ["  ".join([" " * width, *columns.values()])]
    for name, row in named:
        # An average has no number of images.
        undefined = "-" if "support" in row else ""
        cells = [
            _cell(key, row.get(key), undefined).rjust(len(title)) for key, title in columns.items()
        ]
        lines.append("  ".join([f"{name:{width}}", *cells]).rstrip())
    return "\n".join(lines)


def _cell(key: str, value: float | None, undefined: str) -> str:
    """Format one value."""
    if value is None or np.isnan(value):
        return undefined
    return f"{value:.0f}" if key == "support" else f"{value:.3f}"
