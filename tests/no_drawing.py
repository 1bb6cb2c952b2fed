"""Pictures that are composed but not drawn, for tests whose pictures other tests draw.

Drawing takes longer than all other parts of a short training.  The fixture ``undrawn`` of
conftest.py is for whole tests.
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
    """Let figures be saved as the number of their axes."""
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _save)
        yield
