"""Name clusters by the ImageNet classes that are frequent in one and rare elsewhere."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.extractors.imagenet import class_names
from clusterkit.store.embeddings import Embeddings, TopClasses, describe_space
from clusterkit.store.space import Space
from clusterkit.store.store import Store, as_store
from clusterkit.store.stream import VectorStream

# Sum of the probabilities of each class.
_Shares = defaultdict[str, float]
# Kinds of animals with many ImageNet classes, as ranges of classes (first, last) in the order of
# the networks' outputs.
_KINDS = {
    "fish": [(0, 6), (389, 397)],
    "bird": [(7, 24), (80, 100), (127, 146)],
    "salamander": [(25, 29)],
    "turtle": [(33, 37)],
    "lizard": [(38, 48)],
    "snake": [(52, 68)],
    "spider": [(72, 77)],
    "crab": [(118, 121)],
    "dog": [(151, 268)],
    "fox": [(277, 280)],
    "cat": [(281, 285)],
    "bear": [(294, 297)],
    "insect": [(300, 320)],
    "butterfly": [(321, 326)],
    "ape": [(365, 369)],
    "monkey": [(370, 382)],
}
_MAX_CLASSES = 3
# Minimum score of further classes of a name, relative to the first.
_RELATIVE_SCORE = 0.25
# Classes with this share of the probability are not replaced by a kind.
_GOOD_SHARE = 0.5
# Minimum share of the probability for a name.
_MIN_SHARE = 0.25
# Minimum share of a class that is added only to distinguish two clusters.
_ADDED_SHARE = 0.1


def name_clusters(
    labels: ArrayLike,
    top5: Iterable[TopClasses | None] | None,
    *,
    taken: Collection[str] = (),
) -> dict[int, str]:
    """Name clusters by their distinctive ImageNet classes.

    Parameters
    ----------
    labels : array-like of shape (n,), int
        Cluster of each image; -1 is noise, which gets no name.
    top5 : iterable of length n, or None
        The most probable classes of each image as (name, probability) pairs, or None if unknown.
    taken : collection of str
        Names that are in use, and are avoided if another is suitable.

    Returns
    -------
    dict of int to str
        A name such as ``"cheetah"`` or ``"red fox / timber wolf"``: up to three classes, the most
        distinctive first.  Clusters without known or sufficiently frequent classes are left out.

    Raises
    ------
    InvalidInputError
        If ``top5`` does not have one entry per label.

    Notes
    -----
    The score of a class is ``p log(1 + p / q)``, with ``p`` its mean probability in the cluster and
    ``q`` that among all other images and one more, with equal probability of each class.  This is
    the class-based TF-IDF of Grootendorst (2022, "BERTopic: neural topic modeling with a
    class-based TF-IDF procedure") on probabilities instead of counts of words, with the frequency
    elsewhere instead of everywhere, so that large clusters are distinguished as well.

    The name consists of the best class and those with at least a quarter of its score.  If they
    have less than half of the cluster's probability, as breeds of dogs may, a kind ("dog") of
    higher score replaces them.  Names with less than a quarter of the probability are not used.  If
    two clusters would get the same name, the one of higher score gets it; the other is named by
    single classes instead of the kind, or by one more class, if their share is sufficient.

    Examples
    --------
    >>> top5 = [[("cheetah", 0.9)], [("cheetah", 0.8)], [("lion", 0.7)], [("lion", 0.9)]]
    >>> name_clusters([0, 0, 1, 1], top5)
    {0: 'cheetah', 1: 'lion'}
    """
    if top5 is None:
        return {}
    sizes, classes = _tally(np.asarray(labels), top5)
    if not sizes:
        return {}
    kinds = {cluster: defaultdict[str, float](float) for cluster in sizes}
    for cluster, shares in classes.items():
        for name, share in shares.items():
            kinds[cluster][_kinds().get(name, name)] += share
    of_classes, of_kinds = _Terms(sizes, classes), _Terms(sizes, kinds)
    candidates = {
        cluster: _candidates(of_classes, of_kinds, number)
        for number, cluster in enumerate(sizes)
        if cluster >= 0
    }
    return _choose(candidates, taken)


def find_top5(
    embeddings: Embeddings | VectorStream, spaces: Iterable[Space]
) -> tuple[list[TopClasses | None], Space] | None:
    """Find the ImageNet classes of images in other spaces of a store.

    Parameters
    ----------
    embeddings : Embeddings or VectorStream
        The images.
    spaces : iterable of Space
        Spaces to search; the one with classes for most images is used, the first on ties.

    Returns
    -------
    (top5, space) : tuple of (list of length n, Space), or None
        The most probable classes of each image, None if unknown, and the space that provides them.
        None if no space has classes for any of the images.
    """
    files = list(map(str, embeddings.files))
    best, most = None, 0
    for space in spaces:
        known = space.read_top5()
        top5 = [known.get(file) for file in files]
        count = len(files) - top5.count(None)
        if count > most:
            best, most = (top5, space), count
    return best


def find_classes(
    embeddings: Embeddings | VectorStream, store: Store | str | Path | None
) -> tuple[Iterable[TopClasses | None] | None, str | None]:
    """Find the ImageNet classes of images, in their own space or in others of a store.

    Parameters
    ----------
    embeddings : Embeddings or VectorStream
        The images.
    store : Store or path, optional
        Where to look if the embeddings have no classes, see :func:`find_top5`.

    Returns
    -------
    (top5, name) : tuple of (iterable of length n or None, str or None)
        The most probable classes of each image, and the name of the space that provides them; None
        if there are none.
    """
    if embeddings.top5 is not None:
        return embeddings.top5, describe_space(embeddings.space)
    if store is None:
        return None, None
    found = find_top5(embeddings, as_store(store).spaces())
    return (None, None) if found is None else (found[0], found[1].folder.name)


class _Name(NamedTuple):
    """A candidate name of a cluster, with its score and its share of the probability."""

    text: str
    score: float
    share: float


class _Terms:
    """Scores of terms for clusters; a term is a class or a kind of classes."""

    def __init__(self, sizes: dict[int, int], totals: dict[int, _Shares]) -> None:
        self.terms = sorted({name for total in totals.values() for name in total})
        table = np.array([[totals[cluster][name] for name in self.terms] for cluster in sizes])
        rows = np.array(list(sizes.values()))[:, None]
        elsewhere = (table.sum(axis=0) - table + 1 / len(self.terms)) / (rows.sum() - rows + 1)
        self.shares = table / rows
        self.scores = self.shares * np.log1p(self.shares / elsewhere)

    def name(self, number: int, *, added: int = 0) -> _Name:
        """Join the best terms of a cluster and ``added`` more."""
        order = np.argsort(-self.scores[number], kind="stable")
        scores = self.scores[number, order[:_MAX_CLASSES]]
        count = int((scores >= _RELATIVE_SCORE * scores[0]).sum())
        used = order[:_MAX_CLASSES][: count + added]
        text = " / ".join(self.terms[column] for column in used)
        return _Name(text, self.scores[number, used].sum(), self.shares[number, used].sum())


def _tally(
    labels: NDArray[np.int64], top5: Iterable[TopClasses | None]
) -> tuple[dict[int, int], dict[int, _Shares]]:
    """Count the images with known classes per cluster, and sum their probabilities."""
    sizes = Counter[int]()
    totals: dict[int, _Shares] = defaultdict(lambda: defaultdict(float))
    try:
        for label, classes in zip(labels.tolist(), top5, strict=True):
            if classes:
                sizes[label] += 1
                for name, probability in classes:
                    totals[label][name.replace("_", " ")] += probability
    except ValueError as error:
        raise InvalidInputError(
            "there must be one list of classes per label. "
            f"Received: {sum(1 for _ in top5)} lists, {len(labels):,} labels"
        ) from error
    return dict(sorted(sizes.items())), totals


def _candidates(classes: _Terms, kinds: _Terms, number: int) -> list[_Name]:
    """Return the candidate names of a cluster, the best first."""
    names = [classes.name(number)]
    longer = classes.name(number, added=1)
    if longer.share - names[0].share >= _ADDED_SHARE:
        names.append(longer)
    if names[0].share < _GOOD_SHARE:
        kind = kinds.name(number)
        names.insert(0 if kind.score > names[0].score else 1, kind)
    return [name for name in names if name.share >= _MIN_SHARE]


def _choose(candidates: dict[int, list[_Name]], taken: Collection[str]) -> dict[int, str]:
    """Assign each cluster its first unused name, in descending order of score."""
    named = {cluster: names for cluster, names in candidates.items() if names}
    chosen: dict[int, str] = {}
    for cluster in sorted(named, key=lambda cluster: -named[cluster][0].score):
        texts = [name.text for name in named[cluster]]
        free = [text for text in texts if text not in {*chosen.values(), *taken}]
        chosen[cluster] = (free or texts)[0]
    return dict(sorted(chosen.items()))


@cache
def _kinds() -> dict[str, str]:
    """Map each class to its kind."""
    names = class_names()
    kinds = {
        names[index]: kind
        for kind, runs in _KINDS.items()
        for first, last in runs
        for index in range(first, last + 1)
    }
    # "crane" is a bird and a machine.
    ambiguous = [name for name, count in Counter(names).items() if count > 1]
    return {name: kind for name, kind in kinds.items() if name not in ambiguous}
