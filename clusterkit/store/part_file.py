"""Reading and writing the Parquet files of a space.

Images with a vector are in ``part-*.parquet``; those that could not be embedded are in
``failures-*.parquet`` without a vector column, because pyarrow before 26 does not support null
vectors.  In format 1 of a part both are in one file.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clusterkit.errors import ClusterkitError, StoreError, UnreachableError
from clusterkit.store.space_files import FLOAT16, FLOAT32, Part, UnopenedError, is_failures
from clusterkit.utils.files import atomic_file
from clusterkit.utils.locations import RemotePath, is_address

# Metadata key of a part's format, fingerprint and checksum.
_METADATA = b"clusterkit"
_FORMAT = 2
_FILE = {
    "path": pa.string(),
    "root": pa.string(),
    "digest": pa.string(),
    "size": pa.int64(),
    "mtime_ns": pa.int64(),
    "ctime_ns": pa.int64(),
    "inode": pa.int64(),
}
_TOP5 = pa.list_(pa.struct([("class", pa.string()), ("probability", pa.float32())]))
_PICTURE = {"width": pa.int32(), "height": pa.int32()}
_TYPES = _FILE | _PICTURE | {"top5": _TOP5, "error": pa.string()}
MAX_FLOAT16 = float(np.finfo(np.float16).max)
_NUMBERS = {FLOAT32: pa.float32(), FLOAT16: pa.float16()}
_NEVER_NULL = frozenset({"path", "root", "vector", "error"})
_OTHER_SHAPE = "of another shape than its space"


@dataclass(slots=True)
class Row:
    """One image of a space, with its vector or the reason of its failure.

    Attributes
    ----------
    path, root : str
        Path of the file, and the folder that it is relative to.
    digest : str or None
        SHA-256 of the file's bytes, if it could be read.
    size, mtime_ns, ctime_ns, inode : int or None
        Status of the file; None for values beyond 64 bits.
    width, height : int or None
        Size of the upright image in pixels.
    error : str or None
        The reason if there is no vector.
    vector : ndarray of shape (dimension,), float32, or None
        The embedding.
    top5 : list of (str, float), or None
        The most probable ImageNet classes, if the network predicts them.
    kept : (str, int) or None
        The part and row that already hold vector, top5, width and height.
    """

    path: str
    root: str
    digest: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    width: int | None = None
    height: int | None = None
    error: str | None = None
    vector: NDArray[np.float32] | None = None
    top5: list[tuple[str, float]] | None = None
    ctime_ns: int | None = None
    inode: int | None = None
    kept: tuple[str, int] | None = None


def schema(dimension: int | None, numbers: str = FLOAT32) -> pa.Schema:
    """Return the schema of a part or, without a dimension, of a failures file."""
    number = _NUMBERS[numbers]
    types = _FILE | (
        {"error": pa.string()}
        if dimension is None
        else _PICTURE | {"vector": pa.list_(number, dimension), "top5": _TOP5}
    )
    return pa.schema(
        [pa.field(name, type_, nullable=name not in _NEVER_NULL) for name, type_ in types.items()]
    )


def rows_to_table(rows: list[Row], dimension: int | None, numbers: str = FLOAT32) -> pa.Table:
    """Convert rows to a table, without converting vectors to Python floats."""
    columns: dict[str, Any] = {}
    for name in schema(dimension).names:
        if name == "vector":
            vectors = np.empty((len(rows), dimension or 0), numbers)
            for i, row in enumerate(rows):
                vectors[i] = row.vector
            columns[name] = _fixed_size(vectors)
        elif name == "top5":
            columns[name] = [
                row.top5 and [{"class": text, "probability": share} for text, share in row.top5]
                for row in rows
            ]
        else:
            columns[name] = [getattr(row, name) for row in rows]
    return pa.table(columns, schema=schema(dimension, numbers))


def split_table(
    table: pa.Table, dimension: int, numbers: str = FLOAT32
) -> tuple[pa.Table, pa.Table]:
    """Split a table into rows with and without a vector, with the schemas of their files."""
    failed = np.asarray(table["error"].is_valid())
    failures = table.filter(failed).select(schema(None).names).cast(schema(None))
    if failed.all():
        return schema(dimension, numbers).empty_table(), failures
    table = table.filter(~failed)
    columns = {name: table[name] for name in schema(dimension).names}
    vectors = table_vectors(table, dimension).astype(numbers, copy=False)
    columns["vector"] = _fixed_size(vectors)
    return pa.table(columns, schema=schema(dimension, numbers)), failures


def write_part(file: Path, table: pa.Table, fingerprint: str, *, folder: Path) -> Part:
    """Write a part atomically, flushed to disk; until it is complete, it is in another folder.

    Raises
    ------
    StoreError
        If it cannot be written; no partial file is left.
    """
    checksum = _checksum(table, fingerprint)
    made = {"format": _FORMAT, "fingerprint": fingerprint, "checksum": checksum}
    table = table.replace_schema_metadata({_METADATA: json.dumps(made)})
    try:
        # Use a Python stream, whose errors are those of the system.
        with atomic_file(file, folder=folder) as temporary, temporary.open("wb") as stream:
            # Float vectors hardly compress.
            pq.write_table(
                table, stream, compression="zstd", compression_level=1, write_page_checksum=True
            )
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror or error}") from error
    return Part(file.name, len(table), checksum)


def read_part(file: Path, columns: list[str], part: Part | None = None) -> pa.Table:
    """Read columns of a part; missing columns are null.

    Parameters
    ----------
    file : pathlib.Path
        The part.
    columns : list of str
        Column names; a missing "vector" is left out.
    part : Part, optional
        Its entry in the list of parts.

    Raises
    ------
    StoreError
        If the part is missing, damaged, or differs from its entry in the list.
    """
    with _opened(file) as opened:
        names = set(opened.schema_arrow.names)
        table = opened.read([name for name in columns if name in names], use_threads=False)
    if part is not None and part.checksum != _metadata(table).get("checksum"):
        raise part_error(file, "not the part that the list of parts names")
    found = {
        name: table[name] if name in names else pa.nulls(len(table), _TYPES[name])
        for name in columns
        if name in names or name != "vector"
    }
    for name, column in found.items():
        wrong_type = name != "vector" and column.type != _TYPES[name]
        if wrong_type or (name in ("path", "root") and column.null_count):
            raise part_error(file, _OTHER_SHAPE)
    return pa.table(found)


def read_vectors(
    file: Path, rows: NDArray[np.int64], dimension: int, part: Part | None = None
) -> NDArray[np.float32]:
    """Read the vectors of rows of a part, as an array of shape (n, dimension).

    Raises
    ------
    StoreError
        As for :func:`read_part`, or if a vector is missing, of the wrong length, or not finite.
    """
    table = read_part(file, ["vector"], part)
    if "vector" not in table.column_names or (len(rows) and rows.max() >= len(table)):
        raise part_error(file, _OTHER_SHAPE)
    try:
        return table_vectors(table.take(rows), dimension)
    except ValueError as error:
        raise part_error(file, f"damaged: {error}") from error


def part_error(file: Path, problem: str) -> StoreError:
    """Return the error of a part that cannot be used, with a remedy."""
    return StoreError(f"{file} is {problem}. Run `clusterkit embed` again to restore its images")


def iter_column(file: Path, column: str, n_rows: int) -> Iterator[pa.Table]:
    """Read a column of a part as tables of at most ``n_rows`` rows.

    Raises
    ------
    StoreError
        If the part is missing or damaged.
    """
    with _opened(file) as part:
        for batch in part.iter_batches(n_rows, columns=[column], use_threads=False):
            yield pa.Table.from_batches([batch])


def find_damage(
    file: Path, dimension: int, fingerprint: str, part: Part, numbers: str = FLOAT32
) -> tuple[str, None] | tuple[None, Part]:
    """Read a whole part, and return its damage or, if it is intact, its description.

    Parameters
    ----------
    file : pathlib.Path
        The part.
    dimension, fingerprint : int, str
        Those of the space.
    part : Part
        The expected part.
    numbers : {"float32", "float16"}
        Data type of the vectors.

    Returns
    -------
    damage : str or None
        Description of the damage.
    found : Part or None
        The part as described by its own metadata.

    Raises
    ------
    UnopenedError
        If it cannot be opened, and may be intact.
    """
    try:
        with _opened(file) as opened:
            table = opened.read(use_threads=False)
    except UnopenedError:
        raise
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return "missing", None
        return f"damaged or cannot be read: {_reason(error.__cause__)}", None
    made = _metadata(table)
    if not made:
        # Parts of format 1 have no metadata; parts listed with a checksum must have it.
        damage = "not the part that was written" if part.checksum else _old_damage(table, dimension)
    elif made.get("fingerprint") != fingerprint:
        damage = f"of another network (fingerprint {made.get('fingerprint')})"
    elif not table.schema.equals(schema(None if is_failures(file.name) else dimension, numbers)):
        damage = _OTHER_SHAPE
    else:
        damage = _damage_of_rows(table, dimension)
        if damage is None and made.get("checksum") != _checksum(table, fingerprint):
            damage = "damaged: its content does not have its checksum"
    found = Part(file.name, len(table), made.get("checksum"))
    if damage is None and part not in (Part(file.name), found):
        damage = "not the part that was written"
    return (None, found) if damage is None else (damage, None)


def table_vectors(table: pa.Table, dimension: int) -> NDArray[np.float32]:
    """Return the vectors of a table as an array of shape (n, dimension), float32.

    Raises
    ------
    ValueError
        If one is missing, of the wrong length, or not finite.
    """
    column = table.column("vector")
    chunks = [np.asarray(chunk.flatten()) for chunk in column.chunks]
    flat = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    if (
        column.null_count
        or flat.dtype not in (np.float32, np.float16)
        or len(flat) != len(table) * dimension
    ):
        raise ValueError(f"it holds rows without a vector of {dimension} numbers")
    if not np.isfinite(flat).all():
        raise ValueError("it holds vectors with NaN or infinity")
    return flat.astype(np.float32, copy=False).reshape(-1, dimension)


def table_top5(table: pa.Table) -> list[list[tuple[str, float]] | None]:
    """Return the most probable classes of each row as (name, probability) pairs, if stored."""
    return [
        None if row is None else [(item["class"], item["probability"]) for item in row]
        for row in table.column("top5").to_pylist()
    ]


@contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    """Open a part, and convert all errors of reading it to StoreError."""
    # Pre-buffering would hold a whole row group in memory.  Threads are off because an Arrow thread
    # that releases a Python stream during shutdown aborts the process.
    # From object storage, all columns are read with one request.
    options = {"pre_buffer": is_address(file), "page_checksum_verification": True}
    try:
        with ExitStack() as stack:
            stream = stack.enter_context(_open(file))
            part = stack.enter_context(pq.ParquetFile(stream, **options))
            if _METADATA not in (part.metadata.metadata or {}):
                stream.seek(0)
                source = pa.BufferReader(_with_plain_lists(stream.read()))
                part = stack.enter_context(pq.ParquetFile(source, **options))
            yield part
    except FileNotFoundError as error:
        raise part_error(file, "missing") from error
    except ClusterkitError:
        raise
    # A damaged footer raises many kinds of errors.
    except Exception as error:
        failure = file.failure(error) if isinstance(file, RemotePath) else None
        if failure is not None and (isinstance(failure, UnreachableError) or file.exists()):
            raise failure from error
        if failure is not None:
            # Deleted by another run since it was opened.
            raise part_error(file, "missing") from FileNotFoundError(str(file))
        raise part_error(file, f"damaged or cannot be read: {_reason(error)}") from error


def _open(file: Path) -> IO[bytes]:
    """Open a file, and tell one that is denied, for example, from a damaged one."""
    try:
        return file.open("rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        if is_address(file):
            raise
        raise UnopenedError(file, error) from error


def _with_plain_lists(data: bytes) -> bytes:
    """Remove the Arrow schema from a file of format 1, so that vectors are plain lists.

    pyarrow before 26 cannot read nulls in fixed-size lists.
    """
    before, key, after = data.rpartition(b"ARROW:schema")
    return before + key.replace(b":", b"-") + after


def _reason(error: BaseException | None) -> str:
    """Return an error's message, or its type if it has none."""
    return str(error).rstrip(".") or type(error).__name__


def _metadata(table: pa.Table) -> dict[str, Any]:
    """Return the metadata of a part; empty for format 1."""
    try:
        made = json.loads((table.schema.metadata or {}).get(_METADATA, b"{}"))
    except ValueError:
        return {"format": None}
    return made if isinstance(made, dict) else {"format": None}


def _checksum(table: pa.Table, fingerprint: str) -> str:
    """Return the SHA-256 of a part's rows and fingerprint, independent of the encoding."""
    digest = hashlib.sha256(fingerprint.encode())
    for name in table.column_names:
        column = table[name]
        if name == "vector":
            for chunk in column.chunks:
                digest.update(np.ascontiguousarray(chunk.flatten()).data)
        else:
            digest.update(repr(column.to_pylist()).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _damage_of_rows(table: pa.Table, dimension: int) -> str | None:
    """Return the damage of a part's values, or None."""
    if any(table[name].null_count for name in _NEVER_NULL & set(table.column_names)):
        return "damaged: it holds rows without a path, a vector or a reason"
    if "vector" in table.column_names:
        try:
            table_vectors(table, dimension)
        except ValueError as error:
            return f"damaged: {error}"
    return None


def _old_damage(table: pa.Table, dimension: int) -> str | None:
    """Return the damage of a part of format 1, or None."""
    expected = {name: type_ for name, type_ in _TYPES.items() if name not in ("ctime_ns", "inode")}
    if {*table.column_names} != {*expected, "vector"} or any(
        table[name].type != type_ for name, type_ in expected.items()
    ):
        return _OTHER_SHAPE
    if table["path"].null_count or table["root"].null_count:
        return "damaged: it holds rows without a path"
    vector, failed = table["vector"], np.asarray(table["error"].is_valid())
    if np.asarray(vector.is_valid())[failed].any():
        return "damaged: it holds failures with a vector"
    if not pa.types.is_list(vector.type) and not pa.types.is_fixed_size_list(vector.type):
        return _OTHER_SHAPE
    lengths = {len(vector[i]) for i in np.flatnonzero(~failed)[:1] if vector[i].is_valid}
    if lengths - {dimension}:
        return _OTHER_SHAPE
    return _damage_of_rows(table.filter(~failed).select(["path", "root", "vector"]), dimension)


def _fixed_size(vectors: NDArray[Any]) -> pa.FixedSizeListArray:
    """Return vectors as a fixed-size list column."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
