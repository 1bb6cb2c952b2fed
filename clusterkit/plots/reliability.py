"""Reliability diagram of a classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from matplotlib.axes import Axes
from numpy.typing import NDArray

from clusterkit.plots.display import Display
from clusterkit.plots.style import BLUE, INK, QUIET, RULE

if TYPE_CHECKING:
    from clusterkit.classifiers.evaluation import ClassificationReport, Reliability


class ReliabilityDisplay(Display):
    """Reliability diagram: accuracy and number of predictions by predicted probability.

    Bars at the dashed line are well calibrated; below it the classifier is overconfident.

    Parameters
    ----------
    reliability : Reliability
        The bins.

    Attributes
    ----------
    axes_ : ndarray of shape (2,) of matplotlib.axes.Axes
        The diagram, and the numbers of predictions below; set by :meth:`plot`.
    """

    axes_: NDArray[Any]

    def __init__(self, reliability: Reliability) -> None:
        self.reliability = reliability

    @classmethod
    def from_report(cls, report: ClassificationReport, *, ax: Axes | None = None) -> Self:
        """Plot the reliability of a report.

        Parameters
        ----------
        report : ClassificationReport
            The report.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in, which must be part of a grid.

        Returns
        -------
        ReliabilityDisplay
            The plotted display.
        """
        return cls(report.reliability).plot(ax=ax)

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        return 330.0, 380.0

    def _draw(self, ax: Axes) -> None:
        """Draw the two charts."""
        bins = self.reliability
        self.axes_ = self._divide(ax, 2, 1, sharex=True, height_ratios=(3, 1))[:, 0]
        upper, lower = self.axes_
        places = {"x": bins.edges[:-1], "width": bins.edges[1:] - bins.edges[:-1], "align": "edge"}
        upper.bar(height=bins.accuracy, **places, color=BLUE, alpha=0.3, edgecolor="white")
        upper.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1)
        upper.plot(bins.confidence, bins.accuracy, "o", color=BLUE, markersize=4)
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="came true")
        upper.set_title(f"expected calibration error {bins.expected_error:.3f}")
        lower.bar(height=bins.counts, **places, color=INK, alpha=0.5, edgecolor="white")
        lower.set(xlabel="predicted probability", ylabel="predictions")
        for axes in self.axes_:
            axes.grid(axis="y", color=RULE)
