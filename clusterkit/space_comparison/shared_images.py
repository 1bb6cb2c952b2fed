"""The spaces of a comparison, and the images that all of them hold."""

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError, StoreError
from clusterkit.store.embeddings import Embeddings, describe_space
from clusterkit.store.store import Store


def read_spaces(store: Store, extractors: Iterable[str] = ()) -> dict[str, Embeddings]:
    """Load spaces of a store, by the names of their folders.

    Parameters
    ----------
    store : Store
        The store.
    extractors : iterable of str
        Which spaces, as :meth:`~clusterkit.store.store.Store.space` takes them; by default all.

    Returns
    -------
    dict of str to Embeddings
        The one that was embedded into last first.

    Raises
    ------
    NotFoundError
        If there is no space, or one that was named is not there.

    Warns
    -----
    UserWarning
        For each space that is left out because it is damaged or holds no embedded image.
    """
    store.space()  # says what to do where there is none
    chosen = [store.space(name) for name in extractors] or store.spaces()
    found = {}
    for space in chosen:
        try:
            embeddings = space.read()
        except StoreError as error:
            warnings.warn(f"{space.folder.name} is left out: {error}", stacklevel=2)
            continue
        if len(embeddings):
            found[space.folder.name] = embeddings
        else:
            warnings.warn(
                f"{space.folder.name} is left out: it holds no embedded image", stacklevel=2
            )
    return found


def name_spaces(spaces: Any, extractors: Sequence[str] = ()) -> dict[str, Embeddings]:
    """Return what :func:`~clusterkit.space_comparison.compare_spaces` takes as named Embeddings.

    Raises
    ------
    InvalidInputError
        If there are fewer than two spaces, two of the same name, or a space is no finite matrix.

    Warns
    -----
    UserWarning
        If a space of a store is left out.
    """
    if isinstance(spaces, str | PathLike):
        spaces = Store(spaces)
    if isinstance(spaces, Store):
        spaces = read_spaces(spaces, extractors)
    elif extractors:
        raise InvalidInputError(
            "extractors choose among the spaces of a store; leave them out. "
            f"Received: {', '.join(extractors)}"
        )
    if isinstance(spaces, Mapping):
        named = [(str(name), _as_embeddings(space)) for name, space in spaces.items()]
    else:
        every = [_as_embeddings(space) for space in spaces]
        named = [
            (describe_space(space.space) if space.fingerprint else f"space {number}", space)
            for number, space in enumerate(every, start=1)
        ]
    if len(named) < 2:
        names = ", ".join(name for name, _ in named) or "none"
        raise InvalidInputError(
            f"a comparison needs at least two spaces. Received: {names}. Embed the same images "
            "with another extractor: `clusterkit embed FOLDER -e resnet50`, or -e pixels"
        )
    found: dict[str, Embeddings] = {}
    for name, space in named:
        if name in found:
            raise InvalidInputError(f"each space must come once. Twice: {name}")
        _check_finite(name, space)
        found[name] = space
    return found


def share_rows(spaces: Mapping[str, Embeddings]) -> dict[str, NDArray[np.int64]]:
    """Find the images that all spaces hold.

    An image is known by the digest of its content where every space has that, else by its file; one
    that lies there twice counts once.  Vectors whose images are not known go by their row.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        For each space the rows of the same ``n`` images, in the order of the first space.

    Raises
    ------
    InvalidInputError
        If there is no such image, or rows go by their number and the spaces differ in length.
    """
    counts = ", ".join(f"{name} {len(space)}" for name, space in spaces.items())
    if any(_is_nameless(space) for space in spaces.values()):
        if len({len(space) for space in spaces.values()}) > 1:
            raise InvalidInputError(
                "arrays go by rows, of which all spaces must have the same number. "
                f"Received: {counts}"
            )
        return {name: np.arange(len(space)) for name, space in spaces.items()}
    by_content = all(_has_digests(space) for space in spaces.values())
    rows_of = {name: _rows_of_images(space, by_content) for name, space in spaces.items()}
    first, *others = rows_of.values()
    images = [image for image in first if all(image in rows for rows in others)]
    if not images:
        raise InvalidInputError(
            "the spaces must share images, and these have none in common. Received numbers of "
            f"images: {counts}"
        )
    return {
        name: np.array([rows[image] for image in images], dtype=np.int64)
        for name, rows in rows_of.items()
    }


def _as_embeddings(space: Any) -> Embeddings:
    """Return Embeddings as they are, and an array as Embeddings of unknown origin."""
    return space if isinstance(space, Embeddings) else Embeddings(np.asarray(space, np.float32))


def _check_finite(name: str, space: Embeddings) -> None:
    """Refuse NaN and infinity, and name the image."""
    finite = np.isfinite(space.vectors).all(axis=1)
    if not finite.all():
        path = space.paths[int(np.flatnonzero(~finite)[0])]
        raise InvalidInputError(
            f"vectors must be finite. Received: NaN or infinity in {name}, image {path}"
        )


def _is_nameless(space: Embeddings) -> bool:
    """Tell whether the images are known by nothing but their row."""
    return space.paths == [str(row) for row in range(len(space))]


def _has_digests(space: Embeddings) -> bool:
    """Tell whether the content of every image is known."""
    return space.digests is not None and all(space.digests)


def _rows_of_images(space: Embeddings, by_content: bool) -> dict[Hashable, int]:
    """Map what an image is known by to its first row."""
    keys: Iterable[Hashable] = space.files
    if by_content and space.digests is not None:
        keys = space.digests
    rows: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, row)
    return rows
