from .copies import CopyGroup as CopyGroup
from .copies import find_copies as find_copies
from .copies import group_copies as group_copies
from .labelled_images import LabelledImages as LabelledImages
from .labelled_images import read_labelled as read_labelled
from .labels import labels_from_folders as labels_from_folders
