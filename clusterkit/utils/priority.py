"""Lower the priority of a process."""

from __future__ import annotations

import contextlib
import os

_NICEST = 19


def run_while_idle() -> None:
    """Let this process run only while the processors are idle, or else with the lowest priority.

    On Linux, niceness alone is not enough: a process that wakes up may have to wait some
    milliseconds until the end of the time slice of a computing one, whatever its niceness.  A
    process of ``SCHED_IDLE`` is preempted at once.  On systems with neither, nothing changes.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # some containers forbid it
        with contextlib.suppress(AttributeError, OSError):
            os.nice(_NICEST)
