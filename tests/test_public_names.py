"""Public names: the same for users, for tab completion and for type checkers."""

import ast
import importlib
from pathlib import Path

import pytest
from mypy import api

import clusterkit

PACKAGE = Path(clusterkit.__file__).parent
STUBS = sorted(PACKAGE.rglob("__init__.pyi"))


def package_of(stub: Path) -> str:
    return ".".join(stub.parent.relative_to(PACKAGE.parent).parts)


def names_of(stub: Path) -> list[str]:
    imports = (
        node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)
    )
    return [alias.name for node in imports for alias in node.names]


@pytest.mark.parametrize("stub", STUBS, ids=package_of)
def test_every_public_name_is_there_and_completes(stub: Path) -> None:
    package = importlib.import_module(package_of(stub))
    names = names_of(stub)
    assert names
    assert set(names) <= set(dir(package))
    # A module of the same name would hide the function, depending on what was imported before.
    modules = {file.stem for file in stub.parent.glob("*.py")}
    modules |= {folder.name for folder in stub.parent.iterdir() if folder.is_dir()}
    assert not modules.intersection(names)
    for name in names:
        assert getattr(package, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        clusterkit.nothing  # noqa: B018


def test_type_checkers_know_every_public_name_and_refuse_others(tmp_path: Path) -> None:
    lines = []
    for stub in STUBS:
        package = package_of(stub)
        lines.append(f"import {package}")
        lines += [f"reveal_type({package}.{name})" for name in names_of(stub)]
    lines.append("clusterkit.no_such_name")
    program = tmp_path / "use.py"
    program.write_text("\n".join(lines) + "\n")
    configuration = PACKAGE.parent / "pyproject.toml"
    options = ["--config-file", str(configuration)] if configuration.exists() else []
    output, _, _ = api.run([*options, "--cache-dir", str(tmp_path / "cache"), str(program)])
    revealed = [line for line in output.splitlines() if "Revealed type is" in line]
    assert len(revealed) == sum(line.startswith("reveal_type") for line in lines)
    assert not [line for line in revealed if line.endswith('"Any"')]
    errors = [line for line in output.splitlines() if ": error: " in line]
    assert len(errors) == 1
    assert "no_such_name" in errors[0]
