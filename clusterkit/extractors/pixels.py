"""Raw pixels, as a baseline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterkit.extractors.base import Extraction, Extractor

_SIDE = 32


class Pixels(Extractor):
    """The image reduced to 32 x 32 RGB values in [0, 1], flattened.

    A baseline without network or weights, to measure what a network adds.

    Parameters
    ----------
    batch_size : int, optional
        Images per batch; by default depends on the hardware.
    resize : {"stretch", "crop", "pad"}
        See :func:`clusterkit.images.resizing.resize_image`.

    Examples
    --------
    >>> Pixels().transform(np.full((1, 32, 32, 3), 51, np.uint8)).shape
    (1, 3072)
    """

    name = "pixels"
    image_size = (_SIDE, _SIDE)
    dimension = _SIDE * _SIDE * 3

    def __init__(self, *, batch_size: int | None = None, resize: str = "stretch") -> None:
        self.batch_size = batch_size
        self.resize = resize

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        """Scale the pixels and flatten each image."""
        return Extraction((images.reshape(len(images), -1) / 255).astype(np.float32))
