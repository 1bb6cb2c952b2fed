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
from clusterkit.images.pixels import to_grey
from clusterkit.utils.parallel import map_ahead, serial_blas
from clusterkit.utils.progress import progress_bar

# Side, in pixels, at which aligned pictures are finally compared.
_FULL_SIDE = 128
# Images with a shorter side are finally compared at the side of the thumbnails.
_MIN_FULL_SIDE = 96
# Standard deviation, in pixels, of the Gaussian blur before pictures are compared.  Without it, the
# detail of pictures that are half a pixel off differs.
_SMOOTHING = 0.8
# Standard deviation, as a share of a side, of the blur that is subtracted to leave the detail.
_DETAIL = 0.075
# Side of the smallest pictures, in pixels.
_SMALLEST = 16
# Sides at which pictures are aligned, one after the other, and the number of steps at each.
_LEVELS = ((_SMALLEST, 3), (32, 2), (SIDE, 2))
# Grey levels beyond 0 and 255 that a change of brightness must reach to count as clipped.
_RANGE_MARGIN = 4.0
# Number of rows, and of columns, of the fields into which pictures are divided.
_N_FIELDS = 8
# Minimum standard deviation, in grey levels, of a field with texture; noise changes fainter ones.
_FAINT = 4.0
# Minimum number of fields with texture.  A map, brightness and contrast have eight free parameters:
# with these, a mark on a plain background matches any other.
_MIN_CLEAR = 8
# Side, in pixels, at which colours are compared, and the minimum standard deviation, in levels, of
# a difference of colours.  Of 11,435 copies, none has one above 3.1 that is most of its colours.
_COLOUR_SIDE, _VISIBLE = 32, 8.0
# Minimum share of the first or the second picture that the other one shows.
_MIN_AREA = 0.2
# Maximum factors by which alignment may change the scale of a map, and one direction more than the
# other.
_MAX_SCALE, _MAX_STRETCH = 1.3, 1.2
# Width, in pixels, of the rim of a turned disc that is blurred with the filled corners.
_EDGE = 2.5
# Maximum angle, in radians, at which the filled corners are too small to matter.
_UPRIGHT = math.radians(2)
# The smallest pictures align less exactly, so pairs pass them more easily: if their correlation
# after alignment is not lower than the threshold minus the first value, or if their correlation
# before it is not lower than the threshold plus the second (the alignment may go astray).
_SMALLEST_LESS, _SMALLEST_MORE = 0.1, 0.07
# The limits of ``_MAX_SCALE`` and ``_MAX_STRETCH`` are multiplied by this for the smallest
# pictures.  With these three values, they reject 94 of 35,300 pairs of copies, and 52 % of 12,800
# other pairs with similar moments.
_SMALLEST_SLACK = 1.08
# Correlation of pictures that hardly overlap without the filled corners, so that it is not known.
_UNKNOWN = -1.0
# Number of pairs that a thread processes at a time: many, since threads wait for each other
# between steps.
_PAIRS_AT_ONCE = 512
# Number of pairs times pixels of a picture that are computed together; more would not fit in the
# cache of a core.
_PIXELS_AT_ONCE = 2**17

_Read = Callable[[int, int, bool], NDArray[np.uint8] | None]


class Thresholds(NamedTuple):
    """Thresholds for the agreement of aligned copies.

    Attributes
    ----------
    likeness : float
        Minimum correlation within all fields together.
    mean : float
        Minimum mean of the correlations of the fields with texture.
    share : float
        Minimum share of the fields with texture whose correlation exceeds ``each``, or whose
        difference is faint.
    each : float
        See ``share``.
    coarse : float
        Minimum correlation of the detail of the small pictures that are used for alignment.
    recoloured : float
        Maximum share of the variance of the colours that the other picture's do not explain; 1 if
        colours do not matter.
    """

    likeness: float
    mean: float
    share: float
    each: float
    coarse: float
    recoloured: float


# Thresholds for copies.  They are strict, since slides of one template differ in a few fields only.
# They were chosen on 60 images of each of five data sets, with 11 kinds of copies of each image: of
# every kind, 99 % have a likeness, a mean and a share above 0.98, 0.96 and 0.97.  The value
# ``coarse`` rejects nine of ten other candidates already at small sizes, and one of 400 copies.
SURE = Thresholds(0.965, 0.94, 0.96, 0.8, 0.8, 0.5)
# Thresholds where missing a copy is worse than taking two slides of one template for copies.
LIKELY = Thresholds(0.94, 0.85, 0.87, 0.5, 0.65, 1.0)


@dataclass(frozen=True)
class Confirmed:
    """Pairs of pictures that are copies.

    Attributes
    ----------
    pairs : ndarray of shape (n, 2), int64
        Rows of two pictures.
    maps : ndarray of shape (n, 2, 3), float32
        Maps from the first picture to the second, as in :mod:`clusterkit.images.alignment`.
    likeness : ndarray of shape (n,), float32
        Correlation of the aligned pictures within fields of an eighth of a side, at most 1.
    """

    pairs: NDArray[np.int64]
    maps: Floats
    likeness: Floats


def angles_of(maps: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """Return the angles by which images are turned, after mirrored ones are mirrored back.

    Parameters
    ----------
    maps : ndarray of shape (n, 2, 3), float32
        Maps from the first image to the second.
    first, second : ndarray of shape (n, 2), int
        Height and width of the images.

    Returns
    -------
    ndarray of shape (n,), float32
        Angles in radians, from -pi to pi.
    """
    linear = linear_of(maps, first, second)
    is_mirrored = np.linalg.det(linear) < 0
    linear[is_mirrored, 0] *= -1
    angles: Floats = np.arctan2(
        linear[:, 1, 0] - linear[:, 0, 1], linear[:, 0, 0] + linear[:, 1, 1]
    )
    return angles


def linear_of(maps: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """Return the linear part of maps in pixels of the images, of shape (n, 2, 2).

    The parameters are those of :func:`angles_of`.
    """
    ratio = second[:, ::-1, None] / first[:, None, ::-1]
    linear: Floats = maps[:, :, :2] * ratio.astype(np.float32)
    return linear


class Comparison:
    """Aligns and compares pairs of pictures, at increasing sizes.

    Parameters
    ----------
    pictures : ndarray of shape (n, 64, 64), uint8
        Grey pictures.
    shapes : ndarray of shape (n, 2), int
        Height and width of the images from which they were made.
    read : callable
        ``read(row, side, in_colour)`` returns the picture of a row with this side, in RGB or in
        grey, or None if it cannot be read.
    thresholds : Thresholds
        Thresholds for copies.
    """

    def __init__(
        self,
        pictures: NDArray[np.uint8],
        shapes: NDArray[np.int64],
        read: _Read,
        thresholds: Thresholds = SURE,
    ) -> None:
        self.pictures, self.shapes, self.thresholds = pictures, shapes, thresholds
        # The pairs of one image are compared shortly after each other.
        self.read = lru_cache(maxsize=1024)(read)
        # Computed once: most pairs are compared at this size only, and each picture is in several.
        self.smallest = np.empty((2, len(pictures), _SMALLEST, _SMALLEST), np.float32)
        for part in _parts(len(pictures), SIDE):
            self.smallest[:, part] = _scale(pictures[part], _SMALLEST)

    def confirm(self, candidates: Candidates, *, progress: bool = False) -> Confirmed:
        """Return the candidates that are copies.

        Parameters
        ----------
        candidates : Candidates
            Pairs, and their approximate maps.
        progress : bool
            Whether to show a progress bar.

        Returns
        -------
        Confirmed
        """
        n = len(candidates.pairs)
        # At least one chunk, so that there are arrays to concatenate.
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
        """Return the pairs that are copies, their improved maps, and their likeness."""
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
                likeness[here] = self._measure_likeness(pairs[here], maps[here], side)
        kept = np.flatnonzero(likeness)
        kept = kept[self._agree_in_colour(pairs[kept], maps[kept])]
        return pairs[kept], maps[kept], likeness[kept]

    def _align(
        self, pairs: NDArray[np.int64], maps: Floats, guess: Floats, side: int, n_steps: int
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Align pictures at one size; return which of them agree, and their improved maps.

        The guess is the map of the candidates, from which the alignment must not stray far.
        """
        (first, detail), (second, other_detail) = (self._scaled(rows, side) for rows in pairs.T)
        masks = self._masks(pairs, maps, side)
        aligned = align(first, second, maps, masks, n_steps=n_steps)
        agreement = _agree(detail, other_detail, aligned, masks)
        coarse = self.thresholds.coarse
        if side > _SMALLEST:
            return _is_near(aligned, guess, 1) & (agreement >= coarse), aligned
        # The smallest pictures give less exact maps, and wrong ones where brightness is clipped.
        is_near = _is_near(aligned, guess, _SMALLEST_SLACK)
        before = _agree(detail, other_detail, maps, masks)
        is_better = is_near & (agreement >= before)
        kept = is_near & (agreement >= coarse - _SMALLEST_LESS)
        kept |= (before >= coarse + _SMALLEST_MORE) | (before == _UNKNOWN)
        return kept, np.where(is_better[:, None, None], aligned, maps)

    def _scaled(self, rows: NDArray[np.int64], side: int) -> tuple[Floats, Floats]:
        """Return the pictures of rows at one size, and their detail."""
        if side == _SMALLEST:
            return self.smallest[0, rows], self.smallest[1, rows]
        return _scale(self.pictures[rows], side)

    def _measure_likeness(self, pairs: NDArray[np.int64], maps: Floats, side: int) -> Floats:
        """Return the likeness of aligned pictures; 0 for those that are not copies."""
        likeness = np.zeros(len(pairs), np.float32)
        known, pictures = _read_both(self.read, pairs, side)
        if not len(known):
            return likeness
        # One picture of a pair may be sharper; the blur makes them alike.
        first, second = (smooth(both, _SMOOTHING * 1.4) for both in pictures)
        seen, inside = warp(second, maps[known])
        inside &= self._masks(pairs[known], maps[known], side)
        inside &= ~(_is_clipped(first, seen, inside) | _is_clipped(seen, first, inside))
        likeness[known] = _compare_fields(first, seen, inside, self.thresholds)
        return likeness

    def _agree_in_colour(self, pairs: NDArray[np.int64], maps: Floats) -> NDArray[np.bool_]:
        """Return which aligned pictures have the same colours; one in grey agrees with any."""
        agree = np.ones(len(pairs), bool)
        if self.thresholds.recoloured >= 1:
            return agree
        known, pictures = _read_both(self.read, pairs, _COLOUR_SIDE, in_colour=True)
        if len(known):
            first, second = map(_colours, pictures)
            inside = self._masks(pairs[known], maps[known], _COLOUR_SIDE)
            inside &= warp(second[0], maps[known])[1]
            seen = np.stack([warp(channel, maps[known])[0] for channel in second])
            agree[known] = _explain(first, seen, inside, self.thresholds.recoloured)
        return agree

    def _masks(self, pairs: NDArray[np.int64], maps: Floats, side: int) -> NDArray[np.bool_]:
        """Return which pixels to compare: of turned images only a disc, not the filled corners."""
        masks = np.ones((len(pairs), side, side), bool)
        first, second = self.shapes[pairs[:, 0]], self.shapes[pairs[:, 1]]
        quarter = math.pi / 2
        angles = angles_of(maps, first, second)
        turned = np.flatnonzero(np.abs((angles + quarter / 2) % quarter - quarter / 2) > _UPRIGHT)
        if len(turned):
            positions = (np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1
            y, x = np.meshgrid(positions, positions, indexing="ij")
            points = np.stack([x.ravel(), y.ravel(), np.ones(side * side, np.float32)])
            own = np.broadcast_to(points[:2], (len(turned), 2, side * side))
            radius = 1 - 2 * _EDGE / side
            inside = _is_in_disc(own, first[turned], radius)
            inside &= _is_in_disc(maps[turned] @ points, second[turned], radius)
            masks[turned] = inside.reshape(-1, side, side)
        return masks


def _read_both(
    read: _Read, pairs: NDArray[np.int64], side: int, *, in_colour: bool = False
) -> tuple[NDArray[np.intp], list[Floats]]:
    """Return which pairs can be read, and their first and their second pictures."""
    found = [[read(row, side, in_colour) for row in rows] for rows in pairs.T.tolist()]
    is_read = [[picture is not None for picture in pictures] for pictures in found]
    known = np.flatnonzero(np.all(is_read, axis=0))
    return known, [np.array([one[pair] for pair in known], np.float32) for one in found]


def _colours(pictures: Floats) -> Floats:
    """Return the chroma of RGB pictures, as in a JPEG: shape (2, n, side, side)."""
    grey = to_grey(pictures)
    chroma: Floats = np.stack(
        [0.564 * (pictures[..., 2] - grey), 0.713 * (pictures[..., 0] - grey)]
    )
    return chroma


def _explain(
    first: Floats, second: Floats, inside: NDArray[np.bool_], recoloured: float
) -> NDArray[np.bool_]:
    """Return for which pairs the colours are the same, but for saturation and white balance.

    Parameters
    ----------
    first, second : ndarray of shape (2, n, side, side), float32
        The chroma of aligned pictures.
    inside : ndarray of shape (n, side, side), bool
        Which pixels to compare.
    recoloured : float
        Maximum share of the variance that may be left.
    """
    total = np.maximum(inside.sum(axis=(1, 2)), 1)
    one, other = (
        (values - (values * inside).sum(axis=(2, 3), keepdims=True) / total[:, None, None]) * inside
        for values in (first, second)
    )
    own, others, common = (
        (a * b).sum(axis=(0, 2, 3)) / total for a, b in ((one, one), (other, other), (one, other))
    )
    # One factor of saturation explains this part; colours that are opposite explain nothing.
    left = 1 - np.maximum(common, 0) ** 2 / np.maximum(own * others, 1e-6)
    same: NDArray[np.bool_] = left * np.minimum(own, others) < _VISIBLE**2
    return same | (left <= recoloured)


def _parts(n: int, side: int) -> Iterator[slice]:
    """Yield slices of ``n`` pictures of a side, each small enough to be processed together."""
    n_part = max(1, _PIXELS_AT_ONCE // side**2)
    yield from (slice(start, start + n_part) for start in range(0, n, n_part))


def _scale(pictures: NDArray[np.uint8], side: int) -> tuple[Floats, Floats]:
    """Shrink and smooth pictures; return them and their detail."""
    smoothed = smooth(shrink(pictures, side), _SMOOTHING)
    return smoothed, detail(smoothed, _DETAIL * side)


def _agree(first: Floats, second: Floats, maps: Floats, masks: NDArray[np.bool_]) -> Floats:
    """Return the correlation of the aligned detail of pictures; -1 if they hardly overlap."""
    seen, inside = warp(second, maps)
    inside &= masks
    area = inside.mean(axis=(1, 2))
    scale = np.abs(np.linalg.det(maps[:, :, :2]))
    overlaps = np.maximum(area, area * scale) >= _MIN_AREA
    agreement: Floats = np.where(overlaps, correlate(first, seen, inside), _UNKNOWN)
    return agreement


def _is_in_disc(points: Floats, shapes: NDArray[np.int64], radius: float) -> NDArray[np.bool_]:
    """Return whether points, of shape (n, 2, m), are in discs.

    A disc of radius 1 is the largest round one in an image of that shape.
    """
    radii = shapes.min(axis=1, keepdims=True) / shapes[:, ::-1] * radius
    inside: NDArray[np.bool_] = ((points / radii[:, :, None]) ** 2).sum(axis=1) <= 1
    return inside


def _is_near(maps: Floats, guess: Floats, slack: float) -> NDArray[np.bool_]:
    """Return whether maps are still near the guess from which the alignment started."""
    change = maps[:, :, :2] @ np.linalg.inv(guess[:, :, :2])
    stretch = np.linalg.svd(change, compute_uv=False)
    largest, least = stretch.T
    scale, stretched = slack * _MAX_SCALE, slack * _MAX_STRETCH
    near: NDArray[np.bool_] = largest <= np.minimum(scale, stretched * least)
    near &= least >= 1 / scale
    return near


def _is_clipped(first: Floats, second: Floats, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where the first picture, at the brightness and contrast of the second, is clipped."""
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
    first: Floats, second: Floats, inside: NDArray[np.bool_], thresholds: Thresholds
) -> Floats:
    """Return the correlation within the fields of aligned pictures; 0 if they are not copies."""
    one, other, weights = (_fields(values) for values in (first, second, inside))
    total: Floats = np.maximum(weights.sum(axis=2, keepdims=True), 1)
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
    # Of a field with little texture, the shadow of an edge nearby may be all that differs.
    is_faint = np.maximum(own, others) * (1 - np.clip(agreement, 0, 1) ** 2) <= faint
    share = (((agreement > thresholds.each) | is_faint) & is_clear).sum(axis=1) / n_clear
    lengths = np.sqrt((own * is_seen).sum(axis=1) * (others * is_seen).sum(axis=1))
    likeness: Floats = (common * is_seen).sum(axis=1) / np.maximum(lengths, 1e-6)
    is_copy = (
        (likeness >= thresholds.likeness) & (mean >= thresholds.mean) & (share >= thresholds.share)
    )
    is_copy &= n_clear >= _MIN_CLEAR
    return np.where(is_copy, np.minimum(likeness, 1), 0).astype(np.float32)


def _fields(values: NDArray[np.generic]) -> Floats:
    """Divide pictures, of shape (n, side, side), into fields: (n, 64, pixels of a field)."""
    n, side, _ = values.shape
    part = side // _N_FIELDS
    fields = values.reshape(n, _N_FIELDS, part, _N_FIELDS, part).transpose(0, 1, 3, 2, 4)
    return fields.reshape(n, _N_FIELDS**2, part * part).astype(np.float32)
