"""Valleys between clusters: whether fewer rows lie between two centres than around either."""

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.lloyd import Labels, Matrix

Counts = NDArray[np.float64]


class Valleys:
    """Counts of rows around centres and half-way between them, over many subsamples.

    On the line from centre a (0) to centre b (1) three stretches of equal length are compared:
    around a, around b, and the middle one.  Where there is only one peak, the middle is never
    emptier than both ends.  Two normal clusters of equal size leave a valley of depth 0.3 when they
    are three standard deviations apart, 0.65 at four and 0.85 at five.

    Only rows that the centres have not seen may be counted: in hundreds of dimensions k-means finds
    a direction that tears any cloud apart, but only for the rows that it was given.

    Parameters
    ----------
    k : int
        Number of clusters.

    References
    ----------
    Hartigan, Hartigan: The dip test of unimodality. Annals of Statistics 13, 1985 (of looking for
    a dip); Tibshirani, Walther: Cluster validation by prediction strength. Journal of
    Computational and Graphical Statistics 14, 2005 (of asking the rows that were left out).
    """

    def __init__(self, k: int) -> None:
        self._around: Counts = np.zeros((k, k))
        self._between: Counts = np.zeros((k, k))

    def add(self, X: Matrix, labels: Labels, centers: Matrix) -> None:
        """Count rows, given the nearest of the k centres to each."""
        products, gram = X @ centers.T, centers @ centers.T
        norms = np.diag(gram)
        own = products[np.arange(len(X)), labels][:, None]
        # Where each row lies on the lines from its own centre to all others.
        along = products - own - gram[labels] + norms[labels][:, None]
        squared_length = norms[labels][:, None] - 2 * gram[labels] + norms
        position = along / np.maximum(squared_length, np.finfo(np.float32).tiny)
        np.add.at(self._around, labels, np.abs(position) < 1 / 6)
        np.add.at(self._between, labels, position > 1 / 3)

    def depths(self, n_times: float) -> Counts:
        """Return for each cluster the depth of the shallowest valley around it.

        Parameters
        ----------
        n_times : float
            How often each row was counted.

        Returns
        -------
        ndarray of shape (k,)
            1 for empty gaps all around; 0 or less where there is no valley.
        """
        ends = np.minimum(self._around, self._around.T) / n_times
        middle = (self._between + self._between.T) / n_times
        # One row more between them, half a row around: a gap between a few rows is no valley yet.
        depth = 1 - (middle + 1) / (ends + 0.5)
        np.fill_diagonal(depth, 1)
        return depth.min(axis=1)
