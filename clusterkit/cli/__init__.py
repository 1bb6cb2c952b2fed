"""The command line: each command parses, makes one library call, and prints.

Here a command is found, errors become lines, and the process is prepared: its standard streams,
what libraries may print, and how fast they run.
"""

import atexit
import gc
import io
import logging
import os
import platform
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

import click

from clusterkit import __version__
from clusterkit.cli.options import Group
from clusterkit.cli.outputs import discard, notice
from clusterkit.errors import ClusterkitError, ClusterkitWarning, Notice
from clusterkit.utils.imports import find_backend_problem, load
from clusterkit.utils.silence import silenced_stderr

# The exit status after Ctrl-C, as of shells.
INTERRUPTED = 130
# Importing TensorFlow creates a million permanent objects: scanning them for garbage repeatedly
# took a tenth of the time, and another second at the end of the process.
_ALLOCATIONS = 200_000
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# Each command is one line here and one module, which is imported on use.
COMMANDS = {
    "check": "clusterkit.cli.check:check",
    "embed": "clusterkit.cli.embed:embed",
    "elbow": "clusterkit.cli.elbow:elbow",
    "cluster": "clusterkit.cli.cluster:cluster",
    "label": "clusterkit.cli.label:label",
    "inspect": "clusterkit.cli.inspect:inspect",
    "similar": "clusterkit.cli.similar:similar",
    "explain": "clusterkit.cli.explain:explain",
    "audit": "clusterkit.cli.audit:audit",
    "evaluate": "clusterkit.cli.evaluate:evaluate",
    "report": "clusterkit.cli.report:report",
    "compare-spaces": "clusterkit.cli.compare_spaces:compare_spaces",
    "sample": "clusterkit.cli.sample:sample",
    "split": "clusterkit.cli.split:split",
    "train": "clusterkit.cli.train:train",
    "compare": "clusterkit.cli.compare:compare",
    "label-errors": "clusterkit.cli.label_errors:label_errors",
    "predict": "clusterkit.cli.predict:predict",
    "route": "clusterkit.cli.route:route",
    "promote": "clusterkit.cli.promote:promote",
    "store": "clusterkit.cli.store:store",
    "gather": "clusterkit.cli.gather:gather",
    "import": "clusterkit.cli.interchange:import_",
    "export": "clusterkit.cli.interchange:export",
    "serve": "clusterkit.cli.serve:serve",
    "undo": "clusterkit.cli.undo:undo",
    "demo": "clusterkit.cli.demo:demo",
}


class CommandTable(Group):
    """A group with commands from a table, which prints errors as single lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = load(COMMANDS[cmd_name])
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and convert errors of the library and the system for click."""
        try:
            return super().invoke(ctx)
        except ClusterkitError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise click.Abort from None
        except RuntimeError as error:
            # As Python 3.11 wraps a Ctrl-C while a module defines a class.
            if not isinstance(error.__cause__, KeyboardInterrupt):
                raise
            raise click.Abort from None
        except EOFError as error:
            # click treats it as Ctrl-D.
            raise click.ClickException(f"a file ends too early {error}".rstrip()) from error
        except (ImportError, ValueError) as error:
            # Keras can only be imported with its backend.
            problem = find_backend_problem()
            if problem is None:
                raise
            raise click.ClickException(problem) from error
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{place}{error.strerror or error}") from error

    def main(  # type: ignore[override]
        self, args: Any = None, prog_name: str | None = None, *, standalone_mode: bool = True
    ) -> Any:
        """Run the program: print errors as one line on stderr; Ctrl-C exits with status 130."""
        with _open_streams(), _quiet_libraries(), _fast_process():
            if not standalone_mode:
                return super().main(args, prog_name, standalone_mode=False)
            try:
                status = super().main(args, prog_name, standalone_mode=False)
            except click.UsageError as error:
                shown = io.StringIO()
                error.show(shown)
                for line in shown.getvalue().splitlines():
                    notice(line)
                status = error.exit_code
            except click.ClickException as error:
                notice(f"Error: {error.format_message()}")
                status = error.exit_code
            except click.Abort as abort:
                # A second Ctrl-C exits at once, without waiting for threads.
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGINT, signal.SIG_DFL)
                if sys.stderr.isatty():
                    print(file=sys.stderr)  # after ^C or a progress bar
                notice(": ".join(["Interrupted", *map(str, abort.args)]))
                status = INTERRUPTED
            sys.exit(status)


@click.group(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clusterkit")
def main() -> None:
    """Turn folders of unlabelled images into groups that you can look at and use.

    Results go to stdout, progress and notices to stderr.

    \b
    Example:
      clusterkit embed photos/
      clusterkit elbow
      clusterkit cluster -k 5
      clusterkit similar photos/fox.jpg
    """


@contextmanager
def _open_streams() -> Iterator[None]:
    """Open missing standard streams, and let them write any text, within the block."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_nowhere(descriptor))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with redirect_stderr(_PatientStream(sys.stderr)):
        yield


class _PatientStream:
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
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[..., Any], *arguments: Any) -> None:
        """Write or flush; discard what cannot be written."""
        with suppress(OSError, ValueError):  # ValueError: it was closed, or has no descriptor.
            try:
                act(*arguments)
            except OSError:
                discard(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


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
def _quiet_libraries() -> Iterator[None]:
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
            warnings.filterwarnings("default", category=ClusterkitWarning)
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
        execute = spec.loader.exec_module

        def load_quietly(module: ModuleType) -> None:
            self._thread = threading.get_ident()
            try:
                with silenced_stderr():
                    execute(module)
                    module.ops.zeros(())
            finally:
                self._thread = None

        spec.loader.exec_module = load_quietly  # type: ignore[method-assign]
        return spec


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print a warning as one line, without its location in the code."""
    notice(f"{'Note' if issubclass(category, Notice) else 'Warning'}: {message}")


@contextmanager
def _fast_process() -> Iterator[None]:
    """Collect garbage less often, and let TensorFlow compute with oneDNN, within the block.

    A program may set this, a library may not.  By itself, TensorFlow uses oneDNN only on x86
    processors with AVX512 VNNI; on one with AVX2, Xception ran 1.5 times as fast with it.  It
    changes rounding.  The user's own setting counts.
    """
    thresholds = gc.get_threshold()
    sets_onednn = _ONEDNN not in os.environ and platform.machine().lower() in ("x86_64", "amd64")
    if thresholds[0]:
        gc.set_threshold(_ALLOCATIONS, *thresholds[1:])
    if sets_onednn:
        os.environ[_ONEDNN] = "1"
    # The last collections of the interpreter skip what is frozen.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if sets_onednn:
            os.environ.pop(_ONEDNN, None)
