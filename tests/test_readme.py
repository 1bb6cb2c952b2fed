"""The README is correct: its commands and code run unchanged, and its command table is complete.

A small network replaces Xception and ResNet50, and only the network that sorts photos for a later
command is really trained.  Of the reports on classifiers, two are drawn: one with a single label
per image, and one with several.
"""

import csv
import gzip
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from clusterkit.cli import main
from tests.no_drawing import drawing_nothing
from tests.no_training import learning_nothing
from tests.picture_server import Reply, serving
from tests.small_sets import paint, take, take_posters
from tests.tiny_network import registered

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def command_table() -> str:
    """Return the table of commands for the README, generated from their help."""
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


@pytest.fixture(scope="module")
def stand_in() -> Iterator[None]:
    """Replace the networks that the README names by a small one."""
    with registered("xception", "resnet50"):
        yield


@pytest.fixture
def wild(
    shared: Path,
    stand_in: None,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Enter a folder with photos of three kinds and weights, named as in the README."""
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
    (tmp_path / "xception_notop.h5").symlink_to(tiny_weights)
    monkeypatch.setenv("CLUSTERKIT_WEIGHTS", str(tiny_weights))
    return tmp_path


@pytest.fixture
def web(wild: Path) -> Iterator[None]:
    """Serve the photos, one of them twice, at the addresses in the files of the README."""
    photos = {f"/{file.name}": file.read_bytes() for file in sorted((wild / "wild").iterdir())}
    with Image.open(wild / "wild/fox.jpg") as image:
        image.resize((150, 150)).save(wild / "small.jpg")
    photos["/fox_small.jpg"] = (wild / "small.jpg").read_bytes()
    items = "".join(
        f'<li><img src="{path}"><b class="genre">{path[1:4]}</b><b class="genre">animal</b></li>'
        for path in photos
    )
    page = Reply(f"<title>All</title>{items}".encode(), headers={"Content-Type": "text/html"})
    with serving({"/": page, **{path: Reply(body) for path, body in photos.items()}}) as server:
        rows = [f"{server.url(path)},{path[1:4]}" for path in photos]
        (wild / "addresses.csv").write_text("\n".join(["address,label", *rows]))
        (wild / "posters.toml").write_text(
            f'pages = "{server.url("/")}"\nitem = "li"\npicture = "img"\nlabel = "genres"\n'
            '[fields]\ngenres = { select = "b.genre", several = true }\n'
        )
        yield


def run_command(words: list[str]) -> None:
    """Run a command with few numbers of clusters and small autoencoders."""
    extra = {
        "elbow": ["--k-max", "6"],
        "train autoencoder": ["--image-size", "32"],
        "gather": ["--allow-private", "127.0.0.1", "--rate", "1000"],
    }
    words = words + extra.get(words[1], extra.get(" ".join(words[1:3]), []))
    with ExitStack() as stack:
        if "two-conv" not in words:
            stack.enter_context(learning_nothing())
        if "classifier" in words and not {"anime.keras", "scratch.keras"} & set(words):
            stack.enter_context(drawing_nothing())
        result = CliRunner().invoke(main, words[1:])
    assert result.exit_code == 0, f"{' '.join(words)}\n{result.output}"


# Commands print how they read a table.
@pytest.mark.filterwarnings("ignore:.* is read with files from column")
@pytest.mark.filterwarnings("ignore:adding .* to those of")
@pytest.mark.usefixtures("wild", "web")
def test_every_command_runs() -> None:
    lines = [
        line.partition(" #")[0].strip() for block in blocks("bash") for line in block.splitlines()
    ]
    commands = [line for line in lines if line.startswith("clusterkit ")]
    assert len(commands) >= 10
    for command in commands:
        if "--labels sample.csv" in command:
            fill_in(Path("sample.csv"))
        run_command(shlex.split(command))


def fill_in(sample: Path) -> None:
    """Write labels into half of the rows of a sample, like a person."""
    with sample.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    place = header.index("label")
    for row in rows[::2]:
        row[place] = row[0][:3]
    with sample.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def projects(
    shared: Path,
    stand_in: None,
    tiny_weights: Path,
    tiny_weights_with_head: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Enter a folder with a few images for each of the five projects, named as in the README."""
    monkeypatch.chdir(tmp_path)
    data = shared / "data"
    # Images that two convolutions can distinguish: coloured noise for cats and dogs, and photos.
    for name in ("cat", "dog"):
        paint(tmp_path / "faces", name, 20, seed=0)
        paint(tmp_path / "mixed", name, 4, seed=1)
    for kind in ("cheetah", "fox", "lion", "tiger", "wolf"):
        for number, photo in enumerate(sorted((data / "species10" / kind).iterdir())[:16]):
            folder = tmp_path / ("faces/wild" if number < 5 else "mixed/others")
            folder.mkdir(exist_ok=True)
            shutil.copy(photo, folder / (f"{kind}.jpg" if number == 5 else photo.name))
    take(data / "anime5", tmp_path / "shows", 6)
    take(data / "imbalanced10", tmp_path / "animals", 4)
    take_posters(data / "posters700", tmp_path / "posters", 24)
    lines = (data / "mnist/kaggle_2000.csv").read_text().splitlines()
    (tmp_path / "test.csv").write_text(
        "\n".join(line.partition(",")[2] for line in [lines[0], *lines[-9:]])
    )
    (tmp_path / "digits").mkdir()
    for name, n in (("train", 300), ("t10k", 100)):
        for kind, size in (("images-idx3", 16 + 784 * n), ("labels-idx1", 8 + n)):
            packed = (data / f"mnist/{name}-{kind}-ubyte.gz").read_bytes()
            content = bytearray(gzip.decompress(packed)[:size])
            content[4:8] = n.to_bytes(4, "big")
            (tmp_path / "digits" / f"{name}-{kind}-ubyte").write_bytes(content)
    shutil.copy(tmp_path / "shows/Death Note/Death Note_001.jpg", tmp_path / "new.jpg")
    (tmp_path / "resnet50.h5").symlink_to(tiny_weights_with_head)
    monkeypatch.setenv("CLUSTERKIT_WEIGHTS", str(tiny_weights))
    return tmp_path


@pytest.mark.filterwarnings("ignore:adding .* to those of")
def test_the_five_projects_can_be_redone(projects: Path) -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) == 21
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "clusterkit"
        if words[1] in ("train", "compare"):
            words += ["--epochs", "6" if "two-conv" in words else "1"]
        if ("cnn5" in words or "two-conv" in words) and "--image-size" not in words:
            words += ["--image-size", "32"]
        run_command(words)
    for file in ("kinds.png", "anime-report/confusion.png", "five/comparison.png", "answers.csv"):
        assert (projects / file).is_file()


def test_the_notebook_runs(wild: Path) -> None:
    (block,) = blocks("python")
    assert len([line for line in block.splitlines() if line]) <= 15
    names: dict[str, object] = {}
    exec(compile(block, str(README), "exec"), names)
    assert len(set(names["labels"])) > 1  # type: ignore[call-overload]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (README.parent / target).exists(), target
