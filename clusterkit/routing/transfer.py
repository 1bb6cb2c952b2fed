"""Transfer a file into a sorted folder and back, without overwriting."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from clusterkit.errors import ClusterkitWarning, InvalidInputError
from clusterkit.images.folder import digest_file
from clusterkit.utils.files import flush

MODES = ("copy", "link", "move")
# Suffix of partial copies.  A kill or power loss may leave one, which can be the only remaining
# copy of a file, so none is removed without a check.
PARTS = ".clusterkit*.part"


class Transfer(NamedTuple):
    """Transfer of one file into a sorted folder.

    Attributes
    ----------
    source : str
        Absolute path of the original file.
    target : str
        New path relative to the sorted folder, with forward slashes.
    mode : {"copy", "link", "move"}
        How the file is transferred.
    digest : str or None
        SHA-256 of its bytes, in hexadecimal; None for a link.
    seal : str or None
        Signature of a move planned by this user on this machine, see
        :mod:`clusterkit.routing.signatures`.
    """

    source: str
    target: str
    mode: str
    digest: str | None = None
    seal: str | None = None

    @property
    def folder(self) -> str:
        """The target's folder, relative to the sorted folder."""
        return str(PurePosixPath(self.target).parent)

    def is_brought_by(self, file: Path) -> bool:
        """Return whether a file is the result of this transfer."""
        if self.mode == "link":
            return file.is_symlink() and os.readlink(file) == self.source  # noqa: PTH115
        return self.digest is not None and holds(file, self.digest)

    def is_in_place(self, folder: Path) -> bool:
        """Return whether the result of this transfer is in the sorted folder."""
        return self.is_brought_by(folder / self.target)

    def is_source_taken(self) -> bool:
        """Return whether another file now exists at the original path of a moved one."""
        if self.mode != "move" or not os.path.lexists(self.source):
            return False
        return self.digest is None or not holds(Path(self.source), self.digest)

    def carry_out(self, folder: Path) -> None:
        """Transfer the file into the sorted folder.

        Raises
        ------
        OSError
            If there is a file at the target, or the disk cannot be written; nothing is lost.
        InvalidInputError
            If the file changed since its digest was taken.
        """
        source, target = Path(self.source), folder / self.target
        if self.is_in_place(folder):
            # A run was killed during a move, or its partial copy was recovered.
            is_in_both = os.path.lexists(source) and not is_same_entry(source, target)
            if self.mode == "move" and is_in_both:
                flush(target.parent)
                source.unlink()
        elif self.mode == "link":
            target.symlink_to(source)
        elif self.mode == "copy":
            _copy(source, target, self.digest)
        else:
            move(source, target, self.digest)


def holds(file: Path, digest: str) -> bool:
    """Return whether this is a regular file, not a link, with the given digest."""
    try:
        return stat.S_ISREG(file.lstat().st_mode) and digest_file(file) == digest
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_same_entry(one: Path, other: Path) -> bool:
    """Return whether two paths are the same directory entry, so that removing one removes both."""
    return find_entry(os.path.realpath(one)) == find_entry(os.path.realpath(other))


def find_entry(path: str, folders: dict[str, tuple[int, int] | str] | None = None) -> object:
    """Return a key that is equal for all paths to the same directory entry, existing or not.

    Parameters
    ----------
    path : str
        Absolute.
    folders : dict, optional
        Cache of folder identities.
    """
    parent, name = os.path.split(path)
    folders = {} if folders is None else folders
    if parent not in folders:
        # By device and inode, since a folder may be linked or mounted in two places.
        try:
            found = Path(parent).stat()
            folders[parent] = (found.st_dev, found.st_ino) if found.st_ino else parent
        except OSError:
            folders[parent] = parent
    return folders[parent], name


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is a folder or inside it, after following all links."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def make_folder(folder: Path) -> None:
    """Create a folder if it does not exist, flushed to disk.

    Raises
    ------
    InvalidInputError
        If it cannot be created.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in missing:
            flush(place.parent)
    except OSError as error:
        raise InvalidInputError(f"cannot make the folder {folder}: {error.strerror}") from error


def flush_folders(folders: Iterable[Path]) -> None:
    """Flush the entries of folders to disk."""
    for folder in folders:
        with suppress(FileNotFoundError, NotADirectoryError):
            flush(folder)


def move(source: Path, target: Path, digest: str | None) -> None:
    """Move a file; between disks, delete it only after its copy is flushed to disk.

    Within a disk, the caller must flush the two folders.

    Raises
    ------
    OSError
        If there is a file at the target, or the disk cannot be written; nothing is lost.
    InvalidInputError
        If the file does not match the digest.
    """
    try:
        rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target, digest)
        flush(target.parent)
        source.unlink()


def rename(source: Path, target: Path) -> None:
    """Rename a file; unlike ``os.rename``, never overwrite another."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.EXDEV):
            raise
        # No support for hard links.  On Windows, rename does not overwrite.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.rename(target)
        return
    try:
        source.unlink()
    except OSError:
        target.unlink()
        raise


def _copy(source: Path, target: Path, digest: str | None) -> None:
    """Copy a file with its times atomically, flush it, and verify the copy."""
    number, part = 1, target.with_name(".clusterkit.part")
    while os.path.lexists(part):
        number += 1
        part = target.with_name(f".clusterkit-{number}.part")
    try:
        shutil.copyfile(source, part)
        flush(part)
        shutil.copystat(source, part)
        if digest_file(part) != digest:
            raise InvalidInputError(f"{source} changed while it was being sorted")
        rename(part, target)
    finally:
        part.unlink(missing_ok=True)


def adopt_parts(folder: Path, wanted: Iterable[tuple[str | None, Path]]) -> None:
    """Rename complete partial copies in a folder to their final names.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of an interrupted copy.
    wanted : iterable of (str, pathlib.Path)
        Digests and final paths of files.
    """
    if parts := {digest_file(part): part for part in find_parts(folder)}:
        for digest, place in wanted:
            if digest in parts and not os.path.lexists(place):
                part = parts.pop(digest)
                flush(part)
                rename(part, place)


def sweep_parts(folder: Path, wholes: Iterable[str | Path]) -> None:
    """Remove partial copies in a folder that are the start of other files.

    An interrupted copy is not needed if its original exists.

    Warns
    -----
    ClusterkitWarning
        About each of the others, which are kept.
    """
    parts = find_parts(folder)
    for whole in wholes if parts else ():
        for part in [part for part in parts if _begins_with(Path(whole), part)]:
            part.unlink()
            parts.remove(part)
    for part in parts:
        warnings.warn(
            f"{part} is a copy that was cut short, of a file that is not known: it is kept; "
            "delete it if nothing is missing",
            ClusterkitWarning,
            stacklevel=4,
        )


def find_parts(folder: Path) -> list[Path]:
    """Return the partial copies in a folder."""
    return [part for part in folder.glob(PARTS) if stat.S_ISREG(part.lstat().st_mode)]


def _begins_with(whole: Path, part: Path) -> bool:
    """Return whether a file starts with the bytes of a partial copy."""
    if not whole.is_file() or is_same_entry(whole, part):
        return False
    if whole.stat().st_size < part.stat().st_size:
        return False
    with whole.open("rb") as one, part.open("rb") as other:
        while block := other.read(2**20):
            if one.read(len(block)) != block:
                return False
    return True
