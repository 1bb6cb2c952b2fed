"""Reopen a clustering from its table."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from clusterkit.clusterers.distances import distances_to_centers
from clusterkit.clustering.cluster import Clustering
from clusterkit.clustering.confounding import Confounding
from clusterkit.clustering.earlier import EarlierClusters, check_earlier, read_earlier
from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.similarity.image_confounders import remove_confounders
from clusterkit.similarity.scaling import Scaling, as_scaling
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import as_embeddings
from clusterkit.store.stream import VectorStream
from clusterkit.utils.text import first_few, plural

Opened = TypeVar("Opened", Embeddings, Embeddings | VectorStream)


def reopen_clustering(clusters_csv: str | Path, embeddings: Any) -> Clustering:
    """Return the clustering that a table describes, with edits by hand.

    Parameters
    ----------
    clusters_csv : path
        The table of ``clusterkit cluster``.
    embeddings : Embeddings, Store, Space, or path of a store
        The images; see :func:`clusterkit.store.as_embeddings`.  Confounders that the clustering was
        made without are removed again.

    Returns
    -------
    Clustering
        Of the images that are in both, in the order of the embeddings.

    Raises
    ------
    NotFoundError
        If the table does not exist.
    InvalidInputError
        If it is no such table, or has no image in common with the embeddings.

    Warns
    -----
    ClusterkitWarning
        If the table is of another space.
    Notice
        If images are in only one of both.
    """
    embeddings = as_embeddings(embeddings)
    given = read_earlier(clusters_csv)
    earlier = check_earlier(given, embeddings)
    label_of = dict(zip(earlier.paths, earlier.labels, strict=True))
    kept = [row for row, path in enumerate(embeddings.paths) if path in label_of]
    missing = [path for path in earlier.paths if embeddings.find(path) is None]
    for paths, where in (
        (missing, f"of {clusters_csv} without a vector in the store"),
        (
            sorted({*embeddings.paths} - {*label_of}),
            f"of the store without a cluster in {clusters_csv}",
        ),
    ):
        if paths:
            warnings.warn(
                f"left out {plural(len(paths), 'image')} {where}: {first_few(paths)}",
                Notice,
                stacklevel=2,
            )
    # Vectors of all rows are not copied.
    is_all = len(kept) == len(embeddings)
    chosen = replace(embeddings, failures=[]) if is_all else embeddings[kept]
    embeddings = as_clustered(given, chosen)
    labels = np.array([label_of[path] for path in embeddings.paths], np.int64)
    parameters = given.made_by.get("parameters")
    normalize = scaling_of(given)
    distances, exemplars = distances_to_centers(np.asarray(embeddings), labels, normalize=normalize)
    return Clustering(
        embeddings,
        labels,
        distances,
        exemplars,
        algorithm=str(given.made_by.get("algorithm", "unknown")),
        parameters=(parameters if isinstance(parameters, dict) else {}) | {"normalize": normalize},
        names=dict(earlier.names),
        decisions=earlier.decisions,
        confounding=Confounding.from_dict(given.made_by.get("without")),
        notes=earlier.notes_by_image(),
    )


def scaling_of(earlier: EarlierClusters) -> Scaling:
    """Return how the vectors were scaled for clustering; by default to length 1."""
    parameters = earlier.made_by.get("parameters")
    return as_scaling(parameters.get("normalize")) if isinstance(parameters, dict) else True


def as_clustered(earlier: EarlierClusters, embeddings: Opened) -> Opened:
    """Return the embeddings of a table's images as they were clustered.

    Parameters
    ----------
    earlier : EarlierClusters
        The table.
    embeddings : Embeddings or VectorStream
        Its images, as the network made them.

    Returns
    -------
    Embeddings or VectorStream
        Without the confounders that the clustering was made without.

    Warns
    -----
    Notice
        If these cannot be measured again, since the files are gone, or the vectors are a stream;
        then nothing is removed.
    """
    removed = removed_confounders(earlier)
    if not removed:
        return embeddings
    try:
        if isinstance(embeddings, VectorStream):
            raise InvalidInputError("the vectors are read part by part")
        cleaned: Any = remove_confounders(embeddings, removed).embeddings
        return cleaned
    except (InvalidInputError, NotFoundError) as error:
        warnings.warn(
            f"the images are compared with {', '.join(removed)}, which the clusters are made "
            f"without, since that cannot be measured again: {error}",
            Notice,
            stacklevel=2,
        )
        return embeddings


def removed_confounders(earlier: EarlierClusters) -> list[str]:
    """Return the names of the confounders that a clustering was made without."""
    confounding = Confounding.from_dict(earlier.made_by.get("without"))
    removed = () if confounding is None else confounding.removed
    return [one.name for one in removed if one.n_components]
