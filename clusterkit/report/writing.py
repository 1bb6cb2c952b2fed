"""Write the report of a clustering: one HTML page."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from clusterkit.clustering.inspection import ClusterInspection, inspect_clusters
from clusterkit.clustering.naming import find_classes
from clusterkit.datasets.labels import align_labels, read_labels
from clusterkit.datasets.results import Result
from clusterkit.elbow.curve import ElbowCurve, elbow_curve
from clusterkit.errors import InvalidInputError, Notice, OutputExistsError
from clusterkit.report.assembly import MAX_INSIDE, assemble
from clusterkit.report.layouts import check_layout
from clusterkit.report.page_images import PageImages, read_page_images
from clusterkit.similarity.space_audit import Audit
from clusterkit.similarity.space_audit import audit as audit_space
from clusterkit.store.store import Store
from clusterkit.store.stream import VectorStream
from clusterkit.utils.arguments import check_at_least, check_seed
from clusterkit.utils.files import OVERWRITE, check_output, write_whole
from clusterkit.utils.noise import NOISE
from clusterkit.utils.text import join_lines, plural

# Number of images up to which "auto" computes the slow parts.
_MAX_AUTO = 2_000
# Thumbnails, also those without a hash of earlier pages, and what a killed run leaves.
_OURS = re.compile(r"\.?\d{5}(-[0-9a-f]{8})?(\.\d+-\d+\.tmp)?\.(avif|webp)")


@dataclass(frozen=True, repr=False)
class Report(Result):
    """A written report.

    Attributes
    ----------
    path : pathlib.Path
        The page.
    folder : pathlib.Path or None
        The folder of its thumbnails; None if they are in the page.
    n_images, n_clusters : int
        Number of images, and of clusters without noise.
    n_without_picture : int
        Number of images whose file is gone or cannot be read.
    n_bytes : int
        Size of the page and its thumbnails.
    """

    path: Path
    folder: Path | None
    n_images: int
    n_clusters: int
    n_without_picture: int
    n_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "path": str(self.path),
            "folder": None if self.folder is None else str(self.folder),
            "images": self.n_images,
            "k": self.n_clusters,
            "without_picture": self.n_without_picture,
            "bytes": self.n_bytes,
        }

    def to_text(self) -> str:
        """Return what the page holds, and how to open it."""
        size = f"{self.n_bytes / 1e6:.1f} MB"
        n = self.n_clusters
        clusters = f"in {plural(n, 'cluster')}" if n else "without clusters"
        lines = [
            f"{plural(self.n_images, 'image')} {clusters}: open {self.path} ({size}) in a browser"
        ]
        if self.folder is not None:
            lines.append(f"Its thumbnails are in {self.folder}: keep both together")
        if self.n_without_picture:
            lines.append(
                f"{plural(self.n_without_picture, 'image')} without a picture: gone, or unreadable"
            )
        return join_lines(lines)


def check_report_path(path: str | Path, *, overwrite: bool = False) -> Path:
    """Check that a page, and a folder of thumbnails beside it, can be written.

    Raises
    ------
    InvalidInputError
        If its name does not end in .html.
    OutputExistsError
        If one of them exists and ``overwrite`` is false, or the folder holds other files.
    """
    path = check_output(path, overwrite=overwrite)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InvalidInputError(f"a report is a page, .html. Received: {path}")
    folder = _folder_of(path)
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{folder} exists, where the thumbnails would be")
    if folder.is_dir():
        others = [file for file in os.listdir(folder) if not _OURS.fullmatch(file)]  # noqa: PTH208
        if others:
            raise OutputExistsError(
                f"{folder}, where the thumbnails would be, has other files, such as {min(others)}: "
                "name another page, or move them away"
            )
        if not overwrite:
            raise OutputExistsError(
                f"{folder} exists, where the thumbnails would be; name another page, or allow it "
                f"with {OVERWRITE}"
            )
    return path


def write_report(
    clusters: Any,
    output: str | Path,
    *,
    embeddings: Any = None,
    store: Store | str | Path | None = None,
    curve: ElbowCurve | bool | str | None = None,
    audit: Audit | bool | str | None = None,
    inspection: ClusterInspection | bool | str | None = "auto",
    labels: Any = "auto",
    layout: str = "pca",
    max_inside: int = MAX_INSIDE,
    title: str | None = None,
    random_state: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Report:
    """Write one HTML page of images and their clusters, in which a person can decide about them.

    The page opens from the disk, without a server or the internet.  It shows the clusters, a map of
    all images, the neighbours of each, and the optional results below.  In it, clusters are
    renamed, merged and split, and images moved and marked; the browser stores the decisions, and
    the page offers the result as a table that :func:`~clusterkit.promote`,
    :func:`~clusterkit.evaluate` and :func:`~clusterkit.cluster` with ``previous`` read.

    Parameters
    ----------
    clusters : Clustering, path, Embeddings or Store
        A clustering or its ``clusters.csv``.  The images of embeddings, or of a store or its path,
        have no clusters yet and are shown as one.  The vectors of a stream, or of a large space,
        are read part by part.
    output : path
        The page, .html.
    embeddings : Embeddings, Store, Space, or path of a store, optional
        The vectors of a table's images, which may be of another space than the clusters.  By
        default those of the clustering.
    store : Store or path, optional
        Where to look for the ImageNet classes of the images, if the embeddings have none; see
        :func:`clusterkit.clustering.naming.find_top5`.
    curve : ElbowCurve, bool or "auto", optional
        The verdict on the number of clusters, see :func:`clusterkit.elbow_curve`.  True computes
        it, which takes from seconds to minutes; "auto" up to 2,000 images.
    audit : Audit, bool or "auto", optional
        What the space follows, see :func:`clusterkit.audit`; True and "auto" as for the curve.
    inspection : ClusterInspection, bool or "auto", optional
        How well each image fits its cluster, see :func:`clusterkit.inspect_clusters`; True and
        "auto" as for the curve.
    labels : "auto", None, "folders", path, mapping of path to label, or sequence of length n
        Known labels; "folders" are the names of the images' folders, which "auto" takes if there
        are at least two and on average at least two images of each.
    layout : {"pca", "umap"}
        The map: principal components, or also UMAP, which needs the extra ``map`` and more time.
    max_inside : int
        Maximum number of images whose thumbnails are in the page; otherwise they are in a folder
        beside it.
    title : str, optional
        Title of the page.
    random_state : int, optional
        Seed of the curve.
    overwrite : bool
        Whether to overwrite an existing page.
    progress : bool
        Whether to show progress bars on a terminal.

    Returns
    -------
    Report
        The page, and what is in it.

    Raises
    ------
    NotFoundError
        If a table or the store does not exist.
    OutputExistsError
        If the page exists and ``overwrite`` is false.
    InvalidInputError
        If there are no images, no image of a table is among the embeddings, or the vectors are a
        stream and UMAP or the inspection is asked for.
    MissingDependencyError
        If the map needs umap-learn.

    Warns
    -----
    Notice
        If images of a table are not among the embeddings, or the reverse.

    Notes
    -----
    The same input gives the same bytes.  The page runs no code but its own: its content security
    policy names the hash of each of its scripts, and a server may send the same policy.
    """
    check_at_least(max_inside, 0, "max_inside")
    check_seed(random_state)
    output = check_report_path(output, overwrite=overwrite)
    page_images = read_page_images(clusters, embeddings)
    given = page_images.embeddings
    check_layout(layout, given)
    if isinstance(given, VectorStream):
        if inspection is True:
            raise InvalidInputError(
                f"an inspection needs all vectors in memory. Received: {given!r}"
            )
        inspection = None if inspection == "auto" else inspection
    known = _find_labels(labels, page_images)
    n = len(page_images.embeddings)
    if _is_wanted(curve, ElbowCurve, n, minimum=2, what="number of clusters"):
        curve = elbow_curve(page_images.embeddings, random_state=random_state, progress=progress)
    if _is_wanted(audit, Audit, n, minimum=3, what="audit"):
        audit = audit_space(page_images.embeddings, random_state=random_state, progress=progress)
    if (
        _is_wanted(inspection, ClusterInspection, n, minimum=2, what="inspection")
        and page_images.algorithm is not None
    ):
        inspection = inspect_clusters(page_images.to_clustering())
    top5, _ = find_classes(page_images.embeddings, store)
    folder = _folder_of(output)
    page = assemble(
        page_images,
        address=quote(os.fsencode(folder.name)),
        layout=layout,
        max_inside=max_inside,
        title=title,
        curve=curve if isinstance(curve, ElbowCurve) else None,
        audit=audit if isinstance(audit, Audit) else None,
        inspection=inspection if isinstance(inspection, ClusterInspection) else None,
        labels=known,
        top5=None if top5 is None else list(top5),
        output=output,
        progress=progress,
    )
    # A run that is killed leaves the old page whole, or the new one.
    _write_sheets(folder, page.sheets)
    write_whole(output, page.html)
    _remove_others(folder, page.sheets)
    return Report(
        path=output,
        folder=folder if page.sheets else None,
        n_images=len(page_images.paths),
        n_clusters=len(page_images.sizes.keys() - {NOISE}) if page_images.algorithm else 0,
        n_without_picture=page.n_without_picture,
        n_bytes=output.stat().st_size + sum(map(len, page.sheets.values())),
    )


def _folder_of(output: Path) -> Path:
    """Return the folder of a page's thumbnails."""
    return output.with_name(f"{output.stem}-sheets")


def _write_sheets(folder: Path, sheets: Mapping[str, bytes]) -> None:
    """Write the thumbnails beside the page, without changing those of the earlier page."""
    if sheets:
        folder.mkdir(exist_ok=True)
    for name, content in sheets.items():
        file = folder / name
        if not file.exists() or file.read_bytes() != content:
            write_whole(file, content)


def _remove_others(folder: Path, sheets: Mapping[str, bytes]) -> None:
    """Remove the thumbnails of an earlier page: the folder holds nothing else, see above."""
    if not folder.exists():
        return
    for file in folder.iterdir():
        if file.name not in sheets and _OURS.fullmatch(file.name):
            file.unlink()
    if not sheets:
        folder.rmdir()


def _is_wanted(given: Any, kind: type, n: int, *, minimum: int, what: str) -> bool:
    """Return whether a part is to be computed for n images, with a notice if these are too few."""
    if not (given is None or isinstance(given, bool | kind) or given == "auto"):
        raise InvalidInputError(
            f"the {what} must be of type {kind.__name__}, a bool or 'auto'. "
            f"Received: {given!r:.100}"
        )
    is_wanted = given is True or (given == "auto" and n <= _MAX_AUTO)
    if given is True and n < minimum:
        warnings.warn(f"{plural(n, 'image')}: too few for the {what}", Notice, stacklevel=3)
    return is_wanted and n >= minimum


def _find_labels(labels: Any, page_images: PageImages) -> Sequence[Any] | None:
    """Return the known label of each image; None if there are none."""
    if labels is None:
        return None
    paths = page_images.paths
    folders = [PurePath(path).parent.name or None for path in paths]
    if isinstance(labels, str) and labels in ("auto", "folders"):
        kinds = set(folders)
        if labels == "auto" and (None in kinds or not 2 <= len(kinds) <= len(paths) / 2):
            return None
        if kinds == {None}:
            raise InvalidInputError(
                f"{paths[0]} is in no folder that could be its label: give a table of labels"
            )
        return folders
    if isinstance(labels, str | os.PathLike):
        return read_labels(Path(labels), paths).labels
    return align_labels(labels, paths)
