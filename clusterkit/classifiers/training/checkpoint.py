"""The state of a training after each epoch, in a file, so that one that was killed goes on."""

import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit import __version__
from clusterkit.networks.keras_file import check_sizes
from clusterkit.utils.documents import NUMBER, TEXT, check_document, integer, list_of, table_of
from clusterkit.utils.files import write_whole

_RULES = {
    "key": TEXT,
    "history": table_of(list_of(NUMBER)),
    "epoch": integer(0),
    "loss": NUMBER,
}


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
            If the file is of another training, or damaged.
        """
        if not self.path.exists():
            return
        now, weights = _variables(model), model.weights
        try:
            state = self._read_state()
            if state["key"] == self.key:
                arrays = self._read_arrays(now, weights)
        # NumPy raises nearly anything on damaged bytes.
        except Exception as error:
            warnings.warn(
                f"{self.path} is damaged or no checkpoint ({error}): starting anew, and replacing "
                "it",
                stacklevel=2,
            )
            return
        if state["key"] != self.key:
            warnings.warn(
                f"{self.path} is of another training, with other images, parameters or "
                "versions: starting anew, and replacing it",
                stacklevel=2,
            )
            return
        for variable, value in zip(now, arrays, strict=False):
            variable.assign(value)
        best.history, best.epoch, best.loss = state["history"], state["epoch"], state["loss"]
        best.weights = arrays[len(now) :]

    def _read_state(self) -> dict[str, Any]:
        """Read all but the arrays."""
        with zipfile.ZipFile(self.path) as archive:
            check_sizes(archive)
        with np.load(self.path) as file:
            if "state" not in file:
                raise ValueError("it holds no state")
            state = check_document(json.loads(str(file["state"])), _RULES)
        lengths = {len(values) for values in state["history"].values()}
        if lengths != {len(state["history"].get("val_loss", ()))} or state["epoch"] > max(lengths):
            raise ValueError("its history has gaps")
        return state

    def _read_arrays(self, now: Sequence[Any], weights: Sequence[Any]) -> list[NDArray[Any]]:
        """Read the arrays, which must fit the variables that they are for."""
        variables = {f"now-{i}": variable for i, variable in enumerate(now)}
        variables |= {f"best-{i}": variable for i, variable in enumerate(weights)}
        arrays = []
        with np.load(self.path) as file:
            for name, variable in variables.items():
                array = file[name] if name in file else np.empty(0)
                if array.shape != tuple(variable.shape) or array.dtype.kind not in "biuf":
                    raise ValueError(f"{name} does not fit the network")
                arrays.append(array)
        return arrays


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
