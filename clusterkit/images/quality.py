"""Measures that distinguish blurred, dark, overexposed and plain pictures from good ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Number of examined lines of a picture in each direction.
_N_LINES = 32
# An edge is a change by at least this many levels within this many pixels; less may be noise.
_EDGE, _FAINT, _REACH = 24, 8, 8
# If a smaller share of the picture is edges, its strongest changes are used.
_LEAST_EDGES = 0.02
# Share of the edges that are at least as steep as the measure.
_STEEPEST = 0.1
# Pictures are sharp if one step is half of the change; larger values are clipped.
SHARP = 0.5
# A pixel is clipped if a colour is from this level on, and white if no colour is below the other.
_CLIPPED, _WHITE = 250, 235
# It is dark if all colours are below a quarter of full light, and dim below the other level.
_DARK, _DIM = 64, 160


class Lines(NamedTuple):
    """Some lines of a picture.

    Attributes
    ----------
    rows : ndarray of shape (n, width, 3), uint8
        Rows.
    columns : ndarray of shape (m, height), uint8
        The green of columns, each as a row.
    """

    rows: NDArray[np.uint8]
    columns: NDArray[np.uint8]


class PictureQuality(NamedTuple):
    """Measures of a picture.

    Attributes
    ----------
    steepness : float or None
        Largest share of the change at an edge between two neighbouring pixels, at the steepest
        tenth of the edges, along rows or columns, whichever is less; at most 0.5, as in sharp
        pictures; about 0.4 after a Gaussian blur of two pixels, and 0.3 after one of three.  None
        without edges.
    dark, dim : float
        Share of the pixels in which all colours are below a quarter of full light, and below 160 of
        255.
    white, tinted : float
        Share of the clipped pixels, in which a colour is full, that are white, and that are not.
    spread : int
        Largest difference of two pixels in a colour.
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
    """
    height, width = picture.shape[:2]
    rows = picture[:: max(1, height // _N_LINES)]
    columns = picture[:, :: max(1, width // _N_LINES), 1].T
    return Lines(np.ascontiguousarray(rows), np.ascontiguousarray(columns))


def measure_quality(pictures: Sequence[Lines]) -> list[PictureQuality]:
    """Measure pictures by some of their lines, several at once, which is faster.

    Parameters
    ----------
    pictures : sequence of Lines
        The lines of each.

    Returns
    -------
    list of PictureQuality
        One per picture.

    Notes
    -----
    Smooth areas are not informative: a background may be out of focus, and a sky has no edges.
    Only the steepest edges show whether a picture is sharp.  Both directions count, since camera
    motion blurs one of them.

    Examples
    --------
    >>> picture = np.zeros((64, 64, 3), np.uint8)
    >>> picture[16:48, 16:48] = 200
    >>> measure_quality([take_lines(picture)])[0].steepness
    0.5
    """
    if not pictures:
        return []
    flat = np.concatenate([lines.rows.reshape(-1, 3) for lines in pictures])
    own = _places([lines.rows.shape[0] * lines.rows.shape[1] for lines in pictures])
    red, green, blue = (np.ascontiguousarray(flat[:, colour]) for colour in range(3))
    fullest = np.maximum(np.maximum(red, green), blue)
    is_dark, is_dim, is_clipped = fullest < _DARK, fullest < _DIM, fullest >= _CLIPPED
    is_white = is_clipped & (np.minimum(np.minimum(red, green), blue) >= _WHITE)
    across = [
        green[here].reshape(lines.rows.shape[:2]) for here, lines in zip(own, pictures, strict=True)
    ]
    steepness = zip(
        _measure_steepness(across),
        _measure_steepness([lines.columns for lines in pictures]),
        strict=True,
    )
    return [
        PictureQuality(
            min((one for one in pair if one is not None), default=None),
            dark=_share(is_dark[here]),
            dim=_share(is_dim[here]),
            white=_share(is_white[here]),
            tinted=_share(is_clipped[here]) - _share(is_white[here]),
            spread=max(
                int(colour[here].max()) - int(colour[here].min()) for colour in (red, green, blue)
            ),
            side=max(lines.rows.shape[1], lines.columns.shape[1]),
        )
        for here, lines, pair in zip(own, pictures, steepness, strict=True)
    ]


def _places(sizes: Sequence[int]) -> list[slice]:
    """Return the slices of consecutive parts of these sizes."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _share(where: NDArray[np.bool_]) -> float:
    """Return the share of the values that are true."""
    return float(np.count_nonzero(where) / where.size)


def _measure_steepness(pictures: list[NDArray[np.uint8]]) -> list[float | None]:
    """Return how steep the steepest edges along the lines of each picture are."""
    change, step = _find_edges(np.concatenate([lines.ravel() for lines in pictures]))
    # Changes from the end of a line to the start of the next one do not count.
    ends = np.cumsum([lines.shape[1] for lines in pictures for _ in lines])
    across = (ends[:, None] - np.arange(1, _REACH)).ravel()
    change[across[(across >= 0) & (across < len(change))]] = 0
    is_edge = change >= _EDGE
    is_steep = is_edge & (change - step <= step)
    found: list[float | None] = []
    for here in _places([lines.size for lines in pictures]):
        own = is_edge[here]
        n_edges = np.count_nonzero(own)
        if n_edges < max(1, _LEAST_EDGES * own.size):
            found.append(_steepness_of_faint(change[here], step[here]))
        elif np.count_nonzero(is_steep[here]) >= _STEEPEST * n_edges:
            found.append(SHARP)
        else:
            found.append(_steepness(change[here][own], step[here][own]))
    return found


def _find_edges(line: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the change within eight pixels from each one on, and the largest step in them."""
    line = np.pad(line, (0, _REACH - 1))
    high, low = _widen(line, 1, np.maximum), _widen(line, 1, np.minimum)
    step = high - low
    for further in (2, 4):
        high, low = _widen(high, further, np.maximum), _widen(low, further, np.minimum)
    # Eight pixels have seven steps.
    for further in (1, 2, 3):
        step = _widen(step, further, np.maximum)
    return high - low, step


def _widen(values: NDArray[np.uint8], by: int, of: np.ufunc) -> NDArray[np.uint8]:
    """Return the extreme of each value and the one at a distance."""
    return of(values[by:], values[:-by])


def _steepness_of_faint(change: NDArray[np.uint8], step: NDArray[np.uint8]) -> float | None:
    """Return how steep the strongest changes are, in a picture without many edges."""
    is_edge = change >= max(_FAINT, np.quantile(change, 1 - _LEAST_EDGES))
    return _steepness(change[is_edge], step[is_edge]) if is_edge.any() else None


def _steepness(change: NDArray[np.uint8], step: NDArray[np.uint8]) -> float:
    """Return how steep the steepest tenth of the edges is, at most one half."""
    ratios = step / change.astype(np.float32)
    place = int((1 - _STEEPEST) * (len(ratios) - 1))
    return min(SHARP, float(np.partition(ratios, place)[place]))
