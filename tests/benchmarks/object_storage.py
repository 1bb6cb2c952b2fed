"""Measure stores on object storage: kills of real processes, and the cost of latency.

Run as ``python -m tests.benchmarks.object_storage kills`` or ``latency``.  The service is a real S3
server on this machine.
"""

import argparse
import contextlib
import logging
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from clusterkit.embedding import embed as embedding
from clusterkit.embedding.embed import embed, embed_to_store
from clusterkit.images.folder import ImageFolder
from clusterkit.store import markers
from clusterkit.store.store import Store
from clusterkit.utils.locations import RemotePath
from clusterkit.utils.parallel import map_ahead
from tests.object_storage import make_bucket, running
from tests.stores import make_photos

N_IMAGES = 240


def prepare(server: str, folder: Path) -> RemotePath:
    """Write photos to a folder and to a bucket, and return the bucket."""
    bucket = make_bucket(server, "measured")
    make_photos(folder, N_IMAGES)

    def copy(file: Path) -> int:
        return (bucket / "photos" / file.name).write_bytes(file.read_bytes())

    list(map_ahead(copy, sorted(folder.iterdir()), ahead=64, workers=16))
    return bucket


def child(store: str) -> None:
    """Embed the photos, in small parts."""
    with patch.object(embedding, "PART_ROWS", 16):
        embed_to_store(ImageFolder("s3://measured/photos"), "pixels", store)


def kills(bucket: RemotePath, folder: Path, n_kills: int, seed: int) -> None:
    """Kill runs at random moments, every third time two in parallel; then let one finish."""
    rng, store = random.Random(seed), str(bucket / "store")
    command = [sys.executable, "-m", "tests.benchmarks.object_storage", "child", store]
    n_known = []
    for number in range(n_kills):
        runs = [subprocess.Popen(command) for _ in range(1 + (number % 3 == 2))]
        # Start-up takes longer than embedding: the first runs are killed before their first part.
        if number >= 3:
            wait_for_part(bucket / "store", runs[0])
        time.sleep(rng.uniform(0, 1.5))
        for run in runs:
            run.send_signal(signal.SIGKILL)
            run.wait()
        spaces = Store(store).spaces()
        n_known.append(len(spaces[0].known_rows()) if spaces else 0)
    print(f"rows after each of {n_kills} kills: {n_known}")
    child(store)
    here, there = embed(folder, "pixels"), Store(store).read()
    print(f"same paths: {there.paths == here.paths}, failures: {there.failures == here.failures}")
    print(f"same vectors: {np.array_equal(there.vectors, here.vectors)}")
    space = Store(store).space()
    print(f"lists: {len(space.ledgers.list_files())}, damaged: {Store(store).verify()}")
    with patch.object(markers, "_LIFE_SECONDS", -1.0), space.writing():
        space.clean()
    same = np.array_equal(Store(store).read().vectors, here.vectors)
    n_lists = len(space.ledgers.list_files())
    print(f"when the killed runs no longer count: lists {n_lists}, same: {same}")


def wait_for_part(store: RemotePath, run: "subprocess.Popen[bytes]") -> None:
    """Wait until a store has another part, or a run has ended."""
    before = len(list(store.list_fitting(["*/part-*"])))
    while run.poll() is None and len(list(store.list_fitting(["*/part-*"]))) == before:
        time.sleep(0.05)


def latency(bucket: RemotePath) -> None:
    """Embed with many requests at a time, and with as many as for a disk; then with nothing new."""
    images = ImageFolder(bucket / "photos")
    for name, workers in (("many requests", None), ("as from a disk", lambda _: None)):
        with contextlib.ExitStack() as stack:
            if workers is not None:
                place = "clusterkit.embedding.workers.reading_workers"
                stack.enter_context(patch(place, workers))
            start = time.perf_counter()
            embed(images, "pixels")
            print(f"{name}: {len(images) / (time.perf_counter() - start):.0f} images/s")
    for name in ("first run", "nothing new"):
        start = time.perf_counter()
        embed_to_store(images, "pixels", bucket / "store")
        print(f"{name}: {time.perf_counter() - start:.1f} s")


@contextlib.contextmanager
def slow(seconds: float) -> Any:
    """Delay each answer of the server."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = DomainDispatcherApplication(create_backend_app)

    def answer(*arguments: Any) -> Any:
        time.sleep(seconds)
        return application(*arguments)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    with patch.dict("os.environ", AWS_ENDPOINT_URL=address):
        yield address
    server.shutdown()


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["kills", "latency", "child"])
    parser.add_argument("store", nargs="?")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--milliseconds", type=float, default=30)
    options = parser.parse_args()
    if options.what == "child":
        child(options.store)
        return
    with tempfile.TemporaryDirectory() as place, running() as server:
        folder = Path(place, "photos")
        if options.what == "kills":
            kills(prepare(server, folder), folder, options.kills, options.seed)
        else:
            with slow(options.milliseconds / 1000) as slow_server:
                latency(prepare(slow_server, folder))


if __name__ == "__main__":
    main()
