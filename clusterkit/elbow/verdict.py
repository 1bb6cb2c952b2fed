"""From the indices of every k to one number of clusters, or to an honest None."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.elbow.knee import knee

Curve = NDArray[np.float64]
Votes = dict[str, int | None]

# From here on clusters stand apart; where fewer do, they may be slices of something larger.
FULL_SEPARATION = 0.6
# Two groups have only one valley between them, and along the chord of a bent filament there is one
# too, up to 0.4 deep: theirs must be a gap.
MIN_SEPARATION_OF_TWO = 1.0
# Half-way between the stability of a cloud without clusters and perfect stability.
MIN_EXCESS = 0.5
# A straight filament, whose slices are stable, reaches 0.2.
MIN_CONFIDENCE = 0.25
# More subsamples seldom change which of two numbers has more evidence where the other has less than
# this share, or find gaps where there is less than this share of the confidence that is needed.
_CLEAR = 0.75
_HOPELESS = 0.5
# Below this the verdict itself says that it is not sure.
LOW_CONFIDENCE = 0.6


class Verdict(NamedTuple):
    """What was concluded.

    Attributes
    ----------
    k : int or None
        The number of clusters; None where there is no clear one.
    confidence : float
        From 0 to 1; 0 without a number.
    sentence : str
        The verdict in one to three plain sentences.
    """

    k: int | None
    confidence: float
    sentence: str


def excess_stability(curves: Mapping[str, Curve]) -> Curve:
    """Return the stability beyond that of a cloud without clusters: 1 perfect, 0 no better.

    Any long cloud splits stably across its middle, and few clusters are always more stable than
    many; a cloud of the same shape shows how much (Lange, Roth, Braun, Buhmann: Stability-based
    validation of clustering solutions. Neural Computation 16, 2004).
    """
    chance = curves["chance"]
    return (curves["stability"] - chance) / np.maximum(1 - chance, 0.01)


def information(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]) -> Curve:
    """Return how much a grouping into each k tells of the rows, beyond chance.

    log(k) is the most that a label of k can tell, and the excess stability what is left of it from
    one sample to another (in the spirit of Buhmann: Information theoretic model validation for
    clustering. ISIT, 2010).
    """
    return np.sqrt(np.log(n_clusters)) * np.maximum(excess_stability(curves), 0) ** 2


def evidence(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]) -> Curve:
    """Return what speaks for each k; 0 or NaN where nothing does.

    It is the information, times the root of the silhouette, which decides between numbers that are
    about as stable, times the share of the separation that clusters need to stand apart.
    """
    apart = np.clip(curves["separation"] / FULL_SEPARATION, 0, 1)
    apart = np.where((n_clusters == 2) & ~stand_apart(n_clusters, curves), 0, apart)
    compact = np.sqrt(np.maximum(curves["silhouette"], 0))
    return information(n_clusters, curves) * compact * apart


def stand_apart(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]) -> NDArray[np.bool_]:
    """Tell for which numbers the clusters are groups with gaps around them, not slices."""
    needed = np.where(n_clusters == 2, MIN_SEPARATION_OF_TWO, FULL_SEPARATION)
    return curves["separation"] >= needed


def is_settled(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]) -> bool:
    """Tell whether more subsamples would hardly change the verdict."""
    weighed = np.nan_to_num(evidence(n_clusters, curves))
    best = int(weighed.argmax())
    confidence = excess_stability(curves)[best] * curves["separation"][best]
    if not confidence >= _HOPELESS * MIN_CONFIDENCE:
        return True
    return bool(np.delete(weighed, best).max(initial=0) < _CLEAR * weighed[best])


def count_votes(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]) -> Votes:
    """Return the number of clusters that each index would choose alone, None for no opinion.

    ``stability`` votes for the most information that is stable, ``separation`` for the largest
    number whose clusters stand apart, the others for their best value.
    """
    apart = np.flatnonzero(stand_apart(n_clusters, curves))
    return {
        "knee": knee(n_clusters, curves["inertia"]),
        "silhouette": _highest(n_clusters, curves["silhouette"]),
        "calinski_harabasz": _highest(n_clusters, curves["calinski_harabasz"]),
        "davies_bouldin": _highest(n_clusters, -curves["davies_bouldin"]),
        "stability": _highest(n_clusters, information(n_clusters, curves)),
        "separation": int(n_clusters[apart[-1]]) if apart.size else None,
    }


def judge(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve], votes: Votes) -> Verdict:
    """Choose the number of clusters with most evidence, if it is stable and has gaps enough.

    Parameters
    ----------
    n_clusters : ndarray of shape (m,)
        The numbers of clusters, ascending.
    curves : mapping of str to ndarray of shape (m,)
        Each index by name; NaN where it is not defined.
    votes : dict of str to (int or None)
        From :func:`count_votes`, for the words.

    Returns
    -------
    Verdict
    """
    tried = f"for no number from {n_clusters[0]} to {n_clusters[-1]}"
    weighed = np.nan_to_num(evidence(n_clusters, curves))
    best = int(weighed.argmax())
    k, excess = int(n_clusters[best]), float(excess_stability(curves)[best])
    if weighed[best] > 0 and excess < MIN_EXCESS:
        return _no_verdict(f"{tried} do the same groups come back when some rows are left out")
    confidence = round(excess * float(curves["separation"][best]), 2)
    if weighed[best] <= 0 or confidence < MIN_CONFIDENCE:
        return _no_verdict(f"{tried} are there gaps between the groups")
    sentences = [
        f"{'About ' if confidence < LOW_CONFIDENCE else ''}{k} clusters: they come back when some "
        "rows are left out, and there are gaps between them.",
        _disagreement(k, votes),
    ]
    if k == n_clusters[-1] and len(n_clusters) > 1:
        sentences.append("It is the largest number that was tried: there may be more.")
    return Verdict(k, confidence, " ".join(filter(None, sentences)))


def _no_verdict(reason: str) -> Verdict:
    """Return None with its reason."""
    return Verdict(None, 0.0, f"No clear number of clusters: {reason}.")


def _disagreement(k: int, votes: Votes) -> str:
    """Say which of the well-known indices would choose another number."""
    others = [
        f"{name} says {votes[name]}"
        for name in ("silhouette", "knee")
        if votes[name] not in (None, k)
    ]
    return f"Taken alone, the {' and the '.join(others)}." if others else ""


def _highest(n_clusters: NDArray[np.int64], values: Curve) -> int | None:
    """Return the k of the highest value, or None where all are NaN."""
    return int(n_clusters[np.nanargmax(values)]) if np.isfinite(values).any() else None
