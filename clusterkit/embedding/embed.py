"""From images to embeddings, in memory or in the store."""

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit import __version__
from clusterkit.embedding.workers import EmbedRun
from clusterkit.errors import ClusterkitError
from clusterkit.extractors.base import Extractor
from clusterkit.extractors.by_name import create_extractor
from clusterkit.images.folder import ImageFolder
from clusterkit.store.embeddings import Embeddings, Failure
from clusterkit.store.part_file import Row
from clusterkit.store.space import Space
from clusterkit.store.store import Store
from clusterkit.utils.paths import unescape_path

# A part is closed after so many seconds or rows: what a kill can lose, and what memory holds.
PART_SECONDS = 5.0
PART_ROWS = 2048


@dataclass
class EmbedReport:
    """What a run of :func:`embed_to_store` did.

    Attributes
    ----------
    images, embedded, reused, failed : int
        Every image counts once in ``embedded``, ``reused`` or ``failed``.
    pruned : int
        Files that are gone, whose rows were dropped.
    failures : list of Failure
        Path and reason of each image that could not be embedded.
    extractor : str
        Name of the extractor.
    dimension : int
        Length of a vector.
    seconds : float
        Wall time of the run, without the start of Python.
    space : str
        Name of the space's folder in the store.
    root : str
        The folder that the paths are relative to.
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

    @property
    def failed(self) -> int:
        """Number of images that could not be embedded."""
        return len(self.failures)

    @property
    def images_per_second(self) -> float:
        """Images that went through the network, per second of the run."""
        return self.embedded / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able values."""
        return asdict(self) | {
            "failures": [failure._asdict() for failure in self.failures],
            "failed": self.failed,
            "images_per_second": self.images_per_second,
        }


def embed(
    images: ImageFolder | str | Path | list[Any],
    extractor: Extractor | str = "xception",
    *,
    store: Store | str | Path | None = None,
    progress: bool = False,
) -> Embeddings:
    """Turn images into embeddings.

    Parameters
    ----------
    images : ImageFolder, path, or list of paths
        The images; anything else than an ImageFolder is made one.
    extractor : Extractor or str
        The network, or its name.
    store : Store or path, optional
        Where to keep the embeddings, so that the next run embeds only what is new or changed.  By
        default they are kept in memory only.
    progress : bool
        Draw a progress bar on stderr.

    Returns
    -------
    Embeddings
        One row per image that could be read, sorted by path; the others are its ``failures``.

    Raises
    ------
    WeightsError
        If the network's weights cannot be had.

    Examples
    --------
    >>> emb = embed("wild/", "xception", store=".clusterkit")  # doctest: +SKIP
    """
    images = images if isinstance(images, ImageFolder) else ImageFolder(images)
    extractor = create_extractor(extractor) if isinstance(extractor, str) else extractor
    if store is not None:
        embed_to_store(images, extractor, store, progress=progress)
        store = store if isinstance(store, Store) else Store(store)
        return store.open_space(describe(extractor)).read(images)
    run = EmbedRun(images, extractor, progress=progress)
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
    images: ImageFolder,
    extractor: Extractor | str,
    store: Store | str | Path,
    *,
    prune: bool = False,
    again: bool = False,
    progress: bool = False,
) -> EmbedReport:
    """Embed images into a store, and only those that are new or changed.

    A file is known by its place, size, times and number (inode), else by its digest: a moved or
    copied file keeps its vector.  Failures are tried again.  A run that was killed loses at most
    the part in hand, and the next run goes on from there.  The images of a damaged part are
    embedded again.

    Parameters
    ----------
    images : ImageFolder
        The images.
    extractor : Extractor or str
        The network, or its name.
    store : Store or path
        Where to keep the embeddings.
    prune : bool
        Drop the rows of all files that are gone, of this folder and of any other.  By default only
        those go whose content is known elsewhere: the file was moved.
    again : bool
        Embed all images anew, known or not.
    progress : bool
        Draw a progress bar on stderr.

    Returns
    -------
    EmbedReport
        Counts, failures and speed.

    Raises
    ------
    StoreError
        If the store cannot be written, or another run is writing to the same space.
    WeightsError
        If the network's weights cannot be had.
    """
    start = time.perf_counter()
    store = store if isinstance(store, Store) else Store(store)
    extractor = create_extractor(extractor) if isinstance(extractor, str) else extractor
    space = store.open_space(describe(extractor))
    with space.writing():
        run = EmbedRun(images, extractor, space, again=again, progress=progress)
        _write(space, run.rows())
        pruned = space.clean(prune=prune)
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
    )


def describe(extractor: Extractor) -> dict[str, Any]:
    """Return what a space records of its extractor: identity, source of weights, versions."""
    versions = {"clusterkit": __version__, "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in ("keras", "numpy", "pillow")}
    weights = getattr(extractor, "weights", None)
    return extractor.describe() | {
        "fingerprint": extractor.fingerprint,
        "dimension": extractor.dimension,
        "weights_source": None if weights is None else _absolute_source(str(weights)),
        "versions": versions,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _absolute_source(weights: str) -> str:
    """Return where the weights came from, so that a later query finds them again."""
    return weights if weights == "imagenet" else os.path.abspath(weights)  # noqa: PTH100


def _write(space: Space, rows: Iterator[Row]) -> None:
    """Write rows as parts, each closed after some seconds or rows."""
    waiting: list[Row] = []
    opened = time.monotonic()
    try:
        for row in rows:
            waiting.append(row)
            if len(waiting) >= PART_ROWS or time.monotonic() - opened > PART_SECONDS:
                space.append(waiting)
                waiting = []
                opened = time.monotonic()
    except ClusterkitError:
        raise
    except BaseException:
        # Ctrl-C, or a network that failed: what was embedded is kept.
        if waiting:
            space.append(waiting)
        raise
    if waiting:
        space.append(waiting)
