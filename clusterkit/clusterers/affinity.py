"""Affinity propagation: clusters around examples, their number found or wished for."""

import os
import warnings
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from clusterkit.clusterers.base import (
    ClusteringWarning,
    UnitClusterer,
    check_at_least,
    check_n_clusters,
)
from clusterkit.clusterers.messages import Exemplars, find_exemplars
from clusterkit.clusterers.parallel import Map, workers
from clusterkit.clusterers.similarities import Similarities, memory_needed
from clusterkit.errors import InvalidInputError

# Tried in turn until the messages settle.  Frey and Dueck recommend 0.5 to 0.9.
_DAMPINGS = (0.5, 0.75, 0.9)
# Runs with different preferences until the wanted number of clusters is found.
_MAX_RUNS = 16


class AffinityPropagation(UnitClusterer):
    """Affinity propagation with scikit-learn's results in a fraction of its time and memory.

    Every row sends messages to the rows that might stand for it, until a set of *exemplars* has
    emerged, rows of the data that the others group around.  Similarity is minus the squared
    Euclidean distance.  The *preference*, the similarity of a row to itself, decides how many
    clusters there will be.

    For the same rows, preference, damping and seed the labels are those of
    ``sklearn.cluster.AffinityPropagation`` wherever its messages settle.  Memory is that of one
    n × n matrix of the dtype of X (100 MB for 5,000 rows of float32, 1 GB for 16,000), for a moment
    two.

    Parameters
    ----------
    n_clusters : int, optional
        About how many clusters to make: preferences are tried until one gives this number, or no
        other comes nearer.  By default the preference decides.
    preference : float, optional
        Similarity of each row to itself: the lower, the fewer clusters.  By default the median
        of all similarities, which gives many.  Not together with ``n_clusters``.
    n_candidates : int, optional
        How many rows, drawn at random, may become exemplars; by default all may.  An approximation
        for large n: time and memory grow with ``n * n_candidates`` instead of ``n ** 2``.  In the
        end each cluster's exemplar is chosen from all of its rows.
    normalize : bool, default True
        Whether to scale the rows to length 1.
    damping : float, optional
        Share of the old message in the new one, from 0.5 to below 1.  By default 0.5, and where
        the messages do not settle, 0.75 and then 0.9.
    max_iter : int, default 200
        Largest number of iterations of a run.
    convergence_iter : int, default 15
        A run ends when the exemplars have stayed the same for so many iterations.
    random_state : int, RandomState or None
        Seed of the tiny noise that decides between equals, and of the draw of candidates.

    Attributes
    ----------
    cluster_centers_indices_ : ndarray of shape (n_clusters_found,), int
        The exemplars: rows of X, ascending.
    cluster_centers_ : ndarray of shape (n_clusters_found, d)
        Their vectors, normalised where ``normalize`` is on.
    labels_ : ndarray of shape (n,), int32
        Cluster of each row; never -1.
    n_iter_ : int
        Iterations of the last run.
    converged_ : bool
        Whether its exemplars had settled.  If not, there was a warning, and the clusters are
        those of the last exemplars that the messages named.
    preference_, damping_ : float
        What that run used.
    n_features_in_ : int
        Number of columns.

    References
    ----------
    Frey, Dueck: Clustering by passing messages between data points. Science 315, 2007.  There,
    too, damping, and bisection of the preference for a wanted number of clusters.

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
        normalize: bool = True,
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
            The rows.  float32 is worked on as it is, everything else as float64.
        y : None
            Ignored.

        Returns
        -------
        AffinityPropagation
            Itself.

        Raises
        ------
        InvalidInputError
            If a parameter is out of range, X holds NaN or infinite values, or the work would
            need more memory than there is.

        Warns
        -----
        ConvergenceWarning
            If the messages did not settle.
        ClusteringWarning
            If no preference gave ``n_clusters``, all rows are equally far from each other, or
            zero vectors are to be normalised.
        """
        rows = self._check_rows(X)
        self._check_parameters(len(rows))
        self._refuse_too_many(rows)
        rng = check_random_state(self.random_state)
        candidates = np.arange(len(rows))
        if self.n_candidates is not None and self.n_candidates < len(rows):
            candidates = np.sort(rng.choice(len(rows), self.n_candidates, replace=False))
        similarities = Similarities(rows, candidates, rng)
        if len(rows) == 1 or similarities.are_equal:
            self._keep(rows, *self._fit_equal(similarities))
            return self
        with workers() as run:
            found = self._fit_exemplars(similarities, run)
            self._keep(rows, *similarities.assign(found.columns, run))
        self.n_iter_, self.converged_ = found.n_iter, found.converged
        self._warn()
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
        return pairwise_distances_argmin(rows, self.cluster_centers_).astype(np.int32)

    def _fit_exemplars(self, similarities: Similarities, run: Map) -> Exemplars:
        """Find the exemplars for the given preference, or for the given number of clusters."""

        def try_preference(preference: float) -> Exemplars:
            """Run with a preference, and with more damping until the messages settle."""
            similarities.set_preference(preference)
            for damping in _DAMPINGS if self.damping is None else (self.damping,):
                found = find_exemplars(
                    similarities.matrix,
                    similarities.candidates,
                    damping=damping,
                    max_iter=self.max_iter,
                    convergence_iter=self.convergence_iter,
                    run=run,
                )
                self.preference_, self.damping_ = preference, damping
                if found.converged:
                    break
            return found

        if self.n_clusters is None:
            preference = similarities.median if self.preference is None else self.preference
            return try_preference(float(preference))
        return search_preference(try_preference, self.n_clusters, start=similarities.median)

    def _fit_equal(self, similarities: Similarities) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Make one cluster, or one of each row, where messages could not tell the rows apart."""
        n = len(similarities.X)
        preference = similarities.median if self.preference is None else self.preference
        self.preference_, self.damping_ = float(preference), self.damping or _DAMPINGS[0]
        self.n_iter_, self.converged_ = 0, True
        if n > 1:
            warnings.warn(
                "all rows are equally far from each other: they make "
                "one cluster, or one cluster each if the preference is above their similarity",
                ClusteringWarning,
                stacklevel=3,
            )
        single = self.n_clusters == n or preference > similarities.matrix[-1, 0]
        rows = np.arange(n if single else 1)
        return rows, np.resize(rows, n).astype(np.int32)
