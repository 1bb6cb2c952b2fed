"""Tables from names to classes: a name on the command line, an instance in Python."""

import importlib
from collections.abc import Mapping
from typing import Any

from clusterkit.errors import InvalidInputError


class Registry(Mapping[str, type]):
    """A table from a name to a class that is imported only when it is looked up.

    Parameters
    ----------
    kind : str
        What the table holds, for messages ("clusterer").
    table : mapping of str to str
        Name to ``"module:Class"``.

    Examples
    --------
    >>> table = Registry("number", {"fraction": "fractions:Fraction"})
    >>> table.create("fraction", numerator=3)
    Fraction(3, 1)
    """

    def __init__(self, kind: str, table: Mapping[str, str]) -> None:
        self.kind = kind
        self._table = dict(table)

    def __getitem__(self, name: str) -> type:
        try:
            module, _, attribute = self._table[name].partition(":")
        except KeyError:
            allowed = ", ".join(self._table)
            raise InvalidInputError(
                f"{self.kind} must be one of {allowed}. Received: {name!r}"
            ) from None
        return getattr(importlib.import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __iter__(self) -> Any:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def create(self, name_or_instance: Any, **parameters: Any) -> Any:
        """Build the named class with the given parameters; an instance comes back as it is."""
        if isinstance(name_or_instance, str):
            return self[name_or_instance](**parameters)
        return name_or_instance
