"""Compare affinity propagation of clusterkit and scikit-learn: time, peak memory, labels, quality.

``python -m tests.benchmarks.affinity`` clusters the first 5,000 of the shuffled MNIST training
digits.  ``--rows N`` sets the number of digits, ``--features FILE`` reads the ``vectors`` (and
``labels``) of an ``.npz`` file instead, and ``--methods`` selects methods.  The methods run one
after the other, each in a new process.  Peak memory is that of the process minus what it held
before the fit.  The table is printed to stderr, and the same as JSON to stdout.
"""

import argparse
import gzip
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers import AffinityPropagation
from clusterkit.clustering.evaluation import evaluate
from clusterkit.similarity.scaling import unit_rows
from clusterkit.utils.parallel import count_cpus
from tests.benchmarks.draws import SHARED


def scikit_learn() -> Any:
    """Build scikit-learn's estimator."""
    from sklearn.cluster import AffinityPropagation as ReferencePropagation

    return ReferencePropagation(random_state=0)


METHODS: dict[str, Callable[[], Any]] = {
    "scikit-learn": scikit_learn,
    "clusterkit": lambda: AffinityPropagation(random_state=0),
    "clusterkit, 10 clusters": lambda: AffinityPropagation(10, random_state=0),
    "clusterkit, 500 candidates": lambda: AffinityPropagation(n_candidates=500, random_state=0),
    "clusterkit, 2000 candidates": lambda: AffinityPropagation(n_candidates=2000, random_state=0),
    "clusterkit, 10 clusters, 2000 candidates": lambda: AffinityPropagation(
        10, n_candidates=2000, random_state=0
    ),
}


def measure(name: str, X: NDArray[np.float32], truth: NDArray[Any]) -> dict[str, Any]:
    """Fit one method, and return its cost and its result."""
    model = METHODS[name]()
    METHODS[name]().fit(X[:200])  # Imports and thread pools are not measured.
    before = peak_memory()
    start = time.perf_counter()
    model.fit(X)
    seconds = time.perf_counter() - start
    memory = peak_memory() - before
    gaps = X - model.cluster_centers_[model.labels_]
    return {
        "method": name,
        "seconds": round(seconds, 2),
        "memory_mb": round(memory / 1e6),
        "n_iter": int(model.n_iter_),
        "n_clusters": len(model.cluster_centers_),
        "mean_squared_distance": round(float(np.einsum("ij,ij->", gaps, gaps) / len(X)), 4),
        "nmi": round(evaluate(truth, model.labels_).nmi, 3),
        "labels": model.labels_.tolist(),
    }


def peak_memory() -> int:
    """Return the peak memory of this process in bytes, on Linux."""
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def load_digits(n: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return normalised MNIST digits and their labels."""
    folder = SHARED / "data" / "mnist"
    with gzip.open(next(folder.glob("*train*images*"))) as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(next(folder.glob("*train*labels*"))) as file:
        names = np.frombuffer(file.read(), np.uint8, offset=8)
    rows = np.random.default_rng(0).permutation(len(pixels))[:n]
    return unit_rows(pixels[rows]), names[rows]


def main() -> None:
    """Run the methods and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    if arguments.features:
        with np.load(arguments.features) as file:
            X, truth = unit_rows(file["vectors"][: arguments.rows]), file["labels"]
        truth = truth[: arguments.rows]
    else:
        X, truth = load_digits(arguments.rows)
    print(f"{X.shape[0]} x {X.shape[1]} {X.dtype}, {count_cpus()} CPUs", file=sys.stderr)
    results: list[dict[str, Any]] = []
    for name in arguments.methods:
        # A new process for each method, since peak memory never decreases.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply(measure, (name, X, truth))
        labels = result.pop("labels")
        if not results:
            first = labels
        result["same_labels_as_first"] = round(float(np.mean(np.equal(first, labels))), 4)
        results.append(result)
        print("  ".join(f"{key}: {value}" for key, value in result.items()), file=sys.stderr)
    print(json.dumps({"shape": X.shape, "results": results}))


if __name__ == "__main__":
    main()
