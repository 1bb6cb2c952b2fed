"""Streams of rows, read in batches, and random samples of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Rows per batch where the caller does not choose.
BATCH_ROWS = 8192


@runtime_checkable
class RowStream(Protocol):
    """Rows that can be read repeatedly in order, in batches."""

    def iter_batches(self, n_rows: int, /) -> Iterator[ArrayLike]:
        """Yield all rows in order as arrays of shape (up to ``n_rows``, d)."""


class RowPart(RowStream, Protocol):
    """A part of a stream, whose number of rows is known before it is read."""

    def __len__(self) -> int:
        """Return the number of rows."""


@runtime_checkable
class PartedStream(RowStream, Protocol):
    """A stream in parts that can be read side by side, as the parts of a space on disk."""

    def split(self) -> Sequence[RowPart]:
        """Return the parts, in order."""


class ArrayStream:
    """The rows of an array or a memory map as a stream."""

    def __init__(self, rows: NDArray[np.generic]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def iter_batches(self, n_rows: int, /) -> Iterator[NDArray[np.generic]]:
        """Yield slices of ``n_rows`` rows."""
        for start in range(0, len(self._rows), n_rows):
            yield self._rows[start : start + n_rows]


class Reservoir:
    """Uniform random sample, without replacement, of a stream of unknown length.

    Up to ``size`` rows are all kept in their order.

    Parameters
    ----------
    size : int
        Sample size.
    rng : numpy.random.Generator
        Random generator.

    References
    ----------
    Vitter: Random sampling with a reservoir. ACM Transactions on Mathematical Software 11, 1985
    (algorithm R).
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self.n_seen = 0
        self._rng = rng
        self._rows: NDArray[np.float32] | None = None
        self._weights = np.empty(size, np.float32)

    def add(self, rows: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        """Add a batch."""
        if self._rows is None:
            self._rows = np.empty((self.size, rows.shape[1]), np.float32)
        ranks = np.arange(self.n_seen, self.n_seen + len(rows))
        places = np.where(ranks < self.size, ranks, self._rng.integers(0, ranks + 1))
        kept = places < self.size
        self._rows[places[kept]] = rows[kept]
        self._weights[places[kept]] = weights[kept]
        self.n_seen += len(rows)

    @property
    def rows(self) -> NDArray[np.float32]:
        """The sample."""
        if self._rows is None:
            return np.empty((0, 1), np.float32)
        return self._rows[: self.n_seen]

    @property
    def weights(self) -> NDArray[np.float32]:
        """Weights of the rows of the sample."""
        return self._weights[: self.n_seen]
