"""Label-free scores of embedding spaces that are comparable between spaces."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.base import ClusteringWarning
from clusterkit.clusterers.kmeans.lloyd import Labels, Matrix
from clusterkit.clusterers.kmeans.sweep import kmeans_sweep
from clusterkit.elbow.curve import all_alike
from clusterkit.elbow.indices import distances_between, internal_indices, partition
from clusterkit.similarity.neighbors import CosineNeighbors
from clusterkit.similarity.scaling import find_scaling, scale_rows
from clusterkit.utils.parallel import workers

Curve = NDArray[np.float64]

_N_NEIGHBORS = 10
_N_RESAMPLES = 9
# Keeps a share defined where a distribution without groups is perfectly stable.
_TINY = 1e-6


class Measures(NamedTuple):
    """Scores of one space for each number of clusters.

    Attributes
    ----------
    labels : list of ndarray of shape (n,)
        The k-means clusters.
    stability : ndarray of shape (m,)
        How well the groups of the graph of neighbours come back in subsamples, relative to a normal
        distribution of the same mean and covariance: 1 if all do, 0 if no better than the normal
        distribution.  Negative values are set to 0.
    neighbors : ndarray of shape (m,)
        Share of an image's nearest neighbours in the same k-means cluster, corrected for chance: 1
        for all, 0 for as many as in random clusters of these sizes.  Negative values are set to 0.
    silhouette : ndarray of shape (m,)
        Mean silhouette of the k-means clusters, from -1 to 1.
    """

    labels: list[Labels]
    stability: Curve
    neighbors: Curve
    silhouette: Curve


def measure(X: Matrix, numbers: Sequence[int], seed: int) -> Measures:
    """Cluster one space for each number of clusters, and compute the scores.

    Rows are scaled as :func:`clusterkit.cluster` does.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        The vectors, finite.
    numbers : sequence of int, length m
        Numbers of clusters, ascending, from 2 to less than n.
    seed : int
        Random seed.

    Returns
    -------
    Measures
        All zero if the vectors are identical.
    """
    rows = scale_rows(X, find_scaling(X))
    with warnings.catch_warnings():
        # Odd clusters are expected if the space or the number does not suit the images.
        warnings.simplefilter("ignore", ClusteringWarning)
        points = kmeans_sweep(rows, numbers, normalize=False, random_state=seed)
    labels = [point.labels for point in points]
    neighbors = _share_of_neighbors(rows, labels)
    if all_alike(rows):
        return Measures(labels, np.zeros(len(numbers)), neighbors, np.zeros(len(numbers)))
    distances = distances_between(rows)
    with workers() as run:
        found = partition(
            rows, distances, numbers, labels, n_resamples=_N_RESAMPLES, seed=seed, run=run
        )
    above_chance = (found.stability - found.chance_stability) / (1 - found.chance_stability + _TINY)
    silhouettes = [internal_indices(rows, one, distances).silhouette for one in labels]
    return Measures(
        labels,
        np.clip(np.nan_to_num(above_chance), 0, 1),
        neighbors,
        np.nan_to_num(silhouettes),
    )


def agreement(measured: Sequence[Measures]) -> NDArray[np.float64]:
    """Return the agreement between the clusters of all spaces.

    Parameters
    ----------
    measured : sequence of Measures, length s
        Scores of the spaces on the same images for the same ``m`` numbers of clusters.

    Returns
    -------
    ndarray of shape (m, s, s), float64
        From 0 to 1: the adjusted Rand index (Hubert, Arabie, 1985) between two spaces; on the
        diagonal, stability x neighbours of a space.
    """
    self_agreement = np.array([one.stability * one.neighbors for one in measured]).T
    table = np.array([np.diag(values) for values in self_agreement])
    for i, one in enumerate(measured):
        for j, other in enumerate(measured[:i]):
            pairs = zip(one.labels, other.labels, strict=True)
            table[:, i, j] = table[:, j, i] = [_agree(*pair) for pair in pairs]
    return table


def rank_one_scores(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scores of a rank-one approximation of the agreements.

    If each space is a noisy view of the same true groups with independent errors, the agreement of
    two spaces is about the product of their agreements with the truth: a table of rank one, whose
    leading eigenvector estimates these without knowing the truth (Parisi, Strino, Nadler, Kluger:
    Ranking and combining multiple predictors without labeled data. PNAS 111, 2014).

    Parameters
    ----------
    table : ndarray of shape (m, s, s)
        From :func:`agreement`.

    Returns
    -------
    ndarray of shape (s,), float64
        The vector whose outer product approximates the table best, mean over the numbers of
        clusters.
    """
    values, vectors = np.linalg.eigh(table)
    # No entry is negative, so all entries of the leading vector have the same sign.
    leading = np.abs(vectors[:, :, -1]) * np.sqrt(np.maximum(values[:, -1:], 0))
    return leading.mean(axis=0)


def agreement_with_others(
    table: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each space's mean agreement with the others, weighted by their scores.

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
    """Return the adjusted Rand index, at least 0; 0 if a clustering has a single cluster."""
    from sklearn.metrics import adjusted_rand_score

    if np.ptp(labels) == 0 or np.ptp(others) == 0:
        return 0.0
    return max(float(adjusted_rand_score(labels, others)), 0.0)


def _share_of_neighbors(X: Matrix, labels: Sequence[Labels]) -> Curve:
    """Return the share of nearest neighbours in the same cluster, corrected for chance."""
    neighbors = CosineNeighbors(min(_N_NEIGHBORS, max(len(X) // 4, 1))).fit(X)
    rows = neighbors.kneighbors(return_distance=False)
    shares = []
    for found in labels:
        chance = np.square(np.bincount(found) / len(found)).sum()
        share = np.mean(found[rows] == found[:, None])
        shares.append((share - chance) / (1 - chance) if chance < 1 else 0.0)
    return np.maximum(shares, 0)
