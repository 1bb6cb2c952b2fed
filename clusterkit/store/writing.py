"""Runs that write to a space: set-up, locks, rows as new parts, and clean-up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from clusterkit.errors import StoreError, UnreachableError
from clusterkit.store.description import FORMAT
from clusterkit.store.ledgers import MOMENT, ORDINARY, PATIENCE, Ledgers, check_writer
from clusterkit.store.part_list import Part, part_name
from clusterkit.store.snapshot import read_consistently
from clusterkit.utils.files import touch
from clusterkit.utils.text import plural

# pyarrow is imported on use, to keep the import of this module fast.
if TYPE_CHECKING:
    from clusterkit.store.part_file import Row

# Maximum rows per part, of new rows and of those of other parts that are written again.
PART_ROWS = 2048


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


def _prepare(ledgers: Ledgers) -> None:
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


def append(ledgers: Ledgers, rows: list[Row]) -> None:
    """Write rows, see :meth:`Space.append`."""
    from clusterkit.store.part_file import rows_to_table

    _prepare(ledgers)
    description, kept = ledgers.description, [row for row in rows if row.kept is not None]
    dimension = description.info["dimension"]
    lost = read_consistently(ledgers, lambda snapshot: snapshot.fetch(kept))
    rows = [row for row in rows if row.kept is None]
    tables = [
        rows_to_table([row for row in rows if row.error is None], dimension, description.numbers),
        rows_to_table([row for row in rows if row.error is not None], None),
    ]
    # Later than all rows of other writers so far.
    number, writer = ledgers.joined().next_number, ledgers.writer
    written = write_parts(ledgers, tables, partial(part_name, number=number, writer=writer))
    try:
        ledgers.add(written)
    except OSError as error:
        raise ledgers.folders.cannot_write(error) from error
    if lost:
        raise StoreError(
            f"the vectors of {plural(len(lost), 'image')} were dropped by another run that was "
            "writing to the store: run again"
        )


def append_kept(ledgers: Ledgers, rows: list[Row]) -> None:
    """Write rows whose vectors are in parts, see :meth:`Space.append_kept`."""
    place = {part.name: place for place, part in enumerate(ledgers.joined().parts)}
    ordered = [(place.get(row.kept[0], 0), row.kept[1], row) for row in rows if row.kept]
    ordered.sort(key=lambda item: item[:2])
    for start in range(0, len(ordered), PART_ROWS):
        append(ledgers, [row for *_, row in ordered[start : start + PART_ROWS]])


def write_parts(ledgers: Ledgers, tables: Iterable[Any], name: Callable[[str], str]) -> list[Part]:
    """Write rows with vectors, and failures, as parts; ``name`` gives that of either kind."""
    from clusterkit.store.part_file import write_part

    folders, fingerprint = ledgers.folders, ledgers.description.info["fingerprint"]
    places = {"part": folders.parts, "failures": folders.about}
    return [
        write_part(place / name(kind), table, fingerprint, folder=folders.about)
        for (kind, place), table in zip(places.items(), tables, strict=True)
        if len(table)
    ]


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
    is_set_up = is_set_up and ledgers.list_file().exists()
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
