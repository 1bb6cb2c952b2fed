"""Read files, labels and parts of a data set from a table.

Columns are recognised by name, and labels by format: one per cell, several with a separator or as a
list, or one column per class.  Ambiguous tables raise an error.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PureWindowsPath
from typing import Any

from clusterkit.datasets.places import UNLABELLED, part_of, warn_of_look_alikes
from clusterkit.datasets.tables import Table, as_text, is_raw, read_table, say_code_page, unprotect
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.utils.noise import is_missing_text
from clusterkit.utils.text import first_few

# Separator between several labels of an image.
LABEL_SEPARATOR = "|"
# Names of the column of files, in order of certainty; compared without case and punctuation.
_PATH_NAMES = (
    "path filepath imagepath imgpath photopath relativepath relpath fullpath pfad",
    "filename file filenames files image images img imagename imgname imagefile imgfile "
    "imagefilename picture photo pic frame dateiname datei bild fichier archivo",
    "id imageid imgid fileid photoid pictureid isicid uuid guid key",
    "name",
)
_LABEL_NAMES = (
    "label labels labelname class classes classname category categories categoryname genre genres "
    "tag tags target targets truth groundtruth annotation annotations species breed diagnosis dx "
    "emotion kind type klasse kategorie etikett",
    "labelid labelidx labelindex classid classidx classindex categoryid targetid cluster y "
    "prediction predicted",
)
_PART_NAMES = "split set subset partition part usage phase datasplit dataset fold traintest"
_TRUE = frozenset({"1", "1.0", "true", "yes", "t", "y"})
_FALSE = frozenset({"0", "0.0", "false", "no", "f", "n", "-1", "-1.0"})
_LIST = re.compile(r"\s*[\[({](.*)[\])}]\s*", re.DOTALL)
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_DECIMAL = re.compile(r"[+-]?\d+(,\d+)?")
_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{1,4}")


@dataclass(frozen=True)
class LabelTable:
    """Labels and parts of files, as read from a table.

    Attributes
    ----------
    file : pathlib.Path
        The table.
    names : list of str
        Unique names of the files as in the table; see :func:`clusterkit.datasets.tables.spellings`.
    labels : list of (str or tuple of str or None)
        Label of each file, or a tuple of labels if there may be several; None if missing.
    is_multilabel : bool
        Whether files may have any number of labels.
    parts : list of (str or None), or None
        Part of each file, see :func:`clusterkit.datasets.places.part_of`; None without such a
        column.
    header : pair of str
        Names of the columns of files and of labels; the latter is empty if they are ignored.
    """

    file: Path
    names: list[str]
    labels: list[Any]
    is_multilabel: bool = False
    parts: list[str | None] | None = None
    header: tuple[str, str] = ("", "")


def read_label_table(
    file: str | Path,
    *,
    label_column: str | Sequence[str] | None = None,
    path_column: str | None = None,
    label_separator: str | None = None,
    ignore_labels: bool = False,
    is_file: Callable[[str], bool] = lambda name: False,
) -> LabelTable:
    """Read files and their labels from a table.

    Parameters
    ----------
    file : path
        A table of any delimiter and encoding, see :func:`clusterkit.datasets.tables.read_table`.
    label_column : str or sequence of str, optional
        The column of labels, or several columns with 1 for images of their class and 0 for others.
        By default the column with a name such as label, class or genres; otherwise the only other
        column besides the files; otherwise all other columns, if they contain only 0 and 1.
    path_column : str, optional
        The column of files.  By default the one with a name such as path, filename, image or id;
        otherwise the one whose cells have file suffixes; otherwise the first of two columns.
    label_separator : str, optional
        Separator between several labels of an image; ``"none"`` if each cell is one label.  By
        default ``|``, or detected: ``['cat', 'dog']`` is a list, and so is ``cat, dog`` or ``cat;
        dog`` if other cells contain the same words in other combinations.
    ignore_labels : bool, default False
        Whether to read only the files; all labels are None, and the table may have none.
    is_file : callable, optional
        Returns whether a string is the name of a known file: a first line with one is not a header.

    Returns
    -------
    LabelTable
        In the order of the table.

    Raises
    ------
    NotFoundError
        If the table does not exist.
    InvalidInputError
        If the table is invalid, columns or labels are ambiguous, a label is not text, or a file has
        two labels.

    Warns
    -----
    Notice
        How the table was interpreted, unless it is a plain CSV file of two columns; and which
        classes read alike, such as Cat and cat.
    """
    table = read_table(file)
    remarks = list(table.remarks)
    wanted = [label_column] if isinstance(label_column, str) else list(label_column or [])
    table = _with_header(table, is_file, remarks)
    header = [_fold(name) for name in table.header]
    taken = [_find_column(table, name, "--label-column") for name in wanted]
    parts, part_column = (
        (None, None) if ignore_labels else _find_parts(table, header, taken, remarks)
    )
    free = [
        index
        for index in range(len(header))
        if index != part_column and not _is_index(table, index, path_column)
    ]
    if path_column is not None:
        paths = _find_column(table, path_column, "--path-column")
    else:
        paths = _find_paths(table, header, [index for index in free if index not in taken])
    chosen, labels, is_multilabel = [], [None] * len(table.rows), False
    if not ignore_labels:
        chosen = taken or _find_labels(table, header, [index for index in free if index != paths])
        labels, is_multilabel = _read_labels(table, chosen, label_separator, remarks)
    if len(header) > 2 or paths:
        said = f", labels from {_name(table, chosen[0])}" if len(chosen) == 1 else ""
        remarks.append(f"with files from {_name(table, paths)}{said}")
    if remarks:
        warnings.warn(f"{table.file} is read {', '.join(remarks)}", Notice, stacklevel=3)
    found = _unite(table, paths, labels, parts)
    several = ([label] if isinstance(label, str) else label or () for label, _ in found.values())
    warn_of_look_alikes(chain.from_iterable(several), table.file)
    return LabelTable(
        table.file,
        list(found),
        [label for label, _ in found.values()],
        is_multilabel,
        None if parts is None else [part for _, part in found.values()],
        (table.header[paths], table.header[chosen[0]] if chosen else ""),
    )


def _read_labels(
    table: Table, columns: Sequence[int], separator: str | None, remarks: list[str]
) -> tuple[list[Any], bool]:
    """Return the label or labels of each row, and whether there may be several."""
    remarks += say_code_page(cell for index in columns for cell in table.column(index))
    if len(columns) > 1:
        remarks.append(f"a class from each of {len(columns)} columns of 0 and 1")
        return _from_indicators(table, columns)
    (column,) = columns
    cells = [as_text(cell) for cell in table.column(column)]
    if separator is None and _fold(table.header[column]) == "tags":
        _check_words(cells, table.file)
    return parse_labels(cells, separator, table.file, remarks)


def parse_labels(
    cells: Sequence[str],
    separator: str | None,
    source: str | Path,
    remarks: list[str],
) -> tuple[list[Any], bool]:
    """Parse the labels of a column.

    Parameters
    ----------
    cells : sequence of str
        Cells of the table.
    separator : str, optional
        See :func:`read_label_table`.
    source : path
        The table, for messages.
    remarks : list of str
        Remarks on the interpretation are appended.

    Returns
    -------
    labels : list of (str or tuple of str or None)
        None if the label is missing.
    is_multilabel : bool
        Whether the labels are tuples.

    Raises
    ------
    InvalidInputError
        If it is ambiguous whether cells contain one label or several, or one is not text.
    """
    for cell in cells:
        if is_raw(cell):
            raise InvalidInputError(
                f"{source}: the label {cell!a} is neither UTF-8 nor of Windows' code page "
                "1252: save the table as UTF-8"
            )
    known = [None if is_missing_text(cell) else unprotect(cell.strip()) for cell in cells]
    if words := sorted({cell.strip() for cell in cells if is_missing_text(cell)} - {""}):
        # A class may have such a name, for example None for parts without a defect.
        remarks.append(f"with {', '.join(words)} as no label (rename what is a class)")
    values = list(dict.fromkeys(cell for cell in known if cell is not None))
    if separator is None and not any(LABEL_SEPARATOR in value for value in values):
        if any((inner := _LIST.fullmatch(value)) and _QUOTED.search(inner[1]) for value in values):
            remarks.append("with a list of labels in each cell")
            return [None if cell is None else _read_list(cell, source) for cell in known], True
        separator = _find_separator(values, source, remarks)
    separator = separator or LABEL_SEPARATOR
    if separator == "none" or not any(separator in value for value in values):
        return list(known), False
    return [None if cell is None else _split(cell, separator) for cell in known], True


def _find_separator(values: Sequence[str], source: str | Path, remarks: list[str]) -> str | None:
    """Return the separator between labels in a cell; None if each cell is one label."""
    signs = [sign for sign in ",;" if any(sign in value for value in values)]
    if not signs:
        return None
    remedy = (
        f"Write {LABEL_SEPARATOR} between the labels of an image, or give their separator "
        "with --label-separator (none if each cell is one label)"
    )
    example = next(value for value in values if signs[0] in value)
    if len(signs) > 1:
        raise InvalidInputError(
            f"{source}: labels such as {example!r} may be one or several, with , or ; between "
            f"them. {remedy}"
        )
    pieces = [_split(value, signs[0]) for value in values]
    company = Counter(piece for found in pieces for piece in set(found))
    if all(company[piece] == 1 for found in pieces if len(found) > 1 for piece in found):
        # As in "tench, Tinca tinca": no word occurs in another combination.
        remarks.append(f"with {signs[0]} as a part of names such as {example!r}")
        return "none"
    places = [set(column) for column in zip(*pieces, strict=False)]
    # As in "2,5" of a spreadsheet with decimal commas.
    is_decimal = all(_DECIMAL.fullmatch(value) for value in values)
    is_even = len({len(found) for found in pieces}) == 1
    if is_decimal or (is_even and sum(map(len, places)) == len(set().union(*places))):
        # As in "Paris, France": each position has its own words.
        raise InvalidInputError(
            f"{source}: labels such as {example!r} may be one name or several. {remedy}"
        )
    remarks.append(f"with {signs[0]} between several labels")
    return signs[0]


def _check_words(cells: Sequence[str], source: str | Path) -> None:
    """Raise an error for tags such as "haze primary", in which spaces are ambiguous."""
    values = {cell.strip() for cell in cells}
    company = Counter(word for value in values for word in set(value.split()))
    several = [value for value in values if len(value.split()) > 1]
    has_signs = any(sign in value for value in values for sign in "|,;[")
    if not has_signs and any(company[word] > 1 for value in several for word in value.split()):
        raise InvalidInputError(
            f"{source}: tags such as {min(several)!r} may be one or several. Give their "
            "separator with --label-separator (' ' for spaces, none if each cell is one label)"
        )


def _split(cell: str, separator: str) -> tuple[str, ...]:
    """Split a cell into unique labels."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, cell.split(separator)))))


def _read_list(cell: str, source: str | Path) -> tuple[str, ...]:
    """Parse a list of labels as written by Python, JSON or NumPy; other text is one label."""
    inner = _LIST.fullmatch(cell)
    if inner is None:
        return (cell,)
    if _QUOTED.search(inner[1]) and _QUOTED.sub("", inner[1]).strip(", \n\t\r"):
        raise InvalidInputError(
            f"{source}: the labels of an image must be a plain list of names. Received: "
            f"{cell[:100]}"
        )
    quoted = [re.sub(r"\\(.)", r"\1", one or two).strip() for one, two in _QUOTED.findall(inner[1])]
    return tuple(dict.fromkeys(filter(None, quoted))) if quoted else _split(inner[1], ",")


def _from_indicators(table: Table, columns: Sequence[int]) -> tuple[list[Any], bool]:
    """Return the labels from indicator columns of 0 and 1.

    If no image has several labels, images without any have a missing label.
    """
    classes = [table.header[index] for index in columns]
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise InvalidInputError(
            f"{table.file} has several columns of the class {twice[0]}: rename or remove all but "
            "one"
        )
    labels: list[Any] = []
    for line, row in enumerate(table.rows, 1):
        cells = [row[index].strip().casefold() for index in columns]
        if all(map(is_missing_text, cells)):
            labels.append(None)
            continue
        for name, cell in zip(classes, cells, strict=True):
            if cell not in _TRUE and cell not in _FALSE:
                raise InvalidInputError(
                    f"{table.file}, image {line}: the column {name} must hold 0 or 1. "
                    f"Received: {cell!r}"
                )
        shown = [name for name, cell in zip(classes, cells, strict=True) if cell in _TRUE]
        labels.append(tuple(shown))
    is_multilabel = any(label is not None and len(label) > 1 for label in labels)
    if not is_multilabel:
        labels = [label[0] if label else None for label in labels]
    return labels, is_multilabel


def _with_header(table: Table, is_file: Callable[[str], bool], remarks: list[str]) -> Table:
    """Return the table; a first line that is clearly an image becomes a row."""
    first, second = table.header, table.rows[0]
    is_row = any(map(is_file, first)) or any(
        (suffix := _suffix(cell)) and suffix == _suffix(below)
        for cell, below in zip(first, second, strict=True)
    )
    if not is_row and not any(map(_is_known_name, first)):
        # A number above a number, or a word that occurs again below.
        is_row = any(
            (cell.isdecimal() and below.strip().isdecimal())
            or (cell != "" and cell in map(str.strip, table.column(index)))
            for index, (cell, below) in enumerate(zip(first, second, strict=True))
        )
    if not is_row:
        return table
    remarks.append("as a table without a header")
    names = [f"column {number}" for number in range(1, len(first) + 1)]
    return Table(table.file, names, [first, *table.rows], table.remarks)


def _find_parts(
    table: Table, header: Sequence[str], taken: Sequence[int], remarks: list[str]
) -> tuple[list[str | None] | None, int | None]:
    """Return the part of each row, and the column of parts."""
    for index, name in enumerate(header):
        if name not in _PART_NAMES.split() or index in taken:
            continue
        cells = [cell.strip() for cell in table.column(index)]
        parts = [part_of(cell) for cell in cells]
        others = [
            cell
            for cell, part in zip(cells, parts, strict=True)
            if part is None and not is_missing_text(cell)
        ]
        if not any(parts):
            if name == "fold" or len(header) > 2:
                remarks.append(f"without {_name(table, index)}, which names no parts")
                return None, index
            continue
        if others:
            raise InvalidInputError(
                f"{table.file}: the column {table.header[index]} must contain train, val or test. "
                f"Received: {others[0]!r}"
            )
        remarks.append(f"with parts from {_name(table, index)}")
        missing = UNLABELLED  # images of no part are not used
        return [part or missing for part in parts], index
    return None, None


def _find_paths(table: Table, header: Sequence[str], free: Sequence[int]) -> int:
    """Return the column of files."""
    for names in _PATH_NAMES:
        found = [index for index in free if header[index] in names.split()]
        if len(found) > 1:
            found = [index for index in found if _holds_files(table, index)] or found
        if len(found) == 1:
            return found[0]
        if found:
            _raise_ambiguous(table, "files", found, "--path-column")
    found = [index for index in free if _holds_files(table, index)]
    if len(found) == 1:
        return found[0]
    others = [index for index in free if not is_label_name(header[index])]
    if len(free) == 1 or len(others) == 1:
        return (others or free)[0]
    # Row names, as in R, or a plain table of two columns.
    if len(free) == 2 or (free and not header[free[0]]):
        return free[0]
    return _raise_ambiguous(table, "files", free, "--path-column")


def _find_labels(table: Table, header: Sequence[str], free: Sequence[int]) -> list[int]:
    """Return the column of labels, or the indicator columns of classes."""
    if not free:
        raise InvalidInputError(
            f"{table.file} must have two columns, file and label (files without labels can be "
            f"predicted). Received: {','.join(table.header)}"
        )
    for names in _LABEL_NAMES:
        found = [index for index in free if header[index] in names.split()]
        if len(found) == 1:
            return found
        if found:
            return [_choose_equal(table, found)]
    if len(free) == 1:
        return list(free)
    values = {cell.strip().casefold() for index in free for cell in table.column(index)}
    if {value for value in values if not is_missing_text(value)} <= _TRUE | _FALSE:
        return list(free)
    return [_raise_ambiguous(table, "labels", free, "--label-column")]


def _choose_equal(table: Table, columns: Sequence[int]) -> int:
    """Return one of several equivalent columns, preferring names to numbers."""
    first = table.column(columns[0])
    for other in columns[1:]:
        pairs = set(zip(first, table.column(other), strict=True))
        if not len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs}):
            _raise_ambiguous(table, "labels", columns, "--label-column")
    named = [
        index
        for index in columns
        if not all(re.fullmatch(r"[\d.]*", cell.strip()) for cell in table.column(index))
    ]
    return (named or list(columns))[0]


def _raise_ambiguous(table: Table, what: str, columns: Sequence[int], option: str) -> int:
    """Raise an error for an ambiguous choice of column."""
    names = first_few((table.header[index] or "(no name)" for index in columns), max_items=10)
    raise InvalidInputError(
        f"{table.file}: which column holds the {what} is unclear from {names}: name it with "
        f"{option}"
    )


def _find_column(table: Table, name: str, option: str) -> int:
    """Return the column of a name, if necessary ignoring case and punctuation."""
    for spell in (str.strip, _fold):
        found = [index for index, one in enumerate(table.header) if spell(one) == spell(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidInputError(
                f"{table.file} has {len(found)} columns {name}: rename or remove all but one"
            )
    raise InvalidInputError(
        f"{option} must be a column of {table.file}: {', '.join(table.header)}. Received: {name}"
    )


def _unite(
    table: Table, column: int, labels: Sequence[Any], parts: Sequence[str | None] | None
) -> dict[str, tuple[Any, str | None]]:
    """Map file names to label and part; lines without a label are ignored."""
    known: dict[str, tuple[Any, str | None]] = {}
    for row, (name, label) in enumerate(zip(table.column(column), labels, strict=True)):
        if not name.strip():
            named = "a row" if label is None else f"the label {label}"
            raise InvalidInputError(f"{table.file}: {named} has no file")
        earlier, part = known.get(name, (None, None if parts is None else parts[row]))
        if None not in (label, earlier) and _content(label) != _content(earlier):
            raise InvalidInputError(
                f"{table.file} has two labels for {name}: {_shown(earlier)} and {_shown(label)}. "
                f"Several labels of an image belong into one line, with {LABEL_SEPARATOR} between"
            )
        if parts is not None and part != parts[row]:
            raise InvalidInputError(f"{table.file} has two parts for {name}: {part}, {parts[row]}")
        known[name] = (earlier if label is None else label, part)
    return known


def _content(label: Any) -> Any:
    """Return one label, or several regardless of their order."""
    return frozenset(label) if isinstance(label, tuple) else label


def _shown(label: Any) -> str:
    """Return one or several labels as text."""
    return LABEL_SEPARATOR.join(label) if isinstance(label, tuple) else str(label)


def _is_index(table: Table, index: int, path_column: str | None) -> bool:
    """Return whether a column is a row index, as written by pandas and R."""
    name = table.header[index]
    if path_column == name or not is_index_name(name):
        return False
    cells = [cell.strip() for cell in table.column(index)]
    return len(table.header) > 2 and all(re.fullmatch(r"\d+", cell) for cell in cells)


def _holds_files(table: Table, index: int) -> bool:
    """Return whether most cells of a column have a file suffix."""
    cells = table.column(index)
    return 2 * sum(bool(_suffix(cell)) for cell in cells) > len(cells)


def _suffix(cell: str) -> str:
    """Return the suffix of a file name; empty if the cell is not a file name."""
    suffix = PureWindowsPath(cell.strip()).suffix.lower()
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def _is_known_name(name: str) -> bool:
    """Return whether a column name is known as that of files, labels or parts."""
    known = (*_PATH_NAMES, *_LABEL_NAMES, _PART_NAMES)
    return any(_fold(name) in names.split() for names in known)


def is_label_name(name: str) -> bool:
    """Return whether a column name is known as that of labels."""
    return any(_fold(name) in names.split() for names in _LABEL_NAMES)


def is_path_or_part_name(name: str) -> bool:
    """Return whether a column name is surely that of files, or is known as that of parts."""
    return any(_fold(name) in names.split() for names in (_PATH_NAMES[0], _PART_NAMES))


def is_index_name(name: str) -> bool:
    """Return whether a column name is that of a row index, as written by pandas and R."""
    return not name or re.fullmatch(r"Unnamed: \d+|index", name, re.IGNORECASE) is not None


def _fold(name: str) -> str:
    """Return a column name without case and punctuation."""
    return re.sub(r"[\W_]", "", name.casefold())


def _name(table: Table, index: int) -> str:
    """Return the name of a column for messages."""
    return f"column {table.header[index]!r}" if table.header[index] else "the column without a name"
