"""Train networks to tell classes of images apart, measure them, and sort folders with them."""

import importlib
from typing import Any

_EXPORTS = {
    "ClassificationReport": "clusterkit.classifiers.report",
    "Classifier": "clusterkit.classifiers.classifier",
    "LabelledImages": "clusterkit.classifiers.datasets",
    "NetworkComparison": "clusterkit.classifiers.network_comparison",
    "classify": "clusterkit.classifiers.sending",
    "compare_networks": "clusterkit.classifiers.side_by_side",
    "read_labelled": "clusterkit.classifiers.datasets",
    "route": "clusterkit.classifiers.sending",
    "split": "clusterkit.classifiers.splitting",
    "train_classifier": "clusterkit.classifiers.training",
}

# What is trained from scratch; the builders are in clusterkit.classifiers.networks, which imports
# Keras.  A test keeps the two in step.
SCRATCH_NETWORKS = ("nn", "dnn", "dnn-dropout", "cnn", "dcnn", "two-conv", "cnn5")

__all__ = ["SCRATCH_NETWORKS", "network_names", *sorted(_EXPORTS)]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def network_names() -> list[str]:
    """Return every name that :class:`Classifier` takes as its network."""
    from clusterkit.extractors.applications import NETWORKS

    return [*SCRATCH_NETWORKS, *NETWORKS]
