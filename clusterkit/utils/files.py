"""Write result files atomically, and overwrite only on request."""

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from clusterkit.errors import InvalidInputError, NotFoundError, OutputExistsError
from clusterkit.utils.locations import RemotePath, as_path

# Defined here so that the command line need not load the store.
DEFAULT_STORE = ".clusterkit"
# Name of the file that locks its folder.
LOCK_NAME = ".clusterkit.lock"
# How errors name the permission to overwrite.
OVERWRITE = "--overwrite (overwrite=True in Python)"


def check_output(path: str | Path, *, overwrite: bool = False) -> Path:
    """Check that an output file can be written.

    Parameters
    ----------
    path : path
        The output file.
    overwrite : bool
        Whether to overwrite an existing file.

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
    InvalidInputError
        If it may not be written, is on object storage, is a device, a pipe or ``-``, or is no path,
        such as an open file.
    """
    path = as_path(path, "the output")
    if isinstance(path, RemotePath):
        raise InvalidInputError(f"{path} is on object storage: name a file on this machine")
    if str(path) == "-":
        raise InvalidInputError(
            "results are files: name one, or print one with --json. Received: -"
        )
    if not path.parent.is_dir():
        raise NotFoundError(f"no such folder: {path.parent}")
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder; name a file")
    if path.exists() and not path.is_file():
        # Such as /dev/stdout: a new file would take its place, for all programs.
        raise InvalidInputError(f"{path} is a device or pipe, not a regular file: name another")
    if os.path.lexists(path) and not overwrite:
        raise OutputExistsError(f"{path} exists; name another file, or allow it with {OVERWRITE}")
    if not os.access(path.parent, os.W_OK):
        raise InvalidInputError(f"no permission to write in {path.parent.absolute()}")
    return path


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a file atomically; text is encoded as UTF-8.

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
def atomic_file(path: Path, *, folder: Path | None = None) -> Iterator[Path]:
    """Context manager with a temporary file that is renamed to ``path`` at the end.

    The file and its folder are flushed to disk, so that after a power loss ``path`` is either the
    old or the complete new file.  If the block raises, ``path`` is not changed.  On object storage,
    where files appear whole, the temporary file is on this machine and is sent at the end.

    Parameters
    ----------
    path : pathlib.Path
        The final file, which may be on object storage; an existing file is replaced.
    folder : pathlib.Path, optional
        Folder of the temporary file, on the same disk; by default that of ``path``.

    Yields
    ------
    pathlib.Path
        A hidden file name with the same suffix.
    """
    # Shortened, since the length of a name in bytes is limited.
    stem = path.stem.encode("utf-8", "surrogateescape")[:100].decode("utf-8", "ignore")
    name = f".{stem}.{os.getpid()}-{threading.get_ident()}.tmp{path.suffix}"
    if isinstance(path, RemotePath):
        with TemporaryDirectory() as place:
            temporary = Path(place, name)
            yield temporary
            path.write_bytes(temporary.read_bytes())
        return
    temporary = (folder or path.parent) / name
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def touch(path: Path) -> None:
    """Set the time of the last change of a file to now."""
    if isinstance(path, RemotePath):
        path.write_bytes(path.read_bytes())
    else:
        os.utime(path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Context manager with a temporary folder that is renamed to ``path`` at the end.

    If ``path`` exists by then, because another process made it meanwhile, that one stays.

    Parameters
    ----------
    path : pathlib.Path
        The final folder; the folders above it are made.

    Yields
    ------
    pathlib.Path
        An empty hidden folder beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=path.parent))
    try:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(folder: Path, *, doing: str = "sorting files", name: str = LOCK_NAME) -> Iterator[None]:
    """Lock a folder against other runs, which are ``doing`` something in it.

    Runs with another ``name`` of the lock's file may work in it meanwhile.

    Raises
    ------
    InvalidInputError
        If another process is using it, or it cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InvalidInputError(
            f"another run is {doing} in {folder}: wait for it to end, then run again"
        ) from None
    except OSError as error:
        raise InvalidInputError(f"cannot write in {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        # Removed while locked: filelock from 4.0 detects that the locked file no longer has that
        # name.  On Windows an open file cannot be removed, and the empty file remains.
        try:
            with suppress(OSError):
                Path(lock.lock_file).unlink(missing_ok=True)
        finally:
            # Also at Ctrl-C: a notebook lives on, and would keep the folder locked.
            lock.release()


def locked_output(path: Path) -> AbstractContextManager[None]:
    """Lock a file that will be written at the end of a long run, which holds it from its start."""
    return locked(path.parent, doing=f"writing {path.name}", name=f".{path.name}.lock")


def flush(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk.

    Folders are skipped if that is not supported: on Windows, on some network file systems, and for
    folders that are writable but not readable.
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
