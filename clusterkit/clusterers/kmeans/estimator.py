"""k-means on vectors of unit length, and the base of clusterers with cluster centres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from clusterkit.clusterers.base import (
    UnitClusterer,
    check_n_clusters,
    check_tol,
    check_weights,
    in_units,
    seed_from,
    to_float32,
    warn_of_clusters,
    warn_of_zeros,
)
from clusterkit.clusterers.kmeans.lloyd import Matrix, Solution, assign_all
from clusterkit.clusterers.kmeans.on_ray import summing_on_ray
from clusterkit.clusterers.kmeans.restarts import Problem, Search
from clusterkit.clusterers.kmeans.streaming import (
    N_SAMPLE,
    PartSums,
    Pass,
    Sample,
    draw,
    lloyd_over_parts,
    settle,
    sum_in_threads,
)
from clusterkit.clusterers.row_stream import BATCH_ROWS, RowStream
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.scaling import Scaling
from clusterkit.store.embeddings import check_fitted_space
from clusterkit.utils.arguments import check_at_least
from clusterkit.utils.parallel import workers
from clusterkit.utils.ray_engine import RayEngine, as_engine

# Number of runs improved by breathing k-means.
_N_IMPROVED = 3
# Passes over a stream stop at this tolerance or a larger one: the rest was 0.01 % of the inertia.
_STREAM_TOL = 1e-4


class CentroidClusterer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, UnitClusterer):
    """Base of clusterers that assign rows to the nearest of ``cluster_centers_``."""

    cluster_centers_: NDArray[np.float32]

    def predict(self, X: ArrayLike | RowStream) -> NDArray[np.int32]:
        """Find the nearest centre of each row.

        Parameters
        ----------
        X : array-like of shape (n, d), or RowStream
            The rows; a stream, as :meth:`fit` takes it, is read once.

        Returns
        -------
        ndarray of shape (n,), int32
            Cluster of each row.
        """
        return self._label_stream(X) if isinstance(X, RowStream) else self._nearest(X)[0]

    def _label_stream(self, stream: RowStream, batch_size: int = BATCH_ROWS) -> NDArray[np.int32]:
        """Return the nearest centre of each row of a stream."""
        check_is_fitted(self)
        check_fitted_space(self, stream)
        with workers() as run:
            parts = sum_in_threads(
                stream,
                self._centers(),
                normalize=self.normalize,
                unit=self._unit,
                run=run,
                batch_size=batch_size,
            )
            return np.concatenate([np.empty(0, np.int32), *(part.labels for part in parts)])

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the distance to every centre.

        Parameters
        ----------
        X : array-like of shape (n, d)
            The rows.

        Returns
        -------
        ndarray of shape (n, n_clusters), float32
            Euclidean distances, of rows scaled to length 1 if ``normalize=True``.
        """
        from sklearn.metrics.pairwise import euclidean_distances

        check_is_fitted(self)
        rows = self._check_rows(X, reset=False)
        distances = euclidean_distances(rows, self._centers())
        # The distance between a row and a centre equal to it is only float32 rounding.
        distances[distances < 4 * np.finfo(np.float32).eps * np.abs(rows).max()] = 0
        return in_units(distances, self._unit)

    def score(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the negative inertia of rows for the fitted centres.

        Parameters
        ----------
        X : array-like of shape (n, d)
            The rows.
        y : None
            Ignored.
        sample_weight : array-like of shape (n,), optional
            Weight of each row.

        Returns
        -------
        float
            Higher is better, at most 0.
        """
        _, distances = self._nearest(X)
        weights = check_weights(sample_weight, len(distances))
        return -float(weights @ distances.astype(np.float64)) * self._unit * self._unit

    def _nearest(self, X: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the nearest centre of each row and the squared distance in units of work."""
        check_is_fitted(self)
        rows, centers = self._check_rows(X, reset=False), self._centers()
        # float32 is most precise near the centres' mean.
        middle = centers.mean(axis=0)
        with workers() as run:
            return assign_all(rows - middle, centers - middle, run)

    def _centers(self) -> NDArray[np.float32]:
        """Return the centres in units of work."""
        return to_float32(self.cluster_centers_, normalize=False, unit=self._unit)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        """Number of columns of :meth:`transform`."""
        return len(self.cluster_centers_)


class KMeans(CentroidClusterer):
    """k-means with a thorough search, so that results hardly depend on the seed.

    The rows are scaled to length 1 (set ``normalize=False`` for other data).  The centres are the
    unscaled means of their rows: on photo features this agreed with the labels at least as well as
    centres of length 1 (spherical k-means), and the inertia is that of scikit-learn's ``KMeans`` on
    ``normalize(X)``.

    The search uses up to 64 principal components of up to 10,000 rows: ``n_init`` runs of Lloyd's
    algorithm with greedy k-means++ initialisation, then breathing k-means on the best three, which
    adds centres where they lower the inertia most and merges as many where that raises it least,
    until the inertia no longer falls.  The best runs are finished on all rows and dimensions, and
    the one of lowest inertia is kept; among those within 0.1 % of it, the one of highest mean
    silhouette.  An empty cluster is given the row farthest from its centre.  Clusters are numbered
    from the largest to the smallest.

    Rows that do not fit into memory are read as a stream, such as that of a space on disk: the
    search, with its restarts, is that of a uniform random sample of 20,000 rows (or 20 for each
    cluster, if that is more), whose best run is then finished by passes over all rows, until one
    lowers the inertia by less than 0.01 %.  The sums of each part of the space are float64 and are
    added in the order of the parts, so that the centres are the same to the bit on any number of
    threads.  Memory: the sample, some parts, and 4 bytes per row for the labels.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of clusters, at most the number of rows.
    normalize : bool or "sqrt", default True
        Whether to scale the rows to length 1; "sqrt" for their square roots, for probabilities.
    n_init : int, default 10
        Number of initialisations.
    max_iter : int, default 300
        Maximum number of iterations of the final runs on all rows.
    tol : float, default 1e-6
        A final run stops when an iteration lowers the inertia by less than this fraction of it.
    random_state : int, RandomState or None
        Seed.  The result for a seed is the same on any number of threads.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, d), float32
        Mean of each cluster, of normalised rows if ``normalize=True``.  Fewer than ``n_clusters``
        if there are fewer different rows.
    labels_ : ndarray of shape (n,), int32
        Cluster of each row.
    inertia_ : float
        Weighted sum of squared distances of the rows to the centres of their clusters.
    n_iter_ : int
        Iterations of the final run.
    n_features_in_ : int
        Number of columns.

    References
    ----------
    Lloyd: Least squares quantization in PCM. IEEE Transactions on Information Theory 28, 1982.

    Arthur, Vassilvitskii: k-means++: the advantages of careful seeding. SODA 2007; the greedy
    variant: Grunau, Özüdoğru, Rozhoň, Tětek: A nearly tight analysis of greedy k-means++. SODA
    2023.

    Fritzke: The breathing k-means algorithm. arXiv:2006.15666, 2020.  Here centres are merged by
    the cost of Ward (1963) instead of removed by utility.

    Rousseeuw: Silhouettes. Journal of Computational and Applied Mathematics 20, 1987.

    Halko, Martinsson, Tropp: Finding structure with randomness. SIAM Review 53, 2011, for the
    principal components; searching on them: Ding, He: K-means clustering via principal component
    analysis. ICML 2004.

    Examples
    --------
    >>> X = [[1, 0], [2, 0.1], [0, 1], [0.1, 2], [3, 0]]
    >>> KMeans(2, random_state=0).fit_predict(X).tolist()
    [0, 0, 1, 1, 0]
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        normalize: Scaling = True,
        n_init: int = 10,
        max_iter: int = 300,
        tol: float = 1e-6,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.normalize = normalize
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike | RowStream,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        engine: str | RayEngine = "local",
        progress: bool = False,
    ) -> Self:
        """Cluster the rows.

        Parameters
        ----------
        X : array-like of shape (n, d), or RowStream
            The rows; Embeddings and read-only memory maps are accepted.  One float32 copy is made,
            unless they are a stream: the vectors of a space on disk
            (:meth:`clusterkit.store.space.Space.stream`), or any object with a method
            ``iter_batches(n_rows)`` that yields the same rows in the same order on every call.
        y : None
            Ignored.
        sample_weight : array-like of shape (n,), optional
            Weight of each row, 0 or above; 1 by default.
        engine : {"local", "ray"} or RayEngine
            What makes the passes over the vectors of a space on disk: threads of this process, or
            workers of Ray; see :class:`~clusterkit.utils.ray_engine.RayEngine`.  The centres are
            the same to the bit on any number of workers.
        progress : bool
            Whether to show a progress bar for each pass over a stream.

        Returns
        -------
        KMeans
            Itself.

        Raises
        ------
        InvalidInputError
            If there are fewer rows than clusters, NaN or infinite values, or weights that do not
            fit, or the engine is Ray and the rows are in memory.
        ClusterError
            If the machines of the engine cannot be reached, or have other versions.

        Warns
        -----
        ClusteringWarning
            If a cluster is tiny or grossly larger than the others, there are fewer different
            rows than clusters, or zero vectors are to be normalised.
        """
        limits: dict[str, Any] = {
            "n_init": check_at_least(self.n_init, 1, "n_init"),
            "max_iter": check_at_least(self.max_iter, 1, "max_iter"),
            "tol": check_tol(self.tol),
        }
        on_ray = as_engine(engine)
        if isinstance(X, RowStream):
            return self._fit_stream(X, sample_weight, limits, on_ray, progress=progress)
        if on_ray is not None:
            raise InvalidInputError(
                "the engine ray clusters the parts of a space on disk, as Space.stream() opens "
                f"them. Received: {type(X).__name__}"
            )
        rows = self._check_rows(X)
        check_n_clusters(self.n_clusters, len(rows))
        solution = solve(
            rows,
            check_weights(sample_weight, len(rows)),
            self.n_clusters,
            seed=seed_from(self.random_state),
            overwrite=bool(self.normalize),  # which makes a copy
            **limits,
        )
        self.labels_, self.n_iter_ = solution.labels, solution.n_iter
        self.cluster_centers_ = in_units(solution.centers, self._unit)
        self.inertia_ = solution.inertia * self._unit * self._unit
        warn_of_clusters(self.labels_, len(self.cluster_centers_), self.n_clusters)
        return self

    def _fit_stream(
        self,
        stream: RowStream,
        sample_weight: ArrayLike | None,
        limits: dict[str, Any],
        engine: RayEngine | None,
        *,
        progress: bool,
    ) -> Self:
        """Cluster the rows of a stream."""
        found = solve_stream(
            stream,
            self.n_clusters,
            normalize=self.normalize,
            seed=seed_from(self.random_state),
            sample_weight=sample_weight,
            engine=engine,
            progress=progress,
            **limits | {"tol": max(self.tol, _STREAM_TOL)},
            # This method is between fit and the function.
            stacklevel=5,
        )
        settled = settle(found.centers, found.last)
        self._keep_stream(stream, found.centers.shape[1], found.sample.unit)
        self.cluster_centers_ = in_units(settled.means, self._unit)
        self.labels_, self.n_iter_ = settled.labels, settled.n_iter
        self.inertia_ = settled.inertia * self._unit * self._unit
        warn_of_clusters(self.labels_, len(self.cluster_centers_), self.n_clusters)
        return self


def solve(
    rows: Matrix,
    weights: NDArray[np.float32],
    k: int,
    *,
    n_init: int,
    max_iter: int = 300,
    tol: float = 1e-6,
    seed: int,
    overwrite: bool = False,
) -> Solution:
    """Cluster float32 rows as :class:`KMeans` does, without its checks and warnings.

    With ``overwrite`` the rows may be changed, which saves a copy of them.
    """
    with workers() as run:
        problem = Problem(rows, weights, overwrite=overwrite)
        search = Search(problem.X, problem.weights, seed=seed, run=run)
        started = search.start(k, n_init)
        finalists = search.shortlist([*started, *search.improve(started[:_N_IMPROVED])])
        finished = run(lambda one: search.finish(one, max_iter=max_iter, tol=tol), finalists)
        return problem.settle(search.choose(finished), run)


class StreamSolution(NamedTuple):
    """A clustering of a stream.

    Attributes
    ----------
    centers : ndarray of shape (k, d), float32
        The centres that the labels of the last pass belong to, in units of work.
    last : Pass
        The last pass.
    sample : Sample
        What the centres were initialised with.
    """

    centers: Matrix
    last: Pass
    sample: Sample


def solve_stream(
    stream: RowStream,
    k: int,
    *,
    normalize: Scaling,
    n_init: int,
    max_iter: int,
    tol: float,
    seed: int,
    sample_weight: ArrayLike | None = None,
    n_sample: int = N_SAMPLE,
    batch_size: int = BATCH_ROWS,
    engine: RayEngine | None = None,
    progress: bool = False,
    stacklevel: int = 4,
) -> StreamSolution:
    """Cluster the rows of a stream: search on a random sample, then pass over all rows.

    Raises
    ------
    InvalidInputError
        If there are fewer rows than clusters, NaN or infinite values, or weights that do not fit.

    Warns
    -----
    ClusteringWarning
        If zero vectors are to be normalised.
    """
    weights = None
    if sample_weight is not None:
        # The number of rows is not known before they are read.
        weights = check_weights(sample_weight, np.asarray(sample_weight).size)
    with workers() as run:
        sample = draw(
            stream,
            k,
            seed,
            normalize=normalize,
            run=run,
            weights=weights,
            size=n_sample,
            batch_size=batch_size,
            progress=progress,
        )
        check_n_clusters(k, len(sample.is_zero))
        check_weights(weights, len(sample.is_zero))
        if normalize:
            warn_of_zeros(sample.is_zero, stacklevel=stacklevel)
        start = solve(sample.rows, sample.weights, k, n_init=n_init, seed=seed)

        def sum_parts(centers: Matrix, n_iter: int) -> Iterator[PartSums]:
            """Pass over all parts."""
            return sum_in_threads(
                stream,
                centers,
                normalize=normalize,
                unit=sample.unit,
                run=run,
                weights=weights,
                batch_size=batch_size,
                progress=progress,
                name=f"pass {n_iter}",
                total=sample.n_parts,
            )

        # The search uses a sample and runs in this process; the passes are over all rows.
        summing: Any = nullcontext(sum_parts)
        if engine is not None:
            summing = summing_on_ray(
                stream,
                engine,
                normalize=normalize,
                unit=sample.unit,
                weights=weights,
                progress=progress,
            )
        with summing as passes:
            centers, last = lloyd_over_parts(passes, start.centers, max_iter=max_iter, tol=tol)
    return StreamSolution(centers, last, sample)
