"""Seeds of random numbers."""

import numpy as np

from clusterkit.utils.arguments import as_plain


def draw_seed(random_state: int | None) -> int:
    """Return the seed itself, or a random one for None.

    Parameters
    ----------
    random_state : int, optional
        The seed.

    Examples
    --------
    >>> draw_seed(7)
    7
    """
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    seed: int = as_plain(random_state)
    return seed
