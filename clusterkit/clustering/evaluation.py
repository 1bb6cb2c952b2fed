"""Compare clusters with known labels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from clusterkit.clustering.agreement import Evaluation, measure_agreement
from clusterkit.clustering.earlier import read_earlier
from clusterkit.clustering.moved_files import present_paths
from clusterkit.clustering.saved import ClustersTable, Origin, read_clusters
from clusterkit.datasets.labels import (
    FOLDERS,
    KnownLabels,
    is_named,
    labels_from_folders,
    read_labels,
)
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.store.store import Store
from clusterkit.utils.locations import as_path
from clusterkit.utils.noise import NOISE, is_missing


def evaluate(
    labels: Any,
    clusters: Any,
    *,
    store: Store | str | Path | None = None,
    label_column: str | Sequence[str] | None = None,
    path_column: str | None = None,
    label_separator: str | None = None,
) -> Evaluation:
    """Compare clusters with known labels.

    Parameters
    ----------
    labels : sequence of length n, path, mapping of path to label, "folders" or None
        The true label of each image; or a table of files and labels, see
        :func:`~clusterkit.datasets.labels.read_labels`; or None or ``"folders"`` for the names of
        the images' folders.  Images with a missing label (None, NaN, an empty string) are left out
        and counted in ``n_unlabelled``, images with a missing cluster in ``n_unused``.  A pandas
        Series whose index is text, each once, is a mapping, if the images of the clusters are
        known.
    clusters : sequence of int or str of length n, Clustering, or path
        The cluster of each image, in the same order; or a clustering or its ``clusters.csv``, for
        labels of any kind; or a pandas Series with the images as its index.  Noise is -1, ``-1.0``,
        ``"-1"`` or ``"noise"``.
    store : Store or path, optional
        Where to find files by their content that are no longer at the paths of a clustering or its
        table, so that labels may name either place.  Names of folders are those of the old paths.
    label_column, path_column, label_separator
        Columns of a table of labels; see :func:`~clusterkit.datasets.labels.read_labels`.

    Returns
    -------
    Evaluation
        Accuracy, NMI, ARI, purity, the contingency table and the matching.

    Raises
    ------
    NotFoundError
        If a file does not exist.
    InvalidInputError
        If there is nothing to compare, the lengths differ, a file is no such table, or no image
        has a label.

    Warns
    -----
    Notice
        How a table was interpreted, unless it is a plain CSV file.

    Notes
    -----
    The matching is computed by the Hungarian method (Kuhn 1955, "The Hungarian method for the
    assignment problem"); its accuracy is the "ACC" of Yang et al. (2010, "Image clustering using
    local discriminant models and global integration").

    Examples
    --------
    >>> evaluation = evaluate(["cat", "cat", "dog", "dog", "cat"], [0, 0, 1, 1, 1])
    >>> evaluation.accuracy, evaluation.matching
    (0.8, {0: 'cat', 1: 'dog'})
    """
    if isinstance(labels, str | os.PathLike) and str(labels) == FOLDERS:
        labels = None
    paths, given, names = _open_clusters(clusters)
    if paths is not None and is_named(labels):
        labels = dict(labels.items())
    columns = {
        "label_column": label_column,
        "path_column": path_column,
        "label_separator": label_separator,
    }
    is_table = isinstance(labels, str | os.PathLike)
    if not is_table and any(columns.values()):
        given_names = ", ".join(name for name, value in columns.items() if value)
        raise InvalidInputError(
            f"{given_names} must be of a table of labels: name the table, too (--labels FILE on "
            f"the command line). Received: labels={labels!r:.60}"
        )
    if not (labels is None or is_table or isinstance(labels, Mapping)):
        return replace(measure_agreement(_listed(labels, "labels"), given), names=names)
    if paths is None:
        raise InvalidInputError(
            "labels of files need the files of the clusters: give a Clustering or its clusters.csv."
            f" Received: {labels!r} for clusters without paths"
        )
    known = _labels_of(labels, paths, columns, partial(_find_present, clusters, paths, store))
    return replace(
        measure_agreement(known.labels, given, n_unused=len(known.unused)),
        names=names,
        unlabelled=[path for path, one in zip(paths, known.labels, strict=True) if is_missing(one)],
        unused=known.unused,
    )


def _labels_of(
    labels: Any,
    paths: list[str],
    columns: Mapping[str, Any],
    find_present: Callable[[], list[str]],
) -> KnownLabels:
    """Return the labels of images from a table, a mapping, or the names of folders.

    Tables and mappings may name files as the clusters do, or as they are called at present.
    """
    if labels is None:
        return KnownLabels([*labels_from_folders(paths)], [])

    def read(paths: list[str]) -> KnownLabels:
        """Return the labels of images under these names."""
        if not isinstance(labels, Mapping):
            return read_labels(labels, paths, **columns)
        known = {str(path): label for path, label in labels.items()}
        return KnownLabels([known.get(path) for path in paths], sorted(known.keys() - set(paths)))

    try:
        found = read(paths)
        if not any(map(is_missing, found.labels)):
            return found
    except InvalidInputError:
        # None of the names fits, perhaps because all files have others now.
        present = find_present()
        if present == paths:
            raise
        return read(present)
    present = find_present()
    if present == paths:
        return found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Notice)  # issued before
            later = read(present)
    except InvalidInputError:
        return found
    unused = set(later.unused)
    return KnownLabels(
        [
            new if is_missing(old) else old
            for old, new in zip(found.labels, later.labels, strict=True)
        ],
        [name for name in found.unused if name in unused],
    )


def _find_present(clusters: Any, paths: list[str], store: Store | str | Path | None) -> list[str]:
    """Return the paths of clustered images, with the present ones of those that were moved."""
    if store is None or is_named(clusters):
        return paths
    if hasattr(clusters, "embeddings"):
        root, digests = clusters.embeddings.root, clusters.embeddings.digests
    else:
        origin = Origin.read(Path(clusters).with_suffix(".json")) or Origin({})
        origin = origin.named_as(paths)
        root, digests = origin.root, [origin.digests.get(path) for path in paths]
    if root is None or digests is None:
        return paths
    return present_paths(paths, digests, root=as_path(root), store=store)


def _open_clusters(clusters: Any) -> tuple[list[str] | None, list[Any], dict[int, str]]:
    """Return the images, if known, their clusters, and names of clusters."""
    if isinstance(clusters, str | os.PathLike):
        table = read_clusters(Path(clusters))
        if _is_ours(table):
            edited = read_earlier(table)
            return table.paths, edited.labels, dict(edited.names)
        return table.paths, table.clusters, _names_if_any(table)
    if hasattr(clusters, "embeddings"):
        return clusters.embeddings.paths, clusters.labels.tolist(), dict(clusters.names)
    if is_named(clusters):
        return list(clusters.index), list(clusters), {}
    return None, _listed(clusters, "clusters"), {}


def _is_ours(table: ClustersTable) -> bool:
    """Return whether a table has a description, with which the edits of a person are found."""
    is_numbered = all(isinstance(one, int) and one >= NOISE for one in table.clusters)
    return is_numbered and Path(table.file).with_suffix(".json").is_file()


def _listed(values: Any, name: str) -> list[Any]:
    """Return one value per image as a list."""
    if not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        order = ", labels before clusters" if hasattr(values, "embeddings") else ""
        raise InvalidInputError(f"{name} must be one per image{order}. Received: {values!r:.100}")
    return list(values)


def _names_if_any(table: ClustersTable) -> dict[int, str]:
    """Return the names of clusters, unless ``name`` has another meaning in the table."""
    try:
        return table.names()
    except InvalidInputError:
        return {}
