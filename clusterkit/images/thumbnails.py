"""Small pictures of image files, for notebooks and viewers."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import read_bytes
from clusterkit.images.resizing import resize_image
from clusterkit.utils.html import Markup
from clusterkit.utils.locations import reading_workers
from clusterkit.utils.parallel import map_ahead

_SHOWN = 72


def thumbnails(files: Iterable[str | Path]) -> list[Markup]:
    """Return image files as small pictures in HTML; empty for files that cannot be read.

    Parameters
    ----------
    files : iterable of path
        The images, decoded in threads.
    """
    pictures = encode_thumbnails(files, side=_SHOWN)
    return [Markup() if picture is None else _markup(picture) for picture in pictures]


def encode_thumbnails(files: Iterable[str | Path], *, side: int = 128) -> list[bytes | None]:
    """Return image files as small JPEG files.

    Parameters
    ----------
    files : iterable of path
        The images, decoded in threads.
    side : int
        Longer side of the pictures, in pixels.

    Returns
    -------
    list of (bytes or None)
        The pictures; None for files that cannot be read.
    """
    files = list(files)
    workers = reading_workers(files)
    return list(map_ahead(lambda file: _encode(file, side), files, ahead=64, workers=workers))


def read_thumbnail(file: str | Path, *, side: int) -> NDArray[np.uint8] | None:
    """Return an image file as a small picture in its own proportions.

    Parameters
    ----------
    file : path
        The image.
    side : int
        Longer side of the picture, in pixels.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8, or None
        The upright picture; None for a file that cannot be read.
    """
    try:
        pixels, (height, width) = decode_image(read_bytes(file), (side, side))
    except ImageError:
        return None
    scale = side / max(height, width)
    return resize_image(pixels, (max(1, round(scale * height)), max(1, round(scale * width))))


def _encode(file: str | Path, side: int) -> bytes | None:
    """Return one picture as a JPEG file."""
    from PIL import Image

    pixels = read_thumbnail(file, side=side)
    if pixels is None:
        return None
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=85)
    return content.getvalue()


def _markup(picture: bytes) -> Markup:
    """Return a picture with its bytes in the HTML."""
    code = base64.b64encode(picture).decode()
    return Markup(f'<img src="data:image/jpeg;base64,{code}">')
