"""Heat map of a table with text, shared by several displays."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from clusterkit.plots.style import BLUE, INK, fit

# Maximum width of the name of a row or column in points.
NAME = 110.0
_NAME_SIZE = 8.5
# Column names of at most this many letters fit in the width of a cell.
_SHORT = 4


def square_size(n: int, cell: float) -> tuple[float, float]:
    """Return the size of a figure with a table of n x n cells of width ``cell``, in points."""
    return max(300, NAME + cell * n + 40), NAME + cell * n + 50


def draw_heat_map(
    ax: Axes,
    shades: ArrayLike,
    texts: Sequence[Sequence[str]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    text_size: float = 7.5,
) -> None:
    """Draw a table of cells with colours from white to blue and text.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw in.
    shades : array-like of shape (n_rows, n_columns)
        Colour values in [0, 1]; NaN is white.
    texts : sequence of shape (n_rows, n_columns), str
        Text of each cell.
    rows, columns : sequence of str
        Their names.
    text_size : float
        Font size of the texts, in points.
    """
    shades = np.asarray(shades, float)
    colors = LinearSegmentedColormap.from_list("shades", ["white", BLUE])
    ax.imshow(shades, cmap=colors, vmin=0, vmax=1, aspect="equal")
    for (row, column), shade in np.ndenumerate(shades):
        if text := texts[row][column]:
            color = "white" if shade > 0.55 else INK
            ax.text(column, row, text, ha="center", va="center", fontsize=text_size, color=color)
    row_names, column_names = (
        [fit(str(name), NAME, size=_NAME_SIZE) for name in names] for names in (rows, columns)
    )
    ax.set_yticks(range(len(rows)), row_names)
    ax.set_xticks(range(len(columns)), column_names)
    if max(map(len, column_names), default=0) > _SHORT:
        for label in ax.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
