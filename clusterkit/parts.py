"""The Parquet parts of a space: their schema, and writing and reading them whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clusterkit.errors import StoreError
from clusterkit.files import atomic_file

PATTERN = "part-*.parquet"


@dataclass(slots=True)
class Row:
    """One image of a space: embedded, or a failure with its reason.

    Attributes
    ----------
    path, root : str
        The file's path, and the folder that it is relative to.
    digest : str or None
        SHA-256 of the file's bytes, where they could be read.
    size, mtime_ns : int or None
        Of the file, as the file system tells.
    width, height : int or None
        Of the upright picture, in pixels.
    error : str or None
        Why there is no vector.
    vector : ndarray of shape (dimension,), float32, or None
        The embedding.
    top5 : list of (str, float), or None
        The most probable ImageNet classes, where the network has that head.
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


def schema(dimension: int) -> pa.Schema:
    """Return the columns of a part."""
    top_class = pa.struct([("class", pa.string()), ("probability", pa.float32())])
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("root", pa.string(), nullable=False),
            ("digest", pa.string()),
            ("size", pa.int64()),
            ("mtime_ns", pa.int64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("error", pa.string()),
            ("vector", pa.list_(pa.float32(), dimension)),
            ("top5", pa.list_(top_class)),
        ]
    )


def rows_to_table(rows: list[Row], dimension: int) -> pa.Table:
    """Turn rows into a table, the vectors without a detour through Python floats."""
    columns: dict[str, Any] = {
        name: [getattr(row, name) for row in rows]
        for name in ("path", "root", "digest", "size", "mtime_ns", "width", "height", "error")
    }
    missing = np.array([row.vector is None for row in rows])
    vectors = np.zeros((len(rows), dimension), np.float32)
    for i, row in enumerate(rows):
        if row.vector is not None:
            vectors[i] = row.vector
    columns["vector"] = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.ravel()), dimension, mask=pa.array(missing)
    )
    columns["top5"] = [
        None
        if row.top5 is None
        else [{"class": name, "probability": probability} for name, probability in row.top5]
        for row in rows
    ]
    return pa.table(columns, schema=schema(dimension))


def write_part(file: Path, table: pa.Table) -> None:
    """Write a part whole, flush it to the disk, then rename it into place.

    Raises
    ------
    StoreError
        If it cannot be written; nothing half-written is left behind.
    """
    try:
        # Python's stream, whose errors have the system's words.
        with atomic_file(file) as temporary, temporary.open("wb") as stream:
            # Vectors of floats hardly compress; paths and digests do a little.
            pq.write_table(
                table, stream, compression="zstd", compression_level=1, write_page_checksum=True
            )
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror or error}") from error


def read_part(file: Path, columns: list[str] | None = None) -> pa.Table:
    """Read some or all columns of a part.

    Raises
    ------
    StoreError
        If the part is damaged or cannot be read.
    """
    try:
        return pq.read_table(
            file, columns=columns, partitioning=None, page_checksum_verification=True
        )
    except (OSError, pa.ArrowException) as error:
        raise _cannot_read(file, error) from error


def read_batches(file: Path, columns: list[str], n_rows: int) -> Iterator[pa.Table]:
    """Read some columns of a part as tables of at most ``n_rows`` rows.

    Raises
    ------
    StoreError
        If the part is damaged or cannot be read.
    """
    try:
        # Without pre-buffering, which would hold a whole row group.
        with pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True) as part:
            for batch in part.iter_batches(n_rows, columns=columns):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException) as error:
        raise _cannot_read(file, error) from error


def find_damage(file: Path, dimension: int) -> str | None:
    """Read a part whole, and say what is wrong with it; None where all is well."""
    try:
        table = read_part(file)
    except StoreError as error:
        return f"damaged or cannot be read: {error.__cause__}"
    return None if table.schema.equals(schema(dimension)) else "of another shape than its space"


def count_rows(file: Path) -> int:
    """Return the number of rows of a part."""
    return int(pq.read_metadata(file).num_rows)


def table_vectors(table: pa.Table) -> NDArray[np.float32]:
    """Return the vectors of the rows that have one, as an array of shape (n, dimension)."""
    column = table.column("vector")
    chunks = [np.asarray(chunk.flatten()) for chunk in column.chunks]
    dimension = column.type.list_size
    flat = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return flat.reshape(-1, dimension)


def table_top5(table: pa.Table) -> list[list[tuple[str, float]] | None]:
    """Return the most probable classes of each row as (name, probability) pairs, where stored."""
    return [
        None if row is None else [(item["class"], item["probability"]) for item in row]
        for row in table.column("top5").to_pylist()
    ]


def _cannot_read(file: Path, error: Exception) -> StoreError:
    """Say which part is damaged, and how."""
    return StoreError(f"{file} is damaged or cannot be read: {str(error).rstrip('.')}")
