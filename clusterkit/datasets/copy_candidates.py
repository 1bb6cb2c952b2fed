"""Find candidate pairs of copies: pictures that match if one is turned, mirrored or cropped.

Each picture is described by the Zernike moments of a disc in its centre (Khotanzad and Hong, 1990,
"Invariant image recognition by Zernike moments").  Turning or mirroring a disc changes only their
phases: pictures are searched by the magnitudes, and the phases then give the angle.  To find crops,
the disc of a picture is compared with smaller discs of the others, some of them off centre.
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
# Maximum order of the moments.  Higher ones differ more after a crop that no disc matches exactly.
_ORDER = 12
# Side of the shrunk pictures from which moments are computed.
_SMALL_SIDE = SIDE // 2
# Number of rows and columns at which discs are sampled.
_DISC_SIDE = 32
# Number of angles at which discs are compared.
_N_ANGLES = 64
# Minimum correlation of two discs, turned to match best.
_MIN_CORRELATION = 0.8
# The same after their detail is enhanced, since coarse shapes agree by chance: amplitudes in photos
# fall with the frequency (Field, 1987, "Relations between the statistics of natural images and the
# response properties of cortical cells").
_MIN_DETAIL_CORRELATION = 0.56
# To enhance detail, moments are multiplied by this power of their order.  Of 0.5, 1, 1.5, 2 and 3,
# it keeps the fewest pairs that are not copies, for the same number of copies.
_DETAIL_POWER = 2
# Number of nearest pictures that are compared for each disc.
_N_NEIGHBORS = 4
# Number of best matches that are kept for each picture; further ones are copies of the same image.
_N_KEPT = 12
# Aspect ratios within 2 % share their discs.
_ASPECT_STEP = math.log(1.02)
# Number of pictures processed at a time; more would not fit in the cache of a core.
_BATCH_SIZE = 1024
# Maximum number of pictures that are searched exactly; more are searched by an inverted file.
_MAX_EXACT = 2_000
# Number of pictures in a group of an exact search, which looks into the groups of the best ones.
_GROUP_SIZE = 16
# Number of cells of the inverted file that are searched.
_N_PROBES = 4
# Number of principal axes of the 48 magnitudes that the inverted file compares.  Among 100,000
# pictures, this finds as many copies as all 48 values, in four fifths of the time.
_N_AXES = 32
# Maximum dimension of embeddings; longer ones are projected to it.
_MAX_DIMENSIONS = 256


class Disc(NamedTuple):
    """A disc of a picture.

    Attributes
    ----------
    is_round : bool
        Whether it is round in the image, which turning requires; otherwise it is round in the
        picture, which is square whatever the shape of the image.
    size : float
        Its diameter, as a share of that of the largest disc that fits.
    x, y : float
        Its centre, as positions in the picture from -1 to 1.
    """

    is_round: bool
    size: float
    x: float
    y: float


# Discs of a picture that the whole of another may match.  A random crop to 0.77 to 1 of each side
# differs from one of these by less than 0.04 of a side.
DISCS = [
    Disc(True, 1, 0, 0),
    Disc(True, 0.87, 0, 0),
    Disc(True, 0.75, 0, 0),
    Disc(False, 1, 0, 0),
    *[Disc(False, 0.875, x, y) for x in (-0.125, 0, 0.125) for y in (-0.125, 0, 0.125)],
    *[Disc(False, 0.75, x, y) for x in (-0.25, 0, 0.25) for y in (-0.25, 0, 0.25)],
]
# The discs of whole pictures, round in the image and in the picture.
_WHOLE_DISCS = (DISCS[0], DISCS[3])


@dataclass(frozen=True)
class Candidates:
    """Pairs of pictures that may be copies.

    Attributes
    ----------
    pairs : ndarray of shape (n, 2), int64
        Rows of two pictures, the lower first; each pair once.
    maps : ndarray of shape (n, 2, 3), float32
        Approximate maps from the first picture to the second, as in
        :mod:`clusterkit.images.alignment`.
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
        Grey pictures, none of them uniform.
    shapes : ndarray of shape (n, 2), int
        Height and width of the images from which they were made.
    near : ndarray of shape (m, 2), int, optional
        Further pairs of rows to compare.

    Returns
    -------
    Candidates
    """
    aspects = np.rint(np.log(shapes[:, 1] / shapes[:, 0]) / _ASPECT_STEP).astype(int)
    # Sorted by aspect ratio: pictures of one ratio share the matrices of round discs.
    order = np.argsort(aspects, kind="stable")
    aspects = aspects[order]
    starts = range(0, len(order), _BATCH_SIZE)
    given = _both_ways(np.empty((0, 2), np.int64) if near is None else np.argsort(order)[near])

    def flatten(start: int) -> NDArray[np.float32]:
        """Shrink the pictures of a batch, and return them as the rows of a matrix."""
        part = pictures[order[start : start + _BATCH_SIZE]]
        return shrink(part, _SMALL_SIDE).reshape(len(part), -1)

    def describe(start: int) -> list[NDArray[np.complex64]]:
        """Compute the moments of the whole pictures of a batch."""
        flat = flatten(start)
        return [_moments(flat, aspects[start : start + _BATCH_SIZE], disc) for disc in _WHOLE_DISCS]

    def search(start: int) -> _Matches:
        """Find the whole pictures that match the discs of a batch."""
        import faiss

        # The batches are distributed over threads; within one of them, faiss uses no others.
        faiss.omp_set_num_threads(1)
        flat, matches = flatten(start), _Matches()
        own = aspects[start : start + _BATCH_SIZE]
        known = given[slice(*np.searchsorted(given[:, 1], [start, start + len(own)]))]
        for disc in DISCS:
            moments = _moments(flat, own, disc)
            nearest = searches[disc.is_round](np.abs(moments))
            places = np.repeat(np.arange(start, start + len(own)), nearest.shape[1])
            pairs = np.stack([nearest.ravel(), places], axis=1)[nearest.ravel() >= 0]
            matches.add(
                disc, np.concatenate([pairs, known]), whole[disc.is_round], moments, start, aspects
            )
        return matches

    with workers() as run:
        described = zip(*run(describe, starts), strict=True)
        whole = {
            disc.is_round: np.concatenate(parts)
            for disc, parts in zip(_WHOLE_DISCS, described, strict=True)
        }
        searches = {
            is_round: _make_search(np.abs(moments), n_axes=_N_AXES)
            for is_round, moments in whole.items()
        }
        best = _choose_best(run(search, starts))
    pairs = order[best.pairs]
    is_swapped = pairs[:, 0] > pairs[:, 1]
    best.maps[is_swapped] = invert(best.maps[is_swapped])
    return Candidates(np.sort(pairs, axis=1), best.maps)


def _both_ways(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each pair in both directions, sorted by the second row."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    return both[np.argsort(both[:, 1], kind="stable")]


class _Matches:
    """Pairs of pictures whose moments match, and their maps."""

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
        """Add the pairs whose first picture, as a whole, matches a disc of the second.

        Parameters
        ----------
        disc : Disc
            The disc of the second pictures.
        pairs : ndarray of shape (n, 2), int64
            Pairs to compare.
        whole : ndarray of shape (n_pictures, n_moments), complex64
            Moments of all whole pictures.
        moments : ndarray of shape (n_batch, n_moments), complex64
            Moments of the disc of the pictures from ``start`` on.
        start : int
            The first picture of the batch.
        aspects : ndarray of shape (n_pictures,), int
            Aspect ratios of all pictures, in steps of ``_ASPECT_STEP``.
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


def _choose_best(matches: Sequence[_Matches]) -> Candidates:
    """Return the best match of each pair, and only the best pairs of each picture."""
    pairs = np.concatenate([part for batch in matches for part in batch.pairs])
    likeness = np.concatenate([part for batch in matches for part in batch.likeness])
    maps = np.concatenate([part for batch in matches for part in batch.maps])
    order = np.lexsort((-likeness, pairs[:, 1], pairs[:, 0]))
    pairs, likeness, maps = pairs[order], likeness[order], maps[order]
    is_first = np.ones(len(pairs), bool)
    is_first[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    pairs, likeness, maps = pairs[is_first], likeness[is_first], maps[is_first]
    rank = np.minimum(_rank(pairs[:, 0], likeness), _rank(pairs[:, 1], likeness))
    kept = rank < _N_KEPT
    return Candidates(pairs[kept], maps[kept])


def _rank(rows: NDArray[np.int64], likeness: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the rank of each pair among the pairs of its row; the best has rank 0."""
    order = np.lexsort((-likeness, rows))
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return rank


def find_near(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Find pairs of near vectors, for :func:`find_candidates`.

    Parameters
    ----------
    vectors : ndarray of shape (n, dimension), float32
        Embeddings of the pictures; rows of zeros have no neighbours.

    Returns
    -------
    ndarray of shape (m, 2), int64
        Rows of two vectors, the lower first; each pair once.
    """
    n, dimension = vectors.shape
    if dimension > _MAX_DIMENSIONS:
        # A random projection hardly changes angles (Johnson and Lindenstrauss, 1984).
        rng = np.random.default_rng(0)
        vectors = vectors @ rng.standard_normal((dimension, _MAX_DIMENSIONS)).astype(np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.ascontiguousarray(vectors / np.where(length > 0, length, 1), np.float32)
    nearest = _make_search(unit)(unit)
    pairs = np.stack([np.repeat(np.arange(n), nearest.shape[1]), nearest.ravel()], axis=1)
    pairs = np.sort(pairs[(nearest.ravel() >= 0) & (length[pairs[:, 0], 0] > 0)], axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def _make_search(vectors: NDArray[np.float32], *, n_axes: int | None = None) -> Any:
    """Return a function that finds the nearest of these unit vectors; -1 where there is none.

    If there are many vectors, only their first ``n_axes`` principal components are compared; all
    dimensions if it is None.
    """
    import faiss

    n, dimension = vectors.shape
    k = min(_N_NEIGHBORS + 1, n)
    if n <= _MAX_EXACT:
        return lambda queries: _find_largest(vectors, queries, k)
    if n_axes is None:
        index = cells = _make_cells(n, dimension, faiss.METRIC_INNER_PRODUCT)
    else:
        # Principal components are centred, so vectors no longer have length 1: use L2 distances.
        cells = _make_cells(n, n_axes, faiss.METRIC_L2)
        index = faiss.IndexPreTransform(faiss.PCAMatrix(dimension, n_axes), cells)
    index.train(vectors)
    index.add(vectors)
    cells.nprobe = _N_PROBES
    return lambda queries: index.search(queries, k)[1]


def _find_largest(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> NDArray[np.int64]:
    """Return the rows of the ``k`` largest scalar products with each query, in any order.

    They are in the ``k`` groups of rows with the largest maxima.  This takes half the time of the
    heaps of ``faiss.knn``.
    """
    n, n_groups = len(vectors), max(k, -(-len(vectors) // _GROUP_SIZE))
    products = np.full((len(queries), _GROUP_SIZE * n_groups), -np.inf, np.float32)
    np.matmul(queries, vectors.T, out=products[:, :n])
    maxima = products.reshape(len(queries), _GROUP_SIZE, n_groups).max(axis=1)
    groups = np.argpartition(maxima, -k, axis=1)[:, -k:, None]
    rows = (groups + n_groups * np.arange(_GROUP_SIZE)).reshape(len(queries), -1)
    found = np.take_along_axis(products, rows, axis=1)
    best = np.argpartition(found, -k, axis=1)[:, -k:]
    return np.take_along_axis(rows, best, axis=1)


def _make_cells(n: int, dimension: int, metric: int) -> Any:
    """Return an empty inverted file for ``n`` vectors."""
    import faiss

    centres = faiss.IndexFlat(dimension, metric)
    index = faiss.IndexIVFFlat(centres, dimension, 2 * math.isqrt(n), metric)
    index.cp.max_points_per_centroid, index.cp.niter = 64, 10
    # faiss warns about fewer than 39 vectors per cell, which are enough here.
    index.cp.min_points_per_centroid = 1
    return index


def _match(
    first: NDArray[np.complex64], second: NDArray[np.complex64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]:
    """Turn and mirror first discs to match second ones best.

    Returns
    -------
    correlation : ndarray of shape (n,), float32
        Correlation of the best match.
    is_mirrored : ndarray of shape (n,), bool
        Whether it is mirrored.
    turns : ndarray of shape (n,), int64
        Its angle, as an index of :func:`_angles`.
    """
    conjugate, (sums, waves) = first.conj(), _correlation_matrices()
    correlations = np.concatenate(
        [(other * conjugate).view(np.float32) @ sums @ waves for other in (second, second.conj())],
        axis=1,
    )
    best = correlations.argmax(axis=1)
    correlation: NDArray[np.float32] = correlations[np.arange(len(correlations)), best]
    return correlation, best >= _N_ANGLES, best % _N_ANGLES


def _correlate_detail(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    is_mirrored: NDArray[np.bool_],
    turns: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the correlation of turned and mirrored discs with enhanced detail."""
    orders, repetitions = np.array(_orders(), np.float32).T
    phases = np.exp(-1j * np.outer(_angles(), repetitions)).astype(np.complex64)
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
    """Return the maps from whole first pictures to a disc of second ones, given their aspects."""
    cosine, sine = np.cos(angles), np.sin(angles)
    turn = np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1)
    # Mirroring reverses the sign of the phases.
    turn[is_mirrored, 1] *= -1
    inner = _radii(disc.is_round, first)
    outer = disc.size * _radii(disc.is_round, second)
    linear = outer[:, :, None] * turn / inner[:, None, :]
    centre = np.broadcast_to([[disc.x], [disc.y]], (len(first), 2, 1))
    return np.concatenate([linear, centre], axis=2).astype(np.float32)


def _radii(is_round: bool, aspects: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the radii along x and y of the largest disc in pictures of these aspects."""
    if not is_round:
        return np.ones((len(aspects), 2))
    ratio = np.exp(aspects * _ASPECT_STEP)
    return np.stack([np.minimum(1, 1 / ratio), np.minimum(1, ratio)], axis=1)


def _moments(
    flat: NDArray[np.float32], aspects: NDArray[np.int64], disc: Disc
) -> NDArray[np.complex64]:
    """Return the moments of a disc of each picture, scaled to length 1: shape (n, n_moments)."""
    # Aspects are sorted.  Discs that are not round do not depend on them.
    values, starts = np.unique(aspects, return_index=True) if disc.is_round else ([0], [0])
    ends = [*starts[1:], len(flat)]
    moments = np.concatenate(
        [
            flat[start:end] @ _disc_matrix(disc, int(aspect))
            for aspect, start, end in zip(values, starts, ends, strict=True)
        ]
    )
    moments /= np.maximum(np.linalg.norm(moments, axis=1, keepdims=True), 1e-6)
    return moments.view(np.complex64)


@lru_cache(maxsize=64)
def _disc_matrix(disc: Disc, aspect: int) -> NDArray[np.float32]:
    """Return the matrix from a flat picture to the real and imaginary moments of a disc."""
    basis, positions = _zernike_basis()
    radii = disc.size * _radii(disc.is_round, np.array([aspect]))[0]
    rows, columns = (
        _interpolation_weights(radius * positions + centre)
        for radius, centre in ((radii[1], disc.y), (radii[0], disc.x))
    )
    sampled = (rows.T @ basis.reshape(_DISC_SIDE, -1)).reshape(_SMALL_SIDE, _DISC_SIDE, -1)
    matrix: NDArray[np.float32] = (columns.T @ sampled).reshape(_SMALL_SIDE * _SMALL_SIDE, -1)
    return matrix


def _interpolation_weights(positions: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the weights of pixels at positions from -1 to 1: shape (n, n_pixels)."""
    pixels = np.clip((positions + 1) * _SMALL_SIDE / 2 - 0.5, 0, _SMALL_SIDE - 1)
    distances = np.abs(pixels[:, None] - np.arange(_SMALL_SIDE))
    weights: NDArray[np.float32] = np.maximum(1 - distances, 0).astype(np.float32)
    return weights


@cache
def _orders() -> list[tuple[int, int]]:
    """Return the order and the repetition of each moment, without the mean."""
    return [(n, m) for n in range(1, _ORDER + 1) for m in range(n % 2, n + 1, 2)]


def _angles() -> NDArray[np.float64]:
    """Return the angles by which discs are turned to match."""
    angles: NDArray[np.float64] = np.arange(float(_N_ANGLES)) * (2 * math.pi / _N_ANGLES)
    return angles


@cache
def _correlation_matrices() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two matrices that give the correlation of two discs at each angle.

    The first sums the products of the moments by repetition, the second is a Fourier transform.
    """
    repetitions = np.array([m for _, m in _orders()])
    each = np.arange(_ORDER + 1)
    sums = np.kron(repetitions[:, None] == each, np.eye(2)).astype(np.float32)
    angles = np.outer(each, _angles())
    waves = np.stack([np.cos(angles), -np.sin(angles)], axis=1).reshape(-1, _N_ANGLES)
    return sums, waves.astype(np.float32)


@cache
def _zernike_basis() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the polynomials on the grid of a disc, and the positions of its rows and columns.

    Real and imaginary parts alternate: shape (side, side, 2 * n_moments).  Moments of negative
    repetition are complex conjugates of the others, which count twice instead.
    """
    positions = (np.arange(_DISC_SIDE) + 0.5) * 2 / _DISC_SIDE - 1
    y, x = np.meshgrid(positions, positions, indexing="ij")
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
    return basis.view(np.float32), positions
