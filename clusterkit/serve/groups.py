"""The groups of a clustering, and the assignment of new pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.distances import cluster_means
from clusterkit.clustering.earlier import read_earlier
from clusterkit.clustering.reopening import removed_confounders, reopen_clustering
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.catalogue import Catalogue
from clusterkit.similarity.scaling import as_scaling, scale_rows
from clusterkit.utils.noise import NOISE

_N_NEIGHBORS = 10
# Label of images that are in no group of the table.
_NOWHERE = NOISE - 1


class Groups:
    """The groups of a table of clusters.

    Parameters
    ----------
    clusters_csv : path
        The table of ``clusterkit cluster``.
    catalogue : Catalogue
        Its images.

    Attributes
    ----------
    numbers : ndarray of shape (n_groups,), int
        The groups, without noise.
    names : dict of int to str
        Names of those that have one.
    sizes : dict of int to int
        Number of images in each.

    Raises
    ------
    InvalidInputError
        If the table has no group, or was made without confounders, which cannot be removed from a
        new picture.
    """

    def __init__(self, clusters_csv: str | Path, catalogue: Catalogue) -> None:
        removed = removed_confounders(read_earlier(clusters_csv))
        if removed:
            raise InvalidInputError(
                f"{clusters_csv} was made without {', '.join(removed)}, which cannot be removed "
                "from a new picture: cluster without --without, or leave out --clusters"
            )
        clustering = reopen_clustering(clusters_csv, catalogue.embeddings())
        self.scaling = as_scaling(clustering.parameters["normalize"])
        self.numbers, self.centers = cluster_means(
            np.asarray(clustering.embeddings), clustering.labels, normalize=self.scaling
        )
        if not len(self.numbers):
            raise InvalidInputError(f"{clusters_csv} has no cluster but noise")
        self.names = dict(clustering.names)
        row_of_path = {path: row for row, path in enumerate(catalogue.paths)}
        self.labels = np.full(len(catalogue), _NOWHERE, np.int64)
        rows = [row_of_path[path] for path in clustering.embeddings.paths]
        self.labels[rows] = clustering.labels
        found, counts = np.unique(clustering.labels, return_counts=True)
        self.sizes = dict(zip(found.tolist(), counts.tolist(), strict=True))

    def assign(self, vectors: NDArray[np.float32], catalogue: Catalogue) -> list[dict[str, Any]]:
        """Return the group with the nearest centre for each vector, with measures of certainty.

        Parameters
        ----------
        vectors : ndarray of shape (n, dimension), float32
            Vectors of pictures; of length 1, or as the network returns them.
        catalogue : Catalogue
            The images of the groups.

        Returns
        -------
        list of dict
            ``cluster``, ``cluster_name`` and ``distance`` to its centre; ``margin``, by how much
            the next centre is farther, from 0 (as near) to 1; ``agreement``, the share of the ten
            nearest images that are in that group; and ``next``, the next group, or None.
        """
        scaled = scale_rows(vectors, self.scaling)
        _, rows = catalogue.nearest(vectors, _N_NEIGHBORS, exact=False)
        found = []
        for vector, near in zip(scaled, rows, strict=True):
            distances = np.linalg.norm(self.centers - vector.astype(np.float64), axis=1)
            first, *others = np.argsort(distances, kind="stable")[:2].tolist()
            labels = self.labels[near]
            labels = labels[labels != _NOWHERE]
            far = float(distances[others[0]]) if others else np.inf
            agreement = float(np.mean(labels == self.numbers[first])) if len(labels) else None
            found.append(
                self._describe(first, distances)
                | {
                    "margin": 1.0 - float(distances[first]) / far if far > 0 else 0.0,
                    "agreement": agreement,
                    "next": self._describe(others[0], distances) if others else None,
                }
            )
        return found

    def _describe(self, place: int, distances: NDArray[np.float64]) -> dict[str, Any]:
        """Return a group and its distance."""
        number = int(self.numbers[place])
        return {
            "cluster": number,
            "cluster_name": self.names.get(number),
            "distance": float(distances[place]),
        }
