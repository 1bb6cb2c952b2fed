"""The convolutional autoencoder's network: a function that builds a plain ``keras.Model``."""

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.extractors.autoencoder.extractor import LATENT_LAYER

# Channels of the feature map that is the latent where no latent size is asked for.
CODE_CHANNELS = 8
# Convolutions at most this wide: deeper networks grow in depth, not in cost.
MAX_WIDTH = 128
# Between the feature map and a dense bottleneck.
HIDDEN_UNITS = 512
_ENCODE, _DECODE = "encode", "decode"


def build_autoencoder(
    image_size: tuple[int, int],
    *,
    latent_size: int | None = None,
    depth: int = 3,
    width: int = 32,
) -> keras.Model:
    """Build an untrained autoencoder whose layer ``latent`` holds the vectors.

    Every step down halves the picture with a plain strided convolution and refines the result in
    residual blocks that start as the identity; every step up mirrors it with a sub-pixel
    convolution (Shi et al., 2016, https://arxiv.org/abs/1609.05158).  There is no activation and
    no pooling on the straight way through, so that training begins as a linear transform of image
    patches, already sharp, and bends it from there.

    Parameters
    ----------
    image_size : tuple of int
        (height, width) in pixels.
    latent_size : int, optional
        Length of the latent vector, for a dense bottleneck.  By default the feature map itself,
        reduced to 8 channels, is the latent: ceil(height / 2**depth) * ceil(width / 2**depth) * 8
        numbers.
    depth : int
        How often the picture is halved.
    width : int
        Channels after the first halving; they double at each further one, up to 128.

    Returns
    -------
    keras.Model
        From uint8 or float pixels (n, height, width, 3) on the scale 0-255 to the same on the
        scale 0-1.

    Raises
    ------
    InvalidInputError
        If a parameter is out of range.
    """
    _check(image_size, latent_size, depth, width)
    widths = [min(width * 2**step, MAX_WIDTH) for step in range(depth)]
    # The finest scale holds most of the pixels and least to understand: blocks there would cost
    # half of the time and gain little.
    refined = range(min(1, depth - 1), depth)
    inputs = keras.Input((*image_size, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    sizes = []
    for step in range(depth):
        sizes.append(x.shape[1:3])
        x = _convolution(x, widths[step], kernel_size=4, strides=2)
        x = _refine(x) if step in refined else x
    x = _bottleneck(x, latent_size)
    for step in reversed(range(depth)):
        x = _refine(x) if step in refined else x
        x = _double(x, widths[step - 1] if step else 3, sizes[step])
    outputs = layers.Rescaling(0.5, offset=0.5, name="reconstruction")(x)
    return keras.Model(inputs, outputs, name="autoencoder")


def whiten(model: keras.Model, vectors: NDArray[np.float32]) -> None:
    """Turn and scale the latent space so that its numbers are uncorrelated, of mean 0, variance 1.

    A bottleneck's basis is arbitrary: any invertible map of it can be undone by the next layer.
    This choice, principal components of equal weight, makes distances and angles between vectors
    depend on all that was learned and not on the scales that the training happened to end with.
    The reconstructions stay as they are.

    Parameters
    ----------
    model : keras.Model
        A trained network of :func:`build_autoencoder`; changed in place.
    vectors : ndarray of shape (n, latent size)
        Latent vectors of training images.
    """
    from sklearn.covariance import ledoit_wolf

    encode, decode = model.get_layer(_ENCODE), model.get_layer(_DECODE)
    (kernel, bias), (next_kernel, next_bias) = encode.get_weights(), decode.get_weights()
    n_channels = len(bias)
    samples = vectors.reshape(-1, n_channels).astype(np.float64)
    mean = samples.mean(axis=0)
    # Shrunk, so that directions which few images leave undetermined are not blown up.
    covariance, _ = ledoit_wolf(samples)
    variances, axes = np.linalg.eigh(np.atleast_2d(covariance))
    scales = np.sqrt(np.maximum(variances[::-1], np.finfo(np.float32).tiny))
    axes = axes[:, ::-1]
    encode.set_weights([kernel @ (axes / scales), (bias - mean) @ (axes / scales)])
    matrix = next_kernel.reshape(n_channels, -1)
    unmixed = ((axes * scales).T @ matrix).reshape(next_kernel.shape)
    decode.set_weights([unmixed, next_bias + mean @ matrix])


def _convolution(x: Any, channels: int, **options: Any) -> Any:
    """Convolve without activation."""
    options = {"kernel_size": 3, "padding": "same"} | options
    return layers.Conv2D(channels, **options)(x)


def _refine(x: Any) -> Any:
    """Add a residual block, which starts as the identity (He et al., 2016)."""
    channels = x.shape[-1]
    y = layers.Activation("relu")(x)
    y = _convolution(y, channels, activation="relu", kernel_initializer="he_normal")
    y = _convolution(y, channels, kernel_initializer="zeros")
    return layers.Add()([x, y])


def _double(x: Any, channels: int, size: tuple[int, int]) -> Any:
    """Double height and width by sub-pixel convolution, and cut to the wanted size."""
    height, width = x.shape[1:3]
    x = _convolution(x, 4 * channels)
    x = layers.Reshape((height, width, 2, 2, channels))(x)
    x = layers.Permute((1, 3, 2, 4, 5))(x)
    x = layers.Reshape((2 * height, 2 * width, channels))(x)
    excess = ((0, 2 * height - size[0]), (0, 2 * width - size[1]))
    return layers.Cropping2D(excess)(x)


def _bottleneck(x: Any, latent_size: int | None) -> Any:
    """Reduce a feature map to the latent vector, and bring it back to the same shape.

    The layers on both sides of the vector are linear, which :func:`whiten` relies on.
    """
    height, width, channels = x.shape[1:]
    if latent_size is None:
        x = _convolution(x, CODE_CHANNELS, kernel_size=1, name=_ENCODE)
        x = layers.Flatten(name=LATENT_LAYER)(x)
        x = layers.Reshape((height, width, CODE_CHANNELS))(x)
        return _convolution(x, channels, kernel_size=1, name=_DECODE)
    x = layers.Dense(HIDDEN_UNITS, activation="relu")(layers.Flatten()(x))
    x = layers.Dense(latent_size, name=_ENCODE)(x)
    x = layers.Identity(name=LATENT_LAYER)(x)
    x = layers.Dense(HIDDEN_UNITS, activation="relu", name=_DECODE)(x)
    x = layers.Dense(height * width * channels, activation="relu")(x)
    return layers.Reshape((height, width, channels))(x)


def _check(image_size: tuple[int, int], latent_size: int | None, depth: int, width: int) -> None:
    """Refuse parameters out of range."""
    for name, value in (("latent_size", latent_size), ("depth", depth), ("width", width)):
        if value is not None and value < 1:
            raise InvalidInputError(f"{name} must be at least 1. Received: {name}={value}")
    if min(image_size) < 2**depth:
        raise InvalidInputError(
            f"image_size must be at least 2**depth={2**depth} pixels, to be halved {depth} times. "
            f"Received: image_size={image_size[0]}x{image_size[1]}"
        )
