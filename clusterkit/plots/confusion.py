"""Predicted classes against the true ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display
from clusterkit.plots.style import BLUE, INK, fit

if TYPE_CHECKING:
    from clusterkit.classifiers.report import ClassificationReport

_CELL, _NAME = 34.0, 110.0


class ConfusionDisplay(Display):
    """How many images of each class were predicted as each, as a heat map.

    Each cell has the number of images and its share of the true class, which is its colour: the
    diagonal is the recall.

    Parameters
    ----------
    table : array-like of shape (n_classes, n_classes), int
        Numbers of images: true classes in rows, predicted ones in columns.
    classes : sequence of str
        Their names.
    title : str
        Drawn above.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes

    def __init__(self, table: ArrayLike, classes: Sequence[str], *, title: str = "") -> None:
        self.table = table
        self.classes = classes
        self.title = title

    @classmethod
    def from_report(cls, report: "ClassificationReport", *, ax: Axes | None = None) -> Self:
        """Draw the confusion matrix of a report.

        Parameters
        ----------
        report : ClassificationReport
            Of a classifier with one class an image.
        ax : matplotlib.axes.Axes, optional
            Where to draw.

        Returns
        -------
        ConfusionDisplay
            Plotted.

        Raises
        ------
        InvalidInputError
            If an image may have several classes.
        """
        table = report.confusion
        if table is None:
            raise InvalidInputError("there is no confusion matrix where images have several labels")
        title = f"accuracy {report.accuracy:.3f} of {len(report.names)} images"
        return cls(table, report.classes, title=title).plot(ax=ax)

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure, in points."""
        side = _CELL * len(self.classes)
        return max(300, _NAME + side + 40), _NAME + side + 50

    def _draw(self, ax: Axes) -> None:
        """Draw the table."""
        table = np.asarray(self.table)
        n = len(self.classes)
        if table.shape != (n, n):
            raise InvalidInputError(
                f"table must have the shape ({n}, {n}), one row and one column a class. "
                f"Received: {table.shape}"
            )
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        colors = LinearSegmentedColormap.from_list("share", ["white", BLUE])
        ax.imshow(share, cmap=colors, vmin=0, vmax=1, aspect="equal")
        for (row, column), count in np.ndenumerate(table):
            if count:
                color = "white" if share[row, column] > 0.55 else INK
                text = f"{count}\n{share[row, column]:.0%}"
                ax.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
        names = [fit(str(name), _NAME, size=8.5) for name in self.classes]
        ax.set_yticks(range(n), names)
        ax.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title(self.title)
        ax.set_xlabel("predicted")
        ax.set_ylabel("true")
        self.ax_ = ax
