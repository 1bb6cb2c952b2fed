"""Find copies of an image: equal files, and the same image resized, cropped, turned or edited.

Pairs that may be copies are found by small pictures (and by embeddings where there are some), and
confirmed by comparing the two images themselves, aligned.  Different photos of one object are not
copies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.copy_candidates import SIDE, Candidates, find_candidates, find_near
from clusterkit.datasets.copy_confirmation import (
    LIKELY,
    SURE,
    Agreement,
    Comparison,
    Confirmed,
    angles_of,
    linear_of,
)
from clusterkit.errors import ImageError
from clusterkit.images.alignment import compose, invert
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import digest_bytes, read_bytes
from clusterkit.images.pixels import to_grey, to_rgb
from clusterkit.images.resizing import resize_grey, resize_image
from clusterkit.utils.parallel import map_ahead
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import percent

# Smaller images are mostly digits, signs and icons, many of which look alike.
MIN_SIDE = 48
# Files are first decoded at about this size.  A JPEG decoded at an eighth has up to seven columns
# of padding in its last one, which is too much in 64 columns to match a copy of another size, but
# not in 128.
_FIRST = (128, 128)
# Below this standard deviation, grey values are of one tone but for rounding.
_PLAIN = 1.0
# What is less than this is not worth a word: degrees, and shares of a side or an area.
_FEW_DEGREES, _LITTLE = 1.5, 0.03


class Thumbnail(NamedTuple):
    """What is kept of an image to find its copies.

    Attributes
    ----------
    digest : str
        Digest of its bytes, or of its pixels if it is not a file.
    picture : ndarray of shape (64, 64), uint8, or None
        The image in grey; None if it is too small, uniform, or cannot be read.
    shape : (int, int)
        (height, width) of the image.
    is_readable : bool
        Whether the image can be read.
    """

    digest: str
    picture: NDArray[np.uint8] | None = None
    shape: tuple[int, int] = (0, 0)
    is_readable: bool = True


class Copy(NamedTuple):
    """A copy of an image.

    Attributes
    ----------
    row : int
        Row of the copy.
    how : str
        How it differs from the image that is kept, such as ``"equal"`` or ``"mirrored"``.
    likeness : float
        Correlation with the image that is kept, once aligned; 1 for equal files.
    """

    row: int
    how: str
    likeness: float


class CopyGroup(NamedTuple):
    """An image that is kept, and its copies, each of which was compared with it.

    Attributes
    ----------
    kept : int
        Row of the image that is kept.
    copies : list of Copy
        In the order of their rows.
    """

    kept: int
    copies: list[Copy]


def find_copies(
    images: Sequence[str | Path] | NDArray[np.uint8],
    *,
    vectors: NDArray[np.float32] | None = None,
    apart: Collection[tuple[str, str]] = (),
    progress: bool = False,
) -> list[tuple[int, int]]:
    """Find pairs of copies.

    Parameters
    ----------
    images : sequence of paths, or ndarray of shape (n, height, width, 1 or 3), uint8
        The images; unreadable files, and images with a side below 48 pixels, are copies only of
        equal ones.
    vectors : ndarray of shape (n, dimension), float32, optional
        Embeddings: near ones are compared, too.
    apart : collection of (str, str)
        Sorted pairs of digests of images that are no copies of each other, whatever they look like.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of (int, int)
        Sorted rows ``(a, b)`` with ``a < b``.  All copies of an image are connected by pairs, but
        not every two of them are a pair.
    """
    thumbnails = make_thumbnails(images, progress=progress)
    return sorted(_Links(images, thumbnails, vectors, apart, SURE, progress=progress).pairs())


def make_thumbnails(
    images: Sequence[str | Path] | NDArray[np.uint8], *, progress: bool = False
) -> list[Thumbnail]:
    """Compute the features by which copies of images are found.

    Parameters
    ----------
    images : sequence of paths, or ndarray of shape (n, height, width, 1 or 3), uint8
        The images.  For arrays of another shape, such as vectors, only digests are computed.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of Thumbnail
        One per image.
    """
    if isinstance(images, np.ndarray):
        return [_make_from_pixels(image) for image in images]
    made = map_ahead(_make_from_file, images, ahead=64)
    n = len(images)
    return list(progress_bar(made, name="finding copies", enabled=progress, unit="image", total=n))


def make_thumbnail(digest: str, picture: NDArray[np.uint8], shape: tuple[int, int]) -> Thumbnail:
    """Compute the features of one decoded image.

    Parameters
    ----------
    digest : str
        Digest of the file.
    picture : ndarray of shape (height, width, 3), uint8
        The image, decoded at 128 x 128 pixels or more.
    shape : (int, int)
        (height, width) of the file's image.
    """
    if min(shape) < MIN_SIDE:
        return Thumbnail(digest, None, shape)
    resized = resize_grey(to_grey(picture), (SIDE, SIDE))
    grey = np.rint(np.clip(resized, 0, 255)).astype(np.uint8)
    return Thumbnail(digest, grey if grey.std() > _PLAIN else None, shape)


def pair_likely_copies(
    images: Sequence[str | Path] | NDArray[np.uint8],
    thumbnails: Sequence[Thumbnail],
    *,
    apart: Collection[tuple[str, str]] = (),
) -> list[tuple[int, int]]:
    """Return the pairs of :func:`find_copies`, and of pictures that are nearly so.

    For a split, in which a missed copy does harm, and two slides of one template in one part none.
    """
    return sorted(_Links(images, thumbnails, None, apart, LIKELY, progress=False).pairs())


def group_copies(
    images: Sequence[str | Path] | NDArray[np.uint8],
    thumbnails: Sequence[Thumbnail] | None = None,
    *,
    order: Sequence[int] | NDArray[np.intp] | None = None,
    vectors: NDArray[np.float32] | None = None,
    apart: Collection[tuple[str, str]] = (),
    progress: bool = False,
) -> list[CopyGroup]:
    """Group copies around the images that are kept.

    Parameters
    ----------
    images : sequence of paths, or ndarray of shape (n, height, width, 1 or 3), uint8
        The images, as for :func:`find_copies`.
    thumbnails : sequence of Thumbnail, optional
        Their features, where :func:`make_thumbnails` has computed them already.
    order : sequence of int, optional
        All rows, the first to keep first; by default in their order.
    vectors : ndarray of shape (n, dimension), float32, optional
        Embeddings: near ones are compared, too.
    apart : collection of (str, str)
        Sorted pairs of digests of images that are no copies of each other.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of CopyGroup
        Each image is in at most one group.  All copies of a group were compared with the image
        that is kept: two images that are both copies of a third, and not of each other, are not in
        one group unless the third is kept.
    """
    if thumbnails is None:
        thumbnails = make_thumbnails(images, progress=progress)
    links = _Links(images, thumbnails, vectors, apart, SURE, progress=progress)
    groups: list[CopyGroup] = []
    taken: set[int] = set()
    for kept in range(len(thumbnails)) if order is None else map(int, order):
        if kept in taken:
            continue
        copies = links.copies_of(kept, taken)
        if copies:
            taken.update([kept, *(copy.row for copy in copies)])
            groups.append(CopyGroup(kept, copies))
    return groups


@dataclass(frozen=True)
class _Link:
    """How a picture matches another one."""

    map: NDArray[np.float32]
    likeness: float


class _Links:
    """Pairs of copies among images: equal files, and pictures that were compared."""

    def __init__(
        self,
        images: Sequence[str | Path] | NDArray[np.uint8],
        thumbnails: Sequence[Thumbnail],
        vectors: NDArray[np.float32] | None,
        apart: Collection[tuple[str, str]],
        agreement: Agreement,
        *,
        progress: bool,
    ) -> None:
        self.images, self.thumbnails, self.apart = images, thumbnails, apart
        self.equal: dict[str, list[int]] = defaultdict(list)
        for row, thumbnail in enumerate(thumbnails):
            self.equal[thumbnail.digest].append(row)
        # Of equal files the first stands for all.
        self.rows = np.array(
            [rows[0] for rows in self.equal.values() if thumbnails[rows[0]].picture is not None],
            np.int64,
        )
        self.place_of = {int(row): place for place, row in enumerate(self.rows)}
        found = [thumbnails[row] for row in self.rows]
        self.pictures = np.array([thumbnail.picture for thumbnail in found], np.uint8)
        self.shapes = np.array([thumbnail.shape for thumbnail in found], np.int64).reshape(-1, 2)
        self.comparison = Comparison(self.pictures, self.shapes, self._read, agreement)
        # By places among these pictures.
        self.links: dict[int, dict[int, _Link]] = defaultdict(dict)
        if len(self.rows) > 1:
            near = None if vectors is None else find_near(vectors[self.rows])
            candidates = find_candidates(self.pictures, self.shapes, near)
            self._confirm(candidates, progress=progress)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield the rows of copies, the lower first."""
        for rows in self.equal.values():
            yield from ((rows[0], row) for row in rows[1:])
        for place, others in self.links.items():
            one = int(self.rows[place])
            yield from ((one, row) for row in self.rows[list(others)].tolist() if one < row)

    def copies_of(self, kept: int, taken: set[int]) -> list[Copy]:
        """Return the copies of an image that are in no group yet."""
        first = self.equal[self.thumbnails[kept].digest]
        copies = [Copy(row, "equal", 1.0) for row in first if row != kept and row not in taken]
        place = self.place_of.get(first[0])
        if place is not None:
            self._compare_all(place, taken)
            for other, link in self.links[place].items():
                how = _describe(link.map, self.shapes[place], self.shapes[other])
                rows = self.equal[self.thumbnails[self.rows[other]].digest]
                copies += [Copy(row, how, link.likeness) for row in rows if row not in taken]
        return sorted(copies)

    def _compare_all(self, place: int, taken: set[int]) -> None:
        """Compare a picture with the copies of its copies, and theirs, as long as they match."""
        own = self.links[place]
        seen, latest = {place, *own}, list(own)
        while latest:
            maps: dict[int, NDArray[np.float32]] = {}
            for one in latest:
                for other, link in self.links[one].items():
                    if other not in seen and int(self.rows[other]) not in taken:
                        maps[other] = compose(link.map[None], own[one].map[None])[0]
            if maps:
                pairs = np.array([(place, other) for other in maps], np.int64)
                self._confirm(Candidates(pairs, np.stack(list(maps.values()))))
            seen.update(maps)
            latest = [other for other in maps if other in own]

    def _confirm(self, candidates: Candidates, *, progress: bool = False) -> None:
        """Link the candidates that are copies."""
        if self.apart:
            kept = [not self._is_apart(one, other) for one, other in candidates.pairs]
            candidates = Candidates(candidates.pairs[kept], candidates.maps[kept])
        found = self.comparison.confirm(candidates, progress=progress)
        for (one, other), link in zip(found.pairs.tolist(), _make_links(found), strict=True):
            self.links[one][other] = link
            self.links[other][one] = _Link(invert(link.map[None])[0], link.likeness)

    def _is_apart(self, one: int, other: int) -> bool:
        """Return whether two pictures are no copies by a person's word."""
        digests = sorted(self.thumbnails[self.rows[place]].digest for place in (one, other))
        return tuple(digests) in self.apart

    def _read(self, place: int, side: int) -> NDArray[np.uint8] | None:
        """Return a picture at another size; None if it cannot be read any more."""
        if side == SIDE:
            return self.pictures[place]
        image = self.images[int(self.rows[place])]
        try:
            if isinstance(image, np.ndarray):
                colours = resize_image(np.ascontiguousarray(to_rgb(image)), (side, side))
            else:
                colours, _ = decode_image(read_bytes(image), (side, side))
        except ImageError:
            return None
        return np.rint(to_grey(colours)).astype(np.uint8)


def _make_links(found: Confirmed) -> Iterable[_Link]:
    """Yield how each first picture matches the second."""
    for matrix, likeness in zip(found.maps, found.likeness.tolist(), strict=True):
        yield _Link(matrix, likeness)


def _describe(matrix: NDArray[np.float32], kept: NDArray[np.int64], own: NDArray[np.int64]) -> str:
    """Return in words how a copy differs from the image that is kept."""
    words = []
    maps, first, second = matrix[None], kept[None], own[None]
    linear = linear_of(maps, first, second)
    if np.linalg.det(linear)[0] < 0:
        words.append("mirrored")
    angle = round(float(np.degrees(angles_of(maps, first, second)[0])))
    if abs(angle) > _FEW_DEGREES:
        words.append(f"turned by {abs(angle)}°")
    stretch = np.linalg.svd(linear[0], compute_uv=False)
    if stretch[0] > stretch[1] * (1 + _LITTLE):
        words.append("stretched")
    shown = float(np.abs(np.linalg.det(invert(maps)[:, :, :2]))[0])
    if shown < 1 - _LITTLE:
        words.append(f"cropped to {percent(shown)}")
    elif shown > 1 + _LITTLE:
        words.append("shows more")
    if tuple(kept) != tuple(own):
        words.append(f"{own[1]} x {own[0]} pixels")
    return ", ".join(words) or "saved again"


def _make_from_file(file: str | Path) -> Thumbnail:
    """Compute the features of a file; an unreadable one has no copies but equal files."""
    try:
        data = read_bytes(file)
    except ImageError:
        return Thumbnail(str(file), is_readable=False)
    try:
        picture, shape = decode_image(data, _FIRST)
    except ImageError:
        return Thumbnail(digest_bytes(data), is_readable=False)
    return make_thumbnail(digest_bytes(data), picture, shape)


def _make_from_pixels(image: NDArray[np.uint8]) -> Thumbnail:
    """Compute the features of pixels."""
    digest = digest_bytes(image.tobytes())
    if image.ndim != 3:
        return Thumbnail(digest)
    height, width = image.shape[:2]
    return make_thumbnail(digest, np.ascontiguousarray(to_rgb(image)), (height, width))
