"""An HTTP API over the library: classes, neighbours and groups of the pictures that are sent."""

import lazy_loader

# The names are in __init__.pyi, where type checkers see them, too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
