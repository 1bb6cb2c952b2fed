"""Contact sheet of the most central images of each cluster."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from matplotlib.axes import Axes

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display
from clusterkit.plots.pictures import Sheet, and_more, load_pictures
from clusterkit.plots.style import QUIET, cluster_color, cluster_name

if TYPE_CHECKING:
    from clusterkit.clustering.cluster import Clustering

_SIDE, _GAP, _MARGIN, _HEAD, _NOTE = 76.0, 6.0, 4.0, 112.0, 20.0


class ContactSheetDisplay(Display):
    """One row of pictures for each cluster, with its number, name and size.

    Parameters
    ----------
    files : dict of int to list of path
        The images of each cluster in display order; noise (-1) is last.
    sizes : dict of int to int, optional
        Number of images in each cluster; by default the number of its files.
    names : dict of int to str, optional
        Names of clusters.
    n_images : int
        Maximum number of pictures per cluster.
    max_clusters : int
        Maximum number of rows; the number of other clusters is stated.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes
    _fills_figure = True

    def __init__(
        self,
        files: Mapping[int, Sequence[str | Path]],
        *,
        sizes: Mapping[int, int] | None = None,
        names: Mapping[int, str] | None = None,
        n_images: int = 8,
        max_clusters: int = 30,
    ) -> None:
        self.files = files
        self.sizes = sizes
        self.names = names
        self.n_images = n_images
        self.max_clusters = max_clusters

    @classmethod
    def from_clustering(
        cls,
        clustering: "Clustering",
        *,
        clusters: Sequence[int] | None = None,
        n_images: int = 8,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the most central images of each cluster.

        Parameters
        ----------
        clustering : Clustering
            Labels and distances to the centres.
        clusters : sequence of int, optional
            Clusters to show, for instance the next page; by default all.
        n_images : int
            Maximum number of pictures per cluster.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.
        **kwargs
            Other parameters of the display.

        Returns
        -------
        ContactSheetDisplay
            The plotted display.

        Raises
        ------
        InvalidInputError
            If a cluster does not exist.
        """
        files = clustering.embeddings.files
        labels = np.asarray(clustering.labels)
        existing = np.unique(labels).tolist()
        unknown = sorted(set(clusters or ()) - set(existing))
        if unknown:
            raise InvalidInputError(
                f"clusters must be among {existing[0]} to {existing[-1]}. Received: {unknown}"
            )
        central: dict[int, list[Path]] = {}
        sizes: dict[int, int] = {}
        for cluster in existing if clusters is None else clusters:
            members = np.flatnonzero(labels == cluster)
            order = np.argsort(np.asarray(clustering.distances)[members], kind="stable")
            central[cluster] = [files[row] for row in members[order[:n_images]]]
            sizes[cluster] = len(members)
        kwargs.setdefault("names", getattr(clustering, "names", None))
        display = cls(central, sizes=sizes, n_images=n_images, **kwargs)
        return display.plot(ax=ax)

    def _clusters(self) -> list[int]:
        """Return the clusters by number, with noise last."""
        return sorted(self.files, key=lambda cluster: (cluster < 0, cluster))

    def _count(self, cluster: int) -> int:
        """Return the number of images in a cluster."""
        return len(self.files[cluster]) if self.sizes is None else self.sizes[cluster]

    def _size(self) -> tuple[float, float]:
        """Return the size of the sheet, in points."""
        rows = min(len(self.files), self.max_clusters)
        columns = min(self.n_images, max(map(len, self.files.values()), default=0))
        note = _NOTE if rows < len(self.files) else 0
        width = _HEAD + columns * (_SIDE + _GAP) + 2 * _MARGIN
        return width, rows * (_SIDE + _GAP) - _GAP + note + 2 * _MARGIN

    def _draw(self, ax: Axes) -> None:
        """Draw the rows of clusters."""
        if not self.files:
            raise InvalidInputError("a contact sheet needs at least one cluster. Received: none")
        width, height = self._size()
        sheet = Sheet(ax, width, height)
        clusters = self._clusters()
        shown, hidden = clusters[: self.max_clusters], clusters[self.max_clusters :]
        for row, cluster in enumerate(shown):
            self._draw_cluster(sheet, cluster, _MARGIN + row * (_SIDE + _GAP))
        if hidden:
            images = sum(map(self._count, hidden))
            note = f"{and_more(len(hidden), 'cluster')} with {images:,} images"
            sheet.line(note, _MARGIN, height - _MARGIN, width - 2 * _MARGIN, color=QUIET)
        self.ax_ = ax

    def _draw_cluster(self, sheet: Sheet, cluster: int, y: float) -> None:
        """Draw one row: the caption of the cluster, then its pictures."""
        sheet.box(_MARGIN, y, 4, _SIDE, color=cluster_color(cluster))
        x, width = _MARGIN + 12, _HEAD - 20
        lines = [(cluster_name(cluster), "bold")]
        if self.names and cluster in self.names:
            # A name of several classes, such as "red fox / timber wolf", is a list.
            *first, last = self.names[cluster].split(" / ", 2)
            lines += [(f"{part} /", "normal") for part in first] + [(last, "normal")]
        files = self.files[cluster][: self.n_images]
        lines.append((_share(len(files), self._count(cluster)), "normal"))
        top = y + _SIDE / 2 - 7 * (len(lines) - 1)
        for index, (text, weight) in enumerate(lines):
            color = QUIET if index == len(lines) - 1 else "black"
            sheet.line(text, x, top + 14 * index, width, size=9, color=color, weight=weight)
        for column, picture in enumerate(load_pictures(files, side=160)):
            sheet.picture(picture, _MARGIN + _HEAD + column * (_SIDE + _GAP), y, _SIDE)


def _share(shown: int, count: int) -> str:
    """Return the numbers of images and of shown images as text."""
    noun = "image" if count == 1 else "images"
    return f"{count:,} {noun}" if shown == count else f"{shown} of {count:,} {noun}"
