"""Reliability diagram and expected calibration error of a classifier."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted probabilities and observed accuracy in bins of equal width.

    For single-label tasks, the probability of the predicted class of each image; for multilabel
    tasks, the probability of every class for every image.

    Attributes
    ----------
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins, from 0 to 1.
    counts : ndarray of shape (n_bins,), int
        Number of predictions in each bin.
    confidence : ndarray of shape (n_bins,)
        Their mean probability; NaN in empty bins.
    accuracy : ndarray of shape (n_bins,)
        Fraction of correct predictions; NaN in empty bins.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @classmethod
    def from_predictions(
        cls, probabilities: NDArray[Any], is_right: NDArray[np.bool_], *, n_bins: int = 15
    ) -> "Reliability":
        """Compute the bins of predictions.

        Parameters
        ----------
        probabilities : ndarray of shape (n,)
            Predicted probabilities, in [0, 1].
        is_right : ndarray of shape (n,), bool
            Whether each prediction is correct.
        n_bins : int
            Number of bins.
        """
        edges = np.linspace(0, 1, n_bins + 1)
        # Bins include their upper edge, as in Guo et al.
        place = np.clip(np.ceil(probabilities * n_bins).astype(int) - 1, 0, n_bins - 1)
        counts = np.bincount(place, minlength=n_bins)
        filled = np.where(counts, counts, np.nan)
        sums = (np.bincount(place, values, n_bins) for values in (probabilities, is_right))
        confidence, accuracy = (total / filled for total in sums)
        return cls(edges, counts, confidence, accuracy)

    @property
    def expected_error(self) -> float:
        """Expected calibration error, in [0, 1]; 0 is perfect.

        The mean difference between accuracy and probability over the bins, weighted by their
        counts: Guo et al. (2017), "On calibration of modern neural networks", equation 3.
        """
        distances = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(distances * self.counts) / self.counts.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return the error and the non-empty bins as JSON-able values."""
        columns = (self.edges, self.edges[1:], self.counts, self.confidence, self.accuracy)
        names = ("from", "to", "n", "confidence", "accuracy")
        rows = zip(*(column.tolist() for column in columns), strict=False)
        bins = [dict(zip(names, row, strict=True)) for row in rows]
        return {"expected_error": self.expected_error, "bins": [row for row in bins if row["n"]]}
