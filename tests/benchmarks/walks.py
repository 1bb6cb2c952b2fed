"""Count the files of the package that a command enters: what a reader opens to follow it.

``python -m tests.benchmarks.walks`` runs ``embed`` on one image, ``cluster -k auto --refine
--previous`` and ``train classifier`` on the digits of ``data/``, and counts the files in which a
function was called; ``--files`` lists them.  All modules are imported before, so that what runs
on import does not count.
"""

import argparse
import contextlib
import importlib
import io
import os
import pkgutil
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import clusterkit
from clusterkit import cli

PACKAGE = Path(clusterkit.__file__).parent
DIGITS = PACKAGE.parent / "data" / "digits"
# Code with this flag is a function; that of modules and classes does not have it.
_IS_FUNCTION = 1

# Each command, after those that prepare it.
COMMANDS = {
    "embed": ["embed one -e pixels"],
    "cluster": [
        "embed digits -e pixels",
        "cluster -k 4 -e pixels -o before.csv",
        "cluster -k auto --refine --previous before.csv -e pixels -o after.csv",
    ],
    "train classifier": ["train classifier digits --network nn --epochs 2 -o nn.keras"],
}


def call(command: str) -> None:
    """Run a command in this process, without its output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        cli.main(command.split())


def entered_files(command: str) -> list[str]:
    """Return the files of the package whose functions a command calls, in any thread."""
    files = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_flags & _IS_FUNCTION:
            files.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        call(command)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    found = [Path(file) for file in files]
    return sorted(str(file.relative_to(PACKAGE)) for file in found if PACKAGE in file.parents)


def main() -> None:
    """Measure, and print one line per command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", action="store_true", help="list the files")
    options = parser.parse_args()
    for module in pkgutil.walk_packages([str(PACKAGE)], "clusterkit."):
        if not module.name.endswith(("__main__", "decoding_child")):
            importlib.import_module(module.name)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("one").mkdir()
        shutil.copy(next(DIGITS.glob("0/*.png")), "one")
        shutil.copytree(DIGITS, "digits")
        for name, (*earlier, measured) in COMMANDS.items():
            shutil.rmtree(".clusterkit", ignore_errors=True)
            for command in earlier:
                call(command)
            files = entered_files(measured)
            print(f"{name:<18} {len(files):>3} files", flush=True)
            if options.files:
                print(*(f"    {file}" for file in files), sep=os.linesep)


if __name__ == "__main__":
    main()
