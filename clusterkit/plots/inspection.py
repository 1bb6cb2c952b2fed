"""Sheet of the central, doubtful and odd images of each cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from matplotlib.axes import Axes

from clusterkit.plots.display import Display, check_some
from clusterkit.plots.pictures import Sheet, and_more, choose_pictures, load_pictures
from clusterkit.plots.style import QUIET, RULE, cluster_color, cluster_name, text_width
from clusterkit.utils.noise import NOISE
from clusterkit.utils.text import plural

if TYPE_CHECKING:
    from pathlib import Path

    from clusterkit.clustering.inspection import ClusterInspection

_SIDE, _GAP, _MARGIN, _HEAD, _TOP, _SPACE = 62.0, 5.0, 6.0, 132.0, 22.0, 16.0
_N_IMAGES, _MAX_CLUSTERS = 3, 30
_GROUP = _N_IMAGES * (_SIDE + _GAP) + _SPACE
_COLUMNS = ("central", "doubtful: nearer to", "odd")
# What is said of a column without images, which is not drawn.
_NONE = ("", "no image is doubtful", "no image is odd")


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
    copies : dict of path to int, optional
        Number of further images that a picture represents, since they are copies of it.
    """

    cluster: int
    name: str
    size: int
    silhouette: float | None
    central: Sequence[Path]
    doubtful: Sequence[tuple[Path, int]]
    odd: Sequence[Path]
    copies: Mapping[Path, int] = {}


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
        """Plot the result of :func:`clusterkit.inspect_clusters`; copies take one picture.

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
        sizes = {
            cluster: size
            for cluster, size in inspection.clustering.sizes.items()
            if cluster != NOISE
        }
        rows = [
            _row(inspection, cluster, size, is_drawn=place < _MAX_CLUSTERS)
            for place, (cluster, size) in enumerate(sizes.items())
        ]
        return cls(rows).plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw."""
        check_some(self.rows, "cluster")

    def _size(self) -> tuple[float, float]:
        """Return the size of the sheet, in points."""
        shown = min(len(self.rows), _MAX_CLUSTERS)
        note = _TOP if self._note() else 0
        width = max(_HEAD + len(self._groups()) * _GROUP, text_width(self._note(), 9) + 2)
        width += 2 * _MARGIN
        return width, _TOP + shown * (_SIDE + _GAP) + note + 2 * _MARGIN

    def _groups(self) -> list[int]:
        """Return the columns that have an image."""
        shown = self.rows[:_MAX_CLUSTERS]
        filled = [any(map(len, column)) for column in zip(*map(_images, shown), strict=True)]
        return [group for group, is_filled in enumerate(filled) if is_filled]

    def _note(self) -> str:
        """Return what is not drawn."""
        hidden = len(self.rows) - _MAX_CLUSTERS
        said = [and_more(hidden, "cluster")] if hidden > 0 else []
        for group in (1, 2):
            if not any(_images(row)[group] for row in self.rows):
                said.append(_NONE[group])
        return "; ".join(said)

    def _draw(self, ax: Axes) -> None:
        """Draw one row per cluster."""
        width, height = self._size()
        sheet = Sheet(ax, width, height)
        groups = self._groups()
        for place, group in enumerate(groups):
            left = _MARGIN + _HEAD + place * _GROUP
            sheet.line(_COLUMNS[group], left, _MARGIN + _TOP / 2 - 3, _GROUP - _SPACE, color=QUIET)
        for place, row in enumerate(self.rows[:_MAX_CLUSTERS]):
            self._draw_row(sheet, row, _MARGIN + _TOP + place * (_SIDE + _GAP), groups)
        if note := self._note():
            sheet.line(note, _MARGIN, height - _MARGIN - 6, width - 2 * _MARGIN, color=QUIET)
        self.ax_ = ax

    def _draw_row(self, sheet: Sheet, row: ClusterRow, y: float, groups: list[int]) -> None:
        """Draw the caption of a cluster, and its pictures."""
        color = cluster_color(row.cluster)
        sheet.box(_MARGIN, y, 4, _SIDE, color=color)
        x, width = _MARGIN + 10, _HEAD - 22
        lines = [(cluster_name(row.cluster), "bold"), (row.name, "normal")]
        lines.append((plural(row.size, "image"), "normal"))
        for index, (text, weight) in enumerate(line for line in lines if line[0]):
            sheet.line(text, x, y + 8 + 13 * index, width, size=9, weight=weight)
        if row.silhouette is not None:
            bar = y + _SIDE - 7
            sheet.line(f"silhouette {row.silhouette:z.2f}", x, bar - 7, width, color=QUIET)
            sheet.box(x, bar, width, 4, color=RULE)
            sheet.box(x, bar, width * min(1, max(0, row.silhouette)), 4, color=color)
        for column, group in enumerate(groups):
            images = _images(row)[group]
            left = _MARGIN + _HEAD + column * _GROUP
            pictures = load_pictures(file for file, _ in images)
            for index, (picture, (file, other)) in enumerate(zip(pictures, images, strict=True)):
                place = left + index * (_SIDE + _GAP)
                frame = None if other is None else cluster_color(other)
                sheet.picture(picture, place, y, _SIDE, frame=frame)
                said = [] if other is None else [str(other)]
                if n_copies := row.copies.get(file):
                    said.append(f"x {n_copies + 1}")
                if said:
                    sheet.tag(", ".join(said), place + _SIDE, y + _SIDE)


def _row(inspection: ClusterInspection, cluster: int, size: int, *, is_drawn: bool) -> ClusterRow:
    """Return the row of a cluster; if it is drawn, with one of several copies in each column."""
    clustering = inspection.clustering
    files = clustering.embeddings.files
    copies: dict[Path, int] = {}

    def first(rows: Sequence[int]) -> list[int]:
        # Finding copies reads files.
        if not is_drawn:
            return list(rows[:_N_IMAGES])
        ordered, apart = [files[row] for row in rows], clustering.decisions.not_copies
        chosen, its_copies = choose_pictures(ordered, _N_IMAGES, apart)
        copies.update(its_copies)
        return [rows[i] for i in chosen]

    central, doubtful, odd = (
        first(choose(cluster, size))
        for choose in (inspection.central, inspection.doubtful, inspection.odd)
    )
    return ClusterRow(
        cluster,
        clustering.names.get(cluster, ""),
        size,
        inspection.mean_silhouette(cluster),
        [files[row] for row in central],
        [(files[row], int(inspection.nearest[row])) for row in doubtful],
        [files[row] for row in odd],
        copies,
    )


def _images(row: ClusterRow) -> tuple[list[tuple[Path, int | None]], ...]:
    """Return the images of each column of a row, some with another cluster."""
    return (
        [(file, None) for file in row.central],
        list(row.doubtful),
        [(file, None) for file in row.odd],
    )
