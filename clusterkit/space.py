"""One embedding space on disk: a description, and Parquet parts that hold a row per image."""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.embeddings import Embeddings, Failure, TopClasses
from clusterkit.errors import StoreError
from clusterkit.files import atomic_file
from clusterkit.images import ImageFolder, digest_weights
from clusterkit.paths import escape_path, is_gone, unescape_path
from clusterkit.stream import VectorStream

FORMAT = 1
# pyarrow is imported where it is used, so that this module costs nothing to import.
_FACTS = ["path", "root", "digest", "size", "mtime_ns", "error"]


@dataclass(frozen=True, slots=True)
class KnownRow:
    """What the store knows of one file, without its vector."""

    part: str
    position: int
    path: str
    root: str
    digest: str | None
    size: int | None
    mtime_ns: int | None
    error: str | None


class Space:
    """All rows that one extractor made: a folder with ``space.json`` and Parquet parts.

    A part is never changed in place.  Where two parts hold a row of the same file, the later one
    counts.

    Parameters
    ----------
    folder : path
        The space's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info_file = folder / "space.json"

    def __repr__(self) -> str:
        return f"Space({self.folder.name!r})"

    @property
    def info(self) -> dict[str, Any]:
        """What made the space.

        Raises
        ------
        StoreError
            If it is missing or damaged, or of a newer format.
        """
        info = self.read_info()
        if info is None:
            raise StoreError(
                f"{self.info_file} is missing or damaged: `clusterkit embed` with the same "
                "extractor writes it again"
            )
        return info

    def read_info(self) -> dict[str, Any] | None:
        """Return what made the space, or None where that is missing or damaged.

        Raises
        ------
        StoreError
            If it is of a newer format.
        """
        try:
            info: dict[str, Any] = json.loads(self.info_file.read_text(encoding="utf-8"))
            version = info["format"]
            whole = version > FORMAT or {"extractor", "fingerprint", "dimension"} <= info.keys()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if version > FORMAT:
            raise StoreError(
                f"{self.info_file} has format {version}, made by a newer clusterkit; this one "
                f"reads up to format {FORMAT}: pip install --upgrade clusterkit"
            )
        return info if whole else None

    def write_info(self, description: dict[str, Any]) -> None:
        """Make the space's folder, and record what makes its vectors.

        Raises
        ------
        StoreError
            If the folder cannot be written.
        """
        text = json.dumps({"format": FORMAT, **description}, indent=2, ensure_ascii=False)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.info_file) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise self._cannot_write(error) from error

    @property
    def used_ns(self) -> int:
        """When the space was last embedded into, in nanoseconds."""
        return self.info_file.stat().st_mtime_ns

    @property
    def parts(self) -> list[Path]:
        """The parts, oldest first."""
        return sorted(self.folder.glob("part-*.parquet"))

    def answers_to(self, extractor: str) -> bool:
        """Tell whether this space is meant by an extractor's name, a space's, or a model file."""
        if extractor.endswith(".keras") and Path(extractor).is_file():
            return digest_weights(extractor) in self.info_file.read_text(encoding="utf-8")
        # Without the JSON, so that a damaged space is not in the way of the others.
        return extractor in (self.folder.name, self.folder.name.rpartition("-")[0])

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the space for writing, and mark it as used last.

        What a killed run left half-written goes; a damaged part is set aside with a warning, so
        that its images count as new.

        Raises
        ------
        StoreError
            If another process holds it, or the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        with ExitStack() as held:
            try:
                held.enter_context(FileLock(self.folder / ".lock", timeout=0))
                for leftover in self.folder.glob(".*.tmp*"):
                    leftover.unlink()
                for part, reason in self.verify():
                    part.rename(part.with_name(part.name + ".damaged"))
                    warnings.warn(
                        f"{part} is {reason}. It is set aside as {part.name}.damaged, and its "
                        "images are embedded again",
                        stacklevel=3,
                    )
                os.utime(self.info_file)
            except Timeout:
                raise StoreError(
                    f"another run is writing to {self.folder}: wait for it to end, then run again"
                ) from None
            except OSError as error:
                raise self._cannot_write(error) from error
            yield

    def verify(self) -> list[tuple[Path, str]]:
        """Read all parts whole, and return those that are damaged with what is wrong."""
        from clusterkit.parts import find_damage

        dimension = self.info["dimension"]
        damages = [(part, find_damage(part, dimension)) for part in self.parts]
        return [(part, damage) for part, damage in damages if damage is not None]

    def summary(self) -> dict[str, Any]:
        """Count what the space holds.

        Returns
        -------
        dict
            ``space`` (its folder's name), ``extractor``, ``dimension``, ``created``, ``images``,
            ``embedded``, ``failed``, ``gone`` (their file is no longer there), ``parts``,
            ``bytes``.

        Raises
        ------
        StoreError
            If it is damaged, or of a newer format.
        """
        info, known = self.info, self.known_rows()
        failed = sum(row.error is not None for row in known.values())
        return {
            "space": self.folder.name,
            "extractor": info["extractor"],
            "dimension": info["dimension"],
            "created": info.get("created"),
            "images": len(known),
            "embedded": len(known) - failed,
            "failed": failed,
            "gone": sum(map(is_gone, known)),
            "parts": len(self.parts),
            "bytes": sum(part.stat().st_size for part in self.parts),
        }

    def known_rows(self) -> dict[str, KnownRow]:
        """Return what is known of each file, by its absolute path; the last part counts.

        Raises
        ------
        StoreError
            If a part is damaged: what follows from the rows must follow from all of them.
        """
        from clusterkit.parts import read_part

        known = {}
        for part in self.parts:
            columns = [column.to_pylist() for column in read_part(part, _FACTS).columns]
            for position, values in enumerate(zip(*columns, strict=True)):
                row = KnownRow(part.name, position, *values)
                known[self.file_of(row.root, row.path)] = row
        return known

    def append(self, rows: list[Any]) -> None:
        """Write :class:`~clusterkit.parts.Row` objects as the next part."""
        from clusterkit.parts import rows_to_table, write_part

        last = self.parts[-1:]
        number = int(last[0].stem.partition("-")[2]) + 1 if last else 1
        table = rows_to_table(rows, self.info["dimension"])
        write_part(self.folder / f"part-{number:06d}.parquet", table)

    def read_row(self, known: KnownRow) -> tuple[Any, Any, int | None, int | None]:
        """Return vector, top5, width and height of a row that is known."""
        from clusterkit.parts import read_part, table_top5

        if getattr(self, "_last_part", (None,))[0] != known.part:
            columns = ["vector", "top5", "width", "height"]
            self._last_part = (known.part, read_part(self.folder / known.part, columns))
        row = self._last_part[1].slice(known.position, 1)
        vector = np.asarray(row.column("vector").combine_chunks().flatten())
        return vector, table_top5(row)[0], row["width"][0].as_py(), row["height"][0].as_py()

    def clean(self, *, prune: bool = False) -> int:
        """Drop the rows that no longer count.

        These are the superseded ones, and those of files that were moved: the file is gone, and
        its content is known elsewhere.

        Parameters
        ----------
        prune : bool
            Drop the rows of all files that are gone.

        Returns
        -------
        int
            Number of gone files whose rows were dropped.
        """
        from clusterkit.parts import count_rows, read_part, write_part

        known = self.known_rows()
        gone = {file for file in known if is_gone(file)}
        if not prune:
            present = {row.digest for file, row in known.items() if file not in gone}
            gone = {file for file in gone if known[file].digest in present - {None}}
        keep: dict[str, list[int]] = {}
        for file in known.keys() - gone:
            keep.setdefault(known[file].part, []).append(known[file].position)
        for part in self.parts:
            positions = sorted(keep.get(part.name, []))
            if not positions:
                part.unlink()
            elif count_rows(part) != len(positions):
                write_part(part, read_part(part).take(positions))
        return len(gone)

    def read(self, images: ImageFolder | None = None) -> Embeddings:
        """Load the space.

        Parameters
        ----------
        images : ImageFolder, optional
            Only these; by default all.

        Returns
        -------
        Embeddings
            One row per embedded image, sorted by path, and the failures.  Paths are relative to
            the root of ``images``, or by default to the nearest common folder of all roots.
        """
        import pyarrow as pa

        from clusterkit.parts import table_top5

        info = self.info
        columns = ["path", "root", "digest", "error", "top5"]
        tables = {part: self._read_part(part, columns) for part in self.parts}
        tables = {part: table for part, table in tables.items() if table is not None}
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
        row_of_path = {_relative(file, root): row for file, row in row_of_file.items()}
        rows = sorted(row_of_path.items())
        embedded = [(path, row) for path, row in rows if errors[row] is None]
        order = np.array([row for _, row in embedded], dtype=np.int64)
        vectors, intact = self._read_vectors(tables, order)
        order = order[intact]
        top5 = table_top5(table.select(["top5"]).take(order))
        return Embeddings(
            vectors,
            paths=[path for (path, _), whole in zip(embedded, intact, strict=True) if whole],
            root=Path(root),
            space=info,
            top5=top5 if any(top5) else None,
            digests=table["digest"].take(order).to_pylist(),
            failures=[Failure(path, errors[row]) for path, row in rows if errors[row] is not None],
        )

    def stream(self) -> VectorStream:
        """Open the vectors of all embedded images for reading batch by batch.

        For spaces that are larger than memory, which :meth:`read` would fill.

        Returns
        -------
        VectorStream
            One row per embedded image, in the order in which they were stored.  Paths are relative
            to the nearest common folder of all roots.

        Raises
        ------
        StoreError
            If a part is damaged.
        """
        import pyarrow as pa

        from clusterkit.parts import read_part

        tables = {part: read_part(part, ["path", "root", "error"]) for part in self.parts}
        if not tables:
            return VectorStream([], self.folder, self.info)
        table = pa.concat_tables(tables.values())
        row_of_file = self._row_of_file(table)
        root = self._common_root(table)
        errors = table["error"].to_pylist()
        path_of_row = {row: _relative(file, root) for file, row in row_of_file.items()}
        rows = sorted(path_of_row)
        embedded = [row for row in rows if errors[row] is None]
        chosen = np.zeros(len(table), np.bool_)
        chosen[embedded] = True
        ends = np.cumsum([len(facts) for facts in tables.values()])
        return VectorStream(
            [path_of_row[row] for row in embedded],
            Path(root),
            self.info,
            dict(zip(tables, np.split(chosen, ends[:-1]), strict=True)),
            [Failure(path_of_row[row], errors[row]) for row in rows if errors[row] is not None],
        )

    def read_top5(self) -> dict[str, TopClasses]:
        """Return the most probable ImageNet classes of each file, where the space has them.

        Files of damaged parts are as if they had none.
        """
        from clusterkit.parts import read_part, table_top5

        known = {}
        for part in self.parts:
            try:
                table = read_part(part, ["root", "path", "top5"])
            except StoreError:
                continue
            if table["top5"].null_count < len(table):
                files = map(self.file_of, table["root"].to_pylist(), table["path"].to_pylist())
                rows = zip(files, table_top5(table), strict=True)
                known.update({file: classes for file, classes in rows if classes})
        return known

    def _row_of_file(self, table: Any) -> dict[str, int]:
        """Map each file, by its absolute path, to its row of the parts' columns that counts."""
        files = map(self.file_of, table["root"].to_pylist(), table["path"].to_pylist())
        return {file: row for row, file in enumerate(files)}

    def _common_root(self, table: Any) -> str:
        """Return the nearest common folder of all roots."""
        return os.path.commonpath(
            [self.file_of(root, "") for root in table["root"].unique().to_pylist()]
        )

    def _read_vectors(
        self, tables: dict[Path, Any], order: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read vectors in a given order of the parts' rows, and which of them are whole.

        One part is in memory at a time, besides the result.
        """
        from clusterkit.parts import table_vectors

        vectors = np.empty((len(order), self.info["dimension"]), np.float32)
        intact = np.ones(len(order), np.bool_)
        first = 0
        for part, facts in tables.items():
            targets = np.flatnonzero((first <= order) & (order < first + len(facts)))
            table = self._read_part(part, ["vector"])
            if table is None:
                intact[targets] = False
            else:
                vectors[targets] = table_vectors(table.take(order[targets] - first))
            first += len(facts)
        return (vectors if intact.all() else vectors[intact]), intact

    def root_of(self, folder: Path) -> str:
        """Write an image root: relative to the store's own place where it lies beneath it."""
        place = self._place()
        inside = folder == place or place in folder.parents
        return escape_path(os.path.relpath(folder, place) if inside else str(folder))

    def file_of(self, root: str, path: str) -> str:
        """Return the absolute path of a row's file."""
        joined = os.path.join(self._place(), unescape_path(root), unescape_path(path))  # noqa: PTH118
        return os.path.normpath(joined)

    def _place(self) -> Path:
        """Return the folder in which the store lies."""
        return Path(os.path.abspath(self.folder.parent.parent))  # noqa: PTH100

    def _cannot_write(self, error: OSError) -> StoreError:
        """Say why the store cannot be written, and the way out."""
        return StoreError(
            f"cannot write the store {self.folder.parent}: {error.strerror or error}. "
            "Choose another folder with --store"
        )

    def _read_part(self, part: Path, columns: list[str]) -> Any:
        """Read a part, or warn that it is damaged and return None: the others stay usable."""
        from clusterkit.parts import read_part

        try:
            return read_part(part, columns)
        except StoreError as error:
            warnings.warn(
                f"{error}. Its images are left out; run `clusterkit embed` again to restore them",
                stacklevel=2,
            )
            return None


def _relative(file: str, root: str) -> str:
    """Return a file's path relative to a folder, with forward slashes."""
    return os.path.relpath(file, root).replace(os.sep, "/")
