"""Train a network by epochs: batches, parameters, loop and result; a whole one from scratch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.tasks import MULTICLASS, MULTILABEL, Task
from clusterkit.classifiers.training.calibration import apply_temperature, calibrate
from clusterkit.classifiers.training.checkpoint import Checkpoint, KeepCheckpoint
from clusterkit.classifiers.training.networks import HEAD
from clusterkit.classifiers.training.tensorboard import TensorBoardLog
from clusterkit.datasets.split import MAX_RATIO, class_weights
from clusterkit.errors import InvalidInputError
from clusterkit.networks.runtimes.keras import dtype_policy, run_network, to_computed
from clusterkit.networks.training import BestEpoch, compile_network, fit_epochs

# The validation loss is averaged over this part of the epochs.
_SPANS = 16
# Number of training steps without improvement that is no reason to stop: until the statistics of
# batch normalisation settle, a network of few images predicts by chance, however well it learns.
_SETTLING_STEPS = 150
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}

# Inputs of a network, and the classes of each.
Part = tuple[NDArray[Any], NDArray[np.bool_]]


class LabelledBatches(keras.utils.PyDataset):
    """Batches of (inputs, targets, weights).

    Parameters
    ----------
    inputs : ndarray of shape (n, ...) or (n_variants, n, ...)
        Pixels, vectors or activations. If there are variants of each image, an epoch shows one.
    targets : ndarray of shape (n, ...), float32
        The expected outputs.
    weights : ndarray of shape (n, ...), float32
        Sample weights.
    batch_size : int
        Images per batch; the last may hold fewer.
    random_state : int
        Seed.
    repeats : ndarray of shape (n,), optional
        Mean number of times that an epoch shows each image; at least 1.
    n_variants : int
        Number of variants of each image; 1 if ``inputs`` has no axis for them.
    """

    def __init__(
        self,
        inputs: NDArray[np.generic],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        *,
        batch_size: int,
        random_state: int,
        repeats: NDArray[np.float64] | None = None,
        n_variants: int = 1,
    ) -> None:
        super().__init__()
        self.inputs = inputs if n_variants > 1 else inputs[None]
        self.targets = targets
        self.weights = weights
        self.batch_size = batch_size
        self.random_state = random_state
        repeats = np.ones(len(targets)) if repeats is None else repeats
        # Every epoch shows the same number of images.
        self.n_shown = math.ceil(repeats.sum() * (1 - 1e-12))
        self.repeats = repeats * (self.n_shown / repeats.sum())
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of an epoch, counted from 0; the same epoch has the same order.

        The number of times that each image is shown is drawn by systematic sampling: images in
        random order take as much space on a line as they have repeats, and points at equal
        distances select them.
        """
        self.epoch = epoch
        rng = np.random.default_rng((self.random_state, epoch))
        draws = rng.random(len(self.repeats))
        order, offset = np.argsort(draws), draws.sum() % 1
        ends = np.minimum(np.floor(np.cumsum(self.repeats[order]) + offset), self.n_shown)
        ends[-1] = self.n_shown
        times = np.diff(ends.astype(int), prepend=0)
        self.rows = rng.permutation(np.repeat(np.arange(len(times)), times[np.argsort(order)]))
        self.variants = rng.integers(len(self.inputs), size=len(self.rows))

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        self.set_epoch(self.epoch + 1)

    def __len__(self) -> int:
        return math.ceil(self.n_shown / self.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.generic], ...]:
        """Return one batch."""
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        rows = self.rows[part]
        inputs = to_computed(self.inputs[self.variants[part], rows])
        return inputs, self.targets[rows], self.weights[rows]


def balance_classes(
    task: Task, truth: NDArray[np.bool_], balance: str | None
) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
    """Return sample weights, or numbers of repetitions, that balance the classes.

    Parameters
    ----------
    task : Task
        The task; a multilabel one is not balanced.
    truth : ndarray of shape (n, n_classes), bool
        The classes of the training images.
    balance : {"auto", "weights", "oversample"} or None
        See :class:`~clusterkit.classifiers.classifier.Classifier`.

    Returns
    -------
    weights : ndarray of shape (n,), float32
        Sample weights, of mean 1.
    repeats : ndarray of shape (n,), or None
        Mean number of times that an epoch shows each image.
    """
    even = np.ones(len(truth), np.float32)
    if balance is None or task.kind == MULTILABEL:
        return even, None
    wanted = class_weights(truth.sum(axis=0), max_ratio=MAX_RATIO if balance == "auto" else 1.0)
    if wanted is None:
        return even, None
    weights = wanted[truth.argmax(axis=1)]
    if balance == "oversample":
        return even, weights / weights.min()
    return weights.astype(np.float32), None


@dataclass(frozen=True)
class FitParameters:
    """Parameters of a training by epochs.

    Attributes
    ----------
    epochs, batch_size : int
        Maximum number of epochs, and number of images per step.
    learning_rate : float
        Initial learning rate of Adam; it decays to a hundredth along a cosine over all epochs.
    patience : int, optional
        Number of epochs without improvement after which training stops; by default a quarter of
        ``epochs``, at least 5 and at most 15; for a whole network at least 150 steps.
    balance : {"auto", "weights", "oversample"} or None
        See :class:`~clusterkit.classifiers.classifier.Classifier`.
    random_state : int
        Seed.
    precision : {"float32", "bfloat16"}
        Data type of the computation; weights are always float32.
    progress : bool
        Whether to show a progress bar on stderr.
    tensorboard : path, optional
        Folder of logs.
    checkpoint : Checkpoint, optional
        File that stores the state after each epoch.
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
    batches: LabelledBatches,
    validation: tuple[NDArray[Any], NDArray[np.float32]],
    parameters: FitParameters,
    *,
    loss: float = np.inf,
) -> tuple[dict[str, list[float]], int]:
    """Train until the validation loss no longer improves.

    Parameters
    ----------
    model : keras.Model
        The network, trained in place; it ends with the weights of the best epoch.
    task : Task
        The task.
    batches : LabelledBatches
        The training data.
    validation : tuple of (inputs, targets)
        The validation data.
    parameters : FitParameters
        Parameters of the training.
    loss : float
        Validation loss of the network as given, if that may be the result.

    Returns
    -------
    history : dict of str to list of float
        ``loss`` and ``accuracy``, ``val_loss`` and ``val_accuracy``, one value per epoch.
    best_epoch : int
        The epoch, counted from 1, with the lowest validation loss; 0 if none was below ``loss``.
        If ``epochs`` is 32 or more, the loss is a moving average over a sixteenth of them.
    """
    _compile(model, task, parameters, steps=parameters.epochs * len(batches))
    patience = parameters.patience or _default_patience(parameters.epochs)
    best = BestEpoch(patience, loss, span=max(1, parameters.epochs // _SPANS))
    callbacks: list[keras.callbacks.Callback] = []
    if parameters.checkpoint is not None:
        parameters.checkpoint.restore(model, best)
        callbacks.append(KeepCheckpoint(parameters.checkpoint, best))
    if parameters.tensorboard is not None:
        callbacks.append(TensorBoardLog(parameters.tensorboard))
    batches.set_epoch(best.n_epochs)
    fit_epochs(
        model,
        batches,
        validation,
        best,
        n_images=len(batches.targets),
        epochs=parameters.epochs,
        callbacks=callbacks,
        progress=parameters.progress,
    )
    return best.history, best.epoch


def _default_patience(epochs: int) -> int:
    """Return the number of epochs without improvement after which training stops."""
    return min(15, max(5, epochs // 4))


def _compile(model: keras.Model, task: Task, parameters: FitParameters, *, steps: int) -> None:
    """Compile a network with the loss and metric of its task."""
    is_softmax = task.kind == MULTICLASS
    accuracy = keras.metrics.CategoricalAccuracy if is_softmax else keras.metrics.BinaryAccuracy
    rate = keras.optimizers.schedules.CosineDecay(
        parameters.learning_rate, decay_steps=steps, alpha=0.01
    )
    compile_network(model, keras.optimizers.Adam(rate), task.loss, [accuracy("accuracy")])


@dataclass(frozen=True)
class TrainedNetwork:
    """Result of a training.

    Attributes
    ----------
    network : keras.Model
        The network, with the weights of the best epoch.
    history : dict of str to list of float
        Loss and accuracy of training and validation, one value per epoch.
    best_epoch : int
        The epoch, counted from 1, with the lowest validation loss.
    temperature : float
        Divisor of the last layer's weights, from calibration.
    thresholds : ndarray of shape (n_classes,), or None
        For multilabel tasks, the probabilities from which classes are predicted.
    """

    network: keras.Model
    history: dict[str, list[float]]
    best_epoch: int
    temperature: float
    thresholds: NDArray[np.float64] | None


def train_network(
    build: Callable[[], keras.Model],
    task: Task,
    training: Part,
    validation: Part,
    parameters: FitParameters,
) -> TrainedNetwork:
    """Train a whole network.

    Parameters
    ----------
    build : callable
        Returns the network, which ends in a layer called ``HEAD``.
    task : Task
        The task.
    training, validation : tuple of (pixels, truth)
        Images and their classes.
    parameters : FitParameters
        Parameters of the training.

    Returns
    -------
    TrainedNetwork
        The network, in float32 regardless of the precision of the training.

    Raises
    ------
    InvalidInputError
        If the training diverges.
    """
    with dtype_policy(_POLICIES[parameters.precision]):
        network = build()
    inputs, truth = training
    weights, repeats = balance_classes(task, truth, parameters.balance)
    batches = LabelledBatches(
        inputs,
        task.targets(truth),
        weights,
        batch_size=parameters.batch_size,
        random_state=parameters.random_state,
        repeats=repeats,
    )
    if parameters.patience is None:
        settling = math.ceil(_SETTLING_STEPS / len(batches))
        parameters = replace(
            parameters, patience=max(_default_patience(parameters.epochs), settling)
        )
    held_out = validation[0], task.targets(validation[1])
    history, best_epoch = fit_network(network, task, batches, held_out, parameters)
    if not best_epoch:
        raise InvalidInputError(
            "the training diverged: no epoch has a finite validation loss. Try a lower learning "
            f"rate. Received: learning_rate={parameters.learning_rate}"
        )
    if parameters.precision != "float32":
        trained, network = network, build()
        network.set_weights(trained.get_weights())
    temperature, thresholds = calibrate(task, run_network(network, validation[0]), validation[1])
    apply_temperature(network.get_layer(HEAD), temperature)
    return TrainedNetwork(network, history, best_epoch, temperature, thresholds)
