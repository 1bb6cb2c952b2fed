"""Heat map of the similarity of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display, check_some, highest, of_classes
from clusterkit.plots.heat_map import draw_heat_map, square_size

if TYPE_CHECKING:
    from clusterkit.classifiers.evaluation import ClassificationReport

_CELL = 28.0


class ClassSimilarityDisplay(Display):
    """Heat map of the cosine similarity of the mean embeddings of classes.

    The colour scale starts at the lowest similarity, since network features are mostly positive and
    all classes are similar.

    Parameters
    ----------
    similarity : array-like of shape (n_classes, n_classes)
        Cosine similarities; classes without images are NaN and left out.
    classes : sequence of str
        Their names.
    max_classes : int
        Maximum number of classes; above it, those most similar to another are drawn.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes

    def __init__(
        self, similarity: ArrayLike, classes: Sequence[str], *, max_classes: int = 60
    ) -> None:
        self.similarity = similarity
        self.classes = classes
        self.max_classes = max_classes

    @classmethod
    def from_report(cls, report: ClassificationReport, *, ax: Axes | None = None) -> Self:
        """Plot the class similarity of a report.

        Parameters
        ----------
        report : ClassificationReport
            From :meth:`~clusterkit.classifiers.ClassificationReport.from_classifier`.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.

        Returns
        -------
        ClassSimilarityDisplay
            The plotted display.

        Raises
        ------
        InvalidInputError
            If the report was made without embeddings.
        """
        if report.class_similarity is None:
            raise InvalidInputError("the report was made without embeddings of the images")
        return cls(report.class_similarity, report.classes).plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw, with a row for each class."""
        cosines = np.asarray(self.similarity, float)
        n = len(self.classes)
        if cosines.shape != (n, n):
            raise InvalidInputError(
                f"similarity must have the shape ({n}, {n}), one row and one column per class. "
                f"Received: {cosines.shape}"
            )
        check_some(self._with_images(), "class with images")

    def _with_images(self) -> NDArray[np.intp]:
        """Return the rows of the classes with images."""
        return np.flatnonzero(~np.isnan(np.asarray(self.similarity, float)).all(axis=1))

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        return square_size(min(len(self._with_images()), self.max_classes), _CELL)

    def _draw(self, ax: Axes) -> None:
        """Draw the table."""
        rows = self._with_images()
        n = len(rows)
        cosines = np.asarray(self.similarity, float)[np.ix_(rows, rows)]
        others = np.where(np.eye(n, dtype=bool) | np.isnan(cosines), -1, cosines)
        shown = highest(others.max(axis=1), self.max_classes)
        cosines, names = cosines[np.ix_(shown, shown)], [self.classes[row] for row in rows[shown]]
        low = np.nanmin(cosines)
        texts = [[f"{value:.2f}" if np.isfinite(value) else "" for value in row] for row in cosines]
        shades = (cosines - low) / max(1 - low, 1e-9)
        draw_heat_map(ax, shades, texts, rows=names, columns=names)
        note = of_classes(len(shown), n, "the most similar")
        ax.set_title(f"cosine similarity of mean embeddings{note}", wrap=True)
        self.ax_ = ax
