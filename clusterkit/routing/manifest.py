"""The manifest of a sorted folder, written before any file is touched."""

import json
import os
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from clusterkit.errors import InvalidInputError, NotFoundError
from clusterkit.images.folder import MANIFEST_NAME as MANIFEST_NAME
from clusterkit.routing.transfer import MODES, Transfer
from clusterkit.utils.arguments import as_list, as_plain
from clusterkit.utils.documents import NOTHING, NUMBER, TEXT, list_of, table_of
from clusterkit.utils.files import write_whole

_FORMAT = 1
_ORIGINS = list_of(table_of(TEXT | NUMBER | NOTHING))
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """All transfers into a folder since its first run.

    Stored as JSON lines: first the format and the created folders, then one line per transfer.  It
    contains only the plan; progress is determined from the files on disk, so that the two cannot
    disagree after a crash.

    Attributes
    ----------
    transfers : list of Transfer
        In the order of planning.
    folders : list of str
        Created folders, relative to the sorted folder; ``"."`` is the sorted folder itself.
    origins : list of dict
        Descriptions of the origin of the names of the folders, if known.
    """

    transfers: list[Transfer] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    origins: list[dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write the manifest into a sorted folder atomically, flushed to disk."""
        lines: list[dict[str, Any]] = [{"clusterkit_manifest": _FORMAT, "folders": self.folders}]
        if self.origins:
            lines[0]["origins"] = self.origins
        for transfer in self.transfers:
            line = transfer._asdict()
            if transfer.seal is None:
                del line["seal"]
            lines.append(line)
        write_whole(folder / MANIFEST_NAME, "".join(json.dumps(line) + "\n" for line in lines))


def read_manifest(folder: Path) -> Manifest:
    """Read and validate the manifest of a sorted folder, which is not trusted.

    Raises
    ------
    NotFoundError
        If there is no manifest.
    InvalidInputError
        If it cannot be read, is damaged or of another format, or contains invalid values.
    """
    file = folder / MANIFEST_NAME
    if os.path.lexists(file) and not file.is_file():
        raise InvalidInputError(f"{file} is not a regular file")
    try:
        first, *rest = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        if first["clusterkit_manifest"] != _FORMAT:
            raise InvalidInputError(
                f"{file} must have format {_FORMAT} for this version of clusterkit. "
                f"Received: {first['clusterkit_manifest']}"
            )
        _check_fields(
            first, required={"clusterkit_manifest", "folders"}, optional=frozenset({"origins"})
        )
        folders = [_inner_path(name) for name in list(first["folders"])]
        origins = first.get("origins", [])
        if not _ORIGINS.accepts(origins):
            raise _DamageError(f"origins must be {_ORIGINS.expected}. Received: {origins!r:.100}")
        return Manifest([_read_transfer(line) for line in rest], folders, origins)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            f"no {MANIFEST_NAME} in {folder}: nothing was sorted into it, or all was undone"
        ) from None
    except OSError as error:
        raise InvalidInputError(f"cannot read {file}: {error.strerror}") from error
    except InvalidInputError:
        raise
    except _DamageError as damage:
        raise InvalidInputError(f"{file} is damaged: {damage}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInputError(f"{file} is damaged: {error!r}") from error


def as_origins(origin: Any) -> list[dict[str, Any]]:
    """Return descriptions of the origin of names, one or several, for a manifest.

    Raises
    ------
    InvalidInputError
        If they could not be read from it, so that the sorting could not be undone.
    """
    given = [origin] if isinstance(origin, Mapping) else as_list(origin)
    origins = [
        {str(name): as_plain(value) for name, value in one.items()}
        for one in given
        if isinstance(one, Mapping)
    ]
    if len(origins) < len(given) or not _ORIGINS.accepts(origins):
        raise InvalidInputError(
            f"origin must map names to texts, numbers or None. Received: {origin!r:.100}"
        )
    return origins


class _DamageError(Exception):
    """A manifest is damaged; the message is the reason."""


def _check_fields(line: Any, required: set[str], optional: Set[str] = frozenset()) -> None:
    """Check that a line has all required and no unknown fields."""
    if not isinstance(line, dict):
        raise _DamageError(f"a line must be an object. Received: {line!r:.100}")
    if missing := required - set(line):
        raise _DamageError(f"a line has no {sorted(missing)[0]}")
    if unknown := set(line) - required - optional:
        raise _DamageError(f"the field {sorted(unknown)[0]!r:.100} is not known")


def _read_transfer(line: Any) -> Transfer:
    """Parse a transfer, checking every value."""
    _check_fields(
        line, required={"source", "target", "mode", "digest"}, optional=frozenset({"seal"})
    )
    source, target = _path(line["source"]), _inner_path(line["target"])
    if PurePosixPath(target) == PurePosixPath("."):
        raise _DamageError(f"{target!r} is not a file")
    if not os.path.isabs(source) or os.path.abspath(source) != source:  # noqa: PTH100, PTH117
        raise _DamageError(f"{source!r} is not an absolute path")
    mode, digest, seal = line["mode"], line["digest"], line.get("seal")
    if mode not in MODES:
        raise _DamageError(f"mode must be one of {', '.join(MODES)}. Received: {mode!r:.100}")
    if (digest is None) != (mode == "link") or not _is_digest(digest) or not _is_digest(seal):
        raise _DamageError(f"the digest of {target} is invalid")
    return Transfer(source, target, mode, digest, seal)


def _is_digest(value: Any) -> bool:
    """Return whether a value is None or 64 hexadecimal digits."""
    return value is None or (isinstance(value, str) and _DIGEST.fullmatch(value) is not None)


def _path(text: Any) -> str:
    """Check that a path is valid on this system, and return it."""
    if not isinstance(text, str) or not text or "\0" in text:
        raise _DamageError(f"{text!r:.100} is not a path")
    os.fsencode(text)
    return text


def _inner_path(text: Any) -> str:
    """Check that a path is inside the sorted folder, and return it."""
    path = PurePosixPath(_path(text))
    # Backslashes and colons are part of a name except on Windows.
    windows = PureWindowsPath(text) if os.name == "nt" else path
    if path.is_absolute() or windows.anchor or ".." in (*path.parts, *windows.parts):
        raise _DamageError(f"{path} is not inside of its folder")
    return str(text)
