"""Thumbnails in sheets: many small pictures in few files, which is several times smaller."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterkit.images.thumbnails import read_thumbnail
from clusterkit.utils.parallel import map_ahead
from clusterkit.utils.progress import progress_bar

# Pictures per row and column of a sheet, and their longer side in pixels.  It is a multiple of the
# encoders' blocks, so that pictures do not bleed into each other.
COLUMNS, SIDE = 8, 96
_PER_SHEET = COLUMNS * COLUMNS
_BACKGROUND = 128
# Of 640 photos of four sets, base64 included, on two cores: AVIF of quality 50 takes 1,379 bytes
# and 0.8 ms per image at speed 9 (29.1 dB), 1,318 bytes and 4 ms at speed 8 (29.6 dB); WebP of
# quality 45 takes 1,634 bytes and 1.4 ms (29.9 dB).  One thread per sheet, so that the bytes do not
# depend on the number of cores.
_AVIF = {"quality": 50, "speed": 9, "max_threads": 1}
_WEBP = {"quality": 45, "method": 4}


@dataclass(frozen=True, eq=False)
class Sheets:
    """Thumbnails of images, 64 per sheet.

    Attributes
    ----------
    content : list of bytes
        The sheets, as files.
    kind : str
        Their type, such as ``"image/avif"``.
    cells : ndarray of shape (n,), uint32
        The place of each image: its sheet times 64, plus its cell row by row.
    sizes : ndarray of shape (n, 2), uint8
        (width, height) of each picture at the top left of its cell; 0 where the file is gone or
        cannot be read.
    """

    content: list[bytes]
    kind: str
    cells: NDArray[np.uint32]
    sizes: NDArray[np.uint8]

    @property
    def suffix(self) -> str:
        """The suffix of a file."""
        return f".{self.kind.partition('/')[2]}"


def make_sheets(
    files: Sequence[Path], order: NDArray[np.int64], *, progress: bool = False
) -> Sheets:
    """Make the sheets of image files.

    Parameters
    ----------
    files : sequence of path, length n
        The images.
    order : ndarray of shape (n,), int
        The images in the order of their places; images that are shown together should be near.
    progress : bool
        Whether to show a progress bar on a terminal.

    Returns
    -------
    Sheets
        The thumbnails; a file that is gone or cannot be read has none.
    """
    from PIL import features

    # All browsers decode AVIF since 2024; a Pillow without it writes WebP.
    form = "AVIF" if features.check("avif") else "WEBP"
    groups = [order[start : start + _PER_SHEET] for start in range(0, len(order), _PER_SHEET)]
    cells = np.empty(len(files), np.uint32)
    cells[order] = np.arange(len(order))
    sizes = np.zeros((len(files), 2), np.uint8)
    content = []

    def make(group: NDArray[np.int64]) -> tuple[bytes, list[tuple[int, int]]]:
        """Return one sheet, and the sizes of its pictures."""
        return _make_sheet([files[row] for row in group.tolist()], form)

    made = map_ahead(make, groups, ahead=8)
    with progress_bar(total=len(files), name="Thumbnails", unit="image", enabled=progress) as shown:
        for group, (sheet, found) in zip(groups, made, strict=True):
            content.append(sheet)
            sizes[group] = found
            shown.update(len(group))
    return Sheets(content, f"image/{form.lower()}", cells, sizes)


def _make_sheet(files: Sequence[Path], form: str) -> tuple[bytes, list[tuple[int, int]]]:
    """Return the pictures of up to 64 files as one file, and their sizes."""
    from PIL import Image

    n_rows = -(-len(files) // COLUMNS)
    columns = min(COLUMNS, len(files)) if n_rows == 1 else COLUMNS
    pixels = np.full((n_rows * SIDE, columns * SIDE, 3), _BACKGROUND, np.uint8)
    sizes = []
    for place, file in enumerate(files):
        picture = read_thumbnail(file, side=SIDE)
        if picture is None:
            sizes.append((0, 0))
            continue
        height, width = picture.shape[:2]
        row, column = divmod(place, COLUMNS)
        cell = pixels[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
        # Edges are repeated, which takes fewer bytes than a sharp border, and does not bleed in.
        cell[:] = np.pad(picture, ((0, SIDE - height), (0, SIDE - width), (0, 0)), mode="edge")
        sizes.append((width, height))
    if not any(width for width, _ in sizes):
        return b"", sizes
    content = io.BytesIO()
    options = _AVIF if form == "AVIF" else _WEBP
    Image.fromarray(pixels).save(content, form, **options)
    return content.getvalue(), sizes
