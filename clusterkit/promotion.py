"""Turn named clusters into class folders, from which a classifier can be trained."""

from collections.abc import Mapping
from pathlib import Path

from clusterkit.earlier import read_earlier
from clusterkit.errors import InvalidInputError
from clusterkit.identity import NOISE
from clusterkit.labels import read_cluster_names
from clusterkit.routing import Sorting, sort_into_folders


def promote(
    clusters_csv: str | Path,
    into: str | Path,
    *,
    names: Mapping[int, str] | None = None,
    root: str | Path | None = None,
    mode: str = "copy",
    dry_run: bool = False,
    progress: bool = False,
) -> Sorting:
    """Bring the images of named clusters into a folder a class.

    Parameters
    ----------
    clusters_csv : path
        The table of ``clusterkit cluster``.  Clusters with one name become one class; clusters
        without a name, and noise, are left out.
    into : path
        Where the class folders are made.
    names : mapping of int to str, optional
        Names of clusters.  By default, and for clusters that it leaves out, the column ``name``
        of the table, where there is one; an empty name leaves a cluster out.
    root : path, optional
        The folder that the table's paths are relative to; by default the one that the ``.json``
        file beside the table names.
    mode, dry_run, progress
        See :func:`clusterkit.routing.sort_into_folders`.

    Returns
    -------
    Sorting
        What was done, or planned.

    Raises
    ------
    InvalidInputError
        If no cluster has a name, a name is for a cluster that does not exist, or the images'
        folder is not known.
    NotFoundError
        If the table or an image does not exist.
    """
    clusters = read_earlier(clusters_csv)
    known = read_cluster_names(clusters_csv) | dict(names or {})
    if unknown := sorted(set(known) - set(clusters.labels)):
        raise InvalidInputError(
            f"there is no cluster {unknown[0]} in {clusters_csv}, which has "
            f"{', '.join(map(str, sorted(set(clusters.labels))))}"
        )
    root = root or clusters.root
    if root is None:
        raise InvalidInputError(
            f"{clusters_csv} does not say which folder its images are in: give it with --root"
        )
    chosen = [
        (Path(root) / path, known[label])
        for path, label in zip(clusters.paths, clusters.labels, strict=True)
        if label != NOISE and known.get(label)
    ]
    if not chosen:
        raise InvalidInputError(
            f"no cluster of {clusters_csv} has a name: give one with --name NUMBER=NAME, or in a "
            "column name of the table"
        )
    files, folders = zip(*chosen, strict=True)
    return sort_into_folders(files, folders, into, mode=mode, dry_run=dry_run, progress=progress)
