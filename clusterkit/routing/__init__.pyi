from .manifest import MANIFEST_NAME as MANIFEST_NAME
from .sorting import Sorting as Sorting
from .sorting import sort_into_folders as sort_into_folders
from .transfer import MODES as MODES
from .transfer import Transfer as Transfer
from .transfer import is_inside as is_inside
from .undoing import Undoing as Undoing
from .undoing import undo as undo
