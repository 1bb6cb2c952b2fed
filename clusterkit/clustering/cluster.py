"""Cluster the images of an embedding space; the result as a text, a table, and folders."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from clusterkit import __version__
from clusterkit.clusterers.base import find_unit, to_float32
from clusterkit.clusterers.by_name import CLUSTERERS
from clusterkit.clusterers.distances import distances_to_centers
from clusterkit.clusterers.kmeans.estimator import KMeans
from clusterkit.clusterers.kmeans.minibatch import MiniBatchKMeans
from clusterkit.clusterers.refinement import RefinedKMeans
from clusterkit.clustering.confounding import Confounding, describe_removal
from clusterkit.clustering.decisions import FREE, Decisions, Placed, hold
from clusterkit.clustering.earlier import (
    EarlierClusters,
    check_earlier,
    find_placed,
    network_fingerprint,
    read_earlier,
    say_other_part,
)
from clusterkit.clustering.levels import ChosenLevel, choose_level
from clusterkit.clustering.matching import IdentityReport, continue_kmeans, match_clusters
from clusterkit.clustering.naming import find_classes, name_clusters
from clusterkit.clustering.provenance import LabelOrigin
from clusterkit.clustering.saved import write_clusters
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.elbow.curve import elbow_curve
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.images.thumbnails import thumbnails
from clusterkit.routing.sorting import Sorting, sort_into_folders
from clusterkit.similarity.image_confounders import remove_confounders
from clusterkit.similarity.scaling import Scaling, as_scaling, find_scaling
from clusterkit.store.embeddings import Embeddings, describe_space
from clusterkit.store.store import Store, as_embeddings
from clusterkit.store.stream import VectorStream
from clusterkit.utils.arguments import as_plain, check_at_least, check_seed, draw_seed
from clusterkit.utils.html import Markup
from clusterkit.utils.noise import NOISE, cluster_text
from clusterkit.utils.ray_engine import RayEngine, as_engine
from clusterkit.utils.text import first_few, join_lines, plural

# Extractors whose vectors are nearly the pixels.
_BY_TONE = frozenset({"pixels", "autoencoder"})
# In a notebook: the largest number of clusters whose pictures are shown, and pictures of each.
MAX_PICTURED, _N_CENTRAL = 20, 5


@dataclass(eq=False, repr=False)
class Clustering(TableResult):
    """Cluster labels of the images of an embedding space.

    Attributes
    ----------
    embeddings : Embeddings or VectorStream
        The images.
    labels : ndarray of shape (n,), int
        Cluster of each image, from 0; -1 is noise.
    distances : ndarray of shape (n,), float
        Euclidean distance of each image to the centre of its cluster, between vectors scaled as by
        the clusterer's ``normalize``; NaN for noise.
    exemplars : ndarray of shape (n,), bool
        Mask of the image nearest to the centre of each cluster.
    algorithm : str
        Name of the clusterer.
    parameters : dict
        Its parameters.
    names : dict of int to str
        Names of clusters, see :func:`clusterkit.clustering.naming.name_clusters`; clusters without
        a name are left out.
    names_from : str, optional
        The embedding space that provided the ImageNet classes for the names; None if there are
        none.
    identity : IdentityReport, optional
        Changes relative to an earlier clustering, if one was given.
    refinement : dict, optional
        Description of the refinement, if any: see
        :meth:`clusterkit.clusterers.RefinedKMeans.describe`.
    decisions : Decisions
        A person's decisions that were kept, see :func:`clusterkit.clustering.label`.
    level : ChosenLevel, optional
        The level that was taken, and the others, if the number of clusters was to be found.
    confounding : Confounding, optional
        What the removal of confounders changed, if any were to be removed.
    notes : dict of str to dict of str to str
        Other columns of the earlier table, such as remarks of a person: the cell of each image.
    """

    embeddings: Embeddings | VectorStream
    labels: NDArray[np.int64]
    distances: NDArray[np.float64]
    exemplars: NDArray[np.bool_]
    algorithm: str
    parameters: dict[str, Any]
    names: dict[int, str] = field(default_factory=dict)
    names_from: str | None = None
    identity: IdentityReport | None = None
    refinement: dict[str, Any] | None = None
    decisions: Decisions = field(default_factory=Decisions)
    level: ChosenLevel | None = None
    confounding: Confounding | None = None
    notes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def n_clusters(self) -> int:
        """Number of clusters, excluding noise."""
        return len(self.sizes.keys() - {NOISE})

    @property
    def sizes(self) -> dict[int, int]:
        """Number of images in each cluster."""
        return dict(sorted(Counter(self.labels.tolist()).items()))

    def to_dict(self) -> dict[str, Any]:
        """Return a description of the clustering, as values for ``json_text``."""
        root, space = self.embeddings.root, self.embeddings.space
        return {
            "algorithm": self.algorithm,
            "parameters": self.parameters,
            "k": self.n_clusters,
            "level": None if self.level is None else self.level.to_dict(),
            "sizes": {str(cluster): size for cluster, size in self.sizes.items()},
            "names": {str(cluster): name for cluster, name in self.names.items()},
            "decisions": self.decisions.to_dict(),
            "identity": None if self.identity is None else self.identity.to_dict(),
            "refinement": self.refinement,
            "without": None if self.confounding is None else self.confounding.to_dict(),
            "space": space.get("made_from") or describe_space(space),
            # The fingerprint of the network's space: what was removed from it is listed above.
            "fingerprint": network_fingerprint(self.embeddings),
            "selections": [chosen._asdict() for chosen in self.embeddings.selections],
            "root": None if root is None else str(root),
            "versions": {"clusterkit": __version__}
            | {name: metadata.version(name) for name in ("numpy", "scikit-learn")},
        }

    def to_text(self) -> str:
        """Return the size and name of each cluster, and the changes to an earlier clustering."""
        images, clusters = plural(len(self.labels), "image"), plural(self.n_clusters, "cluster")
        lines = [f"{images} in {clusters} ({self.algorithm})"]
        lines += [f"Only {chosen}" for chosen in self.embeddings.selections]
        kept = [number for number in sorted(self.decisions.fixed) if number in self.sizes]
        if self.level is not None:
            # The others were not counted.
            of = " for the images outside the kept clusters" if kept else ""
            lines += f"Chosen by the elbow{of}: {self.level.to_text()}".split("\n")
        if self.refinement is not None:
            lines.append(f"Chosen: {self.refinement['reason']}")
        if self.confounding is not None:
            lines += self.confounding.to_text().split("\n")
        lines.append("cluster  images" + ("  name" if self.names else ""))
        for label, size in self.sizes.items():
            line = f"{cluster_text(label):>7}  {size:>6,}  {self.names.get(label, '')}"
            lines.append(line.rstrip())
        if kept:
            lines.append(f"Kept as named or pinned: {', '.join(map(str, kept))}")
        if self.identity is not None:
            lines += self.identity.to_text().split("\n")
        space = self.embeddings.space
        extractor = space.get("extractor")
        is_by_tone = extractor in _BY_TONE and "imported_from" not in space
        if is_by_tone and "tone" not in space.get("without", ()):
            lines.append(
                f"Note: {extractor} groups photos by colour and tone, not by what they show"
            )
        return join_lines(lines)

    def _table(self) -> Rows:
        """Return one row per image."""
        columns = ["path", "cluster", "distance", "exemplar", "name"]
        labels = self.labels.tolist()
        cells = zip(
            self.embeddings.paths,
            labels,
            self.distances.tolist(),
            self.exemplars.tolist(),
            (self.names.get(label, "") for label in labels),
            strict=True,
        )
        shown = columns if self.names else columns[:-1]
        return Rows(shown, [row[: len(shown)] for row in cells])

    def _table_shown(self) -> Rows:
        """Return one row per cluster, with pictures of its most central images."""
        rows = [[label, size, self.names.get(label, "")] for label, size in self.sizes.items()]
        header = ["cluster", "images", "name"]
        root, paths = self.embeddings.root, self.embeddings.paths
        if root is None or len(rows) > MAX_PICTURED:
            return Rows(header, rows)
        order = np.argsort(self.distances, kind="stable")
        central = [
            [root / paths[row] for row in order[self.labels[order] == label][:_N_CENTRAL]]
            for label, *_ in rows
        ]
        pictures = iter(thumbnails(file for some in central for file in some))
        return Rows(
            [*header, ""],
            [
                [*row, Markup(" ".join(itertools.islice(pictures, len(some))))]
                for row, some in zip(rows, central, strict=True)
            ],
        )

    def to_csv(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write ``path,cluster,distance,exemplar``, and what made it beside as ``.json``.

        Where clusters have names, these follow in a column ``name``, and then the ``notes``.

        Parameters
        ----------
        path : path
            The CSV file; rows are in the order of the images, of a stream in order of path.
        overwrite : bool
            Whether to overwrite existing files.

        Returns
        -------
        pathlib.Path
            The CSV file.

        Raises
        ------
        OutputExistsError
            If it exists.
        InvalidInputError
            If its name is that of another format, or an image is among the embeddings twice.
        """
        return write_clusters(self, path, overwrite=overwrite)

    def sort_into(
        self,
        into: str | Path,
        *,
        mode: str = "copy",
        strict: bool = False,
        store: Store | str | Path | None = None,
        dry_run: bool = False,
        progress: bool = False,
    ) -> Sorting:
        """Sort the image files into one folder per cluster, such as ``003 red fox``.

        Parameters
        ----------
        into : path
            Parent of the cluster folders.
        strict : bool
            Whether files that are gone are an error; by default they are left out.
        store : Store or path, optional
            A store in which the new paths of moved files are recorded.
        mode, dry_run, progress
            See :func:`clusterkit.routing.sort_into_folders`.

        Returns
        -------
        Sorting
            The performed or planned transfers.

        Raises
        ------
        NotFoundError
            If all files are gone, or some with ``strict``.

        Warns
        -----
        Notice
            If files are gone.
        """
        folders = {label: _folder_name(label, self.names.get(label)) for label in self.sizes}
        return sort_into_folders(
            self.embeddings.files,
            [folders[label] for label in self.labels.tolist()],
            into,
            mode=mode,
            strict=strict,
            store=store,
            origin=LabelOrigin.from_description(self.to_dict()).to_dict(),
            dry_run=dry_run,
            progress=progress,
        )


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
        A name in :data:`clusterkit.clusterers.CLUSTERERS`, or any scikit-learn clusterer.  By name,
        class probabilities are compared by their square roots (``normalize="sqrt"``), see
        :func:`~clusterkit.similarity.scaling.scale_rows`, other vectors by their direction.
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
    ClusterkitWarning
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
    embeddings = _open(embeddings)
    check_seed(random_state)
    if without and random_state is None:
        # The clusterings with and without the removal have the same seed.
        random_state = draw_seed(None)
    estimator = _create(clusterer, random_state)
    n_clusters = _check_arguments(
        embeddings, clusterer, estimator, n_clusters, level, without=without, engine=engine
    )
    earlier = EarlierClusters([], [])
    if previous is not None:
        earlier = check_earlier(read_earlier(previous), embeddings, is_previous=True)
        say_other_part(earlier, embeddings)
    decisions, places = earlier.decisions, find_placed(earlier, embeddings)
    top5, names_from = find_classes(embeddings, store)
    given, removed = embeddings, None
    if without:
        removed = remove_confounders(embeddings, without, progress=progress)
        embeddings = removed.embeddings
    _set_scaling(estimator, clusterer, embeddings)
    vectors: Any = embeddings if isinstance(embeddings, VectorStream) else np.asarray(embeddings)
    # Use the same scaling as the clusterer.
    normalize = as_scaling(getattr(estimator, "normalize", False))
    held = _hold(vectors, embeddings.paths, earlier, places, normalize)
    assign = partial(
        _cluster_rest, held=held, reserved=decisions.fixed, random_state=random_state, engine=engine
    )
    labels, chosen = assign(
        estimator, embeddings, n_clusters=n_clusters, level=level, progress=progress
    )
    identity = confounding = None
    if previous is not None:
        identity = _match(estimator, embeddings, labels, held == FREE, earlier, places)
        labels = identity.labels
        decisions = _keep(decisions, earlier, embeddings.paths, places, labels)
    if removed is not None:
        before = labels
        if embeddings is not given:
            number = n_clusters if chosen is None else chosen.k + len(np.unique(held[held >= 0]))
            other = _set_scaling(_create(clusterer, random_state), clusterer, given)
            before, _ = assign(other, given, n_clusters=number)
        confounding = describe_removal(removed.removals, removed.confounders, before, labels)
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
        notes=earlier.notes_by_image(),
    )


def _open(embeddings: Any) -> Embeddings | VectorStream:
    """Return the embeddings, of which there must be some."""
    if not isinstance(embeddings, Embeddings | VectorStream):
        embeddings = as_embeddings(embeddings)
    if not len(embeddings):
        failed = len(embeddings.failures)
        raise InvalidInputError(
            "there are no embedded images to cluster"
            + (f", and {plural(failed, 'failure')}" if failed else "")
        )
    return embeddings


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


def _hold(
    vectors: Any,
    paths: list[str],
    earlier: EarlierClusters,
    places: dict[str, int],
    normalize: Scaling,
) -> NDArray[np.int64]:
    """Return which cluster holds each image by an earlier decision."""
    if not earlier.decisions:
        return np.full(len(paths), FREE)
    rows = {row: places[path] for row, path in enumerate(paths) if path in places}
    labels = _earlier_labels(paths, earlier, FREE)
    return hold(vectors, labels, earlier.decisions, rows, normalize=normalize)


def _cluster_rest(
    estimator: Any,
    embeddings: Embeddings | VectorStream,
    *,
    held: NDArray[np.int64],
    reserved: frozenset[int],
    n_clusters: int | str | None,
    level: int | None = None,
    random_state: int | None,
    engine: str | RayEngine,
    progress: bool = False,
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


def _match(
    estimator: Any,
    embeddings: Embeddings | VectorStream,
    labels: NDArray[np.int64],
    free: NDArray[np.bool_],
    earlier: EarlierClusters,
    places: dict[str, int],
) -> IdentityReport:
    """Give the clusters the numbers of an earlier clustering, which k-means also continues."""
    if isinstance(estimator, KMeans) and free.any() and isinstance(embeddings, Embeddings):
        before = _earlier_labels(embeddings.paths, earlier, NOISE)[free]
        labels = labels.copy()
        labels[free] = _continue(estimator, embeddings.vectors[free], labels[free], before)
    return match_clusters(
        labels,
        earlier.labels,
        paths=embeddings.paths,
        previous_paths=earlier.paths,
        fixed=earlier.decisions.fixed,
        placed=places,
    )


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
        has = [hasattr(clusterer, name) for name in ("get_params", "fit_predict")]
        if isinstance(clusterer, type) or not all(has):
            raise InvalidInputError(
                "clusterer must be the name of one, or an instance such as KMeans(5); the number "
                f"of clusters alone is n_clusters. Received: {clusterer!r}"
            )
        return clone(clusterer)
    return _set_known(CLUSTERERS[clusterer](), random_state=random_state)


def _set_scaling(estimator: Any, clusterer: Any, embeddings: Embeddings | VectorStream) -> Any:
    """Let a clusterer given by name compare the embeddings as suits them, and return it."""
    if isinstance(clusterer, str):
        _set_known(estimator, normalize=find_scaling(embeddings))
    return estimator


def _set_known(estimator: Any, **parameters: Any) -> Any:
    """Set those of the parameters that the estimator has, and return it."""
    known = parameters.keys() & estimator.get_params(deep=False).keys()
    return estimator.set_params(**{name: parameters[name] for name in known})


def _json_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Convert parameters to JSON-able values, other objects to strings."""
    simple = (bool, int, float, str, type(None))
    plain = {name: as_plain(value) for name, value in parameters.items()}
    return {k: v if isinstance(v, simple) else repr(v) for k, v in plain.items()}


def _folder_name(label: int, name: str | None) -> str:
    """Return a cluster's folder, such as "003 red fox, timber wolf"."""
    if label == NOISE:
        return "noise"
    # A slash would be a folder in a folder.
    return f"{label:03d} {name.replace(' / ', ', ')}" if name else f"{label:03d}"
