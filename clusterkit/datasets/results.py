"""Base classes of results: text, HTML for notebooks and, for tables, CSV and data frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clusterkit.datasets.tables import write_csv
from clusterkit.utils import html
from clusterkit.utils.imports import require
from clusterkit.utils.text import printable

if TYPE_CHECKING:
    from pandas import DataFrame


class Rows(NamedTuple):
    """The rows of a result.

    Attributes
    ----------
    header : sequence of str
        Column names.
    cells : sequence of sequences
        One per row: numbers, text, and None for what is undefined.
    decimals : int, optional
        Decimals of the numbers in CSV; by default all.
    """

    header: Sequence[str]
    cells: Sequence[Sequence[Any]]
    decimals: int | None = None


class Result:
    """Base of results: text on the command line, HTML in a notebook, one line elsewhere."""

    def to_text(self) -> str:
        """Return the result as lines of text."""
        raise NotImplementedError

    def _headline(self) -> str:
        """Return the result in a few words."""
        return self.to_text().strip().partition("\n")[0]

    def _table_shown(self) -> Rows | None:
        """Return the table that a notebook shows, or None for the text."""
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {printable(self._headline())}>"

    def _repr_html_(self) -> str:
        """Return the result as HTML, which a notebook shows."""
        shown = self._table_shown()
        if shown is None:
            return html.paragraph(self.to_text())
        return html.paragraph(self._headline()) + html.table(shown.header, shown.cells)


class TableResult(Result):
    """Base of results that are tables: also CSV files, and data frames for pandas."""

    def _table(self) -> Rows:
        """Return the rows of the result."""
        raise NotImplementedError

    def _table_shown(self) -> Rows | None:
        """Return all columns."""
        return self._table()

    def to_csv(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the table of :meth:`to_frame`; undefined values are empty.

        Parameters
        ----------
        path : path
            The CSV file.
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
        header, cells, decimals = self._table()
        rows = ([_csv_cell(value, decimals) for value in row] for row in cells)
        return write_csv(path, header, rows, overwrite=overwrite)

    def to_frame(self) -> DataFrame:
        """Return the table as a pandas data frame.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        pandas = require("pandas", extra="notebook", caller="to_frame")
        header, cells, _ = self._table()
        return pandas.DataFrame(list(cells), columns=list(header))


def _csv_cell(value: Any, decimals: int | None) -> Any:
    """Return a value as it is written to a CSV file."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float):
        return value
    if math.isnan(value):
        return ""
    return value if decimals is None else f"{value:.{decimals}f}"
