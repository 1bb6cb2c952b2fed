"""A web server on this machine for tests of gathering: it serves, misbehaves, and remembers."""

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
    """Return a picture that is unlike those of other seeds."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def gzip_bomb(n_bytes: int, start: bytes = b"") -> bytes:
    """Return a little data that unpack to very many."""
    return gzip.compress(start + bytes(n_bytes))


@dataclass
class Reply:
    """How an address is answered.

    Attributes
    ----------
    body : bytes
        What is sent.
    status : int
        The status.
    headers : mapping
        Beside the length, which is announced if the manner is "whole" or "cut".
    manner : {"whole", "cut", "endless", "drip", "mute", "late", "raw"}
        All at once; only half of it; the body again and again; a byte at a time; no answer at
        all; a byte of the head at a time; the body as it is, without a head.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: str = "whole"


@dataclass
class Request:
    """What was asked for, when, and for how long it was under way."""

    host: str
    path: str
    headers: dict[str, str]
    start: float
    end: float = float("inf")


class PictureServer(ThreadingHTTPServer):
    """Answers by a table of paths.

    Parameters
    ----------
    replies : mapping
        A reply for each path, or a function of the number of requests for it before that returns
        one; anything else is 404.
    ip : str
        Where it listens.
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
        """Say nothing of clients that leave."""

    def url(self, path: str, host: str | None = None) -> str:
        """Return an address of this server, under a name if one is given."""
        return f"http://{host or self.server_address[0]}:{self.server_port}{path}"

    def asked(self, path: str | None = None) -> int:
        """Return how often a path was asked for; by default any but robots.txt."""
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
    """Run a server within the block."""
    with PictureServer(replies, ip) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.is_over.set()
            server.shutdown()
