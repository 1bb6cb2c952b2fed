"""Choose the number of clusters, its confidence and its levels from the indices of every k."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Votes = dict[str, int | None]

# The weights below are learned by tests/benchmarks/learn_verdict.py.
# What ranks the numbers of clusters: a conditional logit (McFadden, 1974).
RANKING = {"sqrt(eigengap)": 10.0, "silhouette": 22.8}
# Whether the groups of a number are groups at all: a logistic regression.
GROUPS = {"constant": -0.823, "log(k)": -2.96, "separation": 43.6, "valley": 12.7}
# Whether a number that stands out is within one of the right number, if there are groups.
NEARNESS = {"constant": 0.441, "lead": 1.04}
# Below this probability of groups, or below this confidence, there is no clear number.
_MIN_GROUPED, _MIN_CONFIDENCE = 0.5, 0.15
# Below this confidence the verdict says "About".
_LOW_CONFIDENCE = 0.5
# A number stands out if it is this many times as probable as some number between it and each more
# probable one; and the maximum number of those that stand out.
_PROMINENCE, MAX_LEVELS = 1.5, 4
# A level other than the best has at least this confidence.
_MIN_LEVEL = 0.1
# Larger numbers are tried if the last fifth of the range holds this share of the probability.
_TAIL, _OPEN = 0.2, 0.2
# The lead is the logarithm of at most this ratio, and of at least its inverse.
_LONGEST_LEAD = 1e3
# Minimum stability for the words "come back", and minimum valley (5 % longer distances) for gaps.
_STABLE, _GAP = 0.8, 0.05
_NO_LEAD = "many numbers are about as probable, and none stands out"


class Verdict(NamedTuple):
    """The chosen number of clusters and the reason.

    Attributes
    ----------
    k : int or None
        The number of clusters; None if there is no clear one.
    confidence : float
        From 0 to 1, the highest of all levels.
    sentence : str
        The verdict in one to five plain sentences.
    levels : dict of int to float
        The confidence of each number that stands out, ascending, ``k`` among them.
    probability : ndarray of shape (m,)
        Probability of each number; the rest to 1 is the probability that there are no groups.
    """

    k: int | None
    confidence: float
    sentence: str
    levels: dict[int, float]
    probability: Curve


def describe_numbers(curves: Mapping[str, Curve]) -> Curve:
    """Return the features that rank the numbers, in the order of ``RANKING``: shape (m, 2)."""
    root = np.sqrt(np.maximum(curves["eigengap"], 0))
    return np.column_stack([root, curves["silhouette"]])


def describe_groups(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]) -> Curve:
    """Return the features of real groups, in the order of ``GROUPS``: shape (m, 4)."""
    separation = curves["chance_conductance"] - curves["conductance"]
    ones = np.ones(len(n_clusters))
    return np.column_stack([ones, np.log(n_clusters), separation, curves["valley"]])


def describe_lead(ranks: Curve) -> Curve:
    """Return the features of whether a number is nearly right, in the order of ``NEARNESS``.

    The lead is the logarithm of the odds that the right number is this one or one beside it.
    """
    padded = np.pad(ranks, 1)
    near = padded[:-2] + ranks + padded[2:]
    odds = near / np.maximum(1 - near, 1 / _LONGEST_LEAD)
    lead = np.log(np.clip(odds, 1 / _LONGEST_LEAD, _LONGEST_LEAD))
    return np.column_stack([np.ones(len(ranks)), lead])


def rank(curves: Mapping[str, Curve], weights: Mapping[str, float] = RANKING) -> Curve:
    """Return the probability of each number if there are groups, shape (m,); sums to 1.

    All 0 if the indices are defined for none.

    References
    ----------
    McFadden: Conditional logit analysis of qualitative choice behavior. Frontiers in Econometrics,
    1974.
    """
    scores = describe_numbers(curves) @ list(weights.values())
    if np.isnan(scores).all():
        return np.zeros(len(scores))
    odds = np.exp(np.nan_to_num(scores - np.nanmax(scores), nan=-np.inf))
    return odds / odds.sum()


def find_peaks(ranks: Curve) -> list[int]:
    """Return the places of the numbers that stand out, the most probable first.

    A number stands out if it is more probable than its neighbours, and one and a half times as
    probable as some number between it and each more probable one.
    """
    from scipy import signal

    logs = np.log(np.maximum(ranks, np.finfo(float).tiny))
    floor = logs.min() - 2 * np.log(_PROMINENCE)
    padded = np.pad(logs, 1, constant_values=floor)
    places, _ = signal.find_peaks(padded, prominence=np.log(_PROMINENCE))
    return sorted((places - 1).tolist(), key=lambda place: -ranks[place])[:MAX_LEVELS]


def may_be_more(n_clusters: NDArray[np.int64], probability: Curve) -> bool:
    """Return whether numbers beyond the largest tried one may be more probable."""
    if len(n_clusters) == 1 or not probability.any():
        return False
    tail = n_clusters > n_clusters[-1] - _TAIL * (n_clusters[-1] - n_clusters[0] + 1)
    return bool(probability[tail].sum() >= _OPEN * probability.sum())


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
    highest = ("silhouette", "calinski_harabasz", "eigengap", "valley", "stability")
    return {
        "knee": knee(n_clusters, curves["inertia"]),
        "davies_bouldin": _highest(n_clusters, -curves["davies_bouldin"]),
        "separation": _highest(n_clusters, curves["chance_conductance"] - curves["conductance"]),
        **{name: _highest(n_clusters, curves[name]) for name in highest},
    }


def judge(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve], votes: Votes) -> Verdict:
    """Choose the level of the highest confidence, if there are groups at all.

    Whether there are is judged at the most probable number.  The level of the highest confidence
    may be another one, if the numbers beside it are probable as well.

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
    ranks = rank(curves)
    if not ranks.any():
        sentence = "No clear number of clusters: there are too few rows to leave some out."
        return Verdict(None, 0.0, sentence, {}, ranks)
    grouped = _probability(describe_groups(n_clusters, curves), GROUPS)
    confidences = grouped * _probability(describe_lead(ranks), NEARNESS)
    is_open = may_be_more(n_clusters, ranks)
    first, *others = find_peaks(ranks)
    probability = ranks * grouped[first]
    confidence = round(float(confidences[first]), 2)
    if grouped[first] < _MIN_GROUPED or confidence < _MIN_CONFIDENCE:
        is_one = grouped[first] < _MIN_GROUPED
        lacking = _what_lacks(first, n_clusters, curves) if is_one else _NO_LEAD
        more = f"; there may be more than {n_clusters[-1]}" if is_open else ""
        sentence = f"No clear number of clusters: {lacking}{more}."
        return Verdict(None, confidence, sentence, {}, probability)
    are_levels = (grouped >= _MIN_GROUPED) & (confidences >= _MIN_LEVEL)
    strong = [first, *(place for place in others if are_levels[place])]
    best = max(strong, key=lambda place: confidences[place])
    k, confidence = int(n_clusters[best]), round(float(confidences[best]), 2)
    levels = {int(n_clusters[place]): round(float(confidences[place]), 2) for place in strong}
    about = "About " if confidence < _LOW_CONFIDENCE else ""
    sentences = [
        f"{about}{k} clusters: {_what_speaks(best, curves)}.",
        _other_levels(sorted(number for number in levels if number != k)),
        _most_probable(k, int(n_clusters[first])),
        _disagreement(k, votes),
        f"More than {n_clusters[-1]} were not tried: there may be more." if is_open else "",
    ]
    text = " ".join(filter(None, sentences))
    return Verdict(k, confidence, text, dict(sorted(levels.items())), probability)


def _probability(table: Curve, weights: Mapping[str, float]) -> Curve:
    """Return the probabilities of a logistic regression; 0 if undefined."""
    return np.nan_to_num(1 / (1 + np.exp(-table @ list(weights.values()))))


def _what_lacks(best: int, n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]) -> str:
    """Return why the groups of the most probable number do not count as groups."""
    tried = f"for no number from {n_clusters[0]} to {n_clusters[-1]}"
    if curves["stability"][best] < _STABLE:
        return f"{tried} do the same groups come back when some rows are left out"
    if curves["valley"][best] < _GAP:
        return f"{tried} are there gaps between the groups"
    return "the groups are joined like slices of one cloud, so it looks like one group"


def _what_speaks(best: int, curves: Mapping[str, Curve]) -> str:
    """Return the evidence for the groups of the most probable number."""
    reasons = []
    if curves["stability"][best] >= _STABLE:
        reasons.append("they come back when some rows are left out")
    if curves["valley"][best] >= _GAP:
        reasons.append("there are gaps between them")
    return ", and ".join(reasons) or "far fewer links join them than slices of one cloud"


def _other_levels(numbers: list[int]) -> str:
    """Return a sentence on the other numbers that stand out."""
    if not numbers:
        return ""
    plural = "s" if numbers[1:] else ""
    return f"Other level{plural}: {', '.join(map(str, numbers))}."


def _most_probable(k: int, most_probable: int) -> str:
    """Return a sentence on the most probable number, if it is not the chosen one."""
    if most_probable == k:
        return ""
    return (
        f"{most_probable} alone is more probable, but less surely within one of the right number."
    )


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
