"""Run the application in a server."""

from __future__ import annotations

import errno
import gc
import ipaddress
import os
import socket
from collections.abc import Callable, Collection
from pathlib import Path

from clusterkit.errors import InvalidInputError
from clusterkit.serve.application import check_extra, create_app
from clusterkit.serve.limits import LOCAL_HOSTS, Limits

# Limits the time of a decoder for a picture from an unknown sender.
_IMAGE_SECONDS = ("CLUSTERKIT_IMAGE_SECONDS", "10")
# Connections per request, including idle ones.
_CONNECTIONS_PER_REQUEST = 4
# Seconds that running requests may take after SIGTERM.
_LAST_SECONDS = 30


def run_server(
    store: str | Path | None = None,
    *,
    extractor: str | None = None,
    weights: str | Path | None = None,
    model: str | Path | None = None,
    clusters: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    hosts: Collection[str] = (),
    limits: Limits | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; running requests are answered first.

    Parameters
    ----------
    store, extractor, weights, model, clusters, token, limits
        See :func:`clusterkit.serve.create_app`.
    host : str
        The address to listen at.  One that other machines can reach needs a token.
    port : int
        The port; 0 for any that is free.
    hosts : collection of str
        Names by which requests may call this server, besides those of this machine and ``host``.
    on_ready : callable, optional
        Called with the address once everything is loaded.

    Raises
    ------
    InvalidInputError
        If the address needs a token, or cannot be listened at, or as for ``create_app``.

    Notes
    -----
    A picture may take 10 seconds to decode, or ``CLUSTERKIT_IMAGE_SECONDS``; a large one, which is
    decoded while the processors are idle, three times as long.
    """
    check_extra()
    import uvicorn

    from clusterkit.serve.connections import patient_for

    is_local = is_loopback(host)
    if not is_local and token is None:
        raise InvalidInputError(
            f"{host} can be reached from other machines: give a token that clients must send, or "
            "listen at 127.0.0.1"
        )
    limits = limits or Limits()
    os.environ.setdefault(*_IMAGE_SECONDS)
    # Before the networks are loaded.
    with _bind(host, port) as listener:
        app = create_app(
            store,
            extractor=extractor,
            weights=weights,
            model=model,
            clusters=clusters,
            token=token,
            hosts={*LOCAL_HOSTS, host, *hosts},
            any_address=not is_local,
            limits=limits,
        )
        config = uvicorn.Config(
            app,
            http=patient_for(limits.idle_seconds),
            lifespan="on",
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS_PER_REQUEST * limits.requests,
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        # The networks hold half a million permanent objects: scanning them for garbage would
        # repeatedly block the event loop for a quarter of a second.
        gc.collect()
        gc.freeze()
        # Until now connections were refused; from now on requests are answered.
        listener.listen(config.backlog)
        if on_ready is not None:
            shown = f"[{host}]" if ":" in host else host
            on_ready(f"http://{shown}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address, which does not listen yet."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            reason = f"{reason}; name another port, or 0 for any that is free"
        raise InvalidInputError(f"cannot listen at {host}, port {port}: {reason}") from error
    return listener
