"""Class of images, and part of a data set, from the names of their folders."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from clusterkit.errors import Notice
from clusterkit.utils.text import first_few

TRAIN, VALIDATION, TEST = "train", "val", "test"
# Images to be predicted, without labels.
UNLABELLED = "unlabelled"
_MEANINGS = {
    TRAIN: ("train", "training", "trn"),
    VALIDATION: ("val", "valid", "validation", "validate", "dev", "development"),
    TEST: ("test", "testing", "tst", "eval", "evaluation", "publictest", "privatetest"),
    UNLABELLED: ("pred", "predict", "prediction", "predictions", "unlabelled", "unlabeled"),
}
_PART_OF_WORD = {word: part for part, words in _MEANINGS.items() for word in words}
# Words beside a part's name, as in training_set, seg_train, trainset and train_images.
_FILLERS = "set data dataset split seg folder dir images image imgs img photos pictures"
_FILLER = frozenset(_FILLERS.split())
_GLUED = re.compile(rf"^(.+?)({'|'.join(_FILLERS.split())})$")


class Place(NamedTuple):
    """Class and part of an image, from the names of its folders.

    Attributes
    ----------
    label : str or None
        The folder of its class; None if it is in none.
    part : str or None
        ``"train"``, ``"val"``, ``"test"`` or ``"unlabelled"``; None if the images are not divided.
    """

    label: str | None
    part: str | None


def read_places(paths: Sequence[str]) -> list[Place]:
    """Read the class and the part of images from their paths.

    Unlike :func:`clusterkit.datasets.read_labelled`, which requires a label for every image, this
    accepts any folders.

    Parameters
    ----------
    paths : sequence of str
        All images, relative to one folder, with forward slashes.

    Returns
    -------
    list of Place
        One per image.  Folders such as ``train`` and ``val`` beside each other are parts that
        contain the folders of the classes; otherwise the first folders are the classes.

    Examples
    --------
    >>> read_places(["train/cat/1.jpg", "test/cat/2.jpg"])[1]
    Place(label='cat', part='test')
    >>> read_places(["cat/1.jpg", "2.jpg"])
    [Place(label='cat', part=None), Place(label=None, part=None)]
    """
    folders = {path.partition("/")[0] for path in paths if "/" in path}
    meant = {folder: part_of(folder) for folder in folders}
    is_divided = are_parts(meant.values())
    return [_read_place(path.split("/")[:-1], meant if is_divided else {}) for path in paths]


def part_of(name: str) -> str | None:
    """Return the part that a folder name or table cell refers to.

    Parameters
    ----------
    name : str
        The name, ignoring case, years and words such as "set", "data" and "images".

    Returns
    -------
    {"train", "val", "test", "unlabelled"} or None
        None if the name is not that of a part.

    Examples
    --------
    >>> [part_of(name) for name in ("Training", "seg_test", "valid", "train2017", "trainer")]
    ['train', 'test', 'val', 'train', None]
    """
    # Words end at punctuation, at digits, and before a capital after a small letter.
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    if words and "".join(words) != re.sub(r"[\W\d_]", "", name):
        return None  # part of another word
    rest = [word.lower() for word in words if word.lower() not in _FILLER]
    if "".join(rest) in _PART_OF_WORD:
        return _PART_OF_WORD["".join(rest)]
    glued = _GLUED.match(rest[0]) if len(rest) == 1 else None
    return _PART_OF_WORD.get(glued[1]) if glued else None


def are_parts(meant: Collection[str | None]) -> bool:
    """Return whether folders beside each other are parts of a data set, not classes.

    Parameters
    ----------
    meant : collection of str or None
        The result of :func:`part_of` for each folder.

    Examples
    --------
    >>> [are_parts(meant) for meant in (["train", "val"], ["train", None], ["val", "test"])]
    [True, False, False]
    """
    # A class may be called train: a part needs other parts, or no folders beside it.
    return TRAIN in meant and (None not in meant or bool({VALIDATION, TEST} & set(meant)))


def warn_of_look_alikes(classes: Iterable[str], source: str | Path) -> None:
    """Warn of classes whose names differ only in case or coding, or are 1 and 1.0.

    Often one class is meant.
    """
    spelled = defaultdict(set)
    for name in set(classes):
        plain = re.sub(r"^(-?\d+)\.0+$", r"\1", name)
        spelled[unicodedata.normalize("NFC", plain).casefold()].add(name)
    alike = [", ".join(sorted(names)) for _, names in sorted(spelled.items()) if len(names) > 1]
    if alike:
        warnings.warn(
            f"classes in {source} read alike, and each counts as one of its own: "
            f"{first_few(alike, separator='; ')}",
            Notice,
            stacklevel=4,
        )


def _read_place(folders: list[str], meant: dict[str, str | None]) -> Place:
    """Return the class and the part of one image."""
    part = meant.get(folders[0]) if folders else None
    if part is None:
        return Place(folders[0] if folders and not meant else None, None)
    below = folders[1:]
    # Archives often contain a part folder within a folder of the same name.
    while below and part_of(below[0]) == part:
        below = below[1:]
    return Place(below[0] if below and part != UNLABELLED else None, part)
