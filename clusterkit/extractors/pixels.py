"""The pixels themselves, as a baseline that knows nothing of what a picture shows."""

import numpy as np
from numpy.typing import NDArray

from clusterkit.extractors.base import Extraction, Extractor

_SIDE = 32


class Pixels(Extractor):
    """A small copy of the picture: 32 x 32 RGB values on the scale 0 to 1, row after row.

    No network and no weights.  What a network adds is what its groups are better than these.

    Parameters
    ----------
    batch_size : int, optional
        Images in one go; by default chosen for the machine.
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
        """Scale the pixels, and lay each picture out as one row."""
        return Extraction((images.reshape(len(images), -1) / 255).astype(np.float32))
