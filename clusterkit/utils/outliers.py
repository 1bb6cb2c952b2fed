"""Detect unusually large values."""

import numpy as np
from numpy.typing import NDArray

# Minimum score of unusual values, and median absolute deviation of the standard normal
# distribution.
UNUSUAL, _MAD = 3.5, 0.6745


def modified_z_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the modified z-scores of values: distances above the median in units of the spread.

    Parameters
    ----------
    values : ndarray of shape (n,)
        The values.

    Returns
    -------
    ndarray of shape (n,), float64
        Modified z-scores, above 3.5 for unusual values; all 0 if more than half of the values are
        equal.

    References
    ----------
    Iglewicz, Hoaglin: How to detect and handle outliers. ASQC Quality Press, 1993.

    Examples
    --------
    >>> modified_z_scores(np.array([1.0, 2, 3, 4, 50])).round(1).tolist()
    [-1.3, -0.7, 0.0, 0.7, 31.7]
    """
    beyond = values - np.median(values)
    spread = np.median(np.abs(beyond)) / _MAD
    scores: NDArray[np.float64] = beyond / spread if spread else np.zeros(len(values))
    return scores
