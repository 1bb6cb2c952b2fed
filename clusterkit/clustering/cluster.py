"""Cluster the images of an embedding space."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from clusterkit.clusterers.base import find_unit, to_float32
from clusterkit.clusterers.by_name import CLUSTERERS
from clusterkit.clusterers.distances import distances_to_centers
from clusterkit.clusterers.kmeans.estimator import KMeans
from clusterkit.clusterers.kmeans.minibatch import MiniBatchKMeans
from clusterkit.clusterers.refinement.estimator import RefinedKMeans
from clusterkit.clustering.clustering import Clustering
from clusterkit.clustering.confounding import describe_removal
from clusterkit.clustering.decisions import FREE, Decisions, Placed, hold
from clusterkit.clustering.earlier import (
    EarlierClusters,
    check_earlier,
    find_placed,
    read_earlier,
    say_other_part,
)
from clusterkit.clustering.levels import ChosenLevel, choose_level
from clusterkit.clustering.matching import continue_kmeans, match_clusters
from clusterkit.clustering.naming import find_classes, name_clusters
from clusterkit.datasets.names import first_few
from clusterkit.elbow.curve import elbow_curve
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.similarity.image_confounders import remove_confounders
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.reading import as_embeddings
from clusterkit.store.store import Store
from clusterkit.store.stream import VectorStream
from clusterkit.utils.arguments import as_plain, check_at_least
from clusterkit.utils.noise import NOISE
from clusterkit.utils.ray_engine import RayEngine, as_engine
from clusterkit.utils.seeds import check_seed, draw_seed
from clusterkit.utils.text import plural


def cluster(
    embeddings: Embeddings | VectorStream | Store | str | Path,
    clusterer: Any = "kmeans",
    *,
    n_clusters: int | str | None = None,
    level: int | None = None,
    without: str | Collection[str] = (),
    random_state: int | None = None,
    previous: Clustering | str | Path | None = None,
    store: Store | str | Path | None = None,
    engine: str | RayEngine = "local",
    progress: bool = False,
) -> Clustering:
    """Cluster images by their embeddings, and name the clusters if ImageNet classes are known.

    Parameters
    ----------
    embeddings : Embeddings, VectorStream, Store, or path of a store
        The images; of a store, those of its default space.  A stream
        (:meth:`clusterkit.store.space.Space.stream`) is read part by part and requires
        ``"kmeans"``, ``"minibatch-kmeans"`` or ``"refined-kmeans"``.  Paths of plain vectors are
        their row numbers.
    clusterer : str or estimator
        A name in :data:`clusterkit.clusterers.CLUSTERERS`, or any scikit-learn clusterer.
    n_clusters : int or "auto", optional
        Number of clusters, for clusterers with this parameter; by default that of the clusterer.
        ``"auto"`` uses :func:`clusterkit.elbow.elbow_curve`.
    level : int, optional
        For ``"auto"``, which level to take if there are several, as listed by
        :func:`clusterkit.clustering.find_levels`; 1 is the coarsest.  By default the best.
    without : str or collection of str, optional
        Confounders to remove from the vectors before clustering, such as ``"tone"``; see
        :func:`clusterkit.similarity.remove_confounders`.  The images are also clustered without the
        removal, to report what it changed.
    random_state : int, optional
        Seed, for clusterers given by name; random by default.
    previous : Clustering or path, optional
        An earlier clustering or its ``clusters.csv``: matching clusters keep their numbers, see
        :func:`clusterkit.clustering.matching.match_clusters`.  If the number of clusters is the
        same, k-means also continues from their centres unless the vectors are a stream, see
        :func:`clusterkit.clustering.matching.continue_kmeans`.  A person's decisions are kept, see
        :func:`clusterkit.clustering.label`: named and pinned clusters, which ``n_clusters``
        includes, keep their images, new images join the nearest cluster, and only the others are
        clustered.
    store : Store or path, optional
        Where to look for the ImageNet classes of the images, if the embeddings have none; see
        :func:`clusterkit.clustering.naming.find_top5`.  By default the clusters then have no names.
    engine : {"local", "ray"} or RayEngine
        What makes the passes of ``"kmeans"`` over a stream: threads of this process, or workers of
        Ray, see :class:`~clusterkit.utils.ray_engine.RayEngine`.  The clusters are the same.
    progress : bool, default False
        Whether to show a progress bar on a terminal, for ``"auto"`` and each pass over a stream.

    Returns
    -------
    Clustering
        Labels, distances to the centres, exemplars and names.

    Raises
    ------
    NotFoundError
        If the earlier table or the store does not exist.
    InvalidInputError
        If there are no embeddings, more clusters than images, an unknown confounder, no clear
        number of clusters or no such level for ``"auto"``, a level without ``"auto"``, the
        clusterer has no ``n_clusters``, the engine is not for such vectors or such a clusterer, the
        earlier clustering has no numbers or no image in common, or its decisions leave too few
        clusters for the other images.

    Warns
    -----
    UserWarning
        If the earlier clustering is from a different embedding space.
    Notice
        If a decision could not be kept, or the earlier clustering was of a part of the images, and
        this one is not.

    Examples
    --------
    >>> emb = Embeddings(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype="float32"))
    >>> cluster(emb, n_clusters=2).sizes
    {0: 2, 1: 2}
    """
    if not isinstance(embeddings, Embeddings | VectorStream):
        embeddings = as_embeddings(embeddings)
    if not len(embeddings):
        raise InvalidInputError(
            "there are no embedded images to cluster, and "
            f"{plural(len(embeddings.failures), 'failure')}"
        )
    check_seed(random_state)
    if without and random_state is None:
        # The clusterings with and without the removal have the same seed.
        random_state = draw_seed(None)
    estimator = _create(clusterer, random_state)
    plain = clone(estimator)
    n_clusters = _check_arguments(
        embeddings, clusterer, estimator, n_clusters, level, without=without, engine=engine
    )
    earlier = (
        None
        if previous is None
        else check_earlier(read_earlier(previous), embeddings, is_previous=True)
    )
    if earlier is not None:
        say_other_part(earlier, embeddings)
    decisions = Decisions() if earlier is None else earlier.decisions
    top5, names_from = find_classes(embeddings, store)
    given, cleaned = embeddings, None
    if without:
        cleaned = remove_confounders(embeddings, without, progress=progress)
        embeddings = cleaned.embeddings
    vectors: Any = embeddings if isinstance(embeddings, VectorStream) else np.asarray(embeddings)
    # Use the same scaling as the clusterer.
    normalize = bool(getattr(estimator, "normalize", False))
    places = {} if earlier is None else find_placed(earlier, embeddings)
    held = np.full(len(embeddings), FREE)
    if earlier is not None and decisions:
        held = hold(
            vectors,
            _earlier_labels(embeddings.paths, earlier, FREE),
            decisions,
            {row: places[path] for row, path in enumerate(embeddings.paths) if path in places},
            normalize=normalize,
        )
    labels, chosen = _cluster_rest(
        estimator,
        embeddings,
        held,
        n_clusters,
        level,
        reserved=decisions.fixed,
        random_state=random_state,
        engine=engine,
        progress=progress,
    )
    identity = None
    if earlier is not None:
        free = held == FREE
        if isinstance(estimator, KMeans) and free.any() and isinstance(embeddings, Embeddings):
            before = _earlier_labels(embeddings.paths, earlier, NOISE)
            labels[free] = _continue(estimator, vectors[free], labels[free], before[free])
        identity = match_clusters(
            labels,
            earlier.labels,
            paths=embeddings.paths,
            previous_paths=earlier.paths,
            fixed=decisions.fixed,
            placed=places,
        )
        labels = identity.labels
        decisions = _keep(decisions, earlier, embeddings.paths, places, labels)
    confounding = None
    if cleaned is not None:
        before = labels
        if cleaned.embeddings is not given:
            number = n_clusters if chosen is None else chosen.k + len(np.unique(held[held >= 0]))
            before, _ = _cluster_rest(
                plain,
                given,
                held,
                number,
                None,
                reserved=decisions.fixed,
                random_state=random_state,
                progress=False,
            )
        confounding = describe_removal(cleaned.removals, cleaned.confounders, before, labels)
    distances, exemplars = distances_to_centers(vectors, labels, normalize=normalize)
    name = clusterer if isinstance(clusterer, str) else type(clusterer).__name__
    chosen_names = dict(decisions.names)
    names = name_clusters(labels, top5, taken=chosen_names.values()) | chosen_names
    return Clustering(
        embeddings,
        labels,
        distances,
        exemplars,
        algorithm=name,
        parameters=_json_parameters(estimator.get_params(deep=False)),
        names={label: names[label] for label in np.unique(labels).tolist() if names.get(label)},
        names_from=names_from,
        identity=identity,
        refinement=estimator.describe() if isinstance(estimator, RefinedKMeans) else None,
        decisions=decisions,
        level=chosen,
        confounding=confounding,
    )


def _check_arguments(
    embeddings: Embeddings | VectorStream,
    clusterer: Any,
    estimator: Any,
    n_clusters: int | str | None,
    level: int | None,
    *,
    without: str | Collection[str],
    engine: str | RayEngine,
) -> int | str | None:
    """Check that the arguments of :func:`cluster` fit together, and return ``n_clusters``."""
    if n_clusters not in (None, "auto"):
        # Numbers of NumPy become those of Python.
        n_clusters = check_at_least(n_clusters, 1, "n_clusters")
    if level is not None:
        check_at_least(level, 1, "level")
        if n_clusters != "auto":
            raise InvalidInputError(
                "level selects one of the numbers that n_clusters='auto' finds. "
                f"Received: level={level}, n_clusters={n_clusters!r}"
            )
    if n_clusters is not None and "n_clusters" not in estimator.get_params(deep=False):
        raise InvalidInputError(
            f"{clusterer} finds the number of clusters itself, or has it from its constructor: "
            f"leave out n_clusters. Received: {n_clusters!r}"
        )
    is_stream = isinstance(embeddings, VectorStream)
    if is_stream and not isinstance(estimator, KMeans | MiniBatchKMeans | RefinedKMeans):
        raise InvalidInputError(
            "only kmeans, minibatch-kmeans and refined-kmeans cluster a stream; the others take "
            f"the Embeddings that Space.read() loads. Received: {clusterer!r}"
        )
    if is_stream and without:
        raise InvalidInputError(
            "confounders are removed from the Embeddings that Space.read() loads, not from a "
            "stream: choose another clusterer"
        )
    if as_engine(engine) is not None and not (is_stream and isinstance(estimator, KMeans)):
        raise InvalidInputError(
            "the engine ray is for kmeans on a stream, as Space.stream() opens it. Received: "
            f"{clusterer!r} on {type(embeddings).__name__}"
        )
    return n_clusters


def _cluster_rest(
    estimator: Any,
    embeddings: Embeddings | VectorStream,
    held: NDArray[np.int64],
    n_clusters: int | str | None,
    level: int | None,
    *,
    reserved: frozenset[int],
    random_state: int | None,
    engine: str | RayEngine = "local",
    progress: bool,
) -> tuple[NDArray[np.int64], ChosenLevel | None]:
    """Cluster the rows that no decision holds, with numbers beyond the reserved ones."""
    free = held == FREE
    labels = held.copy()
    chosen = None
    n_held = len(np.unique(held[held >= 0]))
    if not free.any():
        if n_clusters not in (None, n_held):
            warnings.warn(
                f"all images are in the {plural(n_held, 'cluster')} that decisions keep, and none "
                f"are left for others. Received: n_clusters={n_clusters}. `clusterkit label` "
                "removes names and pins",
                Notice,
                stacklevel=3,
            )
        return labels, chosen
    is_whole = bool(free.all())
    rest: Any = embeddings
    if not is_whole:
        if isinstance(embeddings, VectorStream):
            rest = embeddings.select(free)
        else:
            rest = np.asarray(embeddings)[free]
    if n_clusters == "auto":
        curve = elbow_curve(rest, random_state=random_state, progress=progress)
        chosen = choose_level(curve, level)
        estimator.set_params(n_clusters=chosen.k)
    elif isinstance(n_clusters, int):
        if n_clusters <= n_held:
            raise InvalidInputError(
                f"{n_held} clusters are kept as named or pinned, and {plural(len(rest), 'image')} "
                f"are in none of them: n_clusters must be at least {n_held + 1}. "
                f"Received: {n_clusters}"
            )
        estimator.set_params(n_clusters=n_clusters - n_held)
    if isinstance(rest, VectorStream):
        options = {"engine": engine} if isinstance(estimator, KMeans) else {}
        found = _checked(estimator.fit_predict(rest, progress=progress, **options), rest, estimator)
    else:
        found = _checked(estimator.fit_predict(np.asarray(rest)), rest, estimator)
    first = max(reserved, default=NOISE) + 1
    labels[free] = np.where(found == NOISE, NOISE, found + first)
    return labels, chosen


def _checked(found: Any, rows: Any, estimator: Any) -> NDArray[np.int64]:
    """Return the labels of an estimator of anyone as integers; a mere cast would hide NaN."""
    labels = np.asarray(found)
    if (
        labels.shape != (len(rows),)
        or labels.dtype.kind not in "iuf"
        or not (labels == np.floor(labels)).all()
        or labels.min() < NOISE
    ):
        raise InvalidInputError(
            f"labels of {type(estimator).__name__} must be integers of at least -1, one for each "
            f"of {plural(len(rows), 'row')}. Received: {labels.dtype} of shape {labels.shape}, "
            f"such as {labels.ravel()[:3]}"
        )
    return labels.astype(np.int64)


def _keep(
    decisions: Decisions,
    earlier: EarlierClusters,
    paths: list[str],
    places: dict[str, int],
    labels: NDArray[np.int64],
) -> Decisions:
    """Return the decisions for the next run; warn about those that could not be kept."""
    if not decisions:
        return decisions
    present, numbers = set(paths), set(labels.tolist())
    if empty := sorted(decisions.fixed - numbers):
        warnings.warn(
            f"of the named or pinned clusters, {', '.join(map(str, empty))} has no image here; its "
            "number and name stay reserved",
            Notice,
            stacklevel=3,
        )
    lost = [path for path, number in places.items() if number not in numbers | {NOISE}]
    if lost:
        warnings.warn(
            f"could not keep {plural(len(lost), 'image')} in the cluster of their choice, which is "
            f"gone: {first_few(lost)}. `clusterkit label --pin` keeps a cluster",
            Notice,
            stacklevel=3,
        )
    digests = earlier.digests or [None] * len(earlier.paths)
    # Absent images of kept clusters return to them when they are back.
    absent = (
        Placed(path, digest, label)
        for path, digest, label in zip(earlier.paths, digests, earlier.labels, strict=True)
        if path not in present and label in decisions.fixed
    )
    return decisions | Decisions(placed=tuple(absent))


def _earlier_labels(paths: list[str], earlier: EarlierClusters, missing: int) -> NDArray[np.int64]:
    """Return the earlier cluster of each image."""
    number = dict(zip(earlier.paths, earlier.labels, strict=True))
    return np.array([number.get(path, missing) for path in paths])


def _continue(
    estimator: KMeans, vectors: Any, labels: NDArray[np.int64], previous: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return k-means labels, or an equally good solution that continues the earlier one."""
    # Scaled as by the clusterer: to length 1, or to a safe range.
    unit = 1.0 if estimator.normalize else find_unit(vectors)
    points = to_float32(vectors, normalize=estimator.normalize, unit=unit)
    first = labels.min()
    inertia = estimator.inertia_ / unit / unit
    return first + continue_kmeans(points, labels - first, inertia, previous=previous)


def _create(clusterer: Any, random_state: int | None) -> Any:
    """Create a clusterer by name with the seed, or copy an instance."""
    if not isinstance(clusterer, str):
        if isinstance(clusterer, type) or not hasattr(clusterer, "get_params"):
            raise InvalidInputError(
                "clusterer must be the name of one, or an instance such as KMeans(5); the number "
                f"of clusters alone is n_clusters. Received: {clusterer!r}"
            )
        return clone(clusterer)
    estimator = CLUSTERERS[clusterer]()
    if "random_state" in estimator.get_params(deep=False):
        estimator.set_params(random_state=random_state)
    return estimator


def _json_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Convert parameters to JSON-able values, other objects to strings."""
    simple = (bool, int, float, str, type(None))
    plain = {name: as_plain(value) for name, value in parameters.items()}
    return {k: v if isinstance(v, simple) else repr(v) for k, v in plain.items()}
