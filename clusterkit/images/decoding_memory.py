"""Memory limits for decoding: of a single image, and of all images decoded at the same time."""

import math
import os
import threading

from PIL import Image

from clusterkit.errors import ImageError, InvalidInputError

LIMIT_VARIABLE = "CLUSTERKIT_IMAGE_MEMORY"
GIB = 2**30
# With Pillow's own limit, 89 million pixels, this is 2 GiB.  It is the most that was measured (for
# JPEG 2000); most formats take less than half.
_BYTES_PER_PIXEL_OF_LIMIT = 24
# Too small to count.
_SMALL_BYTES = 2**20


class LargeImageError(ImageError):
    """An image that takes more memory than its caller allows."""


def memory_limit() -> float:
    """Return the memory limit for decoding one image in bytes.

    The environment variable ``CLUSTERKIT_IMAGE_MEMORY`` sets it in GiB.  The default is 24 bytes
    for each of ``PIL.Image.MAX_IMAGE_PIXELS``, which is 2 GiB unless changed; if that is None,
    Pillow's setting for trusted files, there is no limit.

    Raises
    ------
    InvalidInputError
        If the variable is not a positive number.
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
    """Memory shared by all images being decoded; images wait until there is enough."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0.0

    def swap(self, held: float, wanted: float, total: float) -> None:
        """Release ``held`` bytes and wait until ``wanted`` bytes are available.

        A request above the total is granted when nothing else is held.
        """
        with self._changed:
            self._taken -= held
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._taken or self._taken + wanted <= total)
            self._taken += wanted


# By whether images are decoded in the background, so that no other image waits for these.
_budgets = {False: _Budget(), True: _Budget()}
# After a fork, a thread of the parent may hold the lock, and its images do not exist here.
if hasattr(os, "register_at_fork"):
    for _budget in _budgets.values():
        os.register_at_fork(after_in_child=_budget.__init__)  # type: ignore[misc]


class Claim:
    """The memory of one decoding, taken from a budget of half the limit shared by all.

    As a context manager, it releases the memory at the end.  Each call replaces the previous
    amount.

    Parameters
    ----------
    max_bytes : float
        Maximum memory of the decoding.
    in_background : bool
        Whether a separate budget is used.
    """

    def __init__(self, *, max_bytes: float = math.inf, in_background: bool = False) -> None:
        self._max_bytes = max_bytes
        self._budget = _budgets[in_background]
        self._held = 0.0

    def __call__(self, n_bytes: float, what: str) -> None:
        """Wait until ``n_bytes`` bytes are available.

        Raises
        ------
        ImageError
            If that exceeds the limit for one image.
        LargeImageError
            If it is within that limit, and more than ``max_bytes``.
        """
        limit = memory_limit()
        if n_bytes > limit:
            raise ImageError(
                f"too large: decoding {what} takes about {n_bytes / GIB:.2g} GiB of memory, and "
                f"{limit / GIB:.2g} GiB are allowed; {LIMIT_VARIABLE}="
                f"{math.ceil(n_bytes / GIB)} in the environment allows it"
            )
        if n_bytes > self._max_bytes:
            raise LargeImageError(f"decoding {what} takes about {n_bytes / GIB:.2g} GiB of memory")
        if self._held or n_bytes >= _SMALL_BYTES:
            self._swap(n_bytes, limit / 2.0)

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *_: object) -> None:
        self._swap(0.0, math.inf)

    def _swap(self, n_bytes: float, total: float) -> None:
        """Hold another amount of the budget."""
        if n_bytes == self._held:
            return
        self._budget.swap(self._held, n_bytes, total)
        self._held = n_bytes
