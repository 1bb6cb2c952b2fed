"""Small pictures in HTML, for notebooks."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import read_bytes
from clusterkit.utils.html import Markup
from clusterkit.utils.parallel import map_ahead

_SIDE = 72


def thumbnails(files: Iterable[str | Path]) -> list[Markup]:
    """Return image files as small pictures in HTML; empty for files that cannot be read.

    Parameters
    ----------
    files : iterable of path
        The images, decoded in threads.
    """
    return list(map_ahead(_thumbnail, files, ahead=64))


def _thumbnail(file: str | Path) -> Markup:
    """Return one picture, with its bytes in the HTML."""
    from PIL import Image

    try:
        pixels, (height, width) = decode_image(read_bytes(file), (_SIDE, _SIDE))
    except ImageError:
        return Markup()
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=85)
    scale = _SIDE / max(height, width)
    size = f'width="{max(1, round(scale * width))}" height="{max(1, round(scale * height))}"'
    code = base64.b64encode(content.getvalue()).decode()
    return Markup(f'<img {size} src="data:image/jpeg;base64,{code}">')
