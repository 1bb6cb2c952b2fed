"""Convert embeddings given in any form."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np

from clusterkit.store.embeddings import Embeddings, RandomSample
from clusterkit.store.space import Space
from clusterkit.store.store import Store
from clusterkit.store.stream import VectorStream
from clusterkit.utils.arguments import check_at_least, generator_from
from clusterkit.utils.memory import available_memory

# A space is large if its vectors take more bytes than this, or than this share of the free memory.
# The first limit usually applies, so that the result does not depend on the machine.
LARGE_BYTES, LARGE_SHARE = 2**30, 0.25


def is_large(space: Space) -> bool:
    """Return whether a space is to be read part by part instead of being loaded.

    It is if its vectors take more than 1 GiB, or more than a quarter of the available memory:
    loading them needs up to four times as much.

    Parameters
    ----------
    space : Space
        The space.

    Returns
    -------
    bool
        Whether it is large.
    """
    free = available_memory()
    limit = LARGE_BYTES if free is None else min(LARGE_BYTES, int(LARGE_SHARE * free))
    return space.vector_bytes > limit


def read_or_stream(space: Space, *, stream: bool | None = None) -> Embeddings | VectorStream:
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
    """Return the default space of a store or of its path; return anything else unchanged."""
    if isinstance(source, str | os.PathLike):
        source = Store(source)
    return source.space() if isinstance(source, Store) else source


def as_vectors(source: Any, *, stream: bool | None = None) -> Embeddings | VectorStream:
    """Return embeddings, or those of a large space as a stream.

    Parameters
    ----------
    source : Embeddings, VectorStream, array-like, Store, Space, or path of a store
        Of a store, its default space.
    stream : bool, optional
        Whether to open a space as a stream; by default if it is large, see :func:`is_large`.

    Raises
    ------
    NotFoundError
        If there is no such store.
    InvalidInputError
        If the source is none of these.
    """
    source = as_space(source)
    if isinstance(source, Space):
        return read_or_stream(source, stream=stream)
    return source if isinstance(source, Embeddings | VectorStream) else Embeddings(source)


def as_embeddings(source: Any) -> Embeddings:
    """Return embeddings, read from the store if one is given.

    Parameters
    ----------
    source : Embeddings, array-like of shape (n, dimension), Store, Space, or path of a store
        Of a store, its default space.

    Returns
    -------
    Embeddings
        The given ones, those of a space, or an array as embeddings without paths.

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


def as_sample(
    source: Any,
    size: int | None = None,
    *,
    random_state: int | None = None,
    progress: bool = False,
) -> Embeddings:
    """Return embeddings, or a random sample of them if they are too many to be loaded.

    Parameters
    ----------
    source : Embeddings, VectorStream, array-like, Store, Space, or path of a store
        Of a store, its default space.
    size : int, optional
        Maximum number of images; by default 20,000 of a stream or a large space (see
        :func:`is_large`), otherwise all.
    random_state : int, optional
        Seed of the sample.
    progress : bool
        Whether to show a progress bar while a stream is read.

    Returns
    -------
    Embeddings
        ``sampled`` describes the sample, if it is one.

    Raises
    ------
    NotFoundError
        If there is no such store.
    InvalidInputError
        If the size is below 1, or the source is none of these.
    """
    if size is not None:
        check_at_least(size, 1, "sample")
    loaded = as_vectors(source)
    if isinstance(loaded, VectorStream):
        return loaded.sample(size, random_state=random_state, progress=progress)
    n = len(loaded)
    if size is None or size >= n:
        return loaded
    rows = np.sort(generator_from(random_state).choice(n, size, replace=False))
    some = replace(loaded[rows], failures=loaded.failures)
    return replace(some, sampled=RandomSample(size, n, random_state))
