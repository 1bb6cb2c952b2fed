"""Write and read tables of clusters.

Beside a table lies a ``.json`` file with what made it, the number and content of each image as they
were written, so that edits by hand and moved files are recognised, and a person's decisions.
"""

import json
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clusterkit.clustering.decisions import Decisions
from clusterkit.datasets.label_tables import is_index_name
from clusterkit.datasets.tables import (
    Table,
    as_text,
    check_table,
    read_table,
    say_code_page,
    to_csv,
    unprotect,
)
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.store.embeddings import Selection
from clusterkit.store.stream import VectorStream
from clusterkit.utils.documents import NOTHING, TEXT, check_document, integer, list_of, table_of
from clusterkit.utils.files import check_output, write_whole
from clusterkit.utils.locations import is_absolute, relative
from clusterkit.utils.noise import NOISE, as_cluster, is_missing_text
from clusterkit.utils.text import first_few, json_text, unescape_path

# More digits than the number of any cluster has.
_MAX_DIGITS = 100
# Rules for the images and clusters in the description of a table.
_WRITTEN = {
    "names": table_of(TEXT),
    "clusters": table_of(integer(NOISE)),
    "digests": table_of(TEXT | NOTHING),
}
_PATH_COLUMNS, CLUSTER_COLUMNS = ("path", "filename", "file", "image"), ("cluster", "clusters")


def write_clusters(clustering: Any, output: str | Path, *, overwrite: bool = False) -> Path:
    """Write a table of clusters, with its description in a ``.json`` file beside it.

    Parameters
    ----------
    clustering : Clustering
        The clusters.
    output : path
        The CSV file: ``path,cluster,distance,exemplar`` and, if clusters have names, ``name``; then
        the notes.
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
        If the name is that of another format, or an image is among the embeddings twice.
    """
    output, _ = check_clusters_files(output, overwrite=overwrite)
    embeddings, names = clustering.embeddings, clustering.names
    _check_unique(output, embeddings.paths)
    labels = clustering.labels.tolist()
    rows = [
        [
            path,
            label,
            "" if np.isnan(distance) else f"{distance:.6f}",
            str(bool(exemplar)).lower(),
            *([names.get(label, "")] if names else []),
            *(cells.get(path, "") for cells in clustering.notes.values()),
        ]
        for path, label, distance, exemplar in zip(
            embeddings.paths, labels, clustering.distances, clustering.exemplars, strict=True
        )
    ]
    if isinstance(embeddings, VectorStream):
        # Streams are in storage order.
        rows.sort()
    digests = getattr(embeddings, "digests", None) or [None] * len(labels)
    origin = Origin(
        clustering.to_dict(),
        names,
        dict(zip(embeddings.paths, labels, strict=True)),
        dict(zip(embeddings.paths, digests, strict=True)),
        clustering.decisions,
    )
    columns = ["path", "cluster", "distance", "exemplar", *(["name"] if names else [])]
    columns += clustering.notes
    _write(output, columns, rows, origin)
    return output


def _check_unique(clusters_csv: str | Path, paths: Sequence[str]) -> None:
    """Check that a table of clusters holds each image once."""
    if twice := [path for path, count in Counter(paths).items() if count > 1]:
        raise InvalidInputError(f"{clusters_csv} must hold each path once. Twice: {twice[0]}")


def rewrite_clusters(clusters_csv: str | Path, origin: "Origin") -> None:
    """Write changed clusters and names into a table, and its description; other columns stay.

    Where the cluster of an image changed, its distance to the centre is removed, and it is no
    longer an exemplar.
    """
    opened = _open_clusters(clusters_csv)
    header = [as_text(name) for name in opened.table.header]
    known = [name.casefold() for name in header]
    if "name" not in known and origin.names:
        header, known = [*header, "name"], [*known, "name"]
    rows = []
    for cells, path in zip(opened.table.rows, opened.paths, strict=True):
        row = [unprotect(as_text(cell)) for cell in cells] + [""] * (len(header) - len(cells))
        row[opened.path_column] = path
        label = origin.clusters.get(path)
        if label is not None:
            if _read_numbers([row[opened.cluster_column].strip()]) != [label]:
                row[opened.cluster_column] = str(label)
                for name, cell in (("distance", ""), ("exemplar", "false")):
                    if name in known:
                        row[known.index(name)] = cell
            if "name" in known:
                row[known.index("name")] = origin.names.get(label, "")
        rows.append(row)
    _write(Path(clusters_csv), header, rows, origin)


def _write(
    output: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]], origin: "Origin"
) -> None:
    """Write a table of clusters and its description."""
    write_whole(output, to_csv(columns, rows))
    write_whole(output.with_suffix(".json"), json_text(origin.to_dict()) + "\n")


def check_clusters_files(output: str | Path, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Check that a table of clusters and its description can be written; return both paths."""
    output = check_table(output, overwrite=overwrite)
    return output, check_output(output.with_suffix(".json"), overwrite=overwrite)


@dataclass(frozen=True)
class Origin:
    """What made a table of clusters, and how it was written.

    Attributes
    ----------
    made_by : dict
        Description of the clustering.
    names : dict of int to str
        Names of clusters, as written.
    clusters : dict of str to int
        The cluster of each image, as written.
    digests : dict of str to str or None
        SHA-256 digest of each image file.
    decisions : Decisions
        A person's decisions.
    selections : tuple of Selection
        How the images were selected from more.
    """

    made_by: dict[str, Any]
    names: Mapping[int, str] = field(default_factory=dict)
    clusters: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str | None] = field(default_factory=dict)
    decisions: Decisions = field(default_factory=Decisions)
    selections: tuple[Selection, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values for ``json_text``; ``made_by`` holds the selections."""
        return self.made_by | {
            "names": {str(number): name for number, name in self.names.items()},
            "decisions": self.decisions.to_dict(),
            "clusters": self.clusters,
            "digests": self.digests,
        }

    @property
    def root(self) -> str | None:
        """Folder that the paths are relative to; None if unknown."""
        root = self.made_by.get("root")
        return unescape_path(root) if isinstance(root, str) else None

    def named_as(self, paths: Sequence[str]) -> "Origin":
        """Return the description with the images named as in a table, if there by absolute paths.

        Another program may have written these into the table.
        """
        if self.root is None or not any(map(is_absolute, paths)):
            return self
        called = {relative(path, self.root): path for path in paths if is_absolute(path)}
        return replace(
            self,
            clusters={called.get(path, path): label for path, label in self.clusters.items()},
            digests={called.get(path, path): digest for path, digest in self.digests.items()},
        )

    @classmethod
    def read(cls, file: Path) -> "Origin | None":
        """Read the description of a table; None if there is none.

        Warns
        -----
        Notice
            If it is damaged, with what is lost.
        """
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            made_by = check_document(document, {})
            if "clusters" not in document:  # as before clusterkit recorded images
                names = document.get("names")
                check_document({"names": names or {}}, {"names": _WRITTEN["names"]})
                return cls(made_by, _numbered(names or {}))
            check_document(document, _WRITTEN)
            return cls(
                made_by,
                _numbered(document["names"]),
                {unescape_path(path): label for path, label in document["clusters"].items()},
                {unescape_path(path): digest for path, digest in document["digests"].items()},
                Decisions.from_dict(document.get("decisions")),
                _read_selections(document),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            warnings.warn(
                f"{file} is left out, since it is damaged ({error}): names and groups made by hand "
                "in earlier runs are known only as far as the table shows them",
                Notice,
                stacklevel=4,
            )
            return None


# Rules for each selection of the images in a description, see Selection.
_SELECTION = {
    "only": list_of(TEXT),
    "clusters": list_of(TEXT),
    "of": TEXT | NOTHING,
    "n_images": integer(0),
    "n_before": integer(0),
}


def _read_selections(document: dict[str, Any]) -> tuple[Selection, ...]:
    """Return how the images were selected; the tables of earlier versions do not tell."""
    given = document.get("selections", [])
    if not isinstance(given, list):
        raise InvalidInputError("'selections' must be a list")
    found = [check_document(one, _SELECTION) for one in given]
    return tuple(
        Selection(
            tuple(map(unescape_path, one["only"])),
            tuple(map(unescape_path, one["clusters"])),
            None if one["of"] is None else unescape_path(one["of"]),
            one["n_images"],
            one["n_before"],
        )
        for one in found
    )


def _numbered(names: Mapping[str, str]) -> dict[int, str]:
    """Return the names of a description by the numbers of their clusters."""
    return {int(number): unescape_path(name) for number, name in names.items()}


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
    distances : list of float
        The distance of each image to the centre of its cluster; NaN if unknown.
    exemplars : list of bool
        Whether each image is the exemplar of its cluster.
    notes : dict of str to list of str
        The other columns, which a person has added.
    """

    paths: list[str]
    clusters: list[int | str]
    cells: list[str] | None
    file: str | Path
    distances: Sequence[float] = ()
    exemplars: Sequence[bool] = ()
    notes: Mapping[str, Sequence[str]] = {}

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


def check_is_path(clusters_csv: Any) -> None:
    """Raise InvalidInputError if clusters are something else than the path of their table."""
    if not isinstance(clusters_csv, str | os.PathLike):
        raise InvalidInputError(
            "clusters_csv must be the path of a table, such as to_csv() of a clustering writes. "
            f"Received: {clusters_csv!r:.60}"
        )


def read_clusters(clusters_csv: str | Path) -> ClustersTable:
    """Read a table of clusters.

    Parameters
    ----------
    clusters_csv : path
        A table with the columns ``path`` and ``cluster`` and optionally ``name``, see
        :func:`clusterkit.datasets.tables.read_table`; other columns are notes.

    Returns
    -------
    ClustersTable
        The images that have a cluster.

    Raises
    ------
    NotFoundError
        If the file does not exist.
    InvalidInputError
        If a column is missing, no row has a cluster, a path occurs twice, or it is no path.

    Warns
    -----
    Notice
        If images without a cluster are left out, or the table is not a plain CSV file.
    """
    check_is_path(clusters_csv)
    opened = _open_clusters(clusters_csv)
    table, paths = opened.table, opened.paths
    if remarks := table.remarks:
        warnings.warn(f"{clusters_csv} is read {', '.join(remarks)}", Notice, stacklevel=3)
    _check_unique(clusters_csv, paths)
    clusters = _read_numbers(
        [unprotect(as_text(cell)).strip() for cell in table.column(opened.cluster_column)]
    )
    known = [row for row, cluster in enumerate(clusters) if cluster is not None]
    missing = [path for path, cluster in zip(paths, clusters, strict=True) if cluster is None]
    if not known:
        raise InvalidInputError(
            f"{clusters_csv} has no cluster for {missing[0]}, nor for any other image"
        )
    if missing:
        warnings.warn(
            f"left out {len(missing):,} of {len(paths):,} images, which have no cluster in "
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
        [_read_distance(cell) for cell in _cells(table, "distance", known)],
        [cell.strip().casefold() == "true" for cell in _cells(table, "exemplar", known)],
        _read_notes(opened, known),
    )


class _Opened(NamedTuple):
    """A table of clusters as text, its columns of paths and clusters, and the paths."""

    table: Table
    path_column: int
    cluster_column: int
    paths: list[str]


def _open_clusters(clusters_csv: str | Path) -> _Opened:
    """Read a table of clusters as text, and find its columns."""
    table = read_table(clusters_csv)
    path_column, cluster_column = (
        _find(table, names) for names in (_PATH_COLUMNS, CLUSTER_COLUMNS)
    )
    if path_column is None or cluster_column is None:
        raise InvalidInputError(
            f"{clusters_csv} must have the columns path and cluster. Received: "
            f"{','.join(table.header)[:100]}"
        )
    cells = table.column(path_column)
    if table.is_windows:
        table = replace(table, remarks=[*table.remarks, *say_code_page(cells)])
    paths = [unprotect(as_text(path) if table.is_windows else path) for path in cells]
    return _Opened(table, path_column, cluster_column, paths)


def _find(table: Table, names: Sequence[str]) -> int | None:
    """Return the first column with one of the names."""
    header = [name.casefold() for name in table.header]
    return next((header.index(name) for name in names if name in header), None)


def _cells(table: Table, name: str, rows: Sequence[int]) -> list[str]:
    """Return the cells of a column in some rows; empty ones if there is no such column."""
    column = _find(table, (name,))
    cells = None if column is None else table.column(column)
    return ["" if cells is None else cells[row] for row in rows]


def _read_notes(opened: _Opened, rows: Sequence[int]) -> dict[str, list[str]]:
    """Return the columns that clusterkit does not write, without a row index, in some rows."""
    table = opened.table
    own = {_find(table, (name,)) for name in ("distance", "exemplar", "name")}
    own |= {opened.path_column, opened.cluster_column}
    return {
        as_text(name): [unprotect(as_text(table.rows[row][column])) for row in rows]
        for column, name in enumerate(table.header)
        if column not in own and not is_index_name(name)
    }


def _read_distance(cell: str) -> float:
    """Return a distance; NaN for an empty cell, and for anything else."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


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
    # Python reads no thousands of digits.
    is_short = len(digits) <= _MAX_DIGITS and digits.isascii()
    is_plain = is_short and digits.isdecimal() and str(int(digits)) == digits
    return int(whole) if is_plain and not fraction.strip("0") and text != f"{whole}." else None
