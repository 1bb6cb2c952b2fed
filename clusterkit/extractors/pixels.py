"""Decoded images in a scratch file: read again and again without filling the memory."""

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError


class ScratchPixels:
    """A growing list of images of one size, kept in a temporary file.

    Decoding an image costs far more than reading its pixels back, and a training reads each one
    in every epoch.  The file has no name, or loses it when the process ends.

    Parameters
    ----------
    folder : path
        Where the scratch file lies; the system's own temporary folder is often in memory.
    shape : tuple of int
        (height, width, 3) of each image.
    """

    def __init__(self, folder: str | Path, shape: tuple[int, int, int]) -> None:
        self.folder = Path(folder)
        self.shape = shape
        self._bytes = int(np.prod(shape))
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        # The loader's thread and the caller share one position in the file.
        self._lock = threading.Lock()
        self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._length

    def append(self, images: NDArray[np.uint8]) -> None:
        """Add images of shape (n, height, width, 3), uint8.

        Raises
        ------
        InvalidInputError
            If the disk is full.
        """
        data = np.ascontiguousarray(images).tobytes()
        try:
            self._file.seek(self._length * self._bytes)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            free = shutil.disk_usage(self.folder).free
            raise InvalidInputError(
                f"cannot keep the decoded images in {self.folder}: {error.strerror}. Each takes "
                f"{self._bytes:,} bytes, {free:,} are free; choose another folder for the output, "
                "or a smaller image size"
            ) from error
        self._length += len(images)

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Read the images at some rows, (len(rows), height, width, 3)."""
        images = np.empty((len(rows), *self.shape), np.uint8)
        with self._lock:
            for image, row in zip(images, rows, strict=True):
                self._file.seek(int(row) * self._bytes)
                self._file.readinto(image.data.cast("B"))
        return images
