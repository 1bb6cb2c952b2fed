"""Train a Keras network: one seed, early stopping, the best epoch kept."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit.training_bar import TrainingBar


def fit_network(
    model: keras.Model,
    inputs: NDArray[Any],
    targets: NDArray[np.float32],
    validation: tuple[NDArray[Any], NDArray[np.float32]] | None,
    *,
    loss: str,
    sample_weight: NDArray[np.float64] | None,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    patience: int | None = None,
    last_epoch: int | None = None,
    progress: bool = False,
) -> tuple[dict[str, list[float]], int]:
    """Train until the validation loss no longer falls, or to a given epoch.

    Parameters
    ----------
    model : keras.Model
        The network, trained in place; it ends with the weights of the best epoch.
    inputs : ndarray of shape (n, ...)
        Pixels or vectors.
    targets : ndarray of shape (n, n_outputs), float32
        What it shall put out.
    validation : tuple of (inputs, targets), or None
        Images that are not learned from; without them all runs to ``last_epoch``.
    loss : str
        Keras' name of the loss.
    sample_weight : ndarray of shape (n,), or None
        How much each image counts.
    epochs, batch_size : int
        At most so many passes, and images a step.
    learning_rate : float
        Of Adam, at the start; it falls to a hundredth along a cosine over all epochs.
    patience : int, optional
        Stop after so many epochs without a gain; by default a quarter of ``epochs``, at least 5
        and at most 15.
    last_epoch : int, optional
        Where to end without validation.
    progress : bool
        Draw a progress bar on stderr.

    Returns
    -------
    history : dict of str to list of float
        ``loss`` and ``accuracy``, ``val_loss`` and ``val_accuracy``, one value an epoch.
    best_epoch : int
        The epoch, counted from 1, whose weights it has: of the lowest validation loss, or the last.
    """
    is_softmax = loss == "categorical_crossentropy"
    accuracy = keras.metrics.CategoricalAccuracy if is_softmax else keras.metrics.BinaryAccuracy
    steps = epochs * -(-len(inputs) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps, alpha=0.01)
    # TensorFlow's XLA has slow convolutions on a CPU; without JAX's there is no speed at all.
    compiled: Any = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(
        keras.optimizers.Adam(rate),
        loss=loss,
        metrics=[accuracy("accuracy")],
        jit_compile=compiled,
    )
    stop = keras.callbacks.EarlyStopping(
        patience=patience or min(15, max(5, epochs // 4)), restore_best_weights=True
    )
    history = model.fit(
        inputs,
        targets,
        sample_weight=sample_weight,
        validation_data=validation,
        epochs=epochs if validation else last_epoch,
        batch_size=batch_size,
        callbacks=[stop, TrainingBar(len(inputs), enabled=progress)] if validation else [],
        verbose=0,
    ).history
    best_epoch = stop.best_epoch + 1 if validation else len(history["loss"])
    return {
        name: [float(value) for value in values] for name, values in history.items()
    }, best_epoch
