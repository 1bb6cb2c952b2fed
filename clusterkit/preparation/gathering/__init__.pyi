from .from_web import gather as gather
from .manifest import Gathered as Gathered
from .result import Gathering as Gathering
