"""Find image files and read them as upright RGB uint8 arrays."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import (
    ClusterkitWarning,
    ImageError,
    InvalidInputError,
    NotFoundError,
    RemoteError,
    UnreachableError,
)
from clusterkit.images.decoding import decode_image
from clusterkit.utils.arguments import as_list
from clusterkit.utils.locations import (
    RemotePath,
    absolute,
    as_path,
    common_folder,
    is_address,
    join,
)

IMAGE_SUFFIXES = frozenset(
    [
        ".apng",
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".hif",
        ".j2c",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpc",
        ".jpe",
        ".jpeg",
        ".jpf",
        ".jpg",
        ".jpx",
        ".mpo",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
# The manifest of a sorted folder, see :mod:`clusterkit.routing.manifest`.
MANIFEST_NAME = "clusterkit-manifest.jsonl"
LIST_SUFFIXES = frozenset({".txt", ".lst"})
_TABLE_SUFFIXES = frozenset({".csv", ".json", ".jsonl", ".npz", ".parquet", ".tsv", ".xlsx"})
RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef "  # noqa: SIM905
    ".raf .raw .rw2 .rwl .sr2 .srf .srw .x3f".split()
)
VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .insv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .webm .wmv".split()  # noqa: SIM905
)
# System folders for thumbnails, resource forks and deleted files.
SYSTEM_FOLDERS = frozenset(
    {
        "#recycle",
        "$recycle.bin",
        "@eadir",
        "@recycle",
        "@tmp",
        "__macosx",
        "lost+found",
        "system volume information",
    }
)
# Limit for files such as videos or disk images with an image suffix.
MAX_FILE_BYTES = 2**30


class ImageFolder(Sequence[NDArray[np.uint8]]):
    """A lazy list of image files: those of folders are sorted, given files keep their order.

    Folders are searched recursively for the known image suffixes, ignoring case.  Hidden files and
    folders and system folders for thumbnails (``@eaDir``, ``__MACOSX``) are skipped; subfolders
    that cannot be listed are skipped with a warning.  Links are followed, but a file with several
    paths is listed once, under the path without a link.  Files given directly may have any suffix,
    and a ``.txt`` or ``.lst`` file is read as a list of paths, one per line, relative to its own
    folder.

    All of these may be addresses on object storage, see
    :class:`~clusterkit.utils.locations.RemotePath`.

    Parameters
    ----------
    *sources : path or iterable of paths
        Folders, image files and lists of paths; also addresses such as ``s3://bucket/photos``.
    exclude : str or iterable of str
        Patterns of files and folders to skip, as in a ``.gitignore``: ``*``, ``?`` and ``[]`` match
        within a name, ``**`` matches any folders.  A pattern without a slash, such as
        ``*_small.jpg``, is matched against the name of each file and folder; others, such as
        ``2019/raw`` or ``**/raw/*.tif``, against the path below the folder.  The content of
        excluded folders is excluded as well.

    Attributes
    ----------
    root : pathlib.Path or RemotePath
        Absolute path of the folder if only one is given, otherwise of the nearest common folder.
    paths : list of str
        Unique paths of the images relative to ``root``, with forward slashes; sorted, unless only
        files are given.
    passed_over : collections.Counter
        Number of skipped entries of the folders by kind: ``"RAW photo"``, ``"video"``,
        ``"other file"``, ``"hidden entry"``, ``"system folder"``, ``"excluded entry"`` and
        ``"second path to a file or folder"``.

    Raises
    ------
    NotFoundError
        If a source does not exist.
    InvalidInputError
        If there are no images, or a source cannot be listed.

    Examples
    --------
    >>> images = ImageFolder("data/digits")
    >>> images.paths[0], images[0].shape
    ('0/digit_0000.png', (32, 32, 3))
    """

    def __init__(
        self, *sources: str | Path | Iterable[str | Path], exclude: str | Iterable[str] = ()
    ) -> None:
        flat = list(_flatten(sources))
        if not flat:
            raise InvalidInputError("ImageFolder needs at least one folder or file. Received: none")
        listing = _Listing(exclude)
        for source in flat:
            listing.add(source)
        files = listing.finish()
        self.passed_over = listing.passed_over
        if not files:
            names = ", ".join(str(source) for source in flat)
            raise InvalidInputError(
                f"no images in {names} (looked for {' '.join(sorted(IMAGE_SUFFIXES))}"
                f"{_in_words(self.passed_over, '; passed over: ')})"
            )
        self.root = _common_root(flat, files)
        root = str(self.root)
        prefix = len(root) if root.endswith(os.sep) else len(root) + 1
        self.paths = [file[prefix:].replace(os.sep, "/") for file in files]
        self._listed = {file[prefix:]: status for file, status in listing.statuses.items()}

    @classmethod
    def _from_paths(
        cls, root: Path, paths: list[str], listed: dict[str, FileStatus] | None = None
    ) -> ImageFolder:
        """Return a subset without searching again."""
        images = cls.__new__(cls)
        images.root, images.paths, images.passed_over = root, paths, Counter()
        images._listed = listed or {}
        return images

    @property
    def passed_over_in_words(self) -> str:
        """Summary of skipped entries, such as ``"3 RAW photos, 1 video"``; empty if none."""
        return _in_words(self.passed_over)

    @property
    def files(self) -> list[Path]:
        """Absolute paths of all images, in order."""
        return [self.root / path for path in self.paths]

    def status_of(self, path: str) -> FileStatus:
        """Return the status of an image; on object storage as it was when the folder was listed."""
        return self._listed.get(path) or FileStatus.of(join(self.root, path))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int]:
        """(number of images,), for scikit-learn's indexing."""
        return (len(self),)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice | Sequence[Any] | NDArray[Any]) -> ImageFolder: ...
    def __getitem__(self, index: Any) -> NDArray[np.uint8] | ImageFolder:
        """Read one image in its original size, or select a subset without reading.

        A subset is selected by a slice, row numbers or a boolean mask.
        """
        if isinstance(index, tuple) and index[1:] == (Ellipsis,):
            index = index[0]
        if isinstance(index, int | np.integer):
            return read_image(self.root / self.paths[index])
        rows = np.arange(len(self))
        rows = rows[index if isinstance(index, slice) or len(index) else []]
        paths = [self.paths[row] for row in rows]
        listed = {path: self._listed[path] for path in paths if path in self._listed}
        return self._from_paths(self.root, paths, listed)

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.root)!r}, {len(self):,} images)"


def as_image_folder(images: Any) -> ImageFolder:
    """Return an ImageFolder itself, or that of a path or of several."""
    return images if isinstance(images, ImageFolder) else ImageFolder(images)


def read_image(
    path: str | Path, size: tuple[int, int] | None = None, *, resize: str = "stretch"
) -> NDArray[np.uint8]:
    """Read one image file as an upright RGB array.

    Parameters
    ----------
    path : path
        The file.
    size : tuple of int, optional
        Target (height, width) in pixels; by default the original size.
    resize : {"stretch", "crop", "pad"}
        How the image is resized to ``size``; see :func:`~clusterkit.images.resizing.resize_image`.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        The image.

    Raises
    ------
    ImageError
        If the file cannot be read as an image; the message is the reason.
    InvalidInputError
        If ``size`` or ``resize`` is invalid.
    """
    return decode_image(read_bytes(path), size, resize=resize)[0]


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a regular file, or raise ImageError with the reason.

    Raises
    ------
    ImageError
        If the file cannot be read.
    UnreachableError
        If it is on object storage that cannot be reached, as then are all others.
    """
    path = as_path(path)
    if isinstance(path, RemotePath):
        return _read_object(path)
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            _check_size(size)
            # Read at most the announced size: virtual files may be endless.
            return file.read(size)
    except FileNotFoundError:
        if path.is_symlink():
            raise ImageError("the link points to a file that does not exist") from None
        raise ImageError("the file does not exist") from None
    except PermissionError:
        raise ImageError("no permission to read the file") from None
    except MemoryError:
        raise ImageError("not enough memory to read the file") from None
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from error
    except ImageError:
        raise
    except ValueError as error:  # a null byte in the path
        raise ImageError(f"cannot be read: {error}") from error


def _read_object(path: RemotePath) -> bytes:
    """Return the bytes of a file on object storage."""
    try:
        with path.open() as file:
            _check_size(file.size())
            return bytes(file.read())
    except UnreachableError:
        raise
    except NotFoundError:
        raise ImageError("the file does not exist") from None
    except RemoteError as error:
        raise ImageError(f"cannot be read: {error}") from error


def _check_size(size: int) -> None:
    """Check that a file is not too large for an image."""
    if size > MAX_FILE_BYTES:
        raise ImageError(f"the file has {size:,} bytes; {MAX_FILE_BYTES:,} are allowed")


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file for reading, without blocking on other kinds of files.

    Raises
    ------
    ImageError
        If it is a folder, a pipe, a socket or a device.
    OSError
        If it cannot be opened.
    """
    # Checked before, because opening a device may have side effects, and again after, because the
    # file may have changed in between.
    mode = os.stat(path).st_mode  # noqa: PTH116
    if not stat.S_ISREG(mode):
        raise ImageError("a folder, not an image" if stat.S_ISDIR(mode) else "not a regular file")
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ImageError("not a regular file")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file in non-blocking mode."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def digest_bytes(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    if is_address(path):
        return digest_bytes(read_bytes(path))
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FileStatus(NamedTuple):
    """Status of a file, which changes with its content; values beyond 64 bits are None."""

    size: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    inode: int | None = None

    @classmethod
    def of(cls, file: str | os.PathLike[str]) -> FileStatus:
        """Return the status of a file; all None if it does not exist."""
        if is_address(file):
            try:
                found = as_path(file).stat()
            except NotFoundError:
                return cls()
            return cls.of_object(found.st_size, found.st_mtime_ns)
        try:
            status = os.stat(file)  # noqa: PTH116
        except OSError:
            return cls()
        values = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        # Some files have dates such as 1601 or 2300, and some inodes exceed 63 bits.
        return cls(*(value if -(2**63) <= value < 2**63 else None for value in values))

    @classmethod
    def of_object(cls, size: int | None, mtime_ns: int | None) -> FileStatus:
        """Return the status of a file on object storage; all None without a time."""
        return cls(size, mtime_ns) if mtime_ns else cls()


def digest_weights(path: str | Path) -> str:
    """Return the SHA-256 of a weights file, cached until it changes."""
    return _digest_once(absolute(path), FileStatus.of(path))


@lru_cache(maxsize=64)
def _digest_once(path: str, status: FileStatus) -> str:
    """Return the digest of a file with this status."""
    return digest_file(path)


def read_list(source: Path) -> Iterator[str]:
    """Yield the absolute paths of a list file, one per line, relative to its own folder.

    Raises
    ------
    InvalidInputError
        If the list is not text.  Whether its files exist is not checked.
    """
    try:
        # utf-8-sig: Windows editors write a byte order mark.
        text = source.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise InvalidInputError(f"cannot read {source}: {error.strerror}") from error
    if "\0" in text:
        raise InvalidInputError(f"{source} is not a list of paths: it holds binary data, or UTF-16")
    for line in text.split("\n"):
        if line.strip():
            yield absolute(join(source.parent, line))


def is_passed_over(name: str) -> bool:
    """Return whether a folder name is that of a hidden or system folder."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def _flatten(sources: Iterable[Any]) -> Iterator[Path]:
    """Yield every source as a path, whatever the nesting."""
    for source in sources:
        if isinstance(source, str | os.PathLike):
            yield as_path(source)
        elif isinstance(source, np.ndarray) and source.ndim > 1:
            raise InvalidInputError(
                f"a source of images must be a path. Received: pixels of shape {source.shape}"
            )
        elif isinstance(source, Iterable):
            yield from _flatten(source)
        else:
            raise InvalidInputError(f"a source of images must be a path. Received: {source!r}")


class _Listing:
    """Folder search: first without links, then following them."""

    def __init__(self, exclude: str | Iterable[str]) -> None:
        self.files: set[str] = set()
        # The given files in order; None once a folder is among the sources.
        self._given: list[str] | None = []
        # Status of what was listed on object storage, where each request is slow.
        self.statuses: dict[str, FileStatus] = {}
        self.passed_over: Counter[str] = Counter()
        self._exclude = [_parse_pattern(pattern) for pattern in as_list(exclude)]
        self._searched: set[tuple[int, int]] = set()
        # Pairs of a path and its parts below the given folder.
        self._linked_folders: list[tuple[str, tuple[str, ...]]] = []
        self._linked_files: set[str] = set()

    def add(self, source: Path) -> None:
        """Add the files of one source."""
        path = absolute(source)  # resolve() would replace links
        if source.is_dir():
            self._given = None
            if isinstance(source, RemotePath):
                self._search_objects(source)
            elif os.path.realpath(path) == path:
                self._search(path, ())
            else:
                self._linked_folders.append((path, ()))
        elif not _is_there(source):
            raise NotFoundError(f"no such file or folder: {source}")
        elif source.suffix.lower() in LIST_SUFFIXES:
            self._add_files(read_list(source))
        elif source.suffix.lower() in _TABLE_SUFFIXES:
            raise InvalidInputError(
                f"{source} is a table, not an image; give a folder, images, or a list of paths (a "
                "file .txt with one path per line)"
            )
        else:
            self._add_files([path])

    def _add_files(self, paths: Iterable[str]) -> None:
        """Add given files."""
        paths = list(paths)
        self.files.update(paths)
        if self._given is not None:
            self._given += paths

    def finish(self) -> list[str]:
        """Follow links, and return all files: sorted, or as given if no folder was searched."""
        while self._linked_folders:
            # Folders given by the user come before links found in the search.
            self._linked_folders.sort(key=lambda item: (bool(item[1]), item[0]), reverse=True)
            self._search(*self._linked_folders.pop(), is_linked=True)
        if self._linked_files:
            folder_of = cache(os.path.realpath)
            real = {
                os.path.join(folder_of(os.path.dirname(file)), os.path.basename(file))  # noqa: PTH118, PTH119, PTH120
                for file in self.files
                if not is_address(file)
            }
            for file in sorted(self._linked_files - self.files):
                target = os.path.realpath(file)
                if target in real:
                    self.passed_over["second path to a file or folder"] += 1
                else:
                    real.add(target)
                    self.files.add(file)
        # Labels and other columns of a table belong to its files by their order.
        return sorted(self.files) if self._given is None else list(dict.fromkeys(self._given))

    def _search(self, top: str, place: tuple[str, ...], *, is_linked: bool = False) -> None:
        """Collect the image files below a folder, deferring links to folders."""
        waiting = [(top, place)]
        while waiting:
            folder, place = waiting.pop()
            try:
                status = os.stat(folder)  # noqa: PTH116 (a million files: no Path object for each)
                identity = (status.st_dev, status.st_ino)
                # Inodes of folders are not reliable on all systems, so only folders reached by a
                # link are skipped as duplicates.
                if is_linked and identity in self._searched:
                    self.passed_over["second path to a file or folder"] += 1
                    continue
                with os.scandir(folder) as entries:
                    self._searched.add(identity)
                    for entry in entries:
                        self._sort_in(entry, place, waiting)
            except OSError as error:
                if not place:
                    raise InvalidInputError(f"cannot list {folder}: {error.strerror}") from error
                warnings.warn(
                    f"left out {folder}: {error.strerror}", ClusterkitWarning, stacklevel=5
                )

    def _sort_in(
        self,
        entry: os.DirEntry[str],
        place: tuple[str, ...],
        waiting: list[tuple[str, tuple[str, ...]]],
    ) -> None:
        """Process one entry of a folder."""
        place = (*place, entry.name)
        is_folder = not entry.name.startswith(".") and _is_folder(entry)
        if self._passes_over(place, is_folder=is_folder):
            return
        if is_folder:
            todo = self._linked_folders if _is_link(entry) else waiting
            todo.append((entry.path, place))
        else:
            (self._linked_files if entry.is_symlink() else self.files).add(entry.path)

    def _search_objects(self, top: RemotePath) -> None:
        """Collect the image files below a folder on object storage, from one listing."""
        entered = {"": True}

        def is_entered(folder: str) -> bool:
            """Return whether a folder is searched, and count it once if it is not."""
            if folder not in entered:
                entered[folder] = is_entered(folder.rpartition("/")[0]) and not self._passes_over(
                    tuple(folder.split("/")), is_folder=True
                )
            return entered[folder]

        for found in top.list_files():
            place = tuple(found.path.split("/"))
            if is_entered(found.path.rpartition("/")[0]) and not self._passes_over(
                place, is_folder=False
            ):
                file = f"{top}/{found.path}"
                self.files.add(file)
                self.statuses[file] = FileStatus.of_object(found.size, found.mtime_ns)

    def _passes_over(self, place: tuple[str, ...], *, is_folder: bool) -> bool:
        """Return whether an entry of a folder is left out, and count it."""
        name = place[-1]
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        if name.startswith("."):
            kind = "hidden entry"
        elif is_folder and is_passed_over(name):
            kind = "system folder"
        elif self._exclude and _fits_one(place, self._exclude, is_folder=is_folder):
            kind = "excluded entry"
        elif is_folder or suffix in IMAGE_SUFFIXES:
            return False
        elif suffix in RAW_SUFFIXES:
            kind = "RAW photo"
        elif suffix in VIDEO_SUFFIXES:
            kind = "video"
        else:
            kind = "other file"
        self.passed_over[kind] += 1
        return True


def match_paths(paths: Iterable[str], patterns: str | Iterable[str]) -> list[bool]:
    """Return which paths fit a pattern, or are in a folder that does.

    Parameters
    ----------
    paths : iterable of str
        Files, with forward slashes.
    patterns : str or iterable of str
        Patterns as for ``exclude`` of :class:`ImageFolder`.

    Raises
    ------
    InvalidInputError
        If a pattern is invalid.

    Examples
    --------
    >>> match_paths(["2019/a.jpg", "2020/a.jpg"], ["2019/"])
    [True, False]
    """
    parsed = [_parse_pattern(pattern) for pattern in as_list(patterns)]
    return [_is_within(tuple(path.split("/")), parsed) for path in paths]


def _is_within(path: tuple[str, ...], patterns: list[tuple[list[str], bool]]) -> bool:
    """Return whether a file or one of its folders fits a pattern."""
    lengths = range(1, len(path) + 1)
    return any(_fits_one(path[:n], patterns, is_folder=n < len(path)) for n in lengths)


def _fits_one(
    path: tuple[str, ...], patterns: list[tuple[list[str], bool]], *, is_folder: bool
) -> bool:
    """Return whether a path fits one of several patterns."""
    return any(
        (is_folder or not folders_only) and _fits(path, pattern)
        for pattern, folders_only in patterns
    )


def _parse_pattern(pattern: str) -> tuple[list[str], bool]:
    """Split a pattern at its slashes; return also whether it matches folders only."""
    text = str(pattern).replace(os.sep, "/").strip()
    pieces = [piece for piece in text.split("/") if piece not in ("", ".")]
    if not pieces or ".." in pieces:
        raise InvalidInputError(
            f"a pattern must name files or folders below the folder. Received: {pattern!r}"
        )
    anywhere = "/" not in text.rstrip("/")
    return ["**", *pieces] if anywhere else pieces, text.endswith("/")


def _fits(path: tuple[str, ...], pattern: list[str]) -> bool:
    """Return whether a path matches a pattern; ``**`` matches any number of folders."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return (not pattern[1:] and bool(path)) or any(
            _fits(path[start:], pattern[1:]) for start in range(len(path))
        )
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _fits(path[1:], pattern[1:])


def _in_words(counts: Counter[str], start: str = "") -> str:
    """Return counts as text, in descending order; empty if there are none."""
    plural = {"hidden entry": "hidden entries", "excluded entry": "excluded entries"}
    plural["second path to a file or folder"] = "second paths to a file or folder"
    said = [
        f"{n:,} {kind if n == 1 else plural.get(kind, kind + 's')}"
        for kind, n in counts.most_common()
    ]
    return start + ", ".join(said) if said else ""


def _is_there(path: Path) -> bool:
    """Return whether the file exists, or is a link without a target.

    Raises
    ------
    NotFoundError
        If the bucket does not exist.
    """
    if not isinstance(path, RemotePath):
        return os.path.lexists(path)
    if path.exists():
        return True
    path.check_bucket()
    return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a symbolic link or a Windows junction."""
    if entry.is_symlink():
        return True
    tag = getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0) if os.name == "nt" else 0
    return tag == 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT


def _common_root(sources: list[Path], files: list[str]) -> Path:
    """Return the common folder of the images."""
    if len(sources) == 1 and sources[0].is_dir():
        return as_path(absolute(sources[0]))
    folders = {os.path.dirname(file) for file in files}  # noqa: PTH120
    try:
        return as_path(common_folder(folders))
    except ValueError:
        raise InvalidInputError(
            "images on different drives or in different buckets have no common folder: use a "
            "separate run for each"
        ) from None
