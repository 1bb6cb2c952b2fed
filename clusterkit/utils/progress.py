"""Progress bars: a widget in a notebook, a line on a terminal."""

import sys
import warnings
from collections.abc import Iterable
from typing import Any

with warnings.catch_warnings():
    # In a notebook without ipywidgets the bar is a line of text, which needs no warning.
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm


def progress_bar(
    items: Iterable[Any] | None = None,
    *,
    name: str,
    enabled: bool,
    unit: str = "it",
    total: int | None = None,
    initial: int = 0,
    in_bytes: bool = False,
) -> Any:
    """Return a progress bar, which is drawn only on a terminal (on stderr) or in a notebook.

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
    in_bytes : bool
        Whether bytes are counted, which are shown as kB, MB or GB.

    Returns
    -------
    tqdm.tqdm
        A context manager, and an iterator over ``items``.
    """
    # None: drawn only if stderr is a terminal, which it never is in a notebook.
    disable = (False if _in_notebook() else None) if enabled else True
    scale = {"unit": "B", "unit_scale": True} if in_bytes else {"unit": unit}
    return tqdm(items, name, total, initial=initial, disable=disable, **scale)


def _in_notebook() -> bool:
    """Return whether the code runs in a notebook."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
