"""Standard streams that are open, accept any text, and never interrupt a command."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any


class PatientStream:
    """A stream for notices that discards what cannot be written.

    The reader of notices may end, as in ``2>&1 | less``, and a terminal may be closed; the command
    continues.

    Parameters
    ----------
    stream : text stream
        The underlying stream.
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
    """Open missing standard streams, and let them write any text, within the block."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_nowhere(descriptor))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with redirect_stderr(PatientStream(sys.stderr)):
        yield


def drop_stdout() -> None:
    """Discard further output to stdout after its reader has ended."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _open_nowhere(descriptor: int) -> Any:
    """Open a closed standard stream on the null device, with its usual descriptor.

    Otherwise the next opened file would get that descriptor, and with it the output of libraries.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(descriptor)
    except OSError:
        os.dup2(nowhere, descriptor)
    if nowhere > 2:
        os.close(nowhere)
    return open(os.devnull, "r" if descriptor == 0 else "w", encoding="utf-8")  # noqa: PTH123
