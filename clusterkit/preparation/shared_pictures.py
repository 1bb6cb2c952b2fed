"""Find duplicated pictures: copies, under two labels, in two parts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.copies import Copy, group_copies
from clusterkit.datasets.places import Place
from clusterkit.errors import InvalidInputError
from clusterkit.preparation.faults import is_plain
from clusterkit.preparation.file_inspection import FileInfo
from clusterkit.preparation.findings import Finding

# Which of several copies is kept.
KEEP = ("largest", "oldest", "folder")
# Later than any file.
_NEVER = 2**63


def check_keep(keep: str) -> None:
    """Check that a rule for which copy is kept exists."""
    if keep not in KEEP:
        raise InvalidInputError(f"keep must be one of {', '.join(KEEP)}. Received: {keep!r}")


def rank_to_keep(
    infos: Sequence[FileInfo], files: Sequence[Path], folders: Sequence[Path], keep: str
) -> list[tuple[int, ...]]:
    """Return a key for each image; of several copies, the one with the smallest key is kept.

    Parameters
    ----------
    infos, files : sequence of length n
        The inspection of each image, and its file.
    folders : sequence of pathlib.Path
        The checked folders, absolute.
    keep : {"largest", "oldest", "folder"}
        The one with the most pixels, of these with the most bytes, and of these the oldest; the one
        with the oldest modification time; or the one in the folder that was given first.  Ties are
        in order of path.
    """
    check_keep(keep)
    if keep == "largest":
        return [
            (-info.shape[0] * info.shape[1], -(info.status.size or 0), _age(info)) for info in infos
        ]
    if keep == "oldest":
        return [(_age(info),) for info in infos]
    return [(_first_inside(file, folders),) for file in files]


def _age(info: FileInfo) -> int:
    """Return the modification time of a file in nanoseconds."""
    return _NEVER if info.status.mtime_ns is None else info.status.mtime_ns


def _first_inside(file: Path, folders: Sequence[Path]) -> int:
    """Return the place of the first folder that a file is in."""
    places = (place for place, folder in enumerate(folders) if file.is_relative_to(folder))
    return next(places, len(folders))


def find_shared_pictures(
    files: Sequence[Path],
    paths: Sequence[str],
    infos: Sequence[FileInfo],
    places: Sequence[Place],
    ranks: Sequence[tuple[int, ...]],
    *,
    vectors: NDArray[np.float32] | None = None,
    apart: Collection[tuple[str, str]] = (),
    progress: bool = False,
) -> list[Finding]:
    """Find images that show the same picture as another one, which is kept.

    Parameters
    ----------
    files, paths, infos, places : sequence of length n
        The images, the inspection of each, and its class and part.
    ranks : sequence of length n
        A key of each image; of several copies the one with the smallest key is kept.
    vectors : ndarray of shape (n, dimension), float32, optional
        Embeddings, in which more copies are found; rows of zeros have none.
    apart : collection of (str, str)
        Sorted pairs of digests of images that are not copies of each other.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of Finding
        For each copy: that it is in the folder of another class than the kept image, that it is in
        another part of the data, or otherwise that it is a copy.
    """
    # Images of a single colour have no copies.
    rows = [row for row, info in enumerate(infos) if info.thumbnail and not is_plain(info)]
    groups = group_copies(
        [files[row] for row in rows],
        [thumbnail for row in rows if (thumbnail := infos[row].thumbnail) is not None],
        order=sorted(range(len(rows)), key=lambda place: (ranks[rows[place]], place)),
        vectors=None if vectors is None else vectors[rows],
        apart=apart,
        progress=progress,
    )
    return sorted(
        Finding(row, paths[row], kind, copy.likeness, paths[kept], detail)
        for group in groups
        for copy in group.copies
        for row, kept in [(rows[copy.row], rows[group.kept])]
        if not _is_one_file(files[row], files[kept])
        for kind, detail in _describe(copy, places[row], places[kept])
    )


def _describe(copy: Copy, own: Place, kept: Place) -> list[tuple[str, str]]:
    """Return the kinds of finding of a copy, with descriptions."""
    found = []
    if own.label != kept.label and None not in (own.label, kept.label):
        found.append(("two-labels", f"{copy.how}; here {own.label}, there {kept.label}"))
    if own.part != kept.part and None not in (own.part, kept.part):
        found.append(("two-sides", f"{copy.how}; here {own.part}, there {kept.part}"))
    return found or [("duplicate" if copy.how == "equal" else "near-copy", copy.how)]


def _is_one_file(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one file through a link, which is not a copy."""
    return (one.is_symlink() or other.is_symlink()) and one.samefile(other)
