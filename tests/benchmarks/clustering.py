"""Compare k-means of clusterkit, scikit-learn and faiss on real vectors: time, memory, inertia.

``python -m tests.benchmarks.clustering`` clusters 2,339 of the Xception vectors of the shared
folder.  ``--features DIR`` reads other ``.npz`` files with ``vectors`` and ``labels``; ``--mnist``
takes 512 principal components of the pixels of the first 50,000 training digits of MNIST.  All rows
are normalised.  The methods run one after the other, each in a new process, on the same numbers of
clusters (``--k``).  The table is printed to stderr, and the same as JSON to stdout.

``--store ROWS`` measures the memory of MiniBatchKMeans on a store on disk instead, which is written
with ``ROWS`` rows of 256 columns.
"""

import argparse
import gzip
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers import KMeans, MiniBatchKMeans, kmeans_sweep
from clusterkit.clustering.cluster import cluster
from clusterkit.similarity.scaling import unit_rows
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store
from clusterkit.utils.parallel import count_cpus
from tests.benchmarks.draws import SHARED, read_sets

# Dimension of the rows of the store.
N_GROUPS = 10
Vectors = NDArray[np.float32]
Inertias = list[float]


def sweep(X: Vectors, ks: list[int]) -> Inertias:
    """Run clusterkit's sweep over k."""
    return [point.inertia for point in kmeans_sweep(X, ks, random_state=0)]


def kmeans(X: Vectors, ks: list[int]) -> Inertias:
    """Fit clusterkit's KMeans separately for each k."""
    return [KMeans(k, random_state=0).fit(X).inertia_ for k in ks]


def scikit_learn(X: Vectors, ks: list[int], *, n_init: int) -> Inertias:
    """Fit scikit-learn's KMeans for each k."""
    from sklearn.cluster import KMeans

    return [float(KMeans(k, n_init=n_init, random_state=0).fit(X).inertia_) for k in ks]


def scikit_learn_batches(X: Vectors, ks: list[int]) -> Inertias:
    """Fit scikit-learn's MiniBatchKMeans for each k."""
    from sklearn.cluster import MiniBatchKMeans

    models = [MiniBatchKMeans(k, n_init=10, random_state=0).fit(X) for k in ks]
    return [exact_inertia(X, model.cluster_centers_) for model in models]


def faiss_plus_plus(X: Vectors, ks: list[int]) -> Inertias:
    """Train faiss from 10 k-means++ starts on all rows for each k."""
    import faiss

    inertias = []
    for k in ks:
        model = faiss.Kmeans(
            X.shape[1],
            k,
            niter=50,
            nredo=10,
            seed=1,
            min_points_per_centroid=1,
            max_points_per_centroid=len(X),
        )
        model.cp.init_method = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
        model.train(X)
        inertias.append(exact_inertia(X, np.asarray(model.centroids)))
    return inertias


# The first method that runs is the reference for the others.
METHODS: dict[str, Callable[[Vectors, list[int]], Inertias]] = {
    "sklearn-10": lambda X, ks: scikit_learn(X, ks, n_init=10),
    "sklearn-1": lambda X, ks: scikit_learn(X, ks, n_init=1),
    "sklearn-minibatch": scikit_learn_batches,
    "faiss-10": faiss_plus_plus,
    "kmeans": kmeans,
    "sweep": sweep,
}


def exact_inertia(X: Vectors, centers: Vectors) -> float:
    """Sum the squared distances of unit rows to their nearest centres."""
    nearest = ((centers**2).sum(axis=1) - 2 * X @ centers.T).min(axis=1)
    return float((1 + nearest).sum(dtype=np.float64))


def load_photos(features: Path, n_rows: int) -> Vectors:
    """Return random rows of the features of all photos."""
    sets = read_sets(features)
    X = np.concatenate([one.vectors for one in sets if one.vectors.shape[1] == 2048])
    return X[np.sort(np.random.default_rng(0).permutation(len(X))[:n_rows])]


def load_mnist() -> Vectors:
    """Return 50,000 digits on 512 principal components of their pixels."""
    from sklearn.decomposition import PCA

    path = SHARED / "data" / "mnist" / "train-images-idx3-ubyte.gz"
    with gzip.open(path) as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    return PCA(512, random_state=0).fit_transform(pixels[:50_000].astype(np.float32) / 255)


def measure(method: str, data: Path, ks: list[int]) -> dict[str, Any]:
    """Run one method in this process."""
    X = np.load(data)
    # Imports and first calls are not timed.
    METHODS[method](X[:200], [2])
    before = resident_mib()
    start, cpu_start = time.perf_counter(), time.process_time()
    inertias = METHODS[method](X, ks)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "method": method,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "mib": peak - before,
        "inertias": inertias,
    }


def resident_mib() -> float:
    """Return the memory of this process, on Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def run_apart(*options: str) -> dict[str, Any]:
    """Run this benchmark with other options in a new process."""
    command = [sys.executable, "-m", "tests.benchmarks.clustering", *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def write_store(folder: Path, n_rows: int) -> None:
    """Write a store of rows around 10 directions, with the parts and columns of a real one."""
    centers = np.random.default_rng(0).normal(size=(N_GROUPS, 256)).astype(np.float32)
    description = {"extractor": "made-up", "fingerprint": "0" * 64, "dimension": 256}
    space = Store(folder).open_space(description)
    for start in range(0, n_rows, 2048):
        rng = np.random.default_rng(start)
        numbers = range(start, min(start + 2048, n_rows))
        noise = rng.standard_normal((len(numbers), 256), np.float32)
        vectors = centers[rng.integers(N_GROUPS, size=len(numbers))] + noise
        space.append(
            [
                Row(f"{i // 1000:04}/{i:07}.jpg", "photos", f"{i:064x}", i, i, vector=vector)
                for i, vector in zip(numbers, vectors, strict=True)
            ]
        )


def measure_store(folder: Path) -> dict[str, Any]:
    """Do in this process what ``clusterkit cluster -a minibatch-kmeans`` does."""
    # The memory of imports and first calls is not counted.
    MiniBatchKMeans(2).fit(np.random.default_rng(0).normal(size=(100, 4)))
    import scipy.sparse  # noqa: F401

    before = resident_mib()
    start = time.perf_counter()
    stream = Store(folder).space().stream()
    opened = time.perf_counter()
    clustering = cluster(stream, "minibatch-kmeans", n_clusters=N_GROUPS)
    clustered = time.perf_counter()
    clustering.to_csv(folder / "clusters.csv")
    return {
        "rows": stream.shape[0],
        "dimension": stream.shape[1],
        "before_mib": before,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before,
        "open_seconds": opened - start,
        "cluster_seconds": clustered - opened,
        "write_seconds": time.perf_counter() - clustered,
        "sizes": list(clustering.sizes.values()),
    }


def report(result: dict[str, Any], first: dict[str, Any]) -> None:
    """Print one line of the table."""
    total = sum(result["inertias"])
    print(
        f"{result['method']:<18}{result['seconds']:>10.2f}{result['cpu_seconds']:>10.2f}"
        f"{first['seconds'] / result['seconds']:>10.1f}{result['mib']:>10.0f}{total:>14.1f}"
        f"{total / sum(first['inertias']):>10.4f}",
        file=sys.stderr,
        flush=True,
    )


def main() -> None:
    """Measure, and print table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--features", type=Path, default=SHARED / "bench", help="folder of .npz files with vectors"
    )
    parser.add_argument("--rows", type=int, default=2339, help="number of photos")
    parser.add_argument("--mnist", action="store_true", help="cluster digits instead of photos")
    parser.add_argument("--k", type=int, nargs="+", default=list(range(2, 21)))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--run", choices=[*METHODS, "store"], help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument(
        "--store",
        type=int,
        metavar="ROWS",
        help="measure the memory on a store of ROWS rows instead",
    )
    options = parser.parse_args()
    if options.run == "store":
        print(json.dumps(measure_store(options.data)))
        return
    if options.run:
        print(json.dumps(measure(options.run, options.data, options.k)))
        return
    if options.store:
        with tempfile.TemporaryDirectory() as folder:
            write_store(Path(folder), options.store)
            print(json.dumps(run_apart("--run", "store", "--data", folder), indent=2))
        return
    X = load_mnist() if options.mnist else load_photos(options.features, options.rows)
    print(f"{X.shape[0]} x {X.shape[1]}, k = {options.k}", file=sys.stderr)
    heads = f"{'':<18}{'seconds':>10}{'CPU':>10}{'times':>10}{'MiB':>10}{'sum inertia':>14}"
    print(f"{heads}{'ratio':>10}", file=sys.stderr)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "X.npy")
        np.save(data, unit_rows(X))
        for method in options.methods:
            ks = map(str, options.k)
            results.append(run_apart("--run", method, "--data", str(data), "--k", *ks))
            report(results[-1], results[0])
    document = {
        "rows": X.shape[0],
        "dimension": X.shape[1],
        "k": options.k,
        "processors": count_cpus(),
        "machine": platform.platform(),
        "results": results,
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
