"""Learning curves of several networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from clusterkit.plots.display import Display, check_lengths, check_some
from clusterkit.plots.style import BLUE, INK, QUIET, RULE, VERMILION, fit
from clusterkit.plots.training import draw_curve

if TYPE_CHECKING:
    from clusterkit.classifiers.comparison.result import NetworkComparison

_COLUMNS, _WIDTH, _HEIGHT = 3, 235.0, 190.0


class NetworkCurvesDisplay(Display):
    """Accuracy of each network over the epochs, one panel per network, with a common scale.

    Training is dashed, validation solid with a dot at the best epoch; a line marks the accuracy on
    the test images.  The validation curves of the other networks are grey.

    Parameters
    ----------
    histories : mapping of str to mapping of str to sequence of float
        ``accuracy`` and ``val_accuracy`` of each network, one value per epoch.
    best_epochs : sequence of int
        The epoch, counted from 1, of the weights of each network.
    test : sequence of (float or None), optional
        Accuracy of each network on the test images.

    Attributes
    ----------
    axes_ : ndarray of shape (n_networks,) of matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    axes_: NDArray[Any]

    def __init__(
        self,
        histories: Mapping[str, Mapping[str, Sequence[float]]],
        *,
        best_epochs: Sequence[int],
        test: Sequence[float | None] | None = None,
    ) -> None:
        self.histories = histories
        self.best_epochs = best_epochs
        self.test = test

    @classmethod
    def from_comparison(cls, comparison: NetworkComparison, *, ax: Axes | None = None) -> Self:
        """Plot the result of :func:`clusterkit.classifiers.compare_networks`.

        Parameters
        ----------
        comparison : NetworkComparison
            A comparison with at least one trained network.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in, which must be part of a grid.

        Returns
        -------
        NetworkCurvesDisplay
            The plotted display.
        """
        results = comparison.results
        # For multi-label data, training accuracy counts single labels, test accuracy exact matches.
        measured = [
            None if one.test is None or comparison.is_multilabel else one.test["accuracy"]
            for one in results
        ]
        return cls(
            {one.name: one.history for one in results},
            best_epochs=[one.best_epoch for one in results],
            test=measured,
        ).plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw, with a value for each network."""
        check_some(self.histories, "network")
        check_lengths(len(self.histories), "network", best_epochs=self.best_epochs, test=self.test)

    @property
    def _grid(self) -> tuple[int, int]:
        """Rows and columns of panels."""
        columns = min(_COLUMNS, len(self.histories))
        return -(-len(self.histories) // columns), columns

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        rows, columns = self._grid
        return 40 + _WIDTH * columns, 30 + _HEIGHT * rows

    def _draw(self, ax: Axes) -> None:
        """Draw one panel per network."""
        rows, columns = self._grid
        panels = self._divide(ax, rows, columns, sharex=True, sharey=True).ravel()
        self.axes_ = panels[: len(self.histories)]
        for panel in panels[len(self.histories) :]:
            panel.set_visible(False)
        test = self.test or [None] * len(self.histories)
        for axes, name, kept, measured in zip(
            self.axes_, self.histories, self.best_epochs, test, strict=True
        ):
            self._draw_panel(axes, name, kept, measured)
        for axes in self.axes_[::columns]:
            axes.set_ylabel("accuracy")
        # A panel above an empty place is also the lowest of its column.
        for axes in self.axes_[-columns:]:
            axes.set_xlabel("epoch")
            axes.tick_params(labelbottom=True)

    def _draw_panel(self, axes: Axes, name: str, kept: int, measured: float | None) -> None:
        """Draw one network, in front of the others."""
        for other, history in self.histories.items():
            if other != name:
                draw_curve(axes, history["val_accuracy"], color=RULE, linewidth=1)
        history = self.histories[name]
        draw_curve(axes, history["accuracy"], color=INK, linestyle="--", label="training")
        validation = history["val_accuracy"]
        label = f"validation {validation[kept - 1]:.4f}"
        draw_curve(axes, validation, color=BLUE, label=label)
        axes.plot(kept, validation[kept - 1], "o", color=BLUE, markersize=5)
        if measured is not None:
            label = f"test {measured:.4f}"
            axes.axhline(measured, color=VERMILION, linestyle=":", linewidth=1.4, label=label)
        axes.set_title(fit(name, _WIDTH - 30, size=10))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.grid(axis="y", color=RULE)
        axes.legend(labelcolor=QUIET)
