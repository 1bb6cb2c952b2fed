"""Check arrays of pixels, and convert between grey and RGB."""

import os
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError

# ITU-R BT.601, as in Pillow's conversion to grey.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def is_pixels(images: Any) -> bool:
    """Return whether images are an array of pixels, not files."""
    return isinstance(images, np.ndarray) and images.ndim >= 3


def as_images(X: Any) -> Any:
    """Convert images of any supported type to an array of pixels or a list of files.

    Parameters
    ----------
    X : ImageFolder, Embeddings, ndarray, or sequence of paths or of arrays
        The images.  A list of arrays of equal size is stacked to one array.

    Returns
    -------
    ImageFolder or Embeddings
        Unchanged.
    ndarray of shape (n, height, width) or (n, height, width, channels)
        Pixels of any dtype; :func:`check_pixels` requires uint8.
    list of path
        Files.

    Raises
    ------
    InvalidInputError
        If X is a single image or path, flat rows of pixels, or neither images nor files.
    """
    if hasattr(X, "files"):
        return X
    if isinstance(X, str | os.PathLike):
        raise InvalidInputError(
            f"images must be several: give a list of files, or ImageFolder(folder). Received: {X}"
        )
    if isinstance(X, bytes | Mapping | Set) or not isinstance(X, Iterable):
        raise InvalidInputError(
            f"images must be files or arrays of pixels. Received: {type(X).__name__}"
        )
    images = np.asarray(X) if hasattr(X, "__array__") else list(X)
    if isinstance(images, np.ndarray) and images.dtype.kind in "OU" and images.shape[1:] == (1,):
        images = images[:, 0]  # a data frame with one column of files
    if isinstance(images, np.ndarray) and images.ndim == 1:
        images = images.tolist()
    if isinstance(images, list):
        if all(isinstance(image, str | os.PathLike) for image in images):
            return images
        images = _stack(images)
    if images.ndim == 3 and images.shape[2] in (1, 3, 4):
        raise InvalidInputError(
            "images must be several, of shape (n, height, width) or (n, height, width, channels): "
            f"give one as X[None]. Received: one of shape {images.shape}"
        )
    if images.ndim < 3:
        raise InvalidInputError(
            "images must have shape (n, height, width) or (n, height, width, channels): reshape "
            f"flat rows of pixels, and give vectors as Embeddings. Received: {images.shape}"
        )
    return images


def _stack(pictures: list[Any]) -> NDArray[Any]:
    """Stack images of equal size."""
    for picture in pictures:
        if not isinstance(picture, list | tuple) and not (
            hasattr(picture, "__array__") and hasattr(picture, "shape")
        ):
            raise InvalidInputError(
                "images must be all files, or all arrays of pixels. "
                f"Received: {type(picture).__name__}"
            )
    try:
        arrays = [np.asarray(picture) for picture in pictures]
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"images must be arrays of pixels. Received: {error}") from error
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise InvalidInputError(
            "pictures in a list must have one size: resize them, or give files. "
            f"Received: {' and '.join(map(str, shapes[:2]))}"
        )
    return np.stack(arrays)


def check_pixels(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an array of images of shape (n, height, width, 1 or 3).

    Raises
    ------
    InvalidInputError
        If the shape or dtype is invalid.
    """
    pixels = images[..., None] if images.ndim == 3 else images
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise InvalidInputError(
            "images must be uint8, from 0 to 255, of shape (n, height, width), "
            "(n, height, width, 1) or (n, height, width, 3). "
            f"Received: {images.dtype} {images.shape}"
        )
    return pixels


def to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a view of pixels of shape (..., 1 or 3) as RGB, of shape (..., 3)."""
    return np.broadcast_to(pixels, (*pixels.shape[:-1], 3))


def to_grey(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the luma, from 0 to 255, of pixels of shape (..., 3)."""
    return pixels @ _LUMA
