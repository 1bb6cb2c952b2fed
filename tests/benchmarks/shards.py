"""Kill shards that run in parallel, and count lost, duplicate and wrong rows; all must be 0.

``python -m tests.benchmarks.shards --kills 50`` embeds a folder as three shards in parallel
processes, again and again, while photos are renamed, deleted and added.  Each time, some of the
processes are killed at random moments, and sometimes an ordinary run is started in parallel.  At
the end, the same commands run without kills, and the store is compared row by row with that of a
single run.  Prints counts as JSON.

``python -m tests.benchmarks.shards --network xception --weights FILE --images DIR`` embeds the
photos in DIR in a single run and as three shards, and checks that the vectors are equal to the bit.
"""

import argparse
import json
import multiprocessing
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clusterkit.embedding import embed as pipeline
from clusterkit.embedding.embed import embed_to_store
from clusterkit.extractors.by_name import create_extractor
from clusterkit.images.folder import ImageFolder, digest_file
from clusterkit.store.store import Store
from tests.grid_colours import GridColours
from tests.stores import rows_of

N_SHARDS = 3
PART_ROWS = 8
# Images of a batch that is in the network, and of one that is ready for it.
AHEAD = 3 * 8


def main() -> None:
    """Kill shards, or compare them with one run, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--network")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = (
            after_kills(Path(folder), options.kills, options.seed)
            if options.network is None
            else to_the_bit(Path(folder), options.network, options.weights, options.images)
        )
    print(json.dumps(counts))


def paint(folder: Path, names: list[str], rng: np.random.Generator) -> None:
    """Write small noise pictures."""
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(rng.integers(1, 256, (16, 16, 3), np.uint8)).save(folder / name)


def embed_part(photos: Path, store: Path, log: Path, shard: tuple[int, int] | None) -> None:
    """Embed one shard, or all, in a new process."""
    extractor = GridColours(seconds=0.02, log=str(log))
    embed_to_store(ImageFolder(photos), extractor, store, shard=shard)


def after_kills(folder: Path, n_kills: int, seed: int) -> dict[str, Any]:
    """Kill shards again and again, and check the store each time."""
    rng, paints = random.Random(seed), np.random.default_rng(seed)
    photos, store, log = folder / "photos", folder / "store", folder / "log"
    paint(photos, [f"{i:04}.png" for i in range(300)], paints)
    (photos / "zz.png").write_bytes(b"broken")
    pipeline.PART_ROWS = PART_ROWS
    fork = multiprocessing.get_context("fork")
    vector_of: dict[str, np.ndarray] = {}
    kept: set[str] = set()
    counts: Counter[str] = Counter(kills=0, lost=0, wrong=0, doubled=0, damaged=0, failed=0)
    seconds, n_new = 1.5, 300
    log.touch()
    while counts["kills"] < n_kills:
        counts["rounds"] += 1
        shards: list[Any] = [(number, N_SHARDS) for number in range(1, N_SHARDS + 1)]
        # An ordinary run on the same photos, in parallel.
        shards += [None] if rng.random() < 0.3 else []
        processes = [
            fork.Process(target=embed_part, args=(photos, store, log, shard)) for shard in shards
        ]
        for process in processes:
            process.start()
        for process in rng.sample(processes, len(processes)):
            process.join(timeout=rng.random() * seconds)
            process.kill()
        for process in processes:
            process.join()
            counts["kills"] += process.exitcode == -signal.SIGKILL
            counts["ended before the kill"] += process.exitcode == 0
            counts["failed"] += process.exitcode not in (0, -signal.SIGKILL)
        n_ended = sum(process.exitcode == 0 for process in processes)
        # Some are not killed, so that the last steps of a run are reached, too.
        seconds *= 0.8 if n_ended > 1 else 1.1
        print(dict(counts), file=sys.stderr)
        if not Store(store).spaces():
            continue
        space = Store(store).space()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            emb = space.read()
        counts["damaged"] += len(Store(store).verify())
        on_disk = set(ImageFolder(photos).paths)
        stored = {}
        for path, digest, vector in zip(emb.paths, emb.digests or [], emb.vectors, strict=True):
            name = Path(path).name
            counts["doubled"] += name in stored
            stored[name] = digest
            if name in on_disk and digest == digest_file(photos / name):
                if digest not in vector_of:
                    vector_of[digest] = GridColours().transform([photos / name])[0]
                counts["wrong"] += not np.array_equal(vector, vector_of[digest])
        # Stored rows must remain.
        counts["lost"] += len(kept - set(stored.values()))
        files = sorted(photos.glob("[0-9n]*.png"))
        for file in rng.sample(files, 3):
            file.rename(photos / f"new{rng.random():.9f}.png")
        names = [f"new{rng.random():.9f}.png" for _ in range(40)]
        paint(photos, names, paints)
        n_new += len(names)
        kept = set(stored.values())
    for number in range(1, N_SHARDS + 1):
        embed_part(photos, store, log, (number, N_SHARDS))
    embed_to_store(ImageFolder(photos), GridColours(), folder / "whole")
    counts["other than one run without kills"] = rows_of(store) != rows_of(folder / "whole")
    counts["images"] = n_new
    # Including images that an ordinary run and a shard embedded at the same time.
    redone = sum(map(int, log.read_text().split())) - n_new
    counts["embedded again"] = redone
    counts["most that kills may cost"] = (PART_ROWS + AHEAD) * counts["kills"]
    space = Store(store).space()
    files = {file.name for file in store.rglob("*.parquet")}
    counts["leftovers"] = len(files - {file.name for file in space.parts})
    counts["leftovers"] += sum(".tmp" in file.name for file in store.rglob("*"))
    counts["lists"] = len(space.ledgers.list_files())
    return dict(counts)


def to_the_bit(folder: Path, network: str, weights: Path | None, images: Path) -> dict[str, Any]:
    """Compare shards with one run."""
    extractor = create_extractor(network, weights=weights, precision="float32")
    photos = ImageFolder(images)
    start = time.perf_counter()
    embed_to_store(photos, extractor, folder / "whole")
    seconds = time.perf_counter() - start
    sizes = [
        embed_to_store(photos, extractor, folder / "shards", shard=(number, N_SHARDS)).images
        for number in range(1, N_SHARDS + 1)
    ]
    one, other = (Store(folder / name).space().read() for name in ("whole", "shards"))
    return {
        "images": len(photos),
        "images_of_shards": sizes,
        "seconds_of_one_run": round(seconds, 1),
        "same_paths": one.paths == other.paths,
        "same_rows": rows_of(folder / "whole") == rows_of(folder / "shards"),
        "vectors_that_differ": int((one.vectors != other.vectors).any(axis=1).sum()),
    }


if __name__ == "__main__":
    main()
