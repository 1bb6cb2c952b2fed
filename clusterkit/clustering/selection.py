"""Select images of a space: by their paths, or by their clusters in an earlier table."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.clustering.earlier import check_earlier, read_earlier
from clusterkit.clustering.saved import Origin
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.images.folder import match_paths
from clusterkit.store.embeddings import Embeddings, Selection
from clusterkit.store.space import Space
from clusterkit.store.store import Store, as_embeddings, as_store
from clusterkit.store.stream import VectorStream
from clusterkit.utils.arguments import as_list
from clusterkit.utils.locations import is_address, relative
from clusterkit.utils.noise import NOISE, cluster_text
from clusterkit.utils.text import did_you_mean, first_few, plural


@overload
def select(
    embeddings: VectorStream,
    *,
    only: str | Path | Iterable[str | Path] = (),
    clusters: int | str | Iterable[int | str] = (),
    of: Any = "clusters.csv",
) -> VectorStream: ...
@overload
def select(
    embeddings: Embeddings | Store | Space | str | Path | ArrayLike,
    *,
    only: str | Path | Iterable[str | Path] = (),
    clusters: int | str | Iterable[int | str] = (),
    of: Any = "clusters.csv",
) -> Embeddings: ...
def select(
    embeddings: Any,
    *,
    only: str | Path | Iterable[str | Path] = (),
    clusters: int | str | Iterable[int | str] = (),
    of: Any = "clusters.csv",
) -> Any:
    """Select images by their paths, and by their clusters in an earlier clustering.

    A part of the images can then be clustered further without embedding it again.

    Parameters
    ----------
    embeddings : Embeddings, VectorStream, array-like, Store, Space, or path of a store
        The images; see :func:`clusterkit.store.as_embeddings`.
    only : str, path, or iterable of these
        Folders or patterns, as :class:`~clusterkit.images.folder.ImageFolder` excludes them:
        ``"2019/"`` anywhere, ``"2019/*.tif"`` below the root, ``**`` for any folders.  Existing
        folders and files may be named as well.  An image is selected if it fits one, or if a folder
        that it is in does.  By default all images.
    clusters : int, str, or iterable of these
        Numbers or names of clusters of ``of``; -1 or ``"noise"`` for noise.  By default all images.
    of : Clustering or path
        The earlier clustering, or its ``clusters.csv``; it may be of another space.

    Returns
    -------
    Embeddings or VectorStream
        The images that fulfil both, in the same order.  Their ``selections`` tell how they were
        chosen, as does the description of a clustering of them.

    Raises
    ------
    NotFoundError
        If the table does not exist.
    InvalidInputError
        If nothing is selected, there is no such cluster, or a pattern is invalid.

    Warns
    -----
    Notice
        If images of the clusters are not among the embeddings.

    Examples
    --------
    >>> emb = Embeddings(np.eye(3), paths=["2018/a.jpg", "2019/a.jpg", "2019/b.jpg"])
    >>> select(emb, only="2019/").paths
    ['2019/a.jpg', '2019/b.jpg']
    """
    if not isinstance(embeddings, VectorStream):
        embeddings = as_embeddings(embeddings)
    patterns, numbers = [str(pattern) for pattern in as_list(only)], as_list(clusters)
    chosen = np.ones(len(embeddings), np.bool_)
    if patterns:
        below = [_as_pattern(pattern, embeddings.root) for pattern in patterns]
        chosen &= np.array(match_paths(embeddings.paths, below), np.bool_)
        if not chosen.any():
            raise InvalidInputError(
                f"no image fits {' or '.join(patterns)}. Their paths are below {embeddings.root}, "
                f"such as {first_few(embeddings.paths)}"
            )
    if numbers:
        chosen &= _in_clusters(embeddings, numbers, of)
        if not chosen.any():
            raise InvalidInputError(
                f"no image of the clusters {', '.join(map(str, numbers))} fits "
                f"{' or '.join(patterns) or 'the embeddings'}"
            )
    if chosen.all():
        return embeddings
    if isinstance(embeddings, VectorStream):
        found = embeddings.select(chosen)
    else:
        found = embeddings[chosen]
    made = Selection(
        tuple(patterns),
        tuple(map(str, numbers)),
        str(of) if numbers and isinstance(of, str | Path) else None,
        len(found),
        len(embeddings),
    )
    return replace(found, selections=(*embeddings.selections, made))


def find_space(clusters_csv: str | Path, store: Store | str | Path) -> Space | None:
    """Return the space of a store that a table of clusters was made from.

    Parameters
    ----------
    clusters_csv : path
        The table; the ``.json`` file beside it names the space.
    store : Store or path
        The store.

    Returns
    -------
    Space or None
        The space; None if it is not known, or not in the store.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reported when the table is read
        origin = Origin.read(Path(clusters_csv).with_suffix(".json"))
    name = None if origin is None else origin.made_by.get("space")
    spaces = as_store(store).spaces()
    return next((space for space in spaces if space.folder.name == name), None)


def _as_pattern(pattern: str, root: Path | None) -> str:
    """Return a pattern; an existing folder or file below the root as its path there."""
    # Any text may be a pattern.
    if root is None or not (is_address(pattern) or os.path.exists(pattern)):  # noqa: PTH110
        return pattern
    inner = relative(pattern, root)
    if inner.startswith("..") or is_address(inner):
        return pattern
    # An address ends in a slash if a folder is meant, as a pattern does.
    is_folder = pattern.endswith("/") if is_address(pattern) else Path(pattern).is_dir()
    return "**" if inner == "." else f"./{inner}{'/' if is_folder else ''}"


def _in_clusters(
    embeddings: Embeddings | VectorStream, wanted: Sequence[int | str], of: Any
) -> NDArray[np.bool_]:
    """Return which images are in some clusters of an earlier clustering."""
    earlier = check_earlier(read_earlier(of), embeddings, any_space=True)
    known = {str(label): {label} for label in earlier.labels}
    for label, name in earlier.names.items():
        known.setdefault(name, set()).add(label)
    if NOISE in earlier.labels:
        known.setdefault(cluster_text(NOISE), {NOISE})
    numbers = set()
    for cluster in map(str, wanted):
        if cluster not in known:
            raise InvalidInputError(
                f"there is no cluster {cluster} in {_name(of)}, which has "
                f"{', '.join(sorted(known))}{did_you_mean(cluster, known)}"
            )
        numbers |= known[cluster]
    pairs = zip(earlier.paths, earlier.labels, strict=True)
    members = {path for path, label in pairs if label in numbers}
    missing = sorted(members.difference(embeddings.paths))
    if missing:
        warnings.warn(
            f"{plural(len(missing), 'image')} of these clusters of {_name(of)} are not among the "
            f"embeddings: {first_few(missing)}",
            Notice,
            stacklevel=4,
        )
    return np.array([path in members for path in embeddings.paths], np.bool_)


def _name(of: Any) -> str:
    """Return what an earlier clustering is called."""
    return str(of) if isinstance(of, str | Path) else "the clustering"
