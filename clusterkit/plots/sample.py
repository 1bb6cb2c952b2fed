"""Pictures of the images to review or to label, with the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from matplotlib.axes import Axes

from clusterkit.errors import InvalidInputError
from clusterkit.plots.pictures import SIDE, PictureGrid, Sheet
from clusterkit.plots.style import INK, QUIET, wrap

if TYPE_CHECKING:
    from clusterkit.preparation.sampling import ImageSample

_LINE, _MAX_LINES = 11.0, 2


class SampleDisplay(PictureGrid):
    """Grid of pictures with their file names and texts.

    Parameters
    ----------
    pictures : sequence of path or ndarray of shape (height, width[, 1 or 3]), uint8
        Files, read when drawing, or images.
    names : sequence of str
        Names of the pictures.
    texts : sequence of str
        Text under each picture, of which two lines are drawn.
    title : str
        Title of the figure.
    columns : int
        Maximum number of pictures per row.
    max_pictures : int
        Maximum number of pictures; the number of others is stated.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    _texts = ("names", "texts")

    def __init__(
        self,
        pictures: Sequence[Any],
        names: Sequence[str],
        texts: Sequence[str],
        *,
        title: str = "",
        columns: int = 6,
        max_pictures: int = 120,
    ) -> None:
        self.pictures = pictures
        self.names = names
        self.texts = texts
        self.title = title
        self.columns = columns
        self.max_pictures = max_pictures

    @classmethod
    def from_sample(cls, sample: ImageSample, *, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Plot the images of a sample, with the reasons of the choice.

        Parameters
        ----------
        sample : ImageSample
            From :func:`clusterkit.preparation.sample_images`.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.
        **kwargs
            Other parameters of the display.

        Returns
        -------
        SampleDisplay
            The plotted display.

        Raises
        ------
        InvalidInputError
            If the files of the images are not known.
        """
        if sample.files is None:
            raise InvalidInputError("the files of these images are not known")
        names = [Path(image.path).name for image in sample.images]
        texts = [image.why for image in sample.images]
        kwargs.setdefault("title", sample.title)
        return cls(sample.files, names, texts, **kwargs).plot(ax=ax)

    def _foot(self) -> float:
        """Return the height of the name and the text."""
        return _LINE * (1 + _MAX_LINES) + 4

    def _draw_foot(self, sheet: Sheet, index: int, x: float, y: float) -> None:
        """Draw the name and the text under a picture."""
        sheet.line(self.names[index], x, y + 8, SIDE, size=7, color=INK)
        lines = wrap(self.texts[index], SIDE, size=7, lines=_MAX_LINES).split("\n")
        for number, line in enumerate(lines, 1):
            sheet.line(line, x, y + 8 + _LINE * number, SIDE, size=7, color=QUIET)
