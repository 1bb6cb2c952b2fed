"""Bring files into folders."""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from clusterkit.errors import ClusterkitError, InvalidInputError, NotFoundError
from clusterkit.images.folder import digest_file
from clusterkit.routing.manifest import Manifest, locked, read_manifest
from clusterkit.routing.plan import Plan, make_plan
from clusterkit.routing.seals import seal
from clusterkit.routing.transfer import (
    MODES,
    Transfer,
    adopt_parts,
    find_parts,
    flush_folders,
    is_inside,
    make_folder,
    sweep_parts,
)


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
        Number of files that an earlier run had already brought there, and of further paths to a
        file of this run.
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
    used.  The plan is checked as a whole, and written to ``clusterkit-manifest.jsonl`` in ``into``,
    before any file is touched.  So the same call goes on after an interruption, another call may
    add further files, and :func:`undo` takes everything back.  When the call returns, all of it is
    on the disk: a power loss does not take it away, nor any file at any other moment.

    Parameters
    ----------
    files : sequence of path
        The files.  Those that an earlier call brought into ``into`` are left where they are.  A
        file that is named by two paths, through a linked folder, is sorted once.
    names : sequence, same length
        The folder of each; characters that a file system may refuse become ``_``.
    into : path
        Where the folders are made.
    mode : {"copy", "link", "move"}
        ``copy`` keeps the modification time.  ``link`` makes symbolic links with absolute paths:
        the sorted folder may be moved later, the files may not.  ``move`` works between disks
        too, where a file is deleted only after its copy was read back, found equal, and is on the
        disk.
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
        If the arguments do not fit, two names would be one folder on some system, or a file or
        folder cannot be read or written.  What was done until then stays, and the same call goes
        on with the rest.

    Warns
    -----
    UserWarning
        If a file in the making is found whose content is not known: it is kept.

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
        plan = make_plan(files, names, into, mode, _known(into))
        return Sorting(into, mode, plan.todo, plan.n_present, dry_run=True)
    is_new = not into.exists()
    if is_new:
        # What is refused leaves no folder behind.
        make_plan(files, names, into, mode, Manifest())
    make_folder(into)
    try:
        with locked(into):
            manifest = _known(into)
            plan = make_plan(files, names, into, mode, manifest)
            todo = _with_digests(plan.todo, progress=progress)
            _write_ahead(plan._replace(todo=todo), into, manifest, is_new=is_new)
            _settle_parts(into, manifest.transfers + todo)
            _carry_out(todo, into, progress=progress)
    finally:
        if is_new:
            # Works only on an empty folder, when nothing came of this run.
            with suppress(OSError):
                into.rmdir()
    return Sorting(into, mode, todo, plan.n_present, dry_run=False)


def _with_digests(todo: Sequence[Transfer], *, progress: bool) -> list[Transfer]:
    """Add the digests by which the files are known again, and the seals."""
    found = []
    for transfer in tqdm(todo, "check", unit="file", disable=None if progress else True):
        if transfer.mode != "link" and transfer.digest is None:
            try:
                transfer = transfer._replace(digest=digest_file(transfer.source))
            except OSError as error:
                raise InvalidInputError(
                    f"cannot read {transfer.source}: {error.strerror}"
                ) from error
        found.append(transfer)
    new = iter(seal(t for t, planned in zip(found, todo, strict=True) if planned.digest is None))
    # A move that goes on stays as its manifest has it.
    return [t if planned.digest else next(new) for t, planned in zip(found, todo, strict=True)]


def _write_ahead(plan: Plan, into: Path, manifest: Manifest, *, is_new: bool) -> None:
    """Put down what will be done before any of it is, and make the folders."""
    known, gone = set(manifest.transfers), plan.replaced - set(plan.todo)
    new = [transfer for transfer in plan.todo if transfer not in known]
    kept = [transfer for transfer in manifest.transfers if transfer not in gone]
    folders = sorted({transfer.folder for transfer in plan.todo})
    missing = [folder for folder in folders if not (into / folder).exists()]
    made = [*(["."] if is_new else []), *missing]
    made = [folder for folder in made if folder not in manifest.folders]
    if new or made:
        Manifest(kept + new, manifest.folders + made).write(into)
    # One may be missing that an earlier run could not make.
    for folder in missing:
        make_folder(into / folder)


def _settle_parts(into: Path, transfers: Sequence[Transfer]) -> None:
    """Adopt what a kill or a power loss has left in the making, or say that it is there."""
    for folder in {transfer.folder for transfer in transfers}:
        if is_inside(into / folder, into) and find_parts(into / folder):
            here = [t for t in transfers if t.folder == folder and t.digest]
            adopt_parts(into / folder, ((t.digest, into / t.target) for t in here))
            wholes = [place for t in here for place in (into / t.target, Path(t.source))]
            for part in sweep_parts(into / folder, wholes):
                warnings.warn(
                    f"{part} is a copy that was cut short, of a file that is not known: it is "
                    "kept; delete it if nothing is missing",
                    stacklevel=3,
                )


def _carry_out(todo: Sequence[Transfer], into: Path, *, progress: bool) -> None:
    """Bring the files to their folders, and wait until they are there for good."""
    touched: set[Path] = set()
    try:
        for n_done, transfer in enumerate(
            tqdm(todo, "sort", unit="file", disable=None if progress else True)
        ):
            touched.add((into / transfer.target).parent)
            if transfer.mode == "move":
                touched.add(Path(transfer.source).parent)
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
    finally:
        flush_folders(touched)


def _known(into: Path) -> Manifest:
    """Return the manifest of earlier runs, or an empty one."""
    try:
        return read_manifest(into)
    except NotFoundError:
        return Manifest()
