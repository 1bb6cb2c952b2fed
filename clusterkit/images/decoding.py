"""Decode the bytes of image files to upright RGB uint8 arrays."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from clusterkit.errors import ClusterkitError, ImageError, MissingDependencyError
from clusterkit.images.decoding_apart import can_decode_apart, decode_apart
from clusterkit.images.decoding_memory import Claim
from clusterkit.images.eight_bit import to_8_bit
from clusterkit.images.jpeg import (
    MAX_SCANS,
    has_too_many_scans,
    read_frame,
    read_jpeg_orientation,
)
from clusterkit.images.metadata import without_metadata
from clusterkit.images.pixels import to_grey
from clusterkit.images.resizing import (
    check_resize_mode,
    check_size,
    resize_grey,
    resize_image,
)
from clusterkit.images.tiff import TIFF_STARTS, Tiff, exif_orientation
from clusterkit.utils.imports import require

_HEIC_BRANDS = frozenset(b"heic heim heis heix hevc hevx mif1 msf1".split())

# Pillow's own limit, unless changed for the whole process.
_MAX_JPEG_PIXELS_HERE = 89_478_485
# The C library may keep the memory of Pillow's pixels per thread; larger images are decoded in
# separate processes, which return it.
_MAX_PIXELS_HERE = 2**24
_PIXELS_AT_ONCE = 2**17
# Bytes per pixel of decoding: the decoder's, Pillow's, and the array's.  The peak memory of
# processes that decoded 9 megapixels grew by 18 for WebP, 24 for JPEG 2000, 4 for modes of one
# byte, 6 for "I;16", and 10 for colours, which are rounded up here.  The values for AVIF (12
# measured), HEIF (10), "I" and "F" (12) are estimates with a margin.
_WEBP_BYTES = 20
_BYTES_OF_FORMAT = {"WEBP": _WEBP_BYTES, "AVIF": 20, "HEIF": 20, "JPEG2000": 32}
_BYTES_OF_MODE = {"1": 4, "L": 4, "P": 4, "I;16": 10, "I;16B": 10, "I": 36, "F": 36}
# Bytes per pixel of a resize (not measured): float32 RGB, in both orientations.
_FLOAT_BYTES = 2 * 3 * 4
# Called with a number of bytes and a description before memory is allocated.
ClaimBytes = Callable[[int, str], None]
# An image, and the (height, width) of its file.
Decoded = tuple[NDArray[np.uint8], tuple[int, int]]

# Formats whose mode "I" holds 16 bits.
_16_BIT_FORMATS = frozenset({"PNG", "PPM", "JPEG2000"})
_CLEAR_IN_8_BITS: dict[str, Callable[[Any], Any]] = {
    "L;2": lambda clear: clear * 85,
    "L;4": lambda clear: clear * 17,
    "RGB;16B": lambda clear: tuple(value >> 8 for value in clear),
}
# Signatures of unsupported formats that sometimes have a suffix such as ".jpg".
_UNSUPPORTED = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"II\xbc": "JPEG XR",
    b"P7": "PAM",
    b"PF": "PFM in colour",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?R": "Radiance HDR",
}
_SIDEWAYS = frozenset({5, 6, 7, 8})
_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.swapaxes(0, 1),
    6: lambda rgb: rgb[::-1].swapaxes(0, 1),
    7: lambda rgb: rgb[::-1, ::-1].swapaxes(0, 1),
    8: lambda rgb: rgb[:, ::-1].swapaxes(0, 1),
}


def decode_image(
    data: bytes,
    size: tuple[int, int] | None = None,
    *,
    resize: str = "stretch",
    max_bytes: float = math.inf,
    in_background: bool = False,
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode the bytes of an image file.

    EXIF orientation is applied.  Grey, palette, CMYK and deeper images are converted to 8-bit RGB,
    see :func:`~clusterkit.images.eight_bit.to_8_bit`; transparency is rendered on white; of
    animations, the first frame is used.  Embedded colour profiles are ignored, as in the training
    of the networks.  Damaged metadata are ignored if the pixels are intact.

    Parameters
    ----------
    data : bytes
        The file's content.
    size : tuple of int, optional
        Target (height, width) in pixels.
    resize : {"stretch", "crop", "pad"}
        See :func:`clusterkit.images.resizing.resize_image`.
    max_bytes : float
        Maximum memory; images that need more, by their headers, are not decoded.
    in_background : bool
        Whether to decode in a process of low priority, with a separate memory budget.

    Returns
    -------
    image : ndarray of shape (height, width, 3), uint8
        The upright image.
    shape : tuple of int
        (height, width) of the upright image before resizing.

    Raises
    ------
    InvalidInputError
        If ``size`` or ``resize`` is invalid.
    LargeImageError
        If it needs more than ``max_bytes``.
    ImageError
        If the image cannot be read; the message is the reason.  This includes images that exceed
        the memory limit (:func:`~clusterkit.images.decoding_memory.memory_limit`) or the time limit
        (environment variable ``CLUSTERKIT_IMAGE_SECONDS``, by default 120), and crashes of a
        decoder: all files except ordinary JPEG, PNG and GIF files are decoded in a separate
        process.
    """
    check_resize_mode(resize)
    size = None if size is None else check_size(size)
    if not data:
        raise ImageError("the file is empty")
    with Claim(max_bytes=max_bytes, in_background=in_background) as claim:
        is_safe = not in_background and _is_safe_here(data)
        if is_safe or not can_decode_apart():
            return decode_here(data, size, claim, resize=resize)
        return decode_apart(data, size, claim, resize=resize, in_background=in_background)


def decode_grey(
    data: bytes, size: tuple[int, int] | None = None
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode the brightness of an image file.

    Of ordinary JPEG files, the colours are not decoded, which saves an eighth to a quarter of the
    time.

    Parameters
    ----------
    data : bytes
        The file's content.
    size : tuple of int, optional
        Target (height, width) in pixels.

    Returns
    -------
    image : ndarray of shape (height, width), uint8
        The upright image in grey.
    shape : tuple of int
        (height, width) of the upright image before resizing.

    Raises
    ------
    ImageError
        As :func:`decode_image`.
    """
    decoded = None
    if data.startswith(b"\xff\xd8") and _is_safe_here(data):
        # Whatever is wrong with a file, decode_image knows what to do, or why it cannot.
        with Claim() as claim, suppress(Exception):
            decoded = _decode_jpeg(data, size, claim, colours="GRAY")
    if decoded is None:
        rgb, shape = decode_image(data, size)
        return np.rint(to_grey(rgb)).astype(np.uint8), shape
    grey, shape = decoded[0][:, :, 0], decoded[1]
    if size is None or grey.shape == tuple(size):
        return grey, shape
    resized = resize_grey(grey.astype(np.float32), size)
    return np.rint(np.clip(resized, 0, 255)).astype(np.uint8), shape


def decode_here(
    data: bytes, size: tuple[int, int] | None, claim: ClaimBytes, *, resize: str
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode an image file in this process; ``claim`` is called before memory is allocated."""
    try:
        rgb, shape = _decode_file(data, size, claim)
        return resize_image(rgb, size, resize) if size else np.ascontiguousarray(rgb), shape
    except ClusterkitError:
        raise
    except UnidentifiedImageError:
        raise ImageError(_why_unknown(data)) from None
    except MemoryError:
        raise ImageError("there is not enough memory to decode it") from None
    # Pillow's plugins raise almost any exception on damaged files.
    except Exception as error:
        raise ImageError(_damaged(error)) from error


def _is_safe_here(data: bytes) -> bool:
    """Return whether the format and size of a file are safe to decode in this process.

    The decoders of these formats are mature, and decoded 100,000 damaged files each without a crash
    (``tests/benchmarks/fuzz_decoders.py``).
    """
    most = _MAX_PIXELS_HERE
    if data.startswith(b"\xff\xd8\xff"):
        frame = read_frame(data)
        if frame is None or not frame.can_be_scaled:
            return False
        most, height, width = _MAX_JPEG_PIXELS_HERE, frame.height, frame.width
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    elif data.startswith((b"GIF87a", b"GIF89a")):
        width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    else:
        return False
    return height * width <= min(most, Image.MAX_IMAGE_PIXELS or most)


def _decode_file(data: bytes, size: tuple[int, int] | None, claim: ClaimBytes) -> Decoded:
    """Decode a file of any format; if that fails, try again without metadata."""
    if data.startswith(TIFF_STARTS):
        return _decode_tiff(data, claim)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        # Pillow allocates the pixels when it opens the file.
        height, width = _webp_shape(data)
        claim(_WEBP_BYTES * height * width, f"{width} x {height} pixels")
    try:
        return _decode_with_metadata(data, size, claim)
    except (ClusterkitError, MemoryError):
        raise
    except Exception:
        bare = without_metadata(data)
        if bare is None:
            raise
        return _decode_with_metadata(bare, size, claim)


def _decode_with_metadata(data: bytes, size: tuple[int, int] | None, claim: ClaimBytes) -> Decoded:
    """Decode a file of any format but TIFF."""
    if data.startswith(b"\xff\xd8") and (decoded := _decode_jpeg(data, size, claim)):
        return decoded
    with _open(data) as image:
        return _decode(image, data, claim)


def _decode_tiff(data: bytes, claim: ClaimBytes) -> Decoded:
    """Decode a TIFF file."""
    picture = Tiff(data)
    height, width = picture.height, picture.width
    claim(picture.n_bytes + len(data), f"{width} x {height} pixels")
    return _turn(picture.read(), picture.orientation)


def _open(data: bytes) -> Image.Image:
    """Open an image that is safe to load."""
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        if data[4:8] != b"ftyp" or data[8:12] not in _HEIC_BRANDS:
            raise
        try:
            require("pillow_heif", extra="heic", caller="reading HEIC").register_heif_opener()
        except MissingDependencyError as error:
            raise ImageError(str(error)) from error
        image = Image.open(io.BytesIO(data))
    if image.format == "EPS":
        raise ImageError("PostScript is a program, which is not run")
    return image


def _why_unknown(data: bytes) -> str:
    """Return why Pillow cannot open a file, since its own error does not tell."""
    for start, name in _UNSUPPORTED.items():
        if data.startswith(start):
            return f"{name} is not supported"
    if data.startswith(b"\xff\xd8"):
        frame = read_frame(data)
        if frame and frame.precision != 8:
            return f"a JPEG of {frame.precision} bits per sample is not supported"
        if b"\xff\xf7" in data[: 2**16]:
            return "JPEG-LS is not supported"
    for factory, accepts in Image.OPEN.values():
        try:
            is_accepted = accepts is not None and accepts(data[:16]) is True
        except struct.error:
            continue  # The file is shorter than the signature of this format.
        try:
            if is_accepted:
                factory(io.BytesIO(data), "")
        except Exception as error:
            return _damaged(error)
    return "not an image, or of an unknown format"


def _damaged(error: Exception) -> str:
    """Return a decoder's error as a reason in one line."""
    # Pillow raises these, or a SyntaxError from them, where a header is cut.
    if any(isinstance(one, (struct.error, EOFError)) for one in (error, error.__cause__)):
        return "damaged: the file is truncated"
    return f"damaged: {' '.join(str(error).split()) or type(error).__name__}"


def _webp_shape(data: bytes) -> tuple[int, int]:
    """Return (height, width) of a WebP file's canvas from its first chunk."""
    kind, body = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return height, width


def _decode_jpeg(
    data: bytes, size: tuple[int, int] | None, claim: ClaimBytes, *, colours: str = "RGB"
) -> Decoded | None:
    """Decode an ordinary JPEG with TurboJPEG: Pillow's pixels in half the time.

    With a target size, the image is decoded at the smallest of 1/1, 1/2, 1/4 and 1/8 scale that is
    not below it.  Vectors of photos agree with those of full decoding to a cosine of 0.9994.
    Returns None for files left to Pillow: other kinds of JPEG, four channels, damage.
    """
    frame = read_frame(data)
    if frame and frame.keeps_coefficients and has_too_many_scans(data):
        raise ImageError(f"the JPEG comes in more than {MAX_SCANS} scans, each a full decoding")
    # TurboJPEG overruns its buffer when scaling an image that cannot be scaled.
    if frame is None or not frame.can_be_scaled or frame.n_components not in (1, 3):
        return None
    orientation = read_jpeg_orientation(data)
    shape = frame.height, frame.width
    least = (0, 0)
    if size:
        wanted = size[::-1] if orientation in _SIDEWAYS else size
        # Sides are rounded up: half of 511 pixels is 256.
        fitting = (
            f
            for f in (8, 4, 2)
            if all(-(-have // f) >= want for have, want in zip(shape, wanted, strict=True))
        )
        factor = next(fitting, 1)
        if factor > 1:
            least = -(-shape[0] // factor), -(-shape[1] // factor)
    height, width = least if any(least) else shape
    resized = _FLOAT_BYTES * size[0] * width if size else 3 * height * width
    claim(
        3 * height * width + resized + frame.coefficient_bytes + len(data),
        f"{shape[1]} x {shape[0]} pixels",
    )
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, min_height=least[0], min_width=least[1])
    except ValueError:
        return None
    upright, _ = _turn(pixels, orientation)
    return upright, shape[::-1] if orientation in _SIDEWAYS else shape


def _decode(image: Image.Image, data: bytes, claim: ClaimBytes) -> Decoded:
    """Decode an image of any other format with Pillow."""
    n_bytes = _BYTES_OF_FORMAT.get(image.format or "") or _BYTES_OF_MODE.get(image.mode, 10)
    claim(
        n_bytes * image.height * image.width + len(data), f"{image.width} x {image.height} pixels"
    )
    if isinstance(image, PngImageFile) and "transparency" in image.info and image.tile:
        # Pillow converts the pixels to 8 bits, but not the transparent value.
        in_8_bits = _CLEAR_IN_8_BITS.get(str(image.tile[0][3]))
        if in_8_bits:
            image.info["transparency"] = in_8_bits(image.info["transparency"])
    if image.format == "JPEG2000" and (bits := _jpeg_2000_colour_bits(data)) > 8:
        # Pillow's rounding overflows from nearly white to black.
        raise ImageError(f"JPEG 2000 of {bits} bits per colour is not supported")
    image.load()
    if image.format == "TGA" and image.mode in ("RGBA", "LA") and not data[17] & 0x0F:
        # The header states that the fourth byte is not opacity.
        image = image.convert(image.mode[:-1])
    # After loading, since a PNG may store it behind its pixels.
    return _turn(_to_rgb(image), _read_orientation(image))


def _read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image, 1 to 8; 1 if it cannot be read."""
    try:
        value: Any = image.getexif().get(ExifTags.Base.Orientation, 1)
    # Pillow parses other metadata as well, and raises almost any exception if it is damaged.
    except Exception:
        value = exif_orientation(image.info.get("exif", b""))
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _jpeg_2000_colour_bits(data: bytes) -> int:
    """Return the bits per sample of a JPEG 2000 file with several components; 0 for grey."""
    size_marker = data.find(b"\xff\x4f\xff\x51") + 4
    n_components = int.from_bytes(data[size_marker + 36 : size_marker + 38], "big")
    depths = data[size_marker + 38 :: 3][:n_components]
    return max((depth & 0x7F) + 1 for depth in depths) if n_components > 1 and depths else 0


def _turn(rgb: NDArray[np.uint8], orientation: int) -> Decoded:
    """Rotate and flip an image to its upright orientation."""
    rgb = _UPRIGHT.get(orientation, np.asarray)(rgb)
    return rgb, (rgb.shape[0], rgb.shape[1])


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert any Pillow mode to 8-bit RGB, with transparency on white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    clear = image.info.get("transparency")
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if image.format in _16_BIT_FORMATS and image.mode == "I":
            values = values.astype(np.uint16)
        grey = to_8_bit(values)
        if clear is not None:
            grey[values == clear] = 255
        return np.broadcast_to(grey[..., None], (*grey.shape, 3))
    # In parts, since Pillow's intermediate images take four bytes per pixel each.
    result = np.empty((image.height, image.width, 3), np.uint8)
    n_rows = max(1, _PIXELS_AT_ONCE // max(1, image.width))
    for top in range(0, image.height, n_rows):
        part = image.crop((0, top, image.width, min(top + n_rows, image.height)))
        if image.has_transparency_data:
            rgba = part.convert("RGBA")
            part = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        result[top : top + n_rows] = np.asarray(part.convert("RGB"))
    return result
