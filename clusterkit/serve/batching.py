"""Run the network in a separate thread, on pictures of several requests together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_BATCH = 32
WAIT_SECONDS = 0.005
# Pixels of a batch in, one value for each picture out.
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class _Job(NamedTuple):
    """A picture that waits for a network."""

    run: Run
    pixels: NDArray[np.uint8]
    future: Future[Any]
    since: float


class Batcher:
    """One thread that runs networks on batches.

    A picture waits for others for at most 5 ms, and only while others are :attr:`coming`, so that a
    single client does not wait at all.

    Parameters
    ----------
    observe : callable, optional
        Called with the size of each batch, in the thread.
    """

    def __init__(self, observe: Callable[[int], None] | None = None) -> None:
        self._observe = observe or (lambda _: None)
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._coming = 0
        self._is_open = True
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread still computes."""
        return self._thread.is_alive()

    def expect(self, n: int) -> None:
        """Announce ``n`` pictures, or withdraw them with a negative number."""
        with self._changed:
            self._coming += n
            self._changed.notify()

    def submit(
        self, run: Run, pixels: NDArray[np.uint8], future: Future[Any] | None = None
    ) -> Future[Any]:
        """Submit an announced picture for the next batch of the same network.

        Parameters
        ----------
        run : callable
            The network: uint8 images of shape (n, height, width, 3) in, ``n`` values out.
        pixels : ndarray of shape (height, width, 3), uint8
            The picture.
        future : concurrent.futures.Future, optional
            Future for its value; by default a new one.

        Returns
        -------
        concurrent.futures.Future
            Its value.
        """
        future = Future() if future is None else future
        with self._changed:
            self._coming -= 1
            self._jobs.append(_Job(run, pixels, future, time.monotonic()))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Compute the waiting pictures, and end the thread."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        """Compute batches until the end."""
        # No reference to a batch is kept while waiting for the next.
        while self._compute(self._next_batch()):
            pass

    def _compute(self, jobs: list[_Job]) -> bool:
        """Compute a batch; return False for the end, an empty one."""
        if not jobs:
            return False
        jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return True
        self._observe(len(jobs))
        try:
            values = jobs[0].run(np.stack([job.pixels for job in jobs]))
            for job, value in zip(jobs, values, strict=True):
                job.future.set_result(value)
        except Exception as error:
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)
        return True

    def _next_batch(self) -> list[_Job]:
        """Wait for the next batch: pictures of one network.  Empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or not self._is_open)
            if not self._jobs:
                return []
            first = self._jobs[0]
            end = first.since + WAIT_SECONDS
            while self._is_open and self._coming > 0 and self._count(first.run) < MAX_BATCH:
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            batch: list[_Job] = []
            others: deque[_Job] = deque()
            for job in self._jobs:
                is_of_batch = job.run is first.run and len(batch) < MAX_BATCH
                (batch if is_of_batch else others).append(job)
            self._jobs = others
            return batch

    def _count(self, run: Run) -> int:
        """Return the number of pictures that wait for a network."""
        return sum(job.run is run for job in self._jobs)
