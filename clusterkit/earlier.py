"""Read the clusters of an earlier run, and find their images among those of today."""

import json
import os
import warnings
from pathlib import Path
from typing import NamedTuple

from clusterkit.embeddings import Embeddings, describe_space
from clusterkit.errors import InvalidInputError
from clusterkit.identity import NOISE
from clusterkit.labels import read_clusters
from clusterkit.paths import unescape_path


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


def read_earlier(clusters_csv: str | Path) -> EarlierClusters:
    """Read the clusters of an earlier run.

    Parameters
    ----------
    clusters_csv : path
        A table with the columns ``path`` and ``cluster``.  What made it is read from the ``.json``
        file beside it, where there is one.

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
    paths, labels = read_clusters(clusters_csv)
    numbers = [label for label in labels if isinstance(label, int) and label >= NOISE]
    if len(numbers) < len(labels):
        others = [label for label in labels if isinstance(label, str) or label < NOISE]
        raise InvalidInputError(
            f"only numbers from {NOISE} can be kept. Received: cluster {others[0]} in "
            f"{clusters_csv}"
        )
    try:
        origin = json.loads(Path(clusters_csv).with_suffix(".json").read_text(encoding="utf-8"))
        root, fingerprint, space = (origin[name] for name in ("root", "fingerprint", "space"))
    except (OSError, ValueError, TypeError, KeyError):
        return EarlierClusters(numbers, paths)  # the table alone will do
    root = None if root is None else unescape_path(root)
    return EarlierClusters(numbers, paths, root, fingerprint, space)


def check_earlier(earlier: EarlierClusters, embeddings: Embeddings) -> EarlierClusters:
    """Find the images of an earlier clustering among those that are to be clustered.

    Parameters
    ----------
    earlier : EarlierClusters
        The earlier clustering.
    embeddings : Embeddings
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
