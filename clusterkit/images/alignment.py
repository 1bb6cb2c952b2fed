"""Align and compare pairs of grey pictures, many at a time.

Positions in a picture range from -1 to 1 on both axes, whatever its shape.  A map is an affine
transformation, a matrix ``[[a, b, c], [d, e, f]]`` that maps positions ``(x, y)`` in the first
picture of a pair to ``(a x + b y + c, d x + e y + f)`` in the second.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Largest change of an entry of a map in one step.
_MAX_STEP = 0.15
# Relative damping of the diagonal of the normal equations, so that flat pictures do not move.
_DAMPING = 1e-3


def align(
    first: Floats, second: Floats, maps: Floats, masks: NDArray[np.bool_], *, n_steps: int = 8
) -> Floats:
    """Improve the maps of pairs of pictures that nearly match.

    Parameters
    ----------
    first, second : ndarray of shape (n, side, side), float32
        The pictures of each pair, smoothed by about a pixel.
    maps : ndarray of shape (n, 2, 3), float32
        Initial maps, off by less than about a tenth of a picture.
    masks : ndarray of shape (n, side, side), bool
        Pixels of the first pictures to compare.
    n_steps : int
        Number of iterations.

    Returns
    -------
    ndarray of shape (n, 2, 3), float32
        Maps that reduce the squared differences, regardless of brightness and contrast.

    Notes
    -----
    The inverse compositional algorithm of Baker and Matthews (2004, "Lucas-Kanade 20 years on: a
    unifying framework"), with brightness and contrast projected out of the gradients.
    """
    n, side = first.shape[:2]
    if not n:
        return maps
    x, y = _grid(side)
    seen, inside = _sample(second, maps, x, y)
    weights = (masks.reshape(n, side * side) & inside).astype(np.float32)
    wanted, deviation = _normalise(first.reshape(n, side * side), weights)
    down, across = np.gradient(first, axis=(1, 2))
    # Gradients per unit of position, which is half a side, and of the normalised picture.
    scale = side / 2 / deviation
    across = across.reshape(n, side * side) * scale
    down = down.reshape(n, side * side) * scale
    slopes = np.stack([across * x, across * y, across, down * x, down * y, down], axis=1)
    slopes *= weights[:, None]
    total = np.maximum(weights.sum(axis=1), 1)[:, None, None]
    slopes -= weights[:, None] * (slopes.sum(axis=2, keepdims=True) / total)
    slopes -= wanted[:, None] * ((slopes @ wanted[:, :, None]) / total)
    products = slopes @ slopes.transpose(0, 2, 1)
    diagonal = np.arange(6)
    products[:, diagonal, diagonal] *= 1 + _DAMPING
    products[:, diagonal, diagonal] += 1e-6 * total[:, 0]
    inverse = np.linalg.inv(products)
    for number in range(n_steps):
        if number:
            seen, inside = _sample(second, maps, x, y)
        error = (_normalise(seen, weights * inside)[0] - wanted) * inside
        step = (inverse @ (slopes @ error[:, :, None])).reshape(n, 2, 3)
        largest = np.abs(step).max(axis=(1, 2), keepdims=True)
        step *= np.minimum(1, _MAX_STEP / np.maximum(largest, 1e-9))
        maps = compose(maps, invert(step + np.eye(2, 3, dtype=np.float32)))
    return maps


def warp(second: Floats, maps: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Warp the second pictures of pairs to the positions of the first.

    Parameters
    ----------
    second : ndarray of shape (n, side, side), float32
        The second pictures.
    maps : ndarray of shape (n, 2, 3), float32
        Maps from the first pictures to the second.

    Returns
    -------
    pictures : ndarray of shape (n, side, side), float32
        The warped pictures.
    inside : ndarray of shape (n, side, side), bool
        Whether the position is inside the second picture.
    """
    side = second.shape[1]
    pictures, inside = _sample(second, maps, *_grid(side))
    return pictures.reshape(-1, side, side), inside.reshape(-1, side, side)


def correlate(first: Floats, second: Floats, masks: NDArray[np.bool_]) -> Floats:
    """Compute the correlation of each pair of aligned pictures within a mask.

    Parameters
    ----------
    first, second : ndarray of shape (n, side, side), float32
        The pictures of each pair.
    masks : ndarray of shape (n, side, side), bool
        Pixels to compare.

    Returns
    -------
    ndarray of shape (n,), float32
        Pearson's correlation; 0 where a picture is flat.
    """
    n, side = first.shape[:2]
    weights = masks.reshape(n, side * side).astype(np.float32)
    one, other = (
        _normalise(picture.reshape(n, side * side), weights)[0] for picture in (first, second)
    )
    total: Floats = np.maximum(weights.sum(axis=1), 1)
    correlation: Floats = (one * other).sum(axis=1) / total
    return correlation


def smooth(pictures: Floats, sigma: float) -> Floats:
    """Blur square pictures by a Gaussian with a standard deviation of ``sigma`` pixels."""
    blur = _blur(pictures.shape[1], sigma)
    return np.matmul(np.matmul(blur, pictures), blur.T)


def detail(pictures: Floats, sigma: float) -> Floats:
    """Return the detail of square pictures: what a Gaussian blur of ``sigma`` pixels removes."""
    return pictures - smooth(pictures, sigma)


def shrink(pictures: NDArray[np.uint8], side: int) -> Floats:
    """Shrink square pictures by halving their side until it is ``side``."""
    sums: NDArray[Any] = pictures
    while sums.shape[1] > side:
        sums = np.add(sums[:, ::2], sums[:, 1::2], dtype=np.uint16)
        sums = sums[:, :, ::2] + sums[:, :, 1::2]
    return sums.astype(np.float32) * np.float32((side / pictures.shape[1]) ** 2)


def compose(outer: Floats, inner: Floats) -> Floats:
    """Return the maps that apply ``inner``, then ``outer``; shapes (n, 2, 3)."""
    linear = outer[:, :, :2] @ inner
    linear[:, :, 2] += outer[:, :, 2]
    return linear


def invert(maps: Floats) -> Floats:
    """Return the maps in the other direction; shape (n, 2, 3)."""
    a, b, c, d = maps[:, 0, 0], maps[:, 0, 1], maps[:, 1, 0], maps[:, 1, 1]
    determinant = a * d - b * c
    determinant = np.where(np.abs(determinant) < 1e-6, 1e-6, determinant)
    linear = np.stack([np.stack([d, -b], 1), np.stack([-c, a], 1)], 1) / determinant[:, None, None]
    shift = -(linear @ maps[:, :, 2:])
    inverse: Floats = np.concatenate([linear, shift], axis=2).astype(np.float32)
    return inverse


@lru_cache(maxsize=16)
def _blur(side: int, sigma: float) -> Floats:
    """Return the matrix that blurs columns, which is faster than a filter for small pictures."""
    from scipy.ndimage import gaussian_filter1d

    blur = gaussian_filter1d(np.eye(side), sigma, axis=0, truncate=2.5)
    return np.asarray(blur, np.float32)


def _grid(side: int) -> tuple[Floats, Floats]:
    """Return the x and y positions of all pixels, flattened."""
    positions = (np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1
    return np.tile(positions, side), np.repeat(positions, side)


def _sample(
    pictures: Floats, maps: Floats, x: Floats, y: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Sample pictures at mapped positions by bilinear interpolation, and return what is inside."""
    n, side = len(pictures), pictures.shape[1]
    grid = np.stack([x, y, np.ones_like(x)])
    pixels = (maps @ grid + 1) * (side / 2) - 0.5
    inside = ((pixels >= -0.5) & (pixels <= side - 0.5)).all(axis=1)
    np.clip(pixels, 0, side - 1.001, out=pixels)
    # Kept as floats, which is faster than converting to integers and back.
    corner = np.floor(pixels)
    pixels -= corner
    u, v = pixels[:, 0], pixels[:, 1]
    index = (corner[:, 1] * side + corner[:, 0]).astype(np.intp)
    index += (np.arange(n) * side**2)[:, None]
    flat = pictures.reshape(-1)
    # No index is out of range, so nothing is wrapped; this mode of ``take`` is the fastest.
    left, right, lower_left, lower_right = (
        flat[offset:].take(index, mode="wrap") for offset in (0, 1, side, side + 1)
    )
    upper, lower = left + (right - left) * u, lower_left + (lower_right - lower_left) * u
    return upper + (lower - upper) * v, inside


def _normalise(flat: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Standardise flattened pictures to mean 0 and variance 1 where weights are 1; 0 elsewhere.

    Also return the standard deviations of the pictures, at least 0.001.
    """
    total: Floats = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    centred = (flat - (flat * weights).sum(axis=1, keepdims=True) / total) * weights
    deviation: Floats = np.sqrt((centred * centred).sum(axis=1, keepdims=True) / total)
    deviation = np.maximum(deviation, 1e-3)
    return centred / deviation, deviation
