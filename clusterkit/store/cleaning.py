"""Drop outdated rows of a space; the remaining rows are written as new parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from clusterkit.errors import StoreError
from clusterkit.store.ledgers import MOMENT, ORDINARY, Ledgers
from clusterkit.store.part_list import Part, number_of, part_name
from clusterkit.store.snapshot import FACTS, KnownRow, Snapshot
from clusterkit.store.writing import PART_ROWS, write_parts, writing_remotely
from clusterkit.utils.locations import find_gone

# Number of small parts above which they are joined, since slow or small runs add many.
_SMALL_ROWS, _MANY_SMALL = PART_ROWS // 4, 16


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
            rewritten += write_parts(ledgers, tables, name)
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
        with writing_remotely(ledgers, embeds=False):
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
