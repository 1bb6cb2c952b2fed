"""Find copies of one image: equal files, and the same picture in another size, quality or format.

What counts is what an image looks like on a grey thumbnail.  Different photos of one thing are no
copies.
"""

from collections.abc import Sequence
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

# Pictures with a smaller side are mostly digits, signs and icons, of which many look alike.
MIN_SIDE = 48
# Correlation of two grey thumbnails from which on they are of one picture.  Among 4,700 photos,
# film posters and frames of films, no two different pictures are above 0.95.  Nearly all copies
# are above 0.96 after JPEG of quality 20, at half or twice the size, in grey, or with other
# brightness or contrast; most are with 1 % cut off each side, but few with 5 %.
SAME_LOOK = 0.96
_THUMB = (16, 16)
# Files are decoded for this size first.  A JPEG that is decoded at an eighth has up to seven
# columns of padding in its last one; of 16 columns that is too many for a copy in another size to
# look alike, of 128 it is not.
_FIRST = (128, 128)
# A picture with more copies than this is linked to the others through the nearest ones.
_N_NEIGHBORS = 8
# Below this, grey values differ by less than one level in the mean: rounding, and no picture.
_PLAIN = 16.0
_NOTHING = np.zeros(_THUMB[0] * _THUMB[1], np.float32)


class Look(NamedTuple):
    """By what an image is known again.

    Attributes
    ----------
    digest : str
        Of its bytes, or of its pixels where it is no file.
    thumb : ndarray of shape (256,), float32
        A grey thumbnail, of mean 0 and length 1; zero where it says nothing, since the picture is
        too small, of one tone, or cannot be read.
    is_readable : bool
        Whether it is an image at all.
    """

    digest: str
    thumb: NDArray[np.float32]
    is_readable: bool = True


def look_at(images: Sequence[str | Path] | NDArray[np.uint8]) -> list[Look]:
    """Look at images for what they are known again by.

    Parameters
    ----------
    images : sequence of paths, or ndarray of shape (n, height, width, 1 or 3), uint8
        The images.  Of an array of another shape, such as vectors, only the digests are taken.

    Returns
    -------
    list of Look
        In their order.
    """
    if isinstance(images, np.ndarray):
        return [_look_at_pixels(image) for image in images]
    return list(map_ahead(_look_at_file, images, ahead=64))


def find_copies(looks: Sequence[Look]) -> list[tuple[int, int]]:
    """Find pairs of images that show the same picture, mirrored or not.

    Parameters
    ----------
    looks : sequence of Look
        Of :func:`look_at`.

    Returns
    -------
    list of (int, int)
        Rows ``(a, b)`` with ``a < b``, sorted.  All copies of a picture are linked, directly or
        through others of them; not every two of them are a pair.
    """
    first: dict[str, int] = {}
    pairs = {
        (first.setdefault(look.digest, row), row)
        for row, look in enumerate(looks)
        if first.setdefault(look.digest, row) != row
    }
    rows = np.array([row for row in first.values() if looks[row].thumb.any()], np.intp)
    if len(rows) > 1:
        import faiss

        thumbs = np.stack([looks[row].thumb for row in rows])
        mirrored = thumbs.reshape(-1, *_THUMB)[:, :, ::-1].reshape(len(rows), -1)
        for queries in (thumbs, np.ascontiguousarray(mirrored)):
            likeness, places = faiss.knn(
                queries, thumbs, min(_N_NEIGHBORS, len(rows)), metric=faiss.METRIC_INNER_PRODUCT
            )
            for place, column in zip(*np.nonzero(likeness >= SAME_LOOK), strict=True):
                one, other = sorted((int(rows[place]), int(rows[places[place, column]])))
                pairs.add((one, other))
    return sorted(pair for pair in pairs if pair[0] != pair[1])


def _look_at_file(file: str | Path) -> Look:
    """Look at a file; one that cannot be read is like no other."""
    try:
        data = read_bytes(file)
    except ImageError:
        return Look(str(file), _NOTHING, is_readable=False)
    try:
        picture, shape = decode_image(data, _FIRST)
    except ImageError:
        return Look(digest_bytes(data), _NOTHING, is_readable=False)
    return Look(digest_bytes(data), _thumb(resize_image(picture, _THUMB), min(shape)))


def _look_at_pixels(image: NDArray[np.uint8]) -> Look:
    """Look at the pixels of an image."""
    digest, side = digest_bytes(image.tobytes()), min(image.shape[:2])
    if image.ndim != 3 or side < MIN_SIDE:
        return Look(digest, _NOTHING)
    colours = np.ascontiguousarray(to_rgb(image))
    return Look(digest, _thumb(resize_image(colours, _THUMB), side))


def _thumb(picture: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Bring a picture of the size of a thumbnail to grey values of mean 0 and length 1."""
    grey = to_grey(picture).ravel()
    grey -= grey.mean()
    length = np.linalg.norm(grey)
    return grey / length if side >= MIN_SIDE and length > _PLAIN else _NOTHING
