"""Checks of a classifier's parameters, before any work is done."""

from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.classifiers.by_name import network_names
from clusterkit.classifiers.training.augmentation import check_augmentation
from clusterkit.errors import InvalidInputError
from clusterkit.networks.runtimes.choose import PRECISIONS

if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier

BALANCES = ("auto", "weights", "oversample", None)


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
    if classifier.fine_tune < 0 or (classifier.fine_tune and not classifier.is_transfer):
        raise InvalidInputError(
            "fine_tune must be at least 0, and is for networks of keras.applications. "
            f"Received: fine_tune={classifier.fine_tune}, network={network!r}"
        )
    if classifier.is_transfer and classifier.augmentation is not None:
        raise InvalidInputError(
            f"augmentation is for networks that are trained from scratch, not for {network}. "
            f"Received: augmentation={classifier.augmentation!r}"
        )
    check_augmentation(classifier.augmentation or ())
    for name in ("image_size", "epochs", "patience", "batch_size"):
        value = getattr(classifier, name)
        if value is not None and value < 1:
            raise InvalidInputError(f"{name} must be at least 1. Received: {name}={value}")
    if not 0 < classifier.validation_split < 1:
        raise InvalidInputError(
            "validation_split must be between 0 and 1, both excluded. "
            f"Received: validation_split={classifier.validation_split}"
        )
    for name, allowed in (("balance", BALANCES), ("precision", PRECISIONS)):
        value = getattr(classifier, name)
        if value not in allowed:
            raise InvalidInputError(
                f"{name} must be one of {', '.join(map(str, allowed))}. Received: {value!r}"
            )
    rate = classifier.learning_rate
    if not 0 < rate <= 1:
        raise InvalidInputError(
            f"learning_rate must be above 0, and at most 1. Received: learning_rate={rate}"
        )
    folder = classifier.tensorboard
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise InvalidInputError(f"tensorboard must be a folder. Received: {folder}, a file")
