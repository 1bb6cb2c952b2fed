"""Approximate nearest neighbours of all rows of a large array, where a miss does little harm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.similarity.nearest import without_own
from clusterkit.similarity.scaling import Scaling, scale_rows
from clusterkit.store.stream import SAMPLE_SIZE, VectorStream
from clusterkit.utils.progress import progress_bar

# Candidates are searched in this many dimensions, and in some cells of a partition.
_N_REDUCED, _N_CANDIDATES, _N_CELLS_SEARCHED = 96, 48, 16
_BLOCK = 2_000
# Number of values of candidates compared at a time: 2**25 are 128 MiB.
_BLOCK_VALUES = 2**25
# For a stream, whose vectors cannot be compared afterwards.
_N_OF_STREAM = 64


def nearest_others_roughly(
    vectors: NDArray[np.float32],
    n_neighbors: int,
    *,
    normalize: Scaling = True,
    progress: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find near other rows of each row by cosine distance, most of them the nearest.

    The rows are reduced to the 96 dimensions that keep the scalar products of 20,000 random ones
    best, and divided into cells by k-means.  Of the rows in the 16 nearest cells of each, the 48
    nearest are candidates, whose distances are then computed in all dimensions.

    Parameters
    ----------
    vectors : ndarray of shape (n, dimension)
        Rows of any length.
    n_neighbors : int
        Number of neighbours, at most 47.
    normalize : True or "sqrt"
        How rows are scaled, see :func:`~clusterkit.similarity.scaling.scale_rows`.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    distances, rows : ndarray of shape (n, n_neighbors)
        As for :func:`clusterkit.similarity.nearest.nearest_others`; row -1 at distance 1 where
        fewer were found.
    """
    units = scale_rows(vectors, normalize)
    reduced = units
    if units.shape[1] > _N_REDUCED:
        reduced = units @ _directions(_sample(units), _N_REDUCED)
    index = _index(reduced)
    distances = np.ones((len(units), n_neighbors))
    rows = np.full((len(units), n_neighbors), -1)
    size = max(1, _BLOCK_VALUES // (_N_CANDIDATES * units.shape[1]))
    for block in _blocks(len(units), size, progress=progress):
        queries = np.arange(len(units))[block]
        part = index.search(reduced[block], _N_CANDIDATES)[1]
        found = 1 - np.matmul(units[part], units[block, :, None])[:, :, 0].astype(np.float64)
        found[(part < 0) | (part == queries[:, None])] = np.inf
        order = np.lexsort((part, found))[:, :n_neighbors]
        near = np.take_along_axis(found, order, axis=1)
        is_found = np.isfinite(near)
        distances[block] = np.where(is_found, near, 1)
        rows[block] = np.where(is_found, np.take_along_axis(part, order, axis=1), -1)
    return distances, rows


def nearest_others_of_stream(
    stream: VectorStream,
    n_neighbors: int,
    *,
    normalize: Scaling = True,
    progress: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find near other rows of each row of a stream, in fewer dimensions.

    The rows are reduced to the 64 dimensions that keep the scalar products of 20,000 random ones
    best, and searched there as by :func:`nearest_others_roughly`.  The distances are those in these
    dimensions, a few hundredths above the exact ones.

    Parameters
    ----------
    stream : VectorStream
        The rows, of any length.
    n_neighbors : int
        Number of neighbours.
    normalize : True or "sqrt"
        How rows are scaled.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    distances, rows : ndarray of shape (n, n_neighbors)
        As for :func:`nearest_others_roughly`.
    """
    axes = _directions(scale_rows(stream.sample(random_state=0).vectors, normalize), _N_OF_STREAM)
    n = len(stream)
    reduced = np.empty((n, axes.shape[1]), np.float32)
    n_read = 0
    for part in progress_bar(stream.split(), name="reading", enabled=progress, unit="part"):
        for batch in part.iter_batches(_BLOCK):
            reduced[n_read : n_read + len(batch)] = scale_rows(batch, normalize) @ axes
            n_read += len(batch)
    index = _index(reduced)
    distances = np.ones((n, n_neighbors), np.float64)
    rows = np.full((n, n_neighbors), -1)
    for block in _blocks(n, _BLOCK, progress=progress):
        found, near = index.search(reduced[block], n_neighbors + 1)
        found, rows[block] = without_own(found, near, np.arange(n)[block])
        distances[block] = np.clip(1 - found, 0, 2)
    distances[rows < 0] = 1
    return distances, rows


def _blocks(n: int, size: int, *, progress: bool) -> Iterator[slice]:
    """Yield blocks of rows whose neighbours are searched together."""
    with progress_bar(name="neighbours", enabled=progress, unit="image", total=n) as bar:
        for start in range(0, n, size):
            yield slice(start, start + size)
            bar.update(min(size, n - start))


def _index(rows: NDArray[np.float32]) -> Any:
    """Return an index of rows in cells of a partition."""
    import faiss

    dimension = rows.shape[1]
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(dimension),
        dimension,
        max(1, int(2 * np.sqrt(len(rows)))),
        faiss.METRIC_INNER_PRODUCT,
    )
    # Few rows are enough for cells; the seed is fixed, and the rows are used in their order.
    index.cp.niter, index.cp.seed = 8, 0
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 64
    index.train(rows)
    index.add(rows)
    index.nprobe = _N_CELLS_SEARCHED
    return index


def _sample(units: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the random rows that the directions are found on, the same in each run."""
    if len(units) <= SAMPLE_SIZE:
        return units
    return units[np.random.default_rng(0).choice(len(units), SAMPLE_SIZE, replace=False)]


def _directions(units: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return the directions that keep the scalar products of rows best, as columns."""
    products = np.zeros((units.shape[1], units.shape[1]))
    for start in range(0, len(units), _BLOCK):
        part = units[start : start + _BLOCK].astype(np.float64)
        products += part.T @ part
    _, directions = np.linalg.eigh(products)
    return directions[:, -n:].astype(np.float32)
