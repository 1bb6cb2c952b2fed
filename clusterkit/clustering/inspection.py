"""Inspect clusters: which images are central, doubtful or odd, and which clusters are near."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.distances import cluster_means, silhouettes
from clusterkit.clustering.cluster import MAX_PICTURED, Clustering
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.errors import InvalidInputError
from clusterkit.images.thumbnails import thumbnails
from clusterkit.similarity.correlation import correlation_rows
from clusterkit.similarity.scaling import are_probabilities, as_scaling, scale_rows
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.html import Markup
from clusterkit.utils.noise import NOISE, cluster_text
from clusterkit.utils.outliers import UNUSUAL, modified_z_scores
from clusterkit.utils.parallel import workers
from clusterkit.utils.text import join_lines, plural

# Images of each kind that are named for each cluster, and neighbouring clusters.
_N_NAMED, _N_NEAR = 3, 3
# Neighbours whose mean distance tells how far off an image is.
_N_NEIGHBORS = 5


class NearCluster(NamedTuple):
    """Another cluster, and how far its centre is."""

    cluster: int
    distance: float


@dataclass(frozen=True, eq=False, repr=False)
class ClusterInspection(TableResult):
    """How well each image fits its cluster.

    Attributes
    ----------
    clustering : Clustering
        The clusters.
    silhouettes : ndarray of shape (n,), float64
        Silhouette width of each image, in [-1, 1]: near 1 for an image among its own, 0 between two
        clusters, negative if the images of another cluster are nearer on average.  NaN for noise,
        and if there is only one cluster.
    nearest : ndarray of shape (n,), int64
        The nearest other cluster of each image; -1 if there is none.
    is_doubtful : ndarray of shape (n,), bool
        The images between two clusters: their silhouette is not positive.  Those alone in their
        cluster are not doubtful.
    is_odd : ndarray of shape (n,), bool
        The images that are unusually far from their nearest neighbours in their cluster.
    neighbors : dict of int to list of NearCluster
        The nearest other clusters of each cluster, by their centres.
    """

    clustering: Clustering
    silhouettes: NDArray[np.float64]
    nearest: NDArray[np.int64]
    is_doubtful: NDArray[np.bool_]
    is_odd: NDArray[np.bool_]
    neighbors: dict[int, list[NearCluster]]

    def central(self, cluster: int, n: int = _N_NAMED) -> list[int]:
        """Return the rows nearest to the centre of a cluster, nearest first."""
        return self._first(cluster, self.clustering.distances, n)

    def doubtful(self, cluster: int, n: int = _N_NAMED) -> list[int]:
        """Return the doubtful rows of a cluster, those of the lowest silhouette first."""
        rows = self._first(cluster, self.silhouettes, len(self.silhouettes))
        return [row for row in rows if self.is_doubtful[row]][:n]

    def odd(self, cluster: int, n: int = _N_NAMED) -> list[int]:
        """Return the odd rows of a cluster, the farthest from its centre first."""
        rows = self._first(cluster, -self.clustering.distances, len(self.silhouettes))
        return [row for row in rows if self.is_odd[row]][:n]

    def _first(self, cluster: int, values: NDArray[np.float64], n: int) -> list[int]:
        """Return the rows of a cluster with the lowest values."""
        rows = np.flatnonzero(self.clustering.labels == cluster)
        return rows[np.argsort(values[rows], kind="stable")][:n].tolist()

    def to_dict(self) -> dict[str, Any]:
        """Return the clusters, and the figures of each image, as JSON-able values."""
        paths = self.clustering.embeddings.paths
        header, cells, _ = self._table()
        return {
            "clusters": [
                {
                    "cluster": cluster,
                    "name": self.clustering.names.get(cluster),
                    "images": size,
                    "silhouette": self.mean_silhouette(cluster),
                    "central": [paths[row] for row in self.central(cluster)],
                    "doubtful": [
                        {"path": paths[row], "nearest": int(self.nearest[row])}
                        for row in self.doubtful(cluster)
                    ],
                    "odd": [paths[row] for row in self.odd(cluster)],
                    "near": [near._asdict() for near in self.neighbors.get(cluster, [])],
                }
                for cluster, size in self.clustering.sizes.items()
            ],
            "images": [dict(zip(header, row, strict=True)) for row in cells],
        }

    def mean_silhouette(self, cluster: int) -> float | None:
        """Return the mean silhouette of a cluster; None if undefined."""
        widths = self.silhouettes[self.clustering.labels == cluster]
        return None if np.isnan(widths).any() else float(widths.mean())

    def to_text(self) -> str:
        """Return the clusters, each with its central, doubtful and odd images."""
        paths = self.clustering.embeddings.paths
        n_doubtful, n_odd = int(self.is_doubtful.sum()), int(self.is_odd.sum())
        lines = [
            f"{plural(len(paths), 'image')} in {plural(self.clustering.n_clusters, 'cluster')}: "
            f"{n_doubtful:,} doubtful (between two clusters), {n_odd:,} odd (unlike their own)"
        ]
        for cluster, size in self.clustering.sizes.items():
            name, mean = self.clustering.names.get(cluster), self.mean_silhouette(cluster)
            title = f"{cluster_text(cluster)}{f' {name}' if name else ''}"
            shape = "" if mean is None else f", silhouette {mean:z.2f}"
            lines.append(f"{title}: {plural(size, 'image')}{shape}")
            if near := self.neighbors.get(cluster):
                said = ", ".join(self._title(one.cluster) for one in near)
                lines.append(f"  near       {said}")
            for what, rows in (("central", self.central(cluster)), ("odd", self.odd(cluster))):
                if rows and cluster != NOISE:
                    lines.append(f"  {what:<10} {', '.join(paths[row] for row in rows)}")
            lines += [
                f"  doubtful   {paths[row]}, nearer to {self._title(int(self.nearest[row]))}"
                for row in self.doubtful(cluster)
            ]
        return join_lines(lines)

    def _title(self, cluster: int) -> str:
        """Return a cluster's number, and its name if it has one."""
        name = self.clustering.names.get(cluster)
        return f"{cluster} ({name})" if name else str(cluster)

    def _headline(self) -> str:
        """Return the number of images and clusters."""
        return self.to_text().partition("\n")[0]

    def _table(self) -> Rows:
        """Return one row per image."""
        columns = ["path", "cluster", "silhouette", "nearest", "doubtful", "odd"]
        values = zip(
            self.clustering.embeddings.paths,
            self.clustering.labels.tolist(),
            (None if np.isnan(width) else width for width in self.silhouettes.tolist()),
            (None if number == NOISE else number for number in self.nearest.tolist()),
            self.is_doubtful.tolist(),
            self.is_odd.tolist(),
            strict=True,
        )
        return Rows(columns, [list(row) for row in values], decimals=6)

    def _table_shown(self) -> Rows:
        """Return one row per cluster, with pictures of its central, doubtful and odd images."""
        emb, sizes = self.clustering.embeddings, self.clustering.sizes
        header = ["cluster", "images", "silhouette"]
        rows = [[label, size, self.mean_silhouette(label)] for label, size in sizes.items()]
        if emb.root is None or len(rows) > MAX_PICTURED:
            return Rows(header, rows)
        kinds = (self.central, self.doubtful, self.odd)
        found = [[kind(label) if label != NOISE else [] for kind in kinds] for label in sizes]
        flat = (row for some in found for part in some for row in part)
        pictures = iter(thumbnails(emb.root / emb.paths[row] for row in flat))
        return Rows(
            [*header, "central", "doubtful", "odd"],
            [
                [*row, *(Markup(" ".join(itertools.islice(pictures, len(part)))) for part in some)]
                for row, some in zip(rows, found, strict=True)
            ],
        )


def inspect_clusters(clustering: Clustering) -> ClusterInspection:
    """Measure how well each image fits its cluster, and how near the clusters are.

    Parameters
    ----------
    clustering : Clustering
        The clusters, with their embeddings in memory.

    Returns
    -------
    ClusterInspection
        Silhouettes, the nearest other cluster of each image, and which images are doubtful or odd.

    Raises
    ------
    InvalidInputError
        If it is not a clustering, or its embeddings are a stream.

    Notes
    -----
    Distances are those of the clusterer: Euclidean, between vectors that are scaled as by its
    ``normalize``.  An image is odd if its mean distance to its 5 nearest neighbours in its
    cluster has a modified z-score above 3.5 [2]_; of class probabilities, this distance is that of
    :func:`~clusterkit.similarity.correlation.correlation_rows`.

    References
    ----------
    .. [1] Rousseeuw: Silhouettes. Journal of Computational and Applied Mathematics 20, 1987.
    .. [2] Iglewicz, Hoaglin: How to detect and handle outliers. ASQC Quality Press, 1993.

    Examples
    --------
    >>> import clusterkit as ck
    >>> vectors = np.array([[1, 0], [1, 0.1], [0.9, 0.8], [0, 1], [0.1, 1]])
    >>> found = inspect_clusters(ck.cluster(ck.Embeddings(vectors), n_clusters=2, random_state=0))
    >>> found.silhouettes.round(2).tolist()
    [0.71, 0.73, 0.14, 0.92, 0.91]
    """
    if not isinstance(clustering, Clustering):
        raise InvalidInputError(
            "clustering must be what cluster returns, or reopen_clustering for a table. Received: "
            f"{clustering!r:.100}"
        )
    embeddings, labels = clustering.embeddings, clustering.labels
    if not isinstance(embeddings, Embeddings):
        raise InvalidInputError(
            "clusters of a stream cannot be inspected: cluster the Embeddings that Space.read() "
            "loads"
        )
    given = np.asarray(embeddings, np.float32)
    vectors = scale_rows(given, as_scaling(clustering.parameters.get("normalize")))
    clusters, numbers = np.unique(labels[labels != NOISE], return_inverse=True)
    grouped = np.flatnonzero(labels != NOISE)
    widths = np.full(len(labels), np.nan)
    other = np.full(len(labels), NOISE)
    if len(clusters) > 1:
        with workers() as run:
            found = silhouettes(vectors[grouped], [numbers], run)
        widths[grouped], other[grouped] = found.widths[0], clusters[found.nearest[0]]
    return ClusterInspection(
        clustering,
        silhouettes=widths,
        nearest=other,
        is_doubtful=(np.nan_to_num(widths, nan=1) <= 0) & ~_are_alone(labels),
        # By cosine, each image of which the network is unsure would be odd.
        is_odd=_find_odd(correlation_rows(given) if are_probabilities(given) else vectors, labels),
        neighbors=_near_clusters(vectors, labels),
    )


def _are_alone(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which images are the only ones of their cluster."""
    _, numbers, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    alone: NDArray[np.bool_] = sizes[numbers] == 1
    return alone


def _find_odd(vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the rows that are unusually far from their nearest neighbours in their cluster."""
    from sklearn.neighbors import NearestNeighbors

    odd = np.zeros(len(labels), np.bool_)
    for cluster in np.unique(labels[labels != NOISE]):
        rows = np.flatnonzero(labels == cluster)
        if len(rows) <= 2 * _N_NEIGHBORS:
            continue  # too few to tell what is usual
        search = NearestNeighbors(n_neighbors=_N_NEIGHBORS).fit(vectors[rows])
        far = search.kneighbors()[0].mean(axis=1)
        odd[rows] = modified_z_scores(far) > UNUSUAL
    return odd


def _near_clusters(
    vectors: NDArray[np.float32], labels: NDArray[np.int64]
) -> dict[int, list[NearCluster]]:
    """Return the nearest other clusters of each cluster, by the distance of their means."""
    clusters, centers = cluster_means(vectors, labels)
    near = {}
    for row, center in enumerate(centers):
        distances = np.linalg.norm(centers - center, axis=1)
        distances[row] = np.inf
        first = np.argsort(distances, kind="stable")[: min(_N_NEAR, len(clusters) - 1)]
        pairs = zip(clusters[first].tolist(), distances[first].tolist(), strict=True)
        near[int(clusters[row])] = [NearCluster(*pair) for pair in pairs]
    return near
