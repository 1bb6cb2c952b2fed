"""The sweep over k, every index of it, and the verdict."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.elbow.geometry import Geometry, geometry
from clusterkit.elbow.resampling import Labels, Matrix, Resampled, resample
from clusterkit.elbow.rows import all_alike, check_numbers, check_rows, prepare, reduce
from clusterkit.elbow.verdict import Curve, count_votes, judge

_N_DIMENSIONS = 50
_INDICES = (
    "inertia",
    "silhouette",
    "calinski_harabasz",
    "davies_bouldin",
    "stability",
    "separation",
)


@dataclass(frozen=True, eq=False)
class ElbowCurve:
    """The indices for each number of clusters, and what they amount to.

    Attributes
    ----------
    k : int or None
        The number of clusters; None where there is no clear one.
    verdict : str
        The reason, in one or two plain sentences.
    confidence : float
        From 0 to 1.
    n_clusters : ndarray of shape (m,)
        The numbers of clusters that were tried, ascending.
    inertia, silhouette, calinski_harabasz, davies_bouldin, stability, separation : ndarray (m,)
        One value per number of clusters; NaN where an index is not defined.
    votes : dict of str to (int or None)
        The number of clusters that each index would choose alone.
    labels : ndarray of shape (n,) or None
        The cluster of each row for ``k``; None without ``k``.
    """

    k: int | None
    verdict: str
    confidence: float
    n_clusters: NDArray[np.int64]
    inertia: NDArray[np.float64]
    silhouette: NDArray[np.float64]
    calinski_harabasz: NDArray[np.float64]
    davies_bouldin: NDArray[np.float64]
    stability: NDArray[np.float64]
    separation: NDArray[np.float64]
    votes: dict[str, int | None]
    labels: NDArray[np.int32] | None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain Python values that :mod:`json` can write; NaN becomes None."""
        columns = {name: getattr(self, name).tolist() for name in _INDICES}
        return {
            "k": self.k,
            "verdict": self.verdict,
            "confidence": self.confidence,
            "votes": dict(self.votes),
            "curve": [
                {"k": k, **{name: _plain(columns[name][i]) for name in _INDICES}}
                for i, k in enumerate(self.n_clusters.tolist())
            ],
        }


def _plain(value: float) -> float | None:
    """Return None for NaN, which JSON does not know."""
    return value if np.isfinite(value) else None


def elbow_curve(
    X: ArrayLike,
    *,
    k: Iterable[int] = range(2, 21),
    normalize: bool | str = "auto",
    n_resamples: int = 20,
    max_samples: int = 2000,
    random_state: int | None = None,
) -> ElbowCurve:
    """Cluster for every number of clusters, and say which is right, if any is.

    Parameters
    ----------
    X : Embeddings or array-like of shape (n, d)
        The vectors.
    k : iterable of int, default range(2, 21)
        The numbers of clusters to try, each from 2 to ``n``.
    normalize : bool or "auto", default "auto"
        Whether to scale the rows to length 1, as the clusterers do.  "auto" does so where the
        lengths are much alike, as those of network features are: of rows all around the origin
        it would push apart what belongs together.
    n_resamples : int, default 20
        Subsamples per k for stability and separation.
    max_samples : int, default 2000
        Rows, drawn at random, for all indices but the inertia.
    random_state : int, optional
        Seed.

    Returns
    -------
    ElbowCurve

    Raises
    ------
    InvalidInputError
        If X is not a finite matrix, or ``k`` is empty, below 2 or above the number of rows.
    """
    X = check_rows(X)
    numbers = check_numbers(k, len(X))
    X = prepare(X, normalize)
    if all_alike(X):
        return _without_structure(numbers)
    rng = np.random.default_rng(random_state)
    seed = int(rng.integers(2**31))
    labels, inertia = _sweep(X, numbers, seed)
    rows = np.sort(rng.permutation(len(X))[:max_samples])
    reduced = reduce(X[rows], _N_DIMENSIONS, seed)
    sampled = {number: found[rows] for number, found in labels.items()}
    curves = {
        "inertia": inertia,
        **_geometries(reduced, sampled),
        **_resampled(reduced, sampled, n_resamples, seed),
    }
    n_clusters = np.array(numbers)
    votes = count_votes(n_clusters, curves)
    verdict = judge(n_clusters, curves, votes)
    return ElbowCurve(
        k=verdict.k,
        verdict=verdict.sentence,
        confidence=verdict.confidence,
        n_clusters=n_clusters,
        votes=votes,
        labels=None if verdict.k is None else labels[verdict.k],
        **curves,
    )


def _without_structure(numbers: list[int]) -> ElbowCurve:
    """Return the verdict on rows that are all the same."""
    undefined = np.full(len(numbers), np.nan)
    return ElbowCurve(
        k=None,
        verdict="No clear number of clusters: all rows are the same.",
        confidence=1.0,
        n_clusters=np.array(numbers),
        votes={},
        labels=None,
        **dict.fromkeys(_INDICES, undefined) | {"inertia": np.zeros(len(numbers))},
    )


def _geometries(X: Matrix, labels: Mapping[int, Labels]) -> dict[str, Curve]:
    """Return silhouette, Calinski-Harabasz and Davies-Bouldin over k."""
    from sklearn.metrics import pairwise_distances

    distances = pairwise_distances(X)
    np.fill_diagonal(distances, 0)
    table = np.array([geometry(X, found, distances) for found in labels.values()])
    return dict(zip(Geometry._fields, table.T, strict=True))


def _resampled(
    X: Matrix, labels: Mapping[int, Labels], n_resamples: int, seed: int
) -> dict[str, Curve]:
    """Return stability and separation over k."""
    found = resample(X, labels, n_resamples=n_resamples, random_state=seed)
    nothing = Resampled(np.nan, np.nan)
    table = np.array([found.get(number, nothing) for number in labels])
    return dict(zip(Resampled._fields, table.T, strict=True))


def _sweep(X: Matrix, numbers: list[int], seed: int) -> tuple[dict[int, Labels], Curve]:
    """Cluster all rows for every k."""
    from sklearn.cluster import KMeans

    fits = [KMeans(number, n_init=5, random_state=seed).fit(X) for number in numbers]
    labels = {number: fit.labels_ for number, fit in zip(numbers, fits, strict=True)}
    return labels, np.array([fit.inertia_ for fit in fits])
