"""How many clusters are there?  The elbow curve, other indices, and a verdict that may be None."""

import lazy_loader

# The names are in __init__.pyi, where type checkers see them, too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
