"""Collect the images of a page from a clustering or its table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.distances import distances_to_centers
from clusterkit.clustering.cluster import Clustering
from clusterkit.clustering.earlier import check_earlier, read_earlier
from clusterkit.clustering.reopening import as_clustered, scaling_of
from clusterkit.clustering.saved import read_clusters
from clusterkit.datasets.tables import TABLE_SUFFIXES
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.similarity.scaling import Scaling, as_scaling, find_scaling
from clusterkit.store.embeddings import Embeddings, describe_space
from clusterkit.store.store import as_vectors
from clusterkit.store.stream import VectorStream
from clusterkit.utils.locations import as_path
from clusterkit.utils.noise import NOISE
from clusterkit.utils.text import first_few, plural

# Name of the table that a page offers, if it was made of no table.
_TABLE = "clusters.csv"


@dataclass(frozen=True, eq=False)
class PageImages:
    """The images of a page, in the order of their table.

    Attributes
    ----------
    paths : list of str
        The images, as in the table.
    present : list of str
        Where they are now, relative to the root of the embeddings.
    labels : ndarray of shape (n,), int
        Their clusters; -1 is noise.
    distances : ndarray of shape (n,), float
        Distance to the centre of the cluster, as in the table; NaN if unknown.
    exemplars : ndarray of shape (n,), bool
        Mask of the exemplars, as in the table.
    rows : ndarray of shape (n,), int
        Row of each image in the embeddings; -1 for an image that is not there.
    embeddings : Embeddings or VectorStream
        Their space.
    names : dict of int to str
        Names of clusters.
    kept : frozenset of int
        Clusters that a person named or pinned.
    next_number : int
        The first number that no cluster has or had.
    table : str
        Name of the table.
    algorithm : str or None
        The clusterer; None if there are no clusters yet.
    normalize : bool or "sqrt"
        How vectors are scaled for distances, see
        :func:`~clusterkit.similarity.scaling.scale_rows`.
    """

    paths: list[str]
    present: list[str]
    labels: NDArray[np.int64]
    distances: NDArray[np.float64]
    exemplars: NDArray[np.bool_]
    rows: NDArray[np.int64]
    embeddings: Embeddings | VectorStream
    names: Mapping[int, str]
    kept: frozenset[int]
    next_number: int
    table: str
    algorithm: str | None
    normalize: Scaling

    @property
    def files(self) -> list[Path]:
        """The file of each image."""
        root = self.embeddings.root
        return [as_path(path) if root is None else root / path for path in self.present]

    @property
    def sizes(self) -> dict[int, int]:
        """Number of images in each cluster, the noise last."""
        numbers, counts = np.unique(self.labels, return_counts=True)
        sizes = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        noise = sizes.pop(NOISE, 0)
        return sizes | ({NOISE: noise} if noise else {})

    def spread(self, values: NDArray[Any], missing: Any) -> NDArray[Any]:
        """Return values of the embeddings' rows for the images; ``missing`` where there is none."""
        spread = np.full((len(self.rows), *values.shape[1:]), missing, values.dtype)
        known = self.rows >= 0
        spread[known] = values[self.rows[known]]
        return spread

    def to_clustering(self) -> Clustering:
        """Return the clusters of the images that have a vector.

        Raises
        ------
        InvalidInputError
            If the vectors are a stream.
        """
        if isinstance(self.embeddings, VectorStream):
            raise InvalidInputError(
                f"an inspection needs all vectors in memory. Received: {self.embeddings!r}"
            )
        known = np.flatnonzero(self.rows >= 0)
        return Clustering(
            self.embeddings[self.rows[known]],
            self.labels[known],
            self.distances[known],
            self.exemplars[known],
            algorithm=self.algorithm or "",
            parameters={"normalize": self.normalize},
            names=dict(self.names),
        )

    def ranks(self) -> NDArray[np.int64]:
        """Return the images of each cluster from the most central, the clusters in order.

        Distances that are unknown, as of images that were moved by hand, are those to the mean.
        """
        distances, known = self.distances.copy(), self.rows >= 0
        is_open = np.isnan(distances) & known
        if is_open.any():
            labels = np.full(len(self.embeddings), NOISE)
            labels[self.rows[known]] = self.labels[known]
            found, _ = distances_to_centers(self.embeddings, labels, normalize=self.normalize)
            distances[is_open] = found[self.rows[is_open]]
        # Infinite for images without a vector, which come last; the exemplar is first.
        distances = np.nan_to_num(distances, nan=np.inf)
        distances[self.exemplars] = -1
        return np.lexsort((distances, self.labels))


def read_page_images(clusters: Any, embeddings: Any = None) -> PageImages:
    """Collect the images of a clustering, of a table, or of embeddings that have no clusters yet.

    Raises
    ------
    NotFoundError
        If the table or the store does not exist.
    InvalidInputError
        If a table comes without embeddings, none of its images is among them, or there are no
        images.
    """
    if isinstance(clusters, Clustering):
        return _from_clustering(clusters, embeddings)
    if isinstance(clusters, str | Path):
        if embeddings is not None:
            return _from_table(clusters, as_vectors(embeddings))
        if PurePath(clusters).suffix.lower() in TABLE_SUFFIXES:
            raise InvalidInputError(
                f"{clusters} holds no vectors: pass embeddings=, such as the path of the store"
            )
    elif clusters is not None and embeddings is not None:
        raise InvalidInputError(
            f"clusters must be a Clustering or its table. Received: {type(clusters).__name__}"
        )
    return _without_clusters(as_vectors(embeddings if clusters is None else clusters))


def _choose(
    embeddings: Embeddings | VectorStream, rows: NDArray[np.int64]
) -> tuple[Embeddings | VectorStream, NDArray[np.int64]]:
    """Return the images of some rows, and the new row of each."""
    if isinstance(embeddings, Embeddings):
        return embeddings[rows], np.arange(len(rows))
    chosen = np.zeros(len(embeddings), np.bool_)
    chosen[rows] = True
    # A stream stays in its order.
    return embeddings.select(chosen), np.searchsorted(np.flatnonzero(chosen), rows)


def _from_clustering(clustering: Clustering, embeddings: Any) -> PageImages:
    """Collect the images of a clustering in memory."""
    given = clustering.embeddings if embeddings is None else as_vectors(embeddings)
    paths = list(clustering.embeddings.paths)
    row_of = {path: row for row, path in enumerate(given.paths)}
    rows = np.array([row_of.get(path, -1) for path in paths])
    known = np.flatnonzero(rows >= 0)
    if not len(known):
        raise InvalidInputError(
            f"none of the {len(paths):,} clustered images, such as {paths[0]}, is among the "
            f"{len(given):,} embeddings"
        )
    _warn_left_out("the clustering", rows, paths, len(given))
    given, rows[known] = _choose(given, rows[known])
    return PageImages(
        paths=paths,
        present=paths,
        labels=np.asarray(clustering.labels),
        distances=np.asarray(clustering.distances, np.float64),
        exemplars=np.asarray(clustering.exemplars),
        rows=rows,
        embeddings=given,
        names=dict(clustering.names),
        kept=clustering.decisions.fixed,
        next_number=read_earlier(clustering).next_number,
        table=_TABLE,
        algorithm=clustering.algorithm,
        normalize=as_scaling(clustering.parameters.get("normalize")),
    )


def _from_table(clusters_csv: str | Path, embeddings: Embeddings | VectorStream) -> PageImages:
    """Collect the images of a table of clusters."""
    _check_not_empty(embeddings)
    table = read_clusters(clusters_csv)
    earlier = read_earlier(table)
    followed = check_earlier(earlier, embeddings)
    row_of = {path: row for row, path in enumerate(embeddings.paths)}
    rows = np.array([row_of.get(path, -1) for path in followed.paths])
    _warn_left_out(table.file, rows, followed.paths, len(embeddings))
    known = np.flatnonzero(rows >= 0)
    embeddings, rows[known] = _choose(embeddings, rows[known])
    embeddings = as_clustered(earlier, embeddings)
    algorithm = earlier.made_by.get("algorithm")
    return PageImages(
        paths=table.paths,
        present=followed.paths,
        labels=np.array(earlier.labels),
        distances=np.array(table.distances, np.float64),
        exemplars=np.array(table.exemplars, np.bool_),
        rows=rows,
        embeddings=embeddings,
        names=dict(earlier.names),
        kept=earlier.decisions.fixed,
        next_number=earlier.next_number,
        table=Path(clusters_csv).name,
        algorithm=algorithm if isinstance(algorithm, str) else "unknown",
        normalize=scaling_of(earlier),
    )


def _without_clusters(embeddings: Embeddings | VectorStream) -> PageImages:
    """Collect images that have no clusters yet as one cluster."""
    _check_not_empty(embeddings)
    labels = np.zeros(len(embeddings), np.int64)
    normalize = find_scaling(embeddings)
    distances, exemplars = distances_to_centers(embeddings, labels, normalize=normalize)
    return PageImages(
        paths=list(embeddings.paths),
        present=list(embeddings.paths),
        labels=labels,
        distances=distances,
        exemplars=exemplars,
        rows=np.arange(len(embeddings)),
        embeddings=embeddings,
        names={},
        kept=frozenset(),
        next_number=1,
        table=_TABLE,
        algorithm=None,
        normalize=normalize,
    )


def _check_not_empty(embeddings: Embeddings | VectorStream) -> None:
    """Check that there are images."""
    if not len(embeddings):
        raise InvalidInputError(
            f"there are no embedded images in {describe_space(embeddings.space)}: run "
            "`clusterkit embed` on a folder of them"
        )


def _warn_left_out(
    clusters: str | Path, rows: NDArray[np.int64], paths: list[str], n_embedded: int
) -> None:
    """Issue notices about images of the table without a vector, and about others."""
    missing = [path for path, row in zip(paths, rows.tolist(), strict=True) if row < 0]
    if missing:
        warnings.warn(
            f"listed without neighbours and a place on the map: {plural(len(missing), 'image')} of "
            f"{clusters} without a vector in the store: {first_few(missing)}",
            Notice,
            stacklevel=4,
        )
    if others := n_embedded - (len(rows) - len(missing)):
        warnings.warn(
            f"left out {plural(others, 'image')} of the store without a cluster in {clusters}",
            Notice,
            stacklevel=4,
        )
