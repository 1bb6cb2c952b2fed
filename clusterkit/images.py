"""Find image files and read them as upright RGB uint8 arrays."""

import hashlib
import os
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from clusterkit.decoding import decode_image
from clusterkit.errors import ImageError, InvalidInputError, NotFoundError

IMAGE_SUFFIXES = frozenset(
    [
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
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
LIST_SUFFIXES = frozenset({".txt", ".lst"})
# A film or a disk image under an image's name would fill the memory.
MAX_FILE_BYTES = 2**30


class ImageFolder(Sequence[NDArray[np.uint8]]):
    """A sorted, lazy list of image files.

    Folders are searched recursively for the known image suffixes in any mix of case; hidden files
    and folders are passed over, linked folders are followed, and a folder inside that cannot be
    listed is left out with a warning.  A file that is named itself is taken whatever its suffix,
    and a ``.txt`` or ``.lst`` file is read as a list of paths, one a line, relative to the list's
    own folder.

    Parameters
    ----------
    *sources : path or iterable of paths
        Folders, image files and lists of paths.

    Attributes
    ----------
    root : pathlib.Path
        Absolute: the folder itself when only one is given, else the nearest common folder.
    paths : list of str
        The images relative to ``root``, with forward slashes, sorted, each once.

    Raises
    ------
    NotFoundError
        If a source does not exist.
    InvalidInputError
        If there is no image at all, or a source cannot be listed.

    Examples
    --------
    >>> images = ImageFolder("data/digits")
    >>> images.paths[0], images[0].shape
    ('0/digit_0000.png', (32, 32, 3))
    """

    def __init__(self, *sources: str | Path | Iterable[str | Path]) -> None:
        flat = list(_flatten(sources))
        if not flat:
            raise InvalidInputError("ImageFolder needs at least one folder or file. Received: none")
        files: set[str] = set()
        for source in flat:
            files.update(_expand(source))
        if not files:
            names = ", ".join(str(source) for source in flat)
            raise InvalidInputError(
                f"no images in {names} (looked for {' '.join(sorted(IMAGE_SUFFIXES))})"
            )
        self.root = _common_root(flat, files)
        prefix = len(os.path.join(self.root, ""))  # noqa: PTH118 (keeps a root of "/" right)
        self.paths = sorted(file[prefix:].replace(os.sep, "/") for file in files)

    @classmethod
    def _from_paths(cls, root: Path, paths: list[str]) -> "ImageFolder":
        """Build a part of a listing without searching again."""
        images = cls.__new__(cls)
        images.root, images.paths = root, paths
        return images

    @property
    def files(self) -> list[Path]:
        """Absolute paths of all images, in order."""
        return [self.root / path for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> "ImageFolder": ...
    def __getitem__(self, index: int | slice) -> "NDArray[np.uint8] | ImageFolder":
        """Read one image in its own size, or take a slice of the list without reading."""
        if isinstance(index, slice):
            return self._from_paths(self.root, self.paths[index])
        return read_image(self.root / self.paths[index])

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.root)!r}, {len(self)} images)"


def read_image(
    path: str | Path, size: tuple[int, int] | None = None, *, resize: str = "stretch"
) -> NDArray[np.uint8]:
    """Read one image file as an upright RGB array.

    Parameters
    ----------
    path : path
        The file.
    size : tuple of int, optional
        Wanted (height, width) in pixels; by default the image's own.
    resize : {"stretch", "crop", "pad"}
        How the picture becomes ``size``; see :func:`~clusterkit.resizing.resize_image`.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        The picture.

    Raises
    ------
    ImageError
        If the file cannot be read as an image; the message is the reason.
    """
    return decode_image(read_bytes(path), size, resize=resize)[0]


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a regular file, or raise ImageError with the reason."""
    path = Path(path)
    try:
        # A pipe or a device would block or never end.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(
                f"the file has {status.st_size:,} bytes; an image may have {MAX_FILE_BYTES:,}"
            )
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise ImageError("the link points to a file that does not exist") from None
        raise ImageError("the file does not exist") from None
    except PermissionError:
        raise ImageError("no permission to read the file") from None
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from error


def digest_bytes(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_list(source: Path) -> Iterator[str]:
    """Yield the absolute paths that a text file names, one a line, relative to its own folder.

    Raises
    ------
    InvalidInputError
        If the list is no text; whether its files are there is found out when they are read.
    """
    try:
        # utf-8-sig: Windows editors write a mark at the start.
        text = source.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise InvalidInputError(f"cannot read {source}: {error.strerror}") from error
    if "\0" in text:
        raise InvalidInputError(f"{source} is no list of paths: it holds binary data, or UTF-16")
    for line in text.split("\n"):
        if line.strip():
            yield os.path.abspath(source.parent / line)  # noqa: PTH100


def _flatten(sources: Iterable[Any]) -> Iterator[Path]:
    """Yield every source as a path, one level of nesting opened."""
    for source in sources:
        if isinstance(source, str | os.PathLike):
            yield Path(source)
        else:
            yield from (Path(item) for item in source)


def _expand(source: Path) -> Iterator[str]:
    """Yield the absolute paths of the images that one source names."""
    absolute = os.path.abspath(source)  # noqa: PTH100 (resolve() would replace links)
    if source.is_dir():
        yield from _walk(absolute)
    elif not os.path.lexists(absolute):
        raise NotFoundError(f"no such file or folder: {source}")
    elif source.suffix.lower() in LIST_SUFFIXES:
        yield from read_list(source)
    else:
        yield absolute


def _walk(top: str) -> Iterator[str]:
    """Yield image files below a folder; a linked folder that leads back up is not entered."""
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [(top, frozenset())]
    while waiting:
        folder, ancestors = waiting.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116 (a million files: no Path object for each)
            identity = (status.st_dev, status.st_ino)
            if identity in ancestors:
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if _is_folder(entry):
                        waiting.append((entry.path, ancestors | {identity}))
                    elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122
                        yield entry.path
        except OSError as error:
            if folder == top:
                raise InvalidInputError(f"cannot list {folder}: {error.strerror}") from error
            warnings.warn(f"left out {folder}: {error.strerror}", stacklevel=2)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder, or a link to one; a loop of links is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _common_root(sources: list[Path], files: set[str]) -> Path:
    """Return the folder that the images' paths are relative to."""
    if len(sources) == 1 and sources[0].is_dir():
        return Path(os.path.abspath(sources[0]))  # noqa: PTH100
    folders = {os.path.dirname(file) for file in files}  # noqa: PTH120
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:
        raise InvalidInputError(
            "images on different drives need a run each; their paths have no common folder"
        ) from None
