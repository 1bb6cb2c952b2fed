"""Tell the moves that this user planned on this machine from those in anyone's manifest.

A manifest says where files go when they are taken back.  One that came with someone else's folder
could name any place.  So each move that is planned is sealed with a key that only this user has,
in ``$XDG_STATE_HOME/clusterkit`` (by default ``~/.local/state/clusterkit``); where the seal is
missing, places must be confirmed before files go there.
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


def seal(transfers: Iterable[Transfer]) -> list[Transfer]:
    """Add the seal to the moves; where no key can be kept, they stay without."""
    key = _read_key() or _make_key()
    return [
        transfer
        if key is None or transfer.mode != "move"
        else transfer._replace(seal=_sign(transfer, key))
        for transfer in transfers
    ]


def find_unsealed(transfers: Iterable[Transfer]) -> list[Transfer]:
    """Return the moves that this user did not plan on this machine, as far as is known."""
    key = _read_key()
    return [
        transfer
        for transfer in transfers
        if transfer.mode == "move"
        and not (key and hmac.compare_digest(_sign(transfer, key), transfer.seal or ""))
    ]


def _sign(transfer: Transfer, key: bytes) -> str:
    """Return the seal of a transfer: of all that is in it."""
    return hmac.new(key, json.dumps(transfer[:4]).encode(), hashlib.sha256).hexdigest()


def _key_file() -> Path | None:
    """Return where the key is kept."""
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        folder = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        return None  # a user without a home
    return folder / "clusterkit" / "seal.key"


def _read_key() -> bytes | None:
    """Return the key, or None where there is none."""
    file = _key_file()
    try:
        key = b"" if file is None else file.read_bytes()
    except OSError:
        return None
    return key if len(key) == _KEY_BYTES else None


def _make_key() -> bytes | None:
    """Make the key, or return the one that another process has just made."""
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
