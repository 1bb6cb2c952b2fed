"""The data of a page as one JSON document, with numbers in base64."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from clusterkit.plots.style import cluster_color
from clusterkit.report.layouts import Layout
from clusterkit.report.page_images import PageImages
from clusterkit.report.sheets import COLUMNS, SIDE, Sheets
from clusterkit.utils.locations import RemotePath
from clusterkit.utils.noise import MISSING_WORDS, is_missing
from clusterkit.utils.text import json_text

# Colours for new clusters in the page.
_MORE_COLORS = 60
# Marks an image without a place on the map.
_NOWHERE = 65_535
_MAX_CLASSES = 5
# The numbers of clusters, up to 2**53, as those of JavaScript.
_CLUSTER = "<f8"
# Attributes of an inspection with one number per image, and their missing value.
_PER_IMAGE: dict[str, tuple[str, float]] = {
    "silhouettes": ("<f4", np.nan),
    "nearest": (_CLUSTER, -1),
    "is_doubtful": ("u1", 0),
    "is_odd": ("u1", 0),
}


def make_document(
    page_images: PageImages,
    *,
    title: str,
    layouts: Sequence[Layout],
    neighbors: tuple[NDArray[np.float64], NDArray[np.int64], bool],
    sheets: Sheets,
    sheet_files: Sequence[str] | None,
    top5: Sequence[Any] | None,
    labels: Sequence[Any] | None,
    inspection: Any,
    output: Path | None,
) -> str:
    """Return the data of a page as JSON for a script element.

    Parameters
    ----------
    page_images : PageImages
        The images and clusters.
    title : str
        Title of the page.
    layouts, neighbors
        Maps, and the neighbours of the embeddings' rows.
    sheets : Sheets
        The thumbnails.
    sheet_files : sequence of str, optional
        Where they are, relative to the page; None if they are in it.
    top5 : sequence, optional
        The most probable ImageNet classes of the embeddings' rows.
    labels : sequence, optional
        The label of each image; None where it is missing.
    inspection : ClusterInspection, optional
        How well images fit their clusters.
    output : path, optional
        The page, which links to the files; None for a server, which has them in ``images/``.
    """
    numbers = [*page_images.sizes]
    document = {
        "title": title,
        "table": page_images.table,
        "clustered": page_images.algorithm is not None,
        "paths": page_images.paths,
        "links": _links(page_images, output),
        "images": _identities(page_images),
        "clusters": _code(page_images.labels, _CLUSTER),
        "distances": _code(page_images.distances, "<f8"),
        "exemplars": np.flatnonzero(page_images.exemplars).tolist(),
        "order": _code(page_images.ranks(), "<u4"),
        "names": {str(number): name for number, name in page_images.names.items()},
        "kept": sorted(page_images.kept),
        "next": page_images.next_number,
        "missing": sorted(MISSING_WORDS),
        "colors": [
            cluster_color(number)
            for number in range(min(max(numbers, default=0), 10_000) + _MORE_COLORS)
        ],
        "layouts": [
            {
                "name": layout.name,
                "note": layout.note,
                "places": _code(_places(page_images, layout.positions), "<u2"),
            }
            for layout in layouts
        ],
        "neighbors": _neighbors(page_images, *neighbors),
        "classes": None if top5 is None else _classes(page_images, top5),
        "labels": None if labels is None else _labels(labels),
        "sheets": {
            "side": SIDE,
            "columns": COLUMNS,
            "kind": sheets.kind,
            "count": len(sheets.content),
            "files": sheet_files,
            "cells": _code(sheets.cells, "<u4"),
            "sizes": _code(sheets.sizes, "u1"),
        },
        "inspection": None if inspection is None else _inspection(inspection, page_images),
    }
    text = json_text(document, indent=None)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    # Decisions are kept in the browser under this key: a page of other clusters has another, and
    # takes them over by the identities of the images.
    text = f'{{"key":"{key}",{text[1:]}'
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _code(numbers: Any, kind: str) -> str:
    """Return numbers as base64 of little-endian bytes."""
    return base64.b64encode(np.ascontiguousarray(numbers, np.dtype(kind)).tobytes()).decode()


def _identities(page_images: PageImages) -> str:
    """Return 48 bits of each image in base64: a hash of its path in the table, and of its content.

    Where the content is unknown, as of an image that is not in the store, of its path alone.
    """
    digests = page_images.embeddings.digests
    rows = page_images.rows.tolist()
    hashes = []
    for path, row in zip(page_images.paths, rows, strict=True):
        digest = (digests[row] if digests is not None and row >= 0 else None) or ""
        text = f"{path}\0{digest}".encode("utf-8", "surrogatepass")
        hashes.append(hashlib.sha256(text).digest()[:6])
    return base64.b64encode(b"".join(hashes)).decode()


def _links(page_images: PageImages, output: Path | None) -> dict[str, Any]:
    """Return how the page names the files: a base, and the paths that are not those of the table.

    Relative to the page, so that both can move together; on Windows, absolute on another drive.
    """
    root, base = page_images.embeddings.root, ""
    if output is None:
        base = "images"
    elif isinstance(root, RemotePath):
        # No browser opens it, but it shows where the file is.
        base = quote(str(root), safe=":/")
    elif root is not None:
        try:
            base = os.path.relpath(root, output.absolute().parent).replace(os.sep, "/")
        except ValueError:
            base = root.as_uri()
        else:
            base = quote(os.fsencode(base), safe="/")
    pairs = enumerate(zip(page_images.paths, page_images.present, strict=True))
    moved = {str(row): now for row, (path, now) in pairs if path != now}
    return {"base": f"{base}/" if base else "", "moved": moved}


def _places(page_images: PageImages, positions: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Return positions as whole numbers, with one scale for both axes."""
    low = positions.min(axis=0)
    extent = np.ptp(positions, axis=0)
    scale = (_NOWHERE - 1) / (float(extent.max()) or 1.0)
    margin = ((_NOWHERE - 1) - extent * scale) / 2
    places = np.rint((positions - low) * scale + margin).astype(np.uint16)
    return page_images.spread(places, _NOWHERE)


def _neighbors(
    page_images: PageImages,
    similarities: NDArray[np.float64],
    rows: NDArray[np.int64],
    is_exact: bool,
) -> dict[str, Any]:
    """Return the neighbours by their number on the page; none for images without a vector."""
    n = len(page_images.rows)
    # The last entry is that of row -1: none was found.
    number_of = np.full(len(page_images.embeddings) + 1, n)
    known = page_images.rows >= 0
    number_of[page_images.rows[known]] = np.flatnonzero(known)
    # Embedded images that are not on the page are not neighbours here; n is the missing value.
    found = number_of[rows] if rows.size else rows
    shape = (n, rows.shape[1])
    spread = np.full(shape, n)
    spread[known] = found[page_images.rows[known]]
    shares = np.zeros(shape)
    shares[known] = similarities[page_images.rows[known]]
    return {
        "count": rows.shape[1],
        "exact": is_exact,
        "rows": _code(spread, "<u4" if n > 65_000 else "<u2"),
        "similarities": _code(np.rint(shares * 10_000), "<i2"),
    }


def _classes(page_images: PageImages, top5: Sequence[Any]) -> dict[str, Any]:
    """Return the most probable ImageNet classes."""
    rows = page_images.rows.tolist()
    chosen = [(top5[row] or ())[:_MAX_CLASSES] if row >= 0 else () for row in rows]
    names = sorted({name for some in chosen for name, _ in some})
    number = {name: index for index, name in enumerate(names)}
    indices = np.full((len(rows), _MAX_CLASSES), 65_535)
    shares = np.zeros((len(rows), _MAX_CLASSES))
    for row, some in enumerate(chosen):
        for place, (name, share) in enumerate(some):
            indices[row, place], shares[row, place] = number[name], round(255 * share)
    return {"names": names, "rows": _code(indices, "<u2"), "shares": _code(shares, "u1")}


def _labels(labels: Sequence[Any]) -> dict[str, Any]:
    """Return the labels by number; -1 where there is none."""
    texts = [None if is_missing(label) else str(label) for label in labels]
    names = sorted({text for text in texts if text is not None})
    number: Mapping[str | None, int] = {name: index for index, name in enumerate(names)}
    return {"names": names, "rows": _code([number.get(text, -1) for text in texts], "<i4")}


def _inspection(inspection: Any, page_images: PageImages) -> dict[str, Any]:
    """Return what an inspection knows of each image, by its path, and of near clusters."""
    inspected = inspection.clustering.embeddings.paths
    row_of = {path: row for row, path in enumerate(inspected)}
    rows = np.array([row_of.get(path, -1) for path in page_images.present])
    columns = {}
    for name, (kind, missing) in _PER_IMAGE.items():
        # The last entry is that of images which were not inspected.
        values = np.append(
            np.asarray(getattr(inspection, name), kind), np.dtype(kind).type(missing)
        )
        columns[name] = _code(values[rows], kind)
    near = {
        str(cluster): [[int(other), float(distance)] for other, distance in others]
        for cluster, others in inspection.neighbors.items()
    }
    return columns | {"neighbors": near}
