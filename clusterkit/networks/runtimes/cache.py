"""Cache of networks on this machine: converted files, and how bfloat16 compares."""

import hashlib
import json
import os
import sys
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import NamedTuple

from clusterkit import __version__
from clusterkit.errors import InvalidInputError
from clusterkit.networks.runtimes.base import NetworkSource
from clusterkit.utils.files import write_whole
from clusterkit.utils.parallel import describe_processor


def cache_folder() -> Path:
    """Return the cache folder: ``CLUSTERKIT_CACHE``, or clusterkit's in the user's cache.

    Raises
    ------
    InvalidInputError
        If the user has no home, as in some containers.
    """
    if chosen := os.environ.get("CLUSTERKIT_CACHE"):
        return Path(chosen)
    try:
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise InvalidInputError(
            "this user has no home folder for the cache: name a folder with the environment "
            "variable CLUSTERKIT_CACHE"
        ) from None
    return Path(base) / "clusterkit"


def cached_path(kind: str, source: NetworkSource, *, library: str, machine: str = "") -> Path:
    """Return the path in the cache for data about a network.

    Parameters
    ----------
    kind : str
        Folder within the cache.
    source : NetworkSource
        The network.
    library : str
        The library that runs it.
    machine : str
        Properties of the machine that it depends on.

    Returns
    -------
    Path
        Different for other weights, machines, and versions of clusterkit, Keras and the library.
    """
    versions = [__version__, metadata.version("keras"), library, _version_of(library)]
    key = json.dumps([source.identity, versions, machine], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / kind / f"{source.name}-{digest}"


def _version_of(library: str) -> str:
    """Return the version of a library, if possible without the import, which takes seconds."""
    # TensorFlow's packages for some processors have other names.
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(library)
    return str(import_module(library).__version__)


class Comparison(NamedTuple):
    """Comparison of bfloat16 with float32 for a network on this machine.

    Attributes
    ----------
    cosine : float
        The lowest cosine between vectors of both precisions.
    speedup : float
        Time in float32 divided by time in bfloat16.
    """

    cosine: float
    speedup: float


class ComparisonFile:
    """The comparison of bfloat16 with float32 that an earlier run has made.

    Parameters
    ----------
    source : NetworkSource
        The network.
    runtime : {"keras", "openvino"}
        The runtime.
    """

    def __init__(self, source: NetworkSource, runtime: str) -> None:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        library = backend if runtime == "keras" else runtime
        path = cached_path("bfloat16", source, library=library, machine=describe_processor())
        self._file = path.with_name(f"{path.name}.json")

    def read(self) -> Comparison | None:
        """Return the comparison; None if there is none."""
        # A damaged file counts as missing: the precisions are compared again.
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = json.loads(self._file.read_text(encoding="utf-8"))
            comparison = Comparison(float(found["cosine"]), float(found["speedup"]))
            if -1 <= comparison.cosine <= 1 and comparison.speedup > 0:
                return comparison
        return None

    def write(self, comparison: Comparison) -> None:
        """Write the comparison for later runs; without a cache, each run compares again."""
        with suppress(OSError, InvalidInputError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, json.dumps(comparison._asdict()) + "\n")
