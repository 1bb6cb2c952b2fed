"""Writers of image files, down to the byte, that several test files share."""

import importlib.util
import io
import itertools
import lzma
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Samples = NDArray[Any]

HAS_HEIC = importlib.util.find_spec("pillow_heif") is not None
# How a picture is stored for each orientation.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode an image as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def stored_for(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image as it is stored for an orientation."""
    pixels = STORED.get(orientation, np.asarray)(np.asarray(image))
    return Image.fromarray(np.ascontiguousarray(pixels), image.mode)


def exif(orientation: int) -> bytes:
    """Return an EXIF block with an orientation, without the prefix of JPEG."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes().removeprefix(b"Exif\0\0")


def pack(values: Samples, bits: int, order: str) -> bytes:
    """Pack the samples of some rows, (rows, n), each row to whole bytes."""
    if values.dtype.kind == "f" or bits in (8, 16, 32, 64):
        kind = "f" if values.dtype.kind == "f" else "u"
        return values.astype(f"{order}{kind}{bits // 8}").tobytes()
    if bits == 24:
        low_first = values.astype("<u4").view(np.uint8).reshape(*values.shape, 4)[..., :3]
        return np.ascontiguousarray(low_first if order == "<" else low_first[..., ::-1]).tobytes()
    shifts = np.arange(bits - 1, -1, -1)
    single = (values[..., None] >> shifts & 1).astype(np.uint8).reshape(len(values), -1)
    return np.packbits(single, axis=1).tobytes()


# PNG


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# The seven passes of Adam7: (first column, first row, column step, row step).
ADAM7 = [
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
]


def png(
    values: Samples,
    colours: int = 2,
    bits: int = 8,
    *,
    interlaced: bool = False,
    claim: tuple[int, int] | None = None,
    extra: bytes = b"",
) -> bytes:
    """Encode samples, of shape (height, width, samples), as a PNG file.

    ``colours`` is PNG's colour type; ``claim`` is a wrong (width, height) for the header.
    """
    lines = [
        b"\0" + pack(line.reshape(1, -1), bits, ">")
        for x, y, along, down in (ADAM7 if interlaced else [(0, 0, 1, 1)])
        for line in values[y::down, x::along]
        if line.size
    ]
    width, height = claim or (values.shape[1], values.shape[0])
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(b"".join(lines)))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


# JPEG


def segment(marker: int, body: bytes) -> bytes:
    """Return one segment of a JPEG file."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def lossless_jpeg(width: int, height: int, bands: int = 3, kind: int = 0xC3) -> bytes:
    """Return a uniform lossless JPEG."""
    components = b"".join(bytes([i + 1, 0x11, 0]) for i in range(bands))
    frame = segment(kind, struct.pack(">BHHB", 8, height, width, bands) + components)
    # Category 0 is the code 0, category 1 is 10.
    table = segment(0xC4, bytes([0, 1, 1, *[0] * 14, 0, 1]))
    selectors = b"".join(bytes([i + 1, 0]) for i in range(bands))
    scan = segment(0xDA, bytes([bands]) + selectors + bytes([1, 0, 0]))
    differences = bytes(width * height * bands // 8 + 1)
    return b"\xff\xd8" + frame + table + scan + differences + b"\xff\xd9"


# TIFF


def pack_bits(data: bytes) -> bytes:
    """PackBits, without looking for repeats beyond one run."""
    parts = [data[at : at + 128] for at in range(0, len(data), 128)]
    return b"".join(
        bytes([257 - len(p), p[0]]) if len(p) > 1 and len(set(p)) == 1 else bytes([len(p) - 1]) + p
        for p in parts
    )


def lzw(data: bytes) -> bytes:
    """LZW with literal codes only; the table is cleared before codes would need ten bits."""
    bits = ""
    for at in range(0, len(data), 250):
        bits += f"{256:09b}" + "".join(f"{byte:09b}" for byte in data[at : at + 250])
    bits += f"{257:09b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


CODECS = {
    1: ("raw", bytes),
    5: ("lzw", lzw),
    8: ("deflate", zlib.compress),
    32773: ("packbits", pack_bits),
    32946: ("old-deflate", zlib.compress),
    34925: ("lzma", lambda data: lzma.compress(data, preset=0)),
}


def difference(values: Samples, bits: int) -> Samples:
    """Predictor 2: differences along the rows of (rows, width, samples)."""
    previous = np.concatenate([np.zeros_like(values[:, :1]), values[:, :-1]], axis=1)
    return (values - previous) % 2**bits


def float_difference(values: Samples, bits: int) -> bytes:
    """Predictor 3: the bytes of a row, highest first, as differences."""
    rows, _, samples = values.shape
    raw = values.astype(f">f{bits // 8}").reshape(rows, -1, 1).view(np.uint8)
    planes = np.ascontiguousarray(raw.reshape(rows, -1, bits // 8).swapaxes(1, 2))
    planes = planes.reshape(rows, -1, samples)
    return difference(planes.astype(np.int64), 8).astype(np.uint8).tobytes()


def ifd(tags: dict[int, tuple[int, Any]], at: int, order: str, big: bool) -> bytes:
    """Return a directory of tags for an offset in the file."""
    letters = {1: "B", 2: "s", 3: "H", 4: "L", 5: "L", 7: "s", 11: "f", 12: "d", 16: "Q"}
    count, entry, room, end = ("Q", "HHQ", 8, 8) if big else ("H", "HHL", 4, 4)
    outside_at = (
        at + struct.calcsize("<" + count) + len(tags) * (struct.calcsize("<" + entry) + room) + end
    )
    entries = outside = b""
    for tag, (kind, values) in sorted(tags.items()):
        raw = (
            values
            if isinstance(values, bytes)
            else struct.pack(f"{order}{len(values)}{letters[kind]}", *values)
        )
        n = len(values) // (2 if kind == 5 else 1)
        entries += struct.pack(order + entry, tag, kind, n)
        if len(raw) <= room:
            entries += raw.ljust(room, b"\0")
        else:
            entries += struct.pack(order + ("Q" if big else "L"), outside_at + len(outside))
            outside += raw + b"\0" * (-len(raw) % 8)
    return struct.pack(order + count, len(tags)) + entries + bytes(end) + outside


def tiff(
    values: Samples,
    photometric: int,
    bits: int = 8,
    *,
    signed: bool = False,
    order: str = "<",
    big: bool = False,
    planar: bool = False,
    codec: int = 1,
    predictor: int = 1,
    tile: tuple[int, int] | None = None,
    rows_per_strip: int = 8,
    fill_order: int = 1,
    tags: dict[int, Any] | None = None,
    blocks: list[bytes] | None = None,
) -> bytes:
    """Encode samples, of shape (height, width, samples), as a TIFF file."""
    height, width, samples = values.shape
    rows, columns = tile or (rows_per_strip, width)
    planes = [values[..., i : i + 1] for i in range(samples)] if planar else [values]
    if blocks is None:
        blocks = []
        for plane, top, left in itertools.product(
            planes, range(0, height, rows), range(0, width, columns)
        ):
            part = plane[top : top + rows, left : left + columns]
            if tile:
                gaps = (0, rows - part.shape[0]), (0, columns - part.shape[1]), (0, 0)
                part = np.pad(part, gaps, mode="edge")
            if predictor == 3:
                raw = float_difference(part, bits)
            else:
                part = difference(part, bits) if predictor == 2 else part
                raw = pack(part.reshape(len(part), -1), bits, order)
            packed = CODECS[codec][1](raw)
            if fill_order == 2:
                packed = bytes(int(f"{byte:08b}"[::-1], 2) for byte in packed)
            blocks.append(packed)
    start = 16 if big else 8
    offsets = [start + sum(map(len, blocks[:i])) for i in range(len(blocks))]
    sizes = [len(block) for block in blocks]
    kind = 2 if signed else 3 if values.dtype.kind == "f" else 1
    all_tags: dict[int, Any] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * samples), 259: (3, [codec]),
        262: (3, [photometric]), 277: (3, [samples]), 284: (3, [2 if planar else 1]),
    }  # fmt: skip
    if tile:
        all_tags |= {322: (4, [columns]), 323: (4, [rows]), 324: (4, offsets), 325: (4, sizes)}
    else:
        all_tags |= {273: (4, offsets), 278: (4, [rows]), 279: (4, sizes)}
    if predictor != 1:
        all_tags[317] = (3, [predictor])
    if fill_order != 1:
        all_tags[266] = (3, [fill_order])
    if kind != 1:
        all_tags[339] = (3, [kind] * samples)
    all_tags |= tags or {}
    all_tags = {tag: values for tag, values in all_tags.items() if values is not None}
    body = b"".join(blocks)
    body += b"\0" * (-len(body) % 8)
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, start + len(body))
    else:
        head = mark + struct.pack(order + "HL", 42, start + len(body))
    return head + body + ifd(all_tags, start + len(body), order, big)
