"""Properties of images other than their content: tone, sharpness, size, format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import read_bytes
from clusterkit.images.formats import name_format
from clusterkit.images.jpeg import estimate_quality
from clusterkit.images.pixels import to_grey
from clusterkit.images.resizing import resize_image
from clusterkit.images.tone import to_lab
from clusterkit.utils.parallel import map_ahead
from clusterkit.utils.progress import progress_bar

# All images are compared at this size, so that sharpness is that of the picture as networks see it.
_SIDE = 256
# Tone is the mean colour of 4 x 4 fields, measured at a smaller size.
_FIELDS, _SMALL = 4, 64
# Fine detail, for marks in the same place of many images, is kept at this size.
DETAIL_SIDE = 64
# Grey levels below which detail is mostly noise.
_FAINT = 8.0
# A line at the side of an image belongs to a border if its grey levels differ by less than this
# from those of the outermost line.
_PLAIN = 6.0
# Share of the pixels of the next line that differ from the border.
_MIN_SHARE_OF_LINE = 0.5
# The largest share of each side that a border can take.
_MAX_BORDER = 0.4
# Share of the pixels that lie on the strongest edges, and grey levels per pixel of noise.
_EDGES, _NOISE = 0.01, 0.1
# Lightness below which saturation is noise.
_DARK = 10.0
# Share of the pixels that show the light; the lightest single one may be a speck of colour.
_LIGHT = 0.05


class ImageProperties(NamedTuple):
    """Properties of one image.

    Attributes
    ----------
    colours : ndarray of shape (48,), float32
        Mean RGB colour of 4 x 4 fields, row by row, from 0 to 255.
    tone : ndarray of shape (48,), float32
        The same in CIELAB.
    brightness : float
        Mean lightness, from 0 to 100.
    colourfulness : float
        Binary logarithm of the mean chroma and one half, so -1 for grey images.
    sharpness : float
        Binary logarithm of how much steeper the strongest edges are than after some smoothing, at
        256 x 256 pixels: 0 for blurred images and those without edges.
    light : ndarray of shape (3,), float32
        The light of the scene: L* of the lightest pixel, and a* and b* of the lightest twentieth,
        at 64 x 64 pixels.
    saturation : float
        Of the most saturated pixel at 64 x 64 pixels, its chroma over its lightness plus 10.
    size : float
        Binary logarithm of the number of pixels.
    aspect : float
        Binary logarithm of width over height.
    quality : float
        JPEG quality from 1 to 100; NaN for other formats.
    border : float
        Share of the image's area in borders of one colour.
    format : str
        Format of the file, by its first bytes.
    detail : ndarray of shape (4096,), int8
        Edges of 64 x 64 fields, dark to bright.
    """

    colours: NDArray[np.float32]
    tone: NDArray[np.float32]
    brightness: float
    colourfulness: float
    sharpness: float
    light: NDArray[np.float32]
    saturation: float
    size: float
    aspect: float
    quality: float
    border: float
    format: str
    detail: NDArray[np.int8]


@dataclass(frozen=True)
class PropertyTable:
    """Properties of several images, one row per image that can be read.

    Attributes
    ----------
    rows : ndarray of shape (m,), int64
        Positions of these images in the list of files.
    properties : list of ImageProperties
        One per row.
    failures : list of (int, str)
        Position and reason of each image that cannot be read.
    """

    rows: NDArray[np.int64]
    properties: list[ImageProperties]
    failures: list[tuple[int, str]]


def measure_properties(files: Sequence[str | Path], *, progress: bool = False) -> PropertyTable:
    """Measure the properties of image files, decoded in threads.

    Parameters
    ----------
    files : sequence of path
        The images.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    PropertyTable
    """

    def measure(file: str | Path) -> ImageProperties | str:
        try:
            return measure_image(read_bytes(file))
        except ImageError as error:
            return str(error)

    rows, found, failures = [], [], []
    with progress_bar(total=len(files), name="measuring", enabled=progress, unit="image") as bar:
        for row, result in enumerate(map_ahead(measure, files, ahead=64)):
            if isinstance(result, str):
                failures.append((row, result))
            else:
                rows.append(row)
                found.append(result)
            bar.update()
    return PropertyTable(np.array(rows, np.int64), found, failures)


def measure_image(data: bytes) -> ImageProperties:
    """Measure the properties of one image.

    Parameters
    ----------
    data : bytes
        The file's content.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    pixels, (height, width) = decode_image(data, (_SIDE, _SIDE))
    small = resize_image(pixels, (_SMALL, _SMALL))
    lab = to_lab(small)
    grey = to_grey(pixels)
    return ImageProperties(
        colours=_fields(small),
        tone=_fields(lab),
        brightness=float(lab[..., 0].mean()),
        colourfulness=math.log2(float(np.hypot(lab[..., 1], lab[..., 2]).mean()) + 0.5),
        sharpness=_sharpness(grey),
        light=_light(lab),
        saturation=_saturation(lab),
        size=math.log2(height * width),
        aspect=math.log2(width / height),
        quality=estimate_quality(data),
        border=_border(grey),
        format=name_format(data),
        detail=_detail(grey),
    )


def _fields(picture: NDArray[Any]) -> NDArray[np.float32]:
    """Return the mean of each of 4 x 4 fields, row by row."""
    side = _SMALL // _FIELDS
    fields = picture.reshape(_FIELDS, side, _FIELDS, side, 3).mean(axis=(1, 3))
    return fields.ravel().astype(np.float32)


def _sharpness(grey: NDArray[np.float32]) -> float:
    """Return how much steeper the strongest edges are than after smoothing.

    Most photos have sharp edges somewhere, so that this depends less on what they show than the
    share of fine detail.  Zhuo, Sim: Defocus map estimation from a single image. Pattern
    Recognition 44, 2011.
    """
    from scipy.ndimage import gaussian_filter

    steep, smooth = _steepness(grey), _steepness(gaussian_filter(grey, 1.0))
    edges = smooth >= np.quantile(smooth, 1 - _EDGES)
    return float(np.median(np.log2((steep[edges] + _NOISE) / (smooth[edges] + _NOISE))))


def _steepness(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the gradient in grey levels per pixel."""
    across, down = grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1]
    steepness: NDArray[np.float32] = np.hypot(across, down) / 2
    return steepness


def _light(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return lightness and colour of the light, which the lightest things reflect.

    They depend less on what an image shows than its mean colour.  Land: The retinex theory of color
    vision. Scientific American 237, 1977.
    """
    colours = lab.reshape(-1, 3)
    lightness = colours[:, 0]
    lightest = colours[lightness >= np.quantile(lightness, 1 - _LIGHT)]
    # Differences below one are not seen, and of grey images they are rounding.
    return np.array([lightness.max(), *lightest[:, 1:].mean(axis=0)], np.float32).round()


def _saturation(lab: NDArray[np.float32]) -> float:
    """Return the saturation of the most saturated pixel.

    Most photos have something colourful, so that this depends less on what they show than the mean.
    """
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    # Of grey images more decimals are rounding.
    return round(float((chroma / (lab[..., 0] + _DARK)).max()), 2)


def _border(grey: NDArray[np.float32]) -> float:
    """Return the share of an image's area that lies in borders of one colour."""
    kept = []
    for picture in (grey, grey.T):
        limit = int(_MAX_BORDER * len(picture))
        sides = [_count_plain(lines[:limit]) for lines in (picture, picture[::-1])]
        kept.append(1 - sum(sides) / len(picture))
    return 1 - kept[0] * kept[1]


def _count_plain(lines: NDArray[np.float32]) -> int:
    """Return the number of leading lines of one colour, that of the first, if they are a border.

    A border ends along most of a line, a plain background at the edge of an object.
    """
    is_off = np.abs(lines - np.median(lines[0])) >= _PLAIN
    is_plain = ~is_off.any(axis=1)
    if is_plain.all():
        return 0
    count = int(is_plain.argmin())
    # Resizing blurs the first line after a border.
    return count if is_off[count : count + 2].mean(axis=1).max() > _MIN_SHARE_OF_LINE else 0


def _detail(grey: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return edges of an image, of the same weight wherever they are stronger than noise."""
    from scipy.ndimage import gaussian_filter

    half = grey.reshape(_SIDE // 2, 2, _SIDE // 2, 2).mean(axis=(1, 3))
    edges = half - gaussian_filter(half, 2)
    edges /= np.abs(edges) + _FAINT
    side = len(edges) // DETAIL_SIDE
    fields = edges.reshape(DETAIL_SIDE, side, DETAIL_SIDE, side).mean(axis=(1, 3))
    return np.rint(127 * fields).astype(np.int8).ravel()
