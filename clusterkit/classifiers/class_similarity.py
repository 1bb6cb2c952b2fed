"""Similarity of classes in the features of a network."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.tasks import HEAD
from clusterkit.images.batches import strict_batches
from clusterkit.networks.runtimes.keras import run_network
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.parallel import default_batch_size

if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier


def class_similarity(vectors: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the cosine similarity of the mean vectors of classes.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
        Embeddings of images.
    truth : ndarray of shape (n, n_classes), bool
        The classes of each image.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), float64
        Cosine similarities, in [-1, 1]; NaN for classes without images or with a mean of 0.
    """
    # The cosine does not depend on lengths, so sums can replace means.
    sums = truth.T.astype(np.float64) @ vectors
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    directions = sums / np.where(lengths, lengths, np.nan)
    return np.clip(directions @ directions.T, -1, 1)


def predict_with_features(
    classifier: "Classifier", X: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Predict images, and return the inputs of the last layer.

    Parameters
    ----------
    classifier : Classifier
        A fitted classifier.
    X : as for ``Classifier.predict_proba``
        The images, or embeddings by the pretrained network.

    Returns
    -------
    probabilities : ndarray of shape (n, n_classes), float32
        As from ``Classifier.predict_proba``.
    features : ndarray of shape (n, d), float32
        Activations before the last layer; embeddings are returned unchanged.
    """
    if isinstance(X, Embeddings):
        return classifier.predict_proba(X), X.vectors
    import keras

    def show_features(layer: Any) -> Any:
        """Return the layer; the last one is replaced by a network that also outputs its input."""
        if layer.name != HEAD:
            return layer
        features = keras.Input(layer.input.shape[1:])
        outputs = keras.layers.Concatenate(dtype="float32")([features, layer(features)])
        return keras.Model(features, outputs)

    network = keras.models.clone_model(classifier.model_, clone_function=show_features)
    size = default_batch_size()
    batches = strict_batches(X, classifier.input_shape_, size, resize=classifier.resize)
    found = np.concatenate([run_network(network, pixels, size) for _, pixels in batches])
    features, outputs = np.split(found, [-classifier.task_.n_outputs], axis=1)
    return classifier.task_.probabilities(outputs), features
