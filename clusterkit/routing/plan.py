"""Plan and check all transfers before any file is touched."""

import os
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from clusterkit.errors import InvalidInputError, NotFoundError, Notice, OutputExistsError
from clusterkit.routing.manifest import Manifest
from clusterkit.routing.moved_by_hand import Strays
from clusterkit.routing.transfer import Transfer, find_entry, is_inside, is_same_entry
from clusterkit.utils.text import in_shell, plural

# Characters that are invalid in names on Windows, macOS or Linux, and device names of Windows.
UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
# Characters of four bytes that fit in the 255 bytes of a name.
_MAX_CHARACTERS = 60
_MAX_SUFFIX_BYTES = 32


class Plan(NamedTuple):
    """The remaining transfers of a sorting.

    Attributes
    ----------
    todo : list of Transfer
        In the order of the files.
    n_present : int
        Number of files that need no transfer: they are already in their folder, or are another path
        to a file of this sorting.
    replaced : set of Transfer
        Earlier transfers that were not carried out, or whose files no longer exist, replaced by
        ``todo``.
    """

    todo: list[Transfer]
    n_present: int
    replaced: set[Transfer]


def make_plan(
    files: Sequence[str | Path], names: Sequence[Any], into: Path, mode: str, manifest: Manifest
) -> Plan:
    """Plan the transfers of files into named folders.

    Parameters
    ----------
    files, names, into, mode
        As for :func:`clusterkit.routing.sort_into_folders`; ``into`` is absolute.
    manifest : Manifest
        The plan of earlier runs for the same folder.

    Returns
    -------
    Plan
        The remaining transfers.

    Raises
    ------
    NotFoundError, OutputExistsError, InvalidInputError
        If a file is missing, was sorted differently before, or cannot be sorted, or a folder cannot
        be created.

    Warns
    -----
    Notice
        If files that an earlier run brought into ``into`` would now go to another folder.
    """
    # Links are not followed: the named entry itself is sorted.
    sources = [os.path.abspath(file) for file in files]  # noqa: PTH100
    twice = [source for source, count in Counter(sources).items() if count > 1]
    if twice:
        raise InvalidInputError(f"each file can be sorted once. Twice: {twice[0]}")
    folders = _nested_names(names, into)
    # A file may have several paths through linked folders.
    parents: dict[str, Any] = {}
    brought_here = {find_entry(str(into / t.target), parents): t.folder for t in manifest.transfers}
    earlier = defaultdict(list)
    for transfer in manifest.transfers:
        earlier[find_entry(transfer.source, parents)].append(transfer)
    strays = Strays(into, manifest.transfers)
    free_names = FreeNames(into, (transfer.target for transfer in manifest.transfers))
    chosen: dict[object, tuple[str, str]] = {}
    todo: list[Transfer] = []
    replaced: set[Transfer] = set()
    staying: list[tuple[str, str]] = []
    for source, name in zip(sources, names, strict=True):
        entry, folder = find_entry(source, parents), folders[_levels(name)]
        other, its_folder = chosen.setdefault(entry, (source, folder))
        if folder != its_folder:
            raise InvalidInputError(
                f"{other} and {source} are two paths to one file, which cannot go both to "
                f"{its_folder} and to {folder}: leave one of them out"
            )
        if other != source:
            continue
        if entry in brought_here:
            if folder != brought_here[entry]:
                staying.append((source, folder))
            continue
        planned = earlier[entry]
        place = str(into / folder / PurePath(source).name)
        if not planned and entry == find_entry(place, parents) and is_inside(into / folder, into):
            continue  # It would only get another name.
        done = [t for t in planned if t.is_in_place(into) and not t.is_source_taken()]
        if done:
            _check_same(done[0], folder, mode, into)
            # An interrupted move still has its source.
            todo += [t for t in done if mode == "move" and _is_still_there(t, into)]
            continue
        if not os.path.lexists(source):
            moved = [(t, strays.find(t)) for t in planned if t.mode == "move"]
            if here := [(t, place) for t, place in moved if place is not None]:
                # It was moved by hand, or a power loss left a partial copy.
                todo += [t for t, place in here if place.name.startswith(".")]
                continue
        elif mode != "move" and _is_elsewhere(planned, mode, into, strays):
            continue  # A copy of it would be the second one.
        # A planned transfer that was not carried out keeps its name.
        waiting = [t.target for t in planned if t.folder == folder]
        free = [target for target in waiting if not os.path.lexists(into / target)]
        target = free[0] if free else free_names.take(folder, PurePath(source).name)
        todo.append(Transfer(source, target, mode))
        # Files that were moved again after sorting can still be restored, and of those that were
        # changed there undo tells that they are kept.
        replaced |= {
            t
            for t in planned
            if not os.path.lexists(into / t.target)
            and (t.mode != "move" or not t.is_source_taken() or strays.find(t) is None)
        }
    _check_sources([transfer for transfer in todo if transfer.digest is None])
    _check_targets(todo, into)
    if staying:
        warnings.warn(
            f"{plural(len(staying), 'file')} sorted before would now go to another folder, such as "
            f"{staying[0][0]} to {staying[0][1]}, and stay where they are: to sort anew, undo that "
            f"first with `clusterkit undo {in_shell(into)}`",
            Notice,
            stacklevel=3,
        )
    return Plan(todo, len(files) - len(todo), replaced)


class FreeNames:
    """File names that are unused in a folder, on any file system.

    Parameters
    ----------
    into : pathlib.Path
        The folder.
    taken : iterable of str
        Files relative to it whose names are taken, even if they are gone.
    key : callable, optional
        Key that is equal for names that cannot be in the same folder.
    """

    def __init__(
        self, into: Path, taken: Iterable[str], key: Callable[[str], str] | None = None
    ) -> None:
        self._into, self._key = into, key or alike
        self._taken = {self._key(file) for file in taken}
        self._listed: set[str] = set()
        self._number: dict[str, int] = {}
        self._max_bytes = _name_limit(into)

    def take(self, folder: str, file_name: str) -> str:
        """Return an unused path relative to the folder, and reserve it.

        Parameters
        ----------
        folder : str
            Sub-folder; "." for the folder itself.
        file_name : str
            The preferred name, to which a number may be added.
        """
        if folder not in self._listed:
            self._listed.add(folder)
            with suppress(FileNotFoundError, NotADirectoryError):
                present = os.listdir(self._into / folder)  # noqa: PTH208 (names are all it needs)
                self._taken.update(self._key(_join(folder, name)) for name in present)
        key = self._key(_join(folder, file_name))
        # Thousands of files may have one name.
        number = self._number.get(key, 1)
        target = _join(folder, self._fit(file_name, number))
        while self._key(target) in self._taken:
            number += 1
            target = _join(folder, self._fit(file_name, number))
        self._number[key] = number
        self._taken.add(self._key(target))
        return target

    def _fit(self, file_name: str, number: int) -> str:
        """Add a number to a file name, shortening it if necessary."""
        stem, suffix = os.path.splitext(file_name)  # noqa: PTH122
        if len(os.fsencode(suffix)) > _MAX_SUFFIX_BYTES:
            stem, suffix = file_name, ""
        end = f" ({number}){suffix}" if number > 1 else suffix
        while len(os.fsencode(stem + end)) > self._max_bytes:
            stem = stem[:-1]
        return stem + end


def _join(folder: str, name: str) -> str:
    """Return the path of a file in a folder, which may be the folder itself."""
    return name if folder == "." else f"{folder}/{name}"


def _name_limit(into: Path) -> int:
    """Return the maximum length of a file name in bytes."""
    place = next((place for place in (into, *into.parents) if place.exists()), into)
    try:
        return os.pathconf(place, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return 255


def alike(path: str) -> str:
    """Return a key that is equal for paths that are the same file on Windows or macOS."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _is_one(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same existing file or folder."""
    return one.exists() and other.exists() and one.samefile(other)


def _is_still_there(done: Transfer, into: Path) -> bool:
    """Return whether a moved file is in its new place but not yet removed from its old one."""
    target = into / done.target
    return os.path.lexists(done.source) and not is_same_entry(Path(done.source), target)


def _is_elsewhere(planned: Sequence[Transfer], mode: str, into: Path, strays: Strays) -> bool:
    """Return whether a copy or link was moved by hand to another place in the folder."""
    lost = (t for t in planned if t.mode == mode and not os.path.lexists(into / t.target))
    places = (strays.find(transfer) for transfer in lost)
    return any(place is not None and not place.name.startswith(".") for place in places)


def _check_same(done: Transfer, folder: str, mode: str, into: Path) -> None:
    """Check that a file was not sorted into another folder or in another mode before."""
    if (done.folder, done.mode) != (folder, mode):
        raise OutputExistsError(
            f"{done.source} was sorted into {into / done.target} before (mode {done.mode}), and "
            f"would now go to {folder} (mode {mode}): undo that first with "
            f"`clusterkit undo {in_shell(into)}`, or sort into another folder"
        )


def _check_sources(todo: Sequence[Transfer]) -> None:
    """Check that the files exist and can be moved."""
    missing = [t.source for t in todo if not os.path.lexists(t.source)]
    if missing:
        raise NotFoundError(
            f"{len(missing):,} of the {len(todo):,} files to sort do not exist, such as "
            f"{missing[0]}"
        )
    only_names: dict[tuple[int, int], str] = {}
    for transfer in todo:
        source = Path(transfer.source)
        if not source.is_file():
            raise InvalidInputError(f"{source} is not a regular file")
        if transfer.mode != "move":
            continue
        if source.is_symlink():
            raise InvalidInputError(
                f"{source} is a link, and moving it could break it: use copy or link"
            )
        found = source.stat()
        if found.st_ino and found.st_nlink == 1:
            other = only_names.setdefault((found.st_dev, found.st_ino), transfer.source)
            if other != transfer.source:
                raise InvalidInputError(
                    f"{other} and {source} are two paths to one file: leave one of them out"
                )
    if todo and todo[0].mode == "move":
        for parent in {Path(transfer.source).parent for transfer in todo}:
            if not os.access(parent, os.W_OK | os.X_OK):
                raise InvalidInputError(f"no permission to move files out of {parent}")


def _check_targets(todo: Sequence[Transfer], into: Path) -> None:
    """Check that folders can be created and written and are no links, and the length of paths."""
    for folder in dict.fromkeys(transfer.folder for transfer in todo):
        place = into / folder
        if os.path.lexists(place) and not place.is_dir():
            raise InvalidInputError(f"cannot make the folder {place}: a file has its name")
        if not is_inside(place, into):
            raise InvalidInputError(f"{place} is a link that leads out of {into}: remove the link")
        nearest = next(path for path in (place, *place.parents) if os.path.lexists(path))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise InvalidInputError(f"cannot write in {nearest}: no permission")
    for transfer in todo:
        try:
            os.lstat(into / transfer.target)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise InvalidInputError(
                f"cannot transfer {transfer.source} to {into / transfer.target}: {error.strerror}"
            ) from error


def _levels(name: Any) -> tuple[str, ...]:
    """Return the names of nested folders, the outermost first."""
    return tuple(map(str, name)) if isinstance(name, tuple) else (str(name),)


def _nested_names(names: Iterable[Any], into: Path) -> dict[tuple[str, ...], str]:
    """Map the levels of each name to a folder that is valid and unique on every file system."""
    inner: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for first, *rest in dict.fromkeys(map(_levels, names)):
        inner[first].append(tuple(rest))
    folders: dict[tuple[str, ...], str] = {}
    for first, folder in folder_names(inner, into).items():
        below = _nested_names(filter(None, inner[first]), into / folder)
        folders |= {(first, *rest): f"{folder}/{place}" for rest, place in below.items()}
        folders[(first,)] = folder
    return folders


def folder_names(names: Iterable[str], into: Path) -> dict[str, str]:
    """Map each name to a folder name that is valid and unique in a folder on every file system."""
    folders: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in names:
        folder = UNSAFE.sub("_", name)[:_MAX_CHARACTERS].strip(" .")
        if not folder or DEVICE.fullmatch(folder):
            folder = f"_{folder}"
        other = owners.setdefault(alike(folder), name)
        if other != name:
            why = f"both become {folder!r}"
            if folder != folders[other]:
                why = f"become {folders[other]!r} and {folder!r}, one folder on Windows and macOS"
            raise InvalidInputError(
                f"two names must not share one folder. Received: {other!r} and {name!r}, which "
                f"{why}"
            )
        folders[name] = folder
    with suppress(OSError):
        for present in os.listdir(into):  # noqa: PTH208 (names are all it needs)
            owner = owners.get(alike(present))
            folder = present if owner is None else folders[owner]
            # If they are the same on this system, use the existing folder.
            if folder != present and not _is_one(into / folder, into / present):
                raise InvalidInputError(
                    f"the folder {folder} and {into / present}, which is there, are one "
                    "folder on Windows and macOS: rename one of them"
                )
    return folders
