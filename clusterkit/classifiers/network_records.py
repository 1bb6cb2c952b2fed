"""What a comparison of networks puts down, so that it can go on where it was cut."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.classifier import Classifier
from clusterkit.classifiers.datasets import LabelledImages
from clusterkit.classifiers.network_comparison import NetworkResult
from clusterkit.errors import OutputExistsError
from clusterkit.files import write_whole


class NetworkRecord:
    """The two files of one network in the folder of a comparison.

    Parameters
    ----------
    stem : pathlib.Path
        Their path without ``.keras`` and ``.json``.
    digest : str
        Of the images and their split, from :func:`digest_images`.
    classifier : Classifier
        With its parameters.

    Attributes
    ----------
    model : pathlib.Path
        The ``.keras`` file.
    """

    def __init__(self, stem: Path, digest: str, classifier: Classifier) -> None:
        self.model = stem.with_name(f"{stem.name}.keras")
        self._file = stem.with_name(f"{stem.name}.json")
        self._made_from = {"images": digest, "parameters": classifier.describe()}

    def read(self, *, overwrite: bool) -> NetworkResult | None:
        """Return what an earlier run reached with the same images and parameters.

        Raises
        ------
        OutputExistsError
            If the files are of other images or parameters, and must not be replaced.
        """
        document = self._load()
        if document is not None and document["made_from"] == self._made_from:
            if document["result"] is None or not self.model.is_file():
                return None
            found = NetworkResult(**document["result"])
            return replace(found, model=str(self.model), is_reused=True)
        # What was begun with other parameters and never ended holds nothing.
        was_begun = document is not None and not self.model.exists()
        for file in (self.model, self._file):
            if file.exists() and not was_begun and not overwrite:
                raise OutputExistsError(
                    f"{file} is of other images or other parameters: name another folder, or "
                    "allow it to be replaced with --overwrite"
                )
        return None

    def begin(self) -> None:
        """Put down what the network is about to be trained on, before it is."""
        self._write(None)

    def end(self, result: NetworkResult) -> None:
        """Put down what it reached."""
        self._write(asdict(result))

    def _load(self) -> dict[str, Any] | None:
        """Return the record, or None where there is none of ours."""
        try:
            document: dict[str, Any] = json.loads(self._file.read_text("utf-8"))
            return document if {"made_from", "result"} <= set(document) else None
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, result: dict[str, Any] | None) -> None:
        """Write the record, whole or not at all."""
        write_whole(
            self._file, json.dumps({"made_from": self._made_from, "result": result}, indent=2)
        )


def digest_images(data: LabelledImages, parts: Mapping[str, NDArray[np.intp]]) -> str:
    """Return what changes whenever an image, a label or the split does."""
    rows = {part: members.tolist() for part, members in parts.items()}
    digest = hashlib.sha256(json.dumps([data.names, data.labels, rows], default=str).encode())
    if isinstance(data.images, np.ndarray):
        digest.update(data.images.tobytes())
    else:
        for file in data.images:
            status = file.stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
