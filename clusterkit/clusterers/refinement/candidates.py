"""Candidate clusterings for refinement, and the choice between them by their silhouettes.

The candidates are k-means, single runs of it, and k-means on whitened rows.  Whitening scales a
space so that neighbours differ equally in every direction.
"""

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.distances import silhouettes
from clusterkit.clusterers.kmeans.estimator import KMeans
from clusterkit.clusterers.kmeans.restarts import Problem, Search
from clusterkit.similarity.nearest import unit_rows
from clusterkit.utils.parallel import Map
from clusterkit.utils.text import percent

Points = NDArray[np.float32]
# Numbers of neighbours whose differences show how groups spread: few, for groups of five rows, and
# more, for a covariance of many differences.
N_NEIGHBORS = (3, 5, 10)
Labels = NDArray[np.int32]
FIRST = "k-means"
# Number of standard errors by which a candidate must beat k-means, for a confidence of 95 %.
N_ERRORS = 2
# Number of single runs, as many as k-means begins with.
N_RUNS = 10


def usable_numbers(k: int, n_distinct: int, n_columns: int) -> tuple[list[int], str]:
    """Return the numbers of neighbours to whiten by, or why there are none.

    Parameters
    ----------
    k : int
        Number of clusters.
    n_distinct : int
        Number of different rows.
    n_columns : int
        Number of columns to whiten.

    Returns
    -------
    numbers : list of int
        Those below the mean number of different rows per cluster: most neighbours are then of the
        same one.  None for up to as many rows as columns: their differences do not span the
        columns, and what is scaled is the shrinkage of the estimate, not how groups spread.
    obstacle : str
        Why there are none; empty if there are some.
    """
    if k == 1:
        return [], "there is one cluster"
    if n_distinct <= n_columns:
        return [], (
            f"{n_distinct} different rows are too few to whiten {n_columns} columns, which needs "
            "more rows than columns"
        )
    numbers = [n for n in N_NEIGHBORS if n * k < n_distinct]
    if not numbers:
        return [], f"there are too few different rows for {N_NEIGHBORS[0]} neighbours in a cluster"
    return numbers, ""


def whiten(
    points: Points, rows: Points, distinct: NDArray[np.intp], numbers: Sequence[int]
) -> dict[int, Points]:
    """Scale points so that differences between neighbours have covariance 1.

    Most neighbours belong to the same group, so their differences show how groups spread, without
    labels.  Directions in which neighbours differ much are shortened, and directions that separate
    groups count more.

    Parameters
    ----------
    points : ndarray of shape (n, m), float32
        The leading principal components of the rows.
    rows : ndarray of shape (n, d), float32
        The rows; their neighbours are those of the points.
    distinct : ndarray of shape (n_distinct,), int
        The first of each group of equal rows; only these are neighbours.
    numbers : sequence of int
        Numbers of neighbours, ascending, each below ``n_distinct``; may be empty.

    Returns
    -------
    dict of int to ndarray of shape (n, m), float32
        Number of neighbours to the scaled points.

    References
    ----------
    Art, Gnanadesikan, Kettenring: Data-based metrics for cluster analysis. Utilitas Mathematica
    21A, 1982.  Here the pairs are nearest neighbours, found once.

    Ledoit, Wolf: A well-conditioned estimator for large-dimensional covariance matrices. Journal of
    Multivariate Analysis 88, 2004, for the covariance of few differences.
    """
    if not numbers:
        return {}
    from sklearn.neighbors import NearestNeighbors

    exact = points.astype(np.float64)
    search = NearestNeighbors(n_neighbors=numbers[-1]).fit(rows[distinct])
    neighbors = search.kneighbors(return_distance=False)
    different = exact[distinct]
    scales = {n: _scale(different, neighbors[:, :n]) for n in numbers}
    return {n: (exact @ scale).astype(np.float32) for n, scale in scales.items()}


def _scale(different: NDArray[np.float64], neighbors: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the matrix (m, m) that scales points."""
    from sklearn.covariance import ledoit_wolf

    gaps = (different[:, None] - different[neighbors]).reshape(-1, different.shape[1])
    covariance, _ = ledoit_wolf(gaps, assume_centered=True)
    variances, axes = np.linalg.eigh(covariance)
    # In the directions in which neighbours do not differ, what is left is rounding.
    least = max(variances[-1] * np.finfo(np.float32).eps, np.finfo(np.float64).tiny)
    return axes / np.sqrt(np.maximum(variances, least))


@dataclass(frozen=True)
class Candidate:
    """One candidate clustering.

    Attributes
    ----------
    name : str
        Name of the method.
    silhouette : float or None
        Mean silhouette width on the whitened rows, in [-1, 1]; None if nothing was compared.
    gain : float
        Difference to the silhouette of k-means.
    error : float
        Standard error of ``gain`` over the rows.
    moved : float
        Share of the rows that are in another cluster than by k-means, with clusters matched so that
        it is smallest; in [0, 1].
    chosen : bool
        Whether it was chosen.
    labels : ndarray of shape (n,), int32
        Cluster of each fitted row, numbered from the largest.
    """

    name: str
    silhouette: float | None
    gain: float
    error: float
    moved: float
    chosen: bool
    labels: Labels = field(repr=False, compare=False)


def make_candidates(
    rows: NDArray[np.float32],
    points: Points,
    whitened: dict[int, Points],
    k: int,
    seed: int,
    run: Map,
) -> dict[str, Labels]:
    """Cluster the rows by k-means, as they are and whitened.

    The single runs end in other optima than k-means, whose lower inertia may come from cutting a
    large group.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float32
        The rows.
    points : ndarray of shape (n, m), float32
        Their leading principal components, for the single runs.
    whitened : dict of int to ndarray of shape (n, m)
        Number of neighbours to the rows whitened by that many; if empty, no choice is possible, and
        only k-means is run.
    k : int
        Number of clusters.
    seed : int
        Random seed.
    run : callable
        From :func:`clusterkit.utils.parallel.workers`.

    Returns
    -------
    dict of str to ndarray of shape (n,), int32
        Name to cluster of each row, numbered from the largest; k-means on the rows first.
        Clusterings of fewer clusters are left out, and single runs that end as one before them.
    """
    makers: dict[str, Callable[[], Labels]] = {FIRST: partial(_cluster, rows, k, seed)}
    for n_neighbors, scaled in whitened.items():
        name = f"whitened, {n_neighbors} neighbours"
        makers[name] = partial(_cluster, scaled, k, seed)
        makers[f"{name}, unit length"] = partial(_cluster, unit_rows(scaled), k, seed)
    with warnings.catch_warnings():
        # Warnings matter only for the chosen candidate, which is checked again.
        warnings.simplefilter("ignore")
        made = dict(zip(makers, run(lambda make: make(), makers.values()), strict=True))
    if whitened:
        seen = {made[FIRST].tobytes()}
        for number, labels in enumerate(_run_singly(points, k, seed, run), start=1):
            if labels.tobytes() not in seen:
                seen.add(labels.tobytes())
                made[f"{FIRST}, run {number}"] = labels
    # Points on one line have only two directions.
    return {name: labels for name, labels in made.items() if name == FIRST or labels.max() == k - 1}


def choose(made: dict[str, Labels], spaces: Collection[Points], run: Map) -> list[Candidate]:
    """Choose the candidate of highest silhouette if it gains more than two standard errors.

    Parameters
    ----------
    made : dict of str to ndarray of shape (n,), int32
        Name to cluster of each row; k-means first.  With others, each has at least 2 clusters, and
        fewer than rows.
    spaces : collection of ndarray of shape (n, m), float32
        The whitened rows; the silhouette of a row is the mean over these.
    run : callable
        From :func:`clusterkit.utils.parallel.workers`.

    Returns
    -------
    list of Candidate
        In the same order; exactly one is chosen.

    References
    ----------
    Rousseeuw: Silhouettes. Journal of Computational and Applied Mathematics 20, 1987.
    """
    labellings = list(made.values())
    measured = [silhouettes(points, labellings, run).widths for points in spaces]
    widths = dict(zip(made, np.mean(measured, axis=0), strict=True))
    gains = {name: width - widths[FIRST] for name, width in widths.items()}
    errors = {name: gain.std() / np.sqrt(len(gain)) for name, gain in gains.items()}
    best = max(made, key=lambda name: widths[name].mean())
    if gains[best].mean() <= N_ERRORS * errors[best]:
        best = FIRST
    return [
        Candidate(
            name,
            silhouette=float(widths[name].mean()),
            gain=float(gains[name].mean()),
            error=float(errors[name]),
            moved=share_moved(made[FIRST], labels),
            chosen=name == best,
            labels=labels,
        )
        for name, labels in made.items()
    ]


def share_moved(before: NDArray[np.integer], after: NDArray[np.integer]) -> float:
    """Return the share of rows that change their cluster, under the best matching of clusters."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    shared = contingency_matrix(before, after)
    kept = shared[linear_sum_assignment(shared, maximize=True)].sum()
    return float(1 - kept / len(before))


def explain_choice(candidates: list[Candidate], obstacle: str) -> str:
    """Return what was chosen and why, in a sentence; ``obstacle`` is why nothing was compared."""
    first, others = candidates[0], candidates[1:]
    if not others:
        return f"{FIRST}: nothing else was compared, because {obstacle}"
    best = max(others, key=lambda candidate: candidate.gain)
    comparison = (
        f"silhouette {best.silhouette:.3f}, that of {FIRST} {first.silhouette:.3f} "
        f"(difference {best.gain:+.3f} ± {best.error:.3f})"
    )
    changes = f"differs from {FIRST} in {percent(best.moved, 1)} of the rows"
    if best.chosen:
        return f"{best.name}: {changes}; {comparison}"
    return f"{FIRST}: no other is clearly better; the next, {best.name}, {changes}; {comparison}"


def _cluster(points: Points, k: int, seed: int) -> Labels:
    """Cluster by k-means."""
    return KMeans(k, normalize=False, random_state=seed).fit(points).labels_


def _run_singly(points: Points, k: int, seed: int, run: Map) -> list[Labels]:
    """Cluster by single runs of Lloyd's algorithm, the best first."""
    problem = Problem(points, np.ones(len(points), np.float32))
    search = Search(problem.X, problem.weights, seed=seed, run=run)
    finished = run(search.finish, search.start(k, N_RUNS))
    return [problem.settle(solution).labels for solution in finished]
