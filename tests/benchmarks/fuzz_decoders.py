"""Damage small files of every format at random: each must be decoded or rejected with a reason.

``python -m tests.benchmarks.fuzz_decoders --mutations 100000 [--only jpeg webp] [--seed 0]``
counts, for each decoder, the pictures, the rejections, and the crashes of separate processes.  A
crash of the main process ends the benchmark, and is a failure.  ``--here`` decodes all formats in
the main process, for use under a memory checker: ``PYTHONMALLOC=malloc valgrind
--error-exitcode=9 python -m …``.  ``CLUSTERKIT_IMAGE_MEMORY=0.1`` in the environment makes it
faster.
"""

import argparse
import io
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
from PIL import Image

from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_here, decode_image
from tests.image_writers import chunk, encode, lossless_jpeg

Make = Callable[[], list[bytes]]


def photo(mode: str = "RGB", side: int = 40) -> Image.Image:
    """Return a small picture with detail."""
    coarse = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side - 7), Image.Resampling.BICUBIC).convert(mode)


def heif() -> list[bytes]:
    """Return HEIC files; none if the library that writes them is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return []
    stream = io.BytesIO()
    pillow_heif.from_pillow(photo()).save(stream, quality=50)
    return [stream.getvalue()]


# A few files of each format, written with different options of its encoder.
SEEDS: dict[str, Make] = {
    "jpeg": lambda: [
        encode(photo(), "JPEG", quality=60),
        encode(photo("L"), "JPEG", quality=90, restart_marker_blocks=2),
        encode(photo(), "JPEG", progressive=True, subsampling=0),
        encode(photo(), "JPEG", subsampling="4:1:1", optimize=True),
        encode(photo("CMYK"), "JPEG"),
        lossless_jpeg(64, 48),
        lossless_jpeg(64, 48, kind=0xC1),
    ],
    "png": lambda: [
        encode(photo(), "PNG"),
        encode(photo("P"), "PNG", transparency=3),
        encode(photo("RGBA"), "PNG"),
        encode(photo("I;16"), "PNG"),
        encode(photo("1"), "PNG", bits=1),
    ],
    "gif": lambda: [
        encode(photo("P"), "GIF", transparency=1),
        encode(photo("P"), "GIF", save_all=True, append_images=[photo("P", 30)], interlace=1),
    ],
    "webp": lambda: [
        encode(photo(), "WEBP", quality=50),
        encode(photo("RGBA"), "WEBP", lossless=True),
        encode(photo("RGBA"), "WEBP", save_all=True, append_images=[photo("RGBA")]),
    ],
    "bmp": lambda: [encode(photo(), "BMP"), encode(photo("P"), "BMP"), encode(photo("1"), "BMP")],
    "tiff": lambda: [
        *(
            encode(photo(), "TIFF", compression=name)
            for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd")
        ),
        encode(photo("1"), "TIFF", compression="group4"),
        encode(photo("RGBA"), "TIFF", compression="lzma"),
        encode(photo("F"), "TIFF"),
    ],
    "jp2": lambda: [
        encode(photo(), "JPEG2000", quality_mode="rates", quality_layers=[8]),
        encode(photo("RGBA"), "JPEG2000", irreversible=True, no_jp2=True),
    ],
    "avif": lambda: [
        encode(photo(), "AVIF", quality=50),
        encode(photo("RGBA"), "AVIF", subsampling="4:4:4"),
    ],
    "heif": heif,
    "tga": lambda: [
        encode(photo(), "TGA", compression="tga_rle"),
        encode(photo("P"), "TGA"),
        encode(photo("RGBA"), "TGA"),
    ],
    "ppm": lambda: [
        encode(photo(), "PPM"),
        encode(photo("1"), "PPM"),
        b"P3 3 2 255 " + b"1 2 3 " * 6,
        encode(photo("F"), "PPM"),
    ],
}
# Extreme values for counts and lengths.
_EDGES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)


def mutations(seeds: list[bytes], n: int, seed: int) -> Iterator[bytes]:
    """Yield ``n`` files with changed bits, bytes or lengths, or cut, copied or swapped pieces."""
    chance = random.Random(seed)
    for _ in range(n):
        data = bytearray(chance.choice(seeds))
        for _ in range(1 + int(chance.expovariate(0.5))):
            # Damage headers often: they are small, and matter most.
            end = len(data) if chance.random() < 0.5 else min(len(data), 200)
            at, kind = chance.randrange(max(1, end)), chance.randrange(7)
            length = min(len(data) - at, 1 + int(chance.expovariate(0.05)))
            if kind == 0:
                data[at : at + 1] = bytes([data[at] ^ 1 << chance.randrange(8)])
            elif kind == 1:
                data[at : at + 1] = bytes([chance.randrange(256)])
            elif kind == 2:
                width = chance.choice((1, 2, 4))
                data[at : at + width] = bytes([chance.choice(_EDGES)]) * width
            elif kind == 3:
                del data[at : at + length]
            elif kind == 4:
                other = chance.choice(seeds)
                start = chance.randrange(len(other))
                data[at:at] = other[start : start + length]
            elif kind == 5:
                data[at : at + length] = chance.randbytes(length)
            else:
                del data[len(data) - chance.randrange(1, max(2, 1 + len(data) // 2)) :]
            if not data:
                data = bytearray(b"\0")
        yield checked_png(data) if chance.random() < 0.7 else bytes(data)


def checked_png(data: bytes | bytearray) -> bytes:
    """Return a PNG with correct checksums, so that the content of its chunks is decoded."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return bytes(data)
    result, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = min(int.from_bytes(data[at : at + 4], "big"), len(data) - at - 12)
        result += chunk(bytes(data[at + 4 : at + 8]), bytes(data[at + 8 : at + 8 + length]))
        at += 12 + length
    return bytes(result)


def fuzz(
    kind: str, n: int, seed: int = 0, *, here: bool = False, seconds: float = math.inf
) -> Counter[str]:
    """Decode up to ``n`` damaged files of a format, scaled and not; count the results."""
    ends: Counter[str] = Counter()
    end = time.monotonic() + seconds
    seeds = SEEDS[kind]()
    for number, data in enumerate(mutations(seeds, n if seeds else 0, seed)):
        if time.monotonic() > end:
            break
        size = ((5, 4), None, (50, 60))[number % 3]
        try:
            if here:
                image, _ = decode_here(data, size, lambda *_: None, resize="stretch")
            else:
                image, _ = decode_image(data, size)
        except ImageError as error:
            reason = str(error)
            assert reason.strip(), data
            crashed = "crashed on it" in reason
            slow = "took more than" in reason
            ends["crash apart" if crashed else "too slow" if slow else "reason"] += 1
            if crashed or slow:
                print(f"{kind} {number}: {reason}", flush=True)
        else:
            assert image.dtype == np.uint8
            assert image.ndim == 3
            ends["picture"] += 1
    return ends


def main() -> None:
    """Print the results of each decoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--only", nargs="*", choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="maximum time of each decoder"
    )
    parser.add_argument("--here", action="store_true")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        for kind in arguments.only:
            started = time.monotonic()
            ends = fuzz(
                kind,
                arguments.mutations,
                arguments.seed,
                here=arguments.here,
                seconds=arguments.seconds,
            )
            said = ", ".join(f"{n:,} {end}" for end, n in ends.most_common())
            print(f"{kind:5} {said}; {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
