"""Chart of the properties that an embedding space follows, with odd images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from matplotlib.axes import Axes

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display
from clusterkit.plots.pictures import Sheet, load_pictures
from clusterkit.plots.style import BLUE, INK, QUIET, RULE, VERMILION, wrap

if TYPE_CHECKING:
    from pathlib import Path

    from clusterkit.similarity.space_audit import Audit

_MARGIN, _NAME, _BAR, _LINE, _SIDE, _GAP = 8.0, 132.0, 250.0, 20.0, 64.0, 6.0
_N_IMAGES = 6
_WIDTH = _NAME + _BAR + 50.0


class PropertyBar(NamedTuple):
    """One property of images, and its association with a space.

    Attributes
    ----------
    name : str
        Its name.
    correlation : float
        Association of the distances with it, at most 1.
    limit : float
        Minimum association of a followed property.
    follows : bool
        Whether the space follows it; changes the colour of the bar.
    """

    name: str
    correlation: float
    limit: float
    follows: bool


class AuditDisplay(Display):
    """Association of a space with each property of the images, and rows of odd images.

    Parameters
    ----------
    bars : sequence of PropertyBar
        The properties.
    images : mapping of str to sequence of path
        A caption, and its images; at most six are drawn.
    title : str
        Summary.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes
    _fills_figure = True

    def __init__(
        self,
        bars: Sequence[PropertyBar],
        *,
        images: Mapping[str, Sequence[Path]] | None = None,
        title: str = "",
    ) -> None:
        self.bars = bars
        self.images = images
        self.title = title

    @classmethod
    def from_audit(cls, audit: Audit, *, ax: Axes | None = None) -> Self:
        """Plot the result of :func:`clusterkit.audit`.

        Parameters
        ----------
        audit : Audit
            The audit.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.

        Returns
        -------
        AuditDisplay
            The plotted display.
        """
        files = audit.embeddings.files
        named = {
            "unlike all others, worst first": [files[row] for row, _ in audit.outliers],
            "rebuilt worst": [files[row] for row in audit.worst_rebuilt(_N_IMAGES)],
            # An image with several copies is in several pairs.
            "copies": list(dict.fromkeys(files[row] for pair in audit.copies for row in pair)),
        }
        bars = [PropertyBar(*bar) for bar in audit.bars()]
        images = {caption: some for caption, some in named.items() if some}
        problems = [finding.sentence for finding in audit.problems]
        title = " ".join(problems) or "Nothing in this space asks for a remedy."
        if audit.sampled is not None:
            title += f" This is of {audit.sampled}."
        return cls(bars, images=images, title=title).plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw."""
        if not (self.bars or self.images or self.title):
            raise InvalidInputError("there must be something to draw. Received: nothing")

    def _title(self) -> str:
        """Return the wrapped title."""
        return wrap(self.title, _WIDTH, size=9, lines=6)

    def _size(self) -> tuple[float, float]:
        """Return the size of the sheet, in points."""
        title = 13.0 * (self._title().count("\n") + 1) + 8
        bars = _LINE * (len(self.bars) + 1) if self.bars else 0
        images = (_SIDE + _LINE + _GAP) * len(self.images or {})
        return _WIDTH + 2 * _MARGIN, title + bars + images + 2 * _MARGIN

    def _draw(self, ax: Axes) -> None:
        """Draw the title, the bars and the pictures below each other."""
        sheet = Sheet(ax, *self._size())
        lines = self._title().count("\n") + 1
        sheet.lines(self._title(), _MARGIN, _MARGIN + 6.5 * lines, size=9)
        y = _MARGIN + 13 * lines + 8
        if self.bars:
            left = _MARGIN + _NAME
            caption = "rank correlation; beyond the line, the space follows it"
            sheet.line(caption, left, y + 6, _BAR + 40, color=QUIET)
            y += _LINE
            for bar in self.bars:
                color = VERMILION if bar.follows else BLUE
                sheet.line(bar.name, left - 8, y + 7, _NAME - 8, size=9, ha="right")
                sheet.box(left, y + 2, _BAR, 10, color=RULE)
                sheet.box(left, y + 2, _BAR * min(1.0, max(0.0, bar.correlation)), 10, color=color)
                sheet.box(left + _BAR * bar.limit, y, 1.2, 14, color=INK)
                weight = "bold" if bar.follows else "normal"
                text = f"{bar.correlation:z.2f}"
                sheet.line(text, left + _BAR + 8, y + 7, 40, size=9, weight=weight)
                y += _LINE
        for caption, files in (self.images or {}).items():
            sheet.line(caption, _MARGIN, y + 8, _WIDTH, color=QUIET)
            y += _LINE - 4
            for index, picture in enumerate(load_pictures(files[:_N_IMAGES])):
                sheet.picture(picture, _MARGIN + index * (_SIDE + _GAP), y, _SIDE)
            y += _SIDE + _GAP + 4
        self.ax_ = ax
