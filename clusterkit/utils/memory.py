"""Available memory, and returning unused memory to the system."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

_GB = 1e9


def available_memory() -> int | None:
    """Return the memory in bytes available to this process, or None if unknown.

    On Linux the kernel's available memory or the rest of the container's limit; on other systems
    the total memory of the machine.
    """
    try:
        machine = _read_numbers("/proc/meminfo")["MemAvailable:"] * 1024
    except (OSError, KeyError):
        return _total_memory()
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        return max(0, min(machine, limit - _read_numbers("/sys/fs/cgroup/memory.stat")["anon"]))
    except (OSError, ValueError, KeyError):  # no container, or no limit ("max")
        return machine


def give_back_memory() -> None:
    """Return unused memory to the system at once, as far as libraries allow it.

    Otherwise a long-running process would keep memory that it needed only once.
    """
    with suppress(ImportError, AttributeError):
        import pyarrow

        pyarrow.default_memory_pool().release_unused()
    # A function of the GNU C library; others have no equivalent.
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def format_gb(n_bytes: float) -> str:
    """Format bytes as gigabytes (1e9) with one decimal."""
    return f"{n_bytes / _GB:,.1f} GB"


def _total_memory() -> int | None:
    """Return the total memory of the machine, or None if unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _read_numbers(path: str) -> dict[str, int]:
    """Read a kernel file with a name and a number per line."""
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}
