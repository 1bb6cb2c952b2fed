"""Bar chart of the number of images per class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from clusterkit.plots.display import Display, check_some, highest, of_classes
from clusterkit.plots.style import BLUE, GREEN, ORANGE, PURPLE, QUIET, RULE, fit

if TYPE_CHECKING:
    from clusterkit.classifiers.train import ClassifierTraining
    from clusterkit.preparation.splitting import FolderSplit

_BAR, _GAP, _NAME, _WIDTH = 9.0, 7.0, 110.0, 430.0
_COLORS = (BLUE, ORANGE, GREEN, PURPLE)


class ClassCountsDisplay(Display):
    """Bar chart of the number of images per class and part.

    Parameters
    ----------
    counts : mapping of str to mapping of str to int
        Number of images per class for each part, such as ``"train"``.
    max_classes : int
        Maximum number of classes; above it, the largest and smallest are drawn.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes

    def __init__(self, counts: Mapping[str, Mapping[str, int]], *, max_classes: int = 60) -> None:
        self.counts = counts
        self.max_classes = max_classes

    @classmethod
    def from_report(
        cls, report: ClassifierTraining | FolderSplit, *, ax: Axes | None = None
    ) -> Self:
        """Plot the classes of a training report, or of a split.

        Parameters
        ----------
        report : ClassifierTraining or FolderSplit
            From :func:`clusterkit.classifiers.train_classifier` or
            :func:`clusterkit.preparation.split_folder`.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.

        Returns
        -------
        ClassCountsDisplay
            The plotted display.
        """
        return cls(report.counts).plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw."""
        check_some(self._parts(), "image")

    def _parts(self) -> dict[str, Mapping[str, int]]:
        """Return the parts that have images."""
        return {part: classes for part, classes in self.counts.items() if any(classes.values())}

    def _classes(self) -> list[str]:
        """Return all classes, in order of the parts and of their names there."""
        return list(dict.fromkeys(name for part in self.counts.values() for name in part))

    def _shown(self) -> list[str]:
        """Return the classes to draw."""
        names = self._classes()
        totals = [sum(part.get(name, 0) for part in self.counts.values()) for name in names]
        # By rank, the largest and smallest are farthest from the middle.
        ranks = np.argsort(np.argsort(totals, kind="stable"))
        return [names[row] for row in highest(abs(ranks - (len(names) - 1) / 2), self.max_classes)]

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        return _WIDTH, 80 + len(self._shown()) * (_BAR * len(self._parts()) + _GAP)

    def _draw(self, ax: Axes) -> None:
        """Draw a group of bars for each class."""
        parts, classes = self._parts(), self._shown()
        group = _BAR * len(parts) + _GAP
        rows = np.arange(len(classes))
        for index, (part, numbers) in enumerate(parts.items()):
            heights = [numbers.get(name, 0) for name in classes]
            place = rows + (index - (len(parts) - 1) / 2) * _BAR / group
            color = _COLORS[index % len(_COLORS)]
            bars = ax.barh(place, heights, height=0.9 * _BAR / group, color=color, label=part)
            ax.bar_label(bars, [f"{n:,}" for n in heights], padding=2, fontsize=6.5, color=QUIET)
        ax.set_yticks(rows, [fit(name, _NAME, size=8.5) for name in classes])
        ax.set_ylim(len(classes) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        note = of_classes(len(classes), len(self._classes()), "the largest and smallest")
        ax.set_xlabel(f"images{note}")
        ax.margins(x=0.08)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.grid(axis="x", color=RULE)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(parts))
        self.ax_ = ax
