"""Connections to public addresses only.

A name is resolved once per connection, its IP addresses are checked, and the connection goes to
exactly the checked address, so that a name which changes its address in between gains nothing.  All
requests go this way, also after redirects, and without proxies.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

import httpcore
import httpx

from clusterkit.errors import InvalidInputError

Network = IPv4Network | IPv6Network
# Returns the IP addresses of a host and port.
Resolve = Callable[[str, int], Sequence[str]]

EVERYWHERE = "all"
# Errors of a connection; the guard's own error is not among them.
NETWORK_ERRORS = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpx.HTTPError,
    httpx.InvalidURL,
    OSError,
    UnicodeError,  # of httpx, for the host of a redirect, such as xn--a.org
)
# With several addresses of a host, only the last may use all of the time.
_SECONDS_PER_ADDRESS = 5.0
# Translates IPv4 for networks without it (RFC 6052): as good as the IPv4 address within.
_NAT64 = IPv6Network("64:ff9b::/96")
# IPv4 addresses embedded in IPv6: mapped, compatible, local NAT64, Teredo and 6to4.
_DISGUISED = [
    IPv6Network(text)
    for text in ("::ffff:0:0/96", "::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
]
# Not public in the registry of IANA; Python's own list differs between its versions.
_SPECIAL = [
    ip_network(text)
    for text in (
        "192.0.0.0/24",
        "100::/64",
        "2001:2::/48",
        "2001:10::/28",
        "3fff::/20",
        "5f00::/16",
    )
]
_KINDS = {
    "is_unspecified": "unspecified",
    "is_loopback": "loopback",
    "is_link_local": "link-local",
    "is_multicast": "multicast",
    "is_private": "private",
    "is_reserved": "reserved",
    "is_site_local": "site-local",
}


class RefusedAddressError(Exception):
    """A connection would not go to a public address; the message is the reason."""


def parse_networks(texts: Iterable[str]) -> list[Network]:
    """Return the networks that may be accessed although they are not public.

    Parameters
    ----------
    texts : iterable of str
        IP addresses, networks such as ``192.168.1.0/24``, and ``"all"``.

    Raises
    ------
    InvalidInputError
        If one is neither.
    """
    found: list[Network] = []
    for text in texts:
        if text == EVERYWHERE:
            found += [IPv4Network("0.0.0.0/0"), IPv6Network("::/0")]
            continue
        try:
            found.append(ip_network(text))
        except ValueError:
            raise InvalidInputError(
                "--allow-private must be an IP address, a network such as 192.168.1.0/24, or "
                f"{EVERYWHERE}. Received: {text!r}"
            ) from None
    return found


def why_refused(address: str, allowed: Iterable[Network] = ()) -> str | None:
    """Return why an IP address must not be connected to, or None if it may.

    Parameters
    ----------
    address : str
        The IP address.
    allowed : iterable of networks
        May be connected to although they are not public.

    Examples
    --------
    >>> why_refused("10.0.0.1")
    '10.0.0.1 is not a public address (private)'
    >>> why_refused("9.9.9.9")
    """
    ip = ip_address(address)
    if any(ip in network for network in allowed):
        return None
    kind = _kind(ip)
    return None if kind is None else f"{address} is not a public address ({kind})"


def _kind(ip: IPv4Address | IPv6Address) -> str | None:
    """Return the kind of a non-public address, or None if it is public."""
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            return _kind(IPv4Address(int(ip) & 0xFFFFFFFF))
        if int(ip) > 1 and any(ip in network for network in _DISGUISED):
            return "IPv4 in disguise"
    kinds = (kind for name, kind in _KINDS.items() if getattr(ip, name, False))
    is_public = ip.is_global and not any(ip in network for network in _SPECIAL)
    return next(kinds, None if is_public else "for special use")


def look_up(host: str, port: int) -> Sequence[str]:
    """Return the IP addresses of a host, as the system orders them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Looks names up, checks the addresses, and connects to them.

    Parameters
    ----------
    allowed : iterable of networks
        May be connected to although they are not public.
    resolve : callable
        Looks a name up.
    """

    def __init__(self, allowed: Iterable[Network], resolve: Resolve | None = None) -> None:
        self._allowed = list(allowed)
        self._resolve = resolve or look_up
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that answers, if all addresses are allowed."""
        try:
            addresses = await _in_thread(self._resolve, host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} cannot be found") from error
        for address in addresses:
            if reason := why_refused(address, self._allowed):
                inside = f"{host} resolves to an internal address: {reason}"
                named = reason if address == host else inside
                raise RefusedAddressError(f"{named} (--allow-private {address} allows it)")
        last: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for number, address in enumerate(addresses, 1):
            limit = timeout
            if number < len(addresses):
                limit = min(timeout or _SECONDS_PER_ADDRESS, _SECONDS_PER_ADDRESS)
            try:
                return await self._backend.connect_tcp(
                    address, port, limit, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                last = failure
        raise last

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raise RefusedAddressError."""
        raise RefusedAddressError(f"{path} is on this machine")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class GuardedTransport(httpx.AsyncBaseTransport):
    """Brings the requests of an ``httpx`` client through a :class:`GuardedBackend`.

    ``httpx`` has no public way to replace the backend of its transport, and relying on a private
    name could silently disable the guard.

    Parameters
    ----------
    allowed, resolve
        See :class:`GuardedBackend`.
    """

    def __init__(self, allowed: Iterable[Network], resolve: Resolve | None = None) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,  # politeness has its own limits
            max_keepalive_connections=64,
            keepalive_expiry=15.0,
            network_backend=GuardedBackend(allowed, resolve),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        url = request.url
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._answer.aclose()


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a thread that can be abandoned, since a look-up cannot be interrupted."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def settle(settler: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            settler(value)

    def work() -> None:
        settler, value = future.set_result, None
        try:
            value = function(*arguments)
        except Exception as error:
            settler, value = future.set_exception, error
        with suppress(RuntimeError):  # nobody waits any more, and the loop is closed
            loop.call_soon_threadsafe(settle, settler, value)

    threading.Thread(target=work, name="clusterkit-look-up", daemon=True).start()
    return await future
