"""The state of a training after each epoch, in a file, so that one that was killed goes on."""

import hashlib
import io
import json
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit import __version__
from clusterkit.files import write_whole


class BestEpoch(keras.callbacks.Callback):
    """Keep the weights of the lowest validation loss, and stop when it no longer falls.

    Parameters
    ----------
    patience : int
        Stop after so many epochs without a gain.
    loss : float
        The validation loss before the first epoch, where these weights are an answer too.
    span : int
        So many epochs are averaged, up to the one whose weights are kept: of a few images, and at
        a high learning rate, the loss of one epoch may be low by chance.

    Attributes
    ----------
    epoch : int
        The best one, counted from 1; 0 is the state before the training.
    history : dict of str to list of float
        What was logged, one value an epoch.
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
        """How many epochs were run."""
        return len(self.history.get("val_loss", []))

    @property
    def is_over(self) -> bool:
        """Whether the patience is at its end."""
        return self.n_epochs - self.epoch >= self.patience

    def on_train_begin(self, logs: Any = None) -> None:
        """Note the weights before the first epoch."""
        if not self.weights:
            self.weights = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note what was reached."""
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        loss = float(np.mean(self.history["val_loss"][-self.span :]))
        if loss < self.loss:
            self.loss, self.epoch = loss, epoch + 1
            self.weights = self.model.get_weights()
        if self.is_over:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        """Bring the best weights back."""
        self.model.set_weights(self.weights)


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the state of a training.

    Attributes
    ----------
    path : pathlib.Path
        The file, ending in ``.npz``.
    key : str
        Stands for everything that decides the training: a state under another key is not used.
    """

    path: Path
    key: str

    def save(self, model: keras.Model, best: BestEpoch) -> None:
        """Write the state after an epoch, whole or not at all."""
        state = {
            "key": self.key,
            "history": best.history,
            "epoch": best.epoch,
            "loss": best.loss,
        }
        arrays: dict[str, Any] = {"state": np.array(json.dumps(state))}
        for name, values in (("now", _variables(model)), ("best", best.weights)):
            arrays |= {f"{name}-{i}": np.asarray(value) for i, value in enumerate(values)}
        content = io.BytesIO()
        np.savez(content, **arrays)
        write_whole(self.path, content.getvalue())

    def restore(self, model: keras.Model, best: BestEpoch) -> None:
        """Bring a compiled model back to the last epoch of the same training, if there is one.

        Warns
        -----
        UserWarning
            If the file is of another training.
        """
        try:
            with np.load(self.path) as file:
                state = json.loads(str(file["state"]))
                if state["key"] != self.key:
                    warnings.warn(
                        f"{self.path} is of another training, with other images, parameters or "
                        "versions: starting anew, and replacing it",
                        stacklevel=2,
                    )
                    return
                arrays = dict(file)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            # None was begun, or the file is no checkpoint.
            return
        for index, variable in enumerate(_variables(model)):
            variable.assign(arrays[f"now-{index}"])
        best.history, best.epoch, best.loss = state["history"], state["epoch"], state["loss"]
        best.weights = [arrays[f"best-{i}"] for i in range(len(model.weights))]


def open_checkpoint(
    path: str | Path, parameters: dict[str, Any], *arrays: NDArray[Any]
) -> Checkpoint:
    """Return the checkpoint of a training.

    Parameters
    ----------
    path : path
        The file, which need not be there yet.
    parameters : dict
        How it is trained, JSON-able.
    *arrays : ndarray
        What it learns from, and is measured on.
    """
    digest = hashlib.sha256()
    made_by = {"clusterkit": __version__, "keras": keras.__version__} | parameters
    digest.update(json.dumps(made_by, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return Checkpoint(Path(path), digest.hexdigest())


class KeepCheckpoint(keras.callbacks.Callback):
    """Write a checkpoint after each epoch.

    Parameters
    ----------
    checkpoint : Checkpoint
        Where.
    best : BestEpoch
        Called before this.
    """

    def __init__(self, checkpoint: Checkpoint, best: BestEpoch) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.best = best

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the state."""
        self.checkpoint.save(self.model, self.best)


def _variables(model: keras.Model) -> list[Any]:
    """Return all that a step of the training changes: weights, random states, the optimizer's."""
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]
