"""Contact sheets: pictures of the images of each cluster, on one page or several."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from clusterkit.clusterers.distances import margins_to_others
from clusterkit.errors import InvalidInputError
from clusterkit.plots.display import Display, check_figure_path, check_some, save_figure
from clusterkit.plots.pictures import Sheet, and_more, choose_pictures, load_pictures
from clusterkit.plots.style import INK, QUIET, cluster_color, cluster_name
from clusterkit.similarity.scaling import as_scaling
from clusterkit.utils.arguments import check_at_least, check_seed, generator_from
from clusterkit.utils.locations import as_path
from clusterkit.utils.text import plural

if TYPE_CHECKING:
    from clusterkit.clustering.cluster import Clustering

_SIDE, _GAP, _MARGIN, _HEAD, _NOTE, _CAPTION = 76.0, 6.0, 4.0, 112.0, 20.0, 10.0
# Pictures per row, and rows per page.
_COLUMNS, _MAX_ROWS = 8, 30
SHOWN = ("central", "doubtful", "random", "all")


class ContactSheetDisplay(Display):
    """Pictures of each cluster, with its number, name and size.

    Parameters
    ----------
    files : dict of int to list of path
        The images of each cluster in display order; noise (-1) is last.
    sizes : dict of int to int, optional
        Number of images in each cluster; by default the number of its files.
    names : dict of int to str, optional
        Names of clusters.
    copies : dict of path to int, optional
        Number of further images that a picture represents, since they are copies of it.
    starts : dict of int to int, optional
        Number of pictures of each cluster on earlier pages.
    file_names : bool
        Whether to write the name of each file below its picture.
    n_images : int
        Maximum number of pictures per cluster, eight in a row.
    max_clusters : int
        Maximum number of clusters; the number of others is stated.

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
        copies: Mapping[str | Path, int] | None = None,
        starts: Mapping[int, int] | None = None,
        file_names: bool = False,
        n_images: int = 8,
        max_clusters: int = _MAX_ROWS,
    ) -> None:
        self.files = files
        self.sizes = sizes
        self.names = names
        self.copies = copies
        self.starts = starts
        self.file_names = file_names
        self.n_images = n_images
        self.max_clusters = max_clusters

    @classmethod
    def from_clustering(
        cls,
        clustering: Clustering,
        *,
        clusters: Sequence[int] | None = None,
        n_images: int = 8,
        show: str = "central",
        random_state: int | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot images of each cluster; copies of an image take one picture.

        Parameters
        ----------
        clustering : Clustering
            Labels and distances to the centres.  Images marked as not copies of each other take two
            pictures, see :func:`clusterkit.clustering.label`.
        clusters : sequence of int, optional
            Clusters to show, for instance the next page; by default all.
        n_images : int
            Maximum number of pictures per cluster.
        show : {"central", "doubtful", "random", "all"}
            Which images: the nearest to the centre, those that are nearly as near to another
            centre, a random sample, or all.
        random_state : int, optional
            Seed of the sample; random by default.
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
            If a cluster does not exist, or ``show`` is not one of the above.
        """
        n_drawn = check_at_least(kwargs.get("max_clusters", _MAX_ROWS), 1, "max_clusters")
        chosen = _choose(clustering, clusters, n_images, show, random_state, n_drawn=n_drawn)
        kwargs = _described(clustering, chosen, kwargs)
        n_images = max(map(len, chosen.files.values()), default=0) if show == "all" else n_images
        return cls(chosen.files, n_images=n_images, **kwargs).plot(ax=ax)

    def _check(self) -> None:
        """Check that there is something to draw."""
        check_some(self.files, "cluster")

    def _clusters(self) -> list[int]:
        """Return the clusters by number, with noise last."""
        return _noise_last(self.files)

    def _count(self, cluster: int) -> int:
        """Return the number of images in a cluster."""
        return len(self.files[cluster]) if self.sizes is None else self.sizes[cluster]

    def _shown(self, cluster: int) -> Sequence[str | Path]:
        """Return the files whose pictures are drawn."""
        return self.files[cluster][: self.n_images]

    @property
    def _row(self) -> float:
        """Height of a row of pictures, in points."""
        return _SIDE + _GAP + (_CAPTION if self.file_names else 0)

    def _size(self) -> tuple[float, float]:
        """Return the size of the sheet, in points."""
        shown = self._clusters()[: self.max_clusters]
        rows = sum(map(self._n_rows, shown))
        columns = min(_COLUMNS, max((len(self._shown(cluster)) for cluster in shown), default=0))
        note = _NOTE if len(shown) < len(self.files) else 0
        width = _HEAD + columns * (_SIDE + _GAP) + 2 * _MARGIN
        return width, rows * self._row - _GAP + note + 2 * _MARGIN

    def _n_rows(self, cluster: int) -> int:
        """Return the number of rows of a cluster."""
        return max(1, math.ceil(len(self._shown(cluster)) / _COLUMNS))

    def _draw(self, ax: Axes) -> None:
        """Draw the clusters below each other."""
        width, height = self._size()
        sheet = Sheet(ax, width, height)
        clusters = self._clusters()
        shown, hidden = clusters[: self.max_clusters], clusters[self.max_clusters :]
        y = _MARGIN
        for cluster in shown:
            self._draw_cluster(sheet, cluster, y)
            y += self._n_rows(cluster) * self._row
        if hidden:
            images = sum(map(self._count, hidden))
            note = f"{and_more(len(hidden), 'cluster')} with {plural(images, 'image')}"
            sheet.line(note, _MARGIN, height - _MARGIN, width - 2 * _MARGIN, color=QUIET)
        self.ax_ = ax

    def _draw_cluster(self, sheet: Sheet, cluster: int, y: float) -> None:
        """Draw the caption of a cluster, then its pictures."""
        height = self._n_rows(cluster) * self._row - _GAP
        sheet.box(_MARGIN, y, 4, height, color=cluster_color(cluster))
        x, width = _MARGIN + 12, _HEAD - 20
        lines = [(cluster_name(cluster), "bold")]
        if self.names and cluster in self.names:
            # A name of several classes, such as "red fox / timber wolf", is a list.
            *first, last = self.names[cluster].split(" / ", 2)
            lines += [(f"{part} /", "normal") for part in first] + [(last, "normal")]
        files = self._shown(cluster)
        start = (self.starts or {}).get(cluster, 0)
        lines.append((_share(start, len(files), self._count(cluster)), "normal"))
        top = y + _SIDE / 2 - 7 * (len(lines) - 1)
        for index, (text, weight) in enumerate(lines):
            color = QUIET if index == len(lines) - 1 else INK
            sheet.line(text, x, top + 14 * index, width, size=9, color=color, weight=weight)
        for index, picture in enumerate(load_pictures(files, side=160)):
            row, column = divmod(index, _COLUMNS)
            left, upper = _MARGIN + _HEAD + column * (_SIDE + _GAP), y + row * self._row
            sheet.picture(picture, left, upper, _SIDE)
            if n_copies := (self.copies or {}).get(files[index]):
                sheet.tag(f"x {n_copies + 1}", left + _SIDE, upper + _SIDE)
            if self.file_names:
                name, middle = as_path(files[index]).name, upper + _SIDE + _CAPTION / 2
                sheet.line(name, left, middle, _SIDE, size=6, color=QUIET)


class ContactSheets:
    """All pages of a contact sheet.

    Parameters
    ----------
    pages : list of ContactSheetDisplay
        The pages.  One that is not plotted yet is plotted while it is saved, and not kept: the
        pages of 5,000 pictures together would take more than a gigabyte.
    """

    def __init__(self, pages: list[ContactSheetDisplay]) -> None:
        self.pages = pages

    @classmethod
    def from_clustering(
        cls,
        clustering: Clustering,
        *,
        n_images: int = 8,
        show: str = "central",
        random_state: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Choose images of all clusters, on as many pages as they need.

        Parameters
        ----------
        clustering, n_images, show, random_state, **kwargs
            See :meth:`ContactSheetDisplay.from_clustering`.

        Returns
        -------
        ContactSheets
            The pages, not plotted.
        """
        chosen = _choose(clustering, None, n_images, show, random_state)
        kwargs = _described(clustering, chosen, kwargs)
        pages = [
            ContactSheetDisplay(
                files, starts=starts, n_images=max(map(len, files.values())), **kwargs
            )
            for files, starts in _pages(chosen.files)
        ]
        return cls(pages)

    def plot(self) -> Self:
        """Plot all pages now, before the image files are moved."""
        for page in self.pages:
            page.plot()
        return self

    def save(self, path: str | Path, *, overwrite: bool = False, dpi: float = 150) -> list[Path]:
        """Write the pages: the first to ``path``, the others to ``NAME-2``, ``NAME-3`` and so on.

        Returns
        -------
        list of pathlib.Path
            The written files.

        Raises
        ------
        OutputExistsError
            If a file exists and ``overwrite`` is false; then none is written.
        """
        return [
            # A copy, so that its figure ends with it.
            save_figure(copy(page), file, overwrite=overwrite, dpi=dpi)
            for page, file in zip(self.pages, self.check(path, overwrite=overwrite), strict=True)
        ]

    def check(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Return the files of the pages; raise an error if :meth:`save` cannot write one."""
        numbers = range(1, len(self.pages) + 1)
        return [
            check_figure_path(_page_path(path, number), overwrite=overwrite) for number in numbers
        ]


def check_sheet_path(path: str | Path, *, overwrite: bool = False) -> Path:
    """Check that a contact sheet can be written, before the number of its pages is known.

    A second page of an earlier sheet is an error, too; other files with a number may be anything.

    Parameters
    ----------
    path : path
        The file of the first page.
    overwrite : bool
        Whether to overwrite existing files.

    Returns
    -------
    pathlib.Path
        The path of the first page.

    Raises
    ------
    InvalidInputError, NotFoundError, OutputExistsError
        As for :func:`clusterkit.plots.check_figure_path`.
    """
    path = check_figure_path(path, overwrite=overwrite)
    check_figure_path(_page_path(path, 2), overwrite=overwrite)
    return path


class _Chosen:
    """The images to show of each cluster, its size, and the number of copies of images."""

    def __init__(self) -> None:
        self.files: dict[int, list[Path]] = {}
        self.sizes: dict[int, int] = {}
        self.copies: dict[Path, int] = {}


def _choose(
    clustering: Clustering,
    clusters: Sequence[int] | None,
    n_images: int,
    show: str,
    random_state: int | None,
    *,
    n_drawn: int | None = None,
) -> _Chosen:
    """Choose the images of each cluster; of the first ``n_drawn``, one of several copies."""
    if show not in SHOWN:
        raise InvalidInputError(f"show must be one of {', '.join(SHOWN)}. Received: {show!r}")
    check_at_least(n_images, 1, "n_images")
    check_seed(random_state)
    files = clustering.embeddings.files
    labels = np.asarray(clustering.labels)
    existing = np.unique(labels).tolist()
    unknown = sorted(set(clusters or ()) - set(existing))
    if unknown:
        raise InvalidInputError(
            f"clusters must be among {existing[0]} to {existing[-1]}. Received: {unknown}"
        )
    ranks = _rank(clustering, show, random_state)
    chosen = _Chosen()
    decisions = getattr(clustering, "decisions", None)
    apart = frozenset() if decisions is None else decisions.not_copies
    wanted = existing if clusters is None else clusters
    drawn = set(_noise_last(wanted)[:n_drawn])
    for cluster in wanted:
        members = np.flatnonzero(labels == cluster)
        members = members[np.argsort(ranks[members], kind="stable")]
        chosen.sizes[cluster] = len(members)
        ordered = [files[row] for row in members]
        # Finding copies reads files.
        if cluster not in drawn:
            chosen.files[cluster] = ordered[:n_images]
            continue
        rows, copies = choose_pictures(ordered, None if show == "all" else n_images, apart)
        chosen.files[cluster] = [ordered[row] for row in rows]
        chosen.copies |= copies
    return chosen


def _noise_last(clusters: Iterable[int]) -> list[int]:
    """Return clusters in the order in which they are drawn."""
    return sorted(clusters, key=lambda cluster: (cluster < 0, cluster))


def _rank(clustering: Clustering, show: str, random_state: int | None) -> NDArray[np.float64]:
    """Return the sort key of the images; the lowest is shown first."""
    distances = np.asarray(clustering.distances, float)
    if show == "random":
        return generator_from(random_state).random(len(distances))
    if show == "doubtful":
        normalize = as_scaling(clustering.parameters.get("normalize"))
        return margins_to_others(clustering.embeddings, clustering.labels, normalize=normalize)
    return distances


def _described(clustering: Clustering, chosen: _Chosen, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a display with names, sizes and copies."""
    names = getattr(clustering, "names", None)
    return {"names": names, "sizes": chosen.sizes, "copies": chosen.copies} | kwargs


def _pages(
    files: Mapping[int, Sequence[Path]],
) -> Iterator[tuple[dict[int, Sequence[Path]], dict[int, int]]]:
    """Yield the files of each page, and the number of each cluster on earlier pages."""
    page: dict[int, Sequence[Path]] = {}
    starts: dict[int, int] = {}
    n_free = _MAX_ROWS
    for cluster in _noise_last(files):
        start = 0
        while start < max(1, len(files[cluster])):
            n_rows = math.ceil(max(1, len(files[cluster]) - start) / _COLUMNS)
            # A cluster that fits on one page is not divided.
            if n_free < min(n_rows, _MAX_ROWS):
                yield page, starts
                page, starts, n_free = {}, {}, _MAX_ROWS
            n_rows = min(n_rows, n_free)
            page[cluster] = files[cluster][start : start + n_rows * _COLUMNS]
            starts[cluster] = start
            start += max(1, len(page[cluster]))
            n_free -= n_rows
    yield page, starts


def _page_path(path: str | Path, number: int) -> Path:
    """Return the file of a page."""
    path = Path(path)
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _share(start: int, shown: int, count: int) -> str:
    """Return the numbers of images and of shown images as text."""
    if start:
        return f"{start + 1:,} to {start + shown:,} of {count:,}"
    images = plural(count, "image")
    return images if shown == count else f"{shown:,} of {images}"
