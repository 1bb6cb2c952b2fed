"""How much memory there is, for clusterers whose need grows with the square of the rows."""

import os
from pathlib import Path

_GB = 1e9


def available_memory() -> int | None:
    """Return the memory in bytes that this process can still take, or None where unknown.

    On Linux what the kernel calls available, or what is left of the limit of the container; on
    other systems all memory of the machine.
    """
    try:
        machine = _read_numbers("/proc/meminfo")["MemAvailable:"] * 1024
    except (OSError, KeyError):
        return _total_memory()
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        return max(0, min(machine, limit - _read_numbers("/sys/fs/cgroup/memory.stat")["anon"]))
    except (OSError, ValueError, KeyError):  # no container, or one without a limit ("max")
        return machine


def format_gb(n_bytes: float) -> str:
    """Write bytes as gigabytes (1e9) with one digit after the point."""
    return f"{n_bytes / _GB:,.1f} GB"


def _total_memory() -> int | None:
    """Return the memory of the machine where the system tells it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _read_numbers(path: str) -> dict[str, int]:
    """Read a file of the kernel with a name and a number in each line."""
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}
