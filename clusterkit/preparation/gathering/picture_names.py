"""File names of gathered pictures, from their addresses, which are not trusted."""

import unicodedata
from pathlib import PurePosixPath
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


def without_suffix(file: str) -> str:
    """Return what is equal for files that differ in their suffix, or not at all on some systems.

    Files may be found by their names without a suffix.
    """
    return alike(str(PurePosixPath(file).with_suffix("")))
