"""Align grey pictures and compare them, many pairs at a time.

Positions in a picture run from -1 to 1 on both axes, whatever its shape.  A map is a matrix
``[[a, b, c], [d, e, f]]`` that takes positions ``(x, y)`` in the first picture of a pair to
``(a x + b y + c, d x + e y + f)`` in the second.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Largest change of an entry of a map in one step.
_MOST_STEP = 0.15
# Share of the squared gradients that is added to their products, so that flat pictures stay.
_DAMPING = 1e-3


def align(
    first: Floats, second: Floats, maps: Floats, masks: NDArray[np.bool_], *, n_steps: int = 8
) -> Floats:
    """Improve the maps between pictures that nearly match.

    Parameters
    ----------
    first, second : ndarray of shape (n, side, side), float32
        The pictures of each pair, smoothed by about a pixel.
    maps : ndarray of shape (n, 2, 3), float32
        Maps to begin with, off by less than about a tenth of a picture.
    masks : ndarray of shape (n, side, side), bool
        What counts in the first pictures.
    n_steps : int
        Number of steps.

    Returns
    -------
    ndarray of shape (n, 2, 3), float32
        Maps that minimise the squared differences, whatever the brightness and contrast.

    Notes
    -----
    The inverse compositional algorithm of Baker and Matthews (2004, "Lucas-Kanade 20 years on: a
    unifying framework"), with brightness and contrast projected out.
    """
    n, side = first.shape[:2]
    if not n:
        return maps
    x, y = _grid(side)
    seen, inside = _sample(second, maps, x, y)
    weights = (masks.reshape(n, side * side) & inside).astype(np.float32)
    wanted, deviation = _normalise(first.reshape(n, side * side), weights)
    down, across = np.gradient(first, axis=(1, 2))
    # Half a picture is one unit.
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
        step *= np.minimum(1, _MOST_STEP / np.maximum(largest, 1e-9))
        maps = compose(maps, invert(step + np.eye(2, 3, dtype=np.float32)))
    return maps


def warp(second: Floats, maps: Floats, side: int | None = None) -> tuple[Floats, NDArray[np.bool_]]:
    """Bring the second pictures of pairs to the positions of the first.

    Parameters
    ----------
    second : ndarray of shape (n, side, side), float32
        The pictures.
    maps : ndarray of shape (n, 2, 3), float32
        From positions in the first pictures.
    side : int, optional
        Height and width of the first pictures; by default those of the second.

    Returns
    -------
    pictures : ndarray of shape (n, side, side), float32
    inside : ndarray of shape (n, side, side), bool
        Where the second pictures have anything.
    """
    side = second.shape[1] if side is None else side
    pictures, inside = _sample(second, maps, *_grid(side))
    return pictures.reshape(-1, side, side), inside.reshape(-1, side, side)


def correlate(first: Floats, second: Floats, masks: NDArray[np.bool_]) -> Floats:
    """Return the correlation of each pair of aligned pictures where a mask is true.

    Parameters
    ----------
    first, second : ndarray of shape (n, side, side), float32
        The pictures of each pair.
    masks : ndarray of shape (n, side, side), bool
        What to compare.

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
    correlation: Floats = (one * other).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
    return correlation


def smooth(pictures: Floats, sigma: float) -> Floats:
    """Return square pictures behind a Gaussian blur of some pixels."""
    blur = _blur(pictures.shape[1], sigma)
    return np.matmul(np.matmul(blur, pictures), blur.T)


def detail(pictures: Floats, sigma: float) -> Floats:
    """Return pictures without what is coarser than a number of pixels."""
    return pictures - smooth(pictures, sigma)


def shrink(pictures: NDArray[np.uint8], side: int) -> Floats:
    """Return square pictures whose side is halved until it is ``side``."""
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
    """Return the matrix that blurs columns: faster than a filter in small pictures."""
    from scipy.ndimage import gaussian_filter1d

    blur = gaussian_filter1d(np.eye(side), sigma, axis=0, truncate=2.5)
    return np.asarray(blur, np.float32)


def _grid(side: int) -> tuple[Floats, Floats]:
    """Return the positions of all pixels, flattened."""
    place = (np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1
    return np.tile(place, side), np.repeat(place, side)


def _sample(
    pictures: Floats, maps: Floats, x: Floats, y: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return pictures at mapped positions, interpolated linearly, and what is inside of them."""
    n, side = len(pictures), pictures.shape[1]
    grid = np.stack([x, y, np.ones_like(x)])
    places = (maps @ grid + 1) * (side / 2) - 0.5
    inside = ((places >= -0.5) & (places <= side - 0.5)).all(axis=1)
    np.clip(places, 0, side - 1.001, out=places)
    # Whole numbers as floats, which are faster to make and to take off.
    corner = np.floor(places)
    places -= corner
    u, v = places[:, 0], places[:, 1]
    index = (corner[:, 1] * side + corner[:, 0]).astype(np.intp)
    index += (np.arange(n) * side**2)[:, None]
    flat = pictures.reshape(-1)
    # Nothing is outside, so that nothing is wrapped: this mode is the fastest.
    left, right, lower_left, lower_right = (
        flat[offset:].take(index, mode="wrap") for offset in (0, 1, side, side + 1)
    )
    upper, lower = left + (right - left) * u, lower_left + (lower_right - lower_left) * u
    return upper + (lower - upper) * v, inside


def _normalise(flat: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return flat pictures of mean 0 and variance 1 within weights, and 0 elsewhere.

    The second value is their standard deviation before, at least a thousandth.
    """
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    centred = (flat - (flat * weights).sum(axis=1, keepdims=True) / total) * weights
    deviation = np.sqrt((centred * centred).sum(axis=1, keepdims=True) / total)
    deviation = np.maximum(deviation, 1e-3)
    return centred / deviation, deviation
