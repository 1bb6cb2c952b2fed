"""Match the names of images in a table to their paths on disk."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PureWindowsPath

from clusterkit.datasets.tables import as_text, spellings, unprotect
from clusterkit.errors import InvalidInputError


def match_names(paths: Sequence[str], names: Sequence[str], source: str | Path) -> dict[str, str]:
    """Map each path to its name in a table.

    Parameters
    ----------
    paths : sequence of str
        Unique paths of the images.
    names : sequence of str
        Unique names in the table.  A name matches the path that is equal; otherwise the one that is
        equal in Unicode normal form C; otherwise the one where either ends with the other
        (``fox/1.jpg``, ``photos/fox/1.jpg``); otherwise the one with the same file name, if it is
        unique.  Names without a match are compared in the same order without the spaces around
        them, then with the paths without suffix (``fox/1``, ``1``).
    source : path
        The table, for messages.

    Returns
    -------
    dict of str to str
        Path to name; paths without a name are left out.

    Raises
    ------
    InvalidInputError
        If a name matches several paths, or a path several names.
    """
    found: dict[str, str] = {}
    known = set(paths)
    for name in names:
        for spelling in spellings(name):
            if spelling in known and found.setdefault(spelling, name) == name:
                break
    composed = {path: _composed(path) for path in paths}
    exact = {name: _composed(unprotect(as_text(name))) for name in names}
    stripped = {name: spelling.strip() for name, spelling in exact.items()}
    for shorten in (str, _stem):  # with file suffixes, then without
        meant = {path: shorten(spelling) for path, spelling in composed.items()}
        # Spaces around a name are mostly not part of it, but some files have them.
        for spelled in (exact, stripped):
            _match(meant, spelled, found, source)
    return found


def say_case(paths: Iterable[str], names: Iterable[str]) -> str:
    """Return a question to append to a message if a name differs from a path only in case."""
    known: dict[str, str] = {}
    for path in paths:
        for end in (path, _file(path)):
            known.setdefault(end.casefold(), end)
    for name in names:
        for end in (name, _file(name)):
            meant = known.get(end.casefold(), end)
            if meant != end:
                return f". Upper and lower case matter: did you mean {meant} instead of {end}?"
    return ""


def _match(
    paths: dict[str, str],
    names: dict[str, str],
    found: dict[str, str],
    source: str | Path,
) -> None:
    """Add pairs that are equal, end in each other, or have the same file name.

    Paths and names map to their spellings; those that have been found are left out.
    """
    used = set(found.values())
    meant = {path: spelling for path, spelling in paths.items() if path not in found}
    said = {name: spelling for name, spelling in names.items() if name not in used}
    if not meant or not said:
        return
    by_spelling = defaultdict(list)
    for name, spelling in said.items():
        by_spelling[spelling].append(name)
    equal = [(path, name) for path in meant for name in by_spelling.get(meant[path], [])]
    found.update(_one_to_one(equal, source))
    used = set(found.values())
    meant = {path: spelling for path, spelling in meant.items() if path not in found}
    said = {name: spelling for name, spelling in said.items() if name not in used}
    found.update(_one_to_one(_by_end(meant, said), source))
    n_paths, n_names = (Counter(map(_file, every.values())) for every in (paths, names))
    used = set(found.values())
    by_file = {_file(spelling): name for name, spelling in said.items() if name not in used}
    for path, spelling in meant.items():
        file = _file(spelling)
        if path not in found and file in by_file and n_paths[file] == n_names[file] == 1:
            found[path] = by_file[file]


def _by_end(meant: dict[str, str], said: dict[str, str]) -> list[tuple[str, str]]:
    """Return pairs where one ends with the other."""
    whole: dict[tuple[str, ...], list[str]] = defaultdict(list)
    ends: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, spelling in said.items():
        for depth, end in enumerate(_ends(spelling)):
            (ends if depth else whole)[end].append(name)
    pairs = []
    for path, spelling in meant.items() if said else ():
        path_ends = list(_ends(spelling))
        fitting = ends[path_ends[0]] + [name for end in path_ends for name in whole[end]]
        pairs += [(path, name) for name in fitting]
    return pairs


def _one_to_one(pairs: Sequence[tuple[str, str]], source: str | Path) -> dict[str, str]:
    """Return a mapping of paths to names, which must be unique on both sides."""
    for side, what in ((0, "lines"), (1, "images")):
        partners = defaultdict(list)
        for pair in pairs:
            partners[pair[side]].append(pair[1 - side])
        for item, others in partners.items():
            if len(others) > 1:
                raise InvalidInputError(
                    f"{source}: {item} fits {len(others)} {what}, such as {others[0]} and "
                    f"{others[1]}. Write each path with its folders, so that it fits one"
                )
    return dict(pairs)


def _composed(path: str) -> str:
    """Return a path in Unicode normal form C; macOS uses decomposed characters."""
    return unicodedata.normalize("NFC", path)


def _stem(path: str) -> str:
    """Return a path without its suffix."""
    suffix = PureWindowsPath(path).suffix
    return path[: -len(suffix)] if suffix else path


def _file(path: str) -> str:
    """Return the file name of a path of any operating system."""
    return PureWindowsPath(path).name


def _ends(path: str) -> Iterator[tuple[str, ...]]:
    """Yield the parts of a path and of its trailing sub-paths, down to the file name."""
    # Windows paths split at both kinds of slash.
    parts = PureWindowsPath(path).parts
    for start in range(len(parts)):
        yield parts[start:]
