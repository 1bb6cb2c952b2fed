"""How near the classes of a classifier lie to each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display
from clusterkit.plots.heat_map import NAME, draw_heat_map

if TYPE_CHECKING:
    from clusterkit.classifiers.report import ClassificationReport

_CELL = 28.0


class ClassSimilarityDisplay(Display):
    """The cosine of each two classes' mean embeddings, as a heat map.

    The shade runs from the lowest similarity to 1: features of a network are mostly positive, so
    that no two classes are far apart.

    Parameters
    ----------
    similarity : array-like of shape (n_classes, n_classes)
        Cosines; NaN, where a class has no image, is left out.
    classes : sequence of str
        Their names.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes

    def __init__(self, similarity: ArrayLike, classes: Sequence[str]) -> None:
        self.similarity = similarity
        self.classes = classes

    @classmethod
    def from_report(cls, report: "ClassificationReport", *, ax: Axes | None = None) -> Self:
        """Draw the similarity of the classes of a report.

        Parameters
        ----------
        report : ClassificationReport
            From :meth:`~clusterkit.classifiers.ClassificationReport.from_classifier`.
        ax : matplotlib.axes.Axes, optional
            Where to draw.

        Returns
        -------
        ClassSimilarityDisplay
            Plotted.

        Raises
        ------
        InvalidInputError
            If the report was made without embeddings.
        """
        if report.class_similarity is None:
            raise InvalidInputError("the report was made without embeddings of the images")
        return cls(report.class_similarity, report.classes).plot(ax=ax)

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure, in points."""
        side = _CELL * len(self.classes)
        return max(300, NAME + side + 40), NAME + side + 50

    def _draw(self, ax: Axes) -> None:
        """Draw the table."""
        cosines = np.asarray(self.similarity, float)
        n = len(self.classes)
        if cosines.shape != (n, n):
            raise InvalidInputError(
                f"similarity must have the shape ({n}, {n}), one row and one column a class. "
                f"Received: {cosines.shape}"
            )
        low = np.nanmin(cosines) if np.isfinite(cosines).any() else 0.0
        shades = (cosines - low) / max(1 - low, 1e-9)
        texts = [[f"{value:.2f}" if np.isfinite(value) else "" for value in row] for row in cosines]
        draw_heat_map(ax, shades, texts, rows=self.classes, columns=self.classes)
        ax.set_title("cosine similarity of mean embeddings")
        self.ax_ = ax
