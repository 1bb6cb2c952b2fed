"""JSON documents that contain their own digest, to detect damage."""

import hashlib
import json
from pathlib import Path
from typing import Any

from clusterkit.utils.files import atomic_file

_SEAL = "digest"


def write_sealed(file: Path, document: dict[str, Any]) -> None:
    """Write a document atomically, with its digest.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    text = json.dumps(document | {_SEAL: _digest(document)}, indent=2, ensure_ascii=False)
    with atomic_file(file) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_sealed(file: Path, *, required: bool = True) -> dict[str, Any]:
    """Read a document, without its digest.

    Parameters
    ----------
    file : pathlib.Path
        The document.
    required : bool
        Whether a missing digest is an error.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not such a document, or its digest does not match.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("it holds no JSON object")
    seal = document.pop(_SEAL, None)
    if seal != _digest(document) and (required or seal is not None):
        raise ValueError("its content does not have its digest")
    return document


def _digest(document: dict[str, Any]) -> str:
    """Return the SHA-256 of a document's content, independent of its formatting."""
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
