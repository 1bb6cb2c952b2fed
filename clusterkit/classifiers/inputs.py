"""Bring images of any kind to the pixels that a network takes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.engines import pad_batch, read_batches
from clusterkit.errors import ImageError, InvalidInputError
from clusterkit.images import ImageFolder
from clusterkit.resizing import resize_image

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


def list_files(images: Any) -> list[Path]:
    """Return the files that are meant."""
    return images.files if isinstance(images, ImageFolder) else [Path(image) for image in images]


def pixel_batches(
    images: ImageFolder | Sequence[str | Path] | NDArray[np.uint8],
    shape: tuple[int, int, int],
    batch_size: int,
    *,
    resize: str = "stretch",
) -> Iterator[tuple[list[int], NDArray[np.uint8], list[tuple[int, str]]]]:
    """Read images in batches of one shape.

    Parameters
    ----------
    images : ImageFolder, sequence of paths, or ndarray of shape (n, height, width[, 1 or 3]), uint8
        The images.
    shape : tuple of int
        (height, width, channels) that the network takes.
    batch_size : int
        Images per batch.
    resize : {"stretch", "crop", "pad"}
        See :func:`clusterkit.resizing.resize_image`.

    Yields
    ------
    rows : list of int
        Positions of the images below.
    pixels : ndarray of shape (len(rows), *shape), uint8
        The pictures.
    failures : list of (int, str)
        Position and reason of every file that could not be read.
    """
    size = shape[:2]
    if is_pixels(images):
        array = check_pixels(np.asarray(images))
        for start in range(0, len(array), batch_size):
            part = array[start : start + batch_size]
            rows = list(range(start, start + len(part)))
            yield rows, _resized(part, size, shape[2], resize), []
        return
    for batch in read_batches(list_files(images), size, batch_size, resize=resize):
        yield batch.rows, _with_channels(batch.images, shape[2]), batch.failures


def strict_batches(
    images: Any, shape: tuple[int, int, int], batch_size: int, *, resize: str = "stretch"
) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Yield rows and pixels as :func:`pixel_batches` does, where every file must be readable.

    Raises
    ------
    ImageError
        If a file cannot be read as an image.
    """
    for rows, pixels, failures in pixel_batches(images, shape, batch_size, resize=resize):
        for row, reason in failures:
            raise ImageError(f"{list_files(images)[row]}: {reason}")
        yield rows, pixels


def _resized(
    pixels: NDArray[np.uint8], size: tuple[int, int], channels: int, resize: str
) -> NDArray[np.uint8]:
    """Bring pixels to another size and number of channels, where they have another."""
    if pixels.shape[1:3] != size:
        colours = _with_channels(pixels, 3)
        pixels = np.stack([resize_image(picture, size, resize) for picture in colours])
    return _with_channels(pixels, channels)


def _with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Turn colours to grey, or grey to colours, where it is needed."""
    if pixels.shape[3] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=3)
    return np.rint(pixels @ _LUMA).astype(np.uint8)[..., None]


def run_network(model: Any, inputs: NDArray[Any], batch_size: int = 256) -> NDArray[np.float32]:
    """Run a network on inputs, in batches of one size: another is traced anew."""
    outputs = []
    for start in range(0, len(inputs), batch_size):
        part = inputs[start : start + batch_size]
        if part.dtype == np.float16:
            # So they are kept, and nothing is computed in it.
            part = part.astype(np.float32)
        outputs.append(np.asarray(model.predict_on_batch(pad_batch(part, batch_size)))[: len(part)])
    return np.concatenate(outputs)
