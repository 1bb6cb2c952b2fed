"""Inspect each image file once: its format, its picture quality, and its thumbnail for copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.copies import Thumbnail, make_thumbnail
from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_grey, decode_image
from clusterkit.images.folder import FileStatus, digest_bytes, read_bytes
from clusterkit.images.formats import fits_suffix, has_frames, name_format
from clusterkit.images.jpeg import read_frame, read_jpeg_orientation
from clusterkit.images.pixels import to_grey
from clusterkit.images.quality import (
    Lines,
    PictureQuality,
    Tones,
    may_be_extreme,
    measure_steepness,
    measure_tones,
    take_lines,
)
from clusterkit.utils.locations import reading_workers
from clusterkit.utils.parallel import map_ahead, serial_blas

# Minimum sides, in pixels, to which pictures are reduced.  Networks see images at about this size.
_LONGER_SIDE = 256
_MIN_SHORTER_SIDE = 128
# Maximum number of files that a thread inspects at a time.  Threads that change places after each
# file wait for each other longer.  The pictures of more files would not fit in the cache of a core.
_BATCH_SIZE = 8
# Number of batches that are inspected in advance.
_AHEAD = 64


class FileInfo(NamedTuple):
    """What the inspection of an image file found.

    Attributes
    ----------
    status : FileStatus
        Size in bytes and modification time.
    reason : str
        Why the image cannot be read; empty if it can.
    digest : str
        Digest of the bytes; empty if the file cannot be opened.
    format : str
        Format according to the first bytes; empty if the file cannot be opened.
    fits_suffix : bool
        Whether the format is that of the suffix.
    has_frames : bool
        Whether the file has more than one frame or page.
    shape : (int, int)
        (height, width) of the image; (0, 0) if it cannot be read.
    quality : PictureQuality or None
        Measures of the picture; None if it cannot be read.
    thumbnail : Thumbnail or None
        Features by which copies are found; None if the image cannot be read.
    """

    status: FileStatus
    reason: str = ""
    digest: str = ""
    format: str = ""
    fits_suffix: bool = True
    has_frames: bool = False
    shape: tuple[int, int] = (0, 0)
    quality: PictureQuality | None = None
    thumbnail: Thumbnail | None = None


def inspect_files(files: Sequence[Path]) -> Iterator[FileInfo]:
    """Inspect image files, each of which is read once.

    Parameters
    ----------
    files : sequence of pathlib.Path
        The files; they are read and decoded in threads.

    Yields
    ------
    FileInfo
        One per file, in order.
    """
    workers = reading_workers(files)
    # Files on object storage are mostly waited for, so each has a thread.
    size = _BATCH_SIZE if workers is None else 1
    batches = [files[start : start + size] for start in range(0, len(files), size)]
    with serial_blas():
        inspected = map_ahead(_inspect, batches, ahead=_AHEAD, workers=workers)
        for batch in inspected:
            yield from batch


class _Picture(NamedTuple):
    """A decoded file: its picture in grey, the lines of that, and its tones if needed."""

    grey: NDArray[np.uint8]
    lines: Lines
    tones: Tones | None


def _inspect(files: Sequence[Path]) -> list[FileInfo]:
    """Inspect a batch of files.

    First all are decoded, then all are measured, since either step replaces the code and the tables
    of the other one in the cache.
    """
    opened = [_open(file) for file in files]
    lines = [picture.lines for _, picture in opened if picture is not None]
    steepness = iter(measure_steepness(lines))
    return [
        info
        if picture is None
        else info._replace(
            quality=PictureQuality(next(steepness), picture.tones, max(picture.grey.shape)),
            thumbnail=make_thumbnail(info.digest, picture.grey, info.shape),
        )
        for info, picture in opened
    ]


def _open(file: Path) -> tuple[FileInfo, _Picture | None]:
    """Read and decode one file: return what is known without measuring it, and its picture."""
    status = FileStatus.of(file)
    try:
        data = read_bytes(file)
    except ImageError as error:
        return FileInfo(status, str(error)), None
    info = FileInfo(status, digest=digest_bytes(data), format=name_format(data))
    size = decoding_size(data)
    rgb = None
    try:
        if data.startswith(b"\xff\xd8"):
            # Few photos need their colours, without which decoding a JPEG takes less time.
            grey, shape = decode_grey(data, size)
        else:
            rgb, shape = decode_image(data, size)
            grey = np.rint(to_grey(rgb)).astype(np.uint8)
        lines, tones = take_lines(grey), None
        if may_be_extreme(lines):
            tones = measure_tones(decode_image(data, size)[0] if rgb is None else rgb)
    except ImageError as error:
        return info._replace(reason=str(error)), None
    info = info._replace(
        fits_suffix=fits_suffix(data, file), has_frames=has_frames(data), shape=shape
    )
    return info, _Picture(grey, lines, tones)


def decoding_size(data: bytes) -> tuple[int, int] | None:
    """Return the (height, width) at which a file is decoded; None for its own.

    Parameters
    ----------
    data : bytes
        Content of the file.

    Notes
    -----
    A large JPEG is decoded at a half, a quarter or an eighth of its size, and not resized, since
    resizing takes longer than decoding.  A large PNG is resized to a longer side of 256 pixels, and
    an image of any other format to 256 x 256 pixels.
    """
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        height, width = int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
        scale = min(1.0, _LONGER_SIDE / max(height, width, 1))
        return None if scale > 0.5 else (_scaled(height, scale), _scaled(width, scale))
    frame = read_frame(data) if data.startswith(b"\xff\xd8") else None
    if frame is None:
        return _LONGER_SIDE, _LONGER_SIDE
    height, width = frame.height, frame.width
    fitting = (f for f in (8, 4, 2) if max(height, width) >= f * _LONGER_SIDE)
    factor = next((f for f in fitting if min(height, width) >= f * _MIN_SHORTER_SIDE), 1)
    if factor == 1:
        return None
    size = -(-height // factor), -(-width // factor)
    return size[::-1] if read_jpeg_orientation(data) > 4 else size


def _scaled(side: int, scale: float) -> int:
    """Return a scaled side in pixels, at least one."""
    return max(1, round(scale * side))
