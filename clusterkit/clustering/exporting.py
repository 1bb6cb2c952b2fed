r"""Write embeddings, clusters and pictures for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.clustering.saved import check_earlier, read_earlier
from clusterkit.errors import InvalidInputError
from clusterkit.images.thumbnails import encode_thumbnails
from clusterkit.similarity.nearest import nearest_others
from clusterkit.similarity.projection import project
from clusterkit.store.interchange import write_vectors
from clusterkit.store.reading import as_embeddings
from clusterkit.utils.paths import escape_path

if TYPE_CHECKING:
    import pyarrow as pa

    from clusterkit.store.embeddings import Embeddings

_N_NEIGHBORS = 10


def export_embeddings(
    embeddings: Any,
    output: str | Path,
    *,
    clusters: Any = None,
    viewer: bool = False,
    overwrite: bool = False,
) -> Path:
    r"""Write vectors and paths to a file, and in Parquet what is known of the images.

    Parameters
    ----------
    embeddings : Embeddings, Store, Space, or path of a store
        The embeddings; see :func:`clusterkit.store.as_embeddings`.
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

    Returns
    -------
    pathlib.Path
        The written file.

    Raises
    ------
    InvalidInputError
        If the suffix is unknown or not that of the options, no image is in a cluster, or the file
        cannot be written.
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

    The last three but one are for viewers.  ``embedding-atlas FILE --image image --x x --y y
    --neighbors neighbors`` serves the table; ``fiftyone.Sample(filepath=...)`` takes its rows.
    """
    embeddings, output = as_embeddings(embeddings), Path(output)
    if output.suffix.lower() != ".parquet":
        if clusters is not None or viewer:
            raise InvalidInputError(
                f"clusters and what viewers show are for .parquet files. Received: {output}"
            )
        return write_vectors(embeddings, output, overwrite=overwrite)
    columns = _describe(embeddings)
    if clusters is not None:
        columns |= _cluster_columns(embeddings, clusters)
    columns |= _class_columns(embeddings)
    if viewer:
        columns |= _viewer_columns(embeddings)
    return write_vectors(embeddings, output, columns, overwrite=overwrite)


def _describe(embeddings: Embeddings) -> dict[str, Any]:
    """Return the columns of the files."""
    columns = {"filepath": [escape_path(str(file)) for file in embeddings.files]}
    return columns if embeddings.digests is None else columns | {"digest": embeddings.digests}


def _cluster_columns(embeddings: Embeddings, clusters: Any) -> dict[str, Any]:
    """Return the columns of a clustering, whichever space it is of."""
    import pyarrow as pa

    earlier = check_earlier(read_earlier(clusters)._replace(fingerprint=None), embeddings)
    label_of = dict(zip(earlier.paths, earlier.labels, strict=True))
    labels = [label_of.get(path) for path in embeddings.paths]
    columns = {"cluster": pa.array(labels, pa.int64())}
    if earlier.names:
        names = [None if label is None else earlier.names.get(label) for label in labels]
        columns["name"] = pa.array(names, pa.string())
    return columns


def _class_columns(embeddings: Embeddings) -> dict[str, Any]:
    """Return the most probable classes."""
    if embeddings.top5 is None:
        return {}
    top5 = [
        [{"class": name, "probability": share} for name, share in classes or ()]
        for classes in embeddings.top5
    ]
    return {"top_class": [one[0]["class"] if one else None for one in top5], "top5": top5}


def _viewer_columns(embeddings: Embeddings) -> dict[str, Any]:
    """Return coordinates, neighbours and pictures."""
    import pyarrow as pa

    x, y = project(embeddings)[0].astype(np.float32).T
    distances, rows = nearest_others(embeddings.vectors, _N_NEIGHBORS)
    pictures = encode_thumbnails(embeddings.files)
    image = [
        None if picture is None else {"bytes": picture, "path": escape_path(path)}
        for picture, path in zip(pictures, embeddings.paths, strict=True)
    ]
    return {
        "x": x,
        "y": y,
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
