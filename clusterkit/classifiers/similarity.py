"""How near the classes lie to each other, as a network sees them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.inputs import run_network, strict_batches
from clusterkit.embeddings import Embeddings
from clusterkit.engines import default_batch_size
from clusterkit.optional import import_keras

if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier


def class_similarity(vectors: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compare the mean vectors of classes.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
        Embeddings of images.
    truth : ndarray of shape (n, n_classes), bool
        Which classes each image shows.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), float64
        Cosines, in [-1, 1]; NaN for a class without an image, or whose mean is 0.
    """
    # The length of a sum does not matter to a cosine, so sums serve as means.
    sums = truth.T.astype(np.float64) @ vectors
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    directions = sums / np.where(lengths, lengths, np.nan)
    return np.clip(directions @ directions.T, -1, 1)


def last_features(classifier: "Classifier", X: Any) -> NDArray[np.float32]:
    """Return what the last layer of a classifier sees of images.

    Parameters
    ----------
    classifier : Classifier
        Trained.
    X : as for ``Classifier.predict_proba``
        The images, or embeddings by the network that is transferred, which are returned.

    Returns
    -------
    ndarray of shape (n, d), float32
        Activations before the last layer.
    """
    if isinstance(X, Embeddings):
        return X.vectors
    keras = import_keras()

    def without_head(layer: Any) -> Any:
        """Return the layer itself, but in place of the last one a network without any layer."""
        if layer.name != "head":
            return layer
        features = keras.Input(layer.input.shape[1:])
        return keras.Model(features, features)

    body = keras.models.clone_model(classifier.model_, clone_function=without_head)
    size, shape = default_batch_size(), classifier.input_shape_
    batches = strict_batches(X, shape, size, resize=classifier.resize)
    return np.concatenate([run_network(body, pixels, size) for _, pixels in batches])
