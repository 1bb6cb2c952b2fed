"""Run coroutines from synchronous code."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

Result = TypeVar("Result")
# Interval of checks for Ctrl-C, which only the main thread receives.
_LOOK_SECONDS = 0.1


def run_apart(main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine in a separate thread, and return its result.

    The thread of a notebook already runs an event loop, in which no other can run.  Ctrl-C cancels
    the coroutine, and waits until it has ended.

    Parameters
    ----------
    main : callable
        Returns the coroutine.
    """
    future: Future[Result] = Future()
    stop: Callable[[], object] = lambda: None  # noqa: E731 (until there is a task)

    async def run() -> Result:
        nonlocal stop
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        stop = lambda: loop.call_soon_threadsafe(task.cancel)  # noqa: E731
        return await main()

    def work() -> None:
        try:
            future.set_result(asyncio.run(run()))
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=work, name="clusterkit-loop")
    thread.start()
    try:
        while not future.done():
            wait([future], timeout=_LOOK_SECONDS)
    except BaseException:
        if not future.done():
            stop()
        thread.join()
        raise
    return future.result()
