"""Evaluate verdicts on the number of clusters, on random draws of photos and on generated sets.

``python -m tests.benchmarks.verdict judge`` compares the verdict, its levels and each index with
the truth, on the classes on which no rule was chosen (``--side "chosen on"`` for the others).  It
prints the shares of exact answers and of those within one, the mean absolute error of log(k), the
share of missing answers, and, for sets without groups, how often none is found.  It also checks the
confidence.  ``repeat`` counts how often the verdict is the same with other seeds and on 80 % of the
rows, ``whole`` evaluates whole sets, and ``speed`` compares with scikit-learn.  ``--features DIR``
adds sets and spaces from ``.npz`` files with ``vectors`` and ``labels``.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from clusterkit.elbow import ElbowCurve, elbow_curve
from tests.benchmarks.draws import (
    BLOBS,
    NESTED,
    SHARED,
    SIDES,
    STRUCTURELESS,
    Draw,
    digits,
    draw_all,
    draw_generated,
    mnist,
    read_sets,
)

# First seed of the generated sets for evaluation; rules are chosen on those from seed 0.
FIRST_SEED = 10_000
BINS = (0.25, 0.4, 0.6, 0.8)
Answers = list[tuple[int | None, int | None]]


def draws(options: argparse.Namespace) -> Iterable[Draw]:
    """Draw from the photos of one side, and generate sets."""
    sets = read_sets(SHARED / "bench", *options.features)
    yield from draw_all(sets, options.side, options.photos)
    first = FIRST_SEED if options.side == SIDES[1] else 0
    for kind in (*BLOBS, NESTED, *STRUCTURELESS):
        yield from (draw_generated(kind, first + seed) for seed in range(options.generated))


def has_level(curve: ElbowCurve, number: int | None) -> bool:
    """Return whether a level is within one of a number."""
    nearest = nearest_level(curve, number)
    return nearest is not None and number is not None and abs(nearest - number) <= 1


def nearest_level(curve: ElbowCurve, truth: int | None) -> int | None:
    """Return the number of clusters of the level nearest to the truth."""
    numbers = [level.n_clusters for level in curve.levels]
    if truth is None or not numbers:
        return curve.k
    return min(numbers, key=lambda number: abs(number - truth))


def describe(answers: Answers) -> str:
    """Describe the quality of some answers."""
    known = [(truth, k) for truth, k in answers if truth is not None]
    if not known:
        return f"None {np.mean([k is None for _, k in answers]):6.1%}"
    found = [(truth, k) for truth, k in known if k is not None]
    exact = np.mean([truth == k for truth, k in known])
    near = np.mean([k is not None and abs(truth - k) <= 1 for truth, k in known])
    error = np.mean([abs(np.log(k / truth)) for truth, k in found]) if found else np.nan
    lost = 1 - len(found) / len(known)
    return f"exact {exact:6.1%}  within one {near:6.1%}  log error {error:.3f}  None {lost:6.1%}"


def judge(options: argparse.Namespace) -> None:
    """Print the table of all verdicts and votes."""
    table: dict[str, dict[str, Answers]] = defaultdict(lambda: defaultdict(list))
    sure: list[tuple[float, bool]] = []
    seconds, n_levels, nested = [], [], []
    for draw in draws(options):
        start = time.perf_counter()
        curve = elbow_curve(draw.vectors, random_state=0)
        seconds.append(time.perf_counter() - start)
        kind = draw.name.rpartition("/")[0]
        answers = {"verdict": curve.k, "nearest level": nearest_level(curve, draw.truth)}
        for name, k in (answers | curve.votes).items():
            table[kind][name].append((draw.truth, k))
        if draw.coarse is not None:
            nested.append([has_level(curve, number) for number in (draw.truth, draw.coarse)])
        if curve.k is not None:
            # Of nested groups, both numbers are right.
            right = [number for number in (draw.truth, draw.coarse) if number is not None]
            is_near = any(abs(number - curve.k) <= 1 for number in right)
            sure.append((curve.confidence, is_near))
            n_levels.append(len(curve.levels))
    for kind, methods in table.items():
        print(f"{kind}, {len(methods['verdict'])} draws")
        for name, answers in methods.items():
            print(f"    {name:18} {describe(answers)}")
    if nested:
        fine, coarse = np.mean(nested, axis=0)
        both = np.mean(np.all(nested, axis=1))
        print(f"nested: fine level {fine:.1%}, coarse level {coarse:.1%}, both {both:.1%}")
    print(f"levels per verdict: {np.mean(n_levels):.2f}; seconds per set: {np.mean(seconds):.1f}")
    confidences, near = (np.array(values) for values in zip(*sure, strict=True))
    place = np.digitize(confidences, BINS)
    for i in np.unique(place):
        chosen = place == i
        print(
            f"confidence {confidences[chosen].mean():.2f}: within one {near[chosen].mean():.2f} "
            f"of {chosen.sum()} verdicts"
        )


def repeat(options: argparse.Namespace) -> None:
    """Print how often the verdict is the same with other seeds, and on other rows."""
    same: dict[str, list[float]] = defaultdict(list)
    near: dict[str, list[float]] = defaultdict(list)
    for draw in draws(options):
        first = elbow_curve(draw.vectors, random_state=0).k
        n = len(draw.vectors)
        parts = (np.random.default_rng(i).permutation(n)[: int(0.8 * n)] for i in range(10))
        runs = {
            "seeds": [elbow_curve(draw.vectors, random_state=seed).k for seed in range(1, 10)],
            "80 % of the rows": [elbow_curve(draw.vectors[p], random_state=0).k for p in parts],
        }
        for name, numbers in runs.items():
            same[name].append(float(np.mean([k == first for k in numbers])))
            close = [k == first or (k and first and abs(k - first) <= 1) for k in numbers]
            near[name].append(float(np.mean([bool(one) for one in close])))
    for name, shares in same.items():
        print(
            f"{name}: same {np.mean(shares):.1%}, within one {np.mean(near[name]):.1%} of the "
            f"verdicts on {len(shares)} sets"
        )


def whole(options: argparse.Namespace) -> None:
    """Print the verdicts on whole sets, with the classes of both sides, for five seeds."""
    for one in (*read_sets(SHARED / "bench", *options.features), digits(), mnist()):
        curves = [elbow_curve(one.vectors, random_state=seed) for seed in range(5)]
        levels = {level.n_clusters: level.confidence for level in curves[0].levels}
        print(
            f"{one.name:32} n={len(one.vectors)} classes={len(np.unique(one.classes))} "
            f"k={[curve.k for curve in curves]} confidence={curves[0].confidence} levels={levels}",
            flush=True,
        )


def speed(options: argparse.Namespace) -> None:
    """Print the time of a sweep with all indices, and of a loop of scikit-learn's k-means."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    rng = np.random.default_rng(0)
    for n in (1000, 20_000):
        centers = rng.normal(size=(12, 2048))
        X = np.float32(centers[rng.integers(12, size=n)] + rng.normal(size=(n, 2048)))
        start = time.perf_counter()
        k = elbow_curve(X, k_max=20, random_state=0).k
        ours = time.perf_counter() - start
        start = time.perf_counter()
        for number in range(2, 21):
            labels = KMeans(number, random_state=0, n_init=1).fit_predict(X)
            silhouette_score(X, labels, sample_size=2000, random_state=0)
        theirs = time.perf_counter() - start
        print(
            f"{n} x 2048, k = 2..20: {ours:.1f} s with all indices, k = {k}; scikit-learn, one run "
            f"of KMeans each and silhouettes, {theirs:.1f} s: {theirs / ours:.1f} x",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = {part.__name__: part for part in (judge, repeat, whole, speed)}
    parser.add_argument("part", choices=parts)
    parser.add_argument("--side", choices=SIDES, default=SIDES[1])
    parser.add_argument("--features", type=Path, nargs="*", default=[])
    parser.add_argument(
        "--photos", type=int, default=60, help="number of draws from each set of photos"
    )
    parser.add_argument(
        "--generated", type=int, default=30, help="number of generated sets of each kind"
    )
    options = parser.parse_args(arguments)
    parts[options.part](options)


if __name__ == "__main__":
    main()
