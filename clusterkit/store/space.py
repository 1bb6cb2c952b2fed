"""One embedding space on disk: a description, and Parquet parts with one row per image."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clusterkit.errors import StoreError
from clusterkit.images.folder import FileStatus, ImageFolder, digest_weights
from clusterkit.store import writing
from clusterkit.store.embeddings import Embeddings, TopClasses
from clusterkit.store.ledgers import Ledgers
from clusterkit.store.snapshot import KnownRow, Snapshot, file_of, read_consistently
from clusterkit.store.space_files import Description, Folders, PartList, is_failures
from clusterkit.store.stream import VectorStream
from clusterkit.utils.locations import absolute, as_path, common_folder, is_within, relative
from clusterkit.utils.text import escape_path

# pyarrow is imported on use, to keep the import of this module fast.
if TYPE_CHECKING:
    from clusterkit.store.part_file import Row

T = TypeVar("T")


class Space:
    """The rows of one extractor: a folder of Parquet parts, and a folder of data about them.

    The folder of the space holds parts with vectors and nothing else, so that other programs can
    read it as one table.  ``about/<space>/`` beside it holds ``space.json``, ``parts.json``, the
    failures and the lock.  Before format 3 all were in one folder, which is still read; the next
    writer moves them.

    Parts are never changed, and their names never reused.  ``parts.json`` lists the valid parts; it
    is replaced atomically, so that concurrent readers see a consistent state.  Concurrent writers
    have separate lists, see :mod:`clusterkit.store.ledgers`; the parts of all are the space.  If
    several parts have a row of the same file, the latest is valid.

    Parameters
    ----------
    folder : path
        The space's folder, which need not exist.
    description : dict, optional
        What makes the vectors, if known.  Written with the first part, and if ``space.json`` is
        damaged.
    """

    def __init__(self, folder: Path, description: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.folders = Folders(folder)
        self.description = Description(self.folders, description)
        self.ledgers = Ledgers(self.folders, self.description)

    def __repr__(self) -> str:
        return f"Space({self.folder.name!r})"

    # What there is

    @property
    def info_file(self) -> Path:
        """The description, ``space.json``."""
        return self.description.file

    @property
    def info(self) -> dict[str, Any]:
        """What made the space.

        Raises
        ------
        StoreError
            If the description is missing, damaged, or of a newer format.
        """
        return self.description.info

    @property
    def numbers(self) -> str:
        """Data type of the vectors on disk, "float32" or "float16"; they are read as float32."""
        return self.description.numbers

    def read_info(self) -> dict[str, Any] | None:
        """Return the description of the space, or None if it is missing or damaged.

        Raises
        ------
        StoreError
            If it is of a newer format.
        """
        return self.description.read()

    @property
    def used_ns(self) -> int:
        """Time of the last embedding in nanoseconds; 0 if unknown."""
        return self.description.used_ns

    @property
    def parts(self) -> list[Path]:
        """The valid parts, oldest first."""
        return [self.folders.part_file(part.name) for part in self.ledgers.joined().parts]

    @property
    def vector_bytes(self) -> int:
        """About how many bytes its vectors take in memory, without reading them."""
        parts = [part for part in self.ledgers.joined().parts if not is_failures(part.name)]
        rows = [part.rows for part in parts]
        if None in rows:  # of the first format
            return sum(self.folders.part_file(part.name).stat().st_size for part in parts)
        return sum(filter(None, rows)) * int(self.info["dimension"]) * 4

    @property
    def state(self) -> str:
        """Identity of the rows, which changes whenever they do.

        Raises
        ------
        StoreError
            If the list of parts is damaged or missing.
        """
        parts = [[part.name, part.rows, part.checksum] for part in self.ledgers.joined().parts]
        made = [absolute(self.folder), self.info["fingerprint"]]
        return hashlib.sha256(json.dumps([*made, parts]).encode()).hexdigest()

    def answers_to(self, extractor: str) -> bool:
        """Return whether the name of an extractor, space or model file refers to this space."""
        if extractor.endswith(".keras"):
            try:
                # The file may be gone: then its path is known.
                is_file = Path(extractor).is_file()
                known = digest_weights(extractor) if is_file else _as_json(extractor)
                return known.encode() in self.info_file.read_bytes()
            except (OSError, UnicodeEncodeError):
                return False
        # Do not read the JSON, so that a damaged space does not affect the others.
        return extractor in (self.folder.name, self.folder.name.rpartition("-")[0])

    # Reading

    def read(self, images: ImageFolder | None = None) -> Embeddings:
        """Load the space.

        Parameters
        ----------
        images : ImageFolder, optional
            Only these images; by default all.

        Returns
        -------
        Embeddings
            One row per embedded image, sorted by path, and the failures.  Paths are relative to
            the root of ``images``, or by default to the nearest common folder of all roots.
        """
        return self._read(lambda snapshot: snapshot.embeddings(images))

    def stream(self) -> VectorStream:
        """Open the vectors of all embedded images as a stream of batches.

        For spaces that do not fit in memory.

        Returns
        -------
        VectorStream
            One row per embedded image, in storage order.  Paths are relative to the nearest common
            folder of all roots.

        Raises
        ------
        StoreError
            If a part is damaged.
        """
        return self._read(Snapshot.stream)

    def known_rows(self) -> dict[str, KnownRow]:
        """Return the known rows by absolute path; later parts replace earlier ones.

        Raises
        ------
        StoreError
            If a part is damaged, since decisions need all rows.
        """
        return self._read(Snapshot.known_rows)

    def read_top5(self) -> dict[str, TopClasses]:
        """Return the most probable ImageNet classes of each file, if stored.

        Files of damaged parts or of a damaged list are left out.
        """
        try:
            return self._read(Snapshot.top5)
        except StoreError:
            return {}

    def summary(self) -> dict[str, Any]:
        """Return counts of the space's content.

        Returns
        -------
        dict
            ``space`` (its folder's name), ``extractor``, ``dimension``, ``vectors`` ("float32" or
            "float16"), ``created``, ``images``, ``embedded``, ``failed``, ``gone`` (the file no
            longer exists), ``parts``, ``bytes``, ``weights_source`` (the file, ``"imagenet"`` if
            downloaded, or None).

        Raises
        ------
        StoreError
            If the space is damaged, or of a newer format.
        """
        return self._read(Snapshot.summary)

    def verify(self) -> list[tuple[Path, str]]:
        """Read all files, and return the damaged ones with a description of the damage.

        Damage includes missing parts, parts of another network, and an altered description or list
        of parts.
        """
        damages = []
        if self.read_info() is None:
            damages.append((self.info_file, "missing or damaged"))
            if self.description.given is None:
                return damages
        try:
            self.ledgers.joined()
        except StoreError as error:
            # Each part has its own metadata.
            found = self.ledgers.damages() or [(self.ledgers.list_file(), str(error))]
            return [*damages, *found, *Snapshot(self.ledgers, PartList()).damages()]
        return damages + self._read(Snapshot.damages)

    def _read(self, read: Callable[[Snapshot], T]) -> T:
        """Return the result of a function of a snapshot of the space."""
        return read_consistently(self.ledgers, read)

    # Writing

    def writing(self, *, embeds: bool = True) -> AbstractContextManager[None]:
        """Lock the space for writing, and mark it as the most recently embedded.

        Remains of killed runs are deleted, and damaged parts are set aside with a warning, so that
        their images count as new.  If no part is written, the folder is removed.

        Raises
        ------
        StoreError
            If another process holds the lock, or the folder cannot be written.
        """
        return writing.writing(self.ledgers, embeds=embeds)

    def adding(self, writer: str) -> AbstractContextManager[None]:
        """Lock the name of a further writer, which adds rows concurrently with other runs.

        In the block :meth:`append` writes to the list of that writer.  The next ordinary run takes
        the list over when the writer has ended, or was killed.

        Parameters
        ----------
        writer : str
            Its name, of digits and small letters.

        Raises
        ------
        InvalidInputError
            If the name has other characters.
        StoreError
            If another process writes under the same name, or the folder cannot be written.
        """
        return writing.adding(self.ledgers, writer)

    def append(self, rows: list[Row]) -> None:
        """Write rows as the next part, with failures in a separate file.

        Raises
        ------
        StoreError
            If they cannot be written, or vectors to be kept are gone; the other rows are still
            written.
        """
        writing.append(self.ledgers, rows)

    def append_kept(self, rows: list[Row]) -> None:
        """Write rows whose vectors are in parts, in the order of the parts, each read once.

        Raises
        ------
        StoreError
            As for :meth:`append`.
        """
        writing.append_kept(self.ledgers, rows)

    def follow(self, moves: Mapping[str, str]) -> None:
        """Give the rows of moved files their new paths.

        Parameters
        ----------
        moves : mapping of str to str
            Absolute path of each file before and after.

        Raises
        ------
        StoreError
            If another process is writing, or the rows cannot be written.
        """
        from clusterkit.store.part_file import Row

        if not moves.keys() & self.known_rows().keys():
            return
        root = common_folder([os.path.dirname(file) for file in moves.values()])  # noqa: PTH120
        with self.writing(embeds=False):
            known = self.known_rows()
            moved = [(known[old], new) for old, new in moves.items() if old in known]
            rows = [
                Row(
                    escape_path(relative(new, root)),
                    self.root_of(as_path(root)),
                    row.digest,
                    **FileStatus.of(new)._asdict(),
                    error=row.error,
                    kept=None if row.error else (row.part, row.position),
                )
                for row, new in moved
            ]
            failures = [row for row in rows if row.kept is None]
            if failures:
                self.append(failures)
            self.append_kept(rows)
            self.clean()

    def check_alone(self) -> None:
        """Check that rows can be dropped: on object storage, no other run may be writing.

        Raises
        ------
        StoreError
            If another run is writing.
        """
        writing.check_alone(self.ledgers)

    def clean(self, *, prune: bool = False) -> int:
        """Drop outdated rows.

        These are replaced rows, and rows of moved files, whose content is known at another path.
        The remaining rows of a part are written as a new one.

        Parameters
        ----------
        prune : bool
            Whether to drop the rows of all files that no longer exist.

        Returns
        -------
        int
            Number of missing files whose rows were dropped.
        """
        return writing.clean(self.ledgers, prune=prune)

    def settle(self) -> None:
        """Take over the lists of further writers, and drop outdated rows, if all have ended.

        The last of several concurrent writers leaves the space as an ordinary run does.
        """
        writing.settle(self.ledgers)

    # Image files

    @property
    def place(self) -> Path:
        """The folder that contains the store; paths below it are stored relative to it."""
        return self.folders.place

    def root_of(self, folder: Path) -> str:
        """Return an image root as stored, relative to the store's location if below it."""
        is_below = is_within(folder, self.place)
        return escape_path(relative(folder, self.place) if is_below else str(folder))

    def file_of(self, root: str, path: str) -> str:
        """Return the absolute path of a row's file."""
        return file_of(self.place, root, path)

    def check_root(self, folder: Path, known: Mapping[str, KnownRow]) -> None:
        """Check that images of a folder have a common folder with the known ones.

        Parameters
        ----------
        folder : path
            The folder of new images.
        known : mapping of str to KnownRow
            The rows of the space.

        Raises
        ------
        StoreError
            If they have no folder in common, as on this machine and on object storage.
        """
        others = {self.file_of(root, "") for root in {row.root for row in known.values()}}
        try:
            common_folder([absolute(folder), *others])
        except ValueError:
            raise StoreError(
                f"{self.folder} holds images of {min(others)}, which have no folder in common with "
                f"{folder}: choose another store with --store"
            ) from None


def _as_json(path: str) -> str:
    """Return the absolute path of a file, as in a description."""
    return json.dumps(os.path.abspath(path), ensure_ascii=False)  # noqa: PTH100
