"""Pictures of results: numbers in, matplotlib Axes out.

Every display follows scikit-learn's convention: ``__init__`` stores, :meth:`~Display.plot` draws
and returns the display with ``figure_`` and ``ax_`` (or ``axes_``), and a classmethod ``from_…``
takes a result, builds the display and plots it.
"""

import lazy_loader

# The names are in __init__.pyi, where type checkers see them, too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
