"""Find pictures that may be copies of each other, turned, mirrored or cropped, and how they match.

Each picture is described by Zernike moments of a disc in its middle (Khotanzad and Hong, 1990,
"Invariant image recognition by Zernike moments").  To turn or mirror a disc changes only their
phases, so pictures are searched by the absolute values, and their phases then tell the angle.
Crops are found by discs of the other picture that are smaller and off its middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.images.alignment import invert, shrink
from clusterkit.utils.parallel import workers

# Height and width of the pictures, whatever the shape of the images.
SIDE = 64
# Moments up to this order; higher ones differ more after a crop that no disc matches exactly.
_ORDER = 12
# Moments are computed from pictures of half the size, with discs of so many rows and columns.
_HALF = SIDE // 2
_DISC_SIDE = 32
_N_ANGLES = 64
# Minimum correlation of two discs, turned to match best, as they are and with their detail brought
# out: the amplitudes in photos fall with the frequency (Field, 1987, "Relations between the
# statistics of natural images and the response properties of cortical cells"), and coarse shapes
# agree by chance.  Moments are multiplied by this power of their order: of 0.5, 1, 1.5, 2 and 3 the
# one that leaves fewest other pairs for as many copies.
_MIN_CORRELATION = 0.8
_MIN_DETAIL_CORRELATION, _DETAIL_POWER = 0.56, 2
# Nearest pictures by each disc that are compared.
_N_NEIGHBORS = 4
# Of the pairs of a picture, this many that match best are kept; more are copies of one image.
_N_KEPT = 12
# Aspect ratios within 2 % share their discs.
_ASPECT_STEP = math.log(1.02)
# Number of pictures that are worked on at a time: what is computed stays in the cache of a core.
_AT_ONCE = 1024
# More pictures than this are searched by an inverted file instead of all with all, on this many
# principal axes of their moments.  Among 100,000 pictures, as many copies are found as on all 48,
# in four fifths of the time.
_MOST_EXACT = 2_000
_N_PROBES, _N_AXES = 4, 32
# Embeddings of more dimensions are projected to so many.
_MOST_DIMENSIONS = 256


class Disc(NamedTuple):
    """A disc of a picture.

    Attributes
    ----------
    is_round : bool
        Whether it is round in the image, as it must be to be turned; else in the picture, whose
        sides are equal whatever the shape of the image.
    size : float
        Its diameter over the largest that fits.
    x, y : float
        Its centre, as positions in the picture from -1 to 1.
    """

    is_round: bool
    size: float
    x: float
    y: float


# A random crop of 0.77 to 1 of each side is less than 0.04 of a side off one of these.
DISCS = [
    Disc(True, 1, 0, 0),
    Disc(True, 0.87, 0, 0),
    Disc(True, 0.75, 0, 0),
    Disc(False, 1, 0, 0),
    *[Disc(False, 0.875, x, y) for x in (-0.125, 0, 0.125) for y in (-0.125, 0, 0.125)],
    *[Disc(False, 0.75, x, y) for x in (-0.25, 0, 0.25) for y in (-0.25, 0, 0.25)],
]
_WHOLE = (DISCS[0], DISCS[3])


@dataclass(frozen=True)
class Candidates:
    """Pairs of pictures that may be copies.

    Attributes
    ----------
    pairs : ndarray of shape (n, 2), int64
        Rows of two pictures, the lower first; no pair twice.
    maps : ndarray of shape (n, 2, 3), float32
        About how the first matches the second, as in :mod:`clusterkit.images.alignment`.
    """

    pairs: NDArray[np.int64]
    maps: NDArray[np.float32]


def find_candidates(
    pictures: NDArray[np.uint8],
    shapes: NDArray[np.int64],
    near: NDArray[np.int64] | None = None,
) -> Candidates:
    """Find pairs of pictures that may be copies.

    Parameters
    ----------
    pictures : ndarray of shape (n, 64, 64), uint8
        Grey pictures, none of one tone.
    shapes : ndarray of shape (n, 2), int
        Height and width of the images that they were made from.
    near : ndarray of shape (m, 2), int, optional
        Further pairs of rows to compare.

    Returns
    -------
    Candidates
    """
    aspects = np.rint(np.log(shapes[:, 1] / shapes[:, 0]) / _ASPECT_STEP).astype(int)
    # Those of one aspect, which share the matrices of round discs, lie together from here on.
    order = np.argsort(aspects, kind="stable")
    aspects = aspects[order]
    starts = range(0, len(order), _AT_ONCE)
    given = _both_ways(np.empty((0, 2), np.int64) if near is None else np.argsort(order)[near])

    def flatten(start: int) -> NDArray[np.float32]:
        """Return some pictures, smaller, as the rows of a matrix."""
        part = pictures[order[start : start + _AT_ONCE]]
        return shrink(part, _HALF).reshape(len(part), -1)

    def describe(start: int) -> list[NDArray[np.complex64]]:
        """Compute the moments of some whole pictures."""
        flat = flatten(start)
        return [_moments(flat, aspects[start : start + _AT_ONCE], disc) for disc in _WHOLE]

    def search(start: int) -> _Found:
        """Find the pictures that match a disc of some pictures."""
        import faiss

        # Of this thread; the pictures are spread over the others.
        faiss.omp_set_num_threads(1)
        flat, found = flatten(start), _Found()
        own = aspects[start : start + _AT_ONCE]
        known = given[slice(*np.searchsorted(given[:, 1], [start, start + len(own)]))]
        for disc in DISCS:
            moments = _moments(flat, own, disc)
            nearest = searches[disc.is_round](_lengths(moments))
            places = np.repeat(np.arange(start, start + len(own)), nearest.shape[1])
            pairs = np.stack([nearest.ravel(), places], axis=1)[nearest.ravel() >= 0]
            found.add(
                disc, np.concatenate([pairs, known]), whole[disc.is_round], moments, start, aspects
            )
        return found

    with workers() as run:
        described = zip(*run(describe, starts), strict=True)
        whole = {
            disc.is_round: np.concatenate(parts)
            for disc, parts in zip(_WHOLE, described, strict=True)
        }
        searches = {
            is_round: _make_search(_lengths(found), n_axes=_N_AXES)
            for is_round, found in whole.items()
        }
        best = _choose_best(run(search, starts))
    pairs = order[best.pairs]
    is_swapped = pairs[:, 0] > pairs[:, 1]
    best.maps[is_swapped] = invert(best.maps[is_swapped])
    return Candidates(np.sort(pairs, axis=1), best.maps)


def _both_ways(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each pair as it is and swapped, in the order of the second of them."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    return both[np.argsort(both[:, 1], kind="stable")]


class _Found:
    """Pairs whose moments match, and how."""

    def __init__(self) -> None:
        self.pairs: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
        self.likeness: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        self.maps: list[NDArray[np.float32]] = [np.empty((0, 2, 3), np.float32)]

    def add(
        self,
        disc: Disc,
        pairs: NDArray[np.int64],
        whole: NDArray[np.complex64],
        moments: NDArray[np.complex64],
        start: int,
        aspects: NDArray[np.int64],
    ) -> None:
        """Add the pairs of which the whole first picture matches a disc of the second.

        The moments are those of discs of the pictures from ``start`` on.
        """
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        first, second = whole[pairs[:, 0]], moments[pairs[:, 1] - start]
        likeness, is_mirrored, turns = _match(first, second)
        kept = np.flatnonzero(likeness >= _MIN_CORRELATION)
        detail = _correlate_detail(first[kept], second[kept], is_mirrored[kept], turns[kept])
        kept = kept[detail >= _MIN_DETAIL_CORRELATION]
        pairs, is_mirrored, angles = pairs[kept], is_mirrored[kept], _angles()[turns[kept]]
        maps = _make_maps(disc, aspects[pairs[:, 0]], aspects[pairs[:, 1]], is_mirrored, angles)
        is_swapped = pairs[:, 0] > pairs[:, 1]
        if is_swapped.any():
            maps[is_swapped] = invert(maps[is_swapped])
        self.pairs.append(np.sort(pairs, axis=1))
        self.likeness.append(likeness[kept])
        self.maps.append(maps)


def _choose_best(found: Sequence[_Found]) -> Candidates:
    """Return each pair once, as it matches best, and not too many of one picture."""
    pairs = np.concatenate([part for one in found for part in one.pairs])
    likeness = np.concatenate([part for one in found for part in one.likeness])
    maps = np.concatenate([part for one in found for part in one.maps])
    order = np.lexsort((-likeness, pairs[:, 1], pairs[:, 0]))
    pairs, likeness, maps = pairs[order], likeness[order], maps[order]
    is_first = np.ones(len(pairs), bool)
    is_first[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    pairs, likeness, maps = pairs[is_first], likeness[is_first], maps[is_first]
    rank = np.minimum(_rank(pairs[:, 0], likeness), _rank(pairs[:, 1], likeness))
    kept = rank < _N_KEPT
    return Candidates(pairs[kept], maps[kept])


def _rank(rows: NDArray[np.int64], likeness: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the place of each pair among those of one row, the best first."""
    order = np.lexsort((-likeness, rows))
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return rank


def find_near(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return pairs of rows whose vectors are near, for :func:`find_candidates`.

    Parameters
    ----------
    vectors : ndarray of shape (n, dimension), float32
        Embeddings of the pictures; rows of zeros have no neighbours.

    Returns
    -------
    ndarray of shape (m, 2), int64
        No pair twice.
    """
    n, dimension = vectors.shape
    if dimension > _MOST_DIMENSIONS:
        # Angles hardly change in a random projection (Johnson and Lindenstrauss, 1984).
        rng = np.random.default_rng(0)
        vectors = vectors @ rng.standard_normal((dimension, _MOST_DIMENSIONS)).astype(np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.ascontiguousarray(vectors / np.where(length > 0, length, 1), np.float32)
    nearest = _make_search(unit)(unit)
    pairs = np.stack([np.repeat(np.arange(n), nearest.shape[1]), nearest.ravel()], axis=1)
    pairs = np.sort(pairs[(nearest.ravel() >= 0) & (length[pairs[:, 0], 0] > 0)], axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def _make_search(vectors: NDArray[np.float32], *, n_axes: int | None = None) -> Any:
    """Return a function that finds the nearest rows of unit vectors; -1 for none.

    Many vectors are compared along so many of their principal axes, if a number is given.
    """
    import faiss

    (n, dimension), metric = vectors.shape, faiss.METRIC_INNER_PRODUCT
    k = min(_N_NEIGHBORS + 1, n)
    if n <= _MOST_EXACT:
        return lambda wanted: faiss.knn(wanted, vectors, k, metric=metric)[1]
    if n_axes is None:
        index = cells = _make_cells(n, dimension, metric)
    else:
        # Axes have their origin in the mean, where lengths differ.
        cells = _make_cells(n, n_axes, faiss.METRIC_L2)
        index = faiss.IndexPreTransform(faiss.PCAMatrix(dimension, n_axes), cells)
    index.train(vectors)
    index.add(vectors)
    cells.nprobe = _N_PROBES
    return lambda wanted: index.search(wanted, k)[1]


def _make_cells(n: int, dimension: int, metric: int) -> Any:
    """Return an empty inverted file for a number of vectors."""
    import faiss

    centres = faiss.IndexFlat(dimension, metric)
    index = faiss.IndexIVFFlat(centres, dimension, 2 * math.isqrt(n), metric)
    index.cp.max_points_per_centroid, index.cp.niter = 64, 10
    # Fewer than 39 are enough here; faiss would print a warning.
    index.cp.min_points_per_centroid = 1
    return index


def _lengths(moments: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Return the absolute values of moments, which do not change with the angle, as vectors."""
    return np.abs(moments)


def _match(
    first: NDArray[np.complex64], second: NDArray[np.complex64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]:
    """Turn and mirror first discs to match second ones best: correlation, mirrored, which angle."""
    inverse, (sums, waves) = first.conj(), _turning()
    both = np.concatenate(
        [(other * inverse).view(np.float32) @ sums @ waves for other in (second, second.conj())],
        axis=1,
    )
    place = both.argmax(axis=1)
    likeness: NDArray[np.float32] = both[np.arange(len(both)), place]
    return likeness, place >= _N_ANGLES, place % _N_ANGLES


def _correlate_detail(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    is_mirrored: NDArray[np.bool_],
    turns: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the correlation of turned and mirrored discs with their detail brought out."""
    orders, numbers = np.array(_orders(), np.float32).T
    phases = np.exp(-1j * np.outer(_angles(), numbers)).astype(np.complex64)
    weights = orders**_DETAIL_POWER
    one = first * weights * phases[turns]
    other = np.where(is_mirrored[:, None], second.conj(), second) * weights
    one, other = one.view(np.float32), other.view(np.float32)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    correlation: NDArray[np.float32] = (one * other).sum(axis=1) / np.maximum(lengths, 1e-12)
    return correlation


def _make_maps(
    disc: Disc,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    is_mirrored: NDArray[np.bool_],
    angles: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return the maps from whole first pictures, of some aspect, to a disc of second ones."""
    cosine, sine = np.cos(angles), np.sin(angles)
    turn = np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1)
    # Phases of mirrored discs run backwards.
    turn[is_mirrored, 1] *= -1
    inner = _radii(disc.is_round, first)
    outer = disc.size * _radii(disc.is_round, second)
    linear = outer[:, :, None] * turn / inner[:, None, :]
    centre = np.broadcast_to([[disc.x], [disc.y]], (len(first), 2, 1))
    return np.concatenate([linear, centre], axis=2).astype(np.float32)


def _radii(is_round: bool, aspects: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the radii of the largest disc along x and y, in pictures of some aspects."""
    if not is_round:
        return np.ones((len(aspects), 2))
    ratio = np.exp(aspects * _ASPECT_STEP)
    return np.stack([np.minimum(1, 1 / ratio), np.minimum(1, ratio)], axis=1)


def _moments(
    flat: NDArray[np.float32], aspects: NDArray[np.int64], disc: Disc
) -> NDArray[np.complex64]:
    """Return the moments of a disc of each picture, of length 1: shape (n, n_moments)."""
    # Sorted, and for discs that are not round all alike.
    found = np.unique(aspects, return_index=True) if disc.is_round else ([0], [0])
    ends = [*found[1][1:], len(flat)]
    moments = np.concatenate(
        [
            flat[start:end] @ _disc_matrix(disc, int(aspect))
            for aspect, start, end in zip(*found, ends, strict=True)
        ]
    )
    moments /= np.maximum(np.linalg.norm(moments, axis=1, keepdims=True), 1e-6)
    return moments.view(np.complex64)


@lru_cache(maxsize=64)
def _disc_matrix(disc: Disc, aspect: int) -> NDArray[np.float32]:
    """Return the matrix from a flat picture to the moments of a disc, real and imaginary."""
    basis, place = _zernike_basis()
    radii = disc.size * _radii(disc.is_round, np.array([aspect]))[0]
    lines, columns = (
        _sampling(radius * place + centre)
        for radius, centre in ((radii[1], disc.y), (radii[0], disc.x))
    )
    sampled = (lines.T @ basis.reshape(_DISC_SIDE, -1)).reshape(_HALF, _DISC_SIDE, -1)
    matrix: NDArray[np.float32] = (columns.T @ sampled).reshape(_HALF * _HALF, -1)
    return matrix


def _sampling(places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the weights of pixels at places between them, from -1 to 1: shape (n, n_pixels)."""
    places = np.clip((places + 1) * _HALF / 2 - 0.5, 0, _HALF - 1)
    distances = np.abs(places[:, None] - np.arange(_HALF))
    weights: NDArray[np.float32] = np.maximum(1 - distances, 0).astype(np.float32)
    return weights


@cache
def _orders() -> list[tuple[int, int]]:
    """Return the order and the number of turns of each moment, without the mean."""
    return [(n, m) for n in range(1, _ORDER + 1) for m in range(n % 2, n + 1, 2)]


def _angles() -> NDArray[np.float64]:
    """Return the angles by which discs are turned to match."""
    angles: NDArray[np.float64] = np.arange(float(_N_ANGLES)) * (2 * math.pi / _N_ANGLES)
    return angles


@cache
def _turning() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return matrices from products of moments to sums, and from those to correlations by angle."""
    numbers = np.array([m for _, m in _orders()])
    each = np.arange(_ORDER + 1)
    sums = np.kron(numbers[:, None] == each, np.eye(2)).astype(np.float32)
    angles = np.outer(each, _angles())
    waves = np.stack([np.cos(angles), -np.sin(angles)], axis=1).reshape(-1, _N_ANGLES)
    return sums, waves.astype(np.float32)


@cache
def _zernike_basis() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the polynomials at the points of a disc, and the places of its rows and columns.

    Real and imaginary parts alternate: shape (side, side, 2 * n_moments).  Moments of negative
    turns are conjugates, and left out; the others count twice.
    """
    place = (np.arange(_DISC_SIDE) + 0.5) * 2 / _DISC_SIDE - 1
    y, x = np.meshgrid(place, place, indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    is_inside = radius <= 1
    basis = np.zeros((*radius.shape, len(_orders())), np.complex64)
    for column, (n, m) in enumerate(_orders()):
        radial = np.zeros_like(radius)
        for k in range((n - m) // 2 + 1):
            factor = (-1) ** k * math.comb(n - k, k) * math.comb(n - 2 * k, (n - m) // 2 - k)
            radial += factor * radius ** (n - 2 * k)
        values = math.sqrt((n + 1) * (2 if m else 1)) * radial * np.exp(-1j * m * angle)
        # On a grid the polynomials are not exactly orthogonal to the mean.
        basis[is_inside, column] = (values - values[is_inside].mean())[is_inside]
    return basis.view(np.float32), place
