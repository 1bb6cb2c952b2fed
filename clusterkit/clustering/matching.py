"""Keep clusters and their numbers across runs, and report changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.clusterers.kmeans.lloyd import lloyd
from clusterkit.clustering.decisions import FREE
from clusterkit.datasets.results import Result
from clusterkit.errors import InvalidInputError
from clusterkit.utils.noise import NOISE, cluster_text
from clusterkit.utils.text import plural

# Minimum fraction of its remaining images in the cluster that continues it, unless the largest.
_MIN_SHARE = 0.2
# Inertias that differ by less than this fraction count as equal.
_NEARLY_EQUAL = 1e-3
_MAX_SHOWN = 10
# Numbers of images by earlier and new cluster.
Flows = Counter[tuple[int, int]]


class Move(NamedTuple):
    """An image that changed its cluster; -1 is noise."""

    path: Any
    before: int
    after: int


@dataclass(frozen=True, eq=False, repr=False)
class IdentityReport(Result):
    """Changes of clusters relative to an earlier run.

    Attributes
    ----------
    labels : ndarray of shape (n,), int64
        The new clustering with its final numbers, which all other fields use.
    new : list of int
        Clusters that continue no earlier one, except parts of a split.
    split : dict of int to list of int
        The parts of each split cluster; the first keeps the number.
    merged : dict of int to list of int
        The earlier clusters of each merged cluster; the first gives the number.
    vanished : list of int
        Earlier clusters that do not continue, except merged ones.
    moved : list of Move
        Images whose cluster changed, except by a split or a merge.
    n_common : int
        Number of images in both runs.
    n_kept : int
        Number of these with an unchanged cluster number.
    n_added, n_removed : int
        Numbers of images only in the new run, and only in the earlier run.
    """

    labels: NDArray[np.int64]
    new: list[int]
    split: dict[int, list[int]]
    merged: dict[int, list[int]]
    vanished: list[int]
    moved: list[Move]
    n_common: int
    n_kept: int
    n_added: int
    n_removed: int

    def to_text(self) -> str:
        """Return the changes as text, one per line."""
        lines = [f"{self.n_kept:,} of {self.n_common:,} images keep their number"]
        lines += [f"new: cluster {number}" for number in self.new]
        lines += [f"split: cluster {old} into {_join(new)}" for old, new in self.split.items()]
        lines += [f"merged: clusters {_join(old)} into {new}" for new, old in self.merged.items()]
        lines += [f"vanished: cluster {number}" for number in self.vanished]
        moves = Counter((move.before, move.after) for move in self.moved).most_common()
        lines += [
            f"moved: {plural(n, 'image')} from {cluster_text(before)} to {cluster_text(after)}"
            for (before, after), n in moves[:_MAX_SHOWN]
        ]
        if len(moves) > _MAX_SHOWN:
            rest = sum(n for _, n in moves[_MAX_SHOWN:])
            lines.append(f"moved: {plural(rest, 'image')} between other clusters")
        if self.n_added:
            lines.append(f"added: {plural(self.n_added, 'image')}")
        if self.n_removed:
            lines.append(f"removed: {plural(self.n_removed, 'image')}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the labels, as values for :func:`clusterkit.utils.text.json_text`."""
        return {
            "n_common": self.n_common,
            "n_kept": self.n_kept,
            "n_added": self.n_added,
            "n_removed": self.n_removed,
            "new": self.new,
            "split": {str(number): parts for number, parts in self.split.items()},
            "merged": {str(number): parts for number, parts in self.merged.items()},
            "vanished": self.vanished,
            "moved": [
                {"path": str(path), "from": before, "to": after}
                for path, before, after in self.moved
            ],
        }


def match_clusters(
    labels: ArrayLike,
    previous: ArrayLike,
    *,
    paths: Sequence[Hashable] | None = None,
    previous_paths: Sequence[Hashable] | None = None,
    fixed: Collection[int] = (),
    placed: Mapping[Any, int] | None = None,
) -> IdentityReport:
    """Renumber clusters to match an earlier clustering.

    Parameters
    ----------
    labels : array-like of shape (n,), int
        The new clustering; -1 is noise.
    previous : array-like of shape (m,), int
        The earlier clustering.
    paths, previous_paths : sequence of length n and m, optional
        The image of each label; by default its row number.
    fixed : collection of int
        Clusters whose number means the same in both clusterings.
    placed : mapping of path to int, optional
        Images that belong to an earlier cluster whatever their label, if it continues.

    Returns
    -------
    IdentityReport
        The renumbered labels, and the new, split, merged, vanished and moved clusters and images.

    Raises
    ------
    InvalidInputError
        If the labels are not integers from -1, there is not one path per label, a path occurs
        twice, or no image is in both.

    Notes
    -----
    Clusters are matched one to one such that most images keep their number, by the Hungarian method
    (Kuhn 1955, "The Hungarian method for the assignment problem").  A matched cluster must contain
    a fifth of the remaining images of the earlier one, or the largest part of them, so that single
    images do not pass on a number.  Other clusters get the lowest numbers that the earlier
    clustering did not use.

    A continued cluster was split if at least half of the images of an unmatched cluster are also
    from it.  It was merged if it also contains at least half of the remaining images of an
    unmatched earlier cluster.  Noise is never matched.

    Examples
    --------
    >>> report = match_clusters([1, 1, 0, 0, 0, 2], [0, 0, 1, 1, 1, 1])
    >>> report.labels.tolist(), report.split
    ([0, 0, 1, 1, 1, 2], {1: [1, 2]})
    """
    new_labels, old_labels = _integers(labels, "labels"), _integers(previous, "previous")
    images = _images(paths, len(new_labels), "paths")
    old_images = _images(previous_paths, len(old_labels), "previous_paths")
    number_before = dict(zip(old_images, old_labels, strict=True))
    rows = [row for row, image in enumerate(images) if image in number_before]
    if not rows:
        raise InvalidInputError(
            "the two clusterings must have an image in common. "
            f"Received: {len(images):,} images now, {len(old_images):,} before"
        )
    before = [number_before[images[row]] for row in rows]
    flows = Counter(zip(before, (new_labels[row] for row in rows), strict=True))
    number = {label: label for label in fixed}
    number |= _go_on(Counter({pair: n for pair, n in flows.items() if not set(pair) & set(fixed)}))
    taken = set(old_labels)
    reserved = taken.union(fixed)
    free = (candidate for candidate in count() if candidate not in reserved)
    number |= {label: next(free) for label in sorted(set(new_labels) - number.keys())}
    final = [number[label] for label in new_labels]
    if placed:
        present = set(final) | {NOISE}
        final = [
            placed[image] if placed.get(image, FREE) in present else label
            for image, label in zip(images, final, strict=True)
        ]
    after = [final[row] for row in rows]
    earlier, present = taken - {NOISE}, set(final) - {NOISE}
    split, merged = _splits_and_merges(before, after, earlier, Counter(final))
    return IdentityReport(
        labels=np.array(final, np.int64),
        new=sorted((present - earlier).difference(*split.values())),
        split=split,
        merged=merged,
        vanished=sorted((earlier - present).difference(*merged.values())),
        moved=[
            Move(images[row], start, end)
            for row, start, end in zip(rows, before, after, strict=True)
            if start != end and end not in split.get(start, ()) and start not in merged.get(end, ())
        ],
        n_common=len(rows),
        n_kept=sum(start == end for start, end in zip(before, after, strict=True)),
        n_added=len(images) - len(rows),
        n_removed=len(old_images) - len(rows),
    )


def continue_kmeans(
    X: NDArray[np.float32],
    labels: NDArray[np.int64],
    inertia: float,
    *,
    previous: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Prefer the k-means solution that continues earlier clusters, if its inertia is as good.

    If k-means has several solutions of nearly the same inertia, a few new images can change which
    is best.  Therefore Lloyd's algorithm is also run from the centres of the earlier clusters, and
    its result is used unless the inertia is 0.1 % worse.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        The rows, scaled as for k-means.
    labels : ndarray of shape (n,), int
        Their clusters by k-means.
    inertia : float
        Its inertia.
    previous : ndarray of shape (n,), int
        Earlier cluster of each row; -1 if none.

    Returns
    -------
    ndarray of shape (n,), int
        The preferred labels; ``labels`` if the number of clusters differs.
    """
    numbers = np.unique(previous[previous != NOISE])
    if len(numbers) != len(np.unique(labels)):
        return labels
    # float32 is most precise near the origin.
    rows = X - X.mean(axis=0)
    centers = np.stack([rows[previous == number].mean(axis=0) for number in numbers])
    continued = lloyd(rows, np.ones(len(rows), np.float32), centers)
    if continued.inertia > (1 + _NEARLY_EQUAL) * inertia:
        return labels
    return continued.labels.astype(np.int64)


def _go_on(flows: Flows) -> dict[int, int]:
    """Map each label that continues an earlier cluster to that cluster's number."""
    from scipy.optimize import linear_sum_assignment

    remaining: Counter[int] = Counter()
    for (old, _), images in flows.items():
        remaining[old] += images
    olds = sorted({old for old, _ in flows} - {NOISE})
    news = sorted({new for _, new in flows} - {NOISE})
    table = np.array([[flows[old, new] for new in news] for old in olds])
    number = {NOISE: NOISE}
    if not table.size:
        return number
    for row, column in zip(*linear_sum_assignment(table, maximize=True), strict=True):
        least = min(_MIN_SHARE * remaining[olds[row]], table[row].max())
        if table[row, column] >= max(1, least):
            number[news[column]] = olds[row]
    return number


def _splits_and_merges(
    before: Sequence[int], after: Sequence[int], earlier: set[int], sizes: Counter[int]
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return the parts of split clusters and the sources of merged ones, themselves first."""
    remaining = Counter(before)
    kept, fresh = earlier & sizes.keys(), sizes.keys() - earlier - {NOISE}
    split: dict[int, list[int]] = {}
    merged: dict[int, list[int]] = {}
    for (old, new), images in sorted(Counter(zip(before, after, strict=True)).items()):
        if old in kept and new in fresh and 2 * images >= sizes[new]:
            split.setdefault(old, [old]).append(new)
        if new in kept and old in earlier - kept and 2 * images >= remaining[old]:
            merged.setdefault(new, [new]).append(old)
    return split, merged


def _integers(labels: ArrayLike, name: str) -> list[int]:
    """Return labels as a list of integers from -1."""
    values = np.asarray(labels)
    if values.ndim != 1 or (
        values.size and (values.dtype.kind not in "iu" or values.min() < NOISE)
    ):
        raise InvalidInputError(
            f"{name} must be integers of at least -1, in one dimension. "
            f"Received: {values.dtype} of shape {values.shape}, such as {values.ravel()[:3]}"
        )
    return values.tolist()


def _images(paths: Sequence[Hashable] | None, n: int, name: str) -> Sequence[Hashable]:
    """Return the images of the labels: paths or row numbers."""
    images = range(n) if paths is None else paths
    if len(images) != n or len(set(images)) != n:
        raise InvalidInputError(
            f"{name} must hold one path per label, each once. "
            f"Received: {len(images):,} paths, {len(set(images)):,} of them different, {n:,} labels"
        )
    return images


def _join(numbers: Sequence[int]) -> str:
    """Return numbers as text: "1, 2 and 3", shortened if there are many."""
    shown = [str(number) for number in numbers[:_MAX_SHOWN]]
    last = shown.pop() if len(numbers) <= _MAX_SHOWN else f"{len(numbers) - _MAX_SHOWN} more"
    return f"{', '.join(shown)} and {last}"
