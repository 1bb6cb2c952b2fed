"""Classifiers as ``.keras`` files: the network, and a document of all that predicting needs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterkit import __version__
from clusterkit.classifiers.tasks import BINARY, HEAD, MULTICLASS, MULTILABEL, Task
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
from clusterkit.utils.optional_imports import import_keras

if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier

KIND = "classifier"
_CLASSES = (TEXT, FLAG, real())
_RULES = {
    "task": one_of((BINARY, MULTICLASS, MULTILABEL)),
    # All of one type, as an array has them.
    "classes": list_of(_CLASSES[0], 2) | list_of(_CLASSES[1], 2) | list_of(_CLASSES[2], 2),
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
    """Check, before any work is done, that a classifier can be written under this name."""
    path = check_output(path, overwrite=overwrite)
    if path.suffix != ".keras":
        raise InvalidInputError(f"the output's name must end in .keras. Received: {path}")
    return path


def write_classifier(classifier: "Classifier", path: Path, notes: dict[str, Any]) -> None:
    """Write a trained classifier; ``notes`` are further facts for its document."""
    save_network(classifier.model_, path, KIND, _document(classifier) | notes)


def read_classifier(path: str | Path, build: type["Classifier"]) -> "Classifier":
    """Read what :func:`write_classifier` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, no classifier of clusterkit, or of another version.
    """
    document = read_document(path, KIND, _RULES)
    try:
        check_document(document["parameters"], {"network": TEXT, "resize": one_of(RESIZE_MODES)})
        classifier = _build(path, document, build)
        classifier.check_parameters()
        classes = np.array(document["classes"])
        classifier.task_ = Task(document["task"], classes)
        thresholds = document["thresholds"]
        _check_classes(classifier.task_, thresholds)
    except (InvalidInputError, TypeError) as error:
        raise WeightsError(
            f"{path} is damaged ({error}): copy it again, or train it again"
        ) from error
    classifier.classes_ = classes
    classifier.input_shape_ = tuple(document["input_shape"])
    classifier.thresholds_ = None if thresholds is None else np.array(thresholds)
    classifier.history_ = document["history"]
    classifier.best_epoch_ = document["best_epoch"]
    classifier.temperature_ = document["temperature"]
    classifier.fingerprint_ = document["fingerprint"]
    n_outputs = classifier.task_.n_outputs
    classifier.set_network(
        load_network(
            path,
            input_shape=classifier.input_shape_,
            output_shape=(n_outputs,),
            layers={HEAD: n_outputs},
        )
    )
    return classifier


def _build(path: str | Path, document: dict[str, Any], build: type["Classifier"]) -> "Classifier":
    """Return an untrained classifier of the document's parameters."""
    try:
        return build(**document["parameters"])
    except TypeError as error:
        raise WeightsError(
            f"{path} was trained by clusterkit {document['versions'].get('clusterkit')} with "
            f"parameters that this one does not have ({error}): train it again"
        ) from error


def _check_classes(task: Task, thresholds: list[float] | None) -> None:
    """Refuse classes and thresholds that do not fit the task."""
    n_classes = len(task.classes)
    if len(set(task.classes.tolist())) != n_classes:
        raise InvalidInputError("two of its classes are equal")
    if (task.kind == BINARY) and n_classes != 2:
        raise InvalidInputError(f"a binary task has 2 classes. Received: {n_classes}")
    n_thresholds = n_classes if task.kind == MULTILABEL else 0
    if len(thresholds or ()) != n_thresholds:
        raise InvalidInputError(
            f"there must be {n_thresholds} thresholds. Received: {len(thresholds or ())}"
        )


def _document(classifier: "Classifier") -> dict[str, Any]:
    """Return what travels inside the file."""
    keras = import_keras()
    thresholds = classifier.thresholds_
    return {
        "task": classifier.task_.kind,
        "classes": classifier.classes_.tolist(),
        "input_shape": list(classifier.input_shape_),
        "scale": "pixels 0-255; preprocessing is part of the network",
        "temperature": classifier.temperature_,
        "thresholds": None if thresholds is None else thresholds.tolist(),
        "parameters": classifier.describe(),
        "fingerprint": classifier.fingerprint_,
        "history": classifier.history_,
        "best_epoch": classifier.best_epoch_,
        "versions": {
            "clusterkit": __version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
    }
