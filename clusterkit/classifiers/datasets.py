"""Labelled images, from the shapes in which people keep them."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.pixel_tables import (
    IDX_IMAGES,
    is_pixel_csv,
    read_idx_pair,
    read_pixel_csv,
)
from clusterkit.errors import InvalidInputError, NotFoundError
from clusterkit.images import IMAGE_SUFFIXES, ImageFolder, is_passed_over
from clusterkit.labels import read_pairs

TRAIN, VALIDATION, TEST = "train", "val", "test"
_PART_OF_FOLDER = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
# Between several labels of an image, in tables.
LABEL_SEPARATOR = "|"


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images and what they show.

    Attributes
    ----------
    images : list of pathlib.Path, or ndarray of shape (n, height, width, channels), uint8
        Files, or pixels with 1 or 3 channels.
    names : list of str
        What tables call each image.
    labels : list of (str or tuple of str), or None
        One label an image, or several where ``is_multilabel``; None if they are not known.
    is_multilabel : bool
        Whether an image may have any number of labels.
    parts : list of str, or None
        ``"train"``, ``"val"`` or ``"test"`` for each image, where the source says it.
    """

    images: "list[Path] | NDArray[np.uint8]"
    names: list[str]
    labels: list[Any] | None
    is_multilabel: bool = False
    parts: list[str] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: Sequence[int] | NDArray[np.intp]) -> "LabelledImages":
        """Take some rows."""
        take = [int(row) for row in rows]
        images = self.images
        return LabelledImages(
            images[take] if isinstance(images, np.ndarray) else [images[row] for row in take],
            [self.names[row] for row in take],
            None if self.labels is None else [self.labels[row] for row in take],
            self.is_multilabel,
            None if self.parts is None else [self.parts[row] for row in take],
        )

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of images of each class, in the classes' order."""
        return count_classes(self.labels or [])


def count_classes(labels: Sequence[Any]) -> dict[str, int]:
    """Count images by class; one with several labels counts for each.

    Examples
    --------
    >>> count_classes(["dog", "cat", "dog"])
    {'cat': 1, 'dog': 2}
    >>> count_classes([("Action", "Drama"), ("Drama",), ()])
    {'Action': 1, 'Drama': 2}
    """
    counts = Counter(name for label in labels for name in as_labels(label))
    return dict(sorted(counts.items()))


def as_labels(label: Any) -> tuple[str, ...]:
    """Return the label or labels of one image as a tuple of names."""
    return tuple(map(str, label)) if isinstance(label, list | tuple | set) else (str(label),)


def read_labelled(source: str | Path, *, exclude: Iterable[str] = ()) -> LabelledImages:
    """Read labelled images from a folder or a table.

    Parameters
    ----------
    source : path
        One of

        - a folder with one sub-folder a class;
        - a folder with ``train/`` and ``test/`` or ``val/``, each with one sub-folder a class;
        - a CSV file of filename and label, with a header, its files relative to its own folder;
          a ``|`` in any label makes it multi-label;
        - a CSV file with a column a pixel, and ``label`` unless the labels are not known;
        - a folder of idx files, as MNIST comes, or one such file of images.
    exclude : iterable of str
        Patterns of what to leave out of a folder; see :class:`~clusterkit.images.ImageFolder`.

    Returns
    -------
    LabelledImages
        In order of path, or of the table's lines.

    Raises
    ------
    NotFoundError
        If the source or a file that it names does not exist.
    InvalidInputError
        If it is none of these, or holds what no training could use.

    Warns
    -----
    UserWarning
        If there are images without a label; they are left out.
    """
    source = Path(source)
    if not source.exists():
        raise NotFoundError(f"no such file or folder: {source}")
    if source.is_file() and source.suffix.lower() == ".csv":
        return _from_pixel_csv(source) if is_pixel_csv(source) else _from_label_csv(source)
    if source.is_file() and IDX_IMAGES in source.name:
        return _from_idx([source])
    if source.is_file():
        raise InvalidInputError(
            f"labelled images must be a folder, a .csv file or idx files. Received: {source}"
        )
    idx_files = sorted(source.glob(f"*{IDX_IMAGES}*"))
    return _from_idx(idx_files) if idx_files else _from_folder(source, list(exclude))


def _from_folder(folder: Path, exclude: list[str]) -> LabelledImages:
    """Read a folder a class, alone or below train, val and test."""
    try:
        images = ImageFolder(folder, exclude=exclude)
    except InvalidInputError as error:
        tables = sorted(folder.glob("*.csv"))
        hint = f"; to read a table, name it: {tables[0]}" if tables else ""
        raise InvalidInputError(f"{error}{hint}") from error
    tops = [entry.name for entry in sorted(folder.iterdir()) if _is_shown_folder(entry)]
    has_parts = set(tops) <= set(_PART_OF_FOLDER) and TRAIN in map(_PART_OF_FOLDER.get, tops)
    depth = 1 if has_parts and len(tops) > 1 else 0
    labels = []
    for path in images.paths:
        pieces = path.split("/")
        if len(pieces) < depth + 2:
            raise InvalidInputError(
                f"{folder / path} has no label: it lies in none of the classes' folders"
            )
        labels.append(pieces[depth])
    for parent in [folder / top for top in tops] if depth else [folder]:
        for entry in sorted(filter(_is_shown_folder, parent.iterdir())):
            if entry.name not in set(labels) and not exclude:
                raise InvalidInputError(f"the class folder {entry} holds no image")
    parts = [_PART_OF_FOLDER[path.split("/")[0]] for path in images.paths] if depth else None
    return LabelledImages(images.files, images.paths, labels, parts=parts)


def _from_label_csv(table: Path) -> LabelledImages:
    """Read a table of filename and label."""
    pairs = list(read_pairs(table).items())
    folder = table.absolute().parent
    files = [folder / name for name, _ in pairs]
    missing = [name for (name, _), file in zip(pairs, files, strict=True) if not file.is_file()]
    if missing:
        raise NotFoundError(
            f"{len(missing)} of the {len(pairs)} files that {table} names do not exist in "
            f"{folder}, such as {missing[0]}"
        )
    _warn_of_unlisted(files, table)
    multi = any(LABEL_SEPARATOR in label for _, label in pairs)
    known = [row for row, (_, label) in enumerate(pairs) if label]
    if len(known) < len(pairs):
        warnings.warn(
            f"left out {len(pairs) - len(known)} files without a label in {table}", stacklevel=3
        )
    labels: list[Any] = [pairs[row][1] for row in known]
    if multi:
        split = (label.split(LABEL_SEPARATOR) for label in labels)
        labels = [tuple(dict.fromkeys(filter(None, map(str.strip, one)))) for one in split]
    return LabelledImages(
        [files[row] for row in known], [pairs[row][0] for row in known], labels, multi
    )


def _from_pixel_csv(table: Path) -> LabelledImages:
    """Read a table of pixels; its images are called by their line."""
    images, labels = read_pixel_csv(table)
    return LabelledImages(images, [f"{table.name}:{row}" for row in range(len(images))], labels)


def _from_idx(files: list[Path]) -> LabelledImages:
    """Read pairs of idx files; ``train-…`` and others beside it are training and test images."""
    pairs = [read_idx_pair(file) for file in files]
    shapes = {images.shape[1:] for images, _ in pairs}
    if len(shapes) > 1:
        raise InvalidInputError(f"idx files of one folder must have one image size: {shapes}")
    names, parts = [], []
    for file, (images, _) in zip(files, pairs, strict=True):
        stem = file.name.partition(IDX_IMAGES)[0]
        names += [f"{stem}:{row}" for row in range(len(images))]
        parts += [TRAIN if stem.startswith(TRAIN) else TEST] * len(images)
    return LabelledImages(
        np.concatenate([images for images, _ in pairs]),
        names,
        [label for _, labels in pairs for label in labels],
        parts=parts if len(set(parts)) > 1 else None,
    )


def _warn_of_unlisted(files: Sequence[Path], table: Path) -> None:
    """Say that there are images beside the listed ones that have no label."""
    listed = {os.path.normpath(file) for file in files}
    beside = {
        os.path.normpath(entry)
        for folder in {file.parent for file in files}
        for entry in folder.iterdir()
        if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
    }
    if unlisted := sorted(beside - listed):
        warnings.warn(
            f"left out {len(unlisted)} images that {table} gives no label, such as {unlisted[0]}",
            stacklevel=4,
        )


def _is_shown_folder(entry: Path) -> bool:
    """Tell whether an entry is a folder that is searched."""
    return entry.is_dir() and not is_passed_over(entry.name)
