"""A mixture of Gaussians as a clusterer."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from clusterkit.clusterers.base import (
    UnitClusterer,
    check_n_clusters,
    count_distinct,
    number_by_size,
    unite_equal,
    warn_of_equal_rows,
)
from clusterkit.clusterers.scikit_learn import find_axes
from clusterkit.similarity.nearest import find_equal
from clusterkit.utils.parallel import workers


class GaussianMixture(UnitClusterer):
    """Fit ``n_clusters`` Gaussians, which may differ in size and shape.

    A full covariance matrix needs more rows than there are columns in an embedding, so the
    Gaussians live on the leading principal coordinates.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of Gaussians, at most the number of rows.
    normalize : bool, default True
        Whether to scale the rows to length 1.
    covariance_type : {"full", "tied", "diag", "spherical"}, default "full"
        What shapes the Gaussians may have.
    n_coordinates : int or None, default 20
        Principal coordinates; None for the rows as they are.
    n_init : int, default 3
        Runs from new starts; the best is kept.
    max_iter : int, default 300
        Largest number of iterations of a run.
    random_state : int, RandomState or None
        Seed.

    Attributes
    ----------
    labels_ : ndarray of shape (n,), int32
        The likeliest Gaussian of each row, numbered from the one with most rows.
    model_ : sklearn.mixture.GaussianMixture
        The fitted model on the principal coordinates, its components in its own order.
    n_iter_ : int
        Iterations of the best run.
    n_features_in_ : int
        Number of columns.

    References
    ----------
    Dempster, Laird, Rubin: Maximum likelihood from incomplete data via the EM algorithm. JRSS B 39,
    1977.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        normalize: bool = True,
        covariance_type: str = "full",
        n_coordinates: int | None = 20,
        n_init: int = 3,
        max_iter: int = 300,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.normalize = normalize
        self.covariance_type = covariance_type
        self.n_coordinates = n_coordinates
        self.n_init = n_init
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Fit the Gaussians.

        Parameters
        ----------
        X : array-like of shape (n, d)
            The rows; Embeddings work as they are.
        y : None
            Ignored.

        Returns
        -------
        GaussianMixture
            Itself.

        Raises
        ------
        InvalidInputError
            If there are fewer rows than clusters, or NaN or infinite values.

        Warns
        -----
        ClusteringWarning
            If there are fewer different rows than clusters, so that there are fewer Gaussians, or
            zero vectors are to be normalised.
        """
        from sklearn.mixture import GaussianMixture

        rows = self._check_rows(X)
        first = find_equal(rows)
        n_distinct = count_distinct(first)
        model = GaussianMixture(
            min(check_n_clusters(self.n_clusters, len(rows)), n_distinct),
            covariance_type=self.covariance_type,
            n_init=self.n_init,
            max_iter=self.max_iter,
            random_state=self.random_state,
        )
        self._mean, self._axes = find_axes(rows, self.n_coordinates, self.random_state)
        # One thread for BLAS: the same result on any number of threads.
        with workers():
            coordinates = self._locate(rows)
            components = unite_equal(model.fit(coordinates).predict(coordinates), first)
        self.labels_ = number_by_size(components)
        # Component of each cluster; those that are nobody's likeliest come last.
        used = np.unique(components, return_index=True)
        order = used[0][np.argsort(self.labels_[used[1]])]
        rest = np.setdiff1d(np.arange(model.n_components), order)
        self._order = np.concatenate([order, rest])
        self.model_, self.n_iter_ = model, model.n_iter_
        warn_of_equal_rows(n_distinct, self.n_clusters)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Find the likeliest Gaussian of each row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            The rows.

        Returns
        -------
        ndarray of shape (n,), int32
            Cluster of each row.
        """
        return self.predict_proba(X).argmax(axis=1).astype(np.int32)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each Gaussian for each row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            The rows.

        Returns
        -------
        ndarray of shape (n, n_clusters), float64
            Rows sum to 1.
        """
        check_is_fitted(self)
        rows = self._check_rows(X, reset=False)
        return self.model_.predict_proba(self._locate(rows))[:, self._order]

    def _locate(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the principal coordinates of rows in float64, which covariances need."""
        return ((rows - self._mean) @ self._axes).astype(np.float64)
