"""A clustering of images: their clusters, as a text, a table, and folders."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit import __version__
from clusterkit.clustering.confounding import Confounding
from clusterkit.clustering.decisions import Decisions
from clusterkit.clustering.earlier import network_fingerprint
from clusterkit.clustering.levels import ChosenLevel
from clusterkit.clustering.matching import IdentityReport
from clusterkit.clustering.provenance import LabelOrigin
from clusterkit.clustering.saved import write_clusters
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.images.thumbnails import thumbnails
from clusterkit.routing.sorting import Sorting, sort_into_folders
from clusterkit.store.embeddings import Embeddings, describe_space
from clusterkit.store.store import Store
from clusterkit.store.stream import VectorStream
from clusterkit.utils.html import Markup
from clusterkit.utils.noise import NOISE, cluster_text
from clusterkit.utils.text import join_lines, plural

# Extractors whose vectors are nearly the pixels.
_BY_TONE = frozenset({"pixels", "autoencoder"})
# In a notebook: the largest number of clusters whose pictures are shown, and pictures of each.
_MAX_PICTURED, _N_CENTRAL = 20, 5


@dataclass(eq=False, repr=False)
class Clustering(TableResult):
    """Cluster labels of the images of an embedding space.

    Attributes
    ----------
    embeddings : Embeddings or VectorStream
        The images.
    labels : ndarray of shape (n,), int
        Cluster of each image, from 0; -1 is noise.
    distances : ndarray of shape (n,), float
        Euclidean distance of each image to the centre of its cluster, between vectors of length 1
        unless the clusterer has ``normalize=False``; NaN for noise.
    exemplars : ndarray of shape (n,), bool
        Mask of the image nearest to the centre of each cluster.
    algorithm : str
        Name of the clusterer.
    parameters : dict
        Its parameters.
    names : dict of int to str
        Names of clusters, see :func:`clusterkit.clustering.naming.name_clusters`; clusters without
        a name are left out.
    names_from : str, optional
        The embedding space that provided the ImageNet classes for the names; None if there are
        none.
    identity : IdentityReport, optional
        Changes relative to an earlier clustering, if one was given.
    refinement : dict, optional
        Description of the refinement, if any: see
        :meth:`clusterkit.clusterers.RefinedKMeans.describe`.
    decisions : Decisions
        A person's decisions that were kept, see :func:`clusterkit.clustering.label`.
    level : ChosenLevel, optional
        The level that was taken, and the others, if the number of clusters was to be found.
    confounding : Confounding, optional
        What the removal of confounders changed, if any were to be removed.
    """

    embeddings: Embeddings | VectorStream
    labels: NDArray[np.int64]
    distances: NDArray[np.float64]
    exemplars: NDArray[np.bool_]
    algorithm: str
    parameters: dict[str, Any]
    names: dict[int, str] = field(default_factory=dict)
    names_from: str | None = None
    identity: IdentityReport | None = None
    refinement: dict[str, Any] | None = None
    decisions: Decisions = field(default_factory=Decisions)
    level: ChosenLevel | None = None
    confounding: Confounding | None = None

    @property
    def n_clusters(self) -> int:
        """Number of clusters, excluding noise."""
        return len(self.sizes.keys() - {NOISE})

    @property
    def sizes(self) -> dict[int, int]:
        """Number of images in each cluster."""
        return dict(sorted(Counter(self.labels.tolist()).items()))

    def to_dict(self) -> dict[str, Any]:
        """Return a description of the clustering, as values for ``json_text``."""
        root, space = self.embeddings.root, self.embeddings.space
        return {
            "algorithm": self.algorithm,
            "parameters": self.parameters,
            "k": self.n_clusters,
            "level": None if self.level is None else self.level.to_dict(),
            "sizes": {str(cluster): size for cluster, size in self.sizes.items()},
            "names": {str(cluster): name for cluster, name in self.names.items()},
            "decisions": self.decisions.to_dict(),
            "identity": None if self.identity is None else self.identity.to_dict(),
            "refinement": self.refinement,
            "without": None if self.confounding is None else self.confounding.to_dict(),
            "space": space.get("made_from") or describe_space(space),
            # The fingerprint of the network's space: what was removed from it is listed above.
            "fingerprint": network_fingerprint(self.embeddings),
            "selections": [chosen._asdict() for chosen in self.embeddings.selections],
            "root": None if root is None else str(root),
            "versions": {"clusterkit": __version__}
            | {name: metadata.version(name) for name in ("numpy", "scikit-learn")},
        }

    def to_text(self) -> str:
        """Return the size and name of each cluster, and the changes to an earlier clustering."""
        images, clusters = plural(len(self.labels), "image"), plural(self.n_clusters, "cluster")
        lines = [f"{images} in {clusters} ({self.algorithm})"]
        lines += [f"Only {chosen}" for chosen in self.embeddings.selections]
        kept = [number for number in sorted(self.decisions.fixed) if number in self.sizes]
        if self.level is not None:
            # The others were not counted.
            of = " for the images outside the kept clusters" if kept else ""
            lines += f"Chosen by the elbow{of}: {self.level.to_text()}".split("\n")
        if self.refinement is not None:
            lines.append(f"Chosen: {self.refinement['reason']}")
        if self.confounding is not None:
            lines += self.confounding.to_text().split("\n")
        lines.append("cluster  images" + ("  name" if self.names else ""))
        for label, size in self.sizes.items():
            line = f"{cluster_text(label):>7}  {size:>6}  {self.names.get(label, '')}"
            lines.append(line.rstrip())
        if kept:
            lines.append(f"Kept as named or pinned: {', '.join(map(str, kept))}")
        if self.identity is not None:
            lines += self.identity.to_text().split("\n")
        space = self.embeddings.space
        extractor = space.get("extractor")
        is_by_tone = extractor in _BY_TONE and "imported_from" not in space
        if is_by_tone and "tone" not in space.get("without", ()):
            lines.append(
                f"Note: {extractor} groups photos by colour and tone, not by what they show"
            )
        return join_lines(lines)

    def _table(self) -> Rows:
        """Return one row per image."""
        columns = ["path", "cluster", "distance", "exemplar", "name"]
        labels = self.labels.tolist()
        cells = zip(
            self.embeddings.paths,
            labels,
            self.distances.tolist(),
            self.exemplars.tolist(),
            (self.names.get(label, "") for label in labels),
            strict=True,
        )
        shown = columns if self.names else columns[:-1]
        return Rows(shown, [row[: len(shown)] for row in cells])

    def _table_shown(self) -> Rows:
        """Return one row per cluster, with pictures of its most central images."""
        rows = [[label, size, self.names.get(label, "")] for label, size in self.sizes.items()]
        header = ["cluster", "images", "name"]
        root, paths = self.embeddings.root, self.embeddings.paths
        if root is None or len(rows) > _MAX_PICTURED:
            return Rows(header, rows)
        order = np.argsort(self.distances, kind="stable")
        central = [
            [root / paths[row] for row in order[self.labels[order] == label][:_N_CENTRAL]]
            for label, *_ in rows
        ]
        pictures = iter(thumbnails(file for some in central for file in some))
        return Rows(
            [*header, ""],
            [
                [*row, Markup(" ".join(itertools.islice(pictures, len(some))))]
                for row, some in zip(rows, central, strict=True)
            ],
        )

    def to_csv(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write ``path,cluster,distance,exemplar``, and what made it beside as ``.json``.

        Where clusters have names, these follow in a column ``name``.

        Parameters
        ----------
        path : path
            The CSV file; rows are in order of path.
        overwrite : bool
            Whether to overwrite existing files.

        Returns
        -------
        pathlib.Path
            The CSV file.

        Raises
        ------
        OutputExistsError
            If it exists.
        InvalidInputError
            If its name ends in ``.json``.
        """
        return write_clusters(self, path, overwrite=overwrite)

    def sort_into(
        self,
        into: str | Path,
        *,
        mode: str = "copy",
        strict: bool = False,
        store: Store | str | Path | None = None,
        dry_run: bool = False,
        progress: bool = False,
    ) -> Sorting:
        """Sort the image files into one folder per cluster, such as ``003 red fox``.

        Parameters
        ----------
        into : path
            Parent of the cluster folders.
        strict : bool
            Whether files that are gone are an error; by default they are left out.
        store : Store or path, optional
            A store in which the new paths of moved files are recorded.
        mode, dry_run, progress
            See :func:`clusterkit.routing.sort_into_folders`.

        Returns
        -------
        Sorting
            The performed or planned transfers.

        Raises
        ------
        NotFoundError
            If all files are gone, or some with ``strict``.

        Warns
        -----
        Notice
            If files are gone.
        """
        folders = {label: _folder_name(label, self.names.get(label)) for label in self.sizes}
        return sort_into_folders(
            self.embeddings.files,
            [folders[label] for label in self.labels.tolist()],
            into,
            mode=mode,
            strict=strict,
            store=store,
            origin=LabelOrigin.from_description(self.to_dict()).to_dict(),
            dry_run=dry_run,
            progress=progress,
        )


def _folder_name(label: int, name: str | None) -> str:
    """Return a cluster's folder, such as "003 red fox, timber wolf"."""
    if label == NOISE:
        return "noise"
    # A slash would be a folder in a folder.
    return f"{label:03d} {name.replace(' / ', ', ')}" if name else f"{label:03d}"
