"""Read image files into batches of one size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ImageError
from clusterkit.images.folder import read_image
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
    workers: int | None = None,
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
    workers : int, optional
        Number of decoding threads.

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
