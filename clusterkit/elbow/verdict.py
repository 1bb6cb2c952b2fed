"""From the indices of every k to one number of clusters, or to an honest None."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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
        The knee; None for fewer than three points, a flat curve or one without a knee.

    References
    ----------
    Satopaa, Albrecht, Irwin, Raghavan: Finding a "Kneedle" in a haystack. ICDCS workshops, 2011.
    """
    # kneed divides by the range of the curve, and fits a spline, which needs a few points.
    if len(n_clusters) < 3 or not np.ptp(inertia) > 0:
        return None
    from kneed import KneeLocator

    with warnings.catch_warnings():
        # kneed warns where it finds no knee; None says the same.
        warnings.simplefilter("ignore")
        found = KneeLocator(n_clusters, inertia, curve="convex", direction="decreasing").knee
    return None if found is None else int(found)


Curve = NDArray[np.float64]

Votes = dict[str, int | None]

# How much each neighbouring number's evidence counts towards a number's own.
_SMOOTHING = 0.2

# Numbers around the best one belong to its plateau down to this share of its evidence, and weigh
# there by a power of theirs, so that half of the weight is lost within 7 % of the evidence.
_PLATEAU, _SHARPNESS = 0.75, 10

# Numbers with more than this share of the best one's evidence are told, too.
_ALMOST_AS_GOOD = 0.9

# Of the way from a cloud without clusters to the same groups each time.  Clusters that overlap, as
# the digits of MNIST do in ImageNet's features, come half of it.
MIN_EXCESS = 0.45

# The photos of anime5, whose shows blend into each other, reach 0.38, a thousand digits 0.43.
MIN_DISTINCTNESS = 0.41

# Slices of a ring have a tenth fewer links that leave them than slices of a cloud.  So little is
# enough only where hardly any leave, or hardly a row ever changes its group.
MIN_SPARED = 0.14

ALMOST_ALL, ALMOST_ALWAYS = 0.85, 0.95

# Groups of the largest number that was tried that are still so far apart, and nearly as far as any.
_STILL_APART, _NEAR_THE_BEST = 0.4, 0.9

# Distance from the best value that is due to rounding.
_PERFECT = 1e-9

# Below this the verdict itself says that it is not sure.
LOW_CONFIDENCE = 0.5


class Verdict(NamedTuple):
    """What was concluded.

    Attributes
    ----------
    k : int or None
        The number of clusters; None where there is no clear one.
    confidence : float
        From 0 to 1; 0 without a number.
    sentence : str
        The verdict in one to four plain sentences.
    """

    k: int | None
    confidence: float
    sentence: str


def measure_excesses(
    n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]
) -> dict[str, Curve]:
    """Return how much better than chance the groups are: 1 perfect, 0 no better.

    Any long cloud splits stably across its middle, and few clusters are always more stable than
    many; a cloud of the same shape shows how much (Lange, Roth, Braun, Buhmann: Stability-based
    validation of clustering solutions. Neural Computation 16, 2004).

    Parameters
    ----------
    n_clusters : ndarray of shape (m,)
        The numbers of clusters.
    curves : mapping of str to ndarray of shape (m,)
        Stability, modularity and conductance, and those of a cloud without clusters as "chance_".

    Returns
    -------
    dict of str to ndarray of shape (m,)
        For "stability", "modularity" and "conductance", the share of what is left above chance.
        The best modularity is 1 - 1/k, that of equal groups without a link between them; groups of
        unequal size cannot reach it.  The best conductance is 0, whatever their size.
    """
    ones = np.ones(len(n_clusters))
    best = {"stability": ones, "modularity": 1 - 1 / n_clusters, "conductance": 0 * ones}
    return {name: _share(curves[name], curves[f"chance_{name}"], best[name]) for name in best}


def _share(values: Curve, chance: Curve, best: Curve) -> Curve:
    """Return how far along the way from chance to the best the values are."""
    way = best - chance
    # A cloud may be all but perfect: then little that is left would be divided by next to nothing.
    least = np.where(best > 0, 0.01, -0.01)
    share = (values - chance) / np.where(np.abs(way) < 0.01, least, way)
    # Nothing is better than perfect, though a cloud be perfect, too.
    return np.where(np.abs(values - best) < _PERFECT, 1, share)


def distinctness(excesses: Mapping[str, Curve]) -> Curve:
    """Return how far apart the groups are, from 0 to 1: mean over modularity and conductance.

    Modularity counts each row once, conductance each group.  Where groups are of very unequal size
    either alone errs, towards many or towards few.
    """
    return (_positive(excesses["modularity"]) + _positive(excesses["conductance"])) / 2


def evidence(
    n_clusters: NDArray[np.int64], eigengap: Curve, excesses: Mapping[str, Curve]
) -> Curve:
    """Return what speaks for each k; 0 where nothing does.

    log(k) is the most that a label of k can tell of a row.  The eigengap decides between numbers
    with about as much evidence.
    """
    weighed = (
        _positive(excesses["stability"]) ** 0.25
        * distinctness(excesses) ** 4
        * np.log(n_clusters) ** 0.75
        * np.maximum(_positive(eigengap), 1e-5) ** 0.3
    )
    padded = np.pad(weighed, 1, mode="edge")
    if n_clusters[0] == 2:
        # Of one cluster, whose label tells nothing.
        padded[0] = 0
    neighbors = _SMOOTHING * (padded[:-2] + padded[2:])
    return np.where(weighed > 0, (1 - 2 * _SMOOTHING) * weighed + neighbors, 0)


def find_middle(n_clusters: NDArray[np.int64], weighed: Curve) -> int:
    """Return the middle of the numbers with most evidence.

    Where clusters overlap, a seed or a few rows decide which of several numbers has a hair more
    evidence than the next.  Their mean, weighed by their evidence, does not hang on it; a clear
    peak is its own middle.

    Parameters
    ----------
    n_clusters : ndarray of shape (m,)
        The numbers of clusters, ascending.
    weighed : ndarray of shape (m,)
        Their :func:`evidence`, above 0 for at least one.

    Returns
    -------
    int
        The one of the numbers that is nearest to the mean.
    """
    plateau = _around_best(weighed, _PLATEAU)
    weights = (weighed[plateau] / weighed.max()) ** _SHARPNESS
    mean = np.average(n_clusters[plateau], weights=weights)
    return int(n_clusters[np.abs(n_clusters - mean).argmin()])


def _around_best(weighed: Curve, share: float) -> slice:
    """Return where evidence stays above a share of the best, without a gap, around the best."""
    best = int(weighed.argmax())
    below = np.flatnonzero(weighed < share * weighed[best])
    start = below[below < best].max(initial=-1) + 1
    stop = below[below > best].min(initial=len(weighed))
    return slice(int(start), int(stop))


def may_be_more(best: int | None, n_clusters: NDArray[np.int64], apart: Curve) -> bool:
    """Tell whether the verdict might be another, had larger numbers been tried.

    Groups that stand apart are merged in a new way each time where they are more than k: they are
    modular long before they are stable.

    Parameters
    ----------
    best : int or None
        The number with most evidence; None where that is not enough.
    n_clusters : ndarray of shape (m,)
        The numbers of clusters that were tried, ascending.
    apart : ndarray of shape (m,)
        Their :func:`distinctness`.
    """
    if len(apart) == 1:
        return False
    return best == n_clusters[-1] or apart[-1] >= max(_STILL_APART, _NEAR_THE_BEST * apart.max())


def count_votes(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve]) -> Votes:
    """Return the number of clusters that each index would choose alone, None for no opinion.

    Stability, modularity and conductance vote for the largest excess x sqrt(log(k)), for few groups
    are easily stable and apart.
    """
    told = np.sqrt(np.log(n_clusters))
    excesses = measure_excesses(n_clusters, curves)
    return {
        "knee": knee(n_clusters, curves["inertia"]),
        "silhouette": _highest(n_clusters, curves["silhouette"]),
        "calinski_harabasz": _highest(n_clusters, curves["calinski_harabasz"]),
        "davies_bouldin": _highest(n_clusters, -curves["davies_bouldin"]),
        **{name: _highest(n_clusters, told * excess) for name, excess in excesses.items()},
        "eigengap": _highest(n_clusters, curves["eigengap"]),
    }


def judge(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve], votes: Votes) -> Verdict:
    """Choose the number of clusters with most evidence, if those are stable and apart enough.

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
    excesses = measure_excesses(n_clusters, curves)
    weighed, apart = evidence(n_clusters, curves["eigengap"], excesses), distinctness(excesses)
    best = int(weighed.argmax())
    stable = float(excesses["stability"][best])
    if weighed[best] > 0 and stable < MIN_EXCESS:
        reason = f"{tried} do the same groups come back when some rows are left out"
        if may_be_more(None, n_clusters, apart):
            reason += f"; they stand apart, though, and there may be more than {n_clusters[-1]}"
        return _no_verdict(reason)
    spared = float(curves["chance_conductance"][best] - curves["conductance"][best])
    is_set_off = excesses["conductance"][best] >= ALMOST_ALL or stable >= ALMOST_ALWAYS
    is_slices = spared < MIN_SPARED and not is_set_off
    if weighed[best] <= 0 or is_slices or apart[best] < MIN_DISTINCTNESS:
        return _no_verdict(f"{tried} are there gaps between the groups")
    k = find_middle(n_clusters, weighed)
    confidence = round(stable * float(apart[best]), 2)
    sentences = [
        f"{'About ' if confidence < LOW_CONFIDENCE else ''}{k} clusters: they come back when some "
        "rows are left out, and there are gaps between them.",
        _alternatives(k, int(n_clusters[best]), n_clusters[_around_best(weighed, _ALMOST_AS_GOOD)]),
        _disagreement(k, votes),
    ]
    if best == len(n_clusters) - 1 > 0:
        sentences.append(f"More than {n_clusters[-1]} were not tried: there may be more.")
    return Verdict(k, confidence, " ".join(filter(None, sentences)))


def _no_verdict(reason: str) -> Verdict:
    """Return None with its reason."""
    return Verdict(None, 0.0, f"No clear number of clusters: {reason}.")


def _alternatives(k: int, best: int, numbers: NDArray[np.int64]) -> str:
    """Say which numbers are almost as good as the best, and which that is where it is not k."""
    if len(numbers) > 2:
        other = f" as {best}" if k != best else ""
        return f"From {numbers[0]} to {numbers[-1]}, every number is almost as good{other}."
    return f"It is the middle of several: most speaks for {best}." if k != best else ""


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


def _positive(values: Curve) -> Curve:
    """Return the values where they are above 0, and 0 elsewhere."""
    return np.maximum(np.nan_to_num(values), 0)
