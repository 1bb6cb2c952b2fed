"""A Ray cluster of several machines, simulated by nodes on this one with a core each."""

import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Machines:
    """A head node without workers, and machines with one core each.

    Attributes
    ----------
    address : str
        Address of the cluster.
    nodes : list
        The machines as Ray nodes.
    """

    def __init__(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ray.cluster_utils import Cluster

            options = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 2**27}
            self.cluster = Cluster(initialize_head=True, head_node_args=options)
        self.address = self.cluster.address
        self.nodes: list[Any] = []

    def add(self) -> Any:
        """Add a machine whose processes share one core."""
        cores = sorted(os.sched_getaffinity(0))
        used = len(self.nodes)
        try:
            # Its processes inherit the affinity from this thread.
            os.sched_setaffinity(0, {cores[used % len(cores)]})
            node = self.cluster.add_node(
                num_cpus=1, object_store_memory=2**27, memory=6 * 10**9, wait=True
            )
        finally:
            os.sched_setaffinity(0, cores)
        self.nodes.append(node)
        return node

    def lose(self, node: Any) -> None:
        """Kill all processes of a machine, as a power failure does."""
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)

    def find_workers(self, name: str = "RayWorker") -> list[Any]:
        """Return the processes of our workers, or those of another name."""
        import psutil

        found = []
        for process in psutil.Process().children(recursive=True):
            # Some may end meanwhile.
            with suppress(psutil.Error):
                if name in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def kill_worker(self) -> bool:
        """Kill one of our workers, and return whether there was one."""
        workers = self.find_workers()
        if workers:
            random.choice(workers).kill()
        return bool(workers)

    def stop(self) -> None:
        """Stop all nodes."""
        self.cluster.shutdown()


@contextmanager
def machines(n: int) -> Iterator[Machines]:
    """Start a cluster of ``n`` machines, and stop it afterwards."""
    found = Machines()
    try:
        for _ in range(n):
            found.add()
        yield found
    finally:
        found.stop()
