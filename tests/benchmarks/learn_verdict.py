"""Learn the weights of clusterkit.elbow.verdict on the classes on which rules may be chosen.

``python -m tests.benchmarks.learn_verdict`` computes curves of draws from the shared Xception
vectors and from the ``.npz`` files in ``--features DIR``, and of generated sets with and without
groups.  It prints the tables ``RANKING``, ``GROUPS`` and ``NEARNESS``.
``tests/benchmarks/verdict.py`` evaluates the verdicts on the classes that are kept aside.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.elbow import ElbowCurve, elbow_curve
from clusterkit.elbow import verdict as rule
from tests.benchmarks.draws import (
    BLOBS,
    SHARED,
    SIDES,
    STRUCTURELESS,
    Draw,
    blur,
    draw_all,
    draw_generated,
    pair,
    read_sets,
)

# Ridge penalties for the weights of standardised indices.
PENALTY = 0.1
# Weight of all generated sets together, relative to the photos, for which the rule is made.
GENERATED = 0.5
Weights = dict[str, float]
RANGES = (20, 40)


class Judged(NamedTuple):
    """The kind, the true number of groups (None if there are none) and the curve of a draw."""

    kind: str
    truth: int | None
    curve: ElbowCurve

    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Return the indices by name."""
        return dict(vars(self.curve))


def draws(folders: Sequence[Path], n_photos: int, n_generated: int) -> Iterator[Draw]:
    """Draw from the classes on which rules may be chosen, and generate sets.

    Each draw of photos is also blurred, and with some classes that look alike, as kinds of one
    animal or object do.
    """
    for seed, drawn in enumerate(draw_all(read_sets(*folders), SIDES[0], n_photos)):
        yield from filter(None, (drawn, blur(drawn, seed), pair(drawn, seed)))
    for kind in (*BLOBS, *STRUCTURELESS):
        yield from (draw_generated(kind, seed) for seed in range(n_generated))


def judge_draw(draw: Draw, number: int) -> Judged:
    """Compute the curve up to 20 or 40 groups in turns; always up to 40 if there are many."""
    largest = RANGES[1] if (draw.truth or 0) > 16 else RANGES[number % 2]
    curve = elbow_curve(draw.vectors, k_max=min(largest, len(draw.vectors)), random_state=0)
    return Judged("/".join(draw.name.split("/")[:-1]), draw.truth, curve)


def weigh(judged: Sequence[Judged]) -> NDArray[np.float64]:
    """Return equal weights for the draws of photos; all generated sets together get half."""
    are_photos = np.array(["/" in one.kind for one in judged])
    weights = np.ones(len(judged))
    if are_photos.any() and not are_photos.all():
        weights[~are_photos] = GENERATED * are_photos.sum() / (~are_photos).sum()
    return weights / weights.mean()


def learn_ranking(judged: Sequence[Judged]) -> Weights:
    """Fit the conditional logit of the true number, by maximum likelihood with a ridge penalty."""
    from scipy.optimize import minimize

    known = [one for one in judged if one.truth in one.curve.n_clusters]
    tables, places = [], []
    for one in known:
        table = rule.describe_numbers(one.curves())
        defined = np.isfinite(table).all(axis=1)
        tables.append(table[defined])
        places.append(int(np.flatnonzero(one.curve.n_clusters[defined] == one.truth)[0]))
    scales = np.concatenate(tables).std(axis=0)
    weights = weigh(known)

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the negative log-likelihood and its gradient."""
        total, slope = PENALTY * (w**2).sum(), 2 * PENALTY * w
        for table, place, weight in zip(tables, places, weights, strict=True):
            scores = table / scales @ w
            odds = np.exp(scores - scores.max())
            shares = odds / odds.sum()
            total -= weight * np.log(max(shares[place], 1e-300))
            slope += weight * ((shares @ table - table[place]) / scales)
        return total, slope

    found = minimize(loss, np.zeros(len(scales)), jac=True, method="L-BFGS-B")
    return _named(rule.RANKING, found.x / scales)


def learn_groups(judged: Sequence[Judged], ranking: Weights) -> Weights:
    """Fit the probability that there are groups at all, given the most probable number."""
    rows, known = [], []
    for one in judged:
        ranks = rule.rank(one.curves(), ranking)
        table = rule.describe_groups(one.curve.n_clusters, one.curves())
        rows.append(table[int(ranks.argmax())])
        known.append(one.truth is not None)
    weights, are_groups = weigh(judged), np.array(known)
    # Sets with and without groups have equal weight.
    for side in (are_groups, ~are_groups):
        weights[side] /= weights[side].sum()
    return regress(rule.GROUPS, rows, known, weights * len(rows))


def learn_nearness(judged: Sequence[Judged], ranking: Weights) -> Weights:
    """Fit the probability that a prominent number is within one of the true number."""
    rows, near, weights = [], [], []
    known = [one for one in judged if one.truth is not None]
    for one, weight in zip(known, weigh(known), strict=True):
        ranks = rule.rank(one.curves(), ranking)
        table = rule.describe_lead(ranks)
        for place in rule.find_peaks(ranks):
            rows.append(table[place])
            near.append(abs(one.curve.n_clusters[place] - one.truth) <= 1)
            weights.append(weight)
    return regress(rule.NEARNESS, rows, near, np.array(weights))


def regress(
    names: Iterable[str], rows: list[Any], outcomes: list[bool], weights: NDArray[np.float64]
) -> Weights:
    """Fit a logistic regression; the first column is the intercept."""
    from sklearn.linear_model import LogisticRegression

    table = np.array(rows)
    scales = table.std(axis=0)
    scales[0] = 1
    model = LogisticRegression(C=1 / (2 * PENALTY), fit_intercept=False)
    model.fit(table / scales, outcomes, sample_weight=weights)
    return _named(names, model.coef_[0] / scales)


def learn(judged: Sequence[Judged]) -> dict[str, Weights]:
    """Return the tables of the rule."""
    ranking = learn_ranking(judged)
    return {
        "RANKING": ranking,
        "GROUPS": learn_groups(judged, ranking),
        "NEARNESS": learn_nearness(judged, ranking),
    }


def _named(names: Iterable[str], values: NDArray[np.float64]) -> Weights:
    """Return values by name, rounded."""
    return {name: float(f"{value:.3g}") for name, value in zip(names, values, strict=True)}


def main() -> None:
    """Compute the curves, fit the tables, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, nargs="*", default=[])
    parser.add_argument(
        "--photos", type=int, default=30, help="number of draws from each set of photos"
    )
    parser.add_argument(
        "--generated", type=int, default=20, help="number of generated sets of each kind"
    )
    options = parser.parse_args()
    folders = [SHARED / "bench", *options.features]
    drawn = draws(folders, options.photos, options.generated)
    judged = [judge_draw(draw, i) for i, draw in enumerate(drawn)]
    for name, table in learn(judged).items():
        print(name, "=", table)


if __name__ == "__main__":
    main()
