"""Clusterers: scikit-learn estimators that group vectors, by cosine unless told otherwise.

:data:`CLUSTERERS` maps command-line names to classes.
"""

import lazy_loader

# The names are in __init__.pyi, where type checkers see them, too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
