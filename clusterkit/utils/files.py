"""Write result files: never over another without being asked, never half of one."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusterkit.errors import InvalidInputError, NotFoundError, OutputExistsError

# Named here, since the command line shows it without loading the store.
DEFAULT_STORE = ".clusterkit"


def check_output(path: str | Path, *, overwrite: bool = False) -> Path:
    """Check, before any work is done, that a file can be written under this name.

    Parameters
    ----------
    path : path
        The file to be.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    NotFoundError
        If its folder does not exist.
    OutputExistsError
        If the file exists and ``overwrite`` is false, or the path is a folder.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise NotFoundError(f"no such folder: {path.parent}")
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder; name a file")
    if os.path.lexists(path) and not overwrite:
        raise OutputExistsError(f"{path} exists; name another file, or allow it with --overwrite")
    if not os.access(path.parent, os.W_OK):
        raise InvalidInputError(f"no permission to write in {path.parent.absolute()}")
    return path


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a file so that it appears whole or not at all; text is written as UTF-8.

    Raises
    ------
    InvalidInputError
        If it cannot be written.
    """
    path = Path(path)
    try:
        with atomic_file(path) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file that becomes ``path`` when the block ends.

    The file and its folder are flushed to the disk, so that after a power loss ``path`` is the old
    file or the new one, whole.  If the block raises, ``path`` stays as it was.

    Parameters
    ----------
    path : pathlib.Path
        The file to be; one that exists is replaced.

    Yields
    ------
    pathlib.Path
        A hidden name in the same folder, with the same suffix.
    """
    # The length of a name is limited, in bytes; the temporary one needs no more than a hint.
    stem = path.stem.encode("utf-8", "surrogateescape")[:100].decode("utf-8", "ignore")
    temporary = path.with_name(f".{stem}.{os.getpid()}-{threading.get_ident()}.tmp{path.suffix}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk.

    A folder is left to the system where that flushes none: Windows, some network file systems, or
    a folder that may be written but not listed.
    """
    is_folder = path.is_dir()
    if os.name == "nt" and is_folder:
        return
    try:
        descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):
            raise
