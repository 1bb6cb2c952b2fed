"""The parameters of a classifier: what they may be, and which determine a training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clusterkit.classifiers.by_name import network_names
from clusterkit.classifiers.training.augmentation import check_augmentation
from clusterkit.errors import InvalidInputError
from clusterkit.extractors.applications import NETWORKS
from clusterkit.networks.runtimes.choose import PRECISIONS

_BALANCES = ("auto", "weights", "oversample", None)


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check the parameters of a classifier before anything is read or trained.

    Parameters
    ----------
    parameters : mapping of str to object
        From :meth:`Classifier.get_params`.

    Raises
    ------
    InvalidInputError
        If one is out of range, or two do not fit together.
    """
    network, fine_tune = parameters["network"], parameters["fine_tune"]
    image_size, augmentation = parameters["image_size"], parameters["augmentation"]
    if network not in network_names():
        raise InvalidInputError(
            f"network must be one of {', '.join(network_names())}. Received: {network!r}"
        )
    is_transfer = network in NETWORKS
    if is_transfer and image_size is not None:
        raise InvalidInputError(
            f"image_size is for networks that are trained from scratch; {network} has its own. "
            f"Received: image_size={image_size}"
        )
    if fine_tune < 0 or (fine_tune and not is_transfer):
        raise InvalidInputError(
            "fine_tune must be at least 0, and is for networks of keras.applications. "
            f"Received: fine_tune={fine_tune}, network={network!r}"
        )
    if is_transfer and augmentation is not None:
        raise InvalidInputError(
            f"augmentation is for networks that are trained from scratch, not for {network}. "
            f"Received: augmentation={augmentation!r}"
        )
    check_augmentation(augmentation or ())
    for name in ("image_size", "epochs", "patience", "batch_size"):
        value = parameters[name]
        if value is not None and value < 1:
            raise InvalidInputError(f"{name} must be at least 1. Received: {name}={value}")
    share, rate = parameters["validation_split"], parameters["learning_rate"]
    if not 0 < share < 1:
        raise InvalidInputError(
            "validation_split must be between 0 and 1, both excluded. "
            f"Received: validation_split={share}"
        )
    for name, allowed in (("balance", _BALANCES), ("precision", PRECISIONS)):
        if parameters[name] not in allowed:
            raise InvalidInputError(
                f"{name} must be one of {', '.join(map(str, allowed))}. "
                f"Received: {parameters[name]!r}"
            )
    if not 0 < rate <= 1:
        raise InvalidInputError(
            f"learning_rate must be above 0, and at most 1. Received: learning_rate={rate}"
        )
    folder = parameters["tensorboard"]
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise InvalidInputError(f"tensorboard must be a folder. Received: {folder}, a file")


def training_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that determine the result of a training, JSON-able.

    Parameters
    ----------
    parameters : mapping of str to object
        From :meth:`Classifier.get_params`.
    """
    kept = dict(parameters)
    del kept["progress"], kept["tensorboard"]
    kept["weights"] = None if kept["weights"] is None else str(kept["weights"])
    if kept["augmentation"] is not None:
        kept["augmentation"] = list(kept["augmentation"])
    return kept
