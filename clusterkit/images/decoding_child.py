"""Main program of the process that decodes images of rare or risky formats.

It reads requests from standard input and writes answers to standard output, in the format of
:mod:`clusterkit.images.decoding_apart`.  It imports no network library.
"""

import contextlib
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import AvifImagePlugin, Image

from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_here
from clusterkit.images.decoding_apart import receive, send

# Allowance above the limit of an image for the decoders' threads and the allocator.
_SPARE_BYTES = 2**29
_MAX_LETTERS = 1000


def main() -> None:
    """Answer requests until the input ends."""
    # Ctrl-C ends the parent, which ends this process by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The parent checks the memory limit.
    Image.MAX_IMAGE_PIXELS = None
    # Several processes decode at the same time.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.options.DECODE_THREADS = 1
    requests, answers = sys.stdin.buffer, _take_output()
    own_bytes = _data_bytes()
    send(answers, {"ready": True})
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request, data = receive(requests)
            if own_bytes and request["limit"] is not None:
                _limit_memory(own_bytes + int(request["limit"]) + _SPARE_BYTES)
            _answer(request, bytes(data), requests, answers)


def _answer(request: dict[str, Any], data: bytes, requests: BinaryIO, answers: BinaryIO) -> None:
    """Decode one image, and send it or the reason of the failure."""

    def claim(n_bytes: float, what: str) -> None:
        send(answers, {"bytes": n_bytes, "what": what})
        granted, _ = receive(requests)
        if granted.get("error") is not None:
            raise ImageError(granted["error"])

    try:
        size = tuple(request["size"]) if request["size"] else None
        image, shape = decode_here(data, size, claim, resize=request["resize"])
    except ImageError as error:
        send(answers, {"error": str(error)[:_MAX_LETTERS]})
    else:
        send(answers, {"image": image.shape[:2], "shape": shape}, np.ascontiguousarray(image))


def _take_output() -> BinaryIO:
    """Reserve standard output for answers, and discard what libraries print."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return answers


def _data_bytes() -> int:
    """Return the private memory mapped by this process; 0 if unknown."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmData:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _limit_memory(n_bytes: int) -> None:
    """Make allocations beyond a limit fail."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
