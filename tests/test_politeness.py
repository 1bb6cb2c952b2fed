"""Limits that servers request, and the pace of requests."""

import asyncio
import email.utils
import itertools
import random
import time

import pytest

from clusterkit.preparation.gathering import politeness
from clusterkit.preparation.gathering.politeness import (
    Host,
    Rules,
    backoff,
    find_objection,
    read_retry_after,
    user_agent,
)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (["noai"], "noai"),
        (["noarchive, NoImageAI"], "noimageai"),
        (["nofollow", "noindex"], "noindex"),
        (["none"], "none"),
        (["clusterkit: noindex"], "noindex"),
        (["*: noai"], "noai"),
        (["otherbot: noarchive, noindex"], None),
        (["otherbot: noindex, clusterkit: noai"], "noai"),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"], "noai"),
        (["unavailable_after: Wed, 25 Jun 2030 15:00:00 GMT, noindex"], "noindex"),
        (["max-image-preview: none"], None),
        (["all"], None),
        (["noaid, index"], None),
        ([], None),
        ([""], None),
    ],
)
def test_what_a_server_says_no_with(values: list[str], word: str | None) -> None:
    assert find_objection(values) == word


def test_when_to_come_back() -> None:
    now = time.time()
    date = email.utils.formatdate(now + 90, usegmt=True)
    assert read_retry_after("7", now) == 7.0
    assert read_retry_after(date, now) == pytest.approx(90, abs=1)
    assert read_retry_after(email.utils.formatdate(now - 90, usegmt=True), now) == 0.0
    for nonsense in (None, "", "soon", "-5", "1.5", "²", "9" * 99 + "x"):
        assert read_retry_after(nonsense, now) is None
    for hours in ("00:01:00 +" + "9" * 20, "9" * 20 + ":00:00 GMT"):
        nonsense = f"Thu, 01 Jan 1970 {hours}"
        assert read_retry_after(nonsense, now) is None
    assert read_retry_after("9" * 99, now) == 999_999_999.0


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="Windows has one time zone per process")
def test_a_date_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        for date in ("Thu, 01 Jan 1970 00:01:00 -0000", "Thu Jan  1 00:01:00 1970"):
            assert read_retry_after(date, now=0.0) == 60.0
        # In the time of Tokyo, this would be in a year that Python does not know.
        assert read_retry_after("Fri, 31 Dec 9999 23:59:59 -0000", now=0.0)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_waits_grow_are_spread_and_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(politeness, "BACKOFF_SECONDS", 1.0)
    rng = random.Random(0)
    waits = [[backoff(attempt, rng) for _ in range(200)] for attempt in range(3)]
    for attempt, of_attempt in enumerate(waits):
        assert 0.5 * 2**attempt <= min(of_attempt) < max(of_attempt) <= 1.5 * 2**attempt
        assert len(set(of_attempt)) == 200
    again = random.Random(0)
    assert [backoff(0, again) for _ in range(200)] == waits[0]


def test_rules_are_those_of_this_program_or_of_all() -> None:
    rules = Rules(
        "User-agent: *\nDisallow: /\nCrawl-delay: 9\n\n"
        "User-agent: ClusterKit\nDisallow: /a/*.png$\nAllow: /a/b\nRequest-rate: 1/5s\n"
    )
    assert rules.allows("http://x.org/a/b/c.png") is False
    assert rules.allows("http://x.org/a/c.png") is False
    assert rules.allows("http://x.org/a/c.png?1") is True
    assert rules.allows("http://x.org/c.jpg") is True
    assert rules.seconds_between == 5.0
    for name in ("ClusterKit/1.0", "clusterkit (+http://x.org/)"):
        rules = Rules(f"User-agent: {name}\nDisallow: /a\n\nUser-agent: *\nAllow: /\n")
        assert rules.allows("http://x.org/a") is False
        assert rules.allows("http://x.org/b") is True
    assert Rules("User-agent: clusterkits\nDisallow: /\n").allows("http://x.org/") is True
    nothing = Rules("")
    assert nothing.allows("http://x.org/") is True
    assert nothing.seconds_between == 0.0
    assert Rules("<html>\0 no rules: </html>").allows("http://x.org/") is True
    assert Rules("User-agent: *\nDisallow: /\n").allows("http://x.org/") is False


def test_the_name_is_honest() -> None:
    assert user_agent(None).startswith("clusterkit/")
    assert "me@example.org" in user_agent("me@example.org")


def starts_of(
    n: int, *, seconds_between: float, per_host: int, parallel: int, lasts: float, hosts: int = 1
) -> tuple[list[list[float]], int]:
    """Return the times of requests by host, and the maximum number at the same time."""
    starts: list[list[float]] = [[] for _ in range(hosts)]
    under_way = most = 0

    async def run() -> None:
        everywhere = asyncio.Semaphore(parallel)
        every = [Host(seconds_between, per_host, everywhere) for _ in range(hosts)]

        async def ask(number: int) -> None:
            nonlocal under_way, most
            async with every[number].turn() as sent:
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0.005)  # it connects
                starts[number].append(time.monotonic())
                sent()
                await asyncio.sleep(lasts)
                under_way -= 1

        await asyncio.gather(*(ask(number) for number in range(hosts) for _ in range(n)))

    asyncio.run(run())
    return starts, most


def test_requests_to_a_host_keep_their_distance() -> None:
    (starts,), _ = starts_of(6, seconds_between=0.03, per_host=3, parallel=9, lasts=0.08)
    gaps = [later - one for one, later in itertools.pairwise(starts)]
    assert min(gaps) >= 0.03


def test_so_many_are_under_way_and_no_more() -> None:
    for per_host, parallel, hosts, most in ((2, 9, 1, 2), (9, 3, 4, 3), (1, 9, 3, 3)):
        _, seen = starts_of(
            4, seconds_between=0.0, per_host=per_host, parallel=parallel, lasts=0.02, hosts=hosts
        )
        assert seen == most


def test_a_pause_holds_for_who_waits_already() -> None:
    async def run() -> float:
        host = Host(0.05, 2, asyncio.Semaphore(2))
        async with host.turn() as sent:
            sent()
            waiting = asyncio.ensure_future(enter(host))
            await asyncio.sleep(0.01)
            host.pause(0.3)
        began = time.monotonic()
        await waiting
        return time.monotonic() - began

    async def enter(host: Host) -> None:
        async with host.turn():
            pass

    assert asyncio.run(run()) >= 0.28


def test_a_pause_holds_for_who_waits_for_a_place_among_all() -> None:
    async def run() -> float:
        everywhere = asyncio.Semaphore(1)
        host = Host(0.0, 1, everywhere)
        await everywhere.acquire()
        waiting = asyncio.ensure_future(enter(host))
        await asyncio.sleep(0.01)
        host.pause(0.2)
        everywhere.release()
        began = time.monotonic()
        await waiting
        return time.monotonic() - began

    async def enter(host: Host) -> None:
        async with host.turn():
            pass

    assert asyncio.run(run()) >= 0.18


def test_who_leaves_while_waiting_leaves_its_place() -> None:
    async def run() -> None:
        everywhere = asyncio.Semaphore(1)
        host = Host(0.0, 1, everywhere)
        host.pause(60)
        waiting = asyncio.ensure_future(host.turn().__aenter__())
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        other = Host(0.0, 1, everywhere)
        async with asyncio.timeout(1), other.turn():
            pass
        fresh = Host(0.0, 1, everywhere)
        fresh.pause(60)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), fresh.turn():
                pass
        fresh._next = 0.0
        async with asyncio.timeout(1), fresh.turn():
            pass

    asyncio.run(run())
