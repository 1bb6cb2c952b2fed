"""Find files that were renamed or moved since a table was written, by their content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from clusterkit.store.store import Store, as_store
from clusterkit.utils.locations import find_gone, relative


def files_in(store: Store | str | Path) -> tuple[set[str], dict[str | None, Path]]:
    """Return the files in a store, and one that exists for each content."""
    files: set[str] = set()
    file_of: dict[str | None, Path] = {}
    for space in as_store(store).spaces():
        stream = space.stream()
        names = [str(file) for file in stream.files]
        gone = find_gone(names)
        files.update(names)
        for file, name, digest in zip(stream.files, names, stream.digests or (), strict=True):
            if digest and name not in gone:
                file_of.setdefault(digest, file)
    return files, file_of


def find_moved(
    files: Iterable[Path], digests: Iterable[str | None], file_of: dict[str | None, Path]
) -> dict[Path, Path]:
    """Return the present place of each file that is gone, where it is known by its digest.

    Parameters
    ----------
    files : iterable of pathlib.Path
        Absolute paths.
    digests : iterable of (str or None)
        SHA-256 digest of each.
    file_of : dict
        A file that exists for each digest, as from :func:`files_in`.
    """
    found = {
        str(file): (file, file_of[digest])
        for file, digest in zip(files, digests, strict=True)
        if digest in file_of
    }
    return dict(found[name] for name in find_gone(found))


def present_paths(
    paths: Sequence[str],
    digests: Sequence[str | None],
    *,
    root: Path,
    store: Store | str | Path,
) -> list[str]:
    """Return paths relative to a root, those of moved files with their present ones.

    Parameters
    ----------
    paths, digests : sequence of length n
        The images, and their SHA-256 digests.
    root : pathlib.Path
        Absolute folder that the paths are relative to.
    store : Store or path
        The store that knows where the files are.
    """
    files = [root / path for path in paths]
    if not find_gone(map(str, files)):
        return [*paths]
    moved = find_moved(files, digests, files_in(store)[1])
    return [
        relative(moved[file], root) if file in moved else path
        for file, path in zip(files, paths, strict=True)
    ]
