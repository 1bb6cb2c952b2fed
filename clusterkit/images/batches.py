"""Read images, from files or arrays, into batches of one size."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ImageError, InvalidInputError
from clusterkit.images.folder import ImageFolder, read_image
from clusterkit.images.pixels import check_pixels, is_pixels, to_grey, to_rgb
from clusterkit.images.resizing import resize_image
from clusterkit.utils.locations import as_path, reading_workers
from clusterkit.utils.parallel import map_ahead


def pad_batch(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Pad a batch with black images to a batch size that is already compiled.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, 3), uint8
        ``n`` is at most ``size``.
    size : int
        Batch size.
    """
    if len(images) == size:
        return images
    padded = np.zeros((size, *images.shape[1:]), images.dtype)
    padded[: len(images)] = images
    return padded


@dataclass
class Batch:
    """One batch of images.

    Attributes
    ----------
    rows : list of int
        Positions of the images in the list of files.
    images : ndarray of shape (len(rows), height, width, 3), uint8
        The pictures.
    failures : list of (int, str)
        Position and reason of every unreadable file since the last batch.
    """

    rows: list[int]
    images: NDArray[np.uint8]
    failures: list[tuple[int, str]] = field(default_factory=list)


def read_batches(
    files: Sequence[str | Path],
    size: tuple[int, int],
    batch_size: int,
    *,
    resize: str = "stretch",
) -> Iterator[Batch]:
    """Read image files into batches of one size, decoding ahead in threads.

    Parameters
    ----------
    files : sequence of paths
        The images.
    size : tuple of int
        (height, width) in pixels.
    batch_size : int
        Readable images per batch; the last batch may have fewer, or none but failures.
    resize : {"stretch", "crop", "pad"}
        See :func:`clusterkit.images.resizing.resize_image`.

    Yields
    ------
    Batch
        In the order of ``files``.  Unreadable files are listed in ``failures`` with the reason.
    """

    def read(file: str | Path) -> NDArray[np.uint8] | str:
        try:
            return read_image(file, size, resize=resize)
        except ImageError as error:
            return str(error)

    batch = _BatchBuilder(size)
    workers = reading_workers(files)
    for row, result in enumerate(map_ahead(read, files, ahead=2 * batch_size, workers=workers)):
        if isinstance(result, str):
            batch.failures.append((row, result))
        else:
            batch.rows.append(row)
            batch.images.append(result)
        if len(batch.rows) == batch_size:
            yield batch.build()
            batch = _BatchBuilder(size)
    if batch.rows or batch.failures:
        yield batch.build()


@dataclass
class _BatchBuilder:
    """A batch under construction."""

    size: tuple[int, int]
    rows: list[int] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def build(self) -> Batch:
        """Stack the images."""
        empty = np.zeros((0, *self.size, 3), np.uint8)
        return Batch(self.rows, np.stack(self.images) if self.images else empty, self.failures)


def list_files(images: Any) -> list[Path]:
    """Return the files of a folder, of embeddings, or of a sequence of paths."""
    if hasattr(images, "files"):
        return list(images.files)
    images = list(images)
    for image in images:
        if not isinstance(image, str | os.PathLike):
            raise InvalidInputError(f"images must be files. Received: {type(image).__name__}")
    return [as_path(image) for image in images]


def pixel_batches(
    images: ImageFolder | Sequence[str | Path] | NDArray[np.uint8],
    shape: tuple[int, int, int],
    batch_size: int,
    *,
    resize: str = "stretch",
) -> Iterator[tuple[list[int], NDArray[np.uint8], list[tuple[int, str]]]]:
    """Read images, from files or an array, into batches of one shape.

    Parameters
    ----------
    images : ImageFolder, sequence of paths, or ndarray of shape (n, height, width[, 1 or 3]), uint8
        The images.
    shape : tuple of int
        (height, width, channels), with 1 or 3 channels.
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
    """Yield rows and pixels as :func:`pixel_batches` does; every file must be readable.

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
    """Resize pixels and convert their channels, if they differ."""
    if pixels.shape[1:3] != size:
        colours = _with_channels(pixels, 3)
        pixels = np.stack([resize_image(picture, size, resize) for picture in colours])
    return _with_channels(pixels, channels)


def _with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Convert colours to grey, or grey to colours, if needed."""
    if pixels.shape[3] == channels:
        return pixels
    if channels == 3:
        return np.ascontiguousarray(to_rgb(pixels))
    return np.rint(to_grey(pixels)).astype(np.uint8)[..., None]
