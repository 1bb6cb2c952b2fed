"""Progress bars."""

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(
    items: Iterable[Any] | None = None,
    *,
    name: str,
    enabled: bool,
    unit: str = "it",
    total: int | None = None,
    initial: int = 0,
) -> Any:
    """Return a progress bar on stderr, which is drawn only on a terminal.

    Parameters
    ----------
    items : iterable, optional
        What the bar iterates over; without it, call ``update`` on the bar.
    name : str
        Text before the bar.
    enabled : bool
        Whether to draw anything.
    unit : str
        Unit of the count.
    total, initial : int
        Last and first number of the count; by default the length of ``items``, and 0.

    Returns
    -------
    tqdm.tqdm
        A context manager, and an iterator over ``items``.
    """
    # None: drawn unless stderr is no terminal.
    disable = None if enabled else True
    return tqdm(items, name, total, unit=unit, initial=initial, disable=disable)
