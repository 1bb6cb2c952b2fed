"""Look at each file once: what it is, what its picture is like, and what copies are found by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from clusterkit.datasets.copies import Thumbnail, make_thumbnail
from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import FileStatus, digest_bytes, read_bytes
from clusterkit.images.formats import fits_suffix, has_frames, name_format
from clusterkit.images.jpeg import read_frame, read_jpeg_orientation
from clusterkit.images.quality import Lines, PictureQuality, measure_quality, take_lines
from clusterkit.utils.locations import reading_workers
from clusterkit.utils.parallel import map_ahead

# Larger pictures are looked at with a longer side of so many pixels to twice as many, about as
# networks see them; the shorter side of a JPEG that is scaled down has at least the second number.
_SIDE, _LEAST_SIDE = 256, 128
# Files whose figures are computed together: their lines stay in the cache of a core.
_AT_ONCE, _AHEAD = 16, 64


class Look(NamedTuple):
    """What is known of a file.

    Attributes
    ----------
    status : FileStatus
        Its size in bytes, and when it was changed.
    reason : str
        Why the image cannot be read; empty if it can.
    digest, format : str
        Digest of its bytes, and its format by the first of these; empty if it cannot be opened.
    fits_suffix, has_frames : bool
        Whether it is what its suffix says, and whether it has more than one frame or page.
    shape : (int, int)
        Its (height, width); (0, 0) if it cannot be read.
    quality : PictureQuality or None
        Figures of the picture; None if it cannot be read.
    thumbnail : Thumbnail or None
        What copies of it are found by; None if it cannot be read.
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


def look_at_files(files: Sequence[Path]) -> Iterator[Look]:
    """Yield what is known of each file, in order.

    Parameters
    ----------
    files : sequence of pathlib.Path
        The files; each is read once, and decoded in a thread.
    """
    opened = map_ahead(_open, files, ahead=_AHEAD, workers=reading_workers(files))
    while batch := list(islice(opened, _AT_ONCE)):
        qualities = iter(measure_quality([lines for _, lines in batch if lines is not None]))
        for look, lines in batch:
            yield look if lines is None else look._replace(quality=next(qualities))


def _open(file: Path) -> tuple[Look, Lines | None]:
    """Return what is known of one file, but for its figures, and the lines to compute them from."""
    status = FileStatus.of(file)
    try:
        data = read_bytes(file)
    except ImageError as error:
        return Look(status, str(error)), None
    look = Look(status, digest=digest_bytes(data), format=name_format(data))
    try:
        picture, shape = decode_image(data, size_to_look_at(data))
    except ImageError as error:
        return look._replace(reason=str(error)), None
    look = look._replace(
        fits_suffix=fits_suffix(data, file),
        has_frames=has_frames(data),
        shape=shape,
        thumbnail=make_thumbnail(look.digest, picture, shape),
    )
    return look, take_lines(picture)


def size_to_look_at(data: bytes) -> tuple[int, int] | None:
    """Return the (height, width) to decode a file in; None for its own.

    A JPEG is decoded at a half, a quarter or an eighth, without resizing, which takes longer than
    decoding.  Other files are resized if they are large.
    """
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        height, width = int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
        scale = min(1.0, _SIDE / max(height, width, 1))
        return None if scale > 0.5 else (_scaled(height, scale), _scaled(width, scale))
    frame = read_frame(data) if data.startswith(b"\xff\xd8") else None
    if frame is None:
        return _SIDE, _SIDE
    height, width = frame.height, frame.width
    fitting = (f for f in (8, 4, 2) if max(height, width) >= f * _SIDE)
    factor = next((f for f in fitting if min(height, width) >= f * _LEAST_SIDE), 1)
    if factor == 1:
        return None
    size = -(-height // factor), -(-width // factor)
    return size[::-1] if read_jpeg_orientation(data) > 4 else size


def _scaled(side: int, scale: float) -> int:
    """Return a side in another scale, at least one pixel."""
    return max(1, round(scale * side))
