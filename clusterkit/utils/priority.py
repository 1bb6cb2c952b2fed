"""Let a process wait for others."""

from __future__ import annotations

import os


def run_while_idle() -> None:
    """Let this process run only while the processors are idle, or at its system's low priority.

    On Linux, niceness alone is not enough: a process that wakes up waits for one that computes
    until the end of its time slice, several milliseconds, however nice that one is.  Those of
    ``SCHED_IDLE`` it replaces at once.
    """
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    elif hasattr(os, "nice"):
        os.nice(19)
