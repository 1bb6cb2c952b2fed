"""Map of the embeddings in the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display, check_lengths, check_some
from clusterkit.plots.pictures import and_more, load_pictures
from clusterkit.plots.style import cluster_color, fit, on_color
from clusterkit.similarity.projection import project
from clusterkit.store.stream import VectorStream
from clusterkit.utils.arguments import check_at_least
from clusterkit.utils.text import percent

if TYPE_CHECKING:
    from clusterkit.clustering.cluster import Clustering
    from clusterkit.store.embeddings import Embeddings

_NAME, _MAX_NAMES = 170.0, 30


class MapDisplay(Display):
    """Images as points or thumbnails in the plane, coloured by cluster.

    Parameters
    ----------
    positions : array-like of shape (n, 2)
        Position of each image.
    labels : array-like of shape (n,), int
        Cluster of each image; -1 is noise.
    files : sequence of path, optional
        The images, to draw as thumbnails instead of points.
    names : dict of int to str, optional
        Names of the clusters, listed beside the map.
    axis_names : pair of str
        Labels of the two axes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes

    def __init__(
        self,
        positions: ArrayLike,
        labels: ArrayLike,
        *,
        files: Sequence[str | Path] | None = None,
        names: Mapping[int, str] | None = None,
        axis_names: tuple[str, str] = ("", ""),
    ) -> None:
        self.positions = positions
        self.labels = labels
        self.files = files
        self.names = names
        self.axis_names = axis_names

    @classmethod
    def from_clustering(
        cls,
        clustering: Clustering,
        embeddings: Embeddings | None = None,
        *,
        max_thumbnails: int = 300,
        ax: Axes | None = None,
    ) -> Self:
        """Plot the first two principal components of the normalised vectors.

        Parameters
        ----------
        clustering : Clustering
            The labels.
        embeddings : Embeddings, optional
            The clustered rows; by default those of the clustering.
        max_thumbnails : int
            Maximum number of thumbnails; more images are drawn as points.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.

        Returns
        -------
        MapDisplay
            The plotted display.

        Raises
        ------
        InvalidInputError
            If there are fewer than two images or dimensions, or for a clustering of a stream
            without ``embeddings``.
        """
        check_at_least(max_thumbnails, 0, "max_thumbnails")
        rows = clustering.embeddings if embeddings is None else embeddings
        if isinstance(rows, VectorStream):
            raise InvalidInputError(
                "a map needs all vectors in memory: pass the Embeddings of Space.read(). "
                f"Received: {rows!r}"
            )
        positions, shares = project(rows)
        first, second = map(percent, shares)
        display = cls(
            positions,
            clustering.labels,
            files=rows.files if len(rows) <= max_thumbnails else None,
            names=getattr(clustering, "names", None),
            axis_names=(
                f"first principal component ({first} of the variance)",
                f"second principal component ({second})",
            ),
        )
        return display.plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw, with a value for each image."""
        positions = np.asarray(self.positions, float)
        if positions.ndim != 2 or positions.shape[1] != 2:
            raise InvalidInputError(
                f"positions must have the shape (n, 2). Received: {positions.shape}"
            )
        check_some(positions, "image")
        if not np.isfinite(positions).all():
            raise InvalidInputError("positions must be finite. Received: NaN or infinity")
        check_lengths(len(positions), "image", labels=self.labels, files=self.files)

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        width, height = (560.0, 480.0) if self.files is None else (760.0, 660.0)
        return width + (_NAME if self.names else 0), height

    def _draw(self, ax: Axes) -> None:
        """Draw points or thumbnails, and the number of each cluster."""
        positions, labels = np.asarray(self.positions, float), np.asarray(self.labels)
        x, y = positions.T
        colors = [cluster_color(label) for label in labels]
        ax.set_aspect("equal")
        if self.files is None:
            size = np.clip(6000 / max(1, len(labels)), 3, 30)
            ax.scatter(x, y, s=size, c=colors, alpha=0.7, linewidths=0, rasterized=True)
        else:
            self._draw_thumbnails(ax, positions, colors)
        clusters = np.unique(labels[labels >= 0]).tolist()
        middles = [np.median(positions[labels == cluster], axis=0) for cluster in clusters]
        gap = 0.04 * np.ptp(positions, axis=0).max()
        for cluster, (x, y) in zip(clusters, _spread(middles, gap), strict=True):
            self._draw_badge(ax, cluster, x, y)
        if self.names:
            self._list_names(ax, self.names)
        ax.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1], xticks=[], yticks=[])
        self.ax_ = ax

    def _draw_thumbnails(self, ax: Axes, positions: NDArray[Any], colors: Sequence[str]) -> None:
        """Draw each image in a square frame in the colour of its cluster."""
        half = 0.02 * np.ptp(positions, axis=0).max() or 1.0
        low, high = positions.min(axis=0) - 1.5 * half, positions.max(axis=0) + 1.5 * half
        pictures = load_pictures(self.files or (), side=64)
        for picture, (x, y), color in zip(pictures, positions, colors, strict=True):
            extent = (x - half, x + half, y - half, y + half)
            pixels = np.full((1, 1, 3), 235, np.uint8) if picture.pixels is None else picture.pixels
            # By default images are above patches, and would cover the frames of others.
            ax.imshow(pixels, extent=extent, zorder=2)
            frame = Rectangle((x - half, y - half), 2 * half, 2 * half, fill=False, zorder=2)
            frame.set(edgecolor=color, linewidth=1.2)
            ax.add_patch(frame)
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))

    @staticmethod
    def _list_names(ax: Axes, names: Mapping[int, str]) -> None:
        """List the names of clusters beside the map."""
        shown = sorted(names)[:_MAX_NAMES]
        colors = [Rectangle((0, 0), 1, 1, color=cluster_color(cluster)) for cluster in shown]
        texts = [fit(f"{cluster}  {names[cluster]}", _NAME - 30, size=8.5) for cluster in shown]
        if len(shown) < len(names):
            colors.append(Rectangle((0, 0), 1, 1, visible=False))
            texts.append(and_more(len(names) - len(shown), "cluster"))
        ax.legend(colors, texts, loc="upper left", bbox_to_anchor=(1, 1))

    @staticmethod
    def _draw_badge(ax: Axes, cluster: int, x: float, y: float) -> None:
        """Write a cluster's number at its position."""
        color = cluster_color(cluster)
        badge = {"boxstyle": "round,pad=0.25", "facecolor": color, "edgecolor": "white"}
        number = ax.text(x, y, f"{cluster}", color=on_color(color), weight="bold", bbox=badge)
        number.set(ha="center", va="center_baseline", zorder=4)


def _spread(points: Sequence[NDArray[Any]], gap: float) -> NDArray[Any]:
    """Move points apart in small steps until all distances are at least ``gap``."""
    from scipy.spatial import KDTree

    spread = np.array(points).reshape(-1, 2)
    for _ in range(50):
        # Only near pairs: hundreds of clusters have a hundred thousand.
        near = KDTree(spread).query_pairs(gap) if len(spread) else set()
        for first, second in sorted(near):
            apart = spread[second] - spread[first]
            distance = np.hypot(*apart)
            if distance < gap:
                direction = apart / distance if distance else np.array([1.0, 0.0])
                spread[first] -= (gap - distance) / 2 * direction
                spread[second] += (gap - distance) / 2 * direction
    return spread
