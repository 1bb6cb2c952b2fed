"""The program: ``clusterkit``, or ``python -m clusterkit``."""

import os
import signal
import sys
from contextlib import suppress


def run() -> None:
    """Run the program; after Ctrl-C it ends at once."""
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises:
        # While the program is imported, nothing catches KeyboardInterrupt.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from clusterkit.cli import INTERRUPTED, main

    if raises:
        signal.signal(signal.SIGINT, signal.default_int_handler)
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
