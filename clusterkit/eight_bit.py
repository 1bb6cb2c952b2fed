"""Bring samples of any depth to 8 bits, and what is transparent onto white."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Programs mark missing fractions with the greatest float, with 1.7e38, 9.97e36, 1e30 or 1e20.
_MARKS_FROM = 1e20
# Pixels, of which each takes several times as much on the way.
_AT_ONCE = 2**18


def to_8_bit(
    values: NDArray[Any], bits: int = 0, *, no_data: float | None = None
) -> NDArray[np.uint8]:
    """Scale samples to 0-255.

    Whole numbers of at most 16 bits without a sign are on the scale of their bits: 0-65535 for 16.
    All others tell their scale by their greatest value: fractions are on 0-1, 0-255, 0-65535, or 0
    to that value; whole numbers with a sign are on 0-255 or on the scale of their bits; those of
    more than 16 bits on 0-255, 0-65535, or 0 to the next power of two.  Negative values and
    missing ones are black, and the missing have no part in the scale.

    Parameters
    ----------
    values : ndarray of any shape
        The samples.
    bits : int
        How many bits of each are used; by default all.
    no_data : float, optional
        The value that marks a missing one, beside infinity, NaN, and fractions from 1e20 on.

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
        scaled = np.rint(np.arange(top + 1) * (255 / top)).astype(np.uint8)
        return scaled[values]
    numbers = values.astype(np.float64)
    present = np.isfinite(numbers)
    if no_data is not None:
        present &= numbers != values.dtype.type(no_data)
    if kind == "f":
        marked = np.abs(numbers) >= _MARKS_FROM
        # Not where the whole picture lies up there.
        if not marked[present].all():
            present &= ~marked
    numbers[~present] = 0.0
    greatest = numbers.max(initial=0.0)
    if kind == "f":
        limits = [1.0, 255.0, 65535.0, greatest]
    elif kind == "i" and bits <= 16:
        limits = [255.0, 2.0 ** (bits - 1) - 1.0] if bits > 8 else [2.0 ** (bits - 1) - 1.0]
    else:
        limits = [255.0, 65535.0, 2.0 ** int(greatest).bit_length() - 1.0, greatest]
    scale = next(limit for limit in limits if greatest <= limit)
    numbers *= 255.0 / scale
    return np.clip(np.rint(numbers, out=numbers), 0.0, 255.0).astype(np.uint8)


def on_white(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], *, premultiplied: bool = False
) -> NDArray[np.uint8]:
    """Lay a picture, of shape (height, width, 3), on white by its opacity (height, width)."""
    result = np.empty(rgb.shape, np.uint8)
    n_rows = max(1, _AT_ONCE // max(1, rgb.shape[1]))
    for top in range(0, len(rgb), n_rows):
        rows = slice(top, top + n_rows)
        opacity = alpha[rows, :, None].astype(np.uint16)
        white = 255 * (255 - opacity)
        covered = rgb[rows].astype(np.uint16) * (255 if premultiplied else opacity)
        # Premultiplied, a colour cannot be above its opacity, though damaged files say so.
        sums = (covered.astype(np.uint32) + white + 127) // 255
        result[rows] = np.minimum(sums, 255)
    return result
