"""Gaussian mixture as a clusterer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from clusterkit.clusterers.base import check_n_clusters
from clusterkit.clusterers.principal_axes import find_projection
from clusterkit.clusterers.scikit_learn import LabellingClusterer
from clusterkit.similarity.scaling import Scaling


class GaussianMixture(LabellingClusterer):
    """Gaussian mixture on principal components, for clusters of different size and shape.

    A full covariance matrix needs more rows than columns, so the mixture is fitted to the leading
    principal components.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of Gaussians, at most the number of rows.
    normalize : bool or "sqrt", default True
        Whether to scale the rows to length 1; "sqrt" for their square roots, for probabilities.
    covariance_type : {"full", "tied", "diag", "spherical"}, default "full"
        Type of covariance, as in ``sklearn.mixture.GaussianMixture``.
    n_coordinates : int or None, default 20
        Number of principal components; None to use the rows unchanged.
    n_init : int, default 3
        Number of initialisations; the best run is kept.
    max_iter : int, default 300
        Maximum number of iterations of a run.
    random_state : int, RandomState or None
        Seed.

    Attributes
    ----------
    labels_ : ndarray of shape (n,), int32
        The most probable component of each row, numbered from the largest.
    model_ : sklearn.mixture.GaussianMixture
        The model fitted to the scaled principal components, with its own order of mixture
        components.
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
        normalize: Scaling = True,
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

    def _build(self, n_samples: int, n_distinct: int) -> Any:
        from sklearn.mixture import GaussianMixture

        return GaussianMixture(
            min(check_n_clusters(self.n_clusters, n_samples), n_distinct),
            covariance_type=self.covariance_type,
            n_init=self.n_init,
            max_iter=self.max_iter,
            random_state=self.random_state,
        )

    def _label(self, model: Any, rows: NDArray[np.float32], first: NDArray[np.intp]) -> Any:
        """Fit the mixture to the principal components, and return the component of each row."""
        self._projection = find_projection(rows, self.n_coordinates, self.random_state)
        # scikit-learn adds 1e-6 to each variance, which must be little beside them.
        self._scale = float(self._projection.apply(rows).std(dtype=np.float64)) or 1.0
        coordinates = self._locate(rows)
        return model.fit(coordinates).predict(coordinates)

    def _keep(self, model: Any, found: NDArray[Any]) -> None:
        """Set the fitted attributes, and order the components as the clusters."""
        super()._keep(model, found)
        self.n_iter_ = int(model.n_iter_)
        used, rows = np.unique(found, return_index=True)
        order = used[np.argsort(self.labels_[rows])]
        # Components without rows come last.
        self._order = np.concatenate([order, np.setdiff1d(np.arange(model.n_components), order)])

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Predict the most probable component of each row.

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
        """Predict the probability of each component for each row.

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
        """Return the scaled principal components of rows in float64, which covariances need."""
        return self._projection.apply(rows).astype(np.float64) / self._scale
