"""What every display shares: where figures come from, the style, and saving."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.plots.style import font_families, styled


class Display(ABC):
    """A picture of a result, in scikit-learn's convention.

    Without ``ax``, a notebook shows the figure after the cell, as scikit-learn's displays do.
    Anywhere else the figure belongs to the display alone: no screen is needed, and the memory is
    free with the display, however many are made.  For ``plt.show()`` in a script, pass ``ax`` from
    ``plt.subplots()``.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        Set by :meth:`plot`.
    """

    figure_: Figure | SubFigure
    # Sheets of pictures place everything themselves; charts leave the margins to matplotlib.
    _fills_figure: bool = False

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default on a new figure of fitting size.

        Returns
        -------
        self
            With ``figure_``, and ``ax_`` or ``axes_``.
        """
        make_figure = _figure_maker()
        with styled():
            if ax is None:
                ax = self._new_axes(make_figure)
            self._draw(ax)
            # Axes from outside were set in another font, which may lack glyphs that ours has.
            for text in ax.findobj(Text):
                text.set_fontfamily(font_families())
        self.figure_ = ax.figure
        return self

    def _new_axes(self, make_figure: Callable[..., Figure]) -> Axes:
        """Make a figure of fitting size with one Axes."""
        width, height = self._size()
        inches = (width / 72, height / 72)
        if self._fills_figure:
            return make_figure(figsize=inches).add_axes((0, 0, 1, 1))
        return make_figure(figsize=inches, layout="constrained").add_subplot()

    @staticmethod
    def _divide(ax: Axes, rows: int, columns: int, **kwargs: Any) -> NDArray[Any]:
        """Put a grid of Axes, of shape (rows, columns), in the place of one."""
        place = ax.get_subplotspec()
        if place is None:
            raise InvalidInputError("ax must be of a grid, as plt.subplots() makes it")
        ax.set_axis_off()
        shared = {key: kwargs.pop(key) for key in ("sharex", "sharey") if key in kwargs}
        return place.subgridspec(rows, columns, **kwargs).subplots(squeeze=False, **shared)

    @abstractmethod
    def _size(self) -> tuple[float, float]:
        """Return the (width, height) of a new figure, in points."""

    @abstractmethod
    def _draw(self, ax: Axes) -> None:
        """Draw into ``ax`` and set ``ax_`` or ``axes_``."""

    def save(self, path: str | Path, *, overwrite: bool = False, dpi: float = 150) -> Path:
        """Write the figure to a file; see :func:`clusterkit.plots.save_figure`."""
        from clusterkit.plots.save import save_figure

        return save_figure(self, path, overwrite=overwrite, dpi=dpi)


def highest(values: ArrayLike, count: int) -> list[int]:
    """Return the rows of the highest values, at most so many, in their order."""
    values = np.asarray(values, float)
    return sorted(np.argsort(-values, kind="stable")[:count].tolist())


def of_classes(shown: int, total: int, which: str) -> str:
    """Say that not all classes are drawn, and which are; nothing where all are."""
    return f" ({shown} of {total:,} classes: {which})" if shown < total else ""


def _figure_maker() -> Callable[..., Figure]:
    """Return pyplot's function where a notebook will show the figure, else the plain class.

    pyplot needs a screen on some systems and keeps every figure until it is closed.
    """
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from matplotlib import pyplot

        # A notebook's backend turns interactive as it loads; inside the style that would be undone.
        pyplot.draw_if_interactive()
        return pyplot.figure
    return Figure
