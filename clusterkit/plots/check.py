"""Chart of the findings of a check, with example images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from matplotlib.axes import Axes

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display
from clusterkit.plots.pictures import Sheet, load_pictures
from clusterkit.plots.style import BLUE, QUIET, RULE, VERMILION, wrap

if TYPE_CHECKING:
    from clusterkit.preparation.checking import Check

_MARGIN, _NAME, _BAR, _LINE, _SIDE, _GAP = 8.0, 90.0, 96.0, 17.0, 60.0, 6.0
_N_IMAGES = 6
_PICTURES = _NAME + _BAR + 16.0
_WIDTH = _PICTURES + _N_IMAGES * (_SIDE + _GAP)
_ROW = _SIDE + _GAP + 2.0
# Maximum number of classes with a bar.
_MAX_CLASSES = 12


class CheckDisplay(Display):
    """Number of findings of each kind, with examples, and number of images of each class.

    Parameters
    ----------
    counts : mapping of str to int
        Number of findings of each kind.
    images : mapping of str to sequence of (path, str)
        Images of each kind, and a word to be written on them; at most six are drawn.
    classes : mapping of str to int, optional
        Number of images of each class; only the largest are drawn.
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
        counts: Mapping[str, int],
        images: Mapping[str, Sequence[tuple[Path, str]]],
        *,
        classes: Mapping[str, int] | None = None,
        title: str = "",
    ) -> None:
        self.counts = counts
        self.images = images
        self.classes = classes
        self.title = title

    @classmethod
    def from_check(cls, check: Check, *, ax: Axes | None = None) -> Self:
        """Plot the result of :func:`clusterkit.check`.

        Parameters
        ----------
        check : Check
            The check.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.

        Returns
        -------
        CheckDisplay
            The plotted display.
        """
        here = _present_places(check)
        images: dict[str, list[tuple[Path, str]]] = {}
        for finding in check.findings:
            pictures = [(finding.path, "")]
            if finding.related:
                is_copy = finding.kind in ("duplicate", "near-copy")
                pictures.append((finding.related, "kept" if is_copy else ""))
            images.setdefault(finding.kind, []).extend(
                (here.get(check.root / path, check.root / path), word) for path, word in pictures
            )
        title = check.to_text().partition("\n")[0]
        return cls(check.counts, images, classes=check.classes, title=title).plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw."""
        if not (self.counts or self.classes or self.title):
            raise InvalidInputError("there must be something to draw. Received: nothing")

    def _title(self) -> str:
        """Return the wrapped title."""
        return wrap(self.title, _WIDTH, size=10, lines=3)

    def _largest(self) -> list[tuple[str, int]]:
        """Return the classes that are drawn, the largest first."""
        ranked = sorted((self.classes or {}).items(), key=lambda item: -item[1])
        return ranked[:_MAX_CLASSES]

    def _size(self) -> tuple[float, float]:
        """Return the size of the sheet, in points."""
        title = 14.0 * (self._title().count("\n") + 1) + 8
        classes = self._largest()
        below = _LINE * (len(classes) + 1) + 4 if classes else 0
        return _WIDTH + 2 * _MARGIN, title + _ROW * len(self.counts) + below + 2 * _MARGIN

    def _draw(self, ax: Axes) -> None:
        """Draw the title, a row for each kind, and a bar for each class."""
        sheet = Sheet(ax, *self._size())
        n_lines = self._title().count("\n") + 1
        sheet.lines(self._title(), _MARGIN, _MARGIN + 7.0 * n_lines, size=10)
        y = _MARGIN + 14 * n_lines + 8
        for kind, count in self.counts.items():
            self._bar(sheet, kind, count, max(self.counts.values()), y + _SIDE / 2, VERMILION)
            shown = self.images.get(kind, ())[:_N_IMAGES]
            pictures = load_pictures(file for file, _ in shown)
            for place, (picture, (_, word)) in enumerate(zip(pictures, shown, strict=True)):
                left = _MARGIN + _PICTURES + place * (_SIDE + _GAP)
                sheet.picture(picture, left, y, _SIDE)
                if word:
                    sheet.tag(word, left + _SIDE, y + _SIDE)
            y += _ROW
        classes = self._largest()
        if classes:
            n_hidden = len(self.classes or {}) - len(classes)
            more = f", the {len(classes)} largest of {len(self.classes or {})}" if n_hidden else ""
            sheet.line(f"images in each folder{more}", _MARGIN, y + 8, _WIDTH, color=QUIET)
            y += _LINE + 4
        for name, count in classes:
            self._bar(sheet, name, count, classes[0][1], y + _LINE / 2, BLUE)
            y += _LINE
        self.ax_ = ax

    @staticmethod
    def _bar(sheet: Sheet, name: str, count: int, highest: int, y: float, color: str) -> None:
        """Draw a name, a bar and its number at a height."""
        left = _MARGIN + _NAME
        sheet.line(name, left - 8, y, _NAME - 8, size=9, ha="right")
        width = 0.6 * _BAR
        sheet.box(left, y - 5, width, 10, color=RULE)
        sheet.box(left, y - 5, width * count / max(1, highest), 10, color=color)
        sheet.line(f"{count:,}", left + width + 6, y, _BAR - width, size=9)


def _present_places(check: Check) -> dict[Path, Path]:
    """Return the present paths of files that were moved."""
    moved = check.moved
    if moved is None or moved.dry_run:
        return {}
    return {Path(one.source): moved.into / one.target for one in moved.transfers}
