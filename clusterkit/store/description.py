"""The description of a space, ``space.json``: what made its vectors."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from clusterkit.errors import SpaceMismatchError, StoreError
from clusterkit.store.folders import INFO, Folders
from clusterkit.utils.documents import read_sealed, write_sealed

FORMAT = 4
# Keys that the latest writer sets: the origin of the network, and how it runs.
ORIGIN = ("weights_source", "resize", "precision", "runtime")
# Larger than for any network; foreign descriptions may contain any number.
_MAX_DIMENSION = 2**24


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
        return self.folders.find(INFO)

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
        from clusterkit.store.part_file import numbers_of

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
            If it is of a newer format.
        """
        info = self.folders.settled(INFO, _read)
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
            write_sealed(self.folders.about / INFO, info | {"format": FORMAT})
        except OSError as error:
            raise self.folders.cannot_write(error) from error

    def complete(self, info: dict[str, Any]) -> None:
        """Write the file unless it exists with this content."""
        # Another run may just have created the space.
        self.check_numbers()
        recorded = self.read()
        latest = {name: value for name, value in (self.given or {}).items() if name in ORIGIN}
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
        from clusterkit.store.part_file import find_dimension

        return next(filter(None, map(find_dimension, self.folders.part_files())), None)


def _read(file: Path) -> dict[str, Any] | None:
    """Return a description, or None if it is missing or damaged."""
    try:
        # Format 1 has no digest of itself.
        return read_sealed(file, required=False)
    except (OSError, ValueError):
        return None
