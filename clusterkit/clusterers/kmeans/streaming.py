"""Lloyd's algorithm over rows that do not fit into memory: one pass over all parts per iteration.

The unit of work is :func:`sum_part`, the sums and counts of one part.  Parts may be computed in any
thread, process or machine; their sums are float64 and are added in the order of the parts, so that
the centres are the same to the bit however many workers there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.base import check_rows, find_unit, find_zeros, to_float32
from clusterkit.clusterers.kmeans.lloyd import CHUNK, Labels, Matrix, assign
from clusterkit.clusterers.row_stream import (
    BATCH_ROWS,
    ArrayStream,
    PartedStream,
    Reservoir,
    RowPart,
    RowStream,
)
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.scaling import Scaling
from clusterkit.utils.parallel import Map, count_cpus
from clusterkit.utils.progress import progress_bar

# Rows of the random sample that the search for initial centres uses, and their minimum per cluster.
N_SAMPLE, _SAMPLE_PER_CLUSTER = 20_000, 20
# A part, and the weights of its rows; None for 1.
Weighted = tuple[RowPart, NDArray[np.float32] | None]


class PartSums(NamedTuple):
    """What one part adds to an iteration of Lloyd's algorithm.

    Attributes
    ----------
    labels : ndarray of shape (n,), int32
        Nearest centre of each row.
    totals : ndarray of shape (k, d), float64
        Weighted sum of the rows of each centre, relative to the mean of the centres.
    sizes : ndarray of shape (k,), float64
        Weight of the rows of each centre.
    inertia : float
        Weighted sum of squared distances of the rows to their centres.
    farthest : ndarray of shape (d,), float32
        The row that costs most, for a centre that has no rows.
    cost : float
        Its weighted squared distance.
    """

    labels: Labels
    totals: NDArray[np.float64]
    sizes: NDArray[np.float64]
    inertia: float
    farthest: NDArray[np.float32]
    cost: float


class Pass(NamedTuple):
    """One iteration over all parts.

    Attributes
    ----------
    labels : ndarray of shape (n,), int32
        Nearest centre of each row.
    inertia : float
        Weighted sum of squared distances to them.
    means : ndarray of shape (k, d), float32
        Weighted mean of the rows of each centre.  A centre without rows becomes the row of some
        part that costs most, so that the number of clusters is kept.
    sizes : ndarray of shape (k,), float64
        Weight of the rows of each centre.
    n_iter : int
        Number of passes so far.
    """

    labels: Labels
    inertia: float
    means: Matrix
    sizes: NDArray[np.float64]
    n_iter: int


class Sample(NamedTuple):
    """A random sample of a stream, and what one pass finds about all rows.

    Attributes
    ----------
    rows : ndarray of shape (m, d), float32
        Rows of positive weight, in units of work.
    weights : ndarray of shape (m,), float32
        Their weights.
    unit : float
        The unit of work, see :func:`clusterkit.clusterers.base.to_float32`.
    is_zero : ndarray of shape (n,), bool
        Which of all rows are zero.
    n_parts : int
        Number of parts that a pass reads.
    """

    rows: Matrix
    weights: NDArray[np.float32]
    unit: float
    is_zero: NDArray[np.bool_]
    n_parts: int


def sum_part(
    part: RowStream,
    centers: Matrix,
    *,
    normalize: Scaling,
    unit: float = 1.0,
    weights: NDArray[np.float32] | None = None,
) -> PartSums:
    """Return the sums and counts of one part for one iteration of Lloyd's algorithm.

    The same rows and centres give the same bits, if BLAS uses one thread, as
    :func:`clusterkit.utils.parallel.workers` makes it, and the processor is of one kind.

    Parameters
    ----------
    part : RowStream
        The rows, such as one of :meth:`clusterkit.store.stream.VectorStream.split`.
    centers : ndarray of shape (k, d), float32
        The centres, in units of work.
    normalize, unit
        How rows are scaled, see :func:`clusterkit.clusterers.base.to_float32`.
    weights : ndarray of shape (n,), float32, optional
        Weight of each row; 1 by default.

    Returns
    -------
    PartSums

    Raises
    ------
    InvalidInputError
        If rows have another length than centres.
    """
    from scipy.sparse import csc_matrix

    # float32 is most precise near the centres' mean.
    middle = centers.mean(axis=0)
    near, k = centers - middle, len(centers)
    totals, sizes, inertia = np.zeros(centers.shape), np.zeros(k), 0.0
    labels = [np.empty(0, np.int32)]
    farthest, cost = centers[0], 0.0
    n_read = 0
    for batch in part.iter_batches(CHUNK):
        rows = to_float32(np.asarray(batch), normalize=normalize, unit=unit)
        if rows.ndim != 2 or rows.shape[1] != centers.shape[1]:
            raise InvalidInputError(
                f"batches must have {centers.shape[1]} columns. Received: shape {rows.shape}"
            )
        if not len(rows):
            continue
        share = np.ones(len(rows)) if weights is None else weights[n_read:][: len(rows)]
        n_read += len(rows)
        moved = rows - middle
        nearest, distances = assign(moved, near)
        starts = np.arange(len(rows) + 1)
        share = share.astype(np.float64)
        indicator = csc_matrix((share, nearest, starts), shape=(k, len(rows)))
        totals += indicator @ moved.astype(np.float64)
        sizes += np.bincount(nearest, share, minlength=k)
        costs = share * distances
        inertia += float(costs.sum())
        worst = int(costs.argmax())
        if costs[worst] > cost:
            farthest, cost = rows[worst].copy(), float(costs[worst])
        labels.append(nearest)
    return PartSums(np.concatenate(labels), totals, sizes, inertia, farthest, cost)


def add_up(parts: Iterable[PartSums], centers: Matrix, n_iter: int = 1) -> Pass:
    """Add the sums of all parts in their order, and return the new centres."""
    totals, sizes, inertia = np.zeros(centers.shape), np.zeros(len(centers)), 0.0
    labels = [np.empty(0, np.int32)]
    far: list[tuple[float, NDArray[np.float32]]] = []
    for part in parts:
        totals += part.totals
        sizes += part.sizes
        inertia += part.inertia
        labels.append(part.labels)
        far.append((part.cost, part.farthest))
        # Only as many as there are centres can be needed; the first of equal costs stays.
        if len(far) > 2 * len(centers):
            far = sorted(far, key=lambda one: -one[0])[: len(centers)]
    means, filled = centers.copy(), sizes > 0
    means[filled] = totals[filled] / sizes[filled, None] + centers.mean(axis=0)
    far.sort(key=lambda one: -one[0])
    for empty, (cost, row) in zip(np.flatnonzero(~filled), far, strict=False):
        if cost > 0:
            means[empty] = row
    return Pass(np.concatenate(labels), inertia, means, sizes, n_iter)


def lloyd_over_parts(
    sum_parts: Callable[[Matrix, int], Iterable[PartSums]],
    centers: Matrix,
    *,
    max_iter: int,
    tol: float,
) -> tuple[Matrix, Pass]:
    """Run Lloyd's algorithm, with one pass over all parts per iteration.

    Parameters
    ----------
    sum_parts : callable
        ``sum_parts(centers, n_iter)`` yields :func:`sum_part` of each part, in order.
    centers : ndarray of shape (k, d), float32
        Initial centres.
    max_iter : int
        Maximum number of passes.
    tol : float
        Stop when a pass lowers the inertia by less than this fraction of it.

    Returns
    -------
    centers : ndarray of shape (k, d), float32
        The centres of the last pass, which its labels belong to.
    found : Pass
        The last pass.
    """
    last_inertia, n_iter = np.inf, 0
    while True:
        n_iter += 1
        found = add_up(sum_parts(centers, n_iter), centers, n_iter)
        saved = last_inertia - found.inertia
        if n_iter == max_iter or saved <= tol * found.inertia:
            return centers, found
        centers, last_inertia = found.means, found.inertia


def settle(centers: Matrix, found: Pass) -> Pass:
    """Number clusters from the largest, leave out empty ones, and measure from their means.

    Parameters
    ----------
    centers : ndarray of shape (k, d), float32
        The centres that the labels belong to.
    found : Pass
        The pass over all parts.

    Returns
    -------
    Pass
        Its inertia is that of the means.
    """
    # The sum of squares around a point exceeds that around the mean by the squared distance.
    gaps = found.means.astype(np.float64) - centers
    filled = found.sizes > 0
    excess = float(found.sizes[filled] @ np.einsum("ij,ij->i", gaps, gaps)[filled])
    # Ties are in order of the first coordinate.
    order = np.lexsort((found.means[:, 0], -found.sizes))[: np.count_nonzero(filled)]
    numbers = np.zeros(len(centers), np.int32)
    numbers[order] = np.arange(len(order), dtype=np.int32)
    return found._replace(
        labels=numbers[found.labels],
        inertia=max(found.inertia - excess, 0.0),
        means=found.means[order],
        sizes=found.sizes[order],
    )


def sum_in_threads(
    stream: RowStream,
    centers: Matrix,
    *,
    normalize: Scaling,
    unit: float,
    run: Map,
    weights: NDArray[np.float32] | None = None,
    batch_size: int = BATCH_ROWS,
    progress: bool = False,
    name: str = "pass",
    total: int | None = None,
) -> Iterator[PartSums]:
    """Yield the sums of all parts of a stream, in order, computed in threads of this process.

    Parameters
    ----------
    stream : RowStream
        The rows.
    centers, normalize, unit
        See :func:`sum_part`.
    run : callable
        From :func:`clusterkit.utils.parallel.workers`.
    weights : ndarray of shape (n,), float32, optional
        Weight of each row.
    batch_size : int
        Rows per batch of a stream without parts.
    progress, name, total
        Whether to show a progress bar over the parts, its name and length.
    """

    def sum_one(weighted: Weighted) -> PartSums:
        """Sum one part."""
        part, share = weighted
        return sum_part(part, centers, normalize=normalize, unit=unit, weights=share)

    with progress_bar(name=name, enabled=progress, unit="part", total=total) as bar:
        for group in groups_of_parts(stream, batch_size, weights):
            for sums in run(sum_one, group):
                yield sums
                bar.update()


def groups_of_parts(
    stream: RowStream, batch_size: int = BATCH_ROWS, weights: NDArray[np.float32] | None = None
) -> Iterator[list[Weighted]]:
    """Yield parts, with the weights of their rows, in groups that are computed side by side.

    A stream that has no parts is read batch by batch, and each batch cut into parts.
    """
    n_read = 0

    def weigh(part: RowPart) -> Weighted:
        """Add the weights of the rows of a part."""
        nonlocal n_read
        n_read += len(part)
        return part, None if weights is None else weights[n_read - len(part) : n_read]

    if isinstance(stream, PartedStream):
        parts = map(weigh, stream.split())
        while group := list(islice(parts, 2 * count_cpus())):
            yield group
        return
    for batch in stream.iter_batches(batch_size):
        rows = np.asarray(batch)
        chunks = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
        yield [weigh(ArrayStream(chunk)) for chunk in chunks]


def draw(
    stream: RowStream,
    n_clusters: int,
    seed: int,
    *,
    normalize: Scaling,
    run: Map,
    weights: NDArray[np.float32] | None = None,
    size: int = N_SAMPLE,
    batch_size: int = BATCH_ROWS,
    progress: bool = False,
) -> Sample:
    """Draw a uniform random sample of the rows of positive weight, in one pass that checks them.

    Parameters
    ----------
    stream : RowStream
        The rows.
    n_clusters : int
        Number of clusters; at least 20 times as many rows are drawn.
    seed : int
        Seed of the sample.
    normalize : bool or "sqrt"
        See :func:`~clusterkit.similarity.scaling.scale_rows`.
    run, weights, batch_size, progress
        See :func:`sum_in_threads`.
    size : int
        Number of rows.

    Raises
    ------
    InvalidInputError
        If there are NaN or infinite values, or rows of different length.
    """
    size = max(size, _SAMPLE_PER_CLUSTER * n_clusters)
    sample = Reservoir(size, np.random.default_rng(seed))
    is_zero: list[NDArray[np.bool_]] = [np.empty(0, bool)]
    unit, n_parts, width = None, 0, None

    def read(weighted: Weighted) -> list[Matrix]:
        """Read one part, and scale its rows if that needs no unit."""
        batches = (check_rows(rows, "a batch") for rows in weighted[0].iter_batches(CHUNK))
        return [to_float32(rows, normalize=normalize) if normalize else rows for rows in batches]

    # The number of parts of a stream is known if it has any.
    total = len(stream.split()) if isinstance(stream, PartedStream) else None
    with progress_bar(name="sample", enabled=progress, unit="part", total=total) as bar:
        for group in groups_of_parts(stream, batch_size, weights):
            for (_, share), batches in zip(group, run(read, group), strict=True):
                for rows in batches:
                    width = rows.shape[1] if width is None else width
                    if rows.shape[1] != width:
                        raise InvalidInputError(
                            f"batches must have {width} columns. Received: {rows.shape[1]}"
                        )
                    if unit is None and not normalize and rows.any():
                        unit = find_unit(rows)
                    rows = to_float32(rows, normalize=False, unit=unit or 1.0)
                    own, share = _take(share, len(rows))
                    sample.add(rows[own > 0], own[own > 0])
                    is_zero.append(find_zeros(rows))
                n_parts += 1
                bar.update()
    return Sample(sample.rows, sample.weights, unit or 1.0, np.concatenate(is_zero), n_parts)


def _take(
    weights: NDArray[np.float32] | None, n_rows: int
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the weights of the next rows, and the rest; those that are missing are 1."""
    if weights is None or len(weights) < n_rows:
        return np.ones(n_rows, np.float32), None
    return weights[:n_rows], weights[n_rows:]
