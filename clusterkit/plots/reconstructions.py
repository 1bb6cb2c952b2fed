"""Original images and their reconstructions by an autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display, check_lengths, check_some
from clusterkit.plots.pictures import Sheet, load_picture, to_uint8
from clusterkit.plots.style import QUIET
from clusterkit.utils.arguments import check_at_least

_SIDE, _GAP, _MARGIN, _HEAD = 92.0, 6.0, 4.0, 78.0


class ReconstructionDisplay(Display):
    """A row of originals above a row of their reconstructions.

    Parameters
    ----------
    originals, reconstructions : ndarray of shape (n, height, width, channels)
        The pictures: uint8, or floats on the scale 0-1.
    psnr : sequence of float, optional
        Peak signal-to-noise ratio of each reconstruction, in decibels.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes
    _fills_figure = True

    def __init__(
        self,
        originals: NDArray[Any],
        reconstructions: NDArray[Any],
        *,
        psnr: Sequence[float] | NDArray[Any] | None = None,
    ) -> None:
        self.originals = originals
        self.reconstructions = reconstructions
        self.psnr = psnr

    @classmethod
    def from_arrays(
        cls,
        originals: NDArray[Any],
        reconstructions: NDArray[Any],
        *,
        psnr: ArrayLike | None = None,
        n_images: int = 8,
        ax: Axes | None = None,
    ) -> Self:
        """Plot the first images and their reconstructions.

        Parameters
        ----------
        originals, reconstructions : ndarray of shape (n, height, width, channels)
            The pictures: uint8, or floats on the scale 0-1.
        psnr : array-like of shape (n,), optional
            In decibels; by default computed from the bytes, 10 log10(255² / mean squared error).
        n_images : int
            Maximum number of images.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.

        Returns
        -------
        ReconstructionDisplay
            The plotted display.

        Raises
        ------
        InvalidInputError
            If the two arrays differ in shape.
        """
        originals, reconstructions = to_uint8(originals), to_uint8(reconstructions)
        if originals.shape != reconstructions.shape:
            raise InvalidInputError(
                "originals and reconstructions must have the same shape. "
                f"Received: {originals.shape} and {reconstructions.shape}"
            )
        check_at_least(n_images, 1, "n_images")
        values = _psnr(originals, reconstructions) if psnr is None else np.asarray(psnr, float)
        display = cls(originals[:n_images], reconstructions[:n_images], psnr=values[:n_images])
        return display.plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw, with a value for each original."""
        check_some(self.originals, "original")
        others = {"reconstructions": self.reconstructions, "psnr": self.psnr}
        check_lengths(len(self.originals), "original", **others)

    def _size(self) -> tuple[float, float]:
        """Return the size of the sheet, in points."""
        width = _HEAD + len(self.originals) * (_SIDE + _GAP) - _GAP + 2 * _MARGIN
        return width, 2 * _SIDE + _GAP + 16 + 2 * _MARGIN

    def _draw(self, ax: Axes) -> None:
        """Draw the two rows."""
        sheet = Sheet(ax, *self._size())
        lower = _MARGIN + _SIDE + _GAP
        sheet.line("original", _MARGIN, _MARGIN + _SIDE / 2, _HEAD - 8)
        sheet.line("reconstruction", _MARGIN, lower + _SIDE / 2, _HEAD - 8)
        for index, pair in enumerate(zip(self.originals, self.reconstructions, strict=True)):
            x = _MARGIN + _HEAD + index * (_SIDE + _GAP)
            for picture, y in zip(pair, (_MARGIN, lower), strict=True):
                sheet.picture(load_picture(picture), x, y, _SIDE)
            if self.psnr is not None:
                text, y = f"{self.psnr[index]:.1f} dB", lower + _SIDE + 10
                sheet.line(text, x + _SIDE / 2, y, _SIDE, color=QUIET, ha="center")
        self.ax_ = ax


def _psnr(originals: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the peak signal-to-noise ratio of each image, in decibels."""
    error = (originals.astype(np.float64) - others) ** 2
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / error.mean(axis=(1, 2, 3)))
