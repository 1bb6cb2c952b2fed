"""Plots of results with matplotlib.

Displays follow scikit-learn's convention: ``__init__`` stores parameters, :meth:`~Display.plot`
draws and returns the display with ``figure_`` and ``ax_`` (or ``axes_``), and classmethods
``from_…`` plot a result.
"""

import lazy_loader

# The names are in __init__.pyi, where type checkers see them, too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
