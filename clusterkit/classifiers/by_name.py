"""The names of the networks that a classifier can be built on."""

# What is trained from scratch; the builders are in clusterkit.classifiers.training.networks, which
# imports Keras.  A test keeps the two in step.
SCRATCH_NETWORKS = ("nn", "dnn", "dnn-dropout", "cnn", "dcnn", "two-conv", "cnn5")


def network_names() -> list[str]:
    """Return every name that :class:`Classifier` takes as its network."""
    from clusterkit.extractors.applications import NETWORKS

    return [*SCRATCH_NETWORKS, *NETWORKS]
