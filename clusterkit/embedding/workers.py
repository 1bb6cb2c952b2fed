"""One pass over images: skip known ones, decode ahead, embed in batches."""

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ImageError
from clusterkit.extractors.base import Extraction, Extractor
from clusterkit.extractors.imagenet import top_classes
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import FileStatus, ImageFolder, digest_bytes, read_bytes
from clusterkit.store.embeddings import Failure
from clusterkit.store.part_file import MAX_FLOAT16, Row
from clusterkit.store.space import KnownRow, Space
from clusterkit.store.space_files import FLOAT16
from clusterkit.utils.locations import is_gone, join, reading_workers
from clusterkit.utils.parallel import map_ahead
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import escape_path


@dataclass(frozen=True)
class Known:
    """What a store knows of images, before a run.

    Attributes
    ----------
    root : str
        The folder that the paths of new rows are relative to, as stored.
    rows : dict
        The row of each file, by absolute path.
    kept_of_digest : mapping
        Part and position of the vector of each content, by its digest.
    is_half : bool
        Whether vectors are kept as float16.
    """

    root: str
    rows: dict[str, KnownRow] = field(default_factory=dict)
    kept_of_digest: Mapping[str | None, tuple[str, int]] = field(default_factory=dict)
    is_half: bool = False

    @classmethod
    def of(cls, space: Space | None, images: ImageFolder, *, again: bool = False) -> "Known":
        """Read what a space knows; with ``again`` no vector counts as known."""
        if space is None:
            return cls(str(images.root))
        rows = space.known_rows()
        space.check_root(images.root, rows)
        kept = {
            row.digest: (row.part, row.position)
            for row in rows.values()
            if row.error is None and not again
        }
        return cls(space.root_of(images.root), rows, kept, space.numbers == FLOAT16)


class EmbedRun:
    """One pass over images that embeds the new ones in batches.

    Parameters
    ----------
    images : ImageFolder
        The images.
    extractor : Extractor
        The network.
    known : Known
        What is known of the images.
    of : ImageFolder, optional
        All images, if ``images`` are a shard of them: the runtime is chosen for their number, so
        that all shards are embedded alike.
    again : bool
        Whether to embed known images, too.
    progress : bool
        Whether to show a progress bar on stderr.

    Attributes
    ----------
    embedded, reused : int
        Number of images embedded by the network, and of those with a vector from an earlier run.
    failures : list of Failure
        Images that could not be embedded.
    """

    def __init__(
        self,
        images: ImageFolder,
        extractor: Extractor,
        known: Known,
        *,
        of: ImageFolder | None = None,
        again: bool = False,
        progress: bool = False,
    ) -> None:
        self.images = images
        self.all_images = images if of is None else of
        self.extractor = extractor
        self.known = known
        self.again = again
        self.embedded = self.reused = 0
        self.failures: list[Failure] = []
        self.bar = progress_bar(
            name="Embedding", total=len(images), unit=" images", enabled=progress
        )

    def rows(self) -> Iterator[Row]:
        """Yield a row for each image that is new, changed, moved, or failed for another reason."""
        with self.bar:
            # One batch in the network, one ready, one being filled.  The network runs in its own
            # thread while rows are written.
            batches = map_ahead(self._extract, self._batches(), ahead=3, workers=1)
            for batch, extraction in batches:
                for loaded in batch.settled:
                    yield from self._settle(loaded)
                if extraction is not None:
                    yield from self._finish(batch.images, extraction)

    def _batches(self) -> Iterator["_Batch"]:
        """Read new files ahead, in batches for the network.

        An empty batch comes with the first picture: the network is loaded while others are read.
        """
        load = partial(
            _load,
            status_of=self.images.status_of,
            root=self.known.root,
            size=self.extractor.image_size,
            resize=self.extractor.resize,
            known_digests=self.known.kept_of_digest.keys(),
            find_moved=self._find_moved,
        )
        full = self.extractor.full_batch
        batch = _Batch()
        is_prepared = False
        workers = reading_workers([self.images.root])
        for loaded in map_ahead(load, self.new_files(), ahead=2 * full, workers=workers):
            (batch.settled if loaded.image is None else batch.images).append(loaded)
            if batch.images and not is_prepared:
                yield _Batch(n_ahead=max(1, self._count_new()))
                is_prepared = True
            if len(batch.images) == full:
                yield batch
                batch = _Batch()
            elif len(batch.settled) == full:
                # Rows that need no network are yielded at once, to save memory.
                yield _Batch(settled=batch.settled)
                batch.settled = []
        if batch.images or batch.settled:
            yield batch

    @cached_property
    def _file_of_status(self) -> dict[FileStatus, str]:
        """The known file of each status that no other file can have."""
        return {
            row.status: file
            for file, row in self.known.rows.items()
            if row.error is None and not self.again and _is_unique(row.status)
        }

    def _find_moved(self, status: FileStatus) -> str | None:
        """Return the digest of a file in a folder that was moved, which keeps its whole status.

        A file that was itself renamed has another change time.  Its inode, size and time alone
        prove nothing: the next file may get the inode, archives give all files one time, and
        programs that edit tags keep it.
        """
        file = self._file_of_status.get(status)
        return self.known.rows[file].digest if file is not None and is_gone(file) else None

    def _count_new(self) -> int:
        """Return the number of images without a row, about as many as are to be embedded."""
        if self.again or not self.known.rows:
            return len(self.all_images)
        root = self.all_images.root
        return sum(join(root, path) not in self.known.rows for path in self.all_images.paths)

    def new_files(self) -> Iterator[tuple[str, str]]:
        """Yield path and file of each new or changed image, and count the others."""
        for path in self.images.paths:
            file = join(self.images.root, path)
            known = None if self.again else self.known.rows.get(file)
            # Missing files have no status, nor do some on object storage.
            if (
                known
                and known.error is None
                and known.size is not None
                and known.status == self.images.status_of(path)
            ):
                self.reused += 1
                self.bar.update()
            else:
                yield path, file

    def _extract(self, batch: "_Batch") -> tuple["_Batch", Extraction | None]:
        """Run the network on a batch, in its thread; load it for an empty one."""
        if batch.n_ahead:
            self.extractor.prepare(batch.n_ahead)
        if not batch.images:
            return batch, None
        images = np.stack([loaded.image for loaded in batch.images if loaded.image is not None])
        return batch, self.extractor.extract(images)

    def _finish(self, images: list["_Loaded"], extraction: Extraction) -> Iterator[Row]:
        """Add the vectors to the images."""
        vectors, probabilities = extraction
        top5 = [None] * len(images) if probabilities is None else top_classes(probabilities)
        for loaded, vector, classes in zip(images, vectors, top5, strict=True):
            if not np.isfinite(vector).all():
                loaded.row.error = "the network's output contains NaN or infinity"
                yield from self._settle(loaded)
                continue
            if self.known.is_half and np.abs(vector).max() > MAX_FLOAT16:
                loaded.row.error = (
                    f"the network's output exceeds {MAX_FLOAT16:.0f}, the largest of float16"
                )
                yield from self._settle(loaded)
                continue
            loaded.row.vector, loaded.row.top5 = vector, classes
            self.embedded += 1
            self.bar.update()
            yield loaded.row

    def _settle(self, loaded: "_Loaded") -> Iterator[Row]:
        """Finish an image that needs no network: a failure, or known content."""
        row, known = loaded.row, self.known.rows.get(loaded.file)
        if row.error is not None:
            self.failures.append(Failure(loaded.path, row.error))
            self.bar.set_postfix(failed=len(self.failures))
            status = FileStatus(row.size, row.mtime_ns, row.ctime_ns, row.inode)
            if known and (known.error, known.status) == (row.error, status):
                self.bar.update()
                return
        else:
            row.kept = self.known.kept_of_digest[row.digest]
            self.reused += 1
        self.bar.update()
        yield row


@dataclass
class _Loaded:
    """A file that was read: its row, and the pixels if they must be embedded."""

    path: str
    file: str
    row: Row
    image: NDArray[np.uint8] | None = None


@dataclass
class _Batch:
    """A batch of files, with and without need of the network.

    ``n_ahead`` is the number of images that are about to come, if the network is not loaded yet.
    """

    images: list[_Loaded] = field(default_factory=list)
    settled: list[_Loaded] = field(default_factory=list)
    n_ahead: int = 0


def _is_unique(status: FileStatus) -> bool:
    """Return whether a status identifies a single file.

    File systems with coarse times, such as FAT, and those of other systems over a network may give
    an inode to another file when they are mounted again.
    """
    return None not in status and status.ctime_ns is not None and status.ctime_ns % 10_000_000 != 0


def _load(
    path_and_file: tuple[str, str],
    *,
    status_of: Callable[[str], FileStatus],
    root: str,
    size: tuple[int, int],
    resize: str,
    known_digests: Container[str | None],
    find_moved: Callable[[FileStatus], str | None],
) -> _Loaded:
    """Read one file unless it was moved, and decode it unless its content is known."""
    path, file = path_and_file
    row = Row(escape_path(path), root)
    loaded = _Loaded(path, file, row)
    status = status_of(path)
    try:
        row.size, row.mtime_ns, row.ctime_ns, row.inode = status
        row.digest = find_moved(status)
        if row.digest in known_digests:
            return loaded
        data, status = _read_settled(file, status)
        row.size, row.mtime_ns, row.ctime_ns, row.inode = status
        row.digest = digest_bytes(data)
        if row.digest not in known_digests:
            loaded.image, (row.height, row.width) = decode_image(data, size, resize=resize)
    except ImageError as error:
        row.size, row.mtime_ns, row.ctime_ns, row.inode = status
        # The reason may quote bytes of the file that are not text.
        row.error = str(error).encode("utf-8", "backslashreplace").decode()
    return loaded


def _read_settled(file: str, status: FileStatus) -> tuple[bytes, FileStatus]:
    """Return the bytes of a file, and the status that belongs to them.

    Raises
    ------
    ImageError
        If the file cannot be read, or changes while it is.
    """
    # It may have changed since it was found, long ago for the last of a folder.
    for _ in range(2):
        before, data = status, read_bytes(file)
        status = FileStatus.of(file)
        if status == before and status.size in (None, len(data)):
            return data, status
    raise ImageError("the file changed while it was read")
