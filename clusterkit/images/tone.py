"""Colour tone of pictures: how similar it is in two, and pictures without it.

The *tone* of a picture is how its colours are distributed, regardless of where they are.  All is
computed in CIELAB, where equal distances look about equally large.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.images.pixels import to_grey, to_rgb

# IEC 61966-2-1 (sRGB): linear RGB to XYZ, for the white point D65.
_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32
)
_TO_LINEAR = np.linalg.inv(_TO_XYZ.astype(np.float64)).astype(np.float32)
# White is the sum of the columns, so that greys have no colour.
_WHITE = _TO_XYZ.sum(axis=1)
# CIE 15 (2004): where the cube root becomes a straight line.
_KNEE, _SLOPE = 6 / 29, 3 * (6 / 29) ** 2
# Bins of the histograms: lightness, green to red, and blue to yellow.
_BINS = (8, 10, 10)
_RANGES = ((0.0, 100.0), (-80.0, 80.0), (-80.0, 80.0))
# Pixels along each side that suffice for a histogram.
_SIDE = 96
# Pixels of even pictures are not stretched to noise, nor strong contrasts to a single colour.
_MAX_STRETCH = 4.0


class Tone(NamedTuple):
    """Mean and spread of the colours of a picture.

    Attributes
    ----------
    mean : ndarray of shape (3,), float64
        Mean lightness L*, a* and b*.
    spread : ndarray of shape (3,), float64
        Their standard deviations.
    """

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]


def to_lab(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert sRGB to CIELAB.

    Parameters
    ----------
    pixels : ndarray of shape (..., 3), uint8
        RGB.

    Returns
    -------
    ndarray of shape (..., 3), float32
        Lightness L* from 0 to 100, a* (green to red) and b* (blue to yellow).

    Notes
    -----
    IEC 61966-2-1 for sRGB and CIE 15 (2004) for CIELAB, with the white point D65.

    Examples
    --------
    >>> to_lab(np.array([255, 0, 0], np.uint8)).round()
    array([53., 80., 67.], dtype=float32)
    """
    xyz = _linear_values()[pixels] @ (_TO_XYZ / _WHITE[:, None]).T
    roots = np.where(xyz > _KNEE**3, np.cbrt(xyz), xyz / np.float32(_SLOPE) + np.float32(4 / 29))
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def from_lab(lab: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert CIELAB to sRGB; colours that a screen cannot show are clipped.

    Parameters
    ----------
    lab : ndarray of shape (..., 3)
        L*, a* and b*.

    Returns
    -------
    ndarray of shape (..., 3), uint8
        RGB.
    """
    light, a, b = np.moveaxis(np.asarray(lab, np.float32), -1, 0)
    y = (light + 16) / 116
    roots = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(roots > _KNEE, roots**3, np.float32(_SLOPE) * (roots - np.float32(4 / 29)))
    linear = np.clip((xyz * _WHITE) @ _TO_LINEAR.T, 0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(np.uint8)


def in_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pictures without colour, still in three channels.

    Parameters
    ----------
    pixels : ndarray of shape (..., 3), uint8
        RGB.

    Returns
    -------
    ndarray of shape (..., 3), uint8
        The luma of each pixel (ITU-R BT.601) in all channels.
    """
    grey = np.rint(to_grey(pixels)).astype(np.uint8)[..., None]
    return np.ascontiguousarray(to_rgb(grey))


def measure_tone(picture: NDArray[np.uint8]) -> Tone:
    """Return mean and spread of the colours of a picture of shape (height, width, 3)."""
    return _tone_of(to_lab(picture))


def give_tone(picture: NDArray[np.uint8], tone: Tone) -> NDArray[np.uint8]:
    """Return a picture with the mean and spread of other colours.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8
        RGB.
    tone : Tone
        The tone to apply.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        The picture; a channel of one value only moves.

    Notes
    -----
    The method of Reinhard, Ashikhmin, Gooch and Shirley (2001, "Color transfer between images"), in
    CIELAB.
    """
    lab = to_lab(picture)
    own = _tone_of(lab)
    stretch = np.divide(tone.spread, own.spread, out=np.ones(3), where=own.spread > 0)
    stretch = np.clip(stretch, 1 / _MAX_STRETCH, _MAX_STRETCH)
    return from_lab(((lab - own.mean) * stretch + tone.mean).astype(np.float32))


def compare_tones(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return how similar the colour distributions of two pictures are.

    Parameters
    ----------
    a, b : ndarray of shape (height, width, 3), uint8
        RGB; the sizes may differ.

    Returns
    -------
    float
        Intersection of their colour histograms, from 0 (no colour in common) to 1 (Swain and
        Ballard, 1991, "Color indexing"), in CIELAB.  A pixel counts for the bins around it in
        proportion, so that slightly different colours are similar.
    """
    # Sums of shares differ from 1 by rounding.
    return min(1.0, float(np.minimum(color_histogram(a), color_histogram(b)).sum()))


def color_histogram(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share of each colour of a picture, for :func:`compare_tones` of many pairs.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8
        RGB.  In large pictures only every second, third, … pixel is counted.

    Returns
    -------
    ndarray of shape (n_bins,), float64
        Shares of bins of CIELAB; each pixel is divided among the eight bins around it.
    """
    rows, columns = (max(1, side // _SIDE) for side in picture.shape[:2])
    colours = to_lab(picture[::rows, ::columns]).reshape(-1, 3).astype(np.float64)
    low, high = np.transpose(_RANGES)
    steps = np.array(_BINS) - 1
    places = np.clip((colours - low) / (high - low), 0, 1) * steps
    lower = np.minimum(places.astype(np.intp), steps - 1)
    rest = places - lower
    counts = np.zeros(np.prod(_BINS))
    for corner in np.ndindex(2, 2, 2):
        bins = np.ravel_multi_index(tuple((lower + corner).T), _BINS)
        weights = np.where(corner, rest, 1 - rest).prod(axis=1)
        counts += np.bincount(bins, weights, minlength=len(counts))
    return counts / len(colours)


def _tone_of(lab: NDArray[np.float32]) -> Tone:
    """Return mean and spread of colours of shape (height, width, 3)."""
    colours = lab.reshape(-1, 3).astype(np.float64)
    return Tone(colours.mean(axis=0), colours.std(axis=0))


def _linear_values() -> NDArray[np.float32]:
    """Return the linear intensity of each of the 256 values of sRGB."""
    values = np.arange(256) / 255
    curve = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return curve.astype(np.float32)
