"""Classifiers as ``.keras`` files: the network, and a document with what prediction needs."""

from pathlib import Path
from typing import Any

import numpy as np

from clusterkit import __version__
from clusterkit.classifiers.tasks import BINARY, MULTICLASS, MULTILABEL, Task
from clusterkit.classifiers.training.networks import HEAD
from clusterkit.errors import InvalidInputError, WeightsError
from clusterkit.images.resizing import RESIZE_MODES
from clusterkit.networks.keras_file import load_network, read_document, save_network
from clusterkit.utils.documents import (
    FLAG,
    NOTHING,
    NUMBER,
    TEXT,
    check_document,
    integer,
    list_of,
    one_of,
    real,
    table_of,
)
from clusterkit.utils.files import check_output

KIND = "classifier"
_RULES = {
    "task": one_of((BINARY, MULTICLASS, MULTILABEL)),
    # All of one type, since they are an array.
    "classes": list_of(TEXT, 2) | list_of(FLAG, 2) | list_of(real(), 2),
    "input_shape": list_of(integer(1, 2**14), 3, 3),
    "temperature": real(1e-9),
    "thresholds": list_of(real(0, 1)) | NOTHING,
    "parameters": table_of(TEXT | NOTHING | NUMBER | FLAG | list_of(TEXT)),
    "history": table_of(list_of(NUMBER)),
    "best_epoch": integer(0),
    "fingerprint": TEXT | NOTHING,
    "versions": table_of(TEXT),
}


def check_model_path(path: str | Path, *, overwrite: bool) -> Path:
    """Check that a ``.keras`` file can be written, and return its path."""
    path = check_output(path, overwrite=overwrite)
    if path.suffix != ".keras":
        raise InvalidInputError(f"the output's name must end in .keras. Received: {path}")
    return path


def write_classifier(path: Path, network: Any, document: dict[str, Any]) -> None:
    """Write a trained network and its document to a file."""
    import keras

    versions = {
        "clusterkit": __version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }
    scale = "pixels 0-255; preprocessing is part of the network"
    save_network(network, path, KIND, {"scale": scale, "versions": versions} | document)


def read_classifier(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """Read the network and the document of a file by :func:`write_classifier`.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    network : keras.Model
        The network; its input and output match the document.
    document : dict of str to object
        The document; its values are valid, and the classes fit the task.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or not a classifier of clusterkit.
    """
    document = read_document(path, KIND, _RULES)
    try:
        check_document(document["parameters"], {"network": TEXT, "resize": one_of(RESIZE_MODES)})
        task = Task(document["task"], np.array(document["classes"]))
        _check_classes(task, document["thresholds"])
    except (InvalidInputError, TypeError) as error:
        raise WeightsError(
            f"{path} is damaged ({error}): copy it again, or train it again"
        ) from error
    network = load_network(
        path,
        input_shape=tuple(document["input_shape"]),
        output_shape=(task.n_outputs,),
        layers={HEAD: task.n_outputs},
    )
    return network, document


def _check_classes(task: Task, thresholds: list[float] | None) -> None:
    """Raise InvalidInputError if classes or thresholds do not fit the task."""
    n_classes = len(task.classes)
    if len(set(task.classes.tolist())) != n_classes:
        raise InvalidInputError("two of its classes are equal")
    if task.kind == BINARY and n_classes != 2:
        raise InvalidInputError(f"a binary task has 2 classes. Received: {n_classes}")
    n_thresholds = n_classes if task.kind == MULTILABEL else 0
    if len(thresholds or ()) != n_thresholds:
        raise InvalidInputError(
            f"there must be {n_thresholds} thresholds. Received: {len(thresholds or ())}"
        )
