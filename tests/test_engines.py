"""Reading ahead in threads: in order, bounded, and with every failure in its place."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clusterkit.images.batches import read_batches
from clusterkit.utils.parallel import count_cpus, is_abandoned, map_ahead
from tests.odd_files import PNG


def test_results_come_in_order_whatever_takes_longest() -> None:
    def wait(i: int) -> int:
        time.sleep(0.02 if i % 3 == 0 else 0)
        return i

    assert list(map_ahead(wait, range(20), ahead=6, workers=4)) == list(range(20))
    assert list(map_ahead(wait, [], ahead=6)) == []
    assert list(map_ahead(wait, range(5), ahead=1, workers=1)) == list(range(5))


def test_ctrl_c_is_heard_whichever_thread_the_signal_reaches() -> None:
    def task(_: int) -> None:
        while not is_abandoned():
            time.sleep(0.01)

    def interrupt() -> None:
        # The signal is blocked in the main thread, so it reaches this one.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        os.kill(os.getpid(), signal.SIGINT)
        waiting.wait(10)

    waiting = threading.Event()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        threading.Timer(0.2, interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            list(map_ahead(task, [1], ahead=1))
    finally:
        waiting.set()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.parametrize("workers", [2, None])
def test_no_more_than_ahead_are_begun_before_they_are_taken(workers: int | None) -> None:
    begun = 0

    def items() -> Iterator[int]:
        nonlocal begun
        for i in range(100):
            begun += 1
            yield i

    for taken, _ in enumerate(map_ahead(lambda i: i, items(), ahead=7, workers=workers)):
        assert begun <= taken + 1 + 7


def test_work_is_done_in_several_threads() -> None:
    barrier = threading.Barrier(3, timeout=10)
    assert len(list(map_ahead(lambda _: barrier.wait(), range(3), ahead=3, workers=3))) == 3


@pytest.mark.parametrize(
    ("seconds", "workers", "n_items", "are_grouped"),
    [(0, None, 1000, True), (0.01, None, 10, False), (0, 2, 100, False)],
    ids=["short", "long", "waiting"],
)
def test_only_short_items_are_given_to_a_thread_several_at_once(
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    workers: int | None,
    n_items: int,
    are_grouped: bool,
) -> None:
    groups: list[int] = []
    submit = ThreadPoolExecutor.submit

    def count(pool: ThreadPoolExecutor, run: Any, group: list[int]) -> Any:
        groups.append(len(group))
        return submit(pool, run, group)

    def work(i: int) -> int:
        time.sleep(seconds)
        return i

    monkeypatch.setattr(ThreadPoolExecutor, "submit", count)
    assert list(map_ahead(work, range(n_items), ahead=32, workers=workers)) == list(range(n_items))
    assert max(groups) <= 32
    assert len(groups) < n_items / 2 if are_grouped else len(groups) == n_items


@pytest.mark.parametrize("workers", [2, None])
@pytest.mark.parametrize("place", [3, 333])
def test_an_exception_comes_at_its_place_and_ends_the_threads(
    workers: int | None, place: int
) -> None:
    def fail(i: int) -> int:
        if i == place:
            raise ValueError("here")
        return i

    before = threading.active_count()
    results = map_ahead(fail, range(1000), ahead=5, workers=workers)
    assert [next(results) for _ in range(place)] == list(range(place))
    with pytest.raises(ValueError, match="here"):
        next(results)
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [2, None])
def test_leaving_early_ends_the_threads(workers: int | None) -> None:
    before = threading.active_count()
    results = map_ahead(lambda i: i, range(1000), ahead=5, workers=workers)
    assert [next(results) for _ in range(100)] == list(range(100))
    results.close()
    assert threading.active_count() == before


def test_batches_are_full_and_failures_take_no_place(tmp_path: Path) -> None:
    files = []
    for i in range(11):
        files.append(tmp_path / f"{i:02}.png")
        files[-1].write_bytes(b"broken" if i in (0, 4, 10) else PNG)
    batches = list(read_batches(files, (8, 12), 3))
    assert [batch.rows for batch in batches] == [[1, 2, 3], [5, 6, 7], [8, 9]]
    assert [[row for row, _ in batch.failures] for batch in batches] == [[0], [4], [10]]
    assert all("not an image" in reason for batch in batches for _, reason in batch.failures)
    assert [batch.images.shape for batch in batches] == [(3, 8, 12, 3)] * 2 + [(2, 8, 12, 3)]
    assert batches[0].images.dtype == np.uint8


def test_a_batch_of_failures_alone_has_no_images(tmp_path: Path) -> None:
    (batch,) = read_batches([tmp_path / "nowhere.png"], (8, 12), 3)
    assert batch.rows == []
    assert batch.images.shape == (0, 8, 12, 3)
    assert batch.failures == [(0, "the file does not exist")]
    assert list(read_batches([], (8, 12), 3)) == []


def test_a_path_that_no_file_can_have_is_a_failure() -> None:
    (batch,) = read_batches(["a\0.png"], (8, 12), 3)
    assert batch.failures == [(0, "cannot be read: embedded null byte")]


def test_there_is_at_least_one_processor() -> None:
    assert count_cpus() >= 1
