"""Load the spaces of a comparison, and find their shared images."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ClusterkitWarning, InvalidInputError, StoreError
from clusterkit.store.embeddings import Embeddings, RandomSample, describe_space
from clusterkit.store.store import Store, read_or_stream
from clusterkit.store.stream import SAMPLE_SIZE, VectorStream
from clusterkit.utils.arguments import check_at_least, generator_from
from clusterkit.utils.locations import as_path

# A space, in memory or not.
Opened = Embeddings | VectorStream


def read_spaces(store: Store, extractors: Iterable[str] = ()) -> dict[str, Opened]:
    """Load spaces of a store by folder name.

    Parameters
    ----------
    store : Store
        The store.
    extractors : iterable of str
        Which spaces, as for :meth:`~clusterkit.store.store.Store.space`; by default all.

    Returns
    -------
    dict of str to Embeddings or VectorStream
        The spaces, the default first; a large one as a stream.

    Raises
    ------
    NotFoundError
        If there is no space, or a named one does not exist.

    Warns
    -----
    ClusterkitWarning
        For each space that is left out because it is damaged or empty.
    """
    store.space()  # raises an error with a remedy if there is none
    chosen = [store.space(name) for name in extractors] or store.spaces()
    found: dict[str, Opened] = {}
    for space in chosen:
        try:
            embeddings = read_or_stream(space)
        except StoreError as error:
            warnings.warn(
                f"{space.folder.name} is left out: {error}", ClusterkitWarning, stacklevel=2
            )
            continue
        if len(embeddings):
            found[space.folder.name] = embeddings
        else:
            warnings.warn(
                f"{space.folder.name} is left out: it holds no embedded image",
                ClusterkitWarning,
                stacklevel=2,
            )
    return found


def name_spaces(spaces: Any, extractors: Sequence[str] = ()) -> dict[str, Opened]:
    """Convert the input of :func:`~clusterkit.space_comparison.compare_spaces` to named Embeddings.

    Raises
    ------
    InvalidInputError
        If there are fewer than two spaces, two of the same name, or a space is not a finite matrix.

    Warns
    -----
    ClusterkitWarning
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
    if not isinstance(spaces, Iterable):
        raise InvalidInputError(
            "spaces must be a store, its path, or at least two spaces of vectors. "
            f"Received: {spaces!r}"
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
    found: dict[str, Opened] = {}
    for name, space in named:
        if name in found:
            raise InvalidInputError(f"each space must come once. Twice: {name}")
        _check_finite(name, space)
        found[name] = space
    return found


def share_rows(spaces: Mapping[str, Opened]) -> dict[str, NDArray[np.int64]]:
    """Find the images in all spaces.

    Images are identified by the digest of their content if every space has it, otherwise by file;
    duplicates count once.  Vectors without images are identified by row.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        The rows of the same ``n`` images in each space, in the order of the first space.

    Raises
    ------
    InvalidInputError
        If there are no shared images, or vectors without images differ in number.
    """
    counts = ", ".join(f"{name} {len(space)}" for name, space in spaces.items())
    if any(_is_nameless(space) for space in spaces.values()):
        if len({len(space) for space in spaces.values()}) > 1:
            raise InvalidInputError(
                f"spaces of arrays must have the same number of rows. Received: {counts}"
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


class Drawn(NamedTuple):
    """The shared images that are used.

    Attributes
    ----------
    spaces : dict of str to Embeddings
        The spaces, loaded.
    shared : dict of str to ndarray of shape (m,)
        The rows of the same images in each.
    chosen : ndarray of shape (m,)
        Their positions among all shared images.
    sampled : RandomSample or None
        The random sample that they are; None if they are all.
    """

    spaces: dict[str, Embeddings]
    shared: Mapping[str, NDArray[np.int64]]
    chosen: NDArray[np.int64]
    sampled: RandomSample | None


def draw_shared(
    spaces: Mapping[str, Opened],
    shared: Mapping[str, NDArray[np.int64]],
    size: int | None,
    random_state: int,
    *,
    progress: bool = False,
) -> Drawn:
    """Load the shared images, or a random sample of them if a space is too large for memory.

    Parameters
    ----------
    spaces : mapping of str to Embeddings or VectorStream
        The spaces.
    shared : mapping of str to ndarray of shape (n,)
        The rows of the shared images in each.
    size : int, optional
        Maximum number of images; by default 20,000 if a space is a stream, and all otherwise.
    random_state : int
        Seed.
    progress : bool
        Whether to show a progress bar while a stream is read.

    Raises
    ------
    InvalidInputError
        If the size is below 1.
    """
    if size is not None:
        check_at_least(size, 1, "sample")
    n = len(next(iter(shared.values())))
    in_memory = {name: one for name, one in spaces.items() if isinstance(one, Embeddings)}
    if size is None and len(in_memory) < len(spaces):
        size = SAMPLE_SIZE
    chosen = np.arange(n)
    if size is not None and size < n:
        chosen = np.sort(generator_from(random_state).choice(n, size, replace=False))
    elif len(in_memory) == len(spaces):
        return Drawn(in_memory, shared, chosen, None)
    loaded = {
        name: space[shared[name][chosen]]
        if isinstance(space, Embeddings)
        else space.take(shared[name][chosen], progress=progress)
        for name, space in spaces.items()
    }
    sampled = RandomSample(len(chosen), n, random_state) if len(chosen) < n else None
    return Drawn(loaded, dict.fromkeys(loaded, np.arange(len(chosen))), chosen, sampled)


def _as_embeddings(space: Any) -> Opened:
    """Return Embeddings unchanged, and an array as Embeddings of unknown origin."""
    if isinstance(space, Embeddings | VectorStream):
        return space
    return Embeddings(space)


def _check_finite(name: str, space: Opened) -> None:
    """Check that the vectors are finite; a stream is checked while it is read."""
    if isinstance(space, VectorStream):
        return
    finite = np.isfinite(space.vectors).all(axis=1)
    if not finite.all():
        path = space.paths[int(np.flatnonzero(~finite)[0])]
        raise InvalidInputError(
            f"vectors must be finite. Received: NaN or infinity in {name}, image {path}"
        )


def _is_nameless(space: Opened) -> bool:
    """Return whether the images are only identified by row."""
    return space.paths[:1] == ["0"] and space.paths == [str(row) for row in range(len(space))]


def _has_digests(space: Opened) -> bool:
    """Return whether every image has a digest."""
    return space.digests is not None and all(space.digests)


def _rows_of_images(space: Opened, by_content: bool) -> dict[Hashable, int]:
    """Map the identity of each image to its first row."""
    # For very many images, joining text is faster than making paths.
    folder = "" if space.root is None else f"{as_path(space.root)}/"
    keys: Iterable[Hashable] = (folder + path for path in space.paths)
    if by_content and space.digests is not None:
        keys = space.digests
    rows: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, row)
    return rows
