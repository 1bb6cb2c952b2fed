"""``.keras`` files with a JSON document of metadata.

A ``.keras`` file is a zip archive, and Keras ignores unknown entries, so the file is still a plain
Keras model for ``keras.models.load_model`` in safe mode.
"""

import json
import lzma
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clusterkit.errors import InvalidInputError, WeightsError
from clusterkit.utils.documents import TEXT, Rule, check_document, integer
from clusterkit.utils.files import atomic_file
from clusterkit.utils.text import in_shell

_ENTRY = "clusterkit.json"
_FORMAT = 1
# Files without a kind were written before there were two kinds.
_FIRST_KIND = "autoencoder"
# Both are far above the size of valid files, and small enough to read.
_MAX_DOCUMENT_BYTES = 2**24
_MAX_INFLATION = 20
_RULES = {"format": integer(1), "kind": TEXT}
# Errors of zipfile for damaged bytes, unknown compression methods and passwords.
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
    """Return the document of a ``.keras`` file without importing Keras.

    Parameters
    ----------
    path : path
        The file.
    kind : str
        Expected kind of file: ``"autoencoder"`` or ``"classifier"``.
    rules : dict of str to Rule, optional
        Validation rules of the document.

    Returns
    -------
    dict
        The document.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or of another kind, or a value is invalid.
    """
    path = Path(path)
    command = f"clusterkit train {kind}"
    if not path.is_file():
        raise WeightsError(
            f"no {kind} {path}: train one with `{command} FOLDER -o {in_shell(path)}`"
        )
    # Keras detects the format from the suffix, and older formats have no safe mode.
    if path.suffix != ".keras":
        raise WeightsError(f"the name of a {kind} must end in .keras. Received: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            check_sizes(archive)
            if _ENTRY not in archive.namelist():
                raise WeightsError(
                    f"{path} is not a clusterkit {kind} (it holds no {_ENTRY}): train one "
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
            f"{path} is damaged or not a .keras file ({error}): copy it again, or train it again"
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
    """Check that an archive does not decompress to a much larger size, before extracting it.

    Raises
    ------
    zipfile.BadZipFile
        If it does.
    """
    for entry in archive.infolist():
        # zipfile does not extract more than an entry declares.
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
    """Load the network of a file in Keras' safe mode.

    Parameters
    ----------
    path : path
        A file whose document was read by :func:`read_document`.
    input_shape, output_shape : sequence of int
        Expected shapes of input and output for one image, from the document.
    layers : dict of str to int
        Required layers, with the length of their output vectors.

    Returns
    -------
    keras.Model
        The network, not compiled.

    Raises
    ------
    WeightsError
        If Keras cannot load it, or it does not match its document.
    """
    import keras

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        shapes = [model.input_shape, model.output_shape]
        shapes += [tuple(model.get_layer(name).output.shape) for name in layers]
    # Keras raises many kinds of errors on files of other versions or with missing weights.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path} cannot be loaded by Keras {keras.__version__} ({reason}): train it again"
        ) from error
    expected = [(None, *input_shape), (None, *output_shape)]
    expected += [(None, length) for length in layers.values()]
    if shapes != expected:
        raise WeightsError(
            f"{path} is damaged: its network has the shapes {shapes}, and its {_ENTRY} has "
            f"{expected}"
        )
    return model


def save_network(model: Any, path: Path, kind: str, document: dict[str, Any]) -> None:
    """Write a network with its document atomically.

    Parameters
    ----------
    model : keras.Model
        The network.
    path : pathlib.Path
        The ``.keras`` file; an existing file is replaced.
    kind : str
        Kind of file, for :func:`read_document`.
    document : dict
        JSON-able document for :func:`read_document`.
    """
    import keras

    with atomic_file(path) as part, warnings.catch_warnings():
        # Where warnings are errors, a training would be lost to how Keras copies its variables.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        # A compiled network would include the optimizer's state, three times the size.
        keras.Model(model.inputs, model.outputs, name=model.name).save(part)
        with zipfile.ZipFile(part, "a") as archive:
            whole = {"format": _FORMAT, "kind": kind} | document
            archive.writestr(_ENTRY, json.dumps(whole, indent=2))
