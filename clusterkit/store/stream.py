"""The vectors of a space as a stream of batches from disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import StoreError
from clusterkit.store.embeddings import (
    Embeddings,
    Failure,
    RandomSample,
    Selection,
    TopClasses,
    describe_space,
)
from clusterkit.utils.arguments import as_plain, check_at_least, generator_from
from clusterkit.utils.progress import progress_bar

# Number of images that are read at a time.
_BATCH_ROWS = 8192
# Default size of a random sample of a large space.
SAMPLE_SIZE = 20_000


@dataclass(frozen=True, eq=False)
class PartRows:
    """The rows of one part of a space, as a repeatable stream.

    Small, so that it can be sent to another thread, process or machine.

    Attributes
    ----------
    file : pathlib.Path
        The part.
    chosen : ndarray of bool
        Mask of its rows that belong to the stream.
    dimension : int
        Length of a vector.
    """

    file: Path
    chosen: NDArray[np.bool_]
    dimension: int

    def __len__(self) -> int:
        return int(self.chosen.sum())

    def iter_batches(self, n_rows: int, /) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors in order as arrays of shape (up to ``n_rows``, dimension).

        Raises
        ------
        StoreError
            If the part is damaged, or was rewritten since the stream was opened.
        """
        from clusterkit.store.part_file import part_error, table_vectors

        for table in self.iter_tables("vector", n_rows):
            try:
                yield table_vectors(table, self.dimension)
            except ValueError as error:
                raise part_error(self.file, f"damaged: {error}") from error

    def iter_tables(self, column: str, n_rows: int) -> Iterator[Any]:
        """Yield one column of the rows, as tables of at most ``n_rows`` rows."""
        from clusterkit.store.part_file import iter_column

        if not self.file.exists():
            raise StoreError(
                f"{self.file} was replaced while it was read: wait until `clusterkit embed` has "
                "ended, then run again"
            )
        n_read = 0
        for table in iter_column(self.file, column, n_rows):
            mask = self.chosen[n_read : n_read + len(table)]
            n_read += len(table)
            if len(mask) == len(table) and mask.any():
                yield table if mask.all() else table.filter(mask)
        if n_read != len(self.chosen):
            raise StoreError(f"{self.file} was rewritten while it was read: open the stream again")


@dataclass(eq=False)
class VectorStream:
    """The vectors of a space as a repeatable stream, in storage order.

    Input for :class:`~clusterkit.clusterers.KMeans` and others that read batches, if
    :class:`~clusterkit.store.embeddings.Embeddings` would not fit in memory.  Created by
    :meth:`clusterkit.store.space.Space.stream`.

    Attributes
    ----------
    paths : list of str
        The images, one per vector, relative to ``root``.
    root : pathlib.Path
        Absolute folder that the paths are relative to.
    space : dict
        Description of what made the vectors.
    parts : dict of pathlib.Path to ndarray of bool
        Parquet parts, each with a mask of the rows in the stream.
    failures : list of Failure
        Images without a vector.
    digests : list of (str or None), optional
        SHA-256 digest of each image file.
    selections : tuple of Selection
        How these images were selected from more, one selection after the other.

    Examples
    --------
    >>> from clusterkit.clusterers import MiniBatchKMeans
    >>> stream = Store(".clusterkit").space("xception").stream()  # doctest: +SKIP
    >>> labels = MiniBatchKMeans(100, random_state=0).fit_predict(stream)  # doctest: +SKIP
    >>> dict(zip(stream.paths, labels.tolist()))  # doctest: +SKIP
    {'fox/001.jpg': 17, 'fox/002.jpg': 17, ...}
    """

    paths: list[str]
    root: Path
    space: dict[str, Any] = field(default_factory=dict)
    parts: dict[Path, NDArray[np.bool_]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    digests: list[str | None] | None = None
    selections: tuple[Selection, ...] = ()

    def iter_batches(self, n_rows: int, /) -> Iterator[NDArray[np.float32]]:
        """Yield all vectors in order as arrays of shape (up to ``n_rows``, dimension).

        Raises
        ------
        StoreError
            If a part is damaged, or was rewritten since the stream was opened.
        """
        for part in self.split():
            yield from part.iter_batches(n_rows)

    def split(self) -> list[PartRows]:
        """Return the rows of each part, in order, each a stream that can be read on its own."""
        dimension = self.shape[1]
        return [
            PartRows(file, chosen, dimension) for file, chosen in self.parts.items() if chosen.any()
        ]

    @cached_property
    def top5(self) -> Iterable[TopClasses | None] | None:
        """The most probable ImageNet classes of each image, as a repeatable iterable.

        None if no image has any.
        """
        stored = _StoredClasses(self)
        return stored if any(stored) else None

    def iter_tables(self, column: str, n_rows: int) -> Iterator[Any]:
        """Yield one column of the rows of the stream, as tables of at most ``n_rows`` rows."""
        for part in self.split():
            yield from part.iter_tables(column, n_rows)

    def select(self, chosen: NDArray[np.bool_]) -> VectorStream:
        """Return a stream of the images in a boolean mask; their vectors stay on disk."""
        rows = np.flatnonzero(chosen)
        masks = [mask.copy() for mask in self.parts.values()]
        first = 0
        for mask in masks:
            inside = np.flatnonzero(mask)
            mask[inside] = chosen[first : first + len(inside)]
            first += len(inside)
        return VectorStream(
            [self.paths[row] for row in rows],
            self.root,
            self.space,
            dict(zip(self.parts, masks, strict=True)),
            digests=None if self.digests is None else [self.digests[row] for row in rows],
            selections=self.selections,
        )

    def take(
        self, rows: NDArray[np.int64] | NDArray[np.bool_], *, progress: bool = False
    ) -> Embeddings:
        """Load some images.

        Parameters
        ----------
        rows : ndarray of shape (m,), int, or of shape (n,), bool
            Row numbers, in any order; as in an array, negative ones count from the end.  Or a mask.
        progress : bool
            Whether to show a progress bar over the parts.

        Returns
        -------
        Embeddings
            One row per row number, in their order.
        """
        asked, whole = np.asarray(rows), np.arange(len(self), dtype=np.int64)
        rows = whole[asked if asked.dtype == np.bool_ else asked.astype(np.int64)]
        chosen = np.zeros(len(self), np.bool_)
        chosen[rows] = True
        some = self.select(chosen)
        vectors = np.empty(some.shape, np.float32)
        n_read = 0
        for part in progress_bar(some.split(), name="reading", enabled=progress, unit="part"):
            for batch in part.iter_batches(_BATCH_ROWS):
                vectors[n_read : n_read + len(batch)] = batch
                n_read += len(batch)
        loaded = Embeddings(
            vectors,
            some.paths,
            root=self.root,
            space=self.space,
            top5=None if some.top5 is None else list(some.top5),
            digests=some.digests,  # type: ignore[arg-type]
            failures=self.failures,
            selections=self.selections,
        )
        if (np.diff(rows) > 0).all():
            return loaded
        ordered = loaded[np.searchsorted(np.flatnonzero(chosen), rows)]
        return replace(ordered, failures=self.failures)

    def sample(
        self,
        size: int | None = None,
        *,
        random_state: int | None = None,
        progress: bool = False,
    ) -> Embeddings:
        """Load a uniform random sample of the images, without replacement.

        Parameters
        ----------
        size : int, optional
            Number of images, by default 20,000; all if there are no more.
        random_state : int, optional
            Seed.
        progress : bool
            Whether to show a progress bar over the parts.

        Returns
        -------
        Embeddings
            In order of path; ``sampled`` describes the sample.

        Raises
        ------
        InvalidInputError
            If the size is below 1.
        """
        size = check_at_least(SAMPLE_SIZE if size is None else size, 1, "size")
        n = len(self)
        rows = np.arange(n)
        if size < n:
            rows = generator_from(random_state).choice(n, size, replace=False)
        rows = np.array(sorted(rows.tolist(), key=self.paths.__getitem__), np.int64)
        loaded = self.take(rows, progress=progress)
        made = RandomSample(size, n, as_plain(random_state)) if size < n else None
        return replace(loaded, sampled=made)

    @property
    def fingerprint(self) -> str | None:
        """Identity of the embedding space; None if unknown."""
        return self.space.get("fingerprint")

    @property
    def files(self) -> list[Path]:
        """Absolute path of each image."""
        return [self.root / path for path in self.paths]

    @property
    def shape(self) -> tuple[int, int]:
        """(number of images, dimension)."""
        return len(self.paths), int(self.space["dimension"])

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"VectorStream({len(self)} x {self.shape[1]}, {describe_space(self.space)})"


class _StoredClasses:
    """The ImageNet classes of the images of a stream, read from its parts each time."""

    def __init__(self, stream: VectorStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[TopClasses | None]:
        from clusterkit.store.part_file import table_top5

        for table in self._stream.iter_tables("top5", _BATCH_ROWS):
            yield from table_top5(table)
