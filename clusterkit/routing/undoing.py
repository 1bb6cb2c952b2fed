"""Take back what was sorted into a folder."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from clusterkit.errors import ClusterkitError
from clusterkit.routing.manifest import MANIFEST_NAME, Manifest, locked, read_manifest
from clusterkit.routing.transfer import PART_NAME, Transfer


@dataclass(frozen=True)
class Undoing:
    """What :func:`undo` did, or would do.

    Attributes
    ----------
    folder : pathlib.Path
        The sorted folder.
    n_undone : int
        Number of copies and links removed, and of files moved back.
    kept : list of (str, str)
        Files that were left in the sorted folder, and why.
    missing : list of str
        Moved files that are in neither place any more, by where they came from.
    dry_run : bool
        Whether nothing was done.
    """

    folder: Path
    n_undone: int
    kept: list[tuple[str, str]]
    missing: list[str]
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "folder": str(self.folder),
            "n_undone": self.n_undone,
            "kept": [{"path": path, "reason": reason} for path, reason in self.kept],
            "missing": self.missing,
            "dry_run": self.dry_run,
        }


def undo(folder: str | Path, *, dry_run: bool = False, progress: bool = False) -> Undoing:
    """Take back everything that :func:`sort_into_folders` brought into a folder.

    Copies and links are removed, moved files go back to where they were.  What cannot be taken
    back without a loss is kept: a file that was changed since, a copy whose original is gone, a
    moved file whose old place is taken.  It stays in the manifest, so that another call can take
    it back once that is resolved.  Folders that were made for the sorting and are empty, and at
    last the manifest, are removed.

    Parameters
    ----------
    folder : path
        The sorted folder.
    dry_run : bool
        Only say what would be done.
    progress : bool
        Draw a progress bar on stderr.

    Returns
    -------
    Undoing
        What was done, and what was kept for which reason.

    Raises
    ------
    NotFoundError
        If the folder has no manifest.
    InvalidInputError
        If the manifest is damaged, or another process is at work in the folder.

    Examples
    --------
    >>> undo("sorted", dry_run=True).n_undone  # doctest: +SKIP
    300
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 (resolve() would follow links)
    if dry_run:
        return _undo(folder, read_manifest(folder), dry_run=True, progress=progress)[0]
    read_manifest(folder)  # where there is none, the lock would leave a trace
    with locked(folder):
        manifest = read_manifest(folder)
        undoing, left = _undo(folder, manifest, dry_run=False, progress=progress)
        for name in {transfer.folder for transfer in manifest.transfers}:
            (folder / name / PART_NAME).unlink(missing_ok=True)
        for name in manifest.folders:
            # Works only on an empty folder; the sorted folder itself still has its manifest.
            with suppress(OSError):
                (folder / name).rmdir()
        if left:
            Manifest(left, manifest.folders).write(folder)
        else:
            (folder / MANIFEST_NAME).unlink()
    if "." in manifest.folders:
        with suppress(OSError):
            folder.rmdir()
    return undoing


def _undo(
    folder: Path, manifest: Manifest, *, dry_run: bool, progress: bool
) -> tuple[Undoing, list[Transfer]]:
    """Take back what can be, last things first; return also the transfers that are left."""
    n_undone = 0
    kept, missing, left = [], [], []
    for transfer in tqdm(
        manifest.transfers[::-1], "undo", unit="file", disable=None if progress else True
    ):
        target = folder / transfer.target
        if not os.path.lexists(target):
            # It never came, or was taken back before, or someone took it away.
            if transfer.mode == "move" and not os.path.lexists(transfer.source):
                missing.append(transfer.source)
            continue
        try:
            reason = transfer.obstacle(folder)
            if reason is None and not dry_run:
                transfer.take_back(folder)
        except (OSError, ClusterkitError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        if reason is None:
            n_undone += 1
        else:
            kept.append((str(target), reason))
            left.append(transfer)
    return Undoing(folder, n_undone, kept[::-1], missing[::-1], dry_run), left[::-1]
