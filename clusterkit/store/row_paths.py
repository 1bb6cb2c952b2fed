"""The image files of stored rows: each row has a path, and the root that it is relative to.

Roots below the folder that contains the store, its place, are relative to it, so that store and
images can be moved together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.utils.locations import common_folder, is_within, join, relative
from clusterkit.utils.text import escape_path, unescape_path

# Paths that need no normalising: no part of them is empty, or begins with a dot.
_NORMAL = re.compile(r"(?:[^/.\\\n][^/\\\n]*/)*[^/.\\\n][^/\\\n]*")
# Paths that are not simply appended to their folder: escaped ones, and those with "..", "." or "".
_UNUSUAL = r"\\|[^\x00-\x7F]|(^|/)\.{0,2}(/|$)"


def root_of(place: Path, folder: Path) -> str:
    """Return the folder of images as it is stored."""
    return escape_path(relative(folder, place) if is_within(folder, place) else str(folder))


def file_of(place: Path, root: str, path: str) -> str:
    """Return the absolute path of a row's file."""
    return join(place, unescape_path(root), unescape_path(path))


def files_of(place: Path, roots: list[str], paths: list[str]) -> Iterator[str]:
    """Yield the absolute path of each row's file: as :func:`file_of`, for many rows."""
    folders = {root: os.path.join(file_of(place, root, ""), "") for root in set(roots)}  # noqa: PTH118
    for root, path in zip(roots, paths, strict=True):
        name = unescape_path(path)
        is_normal = os.sep == "/" and _NORMAL.fullmatch(name)
        yield folders[root] + name if is_normal else file_of(place, root, path)


def common_root(place: Path, roots: Iterable[str]) -> str:
    """Return the nearest common folder of stored roots."""
    return common_folder([file_of(place, root, "") for root in roots] or [str(place)])


def relative_paths(place: Path, table: Any, root: str) -> list[str]:
    """Return the path of each row's file relative to a folder, with forward slashes.

    Parameters
    ----------
    place : pathlib.Path
        The folder that contains the store.
    table : pyarrow.Table
        With the columns ``path`` and ``root``.
    root : str
        Absolute path of the folder.

    Returns
    -------
    list of str
        ``relative(file_of(place, root, path), root)`` of each row; for very many rows, Arrow does
        the work.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    folders = pc.unique(table["root"])
    starts = [relative(file_of(place, folder, ""), root) for folder in folders.to_pylist()]
    starts = ["" if start == "." else f"{start}/" for start in starts]
    unusual = np.asarray(pc.match_substring_regex(table["path"], _UNUSUAL))
    # Folder names beyond ASCII may be invalid text for Arrow.
    if not all(start.isascii() for start in starts):
        unusual[:] = True
    numbers = pc.index_in(table["root"], value_set=folders)
    start_of = pa.array([start if start.isascii() else "" for start in starts], pa.string())
    joined = pc.binary_join_element_wise(start_of.take(numbers), table["path"], "")
    paths: list[str] = joined.to_pylist()
    rows = np.flatnonzero(unusual)
    some = table.select(["root", "path"]).take(rows)
    for row, folder, path in zip(
        rows.tolist(), some["root"].to_pylist(), some["path"].to_pylist(), strict=True
    ):
        paths[row] = relative(file_of(place, folder, path), root)
    return paths


def last_rows(paths: list[str]) -> NDArray[np.int64]:
    """Return the last row of each path, ascending."""
    row_of = dict(zip(paths, range(len(paths)), strict=True))
    if len(row_of) == len(paths):
        return np.arange(len(paths))
    return np.sort(np.fromiter(row_of.values(), np.int64, len(row_of)))
