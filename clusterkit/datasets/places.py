"""Class and part of images, from the names of their folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from clusterkit.datasets.names import UNLABELLED, are_parts, part_of


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
