"""Convert samples of any depth to 8 bits, and render transparency on white."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Programs mark missing floats with the largest float, 1.7e38, 9.97e36, 1e30 or 1e20.
_MARKS_FROM = 1e20
# Number of pixels per part, since intermediate values take several times as much memory.
_AT_ONCE = 2**15


def to_8_bit(
    values: NDArray[Any], bits: int = 0, *, no_data: float | None = None
) -> NDArray[np.uint8]:
    """Scale samples to 0-255.

    Unsigned integers of at most 16 bits use the full range of their bits, such as 0-65535 for 16.
    For all others, the maximum decides: floats are in the range 0-1, 0-255, 0-65535, or 0 to the
    maximum; signed integers in 0-255 or the full range of their bits; integers of more than 16 bits
    in 0-255, 0-65535, or 0 to the next power of two.  Negative and missing values become black, and
    missing values are ignored in the maximum.

    Parameters
    ----------
    values : ndarray of any shape
        The samples.
    bits : int
        Number of used bits per sample; by default all.
    no_data : float, optional
        Marker of missing values, in addition to infinity, NaN, and floats from 1e20.

    Returns
    -------
    ndarray of the same shape, uint8
        The scaled samples.
    """
    kind, bits = values.dtype.kind, bits or 8 * values.itemsize
    if kind == "u" and bits <= 16:
        top = 2**bits - 1
        if top == 255:
            return values.astype(np.uint8, copy=False)
        scaled: NDArray[np.uint8] = np.rint(np.arange(top + 1) * (255 / top)).astype(np.uint8)
        return scaled[values]
    # In parts, since intermediate values take up to eight bytes each.
    n_rows = max(1, _AT_ONCE // max(1, values[:1].size))
    parts = [slice(at, at + n_rows) for at in range(0, len(values), n_rows)]
    marks_from = _MARKS_FROM if kind == "f" else np.inf
    greatest = _greatest((values[part] for part in parts), no_data, marks_from)
    if greatest is None:
        # All values of the image are in the range of such markers.
        marks_from = np.inf
        greatest = _greatest((values[part] for part in parts), no_data, marks_from) or 0.0
    if kind == "f":
        limits = [1.0, 255.0, 65535.0, greatest]
    elif kind == "i" and bits <= 16:
        limits = [255.0, 2.0 ** (bits - 1) - 1.0] if bits > 8 else [2.0 ** (bits - 1) - 1.0]
    else:
        limits = [255.0, 65535.0, 2.0 ** int(greatest).bit_length() - 1.0, greatest]
    scale = next(limit for limit in limits if greatest <= limit)
    result = np.empty(values.shape, np.uint8)
    for part in parts:
        numbers, missing = _numbers(values[part], no_data, marks_from)
        numbers[missing] = 0.0
        numbers *= 255.0 / scale
        result[part] = np.rint(np.clip(numbers, 0.0, 255.0, out=numbers), out=numbers)
    return result


def _numbers(
    values: NDArray[Any], no_data: float | None, marks_from: float
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return samples as floats, and a mask of missing ones."""
    numbers = values.astype(np.float32 if values.dtype.str[1:] in ("f2", "f4") else np.float64)
    missing = ~(np.abs(numbers) < marks_from)
    if no_data is not None:
        # Round to the precision of the file.
        mark = values.dtype.type(no_data) if values.dtype.kind == "f" else no_data
        missing |= numbers == mark
    return numbers, missing


def _greatest(
    parts: Iterable[NDArray[Any]], no_data: float | None, marks_from: float
) -> float | None:
    """Return the largest sample that is not missing, at least 0; None if all are missing."""
    found = None
    for part in parts:
        numbers, missing = _numbers(part, no_data, marks_from)
        if not missing.all():
            found = max(found or 0.0, float(numbers.max(where=~missing, initial=0.0)))
    return found


def on_white(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], *, premultiplied: bool = False
) -> NDArray[np.uint8]:
    """Render an image of shape (height, width, 3) on white by its opacity (height, width)."""
    result = np.empty(rgb.shape, np.uint8)
    n_rows = max(1, _AT_ONCE // max(1, rgb.shape[1]))
    for top in range(0, len(rgb), n_rows):
        rows = slice(top, top + n_rows)
        opacity = alpha[rows, :, None].astype(np.uint16)
        white = 255 * (255 - opacity)
        covered = rgb[rows].astype(np.uint16) * (255 if premultiplied else opacity)
        # A premultiplied colour cannot exceed its opacity, except in damaged files.
        sums = (covered.astype(np.uint32) + white + 127) // 255
        result[rows] = np.minimum(sums, 255)
    return result
