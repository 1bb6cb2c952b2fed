"""Import vectors of other programs into a store, and export embeddings."""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit import __version__
from clusterkit.datasets.tables import csv_lines
from clusterkit.errors import ClusterkitError, ImageError, InvalidInputError, NotFoundError
from clusterkit.images.folder import digest_bytes, read_bytes, read_list
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.space import Space
from clusterkit.store.store import Store, as_store
from clusterkit.store.stream import VectorStream
from clusterkit.utils.files import atomic_file, check_output
from clusterkit.utils.locations import absolute, as_path, common_folder, join, relative
from clusterkit.utils.parallel import map_ahead
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import escape_path, unescape_path

IMPORT_SUFFIXES = (".npy", ".npz", ".parquet")
EXPORT_SUFFIXES = (".npz", ".parquet", ".csv")
_PART_ROWS = 8192
# Number of rows that are exported at a time.
_BATCH_ROWS = 8192
# Bytes of the paths of an .npz file that are in memory at a time.
_TEXT_BYTES = 2**24
# Columns of paths that are preferred to other text.
_PATH_COLUMNS = ("path", "filepath", "file_path", "filename", "file_name", "file", "image_path")
# Vectors of shape (n, dimension), their paths, and the folder that these are relative to.
Contents = tuple[NDArray[Any], list[str], str]


class Columns(NamedTuple):
    """Names of the columns of vectors and of paths, if the user gave them."""

    vectors: str | None = None
    paths: str | None = None


def import_vectors(
    source: str | Path,
    store: Store | str | Path,
    *,
    paths: str | Path | None = None,
    name: str | None = None,
    vector_column: str | None = None,
    path_column: str | None = None,
) -> Space:
    """Import vectors of another program into a store, as a new space.

    The space supports everything except new images, since the network that made it is unknown.

    Parameters
    ----------
    source : path
        A ``.npy`` file of shape (n, dimension); or an ``.npz`` or ``.parquet`` file with vectors
        and paths, such as :func:`clusterkit.export_embeddings` writes.
    store : Store or path
        The destination.
    paths : path, optional
        For files without paths, such as ``.npy``: a text file with one image path per line,
        relative to the text file's folder.  Paths in ``.npz`` and ``.parquet`` files are relative
        to their ``root``, if given, otherwise to the file's folder.  The images need not exist.
    name : str, optional
        Name of the space's extractor; by default the file's name without its suffix.  Where an
        extractor of that name has made a space, too, the name means that one.
    vector_column, path_column : str, optional
        Name of the arrays or columns of an ``.npz`` or ``.parquet`` file.  By default ``vectors``
        and ``paths``, or ``vector`` and ``path``, otherwise the only ones with rows of numbers, and
        with text; columns such as ``filename`` come before other text.

    Returns
    -------
    Space
        The new space.  Its fingerprint is the digest of vectors and paths, so that importing the
        same file again changes nothing.

    Raises
    ------
    NotFoundError
        If a file does not exist.
    InvalidInputError
        If the content of a file is invalid.
    StoreError
        If the store cannot be written.
    """
    from clusterkit.store.part_file import Row

    source = Path(as_path(source))
    name = source.stem if name is None else name
    if not re.fullmatch(r"[\w.-]+", name) or name.startswith(".") or name.endswith(".keras"):
        raise InvalidInputError(
            "a name may hold letters, digits, '.', '_' and '-', and not end in .keras, as the file "
            f"of a network does. Received: {name!r} (use --name)"
        )
    asked = Columns(vector_column, path_column)
    values, files = _read(source, None if paths is None else Path(paths), asked)
    vectors = _check(source, values, files)
    content = hashlib.sha256(vectors.data)
    content.update("\0".join(map(escape_path, files)).encode())
    store = as_store(store)
    space = store.open_space(
        {
            "extractor": name,
            "fingerprint": content.hexdigest(),
            "dimension": vectors.shape[1],
            "imported_from": escape_path(os.path.abspath(source)),  # noqa: PTH100
            "versions": {"clusterkit": __version__},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    root = common_folder([os.path.dirname(file) for file in files])  # noqa: PTH120
    with store.writing(space):
        known = space.known_rows()
        space.check_root(as_path(root), known)
        rows = []
        for file, digest, vector in zip(
            files, map_ahead(_digest, files, ahead=64), vectors, strict=True
        ):
            # The space has these vectors alone: only a changed image makes another row.
            if file in known and known[file].digest == digest:
                continue
            path = relative(file, root)
            rows.append(
                Row(escape_path(path), space.root_of(as_path(root)), digest=digest, vector=vector)
            )
        for start in range(0, len(rows), _PART_ROWS):
            space.append(rows[start : start + _PART_ROWS])
        space.clean()
    return space


def write_vectors(
    embeddings: Embeddings | VectorStream,
    output: str | Path,
    columns: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Write vectors and paths to a file; see :func:`clusterkit.export_embeddings`.

    Parameters
    ----------
    embeddings : Embeddings or VectorStream
        The embeddings to write; a stream is read and written part by part, in its order.
    output : path
        The file, ending in ``.npz``, ``.parquet`` or ``.csv``.
    columns : mapping of str to Arrow array, or to (Arrow type, iterable), optional
        Further columns of a ``.parquet`` file, of length n; an iterable is read as it is written.
    overwrite : bool
        Whether to overwrite an existing file.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    pathlib.Path
        The written file.

    Raises
    ------
    InvalidInputError
        If the suffix is unknown, or the file cannot be written.
    OutputExistsError
        If the file exists and ``overwrite`` is False.
    """
    output = Path(output)
    writers: dict[str, Callable[..., None]] = {
        ".npz": _write_npz,
        ".parquet": partial(_write_parquet, columns=columns or {}),
        ".csv": _write_csv,
    }
    if output.suffix.lower() not in writers:
        raise InvalidInputError(
            f"output must end in {', '.join(EXPORT_SUFFIXES)}. Received: {output}"
        )
    check_output(output, overwrite=overwrite)
    paths = [escape_path(path) for path in embeddings.paths]
    root = escape_path(str(embeddings.root or ""))
    try:
        with ExitStack() as opened:
            temporary = opened.enter_context(atomic_file(output))
            stream = opened.enter_context(temporary.open("wb"))
            bar = progress_bar(name="exporting", enabled=progress, unit="image", total=len(paths))
            batches = _advance(opened.enter_context(bar), _batches(embeddings))
            writers[output.suffix.lower()](stream, batches, embeddings.shape, paths, root)
    except OSError as error:
        raise InvalidInputError(f"cannot write {output}: {error.strerror or error}") from error
    return output


def _read(source: Path, paths: Path | None, asked: Columns) -> tuple[NDArray[Any], list[str]]:
    """Read vectors and their absolute paths."""
    suffix = source.suffix.lower()
    if suffix not in IMPORT_SUFFIXES:
        raise InvalidInputError(
            f"vectors are read from {', '.join(IMPORT_SUFFIXES)}. Received: {source}"
        )
    if not source.is_file():
        raise NotFoundError(f"no such file: {source}")
    if suffix == ".npy":
        if paths is None:
            raise InvalidInputError(f"a .npy file needs the images' paths (--paths FILE): {source}")
        if asked != Columns():
            raise InvalidInputError(
                f"a .npy file has no names: leave out --vector-column and --path-column: {source}"
            )
    if paths is not None and not paths.is_file():
        raise NotFoundError(f"no such file: {paths}")
    try:
        if suffix == ".npy":
            values, root = _from_npy(source), ""
            names: list[Any] = []
        else:
            read = _from_npz if suffix == ".npz" else _from_parquet
            values, names, root = read(source, asked, paths is not None)
        if paths is not None:
            return values, list(read_list(paths))
        base = unescape_path(_check_path(root, "root")) if root else source.parent
        names = [unescape_path(_check_path(name, f"row {row}")) for row, name in enumerate(names)]
    except ClusterkitError:
        raise
    # numpy, zipfile and pyarrow raise many kinds of errors on invalid files.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise InvalidInputError(f"{source} cannot be read: {reason}") from error
    return values, [absolute(join(base, name)) for name in names]


def _check_path(path: Any, place: str) -> str:
    """Check that a path is a non-empty string of valid Unicode, and return it."""
    if isinstance(path, bytes):
        path = path.decode("utf-8", "surrogateescape")
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise InvalidInputError(
            f"a path must be text, and not empty. Received: {path!r} as {place}"
        )
    try:
        escape_path(path).encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            f"a path must be valid Unicode. Received: {path!r} as {place}"
        ) from None
    return path


def _check(source: Path, vectors: NDArray[Any], files: list[str]) -> NDArray[np.float32]:
    """Check vectors and paths, and return the vectors as float32."""
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or not vectors.size:
        raise InvalidInputError(
            f"vectors must be numbers of shape (n, dimension). Received: {vectors.dtype} "
            f"{vectors.shape} in {source}"
        )
    if len(vectors) != len(files):
        raise InvalidInputError(
            f"there must be one path per vector. Received: {len(files):,} paths, "
            f"{len(vectors):,} vectors"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        stored = np.ascontiguousarray(vectors, np.float32)
    finite = np.isfinite(stored).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        value = vectors[row, ~np.isfinite(stored[row])][0]
        raise InvalidInputError(
            "vectors must be finite numbers within the range of float32, 3.4e38. "
            f"Received: {value} in row {row}"
        )
    if len(set(files)) != len(files):
        twice = Counter(files).most_common(1)[0][0]
        raise InvalidInputError(f"each path must come once. Received: {twice} twice")
    return stored


def _from_npy(source: Path) -> NDArray[Any]:
    """Read the array of an ``.npy`` file."""
    values = np.load(source, allow_pickle=False)
    if not isinstance(values, np.ndarray):
        raise ValueError("it is an .npz file")
    return values


def _from_npz(source: Path, asked: Columns, has_paths: bool) -> Contents:
    """Read vectors, paths and root of an ``.npz`` file."""
    with np.load(source, allow_pickle=False) as arrays:
        kinds = {name: _read_kind(arrays, name) for name in arrays.files}
        vectors = _choose(source, "vectors", asked.vectors, ("vectors",), kinds)
        root = arrays["root"] if "root" in kinds else np.array("")
        if root.size != 1:
            raise ValueError(f"root must be one folder. Received: shape {root.shape}")
        kinds.pop("root", None)
        if has_paths:
            return arrays[vectors], _check_none(source, asked, ("paths",), kinds), root.item()
        paths = arrays[_choose(source, "paths", asked.paths, ("paths",), kinds)]
        if paths.ndim != 1:
            raise ValueError(f"paths must have shape (n,). Received: {paths.shape}")
        return arrays[vectors], paths.tolist(), root.item()


def _from_parquet(source: Path, asked: Columns, has_paths: bool) -> Contents:
    """Read vectors, paths and root of a ``.parquet`` file."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with source.open("rb") as stream, pq.ParquetFile(stream) as file:
        kinds = {field.name: _kind_of(field.type) for field in file.schema_arrow}
        vectors = _choose(source, "vectors", asked.vectors, ("vector",), kinds)
        if has_paths:
            names, paths = _check_none(source, asked, ("path",), kinds), None
        else:
            paths = _choose(source, "paths", asked.paths, _PATH_COLUMNS, kinds)
        wanted = [vectors] if paths is None else [vectors, paths]
        table = file.read(wanted, use_threads=False)
    root = (table.schema.metadata or {}).get(b"root", b"").decode()
    column = table[vectors].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) != 1 or None in lengths:
        raise ValueError(f"vectors must have one length. Received: {lengths}")
    values = np.asarray(column.flatten()).reshape(-1, *lengths)
    return values, names if paths is None else table[paths].to_pylist(), root


def _choose(
    source: Path, what: str, asked: str | None, usual: Sequence[str], kinds: Mapping[str, str]
) -> str:
    """Return the name of the array or column of vectors, or of paths.

    Parameters
    ----------
    source : pathlib.Path
        The file.
    what : {"vectors", "paths"}
        The requested content.
    asked : str or None
        The name that the user gave.
    usual : sequence of str
        Preferred names.
    kinds : mapping of str to str
        The meaning of each name: "vectors", "paths", or another type.

    Raises
    ------
    InvalidInputError
        If there is none, or there are several.
    """
    option = {"vectors": "--vector-column", "paths": "--path-column"}[what]
    fitting = [name for name, kind in kinds.items() if kind == what]
    if asked is None:
        found = [name for name in usual if name in kinds] or fitting
        if len(found) == 1 or set(usual) & set(found):
            return found[0]
        problem = f"{len(found)} columns of {what}" if found else f"no column of {what}"
    elif asked in kinds:
        return asked
    else:
        problem = f"no column {asked!r}"
    remedy = f"name one with {option}"
    if not fitting:
        remedy = {
            "vectors": "vectors are rows of numbers of one length",
            "paths": "give the images' paths as a text file (--paths FILE)",
        }[what]
    held = ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "nothing"
    raise InvalidInputError(f"{source} has {problem}: {remedy}. It holds: {held}")


def _check_none(
    source: Path, asked: Columns, usual: Sequence[str], kinds: Mapping[str, str]
) -> list[str]:
    """Check that a file has no paths in addition to the given ones; return no names."""
    if asked.paths is not None or set(usual) & set(kinds):
        raise InvalidInputError(f"{source} holds its own paths; leave out --paths")
    return []


def _read_kind(arrays: Any, name: str) -> str:
    """Return the meaning of an array of an ``.npz`` file, of which only the header is read."""
    archive: zipfile.ZipFile = arrays.zip
    with archive.open(name if name in archive.namelist() else f"{name}.npy") as member:
        try:
            if np.lib.format.read_magic(member) == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            else:  # version 3 differs from 2 in names of fields alone
                shape, _, dtype = np.lib.format.read_array_header_2_0(member)
        except ValueError:
            return "no array"
    if dtype.hasobject:
        return "Python objects, which are not read: save strings"
    if len(shape) == 2 and dtype.kind in "fiu":
        return "vectors"
    if len(shape) == 1 and dtype.kind in "US":
        return "paths"
    return f"{dtype} {shape}"


def _kind_of(type_: Any) -> str:
    """Return the meaning of a column of a ``.parquet`` file."""
    import pyarrow.types as pt

    if pt.is_dictionary(type_):
        type_ = type_.value_type  # as pandas writes a column of categories
    if pt.is_list(type_) or pt.is_large_list(type_) or pt.is_fixed_size_list(type_):
        value = type_.value_type
        if pt.is_floating(value) or pt.is_integer(value):
            return "vectors"
    if pt.is_string(type_) or pt.is_large_string(type_):
        return "paths"
    return str(type_)


def _batches(embeddings: Embeddings | VectorStream) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors in order, some at a time."""
    if isinstance(embeddings, VectorStream):
        yield from embeddings.iter_batches(_BATCH_ROWS)
        return
    for start in range(0, len(embeddings), _BATCH_ROWS):
        yield embeddings.vectors[start : start + _BATCH_ROWS]


def _advance(bar: Any, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Advance a progress bar by the rows of each batch."""
    for batch in batches:
        yield batch
        bar.update(len(batch))


def _write_npz(
    stream: IO[bytes],
    batches: Iterable[NDArray[np.float32]],
    shape: tuple[int, int],
    paths: list[str],
    root: str,
) -> None:
    """Write an ``.npz`` file.

    NumPy pads each path to the length of the longest, so the paths are compressed and written a few
    rows at a time.
    """
    width = max([1, *map(len, paths)])
    step = max(1, _TEXT_BYTES // (4 * width))
    with zipfile.ZipFile(stream, "w") as archive:
        with archive.open("vectors.npy", "w", force_zip64=True) as member:
            _write_header(member, "<f4", shape)
            for batch in batches:
                member.write(np.ascontiguousarray(batch, "<f4").data)
        with archive.open("root.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.array(root), allow_pickle=False)
        packed = zipfile.ZipInfo("paths.npy")
        packed.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(packed, "w", force_zip64=True) as member:
            _write_header(member, f"<U{width}", (len(paths),))
            for start in range(0, len(paths), step):
                member.write(np.array(paths[start : start + step], f"<U{width}").tobytes())


def _write_header(member: IO[bytes], kind: str, shape: tuple[int, ...]) -> None:
    """Write the header of an array in NumPy's format."""
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)


def _write_parquet(
    stream: IO[bytes],
    batches: Iterable[NDArray[np.float32]],
    shape: tuple[int, int],
    paths: list[str],
    root: str,
    columns: Mapping[str, Any],
) -> None:
    """Write a ``.parquet`` file, a group of rows for each batch."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    given = {"path": (pa.string(), paths), **columns}
    kinds = {name: one[0] if isinstance(one, tuple) else one.type for name, one in given.items()}
    kinds["vector"] = pa.list_(pa.float32(), shape[1])
    schema = pa.schema(list(kinds.items()), metadata={"root": root})
    rest = {name: iter(one[1]) for name, one in given.items() if isinstance(one, tuple)}
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        n_read = 0
        for batch in batches:
            n = len(batch)
            table = {
                name: pa.array(islice(rest[name], n), kinds[name], size=n)
                if name in rest
                else one.slice(n_read, n)
                for name, one in given.items()
            }
            n_read += n
            flat = pa.array(np.ascontiguousarray(batch).ravel())
            table["vector"] = pa.FixedSizeListArray.from_arrays(flat, shape[1])
            writer.write_table(pa.table(table, schema=schema))


def _write_csv(
    stream: IO[bytes],
    batches: Iterable[NDArray[np.float32]],
    shape: tuple[int, int],
    paths: list[str],
    root: str,
) -> None:
    """Write a ``.csv`` file; nine digits are exact for float32."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    vectors = (vector for batch in batches for vector in batch)
    rows = (
        [unescape_path(path), *(f"{value:.9g}" for value in vector)]
        for path, vector in zip(paths, vectors, strict=True)
    )
    text.writelines(csv_lines(["path", *range(shape[1])], rows))
    text.detach()


def _digest(file: str) -> str | None:
    """Return the digest of a file, for later queries; None if it cannot be read."""
    try:
        return digest_bytes(read_bytes(file))
    except ImageError:
        return None
