"""What a classifier learns: a whole network from scratch, or the last layer of a transfer."""

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.fitting import Fitting, Part, fit_network
from clusterkit.classifiers.inputs import run_network
from clusterkit.classifiers.networks import build_head
from clusterkit.classifiers.tasks import MULTILABEL, Task, choose_thresholds

_FOLDS = 3


@dataclass(frozen=True)
class Learned:
    """What a training found.

    Attributes
    ----------
    network : keras.Model
        The network, with the weights of the best epoch.
    history : dict of str to list of float
        Loss and accuracy of training and validation, one value an epoch.
    best_epoch : int
        The epoch, counted from 1, of the lowest validation loss.
    thresholds : ndarray of shape (n_classes,), or None
        For several labels an image: the probabilities from which on classes are predicted.
    """

    network: keras.Model
    history: dict[str, list[float]]
    best_epoch: int
    thresholds: NDArray[np.float64] | None


def learn_network(
    network: keras.Model, task: Task, training: Part, validation: Part, fitting: Fitting
) -> Learned:
    """Train a whole network; choose thresholds on the validation images."""
    history, best_epoch = fit_network(network, task, training, validation, fitting)
    thresholds = None
    if task.kind == MULTILABEL:
        thresholds = choose_thresholds(validation[1], run_network(network, validation[0]))
    return Learned(network, history, best_epoch, thresholds)


def learn_head(task: Task, training: Part, validation: Part, fitting: Fitting) -> Learned:
    """Train a last layer: find the best epoch, then learn from all images up to there.

    It is small and takes seconds, so no image need be spared.  Thresholds are chosen on
    predictions for each third of the images by a layer that learned from the others.
    """
    _, history, best_epoch = _fit_head(task, training, validation, fitting)
    inputs, truth = (np.concatenate(both) for both in zip(training, validation, strict=True))
    thresholds = None
    if task.kind == MULTILABEL:
        fold = np.random.default_rng(fitting.random_state).permutation(len(inputs)) % _FOLDS
        probabilities = np.empty(truth.shape, np.float32)
        for out in (fold == number for number in range(_FOLDS)):
            head, *_ = _fit_head(task, (inputs[~out], truth[~out]), None, fitting, best_epoch)
            probabilities[out] = run_network(head, inputs[out])
        thresholds = choose_thresholds(truth, probabilities)
    head, *_ = _fit_head(task, (inputs, truth), None, fitting, best_epoch)
    return Learned(head, history, best_epoch, thresholds)


def _fit_head(
    task: Task,
    training: Part,
    validation: Part | None,
    fitting: Fitting,
    last_epoch: int | None = None,
) -> tuple[keras.Model, dict[str, list[float]], int]:
    """Build and train a last layer; return it with its history and best epoch."""
    head = build_head(training[0], task.targets(training[1]), task.activation)
    return head, *fit_network(head, task, training, validation, fitting, last_epoch=last_epoch)
