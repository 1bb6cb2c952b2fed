"""Measures that distinguish blurred, dark, overexposed and uniform pictures from good ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Approximate number of lines of a picture that are examined in each direction.
_N_LINES = 32
# An edge is a change of at least ``_EDGE`` grey levels within ``_REACH`` pixels.  In pictures with
# few edges, changes from ``_FAINT`` levels on count; smaller ones may be noise.
_EDGE, _FAINT, _REACH = 24, 8, 8
# If the share of edges in a picture is smaller than this, its strongest changes are used instead.
_MIN_EDGES = 0.02
# Share of the edges that are at least as steep as the measure.
_STEEPEST = 0.1
# Steepness of sharp pictures: one step is half of the change.  Larger values are clipped to this.
SHARP = 0.5
# A pixel is clipped if a colour has at least the first level.  A clipped pixel is white if all
# colours have at least the second.
_CLIPPED, _WHITE = 250, 235
# A pixel is dark if all colours are below the first level, a quarter of full light, and dim if all
# are below the second.
_DARK, _DIM = 64, 160


class Lines(NamedTuple):
    """Evenly spaced rows and columns of a picture.

    Attributes
    ----------
    rows : ndarray of shape (3, n_rows, width), uint8
        The rows, one colour after the other.
    columns : ndarray of shape (n_columns, height), uint8
        The green channel of the columns, transposed.
    """

    rows: NDArray[np.uint8]
    columns: NDArray[np.uint8]


class PictureQuality(NamedTuple):
    """Measures of a picture.

    Attributes
    ----------
    steepness : float or None
        Largest difference of two neighbouring pixels at an edge, as a share of the whole change
        there: the 90th percentile over all edges, along rows or along columns, whichever is less.
        At most 0.5, as in sharp pictures; about 0.4 after a Gaussian blur of two pixels, and 0.3
        after one of three.  None if there are no edges.
    dark, dim : float
        Share of the pixels in which all colours are below a quarter of full light, and below 160 of
        255.
    white, tinted : float
        Share of the pixels that are clipped (at least one colour is full) and white, and of those
        that are clipped and not white.
    spread : int
        Largest difference of two pixels in any colour.
    side : int
        Longer side of the picture, in pixels.
    """

    steepness: float | None
    dark: float
    dim: float
    white: float
    tinted: float
    spread: int
    side: int


def take_lines(picture: NDArray[np.uint8]) -> Lines:
    """Return the lines of a picture for :func:`measure_quality`.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8
        The picture, with sides of at most some hundred pixels.

    Returns
    -------
    Lines
    """
    height, width = picture.shape[:2]
    rows = picture[:: max(1, height // _N_LINES)].transpose(2, 0, 1)
    columns = picture[:, :: max(1, width // _N_LINES), 1].T
    return Lines(np.ascontiguousarray(rows), np.ascontiguousarray(columns))


def measure_quality(pictures: Sequence[Lines]) -> list[PictureQuality]:
    """Measure the quality of pictures; several at once are faster.

    Parameters
    ----------
    pictures : sequence of Lines
        The lines of each picture.

    Returns
    -------
    list of PictureQuality
        One per picture.

    Notes
    -----
    Smooth areas are not informative: a background may be out of focus, and a sky has no edges.
    Only the steepest edges show whether a picture is sharp.  Rows and columns are measured
    separately, since camera motion blurs only one direction.

    Examples
    --------
    >>> picture = np.zeros((64, 64, 3), np.uint8)
    >>> picture[16:48, 16:48] = 200
    >>> measure_quality([take_lines(picture)])[0].steepness
    0.5
    """
    if not pictures:
        return []
    colours = [
        np.concatenate([lines.rows[number].ravel() for lines in pictures]) for number in range(3)
    ]
    own = _slices([lines.rows[0].size for lines in pictures])
    starts = [here.start for here in own]
    spreads = [
        np.maximum.reduceat(colour, starts) - np.minimum.reduceat(colour, starts)
        for colour in colours
    ]
    red, green, blue = colours
    fullest = np.maximum(np.maximum(red, green), blue)
    is_dark, is_dim, is_clipped = fullest < _DARK, fullest < _DIM, fullest >= _CLIPPED
    is_white = is_clipped & (np.minimum(np.minimum(red, green), blue) >= _WHITE)
    measured = zip(
        own,
        pictures,
        _measure_steepness([lines.rows[1] for lines in pictures]),
        _measure_steepness([lines.columns for lines in pictures]),
        np.max(spreads, axis=0).tolist(),
        strict=True,
    )
    return [
        PictureQuality(
            min((one for one in (across, down) if one is not None), default=None),
            dark=_share(is_dark[here]),
            dim=_share(is_dim[here]),
            white=(white := _share(is_white[here])),
            tinted=_share(is_clipped[here]) - white,
            spread=spread,
            side=max(lines.rows.shape[2], lines.columns.shape[1]),
        )
        for here, lines, across, down, spread in measured
    ]


def _slices(sizes: Sequence[int]) -> list[slice]:
    """Return slices of consecutive parts with these sizes."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _share(where: NDArray[np.bool_]) -> float:
    """Return the share of values that are true."""
    return float(np.count_nonzero(where) / where.size)


def _measure_steepness(pictures: list[NDArray[np.uint8]]) -> list[float | None]:
    """Return the steepness of each picture along its lines; None without edges."""
    change, step = _find_edges(np.concatenate([lines.ravel() for lines in pictures]))
    # Changes between the end of a line and the start of the next one do not count.
    ends = np.cumsum([lines.shape[1] for lines in pictures for _ in lines])
    across = (ends[:, None] - np.arange(1, _REACH)).ravel()
    change[across[(across >= 0) & (across < len(change))]] = 0
    is_edge = change >= _EDGE
    is_steep = is_edge & (change - step <= step)
    found: list[float | None] = []
    for here in _slices([lines.size for lines in pictures]):
        own = is_edge[here]
        n_edges = np.count_nonzero(own)
        if n_edges < max(1, _MIN_EDGES * own.size):
            found.append(_steepness_of_faint(change[here], step[here]))
        elif np.count_nonzero(is_steep[here]) >= _STEEPEST * n_edges:
            found.append(SHARP)
        else:
            found.append(_steepness(change[here][own], step[here][own]))
    return found


def _find_edges(line: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the change within the eight pixels from each one on, and their largest step."""
    line = np.pad(line, (0, _REACH - 1))
    high, low = _widen(line, 1, np.maximum), _widen(line, 1, np.minimum)
    step = high - low
    for offset in (2, 4):
        high, low = _widen(high, offset, np.maximum), _widen(low, offset, np.minimum)
    # Eight pixels have seven steps.
    for offset in (1, 2, 3):
        step = _widen(step, offset, np.maximum)
    return high - low, step


def _widen(values: NDArray[np.uint8], offset: int, extreme: np.ufunc) -> NDArray[np.uint8]:
    """Combine the extreme of each window with that of the window ``offset`` pixels further on."""
    return extreme(values[offset:], values[:-offset])


def _steepness_of_faint(change: NDArray[np.uint8], step: NDArray[np.uint8]) -> float | None:
    """Return the steepness of the strongest changes in a picture with few edges."""
    is_edge = change >= max(_FAINT, np.quantile(change, 1 - _MIN_EDGES))
    return _steepness(change[is_edge], step[is_edge]) if is_edge.any() else None


def _steepness(change: NDArray[np.uint8], step: NDArray[np.uint8]) -> float:
    """Return the 90th percentile of the steepness of edges, at most 0.5."""
    ratios = step / change.astype(np.float32)
    rank = int((1 - _STEEPEST) * (len(ratios) - 1))
    return min(SHARP, float(np.partition(ratios, rank)[rank]))
