"""``.keras`` files that say what they are: a network with a document of ours inside.

A ``.keras`` file is a zip archive, and Keras passes over entries that it does not know.  So the
file stays a plain Keras model, which ``keras.models.load_model`` opens in its safe mode.
"""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

from clusterkit.errors import WeightsError
from clusterkit.files import atomic_file
from clusterkit.optional import import_keras

_ENTRY = "clusterkit.json"
_FORMAT = 1
# Files of the first kind were written before there was a second.
_FIRST_KIND = "autoencoder"


def read_document(path: str | Path, kind: str) -> dict[str, Any]:
    """Return what a training noted in a ``.keras`` file, without importing Keras.

    Parameters
    ----------
    path : path
        The file.
    kind : str
        What it must hold: ``"autoencoder"`` or ``"classifier"``.

    Returns
    -------
    dict
        The document.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or holds nothing of that kind.
    """
    path = Path(path)
    command = f"clusterkit train {kind}"
    if not path.is_file():
        raise WeightsError(f"no {kind} {path}: train one with `{command} FOLDER -o {path}`")
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise zipfile.BadZipFile("a checksum is wrong")
            if _ENTRY not in archive.namelist():
                raise WeightsError(
                    f"{path} is no {kind} of clusterkit (it holds no {_ENTRY}): train one "
                    f"with `{command}`"
                )
            document: dict[str, Any] = json.loads(archive.read(_ENTRY))
    # zlib and json have errors of their own for the same thing: damaged bytes.
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(
            f"{path} is damaged or no .keras file ({error}): copy it again, or train it again"
        ) from error
    if document["format"] > _FORMAT:
        raise WeightsError(
            f"{path} was written by a newer clusterkit (format {document['format']}, this one "
            f"reads up to {_FORMAT}): upgrade clusterkit"
        )
    found = document.get("kind", _FIRST_KIND)
    if found != kind:
        raise WeightsError(
            f"{path} must be a file of `{command}`. Received: one of `clusterkit train {found}`"
        )
    return document


def load_network(path: str | Path) -> Any:
    """Load the network of a file, in Keras' safe mode.

    Returns
    -------
    keras.Model
        Not compiled.

    Raises
    ------
    WeightsError
        If this Keras cannot load it.
    """
    keras = import_keras()
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    # Keras raises nearly anything on a file of another version or with missing weights.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path} cannot be loaded by Keras {keras.__version__} ({reason}): train it again"
        ) from error


def save_network(model: Any, path: Path, kind: str, document: dict[str, Any]) -> None:
    """Write a network with its document, whole or not at all.

    Parameters
    ----------
    model : keras.Model
        The network.
    path : pathlib.Path
        The ``.keras`` file; one that exists is replaced.
    kind : str
        What it is, for :func:`read_document`.
    document : dict
        What :func:`read_document` shall return, JSON-able.
    """
    keras = import_keras()
    with atomic_file(path) as part:
        # Compiled, it would carry the optimizer's state: three times the size.
        keras.Model(model.inputs, model.outputs, name=model.name).save(part)
        with zipfile.ZipFile(part, "a") as archive:
            whole = {"format": _FORMAT, "kind": kind} | document
            archive.writestr(_ENTRY, json.dumps(whole, indent=2))
