"""The vectors of a space as a stream: read from disk batch by batch, never all in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.embeddings import describe_space
from clusterkit.errors import StoreError


@dataclass(eq=False)
class VectorStream:
    """The vectors of a space, as often as asked, in the order in which they were stored.

    What :class:`~clusterkit.clusterers.MiniBatchKMeans` fits and predicts where
    :class:`~clusterkit.embeddings.Embeddings` would not fit into memory.  Made by
    :meth:`clusterkit.space.Space.stream`.

    Attributes
    ----------
    paths : list of str
        The images, one per vector, relative to ``root``.
    root : pathlib.Path
        Absolute folder that the paths are relative to.
    space : dict
        What made the vectors.
    parts : dict of pathlib.Path to ndarray of bool
        Each Parquet part, and which of its rows are in the stream.

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

    def iter_batches(self, n_rows: int, /) -> Iterator[NDArray[np.float32]]:
        """Yield all vectors in order, as arrays of shape (at most ``n_rows``, dimension).

        Raises
        ------
        StoreError
            If a part is damaged, or was rewritten since the stream was opened.
        """
        from clusterkit.parts import read_batches, table_vectors

        for part, chosen in self.parts.items():
            n_read = 0
            for table in read_batches(part, ["vector"], n_rows):
                mask = chosen[n_read : n_read + len(table)]
                n_read += len(table)
                if len(mask) == len(table) and mask.any():
                    yield table_vectors(table.filter(mask))
            if n_read != len(chosen):
                raise StoreError(f"{part} was rewritten while it was read: open the stream again")

    @property
    def shape(self) -> tuple[int, int]:
        """(number of images, dimension)."""
        return len(self.paths), int(self.space["dimension"])

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"VectorStream({len(self)} x {self.shape[1]}, {describe_space(self.space)})"
