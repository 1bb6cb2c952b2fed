"""Known labels of the images, and the clustering accuracy of each space."""

import warnings
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.base import ClusteringWarning
from clusterkit.clusterers.kmeans.estimator import KMeans
from clusterkit.clustering.evaluation import evaluate
from clusterkit.datasets.labels import FOLDERS, align_labels, labels_from_folders, read_labels
from clusterkit.errors import ClusterkitWarning, Notice
from clusterkit.similarity.scaling import find_scaling
from clusterkit.space_comparison.shared_images import Opened
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.noise import is_missing
from clusterkit.utils.text import first_few

Labels = list[str | None]


def find_labels(labels: Any, space: Opened, rows: NDArray[np.int64], **columns: Any) -> Labels:
    """Return the label of each shared image, or None.

    Parameters
    ----------
    labels : path, sequence, "folders" or None
        As for :func:`~clusterkit.space_comparison.compare_spaces`.
    space : Embeddings or VectorStream
        The first space.
    rows : ndarray of shape (n,)
        The rows of the shared images.
    **columns
        Columns of a table of labels, as for :func:`clusterkit.datasets.labels.read_labels`.

    Returns
    -------
    list of (str or None)
        All None without labels.

    Raises
    ------
    InvalidInputError
        If there is not one label per row, the file of labels does not match, or an image is in no
        folder.
    """
    paths = [space.paths[row] for row in rows]
    if labels is None:
        return [None] * len(paths)
    if isinstance(labels, str | PathLike) and str(labels) == FOLDERS:
        return [*labels_from_folders(paths)]
    if isinstance(labels, str | PathLike):
        known = read_labels(str(labels), paths, **columns)
        n_missing = known.labels.count(None)
        if n_missing or known.unused:
            warnings.warn(
                f"{labels} has a label for {len(paths) - n_missing:,} of {len(paths):,} images, "
                f"and {len(known.unused):,} for other files"
                + (f": {first_few(known.unused)}" if known.unused else ""),
                Notice,
                stacklevel=4,
            )
        return known.labels
    given = align_labels(labels, space.paths)
    return [None if is_missing(given[row]) else str(given[row]) for row in rows]


def measure_accuracy(
    spaces: Mapping[str, Embeddings],
    shared: Mapping[str, NDArray[np.int64]],
    labels: Labels,
    n_clusters: int | None,
    random_state: int,
) -> dict[str, float]:
    """Return the clustering accuracy of each space.

    Parameters
    ----------
    spaces : mapping of str to Embeddings
        The spaces.
    shared : mapping of str to ndarray of shape (n,)
        The rows of the shared images in each space.
    labels : list of (str or None), length n
        Their labels.
    n_clusters : int, optional
        Number of clusters; by default the number of distinct labels.
    random_state : int
        Seed of k-means.

    Returns
    -------
    dict of str to float
        The accuracy in each space, see :func:`clusterkit.evaluate`; empty if there are fewer than
        two labels, or fewer than two images per label.

    Warns
    -----
    ClusterkitWarning
        If all labels are the same, or there are too many.
    """
    known = [row for row, label in enumerate(labels) if label is not None]
    distinct = {labels[row] for row in known}
    if len(distinct) < 2:
        if known:
            warnings.warn(
                "no accuracy: all images have the same label", ClusterkitWarning, stacklevel=3
            )
        return {}
    if len(distinct) > len(known) // 2:
        warnings.warn(
            f"no accuracy: {len(distinct):,} labels are too many for {len(known):,} images",
            ClusterkitWarning,
            stacklevel=3,
        )
        return {}
    k = n_clusters or len(distinct)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusteringWarning)
        found = {
            name: KMeans(
                k, normalize=find_scaling(space.vectors), random_state=random_state
            ).fit_predict(space.vectors[shared[name]])
            for name, space in spaces.items()
        }
    truth = [labels[row] for row in known]
    return {name: evaluate(truth, clusters[known]).accuracy for name, clusters in found.items()}
