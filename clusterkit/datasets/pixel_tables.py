"""Read images from tables of pixels: CSV files as on Kaggle, and idx files as of MNIST."""

import gzip
import math
import re
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.label_tables import is_index_name, is_label_name
from clusterkit.datasets.tables import as_text, sniff
from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.utils.noise import is_missing_text

# A first line with more numbers than this, some of them twice, is an image; fewer columns whose
# names are numbers are classes.
_MANY = 16
_PIXEL_COLUMN = re.compile(r"(pixel_?)?\d+(x\d+)?", re.IGNORECASE)
# The last two bytes of an idx file's first four: unsigned bytes, and the number of dimensions.
_IDX_LABELS, _IDX_IMAGES = b"\0\0\x08\x01", b"\0\0\x08\x03"
# The end of a name: with a hyphen as MNIST was published, with a dot in other copies of it.
_IDX_NAME = re.compile(r"-images(?P<sign>[-.])idx3-ubyte(\.gz)?$")


def is_pixel_csv(
    path: Path, label_column: Sequence[str] = (), *, ignore_labels: bool = False
) -> bool:
    """Return whether a CSV file has pixel columns, besides labels and the named columns.

    Raises
    ------
    InvalidInputError
        If all columns but one are called pixel0, pixel1 and so on, and none is that of labels, or
        the file begins with an image instead of the names of the columns.
    """
    header = sniff(path)[0]
    labels = _labels_among(header, label_column, ignore_labels)
    pixels = [name.strip() for name in header if not (name in labels or _is_number_of_row(name))]
    if len(pixels) < 3:
        return False
    # Beside a column such as id, which names the files then.
    may_be_classes = not labels and len(pixels) < min(_MANY, len(header))
    if may_be_classes and all(map(str.isdigit, pixels)):
        return False
    odd = [name for name in pixels if not _PIXEL_COLUMN.fullmatch(name)]
    called_pixel = [name for name in pixels if name.lower().startswith("pixel")]
    if not labels and len(odd) == 1 and len(called_pixel) == len(pixels) - 1:
        raise InvalidInputError(
            f"{path} has the columns of a table of pixels, and {odd[0]}: if it holds the labels, "
            "name it with --label-column, otherwise remove it"
        )
    if len(odd) == 1 and len(pixels) > _MANY and len(set(pixels)) < len(pixels):
        raise InvalidInputError(_without_names(path, header))
    return not odd


def read_pixel_csv(
    path: Path, *, label_column: Sequence[str] = (), ignore_labels: bool = False
) -> tuple[NDArray[np.uint8], list[str] | None]:
    """Read a CSV file with one image per line.

    Parameters
    ----------
    path : pathlib.Path
        A file with a header, one column per pixel in row-major order, and optionally a column
        ``label`` (or ``class``, ``target``, …) and a row index.  Columns in another order, such as
        pixel1, pixel10, pixel100, are put in the order of their numbers.  Images are square: s * s
        columns are grey, 3 * s * s are RGB.  Delimiter and encoding are detected.
    label_column : sequence of str, optional
        The name of the column of labels, if it has another name, or several have such a name.
    ignore_labels : bool, default False
        Whether to read only the pixels, so that the column of labels may have any name.

    Returns
    -------
    images : ndarray of shape (n, s, s, 1) or (n, s, s, 3), uint8
        The images.
    labels : list of str, or None
        Their labels; None without such a column, or if they are ignored.

    Raises
    ------
    InvalidInputError
        If the lines differ in length, a value is not an integer from 0 to 255, the images are not
        square, or a label is missing.

    Warns
    -----
    Notice
        If the pixel columns are not in order.
    """
    from pyarrow import ArrowInvalid, binary
    from pyarrow import csv as arrow

    header, delimiter, encoding, n_lines = sniff(path)
    labelled = _labels_among(header, label_column, ignore_labels)
    if unknown := [name for name in label_column if not _is_among(name, header)]:
        raise InvalidInputError(
            f"--label-column must be a column of {path}. Received: {', '.join(unknown)}"
        )
    try:
        table = arrow.read_csv(
            path,
            # The names as they were read: in code page 1252, pyarrow cannot decode them.
            arrow.ReadOptions(encoding=encoding or "utf8", skip_rows=n_lines, column_names=header),
            arrow.ParseOptions(delimiter=delimiter),
            # Labels are strings: 01 is not 1.
            arrow.ConvertOptions(column_types=dict.fromkeys(labelled, binary())),
        )
    except (ArrowInvalid, OSError, UnicodeError) as error:
        raise InvalidInputError(f"cannot read {path}: {error}") from error
    if not table.num_rows:
        raise InvalidInputError(f"{path} must have a header and at least one image. It has none")
    names = [name.strip().lower() for name in table.column_names]
    columns = [
        index
        for index, name in enumerate(table.column_names)
        if name not in labelled and not _is_number_of_row(name)
    ]
    label_columns = [
        index
        for index, name in enumerate(table.column_names)
        if name in labelled and (not label_column or _is_among(name, label_column))
    ]
    if len(set(names)) < len(names):
        raise InvalidInputError(_without_names(path, names))
    shape = _image_shape(len(columns), path)
    ordered = _put_in_order(columns, names)
    if ordered != columns:
        warnings.warn(
            f"{path}: the pixel columns are read in the order of their numbers, from "
            f"{names[ordered[0]]} to {names[ordered[-1]]}, not in that of the file",
            Notice,
            stacklevel=2,
        )
        columns = ordered
    pixels = np.empty((table.num_rows, len(columns)), np.uint8)
    for place, index in enumerate(columns):
        pixels[:, place] = _to_bytes(table.column(index), f"{path}, column {names[index]}")
    if ignore_labels or not label_columns:
        return pixels.reshape(-1, *shape), None
    if len(label_columns) > 1:
        raise InvalidInputError(
            f"{path} must have one column of labels: name it with --label-column. Received: "
            f"{', '.join(names[index] for index in label_columns)}"
        )
    values = table.column(label_columns[0]).to_pylist()
    labels = [_check_label(value, f"{path}, image {row}") for row, value in enumerate(values)]
    return pixels.reshape(-1, *shape), labels


def find_idx(source: Path) -> list[Path]:
    """Return the idx files of images in a folder, or the file itself if it is one."""
    files = source.iterdir() if source.is_dir() else [source]
    return sorted(file for file in files if _IDX_NAME.search(file.name) and file.is_file())


def read_idx_pair(
    images: Path, *, ignore_labels: bool = False
) -> tuple[NDArray[np.uint8], list[str] | None]:
    """Read images and labels in MNIST's idx format, optionally compressed (.gz).

    Parameters
    ----------
    images : pathlib.Path
        The file ``NAME-images-idx3-ubyte``; ``NAME-labels-idx1-ubyte`` must be beside it.  Also
        with a dot before ``idx``.
    ignore_labels : bool, default False
        Whether to read only the images; no labels need be beside them.

    Returns
    -------
    images : ndarray of shape (n, height, width, 1), uint8
        The images.
    labels : list of str, or None
        Their labels; None if they are ignored.

    Raises
    ------
    NotFoundError
        If the labels file does not exist.
    InvalidInputError
        If a file is damaged or of another format, or the numbers of images and labels differ.
    """
    if ignore_labels:
        return _read_idx(images, _IDX_IMAGES)[..., None], None
    name = re.sub(_IDX_NAME, r"-labels\g<sign>idx1-ubyte", images.name)
    files = [images.with_name(name + suffix) for suffix in ("", ".gz")]
    labels = next((file for file in files if file.is_file()), None)
    if labels is None:
        raise NotFoundError(f"no labels for {images}: {files[0]} is missing")
    pixels, numbers = _read_idx(images, _IDX_IMAGES), _read_idx(labels, _IDX_LABELS)
    if len(pixels) != len(numbers):
        raise InvalidInputError(
            f"{images} and {labels.name} must belong together. "
            f"Received: {len(pixels):,} images, {len(numbers):,} labels"
        )
    return pixels[..., None], [str(number) for number in numbers]


def _without_names(path: Path, first: Sequence[str]) -> str:
    """Return the error of a table whose first line is an image, not the names of the columns."""
    return (
        f"{path} must begin with a header line that names each column once, such as "
        f"label,pixel0,pixel1. Received: {','.join(first[:6])},…"
    )


def _image_shape(n_columns: int, path: Path) -> tuple[int, int, int]:
    """Return the shape (side, side, channels) of images with ``n_columns`` values."""
    for channels in (1, 3):
        side = math.isqrt(n_columns // channels)
        if side * side * channels == n_columns:
            return side, side, channels
    raise InvalidInputError(
        f"{path} must have s*s pixel columns (grey) or 3*s*s (RGB), for square images. "
        f"Received: {n_columns} pixel columns"
    )


def _put_in_order(columns: list[int], names: list[str]) -> list[int]:
    """Return pixel columns by the numbers in their names, such as 12 of pixel12.

    1x1, 2x1, 3x1 stay as they are: there the first number may be that of the column.
    """
    numbers = [[int(digits) for digits in re.findall(r"\d+", names[index])] for index in columns]
    if numbers == sorted(numbers, key=lambda pair: pair[::-1]):
        return columns
    return [index for _, index in sorted(zip(numbers, columns, strict=True))]


def _to_bytes(column: Any, place: str) -> NDArray[np.uint8]:
    """Check a column of pixels, and return it as uint8."""
    from pyarrow import types

    is_number = types.is_integer(column.type) or types.is_floating(column.type)
    cells = column.to_numpy() if is_number and not column.null_count else column.to_pylist()
    if isinstance(cells, np.ndarray):
        is_pixel = (cells >= 0) & (cells <= 255) & (cells == np.floor(cells))
    else:
        is_pixel = np.array([_is_pixel(cell) for cell in cells])
    if not is_pixel.all():
        row = int(is_pixel.argmin())
        wrong = cells[row]
        raise InvalidInputError(
            f"{place}, image {row}: pixels must be whole numbers from 0 to 255. "
            f"Received: {wrong.item() if isinstance(wrong, np.generic) else wrong!r}"
        )
    return np.asarray(cells, float).astype(np.uint8)


def _is_pixel(cell: Any) -> bool:
    """Return whether a cell is an integer from 0 to 255."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return False
    return number.is_integer() and 0 <= number <= 255


def _check_label(value: bytes | None, place: str) -> str:
    """Return a label as text, or raise an error if it is missing."""
    label = as_text((value or b"").decode("utf-8", "surrogateescape")).strip()
    if is_missing_text(label):
        raise InvalidInputError(f"{place} has no label")
    return label


def _is_label(name: str) -> bool:
    """Return whether a column name is that of labels."""
    return is_label_name(name.strip())


def _labels_among(
    header: Sequence[str], label_column: Sequence[str], ignore_labels: bool
) -> list[str]:
    """Return the names of the columns of labels; ignored ones may have any name."""
    others = [
        name
        for name in header
        if not (_PIXEL_COLUMN.fullmatch(name.strip()) or _is_number_of_row(name))
    ]
    wanted = others[:1] if ignore_labels else label_column
    return [name for name in header if _is_label(name) or _is_among(name, wanted)]


def _is_among(name: str, wanted: Sequence[str]) -> bool:
    """Return whether a column name is one of some names, ignoring case and spaces around it."""
    return name.strip().lower() in {one.strip().lower() for one in wanted}


def _is_number_of_row(name: str) -> bool:
    """Return whether a column name is that of a row index."""
    return is_index_name(name.strip()) or name.strip().lower() in ("id", "imageid", "image_id")


def _read_idx(path: Path, kind: bytes) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes (http://yann.lecun.com/exdb/mnist, "file format")."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(f"cannot read {path}: {error}") from error
    n_dimensions = kind[3]
    header = 4 + 4 * n_dimensions
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, header, 4)]
    if data[:4] != kind or len(data) != header + math.prod(shape):
        raise InvalidInputError(
            f"{path} is damaged, or not an idx file of unsigned bytes in {n_dimensions} dimensions"
        )
    if not math.prod(shape):
        raise InvalidInputError(f"{path} is empty: it has the dimensions {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
