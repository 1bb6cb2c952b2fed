"""Classifiers as ``.keras`` files: the network, and a document of all that predicting needs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterkit import __version__
from clusterkit.classifiers.tasks import Task
from clusterkit.errors import InvalidInputError, WeightsError
from clusterkit.files import check_output
from clusterkit.keras_files import load_network, read_document, save_network
from clusterkit.optional import import_keras

if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier

KIND = "classifier"


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
    document = read_document(path, KIND)
    try:
        classifier = build(**document["parameters"])
    except TypeError as error:
        raise WeightsError(
            f"{path} was trained by clusterkit {document['versions']['clusterkit']} with "
            f"parameters that this one does not have ({error}): train it again"
        ) from error
    classifier.task_ = Task(document["task"], np.array(document["classes"]))
    classifier.classes_ = classifier.task_.classes
    classifier.input_shape_ = tuple(document["input_shape"])
    thresholds = document["thresholds"]
    classifier.thresholds_ = None if thresholds is None else np.array(thresholds)
    classifier.history_ = document["history"]
    classifier.best_epoch_ = document["best_epoch"]
    classifier.temperature_ = document["temperature"]
    classifier.fingerprint_ = document["fingerprint"]
    classifier.set_network(load_network(path))
    return classifier


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
