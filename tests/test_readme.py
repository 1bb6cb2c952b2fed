"""The README is true: commands and code run as they stand, and its command table is complete."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from clusterkit.cli import main

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def command_table() -> str:
    """Return the README's table of commands, made from their own help."""
    rows = ["| command | does |", "|---|---|"]
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        names = [name]
        if isinstance(command, click.Group):
            names = [f"{name} {sub}" for sub in command.list_commands(context)]
        for words in names:
            leaf = command
            if isinstance(command, click.Group):
                leaf = command.get_command(context, words.split()[1]) or command
            arguments = [
                p.make_metavar(context) for p in leaf.params if p.param_type_name == "argument"
            ]
            rows.append(f"| `{' '.join([words, *arguments])}` | {leaf.get_short_help_str(200)} |")
    return "\n".join(rows)


def test_the_command_table_is_complete() -> None:
    marked = re.search(
        r"<!-- commands: start .*? -->\n(.*?)\n<!-- commands: end -->", TEXT, re.DOTALL
    )
    assert marked, "the README has lost the marks around its command table"
    assert marked[1] == command_table(), "copy the table from command_table() into the README"


@pytest.fixture
def wild(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder with photos of three kinds and the weights, under the README's names."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "wild"
    folder.mkdir()
    lines = ["filename,label"]
    for kind in ("fox", "wolf", "tiger"):
        for i, photo in enumerate(sorted((shared / "data/species10" / kind).iterdir())[:8]):
            name = f"{kind}.jpg" if i == 0 else f"{kind}_{i}.jpg"
            shutil.copy(photo, folder / name)
            lines.append(f"{name},{kind}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    weights = shared / "weights/xception_imagenet_notop.h5"
    (tmp_path / "xception_notop.h5").symlink_to(weights)
    monkeypatch.setenv("CLUSTERKIT_WEIGHTS", str(weights))
    return tmp_path


def test_every_command_runs(wild: Path) -> None:
    lines = [
        line.partition(" #")[0].strip() for block in blocks("bash") for line in block.splitlines()
    ]
    commands = [line for line in lines if line.startswith("clusterkit ")]
    assert len(commands) >= 10
    for command in commands:
        result = CliRunner().invoke(main, shlex.split(command)[1:])
        assert result.exit_code == 0, f"{command}\n{result.output}"


def test_the_notebook_runs(wild: Path) -> None:
    (block,) = blocks("python")
    assert len([line for line in block.splitlines() if line]) <= 15
    names: dict[str, object] = {}
    exec(compile(block, str(README), "exec"), names)
    assert len(set(names["labels"])) > 1  # type: ignore[call-overload]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (README.parent / target).exists(), target
