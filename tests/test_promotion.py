"""Named clusters become class folders."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from clusterkit.cli import main
from clusterkit.errors import InvalidInputError
from clusterkit.promotion import promote


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write a table of five images in three clusters, one of them without a name, and noise."""
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
    sorting = promote(table, tmp_path / "classes")
    assert sorting.folders == {"fox": 1, "wolf": 2}
    assert (tmp_path / "classes/wolf/2.jpg").read_bytes() == b"\2"


def test_given_names_win_and_may_join_clusters(table: Path, tmp_path: Path) -> None:
    names = {0: "dog", 1: "", 2: "dog"}
    assert promote(table, tmp_path / "classes", names=names).folders == {"dog": 2}


def test_what_cannot_be_promoted(table: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no cluster 7"):
        promote(table, tmp_path / "classes", names={7: "cat"})
    with pytest.raises(InvalidInputError, match="has a name: give one"):
        promote(table, tmp_path / "classes", names={0: "", 1: ""})
    table.with_suffix(".json").unlink()
    with pytest.raises(InvalidInputError, match="which folder its images are in"):
        promote(table, tmp_path / "classes")
    assert promote(table, tmp_path / "classes", root=tmp_path).folders == {"fox": 1, "wolf": 2}


def test_two_names_for_a_cluster(table: Path, tmp_path: Path) -> None:
    table.write_text(table.read_text().replace("2.jpg,1,0.1,false,wolf", "2.jpg,1,0.1,false,dog"))
    with pytest.raises(InvalidInputError, match="two names for cluster 1: 'wolf' and 'dog'"):
        promote(table, tmp_path / "classes")


def test_on_the_command_line(table: Path, tmp_path: Path) -> None:
    command = ["promote", str(table), "--into", str(tmp_path / "classes")]
    result = CliRunner().invoke(main, [*command, "--name", "2=cat", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "4 files would be copied" in result.stdout
    assert CliRunner().invoke(main, [*command, "--name", "cat"]).exit_code == 2
    done = CliRunner().invoke(main, [*command, "--json"])
    assert json.loads(done.stdout)["folders"] == {"fox": 1, "wolf": 2}
