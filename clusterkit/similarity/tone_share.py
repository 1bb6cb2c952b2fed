"""How much of the similarity of two pictures is their colour tone.

The pictures are embedded again without colour, and with one tone for both.  So is a sample of other
pictures: in some spaces all pictures without colour are similar, so that only pairs of the same
version show what is ordinary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.similarity.nearest import FLOAT32_NOISE
from clusterkit.similarity.scaling import unit_rows
from clusterkit.utils.text import percent

# A pair above this percentile is not ordinary.
UNUSUAL = 90.0
# Minimum shares for which most of the similarity is colour tone, or a part of it.
_MIN_MOST, _MIN_PART = 0.5, 0.25
# With fewer images the ordinary pair is not known.
_MIN_IMAGES = 4


class Version(NamedTuple):
    """The similarity of two pictures in one version: unchanged, in grey, or with one tone.

    Attributes
    ----------
    similarity : float
        Cosine similarity, in [-1, 1].
    percentile : float or None
        Percentage of the pairs of other pictures of this version that are less similar; None if
        there are too few.
    ordinary : float or None
        Mean similarity of these pairs.
    """

    similarity: float
    percentile: float | None = None
    ordinary: float | None = None

    @property
    def excess(self) -> float | None:
        """Similarity above an ordinary pair: 0 for that, 1 for equal pictures.

        The form of Cohen's kappa (1960, "A coefficient of agreement for nominal scales").
        """
        if self.ordinary is None or self.ordinary >= 1:
            return None
        return (self.similarity - self.ordinary) / (1 - self.ordinary)

    @property
    def is_ordinary(self) -> bool:
        """Whether many other pairs are as similar."""
        return self.percentile is not None and self.percentile < UNUSUAL


class ToneInfluence(NamedTuple):
    """How much of the similarity of two pictures is their colour tone.

    Attributes
    ----------
    colours : float
        Intersection of their colour histograms, in [0, 1]; see
        :func:`clusterkit.images.tone.compare_tones`.
    colours_percentile : float or None
        Percentage of pairs of other pictures with less similar colours.
    as_is, grey, matched : Version or None
        The similarity of the unchanged pictures, without colour, and with the same mean and spread
        of lightness and colour; None if the network cannot be run.
    n_images : int
        Number of other pictures that these are compared with.
    """

    colours: float
    colours_percentile: float | None = None
    as_is: Version | None = None
    grey: Version | None = None
    matched: Version | None = None
    n_images: int = 0

    @property
    def share(self) -> float | None:
        """Share of the similarity above an ordinary pair that vanishes with one tone, in [0, 1].

        None if the pictures are no more similar than an ordinary pair.
        """
        if self.as_is is None or self.matched is None:
            return None
        before, after = self.as_is.excess, self.matched.excess
        if before is None or after is None or before <= 0:
            return None
        return float(np.clip(1 - after / before, 0, 1))

    @property
    def verdict(self) -> str | None:
        """One of "most", "part", "little" and "ordinary"; None if it is not known.

        ``ordinary``: many other pairs are as similar, so that there is little to explain.
        """
        if self.as_is is None or self.matched is None or self.as_is.percentile is None:
            return None
        if self.as_is.is_ordinary:
            return "ordinary"
        share = self.share
        if share is None:
            return None
        if share >= _MIN_MOST:
            return "most"
        return "part" if share >= _MIN_PART else "little"

    @property
    def versions(self) -> list[tuple[str, Version]]:
        """The examined versions, with their names."""
        names = ("as they are", "in grey", "with matched tone")
        found = zip(names, (self.as_is, self.grey, self.matched), strict=True)
        return [(name, version) for name, version in found if version is not None]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        versions = {"as_is": self.as_is, "grey": self.grey, "matched": self.matched}
        return {
            "colours": self.colours,
            "colours_percentile": self.colours_percentile,
            **{name: one and one._asdict() for name, one in versions.items()},
            "share": self.share,
            "verdict": self.verdict,
            "n_images": self.n_images,
        }


def rank_pair(
    pair: NDArray[np.floating[Any]],
    others: NDArray[np.floating[Any]],
    *,
    percentile: float | None = None,
) -> Version:
    """Return the similarity of two vectors, and its rank among pairs of others.

    Parameters
    ----------
    pair : ndarray of shape (2, d)
        The vectors.
    others : ndarray of shape (n, d)
        Vectors of other pictures, of the same version.
    percentile : float, optional
        The percentile, if known for more pictures.

    Returns
    -------
    Version
        Without a percentile if there are fewer than 4 others.

    Examples
    --------
    >>> rank_pair(np.array([[1, 0], [1, 1]]), np.eye(4, 2)).percentile is not None
    True
    """
    a, b = unit_rows(pair).astype(np.float64)
    similarity = float(np.clip(a @ b, -1, 1))
    if len(others) < _MIN_IMAGES:
        return Version(similarity, percentile)
    pairs = pairwise(unit_rows(others).astype(np.float64))
    if percentile is None:
        percentile = 100 * float((pairs < similarity - FLOAT32_NOISE).mean())
    return Version(similarity, percentile, float(pairs.mean()))


def closer_than(percentile: float, pairs: str = "pairs") -> str:
    """Return the rank of a similarity among pairs as words.

    Examples
    --------
    >>> closer_than(99.9, "all pairs"), closer_than(100, "all pairs"), closer_than(100)
    ('closer than 99.9 % of all pairs', 'closer than all pairs', 'closer than all pairs')
    """
    share = percent(percentile / 100, 1)
    if share == "100 %":
        return f"closer than all {pairs.removeprefix('all ')}"
    return f"closer than {share} of {pairs}"


def pairwise(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scalar products of all pairs of different rows."""
    return (rows @ rows.T)[np.triu_indices(len(rows), 1)]
