"""Write embeddings, clusters and pictures for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.clustering.earlier import check_earlier, read_earlier
from clusterkit.errors import InvalidInputError
from clusterkit.images.thumbnails import encode_thumbnails
from clusterkit.similarity.nearest import nearest_others
from clusterkit.similarity.projection import project
from clusterkit.similarity.scaling import find_scaling
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.interchange import write_vectors
from clusterkit.store.store import as_vectors
from clusterkit.store.stream import VectorStream
from clusterkit.utils.text import escape_path

if TYPE_CHECKING:
    import pyarrow as pa

_N_NEIGHBORS = 10


def export_embeddings(
    embeddings: Any,
    output: str | Path,
    *,
    clusters: Any = None,
    viewer: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    r"""Write vectors and paths to a file; Parquet files also hold classes, clusters and pictures.

    Parameters
    ----------
    embeddings : Embeddings, VectorStream, Store, Space, or path of a store
        The embeddings; see :func:`clusterkit.store.as_embeddings`.  Of a stream, or of a space that
        is large (see :func:`clusterkit.store.is_large`), the parts are read and written one by one,
        and the rows are in storage order instead of order of path.
    output : path
        ``.npz`` (arrays ``vectors``, ``paths``, ``root``), ``.csv`` (``path`` and one column per
        dimension, written by :func:`clusterkit.datasets.tables.to_csv`, which escapes formulas), or
        ``.parquet`` with the columns below; ``root`` in the schema's metadata.  Bytes of a path
        that are not UTF-8 are written as ``\udcxx``.
    clusters : Clustering or path, optional
        For Parquet: a clustering or its ``clusters.csv``.
    viewer : bool
        For Parquet: whether to add what viewers show: a map, neighbours and small pictures.
    overwrite : bool
        Whether to overwrite an existing file.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    pathlib.Path
        The written file.

    Raises
    ------
    InvalidInputError
        If the suffix is unknown or does not support the options, no image is in a cluster, or the
        file cannot be written.
    OutputExistsError
        If the file exists and ``overwrite`` is False.

    Notes
    -----
    The columns of a Parquet file, where known:

    ========================  ======================================================================
    ``path``, ``filepath``    relative to the root, and absolute, as in FiftyOne
    ``digest``                SHA-256 of the file
    ``cluster``, ``name``     number and name of the cluster; null outside of ``clusters``
    ``top_class``             the most probable ImageNet class; ``top5`` has five with probabilities
    ``x``, ``y``              the first two principal components, see
                              :func:`clusterkit.similarity.projection.project`
    ``neighbors``             ``ids`` (rows of the table) and ``distances`` (cosine) of the nearest
                              images, as in embedding-atlas
    ``image``                 ``bytes`` of a small JPEG picture and ``path``, as in Hugging Face
                              data sets; null for files that cannot be read
    ``vector``                the embedding
    ========================  ======================================================================

    ``x``, ``y``, ``neighbors`` and ``image`` are for viewers.  ``embedding-atlas FILE --image image
    --x x --y y --neighbors neighbors`` serves the table; ``fiftyone.Sample(filepath=...)`` takes
    its rows.
    """
    opened, output = _open(embeddings, is_whole=viewer), Path(output)
    if output.suffix.lower() != ".parquet":
        if clusters is not None or viewer:
            raise InvalidInputError(
                f"clusters and what viewers show are for .parquet files. Received: {output}"
            )
        return write_vectors(opened, output, overwrite=overwrite, progress=progress)
    columns = _describe(opened)
    if clusters is not None:
        columns |= _cluster_columns(opened, clusters)
    columns |= _class_columns(opened)
    if isinstance(opened, Embeddings) and viewer:
        columns |= _viewer_columns(opened)
    return write_vectors(opened, output, columns, overwrite=overwrite, progress=progress)


def _open(source: Any, *, is_whole: bool) -> Embeddings | VectorStream:
    """Return embeddings; of a large space a stream, unless they are needed as a whole."""
    opened = as_vectors(source, stream=False if is_whole else None)
    if isinstance(opened, VectorStream) and is_whole:
        raise InvalidInputError(
            "a map and neighbours need all vectors: pass the Embeddings of Space.read(). "
            f"Received: {opened!r}"
        )
    return opened


def _describe(embeddings: Embeddings | VectorStream) -> dict[str, Any]:
    """Return the columns of the files."""
    import pyarrow as pa

    root = embeddings.root or Path()
    files = (escape_path(str(root / path)) for path in embeddings.paths)
    columns: dict[str, Any] = {"filepath": (pa.string(), files)}
    if embeddings.digests is not None:
        columns["digest"] = (pa.string(), embeddings.digests)
    return columns


def _cluster_columns(embeddings: Embeddings | VectorStream, clusters: Any) -> dict[str, Any]:
    """Return the columns of a clustering, whichever space it is of."""
    import pyarrow as pa

    earlier = check_earlier(read_earlier(clusters), embeddings, any_space=True)
    label_of = dict(zip(earlier.paths, earlier.labels, strict=True))
    labels = [label_of.get(path) for path in embeddings.paths]
    columns = {"cluster": pa.array(labels, pa.int64())}
    if earlier.names:
        names = [None if label is None else earlier.names.get(label) for label in labels]
        columns["name"] = pa.array(names, pa.string())
    return columns


def _class_columns(embeddings: Embeddings | VectorStream) -> dict[str, Any]:
    """Return the most probable classes."""
    import pyarrow as pa

    top5 = embeddings.top5
    if top5 is None:
        return {}
    classes = pa.list_(pa.struct([("class", pa.string()), ("probability", pa.float64())]))
    best = (one[0][0] if one else None for one in top5)
    all_five = (
        [{"class": name, "probability": share} for name, share in one or ()] for one in top5
    )
    return {"top_class": (pa.string(), best), "top5": (classes, all_five)}


def _viewer_columns(embeddings: Embeddings) -> dict[str, Any]:
    """Return coordinates, neighbours and pictures."""
    import pyarrow as pa

    x, y = project(embeddings)[0].astype(np.float32).T
    distances, rows = nearest_others(
        embeddings.vectors, _N_NEIGHBORS, normalize=find_scaling(embeddings.vectors)
    )
    pictures = encode_thumbnails(embeddings.files)
    image = [
        None if picture is None else {"bytes": picture, "path": escape_path(path)}
        for picture, path in zip(pictures, embeddings.paths, strict=True)
    ]
    return {
        "x": pa.array(x),
        "y": pa.array(y),
        "neighbors": _struct(ids=rows, distances=distances),
        "image": pa.array(image, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
    }


def _struct(**columns: NDArray[Any]) -> pa.StructArray:
    """Return rows of lists of equal length as an Arrow column."""
    import pyarrow as pa

    offsets = {name: np.arange(len(rows) + 1) * rows.shape[1] for name, rows in columns.items()}
    lists: Sequence[Any] = [
        pa.ListArray.from_arrays(pa.array(offsets[name], pa.int32()), pa.array(rows.ravel()))
        for name, rows in columns.items()
    ]
    return pa.StructArray.from_arrays(lists, list(columns))
