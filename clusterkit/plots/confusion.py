"""Confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display, check_some, highest, of_classes
from clusterkit.plots.heat_map import draw_heat_map, square_size
from clusterkit.utils.text import percent

if TYPE_CHECKING:
    from clusterkit.classifiers.evaluation import ClassificationReport

_CELL = 34.0


class ConfusionDisplay(Display):
    """Confusion matrix as a heat map.

    Each cell shows the number of images and its share of the true class, which also gives the
    colour: the diagonal is the recall.

    Parameters
    ----------
    table : array-like of shape (n_classes, n_classes), int
        Numbers of images: true classes in rows, predicted ones in columns.
    classes : sequence of str
        Their names.
    title : str
        Title of the figure.
    max_classes : int
        Maximum number of classes; above it, those with the most mistakes are drawn.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes

    def __init__(
        self,
        table: ArrayLike,
        classes: Sequence[str],
        *,
        title: str = "",
        max_classes: int = 60,
    ) -> None:
        self.table = table
        self.classes = classes
        self.title = title
        self.max_classes = max_classes

    @classmethod
    def from_report(cls, report: ClassificationReport, *, ax: Axes | None = None) -> Self:
        """Plot the confusion matrix of a report.

        Parameters
        ----------
        report : ClassificationReport
            Report of a single-label classifier.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.

        Returns
        -------
        ConfusionDisplay
            The plotted display.

        Raises
        ------
        InvalidInputError
            If the classifier is multi-label.
        """
        table = report.confusion
        if table is None:
            raise InvalidInputError("there is no confusion matrix where images have several labels")
        title = f"accuracy {report.accuracy:.3f} of {len(report.names):,} images"
        return cls(table, report.classes, title=title).plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw, with a row for each class."""
        table = np.asarray(self.table)
        n = len(self.classes)
        if table.shape != (n, n):
            raise InvalidInputError(
                f"table must have the shape ({n}, {n}), one row and one column per class. "
                f"Received: {table.shape}"
            )
        check_some(self.classes, "class")

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        return square_size(min(len(self.classes), self.max_classes), _CELL)

    def _draw(self, ax: Axes) -> None:
        """Draw the table."""
        table, n = np.asarray(self.table), len(self.classes)
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        mistakes = table.sum(axis=0) + table.sum(axis=1) - 2 * np.diagonal(table)
        shown = highest(mistakes, self.max_classes)
        texts = [
            [f"{table[i, j]}\n{percent(share[i, j])}" if table[i, j] else "" for j in shown]
            for i in shown
        ]
        names = [self.classes[i] for i in shown]
        draw_heat_map(
            ax, share[np.ix_(shown, shown)], texts, rows=names, columns=names, text_size=7
        )
        ax.set_title(self.title + of_classes(len(shown), n, "the most mistakes"), wrap=True)
        ax.set_xlabel("predicted")
        ax.set_ylabel("true")
        self.ax_ = ax
