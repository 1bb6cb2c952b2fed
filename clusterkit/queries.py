"""Find an image among embeddings, and the images most similar to it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.decoding import decode_image
from clusterkit.embeddings import Embeddings
from clusterkit.errors import (
    ImageError,
    InvalidInputError,
    NotFoundError,
    SpaceMismatchError,
    WeightsError,
)
from clusterkit.images import digest_bytes, read_bytes
from clusterkit.search import nearest, unit_rows


@dataclass(frozen=True, eq=False)
class SimilarImages:
    """The images nearest to a query, the most similar first.

    Attributes
    ----------
    query : Embeddings
        One row: the image that was asked about.
    embeddings : Embeddings
        The images that were searched.
    rows : ndarray of shape (n_neighbors,), int64
        The neighbours' rows in ``embeddings``.
    similarities : ndarray of shape (n_neighbors,), float64
        Cosine similarities, in [-1, 1].
    """

    query: Embeddings
    embeddings: Embeddings
    rows: NDArray[np.int64]
    similarities: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Return query and results as JSON-able values."""
        paths = self.embeddings.paths
        return {
            "query": self.query.paths[0],
            "root": str(self.embeddings.root),
            "results": [
                {"path": paths[row], "similarity": float(similarity)}
                for row, similarity in zip(self.rows, self.similarities, strict=True)
            ],
        }


def find_similar(
    image: str | os.PathLike[str],
    embeddings: Embeddings,
    *,
    n_neighbors: int = 10,
    weights: str | Path | None = None,
) -> SimilarImages:
    """Find the images that are most similar to one, by exact cosine search.

    Parameters
    ----------
    image : path
        A file, or a path in ``embeddings``; see :func:`locate`.
    embeddings : Embeddings
        The images to search.  The query's own row is left out.
    n_neighbors : int
        How many to return; fewer where there are fewer.
    weights : path, optional
        The network's weights, for a query that is not among the embeddings.

    Returns
    -------
    SimilarImages
        The neighbours, the most similar first; ties are in order of path.

    Raises
    ------
    NotFoundError
        If the image does not exist.
    InvalidInputError
        If the file is no image, ``n_neighbors`` is below 1, or there is nothing to search.

    Examples
    --------
    >>> emb = Embeddings(np.array([[1, 0], [1, 0.1], [0, 1]]), paths=["a.png", "b.png", "c.png"])
    >>> find_similar("a.png", emb, n_neighbors=1).to_dict()["results"][0]["path"]
    'b.png'
    """
    if n_neighbors < 1:
        raise InvalidInputError(f"n_neighbors must be at least 1. Received: {n_neighbors}")
    query = locate(image, embeddings, weights=weights)
    own = embeddings.find(image)
    others = np.array([row for row in range(len(embeddings)) if row != own], dtype=np.int64)
    if not len(others):
        raise InvalidInputError(
            f"there is nothing to compare {image} with: the store holds "
            f"{len(embeddings)} embedded images"
        )
    distances, found = nearest(
        unit_rows(embeddings.vectors[others]),
        unit_rows(query.vectors),
        min(n_neighbors, len(others)),
    )
    return SimilarImages(query, embeddings, others[found[0]], 1.0 - distances[0])


def locate(
    image: str | os.PathLike[str],
    embeddings: Embeddings,
    *,
    weights: str | Path | None = None,
) -> Embeddings:
    """Return the embedding of one image, without a network where its content is known.

    Parameters
    ----------
    image : path
        A file, or a path in ``embeddings``.  A file is known by the digest of its bytes; any other
        goes through the network that made the embeddings.
    embeddings : Embeddings
        The known images.
    weights : path, optional
        The network's weights, if they are no longer where they were.

    Returns
    -------
    Embeddings
        One row.

    Raises
    ------
    NotFoundError
        If there is no such file, nor such a path in the embeddings.
    InvalidInputError
        If the file is no readable image.
    WeightsError, SpaceMismatchError
        If the network cannot be had, or is not the one that made the embeddings.
    """
    if not os.path.lexists(image):
        if embeddings.find(image) is None and not any(
            str(image) == failure.path for failure in embeddings.failures
        ):
            raise NotFoundError(f"no such file: {image}, and no such path in the store")
        return embeddings[[embeddings.row(image)]]
    try:
        data = read_bytes(image)
        row = _find_content(digest_bytes(data), image, embeddings)
        if row is None:
            # Before the network is loaded: a file that is no image needs none.
            decode_image(data)
    except ImageError as error:
        raise InvalidInputError(f"{image}: {error}") from error
    return _embed_query(Path(image), embeddings, weights) if row is None else embeddings[[row]]


def _find_content(digest: str, image: str | os.PathLike[str], embeddings: Embeddings) -> int | None:
    """Return the row of some content, the image's own row before that of a copy."""
    digests = embeddings.digests
    if digests is None or digest not in digests:
        return None
    row = embeddings.find(image)
    return row if row is not None and digests[row] == digest else digests.index(digest)


def _embed_query(image: Path, embeddings: Embeddings, weights: str | Path | None) -> Embeddings:
    """Run the network that made the embeddings on a new image."""
    from clusterkit.extractors import WITHOUT_NETWORK, create_extractor
    from clusterkit.pipeline import embed

    space = embeddings.space
    source, name = space.get("weights_source"), space.get("extractor", "")
    if source is None and name not in WITHOUT_NETWORK:
        raise WeightsError(
            f"{image} is not among the embedded images, and what made them is not known"
        )
    if str(source).endswith(".keras"):
        # An autoencoder is its own file; the weights of a network, set for all commands, are not.
        moved = weights is not None and str(weights).endswith(".keras")
        extractor = create_extractor(str(weights if moved else source))
    else:
        if weights is None and source != "imagenet":
            weights = source
        resize = space["parameters"].get("resize", "stretch")
        extractor = create_extractor(name, weights=weights, resize=resize)
    if extractor.fingerprint != embeddings.fingerprint:
        raise SpaceMismatchError(
            f"{weights or source} is not what made the embeddings of {name}: give "
            "the weights that they were made with (--weights), or embed again"
        )
    query = embed([image], extractor)
    if query.failures:
        raise InvalidInputError(f"{image}: {query.failures[0].reason}")
    return query
