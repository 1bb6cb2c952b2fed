"""The manifest of a sorted folder: what goes where, written before any file is touched."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from clusterkit.errors import InvalidInputError, NotFoundError
from clusterkit.files import write_whole
from clusterkit.routing.transfer import Transfer

MANIFEST_NAME = "clusterkit-manifest.jsonl"
_FORMAT = 1


@dataclass
class Manifest:
    """All transfers into one folder, from its first run on.

    One JSON document a line: first the format and the folders that were made, then one line per
    transfer.  It holds what is planned; what is done is seen on the disk itself, so that the two
    cannot disagree after a crash.

    Attributes
    ----------
    transfers : list of Transfer
        In the order in which they were planned.
    folders : list of str
        Folders that were made for them, relative to the sorted folder; ``"."`` is itself.
    """

    transfers: list[Transfer] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write the manifest into a sorted folder, whole or not at all."""
        lines: list[dict[str, Any]] = [{"clusterkit_manifest": _FORMAT, "folders": self.folders}]
        lines += [transfer._asdict() for transfer in self.transfers]
        write_whole(folder / MANIFEST_NAME, "".join(json.dumps(line) + "\n" for line in lines))


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a sorted folder.

    Raises
    ------
    NotFoundError
        If there is none.
    InvalidInputError
        If it is damaged, or of another format.
    """
    file = folder / MANIFEST_NAME
    try:
        first, *rest = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        if first["clusterkit_manifest"] != _FORMAT:
            raise InvalidInputError(
                f"{file} must have format {_FORMAT} for this version of clusterkit. "
                f"Received: {first['clusterkit_manifest']}"
            )
        manifest = Manifest([Transfer(**line) for line in rest], list(first["folders"]))
        inner = [PurePosixPath(t.target) for t in manifest.transfers]
        inner += [PurePosixPath(name) for name in manifest.folders]
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            f"no {MANIFEST_NAME} in {folder}: nothing was sorted into it, or all was taken back"
        ) from None
    except InvalidInputError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{file} is damaged: {error!r}") from error
    for path in inner:
        # A manifest that came with someone else's folder must not reach out of it.
        if path.is_absolute() or ".." in path.parts:
            raise InvalidInputError(f"{file} is damaged: {path} is not inside of its folder")
    return manifest


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a sorted folder.

    Raises
    ------
    InvalidInputError
        If another process is at work in it, or it cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".clusterkit.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InvalidInputError(
            f"another run is sorting files in {folder}: wait for it to end, then run again"
        ) from None
    except OSError as error:
        raise InvalidInputError(f"cannot write in {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        # Windows removes no open file; there the empty file stays.
        with suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
