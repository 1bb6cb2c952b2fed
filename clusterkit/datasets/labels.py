"""Read known labels and assign them to images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from clusterkit.datasets.label_tables import LABEL_SEPARATOR, read_label_table
from clusterkit.datasets.names import match_names, say_case
from clusterkit.datasets.tables import as_text
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.utils.text import first_few, plural

# In place of a table: the labels are the names of the images' folders.
FOLDERS = "folders"


def labels_from_folders(paths: Sequence[str]) -> list[str]:
    """Return the name of each image's folder as its label.

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
                f"{path} is in no folder that could be its label: "
                "give the known labels as a CSV file (--labels)"
            )
    return labels


def is_named(values: Any) -> bool:
    """Return whether values are a Series of pandas whose index names the images."""
    index: Any = getattr(values, "index", None)
    return getattr(index, "inferred_type", "") == "string" and bool(index.is_unique)


def align_labels(labels: Any, paths: Sequence[str]) -> list[Any]:
    """Return the given label of each image.

    Parameters
    ----------
    labels : sequence of length n, or mapping of path to label
        A pandas Series whose index is text, each once, is a mapping.
    paths : sequence of str
        The images.

    Returns
    -------
    list
        None for images that a mapping does not name.

    Raises
    ------
    InvalidInputError
        If there is not one label per image, or a mapping names none of the images.

    Examples
    --------
    >>> align_labels({"b.png": "dog"}, ["a.png", "b.png"])
    [None, 'dog']
    """
    if is_named(labels):
        labels = dict(labels.items())
    if isinstance(labels, Mapping):
        known = {str(path): label for path, label in labels.items()}
        if known and known.keys().isdisjoint(paths):
            raise InvalidInputError(
                f"the labels name none of the {plural(len(paths), 'image')}, such as {paths[0]}. "
                f"Received: labels of {first_few(list(known))}"
            )
        return [known.get(path) for path in paths]
    is_one = isinstance(labels, str | bytes | os.PathLike) or not isinstance(labels, Iterable)
    # A set has no order; a table is of several columns.
    if is_one or isinstance(labels, set | frozenset) or len(getattr(labels, "shape", (1,))) != 1:
        raise InvalidInputError(
            "labels must be one label, or None, per image, or a mapping of path to label. "
            f"Received: {labels!r:.60}"
        )
    # Otherwise the values of pyarrow would be its scalars.
    given = labels.to_pylist() if hasattr(labels, "to_pylist") else list(labels)
    if len(given) != len(paths):
        raise InvalidInputError(
            "there must be one label per image, or None, or a mapping of path to label. "
            f"Received: {plural(len(given), 'label')}, {plural(len(paths), 'image')}"
        )
    return given


@dataclass(frozen=True)
class KnownLabels:
    """Labels of images from a table.

    Attributes
    ----------
    labels : list of (str or None)
        Label of each image; None if the table has none.
    unused : list of str
        Names in the table that match no image.
    """

    labels: list[str | None]
    unused: list[str]


def read_labels(
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
        A table of files and labels; files without a label are ignored.  Several labels of an image
        are joined to one with ``|``.
    paths : sequence of str
        The images, matched to lines by :func:`clusterkit.datasets.names.match_names`.
    label_column, path_column, label_separator
        See :func:`clusterkit.datasets.label_tables.read_label_table`.

    Returns
    -------
    KnownLabels
        The labels in the order of the paths.

    Raises
    ------
    NotFoundError
        If the file does not exist.
    InvalidInputError
        If the table is invalid or its columns are ambiguous, a line matches several images or an
        image several lines, or no line matches any image.

    Warns
    -----
    Notice
        How the table was interpreted, unless it is a plain CSV file.
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
    if not known:
        raise InvalidInputError(
            f"no line of {labels_csv} has a label: fill in its column {table.header[1]}, or name "
            "another one with --label-column"
        )
    names = match_names(paths, list(known), labels_csv)
    if not names:
        raise InvalidInputError(
            f"{labels_csv} has a label for none of the {len(paths):,} images. Its {len(known):,} "
            f"lines name other files, for instance {first_few(known)}; the first image is "
            f"{paths[0]}. If the files are in another column than "
            f"{table.header[0] or 'the one without a name'}, name it with --path-column"
            f"{say_case(paths, known)}"
        )
    used = set(names.values())
    return KnownLabels(
        [known[names[path]] if path in names else None for path in paths],
        [as_text(name) for name in known if name not in used],
    )
