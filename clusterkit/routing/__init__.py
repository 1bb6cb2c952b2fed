"""Sort files into folders, so that it can be interrupted, continued and taken back."""

from clusterkit.routing.manifest import MANIFEST_NAME
from clusterkit.routing.sorting import Sorting, sort_into_folders
from clusterkit.routing.transfer import MODES, Transfer, is_inside
from clusterkit.routing.undoing import Undoing, undo

__all__ = [
    "MANIFEST_NAME",
    "MODES",
    "Sorting",
    "Transfer",
    "Undoing",
    "is_inside",
    "sort_into_folders",
    "undo",
]
