"""Measure whether labels of selected images are more useful than those of random images.

``python -m tests.benchmarks.sample STORE...`` reads stores of embedded sets whose folders are the
classes.  In a set with C classes, each seed labels 5 C images in two ways with ``clusterkit
sample``: at once, as typical images; and in rounds, as described in its help, with 2 C typical
images and then three times C doubtful ones, given the labels so far.  Images that were not selected
get no label.  A logistic regression and the nearest neighbour, on vectors of length 1, are fitted
to these labels, and so is the last layer of ``clusterkit train classifier``.  Accuracy is measured
on the images without a label, and on those of them that are not among the 15 random ones of each
class either.  Another logistic regression is fitted to all images, each with the label of its
nearest labelled one.
Random labels are 15 and 5 of each class (fewer in a class that would have no image left), and 15 C
and 5 C of all images.  The benchmark also counts in how many seeds 2 C typical or diverse images
contain every class.  As an upper limit, ``--draws`` looks up all labels, and takes the best of that
many random draws of 5 images of each class.  Prints one JSON document.

The upper limit shows why a logistic regression (C = 100) does not reach 15 random labels of each
class.  On anime5, the best of 300 draws reaches 0.624, and 15 random labels 0.642 (10 seeds).  On
the four sets (species10, imbalanced10, cat_dog_wild, anime5) the best draws reach 0.967, 0.985,
0.957 and 0.624, on average 0.883, which is only 0.006 above 15 random labels.  Eighteen other
strategies were tried on half of 70 species, in sets of similar, imbalanced, composite and mixed
classes.  The best one, typical images of the most doubtful groups, gains 0.005 over typical images
at once, also on the other half, but loses 0.01 with the nearest neighbour.  Labels of 5 C typical
images reach more if they are spread to all images: 0.862 on the four sets (3 seeds), compared with
0.876 of 15 random ones that are not spread; without anime5, 0.964 and 0.957.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from clusterkit.classifiers.tasks import Task
from clusterkit.classifiers.training.heads import train_head
from clusterkit.preparation import sample_images
from clusterkit.similarity.scaling import unit_rows
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import Store

Rows = NDArray[np.intp]
BY = ("typical", "diverse")
# Selections for which the last layer is fitted, which takes longer.
COMPARED = ("5 C in rounds", "5 C typical", "15 of each class")
# Inverse regularisation strengths: that of sample's own classifier, and the default.
STRENGTHS = (100.0, 1.0)
# Number of principal components to which the classifier with spread labels is fitted.
N_AXES = 100


def read_set(store: Path) -> tuple[Embeddings, NDArray[np.str_]]:
    """Return embeddings and their labels, the names of the folders."""
    embeddings = Store(store).space(None).read()
    return embeddings, np.array([Path(path).parent.name for path in embeddings.paths])


def choose_in_rounds(embeddings: Embeddings, truth: NDArray[np.str_], seed: int) -> Rows:
    """Return the rows to label: 2 C typical images, and three times C doubtful ones."""
    n_classes = len(np.unique(truth))
    labels: list[str | None] = [None] * len(truth)
    for number in (2 * n_classes, *[n_classes] * 3):
        for row in sample_images(embeddings, number, labels=labels, random_state=seed).rows:
            labels[row] = str(truth[row])
    return np.flatnonzero([label is not None for label in labels])


def draw_of_each(truth: NDArray[np.str_], n: int, seed: int) -> Rows:
    """Return random rows, equally many of each class, but leave at least one of each."""
    rng = np.random.default_rng(seed)
    drawn = []
    for name in np.unique(truth):
        members = rng.permutation(np.flatnonzero(truth == name))
        drawn.append(members[: min(n, len(members) - 1)])
    return np.concatenate(drawn)


def measure(
    vectors: NDArray[np.float32], truth: NDArray[np.str_], learned: Rows, tested: Rows
) -> dict[str, float]:
    """Return the accuracy of classifiers that are fitted to the labels of some rows."""
    # The weights of a linear classifier are in the span of the rows to which it is fitted.
    axes = np.linalg.qr(vectors[learned].T.astype(np.float64))[0]
    found = {}
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=1000)
        model.fit(vectors[learned] @ axes, truth[learned])
        score = model.score(vectors[tested] @ axes, truth[tested])
        found[f"logistic regression, C = {strength:g}"] = float(score)
    nearest = (vectors[tested] @ vectors[learned].T).argmax(axis=1)
    found["nearest neighbour"] = float(np.mean(truth[learned][nearest] == truth[tested]))
    return found


def measure_spread(
    vectors: NDArray[np.float32], truth: NDArray[np.str_], learned: Rows, tested: Rows
) -> float:
    """Return the accuracy of a classifier fitted to all images, with the nearest labels."""
    nearest = (vectors @ vectors[learned].T).argmax(axis=1)
    spread = truth[learned][nearest]
    reduced = PCA(min(N_AXES, len(vectors)), random_state=0).fit_transform(vectors)
    model = LogisticRegression(max_iter=1000).fit(reduced, spread)
    return float(model.score(reduced[tested], truth[tested]))


def measure_head(
    embeddings: Embeddings, truth: NDArray[np.str_], learned: Rows, tested: Rows
) -> float:
    """Return the accuracy of the last layer that ``train classifier`` fits to the vectors."""
    task = Task.from_labels(truth[learned].tolist())
    part = embeddings.vectors[learned], task.indicators(truth[learned].tolist())
    head = train_head(task, part, balance="auto", random_state=0).network
    probabilities = task.probabilities(head.predict(embeddings.vectors[tested], verbose=0))
    return float(np.mean(task.classes[probabilities.argmax(axis=1)] == truth[tested]))


def has_all(embeddings: Embeddings, truth: NDArray[np.str_], by: str, seed: int) -> bool:
    """Return whether 2 C images contain every class."""
    n_classes = len(np.unique(truth))
    rows = sample_images(embeddings, 2 * n_classes, by=by, random_state=seed).rows
    return len(np.unique(truth[rows])) == n_classes


def find_limit(
    vectors: NDArray[np.float32], truth: NDArray[np.str_], n_draws: int
) -> dict[str, float]:
    """Return the mean and best accuracy of a logistic regression over random draws of 5 a class."""
    found = []
    for seed in range(n_draws):
        rows = draw_of_each(truth, 5, seed)
        rest = np.setdiff1d(np.arange(len(truth)), rows)
        axes = np.linalg.qr(vectors[rows].T.astype(np.float64))[0]
        model = LogisticRegression(C=STRENGTHS[0], max_iter=1000)
        model.fit(vectors[rows] @ axes, truth[rows])
        found.append(float(model.score(vectors[rest] @ axes, truth[rest])))
    return {"draws": n_draws, "mean": float(np.mean(found)), "best": max(found)}


def run(store: Path, n_seeds: int, n_coverage: int, n_draws: int) -> dict[str, Any]:
    """Measure one set."""
    embeddings, truth = read_set(store)
    vectors = unit_rows(embeddings.vectors)
    n_classes, everything = len(np.unique(truth)), np.arange(len(truth))
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        ways = {
            "5 C in rounds": choose_in_rounds(embeddings, truth, seed),
            **{
                f"5 C {by}": sample_images(embeddings, 5 * n_classes, by=by, random_state=seed).rows
                for by in BY
            },
            "15 of each class": draw_of_each(truth, 15, seed),
            "5 of each class": draw_of_each(truth, 5, seed),
            "15 C at random": rng.permutation(len(truth))[: 15 * n_classes],
            "5 C at random": rng.permutation(len(truth))[: 5 * n_classes],
        }
        by_chance = ways["15 of each class"]
        for way, rows in ways.items():
            rest = np.setdiff1d(everything, rows)
            either = np.setdiff1d(rest, by_chance)
            for tested, on in ((rest, "without a label"), (either, "without a label either way")):
                for name, score in measure(vectors, truth, rows, tested).items():
                    scores[f"{name}, images {on}"][way].append(score)
            if way in COMPARED:
                score = measure_head(embeddings, truth, rows, rest)
                scores["last layer of train classifier, images without a label"][way].append(score)
                score = measure_spread(vectors, truth, rows, rest)
                scores["logistic regression of spread labels, images without a label"][way].append(
                    score
                )
    coverage = {
        by: float(np.mean([has_all(embeddings, truth, by, seed) for seed in range(n_coverage)]))
        for by in BY
    }
    return {
        "images": len(truth),
        "classes": n_classes,
        "smallest class": int(np.unique(truth, return_counts=True)[1].min()),
        "labels of 15 of each class": len(draw_of_each(truth, 15, 0)),
        "seeds": n_seeds,
        "accuracy": {
            probe: {
                way: {"mean": round(float(np.mean(values)), 4), "worst": round(min(values), 4)}
                for way, values in ways_of.items()
            }
            for probe, ways_of in scores.items()
        },
        "random draws of 5 of each class": find_limit(vectors, truth, n_draws) if n_draws else None,
        "seeds for coverage": n_coverage,
        "share of seeds in which 2 C images contain every class": coverage,
    }


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stores", nargs="+", type=Path, metavar="STORE")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--coverage", type=int, default=100, help="number of seeds for the coverage of classes"
    )
    parser.add_argument(
        "--draws", type=int, default=0, help="number of random draws for the upper limit"
    )
    options = parser.parse_args()
    numbers = (options.seeds, options.coverage, options.draws)
    found = {store.name: run(store, *numbers) for store in options.stores}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
