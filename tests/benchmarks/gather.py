"""Check that gathering loses nothing, requests nothing twice, is polite, and respects the guard.

``python -m tests.benchmarks.gather`` serves pictures on several addresses of this machine, each of
which is a host, and gathers them with the command line in separate processes:

- ``kills``: the process is killed at random moments, and run again, until it finishes.  What was
  stored before a kill must not be requested again, and in the end every picture must be stored
  exactly once, with the same bytes.
- ``pace``: what the servers see of the limits: the maximum number of requests per second and at the
  same time; requests after a Crawl-delay, and after 429 with Retry-After; and requests for paths
  that robots.txt forbids.
- ``guard``: connections to addresses that are not allowed, by name, in other spellings and through
  redirects, with and without a proxy in the environment.

Prints one JSON document.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from clusterkit.preparation.gathering.manifest import MANIFEST_NAME, PARTS
from tests.picture_server import PictureServer, Reply, Request, picture, serving

HOSTS = [f"127.0.0.{number}" for number in range(11, 15)]
INSIDE = "127.0.0.99"


def command(source: Path, into: Path, *options: str) -> list[str]:
    """Return a command line that is allowed to contact the hosts."""
    allowed = [word for host in HOSTS for word in ("--allow-private", host)]
    start = [sys.executable, "-m", "clusterkit", "gather", str(source), "--into", str(into)]
    return [*start, *allowed, *options]


def run(*arguments: Any, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run the command, and return its JSON."""
    done = subprocess.run(
        [*command(*arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    document: dict[str, Any] = json.loads(done.stdout or "{}")
    assert document, done.stderr
    return document


def stored(into: Path) -> set[str]:
    """Return the addresses whose pictures are safe: recorded, and in place or one rename away."""
    if not (into / MANIFEST_NAME).exists():
        return set()
    found = set()
    for text in (into / MANIFEST_NAME).read_bytes().split(b"\n")[:-1]:
        row = json.loads(text).get("picture")
        if row and row["outcome"] == "stored":
            part = into / PARTS / hashlib.sha256(row["file"].encode()).hexdigest()
            assert (into / row["file"]).exists() or part.exists(), f"{row['file']} is lost"
            found.add(row["address"])
    return found


def requests_of(servers: Sequence[PictureServer]) -> Counter[str]:
    """Return the number of requests for each address."""
    return Counter(
        f"http://{request.host}{request.path}" for s in servers for request in s.requests
    )


def slow(content: bytes, seconds: float) -> Callable[[int], Reply]:
    """Return an answer that takes some time."""

    def reply(_: int) -> Reply:
        time.sleep(seconds)
        return Reply(content)

    return reply


def measure_kills(folder: Path, n: int, n_kills: int, seed: int) -> dict[str, Any]:
    """Kill the process at random moments, and count requests at the servers."""
    rng = random.Random(seed)
    contents = [picture(number, side=rng.randrange(16, 160)) for number in range(n)]
    with ExitStack() as stack:
        replies: list[dict[str, Any]] = [
            {
                f"/{number}.jpg": slow(contents[number], rng.uniform(0, 0.03))
                for number in range(n)
                if number % len(HOSTS) == at
            }
            for at in range(len(HOSTS))
        ]
        servers = [
            stack.enter_context(serving(reply, host))
            for reply, host in zip(replies, HOSTS, strict=True)
        ]
        addresses = [servers[number % len(HOSTS)].url(f"/{number}.jpg") for number in range(n)]
        source, into = folder / "killed.txt", folder / "killed"
        source.write_text("".join(f"{one} {'ab'[i % 2]}\n" for i, one in enumerate(addresses)))
        # So slow that it cannot finish before the last kill.
        options = ("--rate", "15")
        safe: set[str] = set()
        asked_again, kills = 0, []
        while len(kills) < n_kills:
            before = requests_of(servers)
            process = subprocess.Popen(
                command(source, into, *options), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            while requests_of(servers) == before and process.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
            _, said = process.communicate()
            assert process.returncode == -signal.SIGKILL, f"it ended by itself: {said.decode()}"
            new = requests_of(servers) - before
            asked_again += sum(new[address] for address in safe)
            safe = stored(into)
            kills.append(len(safe))
        before = requests_of(servers)
        last = run(source, into, *options)
        asked_again += sum((requests_of(servers) - before)[address] for address in safe)
        before = requests_of(servers)
        again = run(source, into, *options)
        asked_by_next = sum((requests_of(servers) - before).values())
    there = Counter(file.read_bytes() for file in into.glob("*/*.jpg"))
    counts = Counter(requests_of(servers)[address] for address in addresses)
    return {
        "pictures": n,
        "kills": n_kills,
        "stored_at_each_kill": kills,
        "lost": sum(content not in there for content in contents),
        "doubled": sum(count - 1 for count in there.values()),
        "stored_but_asked_again": asked_again,
        "addresses_by_number_of_requests": dict(sorted(counts.items())),
        "new_in_last_run": last["n_new"],
        "asked_by_a_further_run": asked_by_next,
        "n_there": again["n"],
        "left_over": sorted(entry.name for entry in into.iterdir() if entry.name not in "ab"),
    }


def most_at_a_time(requests: Sequence[Request]) -> int:
    """Return the maximum number of requests at the same time."""
    events = sorted([(one.start, 1) for one in requests] + [(one.end, -1) for one in requests])
    return max(itertools.accumulate(change for _, change in events))


def most_in(seconds: float, starts: Sequence[float]) -> int:
    """Return the maximum number of requests within some seconds."""
    return max(sum(first <= one < first + seconds for one in starts) for first in starts)


def measure_pace(folder: Path) -> dict[str, Any]:
    """Measure the limits at the servers."""
    rate, n = 5.0, 20
    robots = [
        None,
        Reply(b"User-agent: *\nCrawl-delay: 0.5\n"),
        Reply(b"User-agent: *\nDisallow: /forbidden\n"),
        None,
    ]

    def busy(before: int) -> Reply:
        return Reply(b"", 429, {"Retry-After": "2"}) if before == 0 else slow(picture(), 0.5)(0)

    with ExitStack() as stack:
        servers = []
        for at, host in enumerate(HOSTS):
            replies: dict[str, Any] = {
                f"/{number}.jpg": slow(picture(100 * at + number), 0.5) for number in range(n)
            }
            if robots[at] is not None:
                replies["/robots.txt"] = robots[at]
            if at == 2:
                replies |= {f"/forbidden/{number}.jpg": Reply(picture()) for number in range(n)}
            if at == 3:
                replies["/5.jpg"] = busy
            servers.append(stack.enter_context(serving(replies, host)))
        rows = [
            server.url(path)
            for server in servers
            for path in server.replies
            if path != "/robots.txt"
        ]
        source = folder / "pace.txt"
        source.write_text("\n".join(rows))
        found = run(
            source, folder / "pace", "--rate", str(rate), "--per-host", "2", "--parallel", "5"
        )
        seen = [[one.start for one in server.requests] for server in servers]
        gaps = [[later - one for one, later in itertools.pairwise(starts)] for starts in seen]
        first = next(one for one in servers[3].requests if one.path == "/5.jpg")
        after = min(one.start for one in servers[3].requests if one.start > first.end + 0.02)
        return {
            "rate": rate,
            "per_host": 2,
            "parallel": 5,
            "n": found["n"],
            "n_failed": found["n_failed"],
            "requests_by_host": [len(starts) for starts in seen],
            "shortest_gap_by_host": [round(min(one), 4) for one in gaps],
            "mean_gap_by_host": [round(sum(one) / len(one), 4) for one in gaps],
            "most_in_a_second_by_host": [most_in(1.0, starts) for starts in seen],
            "most_at_a_time_by_host": [most_at_a_time(one.requests) for one in servers],
            "most_at_a_time": most_at_a_time([one for s in servers for one in s.requests]),
            "crawl_delay": 0.5,
            "retry_after": 2.0,
            "waited_after_429": round(after - first.start, 3),
            "forbidden_asked_for": sum(
                one.path.startswith("/forbidden") for one in servers[2].requests
            ),
            "robots_asked_for": [one.asked("/robots.txt") for one in servers],
        }


def measure_guard(folder: Path) -> dict[str, Any]:
    """Count the connections to addresses that are not allowed."""
    secret = {"/secret.jpg": Reply(picture()), "/robots.txt": Reply(b"")}
    with serving(secret, INSIDE) as inside:
        port = inside.server_port
        value = int.from_bytes(bytes(map(int, INSIDE.split("."))), "big")
        spelled = [INSIDE, str(value), hex(value), "127.99", f"[::ffff:{INSIDE}]"]
        targets = [f"http://{host}:{port}/secret.jpg" for host in spelled]
        targets += [f"https://{INSIDE}:{port}/secret.jpg", f"//{INSIDE}:{port}/secret.jpg"]
        replies: dict[str, Any] = {
            f"/{number}.jpg": Reply(b"", status, {"Location": target})
            for number, (target, status) in enumerate(
                itertools.product(targets, (301, 302, 303, 307, 308))
            )
        }
        replies["/robots.txt"] = Reply(b"", 302, {"Location": targets[0]})
        with (
            serving(replies, HOSTS[0]) as server,
            serving({key: replies[key] for key in replies if key != "/robots.txt"}, HOSTS[1]) as b,
        ):
            source = folder / "guard.txt"
            sent = [s.url(path) for s in (server, b) for path in s.replies if "robots" not in path]
            source.write_text("\n".join([*targets[:-1], *sent]))
            results = []
            for name, variables in (
                ("guard", {}),
                ("proxied", {"http_proxy": inside.url(""), "HTTPS_PROXY": inside.url("")}),
            ):
                options = ("--rate", "200", "--attempts", "1")
                found = run(source, folder / name, *options, environment=variables)
                results.append(found)
        return {
            "addresses": len(targets) - 1 + len(sent),
            "runs": len(results),
            "stored": sum(found["n"] for found in results),
            "failures_without_a_reason": sum(
                not one["reason"] for found in results for one in found["failures"]
            ),
            "redirects_followed": b.asked(),
            "connections_to_a_private_address": inside.n_connections,
        }


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=600, help="number of pictures")
    parser.add_argument("--kills", type=int, default=20, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments of the kills")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        document = {
            "kills": measure_kills(folder, options.n, options.kills, options.seed),
            "pace": measure_pace(folder),
            "guard": measure_guard(folder),
        }
        print(json.dumps(document | {"seconds": round(time.monotonic() - began, 1)}, indent=2))


if __name__ == "__main__":
    main()
