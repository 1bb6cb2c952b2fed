"""The standard streams of a command: open, of any encoding, and never in the way of its work."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any


class PatientStream:
    """A stream for notices: what cannot be written any more is dropped.

    The reader of notices may leave, as in ``2>&1 | less``, and a terminal may be closed; the work
    goes on.

    Parameters
    ----------
    stream : text stream
        Where to write.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write if possible."""
        with suppress(OSError, ValueError):  # ValueError: it was closed.
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def open_streams() -> Iterator[None]:
    """Give a command all three standard streams, able to write any text."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_nowhere(descriptor))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with redirect_stderr(PatientStream(sys.stderr)):
        yield


def drop_stdout() -> None:
    """Send what is still to be written on stdout to nowhere, since nobody reads it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _open_nowhere(descriptor: int) -> Any:
    """Open a standard stream that was closed, and take its number.

    The next file that is opened would get that number, and with it what libraries write to their
    standard error.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(descriptor)
    except OSError:
        os.dup2(nowhere, descriptor)
    if nowhere > 2:
        os.close(nowhere)
    return open(os.devnull, "r" if descriptor == 0 else "w", encoding="utf-8")  # noqa: PTH123
