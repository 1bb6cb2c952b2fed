"""The page that clusterkit serves, in a real browser: Chromium, driven by Playwright."""

import io
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image

from tests.serving import Files, new_picture

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium"
)


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory, tiny_network: None, tiny_weights: Path
) -> Iterator[str]:
    """Serve a store, a classifier and groups, and return the address."""
    app = Files(tmp_path_factory.mktemp("page"), tiny_weights).app()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, ws="none", log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_an_upload_shows_its_class_group_and_neighbours(address: str) -> None:
    said: list[Any] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        page.locator("body[data-ready=true]").wait_for()
        pictures = [
            {"name": "new.png", "mimeType": "image/png", "buffer": new_picture()},
            {"name": "text.png", "mimeType": "image/png", "buffer": b"text"},
        ]
        page.locator("#upload-files").set_input_files(pictures)
        page.get_by_text("2 pictures examined.").wait_for()
        boxes = page.locator("#upload-results .sent")
        first, second = boxes.nth(0).inner_text(), boxes.nth(1).inner_text()
        neighbors = boxes.nth(0).locator(".images img")
        sizes = [neighbors.nth(i).evaluate("one => one.decode()") for i in range(8)]
        # A folder of photos is sent in parts, and a very wide one stays in the page.
        wide = io.BytesIO()
        Image.new("RGB", (2000, 20), "red").save(wide, "PNG")
        many = [{**pictures[0], "name": f"{i}.png"} for i in range(139)]
        many.append({"name": "wide.png", "mimeType": "image/png", "buffer": wide.getvalue()})
        page.locator("#upload-files").set_input_files(many)
        page.get_by_text("140 pictures examined.").wait_for()
        texts = [boxes.nth(i).inner_text() for i in (0, 138, 139)]
        page.set_viewport_size({"width": 360, "height": 740})
        width = page.evaluate("document.documentElement.scrollWidth")
        page.set_viewport_size({"width": 1280, "height": 740})
        neighbors.first.click()
        large = page.locator("#details .large img")
        large.wait_for()
        source = large.get_attribute("src")
        opened = page.request.get(f"{address}/{source}")
        browser.close()
    assert "Class: " in first
    assert "Group: cluster " in first
    assert len(sizes) == 8
    assert all("Class: " in text and "Group: cluster " in text for text in texts)
    assert width <= 360
    assert "Cannot be used: not an image" in second
    assert (opened.status, opened.headers["content-type"]) == (200, "image/jpeg")
    assert said == []
