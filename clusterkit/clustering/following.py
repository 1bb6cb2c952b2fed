"""Find files that were renamed or moved since a table was written, by their content."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from clusterkit.store.store import Store, as_store
from clusterkit.utils.paths import is_gone


def files_in(store: Store | str | Path) -> tuple[set[str], dict[str | None, Path]]:
    """Return the files in a store, and one that exists for each content."""
    files: set[str] = set()
    file_of: dict[str | None, Path] = {}
    for space in as_store(store).spaces():
        stream = space.stream()
        for file, digest in zip(stream.files, stream.digests or (), strict=True):
            files.add(str(file))
            if digest and digest not in file_of and not is_gone(file):
                file_of[digest] = file
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
    return {
        file: file_of[digest]
        for file, digest in zip(files, digests, strict=True)
        if digest in file_of and is_gone(file)
    }


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
    if not any(map(is_gone, files)):
        return [*paths]
    moved = find_moved(files, digests, files_in(store)[1])
    return [
        os.path.relpath(moved[file], root).replace(os.sep, "/") if file in moved else path
        for file, path in zip(files, paths, strict=True)
    ]
