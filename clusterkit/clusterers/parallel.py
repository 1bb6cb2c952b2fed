"""Work on all cores with results that do not depend on their number."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

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
