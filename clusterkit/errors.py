"""The exceptions that clusterkit raises on purpose.

Each also inherits the built-in exception that a caller would naturally catch.  The command line
turns every :class:`ClusterkitError` into one ``Error: …`` line and exit status 1.
"""


class ClusterkitError(Exception):
    """Base of all errors that clusterkit raises on purpose."""

    def __str__(self) -> str:
        # OSError and KeyError decorate their message; users get the plain sentence.
        return str(self.args[0]) if self.args else ""


class InvalidInputError(ClusterkitError, ValueError):
    """An argument or the data does not fit what was asked."""


class NotFoundError(ClusterkitError, FileNotFoundError):
    """A file, a folder or a row that was named does not exist."""


class OutputExistsError(ClusterkitError, FileExistsError):
    """The output is already there and overwriting was not asked for."""


class ImageError(ClusterkitError, ValueError):
    """One image cannot be read; the message is the reason."""


class StoreError(ClusterkitError, RuntimeError):
    """The store on disk is missing, damaged, locked, or of a newer format."""


class SpaceMismatchError(ClusterkitError, ValueError):
    """Vectors of two embedding spaces were about to be mixed."""


class WeightsError(ClusterkitError, RuntimeError):
    """The weights of a network could not be found, downloaded or loaded."""


class MissingDependencyError(ClusterkitError, ImportError):
    """An optional library is needed for what was asked."""


class Notice(UserWarning):
    """Nothing is wrong: it says what was taken for what, where that is not plain to see."""
