"""What is asked of a classifier, as it follows from the labels: the task."""

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError

BINARY, MULTICLASS, MULTILABEL = "binary", "multiclass", "multilabel"
# Name of the last layer, or of the network that it is alone in.
HEAD = "head"
_TINY = 1e-9
# A label of one of these is several classes.
_COLLECTIONS = (list, tuple, set, frozenset, np.ndarray)


@dataclass(frozen=True, eq=False)
class Task:
    """The classes, and how outputs of a network stand for them.

    Attributes
    ----------
    kind : {"binary", "multiclass", "multilabel"}
        One of two classes (one sigmoid: the probability of the second), one of several (softmax),
        or any number of them (a sigmoid each).
    classes : ndarray of shape (n_classes,)
        In order.
    """

    kind: str
    classes: NDArray[Any]

    @classmethod
    def from_labels(cls, y: Sequence[Any]) -> "Task":
        """Find the task of some labels, in any form that :func:`as_labels` knows.

        Raises
        ------
        InvalidInputError
            If there are fewer than two classes, or as in :func:`as_labels`.
        """
        labels = as_labels(y)
        if is_multilabel(labels):
            kind = MULTILABEL
            classes = np.unique([str(name) for names in labels for name in names])
        else:
            classes = np.unique(np.asarray(labels))
            kind = BINARY if len(classes) == 2 else MULTICLASS
        if len(classes) < 2:
            raise InvalidInputError(
                f"a classifier needs at least 2 classes. Received: {', '.join(map(str, classes))}"
            )
        return cls(kind, classes)

    @property
    def activation(self) -> str:
        """Activation of the last layer."""
        return "softmax" if self.kind == MULTICLASS else "sigmoid"

    @property
    def loss(self) -> str:
        """Keras' name of the loss; for several labels it is the multi-label soft-margin loss."""
        return "categorical_crossentropy" if self.kind == MULTICLASS else "binary_crossentropy"

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the network."""
        return 1 if self.kind == BINARY else len(self.classes)

    def indicators(self, y: Sequence[Any]) -> NDArray[np.bool_]:
        """Say of each image which classes it shows.

        Returns
        -------
        ndarray of shape (n, n_classes), bool
            Exactly one a row, unless the task is multi-label.

        Raises
        ------
        InvalidInputError
            If a label is none of the classes.
        """
        column = {name: index for index, name in enumerate(self.classes.tolist())}
        labels = as_labels(y)
        rows = np.zeros((len(labels), len(column)), bool)
        for row, label in zip(rows, labels, strict=True):
            for name in self._names_of(label):
                if name not in column:
                    raise InvalidInputError(
                        f"labels must be among {', '.join(map(str, column))}. Received: {name!r}"
                    )
                row[column[name]] = True
        return rows

    def _names_of(self, label: Any) -> tuple[Any, ...]:
        """Return the names of the classes that a label of :func:`as_labels` stands for."""
        if self.kind != MULTILABEL:
            return (label,)
        return tuple(map(str, label if isinstance(label, tuple) else (label,)))

    def same(self, one: Any, other: Any) -> bool:
        """Tell whether two labels stand for the same classes."""
        return set(self._names_of(one)) == set(self._names_of(other))

    def targets(self, indicators: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return what the network shall put out, of shape (n, n_outputs)."""
        return indicators[:, -self.n_outputs :].astype(np.float32)

    def probabilities(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each class, of shape (n, n_classes)."""
        return np.hstack([1 - outputs, outputs]) if self.kind == BINARY else outputs

    def activate(self, sums: NDArray[Any]) -> NDArray[Any]:
        """Return what the last layer puts out for its sums."""
        from scipy.special import expit, softmax

        return softmax(sums, axis=1) if self.kind == MULTICLASS else expit(sums)

    def log_losses(self, sums: NDArray[Any], targets: NDArray[np.float32]) -> NDArray[Any]:
        """Return the log loss of each image, summed over its outputs, from the last layer's sums.

        Parameters
        ----------
        sums, targets : ndarray of shape (n, n_outputs)
            Before the activation, and what shall come out behind it.
        """
        from scipy.special import log_softmax

        if self.kind == MULTICLASS:
            return -(targets * log_softmax(sums, axis=1)).sum(axis=1)
        return (np.logaddexp(0, sums) - targets * sums).sum(axis=1)

    def accuracy(self, targets: NDArray[np.float32], outputs: NDArray[np.float32]) -> float:
        """Return the share of right answers: of images, or of the outputs if they are sigmoids."""
        if self.kind == MULTICLASS:
            return float((outputs.argmax(axis=1) == targets.argmax(axis=1)).mean())
        return float(((outputs >= 0.5) == (targets >= 0.5)).mean())

    def decide(
        self, probabilities: NDArray[np.float32], thresholds: NDArray[np.float64] | None
    ) -> NDArray[np.bool_]:
        """Say which classes are predicted: the most probable one, or all above their threshold."""
        if thresholds is not None:
            return probabilities >= thresholds
        return np.eye(len(self.classes), dtype=bool)[probabilities.argmax(axis=1)]

    def names(self, indicators: NDArray[np.bool_]) -> Any:
        """Return labels as :meth:`from_labels` takes them: an array, or tuples of names."""
        if self.kind == MULTILABEL:
            return [tuple(self.classes[row].tolist()) for row in indicators]
        return self.classes[indicators.argmax(axis=1)]


def is_multilabel(y: Sequence[Any]) -> bool:
    """Tell whether labels are collections of names."""
    return len(y) > 0 and isinstance(y[0], list | tuple | set)


def as_labels(y: Any) -> list[Any]:
    """Bring labels of any usual form to one: a list of names or numbers, or of tuples of them.

    Parameters
    ----------
    y : sequence of length n, or array-like of shape (n,), (n, 1) or (n, n_classes)
        The class of each image: names, or numbers.  Or the classes of each: a list, tuple or set of
        them; beside such, a name alone is one class.  An array of several columns of 0 and 1 has a
        column for each class: where each row has a single 1, as from ``to_categorical`` of Keras,
        that column's number is the class of the image, and else the numbers of the columns are its
        classes.  A column of a table goes by position, whatever its index; the columns of a table
        of 0 and 1 are classes by their names.

    Returns
    -------
    list of length n
        Plain Python values: all names, all numbers, or all tuples of names.

    Raises
    ------
    InvalidInputError
        If labels are missing, of mixed kinds, or none of these.
    """
    if isinstance(y, str | bytes | Mapping | Set) or not isinstance(y, Iterable):
        raise InvalidInputError(f"y must hold a label for each image, in order. Received: {y!r}")
    columns = list(y.columns) if hasattr(y, "columns") else None
    labels = y if hasattr(y, "__array__") else list(y)
    if isinstance(labels, list) and _is_table(labels):
        labels = np.asarray([np.asarray(label) for label in labels])
    if not isinstance(labels, list):
        array = np.asarray(labels)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        labels = array.tolist() if array.ndim < 2 else _from_columns(array, columns)
    if not isinstance(labels, list):
        raise InvalidInputError(f"y must hold a label for each image. Received: {labels!r}")
    if any(isinstance(label, _COLLECTIONS) for label in labels):
        several = [label if isinstance(label, _COLLECTIONS) else (label,) for label in labels]
        return [
            tuple(str(_plain(name, row)) for name in names) for row, names in enumerate(several)
        ]
    plain = [_plain(label, row) for row, label in enumerate(labels)]
    _check_kinds(plain)
    return plain


def _is_table(labels: list[Any]) -> bool:
    """Tell whether labels are rows of 0 and 1 or, as arrays, of one value each."""
    if not labels or not all(isinstance(label, list | tuple | np.ndarray) for label in labels):
        return False
    rows = [np.asarray(label, dtype=object) for label in labels]
    if any(row.ndim != 1 or len(row) != len(rows[0]) for row in rows):
        return False
    if len(rows[0]) == 1:
        return all(isinstance(label, np.ndarray) for label in labels)
    return len(rows[0]) > 1 and all(
        isinstance(value, int | float | np.number) and value in (0, 1)
        for row in rows
        for value in row.tolist()
    )


def _from_columns(array: NDArray[Any], columns: list[Any] | None) -> list[Any]:
    """Return the labels of rows of several columns."""
    if array.ndim != 2 or not array.shape[1]:
        raise InvalidInputError(
            f"y must have shape (n,), (n, 1) or (n, n_classes). Received: {array.shape}"
        )
    values = array.ravel().tolist()
    if array.dtype.kind in "OUS" and all(isinstance(value, str) for value in values):
        return [tuple(row) for row in array.tolist()]
    if not all(isinstance(value, int | float) and value in (0, 1) for value in values):
        raise InvalidInputError(
            "several columns of y must be 0 or 1, one column for each class. "
            f"Received: {array.dtype} of shape {array.shape}, such as {values[0]!r}"
        )
    names = columns or list(range(array.shape[1]))
    shown = [tuple(names[column] for column in np.flatnonzero(row)) for row in array.astype(bool)]
    return [row[0] for row in shown] if all(len(row) == 1 for row in shown) else shown


def _plain(label: Any, row: int) -> Any:
    """Return one name or number as a plain Python value."""
    value = (
        label.item() if isinstance(label, np.generic | np.ndarray) and label.size == 1 else label
    )
    is_missing = value is None or type(value).__name__ in ("NAType", "NaTType")
    if is_missing or (isinstance(value, float) and value != value):
        raise InvalidInputError(
            f"y must have a label for each image: leave out those without. "
            f"Received: {label!r} for image {row}"
        )
    if isinstance(value, str) or (isinstance(value, Hashable) and not isinstance(value, Iterable)):
        return value
    raise InvalidInputError(
        "labels must be names or numbers, or lists, tuples or sets of them. "
        f"Received: {label!r} for image {row}"
    )


def _check_kinds(labels: list[Any]) -> None:
    """Refuse names beside numbers, which NumPy would turn into names."""
    name = next((label for label in labels if isinstance(label, str)), None)
    number = next((label for label in labels if not isinstance(label, str)), None)
    if name is not None and number is not None:
        raise InvalidInputError(
            f"labels must be all names, or all numbers. Received: {name!r} and {number!r}"
        )


def choose_thresholds(
    truth: NDArray[np.bool_], probabilities: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Choose the probability from which on each class is predicted.

    Each class takes the threshold of its highest F1 on these images, where half of what an image
    counts is what it shows, and half the probability that it does.  A rare class is shown by so
    few that they alone would find a threshold by chance; calibrated probabilities alone find the
    one of the highest expected F1 (Lipton et al. 2014, "Optimal Thresholding of Classifiers to
    Maximize F1 Measure"), if they are right.  Where several are as good, that of all classes
    together decides.

    Parameters
    ----------
    truth : ndarray of shape (n, n_classes), bool
        Which classes each image shows.
    probabilities : ndarray of shape (n, n_classes)
        As predicted for images that were not learned from; calibrated.

    Returns
    -------
    ndarray of shape (n_classes,), float64
        In (0, 1).
    """
    grid = np.linspace(0.02, 0.9, 89)
    shown = ((truth + probabilities) / 2)[:, :, None]
    predicted = probabilities[:, :, None] >= grid
    hits = (predicted * shown).sum(axis=0)
    size = predicted.sum(axis=0) + shown.sum(axis=0)
    common = hits.sum(axis=0) / np.maximum(size.sum(axis=0), _TINY)
    own = hits / np.maximum(size, _TINY)
    return grid[(own + 1e-6 * common).argmax(axis=1)]
