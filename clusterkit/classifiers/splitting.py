"""Divide labelled images into training, validation and test, fairly and the same each time."""

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.datasets import TEST, TRAIN, VALIDATION, LabelledImages, as_labels
from clusterkit.engines import map_ahead
from clusterkit.errors import InvalidInputError
from clusterkit.images import digest_file

# The largest class may be so many times the smallest before classes are weighted.
MAX_RATIO = 2.0


def split(
    data: LabelledImages,
    *,
    test_size: float = 0.2,
    validation_size: float = 0.1,
    random_state: int = 0,
) -> dict[str, NDArray[np.intp]]:
    """Divide images, each class in the same shares, and equal files never on two sides.

    Parameters
    ----------
    data : LabelledImages
        With labels.  Where its source has parts, these are kept, and only what is missing is
        taken from the training images.
    test_size, validation_size : float
        Shares of all images, in [0, 1); together below 1.  Of each class that has enough, at least
        one image goes to either part.
    random_state : int
        Seed.

    Returns
    -------
    dict of str to ndarray of int
        The rows of ``"train"``, ``"val"`` and ``"test"``, each sorted.

    Raises
    ------
    InvalidInputError
        If there is one class only, a class has fewer than two different images, the shares do not
        fit, or a test image is of a class that no training image is of.

    Warns
    -----
    UserWarning
        If the source's own parts share images.
    """
    if min(test_size, validation_size) < 0 or test_size + validation_size >= 1:
        raise InvalidInputError(
            "test_size and validation_size must be at least 0, and together below 1. "
            f"Received: {test_size}, {validation_size}"
        )
    if data.labels is None:
        raise InvalidInputError("these images have no labels: they can be predicted, not learned")
    digests = _digests(data.images)
    part_of_row = np.array(data.parts or [TRAIN] * len(data), dtype=object)
    _check_classes(data, digests, part_of_row)
    present = set(part_of_row)
    rng = np.random.default_rng(random_state)
    shares = {TEST: test_size, VALIDATION: validation_size}
    wanted = {part: share for part, share in shares.items() if share and part not in present}
    groups: dict[str, list[int]] = defaultdict(list)
    for row in np.flatnonzero(part_of_row == TRAIN):
        groups[digests[row]].append(int(row))
    for members in _by_class(list(groups.values()), data.labels).values():
        order = rng.permutation(len(members))
        for index, part in zip(order, _portion(len(members), wanted), strict=True):
            part_of_row[members[index]] = part
    if data.is_multilabel:
        _keep_every_class(list(groups.values()), data.labels, part_of_row)
    return {part: np.flatnonzero(part_of_row == part) for part in (TRAIN, VALIDATION, TEST)}


def class_weights(
    counts: Sequence[int] | NDArray[np.int64], *, max_ratio: float = MAX_RATIO
) -> NDArray[np.float64] | None:
    """Return a weight for each class that makes all count the same, or None where that is idle.

    Parameters
    ----------
    counts : sequence of int
        Number of training images of each class.
    max_ratio : float
        How many times the images of the smallest class the largest may have unweighted.

    Returns
    -------
    ndarray of shape (n_classes,), or None
        ``n / (n_classes * count)``, of mean 1 over the images; None if the largest class has at
        most ``max_ratio`` times the images of the smallest.

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


def _digests(images: list[Path] | NDArray[np.uint8]) -> list[str]:
    """Return what tells images apart: a digest of each file, or of each image's pixels."""
    if isinstance(images, np.ndarray):
        return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    try:
        return list(map_ahead(digest_file, images, ahead=64))
    except OSError as error:
        raise InvalidInputError(f"cannot read {error.filename}: {error.strerror}") from error


def _check_classes(
    data: LabelledImages, digests: Sequence[str], part_of_row: NDArray[np.object_]
) -> None:
    """Refuse classes that cannot be learned, and parts that do not fit."""
    parts: dict[str, dict[str, set[str]]] = {part: defaultdict(set) for part in (TRAIN, TEST)}
    others = parts[TEST]
    for label, digest, part in zip(data.labels or [], digests, part_of_row, strict=True):
        for name in as_labels(label):
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
    for name, images in sorted(known.items()):
        # One label of several cannot be spread either, but its images serve the others.
        if len(images) < 2 and not data.is_multilabel:
            raise InvalidInputError(
                f"each class needs at least 2 different images to learn from. Received: 1 of {name}"
            )
    trained = {digest for images in known.values() for digest in images}
    tested = {digest for images in others.values() for digest in images}
    if shared := len(trained & tested):
        warnings.warn(
            f"{shared} images are both among the training images and the others: the figures on "
            "these are too good",
            stacklevel=4,
        )


def _by_class(groups: list[list[int]], labels: Sequence[Any]) -> dict[str, list[list[int]]]:
    """Sort groups of equal images by class; of several labels, by the rarest."""
    counts = Counter(name for label in labels for name in as_labels(label))
    classes: dict[str, list[list[int]]] = defaultdict(list)
    for group in groups:
        names = as_labels(labels[group[0]])
        classes[min(names, key=lambda name: (counts[name], name), default="")].append(group)
    return dict(sorted(classes.items()))


def _keep_every_class(
    groups: list[list[int]], labels: Sequence[Any], part_of_row: NDArray[np.object_]
) -> None:
    """Bring images back into the training, where one class of several an image was left without."""
    rows = np.flatnonzero(part_of_row == TRAIN).tolist()
    learned = {name for row in rows for name in as_labels(labels[row])}
    for group in groups:
        names = {name for row in group for name in as_labels(labels[row])}
        if names - learned:
            part_of_row[group] = TRAIN
            learned |= names


def _portion(n: int, shares: dict[str, float]) -> list[str]:
    """Return the part of each of ``n`` images of a class, the training keeping at least one."""
    parts: list[str] = []
    for part, share in shares.items():
        parts += [part] * min(max(1, round(share * n)), n - 1 - len(parts))
    return parts + [TRAIN] * (n - len(parts))
