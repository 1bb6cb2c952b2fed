"""The images of a space, with their vectors, in files that are mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ClusterkitError, InvalidInputError, StoreError
from clusterkit.networks.runtimes.cache import cache_folder
from clusterkit.similarity.approximate import NeighborIndex
from clusterkit.similarity.nearest import nearest, unit_rows
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.space import Space
from clusterkit.store.stream import VectorStream
from clusterkit.utils.files import atomic_folder
from clusterkit.utils.memory import give_back_memory

# From so many images on, an index is worth building: comparing all would take 30 ms and more.
MANY = 50_000
# Of the files; another form gets another number.
_FORM = 1
_BATCH_ROWS = 8192
_INDEX = "index.faiss"


class Catalogue:
    """The images of a space, in order of path.

    Everything lies in files of the cache, which the next start finds again; the system reads of
    them what is needed.  The vectors are scaled to length 1, as search needs them.

    Parameters
    ----------
    space : Space
        The space.

    Attributes
    ----------
    paths : sequence of str
        The images, relative to ``root``.
    root : pathlib.Path
        Absolute folder of the images.
    info : dict
        Description of the space.
    units : ndarray of shape (n, dimension), float32
        The vectors.
    index : NeighborIndex or None
        What finds most neighbours without comparing all; None until :meth:`open_index` finds one.

    Raises
    ------
    InvalidInputError
        If the space is empty, or the files cannot be written.
    StoreError
        If the space is damaged.
    """

    def __init__(self, space: Space) -> None:
        self.info = space.info
        self.folder = _find_or_write(space)
        self.root = Path(json.loads((self.folder / "root.json").read_text(encoding="utf-8")))
        self.paths: Sequence[str] = _Texts(self._map("paths"), self._map("path_ends"))
        self.units: NDArray[np.float32] = self._map("units")
        self._ids, self._row_of_id = self._map("ids"), self._map("id_rows")
        self._digests, self._row_of_digest = self._map("digests"), self._map("digest_rows")
        if self.units.shape != (len(self.paths), self.info["dimension"]):
            raise StoreError(f"{self.folder} is of another space: delete it, and start again")
        self.index: NeighborIndex | None = None
        self.open_index()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def fingerprint(self) -> str:
        """Identity of the space."""
        return str(self.info["fingerprint"])

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.units.shape[1]

    def embeddings(self) -> Embeddings:
        """Return the images as embeddings; their vectors have length 1, and stay on disk."""
        return Embeddings(self.units, paths=list(self.paths), root=self.root, space=self.info)

    def id_of(self, row: int) -> str:
        """Return the id of an image, which depends on its path only."""
        return f"{_id_number(_as_bytes(self.paths[row])):016x}"

    def row_of(self, image_id: str) -> int | None:
        """Return the row of an id; None if there is no such image."""
        try:
            number = np.uint64(int(image_id, 16)) if len(image_id) == 16 else None
        except ValueError:
            return None
        return None if number is None else _find(number, self._ids, self._row_of_id)

    def row_of_content(self, data: bytes) -> int | None:
        """Return the row of an image with the same bytes; None if there is none."""
        digest = np.bytes_(hashlib.sha256(data).digest())
        return _find(digest, self._digests, self._row_of_digest)

    def row_of_path(self, path: str) -> int | None:
        """Return the row of a path; None if there is no such image."""
        row = bisect_left(self.paths, path)
        return row if row < len(self.paths) and self.paths[row] == path else None

    def file_of(self, row: int) -> Path:
        """Return the file of an image."""
        return self.root / self.paths[row]

    def nearest(
        self, vectors: NDArray[np.float32], n_neighbors: int, *, exact: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find the nearest images of vectors.

        Parameters
        ----------
        vectors : ndarray of shape (n_queries, dimension), float32
            Vectors of any length.
        n_neighbors : int
            How many; all if there are fewer.
        exact : bool
            Whether to compare all images although there is an index.

        Returns
        -------
        similarities : ndarray of shape (n_queries, n_neighbors), float64
            Cosine similarities, descending.
        rows : ndarray of shape (n_queries, n_neighbors), int64
            The images; ties are in order of path.
        """
        n_neighbors = min(n_neighbors, len(self))
        queries = unit_rows(vectors)
        found = None
        if self.index is not None and not exact:
            found = self.index.search(queries, n_neighbors)
        distances, rows = found or nearest(self.units, queries, n_neighbors)
        return 1 - distances, rows

    @property
    def needs_index(self) -> bool:
        """Whether there are many images, and no index yet."""
        return self.index is None and len(self) >= MANY

    def open_index(self) -> None:
        """Use the index if one was built, from now on."""
        file = self.folder / _INDEX
        if self.index is None and file.exists():
            # One that is damaged is built again.
            with suppress(InvalidInputError):
                self.index = NeighborIndex(file, self.units)

    def _map(self, name: str) -> NDArray[Any]:
        """Map a file into memory."""
        try:
            return _map(self.folder, name)
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.folder} is damaged: delete it, and start again") from error


def build_index(folder: Path) -> None:
    """Build the index of the catalogue in a folder, and write it there.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    NeighborIndex.build(_map(folder, "units"), folder / _INDEX)


def _map(folder: Path, name: str) -> NDArray[Any]:
    """Map a file of a catalogue into memory."""
    # A plain array: a memmap would pass its slow methods on to each row.
    return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))


class _Texts(Sequence[str]):
    """Texts one after the other in an array of bytes.

    Parameters
    ----------
    content : ndarray of uint8
        All texts.
    ends : ndarray of int64
        Where each of them ends.
    """

    def __init__(self, content: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._content = content
        self._ends = ends

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


def _as_bytes(text: str) -> bytes:
    """Return a path as bytes, in the same order; a name that is not UTF-8 has surrogates."""
    return text.encode("utf-8", "surrogatepass")


def _as_text(content: bytes) -> str:
    """Undo :func:`_as_bytes`."""
    return content.decode("utf-8", "surrogatepass")


def _id_number(path: bytes) -> int:
    """Return the id of a path as a number."""
    return int.from_bytes(hashlib.blake2b(path, digest_size=8).digest(), "big")


def _find(value: Any, ordered: NDArray[Any], rows: NDArray[np.integer]) -> int | None:
    """Return the row of a value in order; None if it is not there."""
    place = int(np.searchsorted(ordered, value))
    return int(rows[place]) if place < len(ordered) and ordered[place] == value else None


def _find_or_write(space: Space) -> Path:
    """Return the folder of a space in the cache, written now unless an earlier start did."""
    state = space.state
    while not (folder := _folder_of(space, state)).exists():
        stream = space.stream()
        if not len(stream):
            raise InvalidInputError(
                f"{space.folder} holds no embedded image: run `clusterkit embed` first"
            )
        before, state = state, space.state
        if before == state:
            _write_folder(folder, stream)
        del stream
        give_back_memory()
    return folder


def _folder_of(space: Space, state: str) -> Path:
    """Return the folder of a state of a space in the cache."""
    # Paths depend on the place of the store.
    place = hashlib.sha256(_as_bytes(os.path.abspath(space.folder))).hexdigest()  # noqa: PTH100
    return cache_folder() / "catalogues" / f"{place[:16]}-{_FORM}-{state[:32]}"


def _write_folder(folder: Path, stream: VectorStream) -> None:
    """Write a folder as a whole, and delete those of earlier states."""
    try:
        with atomic_folder(folder) as temporary:
            _write(temporary, stream)
    except ClusterkitError:
        raise
    except OSError as error:
        raise InvalidInputError(
            f"cannot write {folder}: {error.strerror or error}. Choose another folder with the "
            "environment variable CLUSTERKIT_CACHE"
        ) from error
    # Who still reads one keeps it until the end.
    for other in folder.parent.glob(f"{folder.name.partition('-')[0]}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _write(folder: Path, stream: VectorStream) -> None:
    """Write the files of a space, in order of path."""
    order = np.argsort(np.array(stream.paths, object), kind="stable")
    paths = [_as_bytes(stream.paths[row]) for row in order]
    ids = np.fromiter(map(_id_number, paths), np.uint64, len(paths))
    known = np.array([bytes.fromhex(one or "") for one in stream.digests or ()], "S32")
    known = known[order] if len(known) else known
    found = {
        "paths": np.frombuffer(b"".join(paths), np.uint8),
        "path_ends": np.cumsum([len(path) for path in paths]),
        **_sorted("id", ids, np.arange(len(ids))),
        **_sorted("digest", known, np.flatnonzero(known != b"")),
    }
    for name, values in found.items():
        np.save(folder / f"{name}.npy", values)
    (folder / "root.json").write_text(json.dumps(str(stream.root)), encoding="utf-8")
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    units = np.lib.format.open_memmap(folder / "units.npy", "w+", np.float32, stream.shape)
    start = 0
    for batch in stream.iter_batches(_BATCH_ROWS):
        units[place[start : start + len(batch)]] = unit_rows(batch)
        start += len(batch)
    units.flush()


def _sorted(name: str, values: NDArray[Any], rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """Return the values of some rows in order, and the row of each."""
    rows = rows[np.argsort(values[rows], kind="stable")]
    return {f"{name}s": values[rows], f"{name}_rows": rows.astype(np.uint32)}
