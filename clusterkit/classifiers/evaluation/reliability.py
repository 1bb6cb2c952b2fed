"""Whether the probabilities of a classifier come true."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Reliability:
    """Probabilities held against how often they came true, in bins of equal width.

    With one class an image, it is the probability of the predicted class, and whether that is the
    real one; where an image may have several, it is every class's probability for every image.

    Attributes
    ----------
    edges : ndarray of shape (n_bins + 1,)
        Limits of the bins, from 0 to 1.
    counts : ndarray of shape (n_bins,), int
        Number of predictions in each.
    confidence : ndarray of shape (n_bins,)
        Their mean probability; NaN in an empty bin.
    accuracy : ndarray of shape (n_bins,)
        Fraction of them that came true; NaN in an empty bin.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @classmethod
    def from_predictions(
        cls, probabilities: NDArray[Any], came_true: NDArray[np.bool_], *, n_bins: int = 15
    ) -> "Reliability":
        """Sort predictions into bins.

        Parameters
        ----------
        probabilities : ndarray of shape (n,)
            In [0, 1].
        came_true : ndarray of shape (n,), bool
            Whether what was predicted is so.
        n_bins : int
            Number of bins.
        """
        edges = np.linspace(0, 1, n_bins + 1)
        # A bin holds its upper limit, as in Guo et al.
        place = np.clip(np.ceil(probabilities * n_bins).astype(int) - 1, 0, n_bins - 1)
        counts = np.bincount(place, minlength=n_bins)
        filled = np.where(counts, counts, np.nan)
        sums = (np.bincount(place, values, n_bins) for values in (probabilities, came_true))
        confidence, accuracy = (total / filled for total in sums)
        return cls(edges, counts, confidence, accuracy)

    @property
    def expected_error(self) -> float:
        """Expected calibration error, in [0, 1]; 0 is perfect.

        The mean of the bins' distances between probability and frequency, weighted by their
        numbers: Guo et al. (2017), "On calibration of modern neural networks", equation 3.
        """
        distances = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(distances * self.counts) / self.counts.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return the error and the bins that are not empty as JSON-able values."""
        columns = (self.edges, self.edges[1:], self.counts, self.confidence, self.accuracy)
        names = ("from", "to", "n", "confidence", "accuracy")
        rows = zip(*(column.tolist() for column in columns), strict=False)
        bins = [dict(zip(names, row, strict=True)) for row in rows]
        return {"expected_error": self.expected_error, "bins": [row for row in bins if row["n"]]}
