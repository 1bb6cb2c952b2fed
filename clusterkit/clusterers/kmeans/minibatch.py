"""k-means over rows that do not fit into memory."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from clusterkit.clusterers.base import (
    as_invalid_input,
    check_n_clusters,
    check_tol,
    check_weights,
    find_largest,
    in_units,
    seed_from,
    warn_of_clusters,
)
from clusterkit.clusterers.kmeans.estimator import CentroidClusterer, solve, solve_stream
from clusterkit.clusterers.kmeans.streaming import add_up, sum_part
from clusterkit.clusterers.row_stream import ArrayStream, RowStream
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.scaling import Scaling
from clusterkit.store.embeddings import check_fitted_space, fingerprint_of
from clusterkit.utils.arguments import check_at_least, check_vectors
from clusterkit.utils.parallel import workers


class MiniBatchKMeans(CentroidClusterer):
    """k-means for data that do not fit in memory, read in batches.

    The centres are initialised by :class:`KMeans` on a random sample.  Each pass then reads all
    rows once and moves the centres to the means of their rows: exact iterations of Lloyd's
    algorithm, so that the result is close to that of :class:`KMeans` on all rows.
    :meth:`partial_fit` updates the centres from one batch at a time, each seen once.

    Memory: the sample and one batch, with temporaries, and 4 bytes per row for the labels.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of clusters, at most the number of rows.
    normalize : bool or "sqrt", default True
        Whether to scale the rows to length 1; "sqrt" for their square roots, for probabilities.
    batch_size : int, default 8192
        Number of rows per batch.
    n_sample : int, default 20000
        Size of the random sample for the initialisation; at least 20 times ``n_clusters`` rows are
        used.
    n_init : int, default 10
        Number of initialisations on the sample.
    max_iter : int, default 20
        Maximum number of passes.
    tol : float, default 1e-4
        Stop when a pass lowers the inertia by less than this fraction of it.
    random_state : int, RandomState or None
        Seed.  The result for a seed is the same on any number of threads.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, d), float32
        Centre of each cluster.
    labels_ : ndarray of shape (n,), int32
        Cluster of each row of ``fit``, numbered from the largest; of the last batch after
        ``partial_fit``.
    inertia_ : float
        Weighted sum of squared distances of these rows to the centres of their clusters.
    counts_ : ndarray of shape (n_clusters,), float64
        Weight of all rows seen by each centre.
    n_iter_ : int
        Number of passes, or of batches of ``partial_fit``.
    n_features_in_ : int
        Number of columns.

    References
    ----------
    Lloyd: Least squares quantization in PCM. IEEE Transactions on Information Theory 28, 1982.

    Sculley: Web-scale k-means clustering. WWW 2010, for ``partial_fit``.

    Examples
    --------
    >>> X = [[1, 0], [2, 0.1], [0, 1], [0.1, 2], [3, 0]]
    >>> MiniBatchKMeans(2, batch_size=2, random_state=0).fit_predict(X).tolist()
    [0, 0, 1, 1, 0]

    Cluster a space of any size; ``stream.paths`` are the images of the labels:

    >>> stream = Store(".clusterkit").space("xception").stream()  # doctest: +SKIP
    >>> labels = MiniBatchKMeans(100, random_state=0).fit_predict(stream)  # doctest: +SKIP
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        normalize: Scaling = True,
        batch_size: int = 8192,
        n_sample: int = 20_000,
        n_init: int = 10,
        max_iter: int = 20,
        tol: float = 1e-4,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.normalize = normalize
        self.batch_size = batch_size
        self.n_sample = n_sample
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
        progress: bool = False,
    ) -> Self:
        """Cluster the rows.

        Parameters
        ----------
        X : array-like of shape (n, d), or RowStream
            The rows.  Read batch by batch: memory maps, the vectors of a space on disk
            (:meth:`clusterkit.store.space.Space.stream`), and any object with a method
            ``iter_batches(n_rows)`` that yields the same rows in the same order on every call.
        y : None
            Ignored.
        sample_weight : array-like of shape (n,), optional
            Weight of each row, 0 or above; 1 by default.
        progress : bool
            Whether to show a progress bar for each pass.

        Returns
        -------
        MiniBatchKMeans
            Itself.

        Raises
        ------
        InvalidInputError
            If there are fewer rows than clusters, NaN or infinite values, or weights that do not
            fit.

        Warns
        -----
        ClusteringWarning
            If a cluster is tiny or grossly larger than the others, there are fewer different
            rows than clusters, or zero vectors are to be normalised.
        """
        self._check_parameters()
        stream = self._open(X)
        found = solve_stream(
            stream,
            self.n_clusters,
            normalize=self.normalize,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tol,
            seed=seed_from(self.random_state),
            sample_weight=sample_weight,
            n_sample=self.n_sample,
            batch_size=self.batch_size,
            progress=progress,
        )
        if stream is X:
            self._keep_stream(stream, found.centers.shape[1], found.sample.unit)
        else:
            self.fingerprint_, self._unit = fingerprint_of(X), found.sample.unit
        # Clusters are numbered from the largest.
        order = np.argsort(-found.last.sizes, kind="stable")
        numbers = np.argsort(order).astype(np.int32)
        self.cluster_centers_ = in_units(found.centers[order], self._unit)
        self.inertia_ = found.last.inertia * self._unit * self._unit
        self.counts_ = found.last.sizes[order]
        self.labels_, self.n_iter_ = numbers[found.last.labels], found.last.n_iter
        warn_of_clusters(self.labels_, len(self.cluster_centers_), self.n_clusters)
        return self

    def partial_fit(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Update the centres with one batch.

        Each centre is the mean of all rows assigned to it so far.

        Parameters
        ----------
        X : array-like of shape (n, d)
            The batch; the first must hold at least ``n_clusters`` different rows and represent all
            the data.
        y : None
            Ignored.
        sample_weight : array-like of shape (n,), optional
            Weight of each row, 0 or above; 1 by default.

        Returns
        -------
        MiniBatchKMeans
            Itself.

        Raises
        ------
        InvalidInputError
            If the first batch has too few different rows, or for the reasons of :meth:`fit`.
        SpaceMismatchError
            If the batch is from a different embedding space than the earlier ones.
        """
        self._check_parameters()
        is_first = not hasattr(self, "cluster_centers_")
        rows = self._check_rows(X, reset=is_first)
        weights = check_weights(sample_weight, len(rows))
        if is_first:
            check_n_clusters(self.n_clusters, len(rows))
            seed = seed_from(self.random_state)
            start = solve(rows, weights, self.n_clusters, n_init=self.n_init, seed=seed)
            centers = start.centers
            if len(centers) < self.n_clusters:
                raise InvalidInputError(
                    "the first batch must hold at least n_clusters different rows. "
                    f"Received: n_clusters={self.n_clusters}, {len(centers):,} different rows"
                )
            self.counts_, self.n_iter_ = np.zeros(len(centers)), 0
        else:
            centers = self._centers()
            self.fingerprint_ = self.fingerprint_ or fingerprint_of(X)
        with workers():
            # The rows are scaled already.
            sums = sum_part(ArrayStream(rows), centers, normalize=False, weights=weights)
        found = add_up([sums], centers)
        self.counts_ = self.counts_ + found.sizes
        share = found.sizes / np.maximum(self.counts_, np.finfo(float).tiny)
        moved = (centers + share[:, None] * (found.means - centers)).astype(np.float32)
        self.cluster_centers_ = in_units(moved, self._unit)
        self.labels_, self.n_iter_ = found.labels, self.n_iter_ + 1
        self.inertia_ = found.inertia * self._unit * self._unit
        return self

    def predict(self, X: ArrayLike | RowStream) -> NDArray[np.int32]:
        """Find the nearest centre of each row.

        Parameters
        ----------
        X : array-like of shape (n, d), or RowStream
            The rows, as in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n,), int32
            Cluster of each row.
        """
        check_is_fitted(self)
        return self._label_stream(self._open(X, reset=False), self.batch_size)

    def _check_parameters(self) -> None:
        """Check what a fit takes from the constructor, however it is done."""
        for name in ("n_clusters", "batch_size", "n_sample", "n_init", "max_iter"):
            check_at_least(getattr(self, name), 1, name)
        check_tol(self.tol)

    def _open(self, X: ArrayLike | RowStream, *, reset: bool = True) -> RowStream:
        """Return X as a stream."""
        check_at_least(self.batch_size, 1, "batch_size")
        if not reset:
            check_fitted_space(self, X)
        if isinstance(X, RowStream):
            return X
        check_vectors(X)
        rows = as_invalid_input(validate_data)(self, X, reset=reset, ensure_all_finite=False)
        find_largest(rows)
        return ArrayStream(rows)
