"""Stability and separation: whether clusters come back, and whether there are gaps between them.

Both are judged on subsamples of the rows, each clustered anew.  *Stability* asks whether all rows
are grouped in the same way again.  *Separation* asks the rows that were left out whether there are
fewer of them half-way between two centres than around either centre.  The held-out rows matter:
in hundreds of dimensions k-means finds a direction that tears any cloud apart, but only for the
rows that it saw.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int32]
Matrix = NDArray[np.float32]

# The share of the rows that each subsample keeps (Ben-Hur et al., 2002, use 0.8).
KEPT = 0.8


class Resampled(NamedTuple):
    """What resampling says about one number of clusters.

    Attributes
    ----------
    stability : float
        Mean adjusted Rand index between the clusterings of two subsamples, each extended to all
        rows; 1 for the same groups each time, 0 for chance.
    separation : float
        Depth of the shallowest valley between any two clusters: 1 for an empty gap, 0 or less
        for none.
    """

    stability: float
    separation: float


def resample(
    X: Matrix, labels: Mapping[int, Labels], *, n_resamples: int, random_state: int
) -> dict[int, Resampled]:
    """Cluster subsamples of the rows for every k, and see what becomes of the clusters.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows, best of few dimensions.
    labels : mapping of int to ndarray of shape (n,)
        The clusters of all rows, for each number of clusters.
    n_resamples : int
        Number of subsamples, at least 2.
    random_state : int
        Seed.

    Returns
    -------
    dict of int to Resampled
        For each number of clusters that is no more than the rows of a subsample.

    References
    ----------
    Ben-Hur, Elisseeff, Guyon: A stability based method for discovering structure in clustered
    data. Pacific Symposium on Biocomputing, 2002.
    Lange, Roth, Braun, Buhmann: Stability-based validation of clustering solutions. Neural
    Computation 16, 2004.
    """
    n_kept = int(KEPT * len(X))
    labels = {k: found for k, found in labels.items() if k <= n_kept}
    rng = np.random.default_rng(random_state)
    grouped: dict[int, list[Labels]] = {k: [] for k in labels}
    valleys = {k: Valleys(k) for k in labels}
    for _ in range(n_resamples):
        order = rng.permutation(len(X))
        kept, held_out = order[:n_kept], order[n_kept:]
        for k, centers in _sweep_centers(X[kept], list(labels), int(rng.integers(2**31))).items():
            again = _assign(X, centers)
            grouped[k].append(again)
            valleys[k].add(X[held_out], _match(labels[k][kept], again[kept], centers))
    n_times = n_resamples * len(held_out) / len(X)
    return {k: Resampled(_agreement(grouped[k], k), valleys[k].depth(n_times)) for k in labels}


class Valleys:
    """Counts of held-out rows around centres and half-way between them, over many subsamples.

    On the line from centre a (0) to centre b (1) three stretches of equal length are compared:
    around a, around b, and in the middle.  In a density with one peak the middle is never emptier
    than both ends; two normal clusters of equal size leave a valley of depth 0.3 at three standard
    deviations, 0.65 at four and 0.85 at five.

    Parameters
    ----------
    k : int
        Number of clusters.
    """

    def __init__(self, k: int) -> None:
        self._around = np.zeros((k, k))
        self._between = np.zeros((k, k))

    def add(self, X: Matrix, centers: Matrix) -> None:
        """Count rows that the centres have not seen."""
        labels = _assign(X, centers)
        products, gram = X @ centers.T, centers @ centers.T
        own = products[np.arange(len(X)), labels][:, None]
        norms = np.diag(gram)
        # Where each row lies on the lines from its own centre to all others.
        along = products - own - gram[labels] + norms[labels][:, None]
        squared_length = norms[labels][:, None] - 2 * gram[labels] + norms
        position = along / np.maximum(squared_length, np.finfo(np.float32).tiny)
        np.add.at(self._around, labels, np.abs(position) < 1 / 6)
        np.add.at(self._between, labels, position > 1 / 3)

    def depth(self, n_times: float) -> float:
        """Return the depth of the shallowest valley, each row having been counted ``n_times``."""
        ends = np.minimum(self._around, self._around.T) / n_times
        middle = (self._between + self._between.T) / n_times
        # Half a row more on both sides keeps the ratio finite and tiny clusters in doubt.
        depth = 1 - (middle + 0.5) / (ends + 0.5)
        return float(depth[~np.eye(len(depth), dtype=bool)].min())


def _assign(X: Matrix, centers: Matrix) -> Labels:
    """Return the nearest centre of each row."""
    scores = X @ centers.T - 0.5 * np.einsum("ij,ij->i", centers, centers)
    return scores.argmax(axis=1).astype(np.int32)


def _contingency(a: Labels, b: Labels, k: int) -> NDArray[np.int64]:
    """Count the rows that have each pair of labels, as a table of shape (k, k)."""
    return np.bincount(a.astype(np.int64) * k + b, minlength=k * k).reshape(k, k)


def _match(labels: Labels, others: Labels, centers: Matrix) -> Matrix:
    """Return the centres of the clusters ``others`` in the order of ``labels``."""
    from scipy.optimize import linear_sum_assignment

    _, order = linear_sum_assignment(_contingency(labels, others, len(centers)), maximize=True)
    return centers[order]


def _adjusted_rand(a: Labels, b: Labels, k: int) -> float:
    """Return the adjusted Rand index, much faster than scikit-learn's for short labels."""
    pairs = [np.sum(n * (n - 1)) / 2 for n in _margins(_contingency(a, b, k))]
    both, in_a, in_b = pairs
    expected = in_a * in_b / (len(a) * (len(a) - 1) / 2)
    highest = (in_a + in_b) / 2
    return 1.0 if highest == expected else float((both - expected) / (highest - expected))


def _margins(table: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Return the cells of a table, its row sums and its column sums."""
    return table, table.sum(axis=1), table.sum(axis=0)


def _agreement(grouped: list[Labels], k: int) -> float:
    """Return the mean adjusted Rand index of each clustering with the next."""
    following = [*grouped[1:], grouped[0]]
    return float(
        np.mean([_adjusted_rand(a, b, k) for a, b in zip(grouped, following, strict=True)])
    )


def _sweep_centers(X: Matrix, ks: list[int], seed: int) -> dict[int, Matrix]:
    """Return the k-means centres for each k."""
    from sklearn.cluster import KMeans

    return {
        k: KMeans(k, n_init=3, random_state=seed).fit(X).cluster_centers_.astype(np.float32)
        for k in ks
    }
