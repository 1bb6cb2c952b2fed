"""Where in two pictures their similarity is: maps of both, and corresponding parts.

If a vector is the average of a network's features over the locations of a picture, the cosine of
two vectors is a sum over pairs of locations (Stylianou, Souvenir and Pless, 2019, "Visualizing deep
similarity networks", arXiv 1901.00536; Zhu, Yang and Chen, 2019, "Visual explanation for deep
metric learning", arXiv 1909.12977)::

    cosine(a, b) = sum over p, q of f_p . g_q / (n_a n_b |a| |b|)

The sum over one of them leaves a map of the other picture, which sums to the cosine.  A location
that contributes much to the sum does not always make the pictures similar: it may contribute still
more to the length of its vector.  Each location therefore also has an *effect*: how much the cosine
falls without it.  For other networks only the effect is measured, by hiding one patch of a picture
after the other (Zeiler and Fergus, 2014, "Visualizing and understanding convolutional networks",
arXiv 1311.2901).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError

# Number of parts: more are hard to tell apart in a picture.
_N_PARTS = 3
# Minimum share of the similarity for a part.
_MIN_SHARE = 0.03
# Parts consist of the strongest locations, which contribute this share of a map.
_KEPT = 0.8
_N_STEPS = 20
# Tolerance for singular values, of which the largest is 1, and for lengths of vectors.
_NOISE = 1e-6


class Part(NamedTuple):
    """A part of one picture, and the corresponding part of the other.

    Attributes
    ----------
    mask_a, mask_b : ndarray of shape (h, w), bool
        The locations of the part in each picture; no location is in two parts.
    cosine : float
        Contribution of the pairs of these locations to the similarity.
    """

    mask_a: NDArray[np.bool_]
    mask_b: NDArray[np.bool_]
    cosine: float


class Where(NamedTuple):
    """Where in two pictures their similarity is.

    Attributes
    ----------
    method : {"exact", "occlusion"}
        ``exact``: the maps sum to the cosine of the two vectors.  ``occlusion``: the maps are the
        effects of hiding patches, whose sum has no meaning.
    map_a, map_b : ndarray of shape (h, w), float64
        Contribution of each location of a picture to the similarity.
    effect_a, effect_b : ndarray of shape (h, w), float64
        How much the cosine falls without each location; negative where it rises.
    cosine : float
        Similarity of the vectors of this forward pass, which may differ a little from that of the
        stored ones because of the network's precision.
    parts : tuple of Part
        Corresponding parts of both pictures, in descending order of contribution.
    resize : {"stretch", "crop", "pad"}
        How the pictures were resized.
    """

    method: str
    map_a: NDArray[np.float64]
    map_b: NDArray[np.float64]
    effect_a: NDArray[np.float64]
    effect_b: NDArray[np.float64]
    cosine: float
    parts: tuple[Part, ...]
    resize: str = "stretch"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "method": self.method,
            "cosine": self.cosine,
            "map_a": self.map_a.tolist(),
            "map_b": self.map_b.tolist(),
            "effect_a": self.effect_a.tolist(),
            "effect_b": self.effect_b.tolist(),
            "resize": self.resize,
            "parts": [
                {
                    "cosine": part.cosine,
                    "mask_a": part.mask_a.tolist(),
                    "mask_b": part.mask_b.tolist(),
                }
                for part in self.parts
            ],
        }


def split_cosine(
    features_a: NDArray[np.floating[Any]],
    features_b: NDArray[np.floating[Any]],
    *,
    resize: str = "stretch",
) -> Where:
    """Split the cosine of two pictures into their locations, exactly.

    Parameters
    ----------
    features_a, features_b : ndarray of shape (h, w, d)
        The features of each location; the vector of a picture is their average.
    resize : {"stretch", "crop", "pad"}
        How the pictures were resized.

    Returns
    -------
    Where
        Both maps sum to the cosine.

    Raises
    ------
    InvalidInputError
        If the shapes do not fit.

    Examples
    --------
    >>> features = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    >>> split_cosine(features, features[:, :1]).map_a.round(2)
    array([[0.71, 0.  ]])
    """
    for features in (features_a, features_b):
        if features.ndim != 3 or features.shape[2] != features_a.shape[2] or not features.size:
            raise InvalidInputError(
                "features must have shape (h, w, d), with the same d. "
                f"Received: {features_a.shape} and {features_b.shape}"
            )
    rows_a, rows_b = _scaled_rows(features_a), _scaled_rows(features_b)
    # By einsum: threads of BLAS wait for each other longer than such products take.
    map_a = np.einsum("pd,d->p", rows_a, rows_b.sum(axis=0)).reshape(features_a.shape[:2])
    map_b = np.einsum("pd,d->p", rows_b, rows_a.sum(axis=0)).reshape(features_b.shape[:2])
    cosine = float(map_a.sum())
    effect_a, effect_b = _leave_out(rows_a, map_a), _leave_out(rows_b, map_b)
    parts = _match_parts(rows_a, rows_b, map_a, map_b) if cosine > 0 else ()
    return Where("exact", map_a, map_b, effect_a, effect_b, cosine, parts, resize)


def split_by_hiding(
    vectors: NDArray[np.float32],
    hidden_a: NDArray[np.float32],
    hidden_b: NDArray[np.float32],
    *,
    resize: str = "stretch",
) -> Where:
    """Find where the similarity of two pictures is by hiding their patches.

    Parameters
    ----------
    vectors : ndarray of shape (2, d)
        The vectors of the pictures.
    hidden_a, hidden_b : ndarray of shape (h, w, d)
        The vectors of each picture with one of its patches hidden.
    resize : {"stretch", "crop", "pad"}
        How the pictures were resized.

    Returns
    -------
    Where
        Each value is the cosine of the pictures minus that with the patch hidden.
    """
    a, b = _unit(vectors.astype(np.float64))
    cosine = float(a @ b)
    map_a = cosine - _unit(hidden_a.astype(np.float64)) @ b
    map_b = cosine - _unit(hidden_b.astype(np.float64)) @ a
    # The contribution of a patch to the vector replaces the features of a location.
    lost_a = _relative_rows(vectors[0].astype(np.float64) - hidden_a, vectors[0])
    lost_b = _relative_rows(vectors[1].astype(np.float64) - hidden_b, vectors[1])
    parts = _match_parts(lost_a, lost_b, map_a, map_b) if cosine > 0 else ()
    return Where("occlusion", map_a, map_b, map_a, map_b, cosine, parts, resize)


def _scaled_rows(features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return a row for each location, which sum to a vector of length 1, or to 0."""
    rows = features.reshape(-1, features.shape[2]).astype(np.float64)
    length = float(np.linalg.norm(rows.sum(axis=0)))
    return rows / length if length else np.zeros_like(rows)


def _leave_out(
    rows: NDArray[np.float64], contributions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how much the cosine falls without each location.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Contributions of the locations to a vector of length 1.
    contributions : ndarray of shape (h, w)
        Their contributions to the cosine.
    """
    cosine = contributions.sum()
    squares = np.einsum("pd,pd->p", rows, rows)
    left = 1 - 2 * np.einsum("pd,d->p", rows, rows.sum(axis=0)) + squares
    lengths = np.sqrt(np.maximum(left, 0)).reshape(contributions.shape)
    # A picture without its only location has no similarity.
    rest = np.divide(
        cosine - contributions, lengths, out=np.zeros_like(lengths), where=lengths > _NOISE
    )
    return cosine - rest


def _relative_rows(
    changes: NDArray[np.float64], vector: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return a row for each patch, relative to the length of the vector."""
    length = float(np.linalg.norm(vector.astype(np.float64))) or 1.0
    return changes.reshape(-1, changes.shape[2]) / length


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale vectors to length 1; zero stays zero."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def _match_parts(
    rows_a: NDArray[np.float64],
    rows_b: NDArray[np.float64],
    map_a: NDArray[np.float64],
    map_b: NDArray[np.float64],
) -> tuple[Part, ...]:
    """Find corresponding parts of two pictures.

    Parameters
    ----------
    rows_a, rows_b : ndarray of shape (n, d)
        Contribution of each location to the vector of its picture, of length 1; the scalar product
        of two locations is the contribution of the pair to the similarity.
    map_a, map_b : ndarray of shape (h, w)
        Contributions of the locations.

    Notes
    -----
    Only the strongest locations are used.  Spectral co-clustering (Dhillon, 2001, "Co-clustering
    documents and words using bipartite spectral graph partitioning") divides those of both pictures
    together: the locations of a part contribute more with each other than expected from their
    strengths.
    """
    strong_a, strong_b = np.flatnonzero(_strongest(map_a)), np.flatnonzero(_strongest(map_b))
    pairs = np.einsum("pd,qd->pq", rows_a[strong_a], rows_b[strong_b])
    if not (pairs > 0).any():
        return ()
    owners = _divide_both(np.maximum(pairs, 0))
    owner_a, owner_b = np.split(owners, [len(strong_a)])
    parts = []
    for i in range(_N_PARTS):
        is_a, is_b = owner_a == i, owner_b == i
        cosine = float(pairs[np.ix_(is_a, is_b)].sum())
        if cosine >= _MIN_SHARE * np.maximum(map_a, 0).sum():
            masks = np.zeros(map_a.shape, dtype=bool), np.zeros(map_b.shape, dtype=bool)
            masks[0].flat[strong_a[is_a]] = masks[1].flat[strong_b[is_b]] = True
            parts.append(Part(*masks, cosine))
    return tuple(sorted(parts, key=lambda part: -part.cosine))


def _strongest(contributions: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the fewest locations that contribute most of the sum; none if all are zero."""
    values = np.maximum(contributions.ravel(), 0)
    order = np.argsort(-values, kind="stable")
    total = np.cumsum(values[order])
    is_kept = np.zeros(len(values), dtype=bool)
    if total[-1] > 0:
        is_kept[order[: int(np.searchsorted(total, _KEPT * total[-1])) + 1]] = True
    return is_kept & (values > 0)


def _divide_both(table: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the part of each row of a non-negative table, then of each column."""
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    scale_a, scale_b = (
        np.divide(1, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0)
        for sums in (rows, columns)
    )
    u, values, vt = np.linalg.svd(scale_a[:, None] * table * scale_b, full_matrices=False)
    # The first pair of singular vectors is the strength of the locations; of equal locations the
    # others are noise.
    kept = slice(1, 1 + np.count_nonzero(values[1:_N_PARTS] > _NOISE))
    points = np.vstack([scale_a[:, None] * u[:, kept], scale_b[:, None] * vt[kept].T])
    if not points.size:
        return np.zeros(len(points), dtype=np.intp)
    # k-means from points that are far from each other, weighted by strength: deterministic.
    weights = np.concatenate([rows, columns])
    centers = [points[int(np.argmax(weights * (points**2).sum(axis=1)))]]
    for _ in range(1, _N_PARTS):
        apart = np.min([((points - center) ** 2).sum(axis=1) for center in centers], axis=0)
        centers.append(points[int(np.argmax(weights * apart))])
    places = np.array(centers)
    for _ in range(_N_STEPS):
        owners = np.argmin(((points[:, None] - places) ** 2).sum(axis=2), axis=1)
        for i in range(_N_PARTS):
            mine = weights * (owners == i)
            if mine.any():
                places[i] = mine @ points / mine.sum()
    return owners
