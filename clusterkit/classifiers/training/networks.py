"""Networks that are trained from scratch: functions that build plain ``keras.Model`` objects.

The input of each is uint8 or float pixels of shape (n, height, width, channels) on the scale 0-255;
the last layer is called ``HEAD``, and its outputs are probabilities.  Scaling and augmentation are
layers of the network; augmentation is active in training only.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import keras
from keras import layers

from clusterkit.classifiers.tasks import HEAD
from clusterkit.classifiers.training.augmentation import AUGMENTATIONS, build_augmentation

Shape = tuple[int, int, int]

# Strength of the augmentation.  Digits and signs fill their images and differ by little.
_PHOTOS, _SIGNS = 1.0, 0.6
_MOVED = ("rotation", "shift", "zoom")


class Recipe(NamedTuple):
    """Builder and default training parameters of a network.

    Attributes
    ----------
    build : callable
        Function of (image shape, number of outputs, activation of the outputs) that returns a
        ``keras.Model``.  Its keyword ``augmentation`` replaces the default augmentation.
    side : int
        Height and width in pixels to which files are resized.
    epochs : int
        Maximum number of epochs.
    """

    build: Callable[..., keras.Model]
    side: int
    epochs: int


def build_nn(
    shape: Shape, n_outputs: int, activation: str, *, augmentation: Collection[str] = ()
) -> keras.Model:
    """Build a network of one dense layer: multinomial logistic regression on pixels."""
    inputs, x = _start(shape, augmentation, _SIGNS)
    return _finish(inputs, layers.Flatten()(x), n_outputs, activation)


def build_dnn(
    shape: Shape,
    n_outputs: int,
    activation: str,
    *,
    augmentation: Collection[str] = (),
    dropout: float = 0.0,
) -> keras.Model:
    """Build a network of two hidden dense layers, optionally with dropout around each."""
    inputs, x = _start(shape, augmentation, _SIGNS)
    x = layers.Flatten()(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    for _ in range(2):
        x = layers.Dense(512, activation="relu")(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    return _finish(inputs, x, n_outputs, activation)


def build_dnn_dropout(
    shape: Shape, n_outputs: int, activation: str, *, augmentation: Collection[str] = ()
) -> keras.Model:
    """Build :func:`build_dnn` with a dropout of 25 %, including the pixels."""
    return build_dnn(shape, n_outputs, activation, augmentation=augmentation, dropout=0.25)


def build_cnn(
    shape: Shape,
    n_outputs: int,
    activation: str,
    *,
    augmentation: Collection[str] = _MOVED,
) -> keras.Model:
    """Build a network of two convolutions, each with pooling, and a dense layer."""
    inputs, x = _start(shape, augmentation, _SIGNS)
    for width in (32, 64):
        x = _convolve(x, width, pool=True)
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    return _finish(inputs, layers.Dropout(0.5)(x), n_outputs, activation)


def build_dcnn(
    shape: Shape,
    n_outputs: int,
    activation: str,
    *,
    augmentation: Collection[str] = _MOVED,
) -> keras.Model:
    """Build a network of three pairs of convolutions, each with pooling, and a dense layer."""
    inputs, x = _start(shape, augmentation, _SIGNS)
    for width in (16, 32, 64):
        x = _convolve(_convolve(x, width), width, pool=True)
    x = layers.Dense(256, activation="relu")(layers.Flatten()(x))
    return _finish(inputs, layers.Dropout(0.5)(x), n_outputs, activation)


def build_two_conv(
    shape: Shape,
    n_outputs: int,
    activation: str,
    *,
    augmentation: Collection[str] = ("flip", "zoom", "shear"),
) -> keras.Model:
    """Build a network of two convolutions, pooling and a dense layer, with dropout after both."""
    inputs, x = _start(shape, augmentation, _PHOTOS)
    for _ in range(2):
        x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.Dropout(0.25)(layers.MaxPooling2D(4)(x))
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    return _finish(inputs, layers.Dropout(0.5)(x), n_outputs, activation)


def build_cnn5(
    shape: Shape,
    n_outputs: int,
    activation: str,
    *,
    augmentation: Collection[str] = tuple(AUGMENTATIONS),
) -> keras.Model:
    """Build five convolutions with pooling and batch normalisation, a dense layer, and dropout.

    There is no dropout between the convolutions.  It changes the variance in training but not in
    prediction, so that the statistics of the following batch normalisations would be wrong (Li et
    al., 2019), those of the fifth by a factor of seven.
    """
    inputs, x = _start(shape, augmentation, _PHOTOS)
    for width in (16, 32, 64, 128, 256):
        x = _convolve(x, width, pool=True)
    x = layers.Dense(256, use_bias=False)(layers.GlobalAveragePooling2D()(x))
    x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))
    return _finish(inputs, layers.Dropout(0.5)(x), n_outputs, activation)


RECIPES = {
    "nn": Recipe(build_nn, 28, 20),
    "dnn": Recipe(build_dnn, 28, 20),
    "dnn-dropout": Recipe(build_dnn_dropout, 28, 20),
    "cnn": Recipe(build_cnn, 28, 20),
    "dcnn": Recipe(build_dcnn, 28, 20),
    "two-conv": Recipe(build_two_conv, 64, 60),
    "cnn5": Recipe(build_cnn5, 128, 80),
}


def _start(shape: Shape, augmentation: Collection[str], strength: float) -> tuple[Any, Any]:
    """Return the input of a network, and its pixels on the scale 0-1 after augmentation."""
    inputs = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 255)(inputs)
    for layer in build_augmentation(augmentation, shape[2], strength=strength):
        x = layer(x)
    return inputs, x


def _convolve(x: Any, width: int, *, pool: bool = False) -> Any:
    """Add a convolution with batch normalisation (Ioffe & Szegedy, 2015).

    Pooling precedes the normalisation, for which it leaves a quarter of the work.
    """
    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
    if pool:
        x = layers.MaxPooling2D(padding="same")(x)
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))


def _finish(inputs: Any, x: Any, n_outputs: int, activation: str) -> keras.Model:
    """Add the last layer, whose probabilities are float32 in any precision."""
    head = layers.Dense(n_outputs, activation=activation, dtype="float32", name=HEAD)
    return keras.Model(inputs, head(x))
