"""Decide which file goes where, before any is touched."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from clusterkit.errors import InvalidInputError, NotFoundError, OutputExistsError
from clusterkit.routing.manifest import Manifest
from clusterkit.routing.transfer import Transfer

# What Windows, macOS or Linux does not take in a name, and names that Windows keeps for devices.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
# Of four bytes each, these fit into the 255 bytes that a name may have.
_MAX_CHARACTERS = 60


def make_plan(
    files: Sequence[str | Path], names: Sequence[Any], into: Path, mode: str, manifest: Manifest
) -> tuple[list[Transfer], int]:
    """Plan the transfers of files into the folders of their names.

    Parameters
    ----------
    files, names, into, mode
        As in :func:`clusterkit.routing.sort_into_folders`; ``into`` is absolute.
    manifest : Manifest
        What earlier runs planned for the same folder.

    Returns
    -------
    todo : list of Transfer
        What is left to do, in order of the files.
    n_present : int
        Number of files that are in their folder already.

    Raises
    ------
    NotFoundError, OutputExistsError, InvalidInputError
        If a file is missing, was sorted otherwise before, or cannot be sorted.
    """
    # Links are not followed: what is named is what is sorted.
    sources = [os.path.abspath(file) for file in files]  # noqa: PTH100
    twice = [source for source, count in Counter(sources).items() if count > 1]
    if twice:
        raise InvalidInputError(f"each file can be sorted once. Twice: {twice[0]}")
    folders = _folder_names(names)
    brought_here = {str(into / transfer.target) for transfer in manifest.transfers}
    earlier = defaultdict(list)
    for transfer in manifest.transfers:
        earlier[transfer.source].append(transfer)
    free_names = _FreeNames(into, manifest)
    todo = []
    for source, name in zip(sources, names, strict=True):
        if source in brought_here:
            continue
        folder = folders[str(name)]
        done = [t for t in earlier[source] if t.is_in_place(into) and not t.is_source_taken()]
        if done:
            _check_same(done[0], folder, mode, into)
            # A move that was cut between its two halves still has its source.
            todo += [t for t in done if mode == "move" and os.path.lexists(source)]
            continue
        # A planned transfer that never came keeps its name.
        waiting = [t.target for t in earlier[source] if t.folder == folder]
        free = [target for target in waiting if not os.path.lexists(into / target)]
        target = free[0] if free else free_names.take(folder, PurePath(source).name)
        todo.append(Transfer(source, target, mode))
    _check_sources([transfer for transfer in todo if transfer.digest is None])
    return todo, len(files) - len(todo)


class _FreeNames:
    """Gives out file names that are free in the sorted folder, on any file system."""

    def __init__(self, into: Path, manifest: Manifest) -> None:
        self._into = into
        # Two names that differ in case only are one file on Windows and macOS.
        self._taken = {transfer.target.casefold() for transfer in manifest.transfers}
        self._listed: set[str] = set()
        self._number: dict[str, int] = {}

    def take(self, folder: str, file_name: str) -> str:
        """Return the path of a file in the sorted folder that no other has or will have."""
        if folder not in self._listed:
            self._listed.add(folder)
            with suppress(FileNotFoundError, NotADirectoryError):
                present = os.listdir(self._into / folder)  # noqa: PTH208 (names are all it needs)
                self._taken.update(f"{folder}/{name}".casefold() for name in present)
        stem, suffix = os.path.splitext(file_name)  # noqa: PTH122
        target = f"{folder}/{file_name}"
        key = target.casefold()
        number = self._number.get(key, 1)
        while target.casefold() in self._taken:
            number += 1
            target = f"{folder}/{stem} ({number}){suffix}"
        self._number[key] = number
        self._taken.add(target.casefold())
        return target


def _check_same(done: Transfer, folder: str, mode: str, into: Path) -> None:
    """Refuse to sort a file again that lies in another folder, or in another mode."""
    if (done.folder, done.mode) != (folder, mode):
        raise OutputExistsError(
            f"{done.source} was brought to {into / done.target} before (mode {done.mode}), and is "
            f"now to go to {folder} (mode {mode}): take that back first with "
            f"`clusterkit undo {into}`, or sort into another folder"
        )


def _check_sources(todo: Sequence[Transfer]) -> None:
    """Refuse files that are not there or cannot be moved, before any is touched."""
    missing = [t.source for t in todo if not os.path.lexists(t.source)]
    if missing:
        raise NotFoundError(
            f"{len(missing)} of the {len(todo)} files to sort do not exist, such as {missing[0]}"
        )
    for transfer in todo:
        if not Path(transfer.source).is_file():
            raise InvalidInputError(f"{transfer.source} is not a regular file")
        if transfer.mode == "move" and Path(transfer.source).is_symlink():
            raise InvalidInputError(
                f"{transfer.source} is a link, and moving it could break it: use copy or link"
            )


def _folder_names(names: Iterable[Any]) -> dict[str, str]:
    """Map each name to a folder name that every file system takes."""
    folders: dict[str, str] = {}
    for name in dict.fromkeys(str(name) for name in names):
        folder = _UNSAFE.sub("_", name)[:_MAX_CHARACTERS].strip(" .")
        if not folder or _DEVICE.fullmatch(folder):
            folder = f"_{folder}"
        if folder in folders.values():
            other = next(key for key, value in folders.items() if value == folder)
            raise InvalidInputError(
                f"two names must not share one folder. Received: {other!r} and {name!r}, which "
                f"both become {folder!r}"
            )
        folders[name] = folder
    return folders
