"""Split a labelled data set into folders or lists for training, validation and test."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.clustering.provenance import SPLIT_OF, find_not_copies, find_origins, origins_text
from clusterkit.datasets.label_tables import LABEL_SEPARATOR, parse_labels
from clusterkit.datasets.labelled_images import LabelledImages, label_tuple, read_labelled
from clusterkit.datasets.places import TEST, TRAIN, VALIDATION
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.datasets.split import Division, divide
from clusterkit.datasets.tables import write_csv
from clusterkit.errors import (
    ClusterkitWarning,
    ImageError,
    InvalidInputError,
    NotFoundError,
    Notice,
    OutputExistsError,
)
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import ImageFolder, read_bytes
from clusterkit.routing.manifest import Manifest, read_manifest
from clusterkit.routing.signatures import find_unsigned
from clusterkit.routing.sorting import Sorting, sort_into_folders
from clusterkit.routing.transfer import MODES, Transfer, is_inside, make_folder
from clusterkit.store.store import Store
from clusterkit.utils.arguments import as_plain, is_number
from clusterkit.utils.locations import absolute_here
from clusterkit.utils.text import first_few, in_shell, join_lines, plural

LIST = "list"
SPLIT_MODES = (*MODES, LIST)
# The file that mode="list" writes.
LIST_NAME = "split.csv"
_PARTS = (TRAIN, VALIDATION, TEST)
_DONE = {"copy": "copied to", "link": "linked in", "move": "moved to", LIST: "listed in"}
# Tolerance of the sum of the shares, such as three times 0.333.
_NEARLY = 2e-3


@dataclass(frozen=True, eq=False, repr=False)
class FolderSplit(TableResult):
    """Result of :func:`split_folder`.

    Attributes
    ----------
    into : pathlib.Path
        The folder of the parts.
    mode : {"copy", "link", "move", "list"}
        How the images were transferred.
    names : list of str
        The images, as paths below the source or as in its table.
    labels : list of (str or tuple of str)
        Their labels.
    parts : list of str
        Their parts: ``"train"``, ``"val"`` or ``"test"``.
    copies : list of list of str
        Groups of images that are copies of each other.  Each is in one part, unless the source has
        parts that share it.
    failures : list of (str, str)
        Name and reason of each image that cannot be read, which is in no part.
    output : pathlib.Path or None
        The table of ``mode="list"``.
    sorting : Sorting or None
        The performed or planned transfers of the other modes.
    dry_run : bool
        Whether this was only planned.
    """

    into: Path
    mode: str
    names: list[str]
    labels: list[Any]
    parts: list[str]
    copies: list[list[str]]
    failures: list[tuple[str, str]]
    output: Path | None
    sorting: Sorting | None
    dry_run: bool

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of images of each class in each part; images with several count for each."""
        found = {part: Counter[str]() for part in _PARTS if part in self.parts}
        for label, part in zip(self.labels, self.parts, strict=True):
            found[part].update(label_tuple(label))
        return {part: dict(sorted(counts.items())) for part, counts in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "into": str(self.into),
            "mode": self.mode,
            "n": len(self.names),
            "parts": dict(Counter(self.parts)),
            "counts": self.counts,
            "copies": self.copies,
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
            "list": None if self.output is None else str(self.output),
            "sorting": None if self.sorting is None else self.sorting.to_dict(),
            "dry_run": self.dry_run,
        }

    def to_text(self) -> str:
        """Return the number of images of each class in each part, and the transfers."""
        counts = self.counts
        lines = []
        for name in sorted({name for classes in counts.values() for name in classes}):
            numbers = (f"{part} {classes.get(name, 0):,}" for part, classes in counts.items())
            lines.append(f"{name}: {', '.join(numbers)}")
        if self.copies:
            n_images = plural(sum(map(len, self.copies)), "image")
            part_of = dict(zip(self.names, self.parts, strict=True))
            n_across = sum(len({part_of[name] for name in group}) > 1 for group in self.copies)
            where = (
                f"{n_across:,} of these groups in several parts" if n_across else "each in one part"
            )
            lines.append(f"{plural(len(self.copies), 'group')} of copies ({n_images}), {where}")
        return join_lines([*lines, self._headline()])

    def _headline(self) -> str:
        """Return the number of images in each part, and the transfers."""
        n_parts = Counter(self.parts)
        numbers = ", ".join(f"{part} {n_parts[part]:,}" for part in _PARTS if n_parts[part])
        done = f"would be {_DONE[self.mode]}" if self.dry_run else _DONE[self.mode]
        images = plural(len(self.names), "image")
        before = self.sorting.n_present if self.sorting else 0
        there = f" ({before:,} there before)" if before else ""
        return f"{images} {done} {self.output or self.into}: {numbers}{there}"

    def _table(self) -> Rows:
        """Return the label and the part of each image."""
        cells = zip(self.names, map(_cell, self.labels), self.parts, strict=True)
        return Rows(["path", "label", "part"], list(cells))


def split_folder(
    source: str | Path | LabelledImages,
    into: str | Path,
    *,
    train: float | None = None,
    val: float = 0.1,
    test: float = 0.1,
    mode: str = "copy",
    not_copies: str | Path | None = None,
    store: Store | str | Path | None = None,
    random_state: int | None = None,
    dry_run: bool = False,
    progress: bool = False,
    **reading: Any,
) -> FolderSplit:
    """Split labelled images into parts for training, validation and test.

    Each class is divided at random, with all copies of an image in one part.  Copies with different
    labels, one of which must be wrong, are in training.  ``train_classifier(into, ...)`` reads the
    result: the folders ``train/CLASS/``, ``val/CLASS/`` and ``test/CLASS/``, or one table.

    Parameters
    ----------
    source : path or LabelledImages
        The images: a folder with one sub-folder per class, or a table of files and labels; see
        :func:`~clusterkit.datasets.labelled_images.read_labelled`.  If it has parts, these are
        kept, and only missing ones are taken from its training images.
    into : path
        The folder of the parts, outside the source.  It must be new or empty, unless the same call
        was interrupted: then it continues.
    train, val, test : float
        Shares of the images, which sum to 1; ``train`` is by default what remains.  A part of share
        0 is not made.
    mode : {"copy", "link", "move", "list"}
        How files are transferred, see :func:`clusterkit.routing.sort_into_folders`;
        :func:`clusterkit.routing.undo` reverses it.  ``list`` leaves the files where they are, and
        writes ``split.csv``: path, label and part of each image.
    not_copies : path, optional
        A table of clusters that records images which look alike but are not copies, see
        :func:`clusterkit.clustering.label`.  By default the table that ``source`` is, if it is one.
    store : Store or path, optional
        A store in which the new paths of moved files are recorded, so that it keeps their
        embeddings.
    random_state : int, optional
        Seed; random by default.
    dry_run : bool
        Whether to only plan, without writing anything.
    progress : bool
        Whether to show progress bars on stderr.
    **reading
        Options for reading a ``source`` that is a path: ``exclude``, ``label_column``,
        ``path_column`` and ``label_separator`` of
        :func:`~clusterkit.datasets.labelled_images.read_labelled`.

    Returns
    -------
    FolderSplit
        The part of each image, and the images that cannot be read, which are left out.

    Raises
    ------
    InvalidInputError
        If the shares do not sum to 1, ``into`` is in the source or the source in it, there is only
        one class, a class has fewer different images than there are parts, images with several
        labels should go into folders, or an argument is invalid.  Nothing is done.
    OutputExistsError
        If ``into`` holds anything else.
    NotFoundError
        If the source does not exist.

    Warns
    -----
    ClusterkitWarning
        If parts of the source share images, or copies of images of other classes leave a class
        without an image in a part.
    Notice
        If parts of the source are kept, or names of folders differ from the labels.

    Notes
    -----
    If copies allow, each part has its share of each class, and of all images, within one image; but
    every part has at least one image of each class.

    Examples
    --------
    >>> found = split_folder("photos", "split", random_state=0)  # doctest: +SKIP
    >>> found.counts["test"]  # doctest: +SKIP
    {'cat': 12, 'dog': 12}
    """
    train, val, test, random_state = map(as_plain, (train, val, test, random_state))
    shares = _check_shares(train, val, test)
    if mode not in SPLIT_MODES:
        raise InvalidInputError(f"mode must be one of {', '.join(SPLIT_MODES)}. Received: {mode!r}")
    if reading and isinstance(source, LabelledImages):
        raise InvalidInputError(
            f"{', '.join(reading)} must be for a source that is a path. Received: {source!r}"
        )
    into = absolute_here(into)
    origin = source.source if isinstance(source, LabelledImages) else Path(source)
    made_by = {
        SPLIT_OF: None if origin is None else str(origin.absolute()),
        **shares,
        "mode": mode,
        "seed": random_state,
        **{key: str(value) for key, value in reading.items() if value},
    }
    earlier = _check_place(into, origin, made_by)
    if earlier is not None and (mode == "move" or random_state is None):
        return _continue(earlier, into, origin, store, mode, dry_run=dry_run, progress=progress)
    data = source if isinstance(source, LabelledImages) else read_labelled(source, **reading)
    if isinstance(data.images, np.ndarray):
        raise InvalidInputError("only image files can be split. Received: a table of pixels")
    if data.is_multilabel and mode != LIST:
        raise InvalidInputError(
            f"an image with several labels has no folder of its class: mode must be {LIST}. "
            f"Received: {mode!r}"
        )
    division = _divide(data, shares, not_copies, random_state)
    readable = np.flatnonzero(division.groups >= 0)
    failures = _explain(data, np.flatnonzero(division.groups < 0))
    kept, parts = data[readable], [str(part) for part in division.parts[readable]]
    labels = kept.labels or []
    _warn_of_lacking(kept, parts)
    files = [Path(file) for file in kept.images]
    output = sorting = None
    if mode == LIST:
        output = into / LIST_NAME
        _check_labels(labels, output)
        if origins := find_origins(data):
            said = f"{origins_text(origins)}, which {output} does not record"
            warnings.warn(said, Notice, stacklevel=2)
        if not dry_run:
            _write_list(output, files, labels, parts)
    else:
        sorting = sort_into_folders(
            files,
            list(zip(parts, labels, strict=True)),
            into,
            mode=mode,
            store=store,
            origin=[made_by, *(one.to_dict() for one in find_origins(data))],
            dry_run=dry_run,
            progress=progress,
        )
        _notice_renamed(sorting, files, labels)
    copies = _list_copies(kept.names, division.groups[readable])
    return FolderSplit(
        into, mode, kept.names, labels, parts, copies, failures, output, sorting, dry_run
    )


def _check_shares(train: float | None, val: float, test: float) -> dict[str, float]:
    """Return the share of each part, after checking them."""
    for name, share in (("train", train), ("val", val), ("test", test)):
        if not is_number(share) and not (name == "train" and share is None):
            raise InvalidInputError(f"{name} must be a number from 0 to 1. Received: {share!r}")
    rest = 1 - val - test
    shares = {TRAIN: rest if train is None else train, VALIDATION: val, TEST: test}
    shown = ", ".join(f"{part} {share:g}" for part, share in shares.items())
    total = sum(shares.values())
    if not all(0 <= share <= 1 for share in shares.values()) or abs(total - 1) > _NEARLY:
        raise InvalidInputError(
            f"the shares must be from 0 to 1 and sum to 1. Received: {shown}, together {total:g}"
        )
    if shares[TRAIN] < _NEARLY or not (val or test):
        raise InvalidInputError(
            f"the shares of train, and of val or test, must be above 0. Received: {shown}"
        )
    return shares


def _check_place(
    into: Path, source: Path | None, made_by: dict[str, str | float | None]
) -> Manifest | None:
    """Check that the folder of the parts is new; return the manifest of the same split, if any."""
    if source is not None and source.is_dir():
        if is_inside(into, source):
            raise InvalidInputError(
                f"{into} is in {source}, which is to be split: name a folder outside of it"
            )
        if is_inside(source, into):
            raise InvalidInputError(
                f"{into} holds {source}, which is to be split: name a folder beside it"
            )
    try:
        entries = sorted(entry.name for entry in into.iterdir() if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        if os.path.lexists(into):
            raise OutputExistsError(f"{into} is not a folder: name another") from None
        nearest = next(place for place in into.parents if os.path.lexists(place))
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise InvalidInputError(f"cannot make the folder {into} in {nearest}") from None
        return None
    except OSError as error:
        raise InvalidInputError(f"cannot write in {into}: {error.strerror}") from error
    if not entries:
        return None
    try:
        manifest = read_manifest(into)
    except NotFoundError:
        raise OutputExistsError(
            f"{into} is not empty: it holds {entries[0]}. Name a new folder"
        ) from None
    if made_by not in manifest.origins:
        raise OutputExistsError(
            f"{into} holds another sorting or split: undo that first with `clusterkit undo "
            f"{in_shell(into)}`, or name a new folder"
        )
    return manifest


def _continue(
    manifest: Manifest, into: Path, source: Path | None, store: Any, mode: str, **options: Any
) -> FolderSplit:
    """Continue an interrupted split by the plan in its manifest.

    A new plan would differ, since files were moved already, or there is no seed.
    """
    if strangers := find_unsigned(manifest.transfers):
        raise InvalidInputError(
            f"the manifest in {into} was not written by you on this machine, and would move "
            f"{strangers[0].source}: name a new folder"
        )
    warnings.warn(
        f"continuing the split that was begun in {into}, by its plan",
        Notice,
        stacklevel=3,
    )
    transfers = manifest.transfers
    folders = [PurePosixPath(transfer.folder).parts for transfer in transfers]
    files = [transfer.source for transfer in transfers]
    sorting = sort_into_folders(
        files, folders, into, mode=mode, store=store, origin=manifest.origins, **options
    )
    names = [_name(transfer, source) for transfer in transfers]
    labels, parts = [label for _, label in folders], [part for part, _ in folders]
    failures = _explain_rest(source, set(files))
    return FolderSplit(
        into, mode, names, labels, parts, [], failures, None, sorting, options["dry_run"]
    )


def _divide(
    data: LabelledImages,
    shares: dict[str, float],
    not_copies: str | Path | None,
    random_state: int | None,
) -> Division:
    """Take the parts that the source does not have from its training images."""
    missing = [part for part in (VALIDATION, TEST) if shares[part] and part not in _parts(data)]
    _check_classes(data, 1 + len(missing))
    _notice_kept(data, missing)
    return divide(
        data,
        test_split=shares[TEST],
        validation_split=shares[VALIDATION],
        n_different=1 + len(missing),
        of_any_label=True,
        random_state=random_state,
        apart=find_not_copies(data, not_copies),
    )


def _name(transfer: Transfer, source: Path | None) -> str:
    """Return the path of a file relative to the source, if it is below it."""
    root = None if source is None else source.absolute()
    place = Path(transfer.source)
    below = root is not None and place.is_relative_to(root)
    return place.relative_to(root).as_posix() if root and below else str(place)


def _explain_rest(source: Path | None, moved: set[str]) -> list[tuple[str, str]]:
    """Return path and reason of each image of a folder that must not be moved."""
    if source is None or not source.is_dir():
        return []
    try:
        images = ImageFolder(source)
    except InvalidInputError:  # none is left
        return []
    pairs = zip(images.paths, images.files, strict=True)
    rest = [(path, file) for path, file in pairs if str(file) not in moved]
    return [(path, reason) for path, file in rest if (reason := _find_reason(file))]


def _explain(data: LabelledImages, rows: NDArray[np.intp]) -> list[tuple[str, str]]:
    """Return name and reason of each file that cannot be read."""
    names, files = data.names, data.images
    return [(names[row], _find_reason(Path(files[row]))) for row in rows.tolist()]


def _find_reason(file: Path) -> str:
    """Return why a file cannot be read; empty if it can."""
    try:
        decode_image(read_bytes(file), (1, 1))
    except ImageError as error:
        return str(error)
    return ""


def _parts(data: LabelledImages) -> set[str]:
    """Return the parts of the source other than training."""
    return set(data.parts or ()) - {TRAIN}


def _check_classes(data: LabelledImages, n_parts: int) -> None:
    """Check the number of images of each class, before reading them."""
    counts = data.class_counts
    if len(counts) < 2:
        raise InvalidInputError(
            f"a split by class needs at least 2 classes. Received: {', '.join(counts) or 'none'}"
        )
    smallest = min(counts, key=lambda name: counts[name])
    if counts[smallest] < n_parts and not data.is_multilabel:
        raise InvalidInputError(
            f"each class needs at least {n_parts} different images for {n_parts} parts. "
            f"Received: {counts[smallest]} of {smallest}"
        )


def _notice_kept(data: LabelledImages, missing: Sequence[str]) -> None:
    """Issue a notice about the parts that are kept."""
    if kept := [part for part in _PARTS if part in _parts(data)]:
        rest = f"only {' and '.join(missing)} taken" if missing else "nothing is taken"
        warnings.warn(
            f"{data.source or 'the source'} has parts: {' and '.join(kept)} kept as they are, and "
            f"{rest} from its training images",
            Notice,
            stacklevel=4,
        )


def _warn_of_lacking(data: LabelledImages, parts: Sequence[str]) -> None:
    """Warn if a class has no image in a part: its images are copies of those of other classes."""
    if data.is_multilabel:
        return
    present = set(zip(parts, data.labels or (), strict=True))
    for part in dict.fromkeys(parts):
        lacking = [name for name in data.class_counts if (part, name) not in present]
        if lacking:
            warnings.warn(
                f"{part} has no image of {', '.join(lacking)}"
                + ("" if data.parts else ", whose images are copies of those of other classes"),
                ClusterkitWarning,
                stacklevel=3,
            )


def _notice_renamed(sorting: Sorting, files: Sequence[Path], labels: Sequence[Any]) -> None:
    """Issue a notice if a class differs from the name of its folder."""
    label_of = dict(zip(map(str, map(Path.absolute, files)), labels, strict=True))
    folders = {
        label_of[transfer.source]: PurePosixPath(transfer.folder).name
        for transfer in sorting.transfers
        if transfer.source in label_of
    }
    if renamed := [f"{label} is {name}" for label, name in folders.items() if label != name]:
        warnings.warn(
            f"classes have other names where these cannot be folders: {first_few(renamed)}",
            Notice,
            stacklevel=3,
        )


def _list_copies(names: Sequence[str], groups: NDArray[np.intp]) -> list[list[str]]:
    """Return the names of the images of each group of copies, of two and more."""
    members: dict[int, list[str]] = {}
    for name, group in zip(names, groups.tolist(), strict=True):
        members.setdefault(group, []).append(name)
    return [found for found in members.values() if len(found) > 1]


def _cell(label: Any) -> str:
    """Return the labels of an image as the cell of a table."""
    return LABEL_SEPARATOR.join(label_tuple(label))


def _check_labels(labels: Sequence[Any], output: Path) -> None:
    """Check that the labels can be read back from the table."""
    wanted = [label_tuple(label) for label in labels if label != ()]
    cells = [LABEL_SEPARATOR.join(label) for label in wanted]
    if n_without := len(labels) - len(wanted):
        warnings.warn(
            f"{plural(n_without, 'image')} without a label in {output}: `train classifier` leaves "
            "them out",
            Notice,
            stacklevel=3,
        )
    for separator in (None, "none"):
        try:
            found, _ = parse_labels(cells, separator, output, [])
        except InvalidInputError:
            continue
        if [None if label is None else label_tuple(label) for label in found] == wanted:
            if separator is not None:
                warnings.warn(
                    f"labels of {output} hold signs that separate several: read it with "
                    f"--label-separator {separator}",
                    Notice,
                    stacklevel=3,
                )
            return
    alone = [cell for cell in cells if parse_labels([cell], "none", output, [])[0] != [cell]]
    raise InvalidInputError(
        "a table cannot hold these labels, which would be read as none or as several. "
        f"Received: {first_few(sorted(set(alone or cells)))}"
    )


def _write_list(
    output: Path, files: Sequence[Path], labels: Sequence[Any], parts: Sequence[str]
) -> None:
    """Write the table of files, labels and parts, with paths relative to its folder."""
    make_folder(output.parent)
    base = os.path.realpath(output.parent)
    rows = [
        [_relative(file, base), _cell(label), part]
        for file, label, part in zip(files, labels, parts, strict=True)
    ]
    write_csv(output, ["path", "label", "part"], rows)


def _relative(file: Path, base: str) -> str:
    """Return the path of a file relative to a folder, or as it is on another drive."""
    place = Path(os.path.realpath(file.parent), file.name)
    try:
        return Path(os.path.relpath(place, base)).as_posix()
    except ValueError:
        return place.as_posix()
