"""How much memory pictures may take: one by itself, and all that are decoded at once."""

import math
import os
import threading

from PIL import Image

from clusterkit.errors import ImageError, InvalidInputError

LIMIT_VARIABLE = "CLUSTERKIT_IMAGE_MEMORY"
GIB = 2**30
# With Pillow's own limit, 89 million pixels, this is 2 GiB: what its decoders and conversions take
# for a picture of that size in the worst case.
_BYTES_PER_PIXEL_OF_LIMIT = 24
# Not worth the counting.
_SMALL_BYTES = 2**20


def memory_limit() -> float:
    """Return how many bytes the decoding of one picture may take.

    The environment variable ``CLUSTERKIT_IMAGE_MEMORY`` says it in GiB.  Without it, it is 24 bytes
    for each of ``PIL.Image.MAX_IMAGE_PIXELS``, which are 2 GiB unless that was changed; None, which
    is Pillow's word for trusted files, means no limit.

    Raises
    ------
    InvalidInputError
        If the variable holds no positive number.
    """
    value = os.environ.get(LIMIT_VARIABLE)
    if value is None:
        pixels = Image.MAX_IMAGE_PIXELS
        return math.inf if pixels is None else float(pixels * _BYTES_PER_PIXEL_OF_LIMIT)
    try:
        limit = float(value) * GIB
    except ValueError:
        limit = 0.0
    if not limit > 0.0:
        raise InvalidInputError(
            f"{LIMIT_VARIABLE} must be a positive number of GiB. Received: {value!r}"
        )
    return limit


class _Budget:
    """Bytes that are shared by all pictures in decoding; those for which there are none wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0.0

    def swap(self, held: float, wanted: float, total: float) -> None:
        """Give back what is held and take what is wanted, once there is room for it.

        What is more than all is taken when nothing else is.
        """
        with self._changed:
            self._taken -= held
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._taken or self._taken + wanted <= total)
            self._taken += wanted


_budget = _Budget()
# A thread of a parent may hold the lock at the moment of a fork, and its pictures are not here.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_budget.__init__)  # type: ignore[misc]


class Claim:
    """The memory that one decoding takes of what all may take together, half of the limit.

    Used as a context, it is given back at the end.  Called again, it takes the new amount instead
    of the old one.
    """

    def __init__(self) -> None:
        self._held = 0.0

    def __call__(self, n_bytes: float, what: str) -> None:
        """Wait until a decoding may take so many bytes.

        Raises
        ------
        ImageError
            If that is over the limit for one picture.
        """
        limit = memory_limit()
        if n_bytes > limit:
            raise ImageError(
                f"too large: decoding {what} takes about {n_bytes / GIB:.2g} GiB of memory, and "
                f"{limit / GIB:.2g} GiB are allowed; {LIMIT_VARIABLE}="
                f"{math.ceil(n_bytes / GIB)} in the environment allows it"
            )
        if self._held or n_bytes >= _SMALL_BYTES:
            self._swap(n_bytes, limit / 2.0)

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *_: object) -> None:
        self._swap(0.0, math.inf)

    def _swap(self, n_bytes: float, total: float) -> None:
        if n_bytes == self._held:
            return
        _budget.swap(self._held, n_bytes, total)
        self._held = n_bytes
