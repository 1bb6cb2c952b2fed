"""Generated files of many kinds: the cases of test_file_kinds.py.

All show the same picture, as far as their kind can represent it, so the expected pixels are known.
"""

import io
import itertools
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clusterkit.images.tiff import read_tags
from tests.image_writers import CODECS, HAS_HEIC, STORED, chunk, encode, exif, pack, png, tiff

Pixels = NDArray[np.uint8]
Samples = NDArray[Any]

# Odd sides, which are multiples of no common block or tile size.
HEIGHT, WIDTH = 21, 29
ROUNDED, LOSSY = 1, 12


class FileKind(NamedTuple):
    """A file and the expected result.

    Attributes
    ----------
    name : str
        What is special about the file.
    data : bytes
        The file.
    shows : ndarray of shape (height, width, 3), uint8, or None
        The expected picture; None if the file must be rejected.
    reason : str
        Text that the reason must contain.
    tolerance : int
        Maximum difference of a pixel.
    others : bool
        Whether OpenCV or libvips gives the same picture, or neither reads the file.  Both do not
        invert fractions whose zero is white, do not support missing values, and interpret extra
        samples in their own way.
    """

    name: str
    data: bytes
    shows: Pixels | None
    reason: str = ""
    tolerance: int = ROUNDED
    others: bool = True


def picture() -> NDArray[np.float64]:
    """Return a picture with edges, ramps and all primary colours, from 0 to 1."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    y, x = y / (HEIGHT - 1), x / (WIDTH - 1)
    rgb = np.stack([x, y, 1 - (x + y) / 2], axis=2)
    rgb[3:9, 4:12], rgb[12:18, 4:12], rgb[3:9, 18:25] = (1, 0, 0), (0, 0.6, 0), (0, 0, 1)
    rgb[12:15, 18:25], rgb[15:18, 18:25] = 0, 1
    return rgb


RGB = picture()
GREY = RGB.mean(axis=2, keepdims=True)
ALPHA = np.linspace(0, 1, WIDTH)[None, :, None].repeat(HEIGHT, axis=0)


def eight(values: NDArray[np.float64]) -> Pixels:
    """Convert values from 0 to 1 to a picture."""
    return np.rint(np.broadcast_to(values, (*values.shape[:2], 3)) * 255).astype(np.uint8)


def whole(values: NDArray[np.float64], bits: int) -> NDArray[np.int64]:
    """Convert values from 0 to 1 to integers of some bits."""
    return np.rint(values * (2**bits - 1)).astype(np.int64)


def seen_of(values: NDArray[np.float64], bits: int) -> Pixels:
    """Quantise values from 0 to 1 to some bits."""
    return eight(whole(values, bits) / (2**bits - 1))


def luma(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the luma of colours, as defined for JPEG and AVIF."""
    return values @ np.array([[0.299], [0.587], [0.114]])


def on_white(values: NDArray[np.float64], alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    return values * alpha + 1 - alpha


# TIFF


ORDERS = {"<": "", ">": " big-endian"}


def tiff_greys() -> Iterator[FileKind]:
    for bits, order, zero in itertools.product(
        [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 24, 32], ORDERS, ["black", "white"]
    ):
        values = whole(GREY, bits)
        stored = 2**bits - 1 - values if zero == "white" else values
        yield FileKind(
            f"tiff grey {bits} bits {zero} is zero{ORDERS[order]}",
            tiff(stored, int(zero == "black"), bits, order=order),
            seen_of(GREY, bits),
            others=zero == "black" or bits not in (10, 12, 14),
        )
    for bits, codec in itertools.product([1, 4, 8, 12, 16, 32], CODECS):
        values = whole(GREY, bits)
        for form, options in {
            "": {},
            " tiles": {"tile": (16, 16)},
            " bits reversed": {"fill_order": 2},
        }.items():
            yield FileKind(
                f"tiff grey {bits} bits {CODECS[codec][0]}{form}",
                tiff(values, 1, bits, codec=codec, **options),
                seen_of(GREY, bits),
                # libvips returns empty tiles if it lacks a codec.
                others=codec != 34925,
            )
    for bits, order in itertools.product([8, 16, 32], ORDERS):
        yield FileKind(
            f"tiff grey signed {bits} bits{ORDERS[order]}",
            tiff(whole(GREY, bits - 1), 1, bits, order=order, signed=True),
            seen_of(GREY, bits - 1),
        )
    for bits, order, zero in itertools.product([16, 32, 64], ORDERS, ["black", "white"]):
        values = (1 - GREY if zero == "white" else GREY).astype(f"f{bits // 8}")
        yield FileKind(
            f"tiff grey float {bits} bits {zero} is zero{ORDERS[order]}",
            tiff(values, int(zero == "black"), bits, order=order),
            eight(GREY),
            others=zero == "black",
        )


def tiff_no_data() -> Iterator[FileKind]:
    black = GREY.copy()
    black[2, 2] = 0
    for value in [np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 9.96921e36, 1.70141e38, 1e20]:
        values = GREY.astype(np.float32)
        values[2, 2] = value
        yield FileKind(
            f"tiff float with one {value}", tiff(values, 1, 32), eight(black), others=False
        )
    for mark, bits in [(b"-9999", 32), (b"99999.0", 32), (b"1e10", 64), (b"nan", 32)]:
        values = GREY.astype(f"f{bits // 8}")
        values[2, 2] = float(mark)
        yield FileKind(
            f"tiff float {bits} bits, no data is {mark.decode()}",
            tiff(values, 1, bits, tags={42113: (2, mark + b"\0")}),
            eight(black),
            others=False,
        )
    for order, top in itertools.product(ORDERS, [255, 65535]):
        counts = np.rint(GREY * top)
        counts[2, 2] = 2**32 - 1
        data = tiff(counts, 1, 32, order=order, tags={42113: (2, b"4294967295\0")})
        name = f"tiff 32 bits to {top}, no data is the greatest{ORDERS[order]}"
        yield FileKind(name, data, eight(black), others=False)


def tiff_colours() -> Iterator[FileKind]:
    forms: dict[str, dict[str, Any]] = {
        "": {},
        " deflate": {"codec": 8},
        " tiles": {"tile": (16, 16)},
        " tiles lzw": {"tile": (16, 16), "codec": 5},
    }
    for planar, order, form, bits in itertools.product(
        [False, True], ORDERS, forms, [4, 8, 12, 16, 32]
    ):
        yield FileKind(
            f"tiff rgb {bits} bits{' planes' * planar}{ORDERS[order]}{form}",
            tiff(whole(RGB, bits), 2, bits, planar=planar, order=order, **forms[form]),
            seen_of(RGB, bits),
            # OpenCV misinterprets planes of more than 8 bits.
            others=not planar or bits == 8 or (bits != 12 and "tiles" not in form),
        )
    for planar, bits, codec in itertools.product([False, True], [16, 32, 64], [1, 8]):
        yield FileKind(
            f"tiff rgb float {bits} bits{' planes' * planar} {CODECS[codec][0]}",
            tiff(RGB.astype(f"f{bits // 8}"), 2, bits, planar=planar, codec=codec),
            eight(RGB),
            others=not planar,
        )
    for planar, bits, order, codec in itertools.product([False, True], [8, 16, 32], ORDERS, [5, 8]):
        yield FileKind(
            f"tiff rgb differences {bits} bits{' planes' * planar}{ORDERS[order]} {codec}",
            tiff(whole(RGB, bits), 2, bits, planar=planar, order=order, codec=codec, predictor=2),
            seen_of(RGB, bits),
        )
    for samples, bits, order, tile in itertools.product(
        [1, 3], [16, 32, 64], ORDERS, [None, (16, 16)]
    ):
        values = GREY if samples == 1 else RGB
        yield FileKind(
            f"tiff float differences {bits} bits, {samples} samples{ORDERS[order]} {tile}",
            tiff(
                values.astype(f"f{bits // 8}"),
                1 if samples == 1 else 2,
                bits,
                order=order,
                codec=8,
                predictor=3,
                tile=tile,
            ),
            eight(values),
        )
    cmyk = np.concatenate([1 - RGB, np.zeros_like(GREY)], axis=2)
    key = 1 - RGB.max(axis=2, keepdims=True)
    inks = np.concatenate([(1 - RGB - key) / np.where(key == 1, 1, 1 - key), key], axis=2)
    for planar, bits, order, values in itertools.product(
        [False, True], [8, 16], ORDERS, ["cmy", "cmyk"]
    ):
        stored = whole(cmyk if values == "cmy" else inks, bits)
        yield FileKind(
            f"tiff {values} {bits} bits{' planes' * planar}{ORDERS[order]}",
            tiff(stored, 5, bits, planar=planar, order=order),
            eight(RGB),
            tolerance=2,
        )
    for orientation, tile in itertools.product(range(1, 9), [None, (16, 16)]):
        stored = STORED[orientation](whole(RGB, 16))
        yield FileKind(
            f"tiff rgb 16 bits orientation {orientation}{' tiles' if tile else ''}",
            tiff(stored, 2, 16, tile=tile, tags={274: (3, [orientation])}),
            seen_of(RGB, 16),
        )
    for name, values in (("grey", GREY), ("rgb", RGB)):
        for bits in (8, 16):
            data = tiff(whole(values, bits), 0, bits, tags={262: None})
            what = f"tiff {name} {bits} bits, colours not explained"
            yield FileKind(what, data, seen_of(values, bits))
    for bits, order in itertools.product([8, 16, 32], ORDERS):
        yield FileKind(
            f"bigtiff rgb {bits} bits{ORDERS[order]}",
            tiff(whole(RGB, bits), 2, bits, order=order, big=True),
            seen_of(RGB, bits),
        )


def tiff_alphas() -> Iterator[FileKind]:
    shows = {kind: eight(on_white(v, ALPHA)) for kind, v in {"grey": GREY, "rgb": RGB}.items()}
    for kind, bits, planar, form in itertools.product(
        ["grey", "rgb"],
        [8, 16],
        [False, True],
        ["straight", "premultiplied", "unspecified", "two more", "second"],
    ):
        colour = GREY if kind == "grey" else RGB
        stored = colour * ALPHA if form == "premultiplied" else colour
        more = {"two more": [ALPHA, 1 - ALPHA], "second": [1 - ALPHA, ALPHA]}.get(form, [ALPHA])
        meaning = {
            "straight": [2],
            "premultiplied": [1],
            "unspecified": [0],
            "two more": [2, 0],
            "second": [0, 2],
        }
        values = whole(np.concatenate([stored, *more], axis=2), bits)
        yield FileKind(
            f"tiff {kind} {bits} bits{' planes' * planar}, alpha {form}",
            tiff(
                values,
                1 if kind == "grey" else 2,
                bits,
                planar=planar,
                tags={338: (3, meaning[form])},
            ),
            eight(colour) if form == "unspecified" else shows[kind],
            others=form == "straight" and not (planar and kind == "grey"),
            tolerance=2,
        )
    for bits in (8, 16):
        values = whole(np.concatenate([RGB, ALPHA], axis=2), bits)
        yield FileKind(
            f"tiff rgb {bits} bits, alpha not announced", tiff(values, 2, bits), shows["rgb"]
        )
    for bits in (8, 16):
        values = whole(np.concatenate([1 - RGB, 0 * GREY, ALPHA], axis=2), bits)
        data = tiff(values, 5, bits, tags={338: (3, [2])})
        yield FileKind(
            f"tiff cmyk {bits} bits, alpha", data, shows["rgb"], tolerance=2, others=False
        )


def palette(n: int) -> NDArray[np.float64]:
    """Return n colours, from 0 to 1."""
    return np.random.default_rng(n).integers(0, 256, (n, 3)) / 255


def tiff_palettes() -> Iterator[FileKind]:
    for bits, depth, order, codec in itertools.product([1, 2, 4, 8, 16], [8, 16], ORDERS, [1, 5]):
        colours = palette(2**bits)
        index = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1) * 7 % 2**bits
        colour_map = (
            np.rint(colours * (255 if depth == 8 else 65535)).astype(int).T.ravel().tolist()
        )
        yield FileKind(
            f"tiff palette {bits} bits, colours of {depth} bits{ORDERS[order]} {CODECS[codec][0]}",
            tiff(index, 3, bits, order=order, codec=codec, tags={320: (3, colour_map)}),
            eight(colours[index[..., 0]]),
            others=bits < 16,
        )
    index = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1) * 7 % 256
    values = np.concatenate([index, whole(ALPHA, 8)], axis=2)
    tags = {320: (3, np.rint(palette(256) * 65535).astype(int).T.ravel().tolist()), 338: (3, [2])}
    shows = eight(on_white(palette(256)[index[..., 0]], ALPHA))
    yield FileKind("tiff palette, alpha", tiff(values, 3, 8, tags=tags), shows, others=False)


def ycbcr(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return YCbCr, from 0 to 255."""
    luma = rgb @ [0.299, 0.587, 0.114]
    cb, cr = (rgb[..., 2] - luma) / 1.772, (rgb[..., 0] - luma) / 1.402
    return np.stack([luma * 255, cb * 255 + 128, cr * 255 + 128], axis=2)


def tiff_ycbcr() -> Iterator[FileKind]:
    # The same colour for all pixels of a block, so that interpolation does not matter.
    for (along, down), codec, order in itertools.product(
        [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 2), (4, 4)], [1, 8], ORDERS
    ):
        height, width = -(-HEIGHT // down), -(-WIDTH // along)
        values = np.clip(np.rint(ycbcr(RGB)), 0, 255)
        luma = values[..., :1]
        luma = np.pad(
            luma, ((0, height * down - HEIGHT), (0, width * along - WIDTH), (0, 0)), mode="edge"
        )
        colours = values[::down, ::along, 1:]
        full = np.concatenate([luma, colours.repeat(down, 0).repeat(along, 1)], axis=2)[
            :HEIGHT, :WIDTH
        ]
        units = luma.reshape(height, down, width, along).swapaxes(1, 2).reshape(height, width, -1)
        units = np.concatenate([units, colours], axis=2).astype(np.uint8)
        per_strip = 2
        blocks = [
            CODECS[codec][1](units[at : at + per_strip].tobytes())
            for at in range(0, height, per_strip)
        ]
        y, cb, cr = full[..., 0], full[..., 1] - 128, full[..., 2] - 128
        rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2)
        yield FileKind(
            f"tiff ycbcr {along} x {down} {CODECS[codec][0]}{ORDERS[order]}",
            tiff(
                full.astype(np.int64),
                6,
                codec=codec,
                order=order,
                blocks=blocks,
                rows_per_strip=per_strip * down,
                tags={530: (3, [along, down])},
            ),
            np.clip(np.rint(rgb), 0, 255).astype(np.uint8),
            tolerance=3,
        )


def tiff_lab() -> Iterator[FileKind]:
    # Greys only, since each program has its own white point for colours.
    lightness = np.where(GREY > 216 / 24389, 116 * np.cbrt(GREY) - 16, GREY * 24389 / 27)
    linear = GREY
    shows = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    for bits, photometric in itertools.product([8, 16], [8, 9]):
        neutral = np.full(GREY.shape, 0 if photometric == 8 else 2 ** (bits - 1))
        values = np.concatenate([whole(lightness / 100, bits), neutral, neutral], axis=2)
        yield FileKind(
            f"tiff {'' if photometric == 8 else 'icc '}lab {bits} bits",
            tiff(values, photometric, bits), eight(shows), tolerance=4,
            others=(photometric, bits) == (8, 16),
        )  # fmt: skip


def tiff_by_pillow() -> Iterator[FileKind]:
    rgb, grey = Image.fromarray(eight(RGB)), Image.fromarray(eight(GREY)[..., 0])
    two = Image.fromarray(eight(GREY)[..., 0] > 127)
    for codec in ("group3", "group4", "tiff_ccitt", "packbits", "tiff_lzw"):
        shows = np.where(eight(GREY) > 127, 255, 0).astype(np.uint8)
        yield FileKind(f"tiff one bit {codec}", encode(two, "TIFF", compression=codec), shows)
    # Tiles of a fax are packed by their own width.
    bits = np.asarray(two)
    blocks = []
    for top, left in itertools.product(range(0, bits.shape[0], 16), range(0, bits.shape[1], 16)):
        part = bits[top : top + 16, left : left + 16]
        part = np.pad(part, [(0, 16 - side) for side in part.shape], mode="edge")
        packed = encode(Image.fromarray(part), "TIFF", compression="group4")
        tags = read_tags(packed)[1]
        blocks.append(packed[tags[273][0] :][: tags[279][0]])
    stored = tiff(bits[..., None], tags[262][0], 1, codec=4, tile=(16, 16), blocks=blocks)
    yield FileKind("tiff one bit group4 tiles", stored, shows)
    for name, image in {
        "rgb": rgb,
        "grey": grey,
        "ycbcr": rgb.convert("YCbCr"),
        "cmyk": rgb.convert("CMYK"),
    }.items():
        for orientation in (1, 6):
            values = np.asarray(image)
            stored = np.ascontiguousarray(STORED[orientation](values))
            turned = Image.fromarray(stored, image.mode)
            exif = {274: orientation}
            yield FileKind(
                f"tiff {name} jpeg orientation {orientation}",
                encode(turned, "TIFF", compression="jpeg", quality=100, tiffinfo=exif),
                eight(GREY if name == "grey" else RGB),
                tolerance=24,
            )
    clear = rgb.copy()
    clear.putalpha(Image.fromarray(eight(ALPHA)[..., 0]))
    for name, image in {"rgb": rgb, "rgba": rgb.convert("RGBA"), "alpha": clear}.items():
        shows = eight(on_white(RGB, ALPHA) if name == "alpha" else RGB)
        for kind, codec, options in (
            ("WEBP", 50001, {"lossless": True, "exact": True}),
            ("JPEG2000", 34712, {"no_jp2": True}),
            ("PNG", 34933, {}),
        ):
            values = np.asarray(image).astype(np.int64)
            blocks = [
                encode(image.crop((0, top, WIDTH, min(top + 8, HEIGHT))), kind, **options)
                for top in range(0, HEIGHT, 8)
            ]
            extra = {338: (3, [2])} if image.mode == "RGBA" else {}
            data = tiff(values, 2, blocks=blocks, tags={259: (3, [codec]), **extra})
            yield FileKind(f"tiff {name} {kind}", data, shows, tolerance=2, others=codec == 50001)
    yield FileKind("tiff rgb zstd", encode(rgb, "TIFF", compression="zstd"), eight(RGB))
    data = encode(rgb, "TIFF", save_all=True, append_images=[Image.new("RGB", rgb.size)])
    yield FileKind("tiff two pages", data, eight(RGB))


def tiff_refused() -> Iterator[FileKind]:
    grey = whole(GREY, 8)
    three, four = np.concatenate([grey] * 3, axis=2), np.concatenate([grey] * 4, axis=2)
    pairs = GREY.astype(np.float32).repeat(2, axis=2).tobytes()
    lost, rubbish = {273: (4, [10**6])}, [b"no deflate at all"]
    rows = [
        ("complex", "complex", tiff(grey, 1, 64, tags={339: (3, [6])}, blocks=[pairs])),
        ("complex whole", "complex", tiff(grey, 1, 32, tags={339: (3, [5])})),
        ("jbig", "JBIG", tiff(grey, 1, tags={259: (3, [34661])})),
        ("jpeg xr", "JPEG XR", tiff(grey, 1, tags={259: (3, [34934])})),
        ("jpeg of 12 bits", "12 bits", tiff(grey, 1, 12, tags={259: (3, [7])})),
        ("jpeg of a mask", "this layout", tiff(grey, 4, tags={259: (3, [7])})),
        ("left-out strip", "lacks a piece", tiff(grey, 1, tags={279: (4, [0] * 3)})),
        ("lerc", "LERC", tiff(grey, 1, tags={259: (3, [34887])})),
        ("jpeg 2000 of a microscope", "JPEG 2000", tiff(grey, 1, tags={259: (3, [33003])})),
        ("logluv", "LogLuv", tiff(grey, 32845, tags={259: (3, [34676])})),
        ("unknown compression", "number 999", tiff(grey, 1, tags={259: (3, [999])})),
        ("mask", "a mask", tiff(whole(GREY, 1), 4, 1)),
        ("camera raw", "raw data", tiff(grey, 32803)),
        ("unknown colours", "colours 77", tiff(grey, 77)),
        ("other inks", "inks", tiff(four, 5, tags={332: (3, [2])})),
        ("different samples", "differ", tiff(three, 2, tags={258: (3, [5, 6, 5])})),
        ("float of 24 bits", "24 bits", tiff(grey, 1, 24, tags={339: (3, [3])})),
        ("too few samples", "fewer samples", tiff(grey, 2)),
        ("no palette", "palette", tiff(grey, 3)),
        ("no strips", "lacks the places", tiff(grey, 1, tags={273: (4, [8])})),
        ("cut", "runcated", tiff(grey, 1)[:300]),
        ("place beyond the end", "runcated", tiff(grey, 1, rows_per_strip=99, tags=lost)),
        ("no size", "size", tiff(grey, 1, tags={256: (4, [0])})),
        ("no deflate", "damaged", tiff(grey, 1, codec=8, blocks=rubbish, rows_per_strip=99)),
    ]
    for name, reason, data in rows:
        yield FileKind(f"tiff {name}", data, None, reason, others=False)


# PNG


def pngs() -> Iterator[FileKind]:
    white = np.ones_like(RGB)
    for interlaced in (False, True):
        note = " interlaced" * interlaced
        for bits in (1, 2, 4, 8, 16):
            values = whole(GREY, bits)
            yield FileKind(
                f"png grey {bits} bits{note}",
                png(values, 0, bits, interlaced=interlaced),
                seen_of(GREY, bits),
            )
            clear = int(values[4, 5, 0])
            yield FileKind(
                f"png grey {bits} bits, one is clear{note}",
                png(
                    values,
                    0,
                    bits,
                    interlaced=interlaced,
                    extra=chunk(b"tRNS", struct.pack(">H", clear)),
                ),
                np.where(values == clear, eight(white), seen_of(GREY, bits)),
            )
        for bits in (8, 16):
            values = whole(RGB, bits)
            yield FileKind(
                f"png rgb {bits} bits{note}",
                png(values, 2, bits, interlaced=interlaced),
                seen_of(RGB, bits),
            )
            clear = values[0, 7].tolist()
            yield FileKind(
                f"png rgb {bits} bits, one is clear{note}",
                png(
                    values,
                    2,
                    bits,
                    interlaced=interlaced,
                    extra=chunk(b"tRNS", struct.pack(">HHH", *clear)),
                ),
                np.where((values == clear).all(2, keepdims=True), eight(white), seen_of(RGB, bits)),
            )
            for name, colour, code in (("grey", GREY, 4), ("rgb", RGB, 6)):
                values = whole(np.concatenate([colour, ALPHA], axis=2), bits)
                data = png(values, code, bits, interlaced=interlaced)
                yield FileKind(
                    f"png {name} alpha {bits} bits{note}",
                    data,
                    eight(on_white(colour, ALPHA)),
                    tolerance=2,
                )
        for bits in (1, 2, 4, 8):
            colours = palette(2**bits)
            index = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1) * 7 % 2**bits
            entries = chunk(b"PLTE", eight(colours[None]).tobytes())
            data = png(index, 3, bits, interlaced=interlaced, extra=entries)
            yield FileKind(f"png palette {bits} bits{note}", data, eight(colours[index[..., 0]]))
            alphas = np.linspace(0, 1, 2**bits)[:, None]
            entries += chunk(b"tRNS", np.rint(alphas * 255).astype(np.uint8).tobytes())
            data = png(index, 3, bits, interlaced=interlaced, extra=entries)
            yield FileKind(
                f"png palette alpha {bits} bits{note}",
                data,
                eight(on_white(colours, alphas)[index[..., 0]]),
                tolerance=2,
            )
    for orientation in range(1, 9):
        stored = STORED[orientation](whole(RGB, 8))
        data = png(stored, 2, 8, extra=chunk(b"eXIf", exif(orientation)))
        yield FileKind(f"png orientation {orientation}", data, eight(RGB))


# The expected picture of lossy formats is that of another decoder; see test_file_kinds.py.


def jpegs() -> Iterator[FileKind]:
    smooth = Image.fromarray(eight(RGB))
    for mode, progressive, subsampling, restart in itertools.product(
        ["RGB", "L", "CMYK"], [False, True], [0, 1, 2], [0, 3]
    ):
        if mode == "L" and subsampling:
            continue
        options = {
            "progressive": progressive,
            "subsampling": subsampling,
            "restart_marker_blocks": restart,
        }
        name = f"jpeg {mode.lower()} {' '.join(f'{key} {value}' for key, value in options.items())}"
        data = encode(smooth.convert(mode), "JPEG", quality=98, **options)
        yield FileKind(name, data, eight(luma(RGB) if mode == "L" else RGB), tolerance=255)
    for orientation in range(1, 9):
        stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](eight(RGB))))
        data = encode(
            stored, "JPEG", quality=98, subsampling=0, exif=b"Exif\0\0" + exif(orientation)
        )
        yield FileKind(f"jpeg orientation {orientation}", data, eight(RGB), tolerance=255)
    # Photoshop stores inverted inks, and so does Pillow, which 255 - x undoes.
    inks = np.dstack([np.rint(ycbcr(1 - RGB)), np.full((HEIGHT, WIDTH), 255)]).clip(0, 255)
    image = Image.fromarray(255 - inks.astype(np.uint8), "CMYK")
    data = encode(image, "JPEG", quality=98, subsampling=0)
    at = data.index(b"Adobe") + 11
    yield FileKind("jpeg ycck", data[:at] + b"\2" + data[at + 1 :], eight(RGB), tolerance=255)
    yield FileKind(
        "jpeg rgb without a transform",
        encode(smooth, "JPEG", quality=98, keep_rgb=True),
        eight(RGB),
        tolerance=255,
    )


def windows_bitmaps() -> Iterator[FileKind]:
    def bmp(
        bits: int,
        rows: list[bytes],
        *,
        colours: bytes = b"",
        masks: bytes = b"",
        packing: int = 0,
        down: bool = False,
        size: int = 40,
    ) -> bytes:
        body = b"".join(
            row + b"\0" * (-len(row) % 4 if not packing or packing == 3 else 0) for row in rows
        )
        height = -HEIGHT if down else HEIGHT
        if size == 12:
            head = struct.pack("<LHHHH", 12, WIDTH, HEIGHT, 1, bits)
        else:
            head = struct.pack(
                "<LllHHLLllLL",
                size,
                WIDTH,
                height,
                1,
                bits,
                packing,
                len(body),
                2835,
                2835,
                len(colours) // 4,
                0,
            )
            head = (head + masks).ljust(size, b"\0") if size > 40 else head + masks
        start = 14 + len(head) + len(colours)
        return b"BM" + struct.pack("<LHHL", start + len(body), 0, 0, start) + head + colours + body

    bgr = eight(RGB)[..., ::-1]
    yield FileKind("bmp 24 bits", bmp(24, [row.tobytes() for row in bgr[::-1]]), eight(RGB))
    yield FileKind(
        "bmp 24 bits from the top", bmp(24, [row.tobytes() for row in bgr], down=True), eight(RGB)
    )
    yield FileKind(
        "bmp 24 bits of OS/2",
        bmp(24, [row.tobytes() for row in bgr[::-1]], size=12),
        eight(RGB),
        others=False,
    )
    four = np.dstack([bgr, np.zeros(bgr.shape[:2], np.uint8)])
    yield FileKind("bmp 32 bits", bmp(32, [row.tobytes() for row in four[::-1]]), eight(RGB))
    for name, bits in {"555": (5, 5, 5), "565": (5, 6, 5)}.items():
        red, green, blue = (whole(RGB[..., i], bits[i]) for i in range(3))
        values = (red << bits[1] + bits[2] | green << bits[2] | blue).astype("<u2")
        masks = struct.pack(
            "<LLL",
            (2 ** bits[0] - 1) << bits[1] + bits[2],
            (2 ** bits[1] - 1) << bits[2],
            2 ** bits[2] - 1,
        )
        shows = np.dstack([seen_of(RGB[..., i : i + 1], bits[i])[..., 0] for i in range(3)])
        rows = [row.tobytes() for row in values[::-1]]
        yield FileKind(
            f"bmp 16 bits {name} by masks",
            bmp(16, rows, masks=masks, packing=3),
            shows,
            tolerance=8,
        )
        if name == "555":
            yield FileKind("bmp 16 bits", bmp(16, rows), shows, tolerance=8)
    for bits in (1, 4, 8):
        colours = palette(2**bits)
        index = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 7 % 2**bits
        table = np.dstack(
            [eight(colours[None])[..., ::-1], np.zeros((1, len(colours), 1), np.uint8)]
        ).tobytes()
        rows = [pack(row[None], bits, "<") for row in index[::-1]]
        yield FileKind(
            f"bmp palette {bits} bits", bmp(bits, rows, colours=table), eight(colours[index])
        )
    runs = [b"".join(bytes([1, value]) for value in row.tolist()) + b"\0\0" for row in index[::-1]]
    yield FileKind(
        "bmp palette packed",
        bmp(8, [*runs, b"\0\1"], colours=table, packing=1),
        eight(colours[index]),
    )


def targas() -> Iterator[FileKind]:
    rgb, alpha = Image.fromarray(eight(RGB)), Image.fromarray(eight(ALPHA)[..., 0])
    images = {
        "rgb": rgb,
        "grey": Image.fromarray(eight(GREY)[..., 0]),
        "rgba": rgb.copy(),
        "grey alpha": None,
    }
    images["rgba"].putalpha(alpha)
    images["grey alpha"] = Image.merge("LA", (images["grey"], alpha))
    for (name, image), packed, orientation in itertools.product(
        images.items(), [None, "tga_rle"], [1, -1]
    ):
        colour = GREY if name.startswith("grey") else RGB
        shows = eight(on_white(colour, ALPHA) if name.endswith("a") and name != "grey" else colour)
        data = encode(image, "TGA", compression=packed, orientation=orientation)
        yield FileKind(
            f"tga {name}{' packed' if packed else ''} {orientation}",
            data,
            shows,
            others=False,
            tolerance=2,
        )


def targa_without_opacity() -> Iterator[FileKind]:
    """The fourth byte is not opacity, according to the header."""
    four = np.dstack([eight(RGB)[..., ::-1], np.zeros((HEIGHT, WIDTH), np.uint8)])
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, WIDTH, HEIGHT, 32, 0x20)
    yield FileKind("tga rgb and nothing", head + four.tobytes(), eight(RGB), others=False)


def deep_jpeg_2000() -> Iterator[FileKind]:
    """An 8-bit JPEG 2000 whose header says 12 bits: Pillow misreads it, so it is rejected."""
    data = encode(Image.fromarray(eight(RGB)), "JPEG2000")
    depths = data.index(b"\xff\x4f\xff\x51") + 4 + 38
    deep = bytearray(data)
    deep[depths : depths + 9 : 3] = bytes([11]) * 3
    yield FileKind("jp2 rgb 12 bits", bytes(deep), None, "12 bits per colour", others=False)


def portable_maps() -> Iterator[FileKind]:
    for top in (1, 7, 100, 255, 1023, 65535):
        for name, values in {"pgm": GREY, "ppm": RGB}.items():
            numbers = np.rint(values * top).astype(int)
            shows = eight(numbers / top)
            letter = {"pgm": 2, "ppm": 3}[name]
            head = f"\n# a comment\n{WIDTH} {HEIGHT}\n{top}\n"
            text = f"P{letter}{head}" + " ".join(map(str, numbers.ravel()))
            yield FileKind(
                f"{name} text to {top}",
                text.encode(),
                shows,
                others=top in (255, 65535),
            )
            raw = (
                f"P{letter + 3}{head}".encode()
                + numbers.astype(">u2" if top > 255 else "u1").tobytes()
            )
            yield FileKind(f"{name} to {top}", raw, shows, others=top in (255, 65535))
    bits = whole(GREY, 1)
    for name, data in {
        "text": f"P1\n{WIDTH} {HEIGHT}\n{' '.join(map(str, 1 - bits.ravel()))}\n".encode(),
        "": f"P4\n{WIDTH} {HEIGHT}\n".encode() + pack(1 - bits[..., 0], 1, ">"),
    }.items():
        yield FileKind(f"pbm {name}", data, seen_of(GREY, 1))


def other_formats() -> Iterator[FileKind]:
    rgb, grey, alpha = (
        Image.fromarray(a) for a in (eight(RGB), eight(GREY)[..., 0], eight(ALPHA)[..., 0])
    )
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    clear = eight(on_white(RGB, ALPHA))
    exifs = {orientation: exif(orientation) for orientation in range(1, 9)}
    for orientation, block in exifs.items():
        stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](eight(RGB))))
        yield FileKind(
            f"webp orientation {orientation}",
            encode(stored, "WEBP", lossless=True, exif=block),
            eight(RGB),
        )
        yield FileKind(
            f"avif orientation {orientation}",
            encode(stored, "AVIF", quality=100, subsampling="4:4:4", exif=block),
            eight(RGB),
            tolerance=LOSSY,
        )
        yield FileKind(
            f"jpeg 2000 orientation {orientation}",
            encode(stored, "JPEG2000"),
            STORED[orientation](eight(RGB)),
        )
    for quality in (60, 90, 100):
        yield FileKind(
            f"webp {quality}", encode(rgb, "WEBP", quality=quality), eight(RGB), tolerance=255
        )
        yield FileKind(
            f"webp alpha {quality}", encode(rgba, "WEBP", quality=quality), clear, tolerance=255
        )
        for subsampling in ("4:2:0", "4:2:2", "4:4:4", "4:0:0"):
            data = encode(rgb, "AVIF", quality=quality, subsampling=subsampling)
            yield FileKind(
                f"avif {subsampling} {quality}",
                data,
                eight(luma(RGB) if subsampling == "4:0:0" else RGB),
                tolerance=255,
            )
    yield FileKind("webp alpha lossless", encode(rgba, "WEBP", lossless=True), clear, tolerance=2)
    yield FileKind(
        "avif alpha", encode(rgba, "AVIF", quality=100, subsampling="4:4:4"), clear, tolerance=LOSSY
    )
    for name, image, shows in (
        ("rgb", rgb, eight(RGB)),
        ("rgba", rgba, clear),
        ("grey", grey, eight(GREY)),
    ):
        for suffix in ("jp2", "j2k"):
            data = encode(image, "JPEG2000", no_jp2=suffix == "j2k")
            yield FileKind(
                f"{suffix} {name}",
                data,
                shows,
                tolerance=2,
                others=name != "rgba",
            )
    wide = Image.fromarray(whole(GREY[..., 0], 16).astype(np.uint16))
    yield FileKind("jp2 grey 16 bits", encode(wide, "JPEG2000"), eight(GREY))
    colours = rgb.quantize(64)
    for name, options in {
        "": {},
        " interlaced": {"interlace": 1},
        " from the top": {"interlace": 0},
    }.items():
        yield FileKind(
            f"gif{name}", encode(colours, "GIF", **options), np.asarray(colours.convert("RGB"))
        )
    index = np.asarray(colours)
    shows = np.where((index == index[4, 5])[..., None], 255, np.asarray(colours.convert("RGB")))
    yield FileKind(
        "gif one is clear",
        encode(colours, "GIF", transparency=int(index[4, 5])),
        shows.astype(np.uint8),
    )
    yield FileKind("gif grey", encode(grey, "GIF"), eight(GREY))


def heic_files() -> Iterator[FileKind]:
    if not HAS_HEIC:
        return
    import pillow_heif

    pillow_heif.register_heif_opener()
    rgb, grey = Image.fromarray(eight(RGB)), Image.fromarray(eight(GREY)[..., 0])
    for name, image, shows in (("rgb", rgb, RGB), ("grey", grey, GREY)):
        yield FileKind(
            f"heic {name}",
            encode(image, "HEIF", quality=95, chroma=444),
            eight(shows),
            tolerance=40,
            others=False,
        )
    for orientation in range(1, 9):
        stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](eight(RGB))))
        data = encode(stored, "HEIF", quality=95, chroma=444, exif=exif(orientation))
        yield FileKind(
            f"heic orientation {orientation}", data, eight(RGB), tolerance=40, others=False
        )
    deep = {"RGB;16": (RGB, RGB), "L;16": (GREY, GREY)}
    deep["RGBA;16"] = np.concatenate([RGB, ALPHA], axis=2), on_white(RGB, ALPHA)
    for mode, (stored, shows) in deep.items():
        numbers = whole(stored, 16).astype("<u2").tobytes()
        stream = io.BytesIO()
        image = pillow_heif.from_bytes(mode=mode, size=(WIDTH, HEIGHT), data=numbers)
        image.save(stream, quality=95, chroma=444)
        yield FileKind(f"heic {mode}", stream.getvalue(), eight(shows), tolerance=40, others=False)


def all_kinds() -> list[FileKind]:
    """Return all cases."""
    makers = [
        *(tiff_greys, tiff_no_data, tiff_colours, tiff_alphas, tiff_palettes, tiff_ycbcr, tiff_lab),
        *(tiff_by_pillow, tiff_refused, pngs, jpegs, windows_bitmaps, targas, portable_maps),
        *(other_formats, heic_files, targa_without_opacity, deep_jpeg_2000),
    ]
    return [kind for maker in makers for kind in maker()]
