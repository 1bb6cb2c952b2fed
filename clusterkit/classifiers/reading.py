"""What a classifier's network is fed with: pixels of its size, or the embeddings it sits on."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.inputs import strict_batches
from clusterkit.errors import InvalidInputError, SpaceMismatchError
from clusterkit.images.pixels import check_pixels, is_pixels
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.optional_imports import import_keras
from clusterkit.utils.parallel import default_batch_size

if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier

Batch = TypeVar("Batch")


def choose_shape(classifier: "Classifier", X: Any) -> tuple[int, int, int]:
    """Return (height, width, channels) of the network's input, if it is trained on images."""
    if classifier.is_transfer:
        return (*classifier.extractor.image_size, 3)
    import_keras()
    from clusterkit.classifiers.training.networks import RECIPES

    side = classifier.image_size
    if is_pixels(X):
        _, height, width, channels = check_pixels(X).shape
        return (side or height, side or width, channels)
    side = side or RECIPES[classifier.network].side
    return (side, side, 3)


def read_batches(
    classifier: "Classifier", X: Any, read: Callable[..., Iterator[Batch]]
) -> Iterator[Batch]:
    """Read images in the network's size, by a function of :mod:`clusterkit.classifiers.inputs`."""
    return read(X, classifier.input_shape_, default_batch_size(), resize=classifier.resize)


def read_inputs(classifier: "Classifier", X: Any) -> NDArray[Any]:
    """Return what is learned from: vectors for a last layer alone, else pixels."""
    if isinstance(X, Embeddings):
        return check_space(classifier, X)
    if not classifier.takes_embeddings:
        inputs = np.empty((len(X), *classifier.input_shape_), np.uint8)
        for rows, pixels in read_batches(classifier, X, strict_batches):
            inputs[rows] = pixels
        return inputs
    extractor = classifier.extractor
    vectors = np.empty((len(X), extractor.dimension), np.float32)
    for rows, pixels in read_batches(classifier, X, strict_batches):
        vectors[rows] = extractor.extract(pixels).vectors
    return vectors


def check_space(classifier: "Classifier", X: Embeddings) -> NDArray[np.float32]:
    """Return vectors, if they are of the network that is transferred.

    Raises
    ------
    InvalidInputError
        If the classifier takes images only.
    SpaceMismatchError
        If they are of another network.
    """
    if not classifier.takes_embeddings:
        raise InvalidInputError(
            f"{classifier.network} takes images; embeddings are for networks of "
            "keras.applications that are not fine-tuned. "
            f"Received: {X!r}, fine_tune={classifier.fine_tune}"
        )
    if X.fingerprint not in (None, classifier.fingerprint_):
        raise SpaceMismatchError(
            f"the embeddings must be of {classifier.network} with this classifier's weights and "
            f"resize={classifier.resize!r}. Received: {X!r}"
        )
    return X.vectors
