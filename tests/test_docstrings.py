"""The examples in docstrings run, and print what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import clusterkit

PACKAGE = Path(clusterkit.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    for file in PACKAGE.rglob("*.py")
    if ">>>" in file.read_text(encoding="utf-8")
)
REPOSITORY = Path(__file__).parents[1]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_a_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    found = doctest.testmod(importlib.import_module(name.removesuffix(".__init__")))
    assert not found.failed
