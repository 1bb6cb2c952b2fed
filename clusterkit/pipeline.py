"""From images to embeddings: read ahead, embed in batches, write parts, skip what is known."""

import os
import platform
import time
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clusterkit import __version__
from clusterkit.decoding import decode_image
from clusterkit.embeddings import Embeddings, Failure
from clusterkit.engines import map_ahead
from clusterkit.errors import ClusterkitError, ImageError
from clusterkit.extractors import create_extractor
from clusterkit.extractors.base import Extraction, Extractor
from clusterkit.extractors.imagenet import top_classes
from clusterkit.images import ImageFolder, digest_bytes, read_bytes
from clusterkit.parts import Row
from clusterkit.paths import escape_path, unescape_path
from clusterkit.space import Space
from clusterkit.store import Store

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
    run = _Run(images, extractor, progress=progress)
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
    progress: bool = False,
) -> EmbedReport:
    """Embed images into a store, and only those that are new or changed.

    A file is known by its place, size and modification time, else by its digest: a moved or copied
    file keeps its vector.  Failures are tried again.  A run that was killed loses at most the part
    in hand, and the next run goes on from there.  The images of a damaged part are embedded again.

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
        run = _Run(images, extractor, space, progress=progress)
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


class _Run:
    """One pass over images: tells the known from the new, and embeds the new in batches.

    Attributes
    ----------
    embedded, reused : int
        Images that went through the network, and that kept the vector of an earlier run.
    failures : list of Failure
        Images that could not be embedded.
    """

    def __init__(
        self,
        images: ImageFolder,
        extractor: Extractor,
        space: Space | None = None,
        *,
        progress: bool = False,
    ) -> None:
        self.images = images
        self.extractor = extractor
        self.space = space
        self.root = space.root_of(images.root) if space else str(images.root)
        self.known = space.known_rows() if space else {}
        self.file_of_digest = {
            row.digest: file for file, row in self.known.items() if row.error is None
        }
        self.embedded = self.reused = 0
        self.failures: list[Failure] = []
        self.bar = tqdm(
            total=len(images), desc="Embedding", unit=" images", disable=None if progress else True
        )

    def rows(self) -> Iterator[Row]:
        """Yield a row for each image that is new, changed, moved, or failed differently."""
        with self.bar:
            # One batch in the network, one ready, one being filled.  The network has a thread of
            # its own, so that it computes while rows are written.
            batches = map_ahead(self._extract, self._batches(), ahead=3, workers=1)
            for batch, extraction in batches:
                for loaded in batch.settled:
                    yield from self._settle(loaded)
                if extraction is not None:
                    yield from self._finish(batch.images, extraction)

    def _batches(self) -> Iterator["_Batch"]:
        """Read the new files ahead, in batches for the network."""
        load = partial(
            _load,
            root=self.root,
            size=self.extractor.image_size,
            resize=self.extractor.resize,
            known_digests=self.file_of_digest.keys(),
        )
        full = self.extractor.full_batch
        batch = _Batch()
        for loaded in map_ahead(load, self._new_files(), ahead=2 * full):
            (batch.settled if loaded.image is None else batch.images).append(loaded)
            if len(batch.images) == full:
                yield batch
                batch = _Batch()
            elif len(batch.settled) == full:
                # What needs no network does not wait for it, nor fill the memory.
                yield _Batch(settled=batch.settled)
                batch.settled = []
        if batch.images or batch.settled:
            yield batch

    def _new_files(self) -> Iterator[tuple[str, str]]:
        """Yield path and file of each image that is not known as it is."""
        for path in self.images.paths:
            file = os.path.join(self.images.root, path)  # noqa: PTH118
            known = self.known.get(os.path.normpath(file))
            if known and known.error is None and _status(file) == (known.size, known.mtime_ns):
                self.reused += 1
                self.bar.update()
            else:
                yield path, file

    def _extract(self, batch: "_Batch") -> tuple["_Batch", Extraction | None]:
        """Run the network on a batch, in the network's thread."""
        if not batch.images:
            return batch, None
        images = np.stack([loaded.image for loaded in batch.images if loaded.image is not None])
        return batch, self.extractor.extract(images)

    def _finish(self, images: list["_Loaded"], extraction: Extraction) -> Iterator[Row]:
        """Give the images their vectors."""
        vectors, probabilities = extraction
        top5 = [None] * len(images) if probabilities is None else top_classes(probabilities)
        for loaded, vector, classes in zip(images, vectors, top5, strict=True):
            loaded.row.vector, loaded.row.top5 = vector, classes
            self.embedded += 1
            self.bar.update()
            yield loaded.row

    def _settle(self, loaded: "_Loaded") -> Iterator[Row]:
        """Finish an image that needs no network: a failure, or content that is known."""
        row, known = loaded.row, self.known.get(os.path.normpath(loaded.file))
        if row.error is not None:
            self.failures.append(Failure(loaded.path, row.error))
            self.bar.set_postfix(failed=len(self.failures))
            if known and (known.error, known.size, known.mtime_ns) == (
                row.error,
                row.size,
                row.mtime_ns,
            ):
                self.bar.update()
                return
        elif self.space is not None:
            source = self.file_of_digest[row.digest]
            row.vector, row.top5, row.width, row.height = self.space.read_row(self.known[source])
            self.reused += 1
        self.bar.update()
        yield row


@dataclass
class _Loaded:
    """A file that was read: its row, and the picture where the network must see it."""

    path: str
    file: str
    row: Row
    image: NDArray[np.uint8] | None = None


@dataclass
class _Batch:
    """Files that go through the run together: for the network, and those that need none."""

    images: list[_Loaded] = field(default_factory=list)
    settled: list[_Loaded] = field(default_factory=list)


def _load(
    path_and_file: tuple[str, str],
    *,
    root: str,
    size: tuple[int, int],
    resize: str,
    known_digests: Container[str | None],
) -> _Loaded:
    """Read one file, and decode it unless its content is known."""
    path, file = path_and_file
    row = Row(escape_path(path), root)
    loaded = _Loaded(path, file, row)
    try:
        row.size, row.mtime_ns = _status(file)
        data = read_bytes(file)
        if _status(file) != (row.size, row.mtime_ns) or len(data) != row.size:
            raise ImageError("the file changed while it was read")
        row.digest = digest_bytes(data)
        if row.digest not in known_digests:
            loaded.image, (row.height, row.width) = decode_image(data, size, resize=resize)
    except ImageError as error:
        row.error = str(error)
    return loaded


def _status(file: str) -> tuple[int | None, int | None]:
    """Return size and modification time of a file; None for a file that is not there."""
    try:
        status = os.stat(file)  # noqa: PTH116
    except OSError:
        return None, None
    return status.st_size, status.st_mtime_ns
