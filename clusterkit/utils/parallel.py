"""Run tasks in threads, with results in order."""

import os
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Map = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]

# Interval of checks for Ctrl-C in a thread that waits for a result.
_LOOK_SECONDS = 0.1
# Time that a thread of map_ahead should work on the items that it is given at once.
_GROUP_SECONDS = 0.01

# In a thread of map_ahead: whether its results are still needed.
_here = threading.local()

# Number of CPUs that this process may use of those available to it.
_allowance: int | None = None


def map_serially(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Apply a function to each item in the current thread."""
    return [function(item) for item in items]


@contextmanager
def workers() -> Iterator[Map]:
    """Yield a ``map`` that uses as many threads as BLAS was allowed to use.

    The rounding of a multi-threaded BLAS product depends on the number of threads, and can change
    the result of k-means.  Here BLAS uses one thread and tasks run in parallel instead, so that
    results and their order do not depend on the number of threads.

    Yields
    ------
    callable
        ``map(function, items)``, which returns a list of results in order.  Nested calls run in the
        thread of the calling task.
    """
    thread = threading.local()

    def mark() -> None:
        """Mark the threads of the pool."""
        thread.is_worker = True

    def run(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Map in the pool, or serially in a thread of the pool."""
        if n_threads == 1 or hasattr(thread, "is_worker"):
            return map_serially(function, items)
        return list(pool.map(function, items))

    with serial_blas() as n_threads, ThreadPoolExecutor(n_threads, initializer=mark) as pool:
        yield run


@contextmanager
def serial_blas() -> Iterator[int]:
    """Let BLAS use one thread, since threads that each start others wait for them.

    Yields
    ------
    int
        Number of threads that BLAS was allowed to use before.
    """
    from threadpoolctl import ThreadpoolController

    blas = ThreadpoolController().select(user_api="blas")
    n_threads = max((library["num_threads"] for library in blas.info()), default=1)
    with blas.limit(limits=1):
        yield n_threads


def limit_cpus(n: int) -> None:
    """Let this process use at most ``n`` CPUs, as one of several workers on a machine."""
    global _allowance
    _allowance = n


def count_cpus() -> int:
    """Return the number of CPUs available to this process."""
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    else:
        found = os.cpu_count() or 1
    return found if _allowance is None else max(1, min(found, _allowance))


@lru_cache
def describe_processor() -> str:
    """Return the system's description of the processor: its model and features."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return f"{platform.processor()} {platform.machine()}"
    # The lines of the first core, without its present speed.
    lines = text.partition("\n\n")[0].splitlines()
    wanted = ("vendor_id", "model name", "flags", "Features", "CPU part")
    return " ".join(line.partition(":")[2].strip() for line in lines if line.startswith(wanted))


def has_gpu() -> bool:
    """Return whether this process has a GPU, from device files without loading a library.

    Covers NVIDIA, AMD, and both under WSL.  NVIDIA GPUs that are hidden from a worker do not count.
    """
    files = ["/dev/kfd", "/dev/dxg"]
    if os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        files.append("/dev/nvidia0")
    return any(os.path.exists(file) for file in files)  # noqa: PTH110


def default_batch_size() -> int:
    """Return the default number of images per forward pass for this machine.

    GPUs need large batches.  CPUs gain nothing beyond a few images per core, and larger batches
    need more memory.
    """
    return 128 if has_gpu() else min(128, max(32, 4 * count_cpus()))


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    ahead: int,
    workers: int | None = None,
) -> Iterator[Result]:
    """Apply a function in threads and yield the results in order.

    At most ``ahead`` results are pending, so that memory use is bounded.

    Parameters
    ----------
    function : callable
        Called once per item, in a thread.
    items : iterable
        Consumed lazily.
    ahead : int
        Maximum number of items that are in progress or waiting to be consumed.
    workers : int, optional
        Number of threads that mostly wait; each is given one item at a time.  By default one per
        CPU, and one more for waiting on the disk.  Then items that take little time are given to a
        thread several at once, as joblib does: threads that do little at a time mostly wait for
        each other.

    Yields
    ------
    object
        ``function(item)``, in the order of ``items``; exceptions are raised at the position of
        their item.
    """
    abandoned = threading.Event()

    def run(group: list[Item]) -> _Done[Result]:
        """Apply the function to a few items, up to the first that fails."""
        _here.abandoned = abandoned
        start = time.perf_counter()
        done: _Done[Result] = _Done()
        try:
            for item in group:
                done.results.append(function(item))
                if abandoned.is_set():
                    break
        # Raised again where its result is waited for.
        except BaseException as error:
            done.error = error
        done.seconds = time.perf_counter() - start
        return done

    with ThreadPoolExecutor(workers or count_cpus() + 1) as pool:
        pending: deque[tuple[int, Future[_Done[Result]]]] = deque()
        n_pending, size, items = 0, 1, iter(items)
        try:
            while True:
                group = list(islice(items, size)) if n_pending + size <= ahead else []
                if group:
                    pending.append((len(group), pool.submit(run, group)))
                    n_pending += len(group)
                elif pending:
                    n_taken, future = pending.popleft()
                    n_pending -= n_taken
                    done = _result(future)
                    yield from done.results
                    if done.error is not None:
                        raise done.error
                    if workers is None:
                        wanted = int(n_taken * _GROUP_SECONDS / max(done.seconds, 1e-9))
                        size = max(1, min(wanted, 2 * n_taken, ahead))
                else:
                    return
        finally:
            abandoned.set()
            for _, future in pending:
                future.cancel()


@dataclass
class _Done(Generic[Result]):
    """Results of a few items, the error of the next one if it failed, and the time taken."""

    results: list[Result] = field(default_factory=list)
    error: BaseException | None = None
    seconds: float = 0.0


def _result(future: Future[Result]) -> Result:
    """Return the result of a task once it is done.

    The system may deliver the signal of Ctrl-C to any thread, and Python handles it in the main
    thread only, which would not notice it until the task ends.
    """
    while not future.done():
        with suppress(TimeoutError):
            future.exception(timeout=_LOOK_SECONDS)
    return future.result()


def is_abandoned() -> bool:
    """Return whether the current task of :func:`map_ahead` was abandoned.

    This happens after Ctrl-C, which only the main thread receives; long tasks should check it
    regularly.  Outside of such tasks it is always False.
    """
    abandoned: threading.Event | None = getattr(_here, "abandoned", None)
    return abandoned is not None and abandoned.is_set()
