"""Results as HTML, for notebooks."""

import html
import math
from collections.abc import Sequence
from typing import Any

from clusterkit.utils.text import printable

# Number of rows of a table that are shown.
_MAX_ROWS = 20


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


def paragraph(text: str) -> str:
    """Return lines of text as HTML that keeps its columns."""
    lines = "\n".join(html.escape(printable(line)) for line in text.split("\n"))
    return f'<pre style="white-space: pre-wrap">{lines}</pre>'


def table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """Return the first rows of a table as HTML, in the style of pandas.

    Parameters
    ----------
    header : sequence
        Column names.
    rows : sequence of sequences
        Cells: numbers, text, None, and :class:`Markup`.
    """
    lines = [_line("th", header), *(_line("td", row) for row in rows[:_MAX_ROWS])]
    left = len(rows) - _MAX_ROWS
    note = f"<p>… and {left:,} more rows</p>" if left > 0 else ""
    return f'<table border="1" class="dataframe">{"".join(lines)}</table>{note}'


def _line(tag: str, cells: Sequence[Any]) -> str:
    """Return one row of a table."""
    return f"<tr>{''.join(f'<{tag}>{_cell(cell)}</{tag}>' for cell in cells)}</tr>"


def _cell(value: Any) -> str:
    """Return a cell as HTML."""
    if isinstance(value, Markup):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return html.escape(printable(value))
