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
# Objects on a white ground: minimum share of the outermost pixels that are white, maximum number of
# pieces into which the other pixels fall, and the level below which their colours are deep.
# Overexposed photos fall into many: of 4,565, 0.5 % are few pieces of which a fifth is deep.
_WHITE_EDGE, _FEW_PIECES, _DEEP = 0.8, 10, 96
# In brightness, a picture may be overexposed if at most this share of it is below the middle, and
# at least the other share is high.
_MIDDLE, _FEW_LOW, _HIGH, _SOME_HIGH = 128, 0.2, 220, 0.2
# And if at most this share is below the first level, as in pale pictures, or at least the other one
# is bright, as in white ones.  Chosen on 3,350 photos that were overexposed by their colours, of
# which this leaves out none; half of the products on a white ground are neither.
_SHADOW, _HARDLY_ANY, _BRIGHT, _MOST_BRIGHT = 96, 0.03, 200, 0.7
# It may be dark if this share of it is, and uniform if it has at most this range.
_MOST_DARK, _FLAT = 0.985, 10


class Lines(NamedTuple):
    """Evenly spaced rows and columns of a grey picture.

    Attributes
    ----------
    rows : ndarray of shape (n_rows, width), uint8
        The rows.
    columns : ndarray of shape (n_columns, height), uint8
        The columns, transposed.
    """

    rows: NDArray[np.uint8]
    columns: NDArray[np.uint8]


class Tones(NamedTuple):
    """How dark, light and colourful a picture is.

    Attributes
    ----------
    dark, dim : float
        Share of the pixels in which all colours are below a quarter of full light, and below 160 of
        255.
    white, tinted : float
        Share of the pixels that are clipped (at least one colour is full) and white, and of those
        that are clipped and not white.
    spread : int
        Largest difference of two pixels in any colour.
    deep : float
        Share of the pixels of a few objects on a white ground that have a deep colour or are dark;
        0 if that is not what the picture shows.
    """

    dark: float
    dim: float
    white: float
    tinted: float
    spread: int
    deep: float


class PictureQuality(NamedTuple):
    """Measures of a picture.

    Attributes
    ----------
    steepness : float or None
        The sharpness, see :func:`measure_steepness`.
    tones : Tones or None
        None if they seem ordinary by the brightness alone, see :func:`may_be_extreme`.
    side : int
        Longer side of the picture, in pixels.
    """

    steepness: float | None
    tones: Tones | None
    side: int


def take_lines(picture: NDArray[np.uint8]) -> Lines:
    """Return the lines of a picture for :func:`measure_steepness`.

    Parameters
    ----------
    picture : ndarray of shape (height, width), uint8
        The picture in grey, with sides of at most some hundred pixels.

    Returns
    -------
    Lines
    """
    columns = picture[:, :: max(1, picture.shape[1] // _N_LINES)].T
    return Lines(np.ascontiguousarray(_take_rows(picture)), np.ascontiguousarray(columns))


def _take_rows(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return evenly spaced rows of a picture, in grey or in colour."""
    return picture[:: max(1, len(picture) // _N_LINES)]


def may_be_extreme(lines: Lines) -> bool:
    """Return whether a picture may be dark, overexposed or uniform.

    Parameters
    ----------
    lines : Lines
        The lines of the picture.

    Returns
    -------
    bool
        If it is False, the colours are hardly worth measuring: 2 of 1,711 overexposed photos are
        missed.  It is True for 6 % of photos, and for half of those on a white ground.
    """
    rows = lines.rows
    low = _share(rows < _MIDDLE)
    if low <= _FEW_LOW:
        may_be = _share(rows >= _HIGH) >= _SOME_HIGH and (
            _share(rows < _SHADOW) <= _HARDLY_ANY or _share(rows >= _BRIGHT) >= _MOST_BRIGHT
        )
    else:
        may_be = low >= _MOST_DARK and _share(rows < _DARK) >= _MOST_DARK
    return may_be or int(rows.max()) - int(rows.min()) <= _FLAT


def measure_tones(picture: NDArray[np.uint8]) -> Tones:
    """Measure the tones of a picture.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8
        The picture, with sides of at most some hundred pixels.

    Returns
    -------
    Tones
    """
    # One colour after the other: NumPy is slow along an axis of three.
    red, green, blue = colours = np.ascontiguousarray(_take_rows(picture).transpose(2, 0, 1))
    fullest = np.maximum(np.maximum(red, green), blue)
    faintest = np.minimum(np.minimum(red, green), blue)
    is_clipped = fullest >= _CLIPPED
    is_white = is_clipped & (faintest >= _WHITE)
    return Tones(
        dark=_share(fullest < _DARK),
        dim=_share(fullest < _DIM),
        white=(white := _share(is_white)),
        tinted=_share(is_clipped) - white,
        spread=max(int(colour.max()) - int(colour.min()) for colour in colours),
        deep=_measure_objects(picture) if white else 0.0,
    )


def _measure_objects(picture: NDArray[np.uint8]) -> float:
    """Return the share of deep colours in a few objects on a white ground; 0 without such."""
    from scipy.ndimage import label

    faintest = picture.min(axis=2)
    is_object = (faintest < _WHITE) | (picture.max(axis=2) < _CLIPPED)
    edges = [is_object[0], is_object[-1], is_object[:, 0], is_object[:, -1]]
    if not is_object.any() or _share(~np.concatenate(edges)) < _WHITE_EDGE:
        return 0.0
    _, n_pieces = label(is_object, np.ones((3, 3)))
    return _share(faintest[is_object] < _DEEP) if n_pieces <= _FEW_PIECES else 0.0


def measure_steepness(pictures: Sequence[Lines]) -> list[float | None]:
    """Measure how sharp pictures are; several at once are faster.

    Parameters
    ----------
    pictures : sequence of Lines
        The lines of each picture.

    Returns
    -------
    list of (float or None)
        Largest difference of two neighbouring pixels at an edge, as a share of the whole change
        there: the 90th percentile over all edges, along rows or along columns, whichever is less.
        At most 0.5, as in sharp pictures; about 0.4 after a Gaussian blur of two pixels, and 0.3
        after one of three.  None if there are no edges.

    Notes
    -----
    Smooth areas are not informative: a background may be out of focus, and a sky has no edges.
    Only the steepest edges show whether a picture is sharp.  Rows and columns are measured
    separately, since camera motion blurs only one direction.

    Examples
    --------
    >>> picture = np.zeros((64, 64), np.uint8)
    >>> picture[16:48, 16:48] = 200
    >>> measure_steepness([take_lines(picture)])
    [0.5]
    """
    if not pictures:
        return []
    found = _measure_steepness([one for lines in pictures for one in lines])
    return [
        min((one for one in pair if one is not None), default=None)
        for pair in zip(found[::2], found[1::2], strict=True)
    ]


def _slices(sizes: Sequence[int]) -> list[slice]:
    """Return slices of consecutive parts with these sizes."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _share(where: NDArray[np.bool_]) -> float:
    """Return the share of values that are true."""
    return float(np.count_nonzero(where) / where.size)


def _measure_steepness(pictures: list[NDArray[np.uint8]]) -> list[float | None]:
    """Return the steepness of each set of lines along them; None without edges."""
    change, step = _find_edges(np.concatenate([lines.ravel() for lines in pictures]))
    # Changes between the end of a line and the start of the next one do not count.
    n_lines, lengths = np.transpose([lines.shape for lines in pictures])
    ends = np.cumsum(np.repeat(lengths, n_lines))
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
