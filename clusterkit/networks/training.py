"""Train networks: the fit loop with early stopping, and its progress."""

import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from clusterkit.utils.progress import progress_bar


def compile_network(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss: str,
    metrics: Sequence[keras.metrics.Metric] = (),
) -> None:
    """Compile a network for :func:`fit_epochs`."""
    # TensorFlow's XLA has slow convolutions on a CPU; JAX without its own is slow everywhere.
    compiled: Any = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(optimizer, loss=loss, metrics=list(metrics), jit_compile=compiled)


class BestEpoch(keras.callbacks.Callback):
    """Keep the weights of the epoch with the lowest validation loss, and stop early.

    Parameters
    ----------
    patience : int
        Number of epochs without improvement after which training stops.
    loss : float
        Validation loss before the first epoch, if the initial weights may be the result.
    span : int
        Number of epochs over which the validation loss is averaged, up to the current one.  With
        few images, or at a high learning rate, the loss of a single epoch may be low by chance.

    Attributes
    ----------
    epoch : int
        The best epoch, counted from 1; 0 is the state before training.
    history : dict of str to list of float
        The logged values, one per epoch.
    """

    def __init__(self, patience: int, loss: float = np.inf, *, span: int = 1) -> None:
        super().__init__()
        self.patience = patience
        self.loss = loss
        self.span = span
        self.epoch = 0
        self.history: dict[str, list[float]] = {}
        self.weights: list[Any] = []

    @property
    def n_epochs(self) -> int:
        """Number of epochs that were run."""
        return len(self.history.get("val_loss", []))

    @property
    def is_over(self) -> bool:
        """Whether there was no improvement for ``patience`` epochs."""
        return self.n_epochs - self.epoch >= self.patience

    def on_train_begin(self, logs: Any = None) -> None:
        """Store the weights before the first epoch."""
        if not self.weights:
            self.weights = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Store the logs, and the weights if they are the best so far."""
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        loss = float(np.mean(self.history["val_loss"][-self.span :]))
        if loss < self.loss:
            self.loss, self.epoch = loss, epoch + 1
            self.weights = self.model.get_weights()
        if self.is_over:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        """Restore the best weights."""
        self.model.set_weights(self.weights)


def fit_epochs(
    model: keras.Model,
    batches: keras.utils.PyDataset,
    validation: Any,
    best: BestEpoch,
    *,
    n_images: int,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = False,
) -> None:
    """Train a compiled network until the validation loss no longer improves.

    Parameters
    ----------
    model : keras.Model
        The network, trained in place; it ends with the weights of the best epoch.
    batches : keras.utils.PyDataset
        The training batches, in the order of the first epoch that is run.
    validation : PyDataset or tuple of (inputs, targets)
        The validation data.
    best : BestEpoch
        Decides when to stop, and holds the history and the best epoch afterwards.  Training
        continues after the epochs that it has already.
    n_images : int
        Number of training images, for the progress bar.
    epochs : int
        Maximum number of epochs, including those of ``best``.
    callbacks : sequence of keras.callbacks.Callback
        Called after ``best``.
    progress : bool
        Whether to show a progress bar on stderr.
    """
    first = epochs if best.is_over else best.n_epochs
    if first and progress:
        print(f"Continuing after epoch {best.n_epochs}", file=sys.stderr)
    bar = _TrainingBar(n_images, enabled=progress, first_epoch=first)
    _create_variables(model)
    model.fit(
        batches,
        validation_data=validation,
        initial_epoch=first,
        epochs=epochs,
        callbacks=[best, *callbacks, bar],
        shuffle=False,
        verbose=0,
    )


def _create_variables(model: keras.Model) -> None:
    """Create the variables of the optimizer and the metrics.

    TensorFlow would trace a training step twice that creates them: seconds at every start.
    """
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    outputs = keras.ops.zeros((1, *model.output_shape[1:]))
    model.compute_metrics(None, outputs, outputs)
    model.reset_metrics()


class _TrainingBar(keras.callbacks.Callback):
    """A progress bar over the images of all epochs; ten plain lines if stderr is not a terminal.

    Parameters
    ----------
    n_images : int
        Number of training images per epoch.
    enabled : bool
        Whether to show anything.
    first_epoch : int
        Number of epochs of an earlier run.
    """

    def __init__(self, n_images: int, *, enabled: bool, first_epoch: int = 0) -> None:
        super().__init__()
        self.first_epoch = first_epoch
        self.n_images = n_images
        self.enabled = enabled

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the bar."""
        self.epochs = self.params["epochs"]
        self.bar = progress_bar(
            name="Training",
            total=self.epochs * self.n_images,
            initial=self.first_epoch * self.n_images,
            unit=" images",
            enabled=self.enabled,
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Show the losses."""
        self.bar.set_postfix(loss=f"{logs['loss']:.5f}", val_loss=f"{logs['val_loss']:.5f}")
        if self.enabled and self.bar.disable and (epoch + 1) % max(1, self.epochs // 10) == 0:
            print(
                f"epoch {epoch + 1} of at most {self.epochs}: loss {logs['loss']:.5f}, "
                f"validation {logs['val_loss']:.5f}",
                file=sys.stderr,
            )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move the bar."""
        self.bar.update(self.n_images / self.params["steps"])

    def on_train_end(self, logs: Any = None) -> None:
        """Close the bar."""
        self.bar.close()
