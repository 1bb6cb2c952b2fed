"""The passes of k-means on Ray: tasks that return the sums and counts of parts."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit import __version__
from clusterkit.clusterers.kmeans.lloyd import Matrix
from clusterkit.clusterers.kmeans.streaming import PartSums, Weighted, groups_of_parts, sum_part
from clusterkit.clusterers.row_stream import PartedStream, RowStream
from clusterkit.errors import ClusterError, InvalidInputError
from clusterkit.similarity.scaling import Scaling
from clusterkit.store.stream import PartRows
from clusterkit.utils.locations import absolute, as_path
from clusterkit.utils.parallel import workers
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.ray_engine import RayEngine, Room, check_versions

# Rows per task: fewer take less time than Ray needs to distribute them.
_TASK_ROWS = 65_536
# Tasks for each worker, so that none waits long for the last.
_TASKS_EACH = 4
# GB that a worker needs for its interpreter and one part.
_MEMORY = 1.0
# Libraries that decide what a sum is, to the last bit.
_LIBRARIES = ("numpy", "scipy", "pyarrow")


@contextmanager
def summing_on_ray(
    stream: RowStream,
    engine: RayEngine,
    *,
    normalize: Scaling,
    unit: float,
    weights: NDArray[np.float32] | None = None,
    progress: bool = False,
) -> Iterator[Callable[[Matrix, int], Iterator[PartSums]]]:
    """Start a cluster, and yield what :func:`lloyd_over_parts` calls for each pass.

    The sums are those of :func:`sum_part` of each part, in the order of the parts, whatever the
    number of workers, so that the centres are the same to the bit if all processors are of one
    kind.

    Parameters
    ----------
    stream : RowStream
        The rows, in parts that all machines can read.
    engine : RayEngine
        The cluster.
    normalize, unit
        See :func:`sum_part`.
    weights : ndarray of shape (n,), float32, optional
        Weight of each row.
    progress : bool
        Whether to show a progress bar for each pass.

    Raises
    ------
    InvalidInputError
        If the stream has no parts.
    ClusterError
        If there is no cluster, or a worker has other versions.
    """
    if not isinstance(stream, PartedStream):
        raise InvalidInputError(
            "the engine ray clusters the parts of a space on disk, as Space.stream() opens them. "
            f"Received: {type(stream).__name__}"
        )
    with engine.started(memory=_MEMORY, cpus=1, gpus=False) as room:
        import ray

        parts = [
            (_from_anywhere(part), share)
            for group in groups_of_parts(stream, weights=weights)
            for part, share in group
        ]
        # Masks of rows have one value per row, and are the same in each pass.
        groups = [ray.put(group) for group in _grouped(parts, room.workers)]
        task = ray.remote(_sum_group).options(num_cpus=room.cpus, memory=room.memory)
        versions = library_versions()

        def sum_parts(centers: Matrix, n_iter: int) -> Iterator[PartSums]:
            """Pass over all parts."""
            shared = ray.put(centers)
            scale = {"normalize": normalize, "unit": unit}
            calls = [
                partial(task.remote, group, shared, versions=versions, **scale) for group in groups
            ]
            with progress_bar(
                name=f"pass {n_iter}", enabled=progress, unit="part", total=len(parts)
            ) as bar:
                for sums in _in_order(calls, room):
                    yield from sums
                    bar.update(len(sums))

        yield sum_parts


def library_versions() -> dict[str, str]:
    """Return the versions of what decides about sums."""
    return {"clusterkit": __version__} | {name: metadata.version(name) for name in _LIBRARIES}


def _sum_group(
    group: list[Weighted],
    centers: Matrix,
    *,
    normalize: Scaling,
    unit: float,
    versions: dict[str, str],
) -> list[PartSums]:
    """Return the sums of some parts, in a worker."""
    try:
        check_versions(versions, library_versions())
    except ClusterError as error:
        raise ClusterError(f"the worker on {platform.node()} cannot work: {error}") from None
    with workers():  # for BLAS of one thread
        return [
            sum_part(part, centers, normalize=normalize, unit=unit, weights=share)
            for part, share in group
        ]


def _in_order(calls: Sequence[Callable[[], Any]], room: Room) -> Iterator[list[PartSums]]:
    """Make calls, as many at a time as there are workers; yield their results in order."""
    import ray

    running: dict[Any, int] = {}
    waiting: dict[int, list[PartSums]] = {}
    begun = ended = 0
    while ended < len(calls):
        # Results that wait for an earlier one take memory.
        most = min(len(calls), ended + _TASKS_EACH * room.workers)
        while len(running) < room.workers and begun < most:
            running[calls[begun]()] = begun
            begun += 1
        for done in ray.wait(list(running))[0]:
            waiting[running.pop(done)] = ray.get(done)
        while ended in waiting:
            yield waiting.pop(ended)
            ended += 1


def _grouped(parts: list[Weighted], n_workers: int) -> Iterator[list[Weighted]]:
    """Yield neighbouring parts with enough rows for a task."""
    n_rows = sum(len(part) for part, _ in parts)
    enough = min(_TASK_ROWS, n_rows / (n_workers * _TASKS_EACH))
    group: list[Weighted] = []
    for weighted in parts:
        group.append(weighted)
        if sum(len(part) for part, _ in group) >= enough:
            yield group
            group = []
    if group:
        yield group


def _from_anywhere(part: Any) -> Any:
    """Return a part that is found from any folder."""
    if not isinstance(part, PartRows):
        return part
    return replace(part, file=as_path(absolute(part.file)))  # links stay
