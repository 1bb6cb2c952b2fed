"""Rank embedding spaces by how well they group the same images, without labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan
from typing import Any

import numpy as np

from clusterkit.datasets.results import Rows, TableResult
from clusterkit.elbow.curve import all_alike
from clusterkit.errors import ClusterkitWarning, InvalidInputError
from clusterkit.similarity.scaling import unit_rows
from clusterkit.space_comparison.accuracy import find_labels, measure_accuracy
from clusterkit.space_comparison.scores import (
    agreement,
    agreement_with_others,
    measure,
    rank_one_scores,
)
from clusterkit.space_comparison.shared_images import draw_shared, name_spaces, share_rows
from clusterkit.store.embeddings import RandomSample
from clusterkit.utils.arguments import check_at_least, draw_seed
from clusterkit.utils.text import join_lines, plural

SCORES = ("score", "stability", "neighbors", "silhouette", "agreement")
# Default numbers of clusters, over which scores are averaged.
_NUMBERS = (3, 4, 5, 6, 8, 10, 12, 15, 20)
# Minimum mean number of images per cluster for measuring stability.
_MIN_PER_CLUSTER = 4


@dataclass(frozen=True)
class SpaceScores:
    """Scores of one space, explained in :func:`compare_spaces`.

    Attributes
    ----------
    space : str
        Name of the space.
    dimension : int
        Length of a vector.
    n_images : int
        Number of its images, shared or not.
    score : float
        Score of the ranking, from 0 to about 1.
    stability, neighbors, agreement : float
        From 0 to 1.
    silhouette : float
        From -1 to 1.
    accuracy : float or None
        Clustering accuracy against the labels, from 0 to 1; None without labels.
    """

    space: str
    dimension: int
    n_images: int
    score: float
    stability: float
    neighbors: float
    silhouette: float
    agreement: float
    accuracy: float | None


@dataclass(frozen=True, repr=False)
class SpaceComparison(TableResult):
    """Ranking of embedding spaces.

    Attributes
    ----------
    spaces : tuple of SpaceScores
        In descending order of their score.
    n : int
        Number of compared images, which all spaces contain.
    n_clusters : tuple of int
        The numbers of clusters over which the scores are averaged.
    n_labels : int or None
        Number of distinct labels; None without labels.
    sampled : RandomSample, optional
        The random sample that was compared, if not all images were.
    """

    spaces: tuple[SpaceScores, ...]
    n: int
    n_clusters: tuple[int, ...]
    n_labels: int | None
    sampled: RandomSample | None = None

    @property
    def rank(self) -> list[str]:
        """The names of the spaces, the best first."""
        return [one.space for one in self.spaces]

    @property
    def compared(self) -> str:
        """Number of compared spaces and images, as text."""
        images = plural(self.n, "image") if self.sampled is None else str(self.sampled)
        return f"{plural(len(self.spaces), 'space')}, {images}"

    @property
    def correlations(self) -> dict[str, float] | None:
        """Spearman's rank correlation of each score with the accuracy over the spaces.

        None without labels or with fewer than three spaces; NaN for constant scores.
        """
        if self.n_labels is None or len(self.spaces) < 3:
            return None
        columns = {
            name: [float(getattr(one, name)) for one in self.spaces]
            for name in (*SCORES, "accuracy")
        }
        return {name: _rank_correlation(columns[name], columns["accuracy"]) for name in SCORES}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values; NaN becomes None."""
        return {
            "n": self.n,
            "sample": self.sampled and self.sampled._asdict(),
            "n_clusters": list(self.n_clusters),
            "n_labels": self.n_labels,
            "spaces": [
                {"rank": rank} | asdict(one) for rank, one in enumerate(self.spaces, start=1)
            ],
            "correlations": self.correlations
            and {name: None if isnan(one) else one for name, one in self.correlations.items()},
        }

    def _headline(self) -> str:
        """Return the best space."""
        return f"{self.rank[0]} is the best of {self.compared}"

    def _table(self) -> Rows:
        """Return the scores, one row per space; the accuracy only with labels."""
        spaces = self.to_dict()["spaces"]
        if self.n_labels is None:
            for one in spaces:
                del one["accuracy"]
        return Rows(list(spaces[0]), [list(one.values()) for one in spaces])

    def to_text(self) -> str:
        """Return the scores, one line per space, and the correlation of each with the accuracy."""
        columns = [*SCORES, *([] if self.n_labels is None else ["accuracy"])]
        titles = [name.replace("neighbors", "neighbours") for name in columns]
        last = "agrees with accuracy"
        width = max(len(last), *(len(name) for name in self.rank))
        lines = [f"rank  {'space':<{width}}  {'  '.join(f'{name:>10}' for name in titles)}"]
        for rank, one in enumerate(self.spaces, start=1):
            values = "  ".join(f"{getattr(one, name):>10.3f}" for name in columns)
            lines.append(f"{rank:>4}  {one.space:<{width}}  {values}")
        if self.correlations is not None:
            values = "  ".join(f"{value:>10.2f}" for value in self.correlations.values())
            lines.append(f"{'':>4}  {last:<{width}}  {values}")
        if self.sampled is not None:
            lines.append(f"Compared on {self.sampled} that all of the spaces hold")
        return join_lines(lines)


def compare_spaces(
    spaces: Any,
    *,
    extractors: Sequence[str] = (),
    n_clusters: int | None = None,
    labels: Any = None,
    random_state: int | None = None,
    max_samples: int = 2000,
    sample: int | None = None,
    label_column: str | Sequence[str] | None = None,
    path_column: str | None = None,
    label_separator: str | None = None,
    progress: bool = False,
) -> SpaceComparison:
    """Rank embedding spaces of the same images by how well they group them, without labels.

    Parameters
    ----------
    spaces : Store, path of a store, mapping of str to space, or sequence of spaces
        At least two spaces.  A space is Embeddings, a VectorStream, or an array of shape (n,
        dimension); arrays are compared by row, so that all must have the same number of rows.
    extractors : sequence of str
        Which spaces of a store, as for :meth:`clusterkit.store.store.Store.space`; by default all.
    n_clusters : int, optional
        Number of clusters, from 2 to a quarter of the images.  The scores are means over this
        number, a quarter less and a quarter more, since a single number gives noisy scores.  By
        default they are means over nine numbers from 3 to 20.
    labels : path, "folders", sequence of length n, or mapping of path to label, optional
        Known labels, only for the accuracy: scores and ranks do not depend on them.  A table (see
        :func:`clusterkit.datasets.labels.read_labels`), ``"folders"`` for the names of the images'
        folders, or one label or None for each row of the first space.  A pandas Series whose index
        is text, each once, is a mapping.  By default no accuracy.
    random_state : int, optional
        Seed; random by default.
    max_samples : int, default 2000
        Number of random images for all scores except the accuracy.
    sample : int, optional
        Maximum number of shared images to use, drawn at random; by default 20,000 if a space is
        large (see :func:`clusterkit.store.is_large`), otherwise all.
    label_column, path_column, label_separator
        Columns of the table of labels.
    progress : bool
        Whether to show a progress bar while the parts of a large space are read.

    Returns
    -------
    SpaceComparison
        The spaces, the best first.  Only images in all spaces are compared, identified by the
        digest of their content if stored, otherwise by path.

    Raises
    ------
    InvalidInputError
        If there are fewer than two spaces or fewer than eight shared images, a space contains NaN
        or infinity, or ``n_clusters`` or the labels are invalid.

    Warns
    -----
    ClusterkitWarning
        If all vectors of a space are identical, a space of the store cannot be read, or there are
        too few or too many different labels for an accuracy.

    Notes
    -----
    Scores must have the same meaning in each space to be compared.  The rows of all spaces are
    scaled to length 1, probabilities as their square roots, and clustered by k-means.  The scores
    are corrected for chance:

    - *stability*: how well the groups of the graph of neighbours come back in subsamples, relative
      to a normal distribution of the same covariance;
    - *neighbors*: share of an image's ten nearest neighbours in the same k-means cluster;
    - *agreement*: adjusted Rand index with the k-means clusters of the other spaces, weighted by
      their scores;
    - *silhouette* of the k-means clusters, for comparison only;
    - *score*, by which the spaces are ranked: a rank-one approximation of the table of agreements
      between all spaces, with stability x neighbours on its diagonal
      (:func:`clusterkit.space_comparison.scores.rank_one_scores`); mean over the numbers of
      clusters.

    The accuracy is that of :class:`~clusterkit.clusterers.KMeans` on all shared images, with
    ``n_clusters`` or the number of labels.

    *Correlation of scores with the accuracy.*  Measured without giving the number of clusters on 13
    sets (ten animals; cats, dogs and wild; animal faces; ten classes of unequal size; five anime
    shows; digits; and some classes of these) in seven or eight spaces each (Xception; ResNet-50:
    features, predictions and two inner layers; an autoencoder; colour histograms; pixels).  Mean
    rank correlation with the accuracy, and loss of accuracy of the first place relative to the best
    space, with all spaces and with random choices of three to six of them:

    ==========  ===========  ==========  ===================
    ranked by   correlation  loss (all)  loss (three to six)
    ==========  ===========  ==========  ===================
    score       0.84         0.03        0.05
    agreement   0.83         0.06        0.13
    stability   0.51         0.12        0.08
    neighbours  0.48         0.10        0.08
    silhouette  0.25         0.17        0.13
    ==========  ===========  ==========  ===================

    The table was measured with the stability of groups on 50 principal components, and without the
    square roots of probabilities.  With the present stability, in all columns, the ranks are the
    same for ten animals, cats, dogs and wild, and the classes of unequal size, in three or four
    spaces each.

    Score and agreement correlate well with the accuracy.  Stability and neighbours correlate in
    part: they detect spaces without groups, but prefer compact groups to correct ones.  Class
    probabilities, for instance, are more compact than the features they are computed from, but
    seldom better.  The silhouette does not.  Agreement alone needs several good spaces.  Effective
    rank, hubness, reciprocal neighbours and the overlap of neighbours between spaces correlated
    less than the score.

    Known limits: if only one space is good, its score rests on stability and neighbours.  Spaces
    with similar errors, such as two layers of one network, support each other: they came first on
    the anime shows, where no space was above 0.5.  Small differences are not significant.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = np.repeat(np.eye(3), 20, axis=0)
    >>> clear, blurred = (truth + rng.normal(0, noise, (60, 3)) for noise in (0.1, 0.4))
    >>> compare_spaces({"blurred": blurred, "clear": clear}, n_clusters=3, random_state=0).rank
    ['clear', 'blurred']
    """
    seed = draw_seed(random_state)
    check_at_least(max_samples, 2, "max_samples")
    if n_clusters is not None:
        check_at_least(n_clusters, 2, "n_clusters")
    named = name_spaces(spaces, extractors)
    shared = share_rows(named)
    first, rows_of_first = next(iter(named.values())), next(iter(shared.values()))
    known = find_labels(
        labels,
        first,
        rows_of_first,
        label_column=label_column,
        path_column=path_column,
        label_separator=label_separator,
    )
    n_images = {name: len(space) for name, space in named.items()}
    drawn = draw_shared(named, shared, sample, seed, progress=progress)
    known = [known[place] for place in drawn.chosen]
    n = len(known)
    numbers = _choose_numbers(n_clusters, n)
    compared = np.sort(np.random.default_rng(seed).permutation(n)[:max_samples])
    rows = {
        name: space.vectors[drawn.shared[name][compared]] for name, space in drawn.spaces.items()
    }
    for name, vectors in rows.items():
        if all_alike(unit_rows(vectors)):
            warnings.warn(f"all vectors of {name} are identical", ClusterkitWarning, stacklevel=2)
    measured = [measure(vectors, numbers, seed) for vectors in rows.values()]
    table = agreement(measured)
    scores = rank_one_scores(table)
    others = agreement_with_others(table, scores)
    accuracies = measure_accuracy(drawn.spaces, drawn.shared, known, n_clusters, seed)
    found = [
        SpaceScores(
            space=name,
            dimension=space.shape[1],
            n_images=n_images[name],
            score=float(scores[i]),
            stability=float(measured[i].stability.mean()),
            neighbors=float(measured[i].neighbors.mean()),
            silhouette=float(measured[i].silhouette.mean()),
            agreement=float(others[i]),
            accuracy=accuracies.get(name),
        )
        for i, (name, space) in enumerate(drawn.spaces.items())
    ]
    return SpaceComparison(
        spaces=tuple(sorted(found, key=lambda one: (-one.score, one.space))),
        n=n,
        n_clusters=numbers,
        n_labels=len(set(known) - {None}) if accuracies else None,
        sampled=drawn.sampled,
    )


def _choose_numbers(n_clusters: int | None, n: int) -> tuple[int, ...]:
    """Return the numbers of clusters for the comparison, limited by the number of images."""
    most = n // _MIN_PER_CLUSTER
    if most < 2:
        raise InvalidInputError(
            f"a comparison needs at least {2 * _MIN_PER_CLUSTER} images that all spaces hold. "
            f"Received: {n}"
        )
    if n_clusters is None:
        return tuple(k for k in _NUMBERS if k <= most) or (2,)
    if not 2 <= n_clusters <= most:
        raise InvalidInputError(
            f"n_clusters must be from 2 to {most}, a quarter of the {n:,} images that all spaces "
            f"hold. Received: {n_clusters}"
        )
    step = max(n_clusters // 4, 1)
    about = (n_clusters - step, n_clusters, n_clusters + step)
    return tuple(int(k) for k in about if 2 <= k <= most)


def _rank_correlation(values: Sequence[float], others: Sequence[float]) -> float:
    """Return Spearman's rank correlation; NaN if one is constant."""
    from scipy.stats import rankdata

    pair = rankdata(values), rankdata(others)
    if any(np.ptp(ranks) == 0 for ranks in pair):
        return nan
    return float(np.corrcoef(*pair)[0, 1])
