"""Refinement: of several clusterings, the one that the neighbours of the rows speak for."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from clusterkit.clusterers.base import (
    UnitClusterer,
    check_at_least,
    check_n_clusters,
    number_by_size,
    warn_of_clusters,
)
from clusterkit.clusterers.kmeans import KMeans
from clusterkit.clusterers.mixture import GaussianMixture
from clusterkit.clusterers.parallel import workers
from clusterkit.clusterers.wrapped import find_axes

Rows = NDArray[np.float32]
Labels = NDArray[np.int32]
FIRST = "k-means"
# Principal coordinates on which neighbours are searched.
N_COORDINATES = 64
# Neighbours in the two graphs: few, so that a cluster of 20 rows shows, and more, so that a large
# one holds together.
N_NEIGHBORS = (10, 20)
# Principal coordinates of the mixtures, and runs of each from new starts.
MIXTURE_COORDINATES = (10, 20)
N_MIXTURES = 16
# Standard errors by which another candidate must beat k-means.
N_ERRORS = 3
# From this many rows on, only the eigenvectors that are needed are computed, iteratively.
N_DENSE = 500
# Neighbours that decide on the rows beyond ``max_rows``.
N_VOTERS = 10


@dataclass(frozen=True)
class Candidate:
    """One of the clusterings between which was chosen.

    Attributes
    ----------
    name : str
        What made it.
    modularity : float
        How many more of the graph's links stay within clusters than chance would put there, as a
        share of all links; below 1.
    gain : float
        Its modularity less that of k-means.
    error : float
        Standard error of ``gain`` over the rows.
    chosen : bool
        Whether it was chosen.
    labels : ndarray of shape (n,), int32
        Cluster of each row that was fitted, numbered from the largest.
    """

    name: str
    modularity: float
    gain: float
    error: float
    chosen: bool
    labels: Labels = field(repr=False, compare=False)


class RefinedKMeans(UnitClusterer):
    """k-means, or another clustering where the neighbours of the rows clearly speak for it.

    k-means splits large clusters before it finds small ones, and cuts half-way between clusters
    of different spread.  What mends that on one set of photos does harm on another, so several are
    made and one is chosen without labels:

    - k-means, as :class:`KMeans` with the same seed makes it;
    - mixtures of Gaussians with full covariances on 10 and 20 principal coordinates, sixteen runs
      each from new starts, for clusters of different spread;
    - spectral clusterings of the graphs of 10 and 20 nearest neighbours, for clusters of different
      size and any shape: k-means on the ``n_clusters`` leading eigenvectors of the normalised
      graph, rows scaled to length 1.

    Each is judged by its *modularity* on both graphs, on average: the share of links between
    neighbours that stay within a cluster, less the share that would if the same clusters were
    linked at random.  It needs neither centres nor shapes, so it favours none of the methods, and
    chance is taken off, so it favours neither few large clusters nor many equal ones as much as
    the share alone does.  The candidate of highest modularity replaces k-means if it gains three
    standard errors or more, taken over the rows; otherwise k-means stays.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of clusters, at most the number of rows.
    normalize : bool, default True
        Whether to scale the rows to length 1.
    max_rows : int, default 10000
        Of more rows, a random sample of this size is clustered; each other row joins the cluster
        that most of its 10 nearest rows of the sample are in.
    random_state : int, RandomState or None
        Seed.

    Attributes
    ----------
    labels_ : ndarray of shape (n,), int32
        Cluster of each row, numbered from the largest.
    candidates_ : list of Candidate
        What was compared, k-means first.
    reason_ : str
        What was chosen and why, in a sentence.
    n_features_in_ : int
        Number of columns.

    References
    ----------
    Newman, Girvan: Finding and evaluating community structure in networks. Physical Review E 69,
    2004, for the modularity.

    Ng, Jordan, Weiss: On spectral clustering: analysis and an algorithm. NeurIPS 2001.

    Examples
    --------
    >>> from sklearn.datasets import make_circles
    >>> X, _ = make_circles(300, noise=0.04, factor=0.4, random_state=0)
    >>> model = RefinedKMeans(2, normalize=False, random_state=0).fit(X)
    >>> [candidate.name for candidate in model.candidates_ if candidate.chosen]
    ['spectral, 10 neighbors']
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        normalize: bool = True,
        max_rows: int = 10_000,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.normalize = normalize
        self.max_rows = max_rows
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Make the candidates and choose one.

        Parameters
        ----------
        X : array-like of shape (n, d)
            The rows; Embeddings work as they are.
        y : None
            Ignored.

        Returns
        -------
        RefinedKMeans
            Itself.

        Raises
        ------
        InvalidInputError
            If there are fewer rows, or ``max_rows``, than clusters, or NaN or infinite values.

        Warns
        -----
        ClusteringWarning
            If a cluster is tiny or grossly larger than the others, there are fewer different
            rows than clusters, or zero vectors are to be normalised.
        """
        rows = self._check_rows(X)
        k = check_n_clusters(self.n_clusters, len(rows))
        check_at_least(self.max_rows, k, "max_rows")
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        order = np.random.default_rng(int(seed)).permutation(len(rows))
        sample, rest = np.sort(order[: self.max_rows]), np.sort(order[self.max_rows :])
        mean, axes = find_axes(rows[sample], N_COORDINATES, int(seed))
        points = ((rows - mean) @ axes).astype(np.float32, copy=False)
        self.candidates_ = _compare(rows[sample], points[sample], k, int(seed))
        chosen = next(candidate for candidate in self.candidates_ if candidate.chosen)
        self.reason_ = _explain(self.candidates_)
        self.labels_ = chosen.labels
        if len(rest):
            labels = np.empty(len(rows), np.int32)
            labels[sample] = chosen.labels
            labels[rest] = _vote(points[sample], chosen.labels, points[rest])
            self.labels_ = number_by_size(labels)
        warn_of_clusters(self.labels_, self.labels_.max() + 1, k)
        return self


def spectral_labels(graph: Any, k: int, seed: int) -> Labels:
    """Cluster the nodes of a graph by its leading eigenvectors.

    Parameters
    ----------
    graph : sparse array of shape (n, n)
        Symmetric weights of the links, none negative, each node with at least one.
    k : int
        Number of clusters, below n.
    seed : int
        Decides all draws.

    Returns
    -------
    ndarray of shape (n,), int32
        Cluster of each node.

    References
    ----------
    Ng, Jordan, Weiss: On spectral clustering: analysis and an algorithm. NeurIPS 2001.
    """
    from scipy.linalg import eigh
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import eigsh

    n = graph.shape[0]
    scale = diags_array(1 / np.sqrt(graph.sum(axis=1)))
    normalised = scale @ graph @ scale
    if n < N_DENSE:
        _, vectors = eigh(normalised.toarray(), subset_by_index=[n - k, n - 1])
    else:
        start = np.random.default_rng(seed).standard_normal(n)
        _, vectors = eigsh(normalised, k, which="LA", v0=start)
    return KMeans(k, random_state=seed).fit(vectors).labels_


def modularity_shares(graph: Any, labels: Labels) -> NDArray[np.float64]:
    """Return what each node adds to the modularity of a partition, times the number of nodes.

    Parameters
    ----------
    graph : sparse array of shape (n, n)
        Symmetric weights of the links.
    labels : ndarray of shape (n,), int
        Cluster of each node, from 0.

    Returns
    -------
    ndarray of shape (n,), float64
        Their mean is the modularity.

    References
    ----------
    Newman, Girvan: Finding and evaluating community structure in networks. Physical Review E 69,
    2004.
    """
    n = len(labels)
    degrees = graph.sum(axis=1)
    total = degrees.sum()
    links = graph @ np.eye(labels.max() + 1)[labels]
    within = links[np.arange(n), labels]
    expected = degrees * np.bincount(labels, degrees)[labels] / total
    return n * (within - expected) / total


def _compare(rows: Rows, points: Rows, k: int, seed: int) -> list[Candidate]:
    """Make all candidates and mark the one to choose."""
    makers: dict[str, Callable[[], Labels]] = {
        FIRST: lambda: KMeans(k, normalize=False, random_state=seed).fit(rows).labels_
    }
    graphs = []
    # A single cluster, or one of each row, leaves nothing to choose.
    if 1 < k < len(rows):
        graphs = [_link(points, n_neighbors) for n_neighbors in N_NEIGHBORS]
        makers |= _other_makers(rows, graphs, k, seed)
    with workers() as run, warnings.catch_warnings():
        # What is odd about a candidate matters only if it is chosen, and is then looked at again.
        warnings.simplefilter("ignore")
        found = run(_try, makers.values())
    made = {name: labels for name, labels in zip(makers, found, strict=True) if labels is not None}
    shares = {
        name: sum((modularity_shares(graph, labels) for graph in graphs), np.zeros(len(rows)))
        / max(len(graphs), 1)
        for name, labels in made.items()
    }
    return _choose(made, shares)


def _other_makers(
    rows: Rows, graphs: list[Any], k: int, seed: int
) -> dict[str, Callable[[], Labels]]:
    """Name what makes the candidates besides k-means."""

    def mixture(n_coordinates: int, start: int) -> Callable[[], Labels]:
        """Prepare one run of a mixture."""
        model = GaussianMixture(
            k, normalize=False, n_coordinates=n_coordinates, n_init=1, random_state=start
        )
        return lambda: model.fit(rows).labels_

    def spectral(graph: Any) -> Callable[[], Labels]:
        """Prepare one spectral clustering."""
        return lambda: spectral_labels(graph, k, seed)

    starts = np.random.RandomState(seed).randint(2**31 - 1, size=N_MIXTURES)
    mixtures = {
        f"mixture, {n} coordinates, run {run}": mixture(n, int(start))
        for n in MIXTURE_COORDINATES
        for run, start in enumerate(starts, 1)
    }
    spectrals = {
        f"spectral, {n} neighbors": spectral(graph)
        for n, graph in zip(N_NEIGHBORS, graphs, strict=True)
    }
    return mixtures | spectrals


def _try(make: Callable[[], Labels]) -> Labels | None:
    """Make a candidate, or None where rows are so few or so alike that its method fails."""
    try:
        return make()
    except (ValueError, RuntimeError, np.linalg.LinAlgError):
        return None


def _choose(made: dict[str, Labels], shares: dict[str, NDArray[np.float64]]) -> list[Candidate]:
    """Mark the candidate of highest modularity, or k-means if that is not clearly lower."""
    best = max(made, key=lambda name: shares[name].mean())
    gains = {name: shares[name] - shares[FIRST] for name in made}
    errors = {name: gain.std() / np.sqrt(len(gain)) for name, gain in gains.items()}
    if gains[best].mean() <= N_ERRORS * errors[best]:
        best = FIRST
    return [
        Candidate(
            name,
            modularity=float(shares[name].mean()),
            gain=float(gains[name].mean()),
            error=float(errors[name]),
            chosen=name == best,
            labels=labels,
        )
        for name, labels in made.items()
    ]


def _explain(candidates: list[Candidate]) -> str:
    """Say what was chosen and why."""
    first, others = candidates[0], candidates[1:]
    if not others:
        return f"{first.name}: with this number of clusters there is nothing to choose"
    best = max(others, key=lambda candidate: candidate.modularity)
    comparison = (
        f"modularity {best.modularity:.3f}, that of {FIRST} {first.modularity:.3f} "
        f"(difference {best.gain:+.3f} ± {best.error:.3f})"
    )
    if best.chosen:
        return f"{best.name}: {comparison}"
    return f"{FIRST}: no other is clearly better; the next, {best.name}, has {comparison}"


def _link(points: Rows, n_neighbors: int) -> Any:
    """Return the symmetric graph of nearest neighbours; a link found from both sides counts 1."""
    from scipy.sparse import csr_array
    from sklearn.neighbors import kneighbors_graph

    graph = csr_array(kneighbors_graph(points, min(n_neighbors, len(points) - 1)))
    return (graph + graph.T) / 2


def _vote(points: Rows, labels: Labels, others: Rows) -> Labels:
    """Give each other point the label that most of its nearest points have."""
    from sklearn.neighbors import KNeighborsClassifier

    voters = KNeighborsClassifier(min(N_VOTERS, len(points))).fit(points, labels)
    return voters.predict(others)
