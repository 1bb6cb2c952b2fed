"""Work on the machines of a Ray cluster, or on this one with a local Ray."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from clusterkit.errors import ClusterError, ClusterkitError, InvalidInputError
from clusterkit.utils.arguments import check_at_least, is_number
from clusterkit.utils.imports import require
from clusterkit.utils.memory import format_gb
from clusterkit.utils.parallel import count_cpus
from clusterkit.utils.silence import silenced_stderr

# Seconds that a cluster may take to answer.
_ANSWER_SECONDS = 3.0
# The start of an HTTP/2 client, and the type of the server's first frame.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HTTP2_SETTINGS = b"\x04"
# Object memory of a local Ray, which is small, since workers get names and return counts.
_OBJECT_BYTES = 2**28


@dataclass(frozen=True)
class RayEngine:
    """The machines of a Ray cluster, and the resources of each worker.

    Parameters
    ----------
    address : str, optional
        ``HOST:PORT`` of a running cluster, to which this machine belongs, or ``"auto"`` for the one
        that was started here.  By default the one that ``RAY_ADDRESS`` names, otherwise a local Ray
        is started and stopped afterwards.
    workers : int, optional
        Maximum number of workers; by default as many as the machines have room for.
    cpus : int, optional
        CPUs of a worker.  By default as many as it gains from, 4 for a network and 1 for k-means,
        or those of the smallest machine if it has fewer.
    gpus : int, optional
        GPUs of a worker: by default 1 if the cluster has any and the work gains from it.
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
    gpus: int | None = None
    memory: float | None = None

    @contextmanager
    def started(self, *, memory: float, cpus: int, gpus: bool) -> Iterator[Room]:
        """Connect to the cluster, or start a Ray on this machine.

        A Ray that runs in this process already is used as it is.

        Parameters
        ----------
        memory : float
            Memory in GB that a worker needs, unless the engine sets it.
        cpus : int
            Number of CPUs beyond which a worker gains little.
        gpus : bool
            Whether a worker gains from a GPU.

        Yields
        ------
        Room
            The number of workers, and the resources of each.

        Raises
        ------
        MissingDependencyError
            If Ray is not installed.
        InvalidInputError
            If a number of the engine is invalid, or no machine has room for a worker.
        ClusterError
            If there is no cluster at the address, or it stops.
        ClusterkitError
            Any error raised by a worker.
        """
        self.check()
        ray = require("ray", extra="ray", caller="the engine ray")
        with warnings.catch_warnings():
            # Warnings of Ray about itself, and about streams.
            warnings.simplefilter("ignore")
            is_ours = not ray.is_initialized()
            if is_ours:
                _connect(ray, self._address)
            try:
                machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
                yield self._find_room(machines, memory, cpus, gpus)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)
                if isinstance(cause, ClusterkitError):
                    raise cause from None
                raise ClusterError(f"Ray stopped: {_last_line(error)}") from error
            finally:
                if is_ours:
                    ray.shutdown()

    def check(self) -> None:
        """Check Ray, the numbers and the address before long work.

        Raises
        ------
        MissingDependencyError
            If Ray is not installed.
        InvalidInputError
            If a number or the address is invalid.
        ClusterError
            If there is no cluster at the address, or none can be started in this process.
        """
        for name, least in (("workers", 1), ("cpus", 1), ("gpus", 0)):
            if (value := getattr(self, name)) is not None:
                check_at_least(value, least, name)
        if self.memory is not None and not (is_number(self.memory) and self.memory >= 0):
            raise InvalidInputError(f"memory must be at least 0. Received: {self.memory!r}")
        if importlib.util.find_spec("ray") is None:
            require("ray", extra="ray", caller="the engine ray")
        if self._address == "local":
            _check_may_fork()
        elif self._address != "auto":
            _check_answers(self._address)

    @property
    def _address(self) -> str:
        """Address of the cluster; "local" for a local Ray."""
        return self.address or os.environ.get("RAY_ADDRESS") or "local"

    def _find_room(
        self, machines: list[dict[str, float]], memory: float, most_cpus: int, uses_gpus: bool
    ) -> Room:
        """Return the number of workers that fit on the machines, and the resources of each."""
        # A machine without CPUs may be the head node.
        working = [machine for machine in machines if machine.get("CPU", 0) >= 1]
        with_gpus = [machine for machine in working if machine.get("GPU", 0)]
        gpus = self.gpus if self.gpus is not None else int(uses_gpus and bool(with_gpus))
        able = with_gpus if gpus else working
        smallest = min((machine["CPU"] for machine in able), default=1)
        cpus = self.cpus or int(min(most_cpus, smallest))
        needs = {"CPU": float(cpus), "GPU": gpus, "memory": (self.memory or memory) * 1e9}
        needs = {kind: amount for kind, amount in needs.items() if amount}
        fitting = sum(
            int(min(machine.get(kind, 0) // amount for kind, amount in needs.items()))
            for machine in able
        )
        if not fitting:
            said = f"{cpus} CPUs, {gpus} GPUs and {format_gb(needs['memory'])} of memory"
            raise InvalidInputError(
                f"no machine of the cluster has room for a worker of {said}. The machines have: "
                + "; ".join(map(_describe, machines))
            )
        return Room(min(self.workers or fitting, fitting), cpus, gpus, needs["memory"])


@dataclass(frozen=True)
class Room:
    """Number of workers, and the resources of each.

    Attributes
    ----------
    workers : int
        Number of workers.
    cpus : int
        CPUs of each.
    gpus : int
        GPUs of each.
    memory : float
        Memory of each in bytes.
    """

    workers: int
    cpus: int
    gpus: int
    memory: float


def check_versions(expected: dict[str, str], found: dict[str, str]) -> None:
    """Check in a worker that its libraries are those of the process that started the work.

    Raises
    ------
    ClusterError
        If not: results may then differ between machines.
    """
    other = [
        f"{name} {version} here, {expected.get(name)} where the run was started"
        for name, version in found.items()
        if version != expected.get(name)
    ]
    if other:
        raise ClusterError(
            f"it has other versions ({'; '.join(other)}), so its results may differ: install the "
            "same on all machines"
        )


ENGINES = ("local", "ray")


def as_engine(engine: str | RayEngine) -> RayEngine | None:
    """Return the Ray that a name or an instance means, checked; None for this process alone.

    Raises
    ------
    InvalidInputError
        If there is no engine of that name; otherwise as of :meth:`RayEngine.check`.
    """
    if engine == "local":
        return None
    if engine not in ENGINES and not isinstance(engine, RayEngine):
        raise InvalidInputError(f"engine must be one of {', '.join(ENGINES)}. Received: {engine!r}")
    chosen = engine if isinstance(engine, RayEngine) else RayEngine()
    chosen.check()
    return chosen


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster, or start a local Ray, without output."""
    # Ray sends usage statistics, and writes notes about them on stderr.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    options = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {"num_cpus": count_cpus(), "object_store_memory": _OBJECT_BYTES}
        options |= {"include_dashboard": False}
    try:
        with silenced_stderr():
            ray.init(address, **options)
    # Another version, or this machine is not part of the cluster: various kinds of errors.
    except Exception as error:
        raise ClusterError(
            f"cannot join the Ray cluster at {address}: {_last_line(error)}. Run the command on a "
            "machine of the cluster (`ray start --address`), with the same versions of Ray and "
            "Python"
        ) from error


def _check_may_fork() -> None:
    """Check that this process may start a Ray, which hangs after TensorFlow was loaded."""
    ray = sys.modules.get("ray")
    is_running = ray is not None and ray.is_initialized()
    if "tensorflow" in sys.modules and not is_running:
        raise ClusterError(
            "a Ray cannot be started in a process that has loaded TensorFlow: start one before "
            "(ray.init()), or with `ray start --head`, and give the address auto"
        )


def _check_answers(address: str) -> None:
    """Check that a cluster answers at an address: Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise InvalidInputError(
            "the address of a Ray cluster must be HOST:PORT, such as 10.0.0.1:6379, or auto. "
            f"Received: {address!r}"
        )
    try:
        place = host.strip("[]"), int(port)
        with socket.create_connection(place, timeout=_ANSWER_SECONDS) as connection:
            connection.sendall(_HTTP2_HELLO)
            # An HTTP/2 server, such as Ray's, answers with its settings; a TLS server does not.
            is_ray = connection.recv(4)[3:] == _HTTP2_SETTINGS or "RAY_USE_TLS" in os.environ
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error}): start one with `ray start --head`, "
            "or leave out the address to work on this machine alone"
        ) from error
    if not is_ray:
        raise ClusterError(f"what answers at {address} is not a Ray cluster: check the port")


def _describe(machine: dict[str, float]) -> str:
    """Describe the resources of a machine."""
    return (
        f"{machine.get('CPU', 0):g} CPUs, {machine.get('GPU', 0):g} GPUs, "
        f"{format_gb(machine.get('memory', 0))}"
    )


def _last_line(error: BaseException) -> str:
    """Return the line of an error that names its cause: the last of a traceback elsewhere."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Ray appends general advice.
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    return (named or lines or [type(error).__name__])[-1].rstrip(".")
