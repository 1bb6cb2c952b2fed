"""Explain the similarity of two images with numbers and a summary."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.results import Result
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.nearest import FLOAT32_NOISE, nearest_of_any_length
from clusterkit.similarity.scaling import Scaling, find_scaling, scale_rows, take_roots
from clusterkit.similarity.similarity_maps import Where
from clusterkit.similarity.tone_share import UNUSUAL, ToneInfluence, Version, closer_than
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils import html
from clusterkit.utils.arguments import check_at_least, check_seed, generator_from
from clusterkit.utils.text import join_lines, percent, plural

# Limits on the number of bins of a readable histogram.
_BIN_LIMITS = (10, 100)
_N_TOP_DIMENSIONS = 10
_N_NEIGHBORS = 10
# Minimum mean similarity of ordinary pairs for a comparison with them.
_MIN_USUAL = 0.01
# Vectors are about the same in any precision; a larger difference means that the files changed.
_MAX_MOVED = 0.02
# Minimum number of pairs among which a similarity has a rank; 5 images have as many.
_MIN_PAIRS, _MIN_IMAGES = 10, 5
_BLOCK_ROWS = 512
# Number of random pairs that are ranked if there are too many.
_N_SAMPLED = 200_000
# For vectors on disk: rows that are read at a time, and random rows whose pairs are ranked.
_BATCH_ROWS, _MAX_RANKED = 8192, 20_000


class Contribution(NamedTuple):
    """Contribution of one dimension of the vectors to the cosine similarity.

    Attributes
    ----------
    dimension : int
        Column of the embeddings.
    value_a, value_b : float
        The values of the two vectors.
    cosine : float
        ``value_a * value_b / (|a| |b|)``, of class probabilities with their square roots; over all
        dimensions these sum to the similarity.
    usual : float
        The same for an ordinary pair: the mean over all pairs of the store; NaN if it has none.
    percentile_a, percentile_b : float
        Percentage of the store's images whose value, relative to the length of their vectors, is
        lower; NaN if it has no images.
    """

    dimension: int
    value_a: float
    value_b: float
    cosine: float
    usual: float = math.nan
    percentile_a: float = math.nan
    percentile_b: float = math.nan


class SharedNeighbors(NamedTuple):
    """The nearest images that two images have in common.

    Attributes
    ----------
    n_neighbors : int
        Number of nearest images of each that are compared.
    paths : tuple of str
        Those that are among the nearest of both, nearest to the first image first.
    """

    n_neighbors: int
    paths: tuple[str, ...]


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
    """Similarity of two images: where it is, what contributes to it, and how much is colour tone.

    The *similarity* is high if the network finds the same features in both images.  The
    *percentile* puts it in the context of the store, since in some stores every pair is at 0.8.
    *Where* has a map of each picture, and corresponding parts.  *Tone* tells how similar the
    pictures are without their colours, and with the same tone.  The *top dimensions* are the
    features that both images share.  The *histograms* show the distribution of feature values in
    each latent vector, regardless of which feature has which value, so their overlap does not
    measure similar content: any two photos overlap widely (the median overlap of Xception's
    features over random pairs of 380 animal photos is 0.88, and its correlation with the similarity
    only 0.08).

    Attributes
    ----------
    path_a, path_b : str or None
        The images' paths in their embeddings; None for a bare vector.
    file_a, file_b : pathlib.Path or None
        Their files.
    top5_a, top5_b : list of (str, float) or None
        Their most probable ImageNet classes, if the network predicts them.
    similarity : float
        Cosine similarity, in [-1, 1]; 0 if a vector is zero.  Of class probabilities, that of their
        square roots, see :func:`~clusterkit.similarity.scaling.scale_rows`.
    percentile : float or None
        Percentage of the store's pairs of images that are less similar; None if the store has
        fewer than 10 pairs.
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
    neighbors : SharedNeighbors or None
        The nearest images that both have in common; None if a vector is zero, or there are no other
        images.
    where : Where or None
        Where in the pictures the similarity is; None if they were not examined.
    tone : ToneInfluence or None
        How much of the similarity is colour tone; None if the pictures were not examined.
    missing : tuple of str
        What could not be answered, and what to do about it.
    thumbnails : tuple of str
        Both pictures as HTML, if they were examined.
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
    neighbors: SharedNeighbors | None = None
    where: Where | None = None
    tone: ToneInfluence | None = None
    missing: tuple[str, ...] = ()
    thumbnails: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Similarity of the images, its rank among all pairs, and whether it is colour tone."""
        said = f"{self.similarity:z.2f} similar"
        if self.percentile is not None:
            said += f", {self._standing(self.percentile)}"
        if self.file_a is not None and self.file_a == self.file_b:
            return f"{said}: this is one image, compared with itself."
        if self.percentile is None:
            said += f"; with {_MIN_IMAGES} images or more this is compared with other pairs"
        tone = None if self.tone is None else _describe_tone(self.tone)
        return f"{said}{tone or ''}."

    def to_text(self) -> str:
        """Return the results as sentences, the most important first."""
        lines = [self.summary, self._where(), f"Features: {self._features()}", self._neighbors()]
        lines += [f"Not answered: {what}" for what in self.missing]
        return join_lines(line for line in lines if line)

    def _standing(self, percentile: float) -> str:
        """Return the rank of the similarity among all pairs."""
        pairs = "all pairs" if self.is_exact else f"{self.n_pairs:,} random pairs"
        return f"{closer_than(percentile, pairs)} of images"

    def _where(self) -> str:
        """Return the method of the maps, and the share of the corresponding parts."""
        if self.where is None:
            return ""
        words = "Where: the maps sum to the similarity, exactly"
        if self.where.method == "occlusion":
            words = (
                "Where: the maps show how much less similar the images are with a patch hidden "
                "(occlusion: the vectors are not averages over the locations of a picture)"
            )
        parts = self.where.parts
        if self.where.method == "exact" and parts and self.where.cosine > 0:
            share = sum(part.cosine for part in parts) / self.where.cosine
            words += (
                f"; {percent(share)} of it is between "
                f"{plural(len(parts), 'part')} of one and the corresponding "
                f"{'part' if len(parts) == 1 else 'parts'} of the other"
            )
        moved = self.where.cosine - self.similarity
        if abs(moved) > _MAX_MOVED:
            words += (
                f". The files as they are now are {self.where.cosine:z.2f} similar: they may have "
                "changed since they were embedded"
            )
        return f"{words}."

    def _features(self) -> str:
        """Return the share of the strongest dimensions, and the overlap of the histograms."""
        shared = ""
        strongest = sum(entry.cosine for entry in self.top_dimensions)
        # With negative products elsewhere, the strongest ones can exceed the total.
        if 0 < strongest <= self.similarity:
            shared = (
                f"the {len(self.top_dimensions)} strongest shared features are "
                f"{percent(strongest / self.similarity)} of it"
            )
            usual = sum(entry.usual for entry in self.top_dimensions)
            # In a centred space ordinary pairs share nothing.
            if usual >= _MIN_USUAL and self.percentile is not None:
                shared += f", {strongest / usual:.1f} times their contribution to an ordinary pair"
            ranks = [(one.percentile_a, one.percentile_b) for one in self.top_dimensions]
            middle_a, middle_b = np.median(ranks, axis=0)
            if not math.isnan(middle_a) and self.percentile is not None:
                shared += (
                    f"; in the median one, the images are above {percent(middle_a / 100, 1)} and "
                    f"{percent(middle_b / 100, 1)} of all"
                )
            shared += ". "
        return (
            f"{shared}The histograms of the latent values overlap by "
            f"{percent(self.intersection)}, which compares the distribution of the values, not "
            "which features have them."
        )

    def _neighbors(self) -> str:
        """Return the number of common neighbours."""
        if self.neighbors is None:
            return ""
        n_neighbors, paths = self.neighbors
        return f"Neighbours: {len(paths)} of the {n_neighbors} nearest images of each are the same."

    def _repr_html_(self) -> str:
        """Return the text, both pictures, and the similarity of each version, as HTML."""
        shown = html.paragraph(self.to_text()) + "".join(self.thumbnails)
        versions = [] if self.tone is None else self.tone.versions
        if not versions:
            return shown
        header = ("", "similarity", "ordinary pair", "closer than (% of pairs)")
        rows = [(name, one.similarity, one.ordinary, one.percentile) for name, one in versions]
        return shown + html.table(header, rows)

    def _headline(self) -> str:
        """Return the similarity, and its rank."""
        return self.summary.removesuffix(".")

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
            "neighbors": self.neighbors and self.neighbors._asdict(),
            "where": self.where and self.where.to_dict(),
            "tone": self.tone and self.tone.to_dict(),
            "missing": list(self.missing),
            "summary": self.summary,
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
    embeddings : Embeddings, Catalogue, or array-like of shape (n, dimension)
        The images whose pairs give the percentile.  For a Catalogue, whose vectors stay on disk,
        these are pairs of 20,000 random images.
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
    check_seed(random_state)
    on_disk = hasattr(embeddings, "iter_batches")
    if not isinstance(embeddings, Embeddings) and not on_disk:
        embeddings = Embeddings(embeddings)
    image_a, image_b = select_image(a, embeddings), select_image(b, embeddings)
    vector_a, vector_b = image_a.vectors[0], image_b.vectors[0]
    scaling = find_scaling(embeddings)
    unit_a, unit_b = scale_rows([vector_a, vector_b], scaling).astype(np.float64)
    similarity = float(np.clip(unit_a @ unit_b, -1, 1))
    vectors = embeddings.vectors
    if len(vectors) > _MAX_RANKED and on_disk:
        rng = generator_from(random_state)
        rows = np.sort(rng.choice(len(vectors), _MAX_RANKED, replace=False))
        vectors = embeddings.vectors_of(rows)
    standing = rank_similarity(similarity, vectors, normalize=scaling, random_state=random_state)
    if standing.n_pairs < _MIN_PAIRS:
        standing = standing._replace(percentile=None)
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
        top_dimensions=_strongest(
            vector_a,
            vector_b,
            unit_a * unit_b,
            embeddings.iter_batches(_BATCH_ROWS) if on_disk else [embeddings.vectors],
            scaling,
        ),
        neighbors=_common_neighbors(image_a, image_b, embeddings, scaling),
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
    if bins is not None:
        check_at_least(bins, 1, "bins")
    pooled = np.concatenate([a, b]).astype(np.float64)
    edges = np.histogram_bin_edges(pooled, bins or _count_bins(pooled))
    fractions = [np.histogram(values, edges)[0] / len(values) for values in (a, b)]
    return fractions[0], fractions[1], edges


def rank_similarity(
    similarity: float,
    vectors: Any,
    *,
    normalize: Scaling = True,
    max_rows: int = 5_000,
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
    normalize : True or "sqrt"
        How rows are scaled, see :func:`~clusterkit.similarity.scaling.scale_rows`.
    max_rows : int
        Maximum number of rows for comparing all pairs.  Above it, 200,000 random ones are compared,
        for which the standard error of the percentile is at most 0.11.
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
        n_lower = _count_all_below(scale_rows(vectors, normalize), limit)
    else:
        n_pairs = _N_SAMPLED
        rng = generator_from(random_state)
        n_lower = _count_sample_below(vectors, normalize, limit, n_pairs, rng)
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
    vectors: NDArray[np.float32],
    normalize: Scaling,
    limit: float,
    size: int,
    rng: np.random.Generator,
) -> int:
    """Count the pairs below the limit among random pairs of different rows."""
    n = len(vectors)
    first = rng.integers(n, size=size)
    second = (first + rng.integers(1, n, size=size)) % n
    count = 0
    for start in range(0, size, _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        left, right = (scale_rows(vectors[rows[part]], normalize) for rows in (first, second))
        count += int((np.einsum("ij,ij->i", left, right) < limit).sum())
    return count


def select_image(image: Any, embeddings: Any) -> Embeddings:
    """Return an image as Embeddings of one row.

    Parameters
    ----------
    image : path, int, one-row Embeddings, or ndarray of shape (dimension,)
        A path or row number in ``embeddings``, or a vector of the same space.
    embeddings : Embeddings or Catalogue
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
    if isinstance(image, int | np.integer) and not isinstance(image, bool):
        if not -len(embeddings) <= image < len(embeddings):
            raise InvalidInputError(
                f"row must be below the number of rows. Received: {image} of {len(embeddings):,}"
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
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    products: NDArray[np.float64],
    batches: Iterable[NDArray[np.float32]],
    scaling: Scaling,
) -> tuple[Contribution, ...]:
    """Return the dimensions with the largest positive products, in descending order."""
    order = np.argsort(-products, kind="stable")[:_N_TOP_DIMENSIONS]
    order = order[products[order] > 0]
    both = take_roots(np.stack([a, b]), scaling)
    own = [row[order] / (length or 1) for row, length in zip(both, _lengths(both), strict=True)]
    n = 0
    totals, squares = np.zeros(len(order)), np.zeros(len(order))
    n_lower = np.zeros((2, len(order)))
    for batch in batches:
        vectors = take_roots(batch, scaling)
        lengths = _lengths(vectors)[:, None]
        columns = np.zeros((len(vectors), len(order)))
        np.divide(vectors[:, order], lengths, out=columns, where=lengths > 0)
        n += len(vectors)
        totals += columns.sum(axis=0)
        squares += (columns**2).sum(axis=0)
        n_lower += [(columns < values - FLOAT32_NOISE).sum(axis=0) for values in own]
    usual = np.full(len(order), math.nan)
    lower = np.full((2, len(order)), math.nan)
    if n > 1:
        # The mean of the products of all pairs of different rows.
        usual = (totals**2 - squares) / (n * (n - 1))
    if n:
        lower = 100 * n_lower / n
    return tuple(
        Contribution(
            int(row),
            float(a[row]),
            float(b[row]),
            float(products[row]),
            float(usual[i]),
            float(lower[0, i]),
            float(lower[1, i]),
        )
        for i, row in enumerate(order)
    )


def _lengths(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the length of each row, without a copy of all rows in float64."""
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))


def _common_neighbors(
    a: Embeddings, b: Embeddings, embeddings: Any, scaling: Scaling
) -> SharedNeighbors | None:
    """Return the nearest images that two images have in common, without themselves."""
    own = {row for row in map(_own_row, (a, b), (embeddings, embeddings)) if row is not None}
    n_neighbors = min(_N_NEIGHBORS, len(embeddings) - len(own))
    if n_neighbors < 1 or not (a.vectors.any() and b.vectors.any()):
        return None
    queries = np.concatenate([a.vectors, b.vectors])
    n_looked_at = n_neighbors + len(own)
    if isinstance(embeddings, Embeddings):
        _, rows = nearest_of_any_length(embeddings.vectors, queries, n_looked_at, normalize=scaling)
    else:
        _, rows = embeddings.nearest(queries, n_looked_at)
    near_a, near_b = ([row for row in found.tolist() if row not in own] for found in rows)
    common = set(near_b[:n_neighbors])
    paths = tuple(embeddings.paths[row] for row in near_a[:n_neighbors] if row in common)
    return SharedNeighbors(n_neighbors, paths)


def _own_row(image: Embeddings, embeddings: Any) -> int | None:
    """Return the row of an image in the store; None for others."""
    row: int | None = embeddings.find(image.files[0]) if image.paths[0] else None
    return row


def _describe_tone(tone: ToneInfluence) -> str | None:
    """Return the end of the summary: whether the similarity is colour tone."""
    if tone.verdict is None or tone.grey is None or tone.matched is None:
        return None
    if tone.verdict == "ordinary":
        is_unlike = (tone.as_is.percentile or 0) < 100 - UNUSUAL if tone.as_is else False
        return ", less than most" if is_unlike else ", an ordinary pair"
    matched, grey = (
        _describe_version(name, version)
        for name, version in (("with matched tone", tone.matched), ("in grey", tone.grey))
    )
    if tone.verdict == "part":
        return f"; a part of it is colour tone: {matched}"
    if tone.verdict == "little":
        return f"; little of it is colour tone: {matched if tone.grey.is_ordinary else grey}"
    # Grey pictures keep their lightness, which is a part of the tone.
    before, after = tone.as_is and tone.as_is.excess, tone.grey.excess
    is_gone = before is not None and after is not None and after <= before / 2
    return f"; most of it is colour tone: {grey if is_gone and tone.grey.is_ordinary else matched}"


def _describe_version(name: str, version: Version) -> str:
    """Return the similarity of a version, and its rank."""
    words = f"{name} they are at {version.similarity:z.2f}"
    if version.percentile is None:
        return words
    if version.is_ordinary:
        return f"{words}, an ordinary pair"
    return f"{words}, {closer_than(version.percentile, 'such pairs')}"
