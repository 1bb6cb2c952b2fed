"""Nearest neighbours by cosine distance, with scikit-learn's interface."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from clusterkit.errors import InvalidInputError
from clusterkit.similarity.nearest import nearest, without_own
from clusterkit.similarity.scaling import unit_rows
from clusterkit.store.embeddings import check_fitted_space, fingerprint_of
from clusterkit.utils.arguments import check_at_least, check_vectors

_NUMBERS = [np.float64, np.float32]


class CosineNeighbors(BaseEstimator):
    """Exact nearest neighbours by cosine distance, searched by faiss.

    The distance is 1 - cosine similarity, in [0, 2]: 0 for the same direction, 1 for orthogonal
    vectors, 2 for opposite directions.  The similarity of a zero vector to any vector is 0, its
    distance 1.  Ties are in order of row number.

    Parameters
    ----------
    n_neighbors : int
        Default number of neighbours for :meth:`kneighbors`.

    Attributes
    ----------
    vectors_ : ndarray of shape (n_samples, n_features), float32
        The fitted vectors, scaled to length 1.
    n_samples_fit_ : int
        Number of fitted vectors.
    n_features_in_ : int
        Their dimension.
    fingerprint_ : str or None
        Fingerprint of their embedding space; None for plain arrays.

    See Also
    --------
    clusterkit.similarity.nearest.nearest : The underlying function, without scikit-learn.

    Examples
    --------
    >>> neighbors = CosineNeighbors(n_neighbors=2).fit([[1, 0], [1, 1], [0, 2]])
    >>> distances, rows = neighbors.kneighbors([[3, 0]])
    >>> rows.tolist(), distances.round(3).tolist()
    ([[0, 1]], [[0.0, 0.293]])
    """

    def __init__(self, n_neighbors: int = 10) -> None:
        self.n_neighbors = n_neighbors

    def fit(self, X: Any, y: Any = None) -> Self:
        """Store the vectors, scaled to length 1.

        Parameters
        ----------
        X : Embeddings or array-like of shape (n_samples, n_features)
            The vectors to search.
        y : None
            Ignored.

        Returns
        -------
        CosineNeighbors
            This object.
        """
        check_at_least(self.n_neighbors, 1, "n_neighbors")
        check_vectors(X)
        self.vectors_ = unit_rows(validate_data(self, X, dtype=_NUMBERS))
        self.n_samples_fit_ = len(self.vectors_)
        self.fingerprint_ = fingerprint_of(X)
        return self

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]] | NDArray[np.int64]:
        """Find the nearest fitted vectors.

        Parameters
        ----------
        X : Embeddings or array-like of shape (n_queries, n_features), optional
            The queries.  By default the fitted vectors, excluding each from its own neighbours.
        n_neighbors : int, optional
            Number of neighbours; by default that of the constructor.
        return_distance : bool
            Whether to return the distances as well.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), float64
            Cosine distances in [0, 2], ascending.  Only with ``return_distance``.
        indices : ndarray of shape (n_queries, n_neighbors), int64
            Rows of the fitted vectors.

        Raises
        ------
        InvalidInputError
            If there are fewer fitted vectors (by default: other vectors) than neighbours.
        SpaceMismatchError
            If the queries are from a different embedding space.
        """
        check_is_fitted(self)
        n_neighbors = self.n_neighbors if n_neighbors is None else n_neighbors
        check_at_least(n_neighbors, 1, "n_neighbors")
        others = self.n_samples_fit_ - (X is None)
        if n_neighbors > others:
            raise InvalidInputError(
                f"n_neighbors must be at most {others}, the number of "
                f"{'other ' if X is None else ''}vectors. "
                f"Received: n_neighbors={n_neighbors}, n_samples_fit={self.n_samples_fit_}"
            )
        if X is None:
            found = nearest(self.vectors_, self.vectors_, n_neighbors + 1)
            distances, indices = without_own(*found, np.arange(self.n_samples_fit_))
        else:
            check_vectors(X)
            check_fitted_space(self, X)
            queries = unit_rows(validate_data(self, X, dtype=_NUMBERS, reset=False))
            distances, indices = nearest(self.vectors_, queries, n_neighbors)
        return (distances, indices) if return_distance else indices
