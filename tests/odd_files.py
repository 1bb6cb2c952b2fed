"""Broken and odd image files, and the expected result of each: the cases of test_odd_files.py."""

import base64
import functools
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from tests.image_writers import HAS_HEIC, chunk, encode, exif, png, segment, stored_for

Make = Callable[[Path], object]
Corners = tuple[tuple[int, int, int], ...]

RED, GREEN, BLUE, LIGHT = (220, 40, 40), (40, 200, 60), (40, 60, 220), (230, 230, 230)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# Top left, top right, bottom left, bottom right: any rotation or flip is noticed.
COLOURS: Corners = (RED, GREEN, BLUE, LIGHT)
# Their luma (ITU-R 601).
GREYS: Corners = ((94,) * 3, (136,) * 3, (72,) * 3, (230,) * 3)
TRANSPARENT_GREEN: Corners = (RED, WHITE, BLUE, LIGHT)


class OddFile(NamedTuple):
    """A file and the expected result.

    Attributes
    ----------
    name : str
        Name of the file.
    make : callable
        ``make(path)`` writes the file.
    corners : tuple of colours, or None
        Expected colours at the centres of the four quarters; None if the file is rejected.
    reason : str
        Text that the reason of the failure must contain.
    event, moment : callable, and "listed" or "read"
        What happens to the file, and after which step.
    """

    name: str
    make: Make
    corners: Corners | None = COLOURS
    reason: str = ""
    event: Make | None = None
    moment: str = ""


def broken(
    name: str, make: Make, reason: str, event: Make | None = None, moment: str = ""
) -> OddFile:
    """Return the case of a file that cannot be embedded."""
    return OddFile(name, make, None, reason, event, moment)


def picture(width: int = 48, height: int = 32) -> NDArray[np.uint8]:
    """Return a picture with four coloured quarters, of shape (height, width, 3)."""
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2], rgb[: height // 2, width // 2 :] = RED, GREEN
    rgb[height // 2 :, : width // 2], rgb[height // 2 :, width // 2 :] = BLUE, LIGHT
    return rgb


PICTURE = Image.fromarray(picture())
GREY = PICTURE.convert("L")


def save(image: Image.Image = PICTURE, kind: str | None = None, **options: Any) -> Make:
    """Return a maker that saves an image, by default in the format of the file's suffix."""
    # A copy, since Pillow keeps the options of one save for the next.
    return lambda path: image.copy().save(path, kind, **options)


def later_frames(n: int) -> list[Image.Image]:
    """Return further frames or pages, which must not be used."""
    return [Image.new("RGB", PICTURE.size, "black") for _ in range(n)]


def write(data: bytes) -> Make:
    """Return a maker that writes bytes."""
    return lambda path: path.write_bytes(data)


def from_values(values: NDArray[Any]) -> Make:
    """Return a maker that saves an array."""
    return save(Image.fromarray(values))


JPEG = encode(PICTURE, "JPEG", quality=95)
PNG = encode(PICTURE, "PNG")


def jpeg_with_exif(block: bytes) -> bytes:
    """Return a JPEG whose EXIF block holds the given bytes."""
    return JPEG[:2] + segment(0xE1, b"Exif\0\0" + block) + JPEG[2:]


def turned(orientation: int) -> Make:
    """Return a maker of a rotated JPEG with the EXIF orientation that corrects it."""
    stored = stored_for(PICTURE, orientation)
    return save(stored, "JPEG", quality=95, exif=b"Exif\0\0" + exif(orientation))


def ycck(path: Path) -> None:
    """Write a YCCK JPEG, as Photoshop does."""
    # Photoshop stores inverted CMYK, and so does Pillow, which the 255 - x below undoes.
    colour = np.asarray(ImageOps.invert(PICTURE).convert("YCbCr"))
    planes = np.dstack([colour, np.full(colour.shape[:2], 255, np.uint8)])
    data = encode(Image.fromarray(255 - planes, "CMYK"), "JPEG", quality=95)
    marker = data.index(b"Adobe")
    path.write_bytes(data[: marker + 11] + b"\2" + data[marker + 12 :])


@functools.cache
def noisy_jpeg() -> bytes:
    """Return a JPEG that is large enough to be truncated anywhere."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    return encode(Image.fromarray(noise), "JPEG")


def cut(tenths: int) -> Make:
    """Return a maker of a JPEG that is truncated to some tenths."""
    return lambda path: path.write_bytes(noisy_jpeg()[: len(noisy_jpeg()) * tenths // 10])


def lab(path: Path) -> None:
    """Write a TIFF in CIE L*a*b*."""
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.applyTransform(PICTURE, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert converted is not None
    converted.save(path)


def sparse(path: Path) -> None:
    """Write a sparse file of 5 GB."""
    with path.open("wb") as file:
        file.write(JPEG)
        file.truncate(5 * 10**9)


def no_permission(path: Path) -> None:
    """Write an image without read permission."""
    path.write_bytes(PNG)
    path.chmod(0)


def heic(path: Path) -> None:
    """Write HEIC if the plugin is installed, otherwise the start of such a file."""
    if HAS_HEIC:
        import pillow_heif

        pillow_heif.from_pillow(PICTURE).save(path, quality=95)
    else:
        path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))


# jpegtran -arithmetic, of libjpeg-turbo 2.1.5
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsL"
    "EBYQERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
    "FBQUFBQUFBQUFBQUFBQUFBQUFBT/yQARCAAgADADAREAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/ALkk"
    "2vxZe6WSg3yBihYorbInt4jN3ZQlS201jguZjMSoxHnjYef7gmTnVYMT/9k="
)
RGBA = PICTURE.convert("RGBA")
RGBA.paste((0, 0, 0, 0), (24, 0, 48, 16))
GREY_ALPHA = Image.merge("LA", (GREY, RGBA.getchannel("A")))
PALETTE = PICTURE.quantize(4)
GREEN_ENTRY = PALETTE.getpixel((40, 4))
WIDE_GAMUT = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
GREY_VALUES = np.asarray(GREY)
TURNED = stored_for(PICTURE, 6)

ODD_FILES = [
    # Damaged, or not an image.
    broken("empty.png", write(b""), "empty"),
    broken("text.jpg", write(b"Dear diary, today I learnt about file suffixes.\n"), "not an image"),
    broken("page.jpg", write(b"<!DOCTYPE html><title>404</title>"), "not an image"),
    broken("drawing.png", write(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not an image"),
    broken("postscript.jpg", save(kind="EPS"), "PostScript"),
    *[broken(f"cut_at_{tenths}_tenths.jpg", cut(tenths), "runcated") for tenths in range(1, 10)],
    broken("truncated.png", write(PNG[: len(PNG) // 2]), "runcated"),
    broken("bad_checksum.png", write(PNG.replace(b"IDAT", b"IDAT\xff", 1)[:-1]), "damaged"),
    broken("no_pixels.png", write(png(picture()[:0])), "damaged"),
    broken("gif_header_only.gif", write(encode(PICTURE, "GIF")[:13]), "damaged"),
    broken("huge_header.png", write(png(picture(), claim=(50_000, 50_000))), "too large"),
    broken("large_and_cut.png", write(png(picture(), claim=(10_000, 9_000))), "runcated"),
    broken("five_gigabytes.jpg", sparse, "5,000,000,000 bytes"),
    # Problems of the file system.
    broken("unreadable.png", no_permission, "permission"),
    broken("dangling_link.png", lambda path: path.symlink_to("nowhere.png"), "link"),
    broken("link_to_itself.png", lambda path: path.symlink_to(path.name), "cannot be read"),
    broken("pipe.png", os.mkfifo, "not a regular file"),
    broken("vanishes.png", save(), "does not exist", Path.unlink, "listed"),
    broken("changes.png", save(), "changed", lambda path: path.write_bytes(JPEG), "read"),
    OddFile("turns_good.png", write(b""), COLOURS, "", save(), "listed"),
    OddFile(os.fsdecode(b"not_utf8_\xe9.png"), save()),
    OddFile("two\nlines.png", save()),
    OddFile(r"looks_escaped_\udce9.png", save()),
    OddFile(" spaces and ünïcödé 狐.png", save()),
    OddFile("n" * 251 + ".png", save()),
    # Odd, but valid.
    OddFile("wrong_suffix.jpg", write(PNG)),
    OddFile("UPPER.PNG", save()),
    OddFile("trailing_garbage.jpg", write(JPEG + b"garbage" * 99)),
    *[OddFile(f"exif_orientation_{number}.jpg", turned(number)) for number in range(1, 9)],
    OddFile("exif_orientation_9.jpg", turned(9)),
    OddFile("exif_turned.png", save(TURNED, exif=exif(6))),
    OddFile("exif_turned.webp", save(TURNED, exif=exif(6), lossless=True)),
    OddFile("exif_garbage.jpg", write(jpeg_with_exif(b"no EXIF at all"))),
    OddFile("exif_cut.jpg", write(jpeg_with_exif(b"II*\0\xff\xff\xff\x7f"))),
    OddFile("progressive.jpg", save(progressive=True, quality=95)),
    OddFile("arithmetic.jpg", write(ARITHMETIC)),
    OddFile("grey.jpg", save(GREY, quality=95), GREYS),
    OddFile("cmyk.jpg", save(PICTURE.convert("CMYK"), quality=95)),
    OddFile("ycck.jpg", ycck),
    OddFile("icc_profile.jpg", save(icc_profile=WIDE_GAMUT, quality=95)),
    OddFile("icc_garbage.png", save(icc_profile=b"garbage")),
    OddFile("two_pictures.mpo", save(save_all=True, append_images=later_frames(1), quality=95)),
    OddFile("palette_alpha.png", save(PALETTE, transparency=GREEN_ENTRY), TRANSPARENT_GREEN),
    OddFile("rgb_transparent_colour.png", save(transparency=GREEN), TRANSPARENT_GREEN),
    OddFile("rgba.png", save(RGBA), TRANSPARENT_GREEN),
    OddFile("rgba.webp", save(RGBA, lossless=True), TRANSPARENT_GREEN),
    OddFile("grey_alpha.png", save(GREY_ALPHA), (GREYS[0], WHITE, *GREYS[2:])),
    OddFile("1_bit.png", save(GREY.convert("1", dither=0)), (BLACK, WHITE, BLACK, WHITE)),
    OddFile("16_bit_grey.png", from_values(GREY_VALUES.astype(np.uint16) * 257), GREYS),
    OddFile("16_bit_dark.png", from_values(GREY_VALUES.astype(np.uint16)), (BLACK,) * 4),
    OddFile("16_bit_rgb.png", write(png(picture().astype(np.uint16) * 257, bits=16))),
    # A compressed text that expands a lot is not needed for the pixels, so it is ignored.
    OddFile(
        "text_bomb.png",
        write(png(picture(), extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26))))),
    ),
    OddFile("interlaced.png", write(png(picture(), interlaced=True))),
    OddFile("16_bit.tif", from_values(GREY_VALUES.astype(np.uint16) * 257), GREYS),
    OddFile("32_bit.tif", from_values(GREY_VALUES.astype(np.int32) * 257), GREYS),
    OddFile("float.tif", from_values(GREY_VALUES.astype(np.float32) / 255), GREYS),
    OddFile("float_255.tif", from_values(GREY_VALUES.astype(np.float32)), GREYS),
    OddFile("cmyk.tif", save(PICTURE.convert("CMYK"))),
    OddFile("lab.tif", lab),
    OddFile("ten_pages.tif", save(save_all=True, append_images=later_frames(9))),
    OddFile("one_frame.gif", save()),
    OddFile("animated.gif", save(save_all=True, append_images=later_frames(2))),
    OddFile("animated.webp", save(save_all=True, append_images=later_frames(1), lossless=True)),
    OddFile("animated.png", save(save_all=True, append_images=later_frames(1))),
    OddFile("photo.avif", save(quality=95)),
    OddFile("photo.bmp", save()),
    OddFile("photo.tga", save()),
    OddFile("photo.ppm", save()),
    OddFile("photo.jp2", save()),
    OddFile("photo.heic", heic, *((COLOURS,) if HAS_HEIC else (None, "clusterkit[heic]"))),
    OddFile("1_x_10000.png", save(Image.new("RGB", (1, 10_000), RED)), (RED,) * 4),
    OddFile("10000_x_1.png", save(Image.new("RGB", (10_000, 1), RED)), (RED,) * 4),
    OddFile("one_pixel.png", save(Image.new("RGB", (1, 1), BLUE)), (BLUE,) * 4),
]


def make_all(folder: Path) -> Iterator[OddFile]:
    """Write every file that this file system supports, and yield its case."""
    for odd in ODD_FILES:
        try:
            odd.make(folder / odd.name)
        except (OSError, UnicodeError):
            if odd.name.isascii() and "\n" not in odd.name:
                raise
        else:
            yield odd
