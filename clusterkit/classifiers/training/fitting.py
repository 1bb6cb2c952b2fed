"""What a training found."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.tasks import MULTICLASS, Task
from clusterkit.classifiers.training.checkpoint import BestEpoch, Checkpoint, KeepCheckpoint
from clusterkit.classifiers.training.sequences import Batches
from clusterkit.classifiers.training.tensorboard import TensorBoardLog
from clusterkit.networks.training import TrainingBar

# The validation loss is averaged over this part of the epochs.
_SPANS = 16

# Inputs of a network, and which classes each shows.
Part = tuple[NDArray[Any], NDArray[np.bool_]]


@dataclass(frozen=True)
class Fitting:
    """How a network is trained.

    Attributes
    ----------
    epochs, batch_size : int
        At most so many passes over the images, and images a step.
    learning_rate : float
        Of Adam, at the start; it falls to a hundredth along a cosine over all epochs.
    patience : int, optional
        Stop after so many epochs without a gain; by default a quarter of ``epochs``, at least 5
        and at most 15.
    balance : {"auto", "weights", "oversample"} or None
        See :class:`~clusterkit.classifiers.classifier.Classifier`.
    random_state : int
        Seed.
    precision : {"float32", "bfloat16"}
        What a network is computed in; its weights are float32 either way.
    progress : bool
        Draw a progress bar on stderr.
    tensorboard : path, optional
        Folder of logs.
    checkpoint : Checkpoint, optional
        Where the state is kept after each epoch.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    patience: int | None
    balance: str | None
    random_state: int
    precision: str = "float32"
    progress: bool = False
    tensorboard: str | Path | None = None
    checkpoint: Checkpoint | None = None


def fit_network(
    model: keras.Model,
    task: Task,
    batches: Batches,
    validation: tuple[NDArray[Any], NDArray[np.float32]],
    fitting: Fitting,
    *,
    loss: float = np.inf,
) -> tuple[dict[str, list[float]], int]:
    """Train until the validation loss no longer falls.

    Parameters
    ----------
    model : keras.Model
        The network, trained in place; it ends with the weights of the best epoch.
    task : Task
        What it learns.
    batches : Batches
        What it learns from.
    validation : tuple of (inputs, targets)
        What is held out.
    fitting : Fitting
        How.
    loss : float
        The validation loss of the network as it is given, if that is an answer too.

    Returns
    -------
    history : dict of str to list of float
        ``loss`` and ``accuracy``, ``val_loss`` and ``val_accuracy``, one value an epoch.
    best_epoch : int
        The epoch, counted from 1, of the lowest validation loss, whose weights it has; 0 if none
        was below ``loss``.  Of 32 epochs or more, the loss is averaged over the last sixteenth of
        them, up to that epoch.
    """
    _compile(model, task, fitting, steps=fitting.epochs * len(batches))
    patience = fitting.patience or min(15, max(5, fitting.epochs // 4))
    best = BestEpoch(patience, loss, span=max(1, fitting.epochs // _SPANS))
    followers: list[keras.callbacks.Callback] = [best]
    if fitting.checkpoint is not None:
        fitting.checkpoint.restore(model, best)
        followers.append(KeepCheckpoint(fitting.checkpoint, best))
    if fitting.tensorboard is not None:
        followers.append(TensorBoardLog(fitting.tensorboard))
    first = fitting.epochs if best.is_over else best.n_epochs
    if first and fitting.progress:
        print(f"Going on after epoch {best.n_epochs}", file=sys.stderr)
    followers.append(TrainingBar(len(batches.targets), enabled=fitting.progress, first_epoch=first))
    batches.set_epoch(first)
    model.fit(
        batches,
        validation_data=validation,
        initial_epoch=first,
        epochs=fitting.epochs,
        callbacks=followers,
        shuffle=False,
        verbose=0,
    )
    return best.history, best.epoch


def _compile(model: keras.Model, task: Task, fitting: Fitting, *, steps: int) -> None:
    """Give a network its optimizer, loss and metric."""
    is_softmax = task.kind == MULTICLASS
    accuracy = keras.metrics.CategoricalAccuracy if is_softmax else keras.metrics.BinaryAccuracy
    rate = keras.optimizers.schedules.CosineDecay(
        fitting.learning_rate, decay_steps=steps, alpha=0.01
    )
    # TensorFlow's XLA has slow convolutions on a CPU; without JAX's there is no speed at all.
    compiled: Any = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(
        keras.optimizers.Adam(rate),
        loss=task.loss,
        metrics=[accuracy("accuracy")],
        jit_compile=compiled,
    )


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
    temperature : float
        By which the last layer was divided.
    thresholds : ndarray of shape (n_classes,), or None
        For several labels an image: the probabilities from which on classes are predicted.
    """

    network: keras.Model
    history: dict[str, list[float]]
    best_epoch: int
    temperature: float
    thresholds: NDArray[np.float64] | None
