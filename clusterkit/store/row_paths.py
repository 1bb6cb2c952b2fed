"""The paths of very many stored rows at a time; see :meth:`Space.file_of` for a single one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.utils.locations import relative

# Paths that are not simply appended to their folder: escaped ones, and those with "..", "." or "".
_UNUSUAL = r"\\|[^\x00-\x7F]|(^|/)\.{0,2}(/|$)"


def relative_paths(table: Any, root: str, file_of: Callable[[str, str], str]) -> list[str]:
    """Return the path of each row's file relative to a folder, with forward slashes.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns ``path`` and ``root``.
    root : str
        Absolute path of the folder.
    file_of : callable
        ``file_of(root, path)`` returns the absolute path of a row's file.

    Returns
    -------
    list of str
        What ``relative(file_of(root, path), root)`` is for each row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    folders = pc.unique(table["root"])
    starts = [relative(file_of(folder, ""), root) for folder in folders.to_pylist()]
    starts = ["" if start == "." else f"{start}/" for start in starts]
    unusual = np.asarray(pc.match_substring_regex(table["path"], _UNUSUAL))
    # What stands in folders beyond ASCII may be no text of Arrow.
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
        paths[row] = relative(file_of(folder, path), root)
    return paths


def last_rows(paths: list[str]) -> NDArray[np.int64]:
    """Return the last row of each path, ascending."""
    row_of = dict(zip(paths, range(len(paths)), strict=True))
    if len(row_of) == len(paths):
        return np.arange(len(paths))
    return np.sort(np.fromiter(row_of.values(), np.int64, len(row_of)))
