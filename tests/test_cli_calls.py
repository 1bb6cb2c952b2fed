"""Each command is one call of the library, which a notebook can make, too."""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import clusterkit.cli

TOUR = Path(__file__).parent.parent / "examples/tour.ipynb"
CLI = Path(clusterkit.cli.__file__).parent
# Objects on which a call works, or that draw its result.
OPENED = {
    "ImageFolder",
    "Store",
    "Classifier",
    "recall_extractor",
    "read_labelled",
    "select",
    "open_images",
    "reopen_clustering",
}
PICTURES = {"plots"}
CHECKS = {"check_present", "check_confounders"}


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield all functions of the modules that hold commands."""
    for file in sorted(CLI.glob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                yield f"{file.stem}:{node.name}", node


def is_command(function: ast.FunctionDef) -> bool:
    return any("outputs(" in ast.unparse(decorator) for decorator in function.decorator_list)


COMMANDS = {name: function for name, function in functions() if is_command(function)}


def imported(function: ast.FunctionDef) -> dict[str, str]:
    """Return what the body imports from the library, without constants."""
    return {
        alias.asname or alias.name: node.module or ""
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("clusterkit")
        and not (node.module or "").startswith("clusterkit.cli")
        for alias in node.names
        if not alias.name.isupper()
    }


def called(function: ast.FunctionDef) -> list[str]:
    """Return the library's names that the body uses, with repetitions."""
    names = imported(function)
    used = []
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if names.get(node.value.id) in ("clusterkit", "clusterkit.clustering"):
                used.append(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Name) and names.get(node.id, "clusterkit") != "clusterkit":
            used.append(node.id)
    modules = {name.partition(".")[0] for name in used if "." in name}
    return [name for name in used if name not in modules]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_computes_nothing(name: str) -> None:
    for node in ast.walk(COMMANDS[name]):
        assert not isinstance(node, ast.For | ast.While | ast.Try | ast.With | ast.AsyncFor), name
        if isinstance(node, ast.BinOp):
            # Documents are joined, and options compared as sets.
            assert isinstance(node.op, ast.BitOr | ast.BitAnd), ast.unparse(node)


def test_modules_of_commands_import_no_work() -> None:
    # What a body calls is imported there, where the tests above see it.
    for file in sorted(CLI.glob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clusterkit"):
                is_helper = (node.module or "").startswith(("clusterkit.cli", "clusterkit.utils"))
                names = [alias.name for alias in node.names]
                constants = [name for name in names if name.isupper() or name == "__version__"]
                is_error = node.module == "clusterkit.errors"
                assert is_helper or is_error or names == constants, f"{file.name}: {names}"


def test_every_command_is_looked_at() -> None:
    assert len(COMMANDS) == 30


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_makes_one_call(name: str) -> None:
    words = [word.rpartition(".") for word in called(COMMANDS[name])]
    calls = [
        last
        for first, _, last in words
        if first not in PICTURES and last not in OPENED and last not in CHECKS
    ]
    # A store is opened, and asked.
    assert len(calls) == (0 if name.startswith("store:") else 1), calls


def test_other_functions_print_and_check() -> None:
    # Checks of files, pictures, the opened store and the space that a table names, whether a space
    # is large, how lists of names are printed, completion.
    allowed = ("utils", "plots", "store.store", "extractors.by_name", "clustering.selection")
    for name, function in functions():
        if not is_command(function):
            for what, module in imported(function).items():
                assert module.startswith(tuple(f"clusterkit.{one}" for one in allowed)) or (
                    module == "clusterkit"
                ), f"{name} uses {what} of {module}"


# The notebook that makes the call of every command.


def cells_of_tour() -> list[str]:
    """Return the code of the notebook."""
    cells = json.loads(TOUR.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def words_of_commands() -> Iterator[tuple[str, str]]:
    """Yield what a user types for each command, with its function."""
    context = click.Context(clusterkit.cli.main)
    for name in clusterkit.cli.COMMANDS:
        command = clusterkit.cli.main.get_command(context, name)
        assert command is not None
        below = command.commands if isinstance(command, click.Group) else {"": command}
        for word, leaf in below.items():
            assert leaf.callback is not None
            function = inspect.unwrap(leaf.callback)
            key = f"{function.__module__.rpartition('.')[2]}:{function.__name__}"
            yield f"clusterkit {name} {word}".rstrip(), key


def calls_of_command(function: ast.FunctionDef) -> set[str]:
    """Return the library's public names that a command calls, and methods of the store."""
    nodes = list(ast.walk(function))
    aliases = [alias for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names]
    names = {alias.asname: alias.name for alias in aliases if alias.asname}
    words = [word.rpartition(".") for word in called(function)]
    found = {names.get(last, last) for first, _, last in words if first not in PICTURES}
    asked = [node for node in nodes if isinstance(node, ast.Attribute)]
    found |= {node.attr for node in asked if ast.unparse(node.value).startswith("Store(")}
    return found - CHECKS - {"open_images"}


@pytest.mark.parametrize(("words", "key"), list(words_of_commands()))
def test_the_notebook_makes_the_call_of_the_command(words: str, key: str) -> None:
    cells = [cell for cell in cells_of_tour() if re.match(rf"# {words}\s", cell)]
    assert cells, f"{TOUR.name} has no cell of `{words}`"
    parts = [node for cell in cells for node in ast.walk(ast.parse(cell))]
    names = {node.attr for node in parts if isinstance(node, ast.Attribute)}
    names |= {node.id for node in parts if isinstance(node, ast.Name)}
    # A server never returns: the notebook asks its application.
    if "create_app" in names:
        names.add("run_server")
    # Opened in an earlier cell, perhaps.
    assert calls_of_command(COMMANDS[key]) - OPENED <= names


@pytest.mark.usefixtures("untrained", "undrawn", "few_resamples")
def test_the_notebook_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in cells_of_tour():
        exec(compile(cell, str(TOUR), "exec"), names)
    printed = capsys.readouterr().out
    assert "250 images in 10 clusters (kmeans)" in printed
    assert "250 files taken back, 0 kept" in printed
    assert not list(tmp_path.iterdir())
