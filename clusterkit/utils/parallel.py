"""Work on all processors: tasks in threads, with results in order."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Map = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]


def map_serially(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Apply a function to each item in this thread."""
    return [function(item) for item in items]


@contextmanager
def workers() -> Iterator[Map]:
    """Yield a ``map`` that runs on as many threads as BLAS was allowed to use.

    A matrix product that BLAS itself spreads over threads is rounded differently for each number
    of threads, and one different rounding can send k-means elsewhere.  Here BLAS is held to one
    thread and whole tasks are spread instead: each task's result, and their order, are the same on
    any number of threads.

    Yields
    ------
    callable
        ``map(function, items)``, which returns the list of results in order of the items.  Called
        within a task it runs in that task's thread, for the others are busy.
    """
    from threadpoolctl import ThreadpoolController

    blas = ThreadpoolController().select(user_api="blas")
    n_threads = max((library["num_threads"] for library in blas.info()), default=1)
    thread = threading.local()

    def mark() -> None:
        """Know the pool's own threads."""
        thread.is_worker = True

    def run(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Spread the items, or not within one of them."""
        if n_threads == 1 or hasattr(thread, "is_worker"):
            return map_serially(function, items)
        return list(pool.map(function, items))

    with blas.limit(limits=1), ThreadPoolExecutor(n_threads, initializer=mark) as pool:
        yield run


def count_cpus() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_gpu() -> bool:
    """Tell whether the machine has a GPU: by its device file, without loading a library.

    NVIDIA's, AMD's, and either under WSL.
    """
    return any(os.path.exists(file) for file in ("/dev/nvidia0", "/dev/kfd", "/dev/dxg"))  # noqa: PTH110


def default_batch_size() -> int:
    """Return how many images go through a network at once on this machine.

    A GPU needs many to be busy.  A CPU gains nothing beyond a few for each core, and larger
    batches cost memory.
    """
    return 128 if has_gpu() else min(128, max(32, 4 * count_cpus()))


Item = TypeVar("Item")

Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    ahead: int,
    workers: int | None = None,
) -> Iterator[Result]:
    """Apply a function in threads and yield the results in order.

    At most ``ahead`` results wait at any moment, so memory stays flat however many items come.

    Parameters
    ----------
    function : callable
        Called once per item, in a thread.
    items : iterable
        Consumed lazily.
    ahead : int
        How many items may be in work or wait to be taken.
    workers : int, optional
        Number of threads; by default one per processor, and one more for waiting on the disk.

    Yields
    ------
    object
        ``function(item)``, in the order of ``items``; an exception is raised at its place.
    """
    with ThreadPoolExecutor(workers or count_cpus() + 1) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(pending) >= ahead:
                    yield pending.popleft().result()
                pending.append(pool.submit(function, item))
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
