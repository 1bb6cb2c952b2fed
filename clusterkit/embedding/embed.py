"""Embed images, in memory or in a store."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit import __version__
from clusterkit.datasets.results import Result
from clusterkit.embedding.on_ray import run_on_ray
from clusterkit.embedding.shards import Shard
from clusterkit.embedding.workers import EmbedRun, Known
from clusterkit.errors import ClusterkitError, InvalidInputError
from clusterkit.extractors.base import Extractor
from clusterkit.extractors.by_name import create_extractor, recall_extractor
from clusterkit.images.folder import ImageFolder, as_image_folder
from clusterkit.store.embeddings import Embeddings, Failure
from clusterkit.store.part_file import Row
from clusterkit.store.space import PART_ROWS, Space
from clusterkit.store.space_files import FLOAT16
from clusterkit.store.store import Store, as_store
from clusterkit.utils.locations import find_gone, is_address, join
from clusterkit.utils.ray_engine import RayEngine, as_engine
from clusterkit.utils.text import plural, unescape_path

# Maximum seconds per part: with PART_ROWS, they bound lost work and memory.
PART_SECONDS = 5.0
# Both for rows with a vector in other parts, all of which may have to be read for each part.
# The seconds are at least ten times those of the last writing.
KEPT_SECONDS = 60.0
KEPT_ROWS = 50_000


@dataclass(frozen=True, repr=False)
class EmbedReport(Result):
    """Result of :func:`embed_to_store`.

    Attributes
    ----------
    images, embedded, reused, failed : int
        Numbers of images; each counts in one of ``embedded``, ``reused`` and ``failed``.
    pruned : int
        Number of files that no longer exist, whose rows were dropped.
    failures : list of Failure
        Path and reason of each image that could not be embedded.
    extractor : str
        Name of the extractor.
    dimension : int
        Length of a vector.
    seconds : float
        Wall time of the run, excluding the start of Python.
    space : str
        Name of the space's folder in the store.
    root : str
        The folder that the paths are relative to.
    default_space : str
        Name of the folder of the store's default space.
    shard : str or None
        Which shard of the images it was, such as ``"3/8"``; its numbers are those of its images.
    gone : int
        Number of embedded files of the folder that no longer exist, whose rows are kept; 0 for a
        shard.
    """

    images: int
    embedded: int
    reused: int
    pruned: int
    failures: list[Failure]
    extractor: str
    dimension: int
    seconds: float
    space: str
    root: str
    default_space: str
    shard: str | None = None
    gone: int = 0

    @property
    def failed(self) -> int:
        """Number of images that could not be embedded."""
        return len(self.failures)

    @property
    def images_per_second(self) -> float:
        """Number of images embedded by the network per second."""
        return self.embedded / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able values."""
        return asdict(self) | {
            "failures": [failure._asdict() for failure in self.failures],
            "failed": self.failed,
            "images_per_second": self.images_per_second,
        }

    def to_text(self) -> str:
        """Return the numbers of images, as one line."""
        which = "" if self.shard is None else f"shard {self.shard}, "
        pruned = f", {self.pruned:,} forgotten" if self.pruned else ""
        gone = f", {self.gone:,} gone" if self.gone else ""
        return (
            f"{which}{plural(self.images, 'image')}: {self.embedded:,} embedded, "
            f"{self.reused:,} reused, {self.failed:,} failed{pruned}{gone} "
            f"({self.extractor}, {self.dimension} dimensions, {self.seconds:.1f} s)"
        )


def embed(
    images: ImageFolder | str | Path | list[Any],
    extractor: Extractor | str = "xception",
    *,
    store: Store | str | Path | None = None,
    progress: bool = False,
) -> Embeddings:
    """Embed images.

    Parameters
    ----------
    images : ImageFolder, path, or list of paths
        The images; paths are converted to an ImageFolder, where those of a list keep their order.
    extractor : Extractor or str
        The network, or its name; a store remembers the weights and options of its spaces, see
        :func:`~clusterkit.extractors.by_name.recall_extractor`.
    store : Store or path, optional
        Where to store the embeddings, so that the next run embeds only new or changed images.  By
        default they are kept only in memory.
    progress : bool
        Whether to show a progress bar on stderr.

    Returns
    -------
    Embeddings
        One row per readable image, in the order of the images; the others are listed in
        ``failures``.

    Raises
    ------
    InvalidInputError
        If ``extractor`` is not an extractor, or lacks its name, image size or dimension.
    WeightsError
        If the network's weights are not available.

    Examples
    --------
    >>> emb = embed("wild/", "xception", store=".clusterkit")  # doctest: +SKIP
    """
    images = as_image_folder(images)
    if isinstance(extractor, str):
        extractor = (
            recall_extractor(extractor, store) if store is not None else create_extractor(extractor)
        )
    _check_extractor(extractor)
    if store is not None:
        embed_to_store(images, extractor, store, progress=progress)
        store = as_store(store)
        return store.open_space(describe(extractor)).read(images)
    run = EmbedRun(images, extractor, Known.of(None, images), progress=progress)
    rows = list(run.rows())
    embedded = [row for row in rows if row.error is None]
    vectors = [row.vector for row in embedded if row.vector is not None]
    return Embeddings(
        np.stack(vectors) if vectors else np.zeros((0, extractor.dimension), np.float32),
        paths=[unescape_path(row.path) for row in embedded],
        root=images.root,
        space=describe(extractor),
        top5=[row.top5 for row in embedded] if embedded and embedded[0].top5 else None,
        digests=[row.digest or "" for row in embedded],
        failures=run.failures,
    )


def embed_to_store(
    images: ImageFolder | str | Path | list[Any],
    extractor: Extractor | str,
    store: Store | str | Path,
    *,
    prune: bool = False,
    again: bool = False,
    half: bool = False,
    shard: tuple[int, int] | None = None,
    engine: str | RayEngine = "local",
    progress: bool = False,
) -> EmbedReport:
    """Embed new and changed images into a store.

    A file is recognised by its path, size, times and inode, otherwise by its digest: moved and
    copied files keep their vectors.  Failed images are tried again.  A killed run loses at most the
    current part, and the next run continues from there.  Images of a damaged part are embedded
    again.

    Parameters
    ----------
    images : ImageFolder, path, or list of paths
        The images.
    extractor : Extractor or str
        The network, or its name; the store remembers its weights and options.
    store : Store or path
        Where to store the embeddings.
    prune : bool
        Whether to drop the rows of all files that no longer exist, in this and any other folder.
        By default only rows of moved files are dropped, whose content is known elsewhere.
    again : bool
        Whether to embed all images again, including known ones.
    half : bool
        Whether a new space keeps its vectors as float16, in half the space on disk, with 11
        significant bits.  Later runs on the space do the same.
    shard : (int, int), optional
        Which part of the images to embed, as number from 1 and count: ``(3, 8)`` is the third of
        eight.  Shards run concurrently or in any order, on one machine or several that share a disk
        or a bucket; see :class:`~clusterkit.embedding.shards.Shard`.  The last that ends leaves the
        store as one run over all images does.
    engine : {"local", "ray"} or RayEngine
        What does the work: this process, or workers of Ray, on this machine or on those of a
        cluster, see :class:`~clusterkit.utils.ray_engine.RayEngine`.  The rows are the same.
    progress : bool
        Whether to show a progress bar on stderr.

    Returns
    -------
    EmbedReport
        Counts, failures and speed of the run.

    Raises
    ------
    ClusterError
        If the machines of the engine cannot be reached, have other versions or weights, or do not
        see the images or the store.
    StoreError
        If the store cannot be written, or another run is writing to the same space, or the same
        shard of it.
    SpaceMismatchError
        If float16 vectors are requested and the space has float32.
    InvalidInputError
        If ``extractor`` is not an extractor, or the shard is out of range, or is to be pruned or
        embedded on Ray.
    WeightsError
        If the network's weights are not available.
    """
    start = time.perf_counter()
    images = as_image_folder(images)
    part = None if shard is None else Shard.of_pair(shard)
    on_ray = as_engine(engine)
    _check_shard(part, prune=prune, is_on_ray=on_ray is not None)
    store = as_store(store)
    if isinstance(extractor, str):
        extractor = recall_extractor(extractor, store)
    _check_extractor(extractor)
    space = store.open_space(describe(extractor) | ({"vectors": FLOAT16} if half else {}))
    all_images, pruned, gone = images, 0, 0
    if part is not None:
        images = part.select(images, space.place)
    with store.writing(space) if part is None else store.adding(space, part.writer):
        if prune:
            space.check_alone()
        known = Known.of(space, images, again=again)
        run = EmbedRun(images, extractor, known, of=all_images, again=again, progress=progress)
        if on_ray is None:
            _write(space, run.rows())
        else:
            run_on_ray(run, store, space, on_ray)
        if part is None:
            pruned = space.clean(prune=prune)
    if part is None:
        # After the lock is released: it asks the folder for each missing file.
        gone = _count_gone(space, known, images)
    else:
        space.settle()
    default = store.default or space
    return EmbedReport(
        images=len(images),
        embedded=run.embedded,
        reused=run.reused,
        pruned=pruned,
        failures=run.failures,
        extractor=extractor.name,
        dimension=extractor.dimension,
        seconds=time.perf_counter() - start,
        space=space.folder.name,
        root=str(images.root),
        default_space=default.folder.name,
        shard=None if part is None else str(part),
        gone=gone,
    )


def _count_gone(space: Space, known: Known, images: ImageFolder) -> int:
    """Return how many files of the folder are gone, though the space still has their rows."""
    folder = join(images.root).rstrip(os.sep) + ("/" if is_address(images.root) else os.sep)
    present = {join(images.root, path) for path in images.paths}
    gone = find_gone(
        file
        for file, row in known.rows.items()
        if row.error is None and file.startswith(folder) and file not in present
    )
    # Without the rows of moved files, which have been dropped.
    return len(gone & space.known_rows().keys()) if gone else 0


def _check_extractor(extractor: Any) -> None:
    """Check that ``extractor`` can embed images."""
    if not isinstance(extractor, Extractor):
        raise InvalidInputError(
            "extractor must be the name of one, or an instance such as Xception(). Received: "
            f"{extractor!r:.100}"
        )
    kind = type(extractor)
    for name, example in (("name", '"mine"'), ("image_size", "(224, 224)"), ("dimension", "64")):
        # A property, which may load the network, is not read.
        if name not in vars(extractor) and not hasattr(kind, name):
            raise InvalidInputError(
                f"{kind.__name__} must define {name}, as in {name} = {example}. Received: none"
            )


def _check_shard(part: Shard | None, *, prune: bool, is_on_ray: bool) -> None:
    """Check that a shard is not asked for what needs all images."""
    if part is not None and prune:
        raise InvalidInputError(
            "a shard cannot be pruned, since others may be writing: prune in a run without shard"
        )
    if part is not None and is_on_ray:
        raise InvalidInputError(
            "a shard is for tasks without an engine, and Ray divides the images itself: leave one "
            "of the two out"
        )


def describe(extractor: Extractor) -> dict[str, Any]:
    """Return the description of an extractor for a space: identity, origin, versions."""
    versions = {"clusterkit": __version__, "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in ("keras", "numpy", "pillow")}
    return extractor.describe() | {
        "fingerprint": extractor.fingerprint,
        "dimension": extractor.dimension,
        **extractor.origin(),
        "versions": versions,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _write(space: Space, rows: Iterator[Row]) -> None:
    """Write rows as parts, each limited in seconds and rows."""
    new = _Waiting(space.append, PART_ROWS, PART_SECONDS)
    kept = _Waiting(space.append_kept, KEPT_ROWS, KEPT_SECONDS)
    try:
        for row in rows:
            (new if row.kept is None else kept).add(row)
    except ClusterkitError:
        raise
    except BaseException:
        # On Ctrl-C or a failing network, keep what was embedded.
        new.write()
        kept.write()
        raise
    new.write()
    kept.write()


class _Waiting:
    """Rows that wait to be written together."""

    def __init__(
        self, write: Callable[[list[Row]], None], max_rows: int, max_seconds: float
    ) -> None:
        self._write = write
        self._rows: list[Row] = []
        self._max_rows = max_rows
        self._min_seconds = self._max_seconds = max_seconds
        self._since = time.monotonic()

    def add(self, row: Row) -> None:
        """Add a row, and write all if there are many, or the first has waited for long."""
        if not self._rows:
            self._since = time.monotonic()
        self._rows.append(row)
        waited = time.monotonic() - self._since
        if len(self._rows) >= self._max_rows or waited > self._max_seconds:
            self.write()

    def write(self) -> None:
        """Write all rows."""
        if not self._rows:
            return
        start = time.monotonic()
        rows, self._rows = self._rows, []
        self._write(rows)
        self._max_seconds = max(self._min_seconds, 10 * (time.monotonic() - start))
