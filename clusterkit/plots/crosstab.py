"""Contingency table of clusters and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display, check_some
from clusterkit.plots.heat_map import NAME, draw_heat_map
from clusterkit.plots.pictures import and_more
from clusterkit.plots.style import cluster_name

if TYPE_CHECKING:
    from clusterkit.clustering.agreement import Evaluation

_CELL = 26.0


class CrosstabDisplay(Display):
    """Heat map of the number of images per cluster and label.

    The colour is the share of the cluster, so that small clusters are as visible as large ones;
    rows are ordered by their most frequent label, so that good clusters form a diagonal.

    Parameters
    ----------
    table : array-like of shape (n_clusters, n_labels), int
        Numbers of images.
    clusters : sequence of int or str
        The clusters of the rows; -1 is noise.
    label_names : sequence of str
        The labels of the columns.
    title : str
        Title of the figure.
    max_rows, max_columns : int
        Maximum size of the table; the number of other rows and columns is stated.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes

    def __init__(
        self,
        table: ArrayLike,
        clusters: Sequence[int | str],
        label_names: Sequence[str],
        *,
        title: str = "",
        max_rows: int = 60,
        max_columns: int = 60,
    ) -> None:
        self.table = table
        self.clusters = clusters
        self.label_names = label_names
        self.title = title
        self.max_rows = max_rows
        self.max_columns = max_columns

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation, *, ax: Axes | None = None) -> Self:
        """Plot the result of :func:`clusterkit.evaluate`.

        Parameters
        ----------
        evaluation : Evaluation
            The evaluation.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.

        Returns
        -------
        CrosstabDisplay
            The plotted display.
        """
        title = (
            f"accuracy {evaluation.accuracy:.3f}   NMI {evaluation.nmi:.3f}   "
            f"ARI {evaluation.ari:.3f}   purity {evaluation.purity:.3f}"
        )
        names = {cluster: f"{cluster} {name}" for cluster, name in evaluation.names.items()}
        clusters = [names.get(cluster, cluster) for cluster in evaluation.clusters]
        display = cls(evaluation.table, clusters, evaluation.label_names, title=title)
        return display.plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw, with a row for each cluster."""
        shape = len(self.clusters), len(self.label_names)
        if np.shape(self.table) != shape:
            raise InvalidInputError(
                f"table must have the shape {shape}: one row per cluster, one column per label. "
                f"Received: {np.shape(self.table)}"
            )
        check_some(self.clusters, "cluster")
        check_some(self.label_names, "label")

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        rows, columns = np.shape(self.table)
        width = max(300, NAME + _CELL * min(columns, self.max_columns) + 30)
        return width, 110 + _CELL * min(rows, self.max_rows)

    def _draw(self, ax: Axes) -> None:
        """Draw the table."""
        table = np.asarray(self.table)
        is_noise = np.array([cluster == -1 for cluster in self.clusters])
        order = np.lexsort((-table.max(axis=1, initial=0), table.argmax(axis=1), is_noise))
        rows = order[: self.max_rows]
        shown = table[rows, : self.max_columns]
        share = shown / np.maximum(table[rows].sum(axis=1, keepdims=True), 1)
        texts = [[str(count) if count else "" for count in row] for row in shown]
        names = [cluster_name(self.clusters[row]) for row in rows]
        draw_heat_map(ax, share, texts, rows=names, columns=self.label_names[: self.max_columns])
        ax.set_title(self.title, wrap=True)
        ax.set_xlabel(self._left_out(*table.shape))
        self.ax_ = ax

    def _left_out(self, rows: int, columns: int) -> str:
        """Return the number of rows and columns left out as text."""
        notes = []
        if rows > self.max_rows:
            notes.append(and_more(rows - self.max_rows, "cluster"))
        if columns > self.max_columns:
            notes.append(and_more(columns - self.max_columns, "label"))
        return ", ".join(notes)
