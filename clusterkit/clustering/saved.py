"""Write and read tables of clusters, and continue from them in a later run."""

import json
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.kmeans.lloyd import lloyd
from clusterkit.datasets.names import first_few
from clusterkit.datasets.tables import (
    Table,
    as_text,
    read_table,
    say_code_page,
    to_csv,
    unprotect,
)
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.store.embeddings import Embeddings, describe_space
from clusterkit.store.stream import VectorStream
from clusterkit.utils.files import check_output, write_whole
from clusterkit.utils.noise import NOISE, as_cluster, is_missing_text
from clusterkit.utils.paths import json_text, unescape_path

# Inertias that differ by less than this fraction count as equal.
_NEARLY_EQUAL = 1e-3
_PATH_COLUMNS, _CLUSTER_COLUMNS = ("path", "filename", "file", "image"), ("cluster", "clusters")


def write_clusters(clustering: Any, output: str | Path, *, overwrite: bool = False) -> Path:
    """Write a table of clusters, with its description in a ``.json`` file beside it.

    Parameters
    ----------
    clustering : Clustering
        The clusters.
    output : path
        The CSV file: ``path,cluster,distance,exemplar`` and, if clusters have names, ``name``.
    overwrite : bool
        Whether to overwrite existing files.

    Returns
    -------
    pathlib.Path
        The CSV file.

    Raises
    ------
    OutputExistsError
        If one of the files exists and ``overwrite`` is false.
    InvalidInputError
        If the name ends in ``.json``.
    """
    output, origin = check_clusters_files(output, overwrite=overwrite)
    if output == origin:
        raise InvalidInputError(
            f"the table's name must not end in .json, which its description takes: {output}"
        )
    columns = ["path", "cluster", "distance", "exemplar", *(["name"] if clustering.names else [])]
    paths = clustering.embeddings.paths
    order: Sequence[int] = range(len(paths))
    if isinstance(clustering.embeddings, VectorStream):
        # Streams are in storage order.
        order = sorted(order, key=paths.__getitem__)
    rows = []
    for row in order:
        label, distance = int(clustering.labels[row]), clustering.distances[row]
        shown = "" if np.isnan(distance) else f"{distance:.6f}"
        exemplar = str(bool(clustering.exemplars[row])).lower()
        cells = [paths[row], label, shown, exemplar, clustering.names.get(label, "")]
        rows.append(cells[: len(columns)])
    write_whole(output, to_csv(columns, rows))
    write_whole(origin, json_text(clustering.to_dict()) + "\n")
    return output


def check_clusters_files(output: str | Path, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Check that a table of clusters and its description can be written; return both paths."""
    output = check_output(output, overwrite=overwrite)
    return output, check_output(output.with_suffix(".json"), overwrite=overwrite)


class EarlierClusters(NamedTuple):
    """An earlier clustering.

    Attributes
    ----------
    labels : list of int
        Cluster of each image; -1 is noise.
    paths : list of str
        The images.
    root : str or None
        Folder that the paths are relative to; None if unknown.
    fingerprint : str or None
        Identity of the embedding space; None if unknown.
    space : str
        Its short name.
    """

    labels: list[int]
    paths: list[str]
    root: str | None = None
    fingerprint: str | None = None
    space: str = "unknown space"


def read_earlier(previous: Any) -> EarlierClusters:
    """Read the clusters of an earlier run.

    Parameters
    ----------
    previous : Clustering, path or ClustersTable
        A clustering, or a table with the columns ``path`` and ``cluster``.  Its description is read
        from the ``.json`` file beside it, if any.

    Returns
    -------
    EarlierClusters
        Labels and images, and their space if known.

    Raises
    ------
    NotFoundError
        If the table does not exist.
    InvalidInputError
        If the file is not such a table, or its clusters are not numbers.
    """
    if not isinstance(previous, str | Path | ClustersTable):
        made = previous.embeddings
        root = None if made.root is None else str(made.root)
        space = describe_space(made.space)
        return EarlierClusters(previous.labels.tolist(), made.paths, root, made.fingerprint, space)
    table = previous if isinstance(previous, ClustersTable) else read_clusters(previous)
    paths, labels = table.paths, table.clusters
    numbers = [label for label in labels if isinstance(label, int) and label >= NOISE]
    if len(numbers) < len(labels):
        others = [label for label in labels if isinstance(label, str) or label < NOISE]
        raise InvalidInputError(
            f"only numbers from {NOISE} can be kept. Received: cluster {others[0]} in {table.file}"
        )
    try:
        origin = json.loads(Path(table.file).with_suffix(".json").read_text(encoding="utf-8"))
        root, fingerprint, space = (origin[name] for name in ("root", "fingerprint", "space"))
    except (OSError, ValueError, TypeError, KeyError):
        return EarlierClusters(numbers, paths)  # the table alone will do
    root = None if root is None else unescape_path(root)
    return EarlierClusters(numbers, paths, root, fingerprint, space)


def check_earlier(
    earlier: EarlierClusters, embeddings: Embeddings | VectorStream
) -> EarlierClusters:
    """Match the images of an earlier clustering to those of the new one.

    Parameters
    ----------
    earlier : EarlierClusters
        The earlier clustering.
    embeddings : Embeddings or VectorStream
        The images.

    Returns
    -------
    EarlierClusters
        The earlier clustering, with paths relative to the root of the embeddings.

    Raises
    ------
    InvalidInputError
        If no image is in both.

    Warns
    -----
    UserWarning
        If the spaces are known to differ.
    """
    present = set(embeddings.paths)
    here = str(embeddings.root)
    if earlier.root is not None and embeddings.root is not None and earlier.root != here:
        files = (Path(earlier.root, path) for path in earlier.paths)
        moved = [os.path.relpath(file, here).replace(os.sep, "/") for file in files]
        if present.intersection(moved):
            earlier = earlier._replace(paths=moved)
    if not present.intersection(earlier.paths):
        raise InvalidInputError(
            "the two clusterings must have an image in common. Received: "
            f"{len(embeddings)} images now, such as {embeddings.paths[0]}, and "
            f"{len(earlier.paths)} before, such as {earlier.paths[0]}"
        )
    if earlier.fingerprint and embeddings.fingerprint not in (None, earlier.fingerprint):
        warnings.warn(
            f"the earlier clusters are of the space {earlier.space}, these of "
            f"{describe_space(embeddings.space)}: the numbers are matched by common images, but "
            "the two spaces may group by different things",
            stacklevel=3,
        )
    return earlier


def continue_kmeans(
    X: NDArray[np.float32],
    labels: NDArray[np.int64],
    inertia: float,
    *,
    previous: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Prefer the k-means solution that continues earlier clusters, if its inertia is as good.

    If k-means has several solutions of nearly the same inertia, a few new images can change which
    is best.  Therefore Lloyd's algorithm is also run from the centres of the earlier clusters, and
    its result is used unless the inertia is 0.1 % worse.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows, scaled as for k-means.
    labels : ndarray of shape (n,), int
        Their clusters by k-means.
    inertia : float
        Its inertia.
    previous : ndarray of shape (n,), int
        Earlier cluster of each row; -1 if none.

    Returns
    -------
    ndarray of shape (n,), int
        The preferred labels; ``labels`` if the number of clusters differs.
    """
    numbers = np.unique(previous[previous != NOISE])
    if len(numbers) != len(np.unique(labels)):
        return labels
    centers = np.stack([X[previous == number].mean(axis=0) for number in numbers])
    continued = lloyd(X, np.ones(len(X), np.float32), centers)
    if continued.inertia > (1 + _NEARLY_EQUAL) * inertia:
        return labels
    return continued.labels.astype(np.int64)


class ClustersTable(NamedTuple):
    """The images of a table of clusters, without those that have no cluster.

    Attributes
    ----------
    paths : list of str
        The images.
    clusters : list of int or str
        Their clusters: numbers if all are numbers, otherwise names; noise is -1 in both cases, see
        :func:`clusterkit.utils.noise.as_cluster`.
    cells : list of str, or None
        The column ``name``, empty for clusters without a name; None without such a column.
    file : path
        The table.
    """

    paths: list[str]
    clusters: list[int | str]
    cells: list[str] | None
    file: str | Path

    def names(self) -> dict[int, str]:
        """Return the names of the clusters that have one.

        Raises
        ------
        InvalidInputError
            If there is a column of names, and a cluster has two or is not a number.
        """
        names: dict[int, str] = {}
        for cluster, name in zip(self.clusters, self.cells or (), strict=False):
            if not isinstance(cluster, int):
                raise InvalidInputError(
                    f"only clusters that are numbers have names. Received: {cluster} in {self.file}"
                )
            if names.setdefault(cluster, name) != name:
                raise InvalidInputError(
                    f"{self.file} has two names for cluster {cluster}: "
                    f"{names[cluster]!r} and {name!r}"
                )
        return {cluster: name for cluster, name in names.items() if name}


def read_clusters(clusters_csv: str | Path) -> ClustersTable:
    """Read a table of clusters.

    Parameters
    ----------
    clusters_csv : path
        A table with the columns ``path`` and ``cluster`` and optionally ``name``, see
        :func:`clusterkit.datasets.tables.read_table`; other columns are ignored.

    Returns
    -------
    ClustersTable
        The images that have a cluster.

    Raises
    ------
    NotFoundError
        If the file does not exist.
    InvalidInputError
        If a column is missing, no row has a cluster, or a path occurs twice.

    Warns
    -----
    Notice
        If images without a cluster are left out, or the table is not a plain CSV file.
    """
    table = read_table(clusters_csv)
    columns = [_find(table, names) for names in (_PATH_COLUMNS, _CLUSTER_COLUMNS)]
    if None in columns:
        raise InvalidInputError(
            f"{clusters_csv} must have the columns path and cluster. Received: "
            f"{','.join(table.header)[:100]}"
        )
    cells = [table.column(index) for index in columns if index is not None]
    remarks = table.remarks + (say_code_page(cells[0]) if table.is_windows else [])
    if remarks:
        warnings.warn(f"{clusters_csv} is read {', '.join(remarks)}", Notice, stacklevel=3)
    paths = [unprotect(as_text(path) if table.is_windows else path) for path in cells[0]]
    if twice := [path for path, count in Counter(paths).items() if count > 1]:
        raise InvalidInputError(f"{clusters_csv} must hold each path once. Twice: {twice[0]}")
    clusters = _read_numbers([unprotect(as_text(cell)).strip() for cell in cells[1]])
    known = [row for row, cluster in enumerate(clusters) if cluster is not None]
    missing = [path for path, cluster in zip(paths, clusters, strict=True) if cluster is None]
    if not known:
        raise InvalidInputError(
            f"{clusters_csv} has no cluster for {missing[0]}, nor for any other image"
        )
    if missing:
        warnings.warn(
            f"left out {len(missing)} of {len(paths)} images, which have no cluster in "
            f"{clusters_csv}: {first_few(missing)}",
            Notice,
            stacklevel=3,
        )
    column = _find(table, ("name",))
    names = None if column is None else table.column(column)
    return ClustersTable(
        [paths[row] for row in known],
        [cluster for cluster in clusters if cluster is not None],
        None if names is None else [_read_name(names[row]) for row in known],
        clusters_csv,
    )


def _find(table: Table, names: Sequence[str]) -> int | None:
    """Return the first column with one of the names."""
    header = [name.casefold() for name in table.header]
    return next((header.index(name) for name in names if name in header), None)


def _read_name(cell: str) -> str:
    """Return the name of a cluster; empty if it has none."""
    return "" if is_missing_text(cell) else unprotect(as_text(cell).strip())


def _read_numbers(cells: Sequence[str]) -> list[int | str | None]:
    """Return clusters as numbers if all have the format of numbers, otherwise as names."""
    clusters = [None if is_missing_text(cell) else as_cluster(cell) for cell in cells]
    numbers = [_as_number(one) if isinstance(one, str) else one for one in clusters]
    known = [one for one in clusters if one is not None]
    is_number = all(
        number is not None for number, one in zip(numbers, clusters, strict=True) if one is not None
    )
    return numbers if is_number and known else clusters


def _as_number(text: str) -> int | None:
    """Parse an integer, optionally with .0; 01 is a name."""
    whole, _, fraction = text.partition(".")
    digits = whole.removeprefix("-")
    is_plain = digits.isascii() and digits.isdecimal() and str(int(digits)) == digits
    return int(whole) if is_plain and not fraction.strip("0") and text != f"{whole}." else None
