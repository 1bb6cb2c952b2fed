"""The commands that maintain a store: embed --prune, store, import and export."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from clusterkit.cli import main
from clusterkit.embedding.embed import describe
from clusterkit.extractors import create_extractor
from clusterkit.images.folder import ImageFolder, digest_file
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store
from tests.grid_colours import GridColours
from tests.odd_files import JPEG
from tests.stores import make_photos


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder with images whose space names a network with these weights."""
    monkeypatch.chdir(tmp_path)
    images = ImageFolder(make_photos(tmp_path / "photos", 6))
    (tmp_path / "weights.h5").write_bytes(b"of which only the digest counts")
    extractor = create_extractor("xception", weights="weights.h5")
    space = Store().open_space(describe(extractor))
    colours = GridColours().transform(images)
    rows = []
    for path, file, vector in zip(images.paths, images.files, colours, strict=True):
        status, root = file.stat(), space.root_of(images.root)
        row = Row(path, root, digest_file(file), status.st_size, status.st_mtime_ns)
        row.vector = np.resize(vector, 2048)
        rows.append(row)
    space.append(rows)
    return tmp_path


def test_embed_prunes_on_demand(project: Path) -> None:
    (project / "photos/000.png").unlink()
    embed = ("embed", "photos", "--weights", "weights.h5", "--json")
    assert json.loads(run(*embed).stdout)["pruned"] == 0
    assert "Gone: 1 file, still in the store" in run(*embed[:-1]).stderr
    document = json.loads(run(*embed, "--prune").stdout)
    assert (document["images"], document["reused"], document["pruned"]) == (5, 5, 1)
    assert len(Store().space().read()) == 5


def test_embed_leaves_out_what_is_excluded_and_says_what_it_passed_over(project: Path) -> None:
    (project / "photos/a.cr2").touch()
    (project / "photos/@eaDir").mkdir()
    embed = (
        "embed",
        "photos",
        "-e",
        "pixels",
        "--exclude",
        "000.*",
        "--exclude",
        "[12].png",
        "--json",
    )
    found = run(*embed)
    assert json.loads(found.stdout)["embedded"] == 5
    assert "Passed over: " in found.stderr
    for said in ("1 excluded entry", "1 RAW photo", "1 system folder"):
        assert said in found.stderr


def test_a_store_in_memory_is_refused_since_it_ends_with_the_command(project: Path) -> None:
    result = run("embed", "photos", "-e", "pixels", "-s", "memory://store")
    assert result.exit_code == 2
    assert "must outlast the command, which memory does not" in result.stderr
    assert "memory://store" in result.stderr


def test_info_counts(project: Path) -> None:
    (project / "photos/000.png").unlink()
    (space,) = json.loads(run("store", "info", "--json").stdout)["spaces"]
    assert (space["images"], space["embedded"], space["failed"], space["gone"]) == (6, 6, 0, 1)
    assert (space["extractor"], space["dimension"], space["parts"]) == ("xception", 2048, 1)
    assert space["bytes"] > 0
    result = run("store", "info")
    assert result.exit_code == 0
    assert "6 images of 2048 dimensions, 0 failed, 1 gone, 1 part," in result.stdout


def test_info_goes_on_past_a_damaged_space(project: Path) -> None:
    shutil.copytree(Store().space().folder, project / ".clusterkit/other-00000000")
    (project / ".clusterkit/other-00000000/space.json").write_text("")
    result = run("store", "info")
    assert result.exit_code == 0
    assert "space.json is missing or damaged" in result.stdout
    assert "6 images of 2048" in result.stdout


def test_info_tells_that_rows_are_missing(project: Path) -> None:
    (part,) = Store().space().parts
    part.unlink()
    alone = run("store", "info")
    assert run("embed", "photos", "-e", "pixels").exit_code == 0
    beside_another = run("store", "info")
    assert "6 images of 3072" in beside_another.stdout
    for result in (alone, beside_another):
        assert result.exit_code == 0
        assert f"6 rows missing: 1 file of the list of parts gone, such as {part}." in result.stdout
        assert "`clusterkit store verify` lists what is damaged" in result.stdout
    assert f"{part}: missing" in run("store", "verify").stdout


def test_verify_lists_damage_and_exits_with_1(project: Path) -> None:
    assert run("store", "verify").stdout == ".clusterkit is whole\n"
    assert json.loads(run("store", "verify", "--json").stdout)["whole"] is True
    part = Store().space().parts[0]
    part.write_bytes(part.read_bytes()[:-100])
    result = run("store", "verify")
    assert result.exit_code == 1
    assert f"{part}: damaged" in result.stdout
    assert result.stderr.startswith("Error: 1 damaged: run `clusterkit embed` again")
    result = run("store", "verify", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["whole"] is False
    assert document["damaged"][0]["file"] == str(part)


@pytest.mark.parametrize("command", ["info", "verify"])
def test_no_store(tmp_path: Path, command: str) -> None:
    result = run("store", command, "-s", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "clusterkit embed FOLDER" in result.stderr


def test_export_and_import(project: Path) -> None:
    result = run("export", "-o", "own.npz", "--json")
    assert json.loads(result.stdout) == {"output": "own.npz", "images": 6, "dimension": 2048}
    assert run("export", "-o", "own.npz").exit_code == 1
    document = json.loads(run("import", "own.npz", "--name", "mine", "--json").stdout)
    assert (document["extractor"], document["images"]) == ("mine", 6)
    assert "own" in run("import", "own.npz", "-s", "elsewhere").stdout
    result = run("similar", "photos/001.png", "-e", "mine", "--json")
    assert len(json.loads(result.stdout)["results"]) == 5
    (project / "outside.jpg").write_bytes(JPEG)
    result = run("similar", "outside.jpg", "-e", "mine")
    assert result.exit_code == 1
    assert "the network that made them is not known" in result.stderr
