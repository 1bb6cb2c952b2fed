"""The standard streams: any encoding, closed, or without a reader; and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import clusterkit.cli.similar
from clusterkit.__main__ import run as run_program
from clusterkit.cli import main
from clusterkit.embedding.embed import embed
from clusterkit.utils.text import escape_path

ODD_NAMES = [
    b"a.png",
    b"caf\xe9.png",
    "東京.png".encode(),
    b"two\nlines.png",
    b"\x1b[31mred\x1b[2J.png",
    "\u202egnp.exe.png".encode(),
]
SHOWN = {
    r"caf\udce9.png",
    r"two\nlines.png",
    r"\x1b[31mred\x1b[2J.png",
    r"\u202egnp.exe.png",
}
PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LOCALES = [
    {"PYTHONIOENCODING": "utf-8:strict"},
    {"PYTHONIOENCODING": "latin-1:strict"},
    {"PYTHONIOENCODING": "ascii:strict"},
    PLAIN_C,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of pictures with odd names, and a store of them."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name in ODD_NAMES:
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / os.fsdecode(name))
    (folder / "photos" / os.fsdecode(b"brok\xe9n\x1b.png")).write_bytes(b"no")
    embed(folder / "photos", "pixels", store=folder / ".clusterkit")
    return folder


def run(
    folder: Path, *arguments: str, shell: str = '"$@"', **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the program from a shell, like a user."""
    command = ["sh", "-c", shell, "sh", sys.executable, "-m", "clusterkit", *arguments]
    # What is not written at once is written at the end of the process, which may fail again.
    environment = {"PYTHONUNBUFFERED": ""} | environment
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, check=False
    )


@pytest.mark.parametrize("environment", LOCALES, ids=lambda locale: next(iter(locale.values())))
def test_names_are_printed_in_every_locale(folder: Path, environment: dict[str, str]) -> None:
    done = run(folder, "similar", "photos/a.png", **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    encoding = environment.get("PYTHONIOENCODING", "ascii").partition(":")[0]
    printed = {line[7:] for line in done.stdout.decode(encoding).splitlines()}
    tokyo = "東京.png" if encoding == "utf-8" else r"\u6771\u4eac.png"
    assert printed == SHOWN | {tokyo}


@pytest.mark.parametrize("environment", LOCALES[2:], ids=["ascii", "C"])
def test_json_says_the_same_in_every_locale(folder: Path, environment: dict[str, str]) -> None:
    done = run(folder, "similar", "photos/a.png", "--json", **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    results = json.loads(done.stdout)["results"]
    names = {escape_path(os.fsdecode(name)) for name in ODD_NAMES[1:]}
    assert {result["path"] for result in results} == names


def test_errors_and_notices_are_lines_without_effects(folder: Path) -> None:
    runner = CliRunner()
    wrong = runner.invoke(main, ["similar", "no\nsuch\x1b[2J.png", "-s", f"{folder}/.clusterkit"])
    assert wrong.exit_code == 1
    assert (
        wrong.stderr
        == "Error: no such file: no\\nsuch\\x1b[2J.png, and no such path in the store\n"
    )
    usage = runner.invoke(main, ["similar", "a.png", "-n", "\x1b[2J\u202e"])
    assert usage.exit_code == 2
    assert "Usage: " in usage.stderr
    assert usage.stderr.replace("\n", "").isprintable()
    store = str(folder / "again")
    again = runner.invoke(main, ["embed", f"{folder}/photos", "-e", "pixels", "-s", store])
    assert r"Not embedded: brok\udce9n\x1b.png: " in again.stderr


@pytest.mark.parametrize(
    ("shell", "arguments", "status"),
    [
        ('"$@" <&- >&- 2>&-', ["embed", "photos", "-e", "pixels", "-s", "new"], 0),
        ('"$@" 2>&-', ["similar", "nothing.png"], 1),
        ('"$@" 2>/dev/full', ["embed", "photos", "-e", "pixels", "-s", "new"], 0),
        ('("$@"; echo $? > status) | true; exit $(cat status)', ["similar", "photos/a.png"], 1),
        (
            '("$@" 2>&1 >out; echo $? > status) | true; exit $(cat status)',
            ["similar", "photos/a.png", "-o", "a.png", "--overwrite"],
            0,
        ),
    ],
    ids=[
        "all closed",
        "stderr closed",
        "stderr on a full disk",
        "stdout without reader",
        "stderr without reader",
    ],
)
def test_closed_streams_lose_no_work(
    folder: Path, shell: str, arguments: list[str], status: int
) -> None:
    done = run(folder, *arguments, shell=shell)
    assert (done.returncode, done.stderr) == (status, b"")
    if "new" in arguments:
        # Nothing that was meant for a closed stream is in the store.
        again = run(folder, "embed", "photos", "-e", "pixels", "-s", "new", "--json")
        assert json.loads(again.stdout)["reused"] == len(ODD_NAMES)


def test_a_full_disk_is_an_error(folder: Path) -> None:
    done = run(folder, "similar", "photos/a.png", shell='"$@" > /dev/full')
    assert (done.returncode, done.stderr) == (1, b"Error: No space left on device\n")


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_ctrl_c_ends_with_130_and_one_line(
    is_wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        if is_wrapped:  # as by Python 3.11 while a class is defined
            raise RuntimeError("in a class") from KeyboardInterrupt()
        raise KeyboardInterrupt

    reset = []
    monkeypatch.setattr(signal, "signal", lambda *arguments: reset.append(arguments))
    monkeypatch.setattr(clusterkit.cli.similar, "open_search", interrupt)
    result = CliRunner().invoke(main, ["similar", "a.png"])
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "Interrupted\n")
    assert reset == [(signal.SIGINT, signal.SIG_DFL)]


@pytest.mark.parametrize(
    ("command", "continues"),
    [
        ("train classifier photos", True),
        ("train classifier photos -o done.keras --overwrite", False),
        ("train autoencoder photos", False),
        ("embed photos -e pixels", True),
        ("embed photos -e pixels --again", False),
        ("split photos --into divided", True),
        ("split photos --into divided --dry-run", False),
    ],
)
def test_ctrl_c_tells_whether_the_same_command_continues(
    command: str, continues: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "done.keras").touch()
    interrupt = Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr("clusterkit.images.folder.ImageFolder.__init__", interrupt)
    result = CliRunner().invoke(main, command.split())
    said = "Interrupted: the same command continues" if continues else "Interrupted"
    assert (result.exit_code, result.stderr) == (130, f"{said}\n")


@pytest.mark.parametrize("filters", ["ignore", "error"])
def test_what_a_command_says_is_no_warning_of_a_library(tmp_path: Path, filters: str) -> None:
    (tmp_path / "clusters.csv").write_text("path,cluster\na.png,0\nb.png,1\n")
    (tmp_path / "labels.csv").write_text("file;label\na.png;cat\nb.png;dog\n")
    arguments = ["evaluate", "clusters.csv", "--labels", "labels.csv"]
    done = run(tmp_path, *arguments, PYTHONWARNINGS=filters)
    assert done.returncode == 0
    assert b"labels.csv is read with semicolons" in done.stderr
    for name in "abc":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("file,label\na.png,cat\nb.png,dog\nc.png,\n")
    done = run(tmp_path, "label-errors", "t.csv", "--network", "nn", PYTHONWARNINGS=filters)
    assert done.returncode == 1
    said = done.stderr.decode().splitlines()
    assert said[0] == "Warning: left out 1 file without a label in t.csv"
    assert said[1].startswith("Error: each class needs")


@pytest.mark.parametrize("filters", ["ignore", "error"])
def test_what_a_clusterer_says_is_no_warning_of_scikit_learn(tmp_path: Path, filters: str) -> None:
    (tmp_path / "photos").mkdir()
    for level in range(5):
        Image.new("RGB", (8, 8), (level, 20 * level, 0)).save(tmp_path / "photos" / f"{level}.png")
    assert run(tmp_path, "embed", "photos", "-e", "pixels").returncode == 0
    done = run(tmp_path, "cluster", "-k", "2", PYTHONWARNINGS=filters)
    assert done.returncode == 0
    assert b"Warning: 1 of 5 rows are zero" in done.stderr


def test_ctrl_c_while_the_program_starts_prints_no_traceback() -> None:
    program = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "clusterkit.cli.options":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from clusterkit.__main__ import run
run()
"""
    command = [sys.executable, "-c", program, "--version"]
    done = subprocess.run(command, capture_output=True, check=False)
    # A shell reports it as 130, too.
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")
    # As in a background job of a shell, whose SIGINT is ignored.
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    command[2] = ignored + program
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_after_ctrl_c_nobody_waits_for_tensorflow_to_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["clusterkit", "similar", "a.png"])
    monkeypatch.setattr(clusterkit.cli.similar, "open_search", Mock(side_effect=KeyboardInterrupt))
    run_program()
    assert ended == [130]
    # Whatever else ends a command leaves in order.
    monkeypatch.setattr(clusterkit.cli.similar, "open_search", Mock(side_effect=FileNotFoundError))
    with pytest.raises(SystemExit, match="1"):
        run_program()
    assert ended == [130]


def test_a_pipe_that_breaks_inside_a_command_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_pipe(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(clusterkit.cli.similar, "open_search", break_pipe)
    result = CliRunner().invoke(main, ["similar", "a.png"])
    assert (result.exit_code, result.stderr) == (1, "Error: Broken pipe\n")


def test_every_command_prints_through_the_same_functions() -> None:
    for file in Path(clusterkit.cli.similar.__file__).parent.glob("*.py"):
        assert "click.echo(" not in file.read_text(encoding="utf-8"), file.name
