"""Verdicts on the number of clusters over labelled and generated sets, as a table.

``python -m tests.benchmarks.verdict`` embeds the labelled photos of the shared folder, and 2,000
of MNIST's digits, first; ``--features DIR`` takes ``.npz`` files with ``vectors`` and ``labels``
instead.  scikit-learn's digits and MNIST's, as pixels, come with both.  ``--seeds N`` judges each
labelled set N times, ``--draws N`` sets how many generated sets of each kind, and subsets of the
classes of each labelled set, are drawn.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clusterkit.elbow import elbow_curve

REPOSITORY = Path(__file__).parent.parent.parent
SHARED = Path(os.environ.get("CLUSTERKIT_SHARED", REPOSITORY.parent / "shared"))
PHOTO_SETS = ("species10", "imbalanced10", "cat_dog_wild", "anime5")
Labelled = tuple[str, NDArray[np.float32], NDArray[np.int64]]
WIDTH = 24


def blobs(k: int, rng: np.random.Generator, n: int = 600, d: int = 64) -> NDArray[np.float64]:
    """Draw k round clusters whose centres are some eleven standard deviations apart."""
    return rng.normal(size=(k, d))[np.arange(n) % k] + rng.normal(size=(n, d))


def uneven_blobs(k: int, rng: np.random.Generator, n: int = 900) -> NDArray[np.float64]:
    """Draw k clusters of unequal size, spread and shape, with 2 % of outliers."""
    d = 64
    weights = rng.dirichlet(np.full(k, 3.0)) + 0.5 / k
    labels = rng.choice(k, n, p=weights / weights.sum())
    spread = rng.uniform(0.6, 1.4, (k, 1)) * rng.uniform(0.5, 1.5, (k, d))
    rows = 1.2 * rng.normal(size=(k, d))[labels] + rng.normal(size=(n, d)) * spread[labels]
    rows[: n // 50] = 2 * rng.normal(size=(n // 50, d))
    return rows


def gaussian(rng: np.random.Generator, n: int = 500, d: int = 64) -> NDArray[np.float64]:
    """Draw one round cloud."""
    return rng.normal(size=(n, d))


def stretched(rng: np.random.Generator, n: int = 500, d: int = 64) -> NDArray[np.float64]:
    """Draw one cloud whose standard deviations fall like those of features."""
    return rng.normal(size=(n, d)) / np.sqrt(1 + np.arange(d)) + rng.normal(size=d)


def uniform(rng: np.random.Generator, n: int = 500, d: int = 64) -> NDArray[np.float64]:
    """Draw uniform noise."""
    return rng.uniform(size=(n, d))


def filament(rng: np.random.Generator, n: int = 500, d: int = 64) -> NDArray[np.float64]:
    """Draw one long straight filament somewhere in space."""
    direction = rng.normal(size=d)
    along = np.outer(rng.uniform(-30, 30, n), direction / np.linalg.norm(direction))
    return along + rng.normal(size=(n, d)) + rng.normal(size=d)


GENERATED: dict[str, tuple[int | None, Callable[[np.random.Generator], NDArray[np.float64]]]] = {
    **{f"blobs {k}": (k, lambda rng, k=k: blobs(k, rng)) for k in (3, 5, 8, 12, 20, 30)},
    **{f"uneven blobs {k}": (k, lambda rng, k=k: uneven_blobs(k, rng)) for k in (3, 8, 15)},
    "one Gaussian": (None, gaussian),
    "one stretched Gaussian": (None, stretched),
    "uniform noise": (None, uniform),
    "one filament": (None, filament),
}


def embed_photos() -> Iterator[Labelled]:
    """Embed the labelled photos of the shared folder with Xception."""
    for name in PHOTO_SETS:
        yield name, *embed_folders(SHARED / "data" / name)


def embed_mnist() -> Iterator[Labelled]:
    """Embed 2,000 handwritten digits with Xception."""
    ((_, pixels, labels),) = mnist()
    with tempfile.TemporaryDirectory() as folder:
        for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            path = Path(folder, str(label), f"{i:04}.png")
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image.reshape(28, 28).astype(np.uint8)).save(path)
        yield "mnist, Xception", *embed_folders(Path(folder))


def embed_folders(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Embed the images below a folder with Xception, labelled by their own folders."""
    from clusterkit import ImageFolder, embed
    from clusterkit.extractors import Xception

    extractor = Xception(weights=SHARED / "weights" / "xception_imagenet_notop.h5")
    embeddings = embed(ImageFolder(folder), extractor)
    names = [Path(path).parent.name for path in embeddings.paths]
    return np.asarray(embeddings), np.unique(names, return_inverse=True)[1]


def read_features(folder: Path) -> Iterator[Labelled]:
    """Read features that were computed before."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            labels = np.unique(file["labels"], return_inverse=True)[1]
            yield path.stem, file["vectors"].astype(np.float32), labels


def digits() -> Iterator[Labelled]:
    """Return scikit-learn's digits as they are."""
    from sklearn.datasets import load_digits

    data = load_digits()
    yield "digits", data.data.astype(np.float32), data.target


def mnist() -> Iterator[Labelled]:
    """Return 2,000 handwritten digits as pixels."""
    path = SHARED / "data" / "mnist" / "kaggle_2000.csv"
    table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32)
    yield "mnist", table[:, 1:], table[:, 0].astype(np.int64)


def report_labelled(
    name: str, X: NDArray[np.float32], labels: NDArray[np.int64], seeds: int
) -> None:
    """Print the verdicts on all rows, and the votes of the first."""
    start = time.perf_counter()
    curves = [elbow_curve(X, random_state=seed) for seed in range(seeds)]
    seconds = (time.perf_counter() - start) / seeds
    truth = len(np.unique(labels))
    print(
        f"{name:{WIDTH}} n={len(X):5d} classes={truth:2d} k={[curve.k for curve in curves]} "
        f"confidence={min(curve.confidence for curve in curves):.2f} and above, {seconds:.1f} s "
        f"each, votes={curves[0].votes}",
        flush=True,
    )


def report_subsets(
    name: str, X: NDArray[np.float32], labels: NDArray[np.int64], draws: int
) -> None:
    """Print how often random subsets of the classes are counted rightly."""
    n_classes = len(np.unique(labels))
    errors = []
    for seed in range(draws if n_classes > 4 else 0):
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(n_classes)[: rng.integers(3, n_classes)]
        k = elbow_curve(X[np.isin(labels, chosen)], random_state=0).k
        errors.append(None if k is None else k - len(chosen))
    if errors:
        near = sum(error is not None and abs(error) <= 1 for error in errors)
        print(
            f"{name:{WIDTH}} subsets of classes: {errors.count(0)}/{draws} exact, "
            f"{near}/{draws} within 1, {errors.count(None)} None",
            flush=True,
        )


def report_generated(name: str, draws: int) -> None:
    """Print how often generated sets of one kind are judged rightly."""
    truth, generate = GENERATED[name]
    found: Counter[int | None] = Counter()
    for seed in range(draws):
        X = generate(np.random.default_rng(seed))
        numbers = range(2, 21) if truth is None or truth < 15 else range(2, 41)
        found[elbow_curve(X, k=numbers, random_state=0).k] += 1
    print(f"{name:{WIDTH}} {found[truth]}/{draws} say {truth}  all: {dict(found)}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, help="folder of .npz files")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--only", choices=("labelled", "subsets", "generated"))
    parser.add_argument("--match", default="", help="only sets whose name holds this")
    options = parser.parse_args()
    if options.only != "generated":
        folder = options.features
        photos = (read_features(folder),) if folder else (embed_photos(), embed_mnist())
        for name, X, labels in chain(*photos, digits(), mnist()):
            if options.match in name:
                if options.only != "subsets":
                    report_labelled(name, X, labels, options.seeds)
                if options.only != "labelled":
                    report_subsets(name, X, labels, options.draws)
    if options.only in (None, "generated"):
        for name in GENERATED:
            if options.match in name:
                report_generated(name, options.draws)


if __name__ == "__main__":
    main()
