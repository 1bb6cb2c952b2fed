"""Find labels that are probably wrong, by confident learning on out-of-fold probabilities.

Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
Journal of Artificial Intelligence Research 70, arXiv:1911.00068.  The details that the article
leaves open are those of its authors' package cleanlab 2.9, which finds the same labels.
"""

import numpy as np
from numpy.typing import NDArray

# Tolerance in comparing probabilities, as they may be float32.
_TINY = 1e-6


def find_errors(
    labels: NDArray[np.intp], probabilities: NDArray[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find labels that are probably wrong, and rank them.

    Of each given class i and each other class j, as many images as :func:`confident_joint` counts
    are chosen: those with the largest margin between the probabilities of j and i ("prune by noise
    rate", section 3.2 of the article).  Images whose given class is the most probable one are left
    out.

    Parameters
    ----------
    labels : ndarray of shape (n,), int
        Column of the given class of each image.
    probabilities : ndarray of shape (n, n_classes)
        Probability of each class, predicted without having learned from the image itself.

    Returns
    -------
    rows : ndarray of int
        The images with a label that is probably wrong, worst first.
    scores : ndarray of shape (n,), float64
        Normalised margin of each image: half of the difference between the probability of the given
        class and the largest of the others, plus 1/2.  0 is certainly wrong, 1 certainly right.
    """
    probabilities = probabilities.astype(np.float64)
    counts = confident_joint(labels, probabilities)
    # A class keeps at least one image.
    empty = counts.diagonal() == 0
    others = np.maximum(np.count_nonzero(counts[empty], axis=1) - 1, 1)
    counts[empty] = np.maximum(np.floor(counts[empty] - 1 / others[:, None]), 0)
    is_wrong = np.zeros(len(labels), np.bool_)
    for given, other in np.argwhere(counts > 0):
        if given != other:
            members = np.flatnonzero(labels == given)
            margins = probabilities[members, other] - probabilities[members, given]
            order = np.argsort(-margins, kind="stable")
            is_wrong[members[order[: counts[given, other]]]] = True
    images = np.arange(len(labels))
    own = probabilities[images, labels]
    without = probabilities.copy()
    without[images, labels] = -np.inf
    highest = without.max(axis=1)
    scores = (own - highest + 1) / 2
    rows = np.flatnonzero(is_wrong & (highest > own + _TINY))
    return rows[np.argsort(scores[rows], kind="stable")], scores


def confident_joint(
    labels: NDArray[np.intp], probabilities: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Estimate how many images of each given class are truly of each class.

    An image counts as one of class j if its probability of j is at least the mean of that
    probability over the images with the label j; if this holds for several classes, as one of the
    most probable class; if for none, it does not count (section 3.1 of the article).  The counts of
    each given class are then scaled to its number of images, and rounded.

    Parameters
    ----------
    labels : ndarray of shape (n,), int
        Column of the given class of each image.
    probabilities : ndarray of shape (n, n_classes)
        Probability of each class, predicted without having learned from the image itself.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), int64
        Number of images, given classes in rows, estimated true ones in columns.

    Examples
    --------
    >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.1, 0.9], [0.3, 0.7]])
    >>> confident_joint(np.array([0, 0, 1, 1, 1]), probabilities)
    array([[2, 0],
           [1, 2]])
    """
    n_classes = probabilities.shape[1]
    # The class of no image has no threshold, and no image counts as one of it.
    thresholds = np.full(n_classes, np.inf)
    for column in np.unique(labels):
        thresholds[column] = max(probabilities[labels == column, column].mean(), 2 * _TINY)
    is_sure = probabilities >= thresholds - _TINY
    truth = np.where(is_sure.sum(axis=1) > 1, probabilities.argmax(axis=1), is_sure.argmax(axis=1))
    counted = is_sure.any(axis=1)
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (labels[counted], truth[counted]), 1)
    np.fill_diagonal(counts, np.maximum(counts.diagonal(), 1))
    sizes = np.bincount(labels, minlength=n_classes)
    return _round_rows(counts / counts.sum(axis=1, keepdims=True) * sizes[:, None])


def _round_rows(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round to whole numbers with the same sums of rows, by the method of largest remainders."""
    rounded = np.floor(rows + _TINY).astype(np.int64)
    for whole, exact in zip(rounded, rows, strict=True):
        missing = round(exact.sum()) - int(whole.sum())
        # Equal remainders are in order of class, the last first, on any machine.
        order = np.argsort((exact - whole).round(9), kind="stable")[::-1]
        whole[order[:missing]] += 1
    return rounded
