"""Choose between clusterings by the modularity of nearest-neighbour graphs."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.neighbor_graph import modularity_shares

Labels = NDArray[np.int32]
FIRST = "k-means"
# Number of standard errors by which a candidate must beat k-means.
N_ERRORS = 3


@dataclass(frozen=True)
class Candidate:
    """One candidate clustering.

    Attributes
    ----------
    name : str
        Name of the method.
    modularity : float
        Modularity of the clustering: the share of the graph's links within clusters, minus the
        share expected by chance; below 1.
    gain : float
        Difference to the modularity of k-means.
    error : float
        Standard error of ``gain`` over the rows.
    chosen : bool
        Whether it was chosen.
    labels : ndarray of shape (n,), int32
        Cluster of each fitted row, numbered from the largest.
    """

    name: str
    modularity: float
    gain: float
    error: float
    chosen: bool
    labels: Labels = field(repr=False, compare=False)


def choose(made: dict[str, Labels], graphs: Collection[Any]) -> list[Candidate]:
    """Choose the candidate of highest modularity, or the first one unless it is clearly lower.

    Parameters
    ----------
    made : dict of str to ndarray of shape (n,), int32
        Name to cluster of each row; k-means first.
    graphs : collection of sparse arrays of shape (n, n)
        The modularity is the mean over these.

    Returns
    -------
    list of Candidate
        In the same order; exactly one is chosen.
    """
    shares = {
        name: np.mean([modularity_shares(graph, labels) for graph in graphs], axis=0)
        for name, labels in made.items()
    }
    gains = {name: share - shares[FIRST] for name, share in shares.items()}
    errors = {name: gain.std() / np.sqrt(len(gain)) for name, gain in gains.items()}
    best = max(made, key=lambda name: shares[name].mean())
    if gains[best].mean() <= N_ERRORS * errors[best]:
        best = FIRST
    return [
        Candidate(
            name,
            modularity=float(shares[name].mean()),
            gain=float(gains[name].mean()),
            error=float(errors[name]),
            chosen=name == best,
            labels=labels,
        )
        for name, labels in made.items()
    ]


def explain_choice(candidates: list[Candidate]) -> str:
    """Return what was chosen and why, in a sentence."""
    first, others = candidates[0], candidates[1:]
    if not others:
        return (
            f"{FIRST}: nothing else was compared, because there is one cluster, or one of each "
            "row, or rows so alike that the graphs of neighbors fall into more parts than clusters"
        )
    best = max(others, key=lambda candidate: candidate.modularity)
    comparison = (
        f"modularity {best.modularity:.3f}, that of {FIRST} {first.modularity:.3f} "
        f"(difference {best.gain:+.3f} ± {best.error:.3f})"
    )
    if best.chosen:
        return f"{best.name}: {comparison}"
    return f"{FIRST}: no other is clearly better; the next, {best.name}, has {comparison}"
