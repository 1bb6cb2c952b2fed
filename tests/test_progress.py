"""Progress bars are drawn only where a person sees them."""

import sys
from types import SimpleNamespace

import pytest

from clusterkit.utils.progress import progress_bar


def is_drawn(enabled: bool) -> bool:
    with progress_bar(range(3), name="Trying", enabled=enabled) as bar:
        is_shown = not bar.disable
        assert list(bar) == [0, 1, 2]
    return is_shown


def test_a_bar_is_drawn_in_a_notebook_but_not_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_drawn(enabled=True)
    console, notebook = SimpleNamespace(config={}), SimpleNamespace(config={"IPKernelApp": {}})
    for shell in (None, console, notebook):
        module = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", module)
        assert is_drawn(enabled=True) == (shell is notebook)
        assert not is_drawn(enabled=False)
