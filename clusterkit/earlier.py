"""The clusters of an earlier run: read them, find their images today, and go on from them."""

import json
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.lloyd import lloyd
from clusterkit.embeddings import Embeddings, describe_space
from clusterkit.errors import InvalidInputError
from clusterkit.labels import read_clusters
from clusterkit.noise import NOISE
from clusterkit.paths import unescape_path
from clusterkit.stream import VectorStream

# Inertias that differ by less than this share say little about which clustering is better.
_NEARLY_EQUAL = 1e-3


class EarlierClusters(NamedTuple):
    """A clustering to go on from.

    Attributes
    ----------
    labels : list of int
        Cluster of each image; -1 is noise.
    paths : list of str
        The images.
    root : str or None
        Folder that the paths are relative to, where it is known.
    fingerprint : str or None
        Identity of the embedding space, where it is known.
    space : str
        Its short name.
    """

    labels: list[int]
    paths: list[str]
    root: str | None = None
    fingerprint: str | None = None
    space: str = "unknown space"


def read_earlier(previous: Any) -> EarlierClusters:
    """Read the clusters of an earlier run.

    Parameters
    ----------
    previous : Clustering or path
        A clustering, or a table with the columns ``path`` and ``cluster``.  What made the table is
        read from the ``.json`` file beside it, where there is one.

    Returns
    -------
    EarlierClusters
        Labels and images, and their space as far as it is known.

    Raises
    ------
    NotFoundError
        If the table does not exist.
    InvalidInputError
        If it is no such table, or its clusters are no numbers.
    """
    if not isinstance(previous, str | Path):
        made = previous.embeddings
        root = None if made.root is None else str(made.root)
        space = describe_space(made.space)
        return EarlierClusters(previous.labels.tolist(), made.paths, root, made.fingerprint, space)
    paths, labels = read_clusters(previous)
    numbers = [label for label in labels if isinstance(label, int) and label >= NOISE]
    if len(numbers) < len(labels):
        others = [label for label in labels if isinstance(label, str) or label < NOISE]
        raise InvalidInputError(
            f"only numbers from {NOISE} can be kept. Received: cluster {others[0]} in {previous}"
        )
    try:
        origin = json.loads(Path(previous).with_suffix(".json").read_text(encoding="utf-8"))
        root, fingerprint, space = (origin[name] for name in ("root", "fingerprint", "space"))
    except (OSError, ValueError, TypeError, KeyError):
        return EarlierClusters(numbers, paths)  # the table alone will do
    root = None if root is None else unescape_path(root)
    return EarlierClusters(numbers, paths, root, fingerprint, space)


def check_earlier(
    earlier: EarlierClusters, embeddings: Embeddings | VectorStream
) -> EarlierClusters:
    """Find the images of an earlier clustering among those that are to be clustered.

    Parameters
    ----------
    earlier : EarlierClusters
        The earlier clustering.
    embeddings : Embeddings or VectorStream
        The images.

    Returns
    -------
    EarlierClusters
        With paths as in the embeddings, where another folder was their root.

    Raises
    ------
    InvalidInputError
        If no image is in both.

    Warns
    -----
    UserWarning
        If the spaces are known to differ: the numbers then mean clusters of another kind.
    """
    present = set(embeddings.paths)
    here = str(embeddings.root)
    if earlier.root is not None and embeddings.root is not None and earlier.root != here:
        files = (Path(earlier.root, path) for path in earlier.paths)
        moved = [os.path.relpath(file, here).replace(os.sep, "/") for file in files]
        if present.intersection(moved):
            earlier = earlier._replace(paths=moved)
    if not present.intersection(earlier.paths):
        raise InvalidInputError(
            "the two clusterings must have an image in common. Received: "
            f"{len(embeddings)} images now, such as {embeddings.paths[0]}, and "
            f"{len(earlier.paths)} before, such as {earlier.paths[0]}"
        )
    if earlier.fingerprint and embeddings.fingerprint not in (None, earlier.fingerprint):
        warnings.warn(
            f"the earlier clusters are of the space {earlier.space}, these of "
            f"{describe_space(embeddings.space)}: the numbers are matched by common images, but "
            "the two spaces may group by different things",
            stacklevel=3,
        )
    return earlier


def continue_kmeans(
    X: NDArray[np.float32],
    labels: NDArray[np.int64],
    inertia: float,
    *,
    previous: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Prefer, of k-means clusterings that fit as well, the one that goes on from earlier clusters.

    Where k-means has several solutions of nearly the same inertia, a few added images can make
    another one the best.  So Lloyd's algorithm is also run from the centres of the earlier
    clusters, and its outcome taken unless the inertia is 0.1 % worse.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows, in the geometry of the k-means.
    labels : ndarray of shape (n,), int
        Their clusters by k-means.
    inertia : float
        Its inertia.
    previous : ndarray of shape (n,), int
        Earlier cluster of each row; -1 where there is none.

    Returns
    -------
    ndarray of shape (n,), int
        The labels of the preferred clustering; those received where the number of clusters was
        another.
    """
    numbers = np.unique(previous[previous != NOISE])
    if len(numbers) != len(np.unique(labels)):
        return labels
    centers = np.stack([X[previous == number].mean(axis=0) for number in numbers])
    continued = lloyd(X, np.ones(len(X), np.float32), centers)
    if continued.inertia > (1 + _NEARLY_EQUAL) * inertia:
        return labels
    return continued.labels.astype(np.int64)
