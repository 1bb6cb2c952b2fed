"""Read tables of users as rows of text, and write CSV files.

Tables are CSV files from pandas, R, Excel or a text editor: delimiter and encoding are detected,
blank rows and empty columns are skipped, and the interpretation is kept as remarks.
"""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusterkit.errors import InvalidInputError, NotFoundError
from clusterkit.utils.files import check_output, write_whole
from clusterkit.utils.locations import RemotePath, as_path
from clusterkit.utils.text import escape_path, unescape_path

TABLE_SUFFIXES = frozenset({".csv", ".tab", ".tsv"})
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # starts like UTF-16's, so it must be first
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_REMEDY = "Save it as CSV in the program that made it"
# Enough bytes for a header and some rows; a multiple of UTF-32's four.
_HEAD = 2**20
# Number of rows for detecting the delimiter.
_SAMPLE = 100
# Characters that start a formula in a spreadsheet, and the prefix that marks text; the prefix is
# doubled if the text starts with it.
_SIGNS = r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"  # the last four are full-width forms
_FORMULA = re.compile(f"'*{_SIGNS}")
_PROTECTED = re.compile(f"'(?='*{_SIGNS})")
_RAW = re.compile("[\udc80-\udcff]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """The cells of a table as text.

    Attributes
    ----------
    file : pathlib.Path
        The file of the table.
    header : list of str
        The names of the columns.
    rows : list of list of str
        Rows as long as the header.  Bytes that are not UTF-8 are lone surrogates, as in file names;
        :func:`as_text` decodes them.
    remarks : list of str
        Differences to a plain CSV file, such as another delimiter or UTF-16.
    is_windows : bool
        Whether the line ends are those of Windows, where file names have no bytes that are not
        UTF-8.
    """

    file: Path
    header: list[str]
    rows: list[list[str]]
    remarks: list[str] = field(default_factory=list)
    is_windows: bool = False

    def column(self, index: int) -> list[str]:
        """Return the cells of one column."""
        return [row[index] for row in self.rows]


def read_table(file: str | Path) -> Table:
    """Read a table of any delimiter and encoding.

    Parameters
    ----------
    file : path
        A text file with a header.  Columns are separated by commas, semicolons, tabs, bars or
        spaces; the encoding is UTF-8, UTF-16, or Windows code page 1252.

    Returns
    -------
    Table
        The table without blank rows, and without columns that have neither name nor content.

    Raises
    ------
    NotFoundError
        If the file does not exist.
    InvalidInputError
        If the file is not a table, is on object storage, has no rows, or a row differs in length
        from the header.
    """
    file = as_path(file, "a table")
    if isinstance(file, RemotePath):
        raise InvalidInputError(f"{file} is on object storage: name a table on this machine")
    try:
        data = file.read_bytes() if file.is_file() or not file.exists() else None
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {file}") from None
    except OSError as error:
        raise InvalidInputError(f"cannot read {file}: {error}") from error
    if data is None:
        raise InvalidInputError(f"cannot read {file}: it is not a regular file")
    text, encoding = _decode(data, file)
    text, delimiter, is_short = _find_delimiter(text)
    remarks = [f"as {encoding}"] if encoding else []
    if delimiter != ",":
        remarks.append(f"with {_DELIMITERS.get(delimiter, repr(delimiter))} between its columns")
    header, rows = _read_rows(text, delimiter, is_short, file)
    if not rows:
        raise InvalidInputError(f"{file} must have a header and at least one row. It has none")
    used = [
        index
        for index, name in enumerate(header)
        if name or any(row[index].strip() for row in rows)
    ]
    if len(used) < len(header):
        header = [header[index] for index in used]
        rows = [[row[index] for index in used] for row in rows]
    return Table(file, header, rows, remarks, b"\r\n" in data)


def sniff(file: Path) -> tuple[list[str], str, str, int]:
    """Read the header of a table, which may be too large for :func:`read_table`.

    Parameters
    ----------
    file : pathlib.Path
        The table.

    Returns
    -------
    header : list of str
        Column names.
    delimiter : str
        Separator of the columns.
    encoding : str
        Encoding; empty for UTF-8.
    n_lines : int
        Number of lines up to the end of the header: 1, or more with blank ones or Excel's line of
        the delimiter before it.

    Raises
    ------
    NotFoundError, InvalidInputError
        As for :func:`read_table`.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(_HEAD)
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {file}") from None
    except OSError as error:
        raise InvalidInputError(f"cannot read {file}: {error}") from error
    # The data may end within a line, and in UTF-8 within a character.
    is_cut = len(data) == _HEAD and b"\n" in data
    if is_cut and b"\0" not in data:
        data = data[: data.rindex(b"\n")]
    text, encoding = _decode(data, file)
    if is_cut and b"\0" in data:
        text = text.rpartition("\n")[0]
    text, delimiter, _ = _find_delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    first = next((row for row in reader if any(map(str.strip, row))), [])
    return [as_text(cell) for cell in first], delimiter, encoding, reader.line_num


def is_raw(cell: str) -> bool:
    """Return whether a cell has bytes that are not UTF-8, as lone surrogates."""
    return not cell.isascii() and _RAW.search(cell) is not None


def say_code_page(cells: Iterable[str]) -> list[str]:
    """Return a remark with an example if cells are not UTF-8, otherwise none."""
    for cell in cells:
        if is_raw(cell):
            return [f"as Windows' code page 1252 (such as {as_text(cell)!r})"]
    return []


def as_text(cell: str) -> str:
    """Return a cell as text, decoding bytes that are not UTF-8 as Windows code page 1252.

    Bytes that are undefined in the code page remain lone surrogates.
    """
    if not is_raw(cell):
        return cell
    return cell.encode("utf-8", "surrogateescape").decode("cp1252", "surrogateescape")


def spellings(cell: str) -> list[str]:
    """Return possible file names of a cell, the most likely first.

    These are the cell itself, its :func:`as_text`, and its :func:`unprotect`.
    """
    found = [cell, cell.strip(), as_text(cell)]
    return list(dict.fromkeys([*found, *map(unprotect, found)]))


def to_csv(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    r"""Return a table as CSV that is safe to open in spreadsheets.

    Parameters
    ----------
    header : sequence
        Column names.
    rows : iterable of sequences
        Cells: numbers and strings such as paths and names.

    Returns
    -------
    str
        CSV with line ends ``\n``.  Strings that a spreadsheet would evaluate as a formula, because
        they start with ``=``, ``+``, ``-``, ``@``, a tab or a line end, get the prefix ``'``, and
        so do strings that start with such a ``'``.  Bytes that are not UTF-8 are escaped by
        :func:`clusterkit.utils.text.escape_path`.  :func:`unprotect` reverses both.

    Examples
    --------
    >>> print(to_csv(["path", "cluster"], [["=1+1.png", -1]]), end="")
    path,cluster
    '=1+1.png,-1
    """
    return "".join(csv_lines(header, rows))


def write_csv(
    path: str | Path,
    header: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a table as :func:`to_csv` returns it.

    Parameters
    ----------
    path : path
        The CSV file.
    header, rows
        See :func:`to_csv`.
    overwrite : bool, default False
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is false.
    """
    path = check_table(path, overwrite=overwrite)
    write_whole(path, to_csv(header, rows))
    return path


def check_table(path: str | Path, *, overwrite: bool = False) -> Path:
    """Check that a CSV file can be written, and return its path.

    Raises
    ------
    InvalidInputError
        If its name is that of another format, such as .xlsx, which no program would open.
    NotFoundError, OutputExistsError
        As :func:`~clusterkit.utils.files.check_output` does.
    """
    path = as_path(path, "the output")
    if path.suffix.lower() not in ("", ".csv", ".txt"):
        raise InvalidInputError(f"a table's name must end in .csv. Received: {path}")
    return check_output(path, overwrite=overwrite)


def csv_lines(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield the lines of :func:`to_csv`, for tables that do not fit in memory."""
    line = _Line()
    # With "\r" in the line terminator, csv also quotes carriage returns within cells.
    writer = csv.writer(line, lineterminator="\r\n")
    for row in itertools.chain([header], rows):
        writer.writerow([_protect(cell) for cell in row])
        yield f"{line.text[:-2]}\n"


def unprotect(cell: str) -> str:
    """Undo the escaping of :func:`to_csv`."""
    return unescape_path(cell[1:] if _PROTECTED.match(cell) else cell)


class _Line:
    """File-like object that holds the last line of the csv module."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def _protect(cell: Any) -> Any:
    """Escape a string that a spreadsheet would evaluate; numbers are unchanged."""
    if not isinstance(cell, str) or (cell.isascii() and cell[:1].isalnum() and "\\" not in cell):
        return cell  # fast path for most cells
    is_formula = _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return escape_path(f"'{cell}" if is_formula else cell)


def _decode(data: bytes, file: Path) -> tuple[str, str]:
    """Return a table's text, and its encoding if not UTF-8."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if encoding is None and b"\0" in data[:400]:
        # UTF-16 without a byte order mark: one of the two bytes of a Western letter is 0.  A stray
        # 0 is not enough.
        even, odd = data[:400:2].count(0), data[1:400:2].count(0)
        if min(even, odd) == 0 and 10 * max(even, odd) > len(data[:400:2]):
            encoding = "utf-16-le" if even == 0 else "utf-16-be"
    try:
        text = data.decode(encoding or "utf-8", "surrogateescape" if encoding is None else "strict")
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise InvalidInputError(
                f"{file} is not a text table: as {encoding} {error.reason}. {_REMEDY}"
            ) from error
        text = data.decode(encoding, "surrogateescape")
    if "\0" in text:
        raise InvalidInputError(f"{file} is not a text table: it holds binary data. {_REMEDY}")
    if encoding not in (None, "utf-8-sig"):
        return text, str(encoding).upper()
    return text, ""


def _find_delimiter(text: str) -> tuple[str, str, bool]:
    """Return the text, the delimiter, and whether the header lacks one name.

    Excel's line with the delimiter becomes a blank one.  R writes row names without a header.
    """
    named = re.match(r"sep=(.)\r?\n", text)
    if named:
        # Lines keep their numbers, for messages.
        text = f"\n{text[named.end() :]}"
    ranks = {}
    for order, delimiter in enumerate(named[1] if named else _DELIMITERS):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            rows = list(
                itertools.islice((row for row in reader if any(map(str.strip, row))), _SAMPLE)
            )
        except csv.Error:
            continue
        header, *others = map(len, rows or [[]])
        is_even = all(width == header for width in others)
        is_short = bool(others) and all(width == header + 1 for width in others)
        if header > 1 or is_short:
            rank = (header == 1, not (is_even or is_short), delimiter == " ", order)
            ranks[rank] = (delimiter, is_short)
    delimiter, is_short = ranks[min(ranks)] if ranks else (named[1] if named else ",", False)
    return text, delimiter, is_short


def _read_rows(
    text: str, delimiter: str, is_short: bool, file: Path
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the non-blank rows."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    line = 0
    try:
        for row in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = [unprotect(as_text(name)).strip() for name in row]
                header = ["", *header] if is_short else header
                continue
            while len(row) > len(header) and not row[-1].strip():
                row.pop()
            if len(row) != len(header):
                raise InvalidInputError(
                    f"{file}, line {line}: must have {len(header)} columns like "
                    f"the header. Received: {len(row)}"
                )
            rows.append(row)
    except csv.Error as error:
        # A quotation mark that is not closed is in the first line of its row.
        raise InvalidInputError(
            f"cannot read {file}, line {line + 1}: {error}. Check its quotation marks: within a "
            "cell each is written twice, and the cell between two more"
        ) from error
    return header, rows
