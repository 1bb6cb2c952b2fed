"""Exact cosine search over arrays, without importing scikit-learn, which is slow."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.similarity.scaling import Scaling, scale_rows, take_roots, unit_rows

# Tolerance of scalar products of float32 unit vectors for any order of summation.
FLOAT32_NOISE = 2e-6
# Number of float32 values recomputed at a time: 2**25 are 128 MiB.
_BLOCK_VALUES = 2**25
# Tolerance of scalar products in float64.
_FLOAT64_NOISE = 1e-12
# With more candidates than this, comparing all rows in float64 is faster.
_MAX_CANDIDATES = 512
# Columns that are compared first: different rows usually differ in these.
_N_COMPARED = 16
# Number of values scaled or converted to float64 at a time: 16 and 32 MiB.
_PART_VALUES = 2**22


def find_equal(rows: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the first equal row of each row.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float32
        Finite numbers.

    Returns
    -------
    ndarray of shape (n,), int
        Row numbers; the first of equal rows has its own.
    """
    first = np.arange(len(rows))
    columns = np.linspace(0, rows.shape[1] - 1, min(rows.shape[1], _N_COMPARED)).astype(int)
    # Adding 0.0 converts -0.0 to 0.0.
    keys = np.ascontiguousarray(rows[:, columns] + np.float32(0))
    keys = keys.view(np.dtype((np.void, keys.itemsize * keys.shape[1])))[:, 0]
    _, numbers, counts = np.unique(keys, return_inverse=True, return_counts=True)
    seen: dict[bytes, int] = {}
    for row in np.flatnonzero(counts[numbers] > 1).tolist():
        first[row] = seen.setdefault(content_of(rows[row]), row)
    return first


def content_of(row: NDArray[np.float32]) -> bytes:
    """Return what equal rows have in common; 0.0 and -0.0 are equal."""
    return hashlib.blake2b((row + np.float32(0)).tobytes(), digest_size=16).digest()


def nearest(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], n_neighbors: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find the nearest rows of each query by cosine distance, exactly.

    faiss compares all pairs in float32; the distances of the candidates are then recomputed in
    float64 as half the squared difference of the unit vectors, which equals 1 - cosine and is
    exactly 0 for identical vectors.  Ties are in order of row number.

    If very many rows tie with the last neighbour in float32, all rows are compared again by scalar
    products in float64; if more than some hundreds still tie, within 1e-12, the first are taken.
    Memory stays bounded, and the time is that of comparing all pairs.

    Parameters
    ----------
    vectors : ndarray of shape (n, dimension), float32
        Rows of length 1 or 0, from :func:`~clusterkit.similarity.scaling.unit_rows`.
    queries : ndarray of shape (n_queries, dimension), float32
        Rows of length 1 or 0.
    n_neighbors : int
        Number of neighbours, ``1 <= n_neighbors <= n``.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_neighbors), float64
        1 - cosine similarity, in [0, 2], ascending.  The distance to a zero vector is 1.
    rows : ndarray of shape (n_queries, n_neighbors), int64
        The rows of ``vectors``.

    Raises
    ------
    InvalidInputError
        If ``n_neighbors`` is out of range or the dimensions differ.
    """
    if not 1 <= n_neighbors <= len(vectors):
        raise InvalidInputError(
            "n_neighbors must be from 1 to the number of rows. "
            f"Received: n_neighbors={n_neighbors}, n_samples={len(vectors)}"
        )
    if vectors.shape[1] != queries.shape[1]:
        raise InvalidInputError(
            "queries must have the dimension of the vectors. "
            f"Received: {queries.shape[1]} and {vectors.shape[1]}"
        )
    n_neighbors = int(n_neighbors)  # faiss takes no numbers of NumPy
    kinds, place = np.unique(find_equal(queries), return_inverse=True)
    if len(kinds) < len(queries):
        distances, rows = nearest(vectors, queries[kinds], n_neighbors)
        return distances[place], rows[place]
    distances = np.ones((len(queries), n_neighbors))
    # All rows are at distance 1 from a zero query: return the first ones.
    rows = np.tile(np.arange(n_neighbors), (len(queries), 1))
    open_queries = np.flatnonzero(queries.any(axis=1))
    n_candidates = n_neighbors + 1
    max_rows = max(_MAX_CANDIDATES, 4 * n_candidates)
    while len(open_queries) and n_candidates <= max_rows:
        n_candidates = min(n_candidates, len(vectors))
        similarities, candidates = _candidates(vectors, queries[open_queries], n_candidates)
        # If the last candidate ties with the last neighbour, a row that is not a candidate may come
        # first.
        is_tied = similarities[:, n_neighbors - 1] - similarities[:, -1] < FLOAT32_NOISE
        is_tied &= n_candidates < len(vectors)
        settled = np.flatnonzero(~is_tied)
        block = max(1, _BLOCK_VALUES // (n_candidates * vectors.shape[1]))
        for start in range(0, len(settled), block):
            part = settled[start : start + block]
            found, targets = candidates[part], open_queries[part]
            exact = exact_distances(vectors[found], queries[targets])
            order = np.lexsort((found, exact))[:, :n_neighbors]
            distances[targets] = np.take_along_axis(exact, order, axis=1)
            rows[targets] = np.take_along_axis(found, order, axis=1)
        open_queries = open_queries[is_tied]
        n_candidates *= 8
    block = max(1, _BLOCK_VALUES // 4 // len(vectors))
    for start in range(0, len(open_queries), block):
        part = open_queries[start : start + block]
        for target, measured in zip(part, _measure_all(vectors, queries[part]), strict=True):
            found = _choose(measured, n_neighbors, max_rows)
            exact = exact_distances(vectors[found][None], queries[[target]])[0]
            order = np.lexsort((found, exact))[:n_neighbors]
            distances[target], rows[target] = exact[order], found[order]
    return distances, rows


def nearest_among(
    vectors: NDArray[np.float32],
    query: NDArray[np.float32],
    candidates: NDArray[np.int64],
    n_neighbors: int,
    *,
    normalize: Scaling = True,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find the nearest of some rows to one query by cosine distance, exactly.

    Parameters
    ----------
    vectors : ndarray of shape (n, dimension), float32
        Rows of any length, of which only the candidates are read.
    query : ndarray of shape (dimension,), float32
        A row of length 1 or 0.
    candidates : ndarray of shape (n_candidates,), int64
        Different rows of ``vectors``.
    n_neighbors : int
        Number of neighbours, ``1 <= n_neighbors <= n_candidates``.
    normalize : True or "sqrt"
        How the rows are scaled, and the query was; see
        :func:`~clusterkit.similarity.scaling.scale_rows`.

    Returns
    -------
    distances, rows : ndarray of shape (n_neighbors,)
        As for :func:`nearest`, for the candidates only.
    """
    # In order of the file, which a disk reads faster.
    candidates = np.sort(candidates)
    block = max(1, _BLOCK_VALUES // vectors.shape[1])
    found, exact = [], []
    for start in range(0, len(candidates), block):
        rows = candidates[start : start + block]
        part = take_roots(vectors[rows], normalize)
        likely = _find_likely(part, query, n_neighbors)
        found.append(rows[likely])
        exact.append(exact_distances(unit_rows(part[likely])[None], query[None])[0])
    rows, distances = np.concatenate(found), np.concatenate(exact)
    order = np.lexsort((rows, distances))[:n_neighbors]
    return distances[order], rows[order]


def _find_likely(
    rows: NDArray[np.float32], query: NDArray[np.float32], n_neighbors: int
) -> NDArray[np.int64]:
    """Return which rows may be among the nearest of a query, found at little cost in float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
    # For zero rows, and numbers that float32 cannot square, all are compared.
    if len(rows) <= n_neighbors or not ((squares > 1e-30) & (squares < 1e30)).all():
        return np.arange(len(rows))
    cosines = rows @ query / np.sqrt(squares)
    least = np.partition(cosines, -n_neighbors)[-n_neighbors] - 4 * FLOAT32_NOISE
    return np.flatnonzero(cosines >= least)


def nearest_of_any_length(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    n_neighbors: int,
    *,
    normalize: Scaling = True,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find the nearest rows of vectors that are not normalised; see :func:`nearest`.

    Parameters
    ----------
    vectors : ndarray of shape (n, dimension)
        Rows of any length, scaled block by block without a full copy.
    queries : ndarray of shape (n_queries, dimension)
        Rows of any length.
    n_neighbors : int
        Number of neighbours, ``1 <= n_neighbors <= n``.
    normalize : True or "sqrt"
        How rows are scaled, see :func:`~clusterkit.similarity.scaling.scale_rows`.

    Returns
    -------
    distances, rows : ndarray of shape (n_queries, n_neighbors)
        As for :func:`nearest`.
    """
    unit_queries = scale_rows(queries, normalize)
    distances = np.empty((len(queries), 0))
    rows = np.empty((len(queries), 0), np.int64)
    step = max(1, _PART_VALUES // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), step):
        part = scale_rows(vectors[start : start + step], normalize)
        near, found = nearest(part, unit_queries, min(n_neighbors, len(part)))
        distances, rows = np.hstack([distances, near]), np.hstack([rows, found + start])
        order = np.lexsort((rows, distances))[:, :n_neighbors]
        distances = np.take_along_axis(distances, order, axis=1)
        rows = np.take_along_axis(rows, order, axis=1)
    return distances, rows


def nearest_others(
    vectors: NDArray[np.float32], n_neighbors: int, *, normalize: Scaling = True
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find the nearest other rows of each row; see :func:`nearest`.

    Parameters
    ----------
    vectors : ndarray of shape (n, dimension)
        Rows of any length.
    n_neighbors : int
        Number of neighbours; all others if there are fewer.
    normalize : True or "sqrt"
        How rows are scaled, see :func:`~clusterkit.similarity.scaling.scale_rows`.

    Returns
    -------
    distances, rows : ndarray of shape (n, min(n_neighbors, n - 1))
        As for :func:`nearest`.
    """
    n_neighbors = min(n_neighbors, len(vectors) - 1)
    distances, rows = nearest_of_any_length(vectors, vectors, n_neighbors + 1, normalize=normalize)
    return without_own(distances, rows, np.arange(len(rows)))


def without_own(
    distances: NDArray[Any], rows: NDArray[np.int64], own: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Remove from the neighbours of each query the row that is the query itself.

    Parameters
    ----------
    distances, rows : ndarray of shape (n_queries, n_neighbors)
        Neighbours, nearest first.
    own : ndarray of shape (n_queries,), int64
        The row of each query.

    Returns
    -------
    distances, rows : ndarray of shape (n_queries, n_neighbors - 1)
        The last neighbour is removed instead if a query was not found: of more equal rows than are
        found, it may not be among them.
    """
    is_other = rows != own[:, None]
    is_other[is_other.all(axis=1), -1] = False
    shape = (len(rows), rows.shape[1] - 1)
    return distances[is_other].reshape(shape), rows[is_other].reshape(shape)


def _measure_all(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the float64 cosine distances of queries to all rows, shape (q, n)."""
    wide = queries.astype(np.float64)
    halves = np.einsum("qd,qd->q", wide, wide) / 2
    measured = np.empty((len(queries), len(vectors)))
    step = max(1, _PART_VALUES // vectors.shape[1])
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step].astype(np.float64)
        lengths = np.einsum("nd,nd->n", part, part)
        columns = measured[:, start : start + step]
        np.matmul(wide, part.T, out=columns)
        np.subtract(lengths / 2 + halves[:, None], columns, out=columns)
        columns[:, lengths == 0] = 1
    return measured


def _choose(measured: NDArray[np.float64], n_neighbors: int, max_rows: int) -> NDArray[np.int64]:
    """Return the candidate rows; of too many ties, the first."""
    last = np.partition(measured, n_neighbors - 1)[n_neighbors - 1]
    found = np.flatnonzero(measured <= last + _FLOAT64_NOISE)
    if len(found) <= max_rows:
        return found
    is_nearer = measured[found] < last - _FLOAT64_NOISE
    tied = found[~is_nearer][: n_neighbors - is_nearer.sum()]
    return np.concatenate([found[is_nearer], tied])


def _candidates(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], n_candidates: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the highest float32 similarities of each query and their rows, ties in any order."""
    import faiss

    # The same as IndexFlatIP.search, without a second copy of the vectors.
    return faiss.knn(
        np.ascontiguousarray(queries), vectors, n_candidates, metric=faiss.METRIC_INNER_PRODUCT
    )


def exact_distances(
    candidates: NDArray[np.float32], queries: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the cosine distances of each query to its candidates, shape (q, k).

    Parameters
    ----------
    candidates : ndarray of shape (q, k, dimension), float32
        Rows of length 1 or 0.
    queries : ndarray of shape (q, dimension), float32
        Rows of length 1 or 0.
    """
    difference = candidates - queries[:, None]
    distances = np.einsum("qkd,qkd->qk", difference, difference, dtype=np.float64) / 2
    distances[~candidates.any(axis=2)] = 1
    return np.clip(distances, 0, 2)
