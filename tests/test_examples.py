"""The examples run unchanged.

The commands in the README train the five projects, see test_readme.py.  The scripts that do the
same in Python run with a small network instead of Xception and ResNet50, and learn nothing.  Their
figures are composed but not drawn; those of the commands are drawn.
"""

import ast
import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clusterkit import classifiers
from clusterkit.classifiers import SCRATCH_NETWORKS
from tests.small_sets import CHANNELS, paint, take, take_posters
from tests.tiny_network import registered

REPOSITORY = Path(__file__).parent.parent
EXAMPLES = REPOSITORY / "examples"
# The scripts of each project in the README, in its order.
PROJECTS = [
    ("06_cats_dogs_wild.py", "11_the_loop.py"),
    ("07_anime_shows.py",),
    ("08_unbalanced_animals.py",),
    ("09_poster_genres.py",),
    ("10_digits.py",),
]
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a script in its own folder, and returns its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def run_script(script: str, *arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return capsys.readouterr().out

    return run_script


def test_the_scripts_on_the_sample_images_run_one_after_the_other(
    tmp_path: Path, run: Run, untrained: None
) -> None:
    for digit in range(10):
        for file in sorted((REPOSITORY / f"data/digits/{digit}").glob("*.png"))[:4]:
            (tmp_path / "some" / str(digit)).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "some" / str(digit))
    assert "trained for " in run("01_train_and_cluster.py", tmp_path / "some")
    for script in sorted(EXAMPLES.glob("0[2-5]*.py")):
        assert run(script.name).strip()


@pytest.mark.parametrize("name", ["tour.ipynb", "notebook.ipynb"])
def test_the_notebook_was_executed_without_errors(name: str) -> None:
    notebook = json.loads((EXAMPLES / name).read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]


@pytest.mark.parametrize("name", ["tour.ipynb", "notebook.ipynb"])
def test_the_pictures_of_a_notebook_are_small(name: str) -> None:
    assert (EXAMPLES / name).stat().st_size < 500_000


def test_the_notebook_of_results_runs(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell runs, and the value of its last line is shown as HTML, as in a notebook."""
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLUSTERKIT_WEIGHTS", str(tiny_weights))
    names: dict[str, object] = {}
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    with registered("resnet50"):
        for cell in cells:
            if cell["cell_type"] != "code":
                continue
            *body, last = ast.parse("".join(cell["source"])).body
            exec(compile(ast.Module(body, []), "notebook.ipynb", "exec"), names)
            shown = None
            if isinstance(last, ast.Expr):
                expression = ast.Expression(last.value)
                shown = eval(compile(expression, "notebook.ipynb", "eval"), names)
            else:
                exec(compile(ast.Module([last], []), "notebook.ipynb", "exec"), names)
            html = [output for output in cell["outputs"] if "text/html" in output.get("data", {})]
            assert bool(html) == hasattr(shown, "_repr_html_")
            pictures = sum("".join(output["data"]["text/html"]).count("<img") for output in html)
            if html and hasattr(shown, "to_text"):
                assert shown._repr_html_().count("<img") == pictures
    assert not list(tmp_path.iterdir())


def test_the_scripts_train_what_the_readme_trains() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    for block, scripts in zip(blocks, PROJECTS, strict=True):
        strings: set[object] = set()
        for script in scripts:
            nodes = ast.walk(ast.parse((EXAMPLES / script).read_text(encoding="utf-8")))
            strings |= {node.value for node in nodes if isinstance(node, ast.Constant)}
        assert strings.intersection(SCRATCH_NETWORKS) == set(SCRATCH_NETWORKS) & set(block.split())
        for value in re.findall(r"--image-size (\d+)", block):
            assert int(value) in strings


@pytest.mark.usefixtures("untrained", "undrawn")
def test_digits(shared: Path, tmp_path: Path, run: Run) -> None:
    lines = (shared / "data/mnist/kaggle_2000.csv").read_text().splitlines()[:301]
    (tmp_path / "digits-300.csv").write_text("\n".join(lines))
    out = run("10_digits.py", tmp_path / "digits-300.csv", "--epochs", "1")
    for name in ("nn", "dnn", "dnn-dropout", "cnn", "dcnn"):
        assert (tmp_path / "digits" / f"{name}.keras").is_file()
        assert f"\n{name} " in out
    assert out.count("precision 0.") == 3
    assert (tmp_path / "digits.png").is_file()
    assert (tmp_path / "predictions.png").is_file()
    assert len(list(tmp_path.glob("digits-*-confusion.png"))) == 3


@pytest.mark.usefixtures("untrained", "undrawn")
def test_anime_shows(shared: Path, tmp_path: Path, run: Run) -> None:
    images = take(shared / "data/anime5", tmp_path / "images", 6)
    out = run("07_anime_shows.py", images, "--epochs", "1")
    assert "'Death Note': 6" in out
    assert out.rstrip().endswith("%")
    assert (tmp_path / "anime-report/predictions.csv").is_file()


def test_cats_dogs_wild(
    shared: Path, tiny_weights: Path, tmp_path: Path, run: Run, untrained: None
) -> None:
    images = take(shared / "data/cat_dog_wild", tmp_path / "images", 5)
    with registered("xception"):
        out = run("06_cats_dogs_wild.py", images, "--epochs", "1", "--weights", tiny_weights)
    assert "best on the validation images: " in out
    assert (tmp_path / "cats_dogs_wild.png").is_file()
    assert (tmp_path / "predictions.png").is_file()


@pytest.mark.usefixtures("untrained", "undrawn")
def test_unbalanced_animals(shared: Path, tiny_weights: Path, tmp_path: Path, run: Run) -> None:
    images = take(shared / "data/imbalanced10", tmp_path / "images", 3)
    with registered("xception"):
        out = run("08_unbalanced_animals.py", images, "--epochs", "1", "--weights", tiny_weights)
    for name in ("alike", "weighted", "transfer"):
        assert f"\n{name}: macro recall" in out
    assert out.count("gas_pump") == 3
    assert (tmp_path / "unbalanced.png").is_file()


@pytest.mark.usefixtures("untrained", "undrawn")
def test_poster_genres(shared: Path, tiny_weights: Path, tmp_path: Path, run: Run) -> None:
    table = take_posters(shared / "data/posters700", tmp_path / "posters", 24)
    with registered("xception"):
        out = run("09_poster_genres.py", table, "--epochs", "1", "--weights", tiny_weights)
    assert out.count("with a threshold for each genre") == 2
    assert out.count("with thresholds of 0.5") == 2
    assert (tmp_path / "posters-report/report.json").is_file()


# Images of one painted kind are similar.
@pytest.mark.filterwarnings("ignore:most images of .* look alike")
@pytest.mark.usefixtures("few_resamples")
def test_the_loop(
    tiny_weights: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled, mixed = tmp_path / "labelled", tmp_path / "mixed"
    for name in CHANNELS:
        kinds = 3 if name == "wild" else 1
        paint(labelled, name, 20, seed=0, kinds=kinds)
        paint(mixed, name, 15, seed=1, kinds=kinds)
    train, trained = classifiers.train_classifier, {}

    def train_once(images: Path, output: str, *arguments: Any, **options: Any) -> Any:
        if output not in trained:
            trained[output] = train(images, output, *arguments, **options)
        return trained[output]

    monkeypatch.setattr(classifiers, "train_classifier", train_once)
    for _ in range(2):  # again, with what the first run sorted and learned
        with registered("resnet50"):
            out = run("11_the_loop.py", labelled, mixed, "--epochs", "6", "--weights", tiny_weights)
        assert "routed: {" in out
        assert "promoted: {" in out
        assert len(list((tmp_path / "routed/wild").iterdir())) >= 10
        assert len([path for path in (tmp_path / "classes").iterdir() if path.is_dir()]) >= 2
        assert (tmp_path / "kinds.keras").is_file()
