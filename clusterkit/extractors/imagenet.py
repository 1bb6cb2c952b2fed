"""Names of the 1000 ImageNet classes, which Keras would download at run time."""

from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from clusterkit.store.embeddings import TopClasses


@cache
def class_names() -> tuple[str, ...]:
    """Return the 1000 readable class names, in the order of the networks' outputs."""
    text = resources.files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8")
    return tuple(line.partition(" ")[2] for line in text.splitlines())


def top_classes(probabilities: NDArray[np.float32]) -> list[TopClasses]:
    """Return the five most probable classes of each image.

    Parameters
    ----------
    probabilities : ndarray of shape (n_images, 1000)
        Rows of ImageNet class probabilities.

    Returns
    -------
    list of list of (str, float)
        For each image five pairs of class name and probability, the most probable first.
    """
    names = class_names()
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    return [
        [(names[i], float(row[i])) for i in columns]
        for row, columns in zip(probabilities, best, strict=True)
    ]
