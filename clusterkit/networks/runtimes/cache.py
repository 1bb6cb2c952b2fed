"""Cache of networks on this machine: converted files, and the agreement of bfloat16."""

import hashlib
import json
import os
import sys
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path

from clusterkit import __version__
from clusterkit.errors import InvalidInputError
from clusterkit.networks.runtimes.base import NetworkSource
from clusterkit.utils.files import write_whole
from clusterkit.utils.parallel import describe_processor


def cache_folder() -> Path:
    """Return the cache folder: ``CLUSTERKIT_CACHE``, or clusterkit's in the user's cache."""
    if chosen := os.environ.get("CLUSTERKIT_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
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


class Agreement:
    """Agreement of bfloat16 with float32 for a network, as measured by an earlier run.

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

    def recall(self) -> float | None:
        """Return the lowest cosine between vectors of both precisions; None if unknown."""
        # A damaged file counts as missing: the precisions are compared again.
        with suppress(OSError, ValueError, TypeError, KeyError):
            cosine = float(json.loads(self._file.read_text(encoding="utf-8"))["cosine"])
            return cosine if -1 <= cosine <= 1 else None
        return None

    def remember(self, cosine: float) -> None:
        """Write the cosine for later runs; without a cache, each run compares again."""
        with suppress(OSError, InvalidInputError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, json.dumps({"cosine": cosine}) + "\n")
