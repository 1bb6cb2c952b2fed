"""Seeds of random numbers."""

from typing import Any

import numpy as np

from clusterkit.errors import InvalidInputError
from clusterkit.utils.arguments import check_at_least


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
