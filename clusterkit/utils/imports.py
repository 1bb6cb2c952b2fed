"""What is imported on use: classes by their names, and optional libraries."""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from clusterkit.errors import InvalidInputError, MissingDependencyError
from clusterkit.utils.text import did_you_mean

# Libraries that Keras can compute with.
_BACKENDS = ("tensorflow", "jax", "torch", "openvino")


def load(place: str) -> Any:
    """Import a function or class.

    Parameters
    ----------
    place : str
        ``"module:name"``.

    Examples
    --------
    >>> load("math:sqrt")(9)
    3.0
    """
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


class Registry(Mapping[str, type]):
    """Mapping from names to classes, which are imported on access.

    Parameters
    ----------
    kind : str
        What the classes are, for messages ("clusterer").
    table : mapping of str to str
        ``"module:Class"`` of each name.

    Examples
    --------
    >>> table = Registry("number", {"fraction": "fractions:Fraction"})
    >>> table["fraction"](3)
    Fraction(3, 1)
    """

    def __init__(self, kind: str, table: Mapping[str, str]) -> None:
        self.kind = kind
        self._table = dict(table)

    def __getitem__(self, name: str) -> type:
        if name not in self:
            allowed = ", ".join(self._table)
            raise InvalidInputError(
                f"{self.kind} must be one of {allowed}. Received: {name!r}"
                f"{did_you_mean(name, self._table)}"
            )
        return load(self._table[name])

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __iter__(self) -> Any:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def require(module: str, *, extra: str, caller: str) -> ModuleType:
    """Import an optional module, or raise an error with the command that installs it.

    Parameters
    ----------
    module : str
        Dotted name of the module.
    extra : str
        The extra of clusterkit that installs it.
    caller : str
        Name of the caller, for the message.

    Raises
    ------
    MissingDependencyError
        If the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{caller} needs {module.partition('.')[0]}: pip install 'clusterkit[{extra}]'"
        ) from error


def keras_backend() -> str:
    """Return the name of Keras' backend, without importing Keras, which imports the backend.

    By the rule of Keras: ``KERAS_BACKEND``, its file ``keras.json``, or TensorFlow.
    """
    if "keras" in sys.modules:
        return str(sys.modules["keras"].config.backend())
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    folder = os.environ.get("KERAS_HOME") or "~/.keras"
    # Keras also ignores an invalid file; a user without a home has none (RuntimeError).
    with suppress(OSError, ValueError, AttributeError, RuntimeError):
        file = Path(folder).expanduser() / "keras.json"
        return str(json.loads(file.read_text(encoding="utf-8")).get("backend", "tensorflow"))
    return "tensorflow"


def find_backend_problem() -> str | None:
    """Return why Keras cannot be imported with the backend that ``KERAS_BACKEND`` names.

    Returns
    -------
    str or None
        The reason and a remedy; None if there is no problem.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend not in _BACKENDS:
        return f"KERAS_BACKEND must be one of {', '.join(_BACKENDS)}. Received: {backend!r}"
    if importlib.util.find_spec(backend) is None:
        return (
            f"KERAS_BACKEND={backend} needs {backend}, which is not installed: pip install "
            f"{backend}, or remove the variable"
        )
    return None
