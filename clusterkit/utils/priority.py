"""Let a process wait for others."""

from __future__ import annotations

import contextlib
import os

_NICEST = 19


def run_while_idle() -> None:
    """Let this process run only while the processors are idle, or else with the lowest priority.

    On Linux, niceness alone is not enough: a process that wakes up may have to wait for one that
    computes until the end of its time slice, some milliseconds, however nice that one is.  One of
    ``SCHED_IDLE`` it replaces at once.  Systems with neither are left as they are.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # some containers forbid it
        with contextlib.suppress(AttributeError, OSError):
            os.nice(_NICEST)
