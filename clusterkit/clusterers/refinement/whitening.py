"""Whitening: scale a space so that neighbours differ equally in every direction."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
# Numbers of neighbours whose differences show how groups spread: few, for groups of five rows, and
# more, for a covariance of many differences.
N_NEIGHBORS = (3, 5, 10)


def usable_numbers(k: int, n_distinct: int, n_columns: int) -> tuple[list[int], str]:
    """Return the numbers of neighbours to whiten by, or why there are none.

    Parameters
    ----------
    k : int
        Number of clusters.
    n_distinct : int
        Number of different rows.
    n_columns : int
        Number of columns to whiten.

    Returns
    -------
    numbers : list of int
        Those below the mean number of different rows per cluster: most neighbours are then of the
        same one.  None for up to as many rows as columns: their differences do not span the
        columns, and what is scaled is the shrinkage of the estimate, not how groups spread.
    obstacle : str
        Why there are none; empty if there are some.
    """
    if k == 1:
        return [], "there is one cluster"
    if n_distinct <= n_columns:
        return [], (
            f"{n_distinct} different rows are too few to whiten {n_columns} columns, which needs "
            "more rows than columns"
        )
    numbers = [n for n in N_NEIGHBORS if n * k < n_distinct]
    if not numbers:
        return [], f"there are too few different rows for {N_NEIGHBORS[0]} neighbours in a cluster"
    return numbers, ""


def whiten(
    points: Points, rows: Points, distinct: NDArray[np.intp], numbers: Sequence[int]
) -> dict[int, Points]:
    """Scale points so that differences between neighbours have covariance 1.

    Most neighbours belong to the same group, so their differences show how groups spread, without
    labels.  Directions in which neighbours differ much are shortened, and directions that separate
    groups count more.

    Parameters
    ----------
    points : ndarray of shape (n, m), float32
        The leading principal components of the rows.
    rows : ndarray of shape (n, d), float32
        The rows; their neighbours are those of the points.
    distinct : ndarray of shape (n_distinct,), int
        The first of each group of equal rows; only these are neighbours.
    numbers : sequence of int
        Numbers of neighbours, ascending, each below ``n_distinct``; may be empty.

    Returns
    -------
    dict of int to ndarray of shape (n, m), float32
        Number of neighbours to the scaled points.

    References
    ----------
    Art, Gnanadesikan, Kettenring: Data-based metrics for cluster analysis. Utilitas Mathematica
    21A, 1982.  Here the pairs are nearest neighbours, found once.

    Ledoit, Wolf: A well-conditioned estimator for large-dimensional covariance matrices. Journal of
    Multivariate Analysis 88, 2004, for the covariance of few differences.
    """
    if not numbers:
        return {}
    from sklearn.neighbors import NearestNeighbors

    exact = points.astype(np.float64)
    search = NearestNeighbors(n_neighbors=numbers[-1]).fit(rows[distinct])
    neighbors = search.kneighbors(return_distance=False)
    different = exact[distinct]
    scales = {n: _scale(different, neighbors[:, :n]) for n in numbers}
    return {n: (exact @ scale).astype(np.float32) for n, scale in scales.items()}


def _scale(different: NDArray[np.float64], neighbors: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the matrix (m, m) that scales points."""
    from sklearn.covariance import ledoit_wolf

    gaps = (different[:, None] - different[neighbors]).reshape(-1, different.shape[1])
    covariance, _ = ledoit_wolf(gaps, assume_centered=True)
    variances, axes = np.linalg.eigh(covariance)
    # In the directions in which neighbours do not differ, what is left is rounding.
    least = max(variances[-1] * np.finfo(np.float32).eps, np.finfo(np.float64).tiny)
    return axes / np.sqrt(np.maximum(variances, least))
