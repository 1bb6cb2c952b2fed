"""What a check can find, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from clusterkit.errors import InvalidInputError

# Each kind of finding: its meaning, and what to do.  The first kind that is found in a file names
# the folder into which --quarantine moves it.
KINDS = {
    "unreadable": ("cannot be read as an image", "get the file again, or remove it"),
    "truncated": ("ends too early", "get the file again, or remove it"),
    "duplicate": ("is the same file as another", "remove it"),
    "near-copy": ("shows the same picture as another", "remove it"),
    "two-labels": (
        "shows the same picture as one in another folder",
        "if the folders are classes, find out which label is right, and remove the other",
    ),
    "two-sides": (
        "shows the same picture as one in another part of the data",
        "remove one of them: test images must not be training images",
    ),
    "single-colour": ("is of a single colour", "remove it"),
    "tiny": ("is tiny compared with the others", "get a larger one, or remove it"),
    "blurred": ("is nowhere sharp", "look at it, and remove it if it shows too little"),
    "dark": ("is dark everywhere", "look at it, and remove it if it shows too little"),
    "blown-out": ("is white nearly everywhere", "look at it, and remove it if it shows too little"),
    "aspect": ("is very long", "crop it: it will be stretched, or cut to its middle"),
    "animated": ("has several frames or pages", "only the first is used: extract those you need"),
    "oversized": ("is very large", "make it smaller: reading it takes long"),
    "suffix": ("has another format than its name says", "give it the suffix of its content"),
    "off-topic": ("is unlike the others of its folder", "look at it, and remove it"),
}


def check_kinds(kinds: Iterable[str]) -> None:
    """Raise InvalidInputError if there is no such kind of finding."""
    for kind in kinds:
        if kind not in KINDS:
            raise InvalidInputError(f"a kind must be one of {', '.join(KINDS)}. Received: {kind!r}")


class Finding(NamedTuple):
    """One thing that a check found.

    Attributes
    ----------
    row : int
        Row of the image.
    path : str
        The image, relative to the checked folder.
    kind : str
        A key of :data:`KINDS`.
    figure : float or None
        Its number, such as the aspect ratio; None if it has none.
    related : str
        The path of the other image (of copies, the kept one); empty if there is none.
    detail : str
        What was found, in a few words.
    """

    row: int
    path: str
    kind: str
    figure: float | None
    related: str
    detail: str

    @property
    def suggestion(self) -> str:
        """What to do about it."""
        return KINDS[self.kind][1]
