"""Bar chart of a comparison of embedding spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from matplotlib.axes import Axes

from clusterkit.plots.display import Display, check_lengths, check_some
from clusterkit.plots.style import BLUE, CYCLE, INK, RULE, fit

if TYPE_CHECKING:
    from clusterkit.space_comparison.compare import SpaceComparison

_ROW, _NAME, _WIDTH = 26.0, 170.0, 520.0
# Width of two columns of the legend.
_LEGEND = 480.0
_MARKERS = "osD^vP"
# What each measure means, for the legend.
_MEANINGS = {
    "score": "score: the spaces are ranked by it",
    "stability": "stability: groups come back in random parts",
    "neighbors": "neighbours: the nearest images share a cluster",
    "agreement": "agreement: other spaces find the same clusters",
    "accuracy": "accuracy: images whose cluster is their label",
}


class SpaceComparisonDisplay(Display):
    """Scores of embedding spaces as bars, with other measures as marks.

    Parameters
    ----------
    spaces : sequence of str
        Names of the spaces, from the top.
    score : sequence of float
        Scores of the ranking.
    others : dict of str to sequence of float, optional
        Other measures of each space, by name.
    title : str
        Title of the figure.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes

    def __init__(
        self,
        spaces: Sequence[str],
        score: Sequence[float],
        *,
        others: Mapping[str, Sequence[float]] | None = None,
        title: str = "",
    ) -> None:
        self.spaces = spaces
        self.score = score
        self.others = others
        self.title = title

    @classmethod
    def from_comparison(cls, comparison: SpaceComparison, *, ax: Axes | None = None) -> Self:
        """Plot the result of :func:`clusterkit.space_comparison.compare_spaces`.

        Parameters
        ----------
        comparison : SpaceComparison
            The spaces and their scores.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.

        Returns
        -------
        SpaceComparisonDisplay
            The plotted display.
        """
        names = ["stability", "neighbors", "agreement"]
        if comparison.n_labels is not None:
            names.append("accuracy")
        display = cls(
            comparison.rank,
            [one.score for one in comparison.spaces],
            others={name: [getattr(one, name) for one in comparison.spaces] for name in names},
            title=comparison.compared,
        )
        return display.plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw, with a value for each space."""
        check_some(self.spaces, "space")
        check_lengths(len(self.spaces), "space", score=self.score, **(self.others or {}))

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        return _WIDTH, 150 + _ROW * len(self.spaces)

    def _draw(self, ax: Axes) -> None:
        """Draw a row for each space."""
        others = dict(self.others or {})
        rows = np.arange(len(self.spaces))
        ax.barh(rows, self.score, height=0.62, color=BLUE, alpha=0.25, label=_MEANINGS["score"])
        for i, (name, values) in enumerate(others.items()):
            is_truth = name == "accuracy"
            color = INK if is_truth else CYCLE[(i + 1) % len(CYCLE)]
            marker = "|" if is_truth else _MARKERS[i % len(_MARKERS)]
            said = _MEANINGS.get(name, name)
            dots = ax.plot(values, rows, marker, color=color, label=said, clip_on=False)[0]
            dots.set(markersize=16 if is_truth else 5, markeredgewidth=2 if is_truth else 0)
        ax.set_yticks(rows, [fit(name, _NAME, size=8.5) for name in self.spaces])
        ax.invert_yaxis()
        ax.set_xlim(0, max(1.0, *self.score))
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color=RULE)
        ax.set_title(self.title, wrap=True)
        ax.set_xlabel("score and its parts: 0 as by chance, 1 best")
        bars = [handle for handle in ax.containers if handle.get_label()]
        place = ax.get_subplotspec()
        n_beside = 1 if place is None else place.get_gridspec().ncols
        width = ax.figure.bbox.width * 72 / ax.figure.dpi / n_beside
        # Below the label of the axis, at any height of the figure.
        ax.legend(
            handles=[*bars, *ax.get_lines()],
            loc="upper center",
            bbox_to_anchor=(0.33, 0),
            columnspacing=1,
            borderaxespad=4.5,
            ncols=2 if width > _LEGEND else 1,
        )
        self.ax_ = ax
