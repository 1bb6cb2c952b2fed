"""The messages of affinity propagation, without the two matrices that they usually fill.

The updates of Frey and Dueck, damped by a factor d, are for row i and candidate k

    R(i,k) <- d R(i,k) + (1-d) [S(i,k) - max over j != k of (A(i,j) + S(i,j))]
    A(i,k) <- d A(i,k) + (1-d) min(0, R(k,k) + sum over j not in {i,k} of max(0, R(j,k)))

The maximum is the same for all k of a row but the best one, and the minimum the same for all i of a
column but those with R(i,k) > 0, which are few: a row sends them only to candidates nearer than its
exemplar.  So

    R(i,k) = w S(i,k) - u(i) + p(i,k)        A(i,k) = a(k) + q(i,k)

with one number per row (u), one per column (a), the sum w of the damping weights, and sparse p and
q.  These are the same messages, kept in float64 but with only S in memory, and an iteration reads
S twice instead of passing over four matrices a dozen times.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.parallel import Map, map_serially

Array = NDArray[np.float64]
# Numbers of S that are worked on at once: 4 MiB in float64 stay in a shared cache.
_BLOCK_VALUES = 2**19
# Each block returns a sum per column; with fewer rows than this the sums would fill the memory.
_MIN_ROWS = 64
# Share of a similarity by which entries reach farther than they must.
_SLACK = 0.05


class Exemplars(NamedTuple):
    """Where the messages ended.

    Attributes
    ----------
    columns : ndarray of shape (k,), int
        The candidates that are exemplars, ascending; at least one.
    n_iter : int
        Iterations.
    converged : bool
        Whether the exemplars stayed the same for ``convergence_iter`` iterations.
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
        Similarity of each row to each candidate; to itself, a candidate's preference.
    candidates : ndarray of shape (m,), int
        Rows that the columns of S stand for, ascending.
    damping : float
        Share of the old message in the new one, from 0.5 to below 1.
    max_iter : int
        Largest number of iterations.
    convergence_iter : int
        Iterations without a change that end the search.
    run : callable
        From :func:`clusterkit.clusterers.parallel.workers`.

    Returns
    -------
    Exemplars
        Those of the last iteration that had any.  If none had, the candidate with most evidence.

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
            # As in scikit-learn: no verdict before convergence_iter iterations have passed.
            converged = n_iter > convergence_iter and stable_for.min() >= convergence_iter
            if converged:
                break
    if not len(columns):
        columns = np.array([evidence.argmax()])
    return Exemplars(columns, n_iter, bool(converged))


class _Shared:
    """What all rows share: one number per candidate, and the damping weights."""

    def __init__(self, damping: float, m: int) -> None:
        self.old, self.new = damping, 1 - damping
        self.weight = 0.0
        self.a, self.own_a, self.own_r, self.totals = np.zeros((4, m))

    def advance(self, results: list[tuple[Array, Array]]) -> None:
        """Take the rows' responsibilities, and update the availabilities of the columns."""
        support = np.sum([totals for totals, _ in results], axis=0)
        self.own_r = np.concatenate([own for _, own in results])
        self.totals = support + self.own_r
        self.weight = self.old * self.weight + self.new
        self.a = self.old * self.a + self.new * np.minimum(self.totals, 0)
        self.own_a = self.old * self.own_a + self.new * support

    def next_weight(self) -> float:
        """Return the weight of S in the responsibilities of this iteration."""
        return self.old * self.weight + self.new


class _Block:
    """The messages of some consecutive rows."""

    def __init__(self, S: NDArray[Any], own_rows: NDArray[np.intp], own_columns: slice) -> None:
        self.S = S
        self.own_columns = own_columns
        self.starts = np.arange(len(S)) * S.shape[1]
        self.own = self.starts[own_rows] + np.arange(own_columns.start, own_columns.stop)
        self.u = np.zeros(len(S))
        self.negligible = np.finfo(np.float64).eps * max(S.max(), -S.min())
        # The sparse entries: position in the block, its column, and p, q and R there.
        self.at = self.own
        self.columns = np.arange(own_columns.start, own_columns.stop)
        self.reach = np.full(len(S), np.inf, S.dtype)
        self.p, self.q, self.r = np.zeros((3, len(self.own)))

    def step(self, shared: _Shared) -> tuple[Array, Array]:
        """Run one iteration.

        Returns
        -------
        totals : ndarray of shape (m,), float64
            Sums over these rows of the positive responsibilities, but those to themselves.
        own : ndarray of shape (number of candidates among these rows,), float64
            Responsibilities to themselves.
        """
        self._update_availabilities(shared)
        received = self.S.astype(np.float64)  # at once: adding float32 to float64 is slower
        received += shared.a
        flat = received.reshape(-1)
        flat[self.at] += self.q
        best = self.starts + received.argmax(axis=1)
        first = flat[best]
        flat[best] = -np.inf
        second = received.max(axis=1)

        weight = shared.next_weight()
        self.u = shared.old * self.u + shared.new * first
        self.p *= shared.old
        self._cover(best, self.u / weight, scratch=flat)
        self.p[np.searchsorted(self.at, best)] += shared.new * (first - second)
        self.r = np.multiply(self.S.reshape(-1)[self.at], weight, dtype=np.float64)
        self.r += self.p - np.repeat(self.u, self.n_entries)
        mine = np.searchsorted(self.at, self.own)
        positive = np.maximum(self.r, 0)
        positive[mine] = 0
        return np.bincount(self.columns, positive, len(shared.a)).astype(float), self.r[mine]

    def _update_availabilities(self, shared: _Shared) -> None:
        """Update q by the responsibilities of the last iteration."""
        totals = shared.totals[self.columns]
        new = np.minimum(totals - np.maximum(self.r, 0), 0) - np.minimum(totals, 0)
        self.q = shared.old * self.q + shared.new * new
        mine = np.searchsorted(self.at, self.own)
        self.q[mine] = (shared.own_a - shared.a)[self.own_columns]

    def _cover(self, best: NDArray[np.intp], bound: Array, *, scratch: Array) -> None:
        """Have entries for the best candidates, and for all whose similarity is above a bound."""
        if (bound >= self.reach).all() and np.isin(best, self.at, assume_unique=True).all():
            return
        # A little lower than needed, so that most iterations need no new entries.
        self.reach = (bound - _SLACK * np.abs(bound)).astype(self.S.dtype)
        wanted = (self.reach[:, None] < self.S).reshape(-1)
        wanted[self.at[(np.abs(self.q) > self.negligible) | (self.p > self.negligible)]] = True
        wanted[self.own] = wanted[best] = True
        old, self.at = self.at, np.flatnonzero(wanted)
        self.p, self.q = (
            _move(values, old, self.at, scratch=scratch) for values in (self.p, self.q)
        )
        self.n_entries = np.diff(np.searchsorted(self.at, self.starts), append=len(self.at))
        self.columns = self.at - np.repeat(self.starts, self.n_entries)


def _move(values: Array, old: NDArray[np.intp], new: NDArray[np.intp], *, scratch: Array) -> Array:
    """Take sparse values from their old positions to new ones, zero where there was none."""
    scratch[new] = 0
    scratch[old] = values
    return scratch[new]


def _split(S: NDArray[Any], candidates: NDArray[np.intp]) -> Iterator[_Block]:
    """Cut the rows into blocks."""
    n, m = S.shape
    height = max(_MIN_ROWS, _BLOCK_VALUES // m)
    for start in range(0, n, height):
        rows = S[start : start + height]
        first, last = np.searchsorted(candidates, [start, start + len(rows)])
        yield _Block(rows, candidates[first:last] - start, slice(first, last))
