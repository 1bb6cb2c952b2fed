"""Simulate a process that is killed at one of its writes, without a process."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

# All functions that write.  A kill happens at one of them; after it, all fail.
WRITES = [
    *[(os, name) for name in ("link", "unlink", "rename", "replace", "mkdir", "rmdir")],
    *[(os, name) for name in ("symlink", "fsync")],
    (shutil, "copyfile"),
    (shutil, "copystat"),
    (Path, "write_bytes"),
]
Write = tuple[Any, str]


class Killed(BaseException):
    """The process was killed; no ``except Exception`` catches this."""


@contextmanager
def killed_at(count: int, *, victim: Write | None = None, across: bool = False) -> Iterator[None]:
    """Simulate a kill at a write, whose file may then be incomplete.

    Parameters
    ----------
    count : int
        Number of the write, or of the call of ``victim``, at which it happens, from 1.
    victim : tuple of (owner, name), optional
        A function that writes; by default, all of them.
    across : bool
        Whether files cannot be linked between folders, as between two disks.
    """
    calls, is_dead = 0, False
    link, write_bytes = os.link, Path.write_bytes

    def deadly(function: Callable[..., Any], write: Write) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls, is_dead
            if is_dead:
                raise Killed
            calls += victim in (None, write)
            if calls == count:
                is_dead = True
                if write == (shutil, "copyfile"):
                    data = Path(arguments[0]).read_bytes()
                    write_bytes(Path(arguments[1]), data[: len(data) // 2])
                raise Killed
            return function(*arguments, **options)

        return call

    def other_disk(source: Any, target: Any, **options: Any) -> None:
        if across and Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target, **options)

    with ExitStack() as stack:
        stack.enter_context(patch.object(os, "link", other_disk))
        for owner, name in WRITES:
            wrapped = deadly(getattr(owner, name), (owner, name))
            stack.enter_context(patch.object(owner, name, wrapped))
        yield


class Changes:
    """Counts the changes of the file system by a store, and simulates a kill at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int | None = None) -> None:
        self.n, self.last = 0, last
        for name in ("replace", "unlink"):
            monkeypatch.setattr(Path, name, self._counting(getattr(Path, name)))

    def _counting(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def counted(path: Path, *arguments: Any, **options: Any) -> Any:
            self.n += 1
            if self.last is not None and self.n > self.last:
                raise Killed
            return change(path, *arguments, **options)

        return counted
