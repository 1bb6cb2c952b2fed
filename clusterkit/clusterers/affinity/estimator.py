"""Affinity propagation, with an optional number of clusters."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import exceptions
from sklearn.utils.validation import check_is_fitted

from clusterkit.clusterers.affinity.message_passing import Exemplars, find_exemplars
from clusterkit.clusterers.affinity.similarities import Similarities, memory_needed
from clusterkit.clusterers.base import (
    ClusteringWarning,
    UnitClusterer,
    check_memory,
    check_n_clusters,
    count_distinct,
    in_units,
    random_state_from,
)
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.nearest import find_equal
from clusterkit.similarity.scaling import Scaling, level_rows
from clusterkit.utils.arguments import check_at_least, is_number
from clusterkit.utils.parallel import Map, workers

# Tried in turn until the messages converge.  Frey and Dueck recommend 0.5 to 0.9.
_DAMPINGS = (0.5, 0.75, 0.9)
# Maximum number of runs to find the requested number of clusters.
_MAX_RUNS = 16


class ConvergenceWarning(ClusteringWarning, exceptions.ConvergenceWarning):
    """The messages did not converge; also a ConvergenceWarning of scikit-learn."""


class Run(NamedTuple):
    """One run of message passing.

    Attributes
    ----------
    preference, damping : float
        Parameters of the run.
    found : Exemplars
        Resulting exemplars.
    """

    preference: float
    damping: float
    found: Exemplars

    @property
    def n_clusters(self) -> int:
        """Number of exemplars."""
        return len(self.found.columns)


class AffinityPropagation(UnitClusterer):
    """Affinity propagation, faster and with less memory than scikit-learn's.

    Rows exchange messages until a set of *exemplars* emerges, rows that represent the clusters.
    Similarity is the negative squared Euclidean distance.  The *preference*, the similarity of a
    row to itself, controls the number of clusters.

    For the same rows, preference, damping and seed, the labels usually equal those of
    ``sklearn.cluster.AffinityPropagation`` if its messages converge; which of several identical
    rows is the exemplar may differ.  On scattered rows without clear groups many sets of exemplars
    are nearly optimal, and rounding decides between them: seed, precision and library then change
    the labels and even the number of clusters (for example from 3 to 5).  Convergence does not rule
    this out; try another seed.  Memory: for float32 rows 8 bytes per pair of rows (200 MB for 5,000
    rows, 2 GB for 16,000), or 12 with a very low preference; for float64 rows 16.

    Parameters
    ----------
    n_clusters : int, optional
        Approximate number of clusters: preferences are searched until one gives this number or the
        closest one possible.  By default the preference decides.
    preference : float, optional
        Similarity of each row to itself; lower values give fewer clusters.  By default the median
        of all similarities, which gives many.  With ``n_clusters``, the first preference that is
        tried.
    n_candidates : int, optional
        Number of randomly drawn rows that may become exemplars; by default all rows.  An
        approximation for large n: time and memory grow with ``n * n_candidates`` instead of ``n **
        2``.  The final exemplar of each cluster is chosen from all of its rows.
    normalize : bool or "sqrt", default True
        Whether to scale the rows to length 1; "sqrt" for their square roots, for probabilities.
    damping : float, optional
        Damping factor, the weight of the old message in the update, in [0.5, 1).  By default 0.5,
        then 0.75 and 0.9 if the messages do not converge.
    max_iter : int, default 200
        Maximum number of iterations of a run.
    convergence_iter : int, default 15
        Number of iterations without a change of exemplars after which a run has converged.
    random_state : int, RandomState or None
        Seed of the tiny noise that breaks ties, and of the candidates.  For scattered rows it
        matters more, see above.

    Attributes
    ----------
    cluster_centers_indices_ : ndarray of shape (n_clusters_found,), int
        The exemplars: rows of X, ascending.
    cluster_centers_ : ndarray of shape (n_clusters_found, d)
        Their vectors, scaled to length 1 if ``normalize=True``.
    labels_ : ndarray of shape (n,), int32
        Cluster of each row; never -1.
    n_iter_ : int
        Iterations of the last run.
    converged_ : bool
        Whether the run converged.  If not, a warning was issued, and the clusters are those of the
        last exemplars.
    preference_, damping_ : float
        Parameters of that run.
    n_features_in_ : int
        Number of columns.

    References
    ----------
    Frey, Dueck: Clustering by passing messages between data points. Science 315, 2007.  Also for
    damping, and bisection of the preference for a given number of clusters.

    Examples
    --------
    >>> X = [[1, 0], [2, 0.1], [0, 1], [0.1, 2], [3, 0]]
    >>> AffinityPropagation(2, random_state=0).fit_predict(X).tolist()
    [0, 0, 1, 1, 0]
    """

    def __init__(
        self,
        n_clusters: int | None = None,
        *,
        preference: float | None = None,
        n_candidates: int | None = None,
        normalize: Scaling = True,
        damping: float | None = None,
        max_iter: int = 200,
        convergence_iter: int = 15,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.preference = preference
        self.n_candidates = n_candidates
        self.normalize = normalize
        self.damping = damping
        self.max_iter = max_iter
        self.convergence_iter = convergence_iter
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Cluster the rows.

        Parameters
        ----------
        X : array-like of shape (n, d)
            The rows.  float32 is kept, all other types are converted to float64.
        y : None
            Ignored.

        Returns
        -------
        AffinityPropagation
            Itself.

        Raises
        ------
        InvalidInputError
            If a parameter is out of range, X holds NaN or infinite values, or there is not enough
            memory.

        Warns
        -----
        ConvergenceWarning
            If the messages did not converge.
        ClusteringWarning
            If no preference gave ``n_clusters``, all rows are equally far from each other, or
            zero vectors are to be normalised.
        """
        rows = self._check_rows(X)
        self._check_parameters(len(rows))
        self._check_memory(rows)
        rng = random_state_from(self.random_state)
        candidates = np.arange(len(rows))
        if self.n_candidates is not None and self.n_candidates < len(rows):
            candidates = np.sort(rng.choice(len(rows), self.n_candidates, replace=False))
        similarities = Similarities(rows, candidates, rng)
        if similarities.equal is not None:
            self._fit_equal(similarities, similarities.equal)
            return self
        first = find_equal(rows)
        n_distinct = count_distinct(first)
        with workers() as pool:
            best = self._find(similarities, pool, n_distinct)
            self._keep(rows, *similarities.assign(best.found.columns, pool, first), best)
        self._warn(n_distinct)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Find the nearest exemplar of each row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            The rows.

        Returns
        -------
        ndarray of shape (n,), int32
            Cluster of each row.
        """
        from sklearn.metrics import pairwise_distances_argmin

        check_is_fitted(self)
        rows = self._check_rows(X, reset=False)
        return pairwise_distances_argmin(rows, self.cluster_centers_ / self._unit).astype(np.int32)

    def _find(self, similarities: Similarities, pool: Map, n_distinct: int) -> Run:
        """Find exemplars for the given preference, or for the given number of clusters."""
        dampings = list(_DAMPINGS if self.damping is None else [self.damping])
        m = len(similarities.candidates)

        def try_preference(preference: float) -> Run:
            """Run with a preference, increasing the damping until the messages converge."""
            similarities.set_preference(preference)
            while True:
                damping = dampings[0]
                found = find_exemplars(
                    similarities.matrix,
                    similarities.candidates,
                    damping=damping,
                    max_iter=self.max_iter,
                    convergence_iter=self.convergence_iter,
                    run=pool,
                )
                if len(found.columns) == m and preference < similarities.median:
                    # At first all rows are exemplars, and may remain so for many iterations.
                    found = found._replace(converged=False)
                if found.converged or len(dampings) == 1:
                    return Run(preference, damping, found)
                # Later preferences of the search are similar, and would not converge either.
                del dampings[0]

        preference = self._first_preference(similarities)
        if self.n_clusters is None:
            return try_preference(preference)
        # The median is zero if more than half of the pairs are identical; the mean is not.
        start = preference if preference < 0 else float(similarities.matrix.mean())
        wanted = min(self.n_clusters, n_distinct)
        best = search_preference(try_preference, wanted, start=start)
        similarities.set_preference(best.preference)
        return best

    def _fit_equal(self, similarities: Similarities, similarity: float) -> None:
        """Make one cluster, or one per row, if all rows are equally similar."""
        n = len(similarities.X)
        preference = self._first_preference(similarities)
        is_one_each = preference > similarity
        if self.n_clusters is not None:
            is_one_each = self.n_clusters == n
        # Identical rows may differ by rounding.
        is_one_each = is_one_each and bool((similarities.X[0] != similarities.X[-1]).any())
        exemplars = np.arange(n if is_one_each else 1)
        found = Exemplars(exemplars, 0, True)
        run = Run(preference, self.damping or _DAMPINGS[0], found)
        self._keep(similarities.X, exemplars, np.resize(exemplars, n).astype(np.int32), run)
        if n > 1:
            warnings.warn(
                f"all {n:,} rows are equally far from each other; "
                f"{'each is its own cluster' if is_one_each else 'they are one cluster'}",
                ClusteringWarning,
                stacklevel=3,
            )

    def _keep(
        self,
        rows: NDArray[Any],
        exemplars: NDArray[np.intp],
        labels: NDArray[np.int32],
        run: Run,
    ) -> None:
        """Set the fitted attributes."""
        self.cluster_centers_indices_, self.labels_ = exemplars, labels
        self.cluster_centers_ = in_units(rows[exemplars], self._unit)
        self.n_iter_, self.converged_ = run.found.n_iter, run.found.converged
        self.preference_, self.damping_ = run.preference * self._unit * self._unit, run.damping

    def _first_preference(self, similarities: Similarities) -> float:
        """Return the first preference, in units of work."""
        if self.preference is None:
            return float(similarities.median)
        return float(self.preference) / self._unit / self._unit

    def _warn(self, n_distinct: int) -> None:
        """Warn about a result that is not as requested."""
        n_found = len(self.cluster_centers_indices_)
        if not self.converged_:
            warnings.warn(
                f"the exemplars did not settle in max_iter={self.max_iter} iterations with "
                f"damping={self.damping_}; the {n_found} clusters are those of the last exemplars. "
                "Raise max_iter, or damping towards 0.95, or change the preference",
                ConvergenceWarning,
                stacklevel=3,
            )
        if self.n_clusters is not None and n_found != self.n_clusters:
            is_few = n_distinct < self.n_clusters
            warnings.warn(
                f"no preference that was tried gave n_clusters={self.n_clusters}; "
                f"the nearest is {n_found}"
                f"{f', and there are only {n_distinct:,} different rows' if is_few else ''}",
                ClusteringWarning,
                stacklevel=3,
            )

    def _check_rows(self, X: ArrayLike, *, reset: bool = True) -> NDArray[Any]:
        """Return checked rows in their own precision, as scikit-learn does."""
        from sklearn.preprocessing import normalize

        rows = super()._check_rows(X, reset=reset)
        if np.asarray(X).dtype == np.float32:
            return rows
        exact = np.asarray(X, dtype=np.float64)
        if not self.normalize:
            return exact / self._unit
        return normalize(level_rows(np.sqrt(exact) if self.normalize == "sqrt" else exact))

    def _check_parameters(self, n: int) -> None:
        """Check that the parameters are in range."""
        check_at_least(self.max_iter, 1, "max_iter")
        check_at_least(self.convergence_iter, 1, "convergence_iter")
        if self.n_candidates is not None:
            check_at_least(self.n_candidates, 2, "n_candidates")
        if self.n_clusters is not None:
            check_n_clusters(self.n_clusters, n)
            if self.n_candidates is not None and self.n_candidates < self.n_clusters:
                raise InvalidInputError(
                    "n_candidates must be at least n_clusters. "
                    f"Received: n_candidates={self.n_candidates}, n_clusters={self.n_clusters}"
                )
        if self.preference is not None and not is_number(self.preference):
            raise InvalidInputError(
                f"preference must be a finite number. Received: preference={self.preference!r}"
            )
        if self.damping is not None and not (is_number(self.damping) and 0.5 <= self.damping < 1):
            raise InvalidInputError(
                f"damping must be from 0.5 to below 1. Received: damping={self.damping!r}"
            )

    def _check_memory(self, rows: NDArray[Any]) -> None:
        """Check that the similarities fit in memory."""
        n = len(rows)
        check_memory(
            memory_needed(n, min(n, self.n_candidates or n), rows.itemsize),
            "affinity propagation",
            n,
            remedy=lambda share: (
                "let fewer rows be exemplars, for instance "
                f"n_candidates={min(2000, max(2, int(n * share / 2)))}, or use another clusterer"
            ),
        )


def search_preference(
    try_preference: Callable[[float], Run], n_clusters: int, *, start: float
) -> Run:
    """Find the preference for a given number of clusters by bisection.

    The number of clusters is roughly a power of the negative preference, so the next preference is
    interpolated on logarithms.  Every run starts from zero messages, so that its result does not
    depend on earlier runs.

    Parameters
    ----------
    try_preference : callable
        Runs message passing with a preference.
    n_clusters : int
        Requested number of clusters.
    start : float
        First preference, negative.

    Returns
    -------
    Run
        A converged run with this number of clusters; otherwise the closest run by ratio.
    """
    target, x = math.log(n_clusters), math.log(-start)
    many: tuple[float, float] | None = None
    few: tuple[float, float] | None = None
    runs: list[Run] = []
    while len(runs) < _MAX_RUNS:
        runs.append(try_preference(-math.exp(x)))
        found = runs[-1].n_clusters
        if found == n_clusters and runs[-1].found.converged:
            return runs[-1]
        if found > n_clusters:
            many = x, math.log(found)
        else:
            few = x, math.log(found)
        if many is None or few is None:
            gap = math.log(found) - target
            x += math.copysign(min(max(abs(gap), 0.5), 1.5), found - n_clusters)
        else:
            share = (many[1] - target) / (many[1] - few[1])
            x = many[0] + min(max(share, 0.1), 0.9) * (few[0] - many[0])
    return min(runs, key=lambda run: _distance(run, n_clusters))


def _distance(run: Run, n_clusters: int) -> float:
    """Return how far a run is from the requested number, with a penalty if it did not converge."""
    penalty = 0 if run.found.converged else math.log(1.5)
    return abs(math.log(run.n_clusters / n_clusters)) + penalty
