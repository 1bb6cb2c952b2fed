"""The command line as a user sees it: help, exit codes, JSON, and errors of one line."""

import errno
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import clusterkit.cli.store
from clusterkit.cli import COMMANDS, main
from clusterkit.clustering.saved import read_clusters
from clusterkit.errors import MissingDependencyError
from clusterkit.extractors import create_extractor
from clusterkit.images.folder import ImageFolder, digest_file
from clusterkit.store.embeddings import describe_space
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store
from tests.kills import Killed, killed_at

HEAVY = ("keras", "tensorflow", "sklearn", "faiss", "matplotlib", "pyarrow", "scipy", "PIL")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def every_command(group: click.Group = main, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of each command, including those of groups."""
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            found += every_command(command, (*path, name))
        else:
            found.append((*path, name))
    return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder with images of three colours, embedded by their mean colour."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, colour in {
        "red": (220, 30, 30),
        "green": (30, 220, 30),
        "blue": (30, 30, 220),
    }.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(8):
            pixels = np.clip(rng.normal(colour, 15, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    images = ImageFolder("photos")
    description = {"fingerprint": "f" * 64, "extractor": "colour", "dimension": 3}
    space = Store(".clusterkit").open_space(description)
    rows = [
        Row(
            path,
            space.root_of(images.root),
            digest=digest_file(file),
            vector=images[i].mean(axis=(0, 1)).astype(np.float32),
        )
        for i, (path, file) in enumerate(zip(images.paths, images.files, strict=True))
    ]
    space.append([*rows, Row("broken.jpg", space.root_of(images.root), error="the file is empty")])
    return tmp_path


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from clusterkit.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.splitlines()[-1] == "[]"


def test_similar_for_a_known_image_loads_no_network(project: Path) -> None:
    code = (
        "import sys\n"
        "from clusterkit.cli import main\n"
        "try:\n    main(['similar', 'photos/red/0.png'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "print([name for name in ('keras', 'tensorflow', 'sklearn') if name in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert f"clusterkit {' '.join(words)}" in result.output
    # Shells replace patterns outside of quotes; zsh stops where no file fits.
    example = result.output.split("Example:")[1].split("Options:")[0]
    assert not set("?*[<>") & set(re.sub(r"'[^']*'", "", example))


def test_the_table_lists_every_command_once() -> None:
    listed = run("--help").output
    assert all(f"\n  {name} " in listed for name in COMMANDS)
    assert "..." not in listed.split("Commands:")[1]


def test_python_dash_m_is_the_same_program() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "clusterkit", "--version"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.startswith("clusterkit, version ")


def test_similar_prints_the_same_colour_first(project: Path) -> None:
    result = run("similar", "photos/red/0.png", "-n", "7", "--json")
    document = json.loads(result.stdout)
    assert document["query"] == "red/0.png"
    assert [item["path"].split("/")[0] for item in document["results"]] == ["red"] * 7
    assert "red/0.png" not in [item["path"] for item in document["results"]]


def test_similar_says_how_many_files_are_gone(project: Path) -> None:
    first, *_ = run("similar", "photos/red/0.png").stdout.splitlines()
    (project / "photos" / first[7:]).unlink()
    result = run("similar", "photos/red/0.png")
    assert first not in result.stdout
    assert len(result.stdout.splitlines()) == 10
    assert result.stderr.startswith("1 nearer image left out, since the file is gone: `clusterkit")
    (project / "photos").rename(project / "elsewhere")
    result = run("similar", "red/0.png")
    assert result.stdout.splitlines()[0] == first
    assert result.stderr == "None of these files is there: is their disk mounted?\n"


def test_similar_knows_a_copy_by_its_content(project: Path) -> None:
    copy = project / "copy.png"
    copy.write_bytes((project / "photos/blue/3.png").read_bytes())
    document = json.loads(run("similar", "copy.png", "-n", "1", "--json").stdout)
    assert document["results"] == [{"path": "blue/3.png", "similarity": 1.0}]


def test_cluster_evaluate_and_elbow_follow_each_other(project: Path) -> None:
    clustered = json.loads(run("cluster", "-k", "3", "--json").stdout)
    assert clustered["sizes"] == {"0": 8, "1": 8, "2": 8}
    assert (project / "clusters.csv").read_text().startswith("path,cluster,distance,exemplar\n")
    assert json.loads((project / "clusters.json").read_text())["space"] == describe_space(
        {"extractor": "colour", "fingerprint": "f" * 64}
    )
    assert json.loads(run("evaluate", "clusters.csv", "--json").stdout)["acc"] == 1.0
    curve = json.loads(run("elbow", "--k-max", "6", "--json").stdout)
    assert curve["k"] == 3
    assert [point["k"] for point in curve["curve"]] == [2, 3, 4, 5, 6]


@pytest.mark.usefixtures("two_levels")
def test_elbow_lists_the_levels_and_cluster_takes_one(project: Path) -> None:
    listed = run("elbow")
    *_, coarse, fine = (line.split() for line in listed.stdout.splitlines())
    assert (coarse[:2], fine[:2]) == (["1", "2"], ["2", "3"])
    assert "The groups have no names" in listed.stderr
    best = run("cluster", "-k", "auto")
    assert best.stdout.startswith(
        "24 images in 3 clusters (kmeans)\n"
        "Chosen by the elbow: level 2 of 2, 3 clusters, confidence 0.85\n"
        "Other levels: --level 1 (2 clusters, confidence 0.60)\n"
    )
    arguments = ["-k", "auto", "--level", "1", "--overwrite", "--json"]
    chosen = json.loads(run("cluster", *arguments).stdout)
    assert chosen["k"] == 2
    assert json.loads((project / "clusters.json").read_text())["level"] == chosen["level"]
    assert (chosen["level"]["level"], chosen["level"]["k"]) == (1, 2)


@pytest.mark.usefixtures("two_levels")
def test_elbow_names_groups_by_the_classes_in_the_store(project: Path) -> None:
    space = Store(".clusterkit").space()
    classes = Store(".clusterkit").open_space(
        {"fingerprint": "c" * 64, "extractor": "classes", "dimension": 2}
    )
    names = {"red": "tomato", "green": "lime", "blue": "plum"}
    known = space.read()
    rows = [Row(path, str(known.root), vector=np.ones(2, np.float32)) for path in known.paths]
    for row in rows:
        row.top5 = [(names[row.path.partition("/")[0]], 0.9)]
    classes.append(rows)
    result = run("elbow", "-e", "colour")
    assert set(result.stdout.splitlines()[-1].split("0.85  ")[1].split(", ")) == set(names.values())
    assert "The groups' names are from classes-cccccccc." in result.stderr
    level = json.loads(run("elbow", "-e", "colour", "--json").stdout)["levels"][-1]
    assert set(level["names"].values()) == set(names.values())
    assert level["sizes"] == {"0": 8, "1": 8, "2": 8}


@pytest.mark.usefixtures("two_levels")
def test_a_level_that_is_not_there_writes_nothing(project: Path) -> None:
    before = sorted(project.rglob("*"))
    result = run("cluster", "-k", "auto", "--level", "3", "--into", "sorted", "--sheet", "a.png")
    assert result.exit_code == 1
    assert "level must be one of these: 1 (2 clusters, confidence 0.60), 2 (3 c" in result.stderr
    assert sorted(project.rglob("*")) == before


def test_cluster_says_what_refinement_chose(project: Path) -> None:
    printed = run("cluster", "-k", "3", "--refine").stdout
    assert "24 images in 3 clusters (refined-kmeans)\nChosen: k-means: " in printed
    written = json.loads((project / "clusters.json").read_text())
    assert written["refinement"]["reason"] in printed


def test_cluster_sorts_into_folders_and_undo_takes_it_back(project: Path) -> None:
    before = sorted(path for path in (project / "photos").rglob("*.png"))
    assert run("cluster", "-k", "3", "--into", "sorted", "--mode", "move").exit_code == 0
    assert len(list((project / "sorted").rglob("*.png"))) == 24
    assert run("undo", "sorted").exit_code == 0
    assert sorted((project / "photos").rglob("*.png")) == before


def n_gone() -> int:
    """Return how many files of embedded images the store does not find; broken.jpg is another."""
    return json.loads(run("store", "info", "--json").stdout)["spaces"][0]["gone"] - 1


@pytest.mark.parametrize("count", [12, 24])
def test_the_store_follows_files_that_killed_runs_moved(project: Path, count: int) -> None:
    arguments = ["cluster", "-k", "3", "--into", "sorted", "--mode", "move"]
    with killed_at(count, victim=(os, "unlink")), pytest.raises(Killed):
        run(*arguments)
    assert n_gone() > 0
    assert run(*arguments, "--overwrite").exit_code == 0
    assert n_gone() == 0
    with killed_at(count, victim=(os, "unlink")), pytest.raises(Killed):
        run("undo", "sorted")
    assert n_gone() > 0
    assert run("undo", "sorted").exit_code == 0
    assert n_gone() == 0


def test_the_store_follows_files_that_were_moved_before_an_error(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, calls = os.link, itertools.count()

    def taken(*arguments: Any, **options: Any) -> None:
        if next(calls) == 12:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        link(*arguments, **options)

    monkeypatch.setattr(os, "link", taken)
    result = run("cluster", "-k", "3", "--into", "sorted", "--mode", "move")
    assert "12 of 24 files are done" in result.stderr
    assert n_gone() == 0


def test_pictures_are_drawn_on_demand(project: Path) -> None:
    for arguments in (
        ["similar", "photos/red/0.png", "-o", "similar.png"],
        ["explain", "photos/red/0.png", "photos/blue/0.png", "-o", "explain.png"],
        ["elbow", "--k-max", "5", "--indices", "-o", "elbow.png"],
        ["cluster", "-k", "3", "--sheet", "sheet.png"],
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        with Image.open(project / arguments[-1]) as picture:
            assert min(picture.size) > 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["embed", "nowhere"], "no such file or folder: nowhere"),
        (["embed", "empty"], "no images in empty"),
        (["embed", "photos", "-e", "resnet5"], "Did you mean resnet50"),
        (["embed", "photos", "--weights", "none.h5"], "no weights file none.h5"),
        (["elbow", "-s", "elsewhere"], "run `clusterkit embed FOLDER` first"),
        (["elbow", "-e", "xception"], "It holds: colour-ffffffff"),
        (["cluster", "-k", "25"], "24"),
        (["cluster", "-k", "3", "-a", "affinity-propagation", "-o", "no/c.csv"], "no such folder"),
        (["similar", "nothing.jpg"], "no such file: nothing.jpg"),
        (["similar", "broken.jpg"], "could not be embedded: the file is empty"),
        (["similar", "notes.txt"], "notes.txt: not an image"),
        (["similar", "photos/red/0.png", "-o", "similar.xyz"], ".png"),
        (["explain", "photos/red/0.png", "nothing.jpg"], "no such file: nothing.jpg"),
        (["evaluate", "nothing.csv"], "nothing.csv"),
        # No program opens a table whose suffix is that of another format.
        (["cluster", "-k", "3", "-o", "groups.parquet"], "must end in .csv"),
        (["cluster", "-k", "3", "-o", "groups.json"], "must end in .csv"),
        (["cluster", "-k", "3", "-o", "groups.png", "--sheet", "groups.png"], "must end in .csv"),
        (["sample", "-n", "3", "-o", "groups.xlsx"], "must end in .csv"),
        (["audit", "--table", "findings.xlsx"], "must end in .csv. Received: findings.xlsx"),
        (["undo", "nowhere"], "no such folder"),
        (["train", "classifier", "photos/red"], "a folder for each class"),
        (["train", "classifier", "photos", "--network", "cnnn"], "Did you mean cnn"),
        # Commands in messages can be pasted.
        (["predict", "photos", "--model", "my clf.keras"], "FOLDER -o 'my clf.keras'`"),
    ],
)
def test_errors_are_one_line_with_exit_code_1(
    project: Path, arguments: list[str], said: str
) -> None:
    (project / "empty").mkdir()
    (project / "notes.txt").write_text("no picture")
    result = run(*arguments)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Warning")]
    assert result.exit_code == 1
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert said in lines[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["cluster"],
        ["cluster", "-k", "many"],
        ["cluster", "-k", "0"],
        ["cluster", "-k", "3", "-a", "k-means"],
        ["cluster", "-k", "auto", "-a", "hdbscan"],
        ["cluster", "-k", "3", "-a", "agglomerative", "--refine"],
        ["cluster", "-k", "3", "--seed", "4294967296"],
        ["cluster", "-k", "3", "--mode", "move"],
        ["cluster", "-k", "3", "--mode", "copy"],
        ["similar"],
        ["elbow", "--k-min", "1"],
        ["elbow", "--k-min", "9", "--k-max", "5"],
        ["elbow", "--indices"],
        ["cluster", "-k", "3", "--level", "1"],
        ["cluster", "-k", "auto", "--level", "0"],
        ["cluster", "-a", "hdbscan", "--level", "1"],
        ["nonsense"],
    ],
)
def test_wrong_usage_has_exit_code_2(project: Path, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_elbow_tries_no_more_clusters_than_images(project: Path) -> None:
    description = {"fingerprint": "e" * 64, "extractor": "few", "dimension": 2}
    space = Store(".clusterkit").open_space(description)
    vectors = np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 0, 1]]
    space.append([Row(f"{i}.png", "/", vector=vector) for i, vector in enumerate(vectors)])
    curve = json.loads(run("elbow", "-e", "few", "--json").stdout)["curve"]
    assert [point["k"] for point in curve] == [2, 3, 4, 5, 6]


def test_elbow_of_identical_images_says_so(project: Path) -> None:
    description = {"fingerprint": "d" * 64, "extractor": "same", "dimension": 2}
    space = Store(".clusterkit").open_space(description)
    vector = np.ones(2, np.float32)
    space.append([Row(f"{i}.png", "/", vector=vector) for i in range(5)])
    result = run("elbow", "-e", "same")
    assert result.exit_code == 0
    assert "all rows are the same" in result.stdout


def test_a_sorting_that_fails_leaves_no_table_in_the_way(project: Path) -> None:
    (project / "photos/red/0.png").unlink()
    arguments = ["cluster", "-k", "3", "--into", "sorted", "--sheet", "sheet.png"]
    result = run(*arguments, "--strict")
    assert result.exit_code == 1
    assert "1 of the 24 files are gone" in result.stderr
    assert "`clusterkit embed FOLDER --prune`" in result.stderr
    assert not list(project.glob("clusters.*"))
    assert not (project / "sheet.png").exists()


def test_a_sheet_shows_images_that_are_moved_meanwhile(project: Path) -> None:
    arguments = ["cluster", "-k", "3", "--sheet", "sheet.png", "--overwrite"]
    assert run(*arguments).exit_code == 0
    before = (project / "sheet.png").read_bytes()
    assert run(*arguments, "--into", "sorted", "--mode", "move").exit_code == 0
    assert (project / "sheet.png").read_bytes() == before


@pytest.mark.filterwarnings("default:left out")
def test_one_file_that_is_gone_stops_no_sorting(project: Path) -> None:
    (project / "photos/red/0.png").unlink()
    arguments = ["cluster", "-k", "3", "--into", "sorted", "--mode", "move"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "Note: left out: 1 of the 24 files are gone" in result.stderr
    assert len(list(project.glob("sorted/*/*"))) == 23
    # Again, when the files are in their sorted places.
    assert run(*arguments, "--overwrite").exit_code == 0


def add_predictions() -> None:
    """Embed all photos except one by a network that classifies colours as animals."""
    animals = {"red": "fox_squirrel", "green": "green mamba", "blue": "jack-o'-lantern"}
    description = {"fingerprint": "b" * 64, "extractor": "guess-predictions", "dimension": 2}
    space = Store(".clusterkit").open_space(description)
    images = ImageFolder("photos")
    rows = [
        Row(
            path,
            space.root_of(images.root),
            vector=np.ones(2, np.float32),
            top5=[(animals[path.partition("/")[0]], 0.9)],
        )
        for path in images.paths[1:]
    ]
    space.append(rows)


def test_names_are_taken_from_the_space_that_has_them(project: Path) -> None:
    without = run("cluster", "-k", "3", "-o", "plain.csv")
    assert "resnet50-predictions" in without.stderr
    assert "name" not in without.stdout
    add_predictions()
    arguments = ["cluster", "-e", "colour", "-k", "3"]
    result = run(*arguments, "--into", "sorted", "--sheet", "sheet.png")
    assert "names are from guess-predictions-bbbbbbbb" in result.stderr
    assert {line[15:].strip() for line in result.stdout.splitlines()[1:]} == {
        "name",
        "fox squirrel",
        "green mamba",
        "jack-o'-lantern",
    }
    assert sorted(folder.name[4:] for folder in project.glob("sorted/*/")) == [
        "fox squirrel",
        "green mamba",
        "jack-o'-lantern",
    ]
    header = "path,cluster,distance,exemplar,name\n"
    assert (project / "clusters.csv").read_text().startswith(header)
    document = json.loads(run(*arguments, "--overwrite", "--json").stdout)
    assert sorted(document["names"].values()) == ["fox squirrel", "green mamba", "jack-o'-lantern"]
    assert json.loads(run("evaluate", "clusters.csv", "--json").stdout)["acc"] == 1


def test_a_second_run_keeps_the_numbers_and_says_what_changed(project: Path) -> None:
    assert run("cluster", "-k", "3").exit_code == 0
    before = read_clusters("clusters.csv")
    arguments = ["cluster", "--previous", "clusters.csv", "--overwrite"]
    again = run(*arguments, "-k", "3", "--seed", "5")
    assert again.stdout.splitlines()[-1] == "24 of 24 images keep their number"
    assert "The clusters have no names" in again.stderr
    assert read_clusters("clusters.csv") == before
    merged = run(*arguments, "-k", "2")
    assert "merged: clusters" in merged.stdout
    split = json.loads(run(*arguments, "-k", "3", "--json").stdout)
    assert len(split["identity"]["split"]) == 1
    assert split["identity"]["moved"] == []
    assert run("label", "clusters.csv", "--name", "0=foxes").exit_code == 0
    assert "have no names" not in run(*arguments, "-k", "3").stderr


@pytest.mark.filterwarnings("default:the (earlier )?clusters are")
def test_an_earlier_table_of_another_space_is_warned_of(project: Path) -> None:
    assert run("cluster", "-k", "3").exit_code == 0
    add_predictions()
    # Without -e, the space is the one recorded in the table.
    arguments = ["-e", "guess-predictions", "--previous", "clusters.csv"]
    result = run("cluster", "-k", "1", *arguments, "-o", "b.csv")
    assert result.exit_code == 0
    assert "Warning: the earlier clusters are of the space colour-ffffffff" in result.stderr
    (project / "others.csv").write_text("path,cluster\nx.png,1\n")
    result = run("cluster", "-k", "3", "--previous", "others.csv", "-o", "c.csv")
    assert result.exit_code == 1
    assert "must have an image in common" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "embed photos -e pixels --weights w.h5 --runtime keras",
            "--weights, --runtime, since pixels",
        ),
        (
            "train classifier photos --epochs 3 --patience 2 -o x",
            "--epochs, --patience, since a last",
        ),
        ("cluster -k 2 --of c.csv --strict", "--strict, since no files are sorted without --into"),
        ("cluster -k 2 --show random --file-names", "--show, --file-names, since no picture is"),
        ("cluster -k 2 --of c.csv --sheet s.png", "--of, since --only-cluster is not given"),
        ("check photos --kind dark", "--kind, since nothing is moved without --quarantine"),
        ("evaluate c.csv --path-column a --label-column b", "--label-column, --path-column, since"),
        ("compare-spaces --labels folders --label-column b", "--label-column, since no table is"),
        ("sample --label-separator ;", "--label-separator, since --labels is not given"),
        ("gather a.txt --into a --address-column b", "--address-column, since a.txt is not a"),
        ("elbow --of c.csv", "--of, since --only-cluster is not given"),
        ("compare none --network nn --weights w.h5", "--weights, since all of the networks"),
        ("compare none --network xception --image-size 9", "--image-size, since none of the"),
        ("train classifier two.csv --network nn --balance weights -o x", "--balance, since images"),
        ("compare two.csv --network nn --balance weights", "--balance, since images with several"),
    ],
)
def test_options_that_are_given_for_nothing_are_named(
    project: Path, arguments: str, said: str
) -> None:
    for name in "ab":
        Image.new("RGB", (8, 8)).save(project / f"{name}.png")
    (project / "two.csv").write_text("file,label\na.png,cat|dog\nb.png,cat\n")
    assert f"Not used: {said}" in run(*arguments.split()).stderr
    without = run("embed", "photos", "-e", "pixels", "-s", "other")
    assert "Not used" not in without.stderr


def test_nothing_is_overwritten_without_being_asked(project: Path) -> None:
    assert run("cluster", "-k", "3").exit_code == 0
    again = run("cluster", "-k", "2")
    assert again.exit_code == 1
    assert "clusters.csv exists" in again.stderr
    assert run("cluster", "-k", "2", "--overwrite").exit_code == 0


def test_the_same_seed_gives_the_same_file(project: Path) -> None:
    for name in ("a.csv", "b.csv"):
        assert run("cluster", "-k", "4", "--seed", "7", "-o", name).exit_code == 0
    assert (project / "a.csv").read_bytes() == (project / "b.csv").read_bytes()


def test_an_image_of_unknown_content_needs_the_network(project: Path) -> None:
    Image.new("RGB", (8, 8), "white").save(project / "white.png")
    result = run("similar", "white.png")
    assert result.exit_code == 1
    assert "the network that made them is not known" in result.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [("clutser -k 3", "cluster"), ("store inof", "info"), ("train clasifier .", "classifier")],
)
def test_a_misspelt_command_gets_a_hint(words: str, meant: str) -> None:
    result = run(*words.split())
    assert result.exit_code == 2
    assert f"Did you mean {meant}?" in result.stderr


def complete(words: str, **environment: str) -> list[str]:
    """Return the completions that the shell offers for the last word."""
    asked = {"_CLUSTERKIT_COMPLETE": "bash_complete", "COMP_WORDS": f"clusterkit {words}"}
    asked["COMP_CWORD"] = str(len(words.split(" ")))
    result = CliRunner().invoke(main, prog_name="clusterkit", env=asked | environment)
    return [line.removeprefix("plain,") for line in result.stdout.split()]


def test_the_shell_completes_commands_and_spaces(project: Path) -> None:
    assert complete("clu") == ["cluster"]
    assert complete("store u") == ["use"]
    assert complete("cluster -e c") == ["colour", "colour-ffffffff"]
    assert complete("store use colour-") == ["colour-ffffffff"]
    assert complete("cluster -e c", CLUSTERKIT_STORE="elsewhere") == []
    assert complete("cluster -e c", CLUSTERKIT_STORE="nowhere://bucket/store") == []
    (project / "my.keras").touch()
    assert complete("embed photos -e my") == ["my.keras"]
    assert complete("embed -e resnet50-") == ["resnet50-predictions"]
    for words in ("embed ph", "check ph", "similar ph", "explain a.png ph", "predict ph"):
        assert complete(words) == ["file,ph"], words


@pytest.mark.parametrize("backend", ["torch", "nonsense"])
def test_a_backend_that_is_not_there_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    def fail() -> None:
        raise ModuleNotFoundError("No module named 'torch'") if backend == "torch" else ValueError

    monkeypatch.setenv("KERAS_BACKEND", backend)
    if importlib.util.find_spec(backend) is not None:
        pytest.skip(f"{backend} is installed")
    assert run("store", "info").exit_code == 0
    monkeypatch.setattr(clusterkit.cli.store.store, "callback", fail)
    result = run("store", "info")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: KERAS_BACKEND")
    assert ("pip install torch" in line) == (backend == "torch")
    with pytest.raises(MissingDependencyError, match="KERAS_BACKEND"):
        create_extractor("vgg16").transform(np.zeros((1, 224, 224, 3), np.uint8))


def test_a_sheet_that_cannot_be_written_leaves_no_table_in_the_way(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["cluster", "-k", "3", "--sheet", "sheet.png"]
    with monkeypatch.context() as patch:
        full = Mock(side_effect=OSError(28, "No space left on device"))
        patch.setattr("clusterkit.plots.display.write_whole", full)
        assert run(*arguments).exit_code == 1
    assert not Path("clusters.csv").exists()
    assert run(*arguments).exit_code == 0
    assert Path("clusters.csv").exists()
