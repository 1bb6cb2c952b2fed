"""The process of a command: what a program may set for speed, and a library may not."""

import atexit
import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Importing TensorFlow creates a million permanent objects: scanning them for garbage repeatedly
# took a tenth of the time, and another second at the end of the process.
_ALLOCATIONS = 200_000
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


@contextmanager
def fast_process() -> Iterator[None]:
    """Collect garbage less often, and let TensorFlow compute with oneDNN, within the block.

    By itself, TensorFlow uses oneDNN only on x86 processors with AVX512 VNNI; on one with AVX2,
    Xception ran 1.5 times as fast with it.  It changes rounding.  The user's own setting counts.
    """
    thresholds = gc.get_threshold()
    sets_onednn = _ONEDNN not in os.environ and platform.machine().lower() in ("x86_64", "amd64")
    if thresholds[0]:
        gc.set_threshold(_ALLOCATIONS, *thresholds[1:])
    if sets_onednn:
        os.environ[_ONEDNN] = "1"
    # The last collections of the interpreter skip what is frozen.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if sets_onednn:
            os.environ.pop(_ONEDNN, None)
