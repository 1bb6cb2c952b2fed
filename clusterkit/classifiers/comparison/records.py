"""Records of a comparison of networks, so that an interrupted one can be continued."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.classifier import Classifier, training_parameters
from clusterkit.classifiers.comparison.result import NetworkResult
from clusterkit.datasets.labelled_images import LabelledImages
from clusterkit.errors import OutputExistsError
from clusterkit.images.folder import digest_file
from clusterkit.utils.documents import (
    FLAG,
    NOTHING,
    NUMBER,
    TEXT,
    Rule,
    check_document,
    integer,
    list_of,
    table_of,
)
from clusterkit.utils.files import OVERWRITE, check_output, write_whole

# Name of the file with the digests of the table and the figure of a comparison.
OWN = "comparison"
_FIRST_COLUMNS = b"network,"

_TABLE = Rule("a table", lambda value: isinstance(value, dict))
_RULES = {"made_from": _TABLE, "result": _TABLE | NOTHING}
_RESULT_RULES = {
    "name": TEXT,
    "network": TEXT,
    "train_accuracy": NUMBER,
    "val_accuracy": NUMBER,
    "test": _TABLE | NOTHING,
    "n_parameters": integer(0),
    "seconds": NUMBER,
    "best_epoch": integer(0),
    "history": table_of(list_of(NUMBER)),
    "model": TEXT | NOTHING,
    "is_reused": FLAG,
}


class NetworkRecord:
    """The two files of one network in the folder of a comparison.

    Parameters
    ----------
    stem : pathlib.Path
        Their path without ``.keras`` and ``.json``.
    digest : str
        Digest of the images and their split, from :func:`digest_images`.
    classifier : Classifier
        The classifier; its parameters are recorded.

    Attributes
    ----------
    model : pathlib.Path
        The ``.keras`` file.
    """

    def __init__(self, stem: Path, digest: str, classifier: Classifier) -> None:
        self.model = stem.with_name(f"{stem.name}.keras")
        self._file = stem.with_name(f"{stem.name}.json")
        self._made_from = {
            "images": digest,
            "parameters": training_parameters(classifier.get_params()),
        }

    def read(self, *, overwrite: bool) -> NetworkResult | None:
        """Return the result of an earlier run with the same images and parameters, or None.

        Raises
        ------
        OutputExistsError
            If the files are of other images or parameters, and ``overwrite`` is false.
        """
        document = _load(self._file)
        if document is not None and document["made_from"] == self._made_from:
            if document["result"] is None or not self.model.is_file():
                return None
            found = NetworkResult(**document["result"])
            return replace(found, model=str(self.model), is_reused=True)
        # A training with other parameters that was never completed.
        was_begun = document is not None and not self.model.exists()
        for file in (self.model, self._file):
            if file.exists() and not was_begun and not overwrite:
                raise OutputExistsError(
                    f"{file} is of other images or other parameters: name another folder, or "
                    f"allow it to be replaced with {OVERWRITE}"
                )
        return None

    def begin(self) -> None:
        """Record the images and parameters before the training."""
        self._write(None)

    def end(self, result: NetworkResult) -> None:
        """Record the result."""
        self._write(asdict(result))

    def _write(self, result: dict[str, Any] | None) -> None:
        """Write the record atomically."""
        write_whole(
            self._file, json.dumps({"made_from": self._made_from, "result": result}, indent=2)
        )


def read_others(
    folder: Path, digest: str, names: Collection[str], *, overwrite: bool
) -> list[NetworkResult]:
    """Return the results in a folder of networks besides the named ones, in order of name.

    Raises
    ------
    OutputExistsError
        If one is of other images, so that no table can hold both, and ``overwrite`` is false.
    """
    found = []
    for model in sorted(folder.glob("*.keras")):
        file = model.with_suffix(".json")
        document = None if model.stem in names else _load(file)
        if document is None or document["result"] is None:
            continue
        if document["made_from"].get("images") == digest:
            result = NetworkResult(**document["result"])
            found.append(replace(result, model=str(model), is_reused=True))
        elif not overwrite:
            raise OutputExistsError(
                f"{file} is of other images or another split, and the table would lose it: name "
                f"another folder, or allow it with {OVERWRITE}"
            )
    return found


def digest_images(data: LabelledImages, parts: Mapping[str, NDArray[np.intp]]) -> str:
    """Return a digest that changes with any image, label or the split."""
    rows = {part: members.tolist() for part, members in parts.items()}
    digest = hashlib.sha256(json.dumps([data.names, data.labels, rows], default=str).encode())
    if isinstance(data.images, np.ndarray):
        digest.update(data.images.tobytes())
    else:
        for file in data.images:
            try:
                status = Path(file).stat()
            except OSError:
                continue  # a broken link, which is in no part
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def check_own(folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Check that only files written by a comparison would be replaced.

    Raises
    ------
    OutputExistsError
        If a file exists, was not recorded by :func:`record_own` or has changed since, and
        ``overwrite`` is false.
    """
    digests = _read_own(folder)
    for name in names:
        file = folder / name
        if file.is_file() and (_is_own(file, digests) or overwrite):
            continue
        if file.exists():
            check_output(file, overwrite=overwrite)


def record_own(folder: Path, name: str) -> None:
    """Record that a comparison wrote a file of the folder, which later ones may replace."""
    digests = _read_own(folder) | {name: digest_file(folder / name)}
    write_whole(folder / f"{OWN}.json", json.dumps(digests, indent=2))


def _load(file: Path) -> dict[str, Any] | None:
    """Return the record of a network, or None without a valid one."""
    try:
        document = check_document(json.loads(file.read_text("utf-8")), _RULES)
        if document["result"] is not None:
            check_document(document["result"], _RESULT_RULES)
            NetworkResult(**document["result"])
        return document
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _is_own(file: Path, digests: Mapping[str, Any]) -> bool:
    """Return whether a comparison wrote a file that was not changed since."""
    if not digests:
        # Written by a version without records: recognised by its table.
        table = file.with_suffix(".csv")
        return table.is_file() and table.read_bytes().startswith(_FIRST_COLUMNS)
    return digests.get(file.name) == digest_file(file)


def _read_own(folder: Path) -> dict[str, Any]:
    """Return the recorded digests."""
    try:
        digests = json.loads((folder / f"{OWN}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return digests if isinstance(digests, dict) else {}
