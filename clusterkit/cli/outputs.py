"""Output of commands: a decorator for files, --overwrite and --json; and what is printed."""

import functools
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import click

from clusterkit.utils.imports import load
from clusterkit.utils.locations import as_path, is_address
from clusterkit.utils.text import json_text, printable

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_overwrite_option = click.option("--overwrite", is_flag=True, help="Replace files that exist.")


class AnyPath(click.Path):
    """A path on this machine, or an address on object storage; the options are those of click."""

    def __init__(self, **options: bool) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path, or a :class:`~clusterkit.utils.locations.RemotePath`."""
        if str(value).lower().startswith("memory://"):
            what = "must outlast the command, which memory does not"
            self.fail(f"{what}. Received: {value}", param, ctx)
        return as_path(value) if is_address(value) else super().convert(value, param, ctx)


class LocalPath(AnyPath):
    """A path on this machine, as :class:`pathlib.Path`."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path; an address would become the name of a local folder."""
        if is_address(value):
            self.fail(f"must be a path on this machine. Received: {value}", param, ctx)
        return super().convert(value, param, ctx)


class OutputFile(NamedTuple):
    """An option that names a file to write.

    Attributes
    ----------
    option : str
        Long name of the option; ``--output`` also has the short name ``-o``.
    help : str
        Description of the file.
    default : str, optional
        Its default name, if it is always written.
    is_folder : bool
        Whether it is a folder.
    check : str, optional
        ``"module:name"`` of a function of the path and ``overwrite``, which is called before the
        command and raises an error if the file cannot be written.
    """

    option: str
    help: str
    default: str | None = None
    is_folder: bool = False
    check: str | None = None

    @property
    def name(self) -> str:
        """The name of the parameter."""
        return self.option.removeprefix("--")

    def decorate(self, command: Callable[..., Any]) -> Callable[..., Any]:
        """Add the option to a command."""
        return click.option(
            *(["-o"] if self.name == "output" else []),
            self.option,
            type=LocalPath(dir_okay=self.is_folder, file_okay=not self.is_folder),
            default=self.default,
            show_default=self.default is not None,
            help=self.help,
        )(command)


def picture(
    help: str,  # noqa: A002 (click's word)
    option: str = "--output",
    *,
    check: str = "clusterkit.plots.display:check_figure_path",
) -> OutputFile:
    """Return the option for a picture."""
    return OutputFile(option, f"{help} (.png, .pdf, .svg, .jpg).", check=check)


def table(
    help: str,  # noqa: A002 (click's word)
    option: str = "--table",
    default: str | None = None,
) -> OutputFile:
    """Return the option for a table."""
    return OutputFile(option, help, default, check="clusterkit.datasets.tables:check_table")


@dataclass
class Outputs:
    """Output files of a command, and the format of its result.

    Attributes
    ----------
    files : dict of str to Path or None
        The files by the names of their options; None if not requested.
    overwrite : bool
        Whether to overwrite existing files.
    as_json : bool
        Whether to print one JSON document.
    written : list of pathlib.Path
        Written files, for a notice.
    stdout : text stream
        Stream for the result.  While a command runs, ``sys.stdout`` is standard error, since the
        output of libraries, such as Keras' download messages, is not part of the result.
    """

    files: dict[str, Any]
    overwrite: bool
    as_json: bool
    written: list[Path] = field(default_factory=list)
    stdout: Any = field(default_factory=lambda: sys.stdout)

    def write(self, save: Callable[..., Any], name: str = "output") -> None:
        """Write a file, or several, with ``save(path, overwrite=...)``, if requested."""
        path = self.files[name]
        if path is not None:
            written = save(path, overwrite=self.overwrite)
            self.written.extend(written if isinstance(written, list) else [path])

    def draw(self, display: Callable[[], Any], name: str = "output") -> None:
        """Draw and save a picture, if requested."""
        if self.files[name] is not None:
            self.write(display().save, name)

    def skip(self, reason: str, *names: str) -> None:
        """Print that requested files, by default all, are not written, and why."""
        for name in names or self.files:
            if self.files[name] is not None:
                notice(f"{self.files[name]} is not written: {reason}")
                self.files[name] = None

    def show(self, document: dict[str, Any], print_text: Callable[[], Any]) -> None:
        """Print the result as JSON or text, and a notice of the written files."""
        with redirect_stdout(self.stdout):
            if self.as_json:
                _print_json(document | self.files)
            else:
                print_text()
        if self.written:
            notice(f"Wrote {', '.join(map(str, self.written))}")


def outputs(*files: OutputFile, continues: bool = False) -> Decorator:
    """Add the options of a command's output files, ``--overwrite`` and ``--json``.

    They are passed to the command as one argument, ``outputs``.

    Parameters
    ----------
    *files : OutputFile
        The options of the files.
    continues : bool
        Whether the same command continues an interrupted run, which Ctrl-C then tells.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(*, as_json: bool, overwrite: bool = False, **arguments: Any) -> Any:
            paths = {file.name: arguments.pop(file.name) for file in files}
            for file in files:
                if file.check is not None and paths[file.name] is not None:
                    load(file.check)(paths[file.name], overwrite=overwrite)
            asked_for = Outputs(paths, overwrite, as_json)
            try:
                with redirect_stdout(sys.stderr):
                    return command(outputs=asked_for, **arguments)
            except KeyboardInterrupt:
                results = [paths[file.name] for file in files if not file.is_folder]
                # A file that exists by now would be in the way of the same command.
                is_written = any(path is not None and path.exists() for path in results)
                starts_anew = arguments.get("dry_run") or arguments.get("again")
                if not continues or is_written or starts_anew:
                    raise
                raise click.Abort("the same command continues") from None

        decorated: Callable[..., Any] = _json_option(run)
        if files:
            decorated = _overwrite_option(decorated)
        for file in reversed(files):
            decorated = file.decorate(decorated)
        return decorated

    return decorate


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


def _print_json(document: dict[str, Any]) -> None:
    """Print one JSON document; see :func:`clusterkit.utils.text.json_text`."""
    encoding = (sys.stdout.encoding or "utf-8").lower().replace("_", "-")
    # JSON is UTF-8; streams of another encoding get escape sequences.
    _write(json_text(document, only_ascii=encoding not in ("utf-8", "utf8")) + "\n")


def _write(text: str) -> None:
    """Write to stdout; exit without a message if its reader has ended, as in ``| head``."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        discard(sys.stdout)
        raise click.exceptions.Exit(1) from None
    except OSError:
        discard(sys.stdout)
        raise


def discard(stream: Any) -> None:
    """Discard what a stream could not write, and all that follows.

    Otherwise Python tries again at the end of the process, which then exits with 120.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
