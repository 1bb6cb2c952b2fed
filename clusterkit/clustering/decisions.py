"""A person's decisions about clusters, which later runs keep: names, groups, places of images."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.clusterers.distances import nearest_means
from clusterkit.clusterers.row_stream import RowStream
from clusterkit.errors import InvalidInputError
from clusterkit.similarity.scaling import Scaling
from clusterkit.utils.documents import (
    NOTHING,
    TEXT,
    Rule,
    check_document,
    integer,
    list_of,
    table_of,
)
from clusterkit.utils.noise import MAX_CLUSTER, NOISE
from clusterkit.utils.text import unescape_path

# The cluster of a row to which no decision applies.
FREE = -2
_ANY = Rule("an image", lambda x: isinstance(x, dict))
_PLACED = {
    "path": TEXT,
    "digest": TEXT | NOTHING,
    "cluster": integer(NOISE, MAX_CLUSTER),
}


class Placed(NamedTuple):
    """An image that a person put into a cluster; -1 is noise."""

    path: str
    digest: str | None
    cluster: int


@dataclass(frozen=True)
class Decisions:
    """What a person decided about the clusters of a table.

    Attributes
    ----------
    names : dict of int to str
        Names that were given; an empty one for a cluster whose name was removed.
    pinned : frozenset of int
        Clusters that keep their images.
    placed : tuple of Placed
        Images that were put into a cluster by hand, and images of kept clusters that are absent.
    not_copies : frozenset of (str, str)
        Pairs of images, by their sorted digests, that look alike but are not copies of each other.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    pinned: frozenset[int] = frozenset()
    placed: tuple[Placed, ...] = ()
    not_copies: frozenset[tuple[str, str]] = frozenset()

    @property
    def fixed(self) -> frozenset[int]:
        """Clusters that keep their number and images: those with a given name, and pinned ones."""
        return self.pinned.union(number for number, name in self.names.items() if name)

    def __bool__(self) -> bool:
        return bool(self.names or self.pinned or self.placed or self.not_copies)

    def __or__(self, newer: "Decisions") -> "Decisions":
        """Add newer decisions, which replace those about the same cluster name or image."""
        # Not by content, which copies share: of a file that was moved, the newest decision counts.
        replaced = {image.path for image in newer.placed}
        kept = tuple(image for image in self.placed if image.path not in replaced)
        return Decisions(
            {**self.names, **newer.names},
            self.pinned | newer.pinned,
            kept + newer.placed,
            self.not_copies | newer.not_copies,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the decisions as values for ``json_text``."""
        return {
            "names": {str(number): name for number, name in sorted(self.names.items())},
            "pinned": sorted(self.pinned),
            "placed": [image._asdict() for image in self.placed],
            "not_copies": sorted(map(list, self.not_copies)),
        }

    @classmethod
    def from_dict(cls, document: Any) -> "Decisions":
        """Read what :meth:`to_dict` returned.

        Raises
        ------
        InvalidInputError
            If a value is missing or invalid.
        """
        number = integer(0, MAX_CLUSTER)
        rules = {"names": table_of(TEXT), "pinned": list_of(number), "placed": list_of(_ANY)}
        check_document(document, rules)
        pairs = document.get("not_copies", [])  # earlier versions have none
        check_document({"not_copies": pairs}, {"not_copies": list_of(list_of(TEXT, 2, 2))})
        images = [check_document(image, _PLACED) for image in document["placed"]]
        placed = [Placed(unescape_path(x["path"]), x["digest"], x["cluster"]) for x in images]
        try:
            names = {int(key): unescape_path(name) for key, name in document["names"].items()}
        except ValueError:
            raise InvalidInputError("'names' must be a table of clusters and names") from None
        apart = frozenset((min(pair), max(pair)) for pair in pairs)
        return cls(names, frozenset(document["pinned"]), tuple(placed), apart)


class Edited(NamedTuple):
    """A table of clusters after edits by hand.

    Attributes
    ----------
    labels : list of int
        The cluster of each image.
    decisions : Decisions
        What the edits mean.
    """

    labels: list[int]
    decisions: Decisions


def read_edits(
    paths: Sequence[str],
    labels: Sequence[int],
    cells: Sequence[str] | None,
    *,
    written: Mapping[str, int],
    digests: Mapping[str, str | None],
    names: Mapping[int, str],
) -> Edited:
    """Compare a table of clusters with what was written, and return what a person changed.

    Parameters
    ----------
    paths, labels : sequence of length n
        The images of the table, and their clusters.
    cells : sequence of str, length n, or None
        The names in their rows; None without a column of names.
    written : mapping of str to int
        The cluster of each image as it was written; empty if unknown.
    digests : mapping of str to str or None
        The digest of each image.
    names : mapping of int to str
        The names of clusters as they were written.

    Returns
    -------
    Edited
        An image with another number was put into that cluster; a number that was not in use is a
        new group.  A new name in all rows of a cluster, but for those that came from others, is its
        name; so is one name in all rows of a group that has only such, unless none of them is new.
        In some rows a name puts these into the cluster of that name, or into a new group.

    Examples
    --------
    >>> edited = read_edits(
    ...     ["a", "b", "c"], [0, 0, 1], ["fox", "", ""], written={}, digests={}, names={}
    ... )
    >>> edited.labels, edited.decisions.names
    ([2, 0, 1], {2: 'fox'})
    """
    labels = list(labels)
    before = [written.get(path, label) for path, label in zip(paths, labels, strict=True)]
    used = set(written.values()) | set(names)
    pinned = {label for label in labels if written and label not in used and label != NOISE}
    given: dict[int, str] = {}
    if cells is not None:
        changed = _changed_names(labels, before, cells, names)
        taken = used.union(labels)
        members = defaultdict(list)
        for row, label in enumerate(labels):
            members[label].append(row)
        for label, rows in changed.items():
            name = _common_name(label, members[label], rows, before, cells)
            if name is not None:
                given[label] = name
        number_of = _numbers_of_names(names, given)
        free = (number for number in count() if number not in taken)
        for label, rows in changed.items():
            for row in rows:
                name = cells[row]
                # A row that was given another number may hold the new name of the old one.
                is_from_other = label != before[row] and given.get(before[row]) == name
                if not name or given.get(label) == name or is_from_other:
                    continue
                if name not in number_of:
                    number_of[name] = next(free)
                    given[number_of[name]] = name
                labels[row] = number_of[name]
    placed = tuple(
        Placed(path, digests.get(path), label)
        for path, label, old in zip(paths, labels, before, strict=True)
        if label != old
    )
    return Edited(labels, Decisions(given, frozenset(pinned), placed))


def hold(
    X: ArrayLike | RowStream,
    labels: NDArray[np.int64],
    decisions: Decisions,
    places: Mapping[int, int],
    *,
    normalize: Scaling = False,
) -> NDArray[np.int64]:
    """Return which cluster holds each row, by the decisions.

    Parameters
    ----------
    X : array-like of shape (n, d), or RowStream
        The rows; a stream is read at most twice, in batches.
    labels : ndarray of shape (n,)
        Their earlier clusters; ``FREE`` for new rows.
    decisions : Decisions
        The decisions.
    places : mapping of int to int
        Rows that were put into a cluster by hand.
    normalize : bool or "sqrt"
        How the clusterer scales rows, see :func:`~clusterkit.similarity.scaling.scale_rows`.

    Returns
    -------
    ndarray of shape (n,)
        The kept cluster of each row, ``FREE`` for rows to be clustered.  A new row belongs to the
        kept cluster whose mean is nearest to it, unless that of another earlier cluster is nearer.
    """
    fixed = decisions.fixed
    known = labels.copy()
    for row, number in places.items():
        known[row] = number
    held = np.where(np.isin(known, sorted(fixed)), known, FREE)
    for row, number in places.items():
        if number == NOISE:
            held[row] = NOISE
    new = known == FREE
    if new.any() and np.isin(known, sorted(fixed)).any():
        nearest = nearest_means(X, known, new, normalize=normalize)
        held[new] = np.where(np.isin(nearest, sorted(fixed)), nearest, FREE)
    return held


def _changed_names(
    labels: Sequence[int], before: Sequence[int], cells: Sequence[str], names: Mapping[int, str]
) -> dict[int, list[int]]:
    """Return the rows of each cluster whose name is not the one that was written."""
    changed = defaultdict(list)
    for row, (label, old, cell) in enumerate(zip(labels, before, cells, strict=True)):
        # A row that was given another number may still hold the name of the old one.
        if label != NOISE and cell not in (names.get(label, ""), names.get(old, "")):
            changed[label].append(row)
    return dict(sorted(changed.items()))


def _common_name(
    label: int,
    members: Sequence[int],
    changed: Sequence[int],
    before: Sequence[int],
    cells: Sequence[str],
) -> str | None:
    """Return the new name of a cluster, or None if some of its rows still have the old one."""
    own = [row for row in members if before[row] == label]
    rows = own or members
    # Some of a new group may have had its name before, as a merged part of another cluster.
    is_one_name = not own and len({cells[row] for row in rows}) == 1
    if not (is_one_name or set(rows) <= set(changed)):
        return None
    return Counter(cells[row] for row in rows).most_common(1)[0][0]


def _numbers_of_names(names: Mapping[int, str], given: Mapping[int, str]) -> dict[str, int]:
    """Return the cluster of each name that only one cluster has."""
    current = {**names, **given}
    n_clusters = Counter(current.values())
    return {name: number for number, name in current.items() if name and n_clusters[name] == 1}
