"""Confirm copies by comparing the two pictures themselves, aligned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.copy_candidates import SIDE, Candidates
from clusterkit.images.alignment import Floats, align, correlate, detail, shrink, smooth, warp
from clusterkit.utils.parallel import map_ahead, serial_blas
from clusterkit.utils.progress import progress_bar

# Pictures are compared at this size.
_FULL_SIDE = 128
# Images with a shorter side are only compared at the size of the pictures.
_MIN_FULL_SIDE = 96
# Smoothing, in pixels, without which pictures that are half a pixel off differ in their detail.
_SMOOTHING = 0.8
# Detail is finer than this share of a side.
_DETAIL = 0.075
# Sizes at which pictures are aligned in turn, and numbers of steps.
_SMALLEST = 16
_LEVELS = ((_SMALLEST, 3), (32, 2), (SIDE, 2))
# Grey levels beyond the range that a change of brightness must reach to count as clipped there.
_RANGE_MARGIN = 4.0
# Fields that are compared: rows and columns.
_N_FIELDS = 8
# Grey levels of standard deviation below which a field has no texture that noise could not change.
_FAINT = 4.0
# Fields with texture without which nothing is confirmed: a map, brightness and contrast have eight
# free numbers, by which a mark on a plain ground matches any other.
_MIN_CLEAR = 8
# Minimum share of the first or second picture that the other shows.
_MIN_AREA = 0.2
# The most that alignment may change the scale of a map, and one direction more than the other.
_MOST_SCALE, _MOST_STRETCH = 1.3, 1.2
# Pixels along the edge of a turned disc that are blurred into the filled corners.
_EDGE = 2.5
# Angles, in radians, up to which corners that were filled are too small to matter.
_UPRIGHT = math.radians(2)
# How much less the detail of the smallest pictures may agree than that of larger ones, and how much
# more it must where they lead away, and how much further they may change a map.  Of 35,300 pairs of
# copies 94 do not agree so well, and of 12,800 other pairs with like moments 52 %.
_LESS, _MORE, _SLACK = 0.1, 0.07, 1.08
# Agreement of pictures that hardly overlap without the corners that were turned.
_UNKNOWN = -1.0
# Pairs, and pixels of each of their two pictures, that are worked on at a time: many, since threads
# wait for each other between steps, but so few that what is computed stays in the cache of a core.
_PAIRS_AT_ONCE, _PIXELS_AT_ONCE = 512, 2**17


class Agreement(NamedTuple):
    """How well the fields of aligned pictures must agree.

    Attributes
    ----------
    likeness : float
        Least correlation within all fields together.
    mean : float
        Least mean of the correlations of the fields with texture.
    share : float
        Least share of the fields with texture whose correlation exceeds ``each``.
    each : float
        See ``share``.
    coarse : float
        Least correlation of the detail of the small pictures by which they are aligned.
    """

    likeness: float
    mean: float
    share: float
    each: float
    coarse: float


# Slides of one template differ in a few fields only.  Chosen on 60 images of each of five sets,
# with 11 copies each: of each kind, 99 % exceed 0.98, 0.96 and 0.97.  Of 400 copies, one has less
# than 0.8 at small sizes, where other candidates cost most: of them, nine of ten have.
SURE = Agreement(0.965, 0.94, 0.96, 0.8, 0.8)
# Where it is worse to miss a copy than to take two pictures of one template for copies.
LIKELY = Agreement(0.94, 0.85, 0.87, 0.5, 0.65)


@dataclass(frozen=True)
class Confirmed:
    """Pairs of pictures that are copies.

    Attributes
    ----------
    pairs : ndarray of shape (n, 2), int64
        Rows of two pictures.
    maps : ndarray of shape (n, 2, 3), float32
        How the first matches the second, as in :mod:`clusterkit.images.alignment`.
    likeness : ndarray of shape (n,), float32
        Correlation of the aligned pictures in fields of an eighth of a side, up to 1.
    """

    pairs: NDArray[np.int64]
    maps: Floats
    likeness: Floats


def angles_of(maps: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """Return how far images are turned, in radians from -pi to pi, once a mirrored one is not.

    Parameters
    ----------
    maps : ndarray of shape (n, 2, 3), float32
        How the first matches the second.
    first, second : ndarray of shape (n, 2), int
        Height and width of the images.
    """
    linear = linear_of(maps, first, second)
    is_mirrored = np.linalg.det(linear) < 0
    linear[is_mirrored, 0] *= -1
    angles: Floats = np.arctan2(
        linear[:, 1, 0] - linear[:, 0, 1], linear[:, 0, 0] + linear[:, 1, 1]
    )
    return angles


def linear_of(maps: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """Return the linear part of maps in pixels of the images; see :func:`angles_of`."""
    ratio = second[:, ::-1, None] / first[:, None, ::-1]
    linear: Floats = maps[:, :, :2] * ratio.astype(np.float32)
    return linear


class Comparison:
    """Compares pairs of pictures, at three sizes in turn.

    Parameters
    ----------
    pictures : ndarray of shape (n, 64, 64), uint8
        Grey pictures.
    shapes : ndarray of shape (n, 2), int
        Height and width of the images that they were made from.
    read : callable
        ``read(row, side)`` returns the grey picture of a row at another size, or None.
    agreement : Agreement
        How well copies must agree.
    """

    def __init__(
        self,
        pictures: NDArray[np.uint8],
        shapes: NDArray[np.int64],
        read: Callable[[int, int], NDArray[np.uint8] | None],
        agreement: Agreement = SURE,
    ) -> None:
        self.pictures, self.shapes, self.agreement = pictures, shapes, agreement
        # Copies of one image are compared one after the other.
        self.read = lru_cache(maxsize=1024)(read)
        # Most pairs are only compared at this size, and each picture is in several.
        self.smallest = np.empty((2, len(pictures), _SMALLEST, _SMALLEST), np.float32)
        for part in _parts(len(pictures), SIDE):
            self.smallest[:, part] = _scale(pictures[part], _SMALLEST)

    def confirm(self, candidates: Candidates, *, progress: bool = False) -> Confirmed:
        """Keep the pairs of candidates that are copies.

        Parameters
        ----------
        candidates : Candidates
            Pairs, and about how they match.
        progress : bool
            Whether to show a progress bar.

        Returns
        -------
        Confirmed
        """
        n = len(candidates.pairs)
        # At least one, so that there is a result.
        starts = range(0, max(n, 1), _PAIRS_AT_ONCE)
        chunks = [slice(start, start + _PAIRS_AT_ONCE) for start in starts]
        results = map_ahead(
            lambda chunk: self._compare(candidates.pairs[chunk], candidates.maps[chunk]),
            chunks,
            ahead=4,
        )
        confirmed = []
        bar = progress_bar(total=n, name="comparing pairs", enabled=progress, unit="pair")
        with serial_blas(), bar:
            for chunk, result in zip(chunks, results, strict=True):
                confirmed.append(result)
                bar.update(len(candidates.pairs[chunk]))
        pairs, maps, likeness = map(np.concatenate, zip(*confirmed, strict=True))
        return Confirmed(pairs, maps, likeness)

    def _compare(
        self, pairs: NDArray[np.int64], maps: Floats
    ) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Return the pairs that are copies, the better maps, and how alike they are."""
        guess = maps
        for side, n_steps in _LEVELS:
            kept, aligned = np.zeros(len(pairs), bool), np.empty_like(maps)
            for part in _parts(len(pairs), side):
                kept[part], aligned[part] = self._align(
                    pairs[part], maps[part], guess[part], side, n_steps
                )
            pairs, maps, guess = pairs[kept], aligned[kept], guess[kept]
        likeness = np.zeros(len(pairs), np.float32)
        is_full = (self.shapes[pairs].min(axis=2) >= _MIN_FULL_SIDE).all(axis=1)
        for side, rows in (
            (_FULL_SIDE, np.flatnonzero(is_full)),
            (SIDE, np.flatnonzero(~is_full)),
        ):
            for part in _parts(len(rows), side):
                here = rows[part]
                likeness[here] = self._liken(pairs[here], maps[here], side)
        kept = likeness > 0
        return pairs[kept], maps[kept], likeness[kept]

    def _align(
        self, pairs: NDArray[np.int64], maps: Floats, guess: Floats, side: int, n_steps: int
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Align pictures at one size: which agree, and the better maps."""
        (first, detail), (second, other_detail) = (self._at(rows, side) for rows in pairs.T)
        masks = self._masks(pairs, maps, side)
        aligned = align(first, second, maps, masks, n_steps=n_steps)
        agreement = _agree(detail, other_detail, aligned, masks)
        coarse = self.agreement.coarse
        if side > _SMALLEST:
            return _is_near(aligned, guess, 1) & (agreement >= coarse), aligned
        # The smallest pictures tell a map less exactly; where brightness is clipped, they can lead
        # away.
        is_near = _is_near(aligned, guess, _SLACK)
        before = _agree(detail, other_detail, maps, masks)
        is_better = is_near & (agreement >= before)
        kept = is_near & (agreement >= coarse - _LESS)
        kept |= (before >= coarse + _MORE) | (before == _UNKNOWN)
        return kept, np.where(is_better[:, None, None], aligned, maps)

    def _at(self, rows: NDArray[np.int64], side: int) -> tuple[Floats, Floats]:
        """Return pictures at a size, and their detail."""
        if side == _SMALLEST:
            return self.smallest[0, rows], self.smallest[1, rows]
        return _scale(self.pictures[rows], side)

    def _liken(self, pairs: NDArray[np.int64], maps: Floats, side: int) -> Floats:
        """Return how alike aligned pictures are in all fields; 0 for those that are no copies."""
        likeness = np.zeros(len(pairs), np.float32)
        read = [[self.read(place, side) for place in places] for places in pairs.T.tolist()]
        is_known = [[picture is not None for picture in found] for found in read]
        rows = np.flatnonzero(np.all(is_known, axis=0))
        if not len(rows):
            return likeness
        # One of them can be sharper: both are smoothed alike.
        first, second = (
            smooth(np.array([found[row] for row in rows], np.float32), _SMOOTHING * 1.4)
            for found in read
        )
        seen, inside = warp(second, maps[rows])
        inside &= self._masks(pairs[rows], maps[rows], side)
        inside &= ~(_is_clipped(first, seen, inside) | _is_clipped(seen, first, inside))
        likeness[rows] = _compare_fields(first, seen, inside, self.agreement)
        return likeness

    def _masks(self, pairs: NDArray[np.int64], maps: Floats, side: int) -> NDArray[np.bool_]:
        """Return what to compare: of images that were turned, without the corners, only discs."""
        masks = np.ones((len(pairs), side, side), bool)
        first, second = self.shapes[pairs[:, 0]], self.shapes[pairs[:, 1]]
        quarter = math.pi / 2
        angles = angles_of(maps, first, second)
        turned = np.flatnonzero(np.abs((angles + quarter / 2) % quarter - quarter / 2) > _UPRIGHT)
        if len(turned):
            place = (np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1
            y, x = np.meshgrid(place, place, indexing="ij")
            points = np.stack([x.ravel(), y.ravel(), np.ones(side * side, np.float32)])
            own = np.broadcast_to(points[:2], (len(turned), 2, side * side))
            radius = 1 - 2 * _EDGE / side
            inside = _is_in_disc(own, first[turned], radius)
            inside &= _is_in_disc(maps[turned] @ points, second[turned], radius)
            masks[turned] = inside.reshape(-1, side, side)
        return masks


def _parts(n: int, side: int) -> Iterator[slice]:
    """Yield consecutive parts of pairs that are worked on at a time at a size."""
    n_part = max(1, _PIXELS_AT_ONCE // side**2)
    yield from (slice(start, start + n_part) for start in range(0, n, n_part))


def _scale(pictures: NDArray[np.uint8], side: int) -> tuple[Floats, Floats]:
    """Return pictures at a size, smoothed, and their detail."""
    smoothed = smooth(shrink(pictures, side), _SMOOTHING)
    return smoothed, detail(smoothed, _DETAIL * side)


def _agree(first: Floats, second: Floats, maps: Floats, masks: NDArray[np.bool_]) -> Floats:
    """Return the correlation of aligned pictures of detail, if they overlap."""
    seen, inside = warp(second, maps)
    inside &= masks
    area = inside.mean(axis=(1, 2))
    scale = np.abs(np.linalg.det(maps[:, :, :2]))
    overlaps = np.maximum(area, area * scale) >= _MIN_AREA
    agreement: Floats = np.where(overlaps, correlate(first, seen, inside), _UNKNOWN)
    return agreement


def _is_in_disc(points: Floats, shapes: NDArray[np.int64], radius: float) -> NDArray[np.bool_]:
    """Return whether points (n, 2, m) of pictures lie in discs; the largest has radius 1."""
    radii = shapes.min(axis=1, keepdims=True) / shapes[:, ::-1] * radius
    inside: NDArray[np.bool_] = ((points / radii[:, :, None]) ** 2).sum(axis=1) <= 1
    return inside


def _is_near(maps: Floats, guess: Floats, slack: float) -> NDArray[np.bool_]:
    """Return whether maps did not run away from what they began with."""
    change = maps[:, :, :2] @ np.linalg.inv(guess[:, :, :2])
    stretch = np.linalg.svd(change, compute_uv=False)
    largest, least = stretch.T
    scale, stretched = slack * _MOST_SCALE, slack * _MOST_STRETCH
    near: NDArray[np.bool_] = largest <= np.minimum(scale, stretched * least)
    near &= least >= 1 / scale
    return near


def _is_clipped(first: Floats, second: Floats, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where the brightness and contrast of the second picture put the first out of range."""
    n = len(first)
    one, other = first.reshape(n, -1), second.reshape(n, -1)
    weights = inside.reshape(n, -1) & (np.abs(other - 127.5) < 127.5 - _RANGE_MARGIN)
    weights = weights.astype(np.float32)
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    means = [(values * weights).sum(axis=1, keepdims=True) / total for values in (one, other)]
    centred = (one - means[0]) * weights
    variance = np.maximum((centred * centred).sum(axis=1, keepdims=True), 1e-6)
    gain = (centred * (other - means[1])).sum(axis=1, keepdims=True) / variance
    wanted = (one - means[0]) * gain + means[1]
    clipped: NDArray[np.bool_] = np.abs(wanted - 127.5) > 127.5 + _RANGE_MARGIN
    return clipped.reshape(first.shape)


def _compare_fields(
    first: Floats, second: Floats, inside: NDArray[np.bool_], least: Agreement
) -> Floats:
    """Return the correlation within fields of aligned pictures; 0 for those that are no copies."""
    one, other, weights = (_fields(values) for values in (first, second, inside))
    total = np.maximum(weights.sum(axis=2, keepdims=True), 1)
    one = (one - (one * weights).sum(axis=2, keepdims=True) / total) * weights
    other = (other - (other * weights).sum(axis=2, keepdims=True) / total) * weights
    n_pixels = one.shape[2]
    own, others = (one * one).sum(axis=2), (other * other).sum(axis=2)
    common = (one * other).sum(axis=2)
    is_seen = total[:, :, 0] > n_pixels / 2
    faint = _FAINT**2 * n_pixels
    is_clear = is_seen & (np.maximum(own, others) > faint)
    agreement = common / np.sqrt(np.maximum(own, faint / 4) * np.maximum(others, faint / 4))
    n_clear = np.maximum(is_clear.sum(axis=1), 1)
    mean = (agreement * is_clear).sum(axis=1) / n_clear
    share = ((agreement > least.each) & is_clear).sum(axis=1) / n_clear
    lengths = np.sqrt((own * is_seen).sum(axis=1) * (others * is_seen).sum(axis=1))
    likeness: Floats = (common * is_seen).sum(axis=1) / np.maximum(lengths, 1e-6)
    is_copy = (likeness >= least.likeness) & (mean >= least.mean) & (share >= least.share)
    is_copy &= n_clear >= _MIN_CLEAR
    return np.where(is_copy, np.minimum(likeness, 1), 0).astype(np.float32)


def _fields(values: NDArray[np.generic]) -> Floats:
    """Return pictures (n, side, side) as fields: (n, 64, pixels of a field)."""
    n, side, _ = values.shape
    part = side // _N_FIELDS
    fields = values.reshape(n, _N_FIELDS, part, _N_FIELDS, part).transpose(0, 1, 3, 2, 4)
    return fields.reshape(n, _N_FIELDS**2, part * part).astype(np.float32)
