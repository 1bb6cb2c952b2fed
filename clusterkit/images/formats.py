"""Detect the format of a file by its first bytes, and whether it matches its suffix."""

from __future__ import annotations

import struct
from pathlib import Path

from clusterkit.utils.locations import as_path

_STARTS = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II": "TIFF",
    b"MM": "TIFF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    **{b"P%d" % number: "PNM" for number in range(1, 7)},
}
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WebP": (".webp",),
    "AVIF": (".avif",),
    "HEIC": (".heic", ".heif", ".hif"),
    "JPEG 2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "PNM": (".ppm", ".pgm", ".pbm", ".pnm"),
    # It has no signature.
    "other": (".tga",),
}
_FORMAT_OF_SUFFIX = {suffix: name for name, group in SUFFIXES.items() for suffix in group}
# Brands of HEIF files with either codec.
_EITHER = frozenset({b"mif1", b"msf1"})


def name_format(data: bytes) -> str:
    """Return the format of a file, by its first bytes.

    Parameters
    ----------
    data : bytes
        The file's content.

    Returns
    -------
    str
        A key of :data:`SUFFIXES`, or ``"other"``.

    Examples
    --------
    >>> name_format(b"GIF89a...")
    'GIF'
    """
    for start, name in _STARTS.items():
        if data.startswith(start):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:12].startswith(b"avi") else "HEIC"
    return "other"


def fits_suffix(data: bytes, path: str | Path) -> bool:
    """Return whether the content of a file matches its suffix; True for other suffixes."""
    said = _FORMAT_OF_SUFFIX.get(as_path(path).suffix.lower())
    found = name_format(data)
    return said in (None, found) or (said == "AVIF" and data[8:12] in _EITHER)


def has_frames(data: bytes) -> bool:
    """Return whether a GIF, PNG, WebP, AVIF or TIFF file holds more than one frame or page.

    Parameters
    ----------
    data : bytes
        The file's content.
    """
    kind = name_format(data)
    try:
        if kind == "GIF":
            return _has_gif_frames(data)
        if kind == "PNG":
            at = data.find(b"acTL")
            is_before_pixels = 0 < at < data.find(b"IDAT")
            return is_before_pixels and bool(struct.unpack_from(">I", data, at + 4)[0] > 1)
        if kind == "TIFF":
            return _has_tiff_pages(data)
        if kind == "WebP":
            return data[12:16] == b"VP8X" and bool(data[20] & 2)
    except (struct.error, IndexError, OverflowError):
        pass  # It is too short, or damaged.
    return kind == "AVIF" and data[8:12] == b"avis"


def _has_gif_frames(data: bytes) -> bool:
    """Return whether a GIF holds a second image."""

    def colours(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    def after_blocks(at: int) -> int:
        while data[at]:
            at += data[at] + 1
        return at + 1

    n_images, at = 0, 13 + colours(data[10])
    while n_images < 2 and data[at] in (0x21, 0x2C):
        if data[at] == 0x21:
            at = after_blocks(at + 2)
        else:
            n_images += 1
            at = after_blocks(at + 11 + colours(data[at + 9]))
    return n_images > 1


def _has_tiff_pages(data: bytes) -> bool:
    """Return whether a TIFF has a second list of tags."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = 43 in data[2:4]
    count, offset, entry = ("Q", "Q", 20) if is_big else ("H", "L", 12)
    (at,) = struct.unpack_from(order + offset, data, 8 if is_big else 4)
    (n_tags,) = struct.unpack_from(order + count, data, at)
    end = at + struct.calcsize(order + count) + entry * n_tags
    return bool(struct.unpack_from(order + offset, data, end)[0])
