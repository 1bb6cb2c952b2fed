"""Skip the drawing of figures, in tests of code whose figures other tests draw.

Drawing takes longer than all other parts of a short training.  The fixture ``undrawn`` in
conftest.py applies this to whole tests.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _save(figure: "Figure", content: IO[bytes], **_: Any) -> None:
    content.write(f"{len(figure.axes)} axes, not drawn".encode())


@contextmanager
def drawing_nothing() -> Iterator[None]:
    """Save the number of axes of a figure instead of its picture."""
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _save)
        yield
