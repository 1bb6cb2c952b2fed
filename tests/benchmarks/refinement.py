"""Measure the gain in accuracy of refined k-means over k-means with ten runs.

``python -m tests.benchmarks.refinement --features DIR --side "kept aside"`` draws from the classes
of one side: of the sets in the shared folder, of those in ``DIR`` (``.npz`` files with ``vectors``
and ``labels``, named ``SET_SPACE.npz``), and of handwritten digits.  Rules are chosen on the side
``"chosen on"``.  Accuracy is that of the best matching of clusters to classes.  The gain is
relative to scikit-learn's ``KMeans`` with ``n_init=10`` and the same seed, on rows of length 1;
both have the true number of clusters.  ``another seed`` is the same ``KMeans`` with the next seed,
and shows how much of the gains and losses is chance.  The table is printed to stderr, and every
draw as JSON to stdout.
"""

import argparse
import json
import platform
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit.clusterers import ClusteringWarning, RefinedKMeans
from clusterkit.clustering.evaluation import evaluate
from clusterkit.similarity.scaling import unit_rows
from clusterkit.utils.parallel import count_cpus
from tests.benchmarks.draws import SHARED, SIDES, Draw, digits, draw_all, mnist, read_sets

METHODS = ("refined", "k-means alone", "another seed")
# Gains and losses of up to one percentage point count as none.
EVEN = 0.01


def measure(draw: Draw, seed: int) -> dict[str, Any]:
    """Return the gains of refined k-means, k-means before it, and another seed on a draw."""
    from sklearn.cluster import KMeans

    start = time.perf_counter()
    with warnings.catch_warnings():
        # The clusters of these draws have unequal sizes.
        warnings.simplefilter("ignore", ClusteringWarning)
        model = RefinedKMeans(draw.truth, random_state=seed).fit(draw.vectors)
    seconds = time.perf_counter() - start
    rows = unit_rows(draw.vectors)
    plain, again = (
        KMeans(draw.truth, n_init=10, random_state=s).fit(rows).labels_ for s in (seed, seed + 1)
    )
    alone = model.candidates_[0].labels
    found = dict(zip(METHODS, (model.labels_, alone, again), strict=True))
    base = evaluate(draw.labels, plain).accuracy
    source, kind, _ = draw.name.split("/")
    return {
        "name": draw.name,
        "space": source.rpartition("_")[2],
        "kind": kind,
        "n_samples": len(draw.vectors),
        "n_clusters": draw.truth,
        "seconds": seconds,
        "accuracy": base,
        "gain": {n: evaluate(draw.labels, labels).accuracy - base for n, labels in found.items()},
        "reason": model.reason_,
    }


def report(title: str, results: list[dict[str, Any]]) -> None:
    """Print the gains on some draws, one line per method."""
    for method in METHODS:
        gains = np.array([result["gain"][method] for result in results])
        kept = (gains >= -EVEN).mean()
        print(
            f"{title:22} {method:14} {len(gains):5} {100 * gains.mean():+8.1f} {kept:10.0%}"
            f" {100 * gains.min():+8.1f}",
            file=sys.stderr,
        )


def main() -> None:
    """Measure, and print table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--features", type=Path, nargs="*", default=[], help="folders of .npz files"
    )
    parser.add_argument("--side", choices=SIDES, default=SIDES[0])
    parser.add_argument("--draws", type=int, default=60, help="number of draws from each set")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--match", default="", help="only sets whose name contains this")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sets = [*read_sets(SHARED / "bench", *options.features), digits(), mnist()]
    sets = [source for source in sets if options.match in source.name]
    drawn = draw_all(sets, options.side, options.draws, options.first_seed)
    results = [measure(draw, options.seed) for draw in drawn]
    print(f"{options.side:37} draws     mean not lower    worst", file=sys.stderr)
    for space in dict.fromkeys(result["space"] for result in results):
        of_space = [result for result in results if result["space"] == space]
        report(f"{space}, all", of_space)
        for kind in ("equal", "unequal"):
            report(f"{space}, {kind}", [result for result in of_space if result["kind"] == kind])
    document = {
        "side": options.side,
        "first_seed": options.first_seed,
        "seed": options.seed,
        "processors": count_cpus(),
        "machine": platform.platform(),
        "results": results,
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
