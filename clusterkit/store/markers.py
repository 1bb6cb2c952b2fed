"""Writers of a space on object storage, where nothing can be locked.

A run creates a file ``.lock.<writer>`` beside the lists of parts before it reads any, and deletes
it at its end.  If it then finds no such file of another run, every later run will find its own: it
is alone, and writes the list of the ordinary run.  All others write separate lists, as shards do;
so do two runs that find each other.  A killed run leaves its file, which counts for an hour.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from clusterkit.errors import RemoteError, UnreachableError
from clusterkit.store.space_files import LOCK

# Interval at which a run renews its file, and age at which it counts as dead.
_BEAT_SECONDS, _LIFE_SECONDS = 300.0, 3600.0


class Marker:
    """The file of one run, within a ``with`` block.

    Parameters
    ----------
    about : pathlib.Path
        The folder of the lists of parts.

    Attributes
    ----------
    writer : str
        Unique name of the run.
    """

    def __init__(self, about: Path) -> None:
        self.about = about
        self.writer = secrets.token_hex(6)
        self._file = self._file_of(self.writer)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._put()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        # A service that cannot be reached is not asked again.
        if not isinstance(error, UnreachableError):
            with suppress(OSError, RemoteError):
                self._file.unlink(missing_ok=True)

    def is_live(self, writer: str) -> bool:
        """Return whether another run is writing, or may be; the file of a dead one is deleted."""
        if writer == self.writer:
            return False
        file = self._file_of(writer)
        try:
            # Both times are those of the service: the clocks of two machines may differ.
            age = self._file.stat().st_mtime_ns - file.stat().st_mtime_ns
        except FileNotFoundError:
            return file.exists()
        if age < _LIFE_SECONDS * 1e9:
            return True
        file.unlink(missing_ok=True)
        return False

    def check(self) -> None:
        """Check that no other run considers this one dead, for example after a machine was asleep.

        Raises
        ------
        FileNotFoundError
            If one does.
        """
        self._file.stat()

    def _file_of(self, writer: str) -> Path:
        """Return the file of a run."""
        return self.about / f"{LOCK}.{writer}"

    def _put(self) -> None:
        """Write the file."""
        self._file.write_bytes(b"A run of clusterkit is writing to this space.\n")

    def _beat(self) -> None:
        """Renew the file regularly, unless it was deleted."""
        while not self._ended.wait(_BEAT_SECONDS):
            # The run itself reports that the service cannot be reached.
            with suppress(OSError, RemoteError):
                self.check()
                self._put()
