"""Base class of clusterers with cluster centres."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from clusterkit.clusterers.base import UnitClusterer, check_weights, in_units, to_float32
from clusterkit.clusterers.kmeans.lloyd import assign_all
from clusterkit.clusterers.kmeans.streaming import sum_in_threads
from clusterkit.clusterers.row_stream import BATCH_ROWS, RowStream
from clusterkit.store.embeddings import check_fitted_space
from clusterkit.utils.parallel import workers


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
