"""An index of vectors that finds most of the nearest neighbours of a query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.similarity.nearest import nearest_among
from clusterkit.similarity.scaling import Scaling, scale_rows
from clusterkit.utils.files import atomic_file

# Maximum number of parts of a code, each of at least 2 dimensions, and bits per part.
_MAX_CODE_PARTS, _CODE_BITS = 256, 4
# A search compares the codes of this many rows, and the vectors of this many.
_N_CODES_COMPARED, _N_VECTORS_COMPARED = 300_000, 1_000
# Training data for the cells of an index: rows per cell, and numbers in all (512 MiB).
_N_OF_CELL, _MAX_VALUES = 64, 2**27


class NeighborIndex:
    """An index of vectors for single queries, which finds most of the nearest neighbours.

    The rows are divided into cells by k-means.  In the cells that are nearest to a query, which
    hold about 300,000 rows, all rows are compared by codes of 4 bits for two dimensions or more
    (product quantisation [1]_, compared as in [2]_).  The 1,000 nearest of these are compared
    exactly, by their vectors.  Up to 300,000 rows, no cell is left out.

    Parameters
    ----------
    file : path
        The index, written by :meth:`build`.
    vectors : ndarray of shape (n, dimension), float32
        The rows that it was built from; may be mapped from a file, of which a search reads the
        compared rows only.
    normalize : True or "sqrt"
        How rows are scaled, see :func:`~clusterkit.similarity.scaling.scale_rows`.

    Raises
    ------
    InvalidInputError
        If the file is damaged, or was built from other rows.

    References
    ----------
    .. [1] Jegou, H., Douze, M. & Schmid, C. Product quantization for nearest neighbor search. IEEE
       TPAMI 33(1), 2011.
    .. [2] Andre, F., Kermarrec, A.-M. & Le Scouarnec, N. Cache locality is not enough:
       high-performance nearest neighbor search with product quantization fast scan. VLDB 9(4),
       2015.

    Notes
    -----
    Of the ten nearest among 1,000,000 rows of 512 dimensions, it finds all where there are groups
    (1.00 of Xception's vectors of 70 species mixed with each other and with noise, and of 1,000
    clusters), and 0.45 of them for random numbers, where all distances are nearly equal
    (``tests/benchmarks/serve.py``).  A search takes 4 ms of one core, a file of codes a fifteenth
    of the vectors.
    """

    def __init__(
        self, file: str | Path, vectors: NDArray[np.float32], *, normalize: Scaling = True
    ) -> None:
        import faiss

        try:
            index: Any = faiss.read_index(str(file))
        except RuntimeError as error:
            raise InvalidInputError(f"{file} is not an index, or damaged") from error
        if (index.ntotal, index.d) != (len(vectors), _padded(vectors.shape[1])):
            raise InvalidInputError(f"{file} was built from other vectors")
        self.vectors = vectors
        self.normalize = normalize
        self._index = index
        share = min(1.0, _N_CODES_COMPARED / len(vectors))
        index.nprobe = int(np.ceil(share * index.nlist))

    @staticmethod
    def build(vectors: NDArray[np.float32], file: Path, *, normalize: Scaling = True) -> None:
        """Build an index and write it; takes about a minute for 1,000,000 rows on two cores.

        Parameters
        ----------
        vectors : ndarray of shape (n, dimension), float32
            Rows of any length; read in blocks.
        file : pathlib.Path
            The file to write.
        normalize : True or "sqrt"
            How rows are scaled.

        Raises
        ------
        OSError, RuntimeError
            If it cannot be written; RuntimeError by faiss, as on a full disk.
        """
        import faiss

        n, dimension = len(vectors), _padded(vectors.shape[1])
        # A power of two near the square root, so that there are about as many cells as rows per
        # cell.
        n_cells = 2 ** round(np.log2(n) / 2)
        n_parts = dimension // _part_width(vectors.shape[1])
        index = faiss.IndexIVFPQFastScan(
            faiss.IndexFlatIP(dimension),
            dimension,
            n_cells,
            n_parts,
            _CODE_BITS,
            faiss.METRIC_INNER_PRODUCT,
        )
        index.cp.niter, index.cp.seed = 8, 0
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _N_OF_CELL
        index.pq.cp.min_points_per_centroid = 1
        n_learned = min(n, _N_OF_CELL * n_cells, max(n_cells, _MAX_VALUES // dimension))
        chosen = np.random.default_rng(0).choice(n, n_learned, replace=False)
        index.train(_pad(scale_rows(vectors[np.sort(chosen)], normalize)))
        block = max(1, _MAX_VALUES // 8 // dimension)
        for start in range(0, n, block):
            index.add(_pad(scale_rows(vectors[start : start + block], normalize)))
        with atomic_file(file) as temporary:
            faiss.write_index(index, str(temporary))

    def search(
        self, queries: NDArray[np.float32], n_neighbors: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Find most of the nearest rows of each query by cosine distance.

        Parameters
        ----------
        queries : ndarray of shape (n_queries, dimension), float32
            Rows of length 1, scaled as those of the index.
        n_neighbors : int
            Number of neighbours, ``1 <= n_neighbors <= n``.

        Returns
        -------
        distances, rows : ndarray of shape (n_queries, n_neighbors)
            As for :func:`clusterkit.similarity.nearest.nearest`; None if there are not that many
            near rows, as with a query of zeros.
        """
        n_candidates = min(len(self.vectors), max(_N_VECTORS_COMPARED, 4 * n_neighbors))
        with _threads(1 if len(queries) == 1 else None):
            _, candidates = self._index.search(_pad(queries), n_candidates)
        if not queries.any(axis=1).all() or (candidates >= 0).sum(axis=1).min() < n_neighbors:
            return None
        found = [
            nearest_among(
                self.vectors, query, rows[rows >= 0], n_neighbors, normalize=self.normalize
            )
            for query, rows in zip(queries, candidates, strict=True)
        ]
        distances, rows = zip(*found, strict=True)
        return np.stack(distances), np.stack(rows)


def _part_width(dimension: int) -> int:
    """Return how many dimensions a part of the code describes."""
    return max(2, -(-dimension // _MAX_CODE_PARTS))


def _padded(dimension: int) -> int:
    """Return the dimension that is a whole number of parts."""
    width = _part_width(dimension)
    return -(-dimension // width) * width


def _pad(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows with zeros at their ends, in the dimension of an index."""
    left = _padded(rows.shape[1]) - rows.shape[1]
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, left))) if left else rows)


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    """Set the number of threads of faiss for the present thread; all if None.

    Synchronising several threads takes longer than a short search.
    """
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(n or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
