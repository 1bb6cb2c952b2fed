"""Sheet of the central, doubtful and odd images of each cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from matplotlib.axes import Axes

from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display
from clusterkit.plots.pictures import Sheet, and_more, load_pictures
from clusterkit.plots.style import QUIET, RULE, cluster_color, cluster_name
from clusterkit.utils.noise import NOISE

if TYPE_CHECKING:
    from pathlib import Path

    from clusterkit.clustering.inspection import ClusterInspection

_SIDE, _GAP, _MARGIN, _HEAD, _TOP, _SPACE = 62.0, 5.0, 6.0, 132.0, 22.0, 16.0
_N_IMAGES, _MAX_CLUSTERS = 3, 30
_GROUP = _N_IMAGES * (_SIDE + _GAP) + _SPACE
_COLUMNS = ("central", "doubtful: nearer to", "odd")


class ClusterRow(NamedTuple):
    """Row of the sheet for one cluster.

    Attributes
    ----------
    cluster : int
        Its number.
    name : str
        Its name; empty if it has none.
    size : int
        Number of its images.
    silhouette : float or None
        Mean silhouette width.
    central, odd : sequence of path
        Images.
    doubtful : sequence of (path, int)
        Images, and the other cluster that each is nearer to.
    """

    cluster: int
    name: str
    size: int
    silhouette: float | None
    central: Sequence[Path]
    doubtful: Sequence[tuple[Path, int]]
    odd: Sequence[Path]


class InspectionDisplay(Display):
    """The central, doubtful and odd images of each cluster, and its silhouette as a bar.

    Parameters
    ----------
    rows : sequence of ClusterRow
        One per cluster; at most 30 are drawn.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    ax_: Axes
    _fills_figure = True

    def __init__(self, rows: Sequence[ClusterRow]) -> None:
        self.rows = rows

    @classmethod
    def from_inspection(cls, inspection: ClusterInspection, *, ax: Axes | None = None) -> Self:
        """Plot the result of :func:`clusterkit.inspect_clusters`.

        Parameters
        ----------
        inspection : ClusterInspection
            The inspection.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.

        Returns
        -------
        InspectionDisplay
            The plotted display.
        """
        clustering = inspection.clustering
        files = clustering.embeddings.files
        rows = [
            ClusterRow(
                cluster,
                clustering.names.get(cluster, ""),
                size,
                inspection.mean_silhouette(cluster),
                [files[row] for row in inspection.central(cluster, _N_IMAGES)],
                [
                    (files[row], int(inspection.nearest[row]))
                    for row in inspection.doubtful(cluster, _N_IMAGES)
                ],
                [files[row] for row in inspection.odd(cluster, _N_IMAGES)],
            )
            for cluster, size in clustering.sizes.items()
            if cluster != NOISE
        ]
        return cls(rows).plot(ax=ax)

    def _size(self) -> tuple[float, float]:
        """Return the size of the sheet, in points."""
        shown = min(len(self.rows), _MAX_CLUSTERS)
        note = _TOP if len(self.rows) > shown else 0
        width = _HEAD + 3 * _GROUP + 2 * _MARGIN
        return width, _TOP + shown * (_SIDE + _GAP) + note + 2 * _MARGIN

    def _draw(self, ax: Axes) -> None:
        """Draw one row per cluster."""
        if not self.rows:
            raise InvalidInputError("there must be at least one cluster. Received: none")
        width, height = self._size()
        sheet = Sheet(ax, width, height)
        for group, title in enumerate(_COLUMNS):
            left = _MARGIN + _HEAD + group * _GROUP
            sheet.line(title, left, _MARGIN + _TOP / 2 - 3, _GROUP - _SPACE, color=QUIET)
        for place, row in enumerate(self.rows[:_MAX_CLUSTERS]):
            self._draw_row(sheet, row, _MARGIN + _TOP + place * (_SIDE + _GAP))
        if len(self.rows) > _MAX_CLUSTERS:
            note = and_more(len(self.rows) - _MAX_CLUSTERS, "cluster")
            sheet.line(note, _MARGIN, height - _MARGIN - 6, width - 2 * _MARGIN, color=QUIET)
        self.ax_ = ax

    def _draw_row(self, sheet: Sheet, row: ClusterRow, y: float) -> None:
        """Draw the caption of a cluster, and its pictures."""
        color = cluster_color(row.cluster)
        sheet.box(_MARGIN, y, 4, _SIDE, color=color)
        x, width = _MARGIN + 10, _HEAD - 22
        lines = [(cluster_name(row.cluster), "bold"), (row.name, "normal")]
        lines.append((f"{row.size:,} image{'' if row.size == 1 else 's'}", "normal"))
        for index, (text, weight) in enumerate(line for line in lines if line[0]):
            sheet.line(text, x, y + 8 + 13 * index, width, size=9, weight=weight)
        if row.silhouette is not None:
            bar = y + _SIDE - 7
            sheet.line(f"silhouette {row.silhouette:z.2f}", x, bar - 7, width, color=QUIET)
            sheet.box(x, bar, width, 4, color=RULE)
            sheet.box(x, bar, width * max(0, min(1, row.silhouette)), 4, color=color)
        groups: tuple[list[tuple[Path, int | None]], ...] = (
            [(file, None) for file in row.central],
            list(row.doubtful),
            [(file, None) for file in row.odd],
        )
        for group, images in enumerate(groups):
            left = _MARGIN + _HEAD + group * _GROUP
            pictures = load_pictures(file for file, _ in images)
            for index, (picture, (_, other)) in enumerate(zip(pictures, images, strict=True)):
                place = left + index * (_SIDE + _GAP)
                frame = None if other is None else cluster_color(other)
                sheet.picture(picture, place, y, _SIDE, frame=frame)
                if other is not None:
                    sheet.tag(str(other), place + _SIDE, y + _SIDE)
