"""Arguments of functions, as people give them."""

import os
from collections.abc import Iterable
from typing import Any


def as_list(given: Any) -> list[Any]:
    """Return several values as a list, and one value as a list of it.

    A text or a path is one value: its characters are never taken for the values.

    Examples
    --------
    >>> as_list("raw/"), as_list(("raw/", "*.tif")), as_list(3)
    (['raw/'], ['raw/', '*.tif'], [3])
    """
    is_one = isinstance(given, str | os.PathLike) or not isinstance(given, Iterable)
    return [given] if is_one else list(given)
