"""A real S3 server on this machine, in which tests may create buckets and files."""

import logging
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from clusterkit.utils.locations import RemotePath
from tests.kills import Killed


@contextmanager
def running() -> Iterator[str]:
    """Run a server that gets all requests to ``s3://``, and yield its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    others = [name for name in os.environ if name.startswith("AWS_")]
    with patch.dict(os.environ):
        for name in others:
            del os.environ[name]
        os.environ.update(settings)
        try:
            yield settings["AWS_ENDPOINT_URL"]
        finally:
            server.stop()


def make_bucket(server: str, name: str) -> RemotePath:
    """Create an empty bucket on a server."""
    with urllib.request.urlopen(urllib.request.Request(f"{server}/{name}", method="PUT")):
        return RemotePath("s3", name)


def upload(folder: Path, target: RemotePath) -> RemotePath:
    """Upload a folder to a bucket, and return its address."""
    for file in folder.rglob("*"):
        if file.is_file():
            (target / file.relative_to(folder).as_posix()).write_bytes(file.read_bytes())
    return target


@contextmanager
def killed_at(count: int) -> Iterator[None]:
    """Simulate a kill at a change of the object storage, counted from 1."""
    calls = 0

    def deadly(change: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= count:
                raise Killed
            return change(*arguments, **options)

        return call

    with (
        patch.object(RemotePath, "write_bytes", deadly(RemotePath.write_bytes)),
        patch.object(RemotePath, "unlink", deadly(RemotePath.unlink)),
    ):
        yield
