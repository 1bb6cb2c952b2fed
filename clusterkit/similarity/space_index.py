"""The images of a large space in files of the cache, which a search opens in milliseconds.

One byte a number is enough to say which images may be among the nearest: the few that may are then
compared exactly.  A million images of 512 dimensions take 0.1 s and 0.5 GB.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError, NotFoundError
from clusterkit.networks.runtimes.cache import cache_folder
from clusterkit.similarity.nearest import FLOAT32_NOISE, exact_distances, unit_rows
from clusterkit.store.embeddings import Embeddings, Failure, TopClasses, check_one_space
from clusterkit.store.reading import as_space, is_large
from clusterkit.store.space import Space
from clusterkit.store.stream import VectorStream
from clusterkit.utils.parallel import workers
from clusterkit.utils.paths import escape_path, unescape_path
from clusterkit.utils.progress import progress_bar

# Changes with the files below.
_VERSION = 2
_STEPS = 127  # of the largest number of a vector, on each side of 0
_BATCH_ROWS = 4096
# Numbers that are multiplied at a time: 2 MB, which stay in a core's cache.
_CACHE_VALUES = 2**19
# Single rows that are read from one map.
_MAPPED_ROWS = 1024
# Times that a space which is being written to is read again.
_ATTEMPTS = 10


class SpaceIndex:
    """The images of a space, in order of path, whose vectors stay on disk.

    Takes the place of :class:`~clusterkit.store.embeddings.Embeddings` where images are looked up
    and searched.  The files are made at the first use, and again when the space has changed; they
    lie in the cache (``CLUSTERKIT_CACHE``) and take a quarter more space than the vectors.

    Parameters
    ----------
    space : Space
        The space.
    progress : bool
        Whether to show a progress bar while the files are made.

    Attributes
    ----------
    paths : sequence of str
        The images, relative to ``root``; read from disk as they are needed.
    root : pathlib.Path
        Absolute folder of the images.
    space : dict
        Description of what made the vectors.
    vectors : ndarray of shape (n, dimension), float32
        The vectors, mapped into memory.

    Raises
    ------
    StoreError
        If a part of the space is damaged.
    InvalidInputError
        If the files cannot be written.
    """

    def __init__(self, space: Space, *, progress: bool = False) -> None:
        folder = _find_or_make(space, progress=progress)
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self.root = Path(unescape_path(about["root"]))
        self.space: dict[str, Any] = space.info
        self._folder = folder
        self.vectors: NDArray[np.float32] = _map(folder, "vectors")
        self.paths: Sequence[str] = _Texts(folder, "path")
        self._classes = _Texts(folder, "classes") if about["has_classes"] else None
        self._answers: dict[bytes, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return f"SpaceIndex({len(self)} x {self.shape[1]}, {self._folder.name})"

    @property
    def shape(self) -> tuple[int, int]:
        """(number of images, dimension)."""
        return self.vectors.shape[0], self.vectors.shape[1]

    @property
    def fingerprint(self) -> str | None:
        """Identity of the embedding space."""
        return self.space.get("fingerprint")

    def check_same_space(self, other: Any) -> None:
        """Check that vectors are not from a different space."""
        check_one_space(self, other)

    @property
    def failures(self) -> list[Failure]:
        """Images without a vector."""
        about = json.loads((self._folder / "about.json").read_text(encoding="utf-8"))
        return [Failure(unescape_path(path), reason) for path, reason in about["failures"]]

    def __getitem__(self, rows: Any) -> Embeddings:
        """Return some images by their rows, or by a list of paths."""
        if isinstance(rows, list) and rows and isinstance(rows[0], str | os.PathLike):
            rows = [self.row(path) for path in rows]
        rows = np.atleast_1d(np.asarray(rows, np.int64))
        return Embeddings(
            self.vectors_of(rows),
            paths=[self.paths[row] for row in rows],
            root=self.root,
            space=self.space,
            top5=None if self._classes is None else [self._classes_of(row) for row in rows],
        )

    def _classes_of(self, row: int) -> TopClasses | None:
        """Return the most probable ImageNet classes of an image."""
        known = json.loads(self._classes[row]) if self._classes is not None else None
        return known and [(name, share) for name, share in known]

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of some rows."""
        found = np.empty((len(rows), self.shape[1]), np.float32)
        # Mapped for some rows only: the system maps what lies around each, and what is mapped
        # counts as memory of the process.
        for start in range(0, len(rows), _MAPPED_ROWS):
            part = rows[start : start + _MAPPED_ROWS]
            found[start : start + len(part)] = _map(self._folder, "vectors")[part]
        return found

    def iter_batches(self, n_rows: int, /) -> Iterator[NDArray[np.float32]]:
        """Yield all vectors in order, as arrays of shape (up to ``n_rows``, dimension)."""
        for start in range(0, len(self), n_rows):
            # Mapped for a batch only, see above.
            yield np.array(_map(self._folder, "vectors")[start : start + n_rows])

    def find(self, path: str | os.PathLike[str]) -> int | None:
        """Return the row of an image, given by its path in the space or by its file, or None."""
        row = self._row_of(os.fspath(path))
        if row is None:
            absolute = os.path.abspath(path)  # noqa: PTH100 (links are not followed)
            row = self._row_of(os.path.relpath(absolute, self.root).replace(os.sep, "/"))
        return row

    def row(self, path: str | os.PathLike[str]) -> int:
        """Return the row of an image, as :meth:`find` does.

        Raises
        ------
        NotFoundError
            If there is no such image, or it could not be embedded.
        """
        row = self.find(path)
        if row is not None:
            return row
        file = os.path.abspath(path)  # noqa: PTH100 (links are not followed)
        for failure in self.failures:
            if file == str(self.root / failure.path) or str(path) == failure.path:
                raise NotFoundError(f"{path} could not be embedded: {failure.reason}")
        raise NotFoundError(f"{path} is not among the {len(self)} embedded images")

    def rows_of_content(self, digest: str) -> list[int]:
        """Return the rows of all files with a SHA-256 digest."""
        return _equal_rows(self._folder, "digest", np.bytes_(bytes.fromhex(digest)))

    def nearest(
        self, queries: NDArray[np.float32], n_neighbors: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find the nearest images of vectors by cosine distance, exactly.

        Parameters
        ----------
        queries : ndarray of shape (n_queries, dimension)
            Vectors of any length.
        n_neighbors : int
            Number of neighbours, ``1 <= n_neighbors <= n``.

        Returns
        -------
        distances, rows : ndarray of shape (n_queries, n_neighbors)
            As for :func:`clusterkit.similarity.nearest.nearest`; ties are in order of path.
        """
        units = unit_rows(queries)
        distances = np.ones((len(units), n_neighbors))
        # All images are at distance 1 from a zero vector: the first ones.
        rows = np.tile(np.arange(n_neighbors), (len(units), 1))
        for place, unit in enumerate(units):
            if unit.any():
                found = self._candidates(unit, n_neighbors)
                exact = np.concatenate(
                    [
                        exact_distances(unit_rows(self.vectors_of(part))[None], unit[None])[0]
                        for part in _cut(found, _BATCH_ROWS)
                    ]
                )
                order = np.lexsort((found, exact))[:n_neighbors]
                distances[place], rows[place] = exact[order], found[order]
        return distances, rows

    def _candidates(self, unit: NDArray[np.float32], n_neighbors: int) -> NDArray[np.int64]:
        """Return all rows that may be among the nearest of a vector of length 1."""
        errors = _map(self._folder, "errors")
        about = self._similarities(unit)
        # The product with the error of a row is at most as large as the error is long.
        least = np.partition(about - errors, len(about) - n_neighbors)[-n_neighbors]
        return np.flatnonzero(about + errors >= least)

    def _similarities(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the cosine similarity of a vector of length 1 to each row, from one byte each."""
        key = unit.tobytes()
        if key in self._answers:
            return self._answers[key]
        codes, steps = _map(self._folder, "codes"), _map(self._folder, "steps")
        found = np.empty(len(codes), np.float32)
        step = max(1, _CACHE_VALUES // codes.shape[1])
        wide = np.empty((step, codes.shape[1]), np.float32)
        # A thread of its own for each small product would take longer than the product.
        with workers():
            for start in range(0, len(codes), step):
                part = codes[start : start + step]
                np.copyto(wide[: len(part)], part)
                np.dot(wide[: len(part)], unit, out=found[start : start + len(part)])
        found *= steps
        # The same query is asked again for more neighbours, if files are gone.
        self._answers = {key: found}
        return found

    def _row_of(self, path: str) -> int | None:
        """Return the row of a path in the space."""
        rows = _equal_rows(self._folder, "path", np.uint64(_hash(escape_path(path))))
        return next((row for row in rows if self.paths[row] == path), None)


def as_searchable(
    source: Any, *, stream: bool | None = None, progress: bool = False
) -> Embeddings | SpaceIndex:
    """Return embeddings, or the index of a space that is too large to be loaded.

    Parameters
    ----------
    source : Embeddings, SpaceIndex, array-like, Store, Space, or path of a store
        Of a store, its default space.
    stream : bool, optional
        Whether a space is searched on disk; by default if it is large, see
        :func:`clusterkit.store.reading.is_large`.
    progress : bool
        Whether to show a progress bar while an index is made.
    """
    source = as_space(source)
    if isinstance(source, Embeddings | SpaceIndex):
        return source
    if not isinstance(source, Space):
        return Embeddings(source)
    on_disk = is_large(source) if stream is None else stream
    return SpaceIndex(source, progress=progress) if on_disk else source.read()


class _Texts(Sequence[str]):
    """A text for each row of an index, read from disk one by one."""

    def __init__(self, folder: Path, name: str) -> None:
        self._text, self._ends = _map(folder, f"{name}_text"), _map(folder, f"{name}_ends")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        first = int(self._ends[row - 1]) if row else 0
        return unescape_path(self._text[first : int(self._ends[row])].tobytes().decode())


def _find_or_make(space: Space, *, progress: bool) -> Path:
    """Return the folder of an index, made now unless an earlier run did."""
    base = cache_folder() / "search"
    place = hashlib.sha256(str(space.folder.resolve()).encode()).hexdigest()[:16]
    for _ in range(_ATTEMPTS):
        state = space.state
        content = hashlib.sha256(f"{_VERSION} {state}".encode()).hexdigest()[:16]
        folder = base / f"{place}-{content}"
        if folder.is_dir():
            return folder
        stream = space.stream()
        if space.state != state:
            continue  # a writer was at work between both
        try:
            with _whole_folder(folder) as temporary:
                _write(temporary, stream, progress=progress)
        except OSError as error:
            raise InvalidInputError(
                f"cannot write {folder}: {error.strerror or error}. Choose another folder with the "
                "environment variable CLUSTERKIT_CACHE"
            ) from error
        # Of earlier states of this space; who still reads one keeps it until the end.
        for other in base.glob(f"{place}-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        return folder
    raise InvalidInputError(f"{space.folder} is being written to: wait, then run again")


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder that takes its name at the end, or is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}.{os.getpid()}-{threading.get_ident()}.tmp"
    temporary.mkdir()
    try:
        yield temporary
        # Another run may have made the same meanwhile.
        with suppress(FileExistsError):
            try:
                temporary.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(folder: Path, stream: VectorStream, *, progress: bool) -> None:
    """Write the files of an index."""
    n, dimension = stream.shape
    order = sorted(range(n), key=stream.paths.__getitem__)
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    for name, kind in (("vectors", np.float32), ("codes", np.int8)):
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (n, dimension))
    steps, errors = np.empty(n, np.float32), np.empty(n, np.float32)
    n_read = 0
    with progress_bar(
        name="preparing the search, once", enabled=progress, unit="image", total=n
    ) as bar:
        for batch in stream.iter_batches(_BATCH_ROWS):
            rows = place[n_read : n_read + len(batch)]
            written, steps[rows], errors[rows] = _encode(batch)
            # Mapped for a batch only: what is mapped counts as memory of the process.
            _map(folder, "vectors", "r+")[rows] = batch
            _map(folder, "codes", "r+")[rows] = written
            n_read += len(batch)
            bar.update(len(batch))
    np.save(folder / "steps.npy", steps)
    np.save(folder / "errors.npy", errors)
    paths = [escape_path(stream.paths[row]) for row in order]
    _write_texts(folder, "path", paths)
    if stream.top5 is not None:
        classes = [escape_path(json.dumps(known)) for known in stream.top5]
        _write_texts(folder, "classes", [classes[row] for row in order])
    _write_keys(folder, "path", np.array([_hash(path) for path in paths], np.uint64))
    digests = stream.digests or [None] * n
    known = [bytes.fromhex(digests[row] or "") for row in order]
    _write_keys(folder, "digest", np.array(known, "S32"))
    about = {
        "root": escape_path(str(stream.root)),
        "has_classes": stream.top5 is not None,
        "failures": [[escape_path(path), reason] for path, reason in stream.failures],
    }
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _encode(
    batch: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Return vectors of length 1 as whole numbers of a step, the steps, and what is lost.

    The errors are lengths, with the rounding of products in float32 on top.
    """
    units = unit_rows(batch).astype(np.float64)
    steps = (np.abs(units).max(axis=1, initial=0) / _STEPS).astype(np.float32)
    divisors = np.where(steps > 0, steps, 1).astype(np.float64)
    codes = np.clip(np.rint(units / divisors[:, None]), -_STEPS, _STEPS)
    lost = np.linalg.norm(units - codes * steps[:, None].astype(np.float64), axis=1)
    errors = (lost * (1 + 1e-6) + 2 * FLOAT32_NOISE).astype(np.float32)
    return codes.astype(np.int8), steps, errors


def _write_texts(folder: Path, name: str, texts: list[str]) -> None:
    """Write texts as one, and where each ends."""
    coded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in coded], dtype=np.int64)
    np.save(folder / f"{name}_ends.npy", ends)
    np.save(folder / f"{name}_text.npy", np.frombuffer(b"".join(coded), np.uint8))


def _write_keys(folder: Path, name: str, keys: NDArray[Any]) -> None:
    """Write keys in order, and the row of each."""
    order = np.argsort(keys, kind="stable")
    np.save(folder / f"{name}_keys.npy", keys[order])
    np.save(folder / f"{name}_rows.npy", order)


def _equal_rows(folder: Path, name: str, key: Any) -> list[int]:
    """Return the rows that have a key."""
    keys, rows = _map(folder, f"{name}_keys"), _map(folder, f"{name}_rows")
    first, last = (int(np.searchsorted(keys, key, side=side)) for side in ("left", "right"))
    return sorted(int(row) for row in rows[first:last])


def _hash(path: str) -> int:
    """Return a number of 64 bits for an escaped path."""
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big")


def _map(folder: Path, name: str, mode: Literal["r", "r+"] = "r") -> NDArray[Any]:
    """Map a file of numbers into memory."""
    found: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode=mode)
    return found


def _cut(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield rows in parts of at most ``size``."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
