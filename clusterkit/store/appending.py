"""Write rows as the next parts of a space."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from clusterkit.errors import StoreError
from clusterkit.store.ledgers import Ledgers
from clusterkit.store.part_list import Part, part_name
from clusterkit.store.snapshot import read_consistently
from clusterkit.store.writing import prepare
from clusterkit.utils.text import plural

# pyarrow is imported on use, to keep the import of this module fast.
if TYPE_CHECKING:
    from clusterkit.store.part_file import Row

# Rows per part when rows of other parts are written again.
PART_ROWS = 2048


def append(ledgers: Ledgers, rows: list[Row]) -> None:
    """Write rows, see :meth:`Space.append`."""
    from clusterkit.store.part_file import rows_to_table

    prepare(ledgers)
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
