"""Store the state of a training after each epoch, so that it can be resumed."""

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
from clusterkit.errors import ClusterkitWarning
from clusterkit.networks.keras_file import check_sizes
from clusterkit.networks.training import BestEpoch
from clusterkit.utils.documents import NUMBER, TEXT, check_document, integer, list_of, table_of
from clusterkit.utils.files import write_whole

_RULES = {
    "key": TEXT,
    "history": table_of(list_of(NUMBER)),
    "epoch": integer(0),
    "loss": NUMBER,
}


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the state of a training.

    Attributes
    ----------
    path : pathlib.Path
        The file, ending in ``.npz``.
    key : str
        Digest of everything that determines the training; a state with another key is not used.
    """

    path: Path
    key: str

    def save(self, model: keras.Model, best: BestEpoch) -> None:
        """Write the state after an epoch atomically."""
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
        """Restore a compiled model to the last epoch of the same training, if the file exists.

        Warns
        -----
        ClusterkitWarning
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
                f"{self.path} is damaged or not a checkpoint ({error}): training starts again, "
                "and it is replaced",
                ClusterkitWarning,
                stacklevel=2,
            )
            return
        if state["key"] != self.key:
            warnings.warn(
                f"{self.path} is of another training, with other images, parameters or "
                "versions: training starts again, and it is replaced",
                ClusterkitWarning,
                stacklevel=2,
            )
            return
        for variable, value in zip(now, arrays, strict=False):
            variable.assign(value)
        best.history, best.epoch, best.loss = state["history"], state["epoch"], state["loss"]
        best.weights = arrays[len(now) :]

    def _read_state(self) -> dict[str, Any]:
        """Read the state without the arrays."""
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
        """Read the arrays, and check that they fit their variables."""
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
        The file, which need not exist yet.
    parameters : dict
        Parameters of the training, JSON-able.
    *arrays : ndarray
        Training and validation data.
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
        The file.
    best : BestEpoch
        A callback that must be called before this one.
    """

    def __init__(self, checkpoint: Checkpoint, best: BestEpoch) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.best = best

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the state."""
        self.checkpoint.save(self.model, self.best)


def _variables(model: keras.Model) -> list[Any]:
    """Return all variables that a training step changes: weights, random states, optimizer."""
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]
