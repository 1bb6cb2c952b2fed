"""A snapshot of the rows of a space: the parts in its lists at one moment.

Each row has the path of an image file, and the root that it is relative to.  Roots below the folder
that contains the store, its place, are relative to it, so that store and images can be moved
together.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ClusterkitWarning, StoreError
from clusterkit.images.folder import FileStatus, ImageFolder
from clusterkit.store.embeddings import Embeddings, Failure, TopClasses
from clusterkit.store.ledgers import Ledgers
from clusterkit.store.space_files import Part, PartList, UnopenedError
from clusterkit.store.stream import VectorStream
from clusterkit.utils.locations import (
    as_path,
    common_folder,
    find_gone,
    join,
    reading_workers,
    relative,
)
from clusterkit.utils.parallel import map_ahead
from clusterkit.utils.text import plural, unescape_path

# pyarrow is imported on use, to keep the import of this module fast.
if TYPE_CHECKING:
    from clusterkit.store.part_file import Row

T = TypeVar("T")
# The columns of a row without its vector.
FACTS = ["path", "root", "digest", "size", "mtime_ns", "ctime_ns", "inode", "error"]
# Maximum attempts of a reader while writers replace the parts.
_ATTEMPTS = 100
# Paths that need no normalising: no part of them is empty, or begins with a dot.
_NORMAL = re.compile(r"(?:[^/.\\\n][^/\\\n]*/)*[^/.\\\n][^/\\\n]*")
# Paths that are not simply appended to their folder: escaped ones, and those with "..", "." or "".
_UNUSUAL = r"\\|[^\x00-\x7F]|(^|/)\.{0,2}(/|$)"


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


class Snapshot:
    """The rows of the listed parts; immutable.

    A writer may replace one of its parts meanwhile: :func:`read_consistently` then reads another
    snapshot.

    Parameters
    ----------
    ledgers : Ledgers
        The lists of parts of the space.
    listed : PartList
        The parts in them.
    """

    def __init__(self, ledgers: Ledgers, listed: PartList) -> None:
        self.ledgers = ledgers
        self.listed = listed
        self.folders = ledgers.folders
        self.description = ledgers.description

    def known_rows(self) -> dict[str, KnownRow]:
        """Return the known rows by absolute path; later parts replace earlier ones."""
        known, place = {}, self.folders.place
        for part, table in self._read_each(self.read_part, FACTS):
            paths, roots, *columns = (column.to_pylist() for column in table.columns)
            rows = zip(_files_of(place, roots, paths), paths, roots, *columns, strict=True)
            for position, (file, *values) in enumerate(rows):
                known[file] = KnownRow(part.name, position, *values)
        return known

    def embeddings(self, images: ImageFolder | None) -> Embeddings:
        """Load the vectors, all or those of some images; damaged parts are left out."""
        import pyarrow as pa

        from clusterkit.store.part_file import table_top5

        info, place = self.description.info, self.folders.place
        columns = ["path", "root", "digest", "error", "top5"]
        read = self._read_each(self._read_or_warn, columns)
        tables = {part: table for part, table in read if table is not None}
        if not tables:
            return Embeddings(np.zeros((0, info["dimension"]), np.float32), space=info)
        table = pa.concat_tables(tables.values())
        errors = table["error"].to_pylist()
        files = _files_of(place, table["root"].to_pylist(), table["path"].to_pylist())
        # The last row of a file is the valid one.
        row_of_file = {file: row for row, file in enumerate(files)}
        if images is None:
            root = _common_root(place, table["root"].unique().to_pylist())
            row_of_path = {relative(file, root): row for file, row in row_of_file.items()}
            rows = sorted(row_of_path.items())
        else:
            root = str(images.root)
            wanted = map(str, images.files)
            rows = [
                (relative(file, root), row_of_file[file]) for file in wanted if file in row_of_file
            ]
        embedded = [(path, row) for path, row in rows if errors[row] is None]
        order = np.array([row for _, row in embedded], dtype=np.int64)
        vectors, intact = self._vectors(tables, order)
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
        """Open the vectors as a stream."""
        import pyarrow as pa

        found = self._read_each(self.read_part, ["path", "root", "digest", "error"])
        tables = {self.file(part): table for part, table in found}
        if not tables:
            return VectorStream([], self.folders.parts, self.description.info)
        table, place = pa.concat_tables(tables.values()), self.folders.place
        root = _common_root(place, table["root"].unique().to_pylist())
        paths = _relative_paths(place, table, root)
        rows = _last_rows(paths)
        failed = np.asarray(table["error"].is_valid())
        embedded, broken = rows[~failed[rows]], rows[failed[rows]]
        chosen = np.zeros(len(table), np.bool_)
        chosen[embedded] = True
        ends = np.cumsum([len(facts) for facts in tables.values()])
        reasons = table["error"].take(broken).to_pylist()
        return VectorStream(
            paths if len(embedded) == len(table) else [paths[row] for row in embedded],
            as_path(root),
            self.description.info,
            dict(zip(tables, np.split(chosen, ends[:-1]), strict=True)),
            [Failure(paths[row], why) for row, why in zip(broken, reasons, strict=True)],
            table["digest"].take(embedded).to_pylist(),
        )

    def top5(self) -> dict[str, TopClasses]:
        """Return the most probable classes of each file that has any, without damaged parts."""
        from clusterkit.store.part_file import table_top5

        known, place = {}, self.folders.place
        for part in self.listed.parts:
            try:
                table = self.read_part(part, ["root", "path", "top5"])
            except StoreError:
                continue
            if table["top5"].null_count < len(table):
                files = _files_of(place, table["root"].to_pylist(), table["path"].to_pylist())
                rows = zip(files, table_top5(table), strict=True)
                known.update({file: classes for file, classes in rows if classes})
        return known

    def summary(self) -> dict[str, Any]:
        """Return counts of the content."""
        n_bytes, missing = 0, []
        for part in self.listed.parts:
            file = self.file(part)
            try:
                n_bytes += file.stat().st_size
            except FileNotFoundError:
                self._check_listed(part, file)
                missing.append(part)
            except OSError:
                self._check_listed(part, file)
        if missing:
            n_rows = sum(part.rows or 0 for part in missing)
            raise StoreError(
                f"{plural(n_rows, 'row')} missing: {plural(len(missing), 'file')} of the list of "
                f"parts gone, such as {self.file(missing[0])}. `clusterkit store verify` lists "
                "what is damaged, and says how to restore it"
            )
        info, known = self.description.info, self.known_rows()
        failed = sum(row.error is not None for row in known.values())
        return {
            "space": self.folders.parts.name,
            "extractor": info["extractor"],
            "dimension": info["dimension"],
            "vectors": self.description.numbers,
            "created": info.get("created"),
            "images": len(known),
            "embedded": len(known) - failed,
            "failed": failed,
            "gone": len(find_gone(known)),
            "parts": len(self.listed.parts),
            "bytes": n_bytes,
            "weights_source": info.get("weights_source"),
        }

    def damages(self) -> list[tuple[Path, str]]:
        """Return the damage of the parts, and of files that are not in the list."""
        from clusterkit.store.part_file import find_damage

        info, numbers, damages = self.description.info, self.description.numbers, []
        names = self.listed.names
        # A part that is not listed yet belongs to a killed or a running process.
        strays = [Part(file.name) for file in self.folders.part_files() if file.name not in names]
        for part in [*self.listed.parts, *strays]:
            file = self.file(part)
            try:
                damage, _ = find_damage(file, info["dimension"], info["fingerprint"], part, numbers)
            except UnopenedError as error:
                damage = str(error)
            if damage is None:
                continue
            if part.name in names:
                self._check_listed(part, file)
            elif not file.exists():
                continue
            damages.append((file, damage))
        return damages

    def fetch(self, rows: list[Row]) -> list[Row]:
        """Fill rows with the vectors that are already in parts; return those whose part is gone."""
        from clusterkit.store.part_file import part_error, table_top5, table_vectors

        rows = [row for row in rows if row.kept is not None]
        if not {row.kept[0] for row in rows if row.kept} <= self.listed.names:
            # Another run replaced a part since this one began.
            known = self.known_rows().values()
            # Imported vectors of unreadable files have no digest, and nothing in common.
            place_of = {
                row.digest: (row.part, row.position)
                for row in known
                if row.error is None and row.digest is not None
            }
            for row in rows:
                row.kept = place_of.get(row.digest or "", row.kept)
        rows_of_part: dict[str, list[Row]] = {}
        for row in rows:
            if row.kept is not None:
                rows_of_part.setdefault(row.kept[0], []).append(row)
        columns = ["width", "height", "top5", "vector"]
        for part in self.listed.parts:
            found = rows_of_part.pop(part.name, [])
            if not found:
                continue
            positions = np.array([row.kept[1] for row in found if row.kept], np.int64)
            table = self.read_part(part, columns).take(positions)
            try:
                vectors = table_vectors(table, self.description.info["dimension"])
            except ValueError as error:
                raise part_error(self.file(part), f"damaged: {error}") from error
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

    def file(self, part: Part) -> Path:
        """Return the file of a part."""
        return self.folders.part_file(part.name)

    def read_part(self, part: Part, columns: list[str]) -> Any:
        """Read columns of a part.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        from clusterkit.store.part_file import read_part

        file = self.file(part)
        try:
            return read_part(file, columns, part)
        except StoreError:
            self._check_listed(part, file)
            raise

    def _read_or_warn(self, part: Part, columns: list[str]) -> Any:
        """Read a part, or warn that it is damaged and return None."""
        try:
            return self.read_part(part, columns)
        except StoreError as error:
            _warn_of_damage(error)
            return None

    def _read_each(
        self, read: Callable[[Part, list[str]], Any], columns: list[str]
    ) -> Iterator[tuple[Part, Any]]:
        """Yield columns of each part, read side by side from object storage."""
        parts, workers = self.listed.parts, reading_workers([self.folders.parts])

        def read_columns(part: Part) -> Any:
            return read(part, columns)

        tables = (
            map_ahead(read_columns, parts, ahead=64, workers=workers)
            if workers
            else map(read_columns, parts)
        )
        return zip(parts, tables, strict=True)

    def _vectors(
        self, tables: dict[Part, Any], order: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read vectors of the parts in a given order, and return which are intact.

        Apart from the result, one part is in memory at a time.
        """
        from clusterkit.store.part_file import read_vectors

        dimension = self.description.info["dimension"]
        vectors = np.empty((len(order), dimension), np.float32)
        intact = np.ones(len(order), np.bool_)
        first = 0
        for part, facts in tables.items():
            targets = np.flatnonzero((first <= order) & (order < first + len(facts)))
            if len(targets):
                file = self.file(part)
                try:
                    rows = order[targets] - first
                    vectors[targets] = read_vectors(file, rows, dimension, part)
                except StoreError as error:
                    self._check_listed(part, file)
                    intact[targets] = False
                    _warn_of_damage(error)
            first += len(facts)
        return (vectors if intact.all() else vectors[intact]), intact

    def _check_listed(self, part: Part, file: Path) -> None:
        """Check that an unreadable part is still in the lists, and at its place."""
        if part not in self.ledgers.joined().parts or file != self.file(part):
            raise _SupersededError


def read_consistently(ledgers: Ledgers, read: Callable[[Snapshot], T]) -> T:
    """Return the result of a function of a snapshot, or of the next one if parts are replaced.

    Raises
    ------
    StoreError
        If they are replaced repeatedly.
    """
    for _ in range(_ATTEMPTS):
        with suppress(_SupersededError):
            return read(Snapshot(ledgers, ledgers.joined()))
    raise StoreError(
        f"{ledgers.folders.parts} was rewritten {_ATTEMPTS} times while it was read: wait until "
        "`clusterkit embed` has ended, then run again"
    )


def file_of(place: Path, root: str, path: str) -> str:
    """Return the absolute path of a row's file."""
    return join(place, unescape_path(root), unescape_path(path))


def _warn_of_damage(error: StoreError) -> None:
    """Warn that damaged data is left out."""
    warnings.warn(f"{error}; until then they are left out", ClusterkitWarning, stacklevel=2)


def _files_of(place: Path, roots: list[str], paths: list[str]) -> Iterator[str]:
    """Yield the absolute path of each row's file: as :func:`file_of`, for many rows."""
    folders = {root: os.path.join(file_of(place, root, ""), "") for root in set(roots)}  # noqa: PTH118
    for root, path in zip(roots, paths, strict=True):
        name = unescape_path(path)
        is_normal = os.sep == "/" and _NORMAL.fullmatch(name)
        yield folders[root] + name if is_normal else file_of(place, root, path)


def _common_root(place: Path, roots: Iterable[str]) -> str:
    """Return the nearest common folder of stored roots."""
    return common_folder([file_of(place, root, "") for root in roots] or [str(place)])


def _relative_paths(place: Path, table: Any, root: str) -> list[str]:
    """Return the path of each row's file relative to a folder, with forward slashes.

    Parameters
    ----------
    place : pathlib.Path
        The folder that contains the store.
    table : pyarrow.Table
        With the columns ``path`` and ``root``.
    root : str
        Absolute path of the folder.

    Returns
    -------
    list of str
        ``relative(file_of(place, root, path), root)`` of each row; for very many rows, Arrow does
        the work.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    folders = pc.unique(table["root"])
    starts = [relative(file_of(place, folder, ""), root) for folder in folders.to_pylist()]
    starts = ["" if start == "." else f"{start}/" for start in starts]
    unusual = np.asarray(pc.match_substring_regex(table["path"], _UNUSUAL))
    # Folder names beyond ASCII may be invalid text for Arrow.
    if not all(start.isascii() for start in starts):
        unusual[:] = True
    numbers = pc.index_in(table["root"], value_set=folders)
    start_of = pa.array([start if start.isascii() else "" for start in starts], pa.string())
    joined = pc.binary_join_element_wise(start_of.take(numbers), table["path"], "")
    paths: list[str] = joined.to_pylist()
    rows = np.flatnonzero(unusual)
    some = table.select(["root", "path"]).take(rows)
    for row, folder, path in zip(
        rows.tolist(), some["root"].to_pylist(), some["path"].to_pylist(), strict=True
    ):
        paths[row] = relative(file_of(place, folder, path), root)
    return paths


def _last_rows(paths: list[str]) -> NDArray[np.int64]:
    """Return the last row of each path, ascending."""
    row_of = dict(zip(paths, range(len(paths)), strict=True))
    if len(row_of) == len(paths):
        return np.arange(len(paths))
    return np.sort(np.fromiter(row_of.values(), np.int64, len(row_of)))
