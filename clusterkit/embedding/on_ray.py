"""Embed images on Ray: each worker holds a network, and all write parts of a store in parallel."""

from __future__ import annotations

import logging
import pickle
import platform
from collections import ChainMap, Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from math import ceil
from typing import Any
from uuid import uuid4

from clusterkit import __version__
from clusterkit.embedding.workers import EmbedRun, Known
from clusterkit.errors import ClusterError, ClusterkitError
from clusterkit.extractors.base import Extractor
from clusterkit.images.folder import ImageFolder
from clusterkit.store.embeddings import Failure
from clusterkit.store.space import Space
from clusterkit.store.store import Store
from clusterkit.utils.locations import absolute, join
from clusterkit.utils.parallel import limit_cpus
from clusterkit.utils.ray_engine import RayEngine, Room, check_versions

# Maximum number of rows of a part.  This is what a lost worker loses: up to a minute of its work.
PIECE_ROWS = {"CPU": 256, "GPU": 2048}
# Minimum number of rows of a part, which limits how long workers wait for the last one.
_MIN_ROWS = {"CPU": 8, "GPU": 128}
# Number of rows of a part as a share of the rows that remain for each worker.
_SHARE = 1 / 8
# Memory of a worker in GB, for TensorFlow, a network in up to four sessions, and pictures being
# read.  A worker with Xception and one CPU took 2.3.
_MEMORY = 3.0
# Maximum number of CPUs of a worker; beyond this, one more worker gains more.
_MAX_CPUS = 4
# Maximum number of attempts at a piece whose workers die.  Then the piece is taken for the cause.
_MAX_ATTEMPTS = 3
# Number of pieces after which their ledgers are merged.  Each part has a ledger of its own until
# then, and a writer reads all of them.
_MAX_LEDGERS = 32
# Libraries on which the last bit of a vector depends.
_LIBRARIES = ("keras", "numpy", "pillow", "simplejpeg")


@dataclass(frozen=True)
class Piece:
    """Images that one worker embeds as one part of the store.

    Attributes
    ----------
    images : ImageFolder
        New and changed images.
    known : Known
        Their rows in the store, and stored vectors of contents that may be theirs.
    number : int
        Number of the piece in the run.
    """

    images: ImageFolder
    known: Known
    number: int = 0


@dataclass
class Outcome:
    """Result of a piece.

    Attributes
    ----------
    embedded, reused, failures
        As in :class:`~clusterkit.embedding.workers.EmbedRun`.
    refused : str or None
        Why the worker cannot work, or could not write; None if it could.
    """

    embedded: int = 0
    reused: int = 0
    failures: list[Failure] = field(default_factory=list)
    refused: str | None = None


@dataclass(frozen=True)
class Job:
    """What all workers of a run have in common.

    Attributes
    ----------
    extractor : Extractor
        The network, not loaded.
    fingerprint : str
        Fingerprint of the space; the weights of each worker must have the same.
    versions : dict
        Versions of the libraries in the process that started the run.
    store : Store
        Where parts are written; its path is absolute.
    space : dict
        Description of the space.
    cpus : int
        Number of CPUs of a worker.
    n_images : int
        Number of images that will be embedded.
    again : bool
        Whether known images are embedded again.
    kept_of_digest : dict
        Stored vectors of contents whose size is not known.
    """

    extractor: Extractor
    fingerprint: str
    versions: dict[str, str]
    store: Store
    space: dict[str, Any]
    cpus: int
    n_images: int
    again: bool
    kept_of_digest: dict[str | None, tuple[str, int]]


def run_on_ray(run: EmbedRun, store: Store, space: Space, engine: RayEngine) -> None:
    """Embed the new images of a run on Ray, and add the results to its counts.

    A worker writes each piece as a part of the store before it begins the next one.  If a worker is
    lost, Ray gives its piece to another.  The caller holds the lock of the space.

    Parameters
    ----------
    run : EmbedRun
        The run, whose own network is not loaded.
    store, space : Store, Space
        Where the parts are written; all machines must see its folder and the images.
    engine : RayEngine
        The cluster.

    Raises
    ------
    ClusterError
        If there is no cluster, or a worker cannot work because its versions or weights differ, or
        because it does not see the images or the store.
    """
    with run.bar:
        paths = [path for path, _ in run.new_files()]
        if not paths:
            return
        with engine.started(memory=_MEMORY, cpus=_MAX_CPUS, gpus=True) as room:
            images = ImageFolder._from_paths(run.images.root, paths, run.images._listed)
            unsized, pieces = cut_into_pieces(images, run.known, _piece_sizes(len(paths), room))
            job = Job(
                _for_workers(run.extractor),
                run.extractor.fingerprint,
                library_versions(),
                Store(absolute(store.folder)),
                space.info,
                room.cpus,
                len(paths),
                run.again,
                unsized,
            )
            for number, outcome in enumerate(_embed_pieces(job, pieces, room), 1):
                if outcome.refused is not None:
                    raise ClusterError(outcome.refused)
                run.embedded += outcome.embedded
                run.reused += outcome.reused
                run.failures += outcome.failures
                run.bar.update(outcome.embedded + outcome.reused + len(outcome.failures))
                if run.failures:
                    run.bar.set_postfix(failed=len(run.failures))
                if number % _MAX_LEDGERS == 0:
                    space.ledgers.absorb()
    # Pieces end in any order.
    run.failures.sort()


def cut_into_pieces(
    images: ImageFolder, known: Known, sizes: Iterable[int]
) -> tuple[dict[str | None, tuple[str, int]], list[Piece]]:
    """Cut images into pieces, each with what the store knows of its images.

    Only files of equal size can have equal content, so each piece gets the stored contents of its
    sizes only.

    Parameters
    ----------
    images : ImageFolder
        New and changed images.
    known : Known
        What the store knows.
    sizes : iterable of int
        Number of images of each piece; their sum is the number of all images.

    Returns
    -------
    unsized : dict
        Stored contents whose size is not known.
    pieces : list of Piece
        One per size.
    """
    of_size: dict[int | None, dict[str | None, tuple[str, int]]] = defaultdict(dict)
    for row in known.rows.values():
        if row.digest in known.kept_of_digest:
            of_size[row.size][row.digest] = known.kept_of_digest[row.digest]
    pieces: list[Piece] = []
    start = 0
    for n_images in sizes:
        part = images[start : start + n_images]
        start += n_images
        files = [join(images.root, path) for path in part.paths]
        rows = {file: known.rows[file] for file in files if file in known.rows}
        kept: dict[str | None, tuple[str, int]] = {}
        for size in {part.status_of(path).size for path in part.paths} if of_size else ():
            kept |= of_size.get(size, {}) if size is not None else {}
        pieces.append(Piece(part, replace(known, rows=rows, kept_of_digest=kept), len(pieces)))
    return of_size.get(None, {}), pieces


class Attempts:
    """Ray actor that counts the attempts at each piece."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """Count another attempt at a piece, and return the number of attempts so far."""
        self.counts[number] += 1
        return self.counts[number]


class RayWorker:
    """Ray actor that holds one network, and embeds each piece as a part of the store.

    Errors are returned instead of raised, since Ray would restart the actor.

    Parameters
    ----------
    job : Job
        What all workers have in common.
    begin : callable, optional
        ``begin(number)`` counts an attempt at a piece, and returns their number.
    """

    def __init__(self, job: Job, begin: Callable[[int], int] = lambda _: 1) -> None:
        limit_cpus(job.cpus)
        self.job = job
        self.begin = begin
        self.space: Space | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Embed pickled pieces, and return pickled outcomes."""
        outcomes = [self.embed(pickle.loads(piece)) for piece in batch["piece"]]
        return {"outcome": [pickle.dumps(outcome) for outcome in outcomes]}

    def embed(self, piece: Piece) -> Outcome:
        """Embed a piece and write its part."""
        job = self.job
        if self.begin(piece.number) > _MAX_ATTEMPTS:
            # Otherwise Ray would retry forever.
            paths = piece.images.paths
            return Outcome(
                refused=f"{_MAX_ATTEMPTS} workers died at the images {paths[0]} "
                f"to {paths[-1]} in {piece.images.root}: embed these with the engine local, which "
                "reports more, and give workers more memory if there is too little"
            )
        try:
            space = self.space or self._start(piece.images)
            kept = ChainMap(dict(piece.known.kept_of_digest), job.kept_of_digest)
            known = replace(piece.known, kept_of_digest=kept)
            run = EmbedRun(piece.images, job.extractor, known, again=job.again)
            rows = list(run.rows())
            # If a network share was lost meanwhile, good images were counted as failures.
            self._check_sees(piece.images, space)
            if rows:
                # A unique name, since a worker that Ray considers lost may write concurrently with
                # its successor.
                with space.adding(f"ray{uuid4().hex[:12]}"):
                    space.append(rows)
        except ClusterkitError as error:
            return Outcome(refused=f"the worker on {platform.node()} cannot work: {error}")
        return Outcome(run.embedded, run.reused, run.failures)

    def _start(self, images: ImageFolder) -> Space:
        """Check that this worker can work, load its network, and return the space it writes to."""
        check_versions(self.job.versions, library_versions())
        space = self.job.store.open_space(self.job.space)
        self._check_sees(images, space)
        self._load()
        self.space = space
        return space

    def _check_sees(self, images: ImageFolder, space: Space) -> None:
        """Check that this worker sees the images and the store of the run."""
        if not images.root.is_dir():
            raise ClusterError(f"it does not see the images in {images.root}")
        info = space.read_info()
        if info is None or info["fingerprint"] != self.job.fingerprint:
            raise ClusterError(f"it does not see the store {self.job.store.folder}")

    def _load(self) -> None:
        """Load the network, and check that it is that of the space."""
        extractor = self.job.extractor
        if extractor.fingerprint != self.job.fingerprint:
            raise ClusterError(
                f"its {extractor.name} is another than that of the run (fingerprint "
                f"{extractor.fingerprint[:8]} and not {self.job.fingerprint[:8]}): give all "
                "machines the same weights"
            )
        extractor.prepare(self.job.n_images)


def library_versions() -> dict[str, str]:
    """Return the versions of clusterkit and of the libraries on which vectors depend."""
    return {"clusterkit": __version__} | {name: metadata.version(name) for name in _LIBRARIES}


def _embed_pieces(job: Job, pieces: list[Piece], room: Room) -> Iterator[Outcome]:
    """Embed pieces by the workers of a cluster; yield outcomes in order of completion."""
    import ray.data
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    attempts = ray.remote(num_cpus=0)(Attempts).options(scheduling_strategy=here).remote()

    def begin(number: int) -> int:
        """Count an attempt at a piece; called in a worker."""
        # The counting actor may be lost with its machine, too, which must not end the run.
        with suppress(ray.exceptions.RayError):
            return int(ray.get(attempts.begin.remote(number)))
        return 1

    items = [{"piece": pickle.dumps(piece)} for piece in pieces]
    outcomes = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        RayWorker,
        batch_size=1,
        fn_constructor_args=(job, begin),
        # One piece in flight per worker: none waits for a busy worker while another is idle.
        compute=ray.data.ActorPoolStrategy(
            size=min(room.workers, len(items)), max_tasks_in_flight_per_actor=1
        ),
        num_cpus=room.cpus,
        num_gpus=room.gpus or None,
        memory=room.memory,
    )
    for batch in outcomes.iter_batches(batch_size=1, prefetch_batches=0):
        yield from map(pickle.loads, batch["outcome"])


def _for_workers(extractor: Extractor) -> Extractor:
    """Return a copy of an extractor, not loaded, whose weights have an absolute path."""
    from sklearn.base import clone

    copy: Extractor = clone(extractor)
    weights = copy.get_params(deep=False).get("weights")
    if weights is not None and str(weights) != "imagenet":
        copy.set_params(weights=absolute(weights))
    return copy


def _piece_sizes(n_images: int, room: Room) -> Iterator[int]:
    """Yield the number of images of each piece.

    Pieces become smaller, so that all workers finish at about the same time, however fast each is
    (guided self-scheduling, Polychronopoulos and Kuck, IEEE Trans. Computers C-36, 1987).
    """
    kind = "GPU" if room.gpus else "CPU"
    while n_images:
        share = max(_MIN_ROWS[kind], ceil(n_images / room.workers * _SHARE))
        size = min(n_images, share, PIECE_ROWS[kind])
        yield size
        n_images -= size
