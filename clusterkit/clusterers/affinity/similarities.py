"""Similarities for affinity propagation, and assignment of rows to exemplars."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_argmin
from sklearn.metrics.pairwise import euclidean_distances

from clusterkit.utils.parallel import Map

# Number of values that are perturbed at a time.
_BLOCK_VALUES = 2**16
# Bytes of the messages per value of S: almost none at the end, but one float64 while messages
# oscillate.
_MESSAGE_BYTES = 8
# Blocks in progress, column sums, and the rows in float64 while distances are computed.
_FIXED_BYTES = 2**27


class Similarities:
    """Negative squared Euclidean distances of all rows to the candidate exemplars.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64
        The rows.
    candidates : ndarray of shape (m,), int
        Rows that may become exemplars, ascending.
    rng : numpy.random.RandomState
        Source of the tiny noise that breaks ties.  With all rows as candidates it is identical to
        scikit-learn's noise.

    Attributes
    ----------
    matrix : ndarray of shape (n, m), of the dtype of X
        The similarities, with noise.
    median : float
        Median of the similarities before noise, including those of rows to themselves.
    equal : float or None
        The similarity of any two different rows before noise, if it is the same for all pairs.
    """

    def __init__(
        self, X: NDArray[Any], candidates: NDArray[np.intp], rng: np.random.RandomState
    ) -> None:
        self.X, self.candidates = X, candidates
        self._is_full = len(candidates) == len(X)
        others = None if self._is_full else X[candidates]
        self.matrix = euclidean_distances(X, others, squared=True)
        np.negative(self.matrix, out=self.matrix)
        self._own = (candidates, np.arange(len(candidates)))
        self.matrix[self._own] = 0
        self.equal = self._find_equal()
        with ThreadPoolExecutor(1) as pool:
            median = pool.submit(np.median, self.matrix.copy(), overwrite_input=True)
            self._add_noise(rng)
            self.median = float(median.result())

    def set_preference(self, preference: float) -> None:
        """Set the similarity of candidates to themselves."""
        own = np.full(len(self.candidates), preference, self.matrix.dtype)
        _perturb(own, self._own_noise)
        self.matrix[self._own] = own

    def assign(
        self, columns: NDArray[np.intp], run: Map, first: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Assign rows to exemplars, and choose the best exemplar of each cluster again.

        Parameters
        ----------
        columns : ndarray of shape (k,), int
            The candidates that are exemplars.
        run : callable
            From :func:`clusterkit.utils.parallel.workers`.
        first : ndarray of shape (n,), int
            From :func:`clusterkit.similarity.nearest.find_equal`: equal rows have one exemplar.

        Returns
        -------
        exemplars : ndarray of shape (k,), int
            Rows, ascending; fewer if some were equal.
        labels : ndarray of shape (n,), int32
            Position in ``exemplars`` of each row's exemplar.
        """
        _, different = np.unique(first[self.candidates[columns]], return_index=True)
        columns = columns[np.sort(different)]
        labels = self.matrix[:, columns].argmax(axis=1)
        labels[self.candidates[columns]] = np.arange(len(columns))
        members = [np.flatnonzero(labels == k) for k in range(len(columns))]
        exemplars = np.sort(run(self._choose_exemplar, members))
        if self._is_full:
            labels = self.matrix[:, exemplars].argmax(axis=1)
        else:
            labels = pairwise_distances_argmin(self.X, self.X[exemplars])
        # Noise separates equal rows, which belong to the same cluster, with their exemplar if there
        # is one.
        labels[first[exemplars]] = np.arange(len(exemplars))
        return exemplars, labels[first].astype(np.int32)

    def _choose_exemplar(self, rows: NDArray[np.intp]) -> np.intp:
        """Return the row most similar to all rows of its cluster."""
        if self._is_full:
            return rows[self.matrix[np.ix_(rows, rows)].sum(axis=0).argmax()]
        # The row nearest to the mean has the smallest sum of squared distances to all rows.
        gaps = self.X[rows] - self.X[rows].mean(axis=0)
        return rows[np.einsum("ij,ij->i", gaps, gaps).argmin()]

    def _find_equal(self) -> float | None:
        """Return the similarity of different rows if all have the same."""
        value = self.matrix[-1, 0]
        if (self.matrix[-1, :-1] != value).any():
            return None
        is_equal = self.matrix == value
        is_equal[self._own] = True
        return float(value) if is_equal.all() else None

    def _add_noise(self, rng: np.random.RandomState) -> None:
        """Perturb the similarities by about their rounding error."""
        n, m = self.matrix.shape
        noise_of_own = []
        step = max(1, _BLOCK_VALUES // m)
        for start in range(0, n, step):
            block = self.matrix[start : start + step]
            noise = rng.standard_normal(block.shape)
            _perturb(block, noise)
            first, last = np.searchsorted(self.candidates, [start, start + len(block)])
            noise_of_own.append(noise[self.candidates[first:last] - start, np.arange(first, last)])
        self._own_noise = np.concatenate(noise_of_own)


def memory_needed(n_rows: int, n_candidates: int, itemsize: int) -> int:
    """Estimate the memory in bytes for values of ``itemsize`` bytes."""
    # The median needs a second copy of the similarities; later the messages need memory.
    return n_rows * n_candidates * (itemsize + max(itemsize, _MESSAGE_BYTES)) + _FIXED_BYTES


def _perturb(values: NDArray[Any], noise: NDArray[np.float64]) -> None:
    """Add normal noise of about one rounding error, in place."""
    info = np.finfo(values.dtype)
    values += (info.eps * values + info.tiny * 100) * noise
