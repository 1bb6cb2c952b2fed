"""Gather pictures from the web: polite, resumable, and never from private addresses."""

import lazy_loader

# The names are in __init__.pyi, where type checkers see them, too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
