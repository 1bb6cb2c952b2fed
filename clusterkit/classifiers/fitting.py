"""Train a Keras network: one seed, early stopping, the best epoch kept."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.splitting import class_weights
from clusterkit.classifiers.tasks import MULTICLASS, MULTILABEL, Task
from clusterkit.training_bar import TrainingBar

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
    class_weight : {"auto", "balanced"} or None
        See :class:`~clusterkit.classifiers.classifier.Classifier`.
    random_state : int
        Seed.
    progress : bool
        Draw a progress bar on stderr.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    patience: int | None
    class_weight: str | None
    random_state: int
    progress: bool


def fit_network(
    model: keras.Model,
    task: Task,
    training: Part,
    validation: Part | None,
    fitting: Fitting,
    *,
    last_epoch: int | None = None,
) -> tuple[dict[str, list[float]], int]:
    """Train until the validation loss no longer falls, or to a given epoch.

    Parameters
    ----------
    model : keras.Model
        The network, trained in place; it ends with the weights of the best epoch.
    task : Task
        What it learns.
    training : tuple of (inputs, truth)
        Pixels or vectors, and the classes of each: bool, of shape (n, n_classes).
    validation : tuple of (inputs, truth), or None
        Images that are not learned from; without them all runs to ``last_epoch``.
    fitting : Fitting
        How.
    last_epoch : int, optional
        Where to end without validation.

    Returns
    -------
    history : dict of str to list of float
        ``loss`` and ``accuracy``, ``val_loss`` and ``val_accuracy``, one value an epoch.
    best_epoch : int
        The epoch, counted from 1, whose weights it has: of the lowest validation loss, or the last.
    """
    inputs, truth = training
    is_softmax = task.kind == MULTICLASS
    accuracy = keras.metrics.CategoricalAccuracy if is_softmax else keras.metrics.BinaryAccuracy
    steps = fitting.epochs * -(-len(inputs) // fitting.batch_size)
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
    stop = keras.callbacks.EarlyStopping(
        patience=fitting.patience or min(15, max(5, fitting.epochs // 4)),
        restore_best_weights=True,
    )
    bar = TrainingBar(len(inputs), enabled=fitting.progress)
    history = model.fit(
        inputs,
        task.targets(truth),
        sample_weight=sample_weight(task, truth, fitting.class_weight),
        validation_data=validation and (validation[0], task.targets(validation[1])),
        epochs=fitting.epochs if validation else last_epoch,
        batch_size=fitting.batch_size,
        callbacks=[stop, bar] if validation else [],
        verbose=0,
    ).history
    best_epoch = stop.best_epoch + 1 if validation else len(history["loss"])
    return {
        name: [float(value) for value in values] for name, values in history.items()
    }, best_epoch


def sample_weight(
    task: Task, truth: NDArray[np.bool_], class_weight: str | None
) -> NDArray[np.float64] | None:
    """Return the weight of each training image, where classes are weighted."""
    if class_weight is None or task.kind == MULTILABEL:
        return None
    counts = truth.sum(axis=0)
    weights = class_weights(counts, max_ratio=1.0 if class_weight == "balanced" else 2.0)
    return None if weights is None else weights[truth.argmax(axis=1)]
