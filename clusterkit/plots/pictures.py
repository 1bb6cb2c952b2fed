"""Load pictures, and draw them on a sheet or in a grid."""

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.typing import ColorType
from numpy.typing import NDArray

from clusterkit.datasets.copies import Thumbnail, find_first_copies, make_thumbnails
from clusterkit.errors import ImageError, InvalidInputError
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import read_bytes
from clusterkit.images.pixels import to_rgb
from clusterkit.plots.display import Display, check_lengths, check_some
from clusterkit.plots.style import INK, QUIET, RULE, TILE, fit, wrap
from clusterkit.utils.locations import reading_workers
from clusterkit.utils.parallel import map_ahead
from clusterkit.utils.text import plural

# Copies are searched among this many times the number of shown images; if these are mostly copies,
# as in bursts of a camera, among four times as many, and again.
_N_CANDIDATES = (3, 12, 48)
# Sizes of a grid in points: a picture, between pictures, margin, a line above or below the grid.
SIDE, _GAP, _MARGIN, _LINE = 112.0, 14.0, 4.0, 18.0
_TITLE_SIZE, _NEXT_LINE = 10.0, 12.0


def choose_pictures(
    files: Sequence[Path], n: int | None, apart: Collection[tuple[str, str]]
) -> tuple[list[int], Counter[Path]]:
    """Choose the first images, one of several copies.

    Parameters
    ----------
    files : sequence of path
        The images, in the order in which they are preferred.
    n : int or None
        How many to choose; None for all.
    apart : collection of (str, str)
        Sorted pairs of digests of images that are not copies of each other.

    Returns
    -------
    rows : list of int
        The chosen images.
    copies : Counter
        Number of further images that each represents, since they are copies of it.
    """
    thumbnails: list[Thumbnail] = []
    for factor in _N_CANDIDATES:
        candidates = files if n is None else files[: factor * n]
        thumbnails += make_thumbnails(candidates[len(thumbnails) :])
        copy_of = find_first_copies(candidates, thumbnails, apart)
        rows = [row for row, file in enumerate(candidates) if file not in copy_of]
        if n is None or len(rows) >= n or len(candidates) == len(files):
            break
    return rows[:n], Counter(copy_of.values())


class Picture(NamedTuple):
    """A picture to draw.

    Attributes
    ----------
    pixels : ndarray of shape (height, width, 3), uint8, or None
        None if the file cannot be read.
    aspect : float
        Ratio of height to width for drawing.
    reason : str
        The reason if there are no pixels.
    """

    pixels: NDArray[np.uint8] | None
    aspect: float = 1.0
    reason: str = ""


def load_picture(source: Any, side: int = 224) -> Picture:
    """Load a picture from a file or an array.

    Parameters
    ----------
    source : path, ndarray or None
        A file, one image as for :func:`to_uint8`, or None.
    side : int
        Height and width at which files are read, in pixels; ``aspect`` keeps their shape.

    Returns
    -------
    Picture
        The picture, or the reason if the file cannot be read.
    """
    if isinstance(source, np.ndarray):
        pixels = to_uint8(source[None])[0]
        return Picture(pixels, pixels.shape[0] / pixels.shape[1])
    if source is None:
        return Picture(None, reason="no image file")
    try:
        pixels, (height, width) = decode_image(read_bytes(source), (side, side))
    except ImageError as error:
        return Picture(None, reason=str(error))
    return Picture(pixels, height / width)


def load_pictures(sources: Iterable[Any], side: int = 224) -> list[Picture]:
    """Load several pictures in threads; see :func:`load_picture`."""
    sources = list(sources)
    load, workers = partial(load_picture, side=side), reading_workers(sources)
    return list(map_ahead(load, sources, ahead=64, workers=workers))


def to_uint8(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert images to uint8 RGB.

    Parameters
    ----------
    images : ndarray of shape (n, height, width), (n, height, width, 1) or (n, height, width, 3)
        uint8, or floats in [0, 1] (other values are clipped).

    Returns
    -------
    ndarray of shape (n, height, width, 3), uint8
        The images.

    Raises
    ------
    InvalidInputError
        If the shape or dtype is not as above.
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:3]:
        raise InvalidInputError(
            "images must have the shape (n, height, width), with 1 or 3 channels last or none. "
            f"Received: {images.shape}"
        )
    if images.dtype.kind == "f":
        images = np.rint(255 * np.clip(np.nan_to_num(images), 0, 1)).astype(np.uint8)
    if images.dtype != np.uint8:
        raise InvalidInputError(f"images must be uint8 or float. Received: {images.dtype}")
    return to_rgb(images)


class Sheet:
    """Pictures and text at exact positions, in points from the top left corner.

    On an Axes of another size, everything is scaled.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw in; its frame and ticks are hidden.
    width, height : float
        Size of the sheet, in points.
    """

    def __init__(self, ax: Axes, width: float, height: float) -> None:
        self.ax = ax
        ax.set_axis_off()
        ax.set_xlim(0, width)
        ax.set_ylim(height, 0)
        ax.set_aspect("equal")
        box, dpi = ax.get_window_extent(), ax.figure.dpi
        self._scale = min(box.width / width, box.height / height) * 72 / dpi

    def picture(
        self, picture: Picture, x: float, y: float, side: float, *, frame: str | None = None
    ) -> None:
        """Draw a picture centred in a square tile, or the reason why there is none."""
        self.box(x, y, side, side, color=TILE)
        if picture.pixels is None:
            size = max(5.5, min(8, side / 12))
            text = wrap(picture.reason, 0.86 * side, size=size, lines=int(0.8 * side / size / 1.4))
            self._text(x + side / 2, y + side / 2, text, size, color=QUIET, ha="center")
        else:
            # A strip of 1 x 10,000 pixels is still visible as a line.
            width = max(0.02, min(1, 1 / picture.aspect)) * side
            height = max(0.02, min(1, picture.aspect)) * side
            left, top = x + (side - width) / 2, y + (side - height) / 2
            extent = (left, left + width, top + height, top)
            limits = self.ax.get_xlim(), self.ax.get_ylim()
            self.ax.imshow(picture.pixels, extent=extent, zorder=2)
            self.ax.set(xlim=limits[0], ylim=limits[1])
        # A thin frame delimits pictures with a white background.
        outline = Rectangle((x, y), side, side, fill=False, edgecolor=frame or RULE, zorder=3)
        outline.set_linewidth((2 if frame else 0.5) * self._scale)
        self.ax.add_patch(outline)

    def box(self, x: float, y: float, width: float, height: float, *, color: ColorType) -> None:
        """Fill a rectangle."""
        self.ax.add_patch(Rectangle((x, y), width, height, facecolor=color, linewidth=0, zorder=1))

    def line(
        self,
        text: str,
        x: float,
        y: float,
        width: float,
        *,
        size: float = 8,
        color: str = INK,
        weight: str = "normal",
        ha: str = "left",
    ) -> None:
        """Draw a line of text centred at ``y``, shortened to ``width``."""
        text = fit(text, width, size=size, weight=weight)
        self._text(x, y, text, size, color=color, weight=weight, ha=ha)

    def lines(self, text: str, x: float, y: float, *, size: float = 8) -> None:
        """Draw text that :func:`~clusterkit.plots.style.wrap` prepared, centred at ``y``."""
        self._text(x, y, text, size, color=INK)

    def tag(self, text: str, right: float, bottom: float) -> None:
        """Write a short text in the lower right corner of a picture."""
        width = 5.0 * len(text) + 2
        self.ax.add_patch(
            Rectangle(
                (right - width, bottom - 12), width, 12, facecolor="white", alpha=0.85, zorder=4
            )
        )
        self._text(right - width / 2, bottom - 6, text, 8, color=INK, ha="center", zorder=5)

    def _text(self, x: float, y: float, text: str, size: float, **kwargs: Any) -> None:
        """Draw prepared text."""
        self.ax.text(x, y, text, fontsize=size * self._scale, va="center_baseline", **kwargs)


def and_more(count: int, noun: str) -> str:
    """Return "… and 12 more images", with the noun in the right number."""
    return f"… and {plural(count, f'more {noun}')}"


class PictureGrid(Display):
    """A grid of pictures.

    Subclasses draw the text under the pictures and define its height.

    Attributes
    ----------
    pictures : sequence of path or ndarray of shape (height, width[, 1 or 3]), uint8
        Pictures to draw; unreadable files are drawn as a grey tile with the reason.
    columns : int
        Maximum number of pictures per row.
    max_pictures : int
        Maximum number of pictures; the number of others is stated.
    title : str
        Title of the figure.
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    pictures: Sequence[Any]
    columns: int
    max_pictures: int
    title: str = ""
    # Parameters with a value for each picture.
    _texts: tuple[str, ...] = ()
    ax_: Axes
    _fills_figure = True

    def _check(self) -> None:
        """Check that there is something to draw, with a value for each picture."""
        check_some(self.pictures, "picture")
        texts = {name: getattr(self, name) for name in self._texts}
        check_lengths(len(self.pictures), "picture", **texts)

    @abstractmethod
    def _foot(self) -> float:
        """Return the height in points of the text under each picture."""

    @abstractmethod
    def _draw_foot(self, sheet: Sheet, index: int, x: float, y: float) -> None:
        """Draw the text under a picture, starting at (x, y)."""

    def _frame(self, index: int) -> str | None:
        """Return the colour of a picture's frame, or None."""
        return None

    def _size(self) -> tuple[float, float]:
        """Return the size of the sheet, in points."""
        shown = min(len(self.pictures), self.max_pictures)
        columns = max(1, min(shown, self.columns))
        rows = max(1, math.ceil(shown / columns))
        width = columns * (SIDE + _GAP) - _GAP + 2 * _MARGIN
        height = rows * (SIDE + self._foot() + _GAP) - _GAP + 2 * _MARGIN
        return width, height + self._head(width) + _LINE * (shown < len(self.pictures))

    def _wrapped(self, width: float) -> str:
        """Return the title in as many lines as a sheet of this width needs."""
        return wrap(self.title, width - 2 * _MARGIN, size=_TITLE_SIZE)

    def _head(self, width: float) -> float:
        """Return the height of the title."""
        return _LINE + _NEXT_LINE * self._wrapped(width).count("\n") if self.title else 0

    def _draw(self, ax: Axes) -> None:
        """Draw the pictures row by row."""
        width, height = self._size()
        sheet = Sheet(ax, width, height)
        top = _MARGIN
        if self.title:
            middle = _MARGIN + 5 + (self._head(width) - _LINE) / 2
            sheet.lines(self._wrapped(width), _MARGIN, middle, size=_TITLE_SIZE)
            top += self._head(width)
        shown = self.pictures[: self.max_pictures]
        for index, picture in enumerate(load_pictures(shown)):
            row, column = divmod(index, self.columns)
            x = _MARGIN + column * (SIDE + _GAP)
            y = top + row * (SIDE + self._foot() + _GAP)
            sheet.picture(picture, x, y, SIDE, frame=self._frame(index))
            self._draw_foot(sheet, index, x, y + SIDE)
        left_out = len(self.pictures) - len(shown)
        if left_out:
            note = and_more(left_out, "image")
            sheet.line(note, _MARGIN, height - _MARGIN - 4, width - 2 * _MARGIN, color=QUIET)
        self.ax_ = ax
