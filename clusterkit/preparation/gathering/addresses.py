"""Read which pictures to gather: a list or a table of addresses, with their labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from clusterkit.datasets.label_tables import LABEL_SEPARATOR, read_label_table
from clusterkit.datasets.tables import Table, as_text, read_table
from clusterkit.errors import InvalidInputError, NotFoundError
from clusterkit.images.folder import LIST_SUFFIXES

NO_LABELS = "none"
_NO_HOST = re.compile(r"[\s%]")
_ADDRESS = re.compile(r"\s*https?://\S", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """A picture to gather.

    Attributes
    ----------
    address : str
        Its address.
    labels : tuple of str
        Its labels: none, one, or several.
    facts : dict of str to str
        Other facts, by the name of the column.
    """

    address: str
    labels: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)


def parse_address(text: str, base: str | None = None) -> str:
    """Return an address in its usual spelling, without a fragment.

    Parameters
    ----------
    text : str
        The address.
    base : str, optional
        Address of the page where it was found, for relative addresses.

    Raises
    ------
    InvalidInputError
        If it is not an address, is not of the web, or holds a password, which would be recorded.

    Examples
    --------
    >>> parse_address("HTTP://Example.org/a b.jpg#top")
    'http://example.org/a%20b.jpg'
    >>> parse_address("../x.png", base="https://example.org/list/1")
    'https://example.org/x.png'
    """
    text = text.strip()
    try:
        url = httpx.URL(text) if base is None else httpx.URL(base).join(text)
        url = url.copy_with(fragment=None) if url.fragment else url
        is_complete = url.scheme in ("http", "https") and bool(url.host)
        if is_complete and (_NO_HOST.search(url.host) or not 0 < (url.port or 80) < 2**16):
            raise ValueError("its host or port is invalid")
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise InvalidInputError(f"an invalid address: {text[:200]!r} ({error})") from None
    if not is_complete:
        raise InvalidInputError(
            f"an address that does not start with http:// or https://. Received: {text[:200]!r}"
        )
    if url.userinfo:
        raise InvalidInputError(f"an address with a user name in it, at {url.host}")
    return str(url)


def read_addresses(
    source: Path,
    *,
    address_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str | None = None,
) -> list[Wanted]:
    """Read a list or a table of addresses.

    Parameters
    ----------
    source : pathlib.Path
        A ``.txt`` file with one address per line, and its label behind it if it has one, with ``|``
        between several; lines that start with # are skipped.  Any other file is a table, see
        :func:`clusterkit.datasets.tables.read_table`.
    address_column : str, optional
        The column of addresses.  By default the one that holds them.
    label_column, label_separator
        See :func:`clusterkit.datasets.label_tables.read_label_table`; the label column "none"
        stands for no labels.  A column of train, val and test becomes a fact, ``split``.

    Returns
    -------
    list of Wanted
        In the order of the file, each address once.

    Raises
    ------
    NotFoundError
        If the file does not exist.
    InvalidInputError
        If an address is invalid, or has two labels, the table has no such column, or the file has
        no address.
    """
    if source.suffix.lower() in LIST_SUFFIXES:
        return _read_list(source)
    table = read_table(source)
    if any(map(_ADDRESS.match, table.header)):
        # A table without a header, as `read_label_table` names its columns.
        names = [f"column {number}" for number in range(1, len(table.header) + 1)]
        table = Table(table.file, names, [table.header, *table.rows], table.remarks)
    column = _find_addresses(table, address_column)
    name = table.header[column]
    wants_labels = label_column not in (NO_LABELS, (NO_LABELS,), [NO_LABELS])
    if not wants_labels or len(table.header) == 1:
        cells = (as_text(cell) for cell in table.column(column) if cell.strip())
        return _unite(source, [(cell, (), {}) for cell in cells])
    labelled = read_label_table(
        source,
        path_column=name,
        label_column=label_column or None,
        label_separator=label_separator,
        is_file=lambda cell: _ADDRESS.match(cell) is not None,
    )
    rows = []
    for row, (cell, label) in enumerate(zip(labelled.names, labelled.labels, strict=True)):
        part = None if labelled.parts is None else labelled.parts[row]
        labels = label if isinstance(label, tuple) else () if label is None else (label,)
        rows.append((as_text(cell), labels, {} if part is None else {"split": part}))
    return _unite(source, rows)


def _read_list(source: Path) -> list[Wanted]:
    """Read a list of addresses, each with its label behind it."""
    try:
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {source}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"cannot read {source} as UTF-8: {error}") from error
    rows: list[tuple[str, tuple[str, ...], dict[str, str]]] = []
    for line in text.splitlines():
        address, _, label = line.strip().replace("\t", " ").partition(" ")
        if address and not address.startswith("#"):
            parts = (part.strip() for part in label.split(LABEL_SEPARATOR))
            rows.append((address, tuple(dict.fromkeys(filter(None, parts))), {}))
    return _unite(source, rows)


def _find_addresses(table: Table, name: str | None) -> int:
    """Return the column of addresses: the named one, or the only one that holds some."""
    if name is not None:
        found = [index for index, one in enumerate(table.header) if one.strip() == name.strip()]
        if len(found) == 1:
            return found[0]
        raise InvalidInputError(
            f"--address-column must be a column of {table.file}: {', '.join(table.header)}. "
            f"Received: {name}"
        )
    shares = [
        sum(_ADDRESS.match(cell) is not None for cell in table.column(index)) / len(table.rows)
        for index in range(len(table.header))
    ]
    found = [index for index, share in enumerate(shares) if share > 0.5]
    if len(found) == 1:
        return found[0]
    held = ", ".join(table.header[index] for index in found)
    raise InvalidInputError(
        f"{table.file}: which column holds the addresses is unclear "
        f"({f'{held} all do' if found else 'none holds any that start with http:// or https://'}); "
        f"name it with --address-column. Its columns are {', '.join(table.header)}"
    )


def _unite(
    source: Path, rows: Sequence[tuple[str, tuple[str, ...], dict[str, str]]]
) -> list[Wanted]:
    """Check the addresses, and return each once."""
    found: dict[str, Wanted] = {}
    for number, (text, labels, facts) in enumerate(rows, 1):
        try:
            address = parse_address(text)
        except InvalidInputError as error:
            raise InvalidInputError(f"{source}, entry {number}: {error}") from None
        one = found.setdefault(address, Wanted(address, tuple(labels), facts))
        if set(one.labels) != set(labels):
            first, second = (
                LABEL_SEPARATOR.join(names) or "none" for names in (one.labels, labels)
            )
            raise InvalidInputError(
                f"{source} has two labels for {address}: {first} and {second}. Several labels of a "
                f"picture belong in one line, with {LABEL_SEPARATOR} between"
            )
    if not found:
        raise InvalidInputError(f"{source} has no addresses")
    return list(found.values())
