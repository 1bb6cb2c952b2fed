"""Plot of the probability of each number of clusters, the levels, and the elbow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from clusterkit.plots.display import Display, check_lengths, check_some
from clusterkit.plots.style import BLUE, INK, QUIET, RULE, SKY, VERMILION, text_width, wrap

if TYPE_CHECKING:
    from clusterkit.elbow.curve import ElbowCurve

# The panels of single indices, with their captions.
_CAPTIONS = {
    "stability": "stability",
    "valley": "valley between groups",
    "conductance": "conductance, low is good",
    "eigengap": "eigengap",
    "silhouette": "silhouette",
    "calinski_harabasz": "Calinski-Harabasz",
    "davies_bouldin": "Davies-Bouldin, low is good",
}
_WIDTH, _MAIN, _CURVE, _PANEL = 460.0, 170.0, 100.0, 82.0
# Panels of single indices side by side.
_COLUMNS = 2
_STEPS = [1, 2, 5, 10]
# Size of the labels above the bars, and from one line of them to the next, in points.
_LABEL, _LINE = 9.0, 12.0


class _Mark(NamedTuple):
    """A labelled bar: its position and label."""

    x: float
    text: str
    color: str
    is_best: bool


class ElbowDisplay(Display):
    """Probability of each number of clusters, with the levels, above the inertia with its knee.

    The bars and the share of "none", which stands for no clear number, have a sum of 1.  Numbers
    with strong evidence, the levels, are labelled with their confidence, the best one in bold.
    Single indices follow in further panels if given.

    On the caller's Axes, one panel is drawn: the bars, or the inertia without probabilities.

    Parameters
    ----------
    n_clusters : array-like of shape (n,), int
        The tried numbers of clusters, ascending.
    inertia : array-like of shape (n,)
        Sum of squared distances to the centres.
    probability : array-like of shape (n,), optional
        Probability of each number; the rest to 1 is the probability that there is no clear number.
    levels : dict of int to (float or None), optional
        Numbers with strong evidence, and their confidence from 0 to 1.
    chosen : int, optional
        The best number; None if there is no clear one.
    verdict : str
        Text of the verdict, used as the title; on the caller's Axes, its first words.
    indices : dict of str to array-like of shape (n,), optional
        Single indices by name; undefined values are NaN.
    votes : dict of str to int or None, optional
        The number preferred by each index, by name; "knee" is for the inertia.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
        The bars, the inertia, and the panels of the indices by row.  Set by :meth:`plot`.
    ax_ : matplotlib.axes.Axes
        The first of them.
    """

    def __init__(
        self,
        n_clusters: ArrayLike,
        inertia: ArrayLike,
        *,
        probability: ArrayLike | None = None,
        levels: Mapping[int, float | None] | None = None,
        chosen: int | None = None,
        verdict: str = "",
        indices: Mapping[str, ArrayLike] | None = None,
        votes: Mapping[str, int | None] | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.inertia = inertia
        self.probability = probability
        self.levels = levels
        self.chosen = chosen
        self.verdict = verdict
        self.indices = indices
        self.votes = votes

    @classmethod
    def from_curve(
        cls, curve: ElbowCurve, *, indices: bool = False, ax: Axes | None = None
    ) -> Self:
        """Plot the result of :func:`clusterkit.elbow.elbow_curve`.

        Parameters
        ----------
        curve : ElbowCurve
            The elbow curve.
        indices : bool, default False
            Whether to add a panel for each single index, with the number that it prefers.
        ax : matplotlib.axes.Axes, optional
            Axes to draw the probabilities in; by default a new figure with all panels.

        Returns
        -------
        ElbowDisplay
            The plotted display.
        """
        found = {name: getattr(curve, name, None) for name in _CAPTIONS}
        display = cls(
            curve.n_clusters,
            curve.inertia,
            probability=curve.probability,
            levels={level.n_clusters: level.confidence for level in curve.levels},
            chosen=curve.k,
            verdict=curve.verdict,
            indices={name: values for name, values in found.items() if values is not None}
            if indices
            else None,
            votes=curve.votes,
        )
        return display.plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Plot the display.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw one panel in; by default a new figure with all panels.

        Returns
        -------
        self
            The display with ``figure_``, ``ax_`` and ``axes_``.
        """
        self._is_single = ax is not None
        return super().plot(ax)

    def _check(self) -> None:
        """Check that there is something to draw, with a value for each number."""
        numbers = np.asarray(self.n_clusters)
        check_some(numbers, "number of clusters")
        curves = {"inertia": self.inertia, "probability": self.probability, **(self.indices or {})}
        check_lengths(len(numbers), "number of clusters", **curves)

    def _panels(self) -> dict[str, NDArray[np.float64]]:
        """Return the indices with any finite value."""
        arrays = {name: np.asarray(v, float) for name, v in (self.indices or {}).items()}
        return {name: values for name, values in arrays.items() if np.isfinite(values).any()}

    @property
    def _heights(self) -> list[float]:
        """Heights of the bars and the inertia, or of the inertia alone, and of all panels."""
        heights = [_MAIN] if self.probability is None else [_MAIN, _CURVE]
        rows = -(-len(self._panels()) // _COLUMNS)
        return [*heights, _PANEL * rows] if rows else heights

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        # A line of the verdict has about 80 letters; each level may need a separate line.
        lines = len(self.verdict) // 80 + len(self.levels or ())
        return _WIDTH, sum(self._heights) + 60 + _LINE * lines

    def _draw(self, ax: Axes) -> None:
        """Draw the bars above the inertia and the panels."""
        panels = {} if self._is_single else self._panels()
        # The first words are the number.
        title = re.split("[:.]", self.verdict)[0] if self._is_single else self.verdict
        if self._is_single:
            axes, width = [ax], ax.get_window_extent().width * 72 / ax.figure.dpi
        else:
            heights = self._heights
            axes = list(self._divide(ax, len(heights), 1, height_ratios=heights)[:, 0])
            if panels:
                axes[-1:] = self._draw_panels(axes[-1], panels)
            width = 0.9 * _WIDTH
        self.axes_, self.ax_ = np.array(axes), axes[0]
        if self.probability is not None:
            self._draw_bars(axes[0])
        if self.probability is None or not self._is_single:
            self._draw_inertia(axes[0 if self.probability is None else 1])
        lines = self._draw_labels(axes[0], width)
        axes[0].set_title(wrap(title, width, size=10), pad=12 + _LINE * lines)

    def _draw_bars(self, ax: Axes) -> None:
        """Draw the probability of each number, and of none."""
        numbers, levels = np.asarray(self.n_clusters), self._levels
        probability = np.asarray(self.probability, float)
        colors = [self._color(number) if number in levels else RULE for number in numbers.tolist()]
        width = 0.8 * float(np.diff(numbers).min(initial=np.ptp(numbers) or 1))
        # The edges keep thin bars visible.
        style: dict[str, Any] = {"width": width, "linewidth": 0.6}
        ax.bar(numbers, probability, color=colors, edgecolor=colors, **style)
        color = RULE if self.chosen is not None else INK
        ax.bar(self._none_at, self._none, color=color, edgecolor=QUIET, hatch="////", **style)
        ax.set_ylim(0, 1.05 * max(probability.max(), self._none, 1e-3))
        top = ax.get_ylim()[1]
        heights = {self._none_at: self._none} | dict(zip(numbers, probability, strict=True))
        for mark in self._marks():
            ax.plot([mark.x] * 2, [heights.get(mark.x, 0), top], ":", color=mark.color, linewidth=1)
        self._scale(ax, left=self._none_at)
        ticks = self._ticks(12)
        ax.set_xticks([self._none_at, *ticks], ["none", *map(str, ticks)])
        ax.set_ylabel("probability")
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=_STEPS))
        if self._is_single:
            ax.set_xlabel("number of clusters k")
        elif self._levels:
            note = "none: no clear number. Confidence: this number, or one next to it, is right"
            ax.set_xlabel(note, color=QUIET, fontsize=8.5)

    def _draw_inertia(self, ax: Axes) -> None:
        """Draw the inertia with its knee and the levels."""
        knee, inertia = (self.votes or {}).get("knee"), np.asarray(self.inertia, float)
        self._draw_line(ax, inertia, knee)
        self._scale(ax, left=None if self.probability is None else self._none_at)
        ax.set_ylabel("inertia")
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=_STEPS))
        ax.set_xlabel("number of clusters k")
        for number, height in zip(np.asarray(self.n_clusters), inertia, strict=True):
            if number == knee:
                # Above the curve, which decreases, there is room.
                ax.annotate(
                    f"knee: {knee}",
                    (number, height),
                    (7, 7),
                    textcoords="offset points",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
                )

    def _draw_panels(self, ax: Axes, panels: Mapping[str, NDArray[np.float64]]) -> list[Axes]:
        """Draw a panel for each index in the place of ``ax``."""
        rows = -(-len(panels) // _COLUMNS)
        grid = self._divide(ax, rows, _COLUMNS).ravel()
        votes = self.votes or {}
        for panel, (name, values) in zip(grid, panels.items(), strict=False):
            self._draw_line(panel, values, votes.get(name))
            self._scale(panel, max_ticks=8)
            caption = _CAPTIONS.get(name, name)
            if name in votes:
                caption += f": {'no number' if votes[name] is None else votes[name]}"
            panel.set_title(caption, fontsize=8.5, color=QUIET, pad=4)
            panel.yaxis.set_major_locator(MaxNLocator(3, steps=_STEPS))
        for panel in grid[len(panels) :]:
            panel.set_visible(False)
        for panel in grid[: len(panels)][-_COLUMNS:]:
            panel.set_xlabel("number of clusters k")
        return list(grid[: len(panels)])

    def _draw_line(self, ax: Axes, values: NDArray[np.float64], vote: int | None) -> None:
        """Draw an index over k, with its preferred k and the levels."""
        numbers = np.asarray(self.n_clusters)
        for level in self._levels:
            is_best = level == self.chosen
            style, width = ("-", 1.2) if is_best else ("--", 0.9)
            ax.axvline(level, color=self._color(level), ls=style, linewidth=width, zorder=0)
        ax.plot(numbers, values, ".-", color=INK, markersize=4, linewidth=1.2)
        if vote is not None:
            chosen = numbers == vote
            dot = ax.plot(numbers[chosen], values[chosen], "o")[0]
            dot.set(color=VERMILION, markersize=6, clip_on=False, zorder=3)

    def _draw_labels(self, ax: Axes, width: float) -> int:
        """Write the labels of the marked numbers above the panel; return the number of lines."""
        lines: list[list[tuple[float, float]]] = []
        first, last = ax.get_xlim()
        # The best is nearest to its bar.
        for mark in sorted(self._marks(), key=lambda mark: not mark.is_best):
            weight = "bold" if mark.is_best else "normal"
            needed = text_width(mark.text, _LABEL, weight) + 8
            x = width * (mark.x - first) / (last - first)
            start = min(max(x - needed / 2, 0), max(width - needed, 0))
            end = start + needed
            free = (all(end <= a or b <= start for a, b in taken) for taken in lines)
            line = next((number for number, is_free in enumerate(free) if is_free), len(lines))
            if line == len(lines):
                lines.append([])
            lines[line].append((start, end))
            ax.annotate(
                mark.text,
                (mark.x, 1),
                (start + needed / 2 - x, 3 + _LINE * line),
                xycoords=ax.get_xaxis_transform(),
                textcoords="offset points",
                ha="center",
                va="bottom",
                color=mark.color if mark.is_best else INK,
                fontsize=_LABEL,
                fontweight=weight,
            )
        return len(lines)

    def _marks(self) -> Iterator[_Mark]:
        """Yield the marks of the numbers, or of no clear number."""
        for number, confidence in self._levels.items():
            is_best = number == self.chosen
            text = f"{number} clusters" if is_best else f"{number}"
            if confidence is not None:
                text += f", confidence {confidence:.2f}" if is_best else f" ({confidence:.2f})"
            yield _Mark(number, text, self._color(number), is_best)
        if self.chosen is None and self.probability is not None:
            # The groups may be clear, and only their number not.
            probable = f": {self._none:.2f}" if self._none >= 0.5 else ""
            yield _Mark(self._none_at, f"no clear number{probable}", INK, True)

    @property
    def _levels(self) -> dict[int, float | None]:
        """The levels with the best one, ascending."""
        chosen = {} if self.chosen is None else {self.chosen: None}
        return dict(sorted((chosen | dict(self.levels or {})).items()))

    def _color(self, level: int) -> str:
        """Return the colour of a level."""
        return BLUE if level == self.chosen else SKY

    @property
    def _none(self) -> float:
        """The probability that there is no clear number."""
        return max(0.0, 1 - float(np.sum(np.asarray(self.probability, float))))

    @property
    def _none_at(self) -> float:
        """Position of "none", left of the numbers."""
        numbers = np.asarray(self.n_clusters)
        return float(numbers[0] - max(1.5, 0.06 * np.ptp(numbers)))

    def _scale(self, ax: Axes, *, left: float | None = None, max_ticks: int = 12) -> None:
        """Set limits and ticks of the numbers, with room from ``left``."""
        numbers = np.asarray(self.n_clusters)
        room = max(0.7, 0.02 * np.ptp(numbers))
        ax.set_xlim((numbers[0] if left is None else left) - room, numbers[-1] + room)
        ax.set_xticks(self._ticks(max_ticks))

    def _ticks(self, max_ticks: int) -> list[int]:
        """Return at most about ``max_ticks`` round numbers in the tried range."""
        numbers = np.asarray(self.n_clusters)
        if len(numbers) == 1:
            return numbers.tolist()
        steps = MaxNLocator(max_ticks, steps=_STEPS, integer=True)
        first, last = numbers[[0, -1]]
        return [int(tick) for tick in steps.tick_values(first, last) if first <= tick <= last]
