"""Draw random data sets from photos, and generate others, to evaluate the number of groups.

The classes are divided into two sides, by a digest of their names.  Rules are chosen on draws from
one side, and published figures are computed on draws from the other.  The shared folder holds
Xception vectors of 70 species and of imagenette.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).parent.parent.parent
SHARED = Path(os.environ.get("CLUSTERKIT_SHARED", REPOSITORY.parent / "shared"))
SIDES = ("chosen on", "kept aside")
# Minimum number of rows of a class in a draw, and of its size relative to the largest class.
MIN_IMAGES, RATIO = 5, 1 / 20
MAX_CLASSES, MAX_ROWS = 30, 3000
# Share of another row in a mixed one: in blurred draws of species, 97 to 75 % of the ten nearest
# rows are of the same species.
MIXED = (0.2, 0.38)

Vectors = NDArray[np.float32]


class LabelledSet(NamedTuple):
    """Vectors with the names of their classes."""

    name: str
    vectors: Vectors
    classes: NDArray[np.str_]


class Draw(NamedTuple):
    """A drawn or generated set; ``truth`` is its number of groups, None if it has no groups.

    ``coarse`` is the number of groups of groups, if there are such.
    """

    name: str
    vectors: Vectors
    labels: NDArray[np.int64]
    truth: int | None
    coarse: int | None = None


def side_of(class_name: str) -> str:
    """Return the side of a class, which depends on its name only."""
    return SIDES[hashlib.sha256(class_name.encode()).digest()[0] % 2]


def read_sets(*folders: Path) -> list[LabelledSet]:
    """Read the sets of ``.npz`` files with ``vectors`` and ``labels``."""
    sets = []
    for path in sorted(path for folder in folders for path in folder.glob("*.npz")):
        with np.load(path) as file:
            vectors, labels = file["vectors"].astype(np.float32), file["labels"].astype(str)
        sets.append(LabelledSet(path.stem, vectors, labels))
    return sets


def digits() -> LabelledSet:
    """Return scikit-learn's digits as pixels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return LabelledSet("digits", data.data.astype(np.float32), data.target.astype(str))


def mnist() -> LabelledSet:
    """Return 2,000 handwritten digits as pixels."""
    path = SHARED / "data" / "mnist" / "kaggle_2000.csv"
    table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32)
    return LabelledSet("mnist", table[:, 1:], table[:, 0].astype(np.int64).astype(str))


def draw_classes(source: LabelledSet, side: str, seed: int, *, equal: bool) -> Draw | None:
    """Draw some classes of one side, with most of their rows or with unequal shares of them.

    Returns None if the set has fewer than two classes on that side.
    """
    names = [name for name in np.unique(source.classes) if side_of(name) == side]
    if len(names) < 2:
        return None
    # One generator per draw, so that an additional set or draw does not change the others.
    digest = hashlib.sha256(f"{source.name} {side} {equal} {seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    n_classes = int(rng.integers(2, min(len(names), MAX_CLASSES) + 1))
    rows = []
    for name in rng.permutation(names)[:n_classes]:
        own = rng.permutation(np.flatnonzero(source.classes == name))
        share = rng.uniform(0.7, 1) if equal else np.exp(rng.uniform(np.log(RATIO), 0))
        rows.append(own[: max(MIN_IMAGES, round(share * len(own)))])
    kept = rng.permutation(np.concatenate(rows))[:MAX_ROWS]
    labels = np.unique(source.classes[kept], return_inverse=True)[1]
    kind = "equal" if equal else "unequal"
    truth = len(np.unique(labels))
    return Draw(f"{source.name}/{kind}/{seed}", source.vectors[kept], labels, truth)


def draw_all(sets: list[LabelledSet], side: str, n_draws: int, first: int = 0) -> Iterator[Draw]:
    """Draw ``n_draws`` times from each set, every other draw with classes of unequal size.

    Seeds start at ``first``; other seeds give different draws of the same classes.
    """
    for source in sets:
        for seed in range(first, first + n_draws):
            drawn = draw_classes(source, side, seed, equal=seed % 2 == 0)
            if drawn is not None:
                yield drawn


def blur(draw: Draw, seed: int) -> Draw:
    """Mix every row with another of the draw, so that classes become harder to distinguish."""
    rng = np.random.default_rng(seed)
    share = np.float32(rng.uniform(*MIXED))
    others = draw.vectors[rng.permutation(len(draw.vectors))]
    vectors = (1 - share) * draw.vectors + share * others
    return draw._replace(name=f"blurred {draw.name}", vectors=vectors)


def pair(draw: Draw, seed: int) -> Draw | None:
    """Mix the rows of some classes with those of a partner each, so that these look alike.

    Returns None for fewer than four classes, of which too few would remain.
    """
    n_classes = len(np.unique(draw.labels))
    if n_classes < 4:
        return None
    rng = np.random.default_rng(seed)
    n_pairs = int(rng.integers(1, n_classes // 2 + 1))
    vectors = draw.vectors.copy()
    for first, second in rng.permutation(n_classes)[: 2 * n_pairs].reshape(-1, 2):
        share = np.float32(rng.uniform(*MIXED))
        for own, other in ((first, second), (second, first)):
            rows, others = np.flatnonzero(draw.labels == own), np.flatnonzero(draw.labels == other)
            mixed = draw.vectors[rng.choice(others, len(rows))]
            vectors[rows] = (1 - share) * draw.vectors[rows] + share * mixed
    return draw._replace(name=f"paired {draw.name}", vectors=vectors)


# --- generated sets ---


def blobs(
    sizes: list[int], rng: np.random.Generator, d: int, *, spread: float = 0.0, noise: float = 0.0
) -> tuple[Vectors, NDArray[np.int64]]:
    """Draw round clusters whose centres are at least 8 standard deviations apart.

    With ``spread``, the standard deviations differ by up to that share; ``noise`` is the share of
    rows that are replaced by uniform background.
    """
    k = len(sizes)
    labels = np.repeat(np.arange(k), sizes)
    centers = draw_centers(k, rng, d)
    scales = rng.uniform(1 - spread, 1 + spread, k)[labels][:, None]
    rows = centers[labels] + rng.normal(size=(len(labels), d)) * scales
    if noise:
        lost = rng.random(len(rows)) < noise
        low, high = rows.min(axis=0), rows.max(axis=0)
        rows[lost] = rng.uniform(low, high, size=(int(lost.sum()), d))
    return rows.astype(np.float32), labels


def draw_centers(k: int, rng: np.random.Generator, d: int) -> NDArray[np.float64]:
    """Draw centres at least 8 apart, or more in many dimensions."""
    # Random directions are nearly orthogonal in many dimensions; in few, draw until they are apart.
    centers = rng.normal(size=(1, d))
    width = 8.0 * max(2.0, 1.3 * k ** (1 / d))
    while len(centers) < k:
        other = rng.uniform(-width, width, size=(1, d)) / (1 if d < 8 else np.sqrt(d / 8))
        if np.linalg.norm(centers - other, axis=1).min() >= 8:
            centers = np.vstack([centers, other])
        else:
            width *= 1.01
    # In many dimensions, what counts is the distance of centres relative to sqrt(2 d).
    return centers * max(1.0, np.sqrt(d / 16))


def nested_blobs(rng: np.random.Generator, n: int, d: int) -> Draw:
    """Draw 2 to 6 groups of 2 to 6 round clusters each, of equal size.

    Clusters of different groups are 1.5 to 4 times as far from each other as the most distant ones
    of the same group.
    """
    coarse = int(rng.integers(2, 7))
    counts = rng.integers(2, 7, size=coarse)
    parts = [draw_centers(count, rng, d) for count in counts]
    parts = [part - part.mean(axis=0) for part in parts]
    radius = max(float(np.linalg.norm(part, axis=1).max()) for part in parts)
    middles = draw_centers(coarse, rng, d)
    gaps = np.linalg.norm(middles[:, None] - middles, axis=2)[np.triu_indices(coarse, 1)]
    middles *= 2 * radius * (1 + rng.uniform(1.5, 4)) / gaps.min()
    centers = np.concatenate([part + at for part, at in zip(parts, middles, strict=True)])
    k = len(centers)
    labels = np.repeat(np.arange(k), max(10, n // k))
    rows = centers[labels] + rng.normal(size=(len(labels), d))
    return Draw("", rows.astype(np.float32), labels, k, coarse)


def gaussian(rng: np.random.Generator, n: int, d: int) -> Vectors:
    """Draw one round normal distribution."""
    return rng.normal(size=(n, d)).astype(np.float32)


def stretched(rng: np.random.Generator, n: int, d: int) -> Vectors:
    """Draw one normal distribution whose standard deviations decrease like those of features."""
    return (gaussian(rng, n, d) / np.sqrt(1 + np.arange(d)) + rng.normal(size=d)).astype(np.float32)


def uniform(rng: np.random.Generator, n: int, d: int) -> Vectors:
    """Draw uniform noise."""
    return rng.uniform(size=(n, d)).astype(np.float32)


def embedded(curve: Vectors, rng: np.random.Generator, d: int, noise: float) -> Vectors:
    """Rotate a curve or surface into d dimensions, and add noise."""
    axes = np.linalg.qr(rng.normal(size=(max(d, 3), 3)))[0].T
    rows = curve @ axes
    return (rows + noise * rng.normal(size=rows.shape)).astype(np.float32)


def filament(rng: np.random.Generator, n: int, d: int) -> Vectors:
    """Draw one long straight filament."""
    along = np.zeros((n, 3))
    along[:, 0] = rng.uniform(-30, 30, n)
    return embedded(along, rng, d, 1.0)


def ring(rng: np.random.Generator, n: int, d: int) -> Vectors:
    """Draw one ring."""
    turn = rng.uniform(0, 2 * np.pi, n)
    return embedded(np.stack([10 * np.cos(turn), 10 * np.sin(turn), 0 * turn], 1), rng, d, 0.5)


def helix(rng: np.random.Generator, n: int, d: int) -> Vectors:
    """Draw one helix of three turns."""
    turn = rng.uniform(0, 6 * np.pi, n)
    return embedded(np.stack([5 * np.cos(turn), 5 * np.sin(turn), turn], 1), rng, d, 0.3)


def swiss_roll(rng: np.random.Generator, n: int, d: int) -> Vectors:
    """Draw one rolled-up sheet of uniform density."""
    turn = 1.5 * np.pi * np.sqrt(1 + 8 * rng.random(n))
    height = rng.uniform(0, 21, n)
    return embedded(np.stack([turn * np.cos(turn), height, turn * np.sin(turn)], 1), rng, d, 0.3)


STRUCTURELESS: dict[str, Callable[[np.random.Generator, int, int], Vectors]] = {
    "one Gaussian": gaussian,
    "one stretched Gaussian": stretched,
    "uniform noise": uniform,
    "one filament": filament,
    "one ring": ring,
    "one helix": helix,
    "one Swiss roll": swiss_roll,
}
UNEQUAL = ([1000, 10], [1000, 30], [200, 10], [950, *[10] * 5], [400, 400, 8])
DIMENSIONS = (2, 8, 32, 64, 256)


def draw_generated(kind: str, seed: int) -> Draw:
    """Draw one generated set of a kind: of ``STRUCTURELESS``, of ``BLOBS``, or ``NESTED``."""
    digest = hashlib.sha256(f"{kind} {seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    d = int(rng.choice(DIMENSIONS))
    n = int(np.exp(rng.uniform(np.log(200), np.log(1500))))
    name = f"{kind}/{seed}"
    if kind in STRUCTURELESS:
        rows = STRUCTURELESS[kind](rng, n, d)
        return Draw(name, rows, np.zeros(len(rows), np.int64), None)
    if kind == NESTED:
        return nested_blobs(rng, n, d)._replace(name=name)
    k = int(rng.integers(2, MAX_CLASSES + 1))
    noise = 0.05 if "background" in kind else 0.0
    if kind == "few small blobs":
        sizes = list(UNEQUAL[seed % len(UNEQUAL)])
    elif "unequal" in kind:
        sizes = [int(size) for size in 10 * np.exp(rng.uniform(0, np.log(1 / RATIO), k))]
    else:
        sizes = [max(10, n // k)] * k
    rows, labels = blobs(sizes, rng, d, spread=0.4 if "unequal" in kind else 0.0, noise=noise)
    order = rng.permutation(len(rows))
    return Draw(name, rows[order], labels[order], len(sizes))


BLOBS = (
    "equal blobs",
    "unequal blobs",
    "few small blobs",
    "equal blobs with background",
    "unequal blobs with background",
)
# Its own kind: no rule was learned on it.
NESTED = "nested blobs"
