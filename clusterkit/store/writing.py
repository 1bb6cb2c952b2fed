"""Runs that write to a space: set-up, locks, rows as new parts, and clean-up of outdated ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from clusterkit.errors import StoreError, UnreachableError
from clusterkit.store.ledgers import MOMENT, ORDINARY, PATIENCE, Ledgers, check_writer
from clusterkit.store.snapshot import FACTS, KnownRow, Snapshot, read_consistently
from clusterkit.store.space_files import FORMAT, Part, number_of, part_name
from clusterkit.utils.files import touch
from clusterkit.utils.locations import find_gone
from clusterkit.utils.text import plural

# pyarrow is imported on use, to keep the import of this module fast.
if TYPE_CHECKING:
    from clusterkit.store.part_file import Row

# Maximum rows per part, of new rows and of those of other parts that are written again.
PART_ROWS = 2048
# Number of small parts above which they are joined, since slow or small runs add many.
_SMALL_ROWS, _MANY_SMALL = PART_ROWS // 4, 16


@contextmanager
def writing(ledgers: Ledgers, *, embeds: bool = True) -> Iterator[None]:
    """Lock a space for the ordinary run, see :meth:`Space.writing`."""
    folders = ledgers.folders
    if folders.is_remote:
        with _writing_remotely(ledgers, embeds=embeds):
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
        with _writing_remotely(ledgers, embeds=True, beside=True):
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
def _writing_remotely(ledgers: Ledgers, *, embeds: bool, beside: bool = False) -> Iterator[None]:
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
    written = _write_parts(ledgers, tables, partial(part_name, number=number, writer=writer))
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


def _write_parts(ledgers: Ledgers, tables: Iterable[Any], name: Callable[[str], str]) -> list[Part]:
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


def check_alone(ledgers: Ledgers) -> None:
    """Check that rows can be dropped, see :meth:`Space.check_alone`."""
    if ledgers.writer != ORDINARY:
        raise StoreError(
            f"another run is writing to {ledgers.folders.parts}, or was killed in the last hour: "
            "prune when it has ended"
        )


def clean(ledgers: Ledgers, *, prune: bool = False) -> int:
    """Drop outdated rows, see :meth:`Space.clean`."""
    if prune:
        check_alone(ledgers)
    elif ledgers.writer != ORDINARY:
        return 0
    ledgers.absorb()
    snapshot = Snapshot(ledgers, ledgers.joined())
    # Read before checking for other writers: later writers add rows that are later than these.
    live = ledgers.live()
    known = snapshot.known_rows()
    candidates = known if prune else _files_of_shared_content(known)
    gone = find_gone(candidates)
    if not prune:
        present = {known[file].digest for file in candidates if file not in gone}
        gone = {file for file in gone if known[file].digest in present}
    own = ledgers.own()
    # The parts of other writers remain until their lists are taken over.
    keep: dict[str, list[int]] = {part.name: [] for part in own.parts}
    gone = {file for file in gone if known[file].part in keep}
    for file in known.keys() - gone:
        if known[file].part in keep:
            keep[known[file].part].append(known[file].position)
    small = [part for part in own.parts if 0 < len(keep[part.name]) < _SMALL_ROWS]
    joined = {part.name for part in small} if len(small) > _MANY_SMALL and not live else set()
    # A part of format 1 has no checksum, and may hold failures.
    replaced = [
        part
        for part in own.parts
        if part.rows != len(keep[part.name]) or not part.checksum or part.name in joined
    ]
    if replaced:
        next_number = snapshot.listed.next_number
        rewritten = []
        # While others write, each part keeps its place in the order of all parts.
        for number, tables in _valid_rows(snapshot, replaced, keep, 1 if live else PART_ROWS):
            name = partial(part_name, number=number, rewritten=next_number)
            rewritten += _write_parts(ledgers, tables, name)
            next_number += 1
        try:
            ledgers.replace(replaced, rewritten, next_number)
        except OSError as error:
            raise ledgers.folders.cannot_write(error) from error
    return len(gone)


def settle(ledgers: Ledgers) -> None:
    """Take over the lists of further writers if all have ended, see :meth:`Space.settle`."""
    from filelock import Timeout

    if not ledgers.folders.part_files():
        return
    if ledgers.folders.is_remote:
        with _writing_remotely(ledgers, embeds=False):
            clean(ledgers)
        return
    # Two writers that end at the same time see each other; the one that waits finds the other gone.
    with suppress(Timeout), ledgers.holding(ORDINARY, timeout=MOMENT):
        if not ledgers.live():
            ledgers.delete_leftovers()
            ledgers.absorb()
            ledgers.mend(check=False)
            clean(ledgers)


def _valid_rows(
    snapshot: Snapshot, parts: list[Part], keep: dict[str, list[int]], n_rows: int
) -> Iterator[tuple[int, list[Any]]]:
    """Yield the rows of parts that are kept, as number and tables of new parts.

    Parts are joined until there are ``n_rows``, and then have the number of the last of them.
    """
    import pyarrow as pa

    from clusterkit.store.part_file import schema, split_table

    columns = [*FACTS, "width", "height", "vector", "top5"]
    dimension, numbers = snapshot.description.info["dimension"], snapshot.description.numbers
    number = 0
    waiting: list[list[Any]] = [
        [schema(dimension, numbers).empty_table()],
        [schema(None).empty_table()],
    ]
    for part in parts:
        if not keep[part.name]:
            continue
        table = snapshot.read_part(part, columns).take(sorted(keep[part.name]))
        for tables, found in zip(waiting, split_table(table, dimension, numbers), strict=True):
            tables.append(found)
        number = number_of(part.name)
        if max(sum(map(len, tables)) for tables in waiting) >= n_rows:
            yield number, [pa.concat_tables(tables) for tables in waiting]
            waiting = [tables[:1] for tables in waiting]
    yield number, [pa.concat_tables(tables) for tables in waiting]


def _files_of_shared_content(known: dict[str, KnownRow]) -> list[str]:
    """Return the files whose content is known at another path as well."""
    n_files = Counter(row.digest for row in known.values())
    return [
        file for file, row in known.items() if row.digest is not None and n_files[row.digest] > 1
    ]
