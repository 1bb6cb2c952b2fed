"""Decisions of a photographer persist: three rounds of changes on real photos in messy folders."""

import csv
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clusterkit.cli import main
from clusterkit.images.folder import digest_file

pytestmark = pytest.mark.filterwarnings("default::clusterkit.errors.Notice")


def run(*words: object) -> dict[str, Any]:
    """Run a command with --json, and return its result."""
    done = CliRunner().invoke(main, [*map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def copy_photos(shared: Path) -> None:
    """Copy 440 photos, in order of name, into folders of two years and of a memory card."""
    species = sorted(path for path in (shared / "data/species10").rglob("*") if path.is_file())
    others = sorted(path for path in (shared / "data/cat_dog_wild").rglob("*") if path.is_file())
    for number, file in enumerate([*species, *others[::6]]):
        folder = Path("photos", ("2019/zoo", "2020 (copy)", "DCIM/100")[number % 3])
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / f"IMG_{number:04}{file.suffix}")


def read_groups(table: str = "clusters.csv") -> dict[int, set[str]]:
    """Return the content of the files of each cluster; all files must exist."""
    root = Path(json.loads(Path(table).with_suffix(".json").read_text())["root"])
    groups = defaultdict(set)
    with Path(table).open(newline="") as stream:
        for row in csv.DictReader(stream):
            groups[int(row["cluster"])].add(digest_file(root / row["path"]))
    return groups


def names_of(table: str = "clusters.csv") -> dict[int, str]:
    with Path(table).open(newline="") as stream:
        return {int(row["cluster"]): row["name"] for row in csv.DictReader(stream) if row["name"]}


def edit_in_spreadsheet(numbers: dict[str, str], table: str = "clusters.csv") -> None:
    """Change cluster numbers, and save with semicolons, line ends and code page of Windows."""
    with Path(table).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with Path(table).open("w", newline="", encoding="cp1252") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=";", lineterminator="\r\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"cluster": numbers.get(row["path"], row["cluster"])})


def next_round(*folders: str, k: int = 9) -> dict[str, Any]:
    run("embed", *folders, "-e", "pixels")
    return run("cluster", "-k", k, "--previous", "clusters.csv", "--overwrite")


def test_decisions_last(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copy_photos(shared)
    assert run("embed", "photos", "-e", "pixels")["images"] == 440
    run("cluster", "-k", 8)

    # A name, a pin, an image moved to another cluster; and a new group in the spreadsheet.
    run("label", "clusters.csv", "--name", "2=my tigers", "--name", "5=Löwen", "--pin", 0)
    moved = "2019/zoo/IMG_0003.jpg"
    run("label", "clusters.csv", "--move", f"{moved}=5")
    group = [f"DCIM/100/IMG_{number:04}.jpg" for number in (2, 5, 8, 11)]
    edit_in_spreadsheet(dict.fromkeys(group, "40"))
    content = {path: digest_file(Path("photos", path)) for path in [moved, *group]}
    kept = read_kept(group, content)

    # First round: a folder is renamed, files are deleted and added.
    Path("photos/2020 (copy)").rename("photos/2020")
    gone = [Path("photos", path) for path in ("2019/zoo/IMG_0000.jpg", "2020/IMG_0001.jpg")]
    gone_content = {digest_file(file) for file in gone}
    for file in gone:
        file.unlink()
    for number, file in enumerate(sorted((shared / "data/afhq_faces").rglob("*.jpg"))[:8]):
        shutil.copy(file, f"photos/new_{number}.jpg")
    result = next_round("photos", "--prune")
    assert (result["identity"]["n_removed"], result["identity"]["n_added"]) == (2, 8)
    check_kept(kept, gone_content, content[moved])

    # Second round: everything moves, and a kept cluster gets another name.
    Path("photos").rename("archive")
    run("label", "clusters.csv", "--name", "2=tigers of the zoo")
    result = next_round("archive", "--prune", k=11)
    assert (result["identity"]["n_removed"], result["identity"]["n_added"]) == (0, 0)
    assert names_of()[2] == "tigers of the zoo"
    check_kept(kept, gone_content, content[moved])

    # Third round: a deleted photo returns, under another name.
    back = sorted((shared / "data/species10").rglob("*"))
    back = next(path for path in back if path.is_file() and digest_file(path) in gone_content)
    shutil.copy(back, "archive/found again.jpg")
    next_round("archive", k=11)
    check_kept(kept, gone_content - {digest_file(back)}, content[moved])

    # A photo is deleted, and the table is not updated: sorting and promoting still work.
    victim = Path("archive/2019/zoo/IMG_0009.jpg")
    victim.unlink()
    assert run("promote", "clusters.csv", "--into", "classes")["folders"].keys() == {
        "Löwen",
        "tigers of the zoo",
    }
    command = ["cluster", "-k", 11, "--previous", "clusters.csv", "-o", "sorted.csv"]
    run(*command, "--into", "sorted", "--mode", "move")
    assert len(list(Path("sorted").rglob("*.jpg"))) == 446
    assert {path.name for path in Path("sorted").iterdir() if path.is_dir()} >= {
        "002 tigers of the zoo",
        "005 Löwen",
    }
    # The store knows the new places, so nothing is embedded again, also after undoing.
    assert run("embed", "sorted", "-e", "pixels")["embedded"] == 0
    photo = next(Path("sorted/002 tigers of the zoo").iterdir())
    assert len(run("similar", photo)["results"]) == 10
    run("undo", "sorted")
    assert run("embed", "archive", "-e", "pixels")["embedded"] == 0


def read_kept(group: list[str], content: dict[str, str]) -> dict[int, set[str]]:
    """Return the content of the clusters to keep, after the edits."""
    with Path("clusters.csv").open(newline="", encoding="cp1252") as stream:
        rows = list(csv.DictReader(stream, delimiter=";"))
    kept = defaultdict(set)
    for row in rows:
        kept[int(row["cluster"])].add(digest_file(Path("photos", row["path"])))
    assert kept[40] == {content[path] for path in group}
    return {number: kept[number] for number in (0, 2, 5, 40)}


def check_kept(kept: dict[int, set[str]], gone: set[str], moved: str) -> None:
    """Check that each kept cluster has at least its images, and no image of another one."""
    groups, names = read_groups(), names_of()
    for number, images in kept.items():
        assert groups[number] >= images - gone
        others = set().union(*(theirs for other, theirs in kept.items() if other != number))
        assert not groups[number] & others
    assert moved in groups[5]
    assert names[5] == "Löwen"
    assert "tigers" in names[2]
