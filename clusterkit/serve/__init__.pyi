from .application import create_app as create_app
from .limits import Limits as Limits
from .running import run_server as run_server
