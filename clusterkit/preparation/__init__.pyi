from .gathering.from_web import gather as gather
from .gathering.manifest import Gathered as Gathered
from .gathering.result import Gathering as Gathering
