"""Find how many groups images have, at each level, and name the groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from clusterkit.clustering.naming import find_classes, name_clusters
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.elbow.curve import ElbowCurve, Level, elbow_curve
from clusterkit.errors import InvalidInputError
from clusterkit.store.embeddings import Embeddings, RandomSample
from clusterkit.store.space import Space
from clusterkit.store.store import Store, as_sample
from clusterkit.store.stream import VectorStream
from clusterkit.utils.arguments import check_at_least
from clusterkit.utils.text import first_few, join_lines

# Approximate number of letters for the names of groups in one line of text.
_WIDTH = 72


@dataclass(frozen=True, eq=False, repr=False)
class Levels(TableResult):
    """The numbers of groups that images have, and the groups of each.

    As a table (``to_csv``, ``to_frame``) it has one row per group of each level.

    Attributes
    ----------
    curve : ElbowCurve
        The curve, with the verdict and the levels.
    names : tuple of dict of int to str
        For each level, the names of its groups by their number in the level's ``labels``, see
        :func:`clusterkit.clustering.naming.name_clusters`; groups without a name are left out.
    names_from : str or None
        The embedding space that provided the ImageNet classes for the names; None if there are
        none.
    """

    curve: ElbowCurve
    names: tuple[dict[int, str], ...]
    names_from: str | None

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels, the coarsest first; empty if there is no clear number."""
        return self.curve.levels

    @property
    def sizes(self) -> tuple[dict[int, int], ...]:
        """For each level, the number of images in each of its groups."""
        return tuple(
            dict(sorted(Counter(level.labels.tolist()).items())) for level in self.curve.levels
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the curve and its levels, with sizes and names of groups, as JSON-able values."""
        levels = [
            {
                "k": level.n_clusters,
                "confidence": level.confidence,
                "sizes": {str(group): size for group, size in sizes.items()},
                "names": {str(group): name for group, name in names.items()},
            }
            for level, sizes, names in zip(self.levels, self.sizes, self.names, strict=True)
        ]
        return self.curve.to_dict() | {"levels": levels, "names_from": self.names_from}

    def to_text(self) -> str:
        """Return the curve with its verdict, and a line for each level, with a mark at the best."""
        lines = self.curve.to_text().split("\n")
        if self.levels:
            lines.append("level    k   confidence  groups")
        for number, (level, groups) in enumerate(
            zip(self.levels, self._groups(), strict=True), start=1
        ):
            mark = "<" if level.n_clusters == self.curve.k else " "
            lines.append(
                f"{number:>5} {level.n_clusters:>4} {mark} {level.confidence:>10.2f}  {groups}"
            )
        return join_lines(lines)

    def _headline(self) -> str:
        """Return the verdict."""
        return self.curve.verdict

    def _table(self) -> Rows:
        """Return one row per group of each level."""
        cells = [
            [number, level.n_clusters, level.confidence, group, size, names.get(group, "")]
            for number, (level, sizes, names) in enumerate(
                zip(self.levels, self.sizes, self.names, strict=True), start=1
            )
            for group, size in sizes.items()
        ]
        return Rows(["level", "k", "confidence", "cluster", "images", "name"], cells)

    def _table_shown(self) -> Rows | None:
        """Return one row per level; None without levels."""
        cells = [
            [number, level.n_clusters, level.confidence, groups]
            for number, (level, groups) in enumerate(
                zip(self.levels, self._groups(), strict=True), start=1
            )
        ]
        return Rows(["level", "k", "confidence", "groups"], cells) if cells else None

    def _groups(self) -> list[str]:
        """Return the names of each level's groups in one line, or their sizes; large ones first."""
        lines = []
        for sizes, names in zip(self.sizes, self.names, strict=True):
            order = sorted(sizes, key=lambda group: -sizes[group])
            texts = [names[group] for group in order if group in names]
            if texts:
                lines.append(_shorten([*texts, *[""] * (len(order) - len(texts))], len(texts)))
            else:
                texts = [str(sizes[group]) for group in order]
                lines.append(f"sizes {_shorten(texts, len(texts))}")
        return lines


def find_levels(
    embeddings: Embeddings | VectorStream | ArrayLike | Store | Space | Path,
    *,
    k: Iterable[int] | None = None,
    k_min: int = 2,
    k_max: int | None = None,
    sample: int | None = None,
    random_state: int | None = None,
    store: Store | str | Path | None = None,
    progress: bool = False,
) -> Levels:
    """Estimate the number of groups at each level, and name the groups.

    Images may have more than one right number of groups: cats, dogs and wild animals are three,
    with ten kinds inside.

    Parameters
    ----------
    embeddings : Embeddings, VectorStream, array-like of shape (n, d), Store, Space, or path
        The images; of a store, those of its default space.
    k, k_min, k_max
        The numbers to try, see :func:`clusterkit.elbow.elbow_curve`.
    sample : int, optional
        Maximum number of images to use, drawn at random; by default 20,000 of a stream, otherwise
        all.
    random_state : int, optional
        Seed.
    store : Store or path, optional
        Where to look for the ImageNet classes of the images, if the embeddings have none; see
        :func:`clusterkit.clustering.naming.find_top5`.  By default the groups then have no names.
    progress : bool, default False
        Whether to show a progress bar on a terminal.

    Returns
    -------
    Levels
        The curve with its verdict and levels, and the names of the groups of each level.
        ``cluster(embeddings, n_clusters="auto", level=1)`` takes the first of them.

    Raises
    ------
    InvalidInputError
        If the embeddings or the numbers are invalid, see :func:`clusterkit.elbow.elbow_curve`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = np.repeat(np.eye(3), 30, axis=0) + rng.normal(0, 0.05, (90, 3))
    >>> top5 = [[(name, 0.9)] for name in ("lion", "tabby", "zebra") for _ in range(30)]
    >>> found = find_levels(Embeddings(X, top5=top5), k_max=6, random_state=0)
    >>> [sorted(names.values()) for names in found.names]
    [['lion', 'tabby', 'zebra']]
    """
    embeddings = as_sample(embeddings, sample, random_state=random_state, progress=progress)
    curve = elbow_curve(
        embeddings, k=k, k_min=k_min, k_max=k_max, random_state=random_state, progress=progress
    )
    top5, names_from = find_classes(embeddings, store)
    # Every level goes through them.
    classes = None if top5 is None else list(top5)
    names = tuple(name_clusters(level.labels, classes) for level in curve.levels)
    return Levels(curve, names, names_from)


@dataclass(frozen=True)
class ChosenLevel:
    """Which of the numbers that the elbow found was taken.

    Attributes
    ----------
    level : int
        Its position among the levels; 1 is the coarsest.
    n_clusters : tuple of int
        The number of clusters of each level.
    confidence : tuple of float
        The confidence of each level, from 0 to 1.
    sampled : RandomSample, optional
        The random sample that the elbow used, if it did not use all images.
    """

    level: int
    n_clusters: tuple[int, ...]
    confidence: tuple[float, ...]
    sampled: RandomSample | None = None

    @property
    def k(self) -> int:
        """The number of clusters of the level that was taken."""
        return self.n_clusters[self.level - 1]

    def to_dict(self) -> dict[str, Any]:
        """Return the level that was taken, and all of them, as JSON-able values."""
        levels = [
            {"k": k, "confidence": confidence}
            for k, confidence in zip(self.n_clusters, self.confidence, strict=True)
        ]
        sample = None if self.sampled is None else self.sampled._asdict()
        taken = {"level": self.level} | levels[self.level - 1]
        return taken | {"levels": levels, "sample": sample}

    def to_text(self) -> str:
        """Return the level that was taken, and a line on how to take another, if there is one."""
        said = [
            f"{k} clusters, confidence {confidence:.2f}"
            for k, confidence in zip(self.n_clusters, self.confidence, strict=True)
        ]
        of = "" if self.sampled is None else f", of {self.sampled}"
        if len(said) == 1:
            return f"{said[0]}{of}"
        others = [
            f"--level {number} ({text})"
            for number, text in enumerate(said, start=1)
            if number != self.level
        ]
        taken = f"level {self.level} of {len(said)}, {said[self.level - 1]}{of}"
        return f"{taken}\nOther levels: {', '.join(others)}"


def choose_level(curve: ElbowCurve, level: int | None = None) -> ChosenLevel:
    """Take one of the levels of a curve.

    Parameters
    ----------
    curve : ElbowCurve
        The curve.
    level : int, optional
        Position among the levels; 1 is the coarsest.  By default the best, ``curve.k``.

    Returns
    -------
    ChosenLevel

    Raises
    ------
    InvalidInputError
        If there is no clear number, or no such level.
    """
    if curve.k is None:
        raise InvalidInputError(
            f"the elbow found no number: {curve.verdict} To cluster nevertheless, "
            "give a number: -k N (n_clusters=N in Python)"
        )
    numbers = tuple(one.n_clusters for one in curve.levels)
    level = numbers.index(curve.k) + 1 if level is None else check_at_least(level, 1, "level")
    if level > len(numbers):
        known = ", ".join(
            f"{number} ({one.n_clusters} clusters, confidence {one.confidence:.2f})"
            for number, one in enumerate(curve.levels, start=1)
        )
        raise InvalidInputError(f"level must be one of these: {known}. Received: level={level}")
    sure = tuple(one.confidence for one in curve.levels)
    return ChosenLevel(level, numbers, sure, curve.sampled)


def _shorten(texts: Sequence[str], max_texts: int) -> str:
    """Join at most ``max_texts`` texts, as many as fit in a line, and count the others."""
    shown = next(
        (count for count in range(max_texts, 1, -1) if len(", ".join(texts[:count])) <= _WIDTH),
        1,
    )
    return first_few(texts, shown)
