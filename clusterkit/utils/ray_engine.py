"""Work on the machines of a Ray cluster, or on this one with a Ray of its own."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from clusterkit.errors import ClusterError, ClusterkitError, InvalidInputError
from clusterkit.utils.memory import format_gb
from clusterkit.utils.optional_imports import require
from clusterkit.utils.parallel import count_cpus

# Seconds that a cluster may take to answer.
_ANSWER_SECONDS = 3.0
# More CPUs than this do not make one worker faster by as much.
_MOST_CPUS = 4
# What a Ray of our own keeps for objects: workers are given names and return counts.
_OBJECT_BYTES = 2**28


@dataclass(frozen=True)
class RayEngine:
    """Which machines of Ray work, and what each worker may use.

    Parameters
    ----------
    address : str, optional
        ``HOST:PORT`` of a running cluster, to which this machine belongs, or ``"auto"`` for the one
        that was started here.  By default the one that ``RAY_ADDRESS`` names, otherwise a Ray is
        started on this machine and ended afterwards.
    workers : int, optional
        Maximum number of workers; by default as many as the machines have room for.
    cpus : int, optional
        CPUs of a worker: by default 4, or those of the smallest machine if it has fewer.
    gpus : float, optional
        GPUs of a worker: by default 1 if the cluster has any, otherwise 0.
    memory : float, optional
        Memory of a worker in GB (1e9 bytes), which Ray reserves for it; by default as much as the
        work needs.

    Examples
    --------
    >>> embed_to_store(images, "xception", ".clusterkit", engine=RayEngine(workers=2))
    ... # doctest: +SKIP
    """

    address: str | None = None
    workers: int | None = None
    cpus: int | None = None
    gpus: float | None = None
    memory: float | None = None

    @contextmanager
    def started(self, *, memory: float) -> Iterator[Room]:
        """Connect to the cluster, or start a Ray on this machine.

        A Ray that runs in this process already is used as it is.

        Parameters
        ----------
        memory : float
            Memory in GB that a worker needs, unless the engine says.

        Yields
        ------
        Room
            The number of workers, and what each may use.

        Raises
        ------
        MissingDependencyError
            If Ray is not installed.
        InvalidInputError
            If a number of the engine is invalid, or no machine has room for a worker.
        ClusterError
            If there is no cluster at the address, or it stops.
        """
        self._check()
        ray = require("ray", extra="ray", caller="the engine ray")
        with warnings.catch_warnings():
            # Of Ray about itself, and of what it does to streams.
            warnings.simplefilter("ignore")
            is_ours = not ray.is_initialized()
            if is_ours:
                _connect(ray, self.address or os.environ.get("RAY_ADDRESS") or "local")
            try:
                machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
                yield self._find_room(machines, memory)
            except ray.exceptions.RayError as error:
                raise ClusterError(f"Ray stopped: {_last_line(error)}") from error
            finally:
                if is_ours:
                    ray.shutdown()

    def _check(self) -> None:
        """Check the numbers."""
        for name, least in (("workers", 1), ("cpus", 1), ("gpus", 0), ("memory", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InvalidInputError(f"{name} must be at least {least}. Received: {value}")

    def _find_room(self, machines: list[dict[str, float]], memory: float) -> Room:
        """Return how many workers fit on the machines, and what each takes."""
        # A machine without CPUs may be the one that only directs the others.
        working = [machine for machine in machines if machine.get("CPU", 0) >= 1]
        with_gpus = [machine for machine in working if machine.get("GPU", 0)]
        gpus = self.gpus if self.gpus is not None else float(bool(with_gpus))
        able = with_gpus if gpus else working
        smallest = min((machine["CPU"] for machine in able), default=1)
        cpus = self.cpus or int(min(_MOST_CPUS, smallest))
        needs = {"CPU": float(cpus), "GPU": gpus, "memory": (self.memory or memory) * 1e9}
        needs = {kind: amount for kind, amount in needs.items() if amount}
        fitting = sum(
            int(min(machine.get(kind, 0) // amount for kind, amount in needs.items()))
            for machine in able
        )
        if not fitting:
            said = f"{cpus} CPUs, {gpus:g} GPUs and {format_gb(needs['memory'])} of memory"
            raise InvalidInputError(
                f"no machine of the cluster has room for a worker of {said}. The machines have: "
                + "; ".join(map(_describe, machines))
            )
        return Room(min(self.workers or fitting, fitting), cpus, gpus, needs["memory"])


@dataclass(frozen=True)
class Room:
    """How many workers there are, and what each may use.

    Attributes
    ----------
    workers : int
        Number of workers.
    cpus : int
        CPUs of each.
    gpus : float
        GPUs of each.
    memory : float
        Memory of each in bytes.
    """

    workers: int
    cpus: int
    gpus: float
    memory: float


ENGINES = ("local", "ray")


def as_engine(engine: str | RayEngine) -> RayEngine | None:
    """Return the Ray that a name or an instance means; None for this process alone.

    Raises
    ------
    InvalidInputError
        If there is no engine of that name.
    """
    if isinstance(engine, RayEngine):
        return engine
    if engine not in ENGINES:
        raise InvalidInputError(f"engine must be one of {', '.join(ENGINES)}. Received: {engine!r}")
    return RayEngine() if engine == "ray" else None


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster, or start a Ray of our own, without a word."""
    # A process that counts images need not report on itself to others.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        ray.init(
            "local",
            num_cpus=count_cpus(),
            include_dashboard=False,
            object_store_memory=_OBJECT_BYTES,
            **quiet,
        )
        return
    _check_answers(address)
    try:
        ray.init(address, **quiet)
    except ClusterkitError:
        raise
    # Of another version, or this machine is no part of it: each is another kind of error.
    except Exception as error:
        raise ClusterError(
            f"cannot join the Ray cluster at {address}: {_last_line(error)}. Run the command on a "
            "machine of the cluster (`ray start --address`), with the same versions of Ray and "
            "Python"
        ) from error


def _check_answers(address: str) -> None:
    """Check that something listens at an address: Ray itself would wait for minutes."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise InvalidInputError(
            "the address of a Ray cluster must be HOST:PORT, such as 10.0.0.1:6379, or auto. "
            f"Received: {address!r}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error}): start one with `ray start --head`, "
            "or leave out the address to work on this machine alone"
        ) from error


def _describe(machine: dict[str, float]) -> str:
    """Return what a machine has, in words."""
    return (
        f"{machine.get('CPU', 0):g} CPUs, {machine.get('GPU', 0):g} GPUs, "
        f"{format_gb(machine.get('memory', 0))}"
    )


def _last_line(error: BaseException) -> str:
    """Return the last line of an error, which names its cause in tracebacks of other processes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].rstrip(".")
