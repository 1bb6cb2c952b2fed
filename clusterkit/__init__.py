"""clusterkit: turn folders of unlabelled images into groups that you can look at and use."""

import lazy_loader

__version__ = "0.1.0"

# The names are in __init__.pyi, where type checkers see them, too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
