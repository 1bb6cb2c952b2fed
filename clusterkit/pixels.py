"""Images as arrays of pixels: grey or colours, checked and turned into each other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError

# ITU-R BT.601, as Pillow turns colours to grey.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def is_pixels(images: Any) -> bool:
    """Tell whether images are given as an array of pixels, and not as files."""
    return isinstance(images, np.ndarray) and images.ndim >= 3


def check_pixels(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an array of images with its channels, of shape (n, height, width, 1 or 3).

    Raises
    ------
    InvalidInputError
        If the shape or dtype is another.
    """
    pixels = images[..., None] if images.ndim == 3 else images
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise InvalidInputError(
            "images must be uint8 of shape (n, height, width), (n, height, width, 1) or "
            f"(n, height, width, 3). Received: {images.dtype} {images.shape}"
        )
    return pixels


def to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """View pixels of shape (..., 1 or 3) as colours, of shape (..., 3), without a copy."""
    return np.broadcast_to(pixels, (*pixels.shape[:-1], 3))


def to_grey(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the brightness, from 0 to 255, of pixels of shape (..., 3)."""
    return pixels @ _LUMA
