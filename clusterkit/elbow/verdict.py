"""Choose the number of clusters, its confidence and its levels from the indices of every k."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Votes = dict[str, int | None]

# The weights below are learned by tests/benchmarks/learn_verdict.py.
# Of the indices in the score of a number of clusters: a conditional logit (McFadden, 1974).
RANKING = {
    "log(k)": 1.0,
    "sqrt(eigengap)": 10.0,
    "agreement": 8.0,
    "silhouette": 10.0,
    "valley": 5.0,
    "stability": 10.0,
}
# Of the evidence for the best number in its confidence: a logistic regression.
TRUST = {
    "constant": -3.0,
    "lead": 1.0,
    "separation": 5.0,
    "valley": 5.0,
    "stability": 1.0,
}
# Mean of the evidence over sets with groups, to tell which part of it is missing elsewhere.
USUAL = {"lead": 2.0, "separation": 0.4, "valley": 0.15, "stability": 0.95}
# Without clear number below this confidence: such a number would be wrong three times in four.
MIN_CONFIDENCE = 0.25
# Below this confidence the verdict says "About".
LOW_CONFIDENCE = 0.5
# A level is this many times as probable as the least probable number between it and a more probable
# one.
_PROMINENCE = 4.0
MAX_LEVELS = 4
# Larger numbers are tried if the last fifth of the range holds this share of the probability.
_TAIL, _OPEN = 0.2, 0.2
# Confidence from which a number that is not the best is a level, and share of the usual evidence
# that is worth telling.
_MIN_LEVEL, _MOST_OF_IT = 0.05, 0.5
# What is said of evidence that is there, and of the part that lacks most.
_FOUND = {
    "lead": "no other number is as probable",
    "separation": "far fewer links join them than slices of one cloud",
    "valley": "there are gaps between them",
    "stability": "they come back when some rows are left out",
}
_LACKING = {
    "lead": "no number stands out from the others",
    "separation": "the groups are joined like slices of one cloud, so it looks like one group",
    "valley": "there are no gaps, since rows are as dense between the groups as inside them",
    "stability": "the groups do not come back when some rows are left out",
}
# The lead is the logarithm of at most this ratio.
_LONGEST_LEAD = 1e3


class Verdict(NamedTuple):
    """The chosen number of clusters and the reason.

    Attributes
    ----------
    k : int or None
        The number of clusters; None if there is no clear one.
    confidence : float
        From 0 to 1.
    sentence : str
        The verdict in one to four plain sentences.
    levels : dict of int to float
        The confidence of each number that stands out, ascending, ``k`` among them.
    probability : ndarray of shape (m,)
        Probability of each number if there are clusters; sums to 1.
    """

    k: int | None
    confidence: float
    sentence: str
    levels: dict[int, float]
    probability: Curve


def describe_numbers(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]) -> Curve:
    """Return what ranks the numbers of clusters, in the order of ``RANKING``: shape (m, 6)."""
    return np.column_stack(
        [
            np.log(n_clusters),
            np.sqrt(np.maximum(curves["eigengap"], 0)),
            *(curves[name] for name in ("agreement", "silhouette", "valley", "stability")),
        ]
    )


def rank(
    n_clusters: NDArray[np.int64], curves: Mapping[str, Curve], weights: Curve | None = None
) -> Curve:
    """Return the probability of each number if there are clusters, shape (m,).

    ``weights`` are those of ``RANKING`` by default.

    References
    ----------
    McFadden: Conditional logit analysis of qualitative choice behavior. Frontiers in Econometrics,
    1974.
    """
    weights = np.array(list(RANKING.values())) if weights is None else weights
    scores = describe_numbers(n_clusters, curves) @ weights
    if np.isnan(scores).all():
        return np.zeros(len(scores))
    odds = np.exp(np.nan_to_num(scores - np.nanmax(scores), nan=-np.inf))
    return odds / odds.sum()


def describe_evidence(probability: Curve, curves: Mapping[str, Curve]) -> Curve:
    """Return the evidence for each number, in the order of ``TRUST``: shape (m, 5)."""
    near = np.convolve(probability, np.ones(3), mode="same")
    return np.column_stack(
        [
            np.ones(len(near)),
            np.log(near / (1 - near + 1 / _LONGEST_LEAD) + 1 / _LONGEST_LEAD),
            curves["chance_conductance"] - curves["conductance"],
            curves["valley"],
            curves["stability"],
        ]
    )


def find_peaks(probability: Curve) -> list[int]:
    """Return the places of the numbers that stand out, the most probable first.

    A number stands out if it is more probable than its neighbours, and several times as probable as
    some number on the way to any more probable one.
    """
    from scipy.signal import find_peaks

    logs = np.log(np.maximum(probability, np.finfo(float).tiny))
    floor = logs.min() - 2 * np.log(_PROMINENCE)
    places, _ = find_peaks(np.pad(logs, 1, constant_values=floor), prominence=np.log(_PROMINENCE))
    return sorted((places - 1).tolist(), key=lambda place: -probability[place])


def may_be_more(n_clusters: NDArray[np.int64], probability: Curve) -> bool:
    """Return whether numbers beyond the largest tried one may be more probable."""
    if len(n_clusters) == 1:
        return False
    tail = n_clusters > n_clusters[-1] - _TAIL * (n_clusters[-1] - n_clusters[0] + 1)
    return bool(probability[tail].sum() >= _OPEN)


def knee(n_clusters: NDArray[np.int64], inertia: NDArray[np.float64]) -> int | None:
    """Find the knee of the inertia over the number of clusters with Kneedle.

    Parameters
    ----------
    n_clusters : ndarray of shape (m,)
        The numbers of clusters, ascending.
    inertia : ndarray of shape (m,)
        Sum of squared distances to the nearest centre for each.

    Returns
    -------
    int or None
        The knee; None for fewer than three points or a curve without a knee.

    References
    ----------
    Satopaa, Albrecht, Irwin, Raghavan: Finding a "Kneedle" in a haystack. ICDCS workshops, 2011.
    """
    # kneed divides by the range of the curve, and its spline needs a few points.
    if len(n_clusters) < 3 or not np.ptp(inertia) > 0:
        return None
    from kneed import KneeLocator

    with warnings.catch_warnings():
        # kneed warns if it finds no knee; here None is returned.
        warnings.simplefilter("ignore")
        found = KneeLocator(n_clusters, inertia, curve="convex", direction="decreasing").knee
    return None if found is None else int(found)


def count_votes(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]) -> Votes:
    """Return the number of clusters preferred by each index alone, or None."""
    highest = ("silhouette", "calinski_harabasz", "eigengap", "agreement", "valley", "stability")
    votes = {name: _highest(n_clusters, curves[name]) for name in highest}
    return {
        "knee": knee(n_clusters, curves["inertia"]),
        "davies_bouldin": _highest(n_clusters, -curves["davies_bouldin"]),
        "separation": _highest(n_clusters, curves["chance_conductance"] - curves["conductance"]),
        **votes,
    }


def judge(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve], votes: Votes) -> Verdict:
    """Choose the most probable number of clusters, if its evidence is good enough.

    Parameters
    ----------
    n_clusters : ndarray of shape (m,)
        The numbers of clusters, ascending.
    curves : mapping of str to ndarray of shape (m,)
        Each index by name; NaN where it is not defined.
    votes : dict of str to (int or None)
        From :func:`count_votes`, for the verdict's text.

    Returns
    -------
    Verdict
    """
    probability = rank(n_clusters, curves)
    tried = f"from {n_clusters[0]} to {n_clusters[-1]}" if len(n_clusters) > 1 else "of those tried"
    if not probability.any():
        sentence = "No clear number of clusters: there are too few rows to leave some out."
        return Verdict(None, 0.0, sentence, {}, probability)
    evidence = describe_evidence(probability, curves)
    confidences = 1 / (1 + np.exp(-evidence @ np.array(list(TRUST.values()))))
    is_open = may_be_more(n_clusters, probability)
    best, *others = find_peaks(probability)
    k, confidence = int(n_clusters[best]), float(confidences[best])
    shares = _shares(evidence[best])
    if confidence < MIN_CONFIDENCE:
        more = f"; there may be more than {n_clusters[-1]}" if is_open else ""
        reason = _LACKING[min(shares, key=lambda name: shares[name])]
        sentence = f"No clear number of clusters {tried}: {reason}{more}."
        return Verdict(None, round(confidence, 2), sentence, {}, probability)
    strong = [place for place in others if confidences[place] >= _MIN_LEVEL][: MAX_LEVELS - 1]
    levels = {int(n_clusters[j]): round(float(confidences[j]), 2) for j in sorted([best, *strong])}
    reasons = [_FOUND[name] for name, share in shares.items() if share >= _MOST_OF_IT]
    sentences = [
        f"{'About ' if confidence < LOW_CONFIDENCE else ''}{k} clusters: "
        f"{' and '.join(reasons) or 'no other number is as probable'}.",
        _other_levels({number: levels[number] for number in levels if number != k}),
        _disagreement(k, votes),
        f"More than {n_clusters[-1]} were not tried: there may be more." if is_open else "",
    ]
    text = " ".join(filter(None, sentences))
    return Verdict(k, round(confidence, 2), text, levels, probability)


def _shares(evidence: Curve) -> dict[str, float]:
    """Return the evidence by name, as a share of what is usual in sets with groups."""
    named = dict(zip(TRUST, evidence.tolist(), strict=True))
    return {name: named[name] / usual for name, usual in USUAL.items()}


def _other_levels(levels: Mapping[int, float]) -> str:
    """Return a sentence on the other numbers that stand out."""
    if not levels:
        return ""
    numbers = " and ".join(f"{k} (confidence {confidence:.2f})" for k, confidence in levels.items())
    return f"At other levels, {numbers}."


def _disagreement(k: int, votes: Votes) -> str:
    """Return a sentence on the classical indices that prefer another number."""
    others = [
        f"{name} says {votes[name]}"
        for name in ("silhouette", "knee")
        if votes[name] not in (None, k)
    ]
    return f"Taken alone, the {' and the '.join(others)}." if others else ""


def _highest(n_clusters: NDArray[np.int64], values: Curve) -> int | None:
    """Return the k of the highest value, or None if all are NaN."""
    return int(n_clusters[np.nanargmax(values)]) if np.isfinite(values).any() else None
