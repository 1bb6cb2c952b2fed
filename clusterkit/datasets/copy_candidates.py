"""Find pictures that may be copies of each other, turned, mirrored or cropped, and how they match.

Each picture is described by Zernike moments of a disc in its middle (Khotanzad and Hong, 1990,
"Invariant image recognition by Zernike moments").  To turn or mirror a disc changes only their
phases, so pictures are searched by the absolute values, and their phases then tell the angle.
Crops are found by discs of the other picture that are smaller and off its middle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
# agree by chance.
_MIN_CORRELATION = 0.8
_MIN_DETAIL_CORRELATION = 0.62
# Nearest pictures by each disc that are compared.
_N_NEIGHBORS = 4
# Of the pairs of a picture, this many that match best are kept; more are copies of one image.
_N_KEPT = 12
# Aspect ratios within 2 % share their discs.
_ASPECT_STEP = math.log(1.02)
# Number of pictures that are worked on at a time.
_AT_ONCE = 4096
# More pictures than this are searched by an inverted file instead of all with all.
_MOST_EXACT = 2_000
_N_PROBES = 8
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
    # Quarters of grey levels are exact in float16.
    halves = shrink(pictures, _HALF).astype(np.float16)
    whole = {disc.is_round: _moments(halves, aspects, disc) for disc in (DISCS[0], DISCS[3])}
    searches = {is_round: _make_search(_lengths(found)) for is_round, found in whole.items()}

    def search(disc: Disc) -> _Found:
        """Find the pictures of which a disc matches a whole one."""
        import faiss

        # Of this thread; the discs are spread over the others.
        faiss.omp_set_num_threads(1)
        moments = _moments(halves, aspects, disc)
        found = _Found()
        for start in range(0, len(pictures), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            nearest = searches[disc.is_round](_lengths(moments[part]))
            rows = np.repeat(np.arange(start, start + len(nearest)), nearest.shape[1])
            pairs = np.stack([nearest.ravel(), rows], axis=1)
            found.add(disc, pairs[nearest.ravel() >= 0], whole[disc.is_round], moments, aspects)
        if near is not None:
            for pairs in (near, near[:, ::-1]):
                found.add(disc, pairs, whole[disc.is_round], moments, aspects)
        return found

    with workers() as run:
        return _choose_best(run(search, DISCS))


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
        aspects: NDArray[np.int64],
    ) -> None:
        """Add the pairs of which the whole first picture matches a disc of the second."""
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        likeness, is_mirrored, angles = _match(whole[pairs[:, 0]], moments[pairs[:, 1]])
        kept = np.flatnonzero(likeness >= _MIN_CORRELATION)
        kept = kept[
            _correlate_detail(
                whole[pairs[kept, 0]], moments[pairs[kept, 1]], is_mirrored[kept], angles[kept]
            )
            >= _MIN_DETAIL_CORRELATION
        ]
        pairs, is_mirrored, angles = pairs[kept], is_mirrored[kept], angles[kept]
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


def _make_search(vectors: NDArray[np.float32]) -> Any:
    """Return a function that finds the nearest rows of vectors; -1 for none."""
    import faiss

    (n, dimension), metric = vectors.shape, faiss.METRIC_INNER_PRODUCT
    k = min(_N_NEIGHBORS + 1, n)
    if n <= _MOST_EXACT:
        return lambda wanted: faiss.knn(wanted, vectors, k, metric=metric)[1]
    cells = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFFlat(cells, dimension, 4 * math.isqrt(n), metric)
    index.cp.max_points_per_centroid = 64
    # Fewer than 39 are enough here; faiss would print a warning.
    index.cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
    index.nprobe = _N_PROBES
    return lambda wanted: index.search(wanted, k)[1]


def _lengths(moments: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Return the absolute values of moments, which do not change with the angle, as vectors."""
    return np.abs(moments) * np.sqrt(_doubled())


def _match(
    first: NDArray[np.complex64], second: NDArray[np.complex64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Turn and mirror first discs to match second ones best: correlation, mirrored, angle."""
    doubled, turns = _doubled(), np.array([m for _, m in _orders()])
    angles = np.arange(_N_ANGLES) * (2 * math.pi / _N_ANGLES)
    waves = (doubled[:, None] * np.exp(1j * np.outer(turns, angles))).astype(np.complex64)
    real, imaginary = np.ascontiguousarray(waves.real), np.ascontiguousarray(waves.imag)
    best = []
    for conjugate in (second, second.conj()):
        product = conjugate * first.conj()
        best.append(product.real @ real - product.imag @ imaginary)
    both = np.concatenate(best, axis=1)
    place = both.argmax(axis=1)
    likeness: NDArray[np.float32] = both[np.arange(len(both)), place]
    return likeness, place >= _N_ANGLES, angles[place % _N_ANGLES]


def _correlate_detail(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    is_mirrored: NDArray[np.bool_],
    angles: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return the correlation of turned and mirrored discs with their detail brought out."""
    orders, turns = np.array(_orders(), np.float32).T
    one = first * orders * np.exp(-1j * np.outer(angles, turns))
    other = np.where(is_mirrored[:, None], second.conj(), second) * orders
    doubled = _doubled()
    lengths = [np.sqrt((np.abs(moments) ** 2) @ doubled) for moments in (one, other)]
    correlation: NDArray[np.float32] = ((other * one.conj()).real @ doubled) / np.maximum(
        lengths[0] * lengths[1], 1e-12
    )
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
    halves: NDArray[np.float16], aspects: NDArray[np.int64], disc: Disc
) -> NDArray[np.complex64]:
    """Return the moments of a disc of each picture, of length 1: shape (n, n_moments)."""
    moments = np.empty((len(halves), len(_orders())), np.complex64)
    for rows, aspect in _by_aspect(aspects, disc):
        real, imaginary = _disc_matrices(disc, aspect)
        flat = halves[rows].reshape(len(rows), -1).astype(np.float32)
        moments[rows] = flat @ real + 1j * (flat @ imaginary)
    length = np.sqrt((np.abs(moments) ** 2) @ _doubled())
    moments /= np.maximum(length, 1e-6)[:, None]
    return moments


def _by_aspect(aspects: NDArray[np.int64], disc: Disc) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield rows of pictures in which a disc is the same, not too many at a time."""
    for aspect in np.unique(aspects) if disc.is_round else [0]:
        rows = np.flatnonzero(aspects == aspect) if disc.is_round else np.arange(len(aspects))
        for start in range(0, len(rows), _AT_ONCE):
            yield rows[start : start + _AT_ONCE], int(aspect)


@lru_cache(maxsize=64)
def _disc_matrices(disc: Disc, aspect: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the matrices from a flat picture to the moments of a disc, real and imaginary."""
    from scipy.sparse import coo_array

    x, y, basis = _zernike_basis()
    radii = disc.size * _radii(disc.is_round, np.array([aspect]))[0]
    columns = np.clip((radii[0] * x + disc.x + 1) * _HALF / 2 - 0.5, 0, _HALF - 1.001)
    lines = np.clip((radii[1] * y + disc.y + 1) * _HALF / 2 - 0.5, 0, _HALF - 1.001)
    column, line = columns.astype(int), lines.astype(int)
    u, v = columns - column, lines - line
    pixels = line * _HALF + column
    weights = np.concatenate([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v])
    places = np.concatenate([pixels, pixels + 1, pixels + _HALF, pixels + _HALF + 1])
    points = np.tile(np.arange(len(x)), 4)
    sampling = coo_array((weights, (places, points)), shape=(_HALF * _HALF, len(x))).tocsr()
    matrix = sampling @ basis
    return matrix.real.astype(np.float32), matrix.imag.astype(np.float32)


@cache
def _orders() -> list[tuple[int, int]]:
    """Return the order and the number of turns of each moment, without the mean."""
    return [(n, m) for n in range(1, _ORDER + 1) for m in range(n % 2, n + 1, 2)]


@cache
def _doubled() -> NDArray[np.float32]:
    """Return how often each moment counts: those of negative turns are conjugates, and left out."""
    return np.array([2 if m else 1 for _, m in _orders()], np.float32)


@cache
def _zernike_basis() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the points of a disc, and the polynomials at them: shape (n_points, n_moments)."""
    place = (np.arange(_DISC_SIDE) + 0.5) * 2 / _DISC_SIDE - 1
    y, x = (grid.ravel() for grid in np.meshgrid(place, place, indexing="ij"))
    is_inside = np.hypot(x, y) <= 1
    x, y = x[is_inside], y[is_inside]
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    columns = []
    for n, m in _orders():
        radial = np.zeros_like(radius)
        for k in range((n - m) // 2 + 1):
            factor = (-1) ** k * math.comb(n - k, k) * math.comb(n - 2 * k, (n - m) // 2 - k)
            radial += factor * radius ** (n - 2 * k)
        columns.append(math.sqrt(n + 1) * radial * np.exp(-1j * m * angle))
    basis = np.stack(columns, axis=1)
    # On a grid the polynomials are not exactly orthogonal to the mean.
    return x, y, basis - basis.mean(axis=0)
