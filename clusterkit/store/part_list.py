"""The list of valid parts of a space, ``parts.json``."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterkit.errors import StoreError
from clusterkit.utils.documents import read_sealed, write_sealed

_NAME = re.compile(r"(part|failures)-(\d{6,15})\.parquet")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a space.

    Attributes
    ----------
    name : str
        ``part-NNNNNN.parquet`` for rows with vectors, ``failures-NNNNNN.parquet`` for failures.
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
    """The parts of a space, oldest first, and the number of the next one.

    The list is replaced atomically, so that readers see a consistent state of the space.  Numbers
    only increase: the name of a part is never reused.
    """

    parts: tuple[Part, ...] = ()
    next_number: int = 1

    def write(self, file: Path) -> None:
        """Write the list.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        parts = [[part.name, part.rows, part.checksum] for part in self.parts]
        write_sealed(file, {"next_number": self.next_number, "parts": parts})

    @classmethod
    def read(cls, file: Path) -> "PartList | None":
        """Read the list, or return None if there is none.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        try:
            document = read_sealed(file)
            parts = tuple(Part(*values) for values in document["parts"])
            listed = cls(parts, document["next_number"])
            if not _is_sound(listed):
                raise ValueError("it is no list of parts")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{file} is damaged ({error}): run `clusterkit embed` again with the same "
                "extractor; it is written again from the parts"
            ) from error
        return listed

    @classmethod
    def of_files(cls, names: list[str]) -> "PartList":
        """Make a list of files in order of their numbers."""
        names = sorted(filter(is_part, names), key=lambda name: (number_of(name), name))
        last = number_of(names[-1]) if names else 0
        return cls(tuple(map(Part, names)), last + 1)


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


def _is_sound(listed: PartList) -> bool:
    """Return whether a list read from a file is valid, with names only in the space's folder."""
    parts: tuple[Any, ...] = listed.parts
    return (
        isinstance(listed.next_number, int)
        and 0 < listed.next_number < 10**15
        and all(
            isinstance(part.name, str)
            and is_part(part.name)
            and isinstance(part.rows, int | None)
            and isinstance(part.checksum, str | None)
            for part in parts
        )
    )
