from .gather_manifest import Gathered as Gathered
from .gather_result import Gathering as Gathering
from .gathering import gather as gather
