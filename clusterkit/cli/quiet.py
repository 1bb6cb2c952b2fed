"""Suppress the output of libraries while a command runs."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from clusterkit.cli.options import notice
from clusterkit.errors import Notice

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Print warnings as single lines, and suppress log messages of libraries, within the block."""
    logger, finder = logging.getLogger("tensorflow"), _QuietKeras()
    level = logger.level
    # A user who set the variable asked for these messages.
    is_quiet = _LOG_LEVEL not in os.environ
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        # Pillow's warnings name no file; unreadable files are listed with their reason.
        warnings.filterwarnings("ignore", module="PIL")
        if not is_quiet:
            yield
            return
        os.environ[_LOG_LEVEL] = "3"
        # TensorFlow warns of retracing when several small models are used.
        logger.setLevel(logging.ERROR)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            logger.setLevel(level)
            os.environ.pop(_LOG_LEVEL, None)


class _QuietKeras(MetaPathFinder):
    """Import keras without the start-up messages that TensorFlow's C++ code writes.

    ``TF_CPP_MIN_LOG_LEVEL`` suppresses them only after the first operation.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return keras with a silent loader; None for other modules."""
        spec = PathFinder.find_spec(fullname, path) if fullname == "keras" else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_quietly(module: ModuleType) -> None:
            with _silenced_stderr():
                load(module)
                module.ops.zeros(())

        spec.loader.exec_module = load_quietly  # type: ignore[method-assign]
        return spec


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Discard standard error of the process, including that of C++ libraries."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print a warning as one line, without its location in the code."""
    notice(f"{'Note' if issubclass(category, Notice) else 'Warning'}: {message}")
