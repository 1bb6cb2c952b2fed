"""File names of gathered pictures, from their addresses, which are not trusted."""

import os
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from clusterkit.routing.plan import DEVICE, UNSAFE, alike

# With a number and a suffix behind it, it fits in the 255 bytes of a name.
_MAX_BYTES = 150
_MAX_SUFFIX = 6
_NAMELESS = "picture"


def stem_of(address: str) -> str:
    """Return the name of a file for an address, without a suffix, that is valid everywhere.

    Examples
    --------
    >>> stem_of("https://example.org/photos/red%20fox.jpeg?width=300")
    'red fox'
    >>> stem_of("https://example.org/..%2f..%2fetc%2fpasswd"), stem_of("https://example.org/")
    ('passwd', 'picture')
    """
    name = unquote(urlsplit(address).path.rpartition("/")[2], errors="replace")
    name = name.replace("\\", "/").rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    if dot and len(suffix) <= _MAX_SUFFIX and suffix.isalnum() and not suffix.isdecimal():
        name = stem
    name = "".join("_" if unicodedata.category(letter)[0] == "C" else letter for letter in name)
    name = unicodedata.normalize("NFC", UNSAFE.sub("_", name))
    name = name.encode()[:_MAX_BYTES].decode("utf-8", "ignore").strip(" .")
    if DEVICE.fullmatch(name):
        name = f"_{name}"
    return name or _NAMELESS


class FreeNames:
    """Names of files that are unused in a gathered folder, on any file system.

    Parameters
    ----------
    folder : pathlib.Path
        The folder.
    taken : iterable of str
        Files relative to it that have a name already, also those that are gone.
    """

    def __init__(self, folder: Path, taken: Iterable[str]) -> None:
        self._folder = folder
        self._taken = {_key(file) for file in taken}
        self._listed: set[str] = set()
        self._number: dict[str, int] = {}

    def take(self, place: str, address: str, suffix: str) -> str:
        """Return an unused file, relative to the folder, and reserve it.

        Parameters
        ----------
        place : str
            The folder below the folder; "." for the folder itself.
        address : str
            What it is named after.
        suffix : str
            The suffix, with a dot.  Names that differ in nothing else count as used, since the
            others may be found by their names without a suffix.
        """
        if place not in self._listed:
            self._listed.add(place)
            with suppress(FileNotFoundError, NotADirectoryError):
                names = os.listdir(self._folder / place)  # noqa: PTH208 (names are all it needs)
                self._taken.update(_key(str(PurePosixPath(place, name))) for name in names)
        stem = stem_of(address)
        first = _key(str(PurePosixPath(place, stem + suffix)))
        # Thousands of addresses may differ in their query alone, and so have one name.
        number = self._number.get(first, 1)
        file = PurePosixPath(place, f"{stem} ({number}){suffix}" if number > 1 else stem + suffix)
        while _key(str(file)) in self._taken:
            number += 1
            file = PurePosixPath(place, f"{stem} ({number}){suffix}")
        self._number[first] = number
        self._taken.add(_key(str(file)))
        return str(file)


def _key(file: str) -> str:
    """Return what is equal for files that differ in their suffix, or not at all on some systems."""
    return alike(str(PurePosixPath(file).with_suffix("")))
