"""Find images whose label is probably wrong, by out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from clusterkit.classifiers.classifier import Classifier, check_classifier
from clusterkit.classifiers.confident_learning import find_errors
from clusterkit.classifiers.tasks import MULTILABEL, Task, as_labels
from clusterkit.classifiers.train import read_inputs, take_known_weights
from clusterkit.clustering.provenance import (
    LabelOrigin,
    find_not_copies,
    find_origins,
    origins_document,
    origins_text,
)
from clusterkit.datasets.labelled_images import LabelledImages, read_labelled
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.datasets.split import draw_folds
from clusterkit.errors import InvalidInputError
from clusterkit.images.thumbnails import thumbnails
from clusterkit.store.store import Store
from clusterkit.utils.html import Markup
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import join_lines, plural

# Number of pictures in a notebook.
_SHOWN = 20
# Name of the single part that holds all images.
_ALL = "all"
# Rows of probabilities sum to 1 up to this, as float16 or rounded ones do.
_NEARLY = 0.01


class LabelError(NamedTuple):
    """A label that is probably wrong.

    Attributes
    ----------
    row : int
        Row of the image.
    name : str
        The image: its file, or its row in a table.
    given, suggested : str
        The label, and the class that is probably right.  If images may have several classes, one of
        them and ``not`` of it, in either order.
    given_probability, suggested_probability : float
        Their probabilities, predicted by a classifier that did not learn from this image.
    score : float
        Normalised margin: half of the difference of the two probabilities, plus 1/2.  Near 0 the
        label is almost certainly wrong; 1/2 is a tie.
    """

    row: int
    name: str
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "path": self.name,
            "given": self.given,
            "suggested": self.suggested,
            "given_probability": self.given_probability,
            "suggested_probability": self.suggested_probability,
            "score": self.score,
        }

    def to_text(self) -> str:
        """Return both labels with their probabilities, and the name, as one line."""
        return (
            f"given {self.given} {self.given_probability:.3f}, "
            f"probably {self.suggested} {self.suggested_probability:.3f}  {self.name}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class LabelErrors(TableResult):
    """Labels that are probably wrong, see :func:`find_label_errors`.

    Attributes
    ----------
    errors : list of LabelError
        The labels, worst first.
    n_images : int
        Number of examined images.
    failures : list of (str, str)
        Name and reason of each unreadable image.
    images : list of path, or ndarray of shape (n_images, height, width, channels), uint8, or None
        The images, for figures.
    origins : tuple of LabelOrigin
        The clusterings that labels came from, if known; see
        :func:`~clusterkit.clustering.provenance.find_origins`.
    """

    errors: list[LabelError]
    n_images: int
    failures: list[tuple[str, str]] = field(default_factory=list)
    images: list[Path] | NDArray[np.uint8] | None = None
    origins: tuple[LabelOrigin, ...] = ()

    @classmethod
    def from_predictions(
        cls,
        y: Sequence[Any],
        probabilities: ArrayLike,
        *,
        classes: Sequence[Any] | None = None,
        names: Sequence[str] | None = None,
    ) -> LabelErrors:
        """Find labels that are probably wrong by the predictions of any classifier.

        Parameters
        ----------
        y : sequence of length n, or array of shape (n, n_classes)
            The given labels; see :func:`clusterkit.classifiers.tasks.as_labels`.
        probabilities : array-like of shape (n, n_classes)
            Probability of each class, predicted for images that the classifier did not learn from,
            as from scikit-learn's ``cross_val_predict(..., method="predict_proba")``.
        classes : sequence, optional
            The classes of the columns; by default the columns of a DataFrame of probabilities or
            labels, if they are the classes, otherwise those of the labels, sorted.
        names : sequence of str, optional
            Names of the images; by default their rows.

        Returns
        -------
        LabelErrors
            The labels, worst first.

        Raises
        ------
        InvalidInputError
            If there is only one class, a label is not one of the classes, or the probabilities are
            not numbers from 0 to 1 in the right shape, with rows that sum to 1 unless images may
            have several classes.

        Examples
        --------
        >>> y = ["cat", "cat", "cat", "dog", "dog"]
        >>> p = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]]
        >>> print(LabelErrors.from_predictions(y, p).to_text())
        1 label of 5 images is probably wrong
        given cat 0.100, probably dog 0.900  2
        """
        labels = as_labels(y)
        task = Task.from_labels(labels)
        own = {name: name for name in task.classes.tolist()}
        for table in (probabilities, y):
            columns = list(getattr(table, "columns", ()))
            if classes is None and len(columns) == len(own) and set(columns) == set(own):
                # In whatever order they are.
                classes = [own[name] for name in columns]
        if classes is not None:
            task = replace(task, classes=np.asarray(classes))
        shown = [str(row) for row in range(len(labels))] if names is None else list(names)
        if len(shown) != len(labels):
            raise InvalidInputError(
                f"there must be one name per label. Received: {len(shown):,} names, "
                f"{len(labels):,} labels"
            )
        values = _check_probabilities(probabilities, task, len(labels))
        truth = task.indicators(labels)
        shown_classes = [str(name) for name in task.classes]
        if task.kind != MULTILABEL:
            errors = _list_errors(truth.argmax(axis=1), values, shown_classes, shown)
        else:
            errors = []
            for name, shows, p in zip(shown_classes, truth.T, values.T, strict=True):
                # Each class against its absence.
                pair = np.stack([1 - p, p], axis=1)
                errors += _list_errors(shows.astype(np.intp), pair, [f"not {name}", name], shown)
        return cls(sorted(errors, key=lambda error: error.score), len(labels))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "n": self.n_images,
            "n_errors": len(self.errors),
            "errors": [error.to_dict() for error in self.errors],
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
            "labels_from_clusters": origins_document(self.origins),
        }

    def to_text(self) -> str:
        """Return the number of labels, and each with the class that is probably right."""
        lines = [self._headline(), *(error.to_text() for error in self.errors)]
        if self.origins:
            lines.append(
                f"{origins_text(self.origins)}: an error is an image that fits another one better."
            )
        return join_lines(lines)

    def _headline(self) -> str:
        """Return the number of labels that are probably wrong."""
        verb = "is" if len(self.errors) == 1 else "are"
        labels, images = plural(len(self.errors), "label"), plural(self.n_images, "image")
        return f"{labels} of {images} {verb} probably wrong"

    def _table(self) -> Rows:
        """Return one row per label."""
        rows = [list(error.to_dict().values()) for error in self.errors]
        probabilities = ["given_probability", "suggested_probability"]
        return Rows(["path", "given", "suggested", *probabilities, "score"], rows, decimals=6)

    def _table_shown(self) -> Rows:
        """Return pictures, and both labels with their probabilities."""
        header, cells, _ = self._table()
        pictures = [Markup()] * len(cells)
        if isinstance(self.images, list):
            files = [self.images[error.row] for error in self.errors[:_SHOWN]]
            pictures[: len(files)] = thumbnails(files)
        return Rows(["", *header], [[one, *row] for one, row in zip(pictures, cells, strict=True)])


def find_label_errors(
    source: str | Path | LabelledImages,
    classifier: Classifier,
    *,
    n_folds: int = 5,
    not_copies: str | Path | None = None,
    store: Store | str | Path | None = None,
) -> LabelErrors:
    """Find images whose label is probably wrong, worst first.

    The images are divided into folds.  A copy of the classifier is trained on all folds but one,
    and predicts that one, so that no image is predicted by a classifier that learned its label.
    Confident learning then compares these predictions with the labels.  Copies of an image are in
    the same fold.

    Parameters
    ----------
    source : path or LabelledImages
        The images; see :func:`~clusterkit.datasets.labelled_images.read_labelled`.  Parts such as
        train and test are taken together.
    classifier : Classifier
        A classifier, which is not changed.  One of which only the last layer is trained takes
        seconds; its ``random_state`` also applies to the folds.
    n_folds : int
        Number of folds, at least 3.  Each class needs as many different images.
    not_copies : path, optional
        A table of clusters that records images which look alike but are not copies, see
        :func:`clusterkit.clustering.label`: these need not be in one fold.  By default the table
        that ``source`` is, if it is one.
    store : Store or path, optional
        Where to store the embeddings of a pretrained network; by default the ``store`` of the
        classifier.

    Returns
    -------
    LabelErrors
        The labels, with the class that is probably right.

    Raises
    ------
    InvalidInputError, NotFoundError
        If images, labels or parameters are not suitable; raised before any training.

    Notes
    -----
    Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
    arXiv:1911.00068.  The list is as good as the classifier: a weak one lists images that
    are merely hard.

    Examples
    --------
    >>> found = find_label_errors("photos/", Classifier("xception"))  # doctest: +SKIP
    >>> print(found.to_text())  # doctest: +SKIP
    """
    check_classifier(classifier)
    classifier = clone(classifier)
    take_known_weights(classifier, store)
    data = source if isinstance(source, LabelledImages) else read_labelled(source)
    folds = draw_folds(
        data,
        n_folds=n_folds,
        random_state=classifier.random_state,
        apart=find_not_copies(data, not_copies),
    )
    readable = {_ALL: np.flatnonzero(folds >= 0)}
    inputs, rows, failures = read_inputs(data, readable, classifier, store)
    kept = data[rows[_ALL]]
    task, probabilities = predict_folds(
        classifier, inputs[_ALL], kept.labels or [], folds[rows[_ALL]]
    )
    found = LabelErrors.from_predictions(
        kept.labels or [], probabilities, classes=task.classes.tolist(), names=kept.names
    )
    return replace(found, failures=failures, images=kept.images, origins=find_origins(data))


def predict_folds(
    classifier: Classifier, inputs: Any, y: list[Any], folds: NDArray[np.intp]
) -> tuple[Task, NDArray[np.float32]]:
    """Predict each fold by a classifier trained on the others.

    Parameters
    ----------
    classifier : Classifier
        A classifier, which is not changed.
    inputs : as for ``Classifier.fit``
        The images, or their embeddings.
    y : list of length n
        The labels.
    folds : ndarray of shape (n,), int
        Fold of each image.

    Returns
    -------
    task : Task
        The task, with the classes of the columns.
    probabilities : ndarray of shape (n, n_classes), float32
        Probability of each class.
    """
    task = Task.from_labels(y)
    column = {name: index for index, name in enumerate(task.classes.tolist())}
    probabilities = np.zeros((len(y), len(column)), np.float32)

    def take(rows: NDArray[np.intp]) -> Any:
        return [inputs[row] for row in rows] if isinstance(inputs, list) else inputs[rows]

    for fold in progress_bar(
        np.unique(folds).tolist(), name="Predicting", unit="fold", enabled=classifier.progress
    ):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        trained = clone(classifier).set_params(progress=False)
        trained.fit(take(outside), [y[row] for row in outside])
        # If images may have several classes, a rare one may be in this fold alone.
        columns = np.array([column[name] for name in trained.classes_.tolist()])
        probabilities[np.ix_(inside, columns)] = trained.predict_proba(take(inside))
    return task, probabilities


def _list_errors(
    labels: NDArray[np.intp],
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    names: Sequence[str],
) -> list[LabelError]:
    """Return the errors among labels that are columns of the probabilities, worst first."""
    rows, scores = find_errors(labels, probabilities)
    found = []
    for row in rows.tolist():
        given, suggested = int(labels[row]), int(probabilities[row].argmax())
        own, other = probabilities[row, [given, suggested]].tolist()
        error = LabelError(
            row, names[row], classes[given], classes[suggested], own, other, float(scores[row])
        )
        found.append(error)
    return found


def _check_probabilities(probabilities: ArrayLike, task: Task, n: int) -> NDArray[np.float64]:
    """Return probabilities as an array, after checking them."""
    values = np.asarray(probabilities, np.float64)
    if values.shape != (n, len(task.classes)):
        raise InvalidInputError(
            f"probabilities must have the shape (n, n_classes) = {(n, len(task.classes))}. "
            f"Received: {values.shape}"
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise InvalidInputError(
            f"probabilities must be from 0 to 1. Received: {values.min()} to {values.max()}"
        )
    sums = values.sum(axis=1)
    if task.kind != MULTILABEL and np.abs(sums - 1).max(initial=0) > _NEARLY:
        raise InvalidInputError(
            f"the probabilities of an image must sum to 1. Received: {sums.min():.3f} to "
            f"{sums.max():.3f}"
        )
    return values
