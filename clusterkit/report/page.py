"""Put a page together: template, style, scripts, data and thumbnails."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit import __version__
from clusterkit.clustering.agreement import Evaluation
from clusterkit.elbow.curve import ElbowCurve
from clusterkit.plots.style import cluster_color
from clusterkit.report.page_images import PageImages
from clusterkit.similarity.space_audit import Finding
from clusterkit.utils.noise import NOISE
from clusterkit.utils.text import in_shell, printable, without_nan

_FOLDER = Path(__file__).parent / "template"
# Classic scripts, in this order: each uses definitions of earlier ones.
SCRIPTS = (
    "data.js",
    "steps.js",
    "earlier.js",
    "decisions.js",
    "table.js",
    "pictures.js",
    "choice.js",
    "points.js",
    "map.js",
    "legend.js",
    "details.js",
    "list.js",
    "page.js",
)
# Last of all, in a page that a server sends.
UPLOAD_SCRIPT = "upload.js"
# With more labels, only the most frequent of each cluster are listed.
_MAX_LABELS, _N_FREQUENT = 30, 4
# Images of a finding that are shown.
_MAX_NAMED = 12
_INDICES = ("silhouette", "eigengap", "stability", "inertia")


def render(
    page_images: PageImages,
    *,
    title: str,
    data: str,
    sheets: Sequence[bytes],
    space: str,
    curve: ElbowCurve | None,
    findings: Sequence[Finding],
    is_audited: bool,
    evaluation: Evaluation | None,
    n_without_picture: int,
    is_served: bool = False,
    uploads: Sequence[str] = (),
) -> str:
    """Return the page.

    Parameters
    ----------
    page_images : PageImages
        The images and clusters.
    title, space : str
        Title of the page, and name of the embedding space.
    data : str
        From :func:`clusterkit.report.document.make_document`.
    sheets : sequence of bytes
        The thumbnails; empty if they are beside the page.
    curve : ElbowCurve, optional
        The verdict on the number of clusters.
    findings : sequence of Finding
        What an audit found.
    is_audited : bool
        Whether there was an audit.
    evaluation : Evaluation, optional
        Clusters and labels.
    n_without_picture : int
        Number of images without a picture.
    is_served : bool
        Whether a server sends the page, which leaves out what takes long.
    uploads : sequence of str
        What the server of the page tells about pictures that are sent to it: any of "predict",
        "cluster" and "similar".  A page that is a file has no server.
    """
    scripts = [_read(name) for name in (*SCRIPTS, *([UPLOAD_SCRIPT] if uploads else []))]
    style = _read("page.css")
    return (
        _template().render(
            title=title,
            space=space,
            algorithm=page_images.algorithm,
            table=page_images.table,
            n_images=len(page_images.paths),
            n_clusters=len(page_images.sizes.keys() - {NOISE}),
            n_without_picture=n_without_picture,
            n_without_vector=int((page_images.rows < 0).sum()),
            clusters=_clusters(page_images),
            curve=None if curve is None else _curve(curve),
            findings=[_finding(finding) for finding in findings],
            is_audited=is_audited,
            evaluation=None if evaluation is None else _evaluation(evaluation, page_images),
            policy=_policy(scripts, style, may_ask=bool(uploads)),
            is_served=is_served,
            uploads=uploads,
            style=style,
            scripts=scripts,
            data=data,
            sheets=[base64.b64encode(sheet).decode() for sheet in sheets],
            version=__version__,
        )
        + "\n"
    )


@cache
def _template() -> Any:
    """Return the template, which escapes all that it is given."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(_FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"in_shell": in_shell, "printable": printable}
    return environment.get_template("page.html")


def _read(name: str) -> str:
    """Return a file of the page."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def _policy(scripts: Iterable[str], style: str, *, may_ask: bool) -> str:
    """Return a content security policy that allows the page's own code, by hash, and its images.

    Only a page of a server may ask one: its own.
    """
    asking = "connect-src 'self'; " if may_ask else ""
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'sha256-{_digest(style)}'; {asking}"
        "img-src 'self' blob: data: file:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    """Return the hash of the text of an element, as policies have it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _clusters(page_images: PageImages) -> list[dict[str, Any]]:
    """Return the clusters, for a browser without scripts."""
    order = page_images.ranks()
    labels = page_images.labels[order]
    return [
        {
            "text": _cluster_text(cluster, page_images.names),
            "size": size,
            "color": cluster_color(cluster),
            "paths": [page_images.paths[row] for row in order[labels == cluster][:3].tolist()],
        }
        for cluster, size in page_images.sizes.items()
    ]


def _cluster_text(cluster: Any, names: Any) -> str:
    """Return a cluster as text, such as "3 red fox"."""
    if cluster == NOISE:
        return "noise"
    return f"{cluster} {names.get(cluster, '')}".strip()


def _curve(curve: ElbowCurve) -> dict[str, Any]:
    """Return the verdict, and a bar for each number of clusters."""
    probability = np.nan_to_num(curve.probability)
    most = max(float(probability.max(initial=0)), 1e-9)
    numbers = curve.n_clusters.tolist()
    bars = [
        {"k": k, "share": share, "height": round(60 * share / most, 1), "is_best": k == curve.k}
        for k, share in zip(numbers, probability.tolist(), strict=True)
    ]
    columns = {name: without_nan(getattr(curve, name)) for name in _INDICES}
    rows = [
        {
            "k": k,
            "cells": [columns[name][index] for name in _INDICES],
            "share": bars[index]["share"],
        }
        for index, k in enumerate(numbers)
    ]
    return {
        "k": curve.k,
        "verdict": curve.verdict,
        "confidence": curve.confidence,
        "levels": [(level.n_clusters, level.confidence) for level in curve.levels],
        "votes": [(name.replace("_", " "), k) for name, k in sorted(curve.votes.items())],
        "bars": bars,
        "step": 600 / max(1, len(bars)),
        "indices": _INDICES,
        "rows": rows,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    """Return a finding of an audit; its figure only if its sentence has none."""
    figure = finding.figure
    is_told = figure is None or any(letter.isdigit() for letter in finding.sentence)
    return {
        "sentence": finding.sentence,
        "advice": finding.advice,
        "figure": "" if is_told else f"{figure:.3g}",
        "is_problem": finding.is_problem,
        "images": list(dict.fromkeys(finding.images))[:_MAX_NAMED],
    }


def _evaluation(evaluation: Evaluation, page_images: PageImages) -> dict[str, Any]:
    """Return the table of clusters and labels, with a shade for each share."""
    rows = []
    for cluster, counts in zip(evaluation.clusters, evaluation.table.tolist(), strict=True):
        total = max(1, sum(counts))
        order = sorted(range(len(counts)), key=lambda column, c=counts: -c[column])  # type: ignore[misc]
        rows.append(
            {
                "text": _cluster_text(cluster, page_images.names),
                "cells": [(count, -(-5 * count // total)) for count in counts],
                "frequent": [
                    (evaluation.label_names[column], counts[column])
                    for column in order[:_N_FREQUENT]
                    if counts[column]
                ],
            }
        )
    return {
        "accuracy": evaluation.accuracy,
        "nmi": evaluation.nmi,
        "purity": evaluation.purity,
        "n": evaluation.n,
        "names": evaluation.label_names,
        "is_table": len(evaluation.label_names) <= _MAX_LABELS,
        "rows": rows,
    }
