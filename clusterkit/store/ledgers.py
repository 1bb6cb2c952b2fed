"""The ledgers of a space: a list of parts for each writer, and the locks of the writers.

The ordinary run writes ``parts.json`` and holds ``.lock``; every further writer, such as a shard,
writes ``parts.<writer>.json`` and holds ``.lock.<writer>``.  Each list has one owner, so that
concurrent writers need not wait.  When a further writer has ended, or was killed, the next ordinary
run takes over its list.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clusterkit.errors import ClusterkitWarning, InvalidInputError, StoreError
from clusterkit.store.markers import Marker
from clusterkit.store.space_files import (
    LIST,
    LOCK,
    Description,
    Folders,
    Part,
    PartList,
    UnopenedError,
    number_of,
    numbers_of,
    writer_of,
)

# The writer of the ordinary run.
ORDINARY = ""
# Seconds that a further writer waits while others set up the space, or take over its list.
PATIENCE = 10.0
# Seconds that an ordinary run waits while a further writer sets up the space, or ends.
MOMENT = 1.0
_WRITER = "[0-9a-z]+"
_LIST = re.compile(rf"parts\.({_WRITER})\.json")
_LOCK = re.compile(rf"\.lock\.({_WRITER})")
# Of a temporary file: the name of the final one comes first, see utils.files.
_TEMPORARY = re.compile(rf"\.(?:parts|(?:part|failures)-\d+)\.({_WRITER})\.\d+-\d+\.tmp.*")


class Ledgers:
    """The lists of parts of a space, one for each writer.

    Parameters
    ----------
    folders : Folders
        Where the lists, the locks and the parts are.
    description : Description
        What made the space.

    Attributes
    ----------
    writer : str
        Writer whose list is written; empty for the ordinary run.
    marker : Marker or None
        On object storage, the marker that replaces a lock while this process writes.
    """

    def __init__(self, folders: Folders, description: Description) -> None:
        self.folders = folders
        self.description = description
        self.writer = ORDINARY
        self.marker: Marker | None = None
        # The locks of this process, each with the identity of its file.
        self._held: dict[str, tuple[int, int]] = {}

    # Lists

    def list_file(self, writer: str = ORDINARY) -> Path:
        """Return the list of a writer, by default ``parts.json`` of the ordinary run."""
        if writer == ORDINARY:
            return self.folders.find(LIST)
        return self.folders.about / f"parts.{writer}.json"

    def list_files(self) -> list[Path]:
        """Return the lists of all writers."""
        return [*map(self.list_file, (ORDINARY, *self.others()))]

    def others(self) -> list[str]:
        """Return the writers with a list, without the ordinary run."""
        return self._writers(_LIST)

    def has_parts(self) -> bool:
        """Return whether the lists have any part, even if their files are gone."""
        try:
            return bool(self.joined().parts)
        except StoreError:
            return False

    def joined(self) -> PartList:
        """Return the parts of all writers.

        Raises
        ------
        StoreError
            If a list is damaged or missing.
        """
        while True:
            before = self._version()
            ordinary, others = self._read_ordinary(), self._read_others()
            # Others only add.  What becomes of their lists is written to that of the ordinary run
            # first.
            if others is not None and before == self._version():
                return PartList.joined([ordinary, *others])

    def own(self) -> PartList:
        """Return the list of this writer.

        Raises
        ------
        StoreError
            If it is damaged or missing.
        """
        if self.writer == ORDINARY:
            return self._read_ordinary()
        return PartList.read(self.list_file(self.writer)) or PartList()

    def damages(self) -> list[tuple[Path, str]]:
        """Return the lists that are damaged, with the reason."""
        found = []
        for file in self.list_files():
            try:
                PartList.read(file)
            except StoreError as error:
                found.append((file, str(error)))
        return found

    def write(self, listed: PartList) -> None:
        """Replace the list of this writer.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        if self.marker is not None and self.writer == ORDINARY:
            self.marker.check()
        name = self.list_file(self.writer).name
        listed.write(self.folders.about / name)

    def add(self, parts: list[Part]) -> None:
        """Add parts with a number above all others.

        Raises
        ------
        OSError
            If the list cannot be written.
        """
        own = self.own()
        number = max((number_of(part.name) + 1 for part in parts), default=1)
        number = max(number, own.next_number)
        self.write(PartList((*own.parts, *parts), number, own.removed))

    def replace(self, replaced: Iterable[Part], new: Iterable[Part], next_number: int) -> None:
        """Replace some parts in the list of the ordinary run.

        Raises
        ------
        OSError
            If the list cannot be written.
        """
        own, names = self.own(), {part.name for part in replaced}
        stay = tuple(part for part in own.parts if part.name not in names)
        # Parts that are also in the list of another writer must not come back.
        removed = own.removed | (names & self._names_of_others())
        self.write(PartList((*stay, *new), next_number, removed))
        self.folders.delete_parts(names)

    def create(self) -> None:
        """Write a list of all parts for the ordinary run, if it has none."""
        if not self.list_file().exists():
            others = self.others()
            names = (file.name for file in self.folders.part_files())
            self.write(PartList.of_files(name for name in names if writer_of(name) not in others))

    def _version(self) -> Any:
        """Return an identity of the list of the ordinary run, which differs after each change."""
        file = self.list_file()
        if self.folders.is_remote:
            # Times have a resolution of one second there.
            with suppress(FileNotFoundError):
                return file.read_bytes()
            return None
        with suppress(OSError):
            status = file.stat()
            return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return None

    def _read_ordinary(self) -> PartList:
        """Return the list of the ordinary run; for format 1, without a list, all part files."""
        listed = self.folders.settled(LIST, PartList.read)
        if listed is not None:
            return listed
        files = self.folders.part_files()
        if self.folders.is_remote:
            # Without a lock, only a run that is alone writes the list.
            files = [file for file in files if writer_of(file.name) == ORDINARY]
        if files and self.description.info.get("format", 2) > 1:
            # A writer may just have created it.
            listed = self.folders.settled(LIST, PartList.read)
            if listed is not None:
                return listed
            raise StoreError(
                f"{self.list_file()} is missing: run `clusterkit embed` again with the "
                "same extractor; it is written again from the parts"
            )
        return PartList.of_files([file.name for file in files])

    def _read_others(self) -> list[PartList] | None:
        """Return the lists of all writers but the ordinary run; None if one disappeared."""
        lists = []
        for writer in self.others():
            listed = PartList.read(self.list_file(writer))
            if listed is None:
                return None
            lists.append(listed)
        return lists

    def _names_of_others(self) -> set[str]:
        """Return the names of the parts that are in the lists of other writers."""
        return {name for listed in self._read_others() or () for name in listed.names}

    def _writers(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the writers in the names of the files that match a pattern."""
        matches = map(pattern.fullmatch, self.folders.names_about())
        return [match[1] for match in matches if match]

    # Locks

    @contextmanager
    def holding(self, writer: str, timeout: float = 0) -> Iterator[None]:
        """Lock the name of a writer; the lock of a further writer disappears with it.

        Raises
        ------
        filelock.Timeout
            If another process holds it for longer than ``timeout`` seconds.
        OSError
            If it cannot be written.
        """
        from filelock import FileLock, Timeout

        file = self._lock_file(writer)
        if self.folders.is_remote:
            if self._is_live(writer):
                raise Timeout(str(file))
            yield
            return
        with FileLock(file, timeout=timeout):
            self._held[writer] = _identity(file)
            try:
                yield
            finally:
                del self._held[writer]
                if writer != ORDINARY:
                    # Windows keeps a file that is open.
                    with suppress(OSError):
                        file.unlink()

    def holds(self, writer: str) -> bool:
        """Return whether this process holds the lock of a writer.

        Raises
        ------
        StoreError
            If it does, but the file was deleted, so that others would not see the lock.
        """
        try:
            if self.marker is not None:
                self.marker.check()
            elif writer in self._held and self._held[writer] != _identity(self._lock_file(writer)):
                raise FileNotFoundError
        except FileNotFoundError:
            raise StoreError(
                f"{self.folders.parts} was deleted while this run was writing to it: run again"
            ) from None
        return self.marker is not None or writer in self._held

    @contextmanager
    def marked(self) -> Iterator[Marker]:
        """Tell other runs that this one writes to the space on object storage.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with Marker(self.folders.about) as marker:
            self.marker = marker
            try:
                yield marker
            finally:
                self.marker = None

    def live(self) -> list[str]:
        """Return the writers that are running, without the ordinary run."""
        return list(filter(self._is_live, self._writers(_LOCK)))

    def delete_leftovers(self) -> None:
        """Delete temporary files, without those of further writers that are running."""
        for file in self.folders.temporaries():
            match = _TEMPORARY.fullmatch(file.name)
            if match is None or not self._is_live(match[1]):
                file.unlink(missing_ok=True)

    def _lock_file(self, writer: str) -> Path:
        """Return the file that a writer locks."""
        return self.folders.about / (LOCK if writer == ORDINARY else f"{LOCK}.{writer}")

    def _is_live(self, writer: str) -> bool:
        """Return whether a writer is running."""
        from filelock import FileLock, Timeout

        if self.folders.is_remote:
            return self.marker is None or self.marker.is_live(writer)
        file = self._lock_file(writer)
        if not file.exists():
            return False
        try:
            with FileLock(file, timeout=0):
                return False
        except Timeout:
            return True

    # After killed writers

    def absorb(self) -> None:
        """Take over the lists of further writers that have ended or were killed."""
        from filelock import Timeout

        for writer in self.others():
            with suppress(Timeout), self.holding(writer):
                own, file = self._read_ordinary(), self.list_file(writer)
                theirs = _read_or_begin(file) or PartList()
                strays = self._strays(writer, theirs, own.names | theirs.names)
                new = PartList(tuple(self._check(strays.parts)), strays.next_number)
                joined = PartList.joined([own, theirs, new])
                self.write(PartList(joined.parts, joined.next_number, own.removed))
                file.unlink(missing_ok=True)

    def mend(self, *, check: bool = True) -> None:
        """Repair the list of the ordinary run and its parts after a killed run or damage.

        Without ``check`` the parts in the list are not read.
        """
        # Before the lists, since a further writer creates its list before its first part.
        files = [file.name for file in self.folders.part_files()]
        own = _read_or_begin(self.list_file()) or PartList()
        names, others = own.names, self.others()
        strays = [name for name in files if name not in names and writer_of(name) not in others]
        new = PartList.of_files(name for name in strays if number_of(name) >= own.next_number)
        for name in set(strays) - new.names:
            # Replaced by a run that was killed before it deleted the file.
            self.folders.part_file(name).unlink()
        sound = self._check([*own.parts, *new.parts] if check else new.parts)
        sound = sound if check else [*own.parts, *sound]
        removed = own.removed & self._names_of_others()
        mended = PartList(tuple(sound), max(own.next_number, new.next_number), removed)
        if mended != own:
            self.write(mended)

    @contextmanager
    def adding(self, writer: str) -> Iterator[None]:
        """Write the list of a further writer, whose lock is held, instead of the ordinary one.

        Raises
        ------
        OSError
            If the list cannot be written.
        """
        self.writer = writer
        try:
            self._mend_other()
            yield
        finally:
            self.writer = ORDINARY
            file = self.list_file(writer)
            listed = PartList.read(file)
            if listed is not None and not listed.parts:
                file.unlink()

    def _mend_other(self) -> None:
        """Repair the list of a further writer, or begin one before its first part."""
        file = self.list_file(self.writer)
        own = _read_or_begin(file)
        if own == PartList():
            self.write(own)
        listed = self.joined()
        known = own or PartList((), listed.next_number)
        strays = self._strays(self.writer, known, listed.names)
        sound = self._check([*known.parts, *strays.parts])
        number = max(known.next_number, strays.next_number)
        self.write(PartList(tuple(sound), number, known.removed))

    def _strays(self, writer: str, own: PartList, names: set[str]) -> PartList:
        """Return the parts that a writer had not listed when it was killed."""
        found = (file.name for file in self.folders.part_files() if file.name not in names)
        return PartList.of_files(
            name
            for name in found
            if writer_of(name) == writer and number_of(name) >= own.next_number
        )

    def _check(self, parts: Iterable[Part]) -> list[Part]:
        """Return the descriptions of intact parts; damaged ones are set aside with a warning.

        Raises
        ------
        UnopenedError
            If one cannot be opened, and may be intact.
        """
        from clusterkit.store.part_file import find_damage

        info, sound = self.description.info, []
        names = {file.name for file in self.folders.part_files()} if self.folders.is_remote else ()
        for part in parts:
            file = self.folders.part_file(part.name)
            if part.checksum and part.name in names:
                # Object storage checks its content itself, and reading everything again would cost.
                sound.append(part)
                continue
            damage, found = find_damage(
                file, info["dimension"], info["fingerprint"], part, numbers_of(info)
            )
            if found is not None:
                sound.append(found)
                continue
            aside = ""
            if damage != "missing":
                aside = f" It is set aside as {self.folders.set_aside(file)}."
            warnings.warn(
                f"{file} is {damage}.{aside} Its images are embedded again",
                ClusterkitWarning,
                stacklevel=5,
            )
        return sound


def _identity(file: Path) -> tuple[int, int]:
    """Return the identity of a file, which differs from that of a later file of its name."""
    status = file.stat()
    return status.st_dev, status.st_ino


def check_writer(writer: str) -> str:
    """Check the name of a further writer, and return it.

    Raises
    ------
    InvalidInputError
        If it has other characters than digits and small letters.
    """
    if not re.fullmatch(_WRITER, writer):
        raise InvalidInputError(
            f"a writer's name must be of digits and letters from a to z. Received: {writer!r}"
        )
    return writer


def _read_or_begin(file: Path) -> PartList | None:
    """Read a list; a damaged one is started again, with a warning."""
    try:
        return PartList.read(file)
    except UnopenedError:
        raise
    except StoreError as error:
        warnings.warn(str(error), ClusterkitWarning, stacklevel=5)
        return PartList()
