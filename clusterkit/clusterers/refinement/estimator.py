"""k-means or, where the neighbours of the rows speak for it, another clustering."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from clusterkit.clusterers.base import (
    UnitClusterer,
    check_at_least,
    check_n_clusters,
    number_by_size,
    warn_of_clusters,
)
from clusterkit.clusterers.refinement.candidates import (
    Rows,
    count_parts,
    link_neighbors,
    make_candidates,
)
from clusterkit.clusterers.refinement.selection import Candidate, Labels, choose, explain
from clusterkit.clusterers.wrapped import find_axes
from clusterkit.errors import InvalidInputError

# Principal coordinates on which neighbours are searched.
N_COORDINATES = 64
# Neighbours that decide on the rows beyond ``max_rows``.
N_VOTERS = 10


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
            If there are fewer than 2 rows, fewer rows or ``max_rows`` than clusters, or NaN or
            infinite values.

        Warns
        -----
        ClusteringWarning
            If a cluster is tiny or grossly larger than the others, there are fewer different
            rows than clusters, or zero vectors are to be normalised.
        """
        rows = self._check_rows(X)
        if len(rows) < 2:
            raise InvalidInputError(
                f"RefinedKMeans needs at least 2 rows. Received: n_samples={len(rows)}"
            )
        k = check_n_clusters(self.n_clusters, len(rows))
        check_at_least(self.max_rows, max(k, 2), "max_rows")
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        order = np.random.default_rng(int(seed)).permutation(len(rows))
        sample, rest = np.sort(order[: self.max_rows]), np.sort(order[self.max_rows :])
        mean, axes = find_axes(rows[sample], N_COORDINATES, int(seed))
        points = ((rows - mean) @ axes).astype(np.float32, copy=False)
        self.candidates_ = _compare(rows[sample], points[sample], k, int(seed))
        self.reason_ = explain(self.candidates_)
        chosen = next(candidate for candidate in self.candidates_ if candidate.chosen)
        self.labels_ = chosen.labels
        if len(rest):
            labels = np.empty(len(rows), np.int32)
            labels[sample] = chosen.labels
            labels[rest] = _vote(points[sample], chosen.labels, points[rest])
            self.labels_ = number_by_size(labels)
        warn_of_clusters(self.labels_, self.labels_.max() + 1, k)
        return self

    def describe(self) -> dict[str, Any]:
        """Return what was chosen, why, and what was compared, as JSON-able values."""
        names = ("name", "modularity", "gain", "error", "chosen")
        return {
            "reason": self.reason_,
            "candidates": [
                {name: getattr(candidate, name) for name in names} for candidate in self.candidates_
            ],
        }


def _compare(rows: Rows, points: Rows, k: int, seed: int) -> list[Candidate]:
    """Make all candidates and choose one."""
    graphs = link_neighbors(points)
    # A graph of more parts than clusters does not tell which parts belong together.
    whole = {n: graph for n, graph in graphs.items() if count_parts(graph) <= k}
    is_open = 1 < k < len(rows)
    made = make_candidates(rows, points, whole if is_open else {}, k, seed)
    return choose(made, (whole or graphs).values())


def _vote(points: Rows, labels: Labels, others: Rows) -> Labels:
    """Give each other point the label that most of its nearest points have."""
    from sklearn.neighbors import KNeighborsClassifier

    voters = KNeighborsClassifier(min(N_VOTERS, len(points))).fit(points, labels)
    return voters.predict(others)
