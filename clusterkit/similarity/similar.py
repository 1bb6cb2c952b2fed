"""Find the images most similar to a given one."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.results import Rows, TableResult
from clusterkit.errors import (
    ImageError,
    InvalidInputError,
    NotFoundError,
    SpaceMismatchError,
)
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import digest_bytes, read_bytes
from clusterkit.images.thumbnails import thumbnails
from clusterkit.similarity.catalogue import Catalogue, as_searchable
from clusterkit.similarity.explanation import Explanation, explain_vectors, select_image
from clusterkit.similarity.nearest import nearest_of_any_length
from clusterkit.similarity.scaling import find_scaling
from clusterkit.store.embeddings import Embeddings, describe_space
from clusterkit.utils.arguments import check_at_least, check_seed
from clusterkit.utils.locations import absolute, as_path, find_gone, is_gone, join, real_path
from clusterkit.utils.text import join_lines, plural, unescape_path

if TYPE_CHECKING:
    from clusterkit.extractors.base import Extractor

# Number of missing nearest images after which no further files are checked.
_MAX_GONE = 1_000


@dataclass(frozen=True, eq=False, repr=False)
class SimilarImages(TableResult):
    """The nearest images of a query, in descending order of similarity.

    Attributes
    ----------
    query : Embeddings
        The query image, as one row.
    embeddings : Embeddings or Catalogue
        The searched images.
    rows : ndarray of shape (n_neighbors,), int64
        The neighbours' rows in ``embeddings``.
    similarities : ndarray of shape (n_neighbors,), float64
        Cosine similarities, in [-1, 1]; of class probabilities, those of their square roots, see
        :func:`~clusterkit.similarity.scaling.scale_rows`.
    n_gone : int
        Number of nearer images left out because their files no longer exist.  If no file exists, as
        on a disk that is not mounted, none are left out.
    """

    query: Embeddings
    embeddings: Embeddings | Catalogue
    rows: NDArray[np.int64]
    similarities: NDArray[np.float64]
    n_gone: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return query and results as JSON-able values."""
        paths = self.embeddings.paths
        return {
            "query": self.query.paths[0],
            "root": None if self.embeddings.root is None else str(self.embeddings.root),
            "results": [
                {"path": paths[row], "similarity": float(similarity)}
                for row, similarity in zip(self.rows, self.similarities, strict=True)
            ],
            "gone": self.n_gone,
        }

    def to_text(self) -> str:
        """Return the similarity and path of each neighbour, one per line."""
        results = self.to_dict()["results"]
        return join_lines(f"{one['similarity']:.3f}  {one['path']}" for one in results)

    def _headline(self) -> str:
        """Return the number of images, and the query."""
        return f"{plural(len(self.rows), 'image')} similar to {self._query_name()}"

    def _query_name(self) -> str:
        """Return the path of the query; a bare vector has none."""
        return self.query.paths[0] or "a vector"

    def _table(self) -> Rows:
        """Return the path and similarity of each neighbour."""
        rows = [list(one.values()) for one in self.to_dict()["results"]]
        return Rows(["path", "similarity"], rows)

    def _table_shown(self) -> Rows:
        """Return the table, with the query and pictures."""
        if self.embeddings.root is None:
            return self._table()
        rows = [[self._query_name(), 1.0], *self._table().cells]
        files = [*self.query.files, *self.embeddings[self.rows].files]
        pictures = zip(thumbnails(files), rows, strict=True)
        return Rows(["", "path", "similarity"], [[picture, *row] for picture, row in pictures])


def find_similar(
    image: Any,
    embeddings: Any,
    *,
    n_neighbors: int = 10,
    weights: str | Path | None = None,
    stream: bool | None = None,
    progress: bool = False,
) -> SimilarImages:
    """Find the images most similar to a given one by exact cosine search.

    Parameters
    ----------
    image : path, int, one-row Embeddings, or ndarray of shape (dimension,)
        A file, or an image of ``embeddings``; see :func:`locate`.
    embeddings : Embeddings, array-like of shape (n, dimension), Store, Space, or path of a store
        The images to search.  The query file itself and files that no longer exist are left out.
        A space that is large (see :func:`clusterkit.store.is_large`) is searched on disk, by
        means of files that the first search makes in the cache; the result is the same.
    n_neighbors : int
        Maximum number of images to return.
    weights : path, optional
        The network's weights, if the query is not among the embeddings.
    stream : bool, optional
        Whether to search a space on disk; by default if it is large.
    progress : bool
        Whether to show a progress bar while these files are made.

    Returns
    -------
    SimilarImages
        The neighbours, in descending order of similarity; ties are in order of path.

    Raises
    ------
    NotFoundError
        If the image does not exist.
    InvalidInputError
        If the file is not an image, ``n_neighbors`` is below 1, or the embeddings are empty.
    SpaceMismatchError
        If a vector is from a different embedding space.

    Examples
    --------
    >>> emb = Embeddings(np.array([[1, 0], [1, 0.1], [0, 1]]), paths=["a.png", "b.png", "c.png"])
    >>> find_similar("a.png", emb, n_neighbors=1).to_dict()["results"][0]["path"]
    'b.png'
    """
    check_at_least(n_neighbors, 1, "n_neighbors")
    searched = as_searchable(embeddings, stream=stream, progress=progress)
    query, own = _look_up(image, searched, weights)
    if len(own) == len(searched):
        raise InvalidInputError(
            f"there is nothing to compare {image} with: the store holds "
            f"{plural(len(searched), 'embedded image')}"
        )
    return _nearest_present(query, searched, own, n_neighbors)


def explain(
    a: Any,
    b: Any,
    embeddings: Any,
    *,
    weights: str | Path | None = None,
    extractor: Extractor | None = None,
    bins: int | None = None,
    random_state: int | None = None,
    stream: bool | None = None,
    progress: bool = False,
) -> Explanation:
    """Explain why two images are, or are not, similar; they need not be among the embeddings.

    If the files and the weights of the network exist, the pictures themselves are also examined:
    where in them the similarity is, and how much of it is colour tone.

    Parameters
    ----------
    a, b : path, int, one-row Embeddings, or ndarray of shape (dimension,)
        Files, or images of ``embeddings``; see :func:`locate`.
    embeddings : Embeddings, array-like of shape (n, dimension), Store, Space, or path of a store
        The images that the two are compared with; those of a large space stay on disk, as for
        :func:`find_similar`.
    weights : path, optional
        The network's weights, if their file has moved.
    extractor : Extractor, optional
        The extractor that made the embeddings; by default the one recorded in their space.
    bins : int, optional
        Number of bins of the histograms; see
        :func:`~clusterkit.similarity.explanation.latent_histograms`.
    random_state : int, optional
        Seed of the images that tone is compared with and, if there are too many pairs, of the
        sample of pairs.
    stream, progress
        As for :func:`find_similar`.

    Returns
    -------
    Explanation
        Similarity, its rank among all pairs, where in the pictures it is, shared features and
        neighbours, histograms, and the share of colour tone.  ``missing`` lists what could not be
        answered.

    Raises
    ------
    NotFoundError
        If an image does not exist.
    InvalidInputError
        If a file is not an image, or a row or vector does not fit.
    SpaceMismatchError
        If a vector is from a different embedding space.

    Examples
    --------
    >>> emb = Embeddings(np.array([[3, 4, 0], [4, 3, 0], [0, 0, 1]]), paths=["a", "b", "c"])
    >>> explanation = explain("a", 1, emb)
    >>> round(explanation.similarity, 2), explanation.n_pairs, explanation.intersection
    (0.96, 3, 1.0)
    """
    from clusterkit.extractors.by_name import RememberedExtractor
    from clusterkit.similarity.picture_explanation import explain_pictures

    check_seed(random_state)
    embeddings = as_searchable(embeddings, stream=stream, progress=progress)
    if extractor is not None and embeddings.fingerprint not in (None, extractor.fingerprint):
        raise SpaceMismatchError(
            f"extractor must be what made the embeddings of {describe_space(embeddings.space)}. "
            f"Received: {extractor.name}-{extractor.fingerprint[:8]}"
        )
    first, second = (_look_up(image, embeddings, weights, extractor)[0] for image in (a, b))
    found = explain_vectors(first, second, embeddings, bins=bins, random_state=random_state)
    pictures = explain_pictures(
        (first, second),
        extractor or RememberedExtractor(embeddings.space, weights=weights),
        embeddings,
        percentile=found.percentile,
        random_state=random_state,
    )
    return replace(found, **pictures._asdict())


def locate(
    image: Any,
    embeddings: Embeddings,
    *,
    weights: str | Path | None = None,
) -> Embeddings:
    """Return the embedding of one image, running the network only for unknown content.

    Parameters
    ----------
    image : path, int, one-row Embeddings, or ndarray of shape (dimension,)
        A file or, if no such file exists, a path in ``embeddings`` or the end of one, such as its
        name.  Known files are recognised by the digest of their bytes; other files are embedded by
        the same network.  Also a row of ``embeddings``, or a vector of the same space.
    embeddings : Embeddings
        The known images.
    weights : path, optional
        The network's weights, if their file has moved.

    Returns
    -------
    Embeddings
        One row.

    Raises
    ------
    NotFoundError
        If there is neither such a file nor such a path in the embeddings.
    InvalidInputError
        If the file is not a readable image, or several paths have this end.
    WeightsError, SpaceMismatchError
        If the network is unavailable, or is not the one that made the embeddings.
    """
    return _look_up(image, embeddings, weights)[0]


def _look_up(
    image: Any,
    embeddings: Embeddings | Catalogue,
    weights: str | Path | None,
    extractor: Extractor | None = None,
) -> tuple[Embeddings, list[int]]:
    """Return the embedding of an image, and the rows of the same file."""
    if not isinstance(image, str | os.PathLike):
        query = select_image(image, embeddings)
        if isinstance(image, int | np.integer):
            return query, [int(image) % len(embeddings)]
        own = embeddings.find(query.files[0]) if isinstance(image, Embeddings) else None
        return query, [] if own is None else [own]
    # A file takes precedence over a stored image of the same name elsewhere.
    own = embeddings.find(absolute(image))
    if is_gone(image):
        if own is None:
            own = embeddings.find(unescape_path(str(image)))
        try:
            row = embeddings.row(image) if own is None else own
        except NotFoundError as error:
            if any(str(image) == failure.path for failure in embeddings.failures):
                raise
            message = f"no such file: {image}, and no such path in the store"
            raise NotFoundError(message) from error
        return embeddings[[row]], [row]
    try:
        data = read_bytes(image)
        same = embeddings.rows_of_content(digest_bytes(data))
        if not same:
            # Check that the file is an image before loading the network.
            decode_image(data)
    except ImageError as error:
        raise InvalidInputError(f"{image}: {error}") from error
    place = real_path(image)
    files = [join(embeddings.root or "", embeddings.paths[row]) for row in same]
    rows = {row for row, file in zip(same, files, strict=True) if real_path(file) == place}
    rows |= {row for row in (own, embeddings.find(place)) if row is not None}
    if not same:
        if extractor is None:
            from clusterkit.extractors.by_name import RememberedExtractor

            extractor = RememberedExtractor(embeddings.space, weights=weights)
        return _embed_query(as_path(image), extractor), sorted(rows)
    # Prefer the file's own row to that of a copy.
    return embeddings[[min(same, key=lambda row: row not in rows)]], sorted(rows)


def _nearest_present(
    query: Embeddings, embeddings: Embeddings | Catalogue, own: list[int], n_neighbors: int
) -> SimilarImages:
    """Return the nearest images of a query whose files exist."""
    root = embeddings.root
    # If the folder is gone, no file needs to be checked.
    is_away = root is not None and is_gone(root)
    n_wanted = min(n_neighbors, len(embeddings) - len(own))
    n_looked_at = n_wanted + len(own)
    while True:
        distances, found = _search(embeddings, query.vectors, n_looked_at)
        is_other = ~np.isin(found[0], own)
        rows, similarities = found[0][is_other], 1.0 - distances[0][is_other]
        # Without a root, paths may be mere names.
        files = [] if root is None else [join(root, embeddings.paths[row]) for row in rows]
        gone = find_gone(files)
        is_there = np.array([file not in gone for file in files] or [True] * len(rows), np.bool_)
        n_there = np.count_nonzero(is_there)
        # If none of many files exists, as for imported vectors, further ones are not checked.
        is_away |= not n_there and n_looked_at >= _MAX_GONE
        if n_there >= n_wanted or n_looked_at == len(embeddings) or is_away:
            break
        n_looked_at = min(4 * n_looked_at, len(embeddings))
    if not n_there:
        return SimilarImages(query, embeddings, rows[:n_wanted], similarities[:n_wanted])
    shown = np.flatnonzero(is_there)[:n_wanted]
    # Count missing files nearer than the last result, or all of them if there are too few results.
    n_passed = len(rows) if len(shown) < n_wanted else int(shown[-1]) + 1
    return SimilarImages(
        query, embeddings, rows[shown], similarities[shown], n_gone=n_passed - len(shown)
    )


def _search(
    embeddings: Embeddings | Catalogue, queries: NDArray[np.float32], n_neighbors: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the nearest images of vectors, in memory or on disk."""
    if isinstance(embeddings, Catalogue):
        return embeddings.nearest(queries, n_neighbors)
    vectors = embeddings.vectors
    return nearest_of_any_length(vectors, queries, n_neighbors, normalize=find_scaling(vectors))


def _embed_query(image: Path, extractor: Extractor) -> Embeddings:
    """Embed a new image with the network that made the embeddings."""
    from clusterkit.embedding.embed import embed

    query = embed([image], extractor)
    if query.failures:
        raise InvalidInputError(f"{image}: {query.failures[0].reason}")
    return query
