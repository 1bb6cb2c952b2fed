"""``.keras`` files that say what they are: a network with a document of ours inside.

A ``.keras`` file is a zip archive, and Keras passes over entries that it does not know.  So the
file stays a plain Keras model, which ``keras.models.load_model`` opens in its safe mode.
"""

import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clusterkit.errors import InvalidInputError, WeightsError
from clusterkit.utils.documents import TEXT, Rule, check_document, integer
from clusterkit.utils.files import atomic_file
from clusterkit.utils.optional_imports import import_keras

_ENTRY = "clusterkit.json"
_FORMAT = 1
# Files of the first kind were written before there was a second.
_FIRST_KIND = "autoencoder"
# Both are far above what is written, and soon read.
_MAX_DOCUMENT_BYTES = 2**24
_MAX_INFLATION = 20
_RULES = {"format": integer(1), "kind": TEXT}
# What zipfile and its decompressors raise for damaged bytes, an unknown method or a password.
_BAD_ZIP = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)


def read_document(
    path: str | Path, kind: str, rules: Mapping[str, Rule] | None = None
) -> dict[str, Any]:
    """Return what a training noted in a ``.keras`` file, without importing Keras.

    Parameters
    ----------
    path : path
        The file.
    kind : str
        What it must hold: ``"autoencoder"`` or ``"classifier"``.
    rules : dict of str to Rule, optional
        What the values of its document must be.

    Returns
    -------
    dict
        The document.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or holds nothing of that kind, or a value is wrong.
    """
    path = Path(path)
    command = f"clusterkit train {kind}"
    if not path.is_file():
        raise WeightsError(f"no {kind} {path}: train one with `{command} FOLDER -o {path}`")
    # By its name Keras knows which format to read, and older ones have no safe mode.
    if path.suffix != ".keras":
        raise WeightsError(f"the name of a {kind} must end in .keras. Received: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            check_sizes(archive)
            if _ENTRY not in archive.namelist():
                raise WeightsError(
                    f"{path} is no {kind} of clusterkit (it holds no {_ENTRY}): train one "
                    f"with `{command}`"
                )
            if archive.getinfo(_ENTRY).file_size > _MAX_DOCUMENT_BYTES:
                raise zipfile.BadZipFile(f"its {_ENTRY} is too large")
            if archive.testzip() is not None:
                raise zipfile.BadZipFile("a checksum is wrong")
            found = json.loads(archive.read(_ENTRY))
        document = check_document({"kind": _FIRST_KIND} | dict(found), _RULES)
    except WeightsError:
        raise
    except _BAD_ZIP as error:
        raise WeightsError(
            f"{path} is damaged or no .keras file ({error}): copy it again, or train it again"
        ) from error
    except TypeError as error:
        raise WeightsError(
            f"{path} is damaged: its {_ENTRY} holds no table of values: train it again"
        ) from error
    if document["format"] > _FORMAT:
        raise WeightsError(
            f"{path} was written by a newer clusterkit (format {document['format']}, this one "
            f"reads up to {_FORMAT}): upgrade clusterkit"
        )
    if document["kind"] != kind:
        raise WeightsError(
            f"{path} must be a file of `{command}`. Received: one of `clusterkit train "
            f"{document['kind']}`"
        )
    try:
        return check_document(document, rules or {})
    except InvalidInputError as error:
        raise WeightsError(f"{path} is damaged: in its {_ENTRY} {error}") from error


def check_sizes(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that unpacks to much more than it is, before anything is unpacked.

    Raises
    ------
    zipfile.BadZipFile
        If it does.
    """
    for entry in archive.infolist():
        # No more is unpacked than an entry declares.
        if entry.file_size > max(_MAX_DOCUMENT_BYTES, _MAX_INFLATION * entry.compress_size):
            raise zipfile.BadZipFile(
                f"{entry.filename} would unpack from {entry.compress_size} to {entry.file_size} "
                "bytes"
            )


def load_network(
    path: str | Path,
    *,
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    layers: Mapping[str, int],
) -> Any:
    """Load the network of a file, in Keras' safe mode.

    Parameters
    ----------
    path : path
        A file whose document was read by :func:`read_document`.
    input_shape, output_shape : sequence of int
        What it must take and put out for an image, as its document says.
    layers : dict of str to int
        Layers that it must have, and the length of the vector that each puts out.

    Returns
    -------
    keras.Model
        Not compiled.

    Raises
    ------
    WeightsError
        If this Keras cannot load it, or it does not fit its document.
    """
    keras = import_keras()
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        shapes = [model.input_shape, model.output_shape]
        shapes += [tuple(model.get_layer(name).output.shape) for name in layers]
    # Keras raises nearly anything on a file of another version or with missing weights.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path} cannot be loaded by Keras {keras.__version__} ({reason}): train it again"
        ) from error
    expected = [(None, *input_shape), (None, *output_shape)]
    expected += [(None, length) for length in layers.values()]
    if shapes != expected:
        raise WeightsError(
            f"{path} is damaged: its network has the shapes {shapes}, and its {_ENTRY} says "
            f"{expected}"
        )
    return model


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
