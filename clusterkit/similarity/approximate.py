"""Approximate nearest neighbours of all rows of a large array, for where a miss harms little."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterkit.similarity.nearest import unit_rows

# Candidates are looked for in this many dimensions, and in some cells of a partition.
_N_REDUCED, _N_CANDIDATES, _N_CELLS_SEARCHED = 96, 48, 16
_BLOCK = 2_000


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
