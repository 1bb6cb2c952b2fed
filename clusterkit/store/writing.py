"""Runs that write to a space: set-up, locks, and clean-up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from clusterkit.errors import StoreError, UnreachableError
from clusterkit.store.description import FORMAT
from clusterkit.store.ledgers import MOMENT, ORDINARY, PATIENCE, Ledgers, check_writer
from clusterkit.utils.files import touch


@contextmanager
def writing(ledgers: Ledgers, *, embeds: bool = True) -> Iterator[None]:
    """Lock a space for the ordinary run, see :meth:`Space.writing`."""
    folders = ledgers.folders
    if folders.is_remote:
        with writing_remotely(ledgers, embeds=embeds):
            yield
        return
    info = ledgers.description.info
    with ExitStack() as held:
        with _explaining(ledgers):
            folders.make()
            held.enter_context(ledgers.holding(ORDINARY, timeout=MOMENT))
            ledgers.delete_leftovers()
            _begin(ledgers, info)
            ledgers.absorb()
            ledgers.mend()
            if embeds:
                touch(ledgers.description.file)
        try:
            yield
        finally:
            folders.remove_empty()


@contextmanager
def adding(ledgers: Ledgers, writer: str) -> Iterator[None]:
    """Lock the name of a further writer, see :meth:`Space.adding`."""
    check_writer(writer)
    folders = ledgers.folders
    if folders.is_remote:
        # Two processes under one name would not notice each other.
        with writing_remotely(ledgers, embeds=True, beside=True):
            yield
        return
    info = ledgers.description.info
    with ExitStack() as held:
        with _explaining(ledgers, f" as {writer}"):
            folders.make()
            held.callback(_remove_unused, ledgers)
            held.enter_context(ledgers.holding(writer, timeout=PATIENCE))
            _join(ledgers, info)
            held.enter_context(ledgers.adding(writer))
            touch(ledgers.description.file)
        yield


@contextmanager
def writing_remotely(ledgers: Ledgers, *, embeds: bool, beside: bool = False) -> Iterator[None]:
    """Write on object storage: as the ordinary run if alone, otherwise as a further writer."""
    info = ledgers.description.info

    def remove(_kind: Any, error: BaseException | None, _trace: Any) -> None:
        """Remove the files of a run without parts, if the service can be reached."""
        if not isinstance(error, UnreachableError):
            ledgers.folders.remove_empty()

    with ExitStack() as held:
        held.push(remove)
        with _explaining(ledgers):
            marker = held.enter_context(ledgers.marked())
            if beside or ledgers.live():
                ledgers.description.complete(info)
                held.enter_context(ledgers.adding(marker.writer))
            else:
                _begin(ledgers, info)
                ledgers.absorb()
                ledgers.mend()
            if embeds:
                touch(ledgers.description.file)
        yield


def prepare(ledgers: Ledgers) -> None:
    """Create the missing files of a space before rows are written.

    Raises
    ------
    StoreError
        If it was deleted since this run began, or cannot be written.
    """
    folders, description = ledgers.folders, ledgers.description
    is_described = description.read() is not None
    if is_described and folders.is_remote:
        return  # saves a request
    is_held = ledgers.holds(ledgers.writer)
    if is_described:
        return
    info = description.info
    with _explaining(ledgers):
        if folders.is_remote and ledgers.writer != ORDINARY:
            description.complete(info)
        elif folders.is_remote or (is_held and ledgers.writer == ORDINARY):
            _begin(ledgers, info)
        else:
            folders.make()
            _join(ledgers, info)


def _begin(ledgers: Ledgers, info: dict[str, Any]) -> None:
    """Create the folders, list of parts and description."""
    ledgers.folders.make()
    ledgers.folders.tidy()
    ledgers.create()
    ledgers.description.complete(info)


def _join(ledgers: Ledgers, info: dict[str, Any]) -> None:
    """Create the files for a further writer, unless they exist."""
    from filelock import Timeout

    recorded = ledgers.description.read()
    is_set_up = recorded is not None and recorded["format"] == FORMAT
    is_set_up = is_set_up and ledgers.list_file(ORDINARY).exists()
    try:
        with ledgers.holding(ORDINARY, timeout=0 if is_set_up else PATIENCE):
            _begin(ledgers, info)
    except Timeout:
        # An ordinary run holds the lock while it runs, and has written the description.
        if not is_set_up:
            raise


def _remove_unused(ledgers: Ledgers) -> None:
    """Remove the folders after a further writer, unless there are parts or other writers."""
    from filelock import Timeout

    if ledgers.folders.part_files() or not ledgers.folders.about.exists():
        return
    with suppress(OSError, Timeout), ledgers.holding(ORDINARY):
        ledgers.folders.remove_empty()


@contextmanager
def _explaining(ledgers: Ledgers, name: str = "") -> Iterator[None]:
    """Explain why a run cannot begin: another holds the lock, or nothing can be written."""
    from filelock import Timeout

    try:
        yield
    except Timeout:
        raise StoreError(
            f"another run is writing to {ledgers.folders.parts}{name}: wait for it to end, then "
            "run again"
        ) from None
    except OSError as error:
        raise ledgers.folders.cannot_write(error) from error
