"""Move the findings of a check into a folder, from which they can be moved back."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from clusterkit.errors import InvalidInputError, OutputExistsError
from clusterkit.preparation.findings import KINDS, Finding
from clusterkit.routing.manifest import MANIFEST_NAME, read_manifest
from clusterkit.routing.sorting import Sorting, sort_into_folders
from clusterkit.routing.transfer import is_inside
from clusterkit.store.store import Store
from clusterkit.utils.locations import absolute_here

# Certainly useless; other findings are for a person to judge.
QUARANTINED = ("unreadable", "truncated", "duplicate", "near-copy")
# Marks the manifest of a folder of a check.
_ORIGIN = {"command": "check"}


def check_quarantine(into: str | Path, folders: Iterable[Path], parents: Iterable[Path]) -> None:
    """Check that files can be moved, before any work.

    Parameters
    ----------
    into : path
        The folder to put them in.
    folders : iterable of pathlib.Path
        The checked folders.
    parents : iterable of pathlib.Path
        The folders that hold the images.

    Raises
    ------
    InvalidInputError
        If one of the folders is in the other, or one cannot be written.
    OutputExistsError
        If the folder holds anything but the files of an earlier check.
    """
    into = absolute_here(into)
    for folder in folders:
        if is_inside(into, folder) or is_inside(folder, into):
            raise InvalidInputError(
                f"the quarantine must lie outside of the checked folder {folder}. Received: {into}"
            )
    if os.path.lexists(into):
        _check_is_ours(into)
    nearest = next(path for path in (into, *into.parents) if os.path.lexists(path))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InvalidInputError(f"cannot write in {nearest}: no permission")
    for parent in parents:
        if not os.access(parent, os.W_OK | os.X_OK):
            raise InvalidInputError(
                f"no permission to move files out of {parent}: check it without a quarantine"
            )


def _check_is_ours(into: Path) -> None:
    """Check that a folder is empty, or holds the files of an earlier check."""
    if not into.is_dir():
        raise OutputExistsError(f"{into} is a file; name a folder for the quarantine")
    if os.path.lexists(into / MANIFEST_NAME):
        if _ORIGIN in read_manifest(into).origins:
            return
    elif not any(into.iterdir()):
        return
    raise OutputExistsError(
        f"{into} holds files of another origin: name a new folder for the quarantine"
    )


def quarantine(
    files: Sequence[Path],
    findings: Sequence[Finding],
    into: str | Path,
    *,
    kinds: Collection[str] = QUARANTINED,
    store: Store | str | Path | None = None,
    dry_run: bool = False,
    progress: bool = False,
) -> Sorting:
    """Move the files of findings into one folder per kind.

    ``clusterkit undo`` moves them back.

    Parameters
    ----------
    files : sequence of pathlib.Path
        All images.
    findings : sequence of Finding
        The findings.
    into : path
        The folder to move them to.
    kinds : collection of str
        Kinds of findings; a file of several kinds goes to the first in the order of
        :data:`~clusterkit.preparation.findings.KINDS`.
    store, dry_run, progress
        As for :func:`clusterkit.routing.sort_into_folders`.

    Returns
    -------
    Sorting
        The moved files.  Links, and files that cannot be opened, stay where they are.
    """
    into = absolute_here(into)
    kind_of: dict[int, str] = {}
    order = list(KINDS)
    for finding in sorted(findings, key=lambda finding: order.index(finding.kind)):
        if finding.kind in kinds and _can_move(files[finding.row]):
            kind_of.setdefault(finding.row, finding.kind)
    # An earlier run that moved the last file may have been killed before it told the store.
    if not kind_of and (dry_run or not (into / MANIFEST_NAME).exists()):
        return Sorting(into, "move", [], 0, dry_run)
    rows = sorted(kind_of)
    return sort_into_folders(
        [files[row] for row in rows],
        [kind_of[row] for row in rows],
        into,
        mode="move",
        store=store,
        origin=_ORIGIN,
        dry_run=dry_run,
        progress=progress,
    )


def _can_move(file: Path) -> bool:
    """Return whether a file is not a link, and can be read."""
    return file.is_file() and not file.is_symlink() and os.access(file, os.R_OK)
