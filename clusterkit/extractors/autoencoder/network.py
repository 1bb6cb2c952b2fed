"""The network of the convolutional autoencoder."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.extractors.autoencoder.extractor import LATENT_LAYER
from clusterkit.utils.arguments import check_at_least

# Channels of the latent feature map if there is no latent size.
CODE_CHANNELS = 8
# Maximum channels, to limit the cost of deeper networks.
MAX_WIDTH = 128
# Channels between the feature map and a dense bottleneck.
HIDDEN_UNITS = 512
# Share of the largest latent value below which differences are only those of rounding.
_ROUNDING = 1e-5
_ENCODE, _DECODE = "encode", "decode"


def build_autoencoder(
    image_size: tuple[int, int],
    *,
    latent_size: int | None = None,
    depth: int = 3,
    width: int = 32,
) -> keras.Model:
    """Build an untrained autoencoder; the output of its layer ``latent`` is the vectors.

    The encoder halves the image with strided convolutions, each followed by residual blocks
    initialised as the identity; the decoder mirrors it with sub-pixel convolutions (Shi et al.,
    2016, https://arxiv.org/abs/1609.05158).  The main path has no activations and no pooling, so
    that training starts from a linear transform of image patches with sharp reconstructions.

    Parameters
    ----------
    image_size : tuple of int
        (height, width) in pixels.
    latent_size : int, optional
        Length of the latent vector of a dense bottleneck.  By default the latent is the feature
        map, reduced to 8 channels: ceil(height / 2**depth) * ceil(width / 2**depth) * 8 numbers.
    depth : int
        Number of times the image is halved.
    width : int
        Channels after the first halving; doubled at each further one, up to 128.

    Returns
    -------
    keras.Model
        From uint8 or float pixels (n, height, width, 3) in [0, 255] to reconstructions in [0, 1].

    Raises
    ------
    InvalidInputError
        If a parameter is out of range.
    """
    _check(image_size, latent_size, depth, width)
    widths = [min(width * 2**step, MAX_WIDTH) for step in range(depth)]
    # No blocks at the finest scale, where they would take half of the time for little gain.
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
    """Whiten the latent space: uncorrelated values of mean 0 and variance 1.

    The basis of a bottleneck is arbitrary, since the next layer can undo any invertible map.  With
    principal components of equal variance, distances and angles between vectors depend on all
    learned directions, not on arbitrary scales.  The reconstructions do not change.  Directions in
    which the images do not differ, as with a single image or copies of one, keep their scale.

    Parameters
    ----------
    model : keras.Model
        A trained network of :func:`build_autoencoder`; modified in place.
    vectors : ndarray of shape (n, latent size)
        Latent vectors of training images.
    """
    from sklearn.covariance import ledoit_wolf

    encode, decode = model.get_layer(_ENCODE), model.get_layer(_DECODE)
    (kernel, bias), (next_kernel, next_bias) = encode.get_weights(), decode.get_weights()
    n_channels = len(bias)
    samples = vectors.reshape(-1, n_channels).astype(np.float64)
    mean = samples.mean(axis=0)
    # Shrinkage, so that directions that few images determine are not amplified.
    covariance = ledoit_wolf(samples)[0] if len(samples) > 1 else np.zeros((n_channels,) * 2)
    variances, axes = np.linalg.eigh(np.atleast_2d(covariance))
    variances, axes = variances[::-1], axes[:, ::-1]
    rounding = (_ROUNDING * np.abs(samples).max()) ** 2
    scales = np.sqrt(np.where(variances > rounding, variances, 1.0))
    encode.set_weights([kernel @ (axes / scales), (bias - mean) @ (axes / scales)])
    matrix = next_kernel.reshape(n_channels, -1)
    unmixed = ((axes * scales).T @ matrix).reshape(next_kernel.shape)
    decode.set_weights([unmixed, next_bias + mean @ matrix])


def _convolution(x: Any, channels: int, **options: Any) -> Any:
    """Convolution without activation."""
    options = {"kernel_size": 3, "padding": "same"} | options
    return layers.Conv2D(channels, **options)(x)


def _refine(x: Any) -> Any:
    """Residual block initialised as the identity (He et al., 2016)."""
    channels = x.shape[-1]
    y = layers.Activation("relu")(x)
    y = _convolution(y, channels, activation="relu", kernel_initializer="he_normal")
    y = _convolution(y, channels, kernel_initializer="zeros")
    return layers.Add()([x, y])


def _double(x: Any, channels: int, size: tuple[int, int]) -> Any:
    """Double height and width by sub-pixel convolution, and crop to ``size``."""
    height, width = x.shape[1:3]
    x = _convolution(x, 4 * channels)
    x = layers.Reshape((height, width, 2, 2, channels))(x)
    x = layers.Permute((1, 3, 2, 4, 5))(x)
    x = layers.Reshape((2 * height, 2 * width, channels))(x)
    excess = ((0, 2 * height - size[0]), (0, 2 * width - size[1]))
    return layers.Cropping2D(excess)(x)


def _bottleneck(x: Any, latent_size: int | None) -> Any:
    """Reduce a feature map to the latent vector, and expand it to the same shape.

    :func:`whiten` requires that the layers on both sides of the vector are linear.
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
    """Check that the parameters are in range."""
    for name, value in (("latent_size", latent_size), ("depth", depth), ("width", width)):
        if value is not None or name == "depth":
            check_at_least(value, 1, name)
    if min(image_size) < 2**depth:
        raise InvalidInputError(
            f"image_size must be at least 2**depth={2**depth} pixels, to be halved {depth} times. "
            f"Received: image_size={image_size[0]}x{image_size[1]}"
        )
