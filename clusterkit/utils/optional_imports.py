"""Import optional libraries on use."""

import importlib
from types import ModuleType

from clusterkit.errors import MissingDependencyError


def require(module: str, *, extra: str, caller: str) -> ModuleType:
    """Import an optional module, or raise an error with the command that installs it.

    Parameters
    ----------
    module : str
        Dotted name of the module.
    extra : str
        The extra of clusterkit that installs it.
    caller : str
        Name of the caller, for the message.

    Raises
    ------
    MissingDependencyError
        If the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{caller} needs {module.partition('.')[0]}: pip install 'clusterkit[{extra}]'"
        ) from error
