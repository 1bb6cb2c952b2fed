"""Download addresses: politely, within limits, with redirects and retries."""

import asyncio
import http.cookiejar
import random
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpcore
import httpx

from clusterkit.errors import InvalidInputError
from clusterkit.preparation.gathering.addresses import parse_address
from clusterkit.preparation.gathering.network_guard import (
    NETWORK_ERRORS,
    GuardedTransport,
    Network,
    RefusedAddressError,
)
from clusterkit.preparation.gathering.picture_files import START_BYTES
from clusterkit.preparation.gathering.politeness import (
    ROBOTS_BYTES,
    Host,
    Rules,
    backoff,
    find_objection,
    read_retry_after,
    user_agent,
)
from clusterkit.utils.arguments import check_at_least, is_number

_MAX_HOPS = 8
_CONNECT_SECONDS = 10.0
# Number of addresses in a row without an answer after which a host is skipped.
_MAX_SILENT = 5
# Longest wait at a server's request; longer ones are left to another run.
MAX_WAIT_SECONDS = 120.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SLOW_DOWN = frozenset({429, 503})
# Statuses after which the same request may succeed.
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
_GZIP = frozenset({"gzip", "x-gzip"})
# The first bytes of each member of gzip data.
_GZIP_START = b"\x1f\x8b"
# Returns why a file with these first bytes is not wanted, or None if it may be.
WhyWrong = Callable[[bytes], str | None]


@dataclass(frozen=True)
class Limits:
    """How much, how fast and how often.

    Attributes
    ----------
    max_bytes : int
        Maximum size of a file, as sent and after decompression.
    max_seconds : float
        Time limit of a request, from the connection to the last byte.
    rate : float
        Requests per second to one host.
    per_host, parallel : int
        Concurrent requests to one host, and to all hosts.
    attempts : int
        Maximum number of attempts per address.
    obeys_robots : bool
        Whether robots.txt and X-Robots-Tag are respected.
    allowed : list of networks
        Networks that may be accessed although they are not public.
    contact : str, optional
        Contact address, a part of the user agent.
    """

    max_bytes: int
    max_seconds: float
    rate: float
    per_host: int
    parallel: int
    attempts: int
    obeys_robots: bool = True
    allowed: list[Network] = field(default_factory=list)
    contact: str | None = None

    def check(self) -> None:
        """Raise InvalidInputError if a limit would reject everything."""
        for name in ("max_bytes", "per_host", "parallel", "attempts"):
            check_at_least(getattr(self, name), 1, name)
        for name in ("rate", "max_seconds"):
            number = getattr(self, name)
            if not (is_number(number) and number > 0):
                raise InvalidInputError(f"{name} must be a positive number. Received: {number!r}")
        contact = self.contact
        if contact is not None and not (contact.isascii() and contact.isprintable()):
            raise InvalidInputError(f"contact must be printable ASCII. Received: {contact!r}")


@dataclass(frozen=True)
class Answer:
    """What a server sent.

    Attributes
    ----------
    address : str
        The last address, after redirects.
    content : bytes
        The decompressed body.
    content_type : str
        Content type according to the server; it may be wrong.
    """

    address: str
    content: bytes
    content_type: str


class FailedError(Exception):
    """An address could not be downloaded; the message is the reason.

    Parameters
    ----------
    reason : str
        The message.
    may_pass : bool
        Whether another run may succeed.
    at_once : bool
        Whether it is worth another attempt now.
    status : int, optional
        The status of the answer.
    host : Host, optional
        The host that asked to slow down, for ``wait`` seconds if given.
    silent : str, optional
        The host that did not answer.
    """

    def __init__(
        self,
        reason: str,
        *,
        may_pass: bool = False,
        at_once: bool = False,
        status: int | None = None,
        host: Host | None = None,
        wait: float | None = None,
        silent: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.may_pass, self.at_once, self.status = may_pass, at_once, status
        self.host, self.wait, self.silent = host, wait, silent


class Downloader:
    """Downloads addresses; one per run, since it keeps the pace of each host.

    Parameters
    ----------
    limits : Limits
        How much, how fast and how often.
    random_state : int, optional
        Seed of the length of waits after failures.
    """

    def __init__(self, limits: Limits, random_state: int | None = None) -> None:
        self.limits = limits
        self._rng = random.Random(random_state)
        self._everywhere = asyncio.Semaphore(limits.parallel)
        self._hosts: dict[str, Host] = {}
        self._closed: dict[str, str] = {}
        self._rules: dict[str, asyncio.Task[Rules | FailedError]] = {}
        # No proxies and passwords of the environment, and no cookies.
        no_cookies = http.cookiejar.DefaultCookiePolicy(allowed_domains=[])
        self._client = httpx.AsyncClient(
            transport=GuardedTransport(limits.allowed),
            trust_env=False,
            cookies=http.cookiejar.CookieJar(no_cookies),
            headers={"User-Agent": user_agent(limits.contact), "Accept-Encoding": "gzip"},
            timeout=httpx.Timeout(
                limits.max_seconds, connect=min(limits.max_seconds, _CONNECT_SECONDS)
            ),
        )

    async def __aenter__(self) -> "Downloader":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._rules.values():
            task.cancel()
        await asyncio.gather(*self._rules.values(), return_exceptions=True)
        await self._client.aclose()

    async def fetch(self, address: str, *, why_wrong: WhyWrong | None = None) -> Answer:
        """Download an address.

        Parameters
        ----------
        address : str
            The address.
        why_wrong : callable, optional
            Returns why a file with these first bytes is not wanted, so that no more is read of it.

        Raises
        ------
        FailedError
            If it cannot be downloaded, or its servers do not allow it.
        """
        return await self._persist(address, self.limits.max_bytes, why_wrong, is_robots=False)

    async def _persist(
        self, address: str, max_bytes: int, why_wrong: WhyWrong | None, *, is_robots: bool
    ) -> Answer:
        """Retry until it succeeds, or retrying is of no use."""
        for attempt in range(self.limits.attempts):
            try:
                return await self._follow(address, max_bytes, why_wrong, is_robots=is_robots)
            except FailedError as failure:
                wait = backoff(attempt, self._rng) if failure.wait is None else failure.wait
                # Also for other addresses, whether or not this one is retried.
                if failure.host is not None:
                    failure.host.pause(wait)
                if not failure.at_once or attempt + 1 == self.limits.attempts:
                    self._note_silence(failure.silent)
                    raise
                if failure.host is None:
                    await asyncio.sleep(wait)
        raise AssertionError("there is at least one attempt")

    async def _follow(
        self, address: str, max_bytes: int, why_wrong: WhyWrong | None, *, is_robots: bool
    ) -> Answer:
        """Request an address, and those that it redirects to."""
        for _ in range(_MAX_HOPS):
            url = httpx.URL(address)
            if self.limits.obeys_robots and not is_robots:
                await self._check_rules(url)
            answer = await self._ask(url, max_bytes, why_wrong, is_robots=is_robots)
            if isinstance(answer, Answer):
                return answer
            try:
                address = parse_address(answer, base=address)
            except InvalidInputError as error:
                raise FailedError(f"it redirects to {error}") from None
        raise FailedError(f"it redirects more than {_MAX_HOPS - 1} times")

    async def _check_rules(self, url: httpx.URL) -> None:
        """Raise FailedError unless the robots.txt of a server allows an address."""
        origin = str(url.copy_with(path="/robots.txt", query=None, fragment=None))
        if origin not in self._rules:
            self._rules[origin] = asyncio.ensure_future(self._read_rules(origin))
        rules = await self._rules[origin]
        if isinstance(rules, FailedError):
            raise FailedError(str(rules), may_pass=rules.may_pass)
        if not rules.allows(str(url)):
            raise FailedError(f"the robots.txt of {url.host} does not allow it")
        if rules.seconds_between > MAX_WAIT_SECONDS:
            raise FailedError(
                f"the robots.txt of {url.host} asks for {rules.seconds_between:g} seconds between "
                f"requests, more than the limit of {MAX_WAIT_SECONDS:g}"
            )
        self._host(url).slow_down(rules.seconds_between)

    async def _read_rules(self, origin: str) -> Rules | FailedError:
        """Return the rules of a robots.txt by RFC 9309: 4xx allows all, 5xx forbids all."""
        try:
            answer = await self._persist(origin, ROBOTS_BYTES, None, is_robots=True)
        except FailedError as failure:
            status = failure.status
            if status is not None and status < 500 and status != HTTPStatus.TOO_MANY_REQUESTS:
                return Rules("")
            return FailedError(
                f"the robots.txt of {httpx.URL(origin).host} cannot be read, so nothing is taken "
                f"from there: {failure}",
                may_pass=failure.may_pass or status is not None,
            )
        return Rules(answer.content.decode("utf-8-sig", "replace"))

    def _host(self, url: httpx.URL) -> Host:
        """Return the pace of a host."""
        if url.host not in self._hosts:
            self._hosts[url.host] = Host(
                1 / self.limits.rate, self.limits.per_host, self._everywhere
            )
        return self._hosts[url.host]

    async def _ask(
        self,
        url: httpx.URL,
        max_bytes: int,
        why_wrong: WhyWrong | None,
        *,
        is_robots: bool,
    ) -> Answer | str:
        """Make one request; return the answer, or where it redirects to."""
        host = self._host(url)
        self._check_open(url.host)
        async with host.turn() as sent:
            self._check_open(url.host)

            async def watch(event: str, _: Any) -> None:
                """Record events of the connection."""
                if event == "http11.send_request_headers.complete":
                    sent()

            try:
                async with (
                    asyncio.timeout(self.limits.max_seconds),
                    self._client.stream("GET", url, extensions={"trace": watch}) as response,
                ):
                    if response.status_code != HTTPStatus.OK:
                        host.n_silent = 0
                    if response.status_code in _REDIRECTS and "location" in response.headers:
                        return response.headers["location"]
                    self._check_status(response, host)
                    if self.limits.obeys_robots and not is_robots:
                        word = find_objection(response.headers.get_list("x-robots-tag"))
                        if word is not None:
                            raise FailedError(f"its server forbids it: {word} (X-Robots-Tag)")
                    content = await _read(response, max_bytes, why_wrong, cuts=is_robots)
                    host.n_silent = 0
                    return Answer(str(url), content, response.headers.get("content-type", ""))
            except RefusedAddressError as error:
                raise FailedError(str(error)) from None
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                reason = str(error) or "nothing answers there"
                raise FailedError(
                    f"no connection to {url.host}: {reason}",
                    may_pass=True,
                    at_once=True,
                    silent=url.host,
                ) from None
            # Another attempt would hardly be faster.
            except (TimeoutError, httpcore.TimeoutException):
                raise FailedError(
                    f"{url.host} took longer than {self.limits.max_seconds:g} seconds",
                    may_pass=True,
                    silent=url.host,
                ) from None
            except NETWORK_ERRORS as error:
                raise FailedError(
                    f"the connection to {url.host} broke: {error or type(error).__name__}",
                    may_pass=True,
                    at_once=True,
                ) from None

    def _check_open(self, name: str) -> None:
        """Raise FailedError if a host is skipped."""
        if name in self._closed:
            raise FailedError(self._closed[name], may_pass=True)

    def _check_status(self, response: httpx.Response, host: Host) -> None:
        """Raise FailedError unless an answer has the requested content."""
        status = response.status_code
        if status == HTTPStatus.OK:
            return
        try:
            reason = f"HTTP {status} {HTTPStatus(status).phrase}"
        except ValueError:
            reason = f"HTTP {status}"
        wait = None
        if status in _SLOW_DOWN:
            wait = read_retry_after(response.headers.get("retry-after"), time.time())
        if wait is not None and wait > MAX_WAIT_SECONDS:
            reason += f"; {response.url.host} asks to come back in {wait:g} seconds"
            self._closed[response.url.host] = reason
            raise FailedError(reason, may_pass=True, status=status)
        raise FailedError(
            reason,
            may_pass=status in _MAY_PASS,
            at_once=status in _MAY_PASS,
            status=status,
            host=host if status in _SLOW_DOWN else None,
            wait=wait,
        )

    def _note_silence(self, name: str | None) -> None:
        """Count that a host did not answer, and skip it after several times in a row."""
        if name is not None:
            self._hosts[name].n_silent += 1
            if self._hosts[name].n_silent >= _MAX_SILENT:
                self._closed[name] = f"{name} did not answer {_MAX_SILENT} times in a row"


class Gunzip:
    """Decompress gzip data as they come: one member, or several whose contents follow each other.

    Other bytes after a member are ignored, as browsers do.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        # The first bytes after a member, until they tell whether another one follows.
        self._after = b""

    @property
    def is_whole(self) -> bool:
        """Whether the data may end here."""
        return self._member.eof

    def feed(self, data: bytes, room: int) -> bytes:
        """Return the content of the next data, at most ``room`` bytes of it.

        Parameters
        ----------
        data : bytes
            The next data.
        room : int
            Maximum number of bytes to return, at least 1.  What is beyond is lost.

        Raises
        ------
        zlib.error
            If the data are damaged.
        """
        content = bytearray()
        while data and len(content) < room:
            if self._member.eof:
                data = (self._after + data).lstrip(b"\0")
                if not data.startswith(_GZIP_START):
                    self._after = data[: len(_GZIP_START)]
                    break
                self._member, self._after = zlib.decompressobj(wbits=31), b""
            content += self._member.decompress(data, room - len(content))
            data = self._member.unused_data
        return bytes(content)


async def _read(
    response: httpx.Response,
    max_bytes: int,
    why_wrong: WhyWrong | None,
    *,
    cuts: bool,
) -> bytes:
    """Return the decompressed body, counted as it comes.

    Parameters
    ----------
    response : httpx.Response
        The answer, whose body was not read.
    max_bytes : int
        Maximum size of the body, as sent and decompressed.
    why_wrong : callable, optional
        Returns why a file with these first bytes is not wanted.
    cuts : bool
        Whether a longer body is truncated instead of raising an error.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if encoding != "identity" and encoding not in _GZIP:
        raise FailedError(f"it is compressed as {encoding}, which was not asked for")
    gunzip = Gunzip() if encoding in _GZIP else None
    too_large = FailedError(f"it has more than {max_bytes:,} bytes")
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:18]) > max_bytes and not cuts:
        raise too_large
    content, n_received, is_checked = bytearray(), 0, why_wrong is None
    async for part in response.aiter_raw():
        n_received += len(part)
        try:
            # One byte more than allowed tells that there is too much.
            room = max_bytes + 1 - len(content)
            content += part[:room] if gunzip is None else gunzip.feed(part, room)
        except zlib.error as error:
            raise FailedError(f"its compression is damaged: {error}") from None
        if len(content) > max_bytes or n_received > max_bytes:
            if cuts:
                return bytes(content[:max_bytes])
            raise too_large
        if not is_checked and len(content) >= START_BYTES and why_wrong is not None:
            is_checked = True
            if reason := why_wrong(bytes(content[:START_BYTES])):
                raise FailedError(reason)
    if gunzip is not None and not gunzip.is_whole and content:
        raise FailedError("its compressed data end early", may_pass=True, at_once=True)
    if not is_checked and why_wrong is not None and (reason := why_wrong(bytes(content))):
        raise FailedError(reason)
    return bytes(content)
