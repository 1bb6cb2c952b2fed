"""Read pairs of images that a person marked as not copies of each other."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from clusterkit.clustering.provenance import find_not_copies
from clusterkit.clustering.saved import CLUSTER_COLUMNS
from clusterkit.datasets.labelled_images import LabelledImages
from clusterkit.datasets.tables import read_table, sniff, spellings
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.utils.locations import as_path
from clusterkit.utils.text import plural

Pair = tuple[str, str]


class NotCopies(NamedTuple):
    """Pairs of images that are not copies of each other.

    Attributes
    ----------
    digests : frozenset of (str, str)
        Pairs by their sorted digests.
    paths : list of (str, str)
        Pairs by their paths.
    file : pathlib.Path or None
        The file that they were read from.
    """

    digests: frozenset[Pair] = frozenset()
    paths: list[Pair] = []  # noqa: RUF012 (never changed)
    file: Path | None = None

    def resolve(self, digest_of: Mapping[str, str], root: Path) -> frozenset[Pair]:
        """Return all pairs by their sorted digests.

        Parameters
        ----------
        digest_of : mapping of str to str
            The digest of each image, by its path relative to ``root``.
        root : pathlib.Path
            The folder of the images; paths may also be relative to the current one.

        Warns
        -----
        Notice
            If paths match none of the images, or the files of a pair are equal.
        """
        pairs, unknown, equal = set(self.digests), [], []
        for pair in self.paths:
            one, other = (_find(cell, digest_of, root) for cell in pair)
            if one and one == other:
                equal.append(pair)
            elif one and other:
                pairs.add((min(one, other), max(one, other)))
            else:
                unknown.append(pair[0] if one is None else pair[1])
        if unknown:
            warnings.warn(
                f"{plural(len(unknown), 'path')} in {self.file} belong to none of the images, such "
                f"as {unknown[0]}",
                Notice,
                stacklevel=3,
            )
        if equal:
            warnings.warn(
                f"{plural(len(equal), 'pair')} in {self.file} without effect, since equal files "
                f"are copies: such as {equal[0][0]} and {equal[0][1]}",
                Notice,
                stacklevel=3,
            )
        return frozenset(pairs)


def read_not_copies(file: str | Path | None) -> NotCopies:
    """Read pairs of images that are not copies of each other.

    Parameters
    ----------
    file : path, or None for no pairs
        A text or CSV file with two paths per line, in which lines that start with # are skipped; a
        table of findings, such as some lines of ``issues.csv``; or a table of clusters with
        decisions of ``clusterkit label --not-copies``.

    Returns
    -------
    NotCopies

    Raises
    ------
    NotFoundError
        If the file does not exist.
    InvalidInputError
        If it cannot be read, or a line does not hold two paths.
    """
    if file is None:
        return NotCopies()
    file = as_path(file, "not_copies, a file of pairs,")
    header = {name.casefold() for name in sniff(file)[0]}
    if "path" in header and header & set(CLUSTER_COLUMNS):
        return NotCopies(find_not_copies(LabelledImages([], [], None), file))
    if {"path", "related"} <= header:
        table = read_table(file)
        names = [name.casefold() for name in table.header]
        columns = [table.column(names.index(name)) for name in ("path", "related")]
        return NotCopies(
            paths=[pair for pair in zip(*columns, strict=True) if all(pair)], file=file
        )
    lines = file.read_text("utf-8-sig", errors="surrogateescape").splitlines()
    pairs = [
        _split(line, number, file)
        for number, line in enumerate(lines, start=1)
        if line.strip() and line[0] != "#"
    ]
    return NotCopies(paths=pairs, file=file)


def _split(line: str, number: int, file: Path) -> Pair:
    """Return the two paths of a line, with a comma, a semicolon, a tab or spaces between them."""
    cells: list[str] = []
    for delimiter in ",;":
        with suppress(csv.Error):
            cells = next(csv.reader([line], strict=True, delimiter=delimiter))
        if len(cells) > 1:
            break
    if len(cells) < 2:
        cells = line.split("\t") if "\t" in line else line.split()
    cells = [cell.strip() for cell in cells if cell.strip()]
    if len(cells) != 2:
        raise InvalidInputError(
            f"{file}, line {number}: must be two paths with a comma between them. Received: "
            f"{line!r:.100}"
        )
    return cells[0], cells[1]


def _find(cell: str, digest_of: Mapping[str, str], root: Path) -> str | None:
    """Return the digest of the image named by a cell; None if there is no such image."""
    for spelling in spellings(cell):
        for path in (spelling, os.path.relpath(os.path.abspath(spelling), root)):  # noqa: PTH100
            if digest := digest_of.get(path.replace(os.sep, "/")):
                return digest
    return None
