"""The store remembers: which space is in use, and what made each space."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import clusterkit as ck
from clusterkit.cli import main
from clusterkit.errors import NotFoundError, StoreError
from clusterkit.store.store import Store
from tests.grid_colours import GridColours
from tests.stores import make_photos


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def done(*arguments: Any) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder with a folder of photos."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLUSTERKIT_WEIGHTS", raising=False)
    return make_photos(tmp_path / "photos", 13)


def default() -> str:
    space = Store().default
    assert space is not None
    return space.folder.name.rpartition("-")[0]


# The space in use.


def test_a_second_space_changes_no_answer_of_the_first(photos: Path) -> None:
    done("embed", "photos", "-e", "pixels")
    questions = [
        ("similar", "photos/000.png"),
        ("explain", "photos/000.png", "photos/001.png"),
        ("elbow", "--k-max", "4"),
        ("cluster", "-k", "3", "--overwrite"),
    ]
    answers = [done(*question, "--json").stdout for question in questions]
    ck.embed(photos, GridColours(), store=".clusterkit")
    helped = done("embed", "photos", "-e", "pixels", "--again")
    assert "Commands go on" not in helped.stderr
    assert [done(*question, "--json").stdout for question in questions] == answers
    assert "Using pixels-0816849b, the default" in done(*questions[0]).stderr
    assert Store().read().space["extractor"] == "pixels"
    assert Store().read("grid-colours").shape == (12, 12)


def test_the_first_space_is_the_default_until_another_is_chosen(photos: Path) -> None:
    assert Store().default is None
    for cells in (1, 2):
        ck.embed(photos, GridColours(cells), store=".clusterkit")
    first, second = (space.folder.name for space in Store().spaces())
    embedded = done("embed", "photos", "-e", "pixels")
    assert f"Commands go on using {first}" in embedded.stderr
    assert "`clusterkit store use pixels-0816849b`" in embedded.stderr
    listed = done("store", "info").stdout
    assert f"{first} (default): 12 images" in listed
    assert f"{second}: 12 images" in listed
    assert done("store", "use", "pixels").stdout == "pixels-0816849b is the default\n"
    assert done("similar", "000.png", "--json").stdout
    assert default() == "pixels"
    assert json.loads(done("store", "use", second, "--json").stdout)["default"] == second
    ck.embed(photos, GridColours(1), store=".clusterkit")
    assert Store().spaces()[0].folder.name == second
    summaries = json.loads(done("store", "info", "--json").stdout)["spaces"]
    assert [one["space"] for one in summaries if one["default"]] == [second]
    # Of two spaces of one name the last that was embedded is used, and it is said.
    named = done("similar", "000.png", "-e", "grid-colours").stderr
    assert named == f"Using {first}, the last embedded: also grid-colours: {second}.\n"


def test_a_default_that_is_not_there(photos: Path) -> None:
    ck.embed(photos, "pixels", store=".clusterkit")
    wrong = run("store", "use", "pixel")
    assert wrong.exit_code == 1
    assert "It holds: pixels-0816849b. Did you mean pixels?" in wrong.stderr
    ck.embed(photos, GridColours(), store=".clusterkit")
    kept = Store().use("grid-colours")
    assert repr(kept) == f"Space({kept.folder.name!r})"
    shutil.rmtree(kept.folder)
    shutil.rmtree(kept.about)
    assert default() == "pixels"
    with pytest.raises(NotFoundError, match="embed FOLDER"):
        Store("elsewhere").use("pixels")
    assert not Path("elsewhere").exists()


@pytest.mark.parametrize("content", [None, "", "{}", '{"default": "grid-colours"}'])
def test_a_store_without_a_default_keeps_that_of_before(photos: Path, content: str | None) -> None:
    ck.embed(photos, "pixels", store=".clusterkit")
    ck.embed(photos, GridColours(), store=".clusterkit")
    file = Path(".clusterkit/about/store.json")
    file.unlink() if content is None else file.write_text(content)
    # As earlier versions chose: the last that was embedded; from now on it stays.
    assert default() == "grid-colours"
    ck.embed(photos, "pixels", store=".clusterkit")
    assert default() == "grid-colours"
    assert "grid-colours" in file.read_text()


def test_a_store_that_cannot_be_written_is_read(photos: Path, monkeypatch: Any) -> None:
    ck.embed(photos, "pixels", store=".clusterkit")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("clusterkit.store.store.write_sealed", refuse)
    assert len(Store().read()) == 12
    with pytest.raises(StoreError, match=r"cannot write the store \.clusterkit: Permission"):
        Store().use("pixels")
