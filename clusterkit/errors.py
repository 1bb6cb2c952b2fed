"""Exceptions of clusterkit.

Each also inherits from a matching built-in exception.  The command line prints every
:class:`ClusterkitError` as ``Error: …`` and exits with status 1.
Every warning of clusterkit is a :class:`ClusterkitWarning`.
"""


class ClusterkitError(Exception):
    """Base class of clusterkit's errors."""

    def __str__(self) -> str:
        # OSError and KeyError decorate their message.
        return str(self.args[0]) if self.args else ""


class InvalidInputError(ClusterkitError, ValueError):
    """An argument or the data is invalid."""


class SparseInputError(InvalidInputError, TypeError):
    """Vectors are a sparse matrix, for which scikit-learn expects a TypeError."""


class NotFoundError(ClusterkitError, FileNotFoundError):
    """A file, folder or row does not exist."""


class OutputExistsError(ClusterkitError, FileExistsError):
    """The output exists and overwriting was not requested."""


class ImageError(ClusterkitError, ValueError):
    """An image cannot be read; the message is the reason."""


class StoreError(ClusterkitError, RuntimeError):
    """The store on disk is missing, damaged, locked, or of a newer format."""


class RemoteError(ClusterkitError, RuntimeError):
    """Object storage denies access, or fails."""


class UnreachableError(RemoteError):
    """Object storage cannot be reached."""


class SpaceMismatchError(ClusterkitError, ValueError):
    """Vectors of different embedding spaces would be mixed."""


class WeightsError(ClusterkitError, RuntimeError):
    """The weights of a network cannot be found, downloaded or loaded."""


class ClusterError(ClusterkitError, ConnectionError):
    """The machines for the work cannot be reached, or cannot do it."""


class MissingDependencyError(ClusterkitError, ImportError):
    """A required optional library is not installed."""


class ClusterkitWarning(UserWarning):
    """A result may not be what was intended; base class of all categories of clusterkit."""


class Notice(ClusterkitWarning):
    """Information on how ambiguous input was interpreted."""
