from .splitting import FolderSplit as FolderSplit
from .splitting import split_folder as split_folder
