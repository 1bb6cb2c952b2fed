"""The manifest of gathered pictures: the result of each address, recorded as it happens.

JSON lines: first the format, then one line per event.  The bytes of a picture are flushed to disk
before its line, and the line before the picture gets its final name: after a kill, every complete
picture has its name or can be renamed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from clusterkit.errors import ClusterkitError, InvalidInputError, OutputExistsError
from clusterkit.images.folder import digest_bytes, digest_file
from clusterkit.routing.transfer import make_folder, rename
from clusterkit.utils.documents import (
    FLAG,
    NOTHING,
    TEXT,
    check_document,
    integer,
    list_of,
    table_of,
)
from clusterkit.utils.files import LOCK_NAME, flush, locked
from clusterkit.utils.locations import is_gone

MANIFEST_NAME = "clusterkit-gathered.jsonl"
PARTS = ".clusterkit-parts"
STORED, FAILED = "stored", "failed"
# Outcome of a row in a dry run or an interrupted one.
WAITING = "waiting"
# Layouts of the folder.
BY_CLASS, WITH_TABLE, PLAIN = "a folder per class", "a table of labels", "one folder"
_FORMAT = 1
_RULES = {
    "address": TEXT,
    "labels": list_of(TEXT),
    "facts": table_of(TEXT),
    "outcome": TEXT,
    "reason": TEXT | NOTHING,
    "may_pass": FLAG,
    "file": TEXT | NOTHING,
    "is_copy": FLAG,
    "final_address": TEXT | NOTHING,
    "date": TEXT | NOTHING,
    "digest": TEXT | NOTHING,
    "n_bytes": integer(0) | NOTHING,
}


@dataclass(frozen=True)
class Gathered:
    """Result of an address.

    Attributes
    ----------
    address : str
        The address.
    labels : tuple of str
        The labels of its picture.
    facts : dict of str to str
        What else is known of it.
    outcome : {"stored", "failed", "waiting"}
        Whether the picture is there.
    reason : str, optional
        Why it is not, or a remark.
    may_pass : bool
        Whether a failure may be temporary, so that the next run retries.
    file : str, optional
        The picture, relative to the folder.
    is_copy : bool
        Whether another address with the same labels gave the same picture before; ``file`` is that
        picture.
    final_address : str, optional
        The address after redirects.
    date : str, optional
        When it was asked for, in UTC.
    digest : str, optional
        SHA-256 of the file.
    n_bytes : int, optional
        Its size.
    """

    address: str
    labels: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    outcome: str = WAITING
    reason: str | None = None
    may_pass: bool = False
    file: str | None = None
    is_copy: bool = False
    final_address: str | None = None
    date: str | None = None
    digest: str | None = None
    n_bytes: int | None = None


class GatherManifest:
    """The record of a gathered folder.

    Parameters
    ----------
    folder : pathlib.Path
        The folder; nothing is written before :meth:`writing`.

    Attributes
    ----------
    layout : str or None
        Layout of the folder; None if it is not decided yet.
    rows : dict of str to Gathered
        The result of each address.
    pages : dict of str to dict
        What an interrupted run found on each page.
    tables : set of str
        Digests of the tables of labels that were written.

    Raises
    ------
    OutputExistsError
        If the folder holds other files, and was not gathered.
    InvalidInputError
        If its manifest is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / MANIFEST_NAME
        self.layout: str | None = None
        self.rows: dict[str, Gathered] = {}
        self.pages: dict[str, dict[str, Any]] = {}
        self.tables: set[str] = set()
        self._read()

    @contextmanager
    def writing(self, layout: str) -> Iterator[None]:
        """Record events within the block, with the folder locked.

        If it raises an error before anything was stored, new files are removed.
        """
        is_new = not os.path.lexists(self.folder)
        make_folder(self.folder)
        try:
            with locked(self.folder, doing="gathering"):
                # Another run may have ended since.
                self._read()
                was_empty = self.layout is None
                self._mend()
                if was_empty:
                    self._append({"clusterkit_gather": _FORMAT, "layout": layout})
                    self.layout = layout
                self._finish_renames()
                try:
                    yield
                except (ClusterkitError, OSError):
                    if was_empty and not any(row.digest for row in self.rows.values()):
                        self.file.unlink()
                    raise
                finally:
                    with suppress(OSError):
                        (self.folder / PARTS).rmdir()
        finally:
            if is_new:
                # Only if it is empty.
                with suppress(OSError):
                    self.folder.rmdir()

    def store(self, row: Gathered, content: bytes) -> None:
        """Store a picture, and record it.

        Raises
        ------
        OSError
            If the disk cannot be written, or a file of that name exists.
        """
        assert row.file is not None
        target = self.folder / row.file
        make_folder(target.parent)
        part = self._part(row)
        make_folder(part.parent)
        part.write_bytes(content)
        flush(part)
        flush(part.parent)
        self.add(row)
        rename(part, target)
        flush(target.parent)

    def add(self, row: Gathered) -> None:
        """Record the result of an address."""
        self._append({"picture": asdict(row)})
        self.rows[row.address] = row

    def add_page(self, address: str, page: dict[str, Any]) -> None:
        """Record the content of a page."""
        self._append({"page": address, "found": page})
        self.pages[address] = page

    def add_table(self, digest: str) -> None:
        """Record a table of labels before it is written."""
        if digest not in self.tables:
            self._append({"table": digest})
            self.tables.add(digest)

    def finish(self) -> None:
        """Record the end of a run: the next one reads its pages again."""
        if self.pages:
            self._append({"finished": True})
            self.pages.clear()

    def is_there(self, row: Gathered) -> bool:
        """Return whether the picture of a row is still where it was put."""
        return row.file is not None and not is_gone(self.folder / row.file)

    def _part(self, row: Gathered) -> Path:
        """Return the temporary path of a picture."""
        return self.folder / PARTS / digest_bytes(str(row.file).encode())

    def _finish_renames(self) -> None:
        """Rename complete pictures that a killed run left, and remove incomplete ones."""
        parts = self.folder / PARTS
        if not parts.is_dir():
            return
        for row in self.rows.values():
            if row.outcome != STORED or row.is_copy or not self._part(row).is_file():
                continue
            part = self._part(row)
            if not self.is_there(row) and digest_file(part) == row.digest:
                make_folder((self.folder / str(row.file)).parent)
                rename(part, self.folder / str(row.file))
        for part in parts.iterdir():
            part.unlink()

    def _append(self, line: dict[str, Any]) -> None:
        """Append a line, and wait until it is on the disk."""
        text = json.dumps(line, ensure_ascii=True).encode() + b"\n"
        with self.file.open("ab", buffering=0) as stream:
            end = stream.tell()
            try:
                # A nearly full disk may take only a part.
                while text:
                    text = text[stream.write(text) :]
                os.fsync(stream.fileno())
            except OSError:
                # The line of the table may follow.
                with suppress(OSError):
                    stream.truncate(end)
                raise

    def _mend(self) -> None:
        """Remove an incomplete last line, as left by a kill."""
        if not self.file.exists():
            return
        data = self.file.read_bytes()
        if data and not data.endswith(b"\n"):
            with self.file.open("r+b") as stream:
                stream.truncate(data.rfind(b"\n") + 1)

    def _read(self) -> None:
        """Read the events of all runs."""
        self.layout, self.rows, self.pages, self.tables = None, {}, {}, set()
        try:
            data = self.file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self._check_empty()
            return
        except OSError as error:
            raise InvalidInputError(f"cannot read {self.file}: {error.strerror}") from error
        # A last line without an end was never finished.
        lines = data.split(b"\n")[:-1]
        for number, text in enumerate(lines, 1):
            try:
                self._read_line(json.loads(text), is_first=number == 1)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise InvalidInputError(
                    f"{self.file}, line {number}, is damaged: {error}. Gather into another folder"
                ) from None

    def _read_line(self, line: Any, *, is_first: bool) -> None:
        """Apply one event."""
        if is_first:
            if line["clusterkit_gather"] != _FORMAT:
                raise ValueError(f"its format must be {_FORMAT} for this version of clusterkit")
            self.layout = str(line["layout"])
        elif "picture" in line:
            values = check_document(line["picture"], _RULES)
            values = {name: values[name] for name in _RULES}
            row = Gathered(**{**values, "labels": tuple(values["labels"])})
            if row.file is not None and not _is_inside(row.file):
                raise ValueError(f"{row.file} is not inside of its folder")
            self.rows[row.address] = row
        elif "page" in line:
            self.pages[str(line["page"])] = dict(line["found"])
        elif "table" in line:
            self.tables.add(str(line["table"]))
        elif "finished" in line:
            self.pages.clear()
        else:
            raise ValueError("its kind is not known")

    def _check_empty(self) -> None:
        """Raise an error if the folder holds other files."""
        if not os.path.lexists(self.folder):
            return
        if not self.folder.is_dir():
            raise OutputExistsError(f"{self.folder} exists, and is not a folder")
        others = [entry for entry in self.folder.iterdir() if entry.name not in (LOCK_NAME, PARTS)]
        if others:
            raise OutputExistsError(
                f"{self.folder} holds files that were not gathered, such as {others[0].name}: "
                "gather into a new or an empty folder"
            )


def _is_inside(file: str) -> bool:
    """Return whether a path of a manifest, which is not trusted, stays inside of its folder."""
    path = PurePosixPath(file)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in file and bool(file)


def now() -> str:
    """Return the date and time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
