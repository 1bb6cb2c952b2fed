"""Compare search and clusters on vectors in float16 with those in float32.

``python -m tests.benchmarks.half --vectors FILES.npz`` scales the vectors of each file (arrays
``vectors`` and ``labels``) to length 1, stores them in both precisions, and compares what is read:
all cosines, the ten nearest neighbours of each image, and the clusters of k-means for several
seeds, with as many clusters as there are labels.  Prints one JSON document.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from clusterkit.clusterers import KMeans
from clusterkit.clustering.agreement import measure_agreement as agree
from clusterkit.similarity import CosineNeighbors
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store

N_NEIGHBORS = 10


def main() -> None:
    """Compare, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(json.dumps({file.stem: compare(file, options.seeds) for file in options.vectors}))


def compare(file: Path, n_seeds: int) -> dict[str, Any]:
    """Store the vectors of a file in both precisions, and compare them."""
    with np.load(file) as arrays:
        vectors, labels = arrays["vectors"].astype(np.float32), arrays["labels"]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        single, half = (keep(Path(folder), numbers, vectors) for numbers in ("float32", "float16"))
    assert np.array_equal(single[0].vectors, vectors)
    found: dict[str, Any] = {"images": len(vectors), "dimension": vectors.shape[1]}
    found["mb"] = {"float32": single[1], "float16": half[1]}
    cosines = [unit @ unit.T for unit in map(units, (single[0], half[0]))]
    found["largest_change_of_a_cosine"] = float(np.abs(cosines[0] - cosines[1]).max())
    neighbors = [
        CosineNeighbors(n_neighbors=N_NEIGHBORS).fit(emb).kneighbors(emb)[1]
        for emb, _ in (single, half)
    ]
    pairs = zip(*neighbors, strict=True)
    same = [len(set(one.tolist()) & set(other.tolist())) for one, other in pairs]
    found["same_neighbours"] = round(float(np.mean(same)) / N_NEIGHBORS, 5)
    found["same_nearest"] = round(float((neighbors[0][:, 0] == neighbors[1][:, 0]).mean()), 5)
    k = len(set(labels.tolist()))
    found["seeds"] = []
    for seed in range(n_seeds):
        clusters = [KMeans(k, random_state=seed).fit_predict(emb) for emb, _ in (single, half)]
        found["seeds"].append(
            {
                "accuracy_float32": round(agree(labels.tolist(), clusters[0].tolist()).accuracy, 4),
                "accuracy_float16": round(agree(labels.tolist(), clusters[1].tolist()).accuracy, 4),
                "ari_of_both": round(float(adjusted_rand_score(*clusters)), 4),
            }
        )
    return found


def keep(folder: Path, numbers: str, vectors: np.ndarray) -> tuple[Embeddings, float]:
    """Store vectors; return what is read, and the size on disk in MB."""
    space = Store(folder / numbers).open_space(
        {
            "extractor": "own",
            "fingerprint": "0" * 16,
            "dimension": vectors.shape[1],
            "vectors": numbers,
        }
    )
    space.append([Row(f"{i:06}.png", "x", vector=vector) for i, vector in enumerate(vectors)])
    return space.read(), round(space.summary()["bytes"] / 1e6, 2)


def units(emb: Embeddings) -> np.ndarray:
    """Return the vectors with length 1, in float64."""
    vectors = emb.vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
