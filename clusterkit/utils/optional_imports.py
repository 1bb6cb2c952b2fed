"""Import heavy and optional libraries at the moment of use."""

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from clusterkit.errors import MissingDependencyError


def require(module: str, *, extra: str, caller: str) -> ModuleType:
    """Import an optional module, or say how to install it.

    Parameters
    ----------
    module : str
        Dotted name of the module.
    extra : str
        The extra of clusterkit that installs it.
    caller : str
        What needs it, for the message.

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


def import_keras() -> ModuleType:
    """Import keras without the start-up messages that TensorFlow writes past Python.

    From the first import to the first operation they appear whatever ``TF_CPP_MIN_LOG_LEVEL``
    says; later ones it holds back.  A user who set that variable asked for them.
    """
    if "keras" in sys.modules or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return importlib.import_module("keras")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with _silenced_stderr():
        keras = importlib.import_module("keras")
        keras.ops.zeros(())
    # It warns of retracing whenever a few small models are used one after the other.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return keras


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Send the process's standard error, C++ libraries included, to nowhere."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
