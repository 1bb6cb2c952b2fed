"""One HTML page of the images of a space, their clusters and why, in which to decide about them."""

import lazy_loader

# The names are in __init__.pyi, where type checkers see them, too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
