"""Plot of two images and the histograms of their latent vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from clusterkit.plots.display import Display
from clusterkit.plots.pictures import Sheet, load_picture
from clusterkit.plots.style import BLUE, VERMILION, fit, wrap

if TYPE_CHECKING:
    from clusterkit.similarity.explanation import Explanation

_WIDTH, _HEIGHT, _WORDS = 700.0, 270.0, 30.0


class ExplanationDisplay(Display):
    """Two images, and the histograms of their latent vectors with common bins.

    Parameters
    ----------
    files : pair of path
        The two images; None for vectors without a file.
    histograms : pair of array-like of shape (n_bins,)
        Fraction of each vector's values in each bin.
    bin_edges : array-like of shape (n_bins + 1,)
        Edges of the bins.
    labels : pair of str
        Names of the images.
    title : str
        Summary of the comparison.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
        Left picture, histograms, right picture. Set by :meth:`plot`.
    """

    axes_: NDArray[Any]

    def __init__(
        self,
        files: tuple[str | Path | None, str | Path | None],
        histograms: tuple[ArrayLike, ArrayLike],
        bin_edges: ArrayLike,
        *,
        labels: tuple[str, str] = ("", ""),
        title: str = "",
    ) -> None:
        self.files = files
        self.histograms = histograms
        self.bin_edges = bin_edges
        self.labels = labels
        self.title = title

    @classmethod
    def from_explanation(cls, explanation: Explanation, *, ax: Axes | None = None) -> Self:
        """Plot the result of :func:`clusterkit.explain`.

        Parameters
        ----------
        explanation : Explanation
            The explanation.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in, which is divided into three.

        Returns
        -------
        ExplanationDisplay
            The plotted display.
        """
        display = cls(
            (explanation.file_a, explanation.file_b),
            (explanation.histogram_a, explanation.histogram_b),
            explanation.bin_edges,
            labels=(explanation.path_a or "", explanation.path_b or ""),
            title=explanation.to_text(),
        )
        return display.plot(ax=ax)

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        return _WIDTH, _HEIGHT

    def _draw(self, ax: Axes) -> None:
        """Draw the images left and right of the histograms."""
        ratios = {"width_ratios": [1, 1.8, 1], "height_ratios": [_WORDS, _HEIGHT - _WORDS]}
        above, self.axes_ = self._divide(ax, 2, 3, **ratios)
        for empty in above:
            empty.set_axis_off()
        title = above[0].text(0, 1, wrap(self.title, 0.97 * _WIDTH), va="top")
        title.set_in_layout(False)  # it spans all three columns
        left, middle, right = self.axes_
        for side, file, label, color in zip(
            (left, right), self.files, self.labels, (BLUE, VERMILION), strict=True
        ):
            side.set_anchor("N")
            Sheet(side, 100, 100).picture(load_picture(file), 0, 0, 100, frame=color)
            side.set_title(fit(label, 0.24 * _WIDTH, size=8.5), fontsize=8.5, color=color)
        for histogram, color in zip(self.histograms, (BLUE, VERMILION), strict=True):
            middle.stairs(histogram, self.bin_edges, fill=True, color=color, alpha=0.35)
            middle.stairs(histogram, self.bin_edges, color=color, linewidth=1.2)
        middle.set_xlabel("value in the latent vector")
        middle.set_ylabel("share of the values")
        filled = np.concatenate([np.ravel(h) for h in self.histograms])
        # Rectified features are mostly zero, so one bin would dominate the others.
        if (filled > 0).any() and filled.max() > 10 * np.median(filled[filled > 0]):
            middle.set_yscale("log")
