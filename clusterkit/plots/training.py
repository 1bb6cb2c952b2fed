"""Learning curves of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display, check_some
from clusterkit.plots.style import BLUE, INK, RULE


class LossCurveDisplay(Display):
    """Training loss (dashed) and validation loss (solid) with the best epoch.

    Parameters
    ----------
    loss : sequence of float
        Training loss, one value per epoch.
    val_loss : sequence of float, optional
        Validation loss.
    name : str
        Name and unit of the loss for the axis.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes

    def __init__(
        self,
        loss: Sequence[float],
        *,
        val_loss: Sequence[float] | None = None,
        name: str = "loss",
    ) -> None:
        self.loss = loss
        self.val_loss = val_loss
        self.name = name

    @classmethod
    def from_history(cls, history: Any, *, ax: Axes | None = None) -> Self:
        """Plot the history of a Keras model.

        Parameters
        ----------
        history : keras.callbacks.History or dict of str to list of float
            What ``model.fit`` returned.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.

        Returns
        -------
        LossCurveDisplay
            The plotted display.

        Raises
        ------
        InvalidInputError
            If no loss was recorded.
        """
        curves: Mapping[str, Sequence[float]] = getattr(history, "history", history)
        if not len(curves.get("loss", ())):
            recorded = ", ".join(curves) or "nothing"
            raise InvalidInputError(f"the history must hold a loss. Received: {recorded}")
        return cls(curves["loss"], val_loss=curves.get("val_loss")).plot(ax=ax)

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        return 430.0, 270.0

    def _check(self) -> None:
        """Check that there is something to draw."""
        check_some(self.loss, "epoch")

    def _draw(self, ax: Axes) -> None:
        """Draw one or two curves."""
        self._draw_loss(ax, self.loss, "training", color=INK, linestyle="--")
        if self.val_loss is not None and len(self.val_loss):
            self._draw_loss(ax, self.val_loss, "validation", color=BLUE, linestyle="-")
        ax.set_xlabel("epoch")
        ax.set_ylabel(self.name)
        ax.xaxis.set_major_locator(
            MaxNLocator(10, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
        )
        ax.set_xlim(1 - 0.02 * len(self.loss), 1.02 * len(self.loss))
        ax.grid(axis="y", color=RULE)
        ax.legend()
        self.ax_ = ax

    def _draw_loss(self, ax: Axes, values: Sequence[float], label: str, **kwargs: Any) -> None:
        """Draw one curve over epochs, counted from 1, with a dot at the lowest finite value."""
        losses = np.asarray(values, float)
        if np.isfinite(losses).any():
            best = int(np.nanargmin(np.where(np.isfinite(losses), losses, np.nan)))
            ax.plot(best + 1, losses[best], "o", color=kwargs["color"], markersize=5)
            label = f"{label}, lowest {losses[best]:.4g} at epoch {best + 1}"
        draw_curve(ax, losses.tolist(), label=label, **kwargs)


class LearningCurvesDisplay(Display):
    """Loss and accuracy of training (dashed) and validation (solid) with the best epoch.

    Parameters
    ----------
    history : mapping of str to sequence of float
        ``loss``, ``val_loss``, ``accuracy`` and ``val_accuracy``, one value per epoch.
    best_epoch : int
        The epoch, counted from 1, of the restored weights.

    Attributes
    ----------
    axes_ : ndarray of shape (2,) of matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    axes_: NDArray[Any]

    def __init__(self, history: Mapping[str, Sequence[float]], *, best_epoch: int) -> None:
        self.history = history
        self.best_epoch = best_epoch

    @classmethod
    def from_classifier(cls, classifier: Any, *, ax: Axes | None = None) -> Self:
        """Plot the training of a :class:`~clusterkit.classifiers.Classifier`.

        Parameters
        ----------
        classifier : Classifier
            Trained.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in, which must be part of a grid.

        Returns
        -------
        LearningCurvesDisplay
            The plotted display.
        """
        return cls(classifier.history_, best_epoch=classifier.best_epoch_).plot(ax=ax)

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        return 700.0, 270.0

    def _check(self) -> None:
        """Check that there is something to draw."""
        check_some(self.history["loss"], "epoch")

    def _draw(self, ax: Axes) -> None:
        """Draw the two charts."""
        self.axes_ = self._divide(ax, 1, 2)[0]
        for axes, name in zip(self.axes_, ("loss", "accuracy"), strict=True):
            training, validation = self.history[name], self.history[f"val_{name}"]
            kept = validation[self.best_epoch - 1]
            draw_curve(axes, training, color=INK, linestyle="--", label="training")
            label = f"validation, {kept:.4g} at epoch {self.best_epoch}"
            draw_curve(axes, validation, color=BLUE, label=label)
            axes.plot(self.best_epoch, kept, "o", color=BLUE, markersize=5)
            axes.set_xlabel("epoch")
            axes.set_ylabel(name)
            axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
            axes.grid(axis="y", color=RULE)
            axes.legend()


def draw_curve(ax: Axes, values: Sequence[float], **style: Any) -> None:
    """Draw values over epochs, counted from 1; a single value is drawn as a dot."""
    marker = "." if len(values) == 1 else None
    ax.plot(np.arange(1, len(values) + 1), values, marker=marker, **style)
