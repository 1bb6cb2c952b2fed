"""Representations of noise and of missing values."""

from typing import Any

import numpy as np

NOISE = -1
# Larger numbers of clusters would change in JSON and in a browser, where numbers are float64.
MAX_CLUSTER = 2**53 - 1
# Spellings of noise as text.
_NOISE_WORDS = frozenset({"-1", "-1.0", "noise"})
# Missing values as written by pandas, R, Excel and databases.
MISSING_WORDS = frozenset(
    ["", "#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null"]
)


def is_missing(value: Any) -> bool:
    """Return whether a value is missing: None, NaN, NaT, pandas' NA, or an empty string.

    Examples
    --------
    >>> [is_missing(value) for value in (None, float("nan"), "", "none", 0)]
    [True, True, True, False, False]
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.str_):
        # NumPy converts NaN to the string "nan"; a plain str "nan" is a name.
        return is_missing_text(value)
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, float | np.floating | np.datetime64) and bool(np.isnan(value))


def is_missing_text(cell: str) -> bool:
    """Return whether a table cell stands for a missing value."""
    return cell.strip() in MISSING_WORDS


def cluster_text(cluster: Any) -> str:
    """Return a cluster as text; -1 is "noise"."""
    return "noise" if cluster == NOISE else str(cluster)


def as_cluster(value: Any) -> Any:
    """Return a cluster as a plain int or str: -1 for noise, None if missing.

    Noise is -1, ``-1.0``, ``"-1"`` and ``"noise"``; other integral floats, which pandas makes of
    columns with missing values, become int.  Strings do not change: 01 and 1 are different names.

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
