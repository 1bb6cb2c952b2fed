"""Choose which images to review or to label next."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.classifiers.classifier import Classifier
from clusterkit.classifiers.predict import as_classifier, classify
from clusterkit.clusterers.base import ClusteringWarning
from clusterkit.clusterers.distances import margins_to_others
from clusterkit.clusterers.kmeans.estimator import KMeans
from clusterkit.clustering.earlier import check_earlier, read_earlier
from clusterkit.datasets.labels import align_labels, read_labels
from clusterkit.datasets.names import match_names, say_case
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.datasets.tables import as_text, read_table, unprotect
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.images.folder import match_paths
from clusterkit.images.thumbnails import thumbnails
from clusterkit.routing.sorting import Sorting, check_present, sort_into_folders
from clusterkit.similarity.scaling import unit_rows
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import Store, as_embeddings
from clusterkit.utils.arguments import as_list, check_at_least, generator_from
from clusterkit.utils.html import Markup
from clusterkit.utils.locations import absolute
from clusterkit.utils.noise import NOISE, is_missing
from clusterkit.utils.text import join_lines, plural

STRATEGIES = ("diverse", "typical", "doubtful")
# The folder of images for which no class is suggested.
TO_LABEL = "to-label"
# Number of chosen images by default.
_N_IMAGES = 50
# Candidates of each draw of greedy k-means++, besides one for each doubling of the picks.
_N_TRIALS = 2
# Doubtful images are chosen from this many times as many.
_N_DOUBTFUL = 2
# Inverse strength of the regularisation of the linear classifier on vectors of length 1.
_C = 100.0
# Rows whose distances are computed at a time, and to how many.
_BATCH, _N_CENTERS = 16_384, 64
# Probabilities of one class per image sum to 1, but for rounding.
_NEARLY = 1e-3
# Number of pictures in a notebook.
_SHOWN = 20


class SampledImage(NamedTuple):
    """An image to review or to label.

    Attributes
    ----------
    row : int
        Its row in the embeddings.
    path : str
        The image.
    why : str
        Why it was chosen.
    score : float
        For typical images, the share of the images that it represents; for diverse ones, the
        distance to the nearest earlier choice; for doubtful ones, the doubt, from 0 to 1.
    cluster : int or None
        Its cluster, if it was chosen from clusters.
    suggested : str
        Its probable class, or the name of its cluster; empty if unknown.
    """

    row: int
    path: str
    why: str
    score: float
    cluster: int | None = None
    suggested: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class ImageSample(TableResult):
    """Result of :func:`sample_images`.

    Attributes
    ----------
    images : list of SampledImage
        The images, in the order in which they were chosen.
    by : {"diverse", "typical", "doubtful"}
        How they were chosen.
    n_candidates : int
        Number of images that they were chosen from.
    n_labelled : int
        Number of images that have a label already.
    files : list of pathlib.Path or None
        Their files, if known.
    sorting : Sorting or None
        The transfers of ``into``.
    """

    images: list[SampledImage]
    by: str
    n_candidates: int
    n_labelled: int
    files: list[Path] | None = None
    sorting: Sorting | None = None

    @property
    def rows(self) -> NDArray[np.intp]:
        """Rows of the images in the embeddings."""
        return np.array([image.row for image in self.images], np.intp)

    @property
    def title(self) -> str:
        """Number of chosen images, the strategy, and the number of candidates."""
        labelled = f"; {self.n_labelled:,} labelled already" if self.n_labelled else ""
        images = plural(len(self.images), f"{self.by} image")
        return f"{images} of {self.n_candidates:,} to choose from{labelled}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        images = [image._asdict() for image in self.images]
        return {
            "by": self.by,
            "n": len(self.images),
            "n_candidates": self.n_candidates,
            "n_labelled": self.n_labelled,
            "images": images,
            "sorting": None if self.sorting is None else self.sorting.to_dict(),
        }

    def to_text(self) -> str:
        """Return each image with the reason, and the number of images."""
        lines = [f"{image.path}  {image.why}" for image in self.images]
        if self.sorting is not None:
            lines += self.sorting.to_text().split("\n")
        return join_lines([*lines, self._headline()])

    def _headline(self) -> str:
        """Return the number of images."""
        return self.title

    def _table(self) -> Rows:
        """Return a row per image, with an empty cell for its label."""
        rows = [
            [image.path, "", image.suggested, image.why, image.score, image.cluster]
            for image in self.images
        ]
        return Rows(["path", "label", "suggested", "why", "score", "cluster"], rows, decimals=6)

    def _table_shown(self) -> Rows:
        """Return the images with the reasons."""
        pictures = [Markup()] * len(self.images)
        if self.files is not None:
            found = thumbnails(self.files[:_SHOWN])
            pictures[: len(found)] = found
        rows = [
            [picture, image.path, image.suggested, image.why, image.score]
            for picture, image in zip(pictures, self.images, strict=True)
        ]
        return Rows(["", "path", "suggested", "why", "score"], rows)


def sample_images(
    embeddings: Any,
    n_images: int | None = None,
    *,
    by: str | None = None,
    labels: Sequence[Any] | Mapping[str, Any] | None = None,
    label_tables: str | Path | Iterable[str | Path] = (),
    model: Classifier | str | Path | None = None,
    predictions: str | Path | None = None,
    clusters: Any = None,
    exclude: str | Iterable[str] = (),
    into: str | Path | None = None,
    mode: str = "copy",
    store: Store | str | Path | None = None,
    random_state: int | None = None,
    label_column: str | Sequence[str] | None = None,
    path_column: str | None = None,
    label_separator: str | None = None,
    dry_run: bool = False,
    progress: bool = False,
) -> ImageSample:
    """Choose which images to review or to label next.

    To label a set with few labels, choose twice as many typical images as there may be classes, or
    five times as many if a class shows different things; label them; and then choose several times
    as many as there are classes, giving the ``labels`` so far.

    Parameters
    ----------
    embeddings : Embeddings, array-like of shape (n, dimension), Store, Space, or path of a store
        The images.
    n_images : int, optional
        Number of images to choose; by default 50, or all if there are fewer.
    by : {"diverse", "typical", "doubtful"}, optional
        - ``typical``: images in the middle of groups, see Notes: those of ``clusters``, as many of
          each; by default of groups without a labelled image, the largest first.
        - ``diverse``: images unlike each other and unlike those with a label.
        - ``doubtful``: images whose class is in doubt, and unlike each other.  The doubt is
          measured by ``predictions``, ``model``, ``labels`` or ``clusters``, the first of these
          that is given.

        By default ``doubtful`` with predictions, a model, or labels of at least two classes,
        otherwise ``typical``.
    labels : sequence of length n, or mapping of path to label, optional
        Labels so far; None, NaN or an empty text for images without.  A pandas Series whose index
        is text, each once, is a mapping.  Images with a label are not chosen.  Doubt is measured by
        a linear classifier trained on them.
    label_tables : path or iterable of paths
        Tables of labels so far, such as samples in which they were filled in; the last label of an
        image counts.
    model : Classifier or path, optional
        A fitted classifier, or its ``.keras`` file.
    predictions : path, optional
        A table of ``clusterkit predict``: files, and the probability of each class.
    clusters : Clustering or path, optional
        A clustering of the images, or its ``clusters.csv``; noise is not typical of anything.
    exclude : str or iterable of str
        Patterns of images not to choose, as for :class:`~clusterkit.images.folder.ImageFolder`.
    into : path, optional
        Bring the files into this folder: into one folder for each suggested class or cluster, or
        else into ``to-label``.  Correct what is wrong by moving files, and learn from it.
    mode, store, dry_run, progress
        For ``into``, see :func:`clusterkit.routing.sort_into_folders`.
    random_state : int, optional
        Seed; random by default.
    label_column, path_column, label_separator
        Columns of the tables of labels; see :func:`clusterkit.datasets.labels.read_labels`.

    Returns
    -------
    ImageSample
        The images, in the order in which they were chosen.

    Raises
    ------
    InvalidInputError
        If there are fewer images to choose from, there is nothing to measure doubt by, or an
        argument is invalid.
    NotFoundError
        If a table or model does not exist, or all files are gone.

    Warns
    -----
    Notice
        If files are gone, which are not chosen.

    Notes
    -----
    Typical images are the nearest to the centres of k-means with as many clusters as images with a
    label and images to choose (TypiClust: Hacohen, Dekel, Weinshall 2022, "Active learning on a
    budget: opposite strategies suit high and low budgets", ICML, with the centre for the density).
    Diverse images are drawn by greedy k-means++, with the images that have a label as the first
    centres (Arthur, Vassilvitskii 2007).  Doubtful images are drawn likewise, by the product of
    squared distance and doubt, which is 1 minus the difference of the two highest probabilities:
    from all images if the doubt is that of the labels so far, as a class may look different
    elsewhere, and otherwise from the most doubtful ones, twice as many as requested.

    Examples
    --------
    >>> emb = Embeddings(np.repeat(np.eye(3), 4, axis=0), paths=list("abcdefghijkl"))
    >>> sorted(image.path for image in sample_images(emb, 3, random_state=0).images)
    ['a', 'e', 'i']
    """
    embeddings = as_embeddings(embeddings)
    if n_images is not None:
        n_images = check_at_least(n_images, 1, "n_images")
    rng = generator_from(random_state)
    known = _known_labels(
        embeddings,
        labels,
        label_tables,
        label_column=label_column,
        path_column=path_column,
        label_separator=label_separator,
    )
    is_labelled = np.array([label is not None for label in known], np.bool_)
    n_classes = len({str(label) for label in known if label is not None})
    if by is None:
        tells = predictions is not None or model is not None or n_classes > 1
        by = "doubtful" if tells else "typical"
    if by not in STRATEGIES:
        raise InvalidInputError(f"by must be one of {', '.join(STRATEGIES)}. Received: {by!r}")
    patterns = as_list(exclude)
    free = ~is_labelled
    if patterns:
        free &= ~np.array(match_paths(embeddings.paths, patterns), np.bool_)
    free &= ~_find_gone(embeddings, into)
    if not free.any():
        raise InvalidInputError(
            f"none of the {plural(len(embeddings), 'image')} is left to choose: each is excluded, "
            "has a label, or its file is gone"
        )
    if n_images is None:
        n_images = min(_N_IMAGES, int(free.sum()))
    if n_images > free.sum():
        raise InvalidInputError(
            f"n_images must be from 1 to {free.sum()}, the number of images that are not excluded "
            f"and have no label. Received: {n_images}"
        )
    groups = None if clusters is None else _read_groups(clusters, embeddings)
    vectors = unit_rows(embeddings.vectors)
    if by == "diverse":
        picks = _spread(vectors, n_images, free, is_labelled, rng)
        images = [_spread_image(embeddings, row, far) for row, far in picks]
    elif by == "doubtful":
        doubts = _measure_doubt(
            embeddings, vectors, known, predictions, model, groups, progress=progress
        )
        weights = doubts.values
        if not doubts.is_learned:
            weights = _most_doubtful(weights, free, n_images)
        picks = _spread(vectors, n_images, free, is_labelled, rng, weights)
        images = [_doubtful_image(embeddings, row, doubts) for row, _ in picks]
    elif groups is None:
        images = _find_typical(embeddings, vectors, n_images, free, is_labelled, rng)
    else:
        images = _find_central(embeddings, vectors, n_images, free, groups, rng)
    files = None if embeddings.root is None else [embeddings.root / one.path for one in images]
    found = ImageSample(images, by, int(free.sum()), int(is_labelled.sum()), files)
    if into is None:
        return found
    if files is None:
        raise InvalidInputError("the embeddings must have a root, for files to be sorted")
    sorting = sort_into_folders(
        files,
        [image.suggested or TO_LABEL for image in images],
        into,
        mode=mode,
        strict=False,
        store=store,
        dry_run=dry_run,
        progress=progress,
    )
    return replace(found, sorting=sorting)


def _known_labels(
    embeddings: Embeddings,
    labels: Sequence[Any] | Mapping[str, Any] | None,
    tables: str | Path | Iterable[str | Path],
    **columns: Any,
) -> list[Any]:
    """Return the label so far of each image, None if it has none; the last table counts."""
    if isinstance(labels, str | os.PathLike):
        raise InvalidInputError(
            f"labels must be the labels themselves: give a table as label_tables={str(labels)!r}"
        )
    known: list[Any] = [None] * len(embeddings)
    if labels is not None:
        given = align_labels(labels, embeddings.paths)
        known = [None if is_missing(label) else label for label in given]
    for table in as_list(tables):
        found = read_labels(table, embeddings.paths, **columns).labels
        known = [old if new is None else new for old, new in zip(known, found, strict=True)]
    return known


def _find_gone(embeddings: Embeddings, into: str | Path | None) -> NDArray[np.bool_]:
    """Return which images cannot be labelled because their files are gone.

    Files that an interrupted run moved into the same folder do not count as gone.
    """
    if embeddings.root is None:
        return np.zeros(len(embeddings), np.bool_)
    root = embeddings.root.absolute()
    files = [root / path for path in embeddings.paths]
    gone = set(map(str, check_present(files, root if into is None else into)))
    if gone:
        warnings.warn(
            f"left out: {len(gone):,} of the {plural(len(files), 'file')} are gone, such as "
            f"{min(gone)}; forget those that were deleted with `clusterkit embed FOLDER --prune`",
            Notice,
            stacklevel=3,
        )
    return np.array([absolute(file) in gone for file in files], np.bool_)


class _Groups(NamedTuple):
    """The cluster of each image, -1 for none, and the names of clusters."""

    labels: NDArray[np.int64]
    names: dict[int, str]

    def name(self, cluster: int) -> str:
        """Return the name or number of a cluster."""
        return self.names.get(cluster) or str(cluster)


class _Doubts(NamedTuple):
    """The doubt of each image, from 0 to 1, the reason, and the probable class."""

    values: NDArray[np.float64]
    reasons: list[str]
    suggested: list[str]
    clusters: NDArray[np.int64] | None = None
    # Whether the doubt is that of the labels so far: these are few, and more may be discovered.
    is_learned: bool = False


def _read_groups(clusters: Any, embeddings: Embeddings) -> _Groups:
    """Return the cluster of each image by an earlier clustering."""
    earlier = check_earlier(read_earlier(clusters), embeddings)
    label_of = dict(zip(earlier.paths, earlier.labels, strict=True))
    labels = np.array([label_of.get(path, NOISE) for path in embeddings.paths], np.int64)
    return _Groups(labels, dict(earlier.names))


def _squared_distances(
    vectors: NDArray[np.float32], rows: Sequence[int] | NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the squared distance of all rows to some, of shape (n, number of these)."""
    some = vectors[rows].T
    squares: NDArray[np.float32] = np.concatenate(
        [2 - 2 * vectors[start : start + _BATCH] @ some for start in range(0, len(vectors), _BATCH)]
    )
    return np.maximum(squares, 0, out=squares)


def _spread(
    vectors: NDArray[np.float32],
    n_images: int,
    free: NDArray[np.bool_],
    is_labelled: NDArray[np.bool_],
    rng: np.random.Generator,
    weights: NDArray[np.float64] | None = None,
) -> list[tuple[int, float]]:
    """Draw rows far from each other and from labelled ones; return also how far each is.

    This is greedy k-means++: of some candidates drawn in proportion to the weighted squared
    distance, the one that reduces its sum most.
    """
    weights = np.ones(len(vectors)) if weights is None else weights
    # Images that are surely of a class are drawn only if there are no others.
    mass = np.where(free, np.maximum(weights, 1e-12), 0.0)
    nearest = np.full(len(vectors), 4.0, np.float32)
    labelled = np.flatnonzero(is_labelled)
    for start in range(0, len(labelled), _N_CENTERS):
        some = _squared_distances(vectors, labelled[start : start + _N_CENTERS])
        nearest = np.minimum(nearest, some.min(axis=1))
    n_trials = _N_TRIALS + int(np.log2(n_images + 1))
    picks: list[tuple[int, float]] = []
    for _ in range(n_images):
        odds = mass * nearest
        if not odds.sum() > 0:  # only copies of chosen images are left
            odds = mass
        n_candidates = min(n_trials, int(np.count_nonzero(odds)))
        drawn = rng.choice(len(vectors), n_candidates, replace=False, p=odds / odds.sum())
        left = np.minimum(nearest[:, None], _squared_distances(vectors, drawn))
        best = int(np.argmin(mass @ left))
        row = int(drawn[best])
        picks.append((row, float(np.sqrt(nearest[row]))))
        nearest = left[:, best]
        mass[row] = 0
    return picks


def _most_doubtful(
    doubts: NDArray[np.float64], free: NDArray[np.bool_], n_images: int
) -> NDArray[np.float64]:
    """Return the doubts of the most doubtful images, and 0 for the others."""
    order = np.argsort(-np.where(free, doubts, -1.0), kind="stable")
    kept = np.zeros(len(doubts))
    chosen = order[: _N_DOUBTFUL * n_images]
    kept[chosen] = doubts[chosen]
    return kept


def _spread_image(embeddings: Embeddings, row: int, far: float) -> SampledImage:
    """Return an image that is unlike the others."""
    why = "the first" if far == 2 else f"at distance {far:.2f} from the nearest one before"
    return SampledImage(row, embeddings.paths[row], why, far)


def _find_typical(
    embeddings: Embeddings,
    vectors: NDArray[np.float32],
    n_images: int,
    free: NDArray[np.bool_],
    is_labelled: NDArray[np.bool_],
    rng: np.random.Generator,
) -> list[SampledImage]:
    """Return the images nearest to the centres of groups without a labelled image."""
    used = np.flatnonzero(free | is_labelled)
    rows = vectors[used]
    n_groups = min(n_images + int(is_labelled.sum()), len(used))
    seed = int(rng.integers(2**31))
    group_of = _group(rows, n_groups, seed)
    labelled = set(group_of[is_labelled[used]].tolist())
    sizes = np.bincount(group_of)
    # Groups with a labelled image come last, if the others do not suffice.
    order = sorted(range(len(sizes)), key=lambda group: (group in labelled, -sizes[group]))
    found: list[SampledImage] = []
    for group in order:
        members = np.flatnonzero(group_of == group)
        central = _by_centrality(rows, members)
        picks = [row for row in used[central].tolist() if free[row]]
        if picks and len(found) < n_images:
            why = f"in the middle of {plural(len(members), 'similar image')}"
            share = len(members) / len(used)
            found.append(SampledImage(picks[0], embeddings.paths[picks[0]], why, share))
    return found + _fill(embeddings, vectors, n_images - len(found), free, found, rng)


def _group(rows: NDArray[np.float32], n_groups: int, seed: int) -> NDArray[np.int32]:
    """Return the group of each row by k-means; there may be fewer, of copies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusteringWarning)
        found: NDArray[np.int32] = KMeans(n_groups, n_init=3, random_state=seed).fit_predict(rows)
    return found


def _fill(
    embeddings: Embeddings,
    vectors: NDArray[np.float32],
    n_images: int,
    free: NDArray[np.bool_],
    found: Sequence[SampledImage],
    rng: np.random.Generator,
) -> list[SampledImage]:
    """Return further images, unlike those found: there are fewer groups than requested."""
    if not n_images:
        return []
    taken = np.zeros(len(vectors), np.bool_)
    taken[[image.row for image in found]] = True
    picks = _spread(vectors, n_images, free & ~taken, taken, rng)
    return [_spread_image(embeddings, row, far) for row, far in picks]


def _find_central(
    embeddings: Embeddings,
    vectors: NDArray[np.float32],
    n_images: int,
    free: NDArray[np.bool_],
    groups: _Groups,
    rng: np.random.Generator,
) -> list[SampledImage]:
    """Return typical images of clusters, one of each in turn, the largest cluster first."""
    sizes = Counter(groups.labels[groups.labels != NOISE].tolist())
    if not sizes:
        raise InvalidInputError("there must be a cluster that is not noise. Received: none")
    members = {
        cluster: np.flatnonzero((groups.labels == cluster) & free) for cluster in sorted(sizes)
    }
    wanted = _share_out({cluster: len(rows) for cluster, rows in members.items()}, n_images)
    queues = {}
    for cluster, count in wanted.items():
        rows = members[cluster]
        if count:
            seed = int(rng.integers(2**31))
            parts = _group(vectors[rows], count, seed)
            central = [
                _by_centrality(vectors[rows], np.flatnonzero(parts == part))[0]
                for part in range(int(parts.max()) + 1)
            ]
            queues[cluster] = rows[central].tolist()
    found = []
    for turn in range(n_images):
        for cluster in sorted(queues, key=lambda one: (-sizes[one], one)):
            if turn < len(queues[cluster]):
                row, name = queues[cluster][turn], groups.name(cluster)
                why = f"typical of cluster {name}, of {plural(sizes[cluster], 'image')}"
                share = sizes[cluster] / len(vectors)
                path = embeddings.paths[row]
                found.append(SampledImage(row, path, why, share, cluster, name))
    return found + _fill(embeddings, vectors, n_images - len(found), free, found, rng)


def _share_out(sizes: dict[int, int], n: int) -> dict[int, int]:
    """Return the number of images of each cluster, as equal as the sizes allow."""
    shares = dict.fromkeys(sizes, 0)
    while n > 0 and (open_ones := [one for one in sizes if shares[one] < sizes[one]]):
        for one in sorted(open_ones, key=lambda one: (-sizes[one], one))[:n]:
            shares[one] += 1
            n -= 1
    return shares


def _by_centrality(vectors: NDArray[np.float32], members: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return rows by their distance to the mean of all of them, the nearest first."""
    rows = vectors[members]
    return members[np.argsort(((rows - rows.mean(axis=0)) ** 2).sum(axis=1), kind="stable")]


def _measure_doubt(
    embeddings: Embeddings,
    vectors: NDArray[np.float32],
    labels: Sequence[Any],
    predictions: str | Path | None,
    model: Classifier | str | Path | None,
    groups: _Groups | None,
    *,
    progress: bool,
) -> _Doubts:
    """Return the doubt of the class of each image, by the first source that is given."""
    if predictions is not None:
        return _from_probabilities(*_read_predictions(predictions, embeddings.paths))
    if model is not None:
        return _from_probabilities(*_predict(model, embeddings, progress=progress))
    classes = sorted({str(label) for label in labels if label is not None})
    if len(classes) > 1:
        return _from_probabilities(*_learn(vectors, labels, classes))._replace(is_learned=True)
    if groups is not None:
        return _from_margins(vectors, groups)
    raise InvalidInputError(
        "doubtful images need labels of at least 2 classes, a model, predictions or clusters. "
        f"Received: {'labels of ' + classes[0] if classes else 'none'}"
    )


def _learn(
    vectors: NDArray[np.float32], labels: Sequence[Any], classes: list[str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the probabilities of a linear classifier that learned the labels."""
    from sklearn.linear_model import LogisticRegression

    rows = [row for row, label in enumerate(labels) if label is not None]
    truth = [str(labels[row]) for row in rows]
    # A linear classifier is in the span of its rows, so few numbers are enough.
    axes = np.linalg.qr(vectors[rows].T.astype(np.float64))[0]
    learned = LogisticRegression(C=_C, max_iter=1000).fit(vectors[rows] @ axes, truth)
    probabilities: NDArray[np.float64] = learned.predict_proba(vectors @ axes)
    return probabilities, classes


def _predict(
    model: Classifier | str | Path, embeddings: Embeddings, *, progress: bool
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the probabilities of a classifier: by the embeddings, or else by the files."""
    classifier = as_classifier(model)
    classes = [str(name) for name in classifier.classes_]
    is_of_space = (
        classifier.takes_embeddings
        and embeddings.fingerprint is not None
        and embeddings.fingerprint == classifier.fingerprint_
    )
    if is_of_space:
        return np.asarray(classifier.predict_proba(embeddings), np.float64), classes
    if embeddings.root is None:
        raise InvalidInputError(
            "the embeddings must have a root, or be of the space of the model, for the model to "
            "predict their images"
        )
    files = [embeddings.root / path for path in embeddings.paths]
    found = classify(files, classifier, progress=progress)
    known = {one.name: list(one.probabilities.values()) for one in found.predictions}
    nothing = [np.nan] * len(classes)
    return np.array([known.get(str(file), nothing) for file in files]), classes


def _read_predictions(
    file: str | Path, paths: Sequence[str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the probabilities of a table of predictions; NaN for images that it lacks."""
    table = read_table(file)
    header = [name.casefold() for name in table.header]
    path_column = next((header.index(name) for name in ("filename", "path") if name in header), 0)
    columns: dict[str, list[float]] = {}
    others: list[str] = []
    for index, name in enumerate(table.header):
        if index == path_column or header[index] in ("prediction", "truth"):
            continue
        values = [_as_number(cell) for cell in table.column(index)]
        if all(0 <= value <= 1 for value in values):
            columns[name] = values
        else:
            others.append(name)
    # Scores and clusters of other tables may look like probabilities.
    if not columns or (others and "prediction" not in header):
        raise InvalidInputError(
            f"{file} must have a column of probabilities for each class. Received: "
            f"{', '.join(table.header)[:100]}"
        )
    names = [unprotect(as_text(cell)) for cell in table.column(path_column)]
    row_of = {name: row for row, name in enumerate(names)}
    name_of = match_names(paths, list(row_of), file)
    if not name_of:
        raise InvalidInputError(
            f"{file} has predictions for none of the {len(paths):,} images, such as {paths[0]}. "
            f"Its lines name other files, such as {names[0]}{say_case(paths, names)}"
        )
    probabilities = np.array([*columns.values()]).T
    found = np.full((len(paths), len(columns)), np.nan)
    for place, path in enumerate(paths):
        if path in name_of:
            found[place] = probabilities[row_of[name_of[path]]]
    return found, list(columns)


def _as_number(cell: str) -> float:
    """Return a number, or -1 for anything else."""
    try:
        return float(cell)
    except ValueError:
        return -1.0


def _from_probabilities(probabilities: ArrayLike, classes: list[str]) -> _Doubts:
    """Return doubts by the probabilities of classes; images without them are not in doubt."""
    values = np.asarray(probabilities, np.float64)
    known = ~np.any(np.isnan(values), axis=1)
    numbers = np.where(known[:, None], values, 0)
    order = np.argsort(-numbers, axis=1, kind="stable")[:, :2]
    first = np.take_along_axis(numbers, order, axis=1)
    sums = numbers[known].sum(axis=1)
    is_single = len(classes) > 1 and bool((abs(sums - 1) < _NEARLY * len(classes)).all())
    if is_single:
        doubts = 1 - (first[:, 0] - first[:, 1])
    else:
        # Images may have several classes: the class that is least certain.
        order = np.argsort(abs(numbers - 0.5), axis=1, kind="stable")[:, :2]
        first = np.take_along_axis(numbers, order, axis=1)
        doubts = 1 - 2 * abs(first[:, 0] - 0.5)
    reasons, suggested = [], []
    for places, shown in zip(order.tolist(), first.tolist(), strict=True):
        pairs = zip(places, shown, strict=True)
        reasons.append(" or ".join(f"{classes[place]} {value:.2f}" for place, value in pairs))
        suggested.append(classes[places[0]] if is_single else "")
    return _Doubts(np.where(known, doubts, 0), reasons, suggested)


def _from_margins(vectors: NDArray[np.float32], groups: _Groups) -> _Doubts:
    """Return doubts by how much nearer the own cluster is than another; noise is in no doubt."""
    margins = margins_to_others(vectors, groups.labels)
    if not np.isfinite(margins).any():
        raise InvalidInputError("doubtful images need at least 2 clusters. Received: 1")
    widest = max(float(margins[np.isfinite(margins)].max()), 1e-9)
    doubts = np.clip(1 - np.nan_to_num(margins, nan=widest) / widest, 0, 1)
    names = [groups.name(label) for label in groups.labels.tolist()]
    reasons = [f"nearly as near to another cluster as to {name}" for name in names]
    suggested = ["" if label == NOISE else groups.name(label) for label in groups.labels.tolist()]
    return _Doubts(doubts, reasons, suggested, groups.labels)


def _doubtful_image(embeddings: Embeddings, row: int, doubts: _Doubts) -> SampledImage:
    """Return an image that is in doubt."""
    cluster = None if doubts.clusters is None else int(doubts.clusters[row])
    return SampledImage(
        row,
        embeddings.paths[row],
        doubts.reasons[row],
        float(doubts.values[row]),
        None if cluster == NOISE else cluster,
        doubts.suggested[row],
    )
