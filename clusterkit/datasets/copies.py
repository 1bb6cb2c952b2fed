"""Find copies of an image: equal files, and the same image resized, cropped, turned or edited.

Candidate pairs are found from thumbnails, and from embeddings if there are any.  They are confirmed
by aligning and comparing the two images.  Different photos of one object are not copies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.copy_candidates import SIDE, Candidates, find_candidates, find_near
from clusterkit.datasets.copy_confirmation import (
    LIKELY,
    SURE,
    Comparison,
    Thresholds,
    angles_of,
    linear_of,
)
from clusterkit.errors import ImageError, InvalidInputError
from clusterkit.images.alignment import compose, invert
from clusterkit.images.batches import list_files
from clusterkit.images.decoding import decode_grey, decode_image
from clusterkit.images.folder import ImageFolder, digest_bytes, read_bytes
from clusterkit.images.pixels import as_images, check_pixels, to_grey, to_rgb
from clusterkit.images.resizing import resize_grey, resize_image
from clusterkit.utils.parallel import map_ahead
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import percent, plural

# Smaller images are mostly digits, signs and icons, many of which look alike.
MIN_SIDE = 48
# Height and width at which files are decoded.  The last column of a JPEG decoded at an eighth may
# include seven columns of padding.  One such column in 64 is too much to match a copy of another
# size; one in 128 is not.
_DECODED_SHAPE = (128, 128)
# Maximum standard deviation of the grey values of a uniform picture, which vary by rounding.
_UNIFORM = 1.0
# Differences up to these are not described: an angle in degrees, and a share of a side or an area.
_SMALL_ANGLE, _SMALL_SHARE = 1.5, 0.03


class Thumbnail(NamedTuple):
    """Features of an image by which its copies are found.

    Attributes
    ----------
    digest : str
        Digest of the file's bytes, or of the pixels of an array; the path of a file that cannot be
        opened.
    picture : ndarray of shape (64, 64), uint8, or None
        The image in grey; None if it is too small or uniform, or cannot be read.
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
        How it differs from the kept image, such as ``"equal"`` or ``"mirrored"``.
    likeness : float
        Correlation with the kept image after alignment; 1 for equal files.
    """

    row: int
    how: str
    likeness: float


class CopyGroup(NamedTuple):
    """A kept image and its copies, each of which was compared with it.

    Attributes
    ----------
    kept : int
        Row of the kept image.
    copies : list of Copy
        The copies, in order of row.
    """

    kept: int
    copies: list[Copy]


def find_copies(
    images: ImageFolder | Sequence[str | Path] | NDArray[np.uint8],
    *,
    vectors: NDArray[np.float32] | None = None,
    apart: Collection[tuple[str, str]] = (),
    progress: bool = False,
) -> list[tuple[int, int]]:
    """Find pairs of copies.

    Parameters
    ----------
    images : ImageFolder, paths, or ndarray of shape (n, height, width, 1 or 3), uint8
        The images.  Of unreadable or uniform images, and those with a side below 48 pixels, only
        equal ones are copies.
    vectors : ndarray of shape (n, dimension), float32, optional
        Embeddings; images with similar embeddings are compared, too.
    apart : collection of (str, str)
        Sorted pairs of digests of images that are not copies of each other, however similar.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of (int, int)
        Sorted pairs of rows ``(a, b)`` with ``a < b``.  All copies of an image are connected
        through pairs, but not every two of them are a pair.

    Raises
    ------
    InvalidInputError
        If the images are neither files nor pixels of this shape and dtype, or there is not one
        vector per image.
    """
    images = _take_images(images)
    thumbnails = make_thumbnails(images, progress=progress)
    return sorted(_CopyGraph(images, thumbnails, vectors, apart, SURE, progress=progress).pairs())


def find_first_copies(
    files: Sequence[Path], thumbnails: Sequence[Thumbnail], apart: Collection[tuple[str, str]]
) -> dict[Path, Path]:
    """Map each copy among files to the first file of its group.

    Parameters
    ----------
    files : sequence of path
        The images.
    thumbnails : sequence of Thumbnail
        Their features, from :func:`make_thumbnails`.
    apart : collection of (str, str)
        Sorted pairs of digests of images that are not copies of each other.

    Returns
    -------
    dict of path to path
        The first file by copy; files without an earlier copy are left out.
    """
    first: dict[int, int] = {}
    graph = _CopyGraph(files, thumbnails, None, apart, SURE, progress=False)
    for one, other in sorted(graph.pairs()):
        # The pairs are sorted, so that the first of each first is known.
        first[other] = min(first.get(other, other), first.get(one, one))
    return {files[other]: files[one] for other, one in first.items()}


def make_thumbnails(
    images: Sequence[str | Path] | NDArray[np.uint8], *, progress: bool = False
) -> list[Thumbnail]:
    """Compute the features of images by which copies are found.

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


def make_thumbnail(digest: str, picture: NDArray[Any], shape: tuple[int, int]) -> Thumbnail:
    """Compute the features of one decoded image.

    Parameters
    ----------
    digest : str
        Digest of the file.
    picture : ndarray of shape (height, width), uint8 or float32
        The decoded image in grey, with sides of at least 128 pixels unless the image itself is
        smaller.
    shape : (int, int)
        (height, width) of the image itself.

    Returns
    -------
    Thumbnail
    """
    if min(shape) < MIN_SIDE:
        return Thumbnail(digest, None, shape)
    resized = resize_grey(picture.astype(np.float32, copy=False), (SIDE, SIDE))
    grey = np.rint(np.clip(resized, 0, 255))
    # The variance as a product, in a third of the time of ``var``.
    centred = (grey - grey.sum() / grey.size).ravel()
    is_uniform = centred @ centred <= _UNIFORM**2 * grey.size
    return Thumbnail(digest, None if is_uniform else grey.astype(np.uint8), shape)


def pair_likely_copies(
    images: Sequence[str | Path] | NDArray[np.uint8],
    thumbnails: Sequence[Thumbnail],
    *,
    apart: Collection[tuple[str, str]] = (),
) -> list[tuple[int, int]]:
    """Find pairs of copies with lower thresholds than :func:`find_copies`.

    This is for splits: a missed copy does harm, two slides of one template in the same part do not.

    Parameters
    ----------
    images : sequence of paths, or ndarray of shape (n, height, width, 1 or 3), uint8
        The images, as for :func:`find_copies`.
    thumbnails : sequence of Thumbnail
        Their features, from :func:`make_thumbnails`.
    apart : collection of (str, str)
        Sorted pairs of digests of images that are not copies of each other.

    Returns
    -------
    list of (int, int)
        Sorted pairs of rows, as of :func:`find_copies`.
    """
    return sorted(_CopyGraph(images, thumbnails, None, apart, LIKELY, progress=False).pairs())


def group_copies(
    images: ImageFolder | Sequence[str | Path] | NDArray[np.uint8],
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
    images : ImageFolder, paths, or ndarray of shape (n, height, width, 1 or 3), uint8
        The images, as for :func:`find_copies`.
    thumbnails : sequence of Thumbnail, optional
        Their features, if :func:`make_thumbnails` has computed them already.
    order : sequence of int, optional
        All rows in order of preference: of several copies, the first in this order is kept.  By
        default, in ascending order.
    vectors : ndarray of shape (n, dimension), float32, optional
        Embeddings; images with similar embeddings are compared, too.
    apart : collection of (str, str)
        Sorted pairs of digests of images that are not copies of each other.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of CopyGroup
        Each image is in at most one group.  All copies in a group were compared with the kept
        image: two images that are copies of a third, but not of each other, are in one group only
        if the third is kept.

    Raises
    ------
    InvalidInputError
        If the images are neither files nor pixels of this shape and dtype, or there is not one
        vector per image.
    """
    images = _take_images(images)
    if thumbnails is None:
        thumbnails = make_thumbnails(images, progress=progress)
    graph = _CopyGraph(images, thumbnails, vectors, apart, SURE, progress=progress)
    groups: list[CopyGroup] = []
    taken: set[int] = set()
    for kept in range(len(thumbnails)) if order is None else map(int, order):
        if kept in taken:
            continue
        copies = graph.copies_of(kept, taken)
        if copies:
            taken.update([kept, *(copy.row for copy in copies)])
            groups.append(CopyGroup(kept, copies))
    return groups


def _take_images(images: Any) -> Sequence[str | Path] | NDArray[np.uint8]:
    """Return the files or pixels of images; vectors, of which only equal ones are copies, as is."""
    if isinstance(images, np.ndarray) and images.ndim == 2:
        return images
    taken = as_images(images)
    return check_pixels(taken) if isinstance(taken, np.ndarray) else list_files(taken)


@dataclass(frozen=True)
class _Link:
    """How a picture matches a copy of it."""

    map: NDArray[np.float32]
    likeness: float


class _CopyGraph:
    """Graph of images and their copies: equal files, and pictures confirmed by comparison.

    Equal files share one node; nodes are numbered in order of their first file.
    """

    def __init__(
        self,
        images: Sequence[str | Path] | NDArray[np.uint8],
        thumbnails: Sequence[Thumbnail],
        vectors: NDArray[np.float32] | None,
        apart: Collection[tuple[str, str]],
        thresholds: Thresholds,
        *,
        progress: bool,
    ) -> None:
        if vectors is not None and len(vectors) != len(thumbnails):
            raise InvalidInputError(
                "there must be one vector per image. "
                f"Received: {plural(len(vectors), 'vector')}, {plural(len(thumbnails), 'image')}"
            )
        self.images, self.thumbnails, self.apart = images, thumbnails, apart
        self.equal: dict[str, list[int]] = defaultdict(list)
        for row, thumbnail in enumerate(thumbnails):
            self.equal[thumbnail.digest].append(row)
        # The first of equal files represents them all.
        self.rows = np.array(
            [rows[0] for rows in self.equal.values() if thumbnails[rows[0]].picture is not None],
            np.int64,
        )
        self.node_of = {int(row): node for node, row in enumerate(self.rows)}
        distinct = [thumbnails[row] for row in self.rows]
        self.pictures = np.array([thumbnail.picture for thumbnail in distinct], np.uint8)
        self.shapes = np.array([thumbnail.shape for thumbnail in distinct], np.int64).reshape(-1, 2)
        self.thresholds = thresholds
        # For each node, its copies and how they match.
        self.links: dict[int, dict[int, _Link]] = defaultdict(dict)
        if len(self.rows) > 1:
            near = None if vectors is None else find_near(np.asarray(vectors)[self.rows])
            candidates = find_candidates(self.pictures, self.shapes, near)
            self._confirm(candidates, progress=progress)

    @cached_property
    def _comparison(self) -> Comparison:
        """Comparison of the pictures; images with fewer than two pictures need none."""
        return Comparison(self.pictures, self.shapes, self._read, self.thresholds)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield pairs of rows of copies, the lower row first."""
        for rows in self.equal.values():
            yield from ((rows[0], row) for row in rows[1:])
        for node, others in self.links.items():
            one = int(self.rows[node])
            yield from ((one, row) for row in self.rows[list(others)].tolist() if one < row)

    def copies_of(self, kept: int, taken: set[int]) -> list[Copy]:
        """Return the copies of an image that are in no group yet."""
        equal = self.equal[self.thumbnails[kept].digest]
        copies = [Copy(row, "equal", 1.0) for row in equal if row != kept and row not in taken]
        node = self.node_of.get(equal[0])
        if node is not None:
            self._link_indirect(node, taken)
            for other, link in self.links[node].items():
                how = _describe(link.map, self.shapes[node], self.shapes[other])
                rows = self.equal[self.thumbnails[self.rows[other]].digest]
                copies += [Copy(row, how, link.likeness) for row in rows if row not in taken]
        return sorted(copies)

    def _link_indirect(self, node: int, taken: set[int]) -> None:
        """Compare a picture with the copies of its copies, and with theirs, as long as they match.

        Pictures that are in a group already are left out.
        """
        own = self.links[node]
        seen, frontier = {node, *own}, list(own)
        while frontier:
            maps: dict[int, NDArray[np.float32]] = {}
            for one in frontier:
                for other, link in self.links[one].items():
                    if other not in seen and int(self.rows[other]) not in taken:
                        maps[other] = compose(link.map[None], own[one].map[None])[0]
            if maps:
                pairs = np.array([(node, other) for other in maps], np.int64)
                self._confirm(Candidates(pairs, np.stack(list(maps.values()))))
            seen.update(maps)
            frontier = [other for other in maps if other in own]

    def _confirm(self, candidates: Candidates, *, progress: bool = False) -> None:
        """Compare candidates, and link those that are copies."""
        if self.apart:
            kept = [not self._is_apart(one, other) for one, other in candidates.pairs]
            candidates = Candidates(candidates.pairs[kept], candidates.maps[kept])
        found = self._comparison.confirm(candidates, progress=progress)
        links = zip(found.pairs.tolist(), found.maps, found.likeness.tolist(), strict=True)
        for (one, other), matrix, likeness in links:
            self.links[one][other] = _Link(matrix, likeness)
            self.links[other][one] = _Link(invert(matrix[None])[0], likeness)

    def _is_apart(self, one: int, other: int) -> bool:
        """Return whether the caller declared that two pictures are not copies."""
        digests = sorted(self.thumbnails[self.rows[node]].digest for node in (one, other))
        return tuple(digests) in self.apart

    def _read(self, node: int, side: int, in_colour: bool) -> NDArray[np.uint8] | None:
        """Return a picture with this side; None if the file can no longer be read."""
        if side == SIDE and not in_colour:
            return self.pictures[node]
        image = self.images[int(self.rows[node])]
        try:
            if isinstance(image, np.ndarray):
                rgb = resize_image(np.ascontiguousarray(to_rgb(image)), (side, side))
                return rgb if in_colour else np.rint(to_grey(rgb)).astype(np.uint8)
            decode = decode_image if in_colour else decode_grey
            return decode(read_bytes(image), (side, side))[0]
        except ImageError:
            return None


def _describe(matrix: NDArray[np.float32], kept: NDArray[np.int64], own: NDArray[np.int64]) -> str:
    """Describe how a copy differs from the kept image.

    The arguments are the map from the kept image to the copy, and their (height, width).
    """
    words = []
    maps, first, second = matrix[None], kept[None], own[None]
    linear = linear_of(maps, first, second)
    if np.linalg.det(linear)[0] < 0:
        words.append("mirrored")
    angle = round(float(np.degrees(angles_of(maps, first, second)[0])))
    if abs(angle) > _SMALL_ANGLE:
        words.append(f"turned by {abs(angle)}°")
    stretch = np.linalg.svd(linear[0], compute_uv=False)
    if stretch[0] > stretch[1] * (1 + _SMALL_SHARE):
        words.append("stretched")
    shown = float(np.abs(np.linalg.det(invert(maps)[:, :, :2]))[0])
    if shown < 1 - _SMALL_SHARE:
        words.append(f"cropped to {percent(shown)}")
    elif shown > 1 + _SMALL_SHARE:
        words.append("shows more")
    if tuple(kept) != tuple(own):
        words.append(f"{own[1]} x {own[0]} pixels")
    return ", ".join(words) or "saved again"


def _make_from_file(file: str | Path) -> Thumbnail:
    """Compute the features of a file; of an unreadable one, only the digest."""
    try:
        data = read_bytes(file)
    except ImageError:
        return Thumbnail(str(file), is_readable=False)
    try:
        picture, shape = decode_grey(data, _DECODED_SHAPE)
    except ImageError:
        return Thumbnail(digest_bytes(data), is_readable=False)
    return make_thumbnail(digest_bytes(data), picture, shape)


def _make_from_pixels(image: NDArray[np.uint8]) -> Thumbnail:
    """Compute the features of an array; of one that is not an image, only the digest."""
    digest = digest_bytes(image.tobytes())
    if image.ndim != 3:
        return Thumbnail(digest)
    height, width = image.shape[:2]
    return make_thumbnail(digest, to_grey(np.ascontiguousarray(to_rgb(image))), (height, width))
