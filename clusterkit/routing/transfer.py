"""One file on its way into a sorted folder, and back; never over another file."""

import errno
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from clusterkit.errors import InvalidInputError
from clusterkit.images import digest_file

# A copy in the making, one in each folder at most; what a killed run leaves is swept by the next.
PART_NAME = ".clusterkit.part"


class Transfer(NamedTuple):
    """One file that is brought into a sorted folder.

    Attributes
    ----------
    source : str
        Absolute path of the file before.
    target : str
        Its path in the sorted folder, relative to it, with forward slashes.
    mode : {"copy", "link", "move"}
        How it gets there.
    digest : str or None
        SHA-256 of its bytes, in hexadecimal; None for a link.
    """

    source: str
    target: str
    mode: str
    digest: str | None = None

    @property
    def folder(self) -> str:
        """The target's folder, relative to the sorted folder."""
        return str(PurePosixPath(self.target).parent)

    def is_in_place(self, folder: Path) -> bool:
        """Return whether the sorted folder holds just what this transfer brings."""
        target = folder / self.target
        if self.mode == "link":
            return target.is_symlink() and os.readlink(target) == self.source  # noqa: PTH115
        return target.is_file() and not target.is_symlink() and digest_file(target) == self.digest

    def is_source_taken(self) -> bool:
        """Return whether another file is now where a moved one came from."""
        if self.mode != "move" or not os.path.lexists(self.source):
            return False
        return not Path(self.source).is_file() or digest_file(self.source) != self.digest

    def carry_out(self, folder: Path) -> None:
        """Bring the file into the sorted folder.

        Raises
        ------
        OSError
            If a file is at the target, or the disk refuses; nothing is lost.
        InvalidInputError
            If the file changed since its digest was taken.
        """
        source, target = Path(self.source), folder / self.target
        if self.mode == "link":
            target.symlink_to(source)
        elif self.mode == "copy":
            _copy(source, target, self.digest)
        elif self.is_in_place(folder):
            # A run was killed between the two halves of this move.
            source.unlink()
        else:
            _move(source, target, self.digest)

    def obstacle(self, folder: Path) -> str | None:
        """Return why the file must stay in the sorted folder, or None where it can go back."""
        if not self.is_in_place(folder):
            return "it was changed after it was sorted"
        if self.mode == "copy" and not Path(self.source).is_file():
            return f"its original is gone: {self.source}"
        if self.is_source_taken():
            return f"another file is in its old place: {self.source}"
        return None

    def take_back(self, folder: Path) -> None:
        """Undo the transfer, where there is no :meth:`obstacle`.

        Raises
        ------
        OSError
            If the disk refuses; nothing is lost.
        """
        source, target = Path(self.source), folder / self.target
        # A file that a killed move left in both places is only removed from the second.
        if self.mode != "move" or os.path.lexists(source):
            target.unlink()
            return
        source.parent.mkdir(parents=True, exist_ok=True)
        _move(target, source, self.digest)


def _move(source: Path, target: Path, digest: str | None) -> None:
    """Move a file, between disks too."""
    try:
        _rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target, digest, sync=True)
        source.unlink()


def _copy(source: Path, target: Path, digest: str | None, *, sync: bool = False) -> None:
    """Copy a file with its times, whole or not at all, and read the copy back."""
    part = target.with_name(PART_NAME)
    part.unlink(missing_ok=True)
    try:
        shutil.copyfile(source, part)
        if sync:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        shutil.copystat(source, part)
        if digest_file(part) != digest:
            raise InvalidInputError(f"{source} changed while it was being sorted")
        _rename(part, target)
    finally:
        part.unlink(missing_ok=True)


def _rename(source: Path, target: Path) -> None:
    """Rename a file, but unlike ``os.rename`` never over another."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.EXDEV):
            raise
        # This disk knows no hard links.  Windows' rename refuses by itself to overwrite.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.rename(target)
        return
    try:
        source.unlink()
    except OSError:
        target.unlink()
        raise
