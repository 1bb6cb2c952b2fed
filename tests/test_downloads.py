"""Downloads of weights from a server on this machine: time limit, Ctrl-C, nothing left behind."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clusterkit.embedding.embed import embed_to_store
from clusterkit.errors import WeightsError
from clusterkit.extractors.applications import KerasApplication
from clusterkit.images.folder import ImageFolder
from clusterkit.networks import downloads
from clusterkit.networks.downloads import download
from tests import tiny_network as tiny


class Server(ThreadingHTTPServer):
    """Serves ``content`` under any name, in the way that the folder in the address names."""

    daemon_threads = True
    content = b"weights" * 1000

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.is_over = threading.Event()

    def url(self, how: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{how}/tiny.h5"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        how, content = self.path.split("/")[1], self.server.content
        if how == "missing":
            self.send_error(404)
            return
        if how == "mute":
            self.server.is_over.wait()
            return
        self.send_response(200)
        if how != "unsized":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if how in ("stall", "short"):
            content = content[:3000]
        # Slowly: each piece arrives in time, but all of them take longer than the limit.
        n_pieces = 4 if how == "slow" else 1
        for start in range(0, len(content), -(-len(content) // n_pieces)):
            self.wfile.write(content[start : start + -(-len(content) // n_pieces)])
            self.wfile.flush()
            if how == "slow":
                time.sleep(0.15)
        if how == "stall":
            self.server.is_over.wait()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.is_over.set()
        server.shutdown()


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.4)


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("how", ["whole", "slow", "unsized"])
def test_a_file_comes_whole_however_slowly(server: Server, tmp_path: Path, how: str) -> None:
    download(server.url(how), tmp_path / "tiny.h5")
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.h5"]
    assert (tmp_path / "tiny.h5").read_bytes() == server.content


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("stall", r"nothing has come from 127.0.0.1:\d+ for 0.4 seconds"),
        ("mute", "nothing has come from"),
        ("short", "ended the connection after 3,000 of 7,000 bytes"),
        ("missing", "missing/tiny.h5: HTTP 404 Not Found"),
    ],
)
def test_a_failed_download_says_why_and_leaves_what_was_there(
    server: Server, tmp_path: Path, how: str, reason: str
) -> None:
    (tmp_path / "tiny.h5").write_bytes(b"of before")
    start = time.monotonic()
    with pytest.raises(WeightsError, match=reason):
        download(server.url(how), tmp_path / "tiny.h5")
    assert time.monotonic() - start < 5
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"of before"]


def test_no_server_is_an_error_without_names_of_classes(tmp_path: Path) -> None:
    with Server() as server:
        url = server.url("whole")
    with pytest.raises(WeightsError, match=r"tiny.h5: Connection refused$"):
        download(url, tmp_path / "tiny.h5")


@pytest.fixture
def downloaded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_weights_with_head: Path
) -> Iterator[dict[str, str]]:
    """Make ``tinynet`` download its weights like networks of Keras; yield how they are served."""
    import keras

    server.content = tiny_weights_with_head.read_bytes()
    choice = {"how": "whole", "file_hash": hashlib.md5(server.content).hexdigest()}

    def build(*, weights: str, **options: Any) -> Any:
        assert weights == "imagenet"
        file = keras.utils.get_file(
            "tiny.weights.h5",
            server.url(choice["how"]),
            cache_subdir="models",
            cache_dir=tmp_path / "cache",
            file_hash=choice["file_hash"],
        )
        return tiny.build(weights=file, **options)

    (tmp_path / "cache").mkdir()
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "photos" / "a.png")
    # With a graph that another test cached, no weights would be needed.
    monkeypatch.setenv("CLUSTERKIT_CACHE", str(tmp_path / "graphs"))
    with tiny.registered(), monkeypatch.context() as patch:
        patch.setattr(keras.applications, tiny.ROW.builder, build)
        yield choice


def left(folder: Path) -> list[str]:
    """Return all files of the cache and the store."""
    return [file.name for file in folder.rglob("*") if file.is_file() and file.suffix != ".png"]


def embed(folder: Path) -> Any:
    extractor = KerasApplication(tiny.NAME, weights="imagenet", precision="float32")
    return embed_to_store(ImageFolder(folder / "photos"), extractor, folder / "store")


def test_keras_downloads_once_and_prints_nothing_on_stdout(
    downloaded: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras

    assert embed(tmp_path).embedded == 1
    assert left(tmp_path / "cache") == ["tiny.weights.h5"]
    downloaded["how"] = "missing"  # it is not asked again
    KerasApplication(tiny.NAME, weights="imagenet").build_network()
    assert capsys.readouterr().out == ""
    assert keras.config.is_interactive_logging_enabled()


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("how", ["stall", "short", "missing", "wrong hash"])
def test_a_failed_run_leaves_nothing_behind(
    downloaded: dict[str, str], tmp_path: Path, how: str
) -> None:
    downloaded |= {"file_hash": "0" * 32} if how == "wrong hash" else {"how": how}
    with pytest.raises(WeightsError, match=r"cannot download .* of tinynet .*--weights FILE"):
        embed(tmp_path)
    assert left(tmp_path) == []
    assert not (tmp_path / "store").exists()


def test_the_first_ctrl_c_ends_a_download_and_leaves_nothing_behind(
    downloaded: dict[str, str], tmp_path: Path
) -> None:
    downloaded["how"] = "stall"

    def interrupt() -> None:
        # The network runs in a thread, which no signal reaches.
        while not any(tmp_path.rglob(".tiny.*")):
            time.sleep(0.01)
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    pressed: list[float] = []
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path)
    assert time.monotonic() - pressed[0] < 1
    assert left(tmp_path) == []
    assert not (tmp_path / "store").exists()
