"""Read labelled images from folders, tables and idx files."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.label_tables import read_label_table
from clusterkit.datasets.names import match_names, say_case
from clusterkit.datasets.pixel_tables import (
    find_idx,
    is_pixel_csv,
    read_idx_pair,
    read_pixel_csv,
)
from clusterkit.datasets.places import (
    TEST,
    TRAIN,
    UNLABELLED,
    are_parts,
    part_of,
    warn_of_look_alikes,
)
from clusterkit.datasets.tables import TABLE_SUFFIXES, as_text, spellings
from clusterkit.errors import ClusterkitWarning, InvalidInputError, NotFoundError, Notice
from clusterkit.images.folder import (
    IMAGE_SUFFIXES,
    MANIFEST_NAME,
    ImageFolder,
    is_passed_over,
)
from clusterkit.utils.arguments import as_list
from clusterkit.utils.locations import RemotePath, as_path
from clusterkit.utils.text import first_few, in_shell, plural


@dataclass(frozen=True, eq=False, repr=False)
class LabelledImages:
    """Images with their labels.

    Attributes
    ----------
    images : list of pathlib.Path, or ndarray of shape (n, height, width, channels), uint8
        Files, or pixels with 1 or 3 channels.
    names : list of str
        Name of each image in tables.
    labels : list of (str or tuple of str), or None
        One label per image, or a tuple if ``is_multilabel``; None if unknown.
    is_multilabel : bool
        Whether images may have any number of labels.
    parts : list of str, or None
        ``"train"``, ``"val"`` or ``"test"`` for each image, if the source has parts.
    source : pathlib.Path, or None
        The folder or table of files that the labels were read from.
    label_column : str, or None
        The column of the table that they were read from.
    """

    images: list[Path] | NDArray[np.uint8]
    names: list[str]
    labels: list[Any] | None
    is_multilabel: bool = False
    parts: list[str] | None = None
    source: Path | None = None
    label_column: str | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        """Return the number of images and their labels, as a notebook shows it."""
        each = [label if self.is_multilabel else (label,) for label in self.labels or ()]
        known = sorted({str(name) for names in each for name in names})
        labels = f"labels {first_few(known)}" if known else "no labels"
        return f"LabelledImages({plural(len(self), 'image')}, {labels})"

    def __getitem__(
        self, rows: slice | Sequence[int] | NDArray[np.intp] | NDArray[np.bool_]
    ) -> LabelledImages:
        """Select rows: by their numbers, a slice, or one truth value per row."""
        rows = list(rows) if isinstance(rows, tuple) else rows
        take = np.atleast_1d(np.arange(len(self))[rows]).tolist()
        images = self.images
        return LabelledImages(
            images[take] if isinstance(images, np.ndarray) else [images[row] for row in take],
            [self.names[row] for row in take],
            None if self.labels is None else [self.labels[row] for row in take],
            self.is_multilabel,
            None if self.parts is None else [self.parts[row] for row in take],
            self.source,
            self.label_column,
        )

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of images per class, in order of class; images with several count for each.

        Examples
        --------
        >>> LabelledImages([], ["a", "b"], [("Action", "Drama"), ("Drama",)], True).class_counts
        {'Action': 1, 'Drama': 2}
        """
        counts = Counter(name for label in self.labels or () for name in label_tuple(label))
        return dict(sorted(counts.items()))


def label_tuple(label: Any) -> tuple[str, ...]:
    """Return the label or labels of one image as a tuple of names."""
    return tuple(map(str, label)) if isinstance(label, list | tuple | set) else (str(label),)


def read_labelled(
    source: str | Path,
    *,
    exclude: str | Iterable[str] = (),
    label_column: str | Sequence[str] | None = None,
    path_column: str | None = None,
    label_separator: str | None = None,
    ignore_labels: bool = False,
) -> LabelledImages:
    """Read labelled images from a folder or a table.

    Parameters
    ----------
    source : path
        One of

        - a folder with one sub-folder per class;
        - a folder with sub-folders such as ``train``, ``Testing`` or ``validation_set``, see
          :func:`clusterkit.datasets.places.part_of`, each with one sub-folder per class;
        - a table of files and labels, see
          :func:`clusterkit.datasets.label_tables.read_label_table`; paths are relative to its
          folder, and other files are searched below it, see
          :func:`clusterkit.datasets.names.match_names`;
        - a table with one column per pixel, and optionally ``label``;
        - a folder of idx files, such as MNIST, or a single idx file of images.
    exclude : str or iterable of str
        Patterns of files to exclude from a folder; see
        :class:`~clusterkit.images.folder.ImageFolder`.
    label_column, path_column, label_separator
        Columns of a table of files, see :func:`clusterkit.datasets.label_tables.read_label_table`;
        a table of pixels has only ``label_column``.
    ignore_labels : bool, default False
        Whether to read only the images of a table or of idx files, which then need no labels.

    Returns
    -------
    LabelledImages
        In order of path, or in the order of the table.

    Raises
    ------
    NotFoundError
        If the source or a file in the table does not exist.
    InvalidInputError
        If the source is none of these, is ambiguous, or is not suitable for training, or an option
        is for another kind of source.

    Warns
    -----
    ClusterkitWarning
        If images without a label are left out.
    Notice
        How an ambiguous source was interpreted, and which classes read alike, such as Cat and cat.
    """
    source = as_path(source)
    if isinstance(source, RemotePath):
        raise InvalidInputError(
            f"{source} is on object storage: labelled images must be in a folder of this machine"
        )
    if not source.exists():
        raise NotFoundError(f"no such file or folder: {source}")
    exclude = as_list(exclude)
    label_column = None if label_column is None else as_list(label_column)
    columns = {
        "--label-column": label_column,
        "--path-column": path_column,
        "--label-separator": label_separator,
    }
    if source.is_file() and source.suffix.lower() in TABLE_SUFFIXES:
        if is_pixel_csv(source, label_column or (), ignore_labels=ignore_labels):
            del columns["--label-column"]
            _refuse(columns | {"--exclude": exclude}, source, "a table of pixels")
            return _from_pixel_csv(source, label_column or (), ignore_labels)
        _refuse({"--exclude": exclude}, source, "a table: remove its lines instead")
        return _from_label_csv(
            source,
            label_column=label_column,
            path_column=path_column,
            label_separator=label_separator,
            ignore_labels=ignore_labels,
        )
    _refuse(columns, source, "no table of files and labels")
    if idx_files := find_idx(source):
        _refuse({"--exclude": exclude}, source, "a source of idx files")
        return _from_idx(idx_files, ignore_labels)
    if not source.is_dir():
        raise InvalidInputError(
            f"labelled images must be a folder, a .csv file or idx files. Received: {source}"
        )
    return _from_folder(source, exclude)


def is_table(source: Path) -> bool:
    """Return whether a source of images is a table of files or pixels, or idx files."""
    if source.suffix.lower() in TABLE_SUFFIXES:
        return not source.is_dir()
    return not isinstance(source, RemotePath) and bool(find_idx(source))


def _refuse(options: Mapping[str, Any], source: Path, what: str) -> None:
    """Raise an error for options that would have no effect, since the source is another kind."""
    if given := [name for name, value in options.items() if value]:
        raise InvalidInputError(f"{' and '.join(given)} cannot be used: {source} is {what}")


def _from_folder(folder: Path, exclude: list[str]) -> LabelledImages:
    """Read class folders, alone or below folders of parts."""
    try:
        images = ImageFolder(folder, exclude=exclude)
    except InvalidInputError as error:
        tables = sorted(folder.glob("*.csv"))
        hint = f"; to read a table, name it: {tables[0]}" if tables else ""
        raise InvalidInputError(f"{error}{hint}") from error
    parts = _find_parts(folder, images.paths)
    kept, labels, part_of_image = [], [], []
    for row, path in enumerate(images.paths):
        top = next((top for top in parts if path.startswith(top)), None)
        if top is None:
            continue
        name, slash, _ = path[len(top) :].partition("/")
        if not slash:
            raise InvalidInputError(
                f"{folder / path} has no label: it is in none of the folders of classes. Name the "
                "folder that holds a folder for each class"
            )
        kept.append(row)
        labels.append(name)
        part_of_image.append(parts[top])
    classes = set(labels)
    for top in parts:
        for entry in sorted(filter(_is_shown_folder, (folder / top).iterdir())):
            if entry.name not in classes and not exclude:
                raise InvalidInputError(
                    f"the class folder {entry} holds no image: remove it, or leave it out "
                    f"(--exclude {in_shell(f'{entry.name}/')})"
                )
        _check_folders_differ(folder / top, [path[len(top) :] for path in images.paths])
    warn_of_look_alikes(labels, folder)
    files = images.files
    return LabelledImages(
        [files[row] for row in kept],
        [images.paths[row] for row in kept],
        labels,
        parts=part_of_image if any(parts) else None,
        source=folder,
    )


def _find_parts(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    """Map the path prefix of each folder of class folders to its part.

    Other folders beside parts are left out with a warning.  Without parts, the whole folder is for
    training, with an empty prefix.
    """
    tops = sorted(_folders_of(paths, ""))
    meant = {top: part_of(top) for top in tops}
    known = [part for part in meant.values() if part is not None]
    if not are_parts(meant.values()):
        if known and None not in meant.values():
            raise InvalidInputError(
                f"{folder} must have training images, in a folder such as train. Received: "
                f"{', '.join(tops)}"
            )
        for top in (top for top in tops if meant[top] == TRAIN):
            start = f"{top}/"
            classes = _folders_of(paths, start)
            is_flat = any(path.count("/") == 1 for path in paths if path.startswith(start))
            if len(classes) > 1 and not is_flat:
                raise InvalidInputError(
                    f"{folder / top} may be a class, or hold the classes "
                    f"{first_few(sorted(classes))}: name it to learn from it alone, or leave out "
                    f"{first_few(sorted(set(tops) - {top}))} with --exclude"
                )
        return {"": TRAIN}
    parts, others = {}, []
    for top in tops:
        part, start = meant[top], f"{top}/"
        # Archives often contain a part folder within a folder of the same name.
        while start not in parts and len(inner := _folders_of(paths, start)) == 1:
            (only,) = inner
            if part is None or part_of(only) != part:
                break
            start += f"{only}/"
        is_flat = part != TRAIN and not _folders_of(paths, start)
        if part in (None, UNLABELLED) or is_flat:
            others.append(top)
        else:
            parts[start] = part
    others += [path for path in paths if "/" not in path]
    if others:
        warnings.warn(
            f"left out {first_few(others)} in {folder}: no labelled part of the data beside "
            f"{', '.join(start.rstrip('/') for start in parts)}",
            ClusterkitWarning,
            stacklevel=4,
        )
    return parts


def _folders_of(paths: Sequence[str], start: str) -> set[str]:
    """Return the folders directly below ``start`` that contain images."""
    rest = (path[len(start) :] for path in paths if path.startswith(start))
    return {inner.partition("/")[0] for inner in rest if "/" in inner}


def _check_folders_differ(folder: Path, paths: Sequence[str]) -> None:
    """Raise an error if all folders have the same sub-folders, which are hardly classes."""
    below: dict[str, set[str]] = {}
    for path in paths:
        name, _, rest = path.partition("/")
        if "/" in rest:
            below.setdefault(name, set()).add(rest.partition("/")[0])
        elif rest:
            return
    first = next(iter(below.values()), set())
    if len(below) > 1 and len(first) > 1 and all(names == first for names in below.values()):
        raise InvalidInputError(
            f"which folders are the classes is unclear: {first_few(sorted(below))} in {folder} "
            f"all hold the folders {first_few(sorted(first))}. Call parts of the data train, val "
            "and test; put the images of a class right into its folder; or name the labels in a "
            "CSV file"
        )


def _from_label_csv(table: Path, *, ignore_labels: bool, **columns: Any) -> LabelledImages:
    """Read a table of files and labels; without labels, all files that it lists."""
    folder = table.absolute().parent

    def is_file(name: str) -> bool:
        # Unlike the method of Path, this is also false for a text too long for a name.
        return bool(name.strip()) and os.path.isfile(folder / name)  # noqa: PTH113

    found = read_label_table(table, is_file=is_file, ignore_labels=ignore_labels, **columns)
    files = _find_files(found.names, folder, table)
    if ignore_labels:
        return LabelledImages(files, [as_text(name) for name in found.names], None, source=table)
    _warn_of_unlisted(files, table)
    rows = list(range(len(files)))
    if found.parts is not None:
        rows = [row for row in rows if found.parts[row] != UNLABELLED]
        if len(rows) < len(files):
            warnings.warn(
                f"left out {plural(len(files) - len(rows), 'file')} of no part for learning in "
                f"{table}",
                ClusterkitWarning,
                stacklevel=3,
            )
    known = [row for row in rows if found.labels[row] is not None]
    if len(known) < len(rows):
        warnings.warn(
            f"left out {plural(len(rows) - len(known), 'file')} without a label in {table}",
            ClusterkitWarning,
            stacklevel=3,
        )
    return LabelledImages(
        [files[row] for row in known],
        [as_text(found.names[row]) for row in known],
        [found.labels[row] for row in known],
        found.is_multilabel,
        None if found.parts is None else [str(found.parts[row]) for row in known],
        table,
        found.header[1],
    )


def _find_files(names: Sequence[str], folder: Path, table: Path) -> list[Path]:
    """Return the file of each name, as given or else searched below the table's folder."""
    files: dict[str, Path] = {}
    for name in names:
        there = (folder / spelling for spelling in spellings(name) if "\0" not in spelling)
        for file in filter(os.path.lexists, there):
            files.setdefault(name, file)
    missing = [name for name in names if name not in files]
    if missing:
        try:
            paths = ImageFolder(folder).paths
        except InvalidInputError:
            paths = []
        # Sorted folders hold copies, unless the files were moved there.
        matched = match_names(_leave_out_sorted(paths, folder), missing, table)
        found = set(matched.values())
        if rest := [name for name in missing if name not in found]:
            matched |= match_names([path for path in paths if path not in matched], rest, table)
        files |= {name: folder / path for path, name in matched.items()}
        if matched:
            warnings.warn(
                f"{len(matched):,} of the {len(names):,} files of {table} are found by their names "
                f"below {folder}, such as {next(iter(matched))}",
                Notice,
                stacklevel=4,
            )
        missing = [name for name in missing if name not in files]
    if missing:
        raise NotFoundError(
            f"{len(missing):,} of the {len(names):,} files that {table} names do not exist in "
            f"{folder}, such as {first_few(map(as_text, missing))}. If the files are in another "
            f"column, name it with --path-column{say_case(paths, missing)}"
        )
    name_of: dict[str, str] = {}
    for name in names:
        earlier = name_of.setdefault(os.path.normpath(files[name]), name)
        if earlier != name:
            raise InvalidInputError(
                f"{table} has two lines for one file, {as_text(earlier)} and {as_text(name)}: "
                "remove one of them"
            )
    return [files[name] for name in names]


def _leave_out_sorted(paths: Sequence[str], folder: Path) -> list[str]:
    """Return the paths that are in no folder that files were sorted into."""
    below = {str(parent) for path in paths for parent in PurePosixPath(path).parents} - {"."}
    is_sorted = {place for place in below if (folder / place / MANIFEST_NAME).exists()}
    return [
        path
        for path in paths
        if not any(str(parent) in is_sorted for parent in PurePosixPath(path).parents)
    ]


def _from_pixel_csv(
    table: Path, label_column: Sequence[str], ignore_labels: bool
) -> LabelledImages:
    """Read a table of pixels; images are named by their line."""
    images, labels = read_pixel_csv(table, label_column=label_column, ignore_labels=ignore_labels)
    warn_of_look_alikes(labels or (), table)
    return LabelledImages(images, [f"{table.name}:{row}" for row in range(len(images))], labels)


def _from_idx(files: list[Path], ignore_labels: bool) -> LabelledImages:
    """Read pairs of idx files; beside ``train-…`` or ``emnist-…-train-…``, others are for tests."""
    pairs = [read_idx_pair(file, ignore_labels=ignore_labels) for file in files]
    shapes = {images.shape[1:] for images, _ in pairs}
    if len(shapes) > 1:
        sizes = ", ".join(f"{width} x {height}" for height, width, _ in sorted(shapes))
        raise InvalidInputError(
            f"idx files of one folder must have one image size. Received: {sizes}. Name one file"
        )
    names, parts = [], []
    for file, (images, _) in zip(files, pairs, strict=True):
        stem = file.name[: file.name.rindex("-images")]
        names += [f"{stem}:{row}" for row in range(len(images))]
        is_train = any(part_of(word) == TRAIN for word in re.split("[-_.]", stem))
        parts += [TRAIN if is_train else TEST] * len(images)
    return LabelledImages(
        np.concatenate([images for images, _ in pairs]),
        names,
        None if ignore_labels else [label for _, labels in pairs for label in labels or ()],
        parts=parts if len(set(parts)) > 1 else None,
    )


def _warn_of_unlisted(files: Sequence[Path], table: Path) -> None:
    """Warn about images in the folder that the table does not list."""
    listed = {os.path.normpath(file) for file in files}
    beside = {
        os.path.normpath(entry)
        for folder in {file.parent for file in files}
        for entry in folder.iterdir()
        if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
    }
    if unlisted := sorted(beside - listed):
        warnings.warn(
            f"left out {plural(len(unlisted), 'image')} that {table} gives no label, such as "
            f"{unlisted[0]}",
            ClusterkitWarning,
            stacklevel=4,
        )


def _is_shown_folder(entry: Path) -> bool:
    """Return whether an entry is a folder that is not hidden."""
    return entry.is_dir() and not is_passed_over(entry.name)
