"""Paths as text: any name, in files, in JSON and on a terminal.

A name that is not UTF-8 reaches Python with lone surrogates, which no file and no terminal takes;
one with control characters would move the cursor, or show a name that is not there.
"""

import json
import math
import os
import re
import sys
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

# A backslash is written out only where it would read as a surrogate, or as itself written out.
_TO_ESCAPE = re.compile(r"[\udc80-\udcff]|\\(?=u(?:dc[89a-f][0-9a-f]|005c))")
_ESCAPED = re.compile(r"\\u(dc[89a-f][0-9a-f]|005c)")
# Elsewhere, as with LC_ALL=C, Python takes each byte beyond ASCII for an unknown one.
_IS_UTF8 = sys.getfilesystemencoding() == "utf-8"
# Control characters, those that order text from right to left or do not show, and line ends.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Zero-width joiners, which Persian and emoji need.
_PRINTABLE = {"\u200c", "\u200d"}


def escape_path(path: str) -> str:
    r"""Write a path as valid Unicode: each byte that is not UTF-8 becomes ``\udcxx``.

    It is the same in every locale.
    """
    return _TO_ESCAPE.sub(lambda match: f"\\u{ord(match[0]):04x}", _as_utf8(path))


def unescape_path(text: str) -> str:
    """Undo :func:`escape_path`: return a path that this process can open."""
    path = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    return path if _IS_UTF8 else os.fsdecode(path.encode("utf-8", "surrogateescape"))


def printable(text: object) -> str:
    r"""Write a path, or a line with paths in it, as one line that does nothing to a terminal.

    What does not show is written as in Python, such as ``\x1b`` or ``\n``.

    Parameters
    ----------
    text : object
        Printed as :class:`str` has it.

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


def json_text(document: Any, *, only_ascii: bool = False) -> str:
    """Write a document as JSON that every reader takes.

    Parameters
    ----------
    document : dict
        JSON-able values, and paths.  Texts are written by :func:`escape_path`; NaN and infinity,
        which JSON does not know, become null.
    only_ascii : bool
        Whether to escape all other characters, too.

    Returns
    -------
    str
        The text, without a line break at its end.
    """
    text = json.dumps(_plain(document), indent=2, ensure_ascii=only_ascii)
    # Outside of its strings JSON has no such characters but line breaks.
    lines = text.split("\n")
    return "\n".join(_escape(line, lambda letter: json.dumps(letter)[1:-1]) for line in lines)


def is_gone(file: str | os.PathLike[str]) -> bool:
    """Tell whether a file is surely not there; one that is out of reach may be."""
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True  # ValueError: a name that no file can have.
    except OSError:
        pass
    return False


def _plain(value: Any) -> Any:
    """Replace what JSON cannot hold."""
    if isinstance(value, dict):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        # No file system gives other surrogates, but a text of any origin may hold them.
        return escape_path(value).encode("utf-8", "backslashreplace").decode()
    return value


def _as_utf8(path: str) -> str:
    """Read the bytes of a path as UTF-8, as other locales do."""
    if not _IS_UTF8:
        with suppress(UnicodeEncodeError):  # This text is no path of this locale.
            return os.fsencode(path).decode("utf-8", "surrogateescape")
    return path


def _escape(text: str, write: Callable[[str], str]) -> str:
    """Write out the characters of a text that do not show, or do something else."""
    if text.isprintable():
        return text
    return "".join(
        write(letter)
        if unicodedata.category(letter) in _UNPRINTABLE and letter not in _PRINTABLE
        else letter
        for letter in text
    )
