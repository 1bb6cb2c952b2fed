"""Sort named clusters into class folders for training a classifier."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from clusterkit.clustering.earlier import EarlierClusters, read_earlier
from clusterkit.clustering.moved_files import files_in, find_moved
from clusterkit.clustering.provenance import LabelOrigin
from clusterkit.clustering.saved import read_clusters
from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.routing.manifest import read_manifest
from clusterkit.routing.sorting import Sorting, check_local, sort_into_folders
from clusterkit.routing.transfer import is_inside
from clusterkit.store.store import as_store
from clusterkit.utils.files import DEFAULT_STORE
from clusterkit.utils.locations import absolute, as_path, find_gone, join
from clusterkit.utils.noise import NOISE
from clusterkit.utils.text import in_shell, plural


def promote(
    clusters_csv: str | Path,
    into: str | Path,
    *,
    names: Mapping[int, str] | None = None,
    root: str | Path | None = None,
    store: str | Path = DEFAULT_STORE,
    mode: str = "copy",
    strict: bool = False,
    dry_run: bool = False,
    progress: bool = False,
) -> Sorting:
    """Sort the images of named clusters into one folder per class.

    Parameters
    ----------
    clusters_csv : path
        The table of ``clusterkit cluster``.  Clusters with the same name become one class; clusters
        without a name and noise are left out.
    into : path
        Parent of the class folders.
    names : mapping of int to str, optional
        Names of clusters.  By default, and for other clusters, the column ``name`` of the table, if
        any; clusters with an empty name are left out.  A name written into some rows of a cluster
        makes these rows a class.
    root : path, optional
        The folder that the table's paths are relative to; by default the one in the ``.json`` file
        beside the table, or without that file the one of the store.  Because tables are not
        trusted, all images must be below a root that is given here, or be in the store.
    store : path
        The store whose images may be sorted without a ``root``.  Files that were renamed or moved
        are found in it by their content, and it records the new paths of ``mode="move"``.
    strict : bool
        Whether files that are gone are an error; by default they are left out.
    mode, dry_run, progress
        See :func:`clusterkit.routing.sort_into_folders`.

    Returns
    -------
    Sorting
        The performed or planned transfers.

    Raises
    ------
    InvalidInputError
        If no cluster has a name, a named cluster does not exist, the images' folder is unknown, or
        a path leads out of it.
    NotFoundError
        If the table does not exist, or none of the files, or not all with ``strict``.

    Warns
    -----
    Notice
        If files are gone, images that an earlier run brought are of no named cluster any more, or
        the table says that images are not copies.
    """
    clusters = read_earlier(read_clusters(clusters_csv))
    known = dict(clusters.names) | dict(names or {})
    if unknown := sorted(set(known) - set(clusters.labels), key=str):
        raise InvalidInputError(
            f"there is no cluster {unknown[0]!r} in {clusters_csv}, which has "
            f"{', '.join(map(str, sorted(set(clusters.labels))))}"
        )
    chosen = [
        row for row, label in enumerate(clusters.labels) if label != NOISE and known.get(label)
    ]
    if not chosen:
        raise InvalidInputError(
            f"no cluster of {clusters_csv} has a name: give one with --name NUMBER=NAME, or in a "
            "column name of the table"
        )
    files = _find_files(clusters_csv, clusters, chosen, root, store)
    if pairs := clusters.decisions.not_copies:
        warnings.warn(
            f"{clusters_csv} marks {plural(len(pairs), 'pair')} of images as no copies: name "
            f"it with --not-copies {clusters_csv} when you train on {into}, or they are kept "
            "together there",
            Notice,
            stacklevel=2,
        )
    found = sort_into_folders(
        files,
        [known[clusters.labels[row]] for row in chosen],
        into,
        mode=mode,
        strict=strict,
        store=store,
        origin=LabelOrigin.from_description(clusters.made_by, clusters_csv).to_dict(),
        dry_run=dry_run,
        progress=progress,
    )
    _tell_left(clusters, chosen, root, found.into)
    return found


def _tell_left(
    clusters: EarlierClusters, chosen: Sequence[int], given: str | Path | None, into: Path
) -> None:
    """Tell which images of other clusters an earlier run brought, when these had a name."""
    try:
        manifest = read_manifest(into)
    except NotFoundError:
        return  # a dry run
    others = set(range(len(clusters.paths))).difference(chosen)
    root = given or clusters.root or ""
    sources = {str(absolute(join(root, clusters.paths[row]))) for row in others}
    left = [
        transfer.target
        for transfer in manifest.transfers
        if transfer.source in sources and os.path.lexists(into / transfer.target)
    ]
    if left:
        warnings.warn(
            f"{plural(len(left), 'image')} in {into}, such as {left[0]}, of clusters without a "
            "name now, stay where they are: to sort anew, undo that first with `clusterkit undo "
            f"{in_shell(into)}`",
            Notice,
            stacklevel=3,
        )


def _find_files(
    table: str | Path,
    clusters: EarlierClusters,
    rows: Sequence[int],
    given: str | Path | None,
    store: str | Path,
) -> list[Path]:
    """Return the files of rows of a table, which must be inside its root or in the store.

    Neither the table nor the root in the file beside it is trusted, only a root given by the user
    and images that the user has embedded.
    """
    root = given or clusters.root
    if root is None and (spaces := as_store(store).spaces()):
        # A copy that a spreadsheet saved has no .json file beside it.
        root = spaces[0].stream().root
    if root is None:
        raise InvalidInputError(
            f"{table} does not record the folder of its images: give it with --root"
        )
    files = []
    for path in (clusters.paths[row] for row in rows):
        inner = PurePath(path)
        if not path or "\0" in path or inner.anchor or ".." in inner.parts:
            raise InvalidInputError(
                f"{table}: the path {path!r} is not inside of the folder {root}, below which all "
                "must be. If that is right, rewrite the paths relative to the folder given with "
                "--root"
            )
        files.append(as_path(absolute(join(root, path))))  # links stay
    check_local(files)
    others = [file for file in files if given is None or not is_inside(file, as_path(given))]
    digests = clusters.digests or [None] * len(clusters.paths)
    if others or (clusters.digests and find_gone(map(str, files))):
        known, file_of = files_in(store)
        moved = find_moved(files, (digests[row] for row in rows), file_of)
        # A file whose content is in the store, under this path or a new one, is one of ours.
        others = [file for file in others if str(file) not in known and file not in moved]
        files = [moved.get(file, file) for file in files]
    if others and given is None:
        said = f", and only the .json file beside the table says that its images are in {root}"
        raise InvalidInputError(
            f"{table}: {others[0]} is not in the store {store}{said if clusters.root else ''}. If "
            "that is right, give it with --root"
        )
    if others:
        raise InvalidInputError(
            f"{table}: {others[0]} is a link, or in a linked folder, that leads out of {root} to "
            f"{os.path.realpath(others[0])}. If that is right, embed the folder first"
        )
    return files
