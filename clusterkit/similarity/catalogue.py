"""The images of a space, with their vectors in a file that is mapped into memory."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError, StoreError
from clusterkit.networks.runtimes.cache import cache_folder
from clusterkit.similarity.nearest import nearest, unit_rows
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.space import Space
from clusterkit.store.stream import VectorStream
from clusterkit.utils.files import atomic_file

_BATCH_ROWS = 8192


class Catalogue:
    """The images of a space, in order of path.

    The vectors are scaled to length 1, as search needs them.  They lie in a file of the cache,
    which the next start finds again, and are read by the system as they are needed.

    Parameters
    ----------
    space : Space
        The space.

    Attributes
    ----------
    paths : list of str
        The images, relative to ``root``.
    root : pathlib.Path
        Absolute folder of the images.
    info : dict
        Description of the space.
    units : ndarray of shape (n, dimension), float32
        The vectors.

    Raises
    ------
    InvalidInputError
        If the space is empty, or the file cannot be written.
    """

    def __init__(self, space: Space) -> None:
        stream = space.stream()
        if not len(stream):
            raise InvalidInputError(
                f"{space.folder} holds no embedded image: run `clusterkit embed` first"
            )
        order = np.argsort(np.array(stream.paths, object), kind="stable")
        self.paths = [stream.paths[row] for row in order]
        self.root = Path(stream.root)
        self.info = space.info
        self.units = _map_units(space, stream, order)
        self._ids, self._row_of_id = _sorted([_id_number(path) for path in self.paths], "<u8")
        digests = stream.digests or [None] * len(order)
        known = [bytes.fromhex(digests[row] or "") for row in order]
        self._digests, self._row_of_digest = _sorted(known, "S32")

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
        return Embeddings(self.units, paths=self.paths, root=self.root, space=self.info)

    def id_of(self, row: int) -> str:
        """Return the id of an image, which depends on its path only."""
        return f"{_id_number(self.paths[row]):016x}"

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
        self, vectors: NDArray[np.float32], n_neighbors: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find the nearest images of vectors, exactly.

        Parameters
        ----------
        vectors : ndarray of shape (n_queries, dimension), float32
            Vectors of any length.
        n_neighbors : int
            How many; all if there are fewer.

        Returns
        -------
        similarities : ndarray of shape (n_queries, n_neighbors), float64
            Cosine similarities, descending.
        rows : ndarray of shape (n_queries, n_neighbors), int64
            The images; ties are in order of path.
        """
        n_neighbors = min(n_neighbors, len(self))
        distances, rows = nearest(self.units, unit_rows(vectors), n_neighbors)
        return 1 - distances, rows


def _id_number(path: str) -> int:
    """Return the id of a path as a number."""
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big")


def _sorted(values: list[Any], kind: str) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return values in order, and the row of each."""
    array = np.array(values, kind)
    order = np.argsort(array, kind="stable")
    return array[order], order


def _find(value: Any, ordered: NDArray[Any], rows: NDArray[np.intp]) -> int | None:
    """Return the row of a value in order; None if it is not there."""
    place = int(np.searchsorted(ordered, value))
    is_there = place < len(ordered) and ordered[place] == value and value != b""
    return int(rows[place]) if is_there else None


def _map_units(space: Space, stream: VectorStream, order: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the vectors from the cache, written now unless an earlier start did."""
    folder = cache_folder() / "catalogues"
    place = hashlib.sha256(str(space.folder.resolve()).encode()).hexdigest()[:16]
    # The list names all parts, and the names of parts are never used again.
    content = hashlib.sha256("\n".join([stream.space["fingerprint"], *stream.paths]).encode())
    for part in stream.parts:
        content.update(f"\n{part.name}".encode())
    file = folder / f"{place}-{content.hexdigest()[:16]}.npy"
    shape = stream.shape
    units = _open_units(file, shape)
    if units is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(file) as temporary:
                _write_units(temporary, stream, order)
        except OSError as error:
            raise InvalidInputError(
                f"cannot write {file}: {error.strerror or error}. Choose another folder with the "
                "environment variable CLUSTERKIT_CACHE"
            ) from error
        units = _open_units(file, shape)
        if units is None:
            raise StoreError(f"{file} is not what was written")
        # Of earlier states of this space; who still reads one keeps it until the end.
        for other in folder.glob(f"{place}-*.npy"):
            if other != file:
                with suppress(OSError):
                    other.unlink()
    return units


def _open_units(file: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Map a file into memory; None if it is absent, or of another shape."""
    try:
        units = np.load(file, mmap_mode="r")
    except (OSError, ValueError):
        return None
    return np.asarray(units) if units.shape == shape and units.dtype == np.float32 else None


def _write_units(file: Path, stream: VectorStream, order: NDArray[np.intp]) -> None:
    """Write the vectors in order of path, at length 1."""
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    units = np.lib.format.open_memmap(file, "w+", np.float32, stream.shape)
    start = 0
    for batch in stream.iter_batches(_BATCH_ROWS):
        units[place[start : start + len(batch)]] = unit_rows(batch)
        start += len(batch)
    units.flush()
