"""What servers ask of clients: robots.txt, X-Robots-Tag, and the pace of requests."""

import asyncio
import email.utils
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC

from protego import Protego

from clusterkit import __version__

# The name of this robot in a robots.txt.
AGENT = "clusterkit"
# Words of X-Robots-Tag, and of <meta name="robots">, that forbid gathering.
_NO = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
# Text after our name in a robots.txt, which protego would take as a part of it.
_VERSION = re.compile(
    rf"^(\s*user-agent\s*:\s*{AGENT})[/ \t][^\r\n]*", re.IGNORECASE | re.MULTILINE
)
# The name of a robot before a colon, rather than a word that has a value, or a time of day.
_ROBOT = re.compile(r"(?!unavailable_after|max-)[^\s:]+\s*:")
# Maximum number of bytes that are read, the minimum by RFC 9309.
ROBOTS_BYTES = 512 * 1024
# The second wait is this long, then twice as long each time, more or less by half.
BACKOFF_SECONDS = 1.0


def user_agent(contact: str | None) -> str:
    """Return the user agent: the name of this program, and a contact."""
    about = "gathers pictures for its user" + (f"; {contact}" if contact else "")
    return f"{AGENT}/{__version__} ({about})"


def find_objection(values: Iterable[str]) -> str | None:
    """Return the word of X-Robots-Tag by which a server forbids gathering, or None.

    Parameters
    ----------
    values : iterable of str
        The values of all such headers, or of ``<meta name="robots">``.

    Examples
    --------
    >>> find_objection(["otherbot: noindex", "noarchive, NoAI"])
    'noai'
    >>> find_objection(["otherbot: noindex, noai"])
    """
    for value in values:
        is_for_us = True
        for word in value.lower().split(","):
            word = word.strip()
            if _ROBOT.match(word):
                agent, _, word = (part.strip() for part in word.partition(":"))
                is_for_us = agent in (AGENT, "*")
            if is_for_us and word in _NO:
                return word
    return None


def read_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds to wait by a Retry-After header, a number or a date; None if it has none.

    Examples
    --------
    >>> read_retry_after("120", now=0.0)
    120.0
    >>> read_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=0.0)
    60.0
    >>> read_retry_after("soon", now=0.0)
    """
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
        # A date without a zone, as old servers write it, is in UTC, not in that of this machine.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now)
    except (ValueError, OverflowError):
        return None


def backoff(attempt: int, rng: random.Random) -> float:
    """Return the seconds to wait after an attempt, counted from 0, that failed."""
    return BACKOFF_SECONDS * 2**attempt * rng.uniform(0.5, 1.5)


class Rules:
    """The robots.txt of one server.

    Parameters
    ----------
    text : str
        Its content; empty if there is none, and everything is allowed.
    """

    def __init__(self, text: str) -> None:
        self._rules = Protego.parse(_VERSION.sub(r"\1", text))

    def allows(self, address: str) -> bool:
        """Return whether an address may be asked for."""
        return bool(self._rules.can_fetch(address, AGENT))

    @property
    def seconds_between(self) -> float:
        """Requested seconds between two requests; 0 if not given."""
        rate = self._rules.request_rate(AGENT)
        return max(
            self._rules.crawl_delay(AGENT) or 0.0, rate.seconds / rate.requests if rate else 0.0
        )


class Host:
    """The pace of one host: seconds between the starts of requests, and how many at a time.

    Parameters
    ----------
    seconds_between : float
        Between the starts of two requests.
    per_host : int
        Maximum number of concurrent requests.
    everywhere : asyncio.Semaphore
        Limit of concurrent requests to all hosts.

    Attributes
    ----------
    n_silent : int
        Number of addresses in a row without an answer.
    """

    def __init__(
        self, seconds_between: float, per_host: int, everywhere: asyncio.Semaphore
    ) -> None:
        self.seconds_between = seconds_between
        self.n_silent = 0
        self._slots = asyncio.Semaphore(per_host)
        self._everywhere = everywhere
        self._order = asyncio.Lock()
        self._next = 0.0

    def slow_down(self, seconds_between: float) -> None:
        """Set the minimum number of seconds between two requests."""
        if seconds_between > self.seconds_between:
            self.seconds_between = seconds_between
            # The request that returned this counts as one.
            self._next = max(self._next, time.monotonic() + seconds_between)

    def pause(self, seconds: float) -> None:
        """Let no request start for some seconds."""
        self._next = max(self._next, time.monotonic() + seconds)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Callable[[], None]]:
        """Wait until a request may start; it is under way within the block.

        Yields
        ------
        callable
            To be called when the request was sent, which starts the interval to the next one, since
            connecting takes a variable time.  Until then no other request starts.
        """
        async with self._slots:
            await self._order.acquire()
            is_first = True

            def sent() -> None:
                nonlocal is_first
                if is_first:
                    is_first = False
                    self.pause(self.seconds_between)
                    self._order.release()

            try:
                while True:
                    while (wait := self._next - time.monotonic()) > 0:
                        await asyncio.sleep(wait)
                    # A request that waits for its host does not count for the limit of all hosts.
                    await self._everywhere.acquire()
                    if self._next <= time.monotonic():
                        break
                    self._everywhere.release()
                try:
                    yield sent
                finally:
                    self._everywhere.release()
            finally:
                sent()
