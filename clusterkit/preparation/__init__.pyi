from .gather_manifest import Gathered as Gathered
from .gathering import Gathering as Gathering
from .gathering import gather as gather
