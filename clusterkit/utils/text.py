"""Text of results, messages and documents: paths of any name, JSON, numbers and lists.

In Python, names that are not UTF-8 contain lone surrogates, which cannot be written to files or
terminals.  Control characters in names could move the cursor or display another name.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A backslash is escaped only if it would read as an escaped surrogate or backslash.
_TO_ESCAPE = re.compile(r"[\udc80-\udcff]|\\(?=u(?:dc[89a-f][0-9a-f]|005c))")
_ESCAPED = re.compile(r"\\u(dc[89a-f][0-9a-f]|005c)")
# In other encodings, such as with LC_ALL=C, Python decodes bytes beyond ASCII to surrogates.
_IS_UTF8 = sys.getfilesystemencoding() == "utf-8"
# Control characters, bidirectional and invisible characters, and line ends.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Zero-width joiners are needed for Persian and emoji.
_PRINTABLE = {"\u200c", "\u200d"}


def escape_path(path: str) -> str:
    r"""Escape a path to valid Unicode: each byte that is not UTF-8 becomes ``\udcxx``.

    The result does not depend on the locale.
    """
    return _TO_ESCAPE.sub(lambda match: f"\\u{ord(match[0]):04x}", _as_utf8(path))


def unescape_path(text: str) -> str:
    """Undo :func:`escape_path`."""
    path = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    return path if _IS_UTF8 else os.fsdecode(path.encode("utf-8", "surrogateescape"))


def in_shell(path: str | os.PathLike[str]) -> str:
    """Return a path as a command line takes it, for a message that names a command.

    Examples
    --------
    >>> in_shell("my photos")
    "'my photos'"
    """
    return shlex.quote(str(path))


def printable(text: object) -> str:
    r"""Return text with paths as one line that is safe to print on a terminal.

    Unprintable characters are escaped as in Python, such as ``\x1b`` or ``\n``.

    Parameters
    ----------
    text : object
        Converted with :class:`str`.

    Returns
    -------
    str
        A single line.

    Examples
    --------
    >>> print(printable("two\nlines.png"))
    two\nlines.png
    """
    return _escape(_as_utf8(str(text)), lambda letter: repr(letter)[1:-1])


def json_text(document: Any, *, only_ascii: bool = False, indent: int | None = 2) -> str:
    """Serialise a document to standard JSON.

    Parameters
    ----------
    document : dict
        JSON-able values and paths.  Strings are escaped by :func:`escape_path`; NaN and infinity
        become null.
    only_ascii : bool
        Whether to escape all characters beyond ASCII.
    indent : int or None
        Spaces before each value; None for one line.

    Returns
    -------
    str
        JSON without a final line break.
    """
    separators = None if indent else (",", ":")
    text = json.dumps(
        _json_value(document), indent=indent, separators=separators, ensure_ascii=only_ascii
    )
    # Outside of strings, JSON contains no such characters except line breaks.
    lines = text.split("\n")
    return "\n".join(_escape(line, lambda letter: json.dumps(letter)[1:-1]) for line in lines)


def without_nan(numbers: NDArray[np.floating]) -> list[Any]:
    """Return an array as nested lists with None for NaN and infinity, which JSON does not support.

    Examples
    --------
    >>> import numpy as np
    >>> without_nan(np.array([[1.0, np.nan]]))
    [[1.0, None]]
    """
    import numpy as np

    plain = numbers.astype(object)
    plain[~np.isfinite(numbers)] = None
    return plain.tolist()


def plural(number: int, noun: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> plural(1, "image"), plural(1234, "image")
    ('1 image', '1,234 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float, decimals: int = 0) -> str:
    """Return a share as a percentage: 0 % only for nothing, 100 % only for the whole.

    A share near either gets as many more decimals as it takes.  Within 1e-6 it is taken for it,
    since sums of float32 differ by so much.

    Examples
    --------
    >>> percent(0.5), percent(0.9996), percent(1), percent(0.0001)
    ('50 %', '99.96 %', '100 %', '0.01 %')
    """
    is_between = 1e-6 <= share <= 1 - 1e-6
    while is_between and round(100 * share, decimals) in (0, 100):
        decimals += 1
    return f"{round(100 * share, decimals):g} %"


def join_lines(lines: Iterable[object]) -> str:
    """Join lines to a text; a path with a line end in it stays one line."""
    return "\n".join(map(printable, lines))


def first_few(items: Iterable[str], max_items: int = 3, *, separator: str = ", ") -> str:
    """Return the first items as text: "a, b, c and 4 more"."""
    items = list(items)
    more = f" and {len(items) - max_items:,} more" if len(items) > max_items else ""
    return separator.join(items[:max_items]) + more


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question to append to a message about an unknown name; empty if none is close.

    Examples
    --------
    >>> did_you_mean("clutser", ["cluster", "elbow"])
    '. Did you mean cluster?'
    """
    close = difflib.get_close_matches(name, dict.fromkeys(known), n=3)
    return f". Did you mean {' or '.join(close)}?" if close else ""


def _json_value(value: Any) -> Any:
    """Convert values that JSON does not support."""
    if isinstance(value, dict):
        return {_json_value(str(key)): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        # Other surrogates do not come from file systems, but may be in any string.
        return escape_path(value).encode("utf-8", "backslashreplace").decode()
    return value


def _as_utf8(path: str) -> str:
    """Decode the bytes of a path as UTF-8."""
    if not _IS_UTF8:
        with suppress(UnicodeEncodeError):  # not a path in this locale
            return os.fsencode(path).decode("utf-8", "surrogateescape")
    return path


def _escape(text: str, write: Callable[[str], str]) -> str:
    """Escape the unprintable characters of a text."""
    if text.isprintable():
        return text
    return "".join(
        write(letter)
        if unicodedata.category(letter) in _UNPRINTABLE and letter not in _PRINTABLE
        else letter
        for letter in text
    )
