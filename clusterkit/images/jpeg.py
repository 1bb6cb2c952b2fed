"""Parse the headers of JPEG files: frame, scans, and orientation."""

import math
import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from clusterkit.images.tiff import EXIF_START, exif_orientation

# Ordinary progressive files have about ten scans.  Each takes the time of a full decoding, and an
# empty scan needs only a dozen bytes.
MAX_SCANS = 100

# Baseline, extended and progressive DCT, with Huffman or arithmetic coding.  The others (lossless,
# differential) cannot be decoded at a smaller scale.
_SCALABLE = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
SCAN, APP1, _TABLES = 0xDA, 0xE1, 0xDB
_END = 0xD9
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
# In coded data, FF is followed by zero, a restart marker, or a fill byte FF.
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)


# The standard table of brightness (ITU-T T.81, table K.1), which qualities scale, in any order.
_STANDARD = bytes.fromhex(
    "100b0a101828333d"
    "0c0c0e131a3a3c37"
    "0e0d101828394538"
    "0e11161d3357503e"
    "12162538446d674d"
    "182337405168715c"
    "31404e5767797865"
    "485c5f6270646763"
)


class Frame(NamedTuple):
    """Frame header of a JPEG file.

    Attributes
    ----------
    kind : int
        The second byte of the frame's marker, such as 0xC0 for baseline.
    precision : int
        Bits per sample.
    height, width : int
        Size in pixels.
    n_components : int
        Number of components.
    keeps_coefficients : bool
        Whether the decoder keeps all coefficients in memory, because there are several scans.
    samples_per_pixel : float
        Mean number of samples per pixel, including subsampling.
    """

    kind: int
    precision: int
    height: int
    width: int
    n_components: int
    keeps_coefficients: bool
    samples_per_pixel: float

    @property
    def can_be_scaled(self) -> bool:
        """Whether the image can be decoded at a half, a quarter or an eighth."""
        return self.kind in _SCALABLE and self.precision == 8

    @property
    def coefficient_bytes(self) -> int:
        """Bytes of the coefficients kept in memory; 0 if none."""
        samples = self.height * self.width * self.samples_per_pixel
        return int(2 * samples) if self.keeps_coefficients else 0


def read_segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield the segments with content, including scan headers.

    As in libjpeg, bytes outside segments are skipped.

    Yields
    ------
    marker : int
        The second byte of the marker.
    start, body, end : int
        Offsets of the marker, of the content, and of its end.
    """
    position, last = 2, len(data) - 4
    while position <= last:
        marker, place = data[position + 1], position
        # Fast path: a marker usually follows at once.
        if data[position] != 0xFF or marker in (0x00, 0xFF):
            found = _MARKER.search(data, position)
            if not found or found.end() - 2 > last:
                return
            marker, place, position = found[1][0], found.start(), found.end() - 2
        position += 2
        if marker == _END:
            return
        if marker not in _BARE:
            end = position + (data[position] << 8 | data[position + 1])
            yield marker, place, position + 2, end
            position = end


def read_frame(data: bytes) -> Frame | None:
    """Return the first frame header, or None if there is none before the scans."""
    frame = None
    for marker, _, start, end in read_segments(data):
        if marker == SCAN:
            if frame is None or start >= min(end, len(data)):
                return None
            several = frame.kind in _PROGRESSIVE or data[start] < frame.n_components
            return frame._replace(keeps_coefficients=True) if several else frame
        if marker in _FRAMES:
            body = data[start:end]
            if frame is not None or len(body) < 6:
                return None
            height, width = body[1] << 8 | body[2], body[3] << 8 | body[4]
            factors = [(piece >> 4) * (piece & 15) for piece in body[7::3][: body[5]]]
            samples = sum(factors) / max(1, 1, *factors)
            frame = Frame(marker, body[0], height, width, body[5], False, samples)
    return None


def has_too_many_scans(data: bytes) -> bool:
    """Return whether an image has more than ``MAX_SCANS`` scans."""
    # A fast check that usually suffices; the slow one excludes scans of thumbnails, further images
    # and videos at the end.
    if data.count(bytes([0xFF, SCAN])) <= MAX_SCANS:
        return False
    scans = (None for marker, *_ in read_segments(data) if marker == SCAN)
    return len(list(islice(scans, MAX_SCANS + 1))) > MAX_SCANS


def read_jpeg_orientation(data: bytes) -> int:
    """Return the EXIF orientation of a JPEG file without opening it.

    If the EXIF block has none, that of the XMP block is used, as in Pillow.
    """
    value: Any = None
    xmp = b""
    for marker, _, start, end in read_segments(data):
        if marker == SCAN:
            break
        if marker == APP1 and data.startswith(EXIF_START, start) and value is None:
            value = exif_orientation(data[start:end])
        elif marker == APP1 and data.startswith(_XMP_START, start):
            xmp = xmp or data[start:end]
    if value is None and (found := _XMP_ORIENTATION.search(xmp)):
        value = int(found[1])
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def estimate_quality(data: bytes) -> float:
    """Return the quality that a JPEG file was written with, from 1 to 100; NaN for other files.

    The quality of the libjpeg table with the nearest sum: exact for libjpeg, an estimate for
    others.
    """
    if not data.startswith(b"\xff\xd8"):
        return math.nan
    for marker, _, start, end in read_segments(data):
        # The first table is that of brightness.
        if marker == _TABLES and min(end, len(data)) - start >= 65:
            is_wide = data[start] >> 4
            values = data[start + 1 : start + 1 + (128 if is_wide else 64)]
            total = sum(values) + (255 * sum(values[::2]) if is_wide else 0)
            sums = _sums_of_qualities()
            return float(min(sums, key=lambda quality: abs(sums[quality] - total)))
        if marker == SCAN:
            break
    return math.nan


@cache
def _sums_of_qualities() -> dict[int, int]:
    """Return the sum of libjpeg's table of brightness for each quality."""
    sums = {}
    for quality in range(1, 101):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        sums[quality] = sum(min(max((v * scale + 50) // 100, 1), 255) for v in _STANDARD)
    return sums
