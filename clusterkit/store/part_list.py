"""Lists of the parts of a space, and the names of parts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterkit.errors import StoreError
from clusterkit.utils.documents import read_sealed, write_sealed

# Kind, number, writer, and the number at which it was rewritten.
_NAME = re.compile(r"(part|failures)-(\d{6,15})(?:\.([0-9a-z]+))?(?:-(\d{6,15}))?\.parquet")


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
    def read(cls, file: Path) -> "PartList | None":
        """Read a list, or return None if there is none.

        Raises
        ------
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
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{file} is damaged ({error}): run `clusterkit embed` again with the same "
                "extractor; it is written again from the parts"
            ) from error
        return listed

    @classmethod
    def of_files(cls, names: Iterable[str]) -> "PartList":
        """Make a list of files in order of their numbers."""
        names = sorted(filter(is_part, names), key=_order)
        return cls(tuple(map(Part, names)), number_of(names[-1]) + 1 if names else 1)

    @classmethod
    def joined(cls, lists: Iterable["PartList"]) -> "PartList":
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
