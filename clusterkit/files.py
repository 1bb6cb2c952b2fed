"""Write result files: never over another without being asked, never half of one."""

import os
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
    data = content.encode() if isinstance(content, str) else content
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from error
