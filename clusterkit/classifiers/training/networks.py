"""Networks that are trained from scratch, their augmentation, and the names of all networks.

A function builds each as a plain ``keras.Model``.  Its input is uint8 or float pixels of shape
(n, height, width, channels) on the scale 0-255; the last layer is called ``HEAD``, and its outputs
are probabilities.  Scaling and augmentation are layers of the network; augmentation is active in
training only.  Keras is imported only to build them, so that the command line can list the names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from clusterkit.errors import InvalidInputError

if TYPE_CHECKING:
    import keras

Shape = tuple[int, int, int]

# Name of the last layer, or of the network that consists of it alone.
HEAD = "head"
# Strength of the augmentation.  Digits and signs fill their images and differ by little.
_PHOTOS, _SIGNS = 1.0, 0.6
_MOVED = ("rotation", "shift", "zoom")
# Four bilinear interpolations leave a third of a photo's fine detail: the network would be trained
# on blurred images and predict sharp ones, with other statistics in batch normalisation.
_SHARP = {"interpolation": "nearest"}

# Name of a Keras layer and its arguments at a strength, in the order of application: geometry, then
# colours.  Borders are filled by reflection.
AUGMENTATIONS: dict[str, tuple[str, Callable[[float], dict[str, Any]]]] = {
    "flip": ("RandomFlip", lambda strength: {"mode": "horizontal"}),
    "rotation": ("RandomRotation", lambda strength: {"factor": 0.04 * strength} | _SHARP),
    "shift": (
        "RandomTranslation",
        lambda strength: {"height_factor": 0.1 * strength, "width_factor": 0.1 * strength} | _SHARP,
    ),
    # Mostly enlarging, and height and width independently, similar to a random crop.
    "zoom": (
        "RandomZoom",
        lambda strength: (
            {
                "height_factor": (-0.3 * strength, 0.1 * strength),
                "width_factor": (-0.3 * strength, 0.1 * strength),
            }
            | _SHARP
        ),
    ),
    # Keras cannot load a saved shear layer whose factor is a single number.
    "shear": (
        "RandomShear",
        lambda strength: (
            {"x_factor": (0.0, 0.1 * strength), "y_factor": (0.0, 0.1 * strength)} | _SHARP
        ),
    ),
    "brightness": (
        "RandomBrightness",
        lambda strength: {"factor": 0.15 * strength, "value_range": (0, 1)},
    ),
    "hue": ("RandomHue", lambda strength: {"factor": 0.05 * strength, "value_range": (0, 1)}),
}


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
    from keras import layers

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
    from keras import layers

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
    from keras import layers

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
    from keras import layers

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
    from keras import layers

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
    from keras import layers

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
# The names of the networks, for the command line.
SCRATCH_NETWORKS = tuple(RECIPES)


def network_names() -> list[str]:
    """Return all names that :class:`Classifier` accepts as its network."""
    from clusterkit.extractors.applications import NETWORKS

    return [*SCRATCH_NETWORKS, *NETWORKS]


def check_augmentation(names: Collection[str]) -> None:
    """Check that all names are in the table.

    Raises
    ------
    InvalidInputError
        If a name is not, or ``names`` is a string.
    """
    unknown = [names] if isinstance(names, str) else sorted(set(names) - set(AUGMENTATIONS))
    if unknown:
        raise InvalidInputError(
            f"augmentation must be among {', '.join(AUGMENTATIONS)}. Received: {', '.join(unknown)}"
        )


def _build_augmentation(
    names: Collection[str], channels: int = 3, *, strength: float = 1.0
) -> list[Any]:
    """Build augmentation layers for pixels on the scale 0-1.

    Parameters
    ----------
    names : collection of str
        Keys of ``AUGMENTATIONS``, in any order; none for no augmentation.
    channels : int
        Number of channels of the images; ``hue`` is left out for images of one channel.
    strength : float
        Factor of the range of all augmentations except ``flip``.  1 is suitable for photos:
        rotation by up to 14 degrees, shift by a tenth of the side, zoom by up to 30 %.

    Returns
    -------
    list of keras.layers.Layer
        In the order of the table.

    Raises
    ------
    InvalidInputError
        If a name is not in the table.
    """
    check_augmentation(names)
    from keras import layers

    return [
        getattr(layers, layer)(**arguments(strength))
        for name, (layer, arguments) in AUGMENTATIONS.items()
        if name in names and (name != "hue" or channels == 3)
    ]


def _start(shape: Shape, augmentation: Collection[str], strength: float) -> tuple[Any, Any]:
    """Return the input of a network, and its pixels on the scale 0-1 after augmentation."""
    import keras
    from keras import layers

    inputs = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 255)(inputs)
    for layer in _build_augmentation(augmentation, shape[2], strength=strength):
        x = layer(x)
    return inputs, x


def _convolve(x: Any, width: int, *, pool: bool = False) -> Any:
    """Add a convolution with batch normalisation (Ioffe & Szegedy, 2015).

    Pooling precedes the normalisation, for which it leaves a quarter of the work.
    """
    from keras import layers

    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
    if pool:
        x = layers.MaxPooling2D(padding="same")(x)
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))


def _finish(inputs: Any, x: Any, n_outputs: int, activation: str) -> keras.Model:
    """Add the last layer, whose probabilities are float32 in any precision."""
    import keras
    from keras import layers

    head = layers.Dense(n_outputs, activation=activation, dtype="float32", name=HEAD)
    return keras.Model(inputs, head(x))
