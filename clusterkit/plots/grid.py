"""Base class of grids of pictures with text."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display
from clusterkit.plots.pictures import Sheet, and_more, load_pictures
from clusterkit.plots.style import QUIET, wrap

# Sizes in points: a picture, between pictures, margin, a line above or below the grid.
SIDE, _GAP, _MARGIN, _LINE = 112.0, 14.0, 4.0, 18.0
_TITLE_SIZE, _NEXT_LINE = 10.0, 12.0


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
    ax_: Axes
    _fills_figure = True

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
        if not len(self.pictures):
            raise InvalidInputError("there must be at least one picture. Received: none")
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
