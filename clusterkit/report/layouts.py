"""Positions of images on the maps of a page, and their nearest neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.similarity.approximate import nearest_others_of_stream, nearest_others_roughly
from clusterkit.similarity.nearest import nearest_others
from clusterkit.similarity.projection import project
from clusterkit.similarity.scaling import find_scaling, unit_rows
from clusterkit.store.stream import SAMPLE_SIZE, VectorStream
from clusterkit.utils.imports import require
from clusterkit.utils.text import percent

LAYOUTS = ("pca", "umap")
# All pairs of 20,000 images in 2,048 dimensions take about half a minute on two cores.
_MAX_EXACT = 20_000


class Layout(NamedTuple):
    """A map.

    Attributes
    ----------
    name : str
        Its name.
    note : str
        How to read it, in one sentence.
    positions : ndarray of shape (n, 2), float
        The position of each image.
    """

    name: str
    note: str
    positions: NDArray[np.float64]


def check_layout(kind: str, vectors: Any) -> None:
    """Check that a map is known, and can be made of vectors.

    Raises
    ------
    InvalidInputError
        If it is unknown, or UMAP of a stream.
    """
    if kind not in LAYOUTS:
        raise InvalidInputError(f"the map must be one of {', '.join(LAYOUTS)}. Received: {kind!r}")
    if kind == "umap" and isinstance(vectors, VectorStream):
        raise InvalidInputError(
            "the map by UMAP needs all vectors in memory: choose pca, or --no-stream. "
            f"Received: {vectors!r}"
        )


def make_layouts(
    vectors: NDArray[np.float32] | VectorStream, kind: str, *, progress: bool = False
) -> list[Layout]:
    """Return the map of principal components and, if asked for, that of UMAP before it.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), or VectorStream
        The images; for a stream, the components are those of a random sample, and the note states
        it.
    kind : {"pca", "umap"}
        The map.
    progress : bool
        Whether to show a progress bar while a stream is read.

    Raises
    ------
    InvalidInputError
        If the map is unknown, or UMAP of a stream.
    MissingDependencyError
        If umap-learn is not installed.
    """
    check_layout(kind, vectors)
    umap = None if kind == "pca" else require("umap", extra="map", caller="the map by UMAP")
    if min(vectors.shape) < 2:
        places = np.zeros((len(vectors), 2))
        return [Layout("all in one place", "There is nothing to spread out.", places)]
    positions, shares = project(vectors, progress=progress)
    n_axes = min(SAMPLE_SIZE, len(vectors)) if isinstance(vectors, VectorStream) else len(vectors)
    of = "" if n_axes == len(vectors) else f", found on {n_axes:,} random images"
    first, second = map(percent, shares)
    layouts = [
        Layout(
            "principal components",
            f"The two directions of the largest variance, {first} and {second} of it{of}: what is "
            "far apart here differs; what is near may differ in other directions.",
            positions,
        )
    ]
    # UMAP needs some neighbours.
    if umap is not None and len(vectors) > 4 and not isinstance(vectors, VectorStream):
        layouts.insert(0, _umap(umap, vectors))
    return layouts


def _umap(umap: Any, vectors: NDArray[np.float32]) -> Layout:
    """Return the map of UMAP, the same in each run."""
    import warnings

    reducer = umap.UMAP(n_neighbors=min(15, len(vectors) - 1), metric="cosine", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that a seed means one thread
        positions = reducer.fit_transform(unit_rows(vectors))
    return Layout(
        "UMAP",
        "Neighbours are kept near each other (UMAP); the distances between groups and their sizes "
        "mean little.",
        np.asarray(positions, np.float64),
    )


def find_neighbors(
    vectors: NDArray[np.float32] | VectorStream, n_neighbors: int, *, progress: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64], bool]:
    """Return the nearest other images, and whether they are exact.

    Above 20,000 images they are approximate, see
    :func:`clusterkit.similarity.approximate.nearest_others_roughly`, and those of a stream, see
    :func:`clusterkit.similarity.approximate.nearest_others_of_stream`.

    Returns
    -------
    similarities, rows : ndarray of shape (n, min(n_neighbors, n - 1))
        Cosine similarities, of probabilities those of their square roots, descending, and the
        rows; -1 where none was found.
    is_exact : bool
        Whether no nearer image can have been missed.
    """
    n_neighbors = min(n_neighbors, len(vectors) - 1)
    if n_neighbors < 1:
        return np.empty((len(vectors), 0)), np.empty((len(vectors), 0), np.int64), True
    normalize = find_scaling(vectors)
    if isinstance(vectors, VectorStream):
        distances, rows = nearest_others_of_stream(
            vectors, n_neighbors, normalize=normalize, progress=progress
        )
        return 1 - distances, rows, False
    is_exact = len(vectors) <= _MAX_EXACT
    if is_exact:
        distances, rows = nearest_others(vectors, n_neighbors, normalize=normalize)
    else:
        distances, rows = nearest_others_roughly(
            vectors, n_neighbors, normalize=normalize, progress=progress
        )
    return 1 - distances, rows, is_exact
