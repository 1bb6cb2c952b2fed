"""Put a page together: its map, neighbours, thumbnails and results."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit.clustering.agreement import measure_agreement
from clusterkit.clustering.inspection import ClusterInspection
from clusterkit.elbow.curve import ElbowCurve
from clusterkit.report.document import make_document
from clusterkit.report.layouts import find_neighbors, make_layouts
from clusterkit.report.page import render
from clusterkit.report.page_images import PageImages
from clusterkit.report.sheets import make_sheets
from clusterkit.similarity.space_audit import Audit
from clusterkit.store.embeddings import TopClasses, describe_space
from clusterkit.store.stream import VectorStream
from clusterkit.utils.text import plural

# Up to this number of images, the thumbnails are in the page: about 15 MB.
MAX_INSIDE = 10_000
_N_NEIGHBORS = 8


@dataclass(frozen=True)
class Assembled:
    """A page, and the thumbnails beside it.

    Attributes
    ----------
    html : str
        The page.
    sheets : dict of str to bytes
        Thumbnails beside the page, by their names, which tell their content, so that no page shows
        those of another; empty if they are in it.
    sheet_kind : str
        Media type of the thumbnails.
    n_without_picture : int
        Number of images whose file is gone or cannot be read.
    """

    html: str
    sheets: dict[str, bytes]
    sheet_kind: str
    n_without_picture: int


def assemble(
    page_images: PageImages,
    *,
    address: str,
    layout: str = "pca",
    max_inside: int = MAX_INSIDE,
    title: str | None = None,
    curve: ElbowCurve | None = None,
    audit: Audit | None = None,
    inspection: ClusterInspection | None = None,
    labels: Sequence[Any] | None = None,
    top5: Sequence[TopClasses | None] | None = None,
    output: Path | None = None,
    is_served: bool = False,
    uploads: Sequence[str] = (),
    progress: bool = False,
) -> Assembled:
    """Put the page of some images together.

    Parameters
    ----------
    page_images : PageImages
        The images and clusters.
    address : str
        Folder of the thumbnails beside the page, as in its links.
    layout, max_inside, title, progress
        See :func:`clusterkit.report.write_report`.
    curve, audit, inspection, labels, top5 : optional
        What else the page shows.
    output : path, optional
        Where the page will be written, for links to the images.
    is_served : bool
        Whether a server sends the page, which leaves out what takes long.
    uploads : sequence of str
        See :func:`clusterkit.report.page.render`.
    """
    given = page_images.embeddings
    vectors = given if isinstance(given, VectorStream) else np.asarray(given)
    layouts = make_layouts(vectors, layout, progress=progress)
    neighbors = find_neighbors(vectors, _N_NEIGHBORS, progress=progress)
    sheets = make_sheets(page_images.files, page_images.ranks(), progress=progress)
    is_inside = len(page_images.paths) <= max_inside
    names = [
        f"{number:05d}-{hashlib.sha256(content).hexdigest()[:8]}{sheets.suffix}"
        for number, content in enumerate(sheets.content)
    ]
    title = title or f"{plural(len(page_images.paths), 'image')} of {_folder_name(page_images)}"
    data = make_document(
        page_images,
        title=title,
        layouts=layouts,
        neighbors=neighbors,
        sheets=sheets,
        sheet_files=None if is_inside else [f"{address}/{name}" for name in names],
        top5=None if top5 is None else list(top5),
        labels=labels,
        inspection=inspection,
        output=output,
    )
    n_gone = int((sheets.sizes[:, 0] == 0).sum())
    html = render(
        page_images,
        title=title,
        data=data,
        sheets=sheets.content if is_inside else [],
        space=describe_space(page_images.embeddings.space),
        curve=curve,
        findings=[] if audit is None else audit.findings,
        is_audited=audit is not None,
        evaluation=None
        if labels is None
        else measure_agreement(list(labels), page_images.labels.tolist()),
        n_without_picture=n_gone,
        is_served=is_served,
        uploads=uploads,
    )
    beside = {} if is_inside else dict(zip(names, sheets.content, strict=True))
    return Assembled(html, beside, sheets.kind, n_gone)


def _folder_name(page_images: PageImages) -> str:
    """Return the name of the images' folder, for a title."""
    root = page_images.embeddings.root
    return root.name if root is not None and root.name else "one space"
