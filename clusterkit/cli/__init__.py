"""The command line: each command parses, makes one library call, and prints."""

import atexit
import gc
import io
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from clusterkit import __version__
from clusterkit.cli.options import Group
from clusterkit.cli.outputs import notice, open_streams, quiet_libraries
from clusterkit.errors import ClusterkitError
from clusterkit.utils.imports import find_backend_problem, load

# The exit status after Ctrl-C, as of shells.
INTERRUPTED = 130
# Importing TensorFlow creates a million permanent objects: scanning them for garbage repeatedly
# took a tenth of the time, and another second at the end of the process.
_ALLOCATIONS = 200_000
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
        with open_streams(), quiet_libraries(), _fast_process():
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
            except click.Abort:
                # A second Ctrl-C exits at once, without waiting for threads.
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGINT, signal.SIG_DFL)
                if sys.stderr.isatty():
                    print(file=sys.stderr)  # after ^C or a progress bar
                notice("Interrupted")
                status = INTERRUPTED
            sys.exit(status)


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
