"""From the indices of every k to one number of clusters, or to an honest None."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.elbow.knee import knee

Curve = NDArray[np.float64]

# Valleys between clusters must be at least this deep: about three standard deviations apart.
MIN_SEPARATION = 0.25
# Clusterings that agree less than this from sample to sample count as unstable (Hennig, 2007).
MIN_STABILITY = 0.7
# Silhouettes this close to the best one do not tell the numbers of clusters apart.
SILHOUETTE_MARGIN = 0.9


class Verdict(NamedTuple):
    """What was concluded.

    Attributes
    ----------
    k : int or None
        The number of clusters; None where there is no clear one.
    confidence : float
        From 0 to 1: stability, halved by the indices that disagree.
    sentence : str
        The verdict in one or two plain sentences.
    """

    k: int | None
    confidence: float
    sentence: str


def count_votes(
    n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]
) -> dict[str, int | None]:
    """Return the number of clusters that each index would choose alone.

    Parameters
    ----------
    n_clusters : ndarray of shape (m,)
        The numbers of clusters, ascending.
    curves : mapping of str to ndarray of shape (m,)
        Each index by name; NaN where it is not defined.

    Returns
    -------
    dict of str to (int or None)
        The best k of each index; for ``separation`` the largest k whose clusters all have a gap
        between them.  None where an index has no opinion.
    """
    separated = np.flatnonzero(curves["separation"] >= MIN_SEPARATION)
    return {
        "knee": knee(n_clusters, curves["inertia"]),
        "silhouette": _highest(n_clusters, curves["silhouette"]),
        "calinski_harabasz": _highest(n_clusters, curves["calinski_harabasz"]),
        "davies_bouldin": _highest(n_clusters, -curves["davies_bouldin"]),
        "stability": _highest(n_clusters, curves["stability"]),
        "separation": int(n_clusters[separated[-1]]) if separated.size else None,
    }


def judge(
    n_clusters: NDArray[np.int64], curves: Mapping[str, Curve], votes: Mapping[str, int | None]
) -> Verdict:
    """Decide on the number of clusters.

    Parameters
    ----------
    n_clusters : ndarray of shape (m,)
        The numbers of clusters, ascending.
    curves : mapping of str to ndarray of shape (m,)
        Each index by name; NaN where it is not defined.
    votes : mapping of str to (int or None)
        From :func:`count_votes`.

    Returns
    -------
    Verdict
    """
    low, high = int(n_clusters[0]), int(n_clusters[-1])
    separated = curves["separation"] >= MIN_SEPARATION
    stable = curves["stability"] >= MIN_STABILITY
    if not separated.any():
        sentence = f"there are no gaps between the groups, for any number from {low} to {high}."
        return Verdict(None, 0.0, f"No clear number of clusters: {sentence}")
    possible = separated & stable & np.isfinite(curves["silhouette"])
    if not possible.any():
        sentence = "the groups change whenever some of the rows are left out."
        return Verdict(None, 0.0, f"No clear number of clusters: {sentence}")
    silhouette = np.where(possible, curves["silhouette"], -np.inf)
    best = silhouette.max()
    chosen = int(np.flatnonzero(silhouette >= best - (1 - SILHOUETTE_MARGIN) * abs(best))[-1])
    k = int(n_clusters[chosen])
    agreeing = [name for name, vote in votes.items() if vote is not None and abs(vote - k) <= 1]
    confidence = float(curves["stability"][chosen]) * (1 + len(agreeing) / len(votes)) / 2
    sentence = (
        f"{k} clusters: they come back when some of the rows are left out, "
        "and there are gaps between them."
    )
    return Verdict(k, round(confidence, 3), sentence)


def _highest(n_clusters: NDArray[np.int64], values: Curve) -> int | None:
    """Return the k of the highest value, or None where all are NaN."""
    return int(n_clusters[np.nanargmax(values)]) if np.isfinite(values).any() else None
