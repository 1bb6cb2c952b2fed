"""Say which file a name in a table means."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PureWindowsPath

from clusterkit.datasets.tables import spellings
from clusterkit.errors import InvalidInputError


def match_names(paths: Sequence[str], names: Sequence[str], source: str | Path) -> dict[str, str]:
    """Map each path to the name that means it.

    Parameters
    ----------
    paths : sequence of str
        The images, each once.
    names : sequence of str
        What a table calls them, each once.  A name means the path that is equal to it; else the
        one that is equal in Unicode's composed form (NFC); else the one that ends with it, or that
        it ends with (``fox/1.jpg``, ``photos/fox/1.jpg``); else the one with its file name, if no
        other path or name has that file name.  Names that mean none so are compared in the same
        order with the paths without their suffixes (``fox/1``, ``1``).
    source : path
        The table, for messages.

    Returns
    -------
    dict of str to str
        Without the paths that no name means.

    Raises
    ------
    InvalidInputError
        If a name means several paths, or a path has several names.
    """
    found: dict[str, str] = {}
    known = set(paths)
    for name in names:
        for spelling in spellings(name):
            if spelling in known and found.setdefault(spelling, name) == name:
                break
    meant = {path: _composed(path) for path in paths if path not in found}
    used = set(found.values())
    said = {name: _composed(spellings(name)[-1]) for name in names if name not in used}
    everything = [*map(_composed, paths)], [_composed(spellings(name)[-1]) for name in names]
    _match(meant, said, found, everything, source)
    # Once more, with the suffixes of the files left out.
    meant = {path: _stem(spelling) for path, spelling in meant.items() if path not in found}
    used = set(found.values())
    said = {name: spelling for name, spelling in said.items() if name not in used}
    _match(meant, said, found, (list(map(_stem, everything[0])), everything[1]), source)
    return found


def _match(
    meant: dict[str, str],
    said: dict[str, str],
    found: dict[str, str],
    everything: tuple[list[str], list[str]],
    source: str | Path,
) -> None:
    """Add the pairs of paths and names whose spellings are equal, end alike, or share a file."""
    by_spelling = defaultdict(list)
    for name, spelling in said.items():
        by_spelling[spelling].append(name)
    equal = [(path, name) for path in meant for name in by_spelling.get(meant[path], [])]
    found.update(_one_to_one(equal, source))
    used = set(found.values())
    meant = {path: spelling for path, spelling in meant.items() if path not in found}
    said = {name: spelling for name, spelling in said.items() if name not in used}
    found.update(_one_to_one(_by_end(meant, said), source))
    n_paths, n_names = (Counter(map(_file, spellings)) for spellings in everything)
    used = set(found.values())
    by_file = {_file(spelling): name for name, spelling in said.items() if name not in used}
    for path, spelling in meant.items():
        file = _file(spelling)
        if path not in found and file in by_file and n_paths[file] == n_names[file] == 1:
            found[path] = by_file[file]


def _by_end(meant: dict[str, str], said: dict[str, str]) -> list[tuple[str, str]]:
    """Pair the paths and names of which one ends with the other."""
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
    """Return pairs of a path and a name, of which each must have one partner."""
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


def first_few(items: Iterable[str], most: int = 3) -> str:
    """Return the first items in words, for messages: "a, b, c and 4 more"."""
    items = list(items)
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def _composed(path: str) -> str:
    """Return the one form of the letters that macOS and others write in two."""
    return unicodedata.normalize("NFC", path)


def _stem(path: str) -> str:
    """Return a path without the suffix of its file."""
    suffix = PureWindowsPath(path).suffix
    return path[: -len(suffix)] if suffix else path


def _file(path: str) -> str:
    """Return the file's name of a path of any system."""
    return PureWindowsPath(path).name


def _ends(path: str) -> Iterator[tuple[str, ...]]:
    """Yield the parts of a path, then of its ends, down to the file name."""
    # Windows' rules part at both kinds of slash, wherever the table was written.
    parts = PureWindowsPath(path).parts
    for start in range(len(parts)):
        yield parts[start:]
