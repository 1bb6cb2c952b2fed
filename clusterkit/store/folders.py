"""The two folders of a space: its parts, and everything about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from clusterkit.errors import RemoteError, StoreError
from clusterkit.store.part_list import is_failures, is_part
from clusterkit.utils.files import flush
from clusterkit.utils.locations import absolute, as_path, is_address

T = TypeVar("T")
# Folder of the store with everything about its spaces except the parts.
ABOUT = "about"
INFO, LIST, LOCK = "space.json", "parts.json", ".lock"


class Folders:
    """The files of a space.

    Before format 3 all were among the parts; they are found there until a writer moves them.

    Parameters
    ----------
    parts : pathlib.Path
        The folder of the parts with vectors.

    Attributes
    ----------
    about : pathlib.Path
        The folder of everything else: ``about/<space>/`` beside it.
    """

    def __init__(self, parts: Path) -> None:
        self.parts = parts
        self.about = parts.parent / ABOUT / parts.name

    @property
    def is_remote(self) -> bool:
        """Whether they are on object storage, where all stores have format 4 or later."""
        return is_address(self.parts)

    @property
    def place(self) -> Path:
        """The folder that contains the store; paths of images below it are relative to it."""
        return as_path(absolute(self.parts.parent.parent))

    def find(self, name: str) -> Path:
        """Return a file about the space, which is among the parts before format 3."""
        if self.is_remote:
            return self.about / name
        file, earlier = self.about / name, self.parts / name
        return earlier if earlier.exists() and not file.exists() else file

    def settled(self, name: str, read: Callable[[Path], T]) -> T:
        """Read a file about the space; read again if a writer moves it meanwhile."""
        while True:
            file = self.find(name)
            found = read(file)
            if file == self.find(name):
                return found

    def part_files(self) -> list[Path]:
        """Return all files with the name of a part, listed or not."""
        found = [*self.parts.glob("*.parquet"), *self.about.glob("*.parquet")]
        return sorted(file for file in found if is_part(file.name))

    def part_file(self, name: str) -> Path:
        """Return the file of a part."""
        return self.find(name) if is_failures(name) else self.parts / name

    def names_about(self) -> list[str]:
        """Return the names of the files about the space."""
        try:
            return sorted(file.name for file in self.about.iterdir())
        except FileNotFoundError:
            return []

    def temporaries(self) -> Iterator[Path]:
        """Yield temporary files, including those of killed runs."""
        if self.is_remote:
            return  # files appear there when they are whole
        for folder in (self.parts, self.about):
            yield from folder.glob(".*.tmp*")

    def make(self) -> None:
        """Create both."""
        for folder in (self.parts, self.about):
            folder.mkdir(parents=True, exist_ok=True)

    def tidy(self) -> None:
        """Move what earlier formats kept among the parts; readers find it in both places."""
        if self.is_remote:
            return
        names = ("failures-*.parquet", "*.damaged", LIST, INFO)
        files = [file for name in names for file in self.parts.glob(name)]
        for file in files:
            file.replace(self.about / file.name)
        (self.parts / LOCK).unlink(missing_ok=True)
        for folder in (self.about, self.parts) if files else ():
            flush(folder)

    def set_aside(self, file: Path) -> Path:
        """Rename a damaged part, and return the new file."""
        aside = self.about / f"{file.name}.damaged"
        file.replace(aside)
        return aside

    def delete_parts(self, names: Iterable[str]) -> None:
        """Delete parts; files that are still open elsewhere are left to the next run."""
        for name in names:
            with suppress(OSError):
                self.part_file(name).unlink()

    def remove_empty(self) -> None:
        """Remove the folders if there are no parts, such as after a failed run."""
        own = {INFO, LIST, LOCK}
        # Files that cannot be removed are harmless.
        with suppress(OSError, RemoteError):
            # On object storage, removing a non-empty folder would not fail.
            is_empty = not (self.is_remote and self.part_files())
            if is_empty and own.issuperset(self.names_about()):
                self.parts.rmdir()
                for name in sorted(own, reverse=True):
                    (self.about / name).unlink(missing_ok=True)
                for folder in (self.about, self.about.parent, self.parts.parent):
                    folder.rmdir()

    def cannot_write(self, error: OSError) -> StoreError:
        """Return an error with the reason and a remedy."""
        return StoreError(
            f"cannot write the store {self.parts.parent}: {error.strerror or error}. "
            "Choose another folder with --store"
        )
