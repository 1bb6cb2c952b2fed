"""Tests of clusterkit.images.metadata: intact pixels are decoded, whatever the metadata contain."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_image
from clusterkit.images.formats import has_frames
from clusterkit.images.tiff import exif_orientation
from tests.image_writers import chunk, encode, segment, tiff
from tests.odd_files import PICTURE, picture

PNG, WEBP = encode(PICTURE, "PNG"), encode(PICTURE, "WEBP", lossless=True)
JPEG = encode(PICTURE, "JPEG", quality=95, subsampling=0)
TURNED = picture()[::-1, ::-1]
Entry = tuple[int, int, int, bytes]


def exif(*extra: Entry, orientation: int = 3, n: int = 0) -> bytes:
    """Return an EXIF block with an orientation and further entries (tag, type, count, value)."""
    entries = sorted([(0x0112, 3, 1, struct.pack("<H", orientation)), *extra])
    at, listed, body = 8 + 2 + 12 * len(entries) + 4, b"", b""
    for tag, kind, count, raw in entries:
        value = raw if len(raw) <= 4 else struct.pack("<L", at + len(body))
        body += raw if len(raw) > 4 else b""
        listed += struct.pack("<HHL", tag, kind, count) + value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<LH", 8, n or len(entries)) + listed + bytes(4) + body


EXIFS = {
    "negative rational": exif((0x011A, 10, 1, struct.pack("<ll", -1, 0))),
    "zero denominator": exif((0x011A, 5, 1, struct.pack("<LL", 1, 0))),
    "no number": exif((0x011A, 12, 1, struct.pack("<d", np.nan))),
    "not ASCII": exif((0x0131, 2, 4, b"\xa8\xff\xfe\0")),
    "type unknown": exif((0x9999, 77, 1, b"abcd")),
    "huge count": exif((0x010E, 2, 0x7FFFFFFF, b"abcdefgh")),
    "lost pointer": exif((0x8769, 4, 1, struct.pack("<L", 99999))),
    "pointer to itself": exif((0x8769, 4, 1, struct.pack("<L", 8))),
    "more entries said than there": exif(n=60_000),
}
UNREADABLE = {
    "garbage": b"garbage garbage",
    "empty": b"",
    "cut": exif()[:14],
    "orientation 9": exif(orientation=9),
    "orientation 65535": exif(orientation=65535),
}


def with_exif(kind: str, block: bytes) -> bytes:
    """Return a picture with an EXIF block that no encoder parses."""
    if kind == "jpeg":
        return segments((0xE1, b"Exif\0\0" + block))
    if kind == "webp":
        return encode(PICTURE, "WEBP", lossless=True, exif=b"Exif\0\0" + block)
    if kind == "png late":
        return PNG[:-12] + chunk(b"eXIf", block) + PNG[-12:]
    if kind == "png text":
        full = b"Exif\0\0" + block
        text = b"\nexif\n%8d\n" % len(full) + full.hex().encode()
        return chunks(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))
    return chunks(chunk(b"eXIf", block))


def chunks(*more: bytes) -> bytes:
    """Return a PNG with further chunks."""
    return PNG[:33] + b"".join(more) + PNG[33:]


def segments(*more: tuple[int, bytes]) -> bytes:
    """Return a JPEG with further segments."""
    return JPEG[:2] + b"".join(segment(mark, data) for mark, data in more) + JPEG[2:]


def box(kind: bytes, data: bytes) -> bytes:
    """Return a box of JPEG 2000."""
    return struct.pack(">I", len(data) + 8) + kind + data


def jp2_with_resolution(data: bytes) -> bytes:
    """Return a JPEG 2000 file with a box for its resolution."""
    jp2 = encode(PICTURE, "JPEG2000")
    at = jp2.index(b"jp2h") - 4
    (length,) = struct.unpack_from(">I", jp2, at)
    header = jp2[at + 8 : at + length] + box(b"res ", box(b"resc", data))
    return jp2[:at] + box(b"jp2h", header) + jp2[at + length :]


def avif_with_exif_garbage() -> bytes:
    """Return an AVIF file whose EXIF block is none."""
    marker = exif((0x9286, 7, 60, bytes(range(60))), orientation=1)
    data = encode(PICTURE, "AVIF", quality=95, exif=b"Exif\0\0" + marker)
    at = max(data.find(b"II*\0"), data.find(b"MM\0*"))
    return data[:at] + b"garbage garbage" + data[at + 15 :]


def check(data: bytes, expected: np.ndarray) -> None:
    # Twelve: what JPEG does at the edges of the quarters.
    assert np.abs(decode_image(data)[0].astype(int) - expected).mean() < 12


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", EXIFS)
@pytest.mark.parametrize("kind", ["jpeg", "png", "png late", "png text", "webp"])
def test_an_orientation_that_can_be_read_is_honoured(kind: str, name: str) -> None:
    check(with_exif(kind, EXIFS[name]), TURNED)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("kind", ["jpeg", "png", "png late", "png text", "webp"])
def test_an_exif_block_that_is_none_is_passed_over(kind: str, name: str) -> None:
    check(with_exif(kind, UNREADABLE[name]), picture())


NOISE = np.random.default_rng(0).bytes
BAD_CHECK = b"\0\0\0\1"
DAMAGED = {
    "png text of a megabyte": chunks(chunk(b"iTXt", b"w\0\0\0\0\0" + b"x" * 1_500_000)),
    "png packed text": chunks(chunk(b"zTXt", b"w\0\0" + zlib.compress(NOISE(1_500_000)))),
    "png many texts": chunks(*[chunk(b"zTXt", b"w\0\0" + zlib.compress(bytes(900_000)))] * 99),
    "png profile": chunks(chunk(b"iCCP", b"p\0\0" + zlib.compress(NOISE(1_500_000)))),
    "png profile no zlib": chunks(chunk(b"iCCP", b"p\0\0garbage")),
    "png text check": chunks(chunk(b"tEXt", b"Comment\0hello")[:-4] + BAD_CHECK),
    "png profile check": chunks(chunk(b"iCCP", b"p\0\0profile")[:-4] + BAD_CHECK),
    "png exif text not hexadecimal": chunks(
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  4\n45zz"))
    ),
    "png without an end": PNG[:-12],
    "png palette hint": chunks(chunk(b"PLTE", b"\1" * 7)),
    "jpeg without an end": JPEG[:-2],
    "jpeg half an end": JPEG[:-1],
    "jpeg progressive without an end": encode(PICTURE, "JPEG", quality=95, progressive=True)[:-2],
    "jpeg cmyk without an end": encode(PICTURE.convert("CMYK"), "JPEG", quality=95)[:-2],
    "jpeg adobe short": segments((0xEE, b"Adobe\0")),
    "jpeg profile short": segments((0xE2, b"ICC_PROFILE\0")),
    "jpeg profile parts": segments((0xE2, b"ICC_PROFILE\0\2\3abc")),
    "jpeg jfif short": segments((0xE0, b"JFIF\0")),
    "jpeg photoshop cut": segments((0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff")),
    "jpeg second picture lost": segments((0xE2, b"MPF\0II*\0\xff\xff\xff\x7f")),
    "jpeg xmp": segments((0xE1, b"http://ns.adobe.com/xap/1.0/\0<x a='\xa8\xff'/>")),
    "jpeg bytes between": JPEG[:20] + b"\0\0" + JPEG[20:],
    "webp size": WEBP[:4] + struct.pack("<I", len(WEBP) + 400) + WEBP[8:],
    "webp flags": (
        lambda webp: webp[:20] + b"\xff" + webp[21:]
    )(encode(PICTURE, "WEBP", lossless=True, xmp=b"<x/>")),
    "webp end": encode(PICTURE, "WEBP", lossless=True, xmp=b"<x/>" * 9)[:-5],
    "jpeg 2000 resolution cut": jp2_with_resolution(bytes(3)),
    "jpeg 2000 resolution zero": jp2_with_resolution(bytes(10)),
    "avif exif": avif_with_exif_garbage(),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_whole_pixels_are_shown(name: str) -> None:
    check(DAMAGED[name], picture())


@pytest.mark.parametrize(
    "kind",
    [
        "pHYs",
        "gAMA",
        "cHRM",
        "sRGB",
        "sBIT",
        "bKGD",
        "tIME",
        "tRNS",
        "iCCP",
        "tEXt",
        "zTXt",
        "iTXt",
        "acTL",
        "eXIf",
    ],
)
@pytest.mark.parametrize("length", [0, 1, 3, 7])
def test_short_chunks_of_a_png_are_passed_over(kind: str, length: int) -> None:
    check(chunks(chunk(kind.encode(), b"\1" * length)), picture())
    check(PNG[:-12] + chunk(kind.encode(), b"\1" * length) + PNG[-12:], picture())


@pytest.mark.parametrize(
    "tags",
    [
        {34665: (4, [10**8])},
        {270: (2, b"\xff\xfe\xa8\0" * 99)},
        {282: (5, [1, 0]), 283: (5, [0, 0])},
        {34675: (7, b"no profile")},
        {700: (1, b"<\xff>" * 99)},
        {274: (3, [9])},
        {305: (3, [1, 2, 3])},
        {34377: (7, b"8BIM" * 9)},
        {42113: (2, b"none\0")},
        {529: (5, [0, 0, 0, 0, 0, 0])},
    ],
    ids=str,
)
def test_odd_tags_of_a_tiff_are_passed_over(tags: dict) -> None:
    check(tiff(picture().astype(int), 2, tags=tags), picture())


def test_orientation_and_transparency_outlive_other_damage() -> None:
    clear = chunk(b"tRNS", struct.pack(">HHH", *picture()[0, 0]))
    data = chunks(clear, chunk(b"pHYs", b"\0"), chunk(b"eXIf", exif()))
    expected = TURNED.copy()
    expected[(expected == picture()[0, 0]).all(axis=2)] = 255
    np.testing.assert_array_equal(decode_image(data)[0], expected)
    data = segments((0xEE, b"Adobe\0"), (0xE1, b"Exif\0\0" + exif()))
    check(data, TURNED)


NOISY = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
FORMATS = {
    "JPEG": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 2},
    "PNG": {}, "WEBP": {}, "AVIF": {}, "JPEG2000": {}, "GIF": {}, "BMP": {}, "PPM": {},
    "TIFF": {"compression": "tiff_lzw"}, "zstd": {"compression": "zstd"},
    "jpeg": {"compression": "jpeg"},
}  # fmt: skip
ALIASES = {"progressive": "JPEG", "restarts": "JPEG", "zstd": "TIFF", "jpeg": "TIFF"}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_cut_is_refused_or_whole(kind: str) -> None:
    data = encode(NOISY, ALIASES.get(kind, kind), **FORMATS[kind])
    whole = decode_image(data)[0]
    reasons = []
    for length in [*range(20, len(data), len(data) // 40), *range(len(data) - 9, len(data))]:
        try:
            np.testing.assert_array_equal(decode_image(data[:length])[0], whole)
        except ImageError as error:
            reasons.append(str(error))
    assert len(reasons) >= 35
    assert all(reason.startswith(("damaged: ", "not an image")) for reason in reasons)


def test_an_end_is_not_lent_to_a_jpeg_that_lacks_pixels() -> None:
    stream = io.BytesIO()
    NOISY.save(stream, "JPEG")
    with pytest.raises(ImageError, match="truncated"):
        decode_image(stream.getvalue()[:-30])
    with pytest.raises(ImageError, match="truncated"):
        decode_image(stream.getvalue()[:-30], (8, 8))


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"P7\n", "PAM"),
        (b"II\xbc\x01", "JPEG XR"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"\xff\xd8\xff\xf7\0\x0b\x08\0\x10\0\x10\1\1\x11\0", "JPEG-LS"),
        (b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x10\0\x10\1\1\x11\0\xff\xda\0\x08\1\1\0\0?\0", "12 bits"),
    ],
)
def test_what_is_not_supported_is_named(start: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode_image(start + bytes(99))


@pytest.mark.parametrize("offset", [2**40, 2**63, 2**64 - 1])
def test_places_beyond_any_file_are_no_orientation(offset: int) -> None:
    block = b"II+\0\x08\0\0\0" + struct.pack("<Q", offset)
    assert exif_orientation(block) is None
    data = encode(Image.new("RGB", (64, 48), "teal"), "JPEG", exif=b"Exif\0\0" + block)
    assert decode_image(data, (24, 32))[1] == (48, 64)
    assert not has_frames(block + bytes(100))
