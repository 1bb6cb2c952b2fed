"""The program: ``clusterkit``, or ``python -m clusterkit``."""

import os
import sys
from contextlib import suppress

from clusterkit.cli import INTERRUPTED, main


def run() -> None:
    """Run the program; after Ctrl-C it ends at once."""
    try:
        main(prog_name="clusterkit")
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        # Everything is closed and cleared away, but TensorFlow takes seconds to leave.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    run()
