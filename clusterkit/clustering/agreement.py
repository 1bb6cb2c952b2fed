"""How well two groupings of the same images agree: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.results import Rows, TableResult
from clusterkit.errors import InvalidInputError
from clusterkit.utils.noise import NOISE, as_cluster, cluster_text, is_missing
from clusterkit.utils.text import join_lines, plural


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(TableResult):
    """Agreement of clusters with known labels.

    Attributes
    ----------
    accuracy : float
        Clustering accuracy, in [0, 1]: the fraction of images whose cluster is matched to their
        label, under the best one-to-one matching of clusters to labels.
    nmi : float
        Normalised mutual information (arithmetic mean), in [0, 1]; 1 only for equal partitions.
    ari : float
        Adjusted Rand index, in [-0.5, 1]; 0 on average for random labels.
    purity : float
        Fraction of images with the most frequent label of their cluster, in [0, 1].  It increases
        with the number of clusters.
    n : int
        Number of compared images.
    n_noise : int
        Number of these that are noise (-1).  They count as wrong in ``accuracy`` and ``purity``,
        and as a cluster of their own in ``nmi`` and ``ari``.
    table : ndarray of shape (n_clusters, n_labels), int64
        Number of images in each cluster (rows) with each label (columns).
    clusters : list of int or str
        The clusters, in order of the rows.
    label_names : list of str
        The labels, in order of the columns.
    matching : dict
        The label matched to each cluster; None for noise and unmatched clusters.
    n_unlabelled : int
        Number of clustered images without a known label, not included in ``n``.
    n_unused : int
        Number of labels of files that were not clustered.
    names : dict
        Names of clusters, if their table has any.
    unlabelled, unused : list of str
        These images and files, if read from tables.
    """

    accuracy: float
    nmi: float
    ari: float
    purity: float
    n: int
    n_noise: int
    table: NDArray[np.int64]
    clusters: list[Any]
    label_names: list[str]
    matching: dict[Any, str | None]
    n_unlabelled: int = 0
    n_unused: int = 0
    names: dict[Any, str] = field(default_factory=dict)
    unlabelled: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "acc": self.accuracy,
            "nmi": self.nmi,
            "ari": self.ari,
            "purity": self.purity,
            "n": self.n,
            "n_noise": self.n_noise,
            "n_unlabelled": self.n_unlabelled,
            "n_unused": self.n_unused,
            "clusters": self.clusters,
            "names": {str(cluster): name for cluster, name in self.names.items()},
            "label_names": self.label_names,
            "matching": {str(cluster): label for cluster, label in self.matching.items()},
            "table": self.table.tolist(),
        }

    def to_text(self) -> str:
        """Return the measures, and the labels in each cluster, the most frequent first."""
        measures = ("accuracy", "nmi", "ari", "purity")
        lines = [f"{name:>8}  {getattr(self, name):.3f}" for name in measures]
        lines += [f"{'n':>8}  {self.n}", "cluster  images  labels"]
        for cluster, row in zip(self.clusters, self.table, strict=True):
            labels = [
                f"{self.label_names[column]} {row[column]}"
                for column in (-row).argsort(kind="stable")
                if row[column]
            ]
            name = f"  ({self.names[cluster]})" if cluster in self.names else ""
            lines.append(f"{cluster_text(cluster):>7}  {row.sum():>6}  {', '.join(labels)}{name}")
        return join_lines(lines)

    def _headline(self) -> str:
        """Return the measures."""
        measures = ("accuracy", "nmi", "ari", "purity")
        shown = ", ".join(f"{name} {getattr(self, name):.3f}" for name in measures)
        return f"{shown} of {plural(self.n, 'image')}"

    def _table(self) -> Rows:
        """Return the number of images in each cluster (rows) with each label (columns)."""
        rows = zip(self.clusters, self.table.tolist(), strict=True)
        return Rows(["cluster", *self.label_names], [[one, *row] for one, row in rows])


def measure_agreement(labels: list[Any], clusters: list[Any], *, n_unused: int = 0) -> Evaluation:
    """Compare the cluster and the label of each image."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    clusters = [as_cluster(cluster) for cluster in clusters]
    if len(clusters) != len(labels) or not clusters:
        raise InvalidInputError(
            "there must be one label per image, and at least one. "
            f"Received: {len(labels):,} labels, {len(clusters):,} clusters"
        )
    pairs = [
        (cluster, str(as_cluster(label) if isinstance(label, float | np.floating) else label))
        for cluster, label in zip(clusters, labels, strict=True)
        if cluster is not None and not is_missing(label)
    ]
    n_missing = sum(map(is_missing, labels))
    n_unused += len(clusters) - len(pairs) - n_missing
    if not pairs:
        raise InvalidInputError(f"none of the {len(labels):,} images has a cluster and a label")
    names, rows = _enumerate(cluster for cluster, _ in pairs)
    label_names, columns = _enumerate(label for _, label in pairs)
    table = np.zeros((len(names), len(label_names)), np.int64)
    np.add.at(table, (rows, columns), 1)
    grouped = table.copy()
    grouped[[row for row, name in enumerate(names) if name == NOISE]] = 0
    matched = _match(grouped)
    n = len(pairs)
    return Evaluation(
        accuracy=sum(int(grouped[row, column]) for row, column in matched.items()) / n,
        nmi=float(normalized_mutual_info_score(columns, rows)),
        ari=float(adjusted_rand_score(columns, rows)),
        purity=int(grouped.max(axis=1).sum()) / n,
        n=n,
        n_noise=int(table.sum() - grouped.sum()),
        table=table,
        clusters=names,
        label_names=label_names,
        matching={
            name: label_names[matched[row]] if row in matched else None
            for row, name in enumerate(names)
        },
        n_unlabelled=n_missing,
        n_unused=n_unused,
    )


def _enumerate(values: Iterable[Any]) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the sorted distinct values, and the index of each value in them."""
    values = list(values)
    # Sorted numbers, then sorted strings.
    distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    number = {value: index for index, value in enumerate(distinct)}
    return distinct, np.array([number[value] for value in values], dtype=np.int64)


def _match(table: NDArray[np.int64]) -> dict[int, int]:
    """Return the one-to-one matching of rows to columns of highest sum, without empty pairs."""
    from scipy.optimize import linear_sum_assignment

    pairs = zip(*linear_sum_assignment(table, maximize=True), strict=True)
    return {int(row): int(column) for row, column in pairs if table[row, column]}
