"""Name clusters, and put images into them: decisions that later runs keep."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit.clustering.decisions import Decisions, Placed
from clusterkit.clustering.earlier import EarlierClusters, read_earlier
from clusterkit.clustering.saved import Origin, check_is_path, read_clusters, rewrite_clusters
from clusterkit.datasets.results import Result
from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.store.embeddings import find_by_end
from clusterkit.utils.arguments import as_list
from clusterkit.utils.files import locked
from clusterkit.utils.locations import absolute, relative
from clusterkit.utils.noise import MAX_CLUSTER, NOISE, cluster_text, is_missing_text
from clusterkit.utils.text import join_lines, plural


@dataclass(frozen=True, repr=False)
class Labelling(Result):
    """Result of :func:`label`: the decisions about a table of clusters.

    Attributes
    ----------
    table : pathlib.Path
        The table.
    sizes : dict of int to int
        Number of images in each cluster; -1 is noise.
    names : dict of int to str
        Names of clusters.
    decisions : Decisions
        All decisions, including those found as edits of the table.
    n_moved : int
        Number of images that this call put into another cluster.
    """

    table: Path
    sizes: dict[int, int]
    names: dict[int, str]
    decisions: Decisions
    n_moved: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "table": str(self.table),
            "sizes": _as_text(self.sizes),
            "names": _as_text(self.names),
            "decisions": self.decisions.to_dict(),
            "n_moved": self.n_moved,
        }

    def to_text(self) -> str:
        """Return the kept clusters, and the number of images moved to each cluster."""
        decisions = self.decisions
        lines = [f"{plural(self.n_moved, 'image')} moved"] if self.n_moved else []
        if decisions.not_copies:
            lines.append(
                f"{plural(len(decisions.not_copies), 'pair')} of images marked as no copies"
            )
        for number in sorted(decisions.fixed):
            is_named, is_pinned = bool(decisions.names.get(number)), number in decisions.pinned
            why = " and ".join(["named"] * is_named + ["pinned"] * is_pinned)
            size = plural(self.sizes.get(number, 0), "image")
            line = f"{number:>7}  {size}, {why}  {self.names.get(number, '')}"
            lines.append(line.rstrip())
        placed = Counter(image.cluster for image in decisions.placed)
        for number, n_images in sorted(placed.items()):
            if number not in decisions.fixed:
                lines.append(f"{cluster_text(number):>7}  {plural(n_images, 'image')} put there")
        return join_lines(lines or ["no decisions yet: see `clusterkit label --help`"])


def label(
    clusters_csv: str | Path,
    *,
    names: Mapping[int, str] | None = None,
    moves: Mapping[str, int] | None = None,
    pin: int | Iterable[int] = (),
    unpin: int | Iterable[int] = (),
    not_copies: Iterable[tuple[str, str]] = (),
    copies: Iterable[tuple[str, str]] = (),
) -> Labelling:
    """Name clusters of a table, pin them, and move images between them.

    The table and the ``.json`` file beside it are rewritten; later runs with
    ``cluster(previous=...)`` keep what was decided: a cluster with a given name and a pinned one
    keep their number and images, and a moved image stays where it was put.

    Edits of the table itself, as in a spreadsheet, are decisions as well: another name or number in
    some rows, or a number that was not in use, which makes a group of these rows.

    Parameters
    ----------
    clusters_csv : path
        The table of ``clusterkit cluster``.
    names : mapping of int to str, optional
        Names of clusters; an empty name removes the one that is there.
    moves : mapping of str to int, optional
        The cluster of images, by their path in the table, their file, or their file name if it is
        unique.  A number that is not in use makes a new group; -1 is noise.
    pin, unpin : int or iterable of int
        Clusters that keep their images, and those that no longer do.
    not_copies, copies : iterable of (str, str)
        Pairs of images that look alike but are not copies of each other, so that a contact sheet
        shows both, and :func:`~clusterkit.classifiers.train_classifier` and the like need not keep
        them in one part; and pairs that count as copies again.

    Returns
    -------
    Labelling
        All decisions about the table.  Without any argument, nothing is written.

    Raises
    ------
    NotFoundError
        If the table or an image does not exist.
    InvalidInputError
        If there is no such cluster, a name cannot be written, two decisions exclude each other, or
        another call is labelling a table of the folder.

    Warns
    -----
    Notice
        If two clusters have the same name.
    """
    check_is_path(clusters_csv)
    names = {_number(number): _name(name) for number, name in (names or {}).items()}
    moves = {str(image): _number(number) for image, number in (moves or {}).items()}
    pin, unpin = (set(map(_number, as_list(numbers))) for numbers in (pin, unpin))
    not_copies, copies = list(not_copies), list(copies)
    is_changed = any((names, moves, pin, unpin, not_copies, copies))
    # Of two calls at once, the last would write what it read before the first.
    folder = Path(clusters_csv).absolute().parent
    is_locked = is_changed and Path(clusters_csv).is_file()
    with locked(folder, doing="labelling clusters") if is_locked else nullcontext():
        return _label(clusters_csv, names, moves, pin, unpin, not_copies, copies)


def _label(
    clusters_csv: str | Path,
    names: Mapping[int, str],
    moves: Mapping[str, int],
    pin: set[int],
    unpin: set[int],
    not_copies: Iterable[tuple[str, str]],
    copies: Iterable[tuple[str, str]],
) -> Labelling:
    """Read a table, decide, and write it; see :func:`label`."""
    table = read_clusters(clusters_csv)
    earlier = read_earlier(table)
    labels = dict(zip(earlier.paths, earlier.labels, strict=True))
    decided = _decide(earlier, labels, names, moves, pin, unpin)
    n_moved = sum(labels[image.path] != image.cluster for image in decided.placed)
    labels |= {image.path: image.cluster for image in decided.placed}
    decided = replace(decided, not_copies=_pairs(not_copies, earlier))
    taken_back = _pairs(copies, earlier)
    decisions = earlier.decisions | decided
    decisions = replace(
        decisions,
        pinned=decisions.pinned - unpin,
        not_copies=decisions.not_copies - taken_back,
    )
    _check_pins(decided, labels, unpin, decisions)
    called = {**earlier.names, **decided.names}
    called = {number: name for number, name in called.items() if name}
    _warn_shared(called, decided)
    sizes = dict(sorted(Counter(labels.values()).items()))
    if decided or unpin or taken_back:
        digests = earlier.digests or [None] * len(earlier.paths)
        origin = Origin(
            {**earlier.made_by} | {"k": len(sizes.keys() - {NOISE}), "sizes": _as_text(sizes)},
            called,
            labels,
            dict(zip(earlier.paths, digests, strict=True)),
            decisions,
        )
        rewrite_clusters(clusters_csv, origin)
    return Labelling(Path(clusters_csv), sizes, called, decisions, n_moved)


def _number(given: Any) -> int:
    """Return the number of a cluster, also of NumPy, as one of Python."""
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise InvalidInputError(f"a cluster must be given by its number. Received: {given!r}")
    return int(given)


def _name(given: Any) -> str:
    """Return the name of a cluster."""
    if not isinstance(given, str):
        raise InvalidInputError(f"the name of a cluster must be a text. Received: {given!r}")
    return given


def _decide(
    earlier: EarlierClusters,
    labels: Mapping[str, int],
    names: Mapping[int, str],
    moves: Mapping[str, int],
    pin: set[int],
    unpin: set[int],
) -> Decisions:
    """Check decisions, and return them."""
    if both := pin & unpin:
        raise InvalidInputError(f"cluster {min(both)} cannot be pinned and unpinned at once")
    digest_of = dict(zip(earlier.paths, earlier.digests or (), strict=False))
    placed: dict[str, int] = {}
    for image, number in moves.items():
        if not NOISE <= number <= MAX_CLUSTER:
            raise InvalidInputError(
                f"clusters are numbers from 0 to {MAX_CLUSTER}, and {NOISE} is noise. Received: "
                f"{image}={number}"
            )
        path = _find(image, labels, earlier.root)
        if placed.setdefault(path, number) != number:
            raise InvalidInputError(f"{path} cannot be in clusters {placed[path]} and {number}")
    known = set(labels.values()) | set(placed.values()) | earlier.decisions.fixed
    for number in [*names, *pin, *unpin]:
        if number == NOISE or number not in known:
            shown = ", ".join(map(str, sorted(known - {NOISE})))
            said = cluster_text(number) if number == NOISE else repr(number)
            raise InvalidInputError(f"there is no cluster {said} in the table, which has {shown}")
    for number, name in names.items():
        if name and (is_missing_text(name) or name != name.strip()):
            raise InvalidInputError(
                f"a name must not be a word for a missing value, or begin or end with a space. "
                f"Received: {name!r} for cluster {number}"
            )
    new = set(placed.values()) - set(labels.values()) - {NOISE}
    # Confirming the present cluster of an image is a decision, too.
    images = tuple(Placed(path, digest_of.get(path), number) for path, number in placed.items())
    return Decisions(dict(names), frozenset(pin | new), images)


def _pairs(
    pairs: Iterable[tuple[str, str]], earlier: EarlierClusters
) -> frozenset[tuple[str, str]]:
    """Return pairs of images by their sorted digests."""
    digests = earlier.digests or [None] * len(earlier.paths)
    digest_of = dict(zip(earlier.paths, digests, strict=True))
    found = set()
    for pair in pairs:
        if isinstance(pair, str | os.PathLike) or len(pair) != 2:
            raise InvalidInputError(f"a pair must be two images. Received: {pair!r}")
        one, other = (digest_of[_find(str(image), digest_of, earlier.root)] for image in pair)
        if not one or not other:
            raise InvalidInputError(
                "the table does not hold digests of its images, by which pairs are kept: write "
                f"it again with `clusterkit cluster`. Received: {' and '.join(map(str, pair))}"
            )
        if one == other:
            raise InvalidInputError(
                f"{' and '.join(map(str, pair))} are the same image or equal files, which are "
                "always copies"
            )
        found.add((min(one, other), max(one, other)))
    return frozenset(found)


def _find(image: str, paths: Mapping[str, Any], root: str | None) -> str:
    """Return the path of an image in the table, whose paths are keys."""
    if image in paths:
        return image
    if root is not None:
        path = relative(absolute(image), root)
        if path in paths:
            return path
    meant = find_by_end(image, paths)
    if meant is not None:
        return meant
    raise NotFoundError(f"{image} is not among the {len(paths):,} images of the table")


def _check_pins(
    decided: Decisions, labels: Mapping[str, int], unpin: Iterable[int], decisions: Decisions
) -> None:
    """Check that pinned clusters have images, and that unpinned ones are not kept by a name."""
    if empty := sorted(decided.pinned - set(labels.values())):
        raise InvalidInputError(f"no image is in cluster {empty[0]}, so it cannot be pinned")
    for number in unpin:
        if name := decisions.names.get(number):
            raise InvalidInputError(
                f"cluster {number} is kept by its name {name!r}: remove that with an empty name"
            )


def _warn_shared(names: Mapping[int, str], decided: Decisions) -> None:
    """Warn about clusters with the same name."""
    for number, name in decided.names.items():
        others = [other for other, theirs in names.items() if theirs == name and other != number]
        if name and others:
            warnings.warn(
                f"clusters {_join([number, *others])} are all called {name!r}: `clusterkit "
                "promote` makes one class of them",
                Notice,
                stacklevel=4,
            )


def _as_text(table: Mapping[int, Any]) -> dict[str, Any]:
    """Return a table with its clusters as text, as JSON has them."""
    return {str(cluster): value for cluster, value in table.items()}


def _join(numbers: Sequence[int]) -> str:
    """Return numbers as text, in order."""
    return ", ".join(map(str, sorted(numbers)))
