"""Figures that tell blurred, dark, blown out and plain pictures from good ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Lines of a picture that are looked at, in each direction.
_N_LINES = 32
# An edge is a change by so many grey levels within eight pixels: less may be noise.
_EDGE, _FAINT = 24, 8
# If less of the picture is edges, the strongest changes that there are.
_LEAST_EDGES = 0.02
# The share of the edges that may be steeper than the figure.
_STEEPEST = 0.1
# Fewest pixels in a direction that edges are looked for in.
_LEAST_SIDE = 16
# A pixel is clipped if a colour is from this level on, and dark below the other one.
_CLIPPED, _DARK = 250, 64


class PictureQuality(NamedTuple):
    """Figures of a picture; grey levels are from 0 to 255.

    Attributes
    ----------
    steepness : float or None
        How much of the change at an edge falls between two pixels that are neighbours, at the
        steepest tenth of the edges: near 1 in sharp pictures, 0.4 behind a Gaussian blur of one and
        a half pixels, 0.2 behind one of five.  None where there is no edge.
    shadows, lights : float
        The grey level that 5 % of the picture are darker than, and that 1 % are lighter than.
    clipped : float
        Share of the pixels in which a colour is full, as in white.
    dark : float
        Share of the pixels that are darker than a quarter of full light.
    spread : int
        Largest difference in a colour, but for two pixels in a thousand.
    """

    steepness: float | None
    shadows: float
    lights: float
    clipped: float
    dark: float
    spread: int


def measure_quality(picture: NDArray[np.uint8]) -> PictureQuality:
    """Measure a picture by some of its lines.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8
        The picture, at about 256 pixels a side, or smaller if it is.

    Returns
    -------
    PictureQuality

    Notes
    -----
    Where a picture is smooth says nothing: a background may be out of focus, a sky has no edge.
    Only its steepest edges tell whether it is sharp.

    Examples
    --------
    >>> picture = np.zeros((64, 64, 3), np.uint8)
    >>> picture[:, 32:] = 200
    >>> measure_quality(picture).steepness
    1.0
    """
    height, width = picture.shape[:2]
    lines = np.ascontiguousarray(picture[:: max(1, height // _N_LINES)])
    rows = _grey(lines)
    columns = _grey(picture[:, :: max(1, width // _N_LINES)]).T
    counts = np.bincount(rows.ravel(), minlength=256)
    below = counts.cumsum() / rows.size
    shadows, lights = np.searchsorted(below, (0.05, 0.99)).tolist()
    fullest = np.maximum(np.maximum(lines[..., 0], lines[..., 1]), lines[..., 2])
    spread = _spread(below)
    if spread < _EDGE:
        # It may be of one brightness and several colours.
        colours = picture.reshape(-1, 3).T
        shares = (np.bincount(colour, minlength=256).cumsum() / len(colour) for colour in colours)
        spread = max(map(_spread, shares))
    return PictureQuality(
        _steepness([rows, columns]),
        float(shadows),
        float(lights),
        float((fullest >= _CLIPPED).mean()),
        float(below[_DARK - 1]),
        spread,
    )


def _grey(lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert lines of a picture to grey."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(lines)).convert("L"))


def _spread(below: NDArray[np.float64]) -> int:
    """Return the difference of the levels that one pixel in a thousand is beyond."""
    low, high = np.searchsorted(below, (0.001, 0.999))
    return int(high - low)


def _steepness(directions: list[NDArray[np.uint8]]) -> float | None:
    """Return how steep the steepest edges are, along the lines of several directions."""
    changes, steps = [], []
    for lines in directions:
        if lines.shape[1] >= _LEAST_SIDE:
            change, step = _find_edges(np.ascontiguousarray(lines))
            changes.append(change.ravel())
            steps.append(step.ravel())
    if not changes:
        return None
    change, step = np.concatenate(changes), np.concatenate(steps)
    is_edge = change >= _EDGE
    if is_edge.mean() < _LEAST_EDGES:
        is_edge = change >= max(_FAINT, np.quantile(change, 1 - _LEAST_EDGES))
        if not is_edge.any():
            return None
    ratios = step[is_edge] / change[is_edge].astype(np.float32)
    place = int((1 - _STEEPEST) * (len(ratios) - 1))
    return float(np.partition(ratios, place)[place])


def _find_edges(lines: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the change within each eight pixels of a line, and the largest step of one pixel."""
    high, low = _widen(lines, 1, np.maximum), _widen(lines, 1, np.minimum)
    step = high - low
    for further in (2, 4):
        high, low = _widen(high, further, np.maximum), _widen(low, further, np.minimum)
    # Seven steps lie between eight pixels.
    for further in (1, 2, 3):
        step = _widen(step, further, np.maximum)
    return high - low, step


def _widen(lines: NDArray[np.uint8], by: int, of: np.ufunc) -> NDArray[np.uint8]:
    """Return the extreme of each value and the one so many pixels further."""
    return of(lines[:, by:], lines[:, :-by])
