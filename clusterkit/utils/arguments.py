"""Arguments of functions, as people give them."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np


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


def as_plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python, which JSON and Keras take; others as they are.

    Examples
    --------
    >>> as_plain(np.int64(3)), as_plain("3")
    (3, '3')
    """
    return value.item() if isinstance(value, np.generic) else value
