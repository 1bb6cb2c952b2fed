"""Named clusters become class folders, and a table gives access only to its own folder."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import clusterkit as ck
from clusterkit.cli import main
from clusterkit.clustering.promotion import promote
from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.extractors import Pixels


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write a table of five images in three clusters, one of them unnamed, and noise."""
    lines = ["path,cluster,distance,exemplar,name"]
    for number, (cluster, name) in enumerate([(0, "fox"), (1, "wolf"), (1, "wolf"), (2, "")]):
        lines.append(f"{number}.jpg,{cluster},0.1,false,{name}")
        (tmp_path / f"{number}.jpg").write_bytes(bytes([number]))
    lines.append("4.jpg,-1,,false,")
    (tmp_path / "4.jpg").write_bytes(b"noise")
    origin = {"root": str(tmp_path), "fingerprint": "0", "space": "xception-0"}
    (tmp_path / "clusters.json").write_text(json.dumps(origin))
    path = tmp_path / "clusters.csv"
    path.write_text("\n".join(lines))
    return path


def test_names_of_the_table(table: Path, tmp_path: Path) -> None:
    sorting = promote(table, tmp_path / "classes", root=tmp_path)
    assert sorting.folders == {"fox": 1, "wolf": 2}
    assert (tmp_path / "classes/wolf/2.jpg").read_bytes() == b"\2"


def test_given_names_win_and_may_join_clusters(table: Path, tmp_path: Path) -> None:
    names = {0: "dog", 1: "", 2: "dog"}
    assert promote(table, tmp_path / "classes", names=names, root=tmp_path).folders == {"dog": 2}


def test_what_cannot_be_promoted(table: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no cluster 7"):
        promote(table, tmp_path / "classes", names={7: "cat"})
    with pytest.raises(InvalidInputError, match="no cluster '0'"):
        promote(table, tmp_path / "classes", names={7: "cat", "0": "dog"})  # type: ignore[dict-item]
    with pytest.raises(InvalidInputError, match="has a name: give one"):
        promote(table, tmp_path / "classes", names={0: "", 1: ""})
    table.with_suffix(".json").unlink()
    with pytest.raises(InvalidInputError, match="does not record the folder of its images"):
        promote(table, tmp_path / "classes")
    assert promote(table, tmp_path / "classes", root=tmp_path).folders == {"fox": 1, "wolf": 2}


def test_images_of_a_cluster_that_lost_its_name_are_told(table: Path, tmp_path: Path) -> None:
    promote(table, tmp_path / "classes", root=tmp_path)
    told = r"2 images in .*classes, such as wolf/1\.jpg, of clusters without a name now, stay"
    for dry_run in (True, False):
        with pytest.warns(Notice, match=told):
            promote(table, tmp_path / "classes", names={1: ""}, root=tmp_path, dry_run=dry_run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        promote(table, tmp_path / "classes", root=tmp_path)


def test_two_names_for_a_cluster(table: Path, tmp_path: Path) -> None:
    table.write_text(table.read_text().replace("2.jpg,1,0.1,false,wolf", "2.jpg,1,0.1,false,dog"))
    sorting = promote(table, tmp_path / "classes", root=tmp_path)
    assert sorting.folders == {"dog": 1, "fox": 1, "wolf": 1}
    assert (tmp_path / "classes/dog/2.jpg").read_bytes() == b"\2"


def test_files_that_are_gone_are_left_out(table: Path, tmp_path: Path) -> None:
    (tmp_path / "2.jpg").unlink()
    with pytest.raises(NotFoundError, match=r"1 of the 3 files to sort do not exist.*2\.jpg"):
        promote(table, tmp_path / "strict", root=tmp_path, strict=True)
    with pytest.warns(Notice, match="left out: 1 of the 3 files are gone"):
        sorting = promote(table, tmp_path / "classes", root=tmp_path, mode="move")
    assert sorting.folders == {"fox": 1, "wolf": 1}
    with pytest.warns(Notice, match="left out: 1 of the 3 files are gone"):
        assert promote(table, tmp_path / "classes", root=tmp_path, mode="move").n_present == 2


def test_on_the_command_line(table: Path, tmp_path: Path) -> None:
    command = ["promote", str(table), "--into", str(tmp_path / "classes"), "--root", str(tmp_path)]
    result = CliRunner().invoke(main, [*command, "--name", "2=cat", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "4 files would be copied" in result.stdout
    assert CliRunner().invoke(main, [*command, "--name", "cat"]).exit_code == 2
    done = CliRunner().invoke(main, [*command, "--json"])
    assert json.loads(done.stdout)["folders"] == {"fox": 1, "wolf": 2}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Write pictures and a table as from someone else, and files of our own."""
    for name in ("data/images/a.jpg", "data/images/b.jpg", "home/key", "home/other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "data/images/link.jpg").symlink_to(tmp_path / "home/key")
    (tmp_path / "data/images/folder").symlink_to(tmp_path / "home")
    (tmp_path / "data/images/inner.jpg").symlink_to("a.jpg")
    return tmp_path


@pytest.mark.parametrize("mode", ["copy", "link", "move"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../../home/key", "the path '../../home/key' is not inside of the folder"),
        ("x/../../../home/key", "is not inside of the folder"),
        ("{home}/key", "is not inside of the folder"),
        ("link.jpg", "is a link, or in a linked folder, that leads out of"),
        ("folder/key", "is a link, or in a linked folder, that leads out of"),
        ("", "the path '' is not inside"),
    ],
)
def test_a_path_that_leads_out(secrets: Path, path: str, message: str, mode: str) -> None:
    table = secrets / "data/clusters.csv"
    path = path.format(home=secrets / "home")
    table.write_text(f"path,cluster,name\na.jpg,0,dog\n{path},0,dog\n")
    before = sorted(secrets.rglob("*"))
    for dry_run in (True, False):
        with pytest.raises(InvalidInputError, match=message):
            promote(
                table, secrets / "out", root=secrets / "data/images", mode=mode, dry_run=dry_run
            )
    assert sorted(secrets.rglob("*")) == before


def test_links_within_the_root_are_fine(secrets: Path) -> None:
    table = secrets / "data/clusters.csv"
    table.write_text("path,cluster,name\na.jpg,0,dog\ninner.jpg,0,dog\n./b.jpg,0,dog\n")
    assert promote(table, secrets / "out", root=secrets / "data/images").folders == {"dog": 3}


@pytest.mark.parametrize("place", ["home", "data/images"])
def test_a_root_that_only_the_table_names(secrets: Path, place: str) -> None:
    table = secrets / "data/clusters.csv"
    table.write_text("path,cluster,name\n" + ("key" if place == "home" else "a.jpg") + ",0,dog\n")
    origin = {"root": str(secrets / place), "fingerprint": "0", "space": "xception-0"}
    table.with_suffix(".json").write_text(json.dumps(origin))
    with pytest.raises(InvalidInputError, match=f"images are in .*{place}.* give it with --root"):
        promote(table, secrets / "out", mode="move", store=secrets / "store")
    assert not (secrets / "out").exists()
    assert promote(table, secrets / "out", root=secrets / place, mode="move").folders == {"dog": 1}


def test_what_the_store_knows_needs_no_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, and another that is linked and so leads out of the common root."""
    rng = np.random.default_rng(0)
    for number in range(4):
        for folder in ("photos/one", "elsewhere"):
            file = tmp_path / folder / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
    (tmp_path / "photos/two").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    ck.embed(ck.ImageFolder("photos"), Pixels(), store=".clusterkit")
    runner = CliRunner()
    done = runner.invoke(main, ["cluster", "-k", "2"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    command = ["promote", "clusters.csv", "--into", "classes", "--name", "0=a", "--name", "1=b"]
    elsewhere = runner.invoke(main, [*command, "--store", "another"])
    assert elsewhere.exit_code == 1
    assert "is not in the store another" in elsewhere.output
    assert not os.path.lexists("classes")
    assert json.loads(runner.invoke(main, [*command, "--json"]).stdout)["n"] == 8
    # As a spreadsheet saves the table under another name.
    Path("clusters.csv").rename("edited.csv")
    edited = ["promote", "edited.csv", "--into", "again", *command[4:]]
    refused = runner.invoke(main, [*edited, "--store", "another"])
    assert "does not record the folder of its images" in refused.output
    assert json.loads(runner.invoke(main, [*edited, "--json"]).stdout)["n"] == 8
