"""What is asked of a classifier, as it follows from the labels: the task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError

BINARY, MULTICLASS, MULTILABEL = "binary", "multiclass", "multilabel"
# Name of the last layer, or of the network that it is alone in.
HEAD = "head"
_TINY = 1e-9


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
        """Find the task of some labels; lists, tuples or sets as labels make it multi-label.

        Raises
        ------
        InvalidInputError
            If there are fewer than two classes.
        """
        if is_multilabel(y):
            kind, classes = MULTILABEL, np.unique([str(name) for names in y for name in names])
        else:
            classes = np.unique(np.asarray(y))
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
        rows = np.zeros((len(y), len(column)), bool)
        for row, label in zip(rows, y, strict=True):
            for name in label if self.kind == MULTILABEL else (label,):
                name = name.item() if isinstance(name, np.generic) else name
                if name not in column:
                    raise InvalidInputError(
                        f"labels must be among {', '.join(map(str, column))}. Received: {name!r}"
                    )
                row[column[name]] = True
        return rows

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
