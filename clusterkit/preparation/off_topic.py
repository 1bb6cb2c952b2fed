"""Find images that are unlike the others of their folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.similarity.approximate import nearest_others_roughly
from clusterkit.similarity.correlation import correlation_rows
from clusterkit.similarity.nearest import nearest_others
from clusterkit.utils.outliers import modified_z_scores

# Minimum score of off-topic images: 2 % of the images of 70 species, some of them rightly.  And the
# minimum number of images of a folder with a topic.
OFF_TOPIC, MIN_IMAGES = 5.0, 10
# The half of a folder that is nearest to its own mean is its topic: up to half of the folder may
# show something else, even one single thing.
_TOPIC_SHARE, _MAX_ROUNDS = 0.5, 20
# Weight of the similarity to the topic of another folder.
_OTHERS = 0.5
# Share of a folder, the farthest from its topic, that defines the direction of strangers.
_FAR_SHARE = 0.1
# Weight of the scores of neighbours, and their number; one that is farther than the nearest by
# _NEAR counts 1 / e as much.  In folders of 35 species, with a tenth of pictures of those most like
# it, average precision rises with it from 0.93 to 0.95 where these are of one species, and falls
# from 0.89 to 0.88 where they are of many.
_N_NEIGHBORS, _NEIGHBORS, _NEAR = 10, 0.5, 0.1
# Number of images above which approximate neighbours are used.
_MANY = 5_000


def score_off_topic(X: ArrayLike, folders: Sequence[Hashable]) -> NDArray[np.float64]:
    """Return how unlike the other images of its folder each image is.

    Parameters
    ----------
    X : array-like of shape (n, dimension)
        Vectors of the images.
    folders : sequence of length n
        The folder of each.

    Returns
    -------
    ndarray of shape (n,), float64
        Modified z-scores within the folder, off-topic from 5 on; NaN in folders of fewer than 10
        images.

    Raises
    ------
    InvalidInputError
        If there is not one folder per vector.

    Notes
    -----
    Vectors are compared by :func:`~clusterkit.similarity.correlation.correlation_rows`: features of
    a network are seldom negative, which makes any two images similar by their cosine.

    The distance of an image is one minus this cosine to the topic of its folder: the mean of the
    half of the folder that is nearest to this mean, found by iteration, without the image itself.
    Off-topic images therefore do not affect the topic as long as they are less than half.  Methods
    based on near neighbours fail if the off-topic images are alike.  Half of the cosine to the most
    similar topic of another folder is added.

    Off-topic images may be alike.  Therefore the position in the direction of the farthest tenth is
    added, and half of the score of the ten nearest neighbours, weighted by nearness.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal((9, 0, 0), 1, (30, 3))
    >>> X[7] = 0, 9, 0
    >>> int(score_off_topic(X, ["fox"] * 30).argmax())
    7
    """
    rows = correlation_rows(X)
    if len(rows) != len(folders):
        raise InvalidInputError(
            f"there must be one folder per vector. Received: {len(folders)} folders, "
            f"{len(rows):,} vectors"
        )
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, folder in enumerate(folders):
        members[folder].append(row)
    of_folder = [np.array(m) for m in members.values() if len(m) >= MIN_IMAGES]
    found = [_find_topic(rows[own]) for own in of_folder]
    topics = np.array([topic for topic, _ in found], np.float32)
    scores = np.full(len(rows), np.nan)
    for place, (own, (_, distances)) in enumerate(zip(of_folder, found, strict=True)):
        others = np.delete(topics, place, axis=0)
        if len(others):
            distances = distances + _OTHERS * (rows[own] @ others.T).max(axis=1)
        scores[own] = _score(rows[own], distances)
    return scores


def _score(rows: NDArray[np.float32], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return modified z-scores of the images of one folder by their distances to its topic."""
    order = np.argsort(distances, kind="stable")
    n_far = max(3, int(_FAR_SHARE * len(rows)))
    topic = rows[order[: len(rows) // 2]].mean(axis=0)
    direction = rows[order[-n_far:]].mean(axis=0) - topic
    own = modified_z_scores(distances)
    own += modified_z_scores((rows @ direction).astype(np.float64))
    find_nearest = nearest_others if len(rows) <= _MANY else nearest_others_roughly
    apart, neighbors = find_nearest(rows, _N_NEIGHBORS)
    neighbors = np.where(neighbors < 0, np.arange(len(rows))[:, None], neighbors)
    weights = np.exp((apart[:, :1] - apart) / _NEAR)
    weights /= weights.sum(axis=1, keepdims=True)
    scores = own
    for _ in range(_MAX_ROUNDS):
        scores = own + _NEIGHBORS * np.einsum("ij,ij->i", weights, scores[neighbors])
    return modified_z_scores(scores)


def _find_topic(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the topic of a folder, of length 1, and the distance of each image to it."""
    n_inside = int(np.ceil(_TOPIC_SHARE * len(rows)))
    inside = np.arange(len(rows))
    # 1, or 0 of a row of zeros.
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    for _ in range(_MAX_ROUNDS):
        is_inside = np.zeros(len(rows), bool)
        is_inside[inside] = True
        total = rows[inside].sum(axis=0)
        others = np.maximum(1, len(inside) - is_inside)
        cosines = (rows @ total).astype(np.float64) - is_inside * squares
        # Smaller differences are rounding, and would be the whole spread of equal images.
        cosines = np.round(cosines / others, 6)
        nearest = np.sort(np.argsort(-cosines, kind="stable")[:n_inside])
        if np.array_equal(nearest, inside):
            break
        inside = nearest
    topic = total / max(float(np.linalg.norm(total)), 1e-12)
    return topic.astype(np.float32), 1 - cosines
