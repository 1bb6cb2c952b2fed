"""Limits of requests, the hosts that they may name, and the error for all others."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from clusterkit.errors import ClusterkitError, InvalidInputError

# Names of this machine that are always accepted.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_MIB = 2**20
_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    The size of a picture is limited by ``CLUSTERKIT_IMAGE_MEMORY`` and ``CLUSTERKIT_IMAGE_SECONDS``
    as everywhere in clusterkit; see :func:`clusterkit.images.decoding.decode_image`.

    Attributes
    ----------
    body_bytes : int
        Size of the body of one request.
    pictures : int
        Pictures in one request.
    seconds : float
        Time in which the body of a request must have arrived.
    idle_seconds : float
        Time in which the headers of a request must have arrived, and in which a client must read
        what is sent to it.  Only :func:`clusterkit.serve.run_server` sees connections, and limits
        it.
    requests : int
        Requests at the same time.
    waiting : int
        Pictures that are being decoded or wait for the network, of all requests.
    large : int
        The large ones among them, which are decoded one after the other.
    held_bytes : int
        Bodies held in memory, of all requests.  Large pictures have half of it.
    """

    body_bytes: int = 64 * _MIB
    pictures: int = 128
    seconds: float = 30.0
    idle_seconds: float = 15.0
    requests: int = 256
    waiting: int = 256
    large: int = 32
    held_bytes: int = 512 * _MIB

    def check(self) -> None:
        """Raise InvalidInputError if a limit would reject everything."""
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise InvalidInputError(
                    f"the limit {field.name} must be above 0. Received: {getattr(self, field.name)}"
                )
        if self.waiting < self.pictures:
            raise InvalidInputError(
                "the limit waiting must be at least that of pictures. Received: "
                f"waiting={self.waiting}, pictures={self.pictures}"
            )


def check_hosts(hosts: Iterable[str]) -> None:
    """Raise InvalidInputError unless all are names or IP addresses: others would never match."""
    for host in hosts:
        if not (_NAME.fullmatch(host) or is_ip_address(host)):
            raise InvalidInputError(
                "a host must be a name or an IP address, without https:// and port. "
                f"Received: {host!r}"
            )


def is_ip_address(host: str) -> bool:
    """Return whether a host is an IP address, rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class RefusedError(ClusterkitError, ValueError):
    """A request that is answered with an error.

    Attributes
    ----------
    status : int
        Status of the answer, from 400.
    retry_after : int or None
        Seconds after which to try again.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class Held:
    """A resource that all requests share, up to a limit.

    Parameters
    ----------
    maximum : int
        The limit.
    what : str
        Name of the resource, for the message.
    """

    def __init__(self, maximum: int, what: str) -> None:
        self.maximum = maximum
        self.what = what
        self.now = 0

    def take(self, amount: int) -> None:
        """Take an amount, or reject the request."""
        if self.now + amount > self.maximum:
            raise RefusedError(
                429, f"the server is busy: too many {self.what}; try again soon", retry_after=1
            )
        self.now += amount

    def give_back(self, amount: int) -> None:
        """Return an amount."""
        self.now -= amount

    @contextmanager
    def holding(self, amount: int) -> Iterator[None]:
        """Take an amount within the block, or reject the request."""
        self.take(amount)
        try:
            yield
        finally:
            self.give_back(amount)
