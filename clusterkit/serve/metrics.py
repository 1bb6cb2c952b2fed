"""Counts of a server, in the format of Prometheus."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "clusterkit"


class Metrics:
    """The counts of one application, separate from those of others in the process.

    Attributes
    ----------
    requests, seconds
        Answers by endpoint and status, and their time.
    pictures
        Pictures by result.
    batches
        Sizes of the batches that the network computed.
    loads
        Changed files: swapped in, or failed.
    lag
        Delay of the event loop.
    active
        Requests that are being answered.
    start
        Seconds of each phase of the start.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        where: dict[str, Any] = {"namespace": _PREFIX, "registry": self.registry}
        self.requests = Counter("requests", "Answers.", ["endpoint", "status"], **where)
        self.seconds = Histogram("request_seconds", "Time to the answer.", ["endpoint"], **where)
        self.pictures = Counter("pictures", "Pictures.", ["outcome"], **where)
        self.batches = Histogram(
            "batch_pictures",
            "Pictures in a batch of the network.",
            buckets=[1, 2, 4, 8, 16, 32],
            **where,
        )
        self.loads = Counter("loads", "Changed files that were loaded.", ["outcome"], **where)
        self.lag = Histogram(
            "event_loop_lag_seconds",
            "How late the event loop is.",
            buckets=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
            **where,
        )
        self.active = Gauge("active_requests", "Requests that are being answered.", **where)
        self.start = Gauge("start_seconds", "Time of the start.", ["phase"], **where)

    def to_text(self) -> bytes:
        """Return all counts as Prometheus reads them."""
        return generate_latest(self.registry)
