"""Arguments of functions, as people give them: lists, numbers, vectors and seeds."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from clusterkit.errors import InvalidInputError, SparseInputError


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


def is_number(value: Any) -> bool:
    """Return whether an argument is a finite number that fits a float; True and False are none.

    Examples
    --------
    >>> is_number(0.5), is_number("0.5"), is_number(float("nan"))
    (True, False, False)
    """
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def check_vectors(X: Any, name: str = "X") -> None:
    """Raise InvalidInputError if vectors are something else, such as a store, or images."""
    if hasattr(X, "toarray"):
        raise SparseInputError(
            f"{name} must not be a sparse matrix: make an array of it with its toarray(). "
            f"Received: {type(X).__name__} of shape {X.shape}"
        )
    is_array = hasattr(X, "__array__") or hasattr(X, "__len__")
    if not is_array or isinstance(X, str | bytes | os.PathLike):
        raise InvalidInputError(
            f"{name} must have shape (n, dimension), as the vectors have that "
            f"clusterkit.Store('.clusterkit').read() returns. Received: {X!r}"
        )
    of_files = hasattr(X, "paths") and not hasattr(X, "space")
    if of_files or (isinstance(X, list | tuple) and X and isinstance(X[0], str | os.PathLike)):
        # NumPy would decode all images of an ImageFolder before it fails.
        raise InvalidInputError(
            f"{name} must be vectors, which clusterkit.embed(images) makes. Received: {X!r:.100}"
        )
    # NumPy would take the numbers below the mask.
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        raise InvalidInputError(f"{name} must have no masked numbers. Received: a masked array")


def check_at_least(value: Any, minimum: int, name: str) -> int:
    """Return a parameter as an int, or raise InvalidInputError with its name."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise InvalidInputError(
            f"{name} must be an integer of at least {minimum}. Received: {name}={value!r}"
        )
    return int(value)


def generator_from(random_state: Any) -> np.random.Generator:
    """Return NumPy's generator of random numbers for a seed, or a random one for None.

    Raises
    ------
    InvalidInputError
        If NumPy takes no such seed.
    """
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            "random_state must be an integer of at least 0, or None. "
            f"Received: random_state={random_state!r}"
        ) from error


def check_seed(random_state: Any) -> None:
    """Check a seed where nothing may turn out to be random.

    Raises
    ------
    InvalidInputError
        If it is no seed, as for :func:`generator_from`.
    """
    if not isinstance(random_state, np.random.RandomState):
        generator_from(random_state)


def draw_seed(random_state: int | None) -> int:
    """Return the seed itself, or a random one for None.

    Parameters
    ----------
    random_state : int, optional
        The seed.

    Raises
    ------
    InvalidInputError
        If it is not an integer of at least 0.

    Examples
    --------
    >>> draw_seed(7)
    7
    """
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return check_at_least(random_state, 0, "random_state")
