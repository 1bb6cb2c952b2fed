"""Checks of a classifier's parameters, before any work is done."""

from typing import TYPE_CHECKING

from clusterkit.classifiers import network_names
from clusterkit.errors import InvalidInputError

if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier

CLASS_WEIGHTS = ("auto", "balanced", None)


def check_parameters(classifier: "Classifier") -> None:
    """Refuse parameters out of range.

    Raises
    ------
    InvalidInputError
        If one is.
    """
    network = classifier.network
    if network not in network_names():
        raise InvalidInputError(
            f"network must be one of {', '.join(network_names())}. Received: {network!r}"
        )
    if classifier.is_transfer and classifier.image_size is not None:
        raise InvalidInputError(
            f"image_size is for networks that are trained from scratch; {network} has its own. "
            f"Received: image_size={classifier.image_size}"
        )
    for name in ("image_size", "epochs", "patience", "batch_size"):
        value = getattr(classifier, name)
        if value is not None and value < 1:
            raise InvalidInputError(f"{name} must be at least 1. Received: {name}={value}")
    if not 0 < classifier.validation_split < 1:
        raise InvalidInputError(
            "validation_split must be between 0 and 1, both excluded. "
            f"Received: validation_split={classifier.validation_split}"
        )
    if classifier.class_weight not in CLASS_WEIGHTS:
        raise InvalidInputError(
            f"class_weight must be one of {', '.join(map(str, CLASS_WEIGHTS))}. "
            f"Received: {classifier.class_weight!r}"
        )
