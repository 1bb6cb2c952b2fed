"""The task of a classifier, which follows from the labels."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.utils.noise import is_missing

BINARY, MULTICLASS, MULTILABEL = "binary", "multiclass", "multilabel"
# A label of one of these types stands for several classes.
_COLLECTIONS = (list, tuple, set, frozenset, np.ndarray)


@dataclass(frozen=True, eq=False)
class Task:
    """The classes, and the meaning of a network's outputs.

    Attributes
    ----------
    kind : {"binary", "multiclass", "multilabel"}
        One of two classes (a sigmoid: the probability of the second), one of several (softmax), or
        any number of them (a sigmoid for each).
    classes : ndarray of shape (n_classes,)
        The classes, sorted; for multilabel tasks as text, unless all of them are whole numbers.
    """

    kind: str
    classes: NDArray[Any]

    @classmethod
    def from_labels(cls, y: Sequence[Any]) -> "Task":
        """Return the task of labels in any form that :func:`as_labels` accepts.

        Raises
        ------
        InvalidInputError
            If there are fewer than two classes, or the labels are invalid.
        """
        labels = as_labels(y)
        if is_multilabel(labels):
            kind = MULTILABEL
            classes = np.unique([str(name) for names in labels for name in names])
            if all(map(str.isdecimal, classes.tolist())):
                # Numbers of columns in the order of the columns: as text, 10 is before 2.
                classes = np.array(sorted(classes.tolist(), key=int))
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
        """Name of the loss in Keras."""
        return "categorical_crossentropy" if self.kind == MULTICLASS else "binary_crossentropy"

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the network."""
        return 1 if self.kind == BINARY else len(self.classes)

    def indicators(self, y: Sequence[Any]) -> NDArray[np.bool_]:
        """Convert labels to indicators.

        Returns
        -------
        ndarray of shape (n, n_classes), bool
            The classes of each image: exactly one per row, unless the task is multilabel.

        Raises
        ------
        InvalidInputError
            If a label is not one of the classes.
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
        """Return the classes that a label of :func:`as_labels` stands for."""
        return _as_names(label) if self.kind == MULTILABEL else (label,)

    @staticmethod
    def same(one: Any, other: Any) -> bool:
        """Return whether two labels of :func:`as_labels` stand for the same classes.

        One of them may be a tuple and the other not, if only some of the labels that were given
        together are several.
        """
        if isinstance(one, tuple) or isinstance(other, tuple):
            return set(_as_names(one)) == set(_as_names(other))
        return bool(one == other)

    def targets(self, indicators: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the target outputs of the network, of shape (n, n_outputs)."""
        return indicators[:, -self.n_outputs :].astype(np.float32)

    def probabilities(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert outputs of the network to probabilities of shape (n, n_classes)."""
        return np.hstack([1 - outputs, outputs]) if self.kind == BINARY else outputs

    def activate(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Apply the activation of the last layer to its logits."""
        from scipy.special import expit, softmax

        return softmax(logits, axis=1) if self.kind == MULTICLASS else expit(logits)

    def log_losses(self, logits: NDArray[Any], targets: NDArray[np.float32]) -> NDArray[Any]:
        """Return the log loss of each image, summed over the outputs.

        Parameters
        ----------
        logits : ndarray of shape (n, n_outputs)
            Values of the last layer before the activation.
        targets : ndarray of shape (n, n_outputs)
            Target outputs.
        """
        from scipy.special import log_softmax

        if self.kind == MULTICLASS:
            return -(targets * log_softmax(logits, axis=1)).sum(axis=1)
        return (np.logaddexp(0, logits) - targets * logits).sum(axis=1)

    def accuracy(self, targets: NDArray[np.float32], outputs: NDArray[np.float32]) -> float:
        """Return the accuracy over the images or, if the outputs are sigmoids, over the outputs."""
        if self.kind == MULTICLASS:
            return float((outputs.argmax(axis=1) == targets.argmax(axis=1)).mean())
        return float(((outputs >= 0.5) == (targets >= 0.5)).mean())

    def decide(
        self, probabilities: NDArray[np.float32], thresholds: NDArray[np.float64] | None
    ) -> NDArray[np.bool_]:
        """Return the predicted classes: the most probable one, or all above their thresholds."""
        if thresholds is not None:
            return probabilities >= thresholds
        return np.eye(len(self.classes), dtype=bool)[probabilities.argmax(axis=1)]

    def names(self, indicators: NDArray[np.bool_]) -> NDArray[Any] | list[tuple[Any, ...]]:
        """Convert indicators to labels: an array, or a list of tuples of names."""
        if self.kind == MULTILABEL:
            return [tuple(self.classes[row].tolist()) for row in indicators]
        return self.classes[indicators.argmax(axis=1)]


def is_multilabel(y: Sequence[Any]) -> bool:
    """Return whether labels are collections of names."""
    return len(y) > 0 and isinstance(y[0], list | tuple | set)


def as_labels(y: Any) -> list[Any]:
    """Convert labels of any usual form to a list of names or numbers, or of tuples of names.

    Parameters
    ----------
    y : sequence of length n, or array-like of shape (n,), (n, 1) or (n, n_classes)
        The class of each image: a name or a number; or its classes: a list, tuple or set of names.
        In a sequence with such collections, a single name is one class.  An array with several
        columns of 0 and 1 has one column per class: if each row contains a single 1, as from
        ``keras.utils.to_categorical``, the class of an image is the number of that column,
        otherwise its classes are the numbers of its columns.  The columns of a pandas data frame
        are named instead; the index of a series or data frame is ignored.

    Returns
    -------
    list of length n
        Plain Python values: all names, all numbers, or all tuples of names.

    Raises
    ------
    InvalidInputError
        If labels are missing, of mixed types, or in another form.
    """
    if isinstance(y, str | bytes | Mapping | Set) or not isinstance(y, Iterable):
        raise InvalidInputError(
            f"y must hold a label for each image, in order. Received: {y!r:.60}"
        )
    columns = list(y.columns) if hasattr(y, "columns") else None
    labels = y if hasattr(y, "__array__") else [_unwrapped(label) for label in y]
    if isinstance(labels, list) and _is_table(labels):
        labels = np.asarray([np.asarray(label) for label in labels])
    if not isinstance(labels, list):
        array = np.asarray(labels)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim == 1 and array.dtype.kind in "mM":
            # As plain values, dates in nanoseconds would be numbers.
            labels = list(array)
        else:
            labels = array.tolist() if array.ndim < 2 else _from_columns(array, columns)
    if not isinstance(labels, list):
        raise InvalidInputError(f"y must hold a label for each image. Received: {labels!r}")
    if any(isinstance(label, _COLLECTIONS) for label in labels):
        several = [label if isinstance(label, _COLLECTIONS) else (label,) for label in labels]
        return [
            tuple(str(_plain_label(name, row)) for name in names)
            for row, names in enumerate(several)
        ]
    plain = [_plain_label(label, row) for row, label in enumerate(labels)]
    _check_kinds(plain)
    return plain


def _as_names(label: Any) -> tuple[str, ...]:
    """Return the names of the classes of an image with one or several."""
    return tuple(map(str, label if isinstance(label, tuple) else (label,)))


def _unwrapped(label: Any) -> Any:
    """Return the value of an array without dimensions, as of a tensor; others as they are."""
    return label[()] if isinstance(label, np.ndarray) and not label.ndim else label


def _is_table(labels: list[Any]) -> bool:
    """Return whether labels are rows of 0 and 1 or, as arrays, of a single value."""
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
    """Convert an array with several columns to labels."""
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


def _plain_label(label: Any, row: int) -> Any:
    """Return one name or number as a plain Python value."""
    is_single = isinstance(label, np.generic | np.ndarray) and label.size == 1
    value = label.item() if is_single and label.dtype.kind not in "mM" else label
    # An empty string may be the name of a class.
    if not isinstance(value, str) and is_missing(value):
        raise InvalidInputError(
            f"y must have a label for each image: leave out those without. "
            f"Received: {label!r} for image {row}"
        )
    # What a model file can hold.
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise InvalidInputError(
        "labels must be names or numbers, or lists, tuples or sets of them; write others, such as "
        f"dates, as text. Received: {label!r} for image {row}"
    )


def _check_kinds(labels: list[Any]) -> None:
    """Check that names and numbers are not mixed; NumPy would convert the numbers to names."""
    name = next((label for label in labels if isinstance(label, str)), None)
    number = next((label for label in labels if not isinstance(label, str)), None)
    if name is not None and number is not None:
        raise InvalidInputError(
            f"labels must be all names, or all numbers. Received: {name!r} and {number!r}"
        )
