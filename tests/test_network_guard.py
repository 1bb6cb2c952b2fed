"""Which addresses may be connected to, and that a connection goes to the checked address."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_network

import httpcore
import pytest

from clusterkit.errors import InvalidInputError
from clusterkit.preparation.gathering.network_guard import (
    GuardedBackend,
    RefusedAddressError,
    parse_networks,
    why_refused,
)

REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.1.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.5",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12::1",
    "fec0::1",
    "ff02::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.15.0.1",
    "172.32.0.1",
    "192.167.1.1",
    "223.255.255.1",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert f"{address} is not a public address" in str(why_refused(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_not(address: str) -> None:
    assert why_refused(address) is None


def test_what_is_allowed_and_nothing_else() -> None:
    allowed = parse_networks(["192.168.1.0/24", "127.0.0.1", "fd12::/16"])
    assert [ip_network("192.168.1.0/24"), ip_network("127.0.0.1/32")] == allowed[:2]
    for address in ("192.168.1.7", "127.0.0.1", "fd12::1"):
        assert why_refused(address, allowed) is None
    for address in ("192.168.2.7", "127.0.0.2", "fd13::1", "::ffff:127.0.0.1"):
        assert why_refused(address, allowed) is not None
    for address in REFUSED:
        assert why_refused(address, parse_networks(["all"])) is None
    for text in ("localhost", "192.168.1.1/24", "1.2.3", "", "http://127.0.0.1"):
        with pytest.raises(InvalidInputError, match="--allow-private must be"):
            parse_networks([text])


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    """Return two sockets that listen on the same port of two addresses of this machine."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.2", one.getsockname()[1])) as other,
    ):
        yield [one, other]


def connect(backend: GuardedBackend, host: str, port: int) -> str:
    """Connect, and return the IP address at the other end."""

    async def run() -> str:
        stream = await backend.connect_tcp(host, port, timeout=2.0)
        try:
            return str(stream.get_extra_info("server_addr")[0])
        finally:
            await stream.aclose()

    return asyncio.run(run())


def test_the_connection_goes_to_the_address_that_was_checked(
    listeners: list[socket.socket],
) -> None:
    port = listeners[0].getsockname()[1]
    lookups: list[str] = []

    def change(host: str, port: int) -> Sequence[str]:
        lookups.append(host)
        return ["127.0.0.1"] if len(lookups) == 1 else ["127.0.0.2"]

    backend = GuardedBackend(parse_networks(["127.0.0.1"]), change)
    assert connect(backend, "change.test", port) == "127.0.0.1"
    assert lookups == ["change.test"]
    with pytest.raises(RefusedAddressError, match=r"change.test resolves to an internal"):
        connect(backend, "change.test", port)
    # Nobody has connected to the other.
    listeners[1].settimeout(0.05)
    with pytest.raises(TimeoutError):
        listeners[1].accept()


def test_one_private_address_of_a_name_is_enough_to_refuse_it(
    listeners: list[socket.socket],
) -> None:
    port = listeners[0].getsockname()[1]
    backend = GuardedBackend(
        parse_networks(["127.0.0.1"]), lambda host, port: ["127.0.0.1", "127.0.0.2"]
    )
    with pytest.raises(RefusedAddressError, match=r"127.0.0.2 is not a public address"):
        connect(backend, "both.test", port)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "localhost", "0"])
def test_other_spellings_of_this_machine_are_refused(host: str) -> None:
    with pytest.raises((RefusedAddressError, httpcore.ConnectError)):
        connect(GuardedBackend([]), host, 9)


def test_the_next_address_is_tried_if_one_does_not_answer(listeners: list[socket.socket]) -> None:
    port = listeners[0].getsockname()[1]
    backend = GuardedBackend(
        parse_networks(["127.0.0.0/8"]), lambda host, port: ["127.0.0.3", "127.0.0.2"]
    )
    assert connect(backend, "some.test", port) == "127.0.0.2"


def test_a_name_that_is_not_found_is_an_error_of_the_connection() -> None:
    def fail(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(httpcore.ConnectError, match=r"the name no.test cannot be found"):
        connect(GuardedBackend([], fail), "no.test", 80)
    with pytest.raises(httpcore.ConnectError, match="has no address"):
        connect(GuardedBackend([], lambda host, port: []), "no.test", 80)


def test_sockets_of_this_machine_are_refused() -> None:
    with pytest.raises(RefusedAddressError):
        asyncio.run(GuardedBackend([]).connect_unix_socket("/var/run/docker.sock"))
