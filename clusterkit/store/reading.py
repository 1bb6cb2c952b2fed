"""Take embeddings in whatever form they are given."""

from __future__ import annotations

import os
from typing import Any

from clusterkit.store.embeddings import Embeddings
from clusterkit.store.space import Space
from clusterkit.store.store import Store
from clusterkit.store.stream import VectorStream
from clusterkit.utils.memory import available_memory

# A space is large if its vectors take more bytes than this, or than this share of the free memory.
# The first limit mostly decides, so that the result does not depend on the machine.
LARGE_BYTES, LARGE_SHARE = 2**30, 0.25


def is_large(space: Space) -> bool:
    """Return whether a space is to be read part by part instead of being loaded.

    It is if its vectors take more than 1 GiB, or more than a quarter of the memory that is
    available: what loads them needs up to four times as much.
    """
    free = available_memory()
    limit = LARGE_BYTES if free is None else min(LARGE_BYTES, int(LARGE_SHARE * free))
    return space.vector_bytes > limit


def open_space(space: Space, *, stream: bool | None = None) -> Embeddings | VectorStream:
    """Load a space, or open it as a stream of its parts.

    Parameters
    ----------
    space : Space
        The space.
    stream : bool, optional
        Whether to open it as a stream; by default if it is large, see :func:`is_large`.
    """
    return space.stream() if (is_large(space) if stream is None else stream) else space.read()


def as_space(source: Any) -> Any:
    """Return the space of a store, or of the path of one; anything else as it is."""
    if isinstance(source, str | os.PathLike):
        source = Store(source)
    return source.space() if isinstance(source, Store) else source


def as_embeddings(source: Any) -> Embeddings:
    """Return embeddings, read from the store if one is given.

    Parameters
    ----------
    source : Embeddings, array-like of shape (n, dimension), Store, Space, or path of a store
        Of a store, its default space.

    Raises
    ------
    NotFoundError
        If there is no such store.
    InvalidInputError
        If it is none of these.
    """
    source = as_space(source)
    if isinstance(source, Embeddings):
        return source
    return source.read() if isinstance(source, Space) else Embeddings(source)
