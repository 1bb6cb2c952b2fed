"""Gallery of pictures, for instance a query and its nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.plots.pictures import SIDE, PictureGrid, Sheet
from clusterkit.plots.style import BLUE, QUIET
from clusterkit.utils.locations import as_path

if TYPE_CHECKING:
    from clusterkit.similarity.catalogue import Catalogue
    from clusterkit.similarity.similar import SimilarImages
    from clusterkit.store.embeddings import Embeddings

# Tolerance of a vector's cosine distance to itself in float32.
_SAME = 1e-5


class GalleryDisplay(PictureGrid):
    """A grid of pictures, each with a title and a caption.

    Parameters
    ----------
    pictures : list of path or ndarray of shape (height, width, 3), uint8
        Files, read when drawing, or images.  Unreadable files are drawn as a grey tile with the
        reason.
    titles, captions : list of str, optional
        One line each under every picture; long lines are shortened in the middle.
    highlighted : int, optional
        Row of a picture to frame.
    columns : int
        Maximum number of pictures per row.
    max_pictures : int
        Maximum number of pictures; the number of others is stated.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    _texts = ("titles", "captions")

    def __init__(
        self,
        pictures: Sequence[str | Path | NDArray[Any]],
        *,
        titles: Sequence[str] | None = None,
        captions: Sequence[str] | None = None,
        highlighted: int | None = None,
        columns: int = 6,
        max_pictures: int = 60,
    ) -> None:
        self.pictures = pictures
        self.titles = titles
        self.captions = captions
        self.highlighted = highlighted
        self.columns = columns
        self.max_pictures = max_pictures

    @classmethod
    def from_similar(cls, similar: SimilarImages, *, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Plot an image and the most similar ones.

        Parameters
        ----------
        similar : SimilarImages
            From :func:`clusterkit.find_similar`.
        ax, **kwargs
            As for :meth:`from_neighbors`.

        Returns
        -------
        GalleryDisplay
            The plotted display.
        """
        return cls.from_neighbors(
            similar.embeddings,
            1 - similar.similarities,
            similar.rows,
            # A bare vector has no file.
            query=similar.query.files[0] if similar.query.paths[0] else None,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_neighbors(
        cls,
        embeddings: Embeddings | Catalogue,
        distances: ArrayLike,
        rows: ArrayLike,
        *,
        query: str | Path | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the neighbours of an image, with the query first.

        Parameters
        ----------
        embeddings : Embeddings or Catalogue
            The searched images.
        distances : array-like of shape (n_neighbors,)
            Cosine distances, 0 to 2, ascending.
        rows : array-like of shape (n_neighbors,), int
            Rows of ``embeddings``.
        query : path, optional
            The query image, if it is not among the rows.  By default a first neighbour at distance
            0 is the query.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.
        **kwargs
            Other parameters of the display.

        Returns
        -------
        GalleryDisplay
            The plotted display.

        Raises
        ------
        InvalidInputError
            If there is not one distance for each row.
        """
        distances, rows = np.asarray(distances), np.asarray(rows)
        if distances.ndim != 1 or distances.shape != rows.shape:
            raise InvalidInputError(
                "distances and rows of one query must have the same shape (n_neighbors,). "
                f"Received: {distances.shape} and {rows.shape}"
            )
        shown = embeddings[rows.astype(np.intp)]
        pictures: list[str | Path] = list(shown.files)
        captions = list(shown.paths)
        titles = [f"similarity {1 - distance:.3f}" for distance in distances]
        if query is not None:
            pictures.insert(0, query)
            captions.insert(0, as_path(query).name)
            titles.insert(0, "query")
        elif len(rows) and distances[0] < _SAME:
            titles[0] = "query"
        highlighted = 0 if titles[:1] == ["query"] else None
        display = cls(pictures, titles=titles, captions=captions, highlighted=highlighted, **kwargs)
        return display.plot(ax=ax)

    def _foot(self) -> float:
        """Return the height of a title and a caption."""
        return 30.0

    def _frame(self, index: int) -> str | None:
        """Frame the highlighted picture."""
        return BLUE if index == self.highlighted else None

    def _draw_foot(self, sheet: Sheet, index: int, x: float, y: float) -> None:
        """Write the title and the caption of a picture."""
        if self.titles is not None:
            weight = "bold" if index == self.highlighted else "normal"
            sheet.line(self.titles[index], x, y + 9, SIDE, size=9, weight=weight)
        if self.captions is not None:
            sheet.line(self.captions[index], x, y + 21, SIDE, size=7, color=QUIET)
