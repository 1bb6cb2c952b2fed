"""Downloads of weights: with a progress bar and a time limit, interruptible, and atomic.

Keras knows the address and the cache path of the weights of a network; this module transfers the
bytes.  ``urllib`` alone would wait for a silent server for ever, and ignore Ctrl-C while it
resolves a name.
"""

import queue
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import keras

from clusterkit.errors import WeightsError
from clusterkit.utils.files import atomic_file
from clusterkit.utils.parallel import is_abandoned
from clusterkit.utils.progress import progress_bar

# Seconds without any data, while connecting or reading, after which a download fails.
STALL_SECONDS = 30.0
# Interval of checks whether the download is still wanted.
_LOOK_SECONDS = 0.1
_CHUNK_BYTES = 2**18

# Keras has one download function for all threads.
_lock = threading.RLock()


@contextmanager
def guarded_downloads() -> Iterator[None]:
    """Let Keras download with :func:`download` within the block.

    If the block raises an error, such as for a wrong checksum, what it downloaded is removed.
    """
    fetched: list[Path] = []

    def retrieve(url: str, filename: str, *_: Any) -> tuple[str, None]:
        """Replace ``urllib.request.urlretrieve``."""
        download(url, Path(filename))
        fetched.append(Path(filename))
        return filename, None

    module: Any = sys.modules[keras.utils.get_file.__module__]
    is_logging = keras.config.is_interactive_logging_enabled()
    with _lock:
        before = getattr(module, "urlretrieve", None)
        module.urlretrieve = retrieve
        # Keras would print its own progress on stdout.
        keras.config.disable_interactive_logging()
        try:
            yield
        except Exception:
            for file in fetched:
                file.unlink(missing_ok=True)
            raise
        finally:
            module.urlretrieve = before
            if is_logging:
                keras.config.enable_interactive_logging()


def download(url: str, target: Path) -> None:
    """Download a file, which appears when it is complete.

    Parameters
    ----------
    url : str
        Its address.
    target : pathlib.Path
        The file; an existing one is replaced.

    Raises
    ------
    WeightsError
        If no data arrive for :data:`STALL_SECONDS`, the server returns an error, or the connection
        ends early; also if the task was abandoned, see
        :func:`~clusterkit.utils.parallel.is_abandoned`.
    """
    transfer = _Transfer(url)
    host = urllib.parse.urlsplit(url).netloc
    received = 0
    with (
        closing(transfer),
        atomic_file(target) as temporary,
        temporary.open("wb") as file,
        progress_bar(name=f"Downloading {target.name}", enabled=True, in_bytes=True) as bar,
    ):
        for chunk in transfer.chunks():
            if transfer.size is not None and bar.total is None:
                bar.reset(transfer.size)
            received += len(chunk)
            file.write(chunk)
            bar.update(len(chunk))
        if transfer.size is not None and received < transfer.size:
            raise WeightsError(
                f"{host} ended the connection after {received:,} of {transfer.size:,} bytes"
            )


class _Transfer:
    """The bytes of an address, read in a separate thread that can be abandoned.

    Resolving a name and connecting cannot be interrupted, so the thread is abandoned if it takes
    too long; a daemon thread does not keep the program running.

    Parameters
    ----------
    url : str
        The address.

    Attributes
    ----------
    size : int or None
        Number of bytes as announced by the server, known with the first chunk.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.size: int | None = None
        # Bounded, in case the disk is slower than the network.
        self._received: queue.Queue[bytes | Exception] = queue.Queue(maxsize=64)
        self._is_closed = False
        threading.Thread(target=self._read, name="clusterkit-download", daemon=True).start()

    def close(self) -> None:
        """Let the thread end with the next bytes."""
        self._is_closed = True

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes as they arrive."""
        waited = 0.0
        while waited < STALL_SECONDS:
            if is_abandoned():
                raise WeightsError("the download was interrupted")
            try:
                item = self._received.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                waited += _LOOK_SECONDS
                continue
            if isinstance(item, Exception):
                raise WeightsError(f"{self.url}: {_explain(item)}") from item
            if not item:
                return
            waited = 0.0
            yield item
        host = urllib.parse.urlsplit(self.url).netloc
        raise WeightsError(f"nothing has come from {host} for {STALL_SECONDS:g} seconds")

    def _read(self) -> None:
        """Read everything, in the thread; the last item is empty, or an exception."""
        try:
            # Longer than the reader's limit, whose message is clearer.  A new opener
            # uses the present proxies, not those of the first download.
            opener = urllib.request.build_opener()
            with opener.open(self.url, timeout=2 * STALL_SECONDS) as response:
                length = response.headers.get("Content-Length")
                self.size = int(length) if length else None
                # read1 returns the available data; read would wait until the chunk is full.
                while (chunk := response.read1(_CHUNK_BYTES)) and not self._is_closed:
                    self._received.put(chunk, timeout=STALL_SECONDS)
            self._received.put(b"", timeout=STALL_SECONDS)
        # Any exception is passed to the reader.
        except Exception as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it holds the connection
            with suppress(queue.Full):
                self._received.put(error, timeout=STALL_SECONDS)


def _explain(error: Exception) -> str:
    """Return the reason of a network error, without the names of Python's classes."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
