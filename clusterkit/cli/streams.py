"""Standard streams: what is printed where, and what libraries may not print there."""

import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

import click

from clusterkit.errors import Notice
from clusterkit.utils.paths import json_text, printable
from clusterkit.utils.silence import silenced_stderr

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# Modules whose warnings are messages of a command; click calls the commands.
_OWN_MODULES = r"(clusterkit|click)\b"


def say(*lines: object) -> None:
    """Print lines on stdout; unprintable characters are escaped."""
    _write("".join(f"{printable(line)}\n" for line in lines))


def say_result(result: Any) -> None:
    """Print a result on stdout as its ``to_text`` returns it."""
    if text := result.to_text():
        say(*text.split("\n"))


def notice(message: object) -> None:
    """Print a line on stderr."""
    print(printable(message), file=sys.stderr, flush=True)


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document; see :func:`clusterkit.utils.paths.json_text`."""
    encoding = (sys.stdout.encoding or "utf-8").lower().replace("_", "-")
    # JSON is UTF-8; streams of another encoding get escape sequences.
    _write(json_text(document, only_ascii=encoding not in ("utf-8", "utf8")) + "\n")


def _write(text: str) -> None:
    """Write to stdout; exit without a message if its reader has ended, as in ``| head``."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        _drop_stdout()
        raise click.exceptions.Exit(1) from None


def _drop_stdout() -> None:
    """Discard further output to stdout after its reader has ended."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class PatientStream:
    """A stream for notices that discards what cannot be written.

    The reader of notices may end, as in ``2>&1 | less``, and a terminal may be closed; the command
    continues.

    Parameters
    ----------
    stream : text stream
        The underlying stream.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write if possible."""
        with suppress(OSError, ValueError):  # ValueError: it was closed.
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def open_streams() -> Iterator[None]:
    """Open missing standard streams, and let them write any text, within the block."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_nowhere(descriptor))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with redirect_stderr(PatientStream(sys.stderr)):
        yield


def _open_nowhere(descriptor: int) -> Any:
    """Open a closed standard stream on the null device, with its usual descriptor.

    Otherwise the next opened file would get that descriptor, and with it the output of libraries.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(descriptor)
    except OSError:
        os.dup2(nowhere, descriptor)
    if nowhere > 2:
        os.close(nowhere)
    return open(os.devnull, "r" if descriptor == 0 else "w", encoding="utf-8")  # noqa: PTH123


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Print warnings as single lines, and suppress log messages of libraries, within the block."""
    logger, finder = logging.getLogger("tensorflow"), _QuietKeras()
    level = logger.level
    # 0 and 1 ask for TensorFlow's messages, higher levels for fewer of them.
    asked_for = os.environ.get(_LOG_LEVEL)
    is_quiet = asked_for not in ("0", "1")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        # Pillow's warnings name no file; unreadable files are listed with their reason.
        warnings.filterwarnings("ignore", module="PIL")
        if sys.warnoptions:
            # PYTHONWARNINGS and -W are about libraries: what a command says about the input is
            # neither hidden by them nor an error.
            warnings.filterwarnings("default", category=UserWarning, module=_OWN_MODULES)
        if not is_quiet:
            yield
            return
        os.environ[_LOG_LEVEL] = "3"
        # TensorFlow warns of retracing when several small models are used.
        logger.setLevel(logging.ERROR)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            logger.setLevel(level)
            os.environ.pop(_LOG_LEVEL)
            if asked_for is not None:
                os.environ[_LOG_LEVEL] = asked_for


class _QuietKeras(MetaPathFinder):
    """Import keras fast, and without the start-up messages that TensorFlow's C++ code writes.

    ``TF_CPP_MIN_LOG_LEVEL`` suppresses them only after the first operation.
    """

    # Optional imports of Keras, for galleries and wrappers that are not used here; they take half a
    # second, and one.
    unneeded = ("matplotlib.pyplot", "sklearn")

    def __init__(self) -> None:
        self._thread: int | None = None

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return keras with a silent loader; None for other modules.

        Raises
        ------
        ModuleNotFoundError
            For what Keras can do without, in the thread that imports it.
        """
        if fullname in self.unneeded and self._thread == threading.get_ident():
            raise ModuleNotFoundError(f"Keras does without {fullname}", name=fullname)
        spec = PathFinder.find_spec(fullname, path) if fullname == "keras" else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_quietly(module: ModuleType) -> None:
            self._thread = threading.get_ident()
            try:
                with silenced_stderr():
                    load(module)
                    module.ops.zeros(())
            finally:
                self._thread = None

        spec.loader.exec_module = load_quietly  # type: ignore[method-assign]
        return spec


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print a warning as one line, without its location in the code."""
    notice(f"{'Note' if issubclass(category, Notice) else 'Warning'}: {message}")
