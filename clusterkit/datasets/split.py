"""Reproducible stratified splits of labelled images without copies across parts."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.copies import Thumbnail, make_thumbnails, pair_likely_copies
from clusterkit.datasets.labelled_images import LabelledImages, label_tuple
from clusterkit.datasets.places import TEST, TRAIN, VALIDATION
from clusterkit.errors import ClusterkitWarning, InvalidInputError, Notice
from clusterkit.utils.arguments import check_at_least, generator_from, is_number
from clusterkit.utils.text import first_few, plural

# Ratio of the largest to the smallest class above which classes are weighted.
MAX_RATIO = 2.0
# Number of copies of one image that is acceptable even in a small class.
_FEW = 5


class Division(NamedTuple):
    """Images divided into parts.

    Attributes
    ----------
    parts : ndarray of shape (n,), object
        ``"train"``, ``"val"`` or ``"test"`` for each image; None for unreadable files.
    groups : ndarray of shape (n,), int
        A number for each group of copies, which are in one part; -1 for unreadable files.
    """

    parts: NDArray[np.object_]
    groups: NDArray[np.intp]


def split(
    data: LabelledImages,
    *,
    test_split: float = 0.2,
    validation_split: float = 0.1,
    random_state: int | None = None,
    apart: Collection[tuple[str, str]] = (),
) -> dict[str, NDArray[np.intp]]:
    """Split images, stratified by class, with all copies of an image in the same part.

    Copies are equal files, and images of one class that
    :func:`clusterkit.datasets.copies.find_copies` finds: resized, cropped, rotated, mirrored or
    edited.  If these are most of a class, as in scans of the same form, only equal files count as
    copies.  Copies of different classes, one of which must be wrong, are in training.

    Parameters
    ----------
    data : LabelledImages
        Labelled images.  Parts of the source are kept, and only missing parts are taken from the
        training images.
    test_split, validation_split : float
        Fractions of all images, in [0, 1), with a sum below 1.  Each part gets at least one image
        of every class that has enough.
    random_state : int, optional
        Seed; random by default.
    apart : collection of (str, str)
        Pairs of images that are not copies of each other, as for
        :func:`clusterkit.datasets.copies.find_copies`.  Two that are both copies of a third image
        stay together all the same.

    Returns
    -------
    dict of str to ndarray of int
        Sorted rows of ``"train"``, ``"val"`` and ``"test"``.  Unreadable files are in none of them.

    Raises
    ------
    InvalidInputError
        If there is only one class, a class has fewer than two different readable images, there are
        too few images for all parts, the sizes are invalid, or a class of test images has no
        training images.

    Warns
    -----
    ClusterkitWarning
        If parts of the source share images.
    Notice
        If copies are in different classes, or no pair of ``apart`` is among the images.
    """
    parts, groups = divide(
        data,
        test_split=test_split,
        validation_split=validation_split,
        random_state=random_state,
        apart=apart,
    )
    _warn_of_contradictions(data, groups)
    return {part: np.flatnonzero(parts == part) for part in (TRAIN, VALIDATION, TEST)}


def divide(
    data: LabelledImages,
    *,
    test_split: float = 0.2,
    validation_split: float = 0.1,
    n_different: int | None = None,
    of_any_label: bool = False,
    random_state: int | None = None,
    apart: Collection[tuple[str, str]] = (),
) -> Division:
    """Divide images as :func:`split` does, and tell which are copies of each other.

    Parameters
    ----------
    data, test_split, validation_split, random_state, apart
        As for :func:`split`.
    n_different : int, optional
        Least number of different readable training images of a class, before the other parts are
        taken from them; by default 2, or 1 if the source has all parts.
    of_any_label : bool, default False
        Whether images of different classes that look alike also count as copies, as for
        :func:`draw_folds`.

    Returns
    -------
    Division
        The part of each image, and its group of copies.

    Raises
    ------
    InvalidInputError
        As for :func:`split`.

    Warns
    -----
    ClusterkitWarning, Notice
        As for :func:`split`, but not of copies in different classes, which the groups tell.
    """
    given = test_split, validation_split
    if not all(map(is_number, given)) or min(given) < 0 or sum(given) >= 1:
        raise InvalidInputError(
            "test_split and validation_split must be at least 0, and together below 1. "
            f"Received: {test_split!r}, {validation_split!r}"
        )
    found, thumbnails, readable = _read_thumbnails(data)
    group_of_row = _group_copies(found, thumbnails, apart, of_any_label=of_any_label)
    shares = {TEST: test_split, VALIDATION: validation_split}
    part_of_row = _divide(found, group_of_row, shares, generator_from(random_state), n_different)
    parts, groups = np.full(len(data), None, dtype=object), np.full(len(data), -1)
    parts[readable], groups[readable] = part_of_row, group_of_row
    return Division(parts, groups)


def draw_folds(
    data: LabelledImages,
    *,
    n_folds: int = 5,
    random_state: int | None = None,
    apart: Collection[tuple[str, str]] = (),
) -> NDArray[np.intp]:
    """Divide images into folds for cross-validation, stratified by class.

    All copies of an image are in the same fold, as for :func:`split`; here also those of different
    labels, one of which must be wrong.

    Parameters
    ----------
    data : LabelledImages
        Labelled images; parts of the source do not matter.
    n_folds : int
        Number of folds, at least 3, so that more than half of the images are learned from.
    random_state : int, optional
        Seed; random by default.
    apart : collection of (str, str)
        Pairs of images that are not copies of each other, as for :func:`split`.

    Returns
    -------
    ndarray of shape (n,), int
        The fold of each image, from 0; -1 for unreadable files.

    Raises
    ------
    InvalidInputError
        If there is only one class, a class has fewer different readable images than there are
        folds, or ``n_folds`` is too small.

    Warns
    -----
    Notice
        If no pair of ``apart`` is among the images.
    """
    check_at_least(n_folds, 3, "n_folds")
    n_images = len(data)
    data, thumbnails, readable = _read_thumbnails(data)
    labels = data.labels or []
    group_of_row = _group_copies(data, thumbnails, apart, of_any_label=True)
    parts = np.full(len(data), TRAIN, dtype=object)
    _check_classes(
        data, group_of_row.tolist(), parts, minimum=n_folds, what=f"to divide into {n_folds} folds"
    )
    groups = _gather(range(len(data)), group_of_row)
    folds = np.full(n_images, -1)
    sizes = np.zeros(n_folds)
    for shuffled in _shuffle_classes(groups, labels, generator_from(random_state)):
        own = np.zeros(n_folds)
        for group in sorted(shuffled, key=len, reverse=True):
            # The fold with the fewest images of the class, and among equals of all.
            fold = np.lexsort((sizes, own))[0]
            folds[readable[group]] = fold
            own[fold] += len(group)
            sizes[fold] += len(group)
    return folds


def class_weights(
    counts: Sequence[int] | NDArray[np.int64], *, max_ratio: float = MAX_RATIO
) -> NDArray[np.float64] | None:
    """Return balanced class weights, or None if the classes differ by at most `max_ratio`.

    Parameters
    ----------
    counts : sequence of int
        Number of training images of each class.
    max_ratio : float
        Maximum ratio of the largest to the smallest class without weights.

    Returns
    -------
    ndarray of shape (n_classes,), or None
        ``n / (n_classes * count)``, with a mean of 1 over the images; None if the largest class has
        at most ``max_ratio`` times the images of the smallest.

    Examples
    --------
    >>> class_weights([30, 10])
    array([0.66666667, 2.        ])
    >>> class_weights([20, 10]) is None
    True
    """
    numbers = np.asarray(counts, float)
    if numbers.max() <= max_ratio * numbers.min():
        return None
    return numbers.sum() / (len(numbers) * numbers)


def _read_thumbnails(
    data: LabelledImages,
) -> tuple[LabelledImages, list[Thumbnail], NDArray[np.intp]]:
    """Return the readable images with their thumbnails, and their rows."""
    if data.labels is None:
        raise InvalidInputError("these images have no labels: they can be predicted, not learned")
    thumbnails = make_thumbnails(data.images)
    readable = np.flatnonzero([thumbnail.is_readable for thumbnail in thumbnails])
    if len(readable) < len(thumbnails):
        _check_readable(data, readable)
        data, thumbnails = data[readable], [thumbnails[row] for row in readable]
    return data, thumbnails, readable


def _divide(
    data: LabelledImages,
    group_of_row: NDArray[np.int32],
    shares: Mapping[str, float],
    rng: np.random.Generator,
    n_different: int | None,
) -> NDArray[np.object_]:
    """Return the part of each image, keeping parts of the source."""
    labels = data.labels or []
    part_of_row = np.array(data.parts or [TRAIN] * len(data), dtype=object)
    wanted = {part: share for part, share in shares.items() if share and part not in part_of_row}
    minimum, what = (2 if wanted else 1), "to learn from"
    if n_different is not None:
        minimum, what = n_different, f"for {plural(n_different, 'part')}"
    _check_classes(data, group_of_row.tolist(), part_of_row, minimum=minimum, what=what)
    _warn_of_shared(group_of_row, part_of_row)
    groups = _gather(np.flatnonzero(part_of_row == TRAIN).tolist(), group_of_row)
    if data.is_multilabel:
        of_one_class = groups
    else:
        # Copies of different classes stay in training: a wrong label would falsify the other parts.
        of_one_class = [group for group in groups if len({labels[row] for row in group}) == 1]
    sizes = Counter(labels)
    owed = dict.fromkeys([TRAIN, *wanted], 0.0)
    for shuffled in _shuffle_classes(of_one_class, labels, rng):
        own_sizes = [len(group) for group in shuffled]
        n_images = sum(own_sizes) if data.is_multilabel else sizes[labels[shuffled[0][0]]]
        parts = _portion(own_sizes, _count_parts(n_images, wanted, owed))
        for group, part in zip(shuffled, parts, strict=True):
            part_of_row[group] = part
    if data.is_multilabel:
        _keep_every_class(groups, labels, part_of_row)
    for part in wanted:
        if part not in part_of_row:
            raise InvalidInputError(
                f"there are too few images to keep some out for the part {part!r}: no class has "
                f"{len(wanted) + 1} different ones. Add images, or keep out no test set (a test "
                f"split of 0). Received: {len(data):,} images"
            )
    return part_of_row


def _group_copies(
    data: LabelledImages,
    thumbnails: Sequence[Thumbnail],
    apart: Collection[tuple[str, str]],
    *,
    of_any_label: bool = False,
) -> NDArray[np.int32]:
    """Return the group of copies of each image, which must stay in one part.

    Images of different classes are copies only if they are equal files or, with ``of_any_label``,
    if no class of theirs consists of copies.
    """
    names = [set(label_tuple(label)) for label in data.labels or []]
    _warn_absent(apart, thumbnails)
    pairs = pair_likely_copies(data.images, thumbnails, apart=apart)
    equal = [(a, b) for a, b in pairs if thumbnails[a].digest == thumbnails[b].digest]
    alike = [(a, b) for a, b in pairs if names[a] & names[b]]
    uniform = _uniform_classes(_join(equal + alike, len(thumbnails)), names)
    if uniform and any(names[a] & names[b] & uniform for a, b in set(alike) - set(equal)):
        warnings.warn(
            f"most images of {', '.join(sorted(uniform))} look alike: there, only equal files "
            "count as copies that must stay together",
            Notice,
            stacklevel=2,
        )
    copies = [(a, b) for a, b in alike if names[a] & names[b] - uniform]
    if of_any_label:
        copies += [(a, b) for a, b in pairs if not (names[a] | names[b]) & uniform]
    return _join(equal + copies, len(thumbnails))


def _warn_absent(apart: Collection[tuple[str, str]], thumbnails: Sequence[Thumbnail]) -> None:
    """Warn if none of the pairs that are not copies is here, as after files were edited."""
    present = {thumbnail.digest for thumbnail in thumbnails}
    if apart and not any(present.issuperset(pair) for pair in apart):
        warnings.warn(
            f"of the {plural(len(apart), 'pair')} of images that are not copies, none is among "
            f"these {plural(len(thumbnails), 'image')}",
            Notice,
            stacklevel=2,
        )


def _uniform_classes(groups: NDArray[np.int32], names: Sequence[set[str]]) -> set[str]:
    """Return the classes in which one group is the whole, or more than half and not few."""
    sizes = Counter(name for found in names for name in found)
    within: Counter[tuple[str, int]] = Counter()
    for found, group in zip(names, groups, strict=True):
        within.update((name, int(group)) for name in found)
    return {
        name
        for (name, _), size in within.items()
        if size == sizes[name] or size > max(_FEW, sizes[name] / 2)
    }


def _join(pairs: Sequence[tuple[int, int]], n: int) -> NDArray[np.int32]:
    """Return the connected component of each of ``n`` images linked by pairs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = np.array(pairs, np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (first, second)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _warn_of_shared(group_of_row: NDArray[np.int32], part_of_row: NDArray[np.object_]) -> None:
    """Warn if parts of the source share copies of training images."""
    is_train = part_of_row == TRAIN
    shared = np.isin(group_of_row[~is_train], group_of_row[is_train]).sum()
    if shared:
        warnings.warn(
            f"{shared:,} of the test and validation images are also among the training images, "
            "equal or nearly so: their scores are too optimistic",
            ClusterkitWarning,
            stacklevel=5,
        )


def _warn_of_contradictions(data: LabelledImages, group_of_row: NDArray[np.intp]) -> None:
    """Warn if copies of one image are in different classes."""
    if data.is_multilabel:
        return
    labels = data.labels or []
    groups = _gather(np.flatnonzero(group_of_row >= 0).tolist(), group_of_row)
    found = [group for group in groups if len({labels[row] for row in group}) > 1]
    if found:
        verb, noun = ("is", "its label") if len(found) == 1 else ("are", "their labels")
        first = found[0][0]
        other = next(row for row in found[0] if labels[row] != labels[first])
        warnings.warn(
            f"{plural(len(found), 'image')} {verb} in more than one class, such as "
            f"{data.names[first]} ({labels[first]}), which is also {data.names[other]} "
            f"({labels[other]}): {noun} must be wrong in one of them",
            Notice,
            stacklevel=3,
        )


def _check_readable(data: LabelledImages, readable: NDArray[np.intp]) -> None:
    """Raise an error if no image, or no image of a class, can be read."""
    if not len(readable):
        raise InvalidInputError(f"none of the images can be read, such as {data.names[0]}")
    labels = data.labels or []
    seen = {labels[row] for row in readable}
    for name, label in zip(data.names, labels, strict=True):
        # Multi-label classes are skipped, since their images also have other labels.
        if label not in seen and not data.is_multilabel:
            raise InvalidInputError(
                f"none of the images of {label} can be read, such as {name}: replace them, or "
                "leave out the class"
            )


def _check_classes(
    data: LabelledImages,
    digests: Sequence[Hashable],
    part_of_row: NDArray[np.object_],
    *,
    minimum: int,
    what: str = "to learn from",
) -> None:
    """Check that the classes can be learned and occur in the training images.

    Each class must have ``minimum`` different training images.
    """
    parts: dict[str, dict[str, set[Hashable]]] = {part: defaultdict(set) for part in (TRAIN, TEST)}
    others = parts[TEST]
    for label, digest, part in zip(data.labels or [], digests, part_of_row, strict=True):
        for name in label_tuple(label):
            (parts[TRAIN] if part == TRAIN else others)[name].add(digest)
    known = parts[TRAIN]
    if len(known) < 2:
        raise InvalidInputError(
            f"a classifier needs at least 2 classes. Received: {', '.join(known) or 'none'}"
        )
    if unknown := sorted(set(others) - set(known)):
        raise InvalidInputError(
            f"every class of the test and validation images must be among the training images. "
            f"Not there: {', '.join(unknown)}"
        )
    counts = {name: len(images) for name, images in sorted(known.items())}
    small = [f"{count:,} of {name}" for name, count in counts.items() if count < minimum]
    # Multi-label classes may be small, since their images also have other labels.
    if small and not data.is_multilabel:
        raise InvalidInputError(
            f"each class needs at least {minimum} different images {what}. "
            f"Received: {first_few(small)}. Gather more of them, or leave them out"
        )


def _gather(rows: Iterable[int], group_of_row: NDArray[np.integer]) -> list[list[int]]:
    """Return groups of copies among some rows."""
    groups: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        groups[int(group_of_row[row])].append(row)
    return list(groups.values())


def _shuffle_classes(
    groups: list[list[int]], labels: Sequence[Any], rng: np.random.Generator
) -> Iterator[list[list[int]]]:
    """Yield the groups of copies of each class, shuffled; with several labels, of the rarest."""
    counts = Counter(name for label in labels for name in label_tuple(label))
    classes: dict[str, list[list[int]]] = defaultdict(list)
    for group in groups:
        names = label_tuple(labels[group[0]])
        classes[min(names, key=lambda name: (counts[name], name), default="")].append(group)
    for _, members in sorted(classes.items()):
        yield [members[index] for index in rng.permutation(len(members))]


def _keep_every_class(
    groups: list[list[int]], labels: Sequence[Any], part_of_row: NDArray[np.object_]
) -> None:
    """Move images back to training for multi-label classes that it would lack."""
    rows = np.flatnonzero(part_of_row == TRAIN).tolist()
    learned = {name for row in rows for name in label_tuple(labels[row])}
    for group in groups:
        names = {name for row in group for name in label_tuple(labels[row])}
        if names - learned:
            part_of_row[group] = TRAIN
            learned |= names


def _count_parts(n: int, shares: Mapping[str, float], owed: dict[str, float]) -> dict[str, int]:
    """Return how many of the ``n`` images of a class each part but training gets, at least one.

    Each part, training too, gets its share of the class rounded up or down: up where rounding took
    most from it in earlier classes, which ``owed`` sums up.
    """
    exact = {TRAIN: n * (1 - sum(shares.values()))} | {p: n * share for p, share in shares.items()}
    # Smaller differences are floating-point errors.
    counts = {part: int(number + 1e-9) for part, number in exact.items()}
    fractions = {part: exact[part] - counts[part] for part in exact}
    by_need = sorted(exact, key=lambda part: fractions[part] + owed[part], reverse=True)
    for part in by_need[: n - sum(counts.values())]:
        counts[part] += 1
    for part in exact:
        owed[part] += exact[part] - counts[part]
    return {part: max(1, counts[part]) for part in shares}


def _portion(sizes: Sequence[int], counts: Mapping[str, int]) -> list[str]:
    """Assign the groups of a class to parts of given sizes, keeping the largest for training."""
    parts = [TRAIN] * len(sizes)
    # The last of equal groups.
    largest = max(range(len(sizes)), key=lambda place: (sizes[place], place))
    for part, wanted in counts.items():
        left = wanted
        free = [place for place, taken in enumerate(parts) if taken == TRAIN and place != largest]
        for place in free:
            if sizes[place] <= left:
                parts[place] = part
                left -= sizes[place]
        rest = [place for place in free if parts[place] == TRAIN]
        if rest and left:
            smallest = min(rest, key=lambda place: sizes[place])
            # If this brings the part closer to its share, or it would be empty.
            if sizes[smallest] < 2 * left or left == wanted:
                parts[smallest] = part
    return parts
