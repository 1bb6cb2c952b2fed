"""Explain the similarity of two images with numbers and a summary."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.results import Result
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.nearest import FLOAT32_NOISE, unit_rows
from clusterkit.store.embeddings import Embeddings

# Limits on the number of bins of a readable histogram.
_BIN_LIMITS = (10, 100)
_N_TOP_DIMENSIONS = 10
_BLOCK_ROWS = 512


class Contribution(NamedTuple):
    """Contribution of one dimension of the vectors to the cosine similarity.

    Attributes
    ----------
    dimension : int
        Column of the embeddings.
    value_a, value_b : float
        The values of the two vectors.
    cosine : float
        ``value_a * value_b / (|a| |b|)``; over all dimensions these sum to the similarity.
    """

    dimension: int
    value_a: float
    value_b: float
    cosine: float


class Standing(NamedTuple):
    """Percentile of a similarity among the pairs of a set of vectors.

    Attributes
    ----------
    percentile : float or None
        Percentage of pairs that are less similar; None if there are no pairs.
    n_pairs : int
        Number of compared pairs.
    is_exact : bool
        Whether all pairs were compared.
    """

    percentile: float | None
    n_pairs: int
    is_exact: bool


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Result):
    """Similarity of two images, and the features that contribute to it.

    The *similarity* is high if the network finds the same features in both images.  The
    *percentile* puts it in the context of the store, since in some stores every pair is at 0.8. The
    *top dimensions* are the features that both images share.  The *histograms* show the
    distribution of feature values in each latent vector, regardless of which feature has which
    value, so their overlap does not measure similar content: any two photos overlap widely (the
    median overlap of Xception's features over random pairs of 380 animal photos is 0.88, and its
    correlation with the similarity only 0.08).

    Attributes
    ----------
    path_a, path_b : str or None
        The images' paths in their embeddings; None for a bare vector.
    file_a, file_b : pathlib.Path or None
        Their files.
    top5_a, top5_b : list of (str, float) or None
        Their most probable ImageNet classes, if the network predicts them.
    similarity : float
        Cosine similarity, in [-1, 1]; 0 if a vector is zero.
    percentile : float or None
        Percentage of the store's pairs of images that are less similar; None if the store has no
        pairs.
    n_pairs : int
        Number of pairs for the percentile.
    is_exact : bool
        Whether these are all pairs of the store, not a random sample.
    intersection : float
        Histogram intersection, in [0, 1]: the sum over the bins of the smaller fraction.
    histogram_a, histogram_b : ndarray of shape (n_bins,), float64
        Fraction of each vector's values in each bin; each sums to 1.
    bin_edges : ndarray of shape (n_bins + 1,), float64
        Bin edges of both histograms.
    top_dimensions : tuple of Contribution
        The dimensions with the largest contributions, in descending order.
    """

    path_a: str | None
    path_b: str | None
    file_a: Path | None
    file_b: Path | None
    top5_a: list[tuple[str, float]] | None
    top5_b: list[tuple[str, float]] | None
    similarity: float
    percentile: float | None
    n_pairs: int
    is_exact: bool
    intersection: float
    histogram_a: NDArray[np.float64]
    histogram_b: NDArray[np.float64]
    bin_edges: NDArray[np.float64]
    top_dimensions: tuple[Contribution, ...]

    def to_text(self) -> str:
        """Return the figures in plain words."""
        standing = ""
        if self.percentile is not None:
            pairs = "all pairs" if self.is_exact else f"{self.n_pairs:,} random pairs"
            # Rounded down, so that 100 % is exact.
            percent = math.floor(10 * self.percentile) / 10
            standing = f", higher than {percent:g} % of {pairs} of images"
        shared = ""
        strongest = sum(entry.cosine for entry in self.top_dimensions)
        # With negative products elsewhere, the strongest ones can exceed the total.
        if 0 < strongest <= self.similarity:
            shared = (
                f" The {len(self.top_dimensions)} strongest shared features make "
                f"{100 * strongest / self.similarity:.0f} % of it."
            )
        return (
            f"Cosine similarity {self.similarity:.2f}{standing}.{shared} "
            f"The histograms of their latent values overlap by {100 * self.intersection:.0f} %, "
            "which says how alike their features are spread, not whether these are the same."
        )

    def _headline(self) -> str:
        """Return the similarity, and where it stands."""
        return self.to_text().partition(". ")[0]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "path_a": self.path_a,
            "path_b": self.path_b,
            "file_a": None if self.file_a is None else str(self.file_a),
            "file_b": None if self.file_b is None else str(self.file_b),
            "top5_a": self.top5_a,
            "top5_b": self.top5_b,
            "similarity": self.similarity,
            "percentile": self.percentile,
            "n_pairs": self.n_pairs,
            "is_exact": self.is_exact,
            "intersection": self.intersection,
            "histogram_a": self.histogram_a.tolist(),
            "histogram_b": self.histogram_b.tolist(),
            "bin_edges": self.bin_edges.tolist(),
            "top_dimensions": [entry._asdict() for entry in self.top_dimensions],
            "summary": self.to_text(),
        }


def explain_vectors(
    a: Any,
    b: Any,
    embeddings: Any,
    *,
    bins: int | None = None,
    random_state: int | None = None,
) -> Explanation:
    """Explain how similar two images of known vectors are.

    Parameters
    ----------
    a, b : path, int, one-row Embeddings, or ndarray of shape (dimension,)
        The two images: a path or row number in ``embeddings``, or a vector of the same space.
    embeddings : Embeddings or array-like of shape (n, dimension)
        The images whose pairs give the percentile.
    bins : int, optional
        Number of bins of the histograms; see :func:`latent_histograms`.
    random_state : int, optional
        Seed of the sample of pairs, if there are too many pairs; see :func:`rank_similarity`.

    Returns
    -------
    Explanation
        Similarity, percentile, histograms and the strongest common dimensions.

    Raises
    ------
    NotFoundError
        If a path is not among the embeddings.
    InvalidInputError
        If a row does not exist, or a vector has a different dimension or is not finite.
    SpaceMismatchError
        If ``a`` or ``b`` is from a different embedding space.

    Examples
    --------
    >>> vectors = np.array([[3, 4, 0], [4, 3, 0], [0, 0, 1]])
    >>> explanation = explain_vectors(0, 1, vectors)
    >>> round(explanation.similarity, 2), explanation.n_pairs, explanation.intersection
    (0.96, 3, 1.0)
    """
    if not isinstance(embeddings, Embeddings):
        embeddings = Embeddings(embeddings)
    image_a, image_b = select_image(a, embeddings), select_image(b, embeddings)
    vector_a, vector_b = image_a.vectors[0], image_b.vectors[0]
    unit_a, unit_b = unit_rows([vector_a, vector_b]).astype(np.float64)
    similarity = float(np.clip(unit_a @ unit_b, -1, 1))
    standing = rank_similarity(similarity, embeddings, random_state=random_state)
    histogram_a, histogram_b, bin_edges = latent_histograms(vector_a, vector_b, bins=bins)
    return Explanation(
        **_describe(image_a, "a"),
        **_describe(image_b, "b"),
        **standing._asdict(),
        similarity=similarity,
        intersection=float(np.minimum(histogram_a, histogram_b).sum()),
        histogram_a=histogram_a,
        histogram_b=histogram_b,
        bin_edges=bin_edges,
        top_dimensions=_strongest(vector_a, vector_b, unit_a * unit_b),
    )


def latent_histograms(
    a: NDArray[np.float32], b: NDArray[np.float32], *, bins: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute histograms of two vectors with common bins.

    Parameters
    ----------
    a, b : ndarray of shape (dimension,)
        The vectors, not normalised.
    bins : int, optional
        Number of bins; by default the rule of Freedman and Diaconis (1981, "On the histogram as a
        density estimator") on the values of both, clipped to 10 to 100.

    Returns
    -------
    histogram_a, histogram_b : ndarray of shape (n_bins,), float64
        Fraction of each vector's values in each bin.  The sum over the bins of the smaller one is
        the histogram intersection of Swain and Ballard (1991, "Color indexing").
    bin_edges : ndarray of shape (n_bins + 1,), float64
        The edges of the bins, of equal width, from the lowest to the highest value.

    Raises
    ------
    InvalidInputError
        If ``bins`` is below 1.
    """
    if bins is not None and bins < 1:
        raise InvalidInputError(f"bins must be at least 1. Received: bins={bins}")
    pooled = np.concatenate([a, b]).astype(np.float64)
    edges = np.histogram_bin_edges(pooled, bins or _count_bins(pooled))
    fractions = [np.histogram(values, edges)[0] / len(values) for values in (a, b)]
    return fractions[0], fractions[1], edges


def rank_similarity(
    similarity: float,
    vectors: Any,
    *,
    max_rows: int = 5_000,
    sample_size: int = 200_000,
    random_state: int | None = None,
) -> Standing:
    """Return the percentile of a similarity among all pairs of vectors.

    Memory use does not grow with the number of pairs.

    Parameters
    ----------
    similarity : float
        A cosine similarity.
    vectors : Embeddings or array-like of shape (n, dimension)
        The vectors; pairs are of different rows.
    max_rows : int
        Maximum number of rows for comparing all pairs; above it, a random sample is used.
    sample_size : int
        Number of sampled pairs; the standard error of the percentile is at most
        ``50 / sqrt(sample_size)`` (0.11 for the default).
    random_state : int, optional
        Seed of the sample.

    Returns
    -------
    Standing
        The percentile, the number of compared pairs, and whether these are all.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    n = len(vectors)
    if n < 2:
        return Standing(None, 0, True)
    # A pair must not be counted as less similar than itself.
    limit = similarity - FLOAT32_NOISE
    if n <= max_rows:
        n_pairs = n * (n - 1) // 2
        n_lower = _count_all_below(unit_rows(vectors), limit)
    else:
        n_pairs = sample_size
        n_lower = _count_sample_below(vectors, limit, sample_size, random_state)
    return Standing(100 * n_lower / n_pairs, n_pairs, n <= max_rows)


def _count_all_below(unit: NDArray[np.float32], limit: float) -> int:
    """Count the pairs of rows with a similarity below the limit, in blocks of rows."""
    count = 0
    for start in range(0, len(unit), _BLOCK_ROWS):
        block = unit[start : start + _BLOCK_ROWS]
        is_below = block @ unit[start:].T < limit
        # Count each pair once, and no row with itself.
        count += int(np.triu(is_below, k=1).sum())
    return count


def _count_sample_below(
    vectors: NDArray[np.float32], limit: float, size: int, random_state: int | None
) -> int:
    """Count the pairs below the limit among random pairs of different rows."""
    rng = np.random.default_rng(random_state)
    n = len(vectors)
    first = rng.integers(n, size=size)
    second = (first + rng.integers(1, n, size=size)) % n
    count = 0
    for start in range(0, size, _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        left, right = unit_rows(vectors[first[part]]), unit_rows(vectors[second[part]])
        count += int((np.einsum("ij,ij->i", left, right) < limit).sum())
    return count


def select_image(image: Any, embeddings: Embeddings) -> Embeddings:
    """Return an image as Embeddings of one row.

    Parameters
    ----------
    image : path, int, one-row Embeddings, or ndarray of shape (dimension,)
        A path or row number in ``embeddings``, or a vector of the same space.
    embeddings : Embeddings
        The images.

    Raises
    ------
    NotFoundError
        If a path is not among the embeddings.
    InvalidInputError
        If a row does not exist, or a vector has another dimension.
    SpaceMismatchError
        If the vector is from a different embedding space.
    """
    if isinstance(image, str | os.PathLike):
        return embeddings[[image]]
    if isinstance(image, int | np.integer):
        if not -len(embeddings) <= image < len(embeddings):
            raise InvalidInputError(
                f"row must be below the number of rows. Received: {image} of {len(embeddings)}"
            )
        return embeddings[[int(image)]]
    if isinstance(image, Embeddings):
        embeddings.check_same_space(image)
    else:
        vectors = np.atleast_2d(image)
        image = Embeddings(vectors, paths=[""] * len(vectors))
    if image.shape != (1, embeddings.shape[1]):
        raise InvalidInputError(
            f"an image must be one vector of dimension {embeddings.shape[1]}. "
            f"Received: {image.shape[0]} of dimension {image.shape[1]}"
        )
    return image


def _describe(image: Embeddings, suffix: str) -> dict[str, Any]:
    """Return the fields of one image; the path of a bare vector is empty."""
    path = image.paths[0] or None
    return {
        f"path_{suffix}": path,
        f"file_{suffix}": None if path is None else image.files[0],
        f"top5_{suffix}": None if image.top5 is None else image.top5[0],
    }


def _count_bins(values: NDArray[np.float64]) -> int:
    """Return the number of bins by the rule of Freedman and Diaconis, within limits."""
    low, high = np.percentile(values, [25, 75])
    width = 2 * (high - low) / np.cbrt(len(values))
    # If most values are equal (zero, after ReLU) the width is zero: use the maximum number of bins.
    wanted = np.ptp(values) / width if width > 0 else np.inf
    return int(np.clip(np.ceil(wanted), *_BIN_LIMITS))


def _strongest(
    a: NDArray[np.float32], b: NDArray[np.float32], products: NDArray[np.float64]
) -> tuple[Contribution, ...]:
    """Return the dimensions with the largest positive products, in descending order."""
    order = np.argsort(-products, kind="stable")[:_N_TOP_DIMENSIONS]
    return tuple(
        Contribution(int(row), float(a[row]), float(b[row]), float(products[row]))
        for row in order
        if products[row] > 0
    )
