"""Silhouette, Calinski-Harabasz and Davies-Bouldin indices."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Geometry(NamedTuple):
    """The internal indices of one clustering; NaN if undefined.

    Attributes
    ----------
    silhouette : float
        Mean silhouette width, in [-1, 1]; higher is better.
    calinski_harabasz : float
        Ratio of the variance between clusters to that within clusters; higher is better.
    davies_bouldin : float
        Mean over clusters of the largest ratio of spread to distance; lower is better.
    """

    silhouette: float
    calinski_harabasz: float
    davies_bouldin: float


def geometry(
    X: NDArray[np.float32], labels: NDArray[np.int32], distances: NDArray[np.float32]
) -> Geometry:
    """Compute the internal indices of one clustering.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        The rows.
    labels : ndarray of shape (n,)
        Their clusters.
    distances : ndarray of shape (n, n)
        Euclidean distances between the rows, with a zero diagonal: computed once for all k.

    Returns
    -------
    Geometry

    References
    ----------
    Rousseeuw: Silhouettes. Journal of Computational and Applied Mathematics 20, 1987.
    Calinski, Harabasz: A dendrite method for cluster analysis. Communications in Statistics 3,
    1974.
    Davies, Bouldin: A cluster separation measure. IEEE PAMI 1, 1979.
    """
    if not 2 <= len(np.unique(labels)) < len(X):
        return Geometry(np.nan, np.nan, np.nan)
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

    return Geometry(
        float(silhouette_score(distances, labels, metric="precomputed")),
        float(calinski_harabasz_score(X, labels)),
        float(davies_bouldin_score(X, labels)),
    )
