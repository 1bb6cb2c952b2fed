"""Measure whether a split keeps planted copies together and classes in proportion.

``python -m tests.benchmarks.split`` copies each set of the shared folder, and plants copies of a
tenth of its photos, one of each kind in ``tests.benchmarks.copies``.  Those of every tenth of these
photos are in the folder of another class.  It then plans the split of ``clusterkit split`` for
several seeds.  It counts, for each kind, the copies that are in another part than their original
(leaks), and, over all classes and parts, by how many images they differ from their share.  Prints
one JSON document.
"""

import argparse
import json
import shutil
import tempfile
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from clusterkit.errors import Notice
from clusterkit.images.folder import ImageFolder
from clusterkit.preparation import FolderSplit, split_folder
from tests.benchmarks.copies import copies_of
from tests.benchmarks.draws import SHARED

SETS = ("species10", "cat_dog_wild", "imbalanced10")
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def plant(photos: Path, share: float, rng: np.random.Generator) -> dict[str, tuple[str, str]]:
    """Write copies of some photos; return the original and the kind of each copy, by path."""
    images = ImageFolder(photos)
    classes = sorted({path.partition("/")[0] for path in images.paths})
    made = {}
    chosen = rng.choice(len(images), round(share * len(images)), replace=False)
    for number, row in enumerate(chosen.tolist()):
        name = images.paths[row]
        picture = ImageOps.exif_transpose(Image.open(images.files[row])).convert("RGB")
        for kind, copy in copies_of(picture, rng):
            folder = name.partition("/")[0]
            if number % 10 == 0:
                folder = classes[(classes.index(folder) + 1) % len(classes)]
            path = f"{folder}/copy-{number}-{len(made)}.jpg"
            copy.save(photos / path, quality=30 if kind == "JPEG 30" else 92)
            made[path] = (name, kind)
    return made


def judge(found: FolderSplit, made: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Count the leaks of each kind, and the differences of classes from their shares."""
    part_of = dict(zip(found.names, found.parts, strict=True))
    leaks = Counter(kind for copy, (name, kind) in made.items() if part_of[copy] != part_of[name])
    n = Counter(found.labels)
    off = (
        abs(found.counts[part].get(label, 0) - share * n[label])
        for part, share in SHARES.items()
        for label in n
    )
    return {"leaks": dict(leaks), "off": max(off)}


def run(name: str, n_seeds: int, share: float) -> dict[str, Any]:
    """Split one set for each seed."""
    with tempfile.TemporaryDirectory() as home, warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        photos = Path(shutil.copytree(SHARED / "data" / name, Path(home, "photos")))
        for place in [photos, *photos.rglob("*")]:
            place.chmod(0o755 if place.is_dir() else 0o644)
        made = plant(photos, share, np.random.default_rng(0))
        total: dict[str, int] = defaultdict(int)
        off = 0.0
        for seed in range(n_seeds):
            found = split_folder(photos, Path(home, "into"), random_state=seed, dry_run=True)
            judged = judge(found, made)
            for kind, count in judged["leaks"].items():
                total[kind] += count
            off = max(off, judged["off"])
    kinds = Counter(kind for _, kind in made.values())
    return {
        "images": len(found.names),
        "copies": len(made),
        "copies of each kind": min(kinds.values()),
        "splits": n_seeds,
        "leaks": {kind: total[kind] for kind in kinds},
        "most images off a share": round(off, 2),
    }


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--share", type=float, default=0.1, help="share of the photos that have copies"
    )
    options = parser.parse_args()
    found = {name: run(name, options.seeds, options.share) for name in options.sets}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
