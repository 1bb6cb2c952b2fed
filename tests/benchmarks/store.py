"""Read a store while it is written, or kill its writers, and count errors; all must be 0.

``python -m tests.benchmarks.store readers --seconds 120`` reads, clusters, exports, searches
similar images and computes the elbow in one process, while another one repeatedly deletes a photo
and runs ``embed --prune``.  ``python -m tests.benchmarks.store kills --kills 100`` kills ``embed``
at random moments, between changes of the folder.  Each prints its counts as JSON.
"""

import argparse
import json
import multiprocessing
import random
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from clusterkit.cli import main as command_line
from clusterkit.embedding import embed as pipeline
from clusterkit.embedding.embed import embed_to_store
from clusterkit.images.folder import ImageFolder, digest_file
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import Store
from tests.grid_colours import REPOSITORY, GridColours

N_PHOTOS, N_BROKEN = 1888, 40
WRITER = """
import sys, time
from pathlib import Path
from clusterkit.images.folder import ImageFolder
from clusterkit.embedding.embed import embed_to_store
photos, store, end = Path(sys.argv[1]), sys.argv[2], time.time() + float(sys.argv[3])
rounds = 0
while time.time() < end:
    min(photos.glob("a*.png")).unlink()
    embed_to_store(ImageFolder(photos), "pixels", store, prune=True)
    rounds += 1
print(rounds)
"""


def main() -> None:
    """Run one of the two measurements, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["readers", "kills"])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = (
            beside_a_writer(Path(folder), options.seconds)
            if options.what == "readers"
            else after_kills(Path(folder), options.kills, options.seed)
        )
    print(json.dumps(counts))


def paint(folder: Path, names: list[str], rng: np.random.Generator) -> None:
    """Write small noise pictures."""
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / name)


def beside_a_writer(folder: Path, seconds: float) -> dict[str, int]:
    """Read a store while another process deletes photos and prunes."""
    photos, store = folder / "photos", folder / "store"
    paint(photos, [f"a{i:05}.png" for i in range(N_PHOTOS)], np.random.default_rng(0))
    for i in range(N_BROKEN):
        (photos / f"z{i:04}.png").write_bytes(b"broken")
    embed_to_store(ImageFolder(photos), "pixels", store)
    emb = Store(store).space().read()
    truth = dict(zip(emb.paths, emb.vectors, strict=True))
    command = [sys.executable, "-c", WRITER, str(photos), str(store), str(seconds)]
    writer = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    counts: Counter[str] = Counter(wrong=0, short=0, tracebacks=0, refused=0, warnings=0)
    most = N_PHOTOS + N_BROKEN
    exported, last = folder / "out.npz", f"a{N_PHOTOS - 1:05}.png"
    commands = {
        "cluster": ["cluster", "-k", "3", "-o", str(folder / "c.csv"), "--overwrite"],
        "minibatch": [
            "cluster",
            "-a",
            "minibatch-kmeans",
            "-k",
            "3",
            "-o",
            str(folder / "m.csv"),
            "--overwrite",
        ],
        "similar": ["similar", str(photos / last)],
        "export": ["export", "-o", str(exported), "--overwrite"],
        "elbow": ["elbow", "--k-max", "3"],
        "info": ["store", "info"],
        "verify": ["store", "verify"],
    }
    names = list(commands)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        while writer.poll() is None:
            for _ in range(5):
                emb = Store(store).space().read()
                counts["reads"] += 1
                counts["wrong"] += count_wrong(emb, truth)
                n_rows, least = len(emb) + len(emb.failures), len(list(photos.iterdir()))
                counts["short"] += not least <= n_rows <= most
                most = n_rows
            name = names[counts["commands"] % len(names)]
            result = CliRunner().invoke(command_line, [*commands[name], "-s", str(store)])
            counts["commands"] += 1
            counts[name] += 1
            if result.exit_code == 1 and result.stderr.startswith("Error: "):
                counts["refused"] += 1
                print(name, result.stderr, file=sys.stderr)
            elif result.exit_code:
                counts["tracebacks"] += 1
                print(name, result.exit_code, result.exception, result.stderr, file=sys.stderr)
            elif name == "export":
                with np.load(exported) as arrays:
                    back = Embeddings(arrays["vectors"], paths=arrays["paths"].tolist())
                counts["wrong"] += count_wrong(back, truth)
        counts["warnings"] = sum("left out" in str(warning.message) for warning in caught)
    output, _ = writer.communicate()
    counts["writer failed"] = writer.returncode != 0
    counts["rounds of the writer"] = int(output or 0)
    return dict(counts)


def count_wrong(emb: Embeddings, truth: dict[str, np.ndarray]) -> int:
    """Count the images with the vector of another image."""
    pairs = zip(emb.paths, emb.vectors, strict=True)
    return sum(not np.array_equal(truth[path], vector) for path, vector in pairs)


def after_kills(folder: Path, n_kills: int, seed: int) -> dict[str, int]:
    """Kill ``embed`` again and again, and check the store each time."""
    rng, paints = random.Random(seed), np.random.default_rng(seed)
    photos, store = folder / "photos", folder / "store"
    paint(photos, [f"{i:04}.png" for i in range(200)], paints)
    (photos / "zz.png").write_bytes(b"broken")
    extractor, seconds = GridColours(), 1.0
    pipeline.PART_ROWS = 8
    vector_of: dict[str, np.ndarray] = {}
    kept: set[str] = set()
    counts: Counter[str] = Counter(kills=0, lost=0, wrong=0, damaged=0)
    while counts["kills"] < n_kills:
        files = sorted(photos.glob("*.png"))
        for file in rng.sample(files[:-1], 3):
            file.rename(photos / f"{rng.random():.9f}.png")
        deleted = rng.choice(sorted(photos.glob("*.png"))[:-1])
        kept.discard(digest_file(deleted))
        deleted.unlink()
        paint(photos, [f"new{rng.random():.9f}.png" for _ in range(12)], paints)
        # A fork is a separate process that needs no time for imports.
        run = (ImageFolder(photos), GridColours(seconds=0.01), store)
        process = multiprocessing.get_context("fork").Process(
            target=embed_to_store, args=run, kwargs={"prune": True}
        )
        process.start()
        process.join(timeout=rng.random() * seconds)
        process.kill()
        process.join()
        ended = process.exitcode == 0
        counts["kills"] += process.exitcode == -signal.SIGKILL
        counts["ended before the kill"] += ended
        counts["failed"] += process.exitcode not in (0, -signal.SIGKILL)
        # Some are not killed, so that the last steps of a run are reached, too.
        seconds = seconds * 0.8 if ended else seconds * 1.05
        print(dict(counts), file=sys.stderr)
        if not Store(store).spaces():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            emb = Store(store).space().read()
        counts["damaged"] += len(Store(store).verify())
        on_disk = {str(photos / path) for path in ImageFolder(photos).paths}
        for path, digest, vector in zip(emb.paths, emb.digests or [], emb.vectors, strict=True):
            if str(emb.root) + "/" + path in on_disk:
                if digest not in vector_of:
                    vector_of[digest] = extractor.transform([emb.root / path])[0]
                counts["wrong"] += not np.array_equal(vector, vector_of[digest])
        # Stored rows must remain, unless their photo was deleted.
        counts["lost"] += len(kept - set(emb.digests or []))
        kept = {
            digest
            for path, digest in zip(emb.paths, emb.digests or [], strict=True)
            if str(emb.root) + "/" + path in on_disk
        }
    report = embed_to_store(ImageFolder(photos), extractor, store, prune=True)
    embed_to_store(ImageFolder(photos), extractor, folder / "whole")
    resumed, whole = Store(store).space().read(), Store(folder / "whole").space().read()
    same = resumed.paths == whole.paths and np.array_equal(resumed.vectors, whole.vectors)
    counts["other than a run without kills"] = not same
    counts["images"], counts["embedded at the end"] = report.images, report.embedded
    names = {file.name for file in Store(store).space().parts}
    files = {file.name for file in store.rglob("*") if file.suffix not in (".json", "")}
    counts["leftovers"] = len(files - names - {Store(store).space().folder.name})
    return dict(counts)


if __name__ == "__main__":
    main()
