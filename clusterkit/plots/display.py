"""Base class of displays, and reproducible saving of figures."""

from __future__ import annotations

import io
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError, Notice
from clusterkit.plots.style import INK, QUIET, UNKNOWN, font_families, on_color, styled
from clusterkit.utils.arguments import check_at_least
from clusterkit.utils.files import check_output, write_whole
from clusterkit.utils.locations import as_path

# Parameters of displays that are numbers of what is drawn.
_NUMBERS = (
    "columns",
    "max_classes",
    "max_clusters",
    "max_columns",
    "max_pictures",
    "max_rows",
    "n_images",
)
# Around a display on a dark figure, in points.
_MARGIN = 6.0


class Display(ABC):
    """Base class of displays, following scikit-learn's convention.

    Without ``ax``, a notebook shows the figure after the cell, as for scikit-learn's displays.
    Elsewhere pyplot does not manage the figure: no screen is needed, and memory is freed with the
    display.  For ``plt.show()`` in a script, pass ``ax`` from ``plt.subplots()``.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure or SubFigure
        Set by :meth:`plot`.
    """

    figure_: Figure | SubFigure
    # Picture sheets use their own layout; charts use matplotlib's.
    _fills_figure: bool = False

    def plot(self, ax: Axes | None = None) -> Self:
        """Plot the display.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw in; by default of a new figure of suitable size.  In a dark figure it is
            drawn on white.  In a figure without a layout, an Axes shrinks whose text would be cut
            off.

        Returns
        -------
        self
            The display with ``figure_``, and ``ax_`` or ``axes_``.

        Raises
        ------
        InvalidInputError
            If there is nothing to draw, parameters differ in length, one that is a number is not
            one of at least 1, or ``ax`` is not an Axes of two dimensions in a figure.

        Warns
        -----
        Notice
            If no installed font has some letters, which are drawn as boxes.
        """
        for name in _NUMBERS:
            if hasattr(self, name):
                check_at_least(getattr(self, name), 1, name)
        self._check()
        if ax is not None and not isinstance(ax, Axes):
            raise InvalidInputError(
                "ax must be one Axes, such as plt.subplots()[1] or one of its array. "
                f"Received: {type(ax).__name__}"
            )
        if ax is not None and (ax.figure is None or ax.name == "3d"):
            raise InvalidInputError(
                "ax must be in a figure, and of two dimensions. Received: "
                + ("one that was removed" if ax.figure is None else "one of three dimensions")
            )
        make_figure = _figure_maker()
        is_given = ax is not None
        with styled():
            if ax is None:
                ax = self._new_axes(make_figure)
            figure = whole_figure(ax)
            others = set(figure.axes) - {ax}
            is_dark = _is_dark(figure) or _is_dark(ax)
            if is_dark:
                _whiten(ax)
            self._draw(ax)
            drawn = [one for one in figure.axes if one not in others]
            if is_dark:
                figure.add_artist(_Paper(drawn), clip=True)
            if is_given and not has_layout(ax) and drawn == [ax]:
                _make_room(ax)
            # Existing Axes may have a font that lacks glyphs.
            for text in ax.findobj(Text):
                text.set_fontfamily(font_families())
        self.figure_ = ax.figure
        _warn_of_unknown_letters(drawn)
        return self

    def _new_axes(self, make_figure: Callable[..., Figure]) -> Axes:
        """Create a figure of suitable size with one Axes."""
        width, height = self._size()
        inches = (width / 72, height / 72)
        if self._fills_figure:
            return make_figure(figsize=inches).add_axes((0, 0, 1, 1))
        return make_figure(figsize=inches, layout="constrained").add_subplot()

    @staticmethod
    def _divide(ax: Axes, rows: int, columns: int, **kwargs: Any) -> NDArray[Any]:
        """Replace an Axes by a grid of Axes of shape (rows, columns)."""
        place = ax.get_subplotspec()
        if place is None:
            raise InvalidInputError("ax must be of a grid, as plt.subplots() makes it")
        ax.set_axis_off()
        shared = {key: kwargs.pop(key) for key in ("sharex", "sharey") if key in kwargs}
        return place.subgridspec(rows, columns, **kwargs).subplots(squeeze=False, **shared)

    def _check(self) -> None:  # noqa: B027 (what most displays check)
        """Raise InvalidInputError if the parameters cannot be drawn."""

    @abstractmethod
    def _size(self) -> tuple[float, float]:
        """Return the (width, height) of a new figure, in points."""

    @abstractmethod
    def _draw(self, ax: Axes) -> None:
        """Draw into ``ax`` and set ``ax_`` or ``axes_``."""

    def save(self, path: str | Path, *, overwrite: bool = False, dpi: float = 150) -> Path:
        """Write the figure to a file; see :func:`clusterkit.plots.save_figure`."""
        return save_figure(self, path, overwrite=overwrite, dpi=dpi)


class _Paper(Artist):
    """A white sheet behind Axes of a dark figure.

    The colours of all displays are chosen for white.
    """

    def __init__(self, axes: list[Axes]) -> None:
        super().__init__()
        self._axes = axes
        self.set_zorder(-1)
        self.set_in_layout(False)

    def draw(self, renderer: Any) -> None:
        """Draw it around the Axes with their text, wherever the layout has put them."""
        # Without Axes that were removed since.
        axes = [ax for ax in self._axes if ax.figure and ax in ax.figure.axes]
        boxes = [box for ax in axes if (box := ax.get_tightbbox(renderer)) is not None]
        if not boxes:
            return
        figure = whole_figure(axes[0])
        box = Bbox.union(boxes).padded(_MARGIN * figure.dpi / 72)
        sheet = Rectangle(box.p0, box.width, box.height, facecolor="white", linewidth=0)
        sheet.set_figure(figure)
        sheet.draw(renderer)


def whole_figure(ax: Axes) -> Figure:
    """Return the figure of an Axes, also if it is in a subfigure."""
    # Its own method for this is new in matplotlib 3.10.
    return ax.figure.canvas.figure


def has_layout(ax: Axes) -> bool:
    """Return whether matplotlib makes room for the text around an Axes."""
    engine = whole_figure(ax).get_layout_engine()
    # tight_layout() makes room once, and leaves an engine that does nothing.
    return not (engine is None or isinstance(engine, PlaceHolderLayoutEngine))


def _is_dark(place: Figure | Axes) -> bool:
    """Return whether a figure or an Axes has a dark background, as of a dark style."""
    color = to_rgba(place.get_facecolor())
    return color[3] > 0.5 and on_color(to_hex(color)) == "white"


def _whiten(ax: Axes) -> None:
    """Replace the colours that a dark style gave to an Axes when it was made."""
    ax.set_facecolor("white")
    ax.spines[:].set_edgecolor(QUIET)
    ax.tick_params(which="both", color=QUIET, labelcolor=INK)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_color(INK)
    # Titles and notes of the caller, also titles that are set after the display is drawn.
    for text in ax.get_children():
        if isinstance(text, Text) and on_color(to_hex(text.get_color())) == INK:
            text.set_color(INK)


def _make_room(ax: Axes) -> None:
    """Shrink an Axes whose text, such as names of clusters, the edge of the figure would cut off.

    With a layout, matplotlib does it.
    """
    page = ax.figure.bbox
    smallest = 0.4 * np.array(ax.get_position(original=True).size)
    # Several steps, as an Axes of fixed proportions moves by a part of each.
    for _ in range(8):
        box, place = ax.get_tightbbox(), ax.get_position(original=True)
        if box is None:
            return
        low = np.maximum(0, np.subtract(page.min, box.min)) / page.size
        high = np.maximum(0, np.subtract(box.max, page.max)) / page.size
        size = np.array(place.size) - low - high
        if not (low + high).any() or (size < smallest).any():
            return
        ax.set_position((*(place.min + low), *size))
        # matplotlib leaves out Axes with a position of their own.
        ax.set_in_layout(True)


def _warn_of_unknown_letters(axes: list[Axes]) -> None:
    """Warn of letters that no installed font has."""
    if any(UNKNOWN in text.get_text() for ax in axes for text in ax.findobj(Text)):
        warnings.warn(
            f"no installed font has some of the letters, which are drawn as {UNKNOWN}: "
            "Noto Sans CJK has those of Chinese, Japanese and Korean",
            Notice,
            stacklevel=3,
        )


def check_some(values: Any, noun: str) -> None:
    """Raise InvalidInputError if there is nothing to draw.

    Parameters
    ----------
    values : sized
        What is drawn.
    noun : str
        Name of one value, for the message.
    """
    if not len(values):
        raise InvalidInputError(f"there must be at least one {noun}. Received: none")


def check_lengths(count: int, noun: str, **values: Any) -> None:
    """Raise InvalidInputError unless parameters have the same length; None are left out.

    Parameters
    ----------
    count : int
        Length that they must have.
    noun : str
        What they are values of.
    **values
        The parameters by their names.
    """
    for name, some in values.items():
        if some is not None and len(some) != count:
            raise InvalidInputError(
                f"{name} must hold one value for each {noun}. "
                f"Received: {len(some):,}, not {count:,}"
            )


def highest(values: ArrayLike, count: int) -> list[int]:
    """Return the rows of the ``count`` highest values, in ascending order of row."""
    values = np.asarray(values, float)
    return sorted(np.argsort(-values, kind="stable")[:count].tolist())


def of_classes(shown: int, total: int, which: str) -> str:
    """Return a note on which classes are drawn; empty if all are."""
    return f" ({shown} of {total:,} classes: {which})" if shown < total else ""


def _figure_maker() -> Callable[..., Figure]:
    """Return pyplot's function in a notebook, otherwise the class Figure.

    pyplot needs a screen on some systems and keeps every figure until it is closed.
    """
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from matplotlib import pyplot

        # A notebook's backend becomes interactive on import; within the style that would be
        # reverted.
        pyplot.draw_if_interactive()
        return pyplot.figure
    return Figure


# Format, and metadata that make files reproducible.
_FORMATS: dict[str, tuple[str, dict[str, Any] | None]] = {
    ".png": ("png", {"Software": None}),
    ".pdf": ("pdf", {"CreationDate": None}),
    ".svg": ("svg", {"Date": None}),
    ".jpg": ("jpeg", None),
    ".jpeg": ("jpeg", None),
}


def check_figure_path(path: str | Path, *, overwrite: bool = False) -> Path:
    """Check that a figure can be saved to a file.

    Parameters
    ----------
    path : path
        The output file.
    overwrite : bool
        Whether to overwrite an existing file.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    InvalidInputError
        If the suffix is not that of a supported format.
    NotFoundError
        If the folder does not exist.
    OutputExistsError
        If the file exists and ``overwrite`` is false.
    """
    path = as_path(path, "the output")
    _format(path.suffix)
    return check_output(path, overwrite=overwrite)


def save_figure(
    figure: Display | Figure | SubFigure,
    path: str | Path,
    *,
    overwrite: bool = False,
    dpi: float = 150,
) -> Path:
    """Write a display or a figure to a file.

    The file is written atomically, and the same figure gives the same bytes.

    Parameters
    ----------
    figure : Display, Figure or SubFigure
        A display, plotted if necessary, or any matplotlib figure.
    path : path
        The file; its suffix (.png, .pdf, .svg, .jpg) names the format.
    overwrite : bool
        Whether to overwrite an existing file.
    dpi : float
        Dots per inch of pixel formats.

    Returns
    -------
    pathlib.Path
        The written file.

    Raises
    ------
    InvalidInputError
        If the suffix is not that of a supported format, or the folder cannot be written to.
    NotFoundError
        If the folder does not exist.
    OutputExistsError
        If the file exists and ``overwrite`` is false.
    """
    path = check_figure_path(path, overwrite=overwrite)
    write_whole(path, render_figure(figure, path.suffix, dpi=dpi))
    return path


def render_figure(
    figure: Display | Figure | SubFigure, suffix: str = ".png", *, dpi: float = 150
) -> bytes:
    """Return a figure as the content of an image file, for instance to embed it in a page.

    Parameters
    ----------
    figure : Display, Figure or SubFigure
        A display, plotted if necessary, or any matplotlib figure.
    suffix : {".png", ".pdf", ".svg", ".jpg", ".jpeg"}
        The format.
    dpi : float
        Dots per inch of pixel formats.

    Returns
    -------
    bytes
        Content of the file, identical for the same figure.

    Raises
    ------
    InvalidInputError
        If the suffix is not that of a supported format.
    """
    if isinstance(figure, Display):
        figure = (figure if hasattr(figure, "figure_") else figure.plot()).figure_
    name, metadata = _format(suffix)
    content = io.BytesIO()
    # The salt replaces the random ids of SVG elements.
    with matplotlib.rc_context({"svg.hashsalt": "clusterkit"}):
        figure.canvas.figure.savefig(
            content, format=name, dpi=dpi, metadata=metadata, bbox_inches="tight", pad_inches=0.12
        )
    return content.getvalue()


def _format(suffix: str) -> tuple[str, dict[str, Any] | None]:
    """Return matplotlib's name of a format and its metadata."""
    try:
        return _FORMATS[suffix.lower()]
    except KeyError:
        allowed = ", ".join(_FORMATS)
        raise InvalidInputError(
            f"a picture's name must end in {allowed}. Received: {suffix!r}"
        ) from None
