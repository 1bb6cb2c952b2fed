"""One embedding space on disk: its rows, one per image, are read, written and cleaned here."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clusterkit.errors import StoreError, UnreachableError
from clusterkit.images.folder import FileStatus, ImageFolder, digest_weights
from clusterkit.store.embeddings import Embeddings, TopClasses
from clusterkit.store.ledgers import MOMENT, ORDINARY, PATIENCE, Ledgers, check_writer
from clusterkit.store.snapshot import FACTS, KnownRow, Snapshot, file_of, read_consistently
from clusterkit.store.space_files import (
    FORMAT,
    Description,
    Folders,
    Part,
    PartList,
    is_failures,
    number_of,
    part_name,
)
from clusterkit.store.stream import VectorStream
from clusterkit.utils.files import touch
from clusterkit.utils.locations import (
    absolute,
    as_path,
    common_folder,
    find_gone,
    is_within,
    relative,
)
from clusterkit.utils.text import escape_path, plural

# pyarrow is imported on use, to keep the import of this module fast.
if TYPE_CHECKING:
    from clusterkit.store.part_file import Row

T = TypeVar("T")
# Maximum rows per part, of new rows and of those of other parts that are written again.
PART_ROWS = 2048
# Number of small parts above which they are joined, since slow or small runs add many.
_SMALL_ROWS, _MANY_SMALL = PART_ROWS // 4, 16


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
            If it is of a newer format, or cannot be opened.
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
            One row per embedded image, in the order of ``images``, by default sorted by path, and
            the failures.  Paths are relative to the root of ``images``, or by default to the
            nearest common folder of all roots.
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

    @contextmanager
    def writing(self, *, embeds: bool = True) -> Iterator[None]:
        """Lock the space for writing, and mark it as the most recently embedded.

        Remains of killed runs are deleted, and damaged parts are set aside with a warning, so that
        their images count as new.  If no part is written, the folder is removed.

        Raises
        ------
        StoreError
            If another process holds the lock, or the folder cannot be written.
        """
        folders = self.folders
        if folders.is_remote:
            with self._writing_remotely(embeds=embeds):
                yield
            return
        info = self.description.info
        with ExitStack() as held:
            with self._explaining():
                folders.make()
                held.enter_context(self.ledgers.holding(ORDINARY, timeout=MOMENT))
                self.ledgers.delete_leftovers()
                self._begin(info)
                self.ledgers.absorb()
                self.ledgers.mend()
                if embeds:
                    touch(self.description.file)
            try:
                yield
            finally:
                folders.remove_empty()

    @contextmanager
    def adding(self, writer: str) -> Iterator[None]:
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
        check_writer(writer)
        folders = self.folders
        if folders.is_remote:
            # Two processes under one name would not notice each other.
            with self._writing_remotely(embeds=True, beside=True):
                yield
            return
        info = self.description.info
        with ExitStack() as held:
            with self._explaining(f" as {writer}"):
                folders.make()
                held.callback(self._remove_unused)
                held.enter_context(self.ledgers.holding(writer, timeout=PATIENCE))
                self._join(info)
                held.enter_context(self.ledgers.adding(writer))
                touch(self.description.file)
            yield

    def append(self, rows: list[Row]) -> None:
        """Write rows as the next part, with failures in a separate file.

        Raises
        ------
        StoreError
            If they cannot be written, or vectors to be kept are gone; the other rows are still
            written.
        """
        from clusterkit.store.part_file import rows_to_table

        self._prepare()
        description, kept = self.description, [row for row in rows if row.kept is not None]
        dimension = description.info["dimension"]
        lost = read_consistently(self.ledgers, lambda snapshot: snapshot.fetch(kept))
        rows = [row for row in rows if row.kept is None]
        tables = [
            rows_to_table(
                [row for row in rows if row.error is None], dimension, description.numbers
            ),
            rows_to_table([row for row in rows if row.error is not None], None),
        ]
        # Later than all rows of other writers so far.
        number, writer = self.ledgers.joined().next_number, self.ledgers.writer
        written = self._write_parts(tables, partial(part_name, number=number, writer=writer))
        try:
            self.ledgers.add(written)
        except OSError as error:
            raise self.folders.cannot_write(error) from error
        if lost:
            raise StoreError(
                f"the vectors of {plural(len(lost), 'image')} were dropped by another run that was "
                "writing to the store: run again"
            )

    def append_kept(self, rows: list[Row]) -> None:
        """Write rows whose vectors are in parts, in the order of the parts, each read once.

        Raises
        ------
        StoreError
            As for :meth:`append`.
        """
        place = {part.name: place for place, part in enumerate(self.ledgers.joined().parts)}
        ordered = [(place.get(row.kept[0], 0), row.kept[1], row) for row in rows if row.kept]
        ordered.sort(key=lambda item: item[:2])
        for start in range(0, len(ordered), PART_ROWS):
            self.append([row for *_, row in ordered[start : start + PART_ROWS]])

    def follow(self, moves: Mapping[str, str]) -> None:
        """Give the rows of moved files their new paths.

        Parameters
        ----------
        moves : mapping of str to str
            Absolute path of each file before and after.  A new path that has a row was told before:
            the old one may be of another file since.

        Raises
        ------
        StoreError
            If another process is writing, or the rows cannot be written.
        """
        from clusterkit.store.part_file import Row

        known = self.known_rows()
        if not any(old in known and new not in known for old, new in moves.items()):
            return
        root = common_folder([os.path.dirname(file) for file in moves.values()])  # noqa: PTH120
        with self.writing(embeds=False):
            known = self.known_rows()
            moved = [
                (known[old], new) for old, new in moves.items() if old in known and new not in known
            ]
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
        if self.ledgers.writer != ORDINARY:
            raise StoreError(
                f"another run is writing to {self.folders.parts}, or was killed in the last hour: "
                "prune when it has ended"
            )

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
        if prune:
            self.check_alone()
        elif self.ledgers.writer != ORDINARY:
            return 0
        self.ledgers.absorb()
        snapshot = Snapshot(self.ledgers, self.ledgers.joined())
        # Read before checking for other writers: later writers add rows that are later than these.
        live = self.ledgers.live()
        known = snapshot.known_rows()
        candidates = known if prune else _files_of_shared_content(known)
        gone = find_gone(candidates)
        if not prune:
            present = {known[file].digest for file in candidates if file not in gone}
            gone = {file for file in gone if known[file].digest in present}
        own = self.ledgers.own()
        # The parts of other writers remain until their lists are taken over.
        keep: dict[str, list[int]] = {part.name: [] for part in own.parts}
        gone = {file for file in gone if known[file].part in keep}
        for file in known.keys() - gone:
            if known[file].part in keep:
                keep[known[file].part].append(known[file].position)
        small = [part for part in own.parts if 0 < len(keep[part.name]) < _SMALL_ROWS]
        joined = {part.name for part in small} if len(small) > _MANY_SMALL and not live else set()
        # A part of format 1 has no checksum, and may hold failures.
        replaced = [
            part
            for part in own.parts
            if part.rows != len(keep[part.name]) or not part.checksum or part.name in joined
        ]
        if replaced:
            next_number = snapshot.listed.next_number
            rewritten = []
            # While others write, each part keeps its place in the order of all parts.
            for number, tables in _valid_rows(snapshot, replaced, keep, 1 if live else PART_ROWS):
                name = partial(part_name, number=number, rewritten=next_number)
                rewritten += self._write_parts(tables, name)
                next_number += 1
            try:
                self.ledgers.replace(replaced, rewritten, next_number)
            except OSError as error:
                raise self.folders.cannot_write(error) from error
        return len(gone)

    def settle(self) -> None:
        """Take over the lists of further writers, and drop outdated rows, if all have ended.

        The last of several concurrent writers leaves the space as an ordinary run does.
        """
        from filelock import Timeout

        if not self.folders.part_files():
            return
        if self.folders.is_remote:
            with self._writing_remotely(embeds=False):
                self.clean()
            return
        # Two writers that end at the same time see each other; the one that waits finds the other
        # gone.
        with suppress(Timeout), self.ledgers.holding(ORDINARY, timeout=MOMENT):
            if not self.ledgers.live():
                self.ledgers.delete_leftovers()
                self.ledgers.absorb()
                self.ledgers.mend(check=False)
                self.clean()

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

    # Steps of writing

    @contextmanager
    def _writing_remotely(self, *, embeds: bool, beside: bool = False) -> Iterator[None]:
        """Write on object storage: as the ordinary run if alone, otherwise as a further writer."""
        info = self.description.info

        def remove(_kind: Any, error: BaseException | None, _trace: Any) -> None:
            """Remove the files of a run without parts, if the service can be reached."""
            if not isinstance(error, UnreachableError):
                self.folders.remove_empty()

        with ExitStack() as held:
            held.push(remove)
            with self._explaining():
                marker = held.enter_context(self.ledgers.marked())
                if beside or self.ledgers.live():
                    self.description.complete(info)
                    held.enter_context(self.ledgers.adding(marker.writer))
                else:
                    self._begin(info)
                    self.ledgers.absorb()
                    self.ledgers.mend()
                if embeds:
                    touch(self.description.file)
            yield

    @contextmanager
    def _explaining(self, name: str = "") -> Iterator[None]:
        """Explain why a run cannot begin: another holds the lock, or nothing can be written."""
        from filelock import Timeout

        try:
            yield
        except Timeout:
            raise StoreError(
                f"another run is writing to {self.folders.parts}{name}: wait for it to end, then "
                "run again"
            ) from None
        except OSError as error:
            raise self.folders.cannot_write(error) from error

    def _begin(self, info: dict[str, Any]) -> None:
        """Create the folders, list of parts and description."""
        self.folders.make()
        self.folders.tidy()
        self.ledgers.create()
        self.description.complete(info)

    def _join(self, info: dict[str, Any]) -> None:
        """Create the files for a further writer, unless they exist."""
        from filelock import Timeout

        recorded = self.description.read()
        is_set_up = recorded is not None and recorded["format"] == FORMAT
        is_set_up = is_set_up and self.ledgers.list_file().exists()
        try:
            with self.ledgers.holding(ORDINARY, timeout=0 if is_set_up else PATIENCE):
                self._begin(info)
        except Timeout:
            # An ordinary run holds the lock while it runs, and has written the description.
            if not is_set_up:
                raise

    def _remove_unused(self) -> None:
        """Remove the folders after a further writer, unless there are parts or other writers."""
        from filelock import Timeout

        if self.folders.part_files() or not self.folders.about.exists():
            return
        with suppress(OSError, Timeout), self.ledgers.holding(ORDINARY):
            self.folders.remove_empty()

    def _prepare(self) -> None:
        """Create the missing files of a space before rows are written.

        Raises
        ------
        StoreError
            If it was deleted since this run began, or cannot be written.
        """
        folders, description = self.folders, self.description
        is_described = description.read() is not None
        if is_described and folders.is_remote:
            return  # saves a request
        is_held = self.ledgers.holds(self.ledgers.writer)
        if is_described:
            return
        info = description.info
        with self._explaining():
            if folders.is_remote and self.ledgers.writer != ORDINARY:
                description.complete(info)
            elif folders.is_remote or (is_held and self.ledgers.writer == ORDINARY):
                self._begin(info)
            else:
                folders.make()
                self._join(info)

    def _write_parts(self, tables: Iterable[Any], name: Callable[[str], str]) -> list[Part]:
        """Write rows with vectors, and failures, as parts; ``name`` gives that of either kind."""
        from clusterkit.store.part_file import write_part

        folders, fingerprint = self.folders, self.description.info["fingerprint"]
        places = {"part": folders.parts, "failures": folders.about}
        return [
            write_part(place / name(kind), table, fingerprint, folder=folders.about)
            for (kind, place), table in zip(places.items(), tables, strict=True)
            if len(table)
        ]


def _as_json(path: str) -> str:
    """Return the absolute path of a file, as in a description."""
    return json.dumps(os.path.abspath(path), ensure_ascii=False)  # noqa: PTH100


def _valid_rows(
    snapshot: Snapshot, parts: list[Part], keep: dict[str, list[int]], n_rows: int
) -> Iterator[tuple[int, list[Any]]]:
    """Yield the rows of parts that are kept, as number and tables of new parts.

    Parts are joined until there are ``n_rows``, and then have the number of the last of them.
    """
    import pyarrow as pa

    from clusterkit.store.part_file import schema, split_table

    columns = [*FACTS, "width", "height", "vector", "top5"]
    dimension, numbers = snapshot.description.info["dimension"], snapshot.description.numbers
    number = 0
    waiting: list[list[Any]] = [
        [schema(dimension, numbers).empty_table()],
        [schema(None).empty_table()],
    ]
    for part in parts:
        if not keep[part.name]:
            continue
        table = snapshot.read_part(part, columns).take(sorted(keep[part.name]))
        for tables, found in zip(waiting, split_table(table, dimension, numbers), strict=True):
            tables.append(found)
        number = number_of(part.name)
        if max(sum(map(len, tables)) for tables in waiting) >= n_rows:
            yield number, [pa.concat_tables(tables) for tables in waiting]
            waiting = [tables[:1] for tables in waiting]
    yield number, [pa.concat_tables(tables) for tables in waiting]


def _files_of_shared_content(known: dict[str, KnownRow]) -> list[str]:
    """Return the files whose content is known at another path as well."""
    n_files = Counter(row.digest for row in known.values())
    return [
        file for file, row in known.items() if row.digest is not None and n_files[row.digest] > 1
    ]
