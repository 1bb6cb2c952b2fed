"""A web server on this machine for tests of gathering, which can misbehave and logs requests."""

import gzip
import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int = 0, kind: str = "JPEG", side: int = 24, **options: Any) -> bytes:
    """Return a picture that differs from those of other seeds."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def gzip_bomb(n_bytes: int, start: bytes = b"") -> bytes:
    """Return a small body that expands to a very large one."""
    return gzip.compress(start + bytes(n_bytes))


@dataclass
class Reply:
    """Answer to a request.

    Attributes
    ----------
    body : bytes
        Content of the answer.
    status : int
        Status code.
    headers : mapping
        Further headers; the length is sent if the manner is "whole" or "cut".
    manner : {"whole", "cut", "endless", "drip", "mute", "late", "raw"}
        How the answer is sent: all at once; only half of the body; the body repeated forever; one
        byte at a time; not at all; one byte of the head at a time; the body without a head.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: str = "whole"


@dataclass
class Request:
    """A request in the log of the server, with its start and end."""

    host: str
    path: str
    headers: dict[str, str]
    start: float
    end: float = float("inf")


class PictureServer(ThreadingHTTPServer):
    """Server that answers by a table of paths.

    Parameters
    ----------
    replies : mapping
        A reply for each path, or a function that returns one, given the number of earlier requests
        for the path; other paths are answered by 404.
    ip : str
        Address on which the server listens.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, replies: Mapping[str, Reply | Callable[[int], Reply]], ip: str = "127.0.0.1"
    ) -> None:
        super().__init__((ip, 0), _Handler)
        self.replies = dict(replies)
        self.requests: list[Request] = []
        self.n_connections = 0
        self.is_over = threading.Event()
        self.lock = threading.Lock()

    def verify_request(self, *_: Any) -> bool:
        self.n_connections += 1
        return True

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that disconnect."""

    def url(self, path: str, host: str | None = None) -> str:
        """Return an address on this server, under a host name if one is given."""
        return f"http://{host or self.server_address[0]}:{self.server_port}{path}"

    def asked(self, path: str | None = None) -> int:
        """Return the number of requests for a path; by default, for any except robots.txt."""
        with self.lock:
            paths = [request.path for request in self.requests]
        return sum(one != "/robots.txt" if path is None else one == path for one in paths)


class _Handler(BaseHTTPRequestHandler):
    server: PictureServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(headers["host"], self.path, headers, time.monotonic())
        with self.server.lock:
            before = sum(one.path == self.path for one in self.server.requests)
            self.server.requests.append(request)
        reply = self.server.replies.get(self.path, Reply(b"nothing here", 404))
        reply = reply(before) if callable(reply) else reply
        with suppress(OSError):
            self._send(reply)
        request.end = time.monotonic()

    def _send(self, reply: Reply) -> None:
        if reply.manner == "mute":
            self.server.is_over.wait()
            return
        if reply.manner == "raw":
            self.wfile.write(reply.body)
            self.close_connection = True
            return
        if reply.manner == "late":
            for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000:
                self.wfile.write(bytes([byte]))
                if self.server.is_over.wait(0.05):
                    return
        self.send_response(reply.status)
        if reply.manner in ("whole", "cut"):
            self.send_header("Content-Length", str(len(reply.body)))
        else:
            self.close_connection = True
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if reply.manner == "whole":
            self.wfile.write(reply.body)
        elif reply.manner == "cut":
            self.wfile.write(reply.body[: len(reply.body) // 2])
            self.close_connection = True
        elif reply.manner == "endless":
            while not self.server.is_over.is_set():
                self.wfile.write(reply.body)
        else:
            for byte in reply.body:
                self.wfile.write(bytes([byte]))
                if self.server.is_over.wait(0.05):
                    return

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def serving(
    replies: Mapping[str, Reply | Callable[[int], Reply]], ip: str = "127.0.0.1"
) -> Iterator[PictureServer]:
    """Run a server within a with statement."""
    with PictureServer(replies, ip) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.is_over.set()
            server.shutdown()
