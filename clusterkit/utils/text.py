"""Results as lines of text."""

import difflib
import os
import shlex
from collections.abc import Iterable

from clusterkit.utils.paths import printable


def plural(number: int, noun: str) -> str:
    """Return a number of things, such as "1 image" or "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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


def in_shell(path: str | os.PathLike[str]) -> str:
    """Return a path as a command line takes it, for a message that names a command.

    Examples
    --------
    >>> in_shell("my photos")
    "'my photos'"
    """
    return shlex.quote(str(path))


def join_lines(lines: Iterable[object]) -> str:
    """Join lines to a text; a path with a line end in it stays one line."""
    return "\n".join(map(printable, lines))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question to append to a message about an unknown name; empty if none is close.

    Examples
    --------
    >>> did_you_mean("clutser", ["cluster", "elbow"])
    '. Did you mean cluster?'
    """
    close = difflib.get_close_matches(name, dict.fromkeys(known), n=3)
    return f". Did you mean {' or '.join(close)}?" if close else ""
