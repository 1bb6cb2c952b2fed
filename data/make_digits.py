"""Write the sample images: 250 handwritten digits out of scikit-learn's bundled set.

    python data/make_digits.py [FOLDER]

The files are the same to the byte on every machine: all arithmetic below is exact, and the PNG
files are stored without compression, since compressors differ between versions of zlib.
"""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

PER_DIGIT = 25
SCALE = 4
SOURCE = """\
The images in this folder are derived from:

Alpaydin, E. and Kaynak, C. (1998). Optical Recognition of Handwritten Digits [Dataset].
UCI Machine Learning Repository. https://doi.org/10.24432/C50P49

licensed under the Creative Commons Attribution 4.0 International licence (CC BY 4.0),
https://creativecommons.org/licenses/by/4.0/legalcode, in the copy that scikit-learn bundles
(sklearn.datasets.load_digits).

Changes: 25 images of each digit were chosen, enlarged from 8 x 8 to 32 x 32 pixels by cubic
interpolation and written as 8-bit grey PNG. The number in a file's name is its row in load_digits.
"""


def main(folder: Path) -> None:
    """Write all images, in one folder for each digit."""
    images, labels = load_digits(return_X_y=True)
    enlarge = cubic_interpolation(8, SCALE)
    for digit in range(10):
        rows = np.flatnonzero(labels == digit)
        # Neighbouring rows are of the same writer: spread the choice over all of them.
        chosen = rows[np.arange(PER_DIGIT) * len(rows) // PER_DIGIT]
        (folder / str(digit)).mkdir(parents=True, exist_ok=True)
        for row in chosen:
            ink = enlarge @ images[row].reshape(8, 8) @ enlarge.T
            pixels = np.rint(np.clip(ink * (255 / 16), 0, 255)).astype(np.uint8)
            (folder / str(digit) / f"digit_{row:04d}.png").write_bytes(encode_png(pixels))
    (folder / "SOURCE.txt").write_text(SOURCE, encoding="utf-8", newline="\n")


def cubic_interpolation(size: int, scale: int) -> NDArray[np.float64]:
    """Return the matrix, of shape (size * scale, size), that enlarges a signal.

    Catmull and Rom (1974), "A class of local interpolating splines".  Beyond its ends the signal
    is 0, as paper is.  With a power of two for the scale all weights are exact in binary.
    """
    positions = (np.arange(size * scale) + 0.5) / scale - 0.5
    distance = np.abs(positions[:, None] - np.arange(size))
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a grey PNG file, stored without compression (PNG specification; RFC 1950, 1951)."""
    height, width = pixels.shape
    # Each line starts with its filter: 0, none.
    data = np.pad(pixels, ((0, 0), (1, 0))).tobytes()
    stored = struct.pack("<BHH", 1, len(data), len(data) ^ 0xFFFF) + data
    stream = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(data))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(name: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "digits")
