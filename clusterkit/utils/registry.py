"""Names of functions and classes that are imported on use."""

import importlib
from collections.abc import Mapping
from typing import Any

from clusterkit.errors import InvalidInputError
from clusterkit.utils.text import did_you_mean


def load(place: str) -> Any:
    """Import a function or class.

    Parameters
    ----------
    place : str
        ``"module:name"``.

    Examples
    --------
    >>> load("math:sqrt")(9)
    3.0
    """
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


class Registry(Mapping[str, type]):
    """Mapping from names to classes, which are imported on access.

    Parameters
    ----------
    kind : str
        What the classes are, for messages ("clusterer").
    table : mapping of str to str
        ``"module:Class"`` of each name.

    Examples
    --------
    >>> table = Registry("number", {"fraction": "fractions:Fraction"})
    >>> table["fraction"](3)
    Fraction(3, 1)
    """

    def __init__(self, kind: str, table: Mapping[str, str]) -> None:
        self.kind = kind
        self._table = dict(table)

    def __getitem__(self, name: str) -> type:
        if name not in self:
            allowed = ", ".join(self._table)
            raise InvalidInputError(
                f"{self.kind} must be one of {allowed}. Received: {name!r}"
                f"{did_you_mean(name, self._table)}"
            )
        return load(self._table[name])

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __iter__(self) -> Any:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)
