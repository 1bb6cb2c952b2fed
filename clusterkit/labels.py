"""Read clusters and known labels from files, and say which label belongs to which image."""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath, PureWindowsPath

from clusterkit.errors import InvalidInputError, NotFoundError
from clusterkit.paths import unescape_path


def read_clusters(clusters_csv: str | Path) -> tuple[list[str], list[int | str]]:
    """Read the columns ``path`` and ``cluster`` of a CSV file.

    Parameters
    ----------
    clusters_csv : path
        A UTF-8 file with a header; other columns are ignored.

    Returns
    -------
    paths : list of str
        The images.
    clusters : list of int or str
        Their clusters: numbers if all of them are, else names.

    Raises
    ------
    NotFoundError
        If the file does not exist.
    InvalidInputError
        If a column is missing, a row has no cluster, or a path comes twice.
    """
    header, rows = _read_table(clusters_csv)
    for name in ("path", "cluster"):
        if name not in header:
            raise InvalidInputError(
                f"{clusters_csv} must have the columns path and cluster. Received: "
                f"{','.join(header)[:100]}"
            )
    path_column, cluster_column = header.index("path"), header.index("cluster")
    paths = [unescape_path(row[path_column]) for row in rows]
    clusters = [row[cluster_column].strip() for row in rows]
    for path, cluster in zip(paths, clusters, strict=True):
        if not cluster:
            raise InvalidInputError(f"{clusters_csv} has no cluster for {path}")
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise InvalidInputError(f"{clusters_csv} must hold each path once. Twice: {twice[0]}")
    try:
        return paths, [int(cluster) for cluster in clusters]
    except ValueError:
        return paths, list(clusters)


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
        If a cluster has two names.
    """
    header, rows = _read_table(clusters_csv)
    if "name" not in header:
        return {}
    cluster_column, name_column = header.index("cluster"), header.index("name")
    names: dict[int, str] = {}
    for row in rows:
        cluster, name = int(row[cluster_column]), row[name_column].strip()
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


def read_labels(labels_csv: str | Path, paths: Sequence[str]) -> tuple[list[str | None], int]:
    """Read known labels and assign them to images.

    Parameters
    ----------
    labels_csv : path
        A UTF-8 CSV file with a header; the first column names the file, the second its label.
        A file without a label counts as not listed.
    paths : sequence of str
        The images.  A line belongs to the image with exactly its path; else to the one whose path
        ends with it, or that it ends with (``fox/1.jpg``, ``photos/fox/1.jpg``); else to the one
        with its file name, if no other image or line has that name.

    Returns
    -------
    labels : list of (str or None)
        One per path; None where the file has none.
    n_unused : int
        Number of lines that belong to none of the images.

    Raises
    ------
    NotFoundError
        If the file does not exist.
    InvalidInputError
        If the file is no such table, a line belongs to several images or an image to several
        lines, or no line belongs to any image.
    """
    header, pairs = _read_pairs(labels_csv)
    if header[0] in set(paths):
        raise InvalidInputError(
            f"{labels_csv} must begin with a header line, such as filename,label. "
            f"Received: {','.join(header)}"
        )
    known = {name: label for name, label in pairs.items() if label}
    names = _assign(paths, list(known), labels_csv)
    if not names:
        example = f", for instance {next(iter(known))}" if known else ""
        raise InvalidInputError(
            f"{labels_csv} has a label for none of the {len(paths)} images. Its {len(known)} "
            f"lines name other files{example}; the first image is {paths[0]}"
        )
    labels = [known[names[path]] if path in names else None for path in paths]
    return labels, len(known) - len(names)


def read_pairs(labels_csv: str | Path) -> dict[str, str]:
    """Read files and their labels as a table has them.

    Parameters
    ----------
    labels_csv : path
        A UTF-8 CSV file with a header; the first column names the file, the second its label.

    Returns
    -------
    dict of str to str
        The label of each file, in order of the lines; empty where a file has none.

    Raises
    ------
    NotFoundError
        If the table does not exist.
    InvalidInputError
        If the file is no such table, or has two labels for a file.
    """
    return _read_pairs(labels_csv)[1]


def _read_pairs(file: str | Path) -> tuple[list[str], dict[str, str]]:
    """Return the header, and the first two columns of the rows."""
    header, rows = _read_table(file)
    if len(header) < 2:
        raise InvalidInputError(
            f"{file} must have two columns, file and label. Received: {','.join(header)}"
        )
    known: dict[str, str] = {}
    for name, label in ((row[0], row[1].strip()) for row in rows):
        # A line without a label says nothing against another one.
        known[name] = label if not known.get(name) else known[name]
        if label and known[name] != label:
            raise InvalidInputError(f"{file} has two labels for {name}: {known[name]} and {label}")
    return header, known


def _read_table(file: str | Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a CSV file."""
    try:
        # The byte order mark is Excel's; surrogates are file names that are not UTF-8.
        with Path(file).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next(reader, [])]
            rows = []
            for row in reader:
                if row and len(row) != len(header):
                    raise InvalidInputError(
                        f"{file}, line {reader.line_num}: must have {len(header)} columns like "
                        f"the header. Received: {len(row)}"
                    )
                if row:
                    rows.append(row)
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {file}") from None
    except (OSError, csv.Error) as error:
        raise InvalidInputError(f"cannot read {file}: {error}") from error
    if not rows:
        raise InvalidInputError(f"{file} must have a header and at least one row. It has none")
    return header, rows


def _assign(paths: Sequence[str], names: Sequence[str], source: str | Path) -> dict[str, str]:
    """Map each path to the name that means it, as :func:`read_labels` says."""
    assigned = {path: path for path in set(paths) & set(names)}
    rest_paths = [path for path in paths if path not in assigned]
    rest_names = [name for name in names if name not in assigned]
    assigned.update(_assign_by_end(rest_paths, rest_names, source))
    n_paths = Counter(PureWindowsPath(path).name for path in paths)
    n_names = Counter(PureWindowsPath(name).name for name in names)
    by_file = {PureWindowsPath(name).name: name for name in rest_names}
    for path in rest_paths:
        file = PureWindowsPath(path).name
        if path not in assigned and n_paths[file] == n_names[file] == 1:
            assigned[path] = by_file[file]
    return assigned


def _assign_by_end(
    paths: Sequence[str], names: Sequence[str], source: str | Path
) -> list[tuple[str, str]]:
    """Pair the paths and names of which one ends with the other; each must have one partner."""
    whole: dict[tuple[str, ...], list[str]] = defaultdict(list)
    ends: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in names:
        for depth, end in enumerate(_ends(name)):
            (ends if depth else whole)[end].append(name)
    pairs = []
    for path in paths:
        path_ends = list(_ends(path))
        fitting = ends[path_ends[0]] + [name for end in path_ends for name in whole[end]]
        pairs += [(path, name) for name in fitting]
    for side, what in ((0, "lines"), (1, "images")):
        partners = defaultdict(list)
        for pair in pairs:
            partners[pair[side]].append(pair[1 - side])
        for item, found in partners.items():
            if len(found) > 1:
                raise InvalidInputError(
                    f"{source}: {item} fits {len(found)} {what}, such as {found[0]} and "
                    f"{found[1]}. Write each path as the clusters' table has it"
                )
    return pairs


def _ends(path: str) -> Iterator[tuple[str, ...]]:
    """Yield the parts of a path, then of its ends, down to the file name."""
    # Windows' rules part at both kinds of slash, wherever the table was written.
    parts = PureWindowsPath(path).parts
    for start in range(len(parts)):
        yield parts[start:]
