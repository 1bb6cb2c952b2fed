"""Bring images of any kind to the pixels that a network takes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ImageError
from clusterkit.images.batches import pad_batch, read_batches
from clusterkit.images.folder import ImageFolder
from clusterkit.images.pixels import check_pixels, is_pixels, to_grey, to_rgb
from clusterkit.images.resizing import resize_image


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
        See :func:`clusterkit.images.resizing.resize_image`.

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
        return np.ascontiguousarray(to_rgb(pixels))
    return np.rint(to_grey(pixels)).astype(np.uint8)[..., None]


def to_computed(inputs: NDArray[Any]) -> NDArray[Any]:
    """Return float16 as float32: activations are kept in it, and nothing is computed in it."""
    return inputs.astype(np.float32) if inputs.dtype == np.float16 else inputs


def run_network(model: Any, inputs: NDArray[Any], batch_size: int = 256) -> NDArray[np.float32]:
    """Run a network on inputs, in batches of one size: another is traced anew."""
    outputs = []
    for start in range(0, len(inputs), batch_size):
        part = to_computed(inputs[start : start + batch_size])
        outputs.append(np.asarray(model.predict_on_batch(pad_batch(part, batch_size)))[: len(part)])
    return np.concatenate(outputs)
