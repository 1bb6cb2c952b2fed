"""Measure the size of a report, the time to write it, and the speed of its map.

    python -m tests.benchmarks.report [N ...]

For each number of images (by default 10,000 and 100,000), a page is written, and opened in Chromium
without a graphics card.  Up to 20,000 images are crops of the shared photos, with vectors of 2,048
dimensions.  Above that, there are no image files, and only points are drawn.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from clusterkit.clustering.cluster import cluster
from clusterkit.report import write_report
from clusterkit.store.embeddings import Embeddings

SHARED = Path(os.environ.get("CLUSTERKIT_SHARED", Path(__file__).parents[3] / "shared"))
SETS = ("species10", "imbalanced10", "anime5", "posters700")
MAX_PICTURES = 20_000
N_FRAMES = 120

# Script that returns the times between frames, in ms, while the map is moved and zoomed.
FRAMES = """
async (n) => {
  const times = [];
  let last = null;
  const step = (i) => new Promise((done) => requestAnimationFrame((now) => {
    if (last !== null) times.push(now - last);
    last = now;
    if (i < n / 2) Plane.zoom(i % 40 < 20 ? 1.12 : 1 / 1.12, 500, 300);
    else Plane.move(i % 30 < 15 ? 9 : -9, 4);
    done();
  }));
  for (let i = 0; i < n; i++) await step(i);
  return times;
}
"""


def make_images(folder: Path, n: int, rng: np.random.Generator) -> list[str]:
    """Write crops of the shared photos, 224 pixels wide; return their names."""
    photos = sorted(file for name in SETS for file in (SHARED / "data" / name).rglob("*.jpg"))
    if not photos:
        raise SystemExit(f"needs the photos in {SHARED} (CLUSTERKIT_SHARED)")
    names = []
    for i in range(n):
        with Image.open(photos[i % len(photos)]) as photo:
            left, top = rng.uniform(0, 0.2, 2)
            box = (left, top, left + 0.8, top + 0.8)
            sides = (photo.width, photo.height) * 2
            crop = photo.convert("RGB").crop([int(a * b) for a, b in zip(box, sides, strict=True)])
        crop.thumbnail((224, 224))
        name = f"{photos[i % len(photos)].parent.name}/{i:05d}_{photos[i % len(photos)].stem}.jpg"
        (folder / name).parent.mkdir(exist_ok=True)
        crop.save(folder / name, quality=90)
        names.append(name)
    return names


def make_space(folder: Path, n: int) -> Embeddings:
    """Return vectors in 20 groups, with images if there are not too many."""
    rng = np.random.default_rng(0)
    has_pictures = n <= MAX_PICTURES
    dimension = 2048 if has_pictures else 64
    centers = rng.normal(0, 1, (20, dimension))
    vectors = centers[rng.integers(0, 20, n)] + rng.normal(0, 1.5, (n, dimension))
    paths = [f"some folder/{i:06d}.jpg" for i in range(n)]
    if has_pictures:
        paths = make_images(folder, n, rng)
    classes = [f"class {i}" for i in range(1000)]
    top5 = [
        [(classes[c], float(p)) for c, p in zip(some, (0.5, 0.2, 0.1, 0.05, 0.02), strict=True)]
        for some in rng.integers(0, 1000, (n, 5))
    ]
    space = {"extractor": "synthetic", "fingerprint": "0" * 64}
    return Embeddings(vectors.astype(np.float32), paths=paths, root=folder, space=space, top5=top5)


def look(page: Path) -> dict[str, float]:
    """Open a page, and return the measurements."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        start = time.perf_counter()
        tab.goto(page.as_uri(), timeout=120_000)
        tab.wait_for_selector("body[data-ready]", timeout=120_000)
        ready = time.perf_counter() - start
        first = tab.evaluate("performance.getEntriesByName('map')[0].startTime") / 1000
        print(f"  points drawn by {tab.evaluate('Plane.kind')}")
        measured = {"first map, s": first, "whole page, s": ready}
        tab.evaluate("document.getElementById('map-part').scrollIntoView()")
        for name, factor in (("all", 1), ("near", 4), ("nearer", 16)):
            tab.evaluate("(factor) => { Plane.fit(); Plane.zoom(factor, 500, 300); }", factor)
            tab.wait_for_timeout(2000)
            times = tab.evaluate(FRAMES, N_FRAMES)
            measured[f"frame p95 ({name}), ms"] = float(np.percentile(times, 95))
            measured[f"frame median ({name}), ms"] = float(np.median(times))
        browser.close()
    return measured


def main() -> None:
    for n in [int(word) for word in sys.argv[1:]] or [10_000, 100_000]:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, "photos")
            folder.mkdir()
            embeddings = make_space(folder, n)
            found = cluster(embeddings, "minibatch-kmeans", n_clusters=20, random_state=0)
            start = time.perf_counter()
            report = write_report(found, Path(temporary, "report.html"), max_inside=n)
            seconds = time.perf_counter() - start
            print(f"{n:,} images: {seconds:.1f} s, {report.n_bytes / 1e6:.1f} MB, ", end="")
            print(f"{report.n_bytes / n:,.0f} bytes an image")
            for name, value in look(report.path).items():
                print(f"  {name:24} {value:8.2f}")


if __name__ == "__main__":
    main()
