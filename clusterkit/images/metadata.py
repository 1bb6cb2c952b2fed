"""Remove metadata that may be damaged from the bytes of images."""

import io
import re
import struct
import zlib
from collections.abc import Iterator

import simplejpeg

from clusterkit.images.jpeg import APP1, SCAN, read_frame, read_segments
from clusterkit.images.tiff import EXIF_START

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
# PNG text chunks that may contain the orientation, and their maximum length.
_PNG_ORIENTED_TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_MAX_TEXT_BYTES = 2**16
_WEBP_KEPT = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"XMP "})
# Bits of a WebP header for optional chunks: profile, EXIF, XMP, frames.
_WEBP_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04, b"ANMF": 0x02}
_WEBP_ALPHA = 0x10
# The item entry of EXIF in AVIF and HEIC.
_EXIF_ITEM = re.compile(rb"(infe\x02.{7}|infe\x03.{9})Exif", re.DOTALL)
_JP2_START, _JP2_PIXELS = b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"
_JP2_KEPT = frozenset(b"ihdr bpcc colr pclr cmap cdef".split())


def without_metadata(data: bytes) -> bytes | None:
    """Return a file with the same pixels but without unneeded metadata.

    The orientation is kept if it can be read, except in AVIF and HEIC, and a JPEG that lacks only
    its end marker gets one.  None for other formats.
    """
    try:
        if data.startswith(_PNG_START):
            return _bare_png(data)
        if data.startswith(_JPEG_START):
            return _bare_jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _bare_webp(data)
        if data.startswith(_JP2_START):
            return _bare_jp2(data)
        if data[4:8] == b"ftyp":
            return _EXIF_ITEM.sub(rb"\1none", data)
    except (struct.error, zlib.error, IndexError):
        pass
    return None


def _bare_png(data: bytes) -> bytes:
    """Keep only the chunks of a PNG for pixels, transparency and orientation."""
    kept = [_PNG_START]
    colours, n_entries, position = -1, 0, len(_PNG_START)
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        whole = data[position : position + 12 + length]
        body, check = whole[8 : 8 + length], whole[8 + length :]
        position += len(whole)
        if kind == b"IHDR":
            colours = body[9]
        if kind == b"PLTE":
            n_entries = length // 3
        if kind.isupper() and kind.isalpha():
            # The palette is only a suggestion in true-colour images.
            if kind != b"PLTE" or colours == 3:
                kept.append(whole)
        elif check == struct.pack(">I", zlib.crc32(kind + body)) and (
            kind == b"eXIf"
            or (kind == b"tRNS" and _is_transparency(body, colours, n_entries))
            or _tells_orientation(kind, body)
        ):
            kept.append(whole)
    return b"".join(kept)


def _is_transparency(body: bytes, colours: int, n_entries: int) -> bool:
    """Return whether the length of a tRNS chunk matches the colour type."""
    if colours == 3:
        return 0 < len(body) <= n_entries
    return len(body) == {0: 2, 2: 6}.get(colours)


def _tells_orientation(kind: bytes, body: bytes) -> bool:
    """Return whether a PNG text chunk may contain the orientation and is readable."""
    if len(body) > _MAX_TEXT_BYTES or not body.startswith(_PNG_ORIENTED_TEXTS):
        return False
    if kind == b"zTXt":
        unpacked = zlib.decompressobj()
        unpacked.decompress(body[body.index(b"\0") + 2 :], _MAX_TEXT_BYTES)
        return not unpacked.unconsumed_tail
    return kind in (b"tEXt", b"iTXt")


def _bare_jpeg(data: bytes) -> bytes:
    """Keep only the segments of a JPEG for pixels and orientation, and complete its end.

    Of the application segments, decoders use JFIF and, if long enough, Adobe.
    """
    kept, pixels = [_JPEG_START], len(data)
    for marker, start, body, end in read_segments(data):
        if marker == SCAN:
            pixels = start
            break
        needed = {
            0xE0: data.startswith(b"JFIF\0", body) and end - body >= 14,
            APP1: data.startswith(EXIF_START, body),
            0xEE: data.startswith(b"Adobe", body) and end - body >= 12,
        }
        if needed.get(marker, not 0xE0 <= marker <= 0xEF and marker != 0xFE):
            kept.append(data[start:end])
    bare = b"".join(kept) + data[pixels:]
    return bare + _JPEG_END if _is_whole_jpeg(bare + _JPEG_END) else bare


def _is_whole_jpeg(data: bytes) -> bool:
    """Return whether a JPEG decodes without warnings, so that no pixels are missing."""
    frame = read_frame(data)
    if frame is None or not frame.can_be_scaled:
        return False
    try:
        simplejpeg.decode_jpeg(data, "CMYK" if frame.n_components == 4 else "RGB")
    except ValueError:
        return False
    return True


def _bare_webp(data: bytes) -> bytes:
    """Keep only the chunks of a WebP for pixels and orientation."""
    chunks = [(kind, body) for kind, body in _riff_chunks(data) if kind in _WEBP_KEPT]
    kinds = {kind for kind, _ in chunks}
    present = sum(flag for kind, flag in _WEBP_FLAGS.items() if kind in kinds)
    stream = io.BytesIO()
    for kind, body in chunks:
        if kind == b"VP8X":
            body = bytes([body[0] & _WEBP_ALPHA | present]) + body[1:]
        stream.write(kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2))
    content = b"WEBP" + stream.getvalue()
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, body) of the complete chunks of a RIFF file."""
    position = 12
    while position + 8 <= len(data):
        kind, length = data[position : position + 4], *struct.unpack_from("<I", data, position + 4)
        body = data[position + 8 : position + 8 + length]
        if len(body) == length:
            yield kind, body
        position += 8 + length + length % 2


def _bare_jp2(data: bytes) -> bytes | None:
    """Keep only the pixels of a JPEG 2000 file and their description."""
    header = data.find(b"jp2h") - 4
    pixels = data.find(_JP2_PIXELS)
    if header < 0 or pixels < 0:
        return None
    (length,) = struct.unpack_from(">I", data, header)
    kept, position = b"", header + 8
    while position + 8 <= header + length:
        (size,) = struct.unpack_from(">I", data, position)
        if data[position + 4 : position + 8] in _JP2_KEPT:
            kept += data[position : position + size]
        position += max(size, 8)
    boxes = [
        _JP2_START + b"\r\n\x87\n",
        b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 ",
        struct.pack(">I", len(kept) + 8) + b"jp2h" + kept,
        # A length of zero means up to the end.
        b"\0\0\0\0jp2c" + data[pixels:],
    ]
    return b"".join(boxes)
