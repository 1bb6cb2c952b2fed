"""Choose the number of clusters from the indices of every k."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Votes = dict[str, int | None]
# Weight of the evidence for each neighbouring number.
_SMOOTHING = 0.2
# The plateau of the best number extends down to this fraction of its evidence.  Weights are this
# power of the evidence, so that they halve within 7 % of it.
_PLATEAU, _SHARPNESS = 0.75, 10
# Numbers with more than this fraction of the best evidence are mentioned in the verdict.
_ALMOST_AS_GOOD = 0.9
# Minimum stability, from 0 (a cloud without clusters) to 1 (identical groups).  Overlapping
# clusters, such as MNIST's digits in ImageNet features, reach about 0.5.
MIN_EXCESS = 0.45
# The photos of anime5, whose shows overlap, reach 0.38; a thousand digits 0.43.
MIN_DISTINCTNESS = 0.41
# The conductance of slices of a ring is 0.1 below that of slices of a cloud.  A difference as small
# as this suffices only if hardly any links leave, or hardly any row changes its group.
MIN_SPARED = 0.14
ALMOST_ALL, ALMOST_ALWAYS = 0.85, 0.95
# Thresholds on the distinctness at the largest tried number: absolute, and relative to the best.
_STILL_APART, _NEAR_THE_BEST = 0.4, 0.9
# Tolerance for rounding.
_PERFECT = 1e-9
# Below this confidence the verdict says "About".
LOW_CONFIDENCE = 0.5


class Verdict(NamedTuple):
    """The chosen number of clusters and the reason.

    Attributes
    ----------
    k : int or None
        The number of clusters; None if there is no clear one.
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
    """Return the indices corrected for chance: 1 is perfect, 0 no better than chance.

    Any elongated cloud splits stably across its middle, and few clusters are always more stable
    than many; a cloud of the same shape is the reference (Lange, Roth, Braun, Buhmann:
    Stability-based validation of clustering solutions. Neural Computation 16, 2004).

    Parameters
    ----------
    n_clusters : ndarray of shape (m,)
        The numbers of clusters.
    curves : mapping of str to ndarray of shape (m,)
        Stability, modularity and conductance, and with the prefix "chance_" those of a cloud.

    Returns
    -------
    dict of str to ndarray of shape (m,)
        "stability", "modularity" and "conductance" as a fraction of the range from chance to the
        best value.  The best modularity is 1 - 1/k, that of unconnected groups of equal size;
        groups of unequal size cannot reach it.  The best conductance is 0 for groups of any size.
    """
    ones = np.ones(len(n_clusters))
    best = {"stability": ones, "modularity": 1 - 1 / n_clusters, "conductance": 0 * ones}
    return {name: _share(curves[name], curves[f"chance_{name}"], best[name]) for name in best}


def _share(values: Curve, chance: Curve, best: Curve) -> Curve:
    """Return the values rescaled to 0 for chance and 1 for the best."""
    way = best - chance
    # A cloud may be almost perfect; avoid a division by almost zero.
    least = np.where(best > 0, 0.01, -0.01)
    share = (values - chance) / np.where(np.abs(way) < 0.01, least, way)
    # A perfect value scores 1 even if the cloud is perfect, too.
    return np.where(np.abs(values - best) < _PERFECT, 1, share)


def distinctness(excesses: Mapping[str, Curve]) -> Curve:
    """Return the separation of the groups in [0, 1]: the mean of modularity and conductance.

    Modularity weights each row equally, conductance each group.  For groups of very unequal size
    each alone is biased, towards many or towards few groups.
    """
    return (_positive(excesses["modularity"]) + _positive(excesses["conductance"])) / 2


def evidence(
    n_clusters: NDArray[np.int64], eigengap: Curve, excesses: Mapping[str, Curve]
) -> Curve:
    """Return the evidence for each k, 0 or above.

    log(k) is the maximum entropy of k labels.  The eigengap decides between numbers of similar
    evidence.
    """
    weighed = (
        _positive(excesses["stability"]) ** 0.25
        * distinctness(excesses) ** 4
        * np.log(n_clusters) ** 0.75
        * np.maximum(_positive(eigengap), 1e-5) ** 0.3
    )
    padded = np.pad(weighed, 1, mode="edge")
    if n_clusters[0] == 2:
        # For k = 1, whose labels carry no information.
        padded[0] = 0
    neighbors = _SMOOTHING * (padded[:-2] + padded[2:])
    return np.where(weighed > 0, (1 - 2 * _SMOOTHING) * weighed + neighbors, 0)


def find_middle(n_clusters: NDArray[np.int64], weighed: Curve) -> int:
    """Return the centre of the numbers with most evidence.

    For overlapping clusters, the seed or a few rows decide which of several numbers has slightly
    more evidence.  The mean weighted by evidence is robust to this; a clear peak is its own centre.

    Parameters
    ----------
    n_clusters : ndarray of shape (m,)
        The numbers of clusters, ascending.
    weighed : ndarray of shape (m,)
        Their :func:`evidence`, above 0 for at least one.

    Returns
    -------
    int
        The number nearest to the mean.
    """
    plateau = _around_best(weighed, _PLATEAU)
    weights = (weighed[plateau] / weighed.max()) ** _SHARPNESS
    mean = np.average(n_clusters[plateau], weights=weights)
    return int(n_clusters[np.abs(n_clusters - mean).argmin()])


def _around_best(weighed: Curve, share: float) -> slice:
    """Return the contiguous range around the best in which evidence is above a fraction of it."""
    best = int(weighed.argmax())
    below = np.flatnonzero(weighed < share * weighed[best])
    start = below[below < best].max(initial=-1) + 1
    stop = below[below > best].min(initial=len(weighed))
    return slice(int(start), int(stop))


def may_be_more(best: int | None, n_clusters: NDArray[np.int64], apart: Curve) -> bool:
    """Return whether larger numbers of clusters might change the verdict.

    If there are more than k separate groups, each subsample merges them differently: they are
    modular long before they are stable.

    Parameters
    ----------
    best : int or None
        The number with most evidence; None if the evidence is insufficient.
    n_clusters : ndarray of shape (m,)
        The tried numbers of clusters, ascending.
    apart : ndarray of shape (m,)
        Their :func:`distinctness`.
    """
    if len(apart) == 1:
        return False
    return best == n_clusters[-1] or apart[-1] >= max(_STILL_APART, _NEAR_THE_BEST * apart.max())


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
    """Return the number of clusters preferred by each index alone, or None.

    Stability, modularity and conductance vote for the largest excess x sqrt(log(k)), because few
    groups are easily stable and separate.
    """
    weights = np.sqrt(np.log(n_clusters))
    excesses = measure_excesses(n_clusters, curves)
    return {
        "knee": knee(n_clusters, curves["inertia"]),
        "silhouette": _highest(n_clusters, curves["silhouette"]),
        "calinski_harabasz": _highest(n_clusters, curves["calinski_harabasz"]),
        "davies_bouldin": _highest(n_clusters, -curves["davies_bouldin"]),
        **{name: _highest(n_clusters, weights * excess) for name, excess in excesses.items()},
        "eigengap": _highest(n_clusters, curves["eigengap"]),
    }


def judge(n_clusters: NDArray[np.int64], curves: Mapping[str, Curve], votes: Votes) -> Verdict:
    """Choose the number of clusters with most evidence, if they are stable and separate enough.

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
    """Return a verdict without a number, with its reason."""
    return Verdict(None, 0.0, f"No clear number of clusters: {reason}.")


def _alternatives(k: int, best: int, numbers: NDArray[np.int64]) -> str:
    """Return a sentence on the numbers almost as good as the best, and the best if not k."""
    if len(numbers) > 2:
        other = f" as {best}" if k != best else ""
        return f"From {numbers[0]} to {numbers[-1]}, every number is almost as good{other}."
    return f"It is the middle of several: most speaks for {best}." if k != best else ""


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


def _positive(values: Curve) -> Curve:
    """Return the values where they are above 0, and 0 elsewhere."""
    return np.maximum(np.nan_to_num(values), 0)
