"""What can be said of spaces without labels, on numbers that mean the same in each of them."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.base import ClusteringWarning
from clusterkit.clusterers.kmeans.lloyd import Labels, Matrix
from clusterkit.clusterers.kmeans.sweep import kmeans_sweep
from clusterkit.elbow.curve import elbow_curve
from clusterkit.similarity.nearest import unit_rows
from clusterkit.similarity.neighbors import CosineNeighbors

Curve = NDArray[np.float64]

_N_NEIGHBORS = 10
_N_RESAMPLES = 8


class Measures(NamedTuple):
    """What one space shows by itself, for each number of clusters.

    Attributes
    ----------
    labels : list of ndarray of shape (n,)
        The clusters that k-means finds.
    stability : ndarray of shape (m,)
        Adjusted Rand index between spectral clusterings of subsamples, beyond that of a cloud
        without clusters of the same mean and covariance: 1 for the same clusters each time, 0 for
        no better than the cloud.  Negative values count as 0.
    neighbors : ndarray of shape (m,)
        Share of an image's nearest neighbours that are in its cluster, beyond chance: 1 for all,
        0 for as many as in random clusters of these sizes.  Negative values count as 0.
    silhouette : ndarray of shape (m,)
        Mean silhouette, from -1 to 1.
    """

    labels: list[Labels]
    stability: Curve
    neighbors: Curve
    silhouette: Curve


def measure(X: Matrix, numbers: Sequence[int], seed: int) -> Measures:
    """Cluster one space for each number of clusters, and measure the clusters.

    All spaces are brought to the same form: rows of length 1, as the clusterers see them, and for
    stability and silhouette their 50 leading principal components.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        The vectors, finite.
    numbers : sequence of int, length m
        Numbers of clusters, ascending, from 2 to less than n.
    seed : int
        Decides the clusterings.

    Returns
    -------
    Measures
        All zero where the vectors are all the same.
    """
    rows = unit_rows(X)
    with warnings.catch_warnings():
        # Odd clusters are to be expected where the space or the number does not suit the images.
        warnings.simplefilter("ignore", ClusteringWarning)
        points = kmeans_sweep(rows, numbers, normalize=False, random_state=seed)
    curve = elbow_curve(
        rows,
        k=numbers,
        normalize=False,
        n_resamples=_N_RESAMPLES,
        max_samples=len(rows),
        random_state=seed,
    )
    labels = [point.labels for point in points]
    return Measures(
        labels,
        stability=np.maximum(np.nan_to_num(curve.excesses["stability"]), 0),
        neighbors=_share_of_neighbors(rows, labels),
        silhouette=np.nan_to_num(curve.silhouette),
    )


def agreement(measured: Sequence[Measures]) -> NDArray[np.float64]:
    """Compare the clusters of all spaces with each other, and with themselves.

    Parameters
    ----------
    measured : sequence of Measures, length s
        The spaces, measured on the same images for the same ``m`` numbers of clusters.

    Returns
    -------
    ndarray of shape (m, s, s), float64
        From 0 to 1: the adjusted Rand index (Hubert, Arabie, 1985) between two spaces; on the
        diagonal, how far a space's clusters bear themselves out: stability x neighbours.
    """
    self_agreement = np.array([one.stability * one.neighbors for one in measured]).T
    table = np.array([np.diag(values) for values in self_agreement])
    for i, one in enumerate(measured):
        for j, other in enumerate(measured[:i]):
            pairs = zip(one.labels, other.labels, strict=True)
            table[:, i, j] = table[:, j, i] = [_agree(*pair) for pair in pairs]
    return table


def rank_one_scores(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Explain the agreements by one number for each space.

    Were each space a noisy view of the same true groups, with errors of its own, two spaces would
    agree by about the product of how far each of them agrees with the truth: a table of rank one,
    whose leading eigenvector says so without knowing the truth (Parisi, Strino, Nadler, Kluger:
    Ranking and combining multiple predictors without labeled data. PNAS 111, 2014).

    Parameters
    ----------
    table : ndarray of shape (m, s, s)
        From :func:`agreement`.

    Returns
    -------
    ndarray of shape (s,), float64
        The vector whose products come nearest to the table, mean over the numbers of clusters.
    """
    values, vectors = np.linalg.eigh(table)
    # No entry is negative, so that neither is the leading vector, but for its sign.
    leading = np.abs(vectors[:, :, -1]) * np.sqrt(np.maximum(values[:, -1:], 0))
    return leading.mean(axis=0)


def agreement_with_others(
    table: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Average each space's agreement with the others, weighted by their scores.

    Parameters
    ----------
    table : ndarray of shape (m, s, s)
        From :func:`agreement`.
    scores : ndarray of shape (s,)
        From :func:`rank_one_scores`.

    Returns
    -------
    ndarray of shape (s,), float64
        From 0 to 1.
    """
    weights = np.tile(scores, (len(scores), 1))
    np.fill_diagonal(weights, 0)
    totals = weights.sum(axis=1)
    return (table.mean(axis=0) * weights).sum(axis=1) / np.where(totals > 0, totals, 1)


def _agree(labels: Labels, others: Labels) -> float:
    """Return the adjusted Rand index, where both tell anything apart, if it is above 0."""
    from sklearn.metrics import adjusted_rand_score

    if np.ptp(labels) == 0 or np.ptp(others) == 0:
        return 0.0
    return max(float(adjusted_rand_score(labels, others)), 0.0)


def _share_of_neighbors(X: Matrix, labels: Sequence[Labels]) -> Curve:
    """Return the share of the nearest neighbours in the same cluster, beyond chance."""
    neighbors = CosineNeighbors(min(_N_NEIGHBORS, max(len(X) // 4, 1))).fit(X)
    rows = neighbors.kneighbors(return_distance=False)
    shares = []
    for found in labels:
        chance = np.square(np.bincount(found) / len(found)).sum()
        share = np.mean(found[rows] == found[:, None])
        shares.append((share - chance) / (1 - chance) if chance < 1 else 0.0)
    return np.maximum(shares, 0)
