"""A small network in the place of keras.applications' networks: fast to build, run and tune.

The fixture ``tiny_network`` in conftest.py registers it as ``tinynet``.  :func:`registered` can
also register it under the names of others, for documents that name them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clusterkit.extractors.applications import NETWORKS, Network
from clusterkit.extractors.base import N_CLASSES

NAME, SIDE, DIMENSION = "tinynet", 32, 24
# What it is trained with in keras.applications decides how pixels are scaled: to -1 to 1.
ROW = Network("TinyNet", "mobilenet", SIDE, DIMENSION)


def build(
    *,
    weights: str | None = None,
    include_top: bool = True,
    input_shape: tuple[int, int, int] = (SIDE, SIDE, 3),
    pooling: str | None = None,
) -> Any:
    """Build the network, like the functions of keras.applications.

    Three blocks: a convolution, a residual block, and a convolution.  Every layer has a name, so
    that files of the same weights are equal.
    """
    import keras
    from keras import layers

    def convolve(x: Any, width: int, name: str, strides: int = 1) -> Any:
        x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(name=f"{name}_bn")(x)

    inputs = keras.Input(input_shape, name="pixels")
    x = layers.Activation("relu", name="first_relu")(convolve(inputs, 8, "first", 4))
    x = layers.Add(name="sum")([x, convolve(x, 8, "residual")])
    x = layers.Activation("relu", name="sum_relu")(x)
    x = layers.Activation("relu", name="last_relu")(convolve(x, DIMENSION, "last", 2))
    if include_top or pooling == "avg":
        x = layers.GlobalAveragePooling2D(name="pool")(x)
    if include_top:
        x = layers.Dense(N_CLASSES, activation="softmax", name="predictions")(x)
    model = keras.Model(inputs, x, name=NAME)
    if weights is not None:
        # Links may have the names of weights of other networks, whose format is older.
        model.load_weights(Path(weights).resolve())
    return model


def save_weights(path: Path, *, include_top: bool = False, images: Any = None) -> Path:
    """Write random weights with statistics of some images, and return the file.

    Without the statistics, the vectors of all images would be nearly equal.
    """
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    network = build(include_top=include_top)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    if images is None:
        coarse = np.random.default_rng(0).uniform(-1, 1, (64, 4, 4, 3)).astype(np.float32)
        images = coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
    network(images, training=True)
    if include_top:
        # High probabilities, since otherwise no cluster gets a name.
        head = network.get_layer("predictions")
        head.kernel.assign(head.kernel * 40)
    network.save_weights(path)
    return path


@contextmanager
def registered(*names: str) -> Iterator[None]:
    """Register the network, also in the place of others."""
    import keras

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.applications, ROW.builder, build, raising=False)
        for name in names or (NAME,):
            patch.setitem(NETWORKS, name, ROW)
        yield
