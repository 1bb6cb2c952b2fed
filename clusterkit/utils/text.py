"""Results as lines of text."""

from collections.abc import Iterable

from clusterkit.utils.paths import printable


def plural(number: int, noun: str) -> str:
    """Return a number of things, such as "1 image" or "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def join_lines(lines: Iterable[object]) -> str:
    """Join lines to a text; a path with a line end in it stays one line."""
    return "\n".join(map(printable, lines))
