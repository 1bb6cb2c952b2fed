"""Which parts of a space count, in which order: ``parts.json``."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterkit.errors import StoreError
from clusterkit.store.sealed import read_sealed, write_sealed

_NAME = re.compile(r"(part|failures)-(\d{6,15})\.parquet")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a space.

    Attributes
    ----------
    name : str
        ``part-NNNNNN.parquet`` where it holds vectors, ``failures-NNNNNN.parquet`` where not.
    rows : int or None
        How many rows it holds; None where no list says so, as in a store of format 1.
    checksum : str or None
        Of its content, as its own metadata has it.
    """

    name: str
    rows: int | None = None
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class PartList:
    """The parts of a space, oldest first, and the number of the next one.

    The list is replaced as a whole, so that whoever reads it sees one state of the space.  Numbers
    only grow: a part's name is never used again for other rows.
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
        """Read the list, or return None where there is none.

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
        """Make the list of files that none names, in order of their numbers."""
        names = sorted(filter(is_part, names), key=lambda name: (number_of(name), name))
        last = number_of(names[-1]) if names else 0
        return cls(tuple(map(Part, names)), last + 1)


def is_part(name: str) -> bool:
    """Tell whether a file's name is that of a part."""
    return _NAME.fullmatch(name) is not None


def number_of(name: str) -> int:
    """Return the number in a part's name."""
    match = _NAME.fullmatch(name)
    return int(match[2]) if match else 0


def _is_sound(listed: PartList) -> bool:
    """Tell whether values from a file make a list; a name never leads out of the space's folder."""
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
