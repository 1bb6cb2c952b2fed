"""Plot of inertia and other indices over the number of clusters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from clusterkit.plots.display import Display
from clusterkit.plots.style import BLUE, INK, QUIET, VERMILION, wrap

if TYPE_CHECKING:
    from clusterkit.elbow.curve import ElbowCurve

_INDICES = {
    "silhouette": "silhouette",
    "calinski_harabasz": "Calinski-Harabasz",
    "davies_bouldin": "Davies-Bouldin, low is good",
    "stability": "stability",
    "modularity": "modularity",
    "conductance": "conductance, low is good",
    "eigengap": "eigengap",
    "evidence": "evidence, from the four above",
}
_WIDTH, _MAIN, _PANEL = 460.0, 230.0, 62.0


class ElbowDisplay(Display):
    """Inertia over k with the chosen k, and a panel for each index.

    On an Axes of the caller, inertia alone is drawn.

    Parameters
    ----------
    n_clusters : array-like of shape (n,), int
        The tried numbers of clusters, ascending.
    inertia : array-like of shape (n,)
        Sum of squared distances to the centres.
    indices : dict of str to array-like of shape (n,), optional
        Other indices by name; undefined values are NaN.
    references : dict of str to array-like of shape (n,), optional
        Reference values of ``indices`` for a cloud without clusters, drawn dashed.
    votes : dict of str to int or None, optional
        The k preferred by each index, by name; "inertia" or "knee" is for the curve.
    chosen : int, optional
        The chosen number; None if there is no clear one.
    confidence : float, optional
        Confidence, from 0 to 1.
    verdict : str
        Text of the verdict, used as the title.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
        The curve and the panels, from the top. Set by :meth:`plot`.
    ax_ : matplotlib.axes.Axes
        The Axes of the curve.
    """

    def __init__(
        self,
        n_clusters: ArrayLike,
        inertia: ArrayLike,
        *,
        indices: Mapping[str, ArrayLike] | None = None,
        references: Mapping[str, ArrayLike] | None = None,
        votes: Mapping[str, int | None] | None = None,
        chosen: int | None = None,
        confidence: float | None = None,
        verdict: str = "",
    ) -> None:
        self.n_clusters = n_clusters
        self.inertia = inertia
        self.indices = indices
        self.references = references
        self.votes = votes
        self.chosen = chosen
        self.confidence = confidence
        self.verdict = verdict

    @classmethod
    def from_curve(cls, curve: ElbowCurve, *, ax: Axes | None = None) -> Self:
        """Plot the result of :func:`clusterkit.elbow.elbow_curve`.

        Parameters
        ----------
        curve : ElbowCurve
            The elbow curve.
        ax : matplotlib.axes.Axes, optional
            Axes to draw the curve in; by default a new figure with the curve and the panels.

        Returns
        -------
        ElbowDisplay
            The plotted display.
        """
        indices, references = _present(curve, ""), _present(curve, "chance_")
        display = cls(
            curve.n_clusters,
            curve.inertia,
            indices=indices,
            references=references,
            votes=curve.votes,
            chosen=curve.k,
            confidence=curve.confidence,
            verdict=curve.verdict,
        )
        return display.plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Plot the display.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw the curve in; by default a new figure with the curve and the panels.

        Returns
        -------
        self
            The display with ``figure_``, ``ax_`` and ``axes_``.
        """
        self._is_single = ax is not None
        return super().plot(ax)

    def _panels(self) -> dict[str, np.ndarray]:
        """Return the indices with any finite value."""
        arrays = {name: np.asarray(v, float) for name, v in (self.indices or {}).items()}
        return {name: values for name, values in arrays.items() if np.isfinite(values).any()}

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        return _WIDTH, _MAIN + _PANEL * len(self._panels()) + 40

    def _draw(self, ax: Axes) -> None:
        """Draw the curve above the panels, if there are any."""
        panels = {} if self._is_single else self._panels()
        width, title = 0.88 * _WIDTH, self.verdict
        if self._is_single:
            # The first words are the number.
            self.axes_, title = np.array([ax]), re.split("[:.]", title)[0]
            width = ax.get_window_extent().width * 72 / ax.figure.dpi
        else:
            ratios = [_MAIN, *[_PANEL] * len(panels)]
            self.axes_ = self._divide(ax, len(ratios), 1, height_ratios=ratios, sharex=True)[:, 0]
        self.ax_: Axes = self.axes_[0]
        votes, references = self.votes or {}, self.references or {}
        curve, *others = self.axes_
        self._draw_line(
            curve, np.asarray(self.inertia, float), votes.get("inertia", votes.get("knee"))
        )
        curve.set_ylabel("inertia")
        curve.set_title(wrap(title, width, size=10), pad=10)
        if curve.get_legend_handles_labels()[0]:
            curve.legend(loc="upper right")
        for panel, (name, values) in zip(others, panels.items(), strict=True):
            if name in references:
                panel.plot(self.n_clusters, references[name], "--", color=QUIET, linewidth=1)
            self._draw_line(panel, values, votes.get(name))
            panel.set_title(self._caption(name), fontsize=8.5, color=QUIET, pad=4)
            panel.yaxis.set_major_locator(MaxNLocator(3))
        self.axes_[-1].set_xlabel("number of clusters k")
        self.axes_[-1].xaxis.set_major_locator(MaxNLocator(12, steps=[1, 2, 5, 10], integer=True))

    def _caption(self, name: str) -> str:
        """Return the caption of a panel with its preferred k."""
        caption = _INDICES.get(name, name)
        votes = self.votes or {}
        if name in (self.references or {}):
            caption += " (dashed: without clusters)"
        if name not in votes:
            return caption
        return f"{caption}: {'no clear number' if votes[name] is None else votes[name]}"

    def _draw_line(self, ax: Axes, values: np.ndarray, vote: int | None) -> None:
        """Draw an index over k, with its preferred k and the chosen k."""
        numbers = np.asarray(self.n_clusters)
        ax.plot(numbers, values, ".-", color=INK, markersize=4, linewidth=1.2)
        if self.chosen is not None:
            sure = "" if self.confidence is None else f" (confidence {self.confidence:.2f})"
            label = f"verdict: {self.chosen}{sure}"
            ax.axvline(self.chosen, color=BLUE, linewidth=1.2, zorder=0, label=label)
        if vote is not None:
            chosen = numbers == vote
            dot = ax.plot(numbers[chosen], values[chosen], "o", label=f"knee: {vote}")[0]
            dot.set(color=VERMILION, markersize=6, clip_on=False, zorder=3)


def _present(curve: ElbowCurve, prefix: str) -> dict[str, np.ndarray]:
    """Return the indices of a curve, or their references, by name of the index."""
    found = {name: getattr(curve, prefix + name, None) for name in _INDICES}
    return {name: values for name, values in found.items() if values is not None}
