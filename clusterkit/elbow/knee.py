"""The knee of the inertia curve: the number of clusters after which more help little."""

import warnings

import numpy as np
from numpy.typing import NDArray


def knee(n_clusters: NDArray[np.int64], inertia: NDArray[np.float64]) -> int | None:
    """Find the knee of the inertia over the number of clusters with Kneedle.

    Parameters
    ----------
    n_clusters : ndarray of shape (m,)
        The numbers of clusters, ascending.
    inertia : ndarray of shape (m,)
        Sum of squared distances to the nearest centre for each.

    Returns
    -------
    int or None
        The knee; None for fewer than three points, a flat curve or one without a knee.

    References
    ----------
    Satopaa, Albrecht, Irwin, Raghavan: Finding a "Kneedle" in a haystack. ICDCS workshops, 2011.
    """
    # kneed divides by the range of the curve, and fits a spline, which needs a few points.
    if len(n_clusters) < 3 or not np.ptp(inertia) > 0:
        return None
    from kneed import KneeLocator

    with warnings.catch_warnings():
        # kneed warns where it finds no knee; None says the same.
        warnings.simplefilter("ignore")
        found = KneeLocator(n_clusters, inertia, curve="convex", direction="decreasing").knee
    return None if found is None else int(found)
