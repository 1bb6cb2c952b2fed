"""ROC and precision-recall curves of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display
from clusterkit.plots.style import CYCLE, INK, QUIET, RULE, fit

if TYPE_CHECKING:
    from clusterkit.classifiers.evaluation import ClassificationReport

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

# Number of classes with a colour if there are more classes than colours.
_N_WORST = 4
_GRID = np.linspace(0, 1, 501)
_LINE, _NAME = 13.0, 90.0


class RankingCurvesDisplay(Display):
    """ROC and precision-recall curves of each class against the others, and their mean.

    With more than seven classes, only the four of lowest average precision are named.

    Parameters
    ----------
    truth : ndarray of shape (n, n_classes), bool
        True classes of each image; a class of all images or of none has no curve.
    probabilities : ndarray of shape (n, n_classes)
        Predicted probabilities.
    classes : sequence of str
        Their names.

    Attributes
    ----------
    axes_ : ndarray of shape (2,) of matplotlib.axes.Axes
        ROC, and precision against recall; set by :meth:`plot`.

    Notes
    -----
    The mean curve is the vertical average of the curves of all classes (Fawcett 2006, "An
    introduction to ROC analysis").  The areas are scikit-learn's ``roc_auc_score`` and
    ``average_precision_score``; that of the mean curve is the mean over the classes.
    """

    axes_: NDArray[Any]

    def __init__(
        self, truth: NDArray[np.bool_], probabilities: NDArray[Any], classes: Sequence[str]
    ) -> None:
        self.truth = truth
        self.probabilities = probabilities
        self.classes = classes

    @classmethod
    def from_report(cls, report: ClassificationReport, *, ax: Axes | None = None) -> Self:
        """Plot the curves of a report.

        Parameters
        ----------
        report : ClassificationReport
            The report.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in, which must be part of a grid.

        Returns
        -------
        RankingCurvesDisplay
            The plotted display.

        Raises
        ------
        InvalidInputError
            If no class occurs in some but not all images.
        """
        return cls(report.truth, report.probabilities, report.classes).plot(ax=ax)

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        lines = len(self.classes) if len(self.classes) <= len(CYCLE) else _N_WORST + 1
        return 620.0, 330.0 + _LINE * (lines + 1)

    def _draw(self, ax: Axes) -> None:
        """Draw the two charts."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        usable = np.flatnonzero(self.truth.any(axis=0) & ~self.truth.all(axis=0)).tolist()
        if not usable:
            raise InvalidInputError("a curve needs a class that some images show and others do not")
        names = [self.classes[column] for column in usable]
        columns = [(self.truth[:, column], self.probabilities[:, column]) for column in usable]
        precision = np.array([average_precision_score(*column) for column in columns])
        roc = np.array([roc_auc_score(*column) for column in columns])
        colors = _choose_colors(precision)
        self.axes_ = self._divide(ax, 1, 2)[0]
        left, right = self.axes_
        _draw_curves(left, names, [_roc(*column) for column in columns], roc, colors)
        _draw_curves(right, names, [_recall(*column) for column in columns], precision, colors)
        left.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1, zorder=1)
        left.set(xlabel="false positive rate", ylabel="recall")
        left.set_title("ROC curves, with their area")
        right.set(xlabel="recall", ylabel="precision")
        right.set_title("Precision and recall, with average precision")


def _choose_colors(scores: NDArray[np.float64]) -> list[str | None]:
    """Return a colour for each class or, if there are many, for those of lowest score."""
    if len(scores) <= len(CYCLE):
        return list(CYCLE[: len(scores)])
    colors: list[str | None] = [None] * len(scores)
    for color, row in zip(CYCLE, np.argsort(scores, kind="stable")[:_N_WORST], strict=False):
        colors[row] = color
    return colors


def _draw_curves(
    ax: Axes,
    names: Sequence[str],
    curves: Sequence[Curve],
    areas: NDArray[np.float64],
    colors: Sequence[str | None],
) -> None:
    """Draw the curve of each class and their mean."""
    rest = f"{colors.count(None)} other classes"
    for name, (x, y), area, color in zip(names, curves, areas, colors, strict=True):
        if color is None:
            ax.plot(x, y, color=QUIET, alpha=0.35, linewidth=0.8, label=rest)
            rest = "_"  # a single legend entry for all
        else:
            label = f"{fit(name, _NAME, size=8.5)}  {area:.3f}"
            ax.plot(x, y, color=color, linewidth=1.2, label=label)
    heights = np.mean([np.interp(_GRID, *curve) for curve in curves], axis=0)
    ax.plot(_GRID, heights, color=INK, linewidth=2.2, label=f"mean of all  {areas.mean():.3f}")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    ax.grid(color=RULE)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4, handlelength=1.2)


def _roc(truth: NDArray[np.bool_], probabilities: NDArray[Any]) -> Curve:
    """Return ascending false positive rates, and the recall at each."""
    from sklearn.metrics import roc_curve

    false_positives, recall, _ = roc_curve(truth, probabilities)
    return false_positives, recall


def _recall(truth: NDArray[np.bool_], probabilities: NDArray[Any]) -> Curve:
    """Return ascending recalls and precisions as steps with the area of the average precision."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(truth, probabilities)
    # From the highest threshold down to the first of full recall.
    end = np.count_nonzero(recall < 1) + 1
    precision, recall = precision[::-1][:end], recall[::-1][:end]
    # Each step has the height of its right end; the first point is not a threshold.
    return np.repeat(recall, 2)[1:-1], np.repeat(precision, 2)[2:]
