"""Approximate nearest neighbours in large arrays, for where a miss harms little.

:func:`nearest_others_roughly` finds those of all rows once; a :class:`NeighborIndex` is built once
and finds those of single queries again and again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.similarity.nearest import nearest_among, unit_rows
from clusterkit.utils.files import atomic_file

# Candidates are looked for in this many dimensions, and in some cells of a partition.
_N_REDUCED, _N_CANDIDATES, _N_CELLS_SEARCHED = 96, 48, 16
_BLOCK = 2_000
# An index has codes of at most so many parts with 4 bits each, of at least 2 dimensions.
_MOST_CODE_PARTS, _CODE_BITS = 256, 4
# A search compares the codes of this many rows, and the vectors of this many.
_N_CODES_COMPARED, _N_VECTORS_COMPARED = 300_000, 1_000
# Rows from which the cells of an index are learned: of each cell, and numbers in all (512 MiB).
_N_OF_CELL, _MOST_VALUES = 64, 2**27


class NeighborIndex:
    """An index of unit vectors for single queries, of which most neighbours are the nearest.

    The rows are divided into cells by k-means.  In the cells that are nearest to a query, which
    hold about 300,000 rows, all rows are compared by codes of 4 bits for two dimensions or more
    (product quantisation [1]_, compared as in [2]_).  The 1,000 nearest of these are compared
    exactly, by their vectors.  Up to 300,000 rows, no cell is left out.

    Parameters
    ----------
    file : path
        The index, written by :meth:`build`.
    units : ndarray of shape (n, dimension), float32
        The rows that it was built from; may be mapped from a file, of which a search reads the
        compared rows only.

    Raises
    ------
    InvalidInputError
        If the file is damaged, or of other rows.

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
    clusters), and 0.45 of numbers at random, of which none is much nearer than any other
    (``tests/benchmarks/serve.py``).  A search takes 4 ms of one core, a file of codes a fifteenth
    of the vectors.
    """

    def __init__(self, file: str | Path, units: NDArray[np.float32]) -> None:
        import faiss

        try:
            index: Any = faiss.read_index(str(file))
        except RuntimeError as error:
            raise InvalidInputError(f"{file} is no index, or damaged") from error
        if (index.ntotal, index.d) != (len(units), _padded(units.shape[1])):
            raise InvalidInputError(f"{file} is the index of other vectors")
        self.units = units
        self._index = index
        share = min(1.0, _N_CODES_COMPARED / len(units))
        index.nprobe = int(np.ceil(share * index.nlist))

    @staticmethod
    def build(units: NDArray[np.float32], file: Path) -> None:
        """Build an index and write it; takes about a minute for 1,000,000 rows on two cores.

        Parameters
        ----------
        units : ndarray of shape (n, dimension), float32
            Rows of length 1 or 0; read in blocks.
        file : pathlib.Path
            The file to write.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        import faiss

        n, dimension = len(units), _padded(units.shape[1])
        # A power of two near to the square root, of which each cell holds as many rows.
        n_cells = 2 ** round(np.log2(n) / 2)
        n_parts = dimension // _part_width(units.shape[1])
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
        n_learned = min(n, _N_OF_CELL * n_cells, max(n_cells, _MOST_VALUES // dimension))
        chosen = np.random.default_rng(0).choice(n, n_learned, replace=False)
        index.train(_pad(units[np.sort(chosen)]))
        block = max(1, _MOST_VALUES // 8 // dimension)
        for start in range(0, n, block):
            index.add(_pad(units[start : start + block]))
        with atomic_file(file) as temporary:
            faiss.write_index(index, str(temporary))

    def search(
        self, queries: NDArray[np.float32], n_neighbors: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Find near rows of each query by cosine distance, most of them the nearest.

        Parameters
        ----------
        queries : ndarray of shape (n_queries, dimension), float32
            Rows of length 1, from :func:`clusterkit.similarity.nearest.unit_rows`.
        n_neighbors : int
            Number of neighbours, ``1 <= n_neighbors <= n``.

        Returns
        -------
        distances, rows : ndarray of shape (n_queries, n_neighbors)
            As for :func:`clusterkit.similarity.nearest.nearest`; None if there are not that many
            near rows, as with a query of zeros.
        """
        n_candidates = min(len(self.units), max(_N_VECTORS_COMPARED, 4 * n_neighbors))
        with _threads(1 if len(queries) == 1 else None):
            _, candidates = self._index.search(_pad(queries), n_candidates)
        if not queries.any(axis=1).all() or (candidates >= 0).sum(axis=1).min() < n_neighbors:
            return None
        found = [
            nearest_among(self.units, query, rows[rows >= 0], n_neighbors)
            for query, rows in zip(queries, candidates, strict=True)
        ]
        distances, rows = zip(*found, strict=True)
        return np.stack(distances), np.stack(rows)


def _part_width(dimension: int) -> int:
    """Return how many dimensions a part of the code describes."""
    return max(2, -(-dimension // _MOST_CODE_PARTS))


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
    """Let faiss use so many threads in the present one; all if None.

    Several wait for each other, and for a core, longer than a short search takes.
    """
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(n or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def nearest_others_roughly(
    vectors: NDArray[np.float32], n_neighbors: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find near other rows of each row by cosine distance, most of them the nearest.

    The rows are reduced to the 96 dimensions that keep their scalar products best, and divided into
    cells by k-means.  Of the rows in the 16 nearest cells of each, the 48 nearest are candidates,
    whose distances are then computed in all dimensions.

    Parameters
    ----------
    vectors : ndarray of shape (n, dimension)
        Rows of any length.
    n_neighbors : int
        Number of neighbours, at most 47.

    Returns
    -------
    distances, rows : ndarray of shape (n, n_neighbors)
        As for :func:`clusterkit.similarity.nearest.nearest_others`; row -1 at distance 1 where
        fewer were found.
    """
    units = unit_rows(vectors)
    candidates = _search(_reduce(units))
    distances = np.ones((len(units), n_neighbors))
    rows = np.full((len(units), n_neighbors), -1)
    for start in range(0, len(units), _BLOCK):
        part = candidates[start : start + _BLOCK]
        queries = np.arange(start, start + len(part))
        found = 1 - np.einsum("qkd,qd->qk", units[part], units[queries], dtype=np.float64)
        found[(part < 0) | (part == queries[:, None])] = np.inf
        order = np.lexsort((part, found))[:, :n_neighbors]
        near = np.take_along_axis(found, order, axis=1)
        is_found = np.isfinite(near)
        distances[queries] = np.where(is_found, near, 1)
        rows[queries] = np.where(is_found, np.take_along_axis(part, order, axis=1), -1)
    return distances, rows


def _search(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return candidates for the neighbours of each row; -1 where there are fewer."""
    import faiss

    dimension = rows.shape[1]
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(dimension),
        dimension,
        max(1, int(2 * np.sqrt(len(rows)))),
        faiss.METRIC_INNER_PRODUCT,
    )
    # Few rows are enough for cells; the seed is fixed, and the rows are taken in their order.
    index.cp.niter, index.cp.seed = 8, 0
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 64
    index.train(rows)
    index.add(rows)
    index.nprobe = _N_CELLS_SEARCHED
    return index.search(rows, _N_CANDIDATES)[1]


def _reduce(units: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows in the fewer dimensions that keep their scalar products best."""
    if units.shape[1] <= _N_REDUCED:
        return units
    products = np.zeros((units.shape[1], units.shape[1]))
    for start in range(0, len(units), _BLOCK):
        part = units[start : start + _BLOCK].astype(np.float64)
        products += part.T @ part
    _, directions = np.linalg.eigh(products)
    return np.ascontiguousarray(units @ directions[:, -_N_REDUCED:].astype(np.float32))
