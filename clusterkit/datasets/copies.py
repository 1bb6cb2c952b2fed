"""Find copies of an image: equal files, and the same image in another size, quality or format.

Images are compared by grey thumbnails.  Different photos of the same object are not copies.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import digest_bytes, read_bytes
from clusterkit.images.pixels import to_grey, to_rgb
from clusterkit.images.resizing import resize_image
from clusterkit.utils.parallel import map_ahead
from clusterkit.utils.progress import progress_bar

# Smaller images are mostly digits, signs and icons, many of which look alike.
MIN_SIDE = 48
# Minimum correlation of the grey thumbnails of copies.  Among 4,700 photos, film posters and video
# frames, no two different images exceed 0.95.  Nearly all copies exceed 0.96 after JPEG compression
# at quality 20, at half or twice the size, in grey, or with changed brightness or contrast; most do
# with 1 % cropped from each side, but few with 5 %.
MIN_CORRELATION = 0.96
_SHAPE = (16, 16)
# Files are first decoded at about this size.  A JPEG decoded at an eighth has up to seven columns
# of padding in its last one, which is too much in 16 columns to match a copy of another size, but
# not in 128.
_FIRST = (128, 128)
# An image with more copies than this is linked to the others through its nearest ones.
_N_NEIGHBORS = 8
# Below this, grey values differ on average by less than one level, which is rounding.
_PLAIN = 16.0
_NOTHING = np.zeros(_SHAPE[0] * _SHAPE[1], np.float32)


class Thumbnail(NamedTuple):
    """Features for finding copies of an image.

    Attributes
    ----------
    digest : str
        Digest of its bytes, or of its pixels if it is not a file.
    values : ndarray of shape (256,), float32
        A grey thumbnail of mean 0 and length 1; zero if the image is too small, uniform, or cannot
        be read.
    is_readable : bool
        Whether the image can be read.
    """

    digest: str
    values: NDArray[np.float32]
    is_readable: bool = True


def find_copies(
    images: Sequence[str | Path] | NDArray[np.uint8],
    *,
    apart: Collection[tuple[str, str]] = (),
    progress: bool = False,
) -> list[tuple[int, int]]:
    """Find pairs of copies, including mirrored ones.

    Parameters
    ----------
    images : sequence of paths, or ndarray of shape (n, height, width, 1 or 3), uint8
        The images; unreadable files are copies only of equal files.
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
    return pair_thumbnails(make_thumbnails(images, progress=progress), apart=apart)


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
        return [_make_thumbnail(image) for image in images]
    made = map_ahead(_read_thumbnail, images, ahead=64)
    n = len(images)
    return list(progress_bar(made, name="finding copies", enabled=progress, unit="image", total=n))


class Copy(NamedTuple):
    """A copy of an image.

    Attributes
    ----------
    row : int
        Row of the copy.
    how : str
        What was done to it, such as ``"equal"`` or ``"mirrored"``.
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


def group_copies(
    images: Sequence[str | Path] | NDArray[np.uint8],
    thumbnails: Sequence[Thumbnail],
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
        The images.
    thumbnails : sequence of Thumbnail
        Their features, see :func:`make_thumbnails`.
    order : sequence of int, optional
        All rows, the first to keep first; by default in their order.
    vectors : ndarray of shape (n, dimension), float32, optional
        Embeddings, in which near images are compared, too; rows of zeros or NaN have none.
    apart : collection of (str, str)
        Sorted pairs of digests of images that are no copies of each other.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of CopyGroup
        Each image is in at most one group.
    """
    del images, vectors, progress
    linked: dict[int, set[int]] = {}
    for one, other in pair_thumbnails(thumbnails, apart=apart):
        linked.setdefault(one, set()).add(other)
        linked.setdefault(other, set()).add(one)
    groups, taken = [], set()
    for kept in range(len(thumbnails)) if order is None else map(int, order):
        members = sorted(linked.get(kept, set()) - taken)
        if kept not in taken and members:
            taken |= {kept, *members}
            copies = []
            for row in members:
                is_equal = thumbnails[row].digest == thumbnails[kept].digest
                likeness = float(thumbnails[row].values @ thumbnails[kept].values)
                copies.append(Copy(row, "equal" if is_equal else "alike", likeness))
            groups.append(CopyGroup(kept, copies))
    return groups


def pair_thumbnails(
    thumbnails: Sequence[Thumbnail], *, apart: Collection[tuple[str, str]] = ()
) -> list[tuple[int, int]]:
    """Return the pairs of :func:`find_copies` for images whose thumbnails are at hand."""
    first: dict[str, int] = {}
    pairs = {
        (first.setdefault(thumbnail.digest, row), row)
        for row, thumbnail in enumerate(thumbnails)
        if first.setdefault(thumbnail.digest, row) != row
    }
    rows = np.array([row for row in first.values() if thumbnails[row].values.any()], np.intp)
    if len(rows) > 1:
        import faiss

        values = np.stack([thumbnails[row].values for row in rows])
        mirrored = values.reshape(-1, *_SHAPE)[:, :, ::-1].reshape(len(rows), -1)
        for queries in (values, np.ascontiguousarray(mirrored)):
            likeness, places = faiss.knn(
                queries, values, min(_N_NEIGHBORS, len(rows)), metric=faiss.METRIC_INNER_PRODUCT
            )
            for place, column in zip(*np.nonzero(likeness >= MIN_CORRELATION), strict=True):
                one, other = sorted((int(rows[place]), int(rows[places[place, column]])))
                pairs.add((one, other))
    digests = [thumbnail.digest for thumbnail in thumbnails]
    return sorted(
        (one, other)
        for one, other in pairs
        if one != other and tuple(sorted((digests[one], digests[other]))) not in apart
    )


def _read_thumbnail(file: str | Path) -> Thumbnail:
    """Compute the features of a file; an unreadable one has no copies by thumbnail."""
    try:
        data = read_bytes(file)
    except ImageError:
        return Thumbnail(str(file), _NOTHING, is_readable=False)
    try:
        picture, shape = decode_image(data, _FIRST)
    except ImageError:
        return Thumbnail(digest_bytes(data), _NOTHING, is_readable=False)
    return make_thumbnail(digest_bytes(data), picture, shape)


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
    return Thumbnail(digest, _normalise(resize_image(picture, _SHAPE), min(shape)))


def _make_thumbnail(image: NDArray[np.uint8]) -> Thumbnail:
    """Compute the features of pixels."""
    digest, side = digest_bytes(image.tobytes()), min(image.shape[:2])
    if image.ndim != 3 or side < MIN_SIDE:
        return Thumbnail(digest, _NOTHING)
    colours = np.ascontiguousarray(to_rgb(image))
    return Thumbnail(digest, _normalise(resize_image(colours, _SHAPE), side))


def _normalise(picture: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Convert a thumbnail to grey values of mean 0 and length 1."""
    grey = to_grey(picture).ravel()
    grey -= grey.mean()
    length = np.linalg.norm(grey)
    return grey / length if side >= MIN_SIDE and length > _PLAIN else _NOTHING
