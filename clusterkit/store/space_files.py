"""The files of a space: names and lists of its parts, its two folders, and its description.

Lists and descriptions are JSON documents that contain their own digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from clusterkit.errors import RemoteError, SpaceMismatchError, StoreError
from clusterkit.utils.files import atomic_file, flush
from clusterkit.utils.locations import absolute, as_path, is_address

T = TypeVar("T")
# Of a part: kind, number, writer, and the number at which it was rewritten.
_NAME = re.compile(r"(part|failures)-(\d{6,15})(?:\.([0-9a-z]+))?(?:-(\d{6,15}))?\.parquet")
# Folder of the store with everything about its spaces except the parts.
ABOUT = "about"
_INFO, LIST, LOCK = "space.json", "parts.json", ".lock"
FORMAT = 4
# Data types of vectors on disk; in memory they are float32.
FLOAT32, FLOAT16 = "float32", "float16"
# Keys that the latest writer sets: the origin of the network, and how it runs.
_ORIGIN = ("weights_source", "resize", "precision", "runtime")
# Larger than for any network; foreign descriptions may contain any number.
_MAX_DIMENSION = 2**24
# Key of the digest of a document in it.
_SEAL = "digest"


class UnopenedError(StoreError):
    """A file of a space cannot be opened, so that its content may be intact."""

    def __init__(self, file: Path, error: OSError) -> None:
        super().__init__(
            f"cannot open {file}: {error.strerror or error}. Its images are known again when it "
            "can be read"
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a space.

    Attributes
    ----------
    name : str
        ``part-NNNNNN.parquet`` for rows with vectors, ``failures-NNNNNN.parquet`` for failures; see
        :func:`part_name`.
    rows : int or None
        Number of rows; None if unknown, as in a store of format 1.
    checksum : str or None
        Checksum of its content, as in its metadata.
    """

    name: str
    rows: int | None = None
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class PartList:
    """The parts that one writer added to a space, or all parts of a space, oldest first.

    The list of a writer is replaced atomically, so that readers see a consistent state.  Names of
    parts are never reused: removed parts never come back, and the lists of all writers can be
    joined in any order.

    Attributes
    ----------
    parts : tuple of Part
        The added parts.
    next_number : int
        Number of the next part.  Numbers only increase.
    removed : frozenset of str
        Names of parts in the lists of other writers that are no longer valid.
    """

    parts: tuple[Part, ...] = ()
    next_number: int = 1
    removed: frozenset[str] = frozenset()

    @property
    def names(self) -> set[str]:
        """The names of the parts."""
        return {part.name for part in self.parts}

    def write(self, file: Path) -> None:
        """Write the list.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        parts = [[part.name, part.rows, part.checksum] for part in self.parts]
        document = {"next_number": self.next_number, "parts": parts}
        write_sealed(file, document | {"removed": sorted(self.removed)})

    @classmethod
    def read(cls, file: Path) -> PartList | None:
        """Read a list, or return None if there is none.

        Raises
        ------
        UnopenedError
            If it cannot be opened.
        StoreError
            If it is damaged.
        """
        try:
            document = read_sealed(file)
            parts = tuple(Part(*values) for values in document["parts"])
            # Lists before format 4 have no such key.
            removed = frozenset(document.get("removed", []))
            listed = cls(parts, document["next_number"], removed)
            if not _is_sound(listed):
                raise ValueError("it is not a list of parts")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnopenedError(file, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{file} is damaged ({error}): run `clusterkit embed` again with the same "
                "extractor; it is written again from the parts"
            ) from error
        return listed

    @classmethod
    def of_files(cls, names: Iterable[str]) -> PartList:
        """Make a list of files in order of their numbers."""
        names = sorted(filter(is_part, names), key=_order)
        return cls(tuple(map(Part, names)), number_of(names[-1]) + 1 if names else 1)

    @classmethod
    def joined(cls, lists: Iterable[PartList]) -> PartList:
        """Join the lists of all writers: what they added, without what any of them removed."""
        lists = list(lists)
        removed = frozenset[str]().union(*(listed.removed for listed in lists))
        parts = {part.name: part for listed in lists for part in listed.parts}
        return cls(
            tuple(parts[name] for name in sorted(parts.keys() - removed, key=_order)),
            max((listed.next_number for listed in lists), default=1),
            removed,
        )


def part_name(kind: str, number: int, writer: str = "", rewritten: int | None = None) -> str:
    """Return the name of a part.

    Parameters
    ----------
    kind : {"part", "failures"}
        Rows with vectors, or failures.
    number : int
        Its position among the parts: of several rows of a file, the one with the highest number is
        valid.
    writer : str
        The writer; empty for the ordinary run.
    rewritten : int, optional
        The next number at that time, if it replaces parts up to ``number``.
    """
    suffix = "" if rewritten is None else f"-{rewritten:06d}"
    return f"{kind}-{number:06d}{writer and '.'}{writer}{suffix}.parquet"


def is_part(name: str) -> bool:
    """Return whether a file name is that of a part."""
    return _NAME.fullmatch(name) is not None


def is_failures(name: str) -> bool:
    """Return whether the name of a part is that of a file of failures."""
    return name.startswith("failures-")


def number_of(name: str) -> int:
    """Return the number in a part's name."""
    match = _NAME.fullmatch(name)
    return int(match[2]) if match else 0


def writer_of(name: str) -> str:
    """Return the writer of a part; empty for the ordinary run."""
    match = _NAME.fullmatch(name)
    return (match[3] or "") if match else ""


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
        names = ("failures-*.parquet", "*.damaged", LIST, _INFO)
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
        own = {_INFO, LIST, LOCK}
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


class Description:
    """The description of a space: as stored in the file, and as given by a writer.

    Parameters
    ----------
    folders : Folders
        The files of the space.
    given : dict, optional
        What makes the vectors, if known.
    """

    def __init__(self, folders: Folders, given: dict[str, Any] | None = None) -> None:
        self.folders = folders
        self.given = given

    @property
    def file(self) -> Path:
        """The file, ``space.json``."""
        return self.folders.find(_INFO)

    @property
    def info(self) -> dict[str, Any]:
        """What made the space.

        Raises
        ------
        StoreError
            If the file is missing or damaged and no description is given, or if it has a newer
            format.
        """
        info = self.read()
        if info is None and self.given is not None:
            vectors = self._vectors_on_disk()
            info = self.given | ({"vectors": vectors[1]} if vectors else {})
        if info is None:
            raise StoreError(
                f"{self.file} is missing or damaged: `clusterkit embed` with the same "
                "extractor writes it again, and keeps the vectors"
            )
        return info

    @property
    def numbers(self) -> str:
        """Data type of the vectors on disk: "float32" or "float16"."""
        return numbers_of(self.info)

    @property
    def used_ns(self) -> int:
        """Time of the last embedding in nanoseconds; 0 if unknown."""
        try:
            return self.file.stat().st_mtime_ns
        except OSError:
            return 0

    @property
    def created(self) -> str:
        """Time of the first embedding, as text that sorts by age; unknown times are the last."""
        with suppress(StoreError):
            created = (self.read() or {}).get("created")
            if isinstance(created, str):
                return created
        return "unknown"

    def read(self) -> dict[str, Any] | None:
        """Return the description in the file, or None if it is missing or damaged.

        Raises
        ------
        StoreError
            If it is of a newer format, or cannot be opened.
        """
        info = self.folders.settled(_INFO, _read_description)
        if info is None:
            return None
        version = info.get("format")
        if not isinstance(version, int):
            return None
        if version > FORMAT:
            raise StoreError(
                f"{self.file} has format {version}, made by a newer clusterkit; this one "
                f"reads up to format {FORMAT}: pip install --upgrade clusterkit"
            )
        return info if self._is_valid(info) else None

    def check_numbers(self) -> None:
        """Check that the vectors have the data type of the given description, if it has one.

        Raises
        ------
        SpaceMismatchError
            If they are not.
        """
        asked = (self.given or {}).get("vectors")
        if asked not in (None, self.numbers):
            raise SpaceMismatchError(
                f"{self.folders.parts} holds only {self.numbers} vectors. "
                f"Received: {asked}. Choose another folder with --store"
            )

    def write(self, info: dict[str, Any]) -> None:
        """Write the file, and create the folders.

        Raises
        ------
        StoreError
            If they cannot be written.
        """
        try:
            self.folders.make()
            write_sealed(self.folders.about / _INFO, info | {"format": FORMAT})
        except OSError as error:
            raise self.folders.cannot_write(error) from error

    def complete(self, info: dict[str, Any]) -> None:
        """Write the file unless it exists with this content."""
        # Another run may just have created the space.
        self.check_numbers()
        recorded = self.read()
        latest = {name: value for name, value in (self.given or {}).items() if name in _ORIGIN}
        if recorded is None or recorded["format"] < FORMAT or recorded | latest != recorded:
            self.write(info | latest)

    def _is_valid(self, info: dict[str, Any]) -> bool:
        """Return whether a description is valid; for format 1, by comparison with the parts."""
        kinds = {"extractor": str, "fingerprint": str, "dimension": int}
        if not all(isinstance(info.get(name), kind) for name, kind in kinds.items()):
            return False
        if not 0 < info["dimension"] < _MAX_DIMENSION:
            return False
        if info["format"] > 1:
            return True
        vectors = self._vectors_on_disk()
        return vectors is None or vectors[0] == info["dimension"]

    def _vectors_on_disk(self) -> tuple[int, str] | None:
        """Return the length and data type of the vectors in the parts, if there are any."""
        return next(filter(None, map(_find_dimension, self.folders.part_files())), None)


def numbers_of(description: dict[str, Any]) -> str:
    """Return the data type of a space's vectors; descriptions before format 4 lack it."""
    return str(description.get("vectors", FLOAT32))


def write_sealed(file: Path, document: dict[str, Any]) -> None:
    """Write a document atomically, with its digest.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    text = json.dumps(document | {_SEAL: _digest(document)}, indent=2, ensure_ascii=False)
    with atomic_file(file) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_sealed(file: Path, *, required: bool = True) -> dict[str, Any]:
    """Read a document, without its digest.

    Parameters
    ----------
    file : pathlib.Path
        The document.
    required : bool
        Whether a missing digest is an error.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not such a document, or its digest does not match.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("it holds no JSON object")
    seal = document.pop(_SEAL, None)
    if seal != _digest(document) and (required or seal is not None):
        raise ValueError("its content does not have its digest")
    return document


def _order(name: str) -> tuple[int, str, int, bool]:
    """Return a key that sorts the names of parts by age."""
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[2]), match[3] or "", int(match[4] or 0), is_failures(name)


def _is_sound(listed: PartList) -> bool:
    """Return whether a list read from a file is valid, with names only in the space's folder."""
    parts: tuple[Any, ...] = listed.parts
    return (
        isinstance(listed.next_number, int)
        and 0 < listed.next_number < 10**15
        and all(isinstance(name, str) for name in listed.removed)
        and all(
            isinstance(part.name, str)
            and is_part(part.name)
            and isinstance(part.rows, int | None)
            and isinstance(part.checksum, str | None)
            for part in parts
        )
    )


def _read_description(file: Path) -> dict[str, Any] | None:
    """Return a description, or None if it is missing or damaged.

    Raises
    ------
    UnopenedError
        If it cannot be opened.
    """
    try:
        # Format 1 has no digest of itself.
        return read_sealed(file, required=False)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        # Otherwise the next run would write another in its place.
        raise UnopenedError(file, error) from error


def _find_dimension(file: Path) -> tuple[int, str] | None:
    """Return length and data type of a part's vectors; None if it has none or is unreadable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.open("rb") as stream:
            vector = pq.read_schema(stream).field("vector").type
        is_half = vector.value_type.equals(pa.float16())
        return int(vector.list_size), FLOAT16 if is_half else FLOAT32
    # A damaged footer raises many kinds of errors.
    except Exception:
        return None


def _digest(document: dict[str, Any]) -> str:
    """Return the SHA-256 of a document's content, independent of its formatting."""
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
