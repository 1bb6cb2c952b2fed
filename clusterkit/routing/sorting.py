"""Sort files into folders."""

from __future__ import annotations

import itertools
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from clusterkit.datasets.results import Result
from clusterkit.errors import (
    ClusterkitError,
    ClusterkitWarning,
    InvalidInputError,
    NotFoundError,
    Notice,
    StoreError,
)
from clusterkit.images.folder import ImageFolder, digest_file
from clusterkit.routing.manifest import Manifest, as_origins, read_manifest
from clusterkit.routing.plan import Plan, make_plan
from clusterkit.routing.signatures import sign_moves
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
from clusterkit.store.store import Store, as_store
from clusterkit.utils.arguments import as_list
from clusterkit.utils.files import locked
from clusterkit.utils.locations import absolute, absolute_here, as_path, find_gone, is_address
from clusterkit.utils.noise import is_missing
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import in_shell, join_lines, plural


@dataclass(frozen=True, repr=False)
class Sorting(Result):
    """Result of :func:`sort_into_folders`.

    Attributes
    ----------
    into : pathlib.Path
        The sorted folder.
    mode : {"copy", "link", "move"}
        How files are transferred.
    transfers : list of Transfer
        The transfers of this run, in order, without files that were already there.
    n_present : int
        Number of files that were in their folder before, and of further paths to a file of this
        run.
    dry_run : bool
        Whether this was only planned.
    """

    into: Path
    mode: str
    transfers: list[Transfer]
    n_present: int
    dry_run: bool

    @property
    def folders(self) -> dict[str, int]:
        """Number of files of this run in each folder."""
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

    def to_text(self) -> str:
        """Return the number of files in each folder, and the transfers."""
        lines = [f"{n_files:>7,}  {self.into / folder}" for folder, n_files in self.folders.items()]
        verb = {"copy": "copied", "link": "linked", "move": "moved"}[self.mode]
        done = f"would be {verb}" if self.dry_run else verb
        before = f", {self.n_present:,} were there before" if self.n_present else ""
        return join_lines([*lines, f"{plural(len(self.transfers), 'file')} {done}{before}"])

    def _headline(self) -> str:
        """Return the number of files."""
        return self.to_text().rpartition("\n")[2]


def sort_into_folders(
    files: ImageFolder | Iterable[str | Path],
    names: Iterable[Any],
    into: str | Path,
    *,
    mode: str = "copy",
    strict: bool = True,
    store: Store | str | Path | None = None,
    origin: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
    dry_run: bool = False,
    progress: bool = False,
) -> Sorting:
    """Sort each file into a named folder.

    Nothing is ever overwritten: if a file name exists, the next unused ``name (2).jpg`` is used.
    The complete plan is checked, and written to ``clusterkit-manifest.jsonl`` in ``into``, before
    any file is touched.  The same call therefore continues after an interruption, further calls may
    add files, and :func:`undo` reverts everything.  When the call returns, all files are flushed to
    disk; no file is lost by a power loss at any time.

    Parameters
    ----------
    files : ImageFolder, Embeddings, or iterable of paths
        The files.  Files that are in their folder of ``into`` or that an earlier call sorted are
        left in place.  A file given by two paths, through a linked folder, is sorted once.
    names : iterable of the same length
        The folder of each file, or a tuple of nested folders, such as ``("train", "cat")``;
        characters that are invalid on some file systems become ``_``.
    into : path
        Parent of the folders.
    mode : {"copy", "link", "move"}
        ``copy`` keeps the modification time.  ``link`` makes symbolic links with absolute paths:
        the sorted folder may be moved later, the files may not.  ``move`` also works between disks,
        where a file is deleted only after its copy was verified and flushed to disk.
    strict : bool
        Whether files that are gone are an error; otherwise they are left out.
    store : Store or path, optional
        A store in which the new paths of moved files are recorded, so that it keeps their
        embeddings.
    origin : mapping of str to str, number or None, or sequence of these, optional
        Description of the origin of the names, which is stored in the manifest.
    dry_run : bool
        Whether to only plan, without writing anything.
    progress : bool
        Whether to show progress bars on stderr.

    Returns
    -------
    Sorting
        The performed or planned transfers.

    Raises
    ------
    NotFoundError
        If a file does not exist, or with ``strict=False`` none of them.
    OutputExistsError
        If an earlier call sorted a file into another folder of ``into``, or in another mode.
    InvalidInputError
        If the arguments are invalid, ``into`` is on object storage, two names would be the same
        folder on some system, or a file or folder cannot be read or written.  Completed transfers
        are kept, and the same call continues with the rest.

    Warns
    -----
    ClusterkitWarning
        If a partial copy of unknown content is found, which is kept, or the store cannot be
        updated.
    Notice
        If files are left out, or files that an earlier call brought here would now go to another
        folder.

    Examples
    --------
    >>> sort_into_folders(["a.jpg", "b.jpg"], ["cat", "dog"], "sorted")  # doctest: +SKIP
    """
    if mode not in MODES:
        raise InvalidInputError(f"mode must be one of {', '.join(MODES)}. Received: {mode!r}")
    # Rows of pandas are counted as they come, not by their index.
    origins = as_origins(origin)
    # One text is one name: its letters would be folders.
    files, names = as_list(getattr(files, "files", files)), as_list(names)
    if odd := [file for file in files if not isinstance(file, str | os.PathLike)]:
        raise InvalidInputError(f"files must be paths. Received: {odd[0]!r:.60}")
    check_local(files)
    if len(files) != len(names):
        raise InvalidInputError(
            f"there must be one name per file. Received: {plural(len(files), 'file')}, "
            f"{plural(len(names), 'name')}"
        )
    nameless = [file for file, name in zip(files, names, strict=True) if _is_nameless(name)]
    if nameless:
        raise InvalidInputError(
            f"each file must have the name of a folder, or be left out. Without one: "
            f"{plural(len(nameless), 'file')}, such as {nameless[0]}"
        )
    into = absolute_here(into)
    if not strict and (gone := check_present(files, into)):
        warnings.warn(f"left out: {_describe_gone(gone, len(files))}", Notice, stacklevel=2)
        left_out = set(gone)
        rows = [row for row, file in enumerate(files) if _absolute(file) not in left_out]
        files, names = [files[row] for row in rows], [names[row] for row in rows]
    try:
        into.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # It is created, or the plan reports what is in the way.
    except OSError as error:
        raise InvalidInputError(f"cannot sort into {into}: {error.strerror}") from error
    if dry_run:
        plan = make_plan(files, names, into, mode, _known(into))
        return Sorting(into, mode, plan.todo, plan.n_present, dry_run=True)
    is_new = not into.exists()
    if is_new:
        # No folder is created for an invalid request.
        make_plan(files, names, into, mode, Manifest())
    make_folder(into)
    try:
        with locked(into):
            manifest = _known(into)
            plan = make_plan(files, names, into, mode, manifest)
            todo = _with_digests(plan.todo, progress=progress)
            _write_ahead(plan._replace(todo=todo), into, manifest, origins, is_new=is_new)
            _settle_parts(into, manifest.transfers + todo)
            try:
                _carry_out(todo, into, progress=progress)
            finally:
                # With the moves of earlier runs, which may have been killed before this line.
                tell_store(store, _moves(manifest.transfers + todo, into))
    finally:
        if is_new:
            # Removes the folder only if it is empty, when nothing was sorted.
            with suppress(OSError):
                into.rmdir()
    return Sorting(into, mode, todo, plan.n_present, dry_run=False)


def _is_nameless(name: Any) -> bool:
    """Return whether a name, or a level of it, is a missing value, such as of a table."""
    levels = name if isinstance(name, tuple) else (name,)
    is_none = any(is_missing(level) and not isinstance(level, str) for level in levels)
    return is_none or not levels


def check_local(files: Iterable[str | Path]) -> None:
    """Check that all files are on this machine.

    Raises
    ------
    InvalidInputError
        If one is on object storage.
    """
    for file in files:
        if is_address(file):
            raise InvalidInputError(
                f"{file} is on object storage, and only files of this machine can be sorted into "
                "folders: copy the images here and embed them, or use a table of paths"
            )


def check_present(
    files: Sequence[str | Path], into: str | Path, *, strict: bool = False
) -> list[Path]:
    """Check that files can be sorted, before expensive work; return those that are gone.

    Parameters
    ----------
    files : sequence of path
        The files.
    into : path
        The sorted folder, which need not exist.  Files that an earlier call moved there are not
        gone.
    strict : bool
        Whether files that are gone are an error.

    Raises
    ------
    NotFoundError
        If all files are gone, or some with ``strict``.
    InvalidInputError
        If a file is on object storage.
    """
    if not is_address(into):
        check_local(files)
    names = find_gone(map(str, files))
    gone = [_absolute(file) for file in files if str(file) in names]
    if gone and not is_address(into):
        sorted_before = {transfer.source for transfer in _known(Path(into)).transfers}
        gone = [file for file in gone if str(file) not in sorted_before]
    if gone and (strict or len(gone) == len(files)):
        raise NotFoundError(_describe_gone(gone, len(files)))
    return gone


def _describe_gone(gone: Sequence[Path], n_files: int) -> str:
    """Describe how many files are gone, and what to do."""
    return (
        f"{len(gone):,} of the {n_files:,} files are gone, such as {gone[0]}. Those that were "
        "moved are found after `clusterkit embed` on the folder that they are in now; forget those "
        "that were deleted with `clusterkit embed FOLDER --prune`"
    )


def _absolute(file: str | Path) -> Path:
    """Return the absolute path of a file, without following links."""
    return as_path(absolute(file))


def _moves(transfers: Iterable[Transfer], into: Path) -> dict[str, str]:
    """Map the old paths of files that were moved into the folder to their paths there."""
    return {
        transfer.source: str(into / transfer.target)
        for transfer in transfers
        if transfer.mode == "move"
        and not os.path.lexists(transfer.source)
        and os.path.lexists(into / transfer.target)
    }


def tell_store(store: Store | str | Path | None, moves: Mapping[str, str]) -> None:
    """Record the new paths of files in a store; only warn if that fails, since they were moved."""
    if store is None or not moves:
        return
    try:
        as_store(store).follow(moves)
    except StoreError as error:
        warnings.warn(
            f"the files were moved, but the store was not updated: {error}. `clusterkit embed` "
            "on the folder that they are in now recovers their embeddings",
            ClusterkitWarning,
            stacklevel=3,
        )


def _with_digests(todo: Sequence[Transfer], *, progress: bool) -> list[Transfer]:
    """Add digests and signatures to the transfers."""
    found = []
    for transfer in progress_bar(todo, name="checking", unit="file", enabled=progress):
        if transfer.mode != "link" and transfer.digest is None:
            try:
                transfer = transfer._replace(digest=digest_file(transfer.source))
            except OSError as error:
                raise InvalidInputError(
                    f"cannot read {transfer.source}: {error.strerror}"
                ) from error
        found.append(transfer)
    # A continued move is kept as in the manifest.
    is_new = [planned.digest is None for planned in todo]
    signed = iter(sign_moves(itertools.compress(found, is_new)))
    return [next(signed) if new else t for t, new in zip(found, is_new, strict=True)]


def _write_ahead(
    plan: Plan,
    into: Path,
    manifest: Manifest,
    origins: Sequence[dict[str, Any]],
    *,
    is_new: bool,
) -> None:
    """Write the manifest and create the folders before any transfer."""
    if is_new and not plan.todo:
        return  # A folder into which nothing was sorted is removed.
    known, gone = set(manifest.transfers), plan.replaced - set(plan.todo)
    new = [transfer for transfer in plan.todo if transfer not in known]
    kept = [transfer for transfer in manifest.transfers if transfer not in gone]
    missing = sorted(
        str(folder)
        for folder in {
            place
            for transfer in plan.todo
            for place in PurePosixPath(transfer.target).parents
            if not (into / place).exists()
        }
    )
    made = [*(["."] if is_new else []), *missing]
    made = [folder for folder in made if folder not in manifest.folders]
    told = [one for one in origins if one not in manifest.origins]
    if new or made or told:
        Manifest(kept + new, manifest.folders + made, manifest.origins + told).write(into)
    # An earlier run may have failed to create one.
    for folder in missing:
        make_folder(into / folder)


def _settle_parts(into: Path, transfers: Sequence[Transfer]) -> None:
    """Recover partial copies left by a kill or power loss, or warn about them."""
    for folder in {transfer.folder for transfer in transfers}:
        if is_inside(into / folder, into) and find_parts(into / folder):
            here = [t for t in transfers if t.folder == folder and t.digest]
            adopt_parts(into / folder, ((t.digest, into / t.target) for t in here))
            wholes = [place for t in here for place in (into / t.target, Path(t.source))]
            sweep_parts(into / folder, wholes)


def _carry_out(todo: Sequence[Transfer], into: Path, *, progress: bool) -> None:
    """Carry out the transfers, and flush the folders to disk."""
    touched: set[Path] = set()
    try:
        for n_done, transfer in enumerate(
            progress_bar(todo, name="sorting", unit="file", enabled=progress)
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
                    f"{error.strerror or error}. {n_done:,} of {len(todo):,} files are done; the "
                    f"same command continues with the rest, and `clusterkit undo {in_shell(into)}` "
                    "reverts them"
                ) from error
    finally:
        flush_folders(touched)


def _known(into: Path) -> Manifest:
    """Return the manifest of earlier runs, or an empty one."""
    try:
        return read_manifest(into)
    except NotFoundError:
        return Manifest()
