"""Tell by its content alone whether a download is a picture, and of which format."""

import re

from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_image

# Number of bytes that identify a format.
START_BYTES = 32
_STARTS = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"GIF87a": ".gif",
    b"GIF89a": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"II+\0": ".tif",
    b"MM\0+": ".tif",
    b"\0\0\0\x0cjP  ": ".jp2",
    b"\xff\x4f\xff\x51": ".j2k",
}
_BRANDS = {b"avif": ".avif", b"avis": ".avif"}
_HEIC = re.compile(rb"hei[cmsx]|hev[cx]|mif1|msf1")
_NETPBM = re.compile(rb"P[1-6][\s#]")
# JPEG files are decoded at an eighth of their size, in which damage shows as well.
_SIZE = (32, 32)


def picture_suffix(start: bytes) -> str | None:
    """Return the suffix of a picture by its first bytes; None if the format is unknown.

    Examples
    --------
    >>> picture_suffix(b"GIF89a..."), picture_suffix(b"<!doctype html>")
    ('.gif', None)
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return ".webp"
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        return _BRANDS.get(brand) or (".heic" if _HEIC.match(brand) else None)
    if _NETPBM.match(start):
        return ".ppm"
    return next((suffix for magic, suffix in _STARTS.items() if start.startswith(magic)), None)


def why_no_picture(start: bytes) -> str | None:
    """Return why a file with these first bytes is not a picture; None if it may be one."""
    if not start:
        return "the file is empty"
    if picture_suffix(start) is not None:
        return None
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"{", b"[")):
        return "it is text, such as a web page or an SVG drawing, not a picture"
    return "it is not a picture of a known format"


def why_unreadable(content: bytes) -> str | None:
    """Return why a picture cannot be decoded; None if it can."""
    try:
        decode_image(content, _SIZE)
    except ImageError as error:
        return f"the picture cannot be read: {error}"
    return None
