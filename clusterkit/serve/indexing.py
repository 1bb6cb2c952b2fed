"""Build the index of many images in a separate process, while the server keeps running."""

from __future__ import annotations

import multiprocessing.spawn
import os
import subprocess
import sys
import threading
from pathlib import Path

from clusterkit.errors import ClusterkitError
from clusterkit.similarity.catalogue import Catalogue, build_index

# Lower than that of the server, which answers meanwhile.
_PRIORITY = 10


class Indexer:
    """Builds indices one after the other.

    A separate process returns all memory, and leaves the cores to the server.
    """

    def __init__(self) -> None:
        self._building, self._lock = threading.Lock(), threading.Lock()
        self._failed: Catalogue | None = None
        self._process: subprocess.Popen[str] | None = None
        self._is_open = True

    def build(self, catalogue: Catalogue) -> None:
        """Build the index of a catalogue that needs one, and open it there; try once.

        Raises
        ------
        ClusterkitError
            If it cannot be built.
        """
        with self._building:
            if catalogue.needs_index and catalogue is not self._failed:
                self._build(catalogue)

    def _build(self, catalogue: Catalogue) -> None:
        """Build an index, while no other is built."""
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
        python = os.fsdecode(multiprocessing.spawn.get_executable() or sys.executable)
        with self._lock:
            if not self._is_open:
                return
            self._failed = catalogue
            self._process = subprocess.Popen(
                [python, "-c", code, str(catalogue.folder)],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                # No window on Windows.
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        _, said = self._process.communicate()
        if self._process.returncode == 0:
            catalogue.open_index()
            self._failed = None
        elif self._is_open:
            reason = (said.strip().splitlines() or [f"exit {self._process.returncode}"])[-1]
            raise ClusterkitError(f"the index of the images could not be built: {reason}")

    def close(self) -> None:
        """End the process, and start no other."""
        with self._lock:
            self._is_open = False
            if self._process is not None:
                self._process.kill()


def main() -> None:
    """Build the index of the catalogue in the given folder; runs in the process."""
    if hasattr(os, "nice"):
        os.nice(_PRIORITY)
    build_index(Path(sys.argv[1]))
