"""Names of the networks of classifiers."""

from __future__ import annotations

# Networks that are trained from scratch.  Their builders are in
# clusterkit.classifiers.training.networks, which imports Keras; a test compares the names.
SCRATCH_NETWORKS = ("nn", "dnn", "dnn-dropout", "cnn", "dcnn", "two-conv", "cnn5")


def network_names() -> list[str]:
    """Return all names that :class:`Classifier` accepts as its network."""
    from clusterkit.extractors.applications import NETWORKS

    return [*SCRATCH_NETWORKS, *NETWORKS]
