"""The progress of a training."""

import sys
from typing import Any

import keras
from tqdm import tqdm


class TrainingBar(keras.callbacks.Callback):
    """A bar over all pictures of all epochs; where stderr is no terminal, ten plain lines.

    Parameters
    ----------
    n_images : int
        Training images of one epoch.
    enabled : bool
        Whether to show anything.
    first_epoch : int
        How many epochs were run before.
    """

    def __init__(self, n_images: int, *, enabled: bool, first_epoch: int = 0) -> None:
        super().__init__()
        self.first_epoch = first_epoch
        self.n_images = n_images
        self.enabled = enabled

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the bar."""
        self.epochs = self.params["epochs"]
        self.bar = tqdm(
            total=self.epochs * self.n_images,
            initial=self.first_epoch * self.n_images,
            desc="Training",
            unit=" images",
            disable=None if self.enabled else True,
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
