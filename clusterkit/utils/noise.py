"""What stands for "in no cluster", and for a value that is missing."""

from typing import Any

import numpy as np

NOISE = -1
# As numbers that became text, and as people write it.
_NOISE_WORDS = frozenset({"-1", "-1.0", "noise"})
# How pandas, R, Excel and databases write a missing value in a table.
_MISSING_WORDS = frozenset(
    ["", "#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null"]
)


def is_missing(value: Any) -> bool:
    """Tell whether a value is none at all: None, NaN, pandas' NA and NaT, or an empty text.

    Examples
    --------
    >>> [is_missing(value) for value in (None, float("nan"), "", "none", 0)]
    [True, True, True, False, False]
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.str_):
        # NumPy makes the text "nan" of NaN; a name that is given as a plain str stays one.
        return is_missing_text(value)
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def is_missing_text(cell: str) -> bool:
    """Tell whether a cell of a table says that there is no value."""
    return cell.strip() in _MISSING_WORDS


def as_cluster(value: Any) -> Any:
    """Return a cluster as a plain int or str: -1 for noise, None where it is missing.

    Noise is -1, ``-1.0``, ``"-1"`` and ``"noise"``; other whole numbers lose a ``.0``, which
    pandas gives them where a column has gaps.  A text stays as it is: 01 and 1 are two names.

    Examples
    --------
    >>> [as_cluster(value) for value in (2.0, -1.0, "Noise", "01", float("nan"))]
    [2, -1, -1, '01', None]
    """
    if is_missing(value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return NOISE if value.strip().casefold() in _NOISE_WORDS else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
