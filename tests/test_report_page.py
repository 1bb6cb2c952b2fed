"""The report in a real browser: Chromium, driven by Playwright, without a network."""

import csv
import html
import io
import json
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from clusterkit.clustering.cluster import Clustering, cluster
from clusterkit.clustering.earlier import read_earlier
from clusterkit.clustering.evaluation import evaluate
from clusterkit.clustering.inspection import ClusterInspection, NearCluster, inspect_clusters
from clusterkit.clustering.promotion import promote
from clusterkit.embedding.embed import embed
from clusterkit.extractors.pixels import Pixels
from clusterkit.images.folder import ImageFolder
from clusterkit.plots.style import cluster_color
from clusterkit.report import write_report
from clusterkit.similarity.space_audit import Audit, Finding
from clusterkit.utils.text import printable

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium"
)
COLORS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 60, 200)}
# File names that a page, a table or a spreadsheet could misinterpret.
HOSTILE = [
    '"quoted", and more.png',
    "<img src=x onerror=alert(1)>.png",
    "=cmd|' !A1.png",
    "'=quoted.png",
    "-1+1.png",
    "two\nlines.png",
    "return\rhere.png",
    "left\u202egnp.txt.png",
    "\\udc80 \\u005c.png",
    "100%25 #1?.png",
    "שלום.png",
    "\udcff.png",
    " space .png",
    "\uff1d1.png",
]
Open = Callable[..., Any]


def paint(folder: Path, names: dict[str, list[str]]) -> ImageFolder:
    """Write small pictures of nearly one colour, by folder."""
    rng = np.random.default_rng(0)
    for color, files in names.items():
        (folder / color).mkdir(parents=True)
        for i, file in enumerate(files):
            pixels = rng.normal(COLORS[color], 12, (30 + i % 3, 40, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / color / file)
    return ImageFolder(folder)


class Place(SimpleNamespace):
    """A folder with images, their store, the table of their clusters and its page."""

    page: Path
    table: Path
    store: Path
    found: Clustering


def prepare(folder: Path, names: dict[str, list[str]], **options: Any) -> Place:
    """Write images, a store, a table of three clusters and a report."""
    images = paint(folder / "photos", names)
    emb = embed(images, Pixels(), store=folder / "store")
    found = replace(cluster(emb, n_clusters=3, random_state=0), names={0: "first"})
    table = found.to_csv(folder / "clusters.csv")
    page = folder / "report.html"
    write_report(table, page, embeddings=emb, **options)
    return Place(page=page, table=table, store=folder / "store", found=found)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a page of 60 images in three folders, which are the clusters."""
    names = {color: [f"{i:02d}.png" for i in range(20)] for color in COLORS}
    return prepare(tmp_path_factory.mktemp("report"), names)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a page of images with hostile names."""
    names = {"red": HOSTILE, "green": ["a.png", "b.png"], "blue": ["c.png", "d.png"]}
    folder = tmp_path_factory.mktemp("hostile")
    return prepare(folder, names, title="</script><script>alert(1)</script>")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return one browser for all tests of the module."""
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Return a function that opens a page, which must run without errors or a network."""
    contexts, problems = [], []

    def open_file(
        page: Path | str, *, width: int = 1280, script: str = "", end: str = "", **options: Any
    ) -> Any:
        address = page if isinstance(page, str) else page.as_uri() + end
        context = browser.new_context(
            viewport={"width": width, "height": 900}, offline=address.startswith("file:"), **options
        )
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(10_000)
        if script:
            tab.add_init_script(script)
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on(
            "console",
            lambda message: message.type == "error" and problems.append(message.text),
        )
        tab.on("request", lambda sent: check_local(sent.url, address))
        tab.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        tab.goto(address)
        if options.get("java_script_enabled", True):
            tab.wait_for_selector("body[data-ready]")
        return tab

    def check_local(url: str, address: str) -> None:
        if not url.startswith(("file:", "blob:", "data:", address.rpartition("/")[0])):
            problems.append(f"asked for {url}")

    yield open_file
    for context in contexts:
        context.close()
    assert not problems


def download(tab: Any, into: Path) -> Path:
    """Save the table of a page."""
    with tab.expect_download() as caught:
        tab.click("#download")
    into.parent.mkdir(parents=True, exist_ok=True)
    caught.value.save_as(into)
    assert caught.value.suggested_filename == "clusters.csv"
    return into


def labels_of(tab: Any) -> list[int]:
    return tab.evaluate("Array.from(Decisions.labels)")


def status(tab: Any) -> str:
    return tab.inner_text("#status")


def n_painted(tab: Any, canvas: str) -> int:
    """Return the number of pixels of a canvas that are not transparent."""
    return tab.evaluate(
        """(id) => {
            const from = document.getElementById(id);
            const to = document.createElement("canvas");
            [to.width, to.height] = [from.width, from.height];
            Plane.draw();
            const context = to.getContext("2d");
            context.drawImage(from, 0, 0);
            const { data } = context.getImageData(0, 0, to.width, to.height);
            let n = 0;
            for (let i = 3; i < data.length; i += 4) n += data[i] > 0;
            return n;
        }""",
        canvas,
    )


def wait_until(tab: Any, expression: str) -> None:
    """Wait for an expression; Playwright evaluates strings, which the page forbids."""
    for _ in range(100):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never: {expression}")


def lasso_all(tab: Any, *, share: float = 1.0) -> None:
    """Draw a lasso around the left part of the map."""
    tab.evaluate("document.getElementById('map').scrollIntoView()")
    box = tab.locator("#over").bounding_box()
    left, top = box["x"] + 2, box["y"] + 2
    right, bottom = left + share * (box["width"] - 4), top + box["height"] - 4
    tab.click("#lasso")
    tab.mouse.move(left, top)
    tab.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        tab.mouse.move(x, y, steps=3)
    tab.mouse.up()
    tab.click("#lasso")


def test_it_opens_from_the_disk_and_draws(place: Place, open_page: Open) -> None:
    tab = open_page(place.page)
    assert tab.evaluate("Plane.kind") in ("2d", "webgl")
    tab.locator("#map-part").scroll_into_view_if_needed()
    assert n_painted(tab, "points") > 60
    for _ in range(50):  # until the thumbnails are decoded
        tab.wait_for_timeout(100)
        if n_painted(tab, "over") > 2000:
            break
    else:
        raise AssertionError("no pictures on the map")
    assert tab.locator("#list [role=option]").count() == 60
    assert tab.locator("section.cluster").count() == 3
    thumb = tab.locator("#list .cell").first
    assert "blob:" in thumb.evaluate("(one) => getComputedStyle(one).backgroundImage")
    assert tab.inner_text("#count") == "3 clusters"
    assert "kmeans" in tab.inner_text("header")


def test_the_map_zooms_and_moves(place: Place, open_page: Open) -> None:
    tab = open_page(place.page)
    tab.locator("#map").scroll_into_view_if_needed()
    box = tab.locator("#over").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 200
    tab.mouse.move(x, y)
    view = tab.evaluate("({ ...Plane.view })")
    tab.mouse.wheel(0, -400)
    wait_until(tab, f"Plane.view.scale > {view['scale']} * 1.5")
    near = tab.evaluate("({ ...Plane.view })")
    # The point under the pointer does not move.
    before = (x - box["x"] - view["x"]) / view["scale"]
    assert (x - box["x"] - near["x"]) / near["scale"] == pytest.approx(before)
    tab.mouse.down()
    tab.mouse.move(x + 50, y + 20, steps=3)
    tab.mouse.up()
    assert tab.evaluate("Plane.view.x") == pytest.approx(near["x"] + 50)
    for key, much in (("0", 1.0), ("+", 1.4), ("-", 1.0)):
        tab.locator("#over").press(key)
        assert tab.evaluate("Plane.view.scale") == pytest.approx(view["scale"] * much)
    tab.locator("#over").press("ArrowRight")
    assert tab.evaluate("Plane.view.x") == pytest.approx(view["x"] - 60)


def test_points_are_drawn_by_webgl_too(place: Place, open_page: Open) -> None:
    tab = open_page(place.page, end="#webgl")
    assert tab.evaluate("Plane.kind") == "webgl"
    tab.locator("#map-part").scroll_into_view_if_needed()
    assert n_painted(tab, "points") > 60
    # The card is taken away, and comes back.
    tab.evaluate(
        """async () => {
            const canvas = document.getElementById("points");
            const card = canvas.getContext("webgl").getExtension("WEBGL_lose_context");
            card.loseContext();
            await new Promise((done) => setTimeout(done, 100));
            card.restoreContext();
            await new Promise((done) => canvas.addEventListener("webglcontextrestored", done));
        }"""
    )
    assert n_painted(tab, "points") > 60


def test_what_is_decided_is_read_by_every_command(
    place: Place, open_page: Open, tmp_path: Path
) -> None:
    tab = open_page(place.page)
    assert download(tab, tmp_path / "same.csv").read_bytes() == place.table.read_bytes()
    # A name, a merge, a new named group by lasso, noise, and a mark.
    tab.fill("[aria-label='Name of cluster 1']", '=wolves, "grey"')
    tab.press("[aria-label='Name of cluster 1']", "Enter")
    tab.focus("[aria-label='Merge cluster 2 into']")
    tab.select_option("[aria-label='Merge cluster 2 into']", "0")
    assert tab.evaluate("Decisions.done.length") == 1  # the arrow keys of a list decide nothing
    tab.click("section.cluster:has(#cluster-2) button:text-is('Merge')")
    lasso_all(tab)
    assert tab.inner_text("#number-selected") == "60 images selected"
    tab.click("#clear")
    # A vertical line with some images of one cluster on its left.
    lefts = sorted(tab.evaluate("Array.from({ length: 60 }, (_, row) => Plane.place(row)[0])"))
    width = tab.locator("#over").bounding_box()["width"]
    lasso_all(tab, share=(lefts[6] + lefts[7]) / 2 / width)
    n_split = tab.evaluate("Choice.selected.size")
    assert 2 <= n_split < 20
    tab.click("#split")
    assert tab.evaluate("document.activeElement.getAttribute('aria-label')") == "Name of cluster 3"
    tab.keyboard.type("new ones")
    tab.keyboard.press("Enter")
    tab.locator("#cluster-0 ~ * >> nth=0").wait_for()
    first = tab.locator("section.cluster").first.locator("[role=option]").first
    first.click(modifiers=["Control"])
    tab.select_option("#target", "-1")
    tab.click("#move")
    tab.locator("section.cluster").first.locator("[role=option] .tick").first.click()
    tab.click("#mark")
    labels, names = labels_of(tab), dict(tab.evaluate("[...Decisions.names]"))
    assert labels.count(-1) == 1
    assert labels.count(3) >= n_split - 1
    assert names == {0: "first", 1: '=wolves, "grey"', 3: "new ones"}

    # Saved next to the description of the original, as when it is overwritten.
    csv_file = download(tab, tmp_path / "clusters.csv")
    shutil.copy(place.table.with_suffix(".json"), tmp_path / "clusters.json")
    earlier = read_earlier(csv_file)
    assert earlier.labels == labels
    assert earlier.names[1] == '=wolves, "grey"'
    assert earlier.names[3] == "new ones"
    assert earlier.decisions.fixed >= {1, 3}
    rows = list(csv.DictReader(io.StringIO(csv_file.read_text())))
    assert [row["path"] for row in rows] == place.found.embeddings.paths
    assert [row["mark"] for row in rows].count("x") == 1

    counts = evaluate(None, csv_file)
    assert counts.n == 60
    assert counts.n_noise == 1
    plan = promote(csv_file, tmp_path / "classes", store=place.store, dry_run=True)
    in_named = [label for label in labels if label != -1 and earlier.names.get(label)]
    assert len(plan.transfers) == len(in_named)
    again = cluster(place.found.embeddings, n_clusters=4, previous=csv_file, random_state=0)
    kept = [row for row, label in enumerate(labels) if label in (1, 3, -1)]
    assert [int(again.labels[row]) for row in kept] == [labels[row] for row in kept]

    # Without the description, the groups and their names are as in the page.
    alone = tmp_path / "alone" / "clusters.csv"
    alone.parent.mkdir()
    shutil.copy(csv_file, alone)
    assert read_earlier(alone).labels == labels
    assert dict(read_earlier(alone).names) == dict(earlier.names)


def test_large_numbers_of_clusters_stay(place: Place, open_page: Open, tmp_path: Path) -> None:
    """As of a table of one's own, in which they are dates or the numbers of albums."""
    numbers = np.array([2**53 - 1, 20261201123000, -1])
    found = replace(place.found, labels=numbers[place.found.labels], names={})
    inspection = inspect_clusters(found)
    page = write_report(found, tmp_path / "report.html", inspection=inspection).path
    tab = open_page(page)
    assert labels_of(tab) == found.labels.tolist()
    assert tab.evaluate("Array.from(Data.inspection.nearest)") == inspection.nearest.tolist()
    tab.evaluate("Page.mark([0], true)")
    write_report(found, page, title="Again", overwrite=True)
    reopen(tab)
    tab.click("#keep")
    assert tab.evaluate("[...Decisions.marks]") == [0]


def test_decisions_are_taken_back_and_survive_a_reload(place: Place, open_page: Open) -> None:
    tab = open_page(place.page)
    before = labels_of(tab)
    tab.evaluate("Page.merge(2, 1)")
    tab.evaluate("Page.mark([0, 1, 2, 5], true)")
    field = "[aria-label='Name of cluster 1']"
    tab.fill(field, "both")
    tab.press(field, "Tab")
    after = labels_of(tab)
    assert "3 decisions" in status(tab)
    tab.reload()
    tab.wait_for_selector("body[data-ready]")
    assert labels_of(tab) == after
    assert tab.input_value(field) == "both"
    assert tab.evaluate("[...Decisions.marks]") == [0, 1, 2, 5]
    tab.keyboard.press("Control+z")
    assert tab.input_value(field) == ""
    tab.click("#redo")
    assert tab.input_value(field) == "both"
    for _ in range(3):
        tab.click("#undo")
    assert labels_of(tab) == before
    assert tab.evaluate("Decisions.marks.size") == 0
    assert tab.is_disabled("#undo")
    assert tab.locator("section.cluster").count() == 3


def test_a_new_cluster_has_no_name_of_one_that_was_emptied(place: Place, open_page: Open) -> None:
    tab = open_page(place.page)
    for _ in range(2):
        tab.locator("[role=option] .tick").first.click()
        tab.click("#split")
    assert labels_of(tab).count(4) == 1
    tab.fill("[aria-label='Name of cluster 4']", "alone")
    tab.press("[aria-label='Name of cluster 4']", "Enter")
    tab.evaluate("Page.merge(4, 0)")
    tab.locator("[role=option] .tick").first.click()
    tab.click("#split")
    assert tab.input_value("[aria-label='Name of cluster 5']") == ""


def test_a_browser_that_keeps_nothing_says_so(place: Place, open_page: Open) -> None:
    forbid = "Storage.prototype.setItem = () => { throw new Error('full'); };"
    tab = open_page(place.page, script=forbid)
    tab.evaluate("Page.mark([0], true)")
    assert "does not keep them" in status(tab)
    damage = 'localStorage.setItem(\'clusterkit-report:\' + KEY, \'[{"steps": [{"move": "99"}]}]\')'
    key = tab.evaluate("Data.key")
    tab = open_page(place.page, script=damage.replace("KEY", json.dumps(key)))
    assert status(tab) == "No decisions yet."


def rebuild(place: Place, labels: list[int], *, without: str = "", **options: Any) -> None:
    """Write the page again, with other clusters of the images, and one image less."""
    found = place.found
    rows = [row for row, path in enumerate(found.embeddings.paths) if path != without]
    again = replace(
        found,
        embeddings=found.embeddings[rows],
        labels=np.array(labels)[rows],
        distances=found.distances[rows],
        exemplars=found.exemplars[rows],
        **options,
    )
    table = again.to_csv(place.table, overwrite=True)
    write_report(table, place.page, embeddings=again.embeddings, overwrite=True)


def reopen(tab: Any) -> None:
    """Load the page again, as it is on the disk now."""
    tab.reload()
    tab.wait_for_selector("body[data-ready]")


def test_a_rebuilt_page_offers_earlier_decisions_by_their_images(
    open_page: Open, tmp_path: Path
) -> None:
    names = {color: [f"{i:02d}.png" for i in range(20)] for color in COLORS}
    place = prepare(tmp_path, names)
    paths, old = place.found.embeddings.paths, place.found.labels.tolist()
    shutil.copy(place.page, other := tmp_path / "other.html")
    tab = open_page(place.page)
    assert not tab.is_visible("#earlier")
    blue, green, red = (old[paths.index(f"{color}/00.png")] for color in sorted(COLORS))
    moved = [f"red/{i:02d}.png" for i in range(3)]
    made = [f"green/{i:02d}.png" for i in range(6)]
    rows = {path: row for row, path in enumerate(paths)}
    tab.evaluate(f"Page.moveTo({[rows[path] for path in moved]}, {blue}, 'to blue')")
    number = tab.evaluate("Decisions.newNumber()")
    steps = f"[{{ name: {number}, as: 'a few' }}]"
    tab.evaluate(f"Page.moveTo({[rows[path] for path in made]}, {number}, 'new', {steps})")
    tab.evaluate(f"Decisions.act('name', [{{ name: {blue}, as: 'sky' }}])")
    tab.evaluate(f"Page.mark([{rows['green/10.png']}], true)")

    # A copy of the page has the same decisions.
    tab.goto(other.as_uri())
    tab.wait_for_selector("body[data-ready]")
    assert "4 decisions" in status(tab)
    tab.goto(place.page.as_uri())

    # Other numbers, an image less: nothing is done unasked, and undone at once.
    change = {blue: green, green: red, red: blue}
    new = [change[label] for label in old]
    rebuild(place, new, without="red/02.png", names={})
    reopen(tab)
    now = tab.evaluate("Data.paths")
    before = labels_of(tab)
    assert status(tab) == "No decisions yet."
    said = tab.inner_text("#earlier-text")
    assert "8 images moved, 2 names, 1 image marked. 1 image is gone or changed." in said
    tab.click("#keep")
    assert not tab.is_visible("#earlier")
    labels = dict(zip(now, labels_of(tab), strict=True))
    assert {labels[path] for path in moved[:2]} == {change[blue]} == {labels["blue/07.png"]}
    (number,) = {labels[path] for path in made}
    assert number not in new
    assert dict(tab.evaluate("[...Decisions.names]")) == {change[blue]: "sky", number: "a few"}
    assert [now[row] for row in tab.evaluate("[...Decisions.marks]")] == ["green/10.png"]
    assert sum(one != other for one, other in zip(before, labels.values(), strict=True)) == 8
    tab.click("#undo")
    assert labels_of(tab) == before
    tab.click("#redo")
    reopen(tab)
    assert labels_of(tab) == list(labels.values())
    assert not tab.is_visible("#earlier")

    # The copy, which is as it was, still has its own, and is offered no others.
    tab.goto(other.as_uri())
    tab.wait_for_selector("body[data-ready]")
    assert "4 decisions" in status(tab)
    assert not tab.is_visible("#earlier")
    for _ in range(4):
        tab.click("#undo")

    # Once in the table, they are there, except for the marks, which a table does not give a page.
    tab.goto(place.page.as_uri())
    tab.wait_for_selector("body[data-ready]")
    labels["red/02.png"] = blue
    rebuild(
        place,
        [labels[path] for path in paths],
        without="red/02.png",
        names={change[blue]: "sky", number: "a few"},
    )
    reopen(tab)
    assert tab.inner_text("#earlier-text").endswith("can be kept: 1 image marked.")
    tab.click("#discard")
    assert not tab.is_visible("#earlier")
    reopen(tab)
    assert not tab.is_visible("#earlier")
    assert tab.evaluate("Object.keys(localStorage)") == []


def test_decisions_about_clusters_that_are_no_more_are_told(
    open_page: Open, tmp_path: Path
) -> None:
    place = prepare(tmp_path, {color: [f"{i}.png" for i in range(6)] for color in COLORS})
    paths, old = place.found.embeddings.paths, place.found.labels
    tab = open_page(place.page)
    tab.evaluate("Decisions.act('name', [{ name: 1, as: 'one' }])")
    tab.evaluate("Decisions.act('name', [{ name: 2, as: 'two' }])")
    # Cluster 1 is in three parts, and 2 has another name.
    parts = [3 + i % 3 if label == 1 else int(label) for i, label in enumerate(old)]
    rebuild(place, parts, names={2: "zwei"})
    reopen(tab)
    said = tab.inner_text("#earlier-text")
    assert "cannot be kept: 2 clusters have other images or another name now." in said
    assert not tab.is_visible("#keep")
    assert tab.evaluate("Decisions.names.get(2)") == "zwei"
    # Pictures that changed under their names are others.
    assert len(set(old)) == 3
    for path in paths:
        pixels = np.random.default_rng(1).integers(0, 255, (30, 40, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / path)
    tab.evaluate("Page.mark([0], true)")
    emb = embed(ImageFolder(tmp_path / "photos"), Pixels(), store=tmp_path / "store")
    write_report(place.table, place.page, embeddings=emb, overwrite=True)
    reopen(tab)
    assert "cannot be kept: 1 image is gone or changed" in tab.inner_text("#earlier-text")


def test_two_reports_in_one_folder_do_not_mix(place: Place, open_page: Open) -> None:
    second = place.page.with_name("second.html")
    write_report(place.table, second, embeddings=place.found.embeddings, title="Second")
    tab = open_page(place.page)
    tab.evaluate("Page.mark([0, 1], true)")
    tab.goto(second.as_uri())
    tab.wait_for_selector("body[data-ready]")
    assert not tab.is_visible("#earlier")
    assert status(tab) == "No decisions yet."
    # The address without a fragment is the page, and an earlier version of it is its own.
    tab.evaluate("Page.mark([5], true)")
    write_report(
        place.table, second, embeddings=place.found.embeddings, title="Third", overwrite=True
    )
    tab.goto(second.as_uri() + "#clusters")
    reopen(tab)
    assert "1 image marked" in tab.inner_text("#earlier-text")
    tab.goto(place.page.as_uri())
    tab.wait_for_selector("body[data-ready]")
    assert tab.evaluate("[...Decisions.marks]") == [0, 1]
    second.unlink()


def test_everything_works_by_keyboard(place: Place, open_page: Open) -> None:
    tab = open_page(place.page)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    sheet = tab.locator("[role=listbox]").first
    sheet.focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Space")
    tab.keyboard.press("Shift+ArrowRight")
    tab.keyboard.press("Shift+ArrowDown")
    assert tab.evaluate("Choice.selected.size") == 3
    active = sheet.get_attribute("aria-activedescendant")
    assert tab.get_attribute(f"#{active}", "aria-selected") == "true"
    tab.keyboard.press("Enter")
    assert tab.is_visible("#details")
    assert tab.evaluate("document.activeElement.closest('#details') !== null")
    tab.keyboard.press("Escape")
    assert not tab.is_visible("#details")
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "listbox"
    tab.focus("#split")
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.getAttribute('aria-label')") == "Name of cluster 3"
    assert labels_of(tab).count(3) == 3
    # From the map: the image in the middle, and what is in view.
    tab.locator("#over").focus()
    tab.keyboard.press("Enter")
    assert tab.is_visible("#details")
    tab.focus("#in-view")
    tab.keyboard.press("Enter")
    assert tab.inner_text("#number-selected") == "60 images selected"


def test_an_image_shows_its_neighbors_and_why(place: Place, open_page: Open) -> None:
    tab = open_page(place.page)
    tab.locator("#list [role=option]").first.click()
    details = tab.locator("#details")
    assert details.locator(".near li").count() == 8
    assert "similar" in details.locator(".near button").first.inner_text()
    link = details.locator("a").get_attribute("href")
    assert (place.page.parent / link).is_file()
    details.locator(".large img").wait_for()
    path = details.locator("h3").first.inner_text()
    details.locator(".near button").first.click()
    assert details.locator("h3").first.inner_text() != path
    # A click on the map opens the image there.
    details.get_by_text("Close").click()
    box = tab.locator("#over").bounding_box()
    x, y = tab.evaluate("[Plane.view.width / 2, Plane.view.height / 2]")
    row = tab.evaluate("([x, y]) => Plane.at(x, y, Infinity)", [x, y])
    tab.evaluate("(row) => Choice.open(row)", row)
    assert tab.evaluate("Choice.state.open") == row
    assert box["width"] > 300


def test_images_are_found_by_path_and_cluster(place: Place, open_page: Open) -> None:
    tab = open_page(place.page)
    tab.fill("#text", "GREEN/0")
    wait_until(tab, "document.getElementById('shown').textContent.startsWith('10 of 60')")
    assert tab.locator("#list [role=option]:visible").count() == 10
    lasso_all(tab)
    assert tab.evaluate("Choice.selected.size") == 10
    tab.fill("#text", "nothing of this name")
    tab.wait_for_selector("text=No image matches the filters.")
    assert tab.evaluate("Choice.selected.size") == 0
    tab.fill("#text", "")
    tab.select_option("#which", "cluster 1")
    wait_until(tab, "document.getElementById('shown').textContent.startsWith('20 of 60')")
    tab.evaluate("Choice.open(Decisions.clusters().get(0)[0])")
    assert tab.is_disabled("#details button >> text=Select")
    tab.select_option("#which", "cluster 0")
    assert tab.is_enabled("#details button >> text=Select")
    tab.select_option("#color", "label")
    assert tab.evaluate("Choice.color(0)") == tab.evaluate("Choice.colorOf(Data.labels.rows[0])")


def test_the_list_does_everything_without_a_canvas(
    place: Place, open_page: Open, tmp_path: Path
) -> None:
    tab = open_page(place.page, script="HTMLCanvasElement.prototype.getContext = () => null;")
    assert not tab.is_visible("#map-part")
    tab.locator("[role=option]").first.click()
    assert tab.is_visible("#details")
    tab.locator("[role=option] .tick").first.click()
    tab.click("#split")
    assert labels_of(tab).count(3) == 1
    assert ",3,," in download(tab, tmp_path / "clusters.csv").read_text()


def test_without_scripts_the_clusters_are_listed(place: Place, open_page: Open) -> None:
    tab = open_page(place.page, java_script_enabled=False)
    assert "0 first, 20 images" in tab.inner_text("#list").replace("\n", " ")
    assert "need JavaScript" in tab.inner_text("noscript")


def test_hostile_names_stay_names(hostile: Place, open_page: Open, tmp_path: Path) -> None:
    tab = open_page(hostile.page)
    assert tab.title() == "</script><script>alert(1)</script>"
    same = download(tab, tmp_path / "clusters.csv")
    assert same.read_bytes() == hostile.table.read_bytes()
    assert tab.locator("#list [role=option]").count() == len(HOSTILE) + 4
    # Every link leads to its file.
    for row, path in enumerate(hostile.found.embeddings.paths):
        address = tab.evaluate("(row) => new URL(linkTo(row), location.href).pathname", row)
        assert unquote(address) == hostile.page.parent / "photos" / path
    shown = tab.locator("#list [role=option][title*='two']").first
    assert shown.get_attribute("title").partition(", ")[0] == "red/two\\nlines.png"
    name = "</script><b>x & \"y\" 'z' \\udc80 שלום"
    # As on a terminal.
    odd = ["\t\r\n\x1b\x9f", "\u00ad\u061c\u200b\ufeff", "a\u200cb", "\U000e0041", "plain"]
    assert tab.evaluate("(texts) => texts.map(printable)", odd) == [*map(printable, odd)]
    field = "[aria-label='Name of cluster 2']"
    tab.fill(field, name)
    tab.press(field, "Enter")
    shutil.copy(hostile.table.with_suffix(".json"), tmp_path / "clusters.json")
    assert read_earlier(download(tab, tmp_path / "clusters.csv")).names[2] == name
    # Words for a missing name would be lost.
    tab.fill(field, "NA")
    tab.press(field, "Enter")
    assert "means a missing value" in status(tab)
    assert tab.input_value(field) == name


def unquote(path: str) -> Path:
    """Return the file of an address."""
    from urllib.parse import unquote_to_bytes

    return Path(unquote_to_bytes(path).decode("utf-8", "surrogateescape"))


def test_decisions_at_random_are_read_as_they_were_made(
    place: Place, open_page: Open, tmp_path: Path
) -> None:
    tab = open_page(place.page)
    rng = np.random.default_rng(0)
    shutil.copy(place.table.with_suffix(".json"), tmp_path / "clusters.json")
    names = ["first", "second", "=third", "", "fourth"]
    for _ in range(15):
        tab.evaluate("while (Decisions.done.length) Decisions.undo()")
        for _ in range(int(rng.integers(1, 7))):
            clusters = [c for c in set(labels_of(tab)) if c >= 0]
            one, other = rng.choice(clusters, 2).tolist()
            rows = rng.choice(60, int(rng.integers(1, 20)), replace=False).tolist()
            name = names[int(rng.integers(len(names)))]
            tab.evaluate(
                [
                    "([one, other]) => one !== other && Page.merge(one, other)",
                    "([one, other, rows]) => Page.moveTo(rows, one, 'moved')",
                    "([one, o, rows]) => { Choice.select(rows); Page.split(); }",
                    "([one, o, rows, name]) => Decisions.whyNot(one, name) === ''"
                    " && Decisions.act('named', [{ name: one, as: name }])",
                ][int(rng.integers(4))],
                [one, other, rows, name],
            )
        table = tmp_path / "clusters.csv"
        table.write_text(tab.evaluate("ClustersTable.text()"))
        earlier = read_earlier(table)
        labels = labels_of(tab)
        assert earlier.labels == labels
        known = {int(c): name for c, name in tab.evaluate("[...Decisions.names]")}
        assert dict(earlier.names) == {c: n for c, n in known.items() if c in labels}


def test_thumbnails_beside_the_page_are_shown(
    place: Place, open_page: Open, tmp_path: Path
) -> None:
    page = tmp_path / 'large "#1" %20.html'
    report = write_report(
        place.table, page, embeddings=place.found.embeddings, max_inside=10, layout="pca"
    )
    assert report.folder == tmp_path / 'large "#1" %20-sheets'
    assert page.stat().st_size < place.page.stat().st_size
    tab = open_page(page)
    tab.locator("#map-part").scroll_into_view_if_needed()
    wait_until(
        tab,
        "(() => { const c = document.createElement('canvas'); c.width = c.height = 96;"
        " return Pictures.draw(c.getContext('2d'), 0, 48, 48, 40); })()",
    )
    thumb = tab.locator("#list .cell").first
    assert "-sheets/00000-" in thumb.evaluate("(one) => getComputedStyle(one).backgroundImage")


def test_a_server_may_send_the_same_policy(place: Place, open_page: Open, tmp_path: Path) -> None:
    page = tmp_path / "served.html"
    write_report(place.found, page, max_inside=10)
    policy = html.unescape(
        page.read_text().partition('Content-Security-Policy" content="')[2].partition('"')[0]
    )

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            self.send_header("Content-Security-Policy", policy)
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        tab = open_page(f"http://127.0.0.1:{server.server_port}/served.html")
        tab.locator("#list [role=option]").first.click()
        assert tab.is_visible("#details")
        thumb = tab.locator("#list .cell").first
        assert "served-sheets" in thumb.evaluate("(one) => getComputedStyle(one).backgroundImage")
    finally:
        server.shutdown()
        server.server_close()


def test_files_that_are_gone_are_grey_tiles(open_page: Open, tmp_path: Path) -> None:
    names = {color: [f"{i}.png" for i in range(4)] for color in COLORS}
    images = paint(tmp_path / "photos", names)
    emb = embed(images, Pixels())
    (tmp_path / "photos/red/1.png").unlink()
    (tmp_path / "photos/red/2.png").write_bytes(b"no image")
    found = cluster(emb, n_clusters=3, random_state=0)
    report = write_report(found, tmp_path / "report.html")
    assert report.n_without_picture == 2
    assert "2 images without a picture" in report.to_text()
    tab = open_page(report.path)
    assert "2 have no picture here" in tab.inner_text("header")
    assert tab.locator("#list .gone").count() == 2
    tab.locator("#list [role=option]:has(.gone)").first.click()
    assert "gone or cannot be read" in tab.inner_text("#details")
    tab.select_option("#which", "gone")
    assert tab.locator("#list [role=option]:visible").count() == 2


@pytest.mark.parametrize("n", [1, 2])
def test_one_image_and_images_without_clusters_open(
    place: Place, open_page: Open, tmp_path: Path, n: int
) -> None:
    emb = place.found.embeddings
    page = write_report(emb[:n], tmp_path / "report.html", labels=None).path
    tab = open_page(page)
    assert tab.inner_text("#count") == "1 cluster"
    tab.locator("#list [role=option]").first.click()
    assert tab.locator("#details .near li").count() == n - 1
    assert tab.evaluate("Plane.place(0).every(Number.isFinite)")
    tab.evaluate("Choice.select([0]); Page.split()")
    assert labels_of(tab)[0] == 1
    # There is no earlier table to be replaced.
    tab.click("#download")
    assert status(tab) == "Downloaded clusters.csv."
    assert ".json" not in tab.inner_text("section:has(> #use)")


def test_what_an_inspection_knows_is_shown(place: Place, open_page: Open, tmp_path: Path) -> None:
    n = len(place.found.labels)
    inspection = ClusterInspection(
        place.found,
        silhouettes=np.linspace(-1, 1, n),
        nearest=np.full(n, 1),
        is_doubtful=np.arange(n) == 3,
        is_odd=np.arange(n) == 5,
        neighbors={0: [NearCluster(2, 0.25), NearCluster(1, 0.5)], 1: [], 2: []},
    )
    page = tmp_path / "report.html"
    write_report(place.found, page, inspection=inspection)
    tab = open_page(page)
    assert tab.locator("#list .doubtful").get_attribute("id") == "image-3"
    tab.locator("#image-5").click()
    assert "unlike its cluster" in tab.inner_text("#details")
    assert tab.evaluate("twoDecimals(-0.001)") == "0.00"
    tab.select_option("#which", "odd")
    assert tab.locator("#list [role=option]:visible").count() == 1
    tab.select_option("#which", "all")
    assert "nearest: cluster 2 (0.25)" in tab.inner_text("#list")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_serious(
    place: Place, open_page: Open, width: int, scheme: str, tmp_path: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    tab = open_page(place.page, width=width, color_scheme=scheme)
    tab.evaluate("Page.mark([0, 1], true); Choice.select([1, 2]);")
    tab.locator("#list [role=option]").first.click()
    found = axe.Axe().run(tab).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not [(one["id"], one["nodes"][0]["html"]) for one in serious]
    # Nothing is cut off at the right.
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_findings_open_their_images(place: Place, open_page: Open, tmp_path: Path) -> None:
    path = place.found.embeddings.paths[7]
    other = f"{'camera_roll_' * 9}.png"
    named = (path, other, path)  # as in two pairs of copies
    finding = Finding("outliers", False, f"{other} is odd.", 1.0, "Look.", named)
    page = tmp_path / "report.html"
    write_report(place.found, page, audit=Audit(place.found.embeddings, [finding]))
    tab = open_page(page, width=360)
    assert tab.locator(".findings button .cell").count() == 1
    assert other in tab.inner_text(".findings .images")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.click(".findings button")
    assert tab.inner_text("#details h3 >> nth=0") == path


def test_the_tables_of_a_curve_and_of_labels_are_there(
    place: Place, open_page: Open, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_report(place.found, page, curve="auto", random_state=0)
    tab = open_page(page)
    assert "3 clusters" in tab.inner_text("section:has(> #number) p")
    assert tab.locator(".bars .best").count() == 1
    assert "accuracy 1.000" in tab.inner_text("section:has(> #labels)")


def test_two_windows_of_a_page_share_their_decisions(place: Place, open_page: Open) -> None:
    tab = open_page(place.page)
    other = tab.context.new_page()
    other.goto(place.page.as_uri())
    other.wait_for_selector("body[data-ready]")
    tab.evaluate("Page.mark([1, 2], true)")
    wait_until(other, "Decisions.marks.size === 2")
    assert status(other) == "As in another window of this page. 1 decision."
    other.evaluate("Page.mark([7], true)")
    wait_until(tab, "Decisions.marks.size === 3")
    tab.click("#undo")
    wait_until(other, "Decisions.marks.size === 2")
    other.reload()
    other.wait_for_selector("body[data-ready]")
    assert other.evaluate("[...Decisions.marks]") == [1, 2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_are_printed_and_controls_are_not(
    place: Place, open_page: Open, scheme: str
) -> None:
    tab = open_page(place.page, color_scheme=scheme)
    tab.locator("#list [role=option]").first.click()
    tab.evaluate("Choice.select([0])")
    tab.emulate_media(media="print")
    cell = tab.locator("#list .cell").first
    assert cell.evaluate("(one) => getComputedStyle(one).printColorAdjust") == "exact"
    for control in ("#bar", "#filters", "#map-part", "#selected", "#details", "nav"):
        assert not tab.is_visible(control)
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"


def test_the_keyboard_is_never_lost(place: Place, open_page: Open) -> None:
    tab = open_page(place.page)
    active = "document.activeElement.getAttribute('aria-label') || document.activeElement.id"
    # From the images to the decisions, and back, whatever was decided there.
    sheet = tab.locator("[role=listbox]").nth(1)
    for keys in (["Escape"], ["Tab", "Enter"], ["Shift+Tab", "Enter"]):
        sheet.focus()
        tab.keyboard.press("Space")
        tab.keyboard.press("m")
        assert tab.evaluate(active) == "target"
        if keys[0] == "Tab":
            tab.select_option("#target", "0")
        for key in keys:
            tab.keyboard.press(key)
        assert tab.evaluate(active) == "Images of cluster 1", keys
        sheet.press("Escape")
    assert labels_of(tab).count(0) == 21
    # Buttons that disappear, or are disabled.
    tab.focus("#undo")
    tab.keyboard.press("Enter")
    assert tab.evaluate(active) == "redo"
    tab.keyboard.press("Enter")
    assert tab.evaluate(active) == "undo"
    tab.select_option("[aria-label='Merge cluster 2 into']", "0")
    tab.focus("section.cluster:has(#cluster-2) button:text-is('Merge')")
    tab.keyboard.press("Enter")
    assert "Images of cluster" in tab.evaluate(active)
    more = tab.locator("section.cluster:has(#cluster-0) button:text-matches('^Show')")
    more.focus()
    tab.keyboard.press("Enter")
    assert "Images of cluster" in tab.evaluate(active)


def test_going_back_shows_no_filter_that_is_not_applied(place: Place, open_page: Open) -> None:
    tab = open_page(place.page)
    tab.fill("#text", "green")
    tab.uncheck("#pictures")
    tab.select_option("#color", "label")
    wait_until(tab, "document.getElementById('shown').textContent.startsWith('20 of 60')")
    tab.goto("about:blank")
    tab.go_back()
    tab.wait_for_selector("body[data-ready]")
    state = tab.evaluate("({ ...Choice.state })")
    assert tab.input_value("#text") == state["text"]
    assert tab.input_value("#color") == state["color"]
    assert tab.is_checked("#pictures")


def test_the_colours_of_the_map_are_explained(place: Place, open_page: Open) -> None:
    tab = open_page(place.page)
    legend = tab.locator("#legend li")
    assert legend.all_text_contents() == ["0 first 20", "cluster 1 20", "cluster 2 20"]
    swatch = "(one) => getComputedStyle(one.querySelector('.swatch')).backgroundColor"
    heading = tab.locator("section.cluster").nth(1).evaluate(swatch)
    assert legend.nth(1).evaluate(swatch) == heading
    tab.evaluate("Page.merge(2, 1)")
    assert legend.all_text_contents() == ["0 first 20", "cluster 1 40"]
    tab.select_option("#color", "label")
    assert legend.all_text_contents() == ["blue 20", "green 20", "red 20"]
    tab.click("#list-words summary")
    assert "silhouette" in tab.inner_text("#list-words dl")


def test_a_page_that_was_sent_says_that_its_files_are_elsewhere(
    place: Place, browser: Any, tmp_path: Path
) -> None:
    said = "the file is not where it was"
    for page, is_sent in ((place.page, False), (tmp_path / "mail" / "report.html", True)):
        page.parent.mkdir(exist_ok=True)
        if is_sent:
            shutil.copy(place.page, page)
        tab = browser.new_page()
        tab.goto(page.as_uri())
        tab.locator("#list [role=option]").first.click()
        tab.locator(f"#details :text('{said}')" if is_sent else "#details .large img").wait_for()
        assert (said in tab.inner_text("#details")) == is_sent
        tab.close()


def test_little_room_and_forced_colours_leave_everything_to_be_seen(
    place: Place, open_page: Open
) -> None:
    tab = open_page(place.page, width=320, forced_colors="active")
    tab.set_viewport_size({"width": 320, "height": 256})
    swatch = tab.locator("#legend .swatch").first
    color = "(one) => getComputedStyle(one).backgroundColor"
    red, green, blue = (round(255 * part) for part in to_rgb(cluster_color(0)))
    assert swatch.evaluate(color) == f"rgb({red}, {green}, {blue})"
    tab.evaluate("Choice.select([0])")
    tab.locator("#image-0").scroll_into_view_if_needed()
    assert tab.locator("#selected").bounding_box()["height"] < 60
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320
    border = "(row) => getComputedStyle(document.getElementById(`image-${row}`)).borderTopColor"
    assert tab.evaluate(border, 0) != tab.evaluate(border, 1)
    # A single cluster has none to be merged into.
    tab.evaluate("Page.merge(1, 0); Page.merge(2, 0)")
    assert tab.locator("[aria-label^='Merge']:visible").count() == 0
