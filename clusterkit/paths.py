"""Write any path as valid text: a name that is not UTF-8 reaches Python with lone surrogates."""

import re

# A backslash is written out only where it would read as a surrogate, or as itself written out.
_TO_ESCAPE = re.compile(r"[\udc80-\udcff]|\\(?=u(?:dc[89a-f][0-9a-f]|005c))")
_ESCAPED = re.compile(r"\\u(dc[89a-f][0-9a-f]|005c)")


def escape_path(path: str) -> str:
    r"""Write a path as valid Unicode: each byte that is not UTF-8 becomes ``\udcxx``."""
    return _TO_ESCAPE.sub(lambda match: f"\\u{ord(match[0]):04x}", path)


def unescape_path(text: str) -> str:
    """Undo :func:`escape_path`."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
