"""Read clusters and known labels from files, and say which label belongs to which image."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from clusterkit.datasets.label_tables import LABEL_SEPARATOR, read_label_table
from clusterkit.datasets.names import first_few, match_names
from clusterkit.datasets.tables import Table, as_text, read_table, say_code_page, unprotect
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.noise import as_cluster, is_missing_text

_PATH_COLUMNS, _CLUSTER_COLUMNS = ("path", "filename", "file", "image"), ("cluster", "clusters")


def read_clusters(clusters_csv: str | Path) -> tuple[list[str], list[int | str]]:
    """Read the columns ``path`` and ``cluster`` of a table.

    Parameters
    ----------
    clusters_csv : path
        A table with a header, see :func:`clusterkit.datasets.tables.read_table`; other columns are
        ignored.

    Returns
    -------
    paths : list of str
        The images.
    clusters : list of int or str
        Their clusters: numbers if all of them are, else names; noise is -1 in either case, see
        :func:`clusterkit.noise.as_cluster`.

    Raises
    ------
    NotFoundError
        If the file does not exist.
    InvalidInputError
        If a column is missing, no row has a cluster, or a path comes twice.

    Warns
    -----
    Notice
        If images without a cluster are left out, or the table is not plain CSV.
    """
    table = _read_clusters_table(clusters_csv)
    return [path for path, _, _ in table], [cluster for _, cluster, _ in table]


def read_cluster_names(clusters_csv: str | Path) -> dict[int, str]:
    """Read what clusters are called, in the column ``name`` of their table.

    Parameters
    ----------
    clusters_csv : path
        A table as :func:`read_clusters` takes it, its clusters numbers.

    Returns
    -------
    dict of int to str
        Without the clusters that have no name; empty where there is no such column.

    Raises
    ------
    InvalidInputError
        If a cluster has two names, or is no number.
    """
    with warnings.catch_warnings():
        # Said already where the clusters themselves are read.
        warnings.simplefilter("ignore", Notice)
        rows = _read_clusters_table(clusters_csv)
    names: dict[int, str] = {}
    for _, cluster, name in rows:
        if name is None:
            return {}
        if not isinstance(cluster, int):
            raise InvalidInputError(
                f"only clusters that are numbers have names. Received: {cluster} in {clusters_csv}"
            )
        if names.setdefault(cluster, name) != name:
            raise InvalidInputError(
                f"{clusters_csv} has two names for cluster {cluster}: "
                f"{names[cluster]!r} and {name!r}"
            )
    return {cluster: name for cluster, name in names.items() if name}


def labels_from_folders(paths: Sequence[str]) -> list[str]:
    """Take the name of each image's folder as its label.

    Parameters
    ----------
    paths : sequence of str
        The images.

    Returns
    -------
    list of str
        One label per path.

    Raises
    ------
    InvalidInputError
        If a path has no folder.
    """
    labels = [PurePath(path).parent.name for path in paths]
    for path, label in zip(paths, labels, strict=True):
        if not label:
            raise InvalidInputError(
                f"{path} lies in no folder that could be its label: "
                "give the known labels as a CSV file (--labels)"
            )
    return labels


@dataclass(frozen=True)
class KnownLabels:
    """The labels that a table has for images.

    Attributes
    ----------
    labels : list of (str or None)
        One per image; None where the table has none.
    unused : list of str
        What the table calls the files that are none of the images.
    n_rows : int
        Number of files that the table has a label for.
    """

    labels: list[str | None]
    unused: list[str] = field(default_factory=list)
    n_rows: int = 0


def read_labels(
    labels_csv: str | Path, paths: Sequence[str], **columns: Any
) -> tuple[list[str | None], int]:
    """Read known labels and assign them to images.

    Parameters
    ----------
    labels_csv : path
        A table of files and labels, see :func:`find_labels`.
    paths : sequence of str
        The images.
    **columns
        As for :func:`find_labels`.

    Returns
    -------
    labels : list of (str or None)
        One per path; None where the file has none.
    n_unused : int
        Number of lines that belong to none of the images.

    Raises
    ------
    NotFoundError, InvalidInputError
        As :func:`find_labels`.
    """
    found = find_labels(labels_csv, paths, **columns)
    return found.labels, len(found.unused)


def find_labels(
    labels_csv: str | Path,
    paths: Sequence[str],
    *,
    label_column: str | Sequence[str] | None = None,
    path_column: str | None = None,
    label_separator: str | None = None,
) -> KnownLabels:
    """Read known labels and assign them to images.

    Parameters
    ----------
    labels_csv : path
        A table of files and labels; a file without a label counts as not listed.  Several labels
        of an image are one, with ``|`` between them.
    paths : sequence of str
        The images; see :func:`clusterkit.datasets.names.match_names` for which line means which.
    label_column, path_column, label_separator
        See :func:`clusterkit.datasets.label_tables.read_label_table`.

    Returns
    -------
    KnownLabels
        The labels in order of the paths.

    Raises
    ------
    NotFoundError
        If the file does not exist.
    InvalidInputError
        If the file is no such table, it cannot be told which columns are meant, a line belongs to
        several images or an image to several lines, or no line belongs to any image.

    Warns
    -----
    Notice
        What was taken for what, where the table is not plain.
    """
    table = read_label_table(
        labels_csv,
        label_column=label_column,
        path_column=path_column,
        label_separator=label_separator,
        is_file=set(paths).__contains__,
    )
    if table.is_multilabel:
        warnings.warn(
            f"images have several labels in {labels_csv}: each combination counts as one label",
            Notice,
            stacklevel=2,
        )
    known = {
        name: LABEL_SEPARATOR.join(label) if isinstance(label, tuple) else label
        for name, label in zip(table.names, table.labels, strict=True)
        if label is not None
    }
    names = match_names(paths, list(known), labels_csv)
    if not names:
        example = f", for instance {first_few(known)}" if known else ""
        raise InvalidInputError(
            f"{labels_csv} has a label for none of the {len(paths)} images. Its {len(known)} "
            f"lines name other files{example}; the first image is {paths[0]}. If the files are in "
            "another column than "
            f"{table.header[0] or 'the one without a name'}, name it with --path-column"
        )
    used = set(names.values())
    return KnownLabels(
        [known[names[path]] if path in names else None for path in paths],
        [as_text(name) for name in known if name not in used],
        len(known),
    )


def _read_clusters_table(file: str | Path) -> list[tuple[str, int | str, str | None]]:
    """Return path, cluster and name of each image that has a cluster."""
    table = read_table(file)
    columns = [_find(table, names) for names in (_PATH_COLUMNS, _CLUSTER_COLUMNS)]
    if None in columns:
        raise InvalidInputError(
            f"{file} must have the columns path and cluster. Received: "
            f"{','.join(table.header)[:100]}"
        )
    cells = [table.column(index) for index in columns if index is not None]
    remarks = table.remarks + (say_code_page(cells[0]) if table.is_windows else [])
    if remarks:
        warnings.warn(f"{file} is read {', '.join(remarks)}", Notice, stacklevel=4)
    paths = [unprotect(as_text(path) if table.is_windows else path) for path in cells[0]]
    if twice := [path for path, count in Counter(paths).items() if count > 1]:
        raise InvalidInputError(f"{file} must hold each path once. Twice: {twice[0]}")
    clusters = _read_numbers([unprotect(as_text(cell)).strip() for cell in cells[1]])
    missing = [path for path, one in zip(paths, clusters, strict=True) if one is None]
    if len(missing) == len(paths):
        raise InvalidInputError(f"{file} has no cluster for {missing[0]}, nor for any other image")
    if missing:
        warnings.warn(
            f"left out {len(missing)} of {len(paths)} images, which have no cluster in {file}: "
            f"{first_few(missing)}",
            Notice,
            stacklevel=4,
        )
    column = _find(table, ("name",))
    names: list[str | None] = [None] * len(paths)
    if column is not None:
        names = [_read_name(cell) for cell in table.column(column)]
    return [
        (path, one, name)
        for path, one, name in zip(paths, clusters, names, strict=True)
        if one is not None
    ]


def _find(table: Table, names: Sequence[str]) -> int | None:
    """Return the first column that has one of the names."""
    header = [name.casefold() for name in table.header]
    return next((header.index(name) for name in names if name in header), None)


def _read_name(cell: str) -> str:
    """Return what a cluster is called; empty where it has no name."""
    return "" if is_missing_text(cell) else unprotect(as_text(cell).strip())


def _read_numbers(cells: Sequence[str]) -> list[int | str | None]:
    """Return clusters as numbers, if all are numbers as we write them, else as names."""
    clusters = [None if is_missing_text(cell) else as_cluster(cell) for cell in cells]
    numbers = [_as_number(one) if isinstance(one, str) else one for one in clusters]
    known = [one for one in clusters if one is not None]
    is_number = all(
        number is not None for number, one in zip(numbers, clusters, strict=True) if one is not None
    )
    return numbers if is_number and known else clusters


def _as_number(text: str) -> int | None:
    """Return a whole number, maybe with .0; 01 is a name, and no number."""
    whole, _, fraction = text.partition(".")
    digits = whole.removeprefix("-")
    is_plain = digits.isascii() and digits.isdecimal() and str(int(digits)) == digits
    return int(whole) if is_plain and not fraction.strip("0") and text != f"{whole}." else None
