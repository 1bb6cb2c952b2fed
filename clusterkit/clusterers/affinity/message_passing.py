"""Message passing of affinity propagation, without storing the two dense message matrices.

The updates of Frey and Dueck, damped by a factor d, are for row i and candidate k

    R(i,k) <- d R(i,k) + (1-d) [S(i,k) - max over j != k of (A(i,j) + S(i,j))]
    A(i,k) <- d A(i,k) + (1-d) min(0, R(k,k) + sum over j not in {i,k} of max(0, R(j,k)))

Within a row the maximum is the same for all k except the best one, and within a column the minimum
is the same for all i except the few with R(i,k) > 0: candidates nearer to the row than its
exemplar.  So

    R(i,k) = w S(i,k) - u(i) + p(i,k)        A(i,k) = a(k) + q(i,k)

with one number per row (u), one per column (a), the sum w of the damping weights, and sparse p and
q.  The messages are the same, in float64, but only S is held in memory, and an iteration reads it a
few times instead of passing over four matrices a dozen times.  q may be dense only while messages
oscillate, with a preference far below the similarities.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.utils.parallel import Map, map_serially

Array = NDArray[np.float64]
# Number of values of S per block: 4 MiB in float64 fit in a shared cache.
_BLOCK_VALUES = 2**19
# Minimum rows per block: each block returns column sums, which need memory.
_MIN_ROWS = 64
# Margin, relative to a similarity, for entries beyond those needed.
_SLACK = 0.05
# Fraction of positions above which dense work is faster, as while messages oscillate.
_MAX_ENTRIES = 0.1


class Exemplars(NamedTuple):
    """Result of message passing.

    Attributes
    ----------
    columns : ndarray of shape (k,), int
        The candidates that are exemplars, ascending; at least one.
    n_iter : int
        Iterations.
    converged : bool
        Whether the exemplars did not change for ``convergence_iter`` iterations.
    """

    columns: NDArray[np.intp]
    n_iter: int
    converged: bool


def find_exemplars(
    S: NDArray[Any],
    candidates: NDArray[np.intp],
    *,
    damping: float = 0.5,
    max_iter: int = 200,
    convergence_iter: int = 15,
    run: Map = map_serially,
) -> Exemplars:
    """Pass messages until the set of exemplars is stable.

    Parameters
    ----------
    S : ndarray of shape (n, m)
        Similarity of each row to each candidate; of a candidate to itself, its preference.
    candidates : ndarray of shape (m,), int
        Rows that the columns of S stand for, ascending.
    damping : float
        Damping factor, in [0.5, 1).
    max_iter : int
        Maximum number of iterations.
    convergence_iter : int
        Number of iterations without a change after which the run has converged.
    run : callable
        From :func:`clusterkit.utils.parallel.workers`.

    Returns
    -------
    Exemplars
        Exemplars of the last iteration that had any, otherwise the candidate with most evidence.

    References
    ----------
    Frey, Dueck: Clustering by passing messages between data points. Science 315, 2007.
    """
    m = len(candidates)
    blocks = list(_split(S, candidates))
    shared = _Shared(damping, m)
    stable_for = np.zeros(m, dtype=int)
    is_exemplar = np.zeros(m, dtype=bool)
    columns, converged = np.empty(0, dtype=np.intp), False
    for n_iter in range(1, max_iter + 1):
        shared.advance(run(lambda block: block.step(shared), blocks))
        evidence = shared.own_a + shared.own_r
        stable_for = np.where((evidence > 0) == is_exemplar, stable_for + 1, 1)
        is_exemplar = evidence > 0
        if is_exemplar.any():
            columns = np.flatnonzero(is_exemplar)
            # As in scikit-learn, convergence is not tested before convergence_iter iterations.
            converged = n_iter > convergence_iter and stable_for.min() >= convergence_iter
            if converged:
                break
    if not len(columns):
        columns = np.array([evidence.argmax()])
    return Exemplars(columns, n_iter, bool(converged))


class _Shared:
    """State shared by all rows: one value per candidate, and the damping weights."""

    def __init__(self, damping: float, m: int) -> None:
        self.old, self.new = damping, 1 - damping
        self.weight = 0.0
        self.a, self.own_a, self.own_r, self.totals = np.zeros((4, m))

    def advance(self, results: list[tuple[Array, Array]]) -> None:
        """Update the availabilities of the columns from the rows' responsibilities."""
        support = np.sum([totals for totals, _ in results], axis=0)
        self.own_r = np.concatenate([own for _, own in results])
        self.totals = support + self.own_r
        self.weight = self.old * self.weight + self.new
        self.a = self.old * self.a + self.new * np.minimum(self.totals, 0)
        self.own_a = self.old * self.own_a + self.new * support

    def next_weight(self) -> float:
        """Return the weight of S in the responsibilities of this iteration."""
        return self.old * self.weight + self.new


class _Some:
    """Selected positions of a block of S, ascending, with one-dimensional values."""

    def __init__(self, at: NDArray[np.intp], shape: tuple[int, int]) -> None:
        self.at, self.shape = at, shape
        starts = np.arange(shape[0]) * shape[1]
        self.n_in_row = np.diff(np.searchsorted(at, starts), append=len(at))
        self.column = at - np.repeat(starts, self.n_in_row)

    def take(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Return the values of a matrix."""
        return matrix.reshape(-1)[self.at]

    def put(self, matrix: NDArray[Any], values: Any) -> None:
        """Set the values of a matrix."""
        matrix.reshape(-1)[self.at] = values

    def by_row(self, values: Array) -> Array:
        """Return the value of each position's row."""
        return np.repeat(values, self.n_in_row)

    def by_column(self, values: Array) -> Array:
        """Return the value of each position's column."""
        return values[self.column]

    def find(self, at: NDArray[np.intp]) -> Any:
        """Return where the given flat positions, which must be selected, are in the values."""
        return np.searchsorted(self.at, at)

    def sum_columns(self, values: Array) -> Array:
        """Return the sum of the values in each column."""
        return np.bincount(self.column, values, self.shape[1]).astype(np.float64)


class _All:
    """All positions of a block of S, with values of the block's shape."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape

    def take(self, matrix: NDArray[Any]) -> NDArray[Any]:
        return matrix.copy()

    def put(self, matrix: NDArray[Any], values: Any) -> None:
        matrix[:] = values

    def by_row(self, values: Array) -> Array:
        return values[:, None]

    def by_column(self, values: Array) -> Array:
        return values

    def find(self, at: NDArray[np.intp]) -> Any:
        return np.unravel_index(at, self.shape)

    def sum_columns(self, values: Array) -> Array:
        return values.sum(axis=0)


class _Block:
    """Messages of a block of consecutive rows."""

    def __init__(self, S: NDArray[Any], own_rows: NDArray[np.intp], own_columns: slice) -> None:
        self.S = S
        self.own_columns = own_columns
        self.starts = np.arange(len(S)) * S.shape[1]
        self.own = self.starts[own_rows] + np.arange(own_columns.start, own_columns.stop)
        self.negligible = np.finfo(np.float64).eps * max(S.max(), -S.min())
        self.u = np.zeros(len(S))
        # p is nonzero for recent best candidates; q for these and where R is or was above 0.
        self.at_p, self.p = self.own, np.zeros(len(self.own))
        self.entries: _Some | _All = _Some(self.own, S.shape)
        self.q = np.zeros(len(self.own))
        self.reach = np.full(len(S), np.inf, S.dtype)

    def step(self, shared: _Shared) -> tuple[Array, Array]:
        """Run one iteration.

        Returns
        -------
        totals : ndarray of shape (m,), float64
            Column sums of the positive responsibilities, excluding those of rows to themselves.
        own : ndarray of shape (number of candidates among these rows,), float64
            Responsibilities of candidates to themselves.
        """
        self._update_availabilities(shared)
        received = self.S.astype(np.float64)  # adding float32 to float64 is slower
        received += shared.a
        self.entries.put(received, self.entries.take(received) + self.q)
        flat = received.reshape(-1)
        best = self.starts + received.argmax(axis=1)
        first = flat[best]
        flat[best] = -np.inf
        second = received.max(axis=1)

        weight = shared.next_weight()
        self.u = shared.old * self.u + shared.new * first
        self._update_p(best, shared.new * (first - second), shared.old)
        self._cover(self.u / weight, scratch=received)
        r = self._responsibilities(weight)
        mine = self.entries.find(self.own)
        own = r[mine]
        positive = np.maximum(r, 0, out=r)
        positive[mine] = 0
        return self.entries.sum_columns(positive), own

    def _responsibilities(self, weight: float) -> Array:
        """Return R at the entries."""
        r: Array = np.multiply(self.entries.take(self.S), weight, dtype=np.float64)
        r -= self.entries.by_row(self.u)
        r[self.entries.find(self.at_p)] += self.p
        return r

    def _update_availabilities(self, shared: _Shared) -> None:
        """Update q from the responsibilities of the last iteration."""
        positive = np.maximum(self._responsibilities(shared.weight), 0)
        new = np.minimum(self.entries.by_column(shared.totals) - positive, 0)
        new -= self.entries.by_column(np.minimum(shared.totals, 0))
        self.q *= shared.old
        self.q += shared.new * new
        self.q[self.entries.find(self.own)] = (shared.own_a - shared.a)[self.own_columns]

    def _update_p(self, best: NDArray[np.intp], gain: Array, old: float) -> None:
        """Damp p, and add the gain of the best candidates."""
        self.p *= old
        kept = self.p > self.negligible
        at = np.union1d(self.at_p[kept], best)
        p = np.zeros(len(at))
        p[np.searchsorted(at, self.at_p[kept])] = self.p[kept]
        p[np.searchsorted(at, best)] += gain
        self.at_p, self.p = at, p

    def _cover(self, bound: Array, *, scratch: Array) -> None:
        """Select the positions of p, and those with a similarity above a bound."""
        if (
            isinstance(self.entries, _Some)
            and (bound >= self.reach).all()
            and np.isin(self.at_p, self.entries.at, assume_unique=True).all()
        ):
            return
        # Slightly lower than needed, so that most iterations need no new entries.
        self.reach = (bound - _SLACK * np.abs(bound)).astype(self.S.dtype)
        wanted = self.reach[:, None] < self.S
        matters = np.abs(self.q) > self.negligible
        self.entries.put(wanted, self.entries.take(wanted) | matters)
        wanted.reshape(-1)[self.own] = wanted.reshape(-1)[self.at_p] = True
        old = self.entries
        if np.count_nonzero(wanted) > _MAX_ENTRIES * wanted.size:
            self.entries = _All(wanted.shape)
        else:
            self.entries = _Some(np.flatnonzero(wanted), wanted.shape)
        self.entries.put(scratch, 0)
        old.put(scratch, self.q)
        self.q = self.entries.take(scratch)


def _split(S: NDArray[Any], candidates: NDArray[np.intp]) -> Iterator[_Block]:
    """Split the rows into blocks."""
    n, m = S.shape
    height = max(_MIN_ROWS, _BLOCK_VALUES // m)
    for start in range(0, n, height):
        rows = S[start : start + height]
        first, last = np.searchsorted(candidates, [start, start + len(rows)])
        yield _Block(rows, candidates[first:last] - start, slice(first, last))
