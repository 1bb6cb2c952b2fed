"""The files of a catalogue, in the cache: written once for each state of a space, then mapped."""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import shutil
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ClusterkitError, InvalidInputError, StoreError
from clusterkit.networks.runtimes.cache import cache_folder
from clusterkit.similarity.byte_codes import encode
from clusterkit.similarity.scaling import Scaling, find_scaling, scale_rows
from clusterkit.store.space import Space
from clusterkit.store.stream import VectorStream
from clusterkit.utils.files import atomic_folder
from clusterkit.utils.locations import absolute
from clusterkit.utils.memory import give_back_memory
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import escape_path, unescape_path

# Version of the file format.
_FORM = 2
_ABOUT = "about.json"
_BATCH_ROWS = 4096
# Maximum attempts to read a space that is being written to.
_ATTEMPTS = 10
# Age (a day) from which an unfinished folder is considered abandoned.
_LEFT_SECONDS = 86_400


class Texts(Sequence[str]):
    """A text of each row, read from disk as they are needed.

    Parameters
    ----------
    folder : pathlib.Path
        The catalogue.
    name : str
        What they are: ``"path"`` or ``"classes"``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._content = map_file(folder, f"{name}_text")
        self._ends = map_file(folder, f"{name}_ends")

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        start = int(self._ends[row - 1]) if row else 0
        return _as_text(self._content[start : int(self._ends[row])].tobytes())

    def __iter__(self) -> Iterator[str]:
        start, content = 0, self._content.tobytes()
        for end in self._ends.tolist():
            yield _as_text(content[start:end])
            start = end


class Keys:
    """Rows by a key, such as the digest of their files.

    Parameters
    ----------
    folder : pathlib.Path
        The catalogue.
    name : str
        The key: ``"path"`` or ``"digest"``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._keys = map_file(folder, f"{name}_keys")
        self._rows = map_file(folder, f"{name}_rows")

    def rows_of(self, key: Any) -> list[int]:
        """Return the rows of a key, in order."""
        sides: list[Literal["left", "right"]] = ["left", "right"]
        first, last = (int(np.searchsorted(self._keys, key, side=side)) for side in sides)
        return sorted(int(row) for row in self._rows[first:last])


class OpenNumbers:
    """A file of numbers that stays open, and can be mapped again after it was deleted.

    Parameters
    ----------
    folder : Path
        The catalogue.
    name : str
        Which file.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """

    def __init__(self, folder: Path, name: str) -> None:
        numbers = map_file(folder, name)
        self._shape, self._kind = numbers.shape, numbers.dtype
        try:
            file = os.open(folder / f"{name}.npy", os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise _damaged(folder) from error
        self._file = file
        self._start = os.fstat(file).st_size - numbers.nbytes
        weakref.finalize(self, os.close, file)

    def map(self) -> NDArray[Any]:
        """Map it into memory."""
        content = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)
        return np.frombuffer(content, self._kind, offset=self._start).reshape(self._shape)


def find_or_write(space: Space, *, progress: bool = False) -> Path:
    """Return the folder of a space in the cache, written now unless an earlier run did.

    Parameters
    ----------
    space : Space
        The space.
    progress : bool
        Whether to show a progress bar while the files are written.

    Raises
    ------
    StoreError
        If a part of the space is damaged, or the space is being written to continuously.
    InvalidInputError
        If the space is empty, or the files cannot be written.
    """
    state = space.state
    for _ in range(_ATTEMPTS):
        folder = _folder_of(space, state)
        if folder.exists():
            return folder
        stream = space.stream()
        if not len(stream):
            raise InvalidInputError(
                f"{space.folder} holds no embedded image: run `clusterkit embed` first"
            )
        before, state = state, space.state
        if before == state:
            try:
                _write_folder(folder, stream, progress=progress)
            except StoreError:
                before, state = state, space.state
                # Parts that are replaced while they are read are not damaged.
                if before == state:
                    raise
        del stream
        give_back_memory()
    raise StoreError(f"{space.folder} is being written to: wait, then run again")


def map_file(folder: Path, name: str, mode: Literal["r", "r+"] = "r") -> NDArray[Any]:
    """Map a file of numbers into memory.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    try:
        # A plain array: a memmap would pass its slow methods on to each row.
        return np.asarray(np.load(folder / f"{name}.npy", mmap_mode=mode))
    except (OSError, ValueError) as error:
        raise _damaged(folder) from error


def read_about(folder: Path) -> dict[str, Any]:
    """Return the JSON document of a catalogue.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    try:
        about: dict[str, Any] = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        return about
    except (OSError, ValueError) as error:
        raise _damaged(folder) from error


def _damaged(folder: Path) -> StoreError:
    """Return an error with a remedy."""
    return StoreError(f"{folder} is damaged: delete it, and run again")


def number_of(path: str) -> int:
    """Return a number of 64 bits for a path."""
    return int.from_bytes(hashlib.blake2b(_as_bytes(path), digest_size=8).digest(), "big")


def _as_bytes(text: str) -> bytes:
    """Return a path or another text as UTF-8."""
    return escape_path(text).encode("utf-8", "surrogatepass")


def _as_text(content: bytes) -> str:
    """Undo :func:`_as_bytes`."""
    return unescape_path(content.decode("utf-8", "surrogatepass"))


def _folder_of(space: Space, state: str) -> Path:
    """Return the folder of a state of a space in the cache."""
    # Paths depend on the place of the store.
    place = hashlib.sha256(_as_bytes(absolute(space.folder))).hexdigest()
    return cache_folder() / "catalogues" / f"{place[:16]}-{_FORM}-{state[:32]}"


def _write_folder(folder: Path, stream: VectorStream, *, progress: bool) -> None:
    """Write a folder as a whole, and delete those of earlier states."""
    try:
        with atomic_folder(folder) as temporary:
            _write(temporary, stream, progress=progress)
    except ClusterkitError:
        raise
    except OSError as error:
        raise InvalidInputError(
            f"cannot write {folder}: {error.strerror or error}. Choose another folder with the "
            "environment variable CLUSTERKIT_CACHE"
        ) from error
    # Processes that still read one keep it open.
    for other in folder.parent.glob(f"{folder.name.partition('-')[0]}-*"):
        if other != folder:
            # Renamed first: another process would take one with missing files for damaged.
            gone = other.with_name(f".part-{other.name}")
            with suppress(OSError):
                other.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
    # Remains of a killed run, which may be as large as the vectors.
    for left in folder.parent.glob(".part-*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _write(folder: Path, stream: VectorStream, *, progress: bool) -> None:
    """Write the files of a space, in order of path."""
    names = list(stream.paths)
    n = len(names)
    order = np.argsort(np.array(names, object), kind="stable")
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    scaling = find_scaling(stream)
    _write_vectors(folder, stream, place, scaling, progress=progress)
    _write_texts(folder, "path", (names[row] for row in order))
    if stream.top5 is not None:
        classes = [json.dumps(known) for known in stream.top5]
        _write_texts(folder, "classes", (classes[row] for row in order))
    numbers = np.fromiter((number_of(names[row]) for row in order), np.uint64, n)
    _write_keys(folder, "path", numbers, np.arange(n))
    known = np.array([bytes.fromhex(one or "") for one in stream.digests or [None] * n], "S32")
    known = known[order]
    _write_keys(folder, "digest", known, np.flatnonzero(known != b""))
    about = {
        "root": escape_path(str(stream.root)),
        "scaling": scaling,
        "has_classes": stream.top5 is not None,
        "failures": [[escape_path(path), reason] for path, reason in stream.failures],
    }
    (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _write_vectors(
    folder: Path,
    stream: VectorStream,
    place: NDArray[np.int64],
    scaling: Scaling,
    *,
    progress: bool,
) -> None:
    """Write the vectors, and the codes by which they are compared."""
    n, dimension = stream.shape
    for name, kind in (("vectors", np.float32), ("codes", np.int8)):
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (n, dimension))
        _reserve(folder / f"{name}.npy")
    steps, errors = np.empty(n, np.float32), np.empty(n, np.float32)
    n_read = 0
    with progress_bar(
        name="preparing the search, once", enabled=progress, unit="image", total=n
    ) as bar:
        for batch in stream.iter_batches(_BATCH_ROWS):
            rows = place[n_read : n_read + len(batch)]
            codes, steps[rows], errors[rows] = encode(scale_rows(batch, scaling))
            # Mapped for a batch only: what is mapped counts as memory of the process.
            map_file(folder, "vectors", "r+")[rows] = batch
            map_file(folder, "codes", "r+")[rows] = codes
            n_read += len(batch)
            bar.update(len(batch))
    np.save(folder / "steps.npy", steps)
    np.save(folder / "errors.npy", errors)


def _reserve(file: Path) -> None:
    """Allocate the space of a file on disk.

    On a full disk, writing to its map would end the process (SIGBUS) instead of raising an error.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with file.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
        except OSError as error:
            # Some file systems cannot.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise


def _write_texts(folder: Path, name: str, texts: Iterable[str]) -> None:
    """Write texts one after the other, and where each ends."""
    coded = [_as_bytes(text) for text in texts]
    np.save(folder / f"{name}_text.npy", np.frombuffer(b"".join(coded), np.uint8))
    np.save(folder / f"{name}_ends.npy", np.cumsum([len(one) for one in coded], dtype=np.int64))


def _write_keys(folder: Path, name: str, keys: NDArray[Any], rows: NDArray[np.intp]) -> None:
    """Write the keys of some rows in order, and the row of each."""
    rows = rows[np.argsort(keys[rows], kind="stable")]
    np.save(folder / f"{name}_keys.npy", keys[rows])
    np.save(folder / f"{name}_rows.npy", rows.astype(np.uint32))
