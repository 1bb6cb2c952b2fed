"""k-means, another run of it, or k-means on whitened rows, whichever has the best silhouette."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.clusterers.base import (
    UnitClusterer,
    check_n_clusters,
    number_by_size,
    random_state_from,
    seed_from,
    to_float32,
    unite_equal,
    warn_of_clusters,
    warn_of_zeros,
)
from clusterkit.clusterers.distances import silhouettes
from clusterkit.clusterers.kmeans.estimator import KMeans
from clusterkit.clusterers.kmeans.restarts import Problem, Search
from clusterkit.clusterers.kmeans.streaming import draw, groups_of_parts
from clusterkit.clusterers.principal_axes import find_projection
from clusterkit.clusterers.row_stream import BATCH_ROWS, RowStream
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.nearest import content_of, find_equal
from clusterkit.similarity.scaling import Scaling, unit_rows
from clusterkit.utils.arguments import check_at_least
from clusterkit.utils.parallel import Map, workers
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import percent

Points = NDArray[np.float32]
Labels = NDArray[np.int32]
# Number of principal components that are whitened, as many as k-means searches on.
_N_COORDINATES = 64
# Number of neighbours that label the rows beyond ``max_rows``.
_N_VOTERS = 10
# Numbers of neighbours whose differences show how groups spread: few, for groups of five rows, and
# more, for a covariance of many differences.
_N_NEIGHBORS = (3, 5, 10)
_FIRST = "k-means"
# Number of standard errors by which a candidate must beat k-means, for a confidence of 95 %.
_N_ERRORS = 2
# Number of single runs, as many as k-means begins with.
_N_RUNS = 10


class RefinedKMeans(UnitClusterer):
    """k-means, another run of it, or k-means on whitened rows if that separates the rows better.

    Images of one group often differ more in some directions of the space, such as background and
    pose, than groups differ from each other.  k-means then cuts large groups and joins small ones.
    Neighbours mostly belong to the same group, so their differences show these directions without
    labels.  Whitening shortens them:

    - the 64 leading principal components of the rows are scaled so that the differences of each row
      to its 3, 5 or 10 nearest neighbours have covariance 1, by the estimate of Ledoit and Wolf;
    - :class:`KMeans` clusters the rows as they are, and each whitened space, with rows as long as
      they come and with rows of length 1;
    - ten single runs of Lloyd's algorithm on the components are compared too, because the clusters
      of lowest inertia, which :class:`KMeans` searches for, may cut a large group.

    The silhouette of a row is its mean over the whitened spaces.  The clustering of highest mean
    silhouette replaces k-means if it gains more than two standard errors, taken over the rows;
    otherwise the result is that of :class:`KMeans` with the same seed.  ``reason_`` tells how many
    rows are in another cluster; often these are few.  The gain is in the mean, mostly for groups of
    unequal size; single results can be worse than k-means.

    Only numbers of neighbours below the mean number of different rows per cluster are used.  With
    no more different rows than components (mostly 64) the covariance is not determined, and the
    result is that of :class:`KMeans`.  With few columns, neighbours are close in all directions
    alike, and the result is mostly that of k-means; for rings and other shapes see
    :class:`SpectralClustering`.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of clusters, at most the number of rows.
    normalize : bool or "sqrt", default True
        Whether to scale the rows to length 1; "sqrt" for their square roots, for probabilities.
    max_rows : int, default 10000
        With more rows, a random sample of this size is clustered; every other row is assigned by
        majority vote of its 10 nearest neighbours in the sample.  For a stream, ``reason_`` states
        it.
    random_state : int, RandomState or None
        Seed.

    Attributes
    ----------
    labels_ : ndarray of shape (n,), int32
        Cluster of each row, numbered from the largest.
    candidates_ : list of Candidate
        The compared clusterings, k-means first; single runs that end alike are listed once.
    reason_ : str
        What was chosen and why, in a sentence.
    n_features_in_ : int
        Number of columns.

    Notes
    -----
    Gain of accuracy, in points, over scikit-learn's ``KMeans`` with ``n_init=10`` on rows of length
    1, with the true number of clusters, on random draws of classes that were not used for any
    choice (four sets of photos, Xception features):

    ================  =====  ====  =========  =====
    sizes of classes  draws  mean  not lower  worst
    ================  =====  ====  =========  =====
    all                 120  +2.6       96 %  -36.8
    equal                60  -0.3       93 %  -36.8
    unequal              60  +5.4       98 %   -2.5
    ================  =====  ====  =========  =====

    ``not lower`` is the share of the draws that lose at most one point.  :class:`KMeans` alone has
    a mean of +0.8, 95 % and a worst of -31.9; scikit-learn's with another seed +0.1, 84 % and
    -33.0, which shows how much is chance.  Classes of unequal size have 5 to 100 % of their images.
    Made by ``python -m tests.benchmarks.refinement --side "kept aside" --features DIR --draws 30
    --first-seed 1000 --match xception``.

    References
    ----------
    Art, Gnanadesikan, Kettenring: Data-based metrics for cluster analysis. Utilitas Mathematica
    21A, 1982, for whitening by the differences of near pairs.

    Ledoit, Wolf: A well-conditioned estimator for large-dimensional covariance matrices. Journal of
    Multivariate Analysis 88, 2004.

    Rousseeuw: Silhouettes. Journal of Computational and Applied Mathematics 20, 1987.

    Examples
    --------
    Two groups of 40 columns, which spread in the second and differ in the first:

    >>> X = np.random.default_rng(0).normal(size=(200, 40))
    >>> X[:, 1] *= 6
    >>> X[:50, 0] += 8
    >>> model = RefinedKMeans(2, normalize=False, random_state=0).fit(X)
    >>> [candidate.name for candidate in model.candidates_ if candidate.chosen]
    ['whitened, 3 neighbours']
    >>> np.bincount(model.labels_).tolist()
    [150, 50]
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        normalize: Scaling = True,
        max_rows: int = 10_000,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.normalize = normalize
        self.max_rows = max_rows
        self.random_state = random_state

    def fit(self, X: ArrayLike | RowStream, y: Any = None, *, progress: bool = False) -> Self:
        """Compute the candidates and choose one.

        Parameters
        ----------
        X : array-like of shape (n, d), or RowStream
            The rows; Embeddings are accepted, and streams as :meth:`KMeans.fit` takes them.
        y : None
            Ignored.
        progress : bool
            Whether to show progress bars while a stream is read.

        Returns
        -------
        RefinedKMeans
            Itself.

        Raises
        ------
        InvalidInputError
            If there are fewer than 2 rows, fewer rows or ``max_rows`` than clusters, or NaN or
            infinite values.

        Warns
        -----
        ClusteringWarning
            If a cluster is tiny or grossly larger than the others, there are fewer different
            rows than clusters, or zero vectors are to be normalised.
        """
        seed = self.random_state
        random_state_from(seed)  # checks it
        if not isinstance(seed, int | np.integer):
            seed = seed_from(seed)
        if isinstance(X, RowStream):
            return self._fit_stream(X, int(seed), progress=progress)
        rows = self._check_rows(X)
        k = self._check_number(len(rows))
        order = np.random.default_rng(int(seed)).permutation(len(rows))
        sample, rest = np.sort(order[: self.max_rows]), np.sort(order[self.max_rows :])
        points = find_projection(rows[sample], _N_COORDINATES, int(seed)).apply(rows)
        self.candidates_, self.reason_ = _compare(rows[sample], points[sample], k, int(seed))
        chosen = next(candidate for candidate in self.candidates_ if candidate.chosen)
        labels = np.empty(len(rows), np.int32)
        labels[sample] = chosen.labels
        if len(rest):
            labels[rest] = _vote(points[sample], chosen.labels, points[rest])
        united = unite_equal(labels, find_equal(rows))
        if len(rest) or united is not labels:
            united = number_by_size(united)
        self.labels_ = united
        warn_of_clusters(self.labels_, int(self.labels_.max()) + 1, k)
        return self

    def _check_number(self, n_samples: int) -> int:
        """Return the number of clusters; raise an error if it does not fit."""
        if n_samples < 2:
            raise InvalidInputError(
                f"RefinedKMeans needs at least 2 rows. Received: n_samples={n_samples}"
            )
        k = check_n_clusters(self.n_clusters, n_samples)
        check_at_least(self.max_rows, max(k, 2), "max_rows")
        return k

    def _fit_stream(self, stream: RowStream, seed: int, *, progress: bool) -> Self:
        """Choose on a random sample of a stream; the others follow their neighbours in it."""
        with workers() as run:
            sample = draw(
                stream,
                1,
                seed,
                normalize=self.normalize,
                run=run,
                size=self.max_rows,
                progress=progress,
            )
        n = len(sample.is_zero)
        k = self._check_number(n)
        if self.normalize:
            warn_of_zeros(sample.is_zero)
        self._keep_stream(stream, sample.rows.shape[1], sample.unit)
        projection = find_projection(sample.rows, _N_COORDINATES, seed)
        points = projection.apply(sample.rows)
        self.candidates_, self.reason_ = _compare(sample.rows, points, k, seed)
        chosen = next(candidate for candidate in self.candidates_ if candidate.chosen)
        labels = [np.empty(0, np.int32)]
        # A vote would empty clusters with fewer rows than half of the voters.
        own = dict(zip(map(content_of, sample.rows), chosen.labels.tolist(), strict=True))
        with progress_bar(
            name="labelling", enabled=progress, unit="part", total=sample.n_parts
        ) as bar:
            for group in groups_of_parts(stream):
                for part, _ in group:
                    for batch in part.iter_batches(BATCH_ROWS):
                        rows = to_float32(
                            np.asarray(batch), normalize=self.normalize, unit=self._unit
                        )
                        voted = _vote(points, chosen.labels, projection.apply(rows)).tolist()
                        found = (
                            own.get(content_of(row), label)
                            for row, label in zip(rows, voted, strict=True)
                        )
                        labels.append(np.fromiter(found, np.int32, len(rows)))
                    bar.update()
        if len(points) < n:
            self.reason_ += f", on a random sample of {len(points):,} of {n:,} rows"
        self.labels_ = number_by_size(np.concatenate(labels))
        warn_of_clusters(self.labels_, int(self.labels_.max()) + 1, k)
        return self

    def describe(self) -> dict[str, Any]:
        """Return the choice, its reason and the candidates as JSON-able values."""
        names = ("name", "silhouette", "gain", "error", "moved", "chosen")
        return {
            "reason": self.reason_,
            "candidates": [
                {name: getattr(candidate, name) for name in names} for candidate in self.candidates_
            ],
        }


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


def share_moved(before: NDArray[np.integer], after: NDArray[np.integer]) -> float:
    """Return the share of rows that change their cluster, under the best matching of clusters."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    shared = contingency_matrix(before, after)
    kept = shared[linear_sum_assignment(shared, maximize=True)].sum()
    return float(1 - kept / len(before))


def _compare(rows: Points, points: Points, k: int, seed: int) -> tuple[list[Candidate], str]:
    """Make all candidates and choose one; also return why."""
    distinct = np.unique(find_equal(rows))
    numbers, obstacle = _usable_numbers(k, len(distinct), points.shape[1])
    with workers() as run:
        whitened = _whiten(points, rows, distinct, numbers)
        made = _make_candidates(rows, points, whitened, k, seed, run)
        if len(made) == 1:
            only = Candidate(_FIRST, None, 0.0, 0.0, 0.0, chosen=True, labels=made[_FIRST])
            return [only], _explain_choice([only], obstacle or "no other has as many clusters")
        candidates = _choose(made, whitened.values(), run)
        return candidates, _explain_choice(candidates, obstacle)


def _usable_numbers(k: int, n_distinct: int, n_columns: int) -> tuple[list[int], str]:
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
            f"{n_distinct:,} different rows are too few to whiten {n_columns} columns, which needs "
            "more rows than columns"
        )
    numbers = [n for n in _N_NEIGHBORS if n * k < n_distinct]
    if not numbers:
        return [], f"there are too few different rows for {_N_NEIGHBORS[0]} neighbours in a cluster"
    return numbers, ""


def _whiten(
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


def _make_candidates(
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
    makers: dict[str, Callable[[], Labels]] = {_FIRST: partial(_cluster, rows, k, seed)}
    for n_neighbors, scaled in whitened.items():
        name = f"whitened, {n_neighbors} neighbours"
        makers[name] = partial(_cluster, scaled, k, seed)
        makers[f"{name}, unit length"] = partial(_cluster, unit_rows(scaled), k, seed)
    with warnings.catch_warnings():
        # Warnings matter only for the chosen candidate, which is checked again.
        warnings.simplefilter("ignore")
        made = dict(zip(makers, run(lambda make: make(), makers.values()), strict=True))
    if whitened:
        seen = {made[_FIRST].tobytes()}
        for number, labels in enumerate(_run_singly(points, k, seed, run), start=1):
            if labels.tobytes() not in seen:
                seen.add(labels.tobytes())
                made[f"{_FIRST}, run {number}"] = labels
    # Points on one line have only two directions.
    return {
        name: labels for name, labels in made.items() if name == _FIRST or labels.max() == k - 1
    }


def _cluster(points: Points, k: int, seed: int) -> Labels:
    """Cluster by k-means."""
    return KMeans(k, normalize=False, random_state=seed).fit(points).labels_


def _run_singly(points: Points, k: int, seed: int, run: Map) -> list[Labels]:
    """Cluster by single runs of Lloyd's algorithm, the best first."""
    problem = Problem(points, np.ones(len(points), np.float32))
    search = Search(problem.X, problem.weights, seed=seed, run=run)
    finished = run(search.finish, search.start(k, _N_RUNS))
    return [problem.settle(solution).labels for solution in finished]


def _choose(made: dict[str, Labels], spaces: Collection[Points], run: Map) -> list[Candidate]:
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
    gains = {name: width - widths[_FIRST] for name, width in widths.items()}
    errors = {name: gain.std() / np.sqrt(len(gain)) for name, gain in gains.items()}
    best = max(made, key=lambda name: widths[name].mean())
    if gains[best].mean() <= _N_ERRORS * errors[best]:
        best = _FIRST
    return [
        Candidate(
            name,
            silhouette=float(widths[name].mean()),
            gain=float(gains[name].mean()),
            error=float(errors[name]),
            moved=share_moved(made[_FIRST], labels),
            chosen=name == best,
            labels=labels,
        )
        for name, labels in made.items()
    ]


def _explain_choice(candidates: list[Candidate], obstacle: str) -> str:
    """Return what was chosen and why, in a sentence; ``obstacle`` is why nothing was compared."""
    first, others = candidates[0], candidates[1:]
    if not others:
        return f"{_FIRST}: nothing else was compared, because {obstacle}"
    best = max(others, key=lambda candidate: candidate.gain)
    comparison = (
        f"silhouette {best.silhouette:.3f}, that of {_FIRST} {first.silhouette:.3f} "
        f"(difference {best.gain:+.3f} ± {best.error:.3f})"
    )
    changes = f"differs from {_FIRST} in {percent(best.moved, 1)} of the rows"
    if best.chosen:
        return f"{best.name}: {changes}; {comparison}"
    return f"{_FIRST}: no other is clearly better; the next, {best.name}, {changes}; {comparison}"


def _vote(points: Points, labels: Labels, others: Points) -> Labels:
    """Label the other points by majority vote of their nearest points."""
    from sklearn.neighbors import KNeighborsClassifier

    voters = KNeighborsClassifier(min(_N_VOTERS, len(points))).fit(points, labels)
    return voters.predict(others)
