"""Authenticate the moves that this user planned on this machine.

A manifest determines where undo moves files.  A manifest of unknown origin could name any place, so
each planned move is signed with a key of the user in ``$XDG_STATE_HOME/clusterkit`` (by default
``~/.local/state/clusterkit``).  Without a valid signature, places must be confirmed before files
are moved there.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from clusterkit.routing.transfer import Transfer, rename
from clusterkit.utils.files import flush

_KEY_BYTES = 32


def sign_moves(transfers: Iterable[Transfer]) -> list[Transfer]:
    """Sign the moves; without a key, they remain unsigned."""
    key = _read_key() or _make_key()
    return [
        transfer
        if key is None or transfer.mode != "move"
        else transfer._replace(seal=_sign(transfer, key))
        for transfer in transfers
    ]


def find_unsigned(transfers: Iterable[Transfer]) -> list[Transfer]:
    """Return the moves without a valid signature."""
    key = _read_key()
    return [
        transfer
        for transfer in transfers
        if transfer.mode == "move"
        and not (key and hmac.compare_digest(_sign(transfer, key), transfer.seal or ""))
    ]


def _sign(transfer: Transfer, key: bytes) -> str:
    """Return the signature of all fields of a transfer."""
    return hmac.new(key, json.dumps(transfer[:4]).encode(), hashlib.sha256).hexdigest()


def _key_file() -> Path | None:
    """Return the file of the key."""
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        folder = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        return None  # the user has no home
    return folder / "clusterkit" / "seal.key"


def _read_key() -> bytes | None:
    """Return the key, or None if there is none."""
    file = _key_file()
    try:
        key = b"" if file is None else file.read_bytes()
    except OSError:
        return None
    return key if len(key) == _KEY_BYTES else None


def _make_key() -> bytes | None:
    """Create the key, or return the one that another process has just created."""
    file = _key_file()
    if file is None:
        return None
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}.tmp")
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_bytes(_KEY_BYTES))
            flush(temporary)
            rename(temporary, file)
            flush(file.parent)
        finally:
            temporary.unlink(missing_ok=True)
    return _read_key()
