"""Scores and number of images of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from clusterkit.plots.display import Display, check_some, highest, of_classes
from clusterkit.plots.style import BLUE, GREEN, INK, ORANGE, QUIET, RULE, SKY, fit, wrap

if TYPE_CHECKING:
    from clusterkit.classifiers.evaluation import ClassificationReport

_ROW, _NAME, _WIDTH = 18.0, 110.0, 560.0
# Width of a line of the title, which must not reach that of the numbers of images.
_TITLE = 280.0
_MARKS = {"precision": ("o", ORANGE), "recall": ("D", GREEN), "threshold": ("|", INK)}


class ClassScoresDisplay(Display):
    """Bar chart of F1 with precision, recall and number of images of each class.

    Used instead of the confusion matrix for multi-label classifiers.

    Parameters
    ----------
    scores : mapping of str to mapping of str to float
        ``f1``, ``precision``, ``recall``, ``support`` and optionally ``threshold`` of each class;
        NaN is not drawn.
    title : str
        Title of the figure.
    max_classes : int
        Maximum number of classes; above it, those of lowest F1 are drawn.

    Attributes
    ----------
    axes_ : ndarray of shape (2,) of matplotlib.axes.Axes
        Scores, and numbers of images; set by :meth:`plot`.
    """

    axes_: NDArray[Any]

    def __init__(
        self,
        scores: Mapping[str, Mapping[str, float]],
        *,
        title: str = "",
        max_classes: int = 60,
    ) -> None:
        self.scores = scores
        self.title = title
        self.max_classes = max_classes

    @classmethod
    def from_report(cls, report: ClassificationReport, *, ax: Axes | None = None) -> Self:
        """Plot the scores of a report.

        Parameters
        ----------
        report : ClassificationReport
            The report.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in, which must be part of a grid.

        Returns
        -------
        ClassScoresDisplay
            The plotted display.
        """
        title = f"weighted F1 {report.weighted['f1']:.3f}, macro F1 {report.macro['f1']:.3f}"
        return cls(report.per_class, title=title).plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw."""
        check_some(self.scores, "class")

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        return _WIDTH, 112 + _ROW * min(len(self.scores), self.max_classes)

    def _draw(self, ax: Axes) -> None:
        """Draw the scores, and the numbers of images beside them."""
        self.axes_ = self._divide(ax, 1, 2, sharey=True, width_ratios=(3, 1))[0]
        left, right = self.axes_
        names = list(self.scores)
        worst = highest([-scores["f1"] for scores in self.scores.values()], self.max_classes)
        shown = {names[row]: self.scores[names[row]] for row in worst}
        _draw_scores(left, shown)
        title = self.title + of_classes(len(shown), len(names), "the lowest")
        left.set_title(wrap(title, _TITLE, size=10, lines=4))
        _draw_support(right, [scores["support"] for scores in shown.values()])
        for axes in self.axes_:
            axes.tick_params(axis="y", length=0, pad=7)  # keep marks at 0 clear of names
            axes.grid(axis="x", color=RULE)


def _draw_scores(ax: Axes, shown: Mapping[str, Mapping[str, float]]) -> None:
    """Draw F1 as bars, and other scores as marks."""
    rows = np.arange(len(shown))
    ax.barh(rows, [scores["f1"] for scores in shown.values()], color=SKY, alpha=0.6, label="F1")
    for name, (marker, color) in _MARKS.items():
        values = [scores.get(name, np.nan) for scores in shown.values()]
        if not np.isnan(values).all():
            marks = ax.plot(values, rows, marker, color=color, label=name)[0]
            marks.set(markersize=10 if marker == "|" else 4.5, clip_on=False)
    for row, scores in enumerate(shown.values()):
        if not scores["support"]:
            ax.text(0.02, row, "no images", va="center", fontsize=7, color=QUIET)
    ax.set_yticks(rows, [fit(name, _NAME, size=8.5) for name in shown])
    ax.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=3, ncols=4)


def _draw_support(ax: Axes, support: Sequence[float]) -> None:
    """Draw numbers of images."""
    bars = ax.barh(np.arange(len(support)), support, color=BLUE)
    ax.bar_label(bars, [f"{n:,.0f}" for n in support], padding=2, fontsize=7, color=QUIET)
    ax.set_title("images")
    ax.margins(x=0.25)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.xaxis.set_major_formatter("{x:,.0f}")
