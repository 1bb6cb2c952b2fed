"""Take embeddings in whatever form they are given."""

from __future__ import annotations

import os
from typing import Any

from clusterkit.store.embeddings import Embeddings
from clusterkit.store.space import Space
from clusterkit.store.store import Store


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
    if isinstance(source, Embeddings):
        return source
    if isinstance(source, str | os.PathLike):
        source = Store(source)
    if isinstance(source, Store | Space):
        return source.read()
    return Embeddings(source)
