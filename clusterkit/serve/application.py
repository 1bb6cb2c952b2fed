"""Make the application: what is served, its endpoints, and the checks before them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.errors import InvalidInputError
from clusterkit.serve.limits import LOCAL_HOSTS, Limits, check_hosts
from clusterkit.serve.phases import Phases
from clusterkit.utils.imports import require
from clusterkit.utils.locations import as_path

if TYPE_CHECKING:
    from clusterkit.serve.protection import Protection


def create_app(
    store: str | Path | None = None,
    *,
    extractor: str | None = None,
    weights: str | Path | None = None,
    model: str | Path | None = None,
    clusters: str | Path | None = None,
    token: str | None = None,
    hosts: Collection[str] = LOCAL_HOSTS,
    any_address: bool = False,
    limits: Limits | None = None,
    look_seconds: float = 2.0,
) -> Protection:
    """Return the ASGI application.

    Everything is loaded before it returns.  Files that change later are loaded in the background
    and swapped in, if the server sends lifespan events.

    Parameters
    ----------
    store : path, optional
        The store, for neighbours, groups and vectors.
    extractor : str, optional
        Which of its spaces; by default that of ``clusters``, or the default space.
    weights : path, optional
        The weights of its network, if the file has moved.
    model : path, optional
        A ``.keras`` file of ``clusterkit train classifier``, for classes.
    clusters : path, optional
        A table of ``clusterkit cluster``, for groups.
    token : str, optional
        Token that clients must send, as a bearer token or as the password of HTTP Basic.
    hosts : collection of str
        Names of this server that requests may use, and pages that send them; without a port.
    any_address : bool
        Whether requests may use any IP address instead.
    limits : Limits, optional
        Limits of requests.
    look_seconds : float
        How often to look for changed files, in seconds.

    Returns
    -------
    ASGI application
        Its endpoints are in its OpenAPI document, ``/openapi.json``.

    Raises
    ------
    InvalidInputError
        If there is nothing to serve, or an argument is out of range.
    NotFoundError, WeightsError, StoreError
        If a file is missing or damaged.
    MissingDependencyError
        If the extra ``serve`` is not installed.

    Examples
    --------
    >>> from starlette.testclient import TestClient  # doctest: +SKIP
    >>> app = create_app(".clusterkit")  # doctest: +SKIP
    >>> client = TestClient(app, base_url="http://localhost")  # doctest: +SKIP
    >>> client.post("/v1/similar?n=1", files={"files": open("a.jpg", "rb")})  # doctest: +SKIP
    <Response [200 OK]>
    """
    check_extra()
    phases = Phases()
    with phases.phase("import"):
        from clusterkit.serve.protection import Protection
        from clusterkit.serve.routes import make_routes
        from clusterkit.serve.served import Sources
        from clusterkit.serve.service import Service

    limits = limits or Limits()
    limits.check()
    if token is not None and (
        not token.isascii() or not token.isprintable() or token.strip() != token or not token
    ):
        raise InvalidInputError(
            "the token must be printable ASCII text, without spaces at its ends"
        )
    check_hosts(hosts)
    if not look_seconds > 0:
        raise InvalidInputError(f"look_seconds must be above 0. Received: {look_seconds}")
    store, weights, model, clusters = (
        None if path is None else as_path(path) for path in (store, weights, model, clusters)
    )
    sources = Sources(store, extractor, weights, model, clusters)
    service = Service(sources, limits, phases)
    with phases.phase("endpoints"):
        routes = make_routes(service, has_token=token is not None, look_seconds=look_seconds)
    for phase, seconds in phases.seconds.items():
        service.metrics.start.labels(phase).set(seconds)
    return Protection(routes, service, token=token, hosts=hosts, any_address=any_address)


def check_extra() -> None:
    """Raise MissingDependencyError unless everything for a server is installed."""
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        require(module, extra="serve", caller="serve")
