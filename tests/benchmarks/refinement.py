"""Accuracy of refined k-means and of all its candidates on labelled sets, mean and worst of seeds.

``python -m tests.benchmarks.refinement`` embeds the labelled photos of the shared folder first;
``--features DIR`` takes ``.npz`` files with ``vectors`` and ``labels`` instead.  scikit-learn's
digits and 2,000 of MNIST's, as pixels, come with both.  ``--draws N`` adds N random parts of each
set, with some of its classes and, in every other draw, of unequal sizes.  The table goes to stderr,
the same as JSON to stdout.  Accuracy is that under the best matching of clusters to labels.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit.clusterers import RefinedKMeans
from clusterkit.clustering.evaluation import evaluate
from clusterkit.similarity.nearest import unit_rows
from clusterkit.utils.parallel import count_cpus
from tests.benchmarks.verdict import WIDTH, Labelled, digits, embed_photos, mnist, read_features

REFINED, PLAIN = "refined", "scikit-learn, 10 runs"
# Rows of a part, at most.
N_ROWS = 1000


def parts(sets: Iterable[Labelled], draws: int) -> Iterator[Labelled]:
    """Draw parts of each set: some of many classes, all of up to four; even and uneven by turns."""
    for name, X, labels in sets:
        n_classes = len(np.unique(labels))
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            n_chosen = n_classes if n_classes <= 4 else rng.integers(n_classes // 2, n_classes)
            kept = []
            for chosen in rng.permutation(n_classes)[:n_chosen]:
                rows = rng.permutation(np.flatnonzero(labels == chosen))
                share = rng.uniform(0.2, 1) if draw % 2 else 0.7
                kept.append(rows[: max(12, int(share * len(rows)))])
            rows = np.sort(rng.permutation(np.concatenate(kept))[:N_ROWS])
            yield f"{name}/{draw}", X[rows], np.unique(labels[rows], return_inverse=True)[1]


def measure(name: str, X: Any, labels: Any, seeds: int) -> dict[str, Any]:
    """Fit with each seed; keep the accuracy of every candidate."""
    from sklearn.cluster import KMeans

    k, unit = len(np.unique(labels)), unit_rows(X)
    accuracies: dict[str, list[list[float]]] = {}
    seconds, chosen = [], []
    for seed in range(seeds):
        start = time.perf_counter()
        model = RefinedKMeans(k, random_state=seed).fit(X)
        seconds.append(time.perf_counter() - start)
        plain = KMeans(k, n_init=10, random_state=seed).fit(unit)
        found = [(PLAIN, plain.labels_), (REFINED, model.labels_)]
        found += [(candidate.name, candidate.labels) for candidate in model.candidates_]
        chosen += [candidate.name for candidate in model.candidates_ if candidate.chosen]
        of_seed: dict[str, list[float]] = {}
        for method, clusters in found:
            # The runs of a mixture make one row of the table.
            method = method.partition(", run")[0]
            of_seed.setdefault(method, []).append(evaluate(labels, clusters).accuracy)
        for method, values in of_seed.items():
            accuracies.setdefault(method, []).append(values)
    return {
        "set": name,
        "n": len(X),
        "k": k,
        "seconds": float(np.mean(seconds)),
        "chosen": chosen,
        "mean": {method: float(np.mean(values)) for method, values in accuracies.items()},
        "worst": {method: float(np.min(values)) for method, values in accuracies.items()},
    }


def report(result: dict[str, Any]) -> None:
    """Print the block of one set."""
    gain = result["mean"][REFINED] - result["mean"][PLAIN]
    heading = f"{result['set']:{WIDTH}} n={result['n']} k={result['k']} {result['seconds']:.1f} s"
    print(f"{heading}  refined {100 * gain:+.1f} points", file=sys.stderr)
    for method, mean in result["mean"].items():
        times = sum(name.partition(", run")[0] == method for name in result["chosen"])
        note = f"chosen {times}" if times else ""
        worst = result["worst"][method]
        print(f"    {method:28} mean {mean:.3f}  worst {worst:.3f}  {note}", file=sys.stderr)
    sys.stderr.flush()


def report_gains(kind: str, results: list[dict[str, Any]]) -> None:
    """Print what refinement gains over plain k-means on some sets."""
    if not results:
        return
    gains = np.array([result["mean"][REFINED] - result["mean"][PLAIN] for result in results])
    print(
        f"{len(gains)} {kind}: gain {100 * gains.mean():+.1f} points on average, "
        f"{100 * gains.min():+.1f} at worst; more than a point gained on {(gains > 0.01).sum()}, "
        f"lost on {(gains < -0.01).sum()}",
        file=sys.stderr,
    )


def main() -> None:
    """Measure, and print table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, help="folder of .npz files")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--draws", type=int, default=0, help="parts of each set, with one seed")
    parser.add_argument("--match", default="", help="only sets whose name holds this")
    options = parser.parse_args()
    photos = read_features(options.features) if options.features else embed_photos()
    sets = [item for item in (*photos, *digits(), *mnist()) if options.match in item[0]]
    whole, drawn = [], []
    for item in sets:
        whole.append(measure(*item, options.seeds))
        report(whole[-1])
    for item in parts(sets, options.draws):
        drawn.append(measure(*item, 1))
        report(drawn[-1])
    report_gains("whole sets", whole)
    report_gains("parts", drawn)
    document = {
        "seeds": options.seeds,
        "processors": count_cpus(),
        "machine": platform.platform(),
        "results": whole + drawn,
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
