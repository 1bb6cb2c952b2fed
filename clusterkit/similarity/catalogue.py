"""The images of a space, with their vectors, in files that are mapped into memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError, StoreError
from clusterkit.similarity.byte_codes import find_candidates, similarities_of
from clusterkit.similarity.catalogue_files import (
    Keys,
    OpenNumbers,
    Texts,
    find_or_write,
    map_file,
    number_of,
    read_about,
)
from clusterkit.similarity.nearest import nearest_among
from clusterkit.similarity.neighbor_index import NeighborIndex
from clusterkit.similarity.scaling import Scaling, scale_rows
from clusterkit.store.embeddings import (
    Embeddings,
    Failure,
    TopClasses,
    check_one_space,
    row_of_image,
)
from clusterkit.store.space import Space
from clusterkit.store.store import as_space, is_large
from clusterkit.utils.locations import absolute, as_path, relative
from clusterkit.utils.text import unescape_path

# Number of images from which an index is worthwhile: comparing all would take 10 ms and more.
MANY = 50_000
_INDEX = "index.faiss"
# Single rows that are read from one map.
_MAPPED_ROWS = 1024


class Catalogue:
    """The images of a space, in order of path, whose vectors stay on disk.

    Takes the place of :class:`~clusterkit.store.embeddings.Embeddings` where images are looked up
    and searched.  Everything is in files of the cache (``CLUSTERKIT_CACHE``), of which the system
    reads the needed parts.  They are written at the first use, and again when the space has
    changed; they take a quarter more space than the vectors.

    Parameters
    ----------
    space : Space
        The space.
    progress : bool
        Whether to show a progress bar while the files are written.

    Attributes
    ----------
    folder : pathlib.Path
        Where the files are.
    paths : sequence of str
        The images, relative to ``root``; read from disk as they are needed.
    root : pathlib.Path
        Absolute folder of the images.
    space : dict
        Description of what made the vectors.
    vectors : ndarray of shape (n, dimension), float32
        The vectors.
    scaling : True or "sqrt"
        How vectors are scaled before they are compared, see
        :func:`~clusterkit.similarity.scaling.find_scaling`.
    failures : list of Failure
        Images without a vector.
    index : NeighborIndex or None
        Index that finds most neighbours without comparing all; None until :meth:`open_index` finds
        one.

    Raises
    ------
    InvalidInputError
        If the space is empty, or the files cannot be written.
    StoreError
        If the space, or a file, is damaged.
    """

    def __init__(self, space: Space, *, progress: bool = False) -> None:
        self.space: dict[str, Any] = space.info
        while True:
            self.folder = find_or_write(space, progress=progress)
            try:
                self._open()
                break
            except StoreError:
                # Another process may have deleted it because the space changed again.
                if self.folder.exists():
                    raise
        self._answer: tuple[bytes, NDArray[np.float32]] | None = None
        self.index: NeighborIndex | None = None
        self.open_index()

    def _open(self) -> None:
        """Open all files, which another process may delete when the space has changed."""
        about = read_about(self.folder)
        self.root = as_path(unescape_path(about["root"]))
        self.scaling: Scaling = about["scaling"]
        self.failures = [Failure(unescape_path(path), reason) for path, reason in about["failures"]]
        self.paths: Sequence[str] = Texts(self.folder, "path")
        self._classes = Texts(self.folder, "classes") if about["has_classes"] else None
        self._vectors_file, self._codes_file = (
            OpenNumbers(self.folder, name) for name in ("vectors", "codes")
        )
        self.vectors: NDArray[np.float32] = self._vectors_file.map()
        self._codes: NDArray[np.int8] = self._codes_file.map()
        self._steps, self._errors = (map_file(self.folder, name) for name in ("steps", "errors"))
        self._of_path, self._of_digest = (Keys(self.folder, name) for name in ("path", "digest"))

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return f"Catalogue({len(self)} x {self.shape[1]}, {self.folder.name})"

    @property
    def shape(self) -> tuple[int, int]:
        """(number of images, dimension)."""
        return self.vectors.shape[0], self.vectors.shape[1]

    @property
    def fingerprint(self) -> str:
        """Identity of the space."""
        return str(self.space["fingerprint"])

    def embeddings(self) -> Embeddings:
        """Return all images as embeddings, whose vectors stay on disk."""
        return Embeddings(self.vectors, paths=list(self.paths), root=self.root, space=self.space)

    def __getitem__(self, rows: Any) -> Embeddings:
        """Return some images by a slice, row numbers, a boolean mask or paths."""
        if isinstance(rows, str | os.PathLike):
            rows = [rows]
        if isinstance(rows, list):
            rows = [self.row(one) if isinstance(one, str | os.PathLike) else one for one in rows]
            rows = np.array(rows, None if rows else np.int64)
        rows = np.atleast_1d(np.arange(len(self))[rows])
        return Embeddings(
            self.vectors_of(rows),
            paths=[self.paths[row] for row in rows],
            root=self.root,
            space=self.space,
            top5=None if self._classes is None else [self._classes_of(row) for row in rows],
        )

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of some rows."""
        found = np.empty((len(rows), self.shape[1]), np.float32)
        # Mapped for some rows only: the system maps what lies around each, and what is mapped
        # counts as memory of the process.
        for start in range(0, len(rows), _MAPPED_ROWS):
            part = rows[start : start + _MAPPED_ROWS]
            found[start : start + len(part)] = self._vectors_file.map()[part]
        return found

    def iter_batches(self, n_rows: int, /) -> Iterator[NDArray[np.float32]]:
        """Yield all vectors in order, as arrays of shape (up to ``n_rows``, dimension)."""
        for start in range(0, len(self), n_rows):
            # Mapped for a batch only, see above.
            yield np.array(self._vectors_file.map()[start : start + n_rows])

    def check_same_space(self, other: Any) -> None:
        """Check that vectors are not from a different space."""
        check_one_space(self, other)

    def id_of(self, row: int) -> str:
        """Return the id of an image, which depends on its path only."""
        return f"{number_of(self.paths[row]):016x}"

    def row_of_id(self, image_id: str) -> int | None:
        """Return the row of an id; None if there is no such image."""
        try:
            content = bytes.fromhex(image_id) if len(image_id) == 16 else b""
        except ValueError:
            return None
        # With spaces among the 16 characters, there are fewer bytes.
        number = np.uint64(int.from_bytes(content, "big")) if len(content) == 8 else None
        rows = [] if number is None else self._of_path.rows_of(number)
        return rows[0] if rows else None

    def row_of_path(self, path: str) -> int | None:
        """Return the row of a path in the space; None if there is no such image."""
        rows = self._of_path.rows_of(np.uint64(number_of(path)))
        return next((row for row in rows if self.paths[row] == path), None)

    def rows_of_content(self, digest: str) -> list[int]:
        """Return the rows of all files with a SHA-256 digest."""
        return self._of_digest.rows_of(np.bytes_(bytes.fromhex(digest)))

    def find(self, path: str | os.PathLike[str]) -> int | None:
        """Return the row of an image, given by its path in the space or by its file, or None."""
        row = self.row_of_path(str(path))
        return self.row_of_path(relative(absolute(path), self.root)) if row is None else row

    def row(self, path: str | os.PathLike[str]) -> int:
        """Return the row of an image, as :meth:`find` does.

        Raises
        ------
        NotFoundError
            If there is no such image, or it could not be embedded.
        """
        return row_of_image(self, path)

    def file_of(self, row: int) -> Path:
        """Return the file of an image."""
        return self.root / self.paths[row]

    def nearest(
        self, queries: NDArray[np.float32], n_neighbors: int, *, exact: bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find the nearest images of vectors by cosine distance, scaled by :attr:`scaling`.

        Parameters
        ----------
        queries : ndarray of shape (n_queries, dimension), float32
            Vectors of any length.
        n_neighbors : int
            Number of neighbours, at least 1; all images if there are fewer.
        exact : bool
            Whether to compare all images even if there is an index.

        Returns
        -------
        distances, rows : ndarray of shape (n_queries, n_neighbors)
            As for :func:`clusterkit.similarity.nearest.nearest`; ties are in order of path.

        Raises
        ------
        InvalidInputError
            If ``n_neighbors`` is below 1, the dimensions differ, or a query is not finite.
        """
        if n_neighbors < 1:
            raise InvalidInputError(f"n_neighbors must be at least 1. Received: {n_neighbors}")
        n_neighbors = min(n_neighbors, len(self))
        units = scale_rows(queries, self.scaling)
        if units.shape[1] != self.shape[1]:
            raise InvalidInputError(
                "queries must have the dimension of the vectors. "
                f"Received: {units.shape[1]} and {self.shape[1]}"
            )
        if self.index is not None and not exact:
            found = self.index.search(units, n_neighbors)
            if found is not None:
                return found
        distances = np.ones((len(units), n_neighbors))
        # All images are at distance 1 from a zero vector: the first ones.
        rows = np.tile(np.arange(n_neighbors), (len(units), 1))
        for place, unit in enumerate(units):
            if unit.any():
                distances[place], rows[place] = self._compare_all(unit, n_neighbors)
        return distances, rows

    def _classes_of(self, row: int) -> TopClasses | None:
        """Return the most probable ImageNet classes of an image."""
        known = None if self._classes is None else json.loads(self._classes[row])
        return known and [(name, share) for name, share in known]

    def _compare_all(
        self, unit: NDArray[np.float32], n_neighbors: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find the nearest images of a vector of length 1, exactly."""
        # The same query is repeated with more neighbours if files are gone.
        answer, key = self._answer, unit.tobytes()
        if answer is None or answer[0] != key:
            answer = key, similarities_of(self._codes, self._steps, unit)
            self._answer = answer
        found = find_candidates(answer[1], self._errors, n_neighbors)
        return nearest_among(self.vectors, unit, found, n_neighbors, normalize=self.scaling)

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
                self.index = NeighborIndex(file, self.vectors, normalize=self.scaling)
                # Mapped again, so that pages read by earlier searches no longer count as memory.
                self._codes = self._codes_file.map()


def build_index(folder: Path) -> None:
    """Build the index of the catalogue in a folder, and write it there.

    Raises
    ------
    OSError, RuntimeError
        As by :meth:`NeighborIndex.build`.
    StoreError
        If the catalogue is damaged.
    """
    vectors, scaling = map_file(folder, "vectors"), read_about(folder)["scaling"]
    NeighborIndex.build(vectors, folder / _INDEX, normalize=scaling)


def as_searchable(
    source: Any, *, stream: bool | None = None, progress: bool = False
) -> Embeddings | Catalogue:
    """Return embeddings, or the catalogue of a space that is too large to be loaded.

    Parameters
    ----------
    source : Embeddings, Catalogue, array-like, Store, Space, or path of a store
        Of a store, its default space.
    stream : bool, optional
        Whether a space is searched on disk; by default if it is large, see
        :func:`clusterkit.store.store.is_large`.
    progress : bool
        Whether to show a progress bar while a catalogue is written.
    """
    source = as_space(source)
    if isinstance(source, Embeddings | Catalogue):
        return source
    if not isinstance(source, Space):
        return Embeddings(source)
    on_disk = is_large(source) if stream is None else stream
    return Catalogue(source, progress=progress) if on_disk else source.read()
