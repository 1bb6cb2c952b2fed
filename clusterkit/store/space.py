"""One embedding space on disk: a description, and Parquet parts with one row per image."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import SpaceMismatchError, StoreError, UnreachableError
from clusterkit.images.folder import FileStatus, ImageFolder, digest_weights
from clusterkit.store.embeddings import Embeddings, Failure, TopClasses
from clusterkit.store.folders import INFO, Folders
from clusterkit.store.ledgers import MOMENT, ORDINARY, PATIENCE, Ledgers, check_writer
from clusterkit.store.part_list import Part, PartList, is_failures, number_of, part_name
from clusterkit.store.row_paths import last_rows, relative_paths
from clusterkit.store.stream import VectorStream
from clusterkit.utils.documents import read_sealed, write_sealed
from clusterkit.utils.files import touch
from clusterkit.utils.locations import (
    absolute,
    as_path,
    common_folder,
    find_gone,
    is_within,
    join,
    reading_workers,
    relative,
)
from clusterkit.utils.parallel import map_ahead
from clusterkit.utils.paths import escape_path, unescape_path
from clusterkit.utils.text import plural

# pyarrow is imported on use, to keep the import of this module fast.
if TYPE_CHECKING:
    from clusterkit.store.part_file import Row

T = TypeVar("T")
FORMAT = 4
# Keys of a description that the latest writer decides: where the network is from, how it runs.
ORIGIN = ("weights_source", "resize", "precision", "runtime")
_FACTS = ["path", "root", "digest", "size", "mtime_ns", "ctime_ns", "inode", "error"]
# Beyond any network; foreign descriptions may contain any number.
_MAX_DIMENSION = 2**24
# Paths that need no normalising: no part of them is empty, or begins with a dot.
_NORMAL = re.compile(r"(?:[^/.\\\n][^/\\\n]*/)*[^/.\\\n][^/\\\n]*")
# Maximum attempts of a reader while writers replace the parts.
_ATTEMPTS = 100
# Number of rows rewritten at a time.
_PART_ROWS = 2048
# Join small parts when there are more, since slow or small runs would add more and more of them.
_SMALL_ROWS, _MANY_SMALL = _PART_ROWS // 4, 16


@dataclass(frozen=True, slots=True)
class KnownRow:
    """What the store knows about one file, without its vector."""

    part: str
    position: int
    path: str
    root: str
    digest: str | None
    size: int | None
    mtime_ns: int | None
    ctime_ns: int | None
    inode: int | None
    error: str | None

    @property
    def status(self) -> FileStatus:
        """Recorded status of the file."""
        return FileStatus(self.size, self.mtime_ns, self.ctime_ns, self.inode)


class _SupersededError(Exception):
    """A part is no longer in the list, so the state read so far is outdated."""


class Space:
    """The rows of one extractor: a folder of Parquet parts, and a folder of what is known of them.

    The folder of the space holds parts with vectors and nothing else, so that other programs can
    read it as one table.  ``about/<space>/`` beside it holds ``space.json``, ``parts.json``, the
    failures and the lock.  Before format 3 all were in one folder, which is still read; the next
    writer moves them.

    Parts are never changed, and their names never reused.  ``parts.json`` lists the valid parts; it
    is replaced atomically, so that concurrent readers see a consistent state.  Writers beside each
    other have a list each, see :mod:`clusterkit.store.ledgers`; the parts of all are the space.  If
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
        self.description = description
        self.folders = Folders(folder)
        self.ledgers = Ledgers(self.folders, lambda: self.info)

    def __repr__(self) -> str:
        return f"Space({self.folder.name!r})"

    @property
    def info_file(self) -> Path:
        """The description, ``space.json``."""
        return self.folders.find(INFO)

    @property
    def about(self) -> Path:
        """The folder of everything but the parts with vectors."""
        return self.folders.about

    @property
    def list_file(self) -> Path:
        """The list of parts of the ordinary run, ``parts.json``."""
        return self.ledgers.list_file(ORDINARY)

    @property
    def list_files(self) -> list[Path]:
        """The lists of parts of all writers."""
        return [*map(self.ledgers.list_file, (ORDINARY, *self.ledgers.others()))]

    @property
    def info(self) -> dict[str, Any]:
        """What made the space.

        Raises
        ------
        StoreError
            If the description is missing, damaged, or of a newer format.
        """
        info = self.read_info()
        if info is None and self.description is not None:
            info = self.description | self._vectors_on_disk()
        if info is None:
            raise StoreError(
                f"{self.info_file} is missing or damaged: `clusterkit embed` with the same "
                "extractor writes it again, and keeps the vectors"
            )
        return info

    @property
    def numbers(self) -> str:
        """What the vectors are of on disk: "float32" or "float16"; they are read as float32."""
        from clusterkit.store.part_file import numbers_of

        return numbers_of(self.info)

    def check_numbers(self) -> None:
        """Check that the vectors are of what the given description asks for, if it does.

        Raises
        ------
        SpaceMismatchError
            If they are not.
        """
        asked = (self.description or {}).get("vectors")
        if asked not in (None, self.numbers):
            raise SpaceMismatchError(
                f"{self.folder} holds vectors of {self.numbers}, and of nothing else. "
                f"Received: {asked}. Choose another folder with --store"
            )

    def _vectors_on_disk(self) -> dict[str, Any]:
        """Return what the vectors are of, if the description that said it is gone."""
        from clusterkit.store.part_file import find_dimension

        found = filter(None, map(find_dimension, self.folders.part_files()))
        _, numbers = next(found, (0, None))
        return {} if numbers is None else {"vectors": numbers}

    def read_info(self) -> dict[str, Any] | None:
        """Return the description of the space, or None if it is missing or damaged.

        Raises
        ------
        StoreError
            If it is of a newer format.
        """
        info = self.folders.settled(INFO, _read_description)
        if info is None:
            return None
        version = info.get("format")
        if not isinstance(version, int):
            return None
        if version > FORMAT:
            raise StoreError(
                f"{self.info_file} has format {version}, made by a newer clusterkit; this one "
                f"reads up to format {FORMAT}: pip install --upgrade clusterkit"
            )
        return info if self._is_description(info) else None

    def _is_description(self, info: dict[str, Any]) -> bool:
        """Return whether a description is valid; for format 1, by comparison with the parts."""
        kinds = {"extractor": str, "fingerprint": str, "dimension": int}
        if not all(isinstance(info.get(name), kind) for name, kind in kinds.items()):
            return False
        if not 0 < info["dimension"] < _MAX_DIMENSION:
            return False
        if info["format"] > 1:
            return True
        from clusterkit.store.part_file import find_dimension

        found = filter(None, map(find_dimension, self.folders.part_files()))
        stored, _ = next(found, (info["dimension"], ""))
        return bool(stored == info["dimension"])

    def write_info(self, description: dict[str, Any]) -> None:
        """Create the space's folder and write its description.

        Raises
        ------
        StoreError
            If the folder cannot be written.
        """
        try:
            self.folders.make()
            write_sealed(self.about / INFO, description | {"format": FORMAT})
        except OSError as error:
            raise self.cannot_write(error) from error

    @property
    def used_ns(self) -> int:
        """Time of the last embedding in nanoseconds; 0 if unknown."""
        try:
            return self.info_file.stat().st_mtime_ns
        except OSError:
            return 0

    @property
    def created(self) -> str:
        """Time of the first embedding, as text that sorts by age; unknown times are the last."""
        with suppress(StoreError):
            info = self.read_info()
            if info is not None and isinstance(info.get("created"), str):
                return str(info["created"])
        return "unknown"

    @property
    def parts(self) -> list[Path]:
        """The valid parts, oldest first."""
        return [self._file(part) for part in self.ledgers.joined().parts]

    @property
    def vector_bytes(self) -> int:
        """About how many bytes its vectors take in memory, without reading them."""
        parts = [part for part in self.ledgers.joined().parts if not is_failures(part.name)]
        rows = [part.rows for part in parts]
        if None in rows:  # of the first format
            return sum(self._file(part).stat().st_size for part in parts)
        return sum(filter(None, rows)) * int(self.info["dimension"]) * 4

    @property
    def state(self) -> str:
        """Identity of the rows: another one whenever they have changed.

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

    @contextmanager
    def writing(self, *, embeds: bool = True) -> Iterator[None]:
        """Lock the space for writing, and mark it as the last that was embedded.

        Remains of killed runs are deleted, and damaged parts are set aside with a warning, so that
        their images count as new.  If no part is written, the folder is removed.

        Raises
        ------
        StoreError
            If another process holds the lock, or the folder cannot be written.
        """
        from filelock import Timeout

        if self.folders.is_remote:
            with self._writing_remotely(embeds=embeds):
                yield
            return
        info = self.info
        with ExitStack() as held:
            try:
                self.folders.make()
                held.enter_context(self.ledgers.holding(ORDINARY, timeout=MOMENT))
                self.ledgers.delete_leftovers()
                self._begin(info)
                self.ledgers.absorb()
                self.ledgers.mend()
                if embeds:
                    touch(self.info_file)
            except Timeout:
                raise StoreError(
                    f"another run is writing to {self.folder}: wait for it to end, then run again"
                ) from None
            except OSError as error:
                raise self.cannot_write(error) from error
            try:
                yield
            finally:
                self.folders.remove_empty()

    @contextmanager
    def _writing_remotely(self, *, embeds: bool, beside: bool = False) -> Iterator[None]:
        """Write on object storage: as the ordinary run if there is no other, else beside it."""
        info = self.info
        with ExitStack() as held:
            held.push(self._remove_remote)
            try:
                marker = held.enter_context(self.ledgers.marked())
                if beside or self.ledgers.live():
                    self._describe(info)
                    held.enter_context(self.ledgers.adding(marker.writer))
                else:
                    self._begin(info)
                    self.ledgers.absorb()
                    self.ledgers.mend()
                if embeds:
                    touch(self.info_file)
            except OSError as error:
                raise self.cannot_write(error) from error
            yield

    def _remove_remote(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        """Remove what a run without parts leaves on object storage, if that can be reached."""
        if not isinstance(error, UnreachableError):
            self.folders.remove_empty()

    @contextmanager
    def adding(self, writer: str) -> Iterator[None]:
        """Lock the name of a further writer, who adds rows beside an ordinary run and others.

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
        from filelock import Timeout

        check_writer(writer)
        if self.folders.is_remote:
            # Two processes under one name would not notice each other.
            with self._writing_remotely(embeds=True, beside=True):
                yield
            return
        info = self.info
        with ExitStack() as held:
            try:
                self.folders.make()
                held.callback(self._remove_unused)
                held.enter_context(self.ledgers.holding(writer, timeout=PATIENCE))
                self._join(info)
                held.enter_context(self.ledgers.adding(writer))
                touch(self.info_file)
            except Timeout:
                raise StoreError(
                    f"another run is writing to {self.folder} as {writer}: wait for it to end, "
                    "then run again"
                ) from None
            except OSError as error:
                raise self.cannot_write(error) from error
            yield

    def verify(self) -> list[tuple[Path, str]]:
        """Read all files, and return the damaged ones with a description of the damage.

        Damage includes missing parts, parts of another network, and an altered description or list
        of parts.
        """
        damages = []
        if self.read_info() is None:
            damages.append((self.info_file, "missing or damaged"))
            if self.description is None:
                return damages
        try:
            self.ledgers.joined()
        except StoreError as error:
            # Each part has its own metadata.
            found = self.ledgers.damages() or [(self.list_file, str(error))]
            return [*damages, *found, *self._verify(PartList())]
        return damages + self._consistently(self._verify)

    def _verify(self, listed: PartList) -> list[tuple[Path, str]]:
        """Return the damage of listed parts, and of files that are missing in the list."""
        from clusterkit.store.part_file import find_damage

        info, damages = self.info, []
        names = listed.names
        # A part that is not listed yet belongs to a killed or a running process.
        strays = [Part(file.name) for file in self.folders.part_files() if file.name not in names]
        for part in [*listed.parts, *strays]:
            file = self._file(part)
            damage, _ = find_damage(
                file, info["dimension"], info["fingerprint"], part, self.numbers
            )
            if damage is None:
                continue
            if part.name in names:
                self._check_listed(part, file)
            elif not file.exists():
                continue
            damages.append((file, damage))
        return damages

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
        return self._consistently(self._summary)

    def _summary(self, listed: PartList) -> dict[str, Any]:
        """Return counts of the content of listed parts."""
        info, known = self.info, self._known_rows(listed)
        failed = sum(row.error is not None for row in known.values())
        n_bytes = 0
        for part in listed.parts:
            file = self._file(part)
            try:
                n_bytes += file.stat().st_size
            except OSError:
                self._check_listed(part, file)
        return {
            "space": self.folder.name,
            "extractor": info["extractor"],
            "dimension": info["dimension"],
            "vectors": self.numbers,
            "created": info.get("created"),
            "images": len(known),
            "embedded": len(known) - failed,
            "failed": failed,
            "gone": len(find_gone(known)),
            "parts": len(listed.parts),
            "bytes": n_bytes,
            "weights_source": info.get("weights_source"),
        }

    def known_rows(self) -> dict[str, KnownRow]:
        """Return the known rows by absolute path; later parts replace earlier ones.

        Raises
        ------
        StoreError
            If a part is damaged, since decisions need all rows.
        """
        return self._consistently(self._known_rows)

    def _known_rows(self, listed: PartList) -> dict[str, KnownRow]:
        """Return the known rows of listed parts."""
        known = {}
        for part, table in self._read_each(listed.parts, lambda part: self._read(part, _FACTS)):
            paths, roots, *columns = (column.to_pylist() for column in table.columns)
            rows = zip(self._files_of(roots, paths), paths, roots, *columns, strict=True)
            for position, (file, *values) in enumerate(rows):
                known[file] = KnownRow(part.name, position, *values)
        return known

    def append(self, rows: list[Row]) -> None:
        """Write rows as the next part, with failures in a separate file.

        Raises
        ------
        StoreError
            If they cannot be written, or vectors that were to be kept are gone; the other rows are
            written nevertheless.
        """
        from clusterkit.store.part_file import rows_to_table

        if self.read_info() is None:
            self._begin(self.info)
        dimension = self.info["dimension"]
        lost = self._fetch_kept([row for row in rows if row.kept is not None])
        rows = [row for row in rows if row.kept is None]
        tables = [
            rows_to_table([row for row in rows if row.error is None], dimension, self.numbers),
            rows_to_table([row for row in rows if row.error is not None], None),
        ]
        # Later than all rows of other writers so far.
        number, writer = self.ledgers.joined().next_number, self.ledgers.writer
        written = self._write_parts(tables, partial(part_name, number=number, writer=writer))
        try:
            self.ledgers.add(written)
        except OSError as error:
            raise self.cannot_write(error) from error
        if lost:
            raise StoreError(
                f"the vectors of {plural(len(lost), 'image')} were dropped by another run that was "
                "writing to the store: run again"
            )

    def append_kept(self, rows: list[Row]) -> None:
        """Write rows whose vectors are in parts, in the order of those, each of which is read once.

        Raises
        ------
        StoreError
            As for :meth:`append`.
        """
        place = {part.name: place for place, part in enumerate(self.ledgers.joined().parts)}
        ordered = [(place.get(row.kept[0], 0), row.kept[1], row) for row in rows if row.kept]
        ordered.sort(key=lambda item: item[:2])
        for start in range(0, len(ordered), _PART_ROWS):
            self.append([row for *_, row in ordered[start : start + _PART_ROWS]])

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
        """Check that rows can be dropped, which on object storage no other run may see.

        Raises
        ------
        StoreError
            If another run is writing.
        """
        if self.ledgers.writer != ORDINARY:
            raise StoreError(
                f"another run is writing to {self.folder}, or was killed in the last hour: prune "
                "when it has ended"
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
        listed = self.ledgers.joined()
        # Known before who is running: whoever begins later writes rows that are later than these.
        live = self.ledgers.live()
        known = self._known_rows(listed)
        candidates = known if prune else _files_of_shared_content(known)
        gone = find_gone(candidates)
        if not prune:
            present = {known[file].digest for file in candidates if file not in gone}
            gone = {file for file in gone if known[file].digest in present}
        own = self.ledgers.own()
        # The parts of other writers stay until their lists are taken over.
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
            next_number = listed.next_number
            rewritten = []
            # Beside writers each part keeps its place in the order of all.
            for number, tables in self._rows_to_rewrite(replaced, keep, 1 if live else _PART_ROWS):
                rewritten += self._write_parts(
                    tables, partial(part_name, number=number, rewritten=next_number)
                )
                next_number += 1
            try:
                self.ledgers.replace(replaced, rewritten, next_number)
            except OSError as error:
                raise self.cannot_write(error) from error
        return len(gone)

    def settle(self) -> None:
        """Take over the lists of further writers, and drop outdated rows, if all have ended.

        The last of several writers beside each other leaves the space as an ordinary run does.
        """
        from filelock import Timeout

        if not self.folders.part_files():
            return
        if self.folders.is_remote:
            with self._writing_remotely(embeds=False):
                self.clean()
            return
        # Two that end at once see each other; the one that waits finds the other gone.
        with suppress(Timeout), self.ledgers.holding(ORDINARY, timeout=MOMENT):
            if not self.ledgers.live():
                self.ledgers.delete_leftovers()
                self.ledgers.absorb()
                self.ledgers.mend(check=False)
                self.clean()

    def _rows_to_rewrite(
        self, replaced: list[Part], keep: dict[str, list[int]], n_rows: int
    ) -> Iterator[tuple[int, list[Any]]]:
        """Yield the valid rows of replaced parts, as number and tables of new parts.

        Parts are joined until there are ``n_rows``, and then have the number of the last of them.
        """
        import pyarrow as pa

        from clusterkit.store.part_file import schema, split_table

        columns = [*_FACTS, "width", "height", "vector", "top5"]
        dimension, numbers, number = self.info["dimension"], self.numbers, 0
        waiting: list[list[Any]] = [
            [schema(dimension, numbers).empty_table()],
            [schema(None).empty_table()],
        ]
        for part in replaced:
            if not keep[part.name]:
                continue
            table = self._read(part, columns).take(sorted(keep[part.name]))
            for tables, found in zip(waiting, split_table(table, dimension, numbers), strict=True):
                tables.append(found)
            number = number_of(part.name)
            if max(sum(map(len, tables)) for tables in waiting) >= n_rows:
                yield number, [pa.concat_tables(tables) for tables in waiting]
                waiting = [tables[:1] for tables in waiting]
        yield number, [pa.concat_tables(tables) for tables in waiting]

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
        return self._consistently(lambda listed: self._read_all(listed, images))

    def _read_all(self, listed: PartList, images: ImageFolder | None) -> Embeddings:
        """Load listed parts."""
        import pyarrow as pa

        from clusterkit.store.part_file import table_top5

        info = self.info
        columns = ["path", "root", "digest", "error", "top5"]
        read = self._read_each(listed.parts, lambda part: self._read_or_warn(part, columns))
        tables = {part: table for part, table in read if table is not None}
        if not tables:
            return Embeddings(np.zeros((0, info["dimension"]), np.float32), space=info)
        table = pa.concat_tables(tables.values())
        errors = table["error"].to_pylist()
        row_of_file = self._row_of_file(table)
        if images is None:
            root = self._common_root(table)
        else:
            root = str(images.root)
            wanted = map(str, images.files)
            row_of_file = {file: row_of_file[file] for file in wanted if file in row_of_file}
        row_of_path = {relative(file, root): row for file, row in row_of_file.items()}
        rows = sorted(row_of_path.items())
        embedded = [(path, row) for path, row in rows if errors[row] is None]
        order = np.array([row for _, row in embedded], dtype=np.int64)
        vectors, intact = self._read_vectors(tables, order)
        order = order[intact]
        top5 = table_top5(table.select(["top5"]).take(order))
        return Embeddings(
            vectors,
            paths=[path for (path, _), whole in zip(embedded, intact, strict=True) if whole],
            root=as_path(root),
            space=info,
            top5=top5 if any(top5) else None,
            digests=table["digest"].take(order).to_pylist(),
            failures=[Failure(path, errors[row]) for path, row in rows if errors[row] is not None],
        )

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
        return self._consistently(self._stream)

    def _stream(self, listed: PartList) -> VectorStream:
        """Open listed parts as a stream."""
        import pyarrow as pa

        columns = ["path", "root", "digest", "error"]
        found = self._read_each(listed.parts, lambda part: self._read(part, columns))
        tables = {self._file(part): table for part, table in found}
        if not tables:
            return VectorStream([], self.folder, self.info)
        table = pa.concat_tables(tables.values())
        root = self._common_root(table)
        paths = relative_paths(table, root, self.file_of)
        rows = last_rows(paths)
        failed = np.asarray(table["error"].is_valid())
        embedded, broken = rows[~failed[rows]], rows[failed[rows]]
        chosen = np.zeros(len(table), np.bool_)
        chosen[embedded] = True
        ends = np.cumsum([len(facts) for facts in tables.values()])
        reasons = table["error"].take(broken).to_pylist()
        return VectorStream(
            paths if len(embedded) == len(table) else [paths[row] for row in embedded],
            as_path(root),
            self.info,
            dict(zip(tables, np.split(chosen, ends[:-1]), strict=True)),
            [Failure(paths[row], why) for row, why in zip(broken, reasons, strict=True)],
            table["digest"].take(embedded).to_pylist(),
        )

    def read_top5(self) -> dict[str, TopClasses]:
        """Return the most probable ImageNet classes of each file, if stored.

        Files of damaged parts or of a damaged list are left out.
        """
        try:
            return self._consistently(self._read_top5)
        except StoreError:
            return {}

    def _read_top5(self, listed: PartList) -> dict[str, TopClasses]:
        """Return the most probable ImageNet classes of the files in listed parts."""
        from clusterkit.store.part_file import table_top5

        known = {}
        for part in listed.parts:
            try:
                table = self._read(part, ["root", "path", "top5"])
            except StoreError:
                continue
            if table["top5"].null_count < len(table):
                files = self._files_of(table["root"].to_pylist(), table["path"].to_pylist())
                rows = zip(files, table_top5(table), strict=True)
                known.update({file: classes for file, classes in rows if classes})
        return known

    def _row_of_file(self, table: Any) -> dict[str, int]:
        """Map the absolute path of each file to its valid row."""
        files = self._files_of(table["root"].to_pylist(), table["path"].to_pylist())
        return {file: row for row, file in enumerate(files)}

    def _common_root(self, table: Any) -> str:
        """Return the nearest common folder of all roots."""
        roots = [self.file_of(root, "") for root in table["root"].unique().to_pylist()]
        return common_folder(roots or [str(self.place)])

    def _read_vectors(
        self, tables: dict[Part, Any], order: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read vectors of the parts in a given order, and return which are intact.

        Besides the result, one part is in memory at a time.
        """
        from clusterkit.store.part_file import read_vectors

        dimension = self.info["dimension"]
        vectors = np.empty((len(order), dimension), np.float32)
        intact = np.ones(len(order), np.bool_)
        first = 0
        for part, facts in tables.items():
            targets = np.flatnonzero((first <= order) & (order < first + len(facts)))
            if len(targets):
                file = self._file(part)
                try:
                    rows = order[targets] - first
                    vectors[targets] = read_vectors(file, rows, dimension, part)
                except StoreError as error:
                    self._check_listed(part, file)
                    intact[targets] = False
                    _warn_of_damage(error)
            first += len(facts)
        return (vectors if intact.all() else vectors[intact]), intact

    def _consistently(self, read: Callable[[PartList], T]) -> T:
        """Call a reader with the list of parts, again if a writer replaces them meanwhile.

        Raises
        ------
        StoreError
            If they are replaced repeatedly.
        """
        for _ in range(_ATTEMPTS):
            with suppress(_SupersededError):
                return read(self.ledgers.joined())
        raise StoreError(
            f"{self.folder} was rewritten {_ATTEMPTS} times while it was read: wait until "
            "`clusterkit embed` has ended, then run again"
        )

    def _read_each(
        self, parts: Sequence[Part], read: Callable[[Part], T]
    ) -> Iterator[tuple[Part, T]]:
        """Yield what a function reads of each part, side by side from object storage."""
        workers = reading_workers([self.folder])
        tables = map_ahead(read, parts, ahead=64, workers=workers) if workers else map(read, parts)
        return zip(parts, tables, strict=True)

    def _read(self, part: Part, columns: list[str]) -> Any:
        """Read columns of a part, checking that it is still in the list."""
        from clusterkit.store.part_file import read_part

        file = self._file(part)
        try:
            return read_part(file, columns, part)
        except StoreError:
            self._check_listed(part, file)
            raise

    def _read_or_warn(self, part: Part, columns: list[str]) -> Any:
        """Read a part, or warn that it is damaged and return None."""
        try:
            return self._read(part, columns)
        except StoreError as error:
            _warn_of_damage(error)
            return None

    def _check_listed(self, part: Part, file: Path) -> None:
        """Restart the reader if an unreadable part is no longer in the list, or was moved."""
        if part not in self.ledgers.joined().parts or file != self._file(part):
            raise _SupersededError

    def _write_parts(self, tables: Iterable[Any], name: Callable[[str], str]) -> list[Part]:
        """Write rows with vectors, and failures, as parts; ``name`` gives that of either kind."""
        from clusterkit.store.part_file import write_part

        fingerprint = self.info["fingerprint"]
        places = {"part": self.folder, "failures": self.about}
        return [
            write_part(place / name(kind), table, fingerprint, folder=self.about)
            for (kind, place), table in zip(places.items(), tables, strict=True)
            if len(table)
        ]

    def _fetch_kept(self, rows: list[Row]) -> list[Row]:
        """Fill rows with the vectors that are already in parts; return those whose part is gone."""
        return self._consistently(lambda listed: self._fetch_from(rows, listed))

    def _fetch_from(self, rows: list[Row], listed: PartList) -> list[Row]:
        """Fill rows from listed parts, part by part."""
        from clusterkit.store.part_file import table_top5, table_vectors

        rows = [row for row in rows if row.kept is not None]
        if not {row.kept[0] for row in rows if row.kept} <= listed.names:
            # Another run replaced a part since this one began.
            known = self._known_rows(listed).values()
            place_of = {row.digest: (row.part, row.position) for row in known if row.error is None}
            for row in rows:
                row.kept = place_of.get(row.digest, row.kept)
        rows_of_part: dict[str, list[Row]] = {}
        for row in rows:
            if row.kept is not None:
                rows_of_part.setdefault(row.kept[0], []).append(row)
        columns = ["width", "height", "top5", "vector"]
        for part in listed.parts:
            found = rows_of_part.pop(part.name, [])
            if not found:
                continue
            positions = np.array([row.kept[1] for row in found if row.kept], np.int64)
            table = self._read(part, columns).take(positions)
            try:
                vectors = table_vectors(table, self.info["dimension"])
            except ValueError as error:
                raise StoreError(f"{self._file(part)} is damaged: {error}") from error
            values = zip(
                found,
                vectors,
                table_top5(table),
                table["width"].to_pylist(),
                table["height"].to_pylist(),
                strict=True,
            )
            for row, row.vector, row.top5, row.width, row.height in values:
                row.kept = None
        return [row for lost in rows_of_part.values() for row in lost]

    def _begin(self, info: dict[str, Any]) -> None:
        """Create the folders, list of parts and description."""
        self.folders.make()
        self.folders.tidy()
        self.ledgers.create()
        self._describe(info)

    def _describe(self, info: dict[str, Any]) -> None:
        """Write the description unless it is there as it should be."""
        # Another run may have begun the space a moment ago.
        self.check_numbers()
        recorded = self.read_info()
        latest = {name: value for name, value in (self.description or {}).items() if name in ORIGIN}
        if recorded is None or recorded["format"] < FORMAT or recorded | latest != recorded:
            self.write_info(info | latest)

    def _join(self, info: dict[str, Any]) -> None:
        """Create what a further writer needs, unless it is there."""
        from filelock import Timeout

        recorded = self.read_info()
        is_set_up = recorded is not None and recorded["format"] == FORMAT
        is_set_up = is_set_up and self.list_file.exists()
        try:
            with self.ledgers.holding(ORDINARY, timeout=0 if is_set_up else PATIENCE):
                self._begin(info)
        except Timeout:
            # An ordinary run holds the lock as long as it lasts; it has said what it is.
            if not is_set_up:
                raise

    def _remove_unused(self) -> None:
        """Remove the folders after a further writer, unless there are parts or other writers."""
        from filelock import Timeout

        if self.folders.part_files():
            return
        with suppress(OSError, Timeout), self.ledgers.holding(ORDINARY):
            self.folders.remove_empty()

    def _file(self, part: Part) -> Path:
        """Return the file of a part."""
        return self.folders.part_file(part.name)

    def root_of(self, folder: Path) -> str:
        """Return an image root as stored, relative to the store's location if below it."""
        place = self.place
        return escape_path(relative(folder, place) if is_within(folder, place) else str(folder))

    def check_root(self, folder: Path, known: Mapping[str, KnownRow]) -> None:
        """Check that images of a folder can be named beside those that are known.

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

    def file_of(self, root: str, path: str) -> str:
        """Return the absolute path of a row's file."""
        return join(self.place, unescape_path(root), unescape_path(path))

    def _files_of(self, roots: list[str], paths: list[str]) -> Iterator[str]:
        """Yield the absolute path of each row's file: as :meth:`file_of`, for many rows."""
        folders = {root: os.path.join(self.file_of(root, ""), "") for root in set(roots)}  # noqa: PTH118
        for root, path in zip(roots, paths, strict=True):
            name = unescape_path(path)
            is_normal = os.sep == "/" and _NORMAL.fullmatch(name)
            yield folders[root] + name if is_normal else self.file_of(root, path)

    @property
    def place(self) -> Path:
        """The folder that contains the store; paths below it are stored relative to it."""
        return as_path(absolute(self.folder.parent.parent))

    def cannot_write(self, error: OSError) -> StoreError:
        """Return an error with the reason and a remedy."""
        return StoreError(
            f"cannot write the store {self.folder.parent}: {error.strerror or error}. "
            "Choose another folder with --store"
        )


def _as_json(path: str) -> str:
    """Return the absolute path of a file, as a description holds it."""
    return json.dumps(os.path.abspath(path), ensure_ascii=False)  # noqa: PTH100


def _read_description(file: Path) -> dict[str, Any] | None:
    """Return a description, or None if it is missing or damaged."""
    try:
        # Format 1 has no digest of itself.
        return read_sealed(file, required=False)
    except (OSError, ValueError):
        return None


def _warn_of_damage(error: StoreError) -> None:
    """Warn that damaged data is left out."""
    warnings.warn(
        f"{error}. Its images are left out; run `clusterkit embed` again to restore them",
        stacklevel=2,
    )


def _files_of_shared_content(known: dict[str, KnownRow]) -> list[str]:
    """Return the files whose content is known at another path as well."""
    n_files = Counter(row.digest for row in known.values())
    return [
        file for file, row in known.items() if row.digest is not None and n_files[row.digest] > 1
    ]
