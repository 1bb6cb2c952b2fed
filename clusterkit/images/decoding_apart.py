"""Decode images in separate processes, so that a crash or hang affects a single image.

Processes are started on demand and reused.  They run :mod:`clusterkit.images.decoding_child` and do
not import the user's script.
"""

import atexit
import contextlib
import json
import math
import multiprocessing.spawn
import os
import signal
import struct
import subprocess
import sys
import threading
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ImageError, InvalidInputError
from clusterkit.images.decoding_memory import Claim, memory_limit

TIME_VARIABLE = "CLUSTERKIT_IMAGE_SECONDS"
_DEFAULT_SECONDS = 120.0
_MAIN = "from clusterkit.images.decoding_child import main; main()"
_WAIT = "from clusterkit.utils.priority import run_while_idle; run_while_idle(); "
# Factor of the time limit for a process of low priority.
_PATIENCE = 3
# Enough for importing NumPy and Pillow from a slow disk.
_START_SECONDS = 300.0
# Time for a process that closed its output to exit, to get its status.
_END_SECONDS = 5.0
_LENGTHS = struct.Struct("<QQ")
# Limit for an answer without pixels, in case the process's memory is corrupted.
_MAX_HEAD_BYTES = 2**16


def can_decode_apart() -> bool:
    """Return whether a Python process can be started, unlike in a frozen program."""
    return bool(multiprocessing.spawn.get_executable()) and not getattr(sys, "frozen", False)


def decode_apart(
    data: bytes,
    size: tuple[int, int] | None,
    claim: Claim,
    *,
    resize: str,
    in_background: bool = False,
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode an image in a separate process; see :func:`~clusterkit.images.decoding.decode_image`.

    Raises
    ------
    ImageError
        If the decoder fails, crashes, or takes longer than ``CLUSTERKIT_IMAGE_SECONDS``, by default
        120.
    """
    while True:
        child = _take_child(in_background)
        was_used = child.was_used
        try:
            return child.decode(data, size, claim, resize)
        except _CrashError as error:
            # An earlier image may have corrupted the process: try again in a new one.
            if not was_used:
                raise ImageError(str(error)) from None
        except ImageError:
            raise
        except BaseException:
            child.end()
            raise
        finally:
            if child.is_running:
                _idle[in_background].append(child)


class _CrashError(ImageError):
    """The process ended, or sent an invalid answer."""


class _Child:
    """One decoding process."""

    def __init__(self, *, in_background: bool = False) -> None:
        wait = _WAIT if in_background else ""
        code = f"import sys; sys.path[:] = {sys.path!r}; {wait}{_MAIN}"
        # One thread each, since there are several processes.
        changes = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        # Return the memory of pixels to the system at once.
        changes["MALLOC_MMAP_THRESHOLD_"] = "1000000"
        try:
            self._process = subprocess.Popen(
                [os.fsdecode(multiprocessing.spawn.get_executable()), "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **changes},
                # No window on Windows.
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise ImageError(
                f"its decoder could not be started: {error.strerror or error}"
            ) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._answers: BinaryIO = self._process.stdout  # type: ignore[assignment]
        self.is_running, self.was_used, self._in_background = True, False, in_background
        with self._ending_after(_START_SECONDS, "its decoder did not start"):
            receive(self._answers)

    def decode(
        self, data: bytes, size: tuple[int, int] | None, claim: Claim, resize: str
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Decode one file in the process."""
        self.was_used = True
        seconds = _time_limit() * (_PATIENCE if self._in_background else 1)
        slow = (
            f"decoding took more than {seconds:g} seconds; {TIME_VARIABLE} in the environment "
            "sets the limit"
        )
        limit = memory_limit()
        head: dict[str, Any] = {"size": size, "resize": resize}
        head["limit"] = limit if math.isfinite(limit) else None
        with self._ending_after(seconds, slow):
            send(self._requests, head, data)
            answer = self._receive(limit)
        refused: ImageError | None = None
        while "bytes" in answer:
            granted: dict[str, Any] = {}
            try:
                # Waiting for the memory of other images does not count.
                claim(float(answer["bytes"]), str(answer["what"]))
            except ImageError as error:
                refused, granted = error, {"error": str(error)}
            with self._ending_after(seconds, slow):
                send(self._requests, granted)
                answer = self._receive(limit)
        if "error" in answer:
            raise refused or ImageError(str(answer["error"]))
        height, width = answer["shape"]
        return answer["pixels"], (int(height), int(width))

    def _receive(self, limit: float) -> dict[str, Any]:
        """Receive an answer with its pixels."""
        answer, pixels = receive(self._answers, max_bytes=limit)
        if "image" in answer:
            height, width = answer["image"]
            answer["pixels"] = np.frombuffer(pixels, np.uint8).reshape(int(height), int(width), 3)
        return answer

    def _ending_after(self, seconds: float, slow: str) -> "_Watch":
        """Return a context that ends the process after some time, with the reason ``slow``."""
        return _Watch(self, seconds, slow)

    def end(self, patience: float = 0.0) -> int:
        """Terminate the process, unless it ends within ``patience``, and return its exit status."""
        self.is_running = False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._process.kill()
        status = self._process.wait()
        for stream in (self._requests, self._answers):
            # Unsent data can be discarded.
            with contextlib.suppress(OSError):
                stream.close()
        return status


class _Watch:
    """Context manager that limits the time of an answer and converts errors to ImageError."""

    def __init__(self, child: _Child, seconds: float, slow: str) -> None:
        self._child, self._slow = child, slow
        self._is_late = False
        self._timer = threading.Timer(seconds, self._kill)
        self._timer.daemon = True

    def _kill(self) -> None:
        """End the process; its pending answer then ends early."""
        self._is_late = True
        self._child._process.kill()

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if kind is None and not self._is_late:
            return
        if self._is_late:
            self._child.end()
            raise ImageError(self._slow) from None
        if kind and issubclass(kind, EOFError | OSError | ValueError | KeyError | TypeError):
            raise _CrashError(_crash(self._child.end(_END_SECONDS))) from None


def _crash(status: int) -> str:
    """Describe how a decoder ended."""
    try:
        how = signal.Signals(-status).name
    except ValueError:
        how = f"exit status {status}"
    return f"damaged: its decoder crashed on it ({how})"


def _time_limit() -> float:
    """Return the time limit for one image in seconds."""
    value = os.environ.get(TIME_VARIABLE, str(_DEFAULT_SECONDS))
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= threading.TIMEOUT_MAX:
        raise InvalidInputError(
            f"{TIME_VARIABLE} must be a positive number of seconds. Received: {value!r}"
        )
    return seconds


# Idle processes, by whether they have low priority.  Appending and popping are atomic.
_idle: dict[bool, list[_Child]] = {False: [], True: []}
_of_parent: list[list[_Child]] = []


def _take_child(in_background: bool) -> _Child:
    """Return an idle process, or a new one."""
    try:
        return _idle[in_background].pop()
    except IndexError:
        return _Child(in_background=in_background)


@atexit.register
def _end_all() -> None:
    """Terminate idle processes."""
    for children in _idle.values():
        while children:
            children.pop().end()


def _forget_parents() -> None:
    """Drop the processes after a fork, since the parent uses the same pipes."""
    for children in _idle.values():
        _of_parent.append(children.copy())
        children.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)


def send(stream: BinaryIO, head: dict[str, Any], body: bytes | NDArray[np.uint8] = b"") -> None:
    """Write a message: a JSON header and bytes."""
    words = json.dumps(head).encode()
    content = np.frombuffer(body, np.uint8) if len(body) else np.empty(0, np.uint8)
    stream.write(_LENGTHS.pack(len(words), len(content)) + words)
    stream.write(content.data)
    stream.flush()


def receive(stream: BinaryIO, *, max_bytes: float = math.inf) -> tuple[dict[str, Any], bytearray]:
    """Read a message; raise EOFError at the end of the stream, ValueError if it is invalid."""
    n_words, n_bytes = _LENGTHS.unpack(_read(stream, _LENGTHS.size))
    if n_words > _MAX_HEAD_BYTES or n_bytes > max_bytes:
        raise ValueError("no message")
    head = json.loads(bytes(_read(stream, n_words)))
    return head, _read(stream, n_bytes)


def _read(stream: BinaryIO, n_bytes: int) -> bytearray:
    """Read exactly ``n_bytes`` bytes."""
    content = bytearray(n_bytes)
    view, position = memoryview(content), 0
    while position < n_bytes:
        got = stream.readinto(view[position:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        position += got
    return content
