"""Names for clusters: the ImageNet classes that are frequent in one and rare elsewhere."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.extractors.imagenet import class_names
from clusterkit.store.embeddings import Embeddings, TopClasses
from clusterkit.store.space import Space
from clusterkit.store.stream import VectorStream

# Of each class, the sum of its probabilities.
_Shares = defaultdict[str, float]
# Kinds of animals that ImageNet divides so finely that no class names a cluster of them, as runs
# of classes (first, last) in the order of the networks' outputs.
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
# A further class joins a name where it scores at least this share of the first.
_RELATIVE_SCORE = 0.25
# Classes that hold this share of the probability need no kind to speak for them.
_GOOD_SHARE = 0.5
# Below this share, a name would tell more of the network than of the images.
_LEAST_SHARE = 0.25
# A class must hold this share to be added only to tell two clusters apart.
_ADDED_SHARE = 0.1


def name_clusters(labels: ArrayLike, top5: Iterable[TopClasses | None] | None) -> dict[int, str]:
    """Name clusters after the ImageNet classes that tell them from the other images.

    Parameters
    ----------
    labels : array-like of shape (n,), int
        Cluster of each image; -1 is noise, which gets no name.
    top5 : iterable of length n, or None
        For each image its most probable classes as (name, probability) pairs, or None where they
        are not known.

    Returns
    -------
    dict of int to str
        A name such as ``"cheetah"`` or ``"red fox / timber wolf"``: up to three classes, the most
        telling first.  A cluster is left out where nothing is known of its images, or where no
        class is frequent enough to describe it.

    Raises
    ------
    InvalidInputError
        If ``top5`` has not one entry per label.

    Notes
    -----
    A class scores ``p log(1 + p / q)``, with ``p`` its mean probability in the cluster and ``q``
    that among all other images and one more, which shows each class with equal probability.  This
    is the class-based TF-IDF of Grootendorst (2022, "BERTopic: neural topic modeling with a
    class-based TF-IDF procedure") on probabilities instead of counts of words, with the frequency
    elsewhere instead of the frequency everywhere, so that large clusters are told apart as well.

    The best class is the name, with those that score at least a quarter of it.  Where they hold
    less than half of the cluster's probability, as breeds of dogs may, a kind ("dog") takes their
    place if it scores more.  A name that holds less than a quarter is not given.  Where two
    clusters would get the same name, the one that scores higher has it; the other is called by
    single classes instead of the kind, or by one more class, where these hold enough.

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
    return _choose(candidates)


def find_top5(
    embeddings: Embeddings | VectorStream, spaces: Iterable[Space]
) -> tuple[list[TopClasses | None], Space] | None:
    """Look for the ImageNet classes of images in other spaces of a store.

    Parameters
    ----------
    embeddings : Embeddings or VectorStream
        The images.
    spaces : iterable of Space
        Where to look; the space that knows most of the images is taken, of equals the first.

    Returns
    -------
    top5 : list of length n
        The most probable classes of each image, or None where they are not known.
    space : Space
        Which space knows them.
        Without images that any of the spaces knows, None stands for both.
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


class _Name(NamedTuple):
    """A name that a cluster could have, what it says, and the probability that it holds."""

    text: str
    score: float
    share: float


class _Terms:
    """What each term says of each cluster; a term is a class, or a kind of classes."""

    def __init__(self, sizes: dict[int, int], totals: dict[int, _Shares]) -> None:
        self.terms = sorted({name for total in totals.values() for name in total})
        table = np.array([[totals[cluster][name] for name in self.terms] for cluster in sizes])
        rows = np.array(list(sizes.values()))[:, None]
        elsewhere = (table.sum(axis=0) - table + 1 / len(self.terms)) / (rows.sum() - rows + 1)
        self.shares = table / rows
        self.scores = self.shares * np.log1p(self.shares / elsewhere)

    def name(self, number: int, *, added: int = 0) -> _Name:
        """Join the terms that name a cluster, and so many more."""
        order = np.argsort(-self.scores[number], kind="stable")
        scores = self.scores[number, order[:_MAX_CLASSES]]
        count = int((scores >= _RELATIVE_SCORE * scores[0]).sum())
        used = order[:_MAX_CLASSES][: count + added]
        text = " / ".join(self.terms[column] for column in used)
        return _Name(text, self.scores[number, used].sum(), self.shares[number, used].sum())


def _tally(
    labels: NDArray[np.int64], top5: Iterable[TopClasses | None]
) -> tuple[dict[int, int], dict[int, _Shares]]:
    """Count the images of each cluster whose classes are known, and sum their probabilities."""
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
            f"Received: {sum(1 for _ in top5)} lists, {len(labels)} labels"
        ) from error
    return dict(sorted(sizes.items())), totals


def _candidates(classes: _Terms, kinds: _Terms, number: int) -> list[_Name]:
    """Return the names that a cluster could have, the best first."""
    names = [classes.name(number)]
    longer = classes.name(number, added=1)
    if longer.share - names[0].share >= _ADDED_SHARE:
        names.append(longer)
    if names[0].share < _GOOD_SHARE:
        kind = kinds.name(number)
        names.insert(0 if kind.score > names[0].score else 1, kind)
    return [name for name in names if name.share >= _LEAST_SHARE]


def _choose(candidates: dict[int, list[_Name]]) -> dict[int, str]:
    """Give each cluster its first name that no other has; those that score most choose first."""
    named = {cluster: names for cluster, names in candidates.items() if names}
    chosen: dict[int, str] = {}
    for cluster in sorted(named, key=lambda cluster: -named[cluster][0].score):
        texts = [name.text for name in named[cluster]]
        free = [text for text in texts if text not in chosen.values()]
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
