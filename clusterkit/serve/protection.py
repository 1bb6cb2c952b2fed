"""Check host, token and number of requests before reading bodies, and add safe headers."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from clusterkit.serve.limits import Held, RefusedError, is_ip_address
from clusterkit.serve.service import Service
from clusterkit.serve.uploads import too_large

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Answers are data, in which a browser must run nothing.
_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# Available without a token, for monitoring; they reveal nothing else.
OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")


class Protection:
    """The application behind checks.

    Parameters
    ----------
    app : ASGI application
        The application for requests that pass.
    service : Service
        Its limits and metrics.
    token : str or None
        What clients must send as ``Authorization: Bearer TOKEN``, or as the password of HTTP Basic,
        which browsers ask for.
    hosts : collection of str
        Names of this server that requests may use, and pages that send them.
    any_address : bool
        Whether they may also use any IP address: a foreign page cannot make a browser send one for
        its own host name.
    """

    def __init__(
        self,
        app: App,
        service: Service,
        *,
        token: str | None,
        hosts: Collection[str],
        any_address: bool,
    ) -> None:
        self.app = app
        self.service = service
        self.token = None if token is None else token.encode()
        self.hosts = frozenset(host.lower() for host in hosts)
        self.any_address = any_address
        self.requests = Held(service.limits.requests, "requests")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or reject it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 0
        # HEAD is answered as GET, without the body: monitors and `curl -I` use it.
        is_head = scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", []))
                given = {name.lower() for name, _ in headers}
                headers += [
                    (name.encode(), value.encode())
                    for name, value in _HEADERS.items()
                    if name.encode() not in given
                ]
                message = {**message, "headers": headers}
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        metrics = self.service.metrics
        is_counted = False
        metrics.active.inc()
        try:
            self._check(scope)
            if scope["path"] not in OPEN_PATHS:
                self.requests.take(1)
                is_counted = True
            await self.app(scope, receive, send_safely)
        except RefusedError as error:
            await _refuse(error, send_safely)
        finally:
            metrics.active.dec()
            if is_counted:
                self.requests.give_back(1)
            route = scope.get("route")
            endpoint = getattr(route, "path", "other")
            metrics.requests.labels(endpoint, str(status or "none")).inc()
            metrics.seconds.labels(endpoint).observe(time.perf_counter() - start)

    def _check(self, scope: Scope) -> None:
        """Raise RefusedError if the request may not pass."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or not self._is_known(hosts[0].decode("latin-1")):
            raise RefusedError(421, "this server does not answer for that host")
        self._check_page(headers)
        if self.token is not None and scope["path"] not in OPEN_PATHS:
            given = headers.get(b"authorization", [])
            if len(given) != 1 or not hmac.compare_digest(_token_of(given[0]), self.token):
                raise RefusedError(401, "send the token of the server as a bearer token")
        for value in headers.get(b"content-length", []):
            # Servers reject invalid lengths before the application sees them.
            if value.isdigit() and int(value[:20]) > self.service.limits.body_bytes:
                raise too_large(self.service.limits)

    def _check_page(self, headers: dict[bytes, list[bytes]]) -> None:
        """Raise RefusedError if a browser sends the request for a page of another host.

        Such a page could not read the answer, but keep the networks busy.
        """
        if headers.get(b"sec-fetch-site") == [b"same-origin"]:
            return  # whose origin some browsers hide, as the page sends no referrer
        for origin in headers.get(b"origin", []):
            if not self._is_known(origin.decode("latin-1").partition("://")[2]):
                raise RefusedError(403, "pages of other hosts may not send requests")

    def _is_known(self, host: str) -> bool:
        """Return whether a Host header names this server."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if name is None or parts.netloc != host or "@" in host:
            return False
        return name in self.hosts or (self.any_address and is_ip_address(name))


def _token_of(authorization: bytes) -> bytes:
    """Return the token of a header: a bearer token, or the password of HTTP Basic."""
    scheme, _, rest = authorization.partition(b" ")
    rest = rest.strip()
    if scheme.lower() == b"bearer":
        return rest
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(rest, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


async def _refuse(error: RefusedError, send: Send) -> None:
    """Send an error as JSON."""
    headers = {"content-type": "application/json", **error.headers}
    body = json.dumps({"error": str(error)}).encode()
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    if error.status == 401:
        pairs += [
            (b"www-authenticate", b"Bearer"),
            (b"www-authenticate", b'Basic realm="clusterkit"'),
        ]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
