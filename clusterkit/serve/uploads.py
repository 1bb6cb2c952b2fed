"""Read the pictures of a request, and count them while they arrive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from clusterkit.serve.limits import Held, Limits, RefusedError

if TYPE_CHECKING:
    from starlette.requests import Request

# Errors of a form are answered; the parser would also print them.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())
# The name of the form's field, as in the protocol of lightly-studio-serve.
FIELD = "files"
_MAX_HEADERS, _MAX_HEADER_BYTES = 8, 4096
_LONGEST_NAME = 255


class Upload(NamedTuple):
    """A picture that was sent.

    Attributes
    ----------
    name : str
        The name that the client gave it; empty without one.
    data : bytes
        The content of the file.
    """

    name: str
    data: bytes


@asynccontextmanager
async def pictures_of(request: Request, limits: Limits, held: Held) -> AsyncIterator[list[Upload]]:
    """Read the pictures of a multipart request; ``held`` counts their bytes within the block.

    Raises
    ------
    RefusedError
        If the request has no pictures, or exceeds a limit.
    """
    form = _Form(_find_boundary(request), limits.pictures)
    taken = 0
    try:
        try:
            async with asyncio.timeout(limits.seconds):
                async for chunk in request.stream():
                    if taken + len(chunk) > limits.body_bytes:
                        raise too_large(limits)
                    held.take(len(chunk))
                    taken += len(chunk)
                    form.write(chunk)
        except TimeoutError:
            raise RefusedError(
                408, f"the body did not arrive within {limits.seconds:g} seconds"
            ) from None
        yield form.finish()
    finally:
        form.close()
        held.give_back(taken)


def too_large(limits: Limits) -> RefusedError:
    """Return the error for a body that is too large."""
    return RefusedError(
        413, f"the body is larger than {limits.body_bytes:,} bytes: send fewer pictures at a time"
    )


def _find_boundary(request: Request) -> bytes:
    """Return the boundary of the parts from the header."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise RefusedError(
            415,
            "the pictures must come as multipart/form-data, in a field called "
            f"{FIELD}. Received: {kind.decode('latin-1') or 'no content type'}",
        )
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RefusedError(415, "the body must not be compressed")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise RefusedError(400, "the content type must name the boundary of the parts")
    return boundary


class _Form:
    """The parts of a body, as they arrive."""

    def __init__(self, boundary: bytes, max_pictures: int) -> None:
        self.max_pictures = max_pictures
        self.pictures: list[Upload] = []
        self.content: list[bytes] = []
        self.header = self.value = b""
        self.headers: dict[bytes, bytes] = {}
        self.is_whole = False
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_part_data": self._add,
            "on_part_end": self._end,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_end": self._finish,
        }
        self.callbacks: dict[str, Any] = callbacks
        try:
            self.parser = MultipartParser(
                boundary,
                callbacks,
                max_header_count=_MAX_HEADERS,
                max_header_size=_MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise _malformed(error) from error

    def write(self, chunk: bytes) -> None:
        """Read a part of the body."""
        if not chunk:
            return
        try:
            self.parser.write(chunk)
        except FormParserError as error:
            raise _malformed(error) from error

    def finish(self) -> list[Upload]:
        """Return the pictures of a body that is complete."""
        if not self.is_whole:
            raise RefusedError(400, "the body ends too early")
        if not self.pictures:
            raise RefusedError(422, f"send at least one picture, in a field called {FIELD}")
        return self.pictures

    def close(self) -> None:
        """Release everything at once, since the parser and this form refer to each other."""
        self.callbacks.clear()
        self.content, self.pictures = [], []

    def _begin(self) -> None:
        if len(self.pictures) == self.max_pictures:
            raise RefusedError(413, f"send at most {self.max_pictures} pictures at a time")
        self.content, self.headers = [], {}

    def _add(self, data: bytes, start: int, end: int) -> None:
        self.content.append(data[start:end])

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def _end_header(self) -> None:
        self.headers[self.header.lower()] = self.value
        self.header = self.value = b""

    def _end(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition", b""))
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field != FIELD:
            raise RefusedError(
                422, f"the field of the pictures must be called {FIELD}. Received: {field[:99]!r}"
            )
        if b"filename" not in options:
            raise RefusedError(422, "each part must be a file, with the parameter filename")
        name = options[b"filename"].decode("utf-8", "replace")[:_LONGEST_NAME]
        self.pictures.append(Upload(name, b"".join(self.content)))
        self.content = []

    def _finish(self) -> None:
        self.is_whole = True


def _malformed(error: Exception) -> RefusedError:
    """Return the error for a body that is not a form."""
    return RefusedError(400, f"the body is not a multipart form: {error}")
