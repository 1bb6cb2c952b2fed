"""The work behind the endpoints: decode, compute and search, without blocking the event loop."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ClusterkitError, ImageError
from clusterkit.images.decoding import decode_image
from clusterkit.images.decoding_memory import LargeImageError
from clusterkit.images.folder import digest_bytes
from clusterkit.serve.batching import Batcher
from clusterkit.serve.indexing import Indexer
from clusterkit.serve.limits import Held, Limits, RefusedError
from clusterkit.serve.metrics import Metrics
from clusterkit.serve.networks import LoadedNetwork
from clusterkit.serve.page import PageKeeper
from clusterkit.serve.phases import Phases
from clusterkit.serve.served import Served, Sources
from clusterkit.serve.uploads import Upload
from clusterkit.similarity.catalogue import Catalogue
from clusterkit.similarity.similar import explain
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.parallel import count_cpus

if TYPE_CHECKING:
    from clusterkit.extractors.by_name import RememberedExtractor

T = TypeVar("T")
# Larger pictures are decoded in the background: PNGs from 6 megapixels on, but hardly any JPEG,
# since these are decoded in a smaller size.
_MAX_BYTES_AT_ONCE = 2**26
# Each explanation runs the network on dozens of pictures.
MAX_EXPLAINED = 8
_NO_NETWORK = (
    "pictures that are not in the store cannot be embedded, since the network that made its "
    "vectors is not known"
)
# Interval of measurements of the event loop's delay.
_LOOK_SECONDS = 0.1
_LOG = logging.getLogger("clusterkit.serve")


class _Busy(str):
    """Reason why a picture has no result, if it may have one later."""

    __slots__ = ()


class Service:
    """The work that the endpoints share.

    Parameters
    ----------
    sources : Sources
        The files.
    limits : Limits
        Limits of requests.
    phases : Phases
        Measures the time of the start.

    Attributes
    ----------
    served : Served
        The present state, which is replaced as a whole.
    """

    def __init__(self, sources: Sources, limits: Limits, phases: Phases) -> None:
        self.sources = sources
        self.limits = limits
        self.served: Served = sources.load(phases=phases)
        self.metrics = Metrics()
        self.held = Held(limits.held_bytes, "bytes")
        self.waiting = Held(limits.waiting, "pictures")
        self.large = Held(limits.large, "large pictures")
        self.large_bytes = Held(limits.held_bytes // 2, "large pictures")
        self.explaining = Held(MAX_EXPLAINED, "explanations")
        self.batcher = Batcher(self.metrics.batches.observe)
        # One more than there are CPUs: one may wait for a decoder in another process.
        self.decoders = ThreadPoolExecutor(count_cpus() + 1, "decode")
        self.large_decoder = ThreadPoolExecutor(1, "decode large")
        self.searcher = ThreadPoolExecutor(1, "search")
        # Separate, since others would wait for searches that compare all of many images.
        self.scanner = ThreadPoolExecutor(1, "scan")
        self.explainer = ThreadPoolExecutor(1, "explain")
        self.page = PageKeeper(sources)
        self.indexer = Indexer()
        self._explains_with: tuple[str, RememberedExtractor] | None = None

    def close(self) -> None:
        """End all threads after their present tasks."""
        self.indexer.close()
        for pool in (
            self.decoders,
            self.large_decoder,
            self.searcher,
            self.scanner,
            self.explainer,
        ):
            pool.shutdown()
        self.page.close()
        self.batcher.close()

    async def follow_changes(self, seconds: float) -> None:
        """Check regularly for changed files; load them in the background, and swap them in."""
        failed: Any = None
        told: Any = None
        while True:
            await asyncio.sleep(seconds)
            try:
                now = await asyncio.to_thread(self.sources.statuses)
                if now in (self.served.statuses, failed):
                    continue
                failed = now
                served = await asyncio.to_thread(self.sources.load, self.served)
                failed = told = None
                if self.served.catalogue is not None and self.served.catalogue.index is not None:
                    # The replacement must find neighbours as fast as the present state.
                    await self._index(served)
                self.served = served
                self.metrics.loads.labels("swapped").inc()
            except Exception as error:
                # The present state is kept; a file that is being written will change again.
                # A store that stays away is the same change at each look.
                if told != (failed, str(error)):
                    told = failed, str(error)
                    self.metrics.loads.labels("failed").inc()
                    _LOG.warning("a change was not taken over: %s", error)

    async def index_images(self, seconds: float) -> None:
        """Check regularly for many images without an index, and build it."""
        while True:
            await self._index(self.served)
            await asyncio.sleep(seconds)

    async def _index(self, served: Served) -> None:
        """Build the index of many images; until then, all are compared."""
        catalogue = served.catalogue
        if catalogue is not None and catalogue.needs_index:
            try:
                await asyncio.to_thread(self.indexer.build, catalogue)
            except (ClusterkitError, OSError) as error:
                _LOG.warning("%s; all images are compared", error)

    async def watch_loop(self) -> None:
        """Measure the delay of the event loop regularly."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LOOK_SECONDS
            await asyncio.sleep(_LOOK_SECONDS)
            self.metrics.lag.observe(max(0.0, loop.time() - due))

    async def compute(
        self, pictures: Sequence[Upload], network: LoadedNetwork
    ) -> list[NDArray[np.float32] | str]:
        """Return the network's value of each picture, or the reason why there is none.

        Raises
        ------
        RefusedError
            If too many pictures wait.
        """
        with self.waiting.holding(len(pictures)):
            found = await asyncio.gather(*(self._compute(one.data, network) for one in pictures))
        busy = [str(one) for one in found if isinstance(one, _Busy)]
        if busy and len(busy) == len(found):
            raise RefusedError(429, busy[0], retry_after=1)
        n_failed = sum(isinstance(one, str) for one in found)
        self.metrics.pictures.labels("failed").inc(n_failed)
        self.metrics.pictures.labels("computed").inc(len(found) - n_failed)
        return found

    async def _compute(self, data: bytes, network: LoadedNetwork) -> NDArray[np.float32] | str:
        """Return the network's value of a picture, or the reason why there is none.

        Large pictures are decoded one after the other, so that no other picture waits for them.
        """
        value = await self._decode_and_run(data, network)
        if value is None:
            try:
                with self.large.holding(1), self.large_bytes.holding(len(data)):
                    value = await self._decode_and_run(data, network, is_large=True)
            except RefusedError as error:
                return _Busy(error)
        if not isinstance(value, str) and not np.isfinite(value).all():
            return "the network's output contains NaN or infinity"
        return value

    async def _decode_and_run(
        self, data: bytes, network: LoadedNetwork, *, is_large: bool = False
    ) -> Any:
        """Decode a picture in a pool, and run the network on it with others.

        Returns its value, a reason, or None for a large picture unless ``is_large``.
        """
        options: dict[str, Any] = (
            {"in_background": True} if is_large else {"max_bytes": _MAX_BYTES_AT_ONCE}
        )
        future: Future[Any] = Future()

        def decode() -> None:
            try:
                pixels, _ = decode_image(data, network.size, resize=network.resize, **options)
            except BaseException as error:
                if not is_large:
                    self.batcher.expect(-1)
                if not future.set_running_or_notify_cancel():
                    return
                if isinstance(error, LargeImageError):
                    future.set_result(None)
                elif isinstance(error, ImageError):
                    # An exception would refer to the future, and both stay with the picture until
                    # the garbage collector comes.
                    future.set_result(str(error))
                else:
                    future.set_exception(error)
            else:
                if is_large:
                    self.batcher.expect(1)
                # From this thread, since going through the event loop would take longer.
                self.batcher.submit(network.run, pixels, future)

        # Other pictures do not wait for a slow decoding.
        if not is_large:
            self.batcher.expect(1)
        (self.large_decoder if is_large else self.decoders).submit(decode)
        return await asyncio.wrap_future(future)

    async def embed(
        self, pictures: Sequence[Upload], served: Served
    ) -> list[NDArray[np.float32] | str]:
        """Return the vector of each picture, or the reason why there is none."""
        if served.extractor is None:
            return [_NO_NETWORK] * len(pictures)
        return await self.compute(pictures, served.extractor)

    async def look_up(
        self, pictures: Sequence[Upload], served: Served
    ) -> tuple[list[NDArray[np.float32] | str], list[int | None]]:
        """Return the vector of each picture, and the row of the image with the same bytes.

        Known images need no network.
        """
        catalogue = served.catalogue
        assert catalogue is not None  # the endpoint exists only with a store
        rows = await self.run(self.decoders, lambda: [_row_of(one, catalogue) for one in pictures])
        new = [one for one, row in zip(pictures, rows, strict=True) if row is None]
        made = iter(await self.embed(new, served) if new else [])
        return [next(made) if row is None else catalogue.vectors[row] for row in rows], rows

    async def explain(
        self, pictures: Sequence[Upload], served: Served, row: int | None
    ) -> list[dict[str, Any] | str]:
        """Explain each picture and an image of the store, by default the nearest other one."""
        if len(pictures) > MAX_EXPLAINED:
            raise RefusedError(413, f"send at most {MAX_EXPLAINED} pictures to be explained")
        vectors, known = await self.look_up(pictures, served)
        found: list[dict[str, Any] | str] = []
        with self.explaining.holding(len(pictures)):
            for upload, vector, own in zip(pictures, vectors, known, strict=True):
                if isinstance(vector, str):
                    found.append(vector)
                    continue
                found.append(
                    await self.run(self.explainer, self._explain, upload, vector, own, row, served)
                )
        return found

    def _explain(
        self,
        upload: Upload,
        vector: NDArray[np.float32],
        own: int | None,
        row: int | None,
        served: Served,
    ) -> dict[str, Any] | str:
        """Explain one picture, in the explainer's thread."""
        from clusterkit.extractors.by_name import RememberedExtractor

        catalogue = served.catalogue
        assert catalogue is not None
        if row is None:
            _, rows = catalogue.nearest(vector[None], 2, exact=False)
            row = next((int(one) for one in rows[0] if one != own), int(rows[0][0]))
        if self._explains_with is None or self._explains_with[0] != catalogue.fingerprint:
            extractor = RememberedExtractor(catalogue.space, weights=self.sources.weights)
            self._explains_with = catalogue.fingerprint, extractor
        with tempfile.TemporaryDirectory(prefix="clusterkit-") as folder:
            # The name given by the client is not the name of a file.
            file = Path(folder, "picture")
            file.write_bytes(upload.data)
            query = Embeddings(
                vector[None], paths=[file.name], root=Path(folder), space=catalogue.space
            )
            try:
                explanation = explain(
                    query,
                    row,
                    catalogue.embeddings(),
                    extractor=self._explains_with[1],
                    random_state=0,
                )
            except ClusterkitError as error:
                return str(error).replace(str(folder), "")
        document = explanation.to_dict()
        for name in ("path_a", "path_b", "file_a", "file_b"):
            del document[name]
        named = {"id": catalogue.id_of(row), "path": catalogue.paths[row]}
        return named | _without(document, {folder: "", str(catalogue.root): ""})

    async def run(self, pool: ThreadPoolExecutor, function: Callable[..., T], *args: Any) -> T:
        """Run a function in a thread of a pool."""
        return await asyncio.get_running_loop().run_in_executor(pool, function, *args)


def _row_of(upload: Upload, catalogue: Catalogue) -> int | None:
    """Return the row of an image with the same bytes; None if there is none."""
    return next(iter(catalogue.rows_of_content(digest_bytes(upload.data))), None)


def _without(value: Any, replaced: dict[str, str]) -> Any:
    """Replace texts in all strings of a document, such as the paths of folders."""
    if isinstance(value, str):
        for old, new in replaced.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return {key: _without(one, replaced) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without(one, replaced) for one in value]
    return value
