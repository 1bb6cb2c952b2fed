"""Measure how many wrong labels are found: precision and recall over several seeds.

    python -m tests.benchmarks.label_errors photos/ --network xception --weights notop.h5 -s STORE

The labels of some images are replaced by a random other class or, with ``--pairs``, always by the
next class.  A label that was already wrong counts as a false alarm if it is found.  If cleanlab is
installed, its ``find_label_issues`` is evaluated on the same probabilities.
"""

import argparse
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.classifier import Classifier
from clusterkit.classifiers.label_errors import LabelErrors, predict_folds
from clusterkit.classifiers.train import read_inputs
from clusterkit.datasets.labelled_images import read_labelled
from clusterkit.datasets.split import draw_folds

try:
    find_label_issues: Any = importlib.import_module("cleanlab.filter").find_label_issues
except ImportError:
    find_label_issues = None


def main() -> None:
    """Measure, and print a line for each share of wrong labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", default="xception")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("-s", "--store", type=Path)
    parser.add_argument("--pairs", action="store_true", help="confuse each class with the next")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    data = read_labelled(arguments.folder)
    everything = {"all": np.arange(len(data))}
    classifier = Classifier(arguments.network, weights=arguments.weights, random_state=0)
    inputs, rows, _ = read_inputs(data, everything, classifier, arguments.store)
    data = data[rows["all"]]
    for share in (0.05, 0.1, 0.2):
        scores: dict[str, list[tuple[float, float]]] = {"clusterkit": [], "cleanlab": []}
        n_same = 0
        for seed in range(arguments.seeds):
            labels, is_flipped = flip(data.labels or [], share, seed, pairs=arguments.pairs)
            folds = draw_folds(replace(data, labels=labels), random_state=seed)
            classifier.set_params(random_state=seed)
            task, probabilities = predict_folds(classifier, inputs["all"], labels, folds)
            found = LabelErrors.from_predictions(labels, probabilities)
            mine = {error.row for error in found.errors}
            scores["clusterkit"].append(rate(mine, is_flipped))
            if find_label_issues is not None:
                columns = task.indicators(labels).argmax(axis=1)
                is_issue = find_label_issues(columns, probabilities, n_jobs=1)
                theirs = set(np.flatnonzero(is_issue).tolist())
                scores["cleanlab"].append(rate(theirs, is_flipped))
                n_same += mine == theirs
        print(f"{arguments.folder.name}, {share:.0%} flipped", *map(say, scores.items()), sep="; ")
        print(f"  the same set in {n_same} of {arguments.seeds}", flush=True)


def flip(
    labels: list[Any], share: float, seed: int, *, pairs: bool
) -> tuple[list[Any], NDArray[np.bool_]]:
    """Replace some labels by another class; return the labels, and which were replaced."""
    rng = np.random.default_rng(seed)
    classes = sorted(set(labels))
    is_flipped = np.zeros(len(labels), bool)
    is_flipped[rng.choice(len(labels), round(share * len(labels)), replace=False)] = True
    steps = np.ones(len(labels), int) if pairs else rng.integers(1, len(classes), len(labels))
    return [
        classes[(classes.index(label) + step) % len(classes)] if flipped else label
        for label, step, flipped in zip(labels, steps, is_flipped, strict=True)
    ], is_flipped


def rate(found: set[int], is_flipped: NDArray[np.bool_]) -> tuple[float, float]:
    """Return precision and recall."""
    hits = len(found & set(np.flatnonzero(is_flipped)))
    return hits / max(len(found), 1), hits / int(is_flipped.sum())


def say(item: tuple[str, list[tuple[float, float]]]) -> str:
    """Return the mean and the worst precision and recall."""
    name, values = item
    if not values:
        return f"{name}: not installed"
    mean, worst = np.mean(values, axis=0), np.min(values, axis=0)
    return (
        f"{name}: precision {mean[0]:.3f} (worst {worst[0]:.3f}), "
        f"recall {mean[1]:.3f} (worst {worst[1]:.3f})"
    )


if __name__ == "__main__":
    main()
