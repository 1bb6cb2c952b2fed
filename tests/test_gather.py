"""Pictures gathered from a server on this machine: each is stored, or its reason is reported."""

import asyncio
import errno
import gzip
import itertools
import json
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clusterkit.cli import main
from clusterkit.datasets.labelled_images import read_labelled
from clusterkit.errors import (
    InvalidInputError,
    MissingDependencyError,
    NotFoundError,
    Notice,
    OutputExistsError,
)
from clusterkit.images.folder import ImageFolder
from clusterkit.preparation.gathering import (
    from_web,
    gather,
    manifest,
    network_guard,
    picture_names,
    politeness,
)
from clusterkit.preparation.gathering.addresses import read_addresses
from clusterkit.preparation.gathering.downloads import Gunzip
from clusterkit.preparation.gathering.manifest import MANIFEST_NAME
from clusterkit.preparation.gathering.result import Gathering
from clusterkit.routing import transfer
from clusterkit.routing.plan import FreeNames
from tests.picture_server import PictureServer, Reply, gzip_bomb, picture, serving

LOCAL = ("127.0.0.1",)
FAST = {"rate": 1000.0, "allow_private": LOCAL, "random_state": 0}
LARGE = 100_000
PNG_START = picture(kind="PNG")[:64]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(politeness, "BACKOFF_SECONDS", 0.02)


def redirect(target: str, status: int = 302) -> Reply:
    return Reply(b"", status, {"Location": target})


@pytest.fixture
def server() -> Iterator[PictureServer]:
    replies = {f"/{n}.jpg": Reply(picture(n)) for n in range(12)}
    with serving(replies) as server:
        yield server


def write_list(folder: Path, rows: list[str]) -> Path:
    file = folder / "addresses.txt"
    file.write_text("\n".join(rows) + "\n")
    return file


def lines(into: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (into / MANIFEST_NAME).read_text().splitlines()]


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def reasons(found: Gathering) -> dict[str, str]:
    return {row.address.rpartition("/")[2]: str(row.reason) for row in found.failures}


# Valid pictures.


def test_pictures_go_to_the_folders_of_their_labels(tmp_path: Path, server: PictureServer) -> None:
    rows = [f"{server.url(f'/{n}.jpg')} {('cat', 'dog')[n % 2]}" for n in range(6)]
    found = gather(write_list(tmp_path, rows), tmp_path / "out", **FAST)
    data = read_labelled(tmp_path / "out")
    assert data.class_counts == found.class_counts == {"cat": 3, "dog": 3}
    for n in range(6):
        file = tmp_path / "out" / ("cat", "dog")[n % 2] / f"{n}.jpg"
        assert file.read_bytes() == picture(n)
    assert found.table is None
    assert "6 new" in found.to_text()
    assert list(found.to_frame()["outcome"]) == ["stored"] * 6
    assert {row["picture"]["digest"] for row in lines(tmp_path / "out")[1:]} == set(
        found.to_frame()["digest"]
    )
    agents = {request.headers["user-agent"] for request in server.requests}
    assert len(agents) == 1
    assert agents.pop().startswith("clusterkit/")


def test_a_table_with_several_labels_becomes_a_table_that_is_read_as_it_is(
    tmp_path: Path, server: PictureServer
) -> None:
    source = tmp_path / "films.csv"
    rows = [f"{n},{server.url(f'/{n}.jpg')},{('Action|Drama', 'Drama')[n % 2]}" for n in range(4)]
    source.write_text("\n".join(["rank,poster_url,genres", *rows]))
    with pytest.warns(match="labels from column 'genres'"):
        found = gather(source, tmp_path / "out", **FAST)
    assert found.table == tmp_path / "out/labels.csv"
    data = read_labelled(found.table)
    assert data.is_multilabel
    assert data.class_counts == {"Action": 2, "Drama": 4}
    assert data.labels == [("Action", "Drama"), ("Drama",)] * 2


def test_without_labels_all_is_in_one_folder(tmp_path: Path, server: PictureServer) -> None:
    rows = ["# these are mine", *(server.url(f"/{n}.jpg") for n in range(3)), ""]
    found = gather(write_list(tmp_path, rows), tmp_path / "out", **FAST)
    assert ImageFolder(tmp_path / "out").paths == ["0.jpg", "1.jpg", "2.jpg"]
    assert found.class_counts == {}


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_the_suffix_is_that_of_the_content(tmp_path: Path, kind: str) -> None:
    with serving({"/a.jpg": Reply(picture(kind=kind), headers={"Content-Type": "text/html"})}) as s:
        gather(write_list(tmp_path, [s.url("/a.jpg")]), tmp_path / "out", **FAST)
    (name,) = ImageFolder(tmp_path / "out").paths
    assert name == {"TIFF": "a.tif"}.get(kind, f"a.{kind.lower()}")


def test_what_is_compressed_on_the_way_is_unpacked(tmp_path: Path) -> None:
    packed = Reply(gzip.compress(picture()), headers={"Content-Encoding": "gzip"})
    with serving({"/a.jpg": packed}) as server:
        gather(write_list(tmp_path, [server.url("/a.jpg")]), tmp_path / "out", **FAST)
    assert (tmp_path / "out/a.jpg").read_bytes() == picture()


def test_gzip_data_of_several_members_are_unpacked_to_their_end(tmp_path: Path) -> None:
    """As concatenated files have them, and servers that compress piece by piece."""
    content = picture(side=64)
    pieces = [content[:100], b"", content[100:700], content[700:]]
    members = b"".join(map(gzip.compress, pieces))
    packed = Reply(members, headers={"Content-Encoding": "gzip"})
    with serving({"/a.jpg": packed}) as server:
        gather(write_list(tmp_path, [server.url("/a.jpg")]), tmp_path / "out", **FAST)
    assert (tmp_path / "out/a.jpg").read_bytes() == content


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize("after", [b"", bytes(9), b"\x1f", b"\x1frest", b"\0\x1fa", b"rest" * 99])
def test_gzip_members_are_told_from_what_follows_in_pieces_of_any_size(
    size: int, after: bytes
) -> None:
    data = gzip.compress(b"first ") + bytes(3) + gzip.compress(b"second") + after
    gunzip = Gunzip()
    content = b"".join(
        gunzip.feed(data[start : start + size], 99) for start in range(0, len(data), size)
    )
    assert content == b"first second"
    assert gunzip.is_whole


def test_gzip_data_that_end_within_a_member_are_not_whole() -> None:
    first, second = gzip.compress(b"first"), gzip.compress(b"second")
    gunzip = Gunzip()
    assert gunzip.feed(first, 99) == b"first"
    assert gunzip.is_whole
    assert b"second".startswith(gunzip.feed(second[:-9], 99))
    assert not gunzip.is_whole
    assert Gunzip().feed(first + second, 7) == b"firstse"


# Invalid pictures, with their reasons.


def bad_replies() -> dict[str, tuple[Reply, str]]:
    """Return misbehaviour of a server, with the reason that is reported."""
    return {
        "missing.jpg": (Reply(b"no", 404), "HTTP 404 Not Found"),
        "error.jpg": (Reply(b"no", 500), "HTTP 500"),
        "page.jpg": (
            Reply(b"<!doctype html>" + b" " * 99, headers={"Content-Type": "image/jpeg"}),
            "text",
        ),
        "movie.jpg": (Reply(b"\0\0\0 ftypisom" + bytes(99)), "not a picture of a known format"),
        "broken.jpg": (Reply(picture(side=64)[:900]), "cannot be read"),
        "empty.jpg": (Reply(b""), "empty"),
        "announced.jpg": (Reply(picture(side=400, kind="BMP")), "more than 100,000 bytes"),
        "endless.jpg": (Reply(PNG_START * 99, manner="endless"), "more than 100,000 bytes"),
        "endless.html": (Reply(b"<p>" * 99, manner="endless"), "text"),
        "bomb.png": (
            Reply(gzip_bomb(50_000_000, PNG_START), headers={"Content-Encoding": "gzip"}),
            "more than 100,000 bytes",
        ),
        "packed.png": (Reply(b"xyz", headers={"Content-Encoding": "gzip"}), "damaged"),
        "brotli.png": (Reply(b"xyz", headers={"Content-Encoding": "br"}), "compressed as br"),
        "short.png": (
            Reply(gzip.compress(picture(side=200))[:5000], headers={"Content-Encoding": "gzip"}),
            "end early",
        ),
        "cut.jpg": (Reply(picture(), manner="cut"), "broke"),
        "drip.jpg": (Reply(picture(), manner="drip"), "longer than 3 seconds"),
        "late.jpg": (Reply(manner="late"), "longer than 3 seconds"),
        "mute.jpg": (Reply(manner="mute"), "longer than 3 seconds"),
        "loop.jpg": (redirect("/loop.jpg"), "redirects more than"),
        "file.jpg": (redirect("file:///etc/passwd"), "redirects to an address that does not"),
        "place.jpg": (redirect("http://[bad:99999999/"), ""),
        "host.jpg": (redirect("http://xn--a.org/"), "broke: Codepoint U+0080"),
        "hyphen.jpg": (redirect("http://xn--zz--.org/"), "broke: A-label"),
        "nowhere.jpg": (redirect("http://exa%20mple.org:0/"), "redirects to an invalid address"),
        "garbage.jpg": (Reply(b"\0\xff garbage\r\n\r\n", manner="raw"), "broke"),
        "heads.jpg": (
            Reply(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, manner="raw"),
            "broke",
        ),
        "lengths.jpg": (
            Reply(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx", manner="raw"),
            "broke",
        ),
        "teapot.jpg": (Reply(b"", 418), "HTTP 418"),
        "strange.jpg": (Reply(b"", 799), "HTTP 799"),
        "nothing.jpg": (Reply(b"", 204), "HTTP 204"),
        "noai.jpg": (Reply(picture(), headers={"X-Robots-Tag": "noai, noimageai"}), "noai"),
        "noindex.jpg": (Reply(picture(), headers={"X-Robots-Tag": "noindex"}), "noindex"),
    }


def test_every_failure_is_in_the_manifest_with_its_reason(tmp_path: Path) -> None:
    bad = bad_replies()
    replies = {f"/{name}": reply for name, (reply, _) in bad.items()}
    replies |= {"/good.jpg": Reply(picture()), "/moved.jpg": redirect("/other.jpg", 301)}
    replies["/other.jpg"] = Reply(picture(1))
    with serving(replies) as server:
        names = ["good.jpg", *bad, "moved.jpg"]
        source = write_list(tmp_path, [server.url(f"/{name}") for name in names])
        found = gather(
            source,
            tmp_path / "out",
            max_bytes=LARGE,
            max_seconds=3.0,
            per_host=99,
            parallel=99,
            **FAST,
        )
        assert server.asked("/missing.jpg") == server.asked("/drip.jpg") == 1
        assert server.asked("/error.jpg") == server.asked("/cut.jpg") == 3
    assert {row.file for row in found.stored} == {"good.jpg", "moved.jpg"}
    said = reasons(found)
    assert set(said) == set(bad)
    for name, (_, reason) in bad.items():
        assert reason in said[name], name
    written = {row["picture"]["address"]: row["picture"] for row in lines(tmp_path / "out")[1:]}
    assert len(written) == len(names)
    for row in found.rows:
        assert written[row.address]["reason"] == row.reason
    assert written[server.url("/moved.jpg")]["final_address"] == server.url("/other.jpg")
    # There are no other files.
    assert names_in(tmp_path / "out") == [MANIFEST_NAME, "good.jpg", "moved.jpg"]
    may_pass = {row.address.rpartition("/")[2] for row in found.failures if row.may_pass}
    assert may_pass == {
        *("error.jpg", "cut.jpg", "short.png", "drip.jpg", "late.jpg", "mute.jpg"),
        *("garbage.jpg", "heads.jpg", "lengths.jpg", "host.jpg", "hyphen.jpg"),
    }


def test_endless_bodies_and_bombs_are_not_taken_into_memory(tmp_path: Path) -> None:
    import tracemalloc

    bomb = Reply(gzip_bomb(100_000_000, PNG_START), headers={"Content-Encoding": "gzip"})
    with serving({"/bomb.png": bomb}) as server:
        source = write_list(tmp_path, [server.url("/bomb.png")])
        tracemalloc.start()
        gather(source, tmp_path / "out", max_bytes=1_000_000, **FAST)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10_000_000


def test_what_is_asked_to_wait_waits_and_then_succeeds(tmp_path: Path) -> None:
    def busy(before: int) -> Reply:
        return Reply(b"", 429, {"Retry-After": "1"}) if not before else Reply(picture())

    with serving({"/a.jpg": busy, "/b.jpg": Reply(picture(1))}) as server:
        source = write_list(tmp_path, [server.url("/a.jpg"), server.url("/b.jpg")])
        found = gather(source, tmp_path / "out", per_host=1, **FAST)
        assert len(found.stored) == 2
        a, *rest = [request for request in server.requests if request.path != "/robots.txt"]
    # This host gets no request meanwhile.
    assert min(one.start for one in rest) - a.start >= 1.0


def test_a_wait_holds_also_after_the_last_attempt(tmp_path: Path) -> None:
    busy = Reply(b"", 429, {"Retry-After": "1"})
    with serving({"/a.jpg": busy, "/b.jpg": Reply(picture(1))}) as server:
        source = write_list(tmp_path, [server.url("/a.jpg"), server.url("/b.jpg")])
        found = gather(source, tmp_path / "out", per_host=1, attempts=1, **FAST)
        assert len(found.stored) == 1
        a, b = [request for request in server.requests if request.path != "/robots.txt"]
    assert b.start - a.start >= 1.0


def test_a_wait_that_is_too_long_is_left_to_another_run(tmp_path: Path) -> None:
    closed = Reply(b"", 503, {"Retry-After": "86400"})
    with serving({"/0.jpg": closed, "/1.jpg": Reply(picture())}) as server:
        source = write_list(tmp_path, [server.url("/0.jpg"), server.url("/1.jpg")])
        found = gather(source, tmp_path / "out", per_host=1, **FAST)
        assert server.asked() == 1
    assert [row.may_pass for row in found.failures] == [True, True]
    assert all("86400 seconds" in str(row.reason) for row in found.failures)


def test_a_host_that_does_not_answer_is_left_alone(tmp_path: Path) -> None:
    replies = {f"/{n}.jpg": Reply(manner="mute") for n in range(9)} | {"/robots.txt": Reply(b"")}
    with serving(replies) as server:
        source = write_list(tmp_path, [server.url(path) for path in replies if "jpg" in path])
        found = gather(source, tmp_path / "out", max_seconds=0.4, per_host=1, **FAST)
        assert server.asked() == 5
    assert len(found.failures) == 9
    assert all(row.may_pass for row in found.failures)
    assert "did not answer 5 times in a row" in str(found.failures[-1].reason)


def test_a_host_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, port: int) -> list[str]:
        if host == "no.test":
            raise socket.gaierror(-2, "Name or service not known")
        return ["127.0.0.1"]

    monkeypatch.setattr(network_guard, "look_up", look_up)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    rows = ["http://no.test/0.jpg", f"http://closed.test:{port}/1.jpg"]
    found = gather(write_list(tmp_path, rows), tmp_path / "out", obey_robots=False, **FAST)
    said = reasons(found)
    assert said["0.jpg"] == "no connection to no.test: the name no.test cannot be found"
    assert said["1.jpg"].startswith("no connection to closed.test: ")
    assert all(row.may_pass for row in found.failures)


def test_a_disk_that_is_full_ends_the_run_and_loses_nothing(
    tmp_path: Path, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_list(tmp_path, [server.url(f"/{n}.jpg") for n in range(5)])
    n_left = iter(range(2))

    def rename(*paths: Path) -> None:
        if next(n_left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        transfer.rename(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "rename", rename)
        with pytest.raises(InvalidInputError, match=r"No space left on device\. The same command"):
            gather(source, tmp_path / "out", **FAST)
    assert len(gather(source, tmp_path / "out", **FAST).stored) == 5
    assert all(picture(n) == (tmp_path / f"out/{n}.jpg").read_bytes() for n in range(5))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of files")
@pytest.mark.parametrize("limit", [20, 700, 1500])
def test_a_manifest_that_cannot_grow_ends_the_run_and_is_not_damaged(
    tmp_path: Path, server: PictureServer, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    import resource

    # Python would cut what it keeps of modules, too.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    for n in range(5):
        server.replies[f"/{n}.jpg"] = Reply(picture(n, side=4, kind="PNG"))
    source = write_list(tmp_path, [f"{server.url(f'/{n}.jpg')} a|b" for n in range(5)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(InvalidInputError, match=r"cannot write in .*: File too large"):
            gather(source, tmp_path / "out", **FAST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    found = gather(source, tmp_path / "out", **FAST)
    assert len(found.stored) == 5
    assert len(read_labelled(tmp_path / "out/labels.csv")) == 5


def test_a_line_that_was_cut_is_taken_back(
    tmp_path: Path, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    written = manifest.GatherManifest(tmp_path / "out")
    with written.writing(manifest.PLAIN):
        with monkeypatch.context() as patch:
            patch.setattr(manifest.os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                written.add_table("1")
        assert len((tmp_path / "out" / MANIFEST_NAME).read_text().splitlines()) == 1
        written.add_table("2")
    assert manifest.GatherManifest(tmp_path / "out").tables == {"2"}


def test_it_runs_where_a_loop_is_running_as_in_a_notebook(
    tmp_path: Path, server: PictureServer
) -> None:
    async def cell() -> Gathering:
        return gather(write_list(tmp_path, [server.url("/0.jpg")]), tmp_path / "out", **FAST)

    assert len(asyncio.run(cell()).stored) == 1


# robots.txt


def test_robots_rules_are_obeyed_unless_the_owner_says_otherwise(tmp_path: Path) -> None:
    rules = b"User-agent: *\nDisallow: /private/\nAllow: /private/open*.jpg$\n"
    paths = ["/private/1.jpg", "/private/open1.jpg", "/3.jpg"]
    replies = {path: Reply(picture(n)) for n, path in enumerate(paths)}
    with serving(replies | {"/robots.txt": Reply(rules)}) as server:
        source = write_list(tmp_path, [server.url(path) for path in paths])
        found = gather(source, tmp_path / "out", **FAST)
        assert reasons(found) == {"1.jpg": "the robots.txt of 127.0.0.1 does not allow it"}
        assert server.asked("/private/1.jpg") == 0
        assert server.asked("/robots.txt") == 1
        again = gather(source, tmp_path / "out", obey_robots=False, retry_failed=True, **FAST)
        assert len(again.stored) == 3


@pytest.mark.parametrize(
    ("reply", "n_stored"),
    [
        (Reply(b"", 404), 1),
        (Reply(b"", 403), 1),
        (Reply(b"", 500), 0),
        (Reply(b"", 429), 0),
        (Reply(manner="mute"), 0),
        (redirect("/rules.txt"), 0),
        (Reply(b"# nothing\n" + b" " * 600_000 + b"\nUser-agent: *\nDisallow: /"), 1),
    ],
)
def test_robots_that_cannot_be_read(tmp_path: Path, reply: Reply, n_stored: int) -> None:
    """RFC 9309: after 4xx everything is allowed, after 5xx nothing."""
    replies = {"/robots.txt": reply, "/0.jpg": Reply(picture())}
    replies["/rules.txt"] = Reply(b"User-agent: clusterkit\nDisallow: /\n")
    with serving(replies) as server:
        source = write_list(tmp_path, [server.url("/0.jpg")])
        found = gather(source, tmp_path / "out", max_seconds=0.5, **FAST)
        assert len(found.stored) == n_stored == server.asked("/0.jpg")
    for row in found.failures:
        assert "robots.txt" in str(row.reason)


# Private addresses.


def test_no_request_reaches_a_private_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"inner.test": ["127.0.0.2"], "both.test": ["127.0.0.1", "127.0.0.2"]}
    names["outer.test"] = ["127.0.0.1"]
    monkeypatch.setattr(network_guard, "look_up", lambda host, port: names.get(host, [host]))
    # A proxy would connect instead of us.
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.2:9")
    with serving({"/secret.jpg": Reply(picture())}, ip="127.0.0.2") as inside:
        hidden = [
            f"http://{host}:{inside.server_port}/secret.jpg" for host in names | {"127.0.0.2": 0}
        ]
        hidden.remove(f"http://outer.test:{inside.server_port}/secret.jpg")
        replies = {f"/{n}.jpg": redirect(target) for n, target in enumerate(hidden)}
        replies["/hop.jpg"] = redirect("/0.jpg")
        with serving(replies) as server:
            sent = [server.url(path, "outer.test") for path in replies]
            source = write_list(tmp_path, [*hidden, *sent])
            found = gather(source, tmp_path / "out", **FAST)
            assert server.asked() == len(replies) + 1  # the hop is two
        assert inside.n_connections == 0
    assert not found.stored
    for row in found.failures:
        assert "127.0.0.2 is not a public address (loopback)" in str(row.reason)


def test_a_name_that_changes_its_address_gains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is resolved once per connection, and the checked address is used."""
    answers = iter(range(1000))

    def change(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if next(answers) % 2 == 0 else ["127.0.0.2"]

    monkeypatch.setattr(network_guard, "look_up", change)
    # Each answer closes its connection, so that each request needs a new one.
    good = Reply(picture(), headers={"Connection": "close"})
    with serving({f"/{n}.jpg": good for n in range(6)}) as server:
        port = server.server_port
        inside = PictureServer({}, ip="127.0.0.2")
        inside.server_close()
        source = write_list(tmp_path, [f"http://change.test:{port}/{n}.jpg" for n in range(6)])
        found = gather(source, tmp_path / "out", obey_robots=False, per_host=1, **FAST)
        assert server.asked() == 3
    assert len(found.failures) == 3
    reasons = [str(row.reason) for row in found.failures]
    assert all("change.test resolves to an internal address" in reason for reason in reasons)


def test_by_default_nothing_of_this_machine_is_asked(tmp_path: Path, server: PictureServer) -> None:
    source = write_list(tmp_path, [server.url("/0.jpg"), server.url("/0.jpg", "localhost")])
    found = gather(source, tmp_path / "out", rate=1000)
    assert len(found.failures) == 2
    assert server.n_connections == 0
    assert "--allow-private 127.0.0.1" in found.to_text()


# Once, and only once.


def test_a_second_run_asks_for_nothing_that_is_there(tmp_path: Path, server: PictureServer) -> None:
    source = write_list(tmp_path, [server.url(f"/{n}.jpg") for n in range(3)])
    gather(source, tmp_path / "out", **FAST)
    write_list(tmp_path, [server.url(f"/{n}.jpg") for n in range(5)])
    (tmp_path / "out/1.jpg").unlink()
    found = gather(source, tmp_path / "out", **FAST)
    assert all(server.asked(f"/{n}.jpg") == 1 for n in range(5))
    assert (len(found.stored), len(found.removed)) == (4, 1)
    assert "2 new, 2 there before" in found.to_text()
    assert "1 picture taken away since" in found.to_text()


def test_only_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    replies = {
        "/gone.jpg": Reply(b"", 404),
        "/busy.jpg": Reply(b"", 500),
        "/a.jpg": Reply(picture()),
    }
    with serving(replies) as server:
        source = write_list(tmp_path, [server.url(path) for path in replies])
        found = gather(source, tmp_path / "out", attempts=1, **FAST)
        assert "tries 1 of them again, --retry-failed all" in found.to_text()
        server.replies |= {path: Reply(picture(1)) for path in ("/gone.jpg", "/busy.jpg")}
        # Earlier failures are tried after new addresses.
        write_list(tmp_path, [server.url(path) for path in [*replies, "/new.jpg"]])
        gather(source, tmp_path / "out", per_host=1, **FAST)
        assert [server.asked(path) for path in replies] == [1, 2, 1]
        assert [one.path for one in server.requests[-2:]] == ["/new.jpg", "/busy.jpg"]
        server.replies["/new.jpg"] = Reply(picture(2))
        found = gather(source, tmp_path / "out", retry_failed=True, **FAST)
        assert [server.asked(path) for path in replies] == [2, 2, 1]
    assert not found.failures


def test_the_same_picture_at_two_addresses_is_stored_once(tmp_path: Path) -> None:
    replies = {f"/{n}.jpg": Reply(picture(0)) for n in range(3)}
    with serving(replies) as server:
        rows = [
            f"{server.url(f'/{n}.jpg')} {label}" for n, label in enumerate(["cat", "cat", "dog"])
        ]
        found = gather(write_list(tmp_path, rows), tmp_path / "out", per_host=1, **FAST)
    # Under another label it is another row of the data: `check` tells of it.
    assert ImageFolder(tmp_path / "out").paths == ["cat/0.jpg", "dog/2.jpg"]
    assert [row.is_copy for row in found.rows] == [False, True, False]
    assert "1 of the addresses gave a picture that another gave" in found.to_text()
    assert "under different labels" in found.to_text()


def test_a_picture_whose_first_address_left_the_source_is_there(tmp_path: Path) -> None:
    with serving({f"/{n}.jpg": Reply(picture(0)) for n in range(3)}) as server:
        for names in (["0.jpg"], ["1.jpg"], ["2.jpg", "1.jpg", "0.jpg"]):
            source = write_list(tmp_path, [server.url(f"/{name}") for name in names])
            found = gather(source, tmp_path / "out", **FAST)
            assert [row.file for row in found.stored] == ["0.jpg"]
            assert found.to_dict()["n_new"] == (names == ["0.jpg"])
            assert "different labels" not in found.to_text()
            assert ("1 there before" in found.to_text()) == (names != ["0.jpg"])


def test_names_come_from_addresses_that_are_not_trusted(tmp_path: Path) -> None:
    paths = ["/..%2f..%2fup.jpg", "/a%5c..%5cb.png", "/con.jpg", "/%2e%2e", "/.hidden.jpg"]
    paths += ["/%E2%80%AEgpj.jpg", "/red%20fox%20%C3%A4.JPEG", "/A.jpg", "/a.jpeg", "/x/a.jpg"]
    paths += [
        f"/{'long' * 100}.jpg",
        "/get?name=../../x.jpg",
        "/%00%0a.jpg",
        "/=1+1.jpg",
        "/a%3ab%2a%3f.jpg",
    ]
    with serving({path: Reply(picture(n)) for n, path in enumerate(paths)}) as server:
        rows = [server.url(path) for path in paths]
        found = gather(write_list(tmp_path, rows), tmp_path / "out", **FAST)
        assert not found.failures
    names = ImageFolder(tmp_path / "out").paths
    assert len(names) == len(paths)
    assert len({name.casefold() for name in names}) == len(paths)
    assert not set("".join(names)) & set('\\/:*?"<>|\0\n\u202e')
    assert {"up.jpg", "b.jpg", "_con.jpg", "hidden.jpg", "red fox ä.jpg", "get.jpg"} <= set(names)
    assert names_in(tmp_path) == ["addresses.txt", "out"]


def test_names_of_addresses_that_differ_in_their_query_do_not_take_ever_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_keys = 0

    def alike(path: str) -> str:
        nonlocal n_keys
        n_keys += 1
        return path.casefold()

    monkeypatch.setattr(picture_names, "alike", alike)
    names = FreeNames(tmp_path, ["image (3).jpg"], picture_names.without_suffix)
    stems = [picture_names.stem_of(f"http://a.org/image?id={n}") for n in range(200)]
    taken = [names.take(".", f"{stem}.jpg") for stem in stems]
    assert taken[:3] == ["image.jpg", "image (2).jpg", "image (4).jpg"]
    assert len(set(taken)) == 200
    assert n_keys < 5 * 200


@pytest.mark.parametrize(("label", "link"), [("cat", "cat"), ("a|b", "images")])
def test_nothing_is_written_through_a_link_that_leads_elsewhere(
    tmp_path: Path, server: PictureServer, label: str, link: str
) -> None:
    source = write_list(tmp_path, [f"{server.url(f'/{n}.jpg')} {label}" for n in range(2)])
    gather(source, tmp_path / "out", max_images=1, **FAST)
    (tmp_path / "out" / link).rename(tmp_path / "elsewhere")
    (tmp_path / "out" / link).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInputError, match="is a link that leads out of"):
        gather(source, tmp_path / "out", **FAST)
    assert names_in(tmp_path / "elsewhere") == ["0.jpg"]


def test_nothing_is_overwritten(tmp_path: Path, server: PictureServer) -> None:
    source = write_list(tmp_path, [f"{server.url(f'/{n}.jpg')} cat" for n in range(2)])
    gather(source, tmp_path / "out", max_images=1, **FAST)
    (tmp_path / "out/cat/1.jpg").write_text("mine")
    gather(source, tmp_path / "out", **FAST)
    assert (tmp_path / "out/cat/1.jpg").read_text() == "mine"
    assert (tmp_path / "out/cat/1 (2).jpg").read_bytes() == picture(1)


def test_a_table_that_was_edited_is_kept(tmp_path: Path, server: PictureServer) -> None:
    source = write_list(tmp_path, [f"{server.url(f'/{n}.jpg')} a|b" for n in range(2)])
    first = gather(source, tmp_path / "out", max_images=1, **FAST)
    again = gather(source, tmp_path / "out", max_images=1, **FAST)
    assert first.table == again.table == tmp_path / "out/labels.csv"
    again.table.write_text("path,label\nimages/0.jpg,better\n")
    with pytest.warns(UserWarning, match="was changed since it was written"):
        last = gather(source, tmp_path / "out", **FAST)
    assert "better" in again.table.read_text()
    assert last.table is not None
    assert last.table.name == "labels (2).csv"
    assert "images/1.jpg,a|b" in last.table.read_text()


# Kills.


@pytest.mark.parametrize("step", ["write_bytes", "add", "rename", "after"])
def test_a_kill_at_any_step_loses_nothing(
    tmp_path: Path, server: PictureServer, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    def torn(self: manifest.GatherManifest, line: dict[str, Any]) -> None:
        if "picture" not in line:
            return append(self, line)
        with self.file.open("ab") as stream:
            stream.write(json.dumps(line).encode()[:40])
        raise Killed

    append = manifest.GatherManifest._append
    source = write_list(tmp_path, [f"{server.url('/0.jpg')} cat"])
    with monkeypatch.context() as patch:
        if step == "write_bytes":
            patch.setattr(Path, "write_bytes", die)
        elif step == "add":
            patch.setattr(manifest.GatherManifest, "_append", torn)
        elif step == "rename":
            patch.setattr(manifest, "rename", die)
        else:
            patch.setattr(manifest.GatherManifest, "finish", die)
        with pytest.raises(Killed):
            gather(source, tmp_path / "out", **FAST)
    found = gather(source, tmp_path / "out", **FAST)
    assert (tmp_path / "out/cat/0.jpg").read_bytes() == picture(0)
    assert names_in(tmp_path / "out") == ["cat", MANIFEST_NAME]
    assert len(found.stored) == 1
    # Already recorded, so it is never requested again.
    n_asked = 2 if step in ("write_bytes", "add") else 1
    assert server.asked() == n_asked
    assert len(gather(source, tmp_path / "out", **FAST).stored) == 1
    assert server.asked() == n_asked


def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(tmp_path: Path) -> None:
    replies = {f"/{n}.jpg": Reply(picture(n)) for n in range(4)} | {
        "/mute.jpg": Reply(manner="mute")
    }
    with serving(replies) as server:
        names = ["0.jpg", "1.jpg", "mute.jpg", "2.jpg", "3.jpg"]
        source = write_list(tmp_path, [f"{server.url(f'/{name}')} a|b" for name in names])
        command = [sys.executable, "-m", "clusterkit", "gather", str(source)]
        command += ["--into", str(tmp_path / "out"), "--allow-private", "127.0.0.1"]
        command += ["--rate", "1000", "--per-host", "1"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while server.asked("/mute.jpg") == 0:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130, said
        assert said.strip() == "Interrupted: the same command continues"
        # The existing files can be used.
        assert len(read_labelled(tmp_path / "out/labels.csv")) == 2
        server.replies["/mute.jpg"] = Reply(picture(9))
        found = gather(source, tmp_path / "out", **FAST)
        assert len(found.stored) == 5
        assert all(server.asked(f"/{n}.jpg") == 1 for n in range(4))


def test_two_runs_at_a_time_are_refused(tmp_path: Path, server: PictureServer) -> None:
    running = manifest.GatherManifest(tmp_path / "out")
    with (
        running.writing(manifest.PLAIN),
        pytest.raises(InvalidInputError, match="another run is gathering"),
    ):
        gather(write_list(tmp_path, [server.url("/0.jpg")]), tmp_path / "out", **FAST)


# Politeness, as seen by the server.


def test_the_pace_of_a_host_and_the_limits_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_guard, "look_up", lambda host, port: ["127.0.0.1"])
    replies: dict[str, Any] = {f"/{n}.jpg": Reply(picture(n)) for n in range(5)}
    with serving(replies) as server:
        hosts = [f"{name}.test" for name in "abc"]
        rows = [server.url(f"/{n}.jpg", host) for n in range(5) for host in hosts]
        found = gather(write_list(tmp_path, rows), tmp_path / "out", **FAST | {"rate": 10.0})
        assert len([row for row in found.rows if row.outcome == "stored"]) == 15
        by_host: dict[str, list[float]] = {}
        for request in server.requests:
            by_host.setdefault(request.host, []).append(request.start)
    assert len(by_host) == 3
    for starts in by_host.values():
        # On a busy machine, times at the server are slightly early or late.
        for first, last in itertools.combinations(range(len(starts)), 2):
            assert starts[last] - starts[first] > (last - first) * 0.1 - 0.05
    # The hosts are requested in parallel: each is begun before any of them is done.
    assert max(map(min, by_host.values())) < min(map(max, by_host.values()))


def test_of_many_hosts_only_some_are_asked_beside_each_other(
    tmp_path: Path, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_tasks: list[int] = []

    def connecting(*how: Any) -> Any:
        n_tasks.append(len(asyncio.all_tasks()))
        return in_thread(*how)

    in_thread = network_guard._in_thread
    monkeypatch.setattr(network_guard, "_in_thread", connecting)
    monkeypatch.setattr(network_guard, "look_up", lambda host, port: ["127.0.0.1"])
    monkeypatch.setattr(from_web, "_MAX_HOSTS", 3, raising=False)
    rows = [server.url(f"/{n}.jpg", f"{n}.test") for n in range(12)]
    found = gather(write_list(tmp_path, rows), tmp_path / "out", obey_robots=False, **FAST)
    assert len(found.stored) == 12
    assert max(n_tasks) <= 1 + 3 * 2 + 2


def test_a_crawl_delay_is_kept(tmp_path: Path) -> None:
    replies = {f"/{n}.jpg": Reply(picture(n)) for n in range(3)}
    rules = Reply(b"User-agent: *\nCrawl-delay: 0.2\n")
    with serving(replies | {"/robots.txt": rules}) as server:
        rows = [server.url(path) for path in replies]
        gather(write_list(tmp_path, rows), tmp_path / "out", **FAST)
        starts = [request.start for request in server.requests]
    assert len(starts) == 4
    assert min(b - a for a, b in itertools.pairwise(starts)) > 0.19


# Before any work.


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "has no addresses"),
        ("a.txt", "www.example.org/a.jpg", "does not start with http"),
        ("a.txt", "http://u:p@example.org/", "user name"),
        ("a.txt", "http://exa%20mple.org/", "host or port"),
        (
            "a.txt",
            "http://a.org/ cat\nhttp://a.org/ dog",
            "two labels for http://a.org/: cat and dog",
        ),
        ("a.csv", "url,label\nhttp://a.org/,cat\nhttp://a.org/,dog", "two labels"),
        ("a.csv", "place,label\nhere,cat\n", "none holds any"),
        ("a.csv", "url,icon,label\nhttp://a.org/,http://b.org/,cat\n", "url, icon all do"),
        pytest.param(
            "a.csv",
            "url,what\nhttp://a.org/,CON\nhttp://b.org/,con",
            "share one folder",
            marks=pytest.mark.filterwarnings("ignore:classes in .* read alike"),
        ),
        ("a.csv", "", "must have a header"),
    ],
)
def test_bad_sources_are_refused_before_any_work(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        gather(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_columns_are_chosen_by_name(tmp_path: Path, server: PictureServer) -> None:
    source = tmp_path / "a.csv"
    row = f"{server.url('/0.jpg')},{server.url('/1.jpg')},cat,big"
    source.write_text(f"small,large,what,size\n{row}\n")
    with pytest.raises(InvalidInputError, match="--address-column must be a column"):
        gather(source, tmp_path / "out", address_column="huge", **FAST)
    with pytest.raises(InvalidInputError, match="--label-column must be a column"):
        gather(source, tmp_path / "out", address_column="large", label_column="huh", **FAST)
    with pytest.warns(match="labels from column 'what'"):
        gather(source, tmp_path / "out", address_column="large", label_column="what", **FAST)
    assert (tmp_path / "out/cat/1.jpg").is_file()
    gather(source, tmp_path / "bare", address_column="small", label_column="none", **FAST)
    assert (tmp_path / "bare/0.jpg").is_file()


@pytest.mark.parametrize("label_column", [None, "none"])
@pytest.mark.parametrize("ends", [("", ""), (",cat", ",dog")])
def test_the_first_line_of_a_table_without_a_header_counts(
    tmp_path: Path, ends: tuple[str, str], label_column: str | None
) -> None:
    source = tmp_path / "a.csv"
    source.write_text("".join(f"http://a.org/{n}.jpg{end}\n" for n, end in enumerate(ends)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        found = read_addresses(source, label_column=label_column)
    assert [one.address for one in found] == ["http://a.org/0.jpg", "http://a.org/1.jpg"]
    if label_column is None:
        assert [",".join(("", *one.labels)) for one in found] == list(ends)


def test_a_split_of_the_table_is_kept(tmp_path: Path, server: PictureServer) -> None:
    source = tmp_path / "a.csv"
    rows = [
        f"{server.url(f'/{n}.jpg')},{'ab'[n % 2]},{('train', 'test')[n // 2]}" for n in range(4)
    ]
    source.write_text("\n".join(["url,label,split", *rows]))
    with pytest.warns(match="parts from column 'split'"):
        found = gather(source, tmp_path / "out", **FAST)
    assert found.table is not None
    with pytest.warns(match="parts from column 'split'"):
        data = read_labelled(found.table)
    assert data.names == ["a/0.jpg", "a/2.jpg", "b/1.jpg", "b/3.jpg"]
    assert data.parts == ["train", "test", "train", "test"]


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 0},
        {"max_seconds": -1},
        {"parallel": 0},
        {"allow_private": ["x"]},
        {"contact": "a\n"},
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    source = write_list(tmp_path, ["http://example.org/a.jpg"])
    with pytest.raises(InvalidInputError, match="must be"):
        gather(source, tmp_path / "out", **options)


@pytest.mark.parametrize("name", ["httpx", "protego", "selectolax"])
def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf"gather needs {name}: pip install .*gather"):
        gather(write_list(tmp_path, ["http://example.org/a.jpg"]), tmp_path / "out")


def test_a_folder_of_others_is_not_touched(tmp_path: Path, server: PictureServer) -> None:
    source = write_list(tmp_path, [server.url("/0.jpg")])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("x")
    with pytest.raises(OutputExistsError, match="were not gathered, such as notes"):
        gather(source, tmp_path / "mine", **FAST)
    with pytest.raises(OutputExistsError, match="is not a folder"):
        gather(source, source, **FAST)
    with pytest.raises(NotFoundError):
        gather(tmp_path / "no.txt", tmp_path / "out", **FAST)
    gather(source, tmp_path / "out", **FAST)
    write_list(tmp_path, [f"{server.url('/0.jpg')} cat"])
    with pytest.raises(InvalidInputError, match="was gathered into one folder"):
        gather(source, tmp_path / "out", **FAST)


def test_a_damaged_manifest_is_refused(tmp_path: Path, server: PictureServer) -> None:
    source = write_list(tmp_path, [server.url("/0.jpg")])
    gather(source, tmp_path / "out", **FAST)
    manifest = tmp_path / "out" / MANIFEST_NAME
    whole = manifest.read_text()
    for text in (
        whole.replace("0.jpg", "../0.jpg"),
        whole.replace("stored", "sto\nred"),
        whole.replace('"clusterkit_gather": 1', '"clusterkit_gather": 2'),
        "{}\n",
    ):
        manifest.write_text(text)
        with pytest.raises(InvalidInputError, match="is damaged"):
            gather(source, tmp_path / "out", **FAST)


def test_pictures_without_a_label_among_others_are_left_out(
    tmp_path: Path, server: PictureServer
) -> None:
    source = write_list(tmp_path, [f"{server.url('/0.jpg')} cat", server.url("/1.jpg")])
    with pytest.warns(UserWarning, match="left out 1 picture without a label"):
        found = gather(source, tmp_path / "out", **FAST)
    assert found.class_counts == {"cat": 1}


def test_pictures_whose_labels_changed_stay_where_they_are(
    tmp_path: Path, server: PictureServer
) -> None:
    address = server.url("/0.jpg")
    gather(write_list(tmp_path, [f"{address} cat"]), tmp_path / "out", **FAST)
    with pytest.warns(UserWarning, match="1 picture had other labels when they were gathered"):
        gather(write_list(tmp_path, [f"{address} dog"]), tmp_path / "out", **FAST)
    assert ImageFolder(tmp_path / "out").paths == ["cat/0.jpg"]


def test_a_server_that_asks_for_long_waits_is_left_alone(tmp_path: Path) -> None:
    rules = Reply(b"User-agent: *\nCrawl-delay: 500\n")
    with serving({"/robots.txt": rules, "/0.jpg": Reply(picture(0))}) as server:
        found = gather(write_list(tmp_path, [server.url("/0.jpg")]), tmp_path / "out", **FAST)
        assert server.asked("/0.jpg") == 0
    assert "asks for 500 seconds between requests" in reasons(found)["0.jpg"]


# The command.


def test_the_command_plans_gathers_and_says_what_failed(
    tmp_path: Path, server: PictureServer
) -> None:
    rows = [f"{server.url(f'/{n}.jpg')} {('cat', 'dog')[n % 2]}" for n in range(3)]
    source = write_list(tmp_path, [*rows, f"{server.url('/no.jpg')} cat"])
    arguments = ["gather", str(source), "--into", str(tmp_path / "out"), "--rate", "1000"]
    arguments += ["--allow-private", "127.0.0.1"]
    done = CliRunner().invoke(main, [*arguments, "--dry-run"])
    assert "4 pictures would be gathered from 1 host" in done.stdout
    assert "3  cat" in done.stdout
    assert (server.n_connections, (tmp_path / "out").exists()) == (0, False)
    table = tmp_path / "all.csv"
    done = CliRunner().invoke(main, [*arguments, "--json", "--table", str(table)])
    document = json.loads(done.stdout)
    assert (document["n"], document["n_failed"], document["classes"]) == (
        3,
        1,
        {"cat": 2, "dog": 1},
    )
    assert (document["labels"], document["table"]) == (None, str(table))
    assert document["failures"][0]["reason"] == "HTTP 404 Not Found"
    assert Counter(line.split(",")[3] for line in table.read_text().splitlines()[1:]) == {
        "stored": 3,
        "failed": 1,
    }
    for file in (tmp_path / "out").rglob("*.jpg"):
        file.unlink()
    source.write_text("\n".join(rows))
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, "3 pictures taken away since" in done.stdout) == (0, True)
    (tmp_path / "none").mkdir()
    source = write_list(tmp_path, [server.url("/no.jpg")])
    arguments[1:4] = [str(source), "--into", str(tmp_path / "none")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "no picture could be gathered" in done.stderr
