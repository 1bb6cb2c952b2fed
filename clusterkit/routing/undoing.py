"""Undo the sorting of files into a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from clusterkit.datasets.results import Result
from clusterkit.errors import ClusterkitError, InvalidInputError, NotFoundError
from clusterkit.routing.manifest import MANIFEST_NAME, Manifest, read_manifest
from clusterkit.routing.moved_by_hand import Strays
from clusterkit.routing.signatures import find_unsigned
from clusterkit.routing.sorting import tell_store
from clusterkit.routing.transfer import (
    Transfer,
    find_parts,
    flush_folders,
    holds,
    is_inside,
    is_same_entry,
    make_folder,
    move,
    sweep_parts,
)
from clusterkit.store.store import Store
from clusterkit.utils.arguments import as_list
from clusterkit.utils.files import flush, locked
from clusterkit.utils.locations import absolute_here
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import join_lines, plural

_N_SHOWN = 5


@dataclass(frozen=True, repr=False)
class Undoing(Result):
    """Result of :func:`undo`.

    Attributes
    ----------
    folder : pathlib.Path
        The sorted folder.
    n_undone : int
        Number of copies and links removed, and of files moved back.
    kept : list of (str, str)
        Files that were left in the sorted folder, with the reason.
    missing : list of str
        Original paths of moved files that are neither in the sorted folder nor in their original
        place.
    dry_run : bool
        Whether this was only planned.
    places : dict of str to int
        Number of files moved back to each folder.
    """

    folder: Path
    n_undone: int
    kept: list[tuple[str, str]]
    missing: list[str]
    dry_run: bool
    places: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "folder": str(self.folder),
            "n_undone": self.n_undone,
            "kept": [{"path": path, "reason": reason} for path, reason in self.kept],
            "missing": self.missing,
            "places": self.places,
            "dry_run": self.dry_run,
        }

    def to_text(self) -> str:
        """Return the number of files moved back to each folder, and of those that were kept."""
        lines = [f"{n_files:>7,}  {place}" for place, n_files in self.places.items()]
        verb = "would be taken back" if self.dry_run else "taken back"
        done = f"{plural(self.n_undone, 'file')} {verb}, {len(self.kept):,} kept"
        return join_lines([*lines, done])

    def _headline(self) -> str:
        """Return the number of files."""
        return self.to_text().rpartition("\n")[2]


def undo(
    folder: str | Path,
    *,
    roots: str | Path | Iterable[str | Path] = (),
    trust: bool = False,
    store: Store | str | Path | None = None,
    dry_run: bool = False,
    progress: bool = False,
) -> Undoing:
    """Undo everything that :func:`sort_into_folders` did in a folder.

    Copies and links are removed, and moved files are moved back, including those that were moved by
    hand within the folder.  Files that cannot be restored without a loss are kept: files that were
    changed, copies whose original is missing or has changed, and moved files whose original path is
    taken.  They remain in the manifest, as do moved files that are not found, so that another call
    can restore them later.  Finally, empty folders that were created for the sorting and the
    manifest are removed.

    Parameters
    ----------
    folder : path
        The sorted folder.
    roots : path or iterable of paths
        Folders that files may be moved back to even if the manifest was not written by this user on
        this machine, since such a manifest could name any place.
    trust : bool
        Whether to move files back to any place in the manifest.
    store : Store or path, optional
        A store in which the restored paths of the files are recorded.
    dry_run : bool
        Whether to only plan, without changing anything.
    progress : bool
        Whether to show a progress bar on stderr.

    Returns
    -------
    Undoing
        The restored files, and the kept ones with reasons.

    Raises
    ------
    NotFoundError
        If the folder has no manifest.
    InvalidInputError
        If the manifest is damaged, another process is using the folder, or files would be moved to
        places that must be confirmed.

    Examples
    --------
    >>> undo("sorted", dry_run=True).n_undone  # doctest: +SKIP
    300
    """
    folder = absolute_here(folder)
    roots = as_list(roots)
    if not folder.is_dir():
        raise NotFoundError(f"no such folder: {folder}")
    manifest = read_manifest(folder)  # before locking, which creates a file
    if not trust:
        _check_places(folder, manifest, roots)
    if dry_run:
        return _undo(folder, manifest, dry_run=True, progress=progress).undoing
    with locked(folder):
        manifest = read_manifest(folder)
        if not trust:
            _check_places(folder, manifest, roots)
        undoing, left, moves = _undo(folder, manifest, dry_run=False, progress=progress)
        # Before the manifest is gone, so that the call after a kill can still do it.
        tell_store(store, moves)
        _sweep(folder, manifest)
        # A folder comes after its sub-folders, which sort behind it.
        for name in sorted(manifest.folders, reverse=True):
            # Removes only empty folders; the sorted folder itself still has its manifest.
            if is_inside((folder / name).parent, folder):
                with suppress(OSError):
                    (folder / name).rmdir()
        if left:
            replace(manifest, transfers=left).write(folder)
        else:
            (folder / MANIFEST_NAME).unlink()
            flush(folder)
    if "." in manifest.folders:
        with suppress(OSError):
            folder.rmdir()
    return undoing


def _check_places(folder: Path, manifest: Manifest, roots: Sequence[str | Path]) -> None:
    """Check that files are not moved to unconfirmed places of an unsigned manifest."""
    allowed = [folder, *map(Path, roots)]
    places: dict[Path, list[str]] = {}
    for transfer in find_unsigned(manifest.transfers):
        source = Path(transfer.source)
        places.setdefault(source.parent, []).append(source.name)
    for place in list(places):
        if any(is_inside(place, root) for root in allowed):
            del places[place]
    if places:
        shown = [
            f"{len(names)} to {place}, such as {names[0]}"
            for place, names in list(places.items())[:_N_SHOWN]
        ]
        if len(places) > _N_SHOWN:
            shown.append(f"others to {len(places) - _N_SHOWN:,} more folders")
        raise InvalidInputError(
            f"{folder / MANIFEST_NAME} was not written by you on this machine, or by an older "
            f"clusterkit. It would move files out of {folder}: {'; '.join(shown)}. If that is "
            "right, allow it with --root FOLDER, which may be repeated, or all of it with --yes"
        )


class _Step(NamedTuple):
    """How one transfer is undone."""

    place: Path | None = None  # present path of the file
    goes_back: bool = False  # moved back to its original place; otherwise only removed
    reason: str | None = None  # why it is kept
    is_missing: bool = False


class _Planner:
    """Decides which transfers can be undone without a loss, in reverse order."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._folders = manifest.folders
        self._strays = Strays(folder, manifest.transfers)
        # Paths to which a dry run would have moved files, and those where it would have taken them.
        self._back: dict[str, str | None] = {}
        self._taken: set[Path] = set()

    def decide(self, transfer: Transfer) -> _Step:
        """Return how a transfer is undone."""
        step = self._decide(transfer)
        if step.place is not None and step.reason is None:
            self._taken.add(step.place)
        return step

    def _decide(self, transfer: Transfer) -> _Step:
        """Return how a transfer is undone after those before."""
        target, old_place = self._folder / transfer.target, Path(transfer.source)
        step = self._find(transfer, target)
        if step.place is None:
            return step
        if transfer.mode == "link":
            return step
        is_there = transfer.source in self._back or os.path.lexists(old_place)
        if not is_there and transfer.mode == "move":
            self._back[transfer.source] = transfer.digest
            return _Step(step.place, goes_back=True)
        if transfer.mode == "move":
            if self._is_same(transfer, old_place, step.place):
                # An interrupted run left it in both places.
                return step
            return _Step(step.place, reason=f"another file is in its old place: {old_place}")
        if not is_there or not (transfer.source in self._back or old_place.exists()):
            return _Step(step.place, reason=f"its original is gone: {old_place}")
        if not self._is_same(transfer, Path(os.path.realpath(old_place)), step.place):
            return _Step(step.place, reason=f"its original is no longer the same: {old_place}")
        return step

    def _find(self, transfer: Transfer, target: Path) -> _Step:
        """Return the present path of a transfer's file, or why it is not found."""
        # A linked sub-folder may lead anywhere, so nothing in it is touched.
        is_ours = is_inside(target.parent, self._folder)
        if is_ours and transfer.is_brought_by(target):
            return _Step(target)
        if transfer.mode == "move" and not transfer.is_source_taken():
            if os.path.lexists(transfer.source):
                return _Step()  # never moved, or already moved back
            for part in find_parts(Path(transfer.source).parent):
                if transfer.is_brought_by(part):
                    return _Step(part)  # moving it back was interrupted
        place = self._strays.find(transfer)
        if place is not None:
            if transfer.mode != "move" and not self._is_made(place):
                # It could be another file with the same content.
                return _Step(place, reason=f"it was moved by hand from {target}")
            return _Step(place)
        if os.path.lexists(target) and target not in self._taken:
            where = "changed after it was sorted" if is_ours else f"moved out of {self._folder}"
            return _Step(reason=f"it was {where}")
        return _Step(is_missing=transfer.mode == "move")

    def _is_made(self, place: Path) -> bool:
        """Return whether a file is in a folder that was created for the sorting."""
        return any(place.is_relative_to(self._folder / name) for name in self._folders)

    def _is_same(self, transfer: Transfer, old: Path, place: Path) -> bool:
        """Return whether the same content is also in the original place, and not through a link."""
        if transfer.source in self._back:
            return self._back[transfer.source] == transfer.digest
        if is_same_entry(old, place) or transfer.digest is None:
            return False
        # Compare sizes first: the manifest may name a device or an endless file.
        return old.lstat().st_size == place.lstat().st_size and holds(old, transfer.digest)


class _Undone(NamedTuple):
    """A performed or planned undoing, the remaining transfers, and where the files are again."""

    undoing: Undoing
    left: list[Transfer]
    moves: dict[str, str]


def _undo(folder: Path, manifest: Manifest, *, dry_run: bool, progress: bool) -> _Undone:
    """Undo transfers in reverse order."""
    planner = _Planner(folder, manifest)
    n_undone, places = 0, Counter[str]()
    kept, missing, left = [], [], []
    touched: set[Path] = set()
    moves = {}
    for transfer in progress_bar(
        manifest.transfers[::-1], name="undoing", unit="file", enabled=progress
    ):
        step = _Step()
        try:
            step = planner.decide(transfer)
            reason = step.reason
            if reason is None and step.place is not None and not dry_run:
                touched |= {step.place.parent, Path(transfer.source).parent}
                _take_back(transfer, step.place, goes_back=step.goes_back)
        except (OSError, ClusterkitError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        if reason is not None:
            kept.append((str(step.place or folder / transfer.target), reason))
            left.append(transfer)
        elif step.is_missing:
            missing.append(transfer.source)
            left.append(transfer)
        else:
            is_move = transfer.mode == "move"
            if step.place is not None:
                n_undone += 1
                places.update([str(Path(transfer.source).parent)] if is_move else [])
            if is_move:
                # Also of a run that was killed, which had moved it back.
                moves[str(folder / transfer.target)] = transfer.source
    flush_folders(touched)
    back = dict(sorted(places.items()))
    undoing = Undoing(folder, n_undone, kept[::-1], missing[::-1], dry_run, back)
    return _Undone(undoing, left[::-1], moves)


def _take_back(transfer: Transfer, place: Path, *, goes_back: bool) -> None:
    """Undo one transfer."""
    old_place = Path(transfer.source)
    if goes_back:
        make_folder(old_place.parent)
        move(place, old_place, transfer.digest)
        return
    if transfer.mode == "move":
        # Moved back by a run that was just killed: flush it before removing the other.
        flush(old_place)
        flush(old_place.parent)
    place.unlink()


def _sweep(folder: Path, manifest: Manifest) -> None:
    """Remove partial copies of killed runs if nothing is lost, otherwise warn."""
    wholes: dict[Path, list[Path]] = {}
    for transfer in manifest.transfers:
        target, source = folder / transfer.target, Path(transfer.source)
        if is_inside(target.parent, folder):
            wholes.setdefault(target.parent, []).extend((source, target))
        if transfer.mode == "move":
            wholes.setdefault(source.parent, []).extend((source, target))
    for place, files in wholes.items():
        sweep_parts(place, files)
