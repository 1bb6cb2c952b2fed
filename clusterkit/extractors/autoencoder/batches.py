"""Training batches of the autoencoder, from pictures in memory or decoded to disk."""

import math
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.images.batches import read_batches
from clusterkit.images.folder import ImageFolder
from clusterkit.utils.progress import progress_bar

_READ_BATCH = 64


class ScratchPixels:
    """A growing list of images of one size, kept in a temporary file.

    Decoding an image takes far longer than reading its pixels back, and training reads each one
    in every epoch.  The file has no name, or loses it when the process ends.

    Parameters
    ----------
    folder : path
        Where the scratch file is; the system's temporary folder is often in memory.
    image_shape : tuple of int
        (height, width, 3).

    Raises
    ------
    InvalidInputError
        If the folder cannot be written to.
    """

    def __init__(self, folder: Path, image_shape: tuple[int, int, int]) -> None:
        self.folder = folder
        self.image_shape = image_shape
        self._image_bytes = math.prod(image_shape)
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise InvalidInputError(f"cannot write in {folder}: {error.strerror}") from error
        # The loader's thread and the caller share one position in the file.
        self._lock = threading.Lock()
        self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._length

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, height, width, 3), as for an array."""
        return (self._length, *self.image_shape)

    def append(self, images: NDArray[np.uint8]) -> None:
        """Add images of shape (n, height, width, 3), uint8.

        Raises
        ------
        InvalidInputError
            If the disk is full.
        """
        try:
            self._file.seek(self._length * self._image_bytes)
            self._file.write(np.ascontiguousarray(images).tobytes())
            self._file.flush()
        except OSError as error:
            free = shutil.disk_usage(self.folder).free
            raise InvalidInputError(
                f"cannot keep the decoded images in {self.folder}: {error.strerror}. Each takes "
                f"{self._image_bytes:,} bytes, {free:,} are free; choose another folder for the "
                "output, or a smaller image size"
            ) from error
        self._length += len(images)

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Read the images at some rows, (len(rows), height, width, 3)."""
        images = np.empty((len(rows), *self.image_shape), np.uint8)
        with self._lock:
            for image, row in zip(images, rows, strict=True):
                self._file.seek(int(row) * self._image_bytes)
                self._file.readinto(image.data.cast("B"))
        return images


Pixels: TypeAlias = NDArray[np.uint8] | ScratchPixels


@contextmanager
def open_pixels(
    images: ImageFolder | NDArray[np.uint8],
    image_size: tuple[int, int],
    *,
    resize: str,
    scratch: Path,
    progress: bool,
) -> Iterator[tuple[Pixels, list[tuple[str, str]]]]:
    """Make images readable by row, in one size.

    Parameters
    ----------
    images : ImageFolder or ndarray of shape (n, height, width, 3), uint8
        An array is used unchanged.
    image_size : tuple of int
        (height, width) in pixels of images from files.
    resize : {"stretch", "crop", "pad"}
        How images are resized.
    scratch : pathlib.Path
        Folder for the decoded pixels.
    progress : bool
        Whether to show a progress bar on stderr.

    Yields
    ------
    pixels : ndarray or ScratchPixels
        The readable images.
    failures : list of (str, str)
        Path and reason of the others.
    """
    if isinstance(images, np.ndarray):
        yield images, []
        return
    with ScratchPixels(scratch, (*image_size, 3)) as pixels:
        yield pixels, _decode(images, pixels, resize=resize, progress=progress)


def _decode(
    images: ImageFolder, pixels: ScratchPixels, *, resize: str, progress: bool
) -> list[tuple[str, str]]:
    """Decode every readable file; return path and reason of the others."""
    failures = []
    bar = progress_bar(name="Decoding", total=len(images), unit=" images", enabled=progress)
    size = (pixels.shape[1], pixels.shape[2])
    with bar:
        for batch in read_batches(images.files, size, _READ_BATCH, resize=resize):
            pixels.append(batch.images)
            failures += [(images.paths[row], reason) for row, reason in batch.failures]
            bar.update(len(batch.images) + len(batch.failures))
    return failures


class PictureBatches(keras.utils.PyDataset):
    """Batches of (pictures, the same pictures on the scale 0-1).

    Parameters
    ----------
    pixels : ndarray or ScratchPixels
        Images by row, uint8.
    rows : ndarray of int
        Rows of the images to use.
    batch_size : int
        Images per batch; the last may hold fewer.
    random_state : int, optional
        For training: a new order in every epoch, each picture shifted by a few pixels.
    """

    def __init__(
        self,
        pixels: Pixels,
        rows: NDArray[np.intp],
        batch_size: int,
        *,
        random_state: int | None = None,
    ) -> None:
        super().__init__()
        self.pixels = pixels
        self.rows = rows
        self.batch_size = batch_size
        self.rng = None if random_state is None else np.random.default_rng(random_state)
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Read one batch."""
        start = index * self.batch_size
        images = self.pixels[self.rows[start : start + self.batch_size]]
        if self.rng is not None:
            images = _shift(images, self.rng)
        return images, images.astype(np.float32) / np.float32(255)

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        if self.rng is not None:
            self.rows = self.rng.permutation(self.rows)


def _shift(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move each picture by up to a twelfth of its size; its mirror fills the edge."""
    n, height, width, _ = images.shape
    y, x = height // 12, width // 12
    padded = np.pad(images, ((0, 0), (y, y), (x, x), (0, 0)), mode="reflect")
    tops, lefts = rng.integers(2 * y + 1, size=n), rng.integers(2 * x + 1, size=n)
    return np.stack(
        [
            picture[top : top + height, left : left + width]
            for picture, top, left in zip(padded, tops, lefts, strict=True)
        ]
    )
