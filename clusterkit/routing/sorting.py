"""Bring files into folders."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from clusterkit.errors import ClusterkitError, InvalidInputError, NotFoundError
from clusterkit.images import digest_file
from clusterkit.routing.manifest import Manifest, locked, read_manifest
from clusterkit.routing.planning import make_plan
from clusterkit.routing.transfer import Transfer

MODES = ("copy", "link", "move")


@dataclass(frozen=True)
class Sorting:
    """What :func:`sort_into_folders` did, or would do.

    Attributes
    ----------
    into : pathlib.Path
        The sorted folder.
    mode : {"copy", "link", "move"}
        How files were brought there.
    transfers : list of Transfer
        The files of this run, in order, without those that were there before.
    n_present : int
        Number of files that an earlier run had already brought there.
    dry_run : bool
        Whether nothing was done.
    """

    into: Path
    mode: str
    transfers: list[Transfer]
    n_present: int
    dry_run: bool

    @property
    def folders(self) -> dict[str, int]:
        """Number of this run's files in each folder."""
        return dict(sorted(Counter(transfer.folder for transfer in self.transfers).items()))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "into": str(self.into),
            "mode": self.mode,
            "n": len(self.transfers),
            "n_present": self.n_present,
            "folders": self.folders,
            "transfers": [{"source": t.source, "target": t.target} for t in self.transfers],
            "dry_run": self.dry_run,
        }


def sort_into_folders(
    files: Sequence[str | Path],
    names: Sequence[Any],
    into: str | Path,
    *,
    mode: str = "copy",
    dry_run: bool = False,
    progress: bool = False,
) -> Sorting:
    """Bring each file into the folder of its name.

    Nothing is ever overwritten: where a file name is taken, the next free ``name (2).jpg`` is
    used.  The plan is written to ``clusterkit-manifest.jsonl`` in ``into`` before any file is
    touched.  So the same call goes on after an interruption, another call may add further files,
    and :func:`undo` takes everything back.

    Parameters
    ----------
    files : sequence of path
        The files.  Those that an earlier call brought into ``into`` are left where they are.
    names : sequence, same length
        The folder of each; characters that a file system may refuse become ``_``.
    into : path
        Where the folders are made.
    mode : {"copy", "link", "move"}
        ``copy`` keeps the modification time.  ``link`` makes symbolic links with absolute paths:
        the sorted folder may be moved later, the files may not.  ``move`` works between disks
        too, where a file is deleted only after its copy was read back and found equal.
    dry_run : bool
        Plan only: nothing is written.
    progress : bool
        Draw progress bars on stderr.

    Returns
    -------
    Sorting
        What was done, or planned.

    Raises
    ------
    NotFoundError
        If a file does not exist.
    OutputExistsError
        If an earlier call brought a file to another folder of ``into``, or in another mode.
    InvalidInputError
        If the arguments do not fit, or a file or folder cannot be read or written.  What was done
        until then stays, and the same call goes on with the rest.

    Examples
    --------
    >>> sort_into_folders(["a.jpg", "b.jpg"], ["cat", "dog"], "sorted")  # doctest: +SKIP
    """
    if mode not in MODES:
        raise InvalidInputError(f"mode must be one of {', '.join(MODES)}. Received: {mode!r}")
    if len(files) != len(names):
        raise InvalidInputError(
            f"there must be one name per file. Received: {len(files)} files, {len(names)} names"
        )
    into = Path(os.path.abspath(into))  # noqa: PTH100 (resolve() would follow links)
    if dry_run:
        todo, n_present = make_plan(files, names, into, mode, _known(into))
        return Sorting(into, mode, todo, n_present, dry_run=True)
    is_new = not into.exists()
    _make_folder(into)
    try:
        with locked(into):
            manifest = _known(into)
            todo, n_present = make_plan(files, names, into, mode, manifest)
            bar = tqdm(todo, "check", unit="file", disable=None if progress else True)
            todo = [_with_digest(transfer) for transfer in bar]
            _write_ahead(todo, into, manifest, is_new=is_new)
            _carry_out(todo, into, progress=progress)
    finally:
        if is_new:
            # Works only on an empty folder, when nothing came of this run.
            with suppress(OSError):
                into.rmdir()
    return Sorting(into, mode, todo, n_present, dry_run=False)


def _with_digest(transfer: Transfer) -> Transfer:
    """Add the digest by which the file is known again."""
    if transfer.mode == "link" or transfer.digest:
        return transfer
    try:
        return transfer._replace(digest=digest_file(transfer.source))
    except OSError as error:
        raise InvalidInputError(f"cannot read {transfer.source}: {error.strerror}") from error


def _write_ahead(todo: Sequence[Transfer], into: Path, manifest: Manifest, *, is_new: bool) -> None:
    """Make the folders, and put down what will be done before any of it is."""
    known = set(manifest.transfers)
    new = [transfer for transfer in todo if transfer not in known]
    sources = {transfer.source for transfer in new}
    kept = [t for t in manifest.transfers if t.source not in sources or t.is_in_place(into)]
    folders = sorted({transfer.folder for transfer in new})
    made = [folder for folder in folders if not (into / folder).exists()]
    manifest = Manifest(kept + new, manifest.folders + ["."] * is_new + made)
    if new:
        manifest.write(into)
    for folder in folders:
        _make_folder(into / folder)


def _carry_out(todo: Sequence[Transfer], into: Path, *, progress: bool) -> None:
    """Bring the files to their folders."""
    for n_done, transfer in enumerate(
        tqdm(todo, "sort", unit="file", disable=None if progress else True)
    ):
        try:
            transfer.carry_out(into)
        except ClusterkitError:
            raise
        except OSError as error:
            raise InvalidInputError(
                f"cannot {transfer.mode} {transfer.source} to {into / transfer.target}: "
                f"{error.strerror or error}. {n_done} of {len(todo)} files are done; the same "
                f"command goes on with the rest, and `clusterkit undo {into}` takes them back"
            ) from error


def _known(into: Path) -> Manifest:
    """Return the manifest of earlier runs, or an empty one."""
    try:
        return read_manifest(into)
    except NotFoundError:
        return Manifest()


def _make_folder(folder: Path) -> None:
    """Make a folder where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot make the folder {folder}: {error.strerror}") from error
