"""Decisions by a person: edits of a table are recognised, applied by a command, and kept later."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clusterkit.cli import main
from clusterkit.clustering import Clustering, label
from clusterkit.clustering.cluster import cluster
from clusterkit.clustering.decisions import Decisions, Placed, read_edits
from clusterkit.clustering.evaluation import evaluate
from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store
from clusterkit.utils.files import locked
from clusterkit.utils.noise import MAX_CLUSTER


def bundles(rows: list[int], *, folder: str = "", seed: int = 0) -> Embeddings:
    """Return images of four tight bundles of directions, ten each: 0 to 9, 10 to 19, and so on."""
    noise = np.random.default_rng(seed).normal(0, 0.05, (60, 8))
    vectors = np.eye(8)[:6].repeat(10, axis=0) + noise
    return Embeddings(
        vectors[rows],
        paths=[f"{folder}{row:02d}.png" for row in rows],
        root=Path("/photos"),
        digests=[f"{row:064x}" for row in rows],
        space={"extractor": "bundles", "fingerprint": "0" * 64},
    )


ALL = list(range(40))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write the table of four clusters, whose first images are 00, 10, 20 and 30."""
    found = cluster(bundles(ALL), n_clusters=4, random_state=0)
    found = replace(found, labels=np.repeat([0, 1, 2, 3], 10))
    return found.to_csv(tmp_path / "clusters.csv")


def edit(table: Path, cells: dict[str, dict[str, str]], *, delimiter: str = ",") -> None:
    """Change cells of a table by hand: {path: {column: cell}}."""
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = dict.fromkeys([*rows[0], *(name for row in cells.values() for name in row)])
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(columns), delimiter=delimiter, restval="")
        writer.writeheader()
        writer.writerows(row | cells.get(row["path"], {}) for row in rows)


def go_on(previous: Path | Clustering, emb: Embeddings | None = None, k: int = 4) -> Clustering:
    return cluster(emb or bundles(ALL), n_clusters=k, previous=previous, random_state=0)


def members(found: Clustering, number: int) -> set[str]:
    rows = np.flatnonzero(found.labels == number)
    return {found.embeddings.paths[row] for row in rows}


def test_a_given_name_keeps_number_and_images(table: Path) -> None:
    assert label(table, names={1: "my tigers"}).names == {1: "my tigers"}
    # A fifth bundle, which is near no other one, and fewer clusters.
    found = go_on(table, bundles([*ALL, *range(40, 50)]), k=3)
    assert found.names == {1: "my tigers"}
    assert members(found, 1) >= {f"{row:02d}.png" for row in range(10, 20)}
    assert found.n_clusters == 3
    assert "Kept as named or pinned: 1" in found.to_text()
    again = cluster(bundles(ALL), "agglomerative", n_clusters=2, previous=found)
    assert again.names == {1: "my tigers"}
    assert members(again, 1) == {f"{row:02d}.png" for row in range(10, 20)}


def test_a_group_made_by_hand_is_not_merged_again(table: Path) -> None:
    edit(table, {f"0{row}.png": {"cluster": "9"} for row in range(3)})
    found = go_on(table, k=5)
    assert members(found, 9) == {"00.png", "01.png", "02.png"}
    assert members(found, 0) == {f"0{row}.png" for row in range(3, 10)}
    assert found.identity is not None
    assert not found.identity.merged
    assert found.decisions.pinned == {9}
    assert members(go_on(found, k=5), 9) == {"00.png", "01.png", "02.png"}


def test_that_images_are_no_copies_is_kept_and_can_be_taken_back(table: Path) -> None:
    said = CliRunner().invoke(main, ["label", str(table), "--not-copies", "01.png", "00.png"])
    assert "1 pair of images marked as no copies" in said.output
    pair = (f"{0:064x}", f"{1:064x}")
    assert label(table).decisions.not_copies == {pair}
    label(table, not_copies=[("03.png", "02.png"), ("00.png", "01.png")], pin=[2])
    found = go_on(go_on(table))
    assert found.decisions.not_copies == {pair, (f"{2:064x}", f"{3:064x}")}
    assert Decisions.from_dict(found.decisions.to_dict()) == found.decisions
    assert label(table, copies=[("02.png", "03.png")]).decisions.not_copies == {pair}
    assert label(table).decisions.not_copies == {pair}
    with pytest.raises(InvalidInputError, match="the same image or equal files"):
        label(table, not_copies=[("00.png", "00.png")])
    with pytest.raises(NotFoundError, match=r"x\.png is not among the 40 images"):
        label(table, not_copies=[("x.png", "00.png")])
    # Tables of earlier versions do not have the key.
    document = json.loads(table.with_suffix(".json").read_text())
    del document["decisions"]["not_copies"]
    table.with_suffix(".json").write_text(json.dumps(document))
    assert label(table).decisions == Decisions(pinned=frozenset({2}))
    table.with_suffix(".json").unlink()
    with pytest.raises(InvalidInputError, match="does not hold digests of its images"):
        label(table, not_copies=[("00.png", "01.png")])


def test_a_stream_keeps_decisions_as_vectors_in_memory_do(table: Path, tmp_path: Path) -> None:
    label(table, names={1: "my tigers"}, moves={"05.png": 2, "06.png": -1, "07.png": 1}, pin=[3])
    # In two parts, out of order, with five new images of a kept cluster.
    emb = bundles(ALL[::-1])
    near = bundles([10, 11, 12, 13, 14], folder="new/", seed=1)
    space = Store(tmp_path / "store").open_space(emb.space | {"dimension": 8})
    for part, first in ((emb, 0), (replace(near, digests=["", *"abcd"]), 60)):
        space.append(
            [
                Row(path, str(emb.root), digest, size=1, mtime_ns=first + row, vector=vector)
                for row, (path, digest, vector) in enumerate(
                    zip(part.paths, part.digests or (), part.vectors, strict=True)
                )
            ]
        )
    options = {"n_clusters": 4, "previous": table, "random_state": 0}
    found = cluster(space.stream(), "minibatch-kmeans", **options)
    assert members(found, 1) == {f"{row}.png" for row in range(10, 20)} | {*near.paths, "07.png"}
    assert members(found, 3) == {f"{row}.png" for row in range(30, 40)}
    assert members(found, -1) == {"06.png"}
    assert {"05.png", "20.png"} <= members(found, 2)
    assert (found.names, found.decisions.pinned) == ({1: "my tigers"}, {3})
    in_memory = cluster(space.read(), "minibatch-kmeans", **options)
    for number in (-1, 1, 3):
        assert members(found, number) == members(in_memory, number)


def test_an_image_that_was_moved_stays_where_it_was_put(table: Path) -> None:
    label(table, moves={"05.png": 2, "/photos/06.png": -1})
    found = go_on(table)
    assert found.labels[[4, 5, 6]].tolist() == [0, 2, -1]
    assert found.decisions.placed == (
        Placed("05.png", f"{5:064x}", 2),
        Placed("06.png", f"{6:064x}", -1),
    )
    assert go_on(found).labels[[4, 5, 6]].tolist() == [0, 2, -1]


def test_numbers_of_numpy_and_one_number_are_taken(table: Path) -> None:
    found = label(table, names={np.int64(1): "fox"}, moves={Path("05.png"): np.int64(2)}, pin=3)
    assert found.decisions.fixed == {1, 3}
    assert label(table).to_dict() == found.to_dict() | {"n_moved": 0}
    assert label(table, unpin=np.int64(3)).decisions.fixed == {1}


def test_two_calls_at_once_lose_nothing(table: Path) -> None:
    with locked(table.parent, doing="labelling clusters"):
        with pytest.raises(InvalidInputError, match="another run is labelling clusters in"):
            label(table, names={1: "fox"})
        assert label(table).names == {}  # reading waits for nobody
    assert label(table, names={1: "fox"}).names == label(table).names == {1: "fox"}
    assert sorted(file.name for file in table.parent.iterdir()) == ["clusters.csv", "clusters.json"]


def test_an_image_may_be_named_by_the_end_of_its_path(tmp_path: Path) -> None:
    table = tmp_path / "clusters.csv"
    table.write_text("path,cluster\n2019/a.png,0\n2020/a.png,0\n2020/b.png,1\n")
    assert label(table, moves={"b.png": 0}).decisions.placed == (Placed("2020/b.png", None, 0),)
    message = r"a\.png could be 2019/a\.png or 2020/a\.png: give the path with its folders"
    with pytest.raises(InvalidInputError, match=message):
        label(table, moves={"a.png": 1})


def test_an_image_may_belong_where_it_is(table: Path) -> None:
    labelled = label(table, moves={"05.png": 0})
    assert labelled.n_moved == 0
    assert labelled.decisions.placed == (Placed("05.png", f"{5:064x}", 0),)


def test_new_images_join_the_nearest_cluster(table: Path) -> None:
    label(table, pin=[2, 3])
    rows = [row for row in ALL if row not in (3, 25)]
    earlier = go_on(table, bundles(rows))
    found = go_on(earlier, bundles([*ALL, *range(40, 50)]), k=4)
    assert found.labels[[3, 25]].tolist() == [0, 2]
    assert members(found, 3) >= {f"{row}.png" for row in range(30, 40)}
    # The others are clustered again, without those that joined.
    assert set(found.labels[:20].tolist()) == {0, 1}


def test_files_that_were_renamed_are_followed(table: Path) -> None:
    label(table, names={1: "foxes"}, moves={"05.png": 2})
    found = go_on(table, bundles(ALL, folder="2019/"))
    assert found.identity is not None
    assert (found.identity.n_added, found.identity.n_removed) == (0, 0)
    assert members(found, 1) == {f"2019/{row}.png" for row in range(10, 20)}
    assert found.labels[5] == 2


def test_images_of_a_kept_cluster_return_to_it(table: Path) -> None:
    label(table, names={1: "foxes"})
    without = go_on(table, bundles([row for row in ALL if row not in (11, 12)]))
    again = without.to_csv(table, overwrite=True)
    back = go_on(again, bundles(ALL, folder="back/"))
    assert members(back, 1) == {f"back/{row}.png" for row in range(10, 20)}


def test_a_kept_cluster_without_images_keeps_its_number(table: Path) -> None:
    label(table, names={3: "foxes"})
    with pytest.warns(Notice, match="3 has no image here; its number and name stay reserved"):
        found = go_on(table, bundles(list(range(30))), k=4)
    assert 3 not in found.sizes
    assert found.n_clusters == 4
    back = go_on(found)
    assert back.names == {3: "foxes"}
    assert members(back, 3) == {f"{row}.png" for row in range(30, 40)}


def test_what_could_not_be_kept_is_said(table: Path) -> None:
    label(table, moves={"05.png": 2})
    with pytest.warns(Notice, match=r"could not keep 1 image in .*gone: 05\.png"):
        found = go_on(table, bundles([*range(20), *range(30, 40)]), k=3)
    assert found.decisions.placed[0].cluster == 2  # for when it is back


def test_that_all_clusters_are_kept_is_said(table: Path) -> None:
    label(table, pin=[0, 1, 2, 3])
    assert go_on(table, k=4).n_clusters == 4
    for k in (2, 5):
        with pytest.warns(Notice, match=f"in the 4 clusters that decisions keep.*n_clusters={k}"):
            assert go_on(table, k=k).n_clusters == 4


def test_too_few_clusters_are_an_error(table: Path) -> None:
    label(table, pin=[0, 1])
    with pytest.raises(InvalidInputError, match=r"2 clusters are kept .* at least 3. Received: 2"):
        go_on(table, k=2)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_names_written_into_a_table(table: Path, delimiter: str) -> None:
    cells = {f"1{row}.png": {"name": "my tigers"} for row in range(10)}
    cells |= {f"0{row}.png": {"name": "at the zoo"} for row in range(3)}
    cells |= {"20.png": {"name": "my tigers"}}
    edit(table, cells, delimiter=delimiter)
    if delimiter == ",":
        found = go_on(table, k=5)
    else:
        with pytest.warns(Notice, match="semicolons"):
            found = go_on(table, k=5)
    assert found.names == {1: "my tigers", 4: "at the zoo"}
    assert members(found, 1) == {"20.png", *(f"1{row}.png" for row in range(10))}
    assert members(found, 4) == {"00.png", "01.png", "02.png"}


def test_a_name_that_is_removed_does_not_come_back(table: Path) -> None:
    emb = replace(bundles(ALL), top5=[[(f"kind {row // 10}", 0.9)] for row in ALL])
    found = cluster(emb, n_clusters=4, random_state=0, previous=table)
    assert found.names[1] == "kind 1"
    table = found.to_csv(table, overwrite=True)
    edit(table, {f"1{row}.png": {"name": ""} for row in range(10)})
    again = cluster(emb, n_clusters=4, random_state=0, previous=table)
    assert sorted(again.names) == [0, 2, 3]
    assert not again.decisions.fixed
    with pytest.warns(Notice, match="clusters 2, 3 are all called 'kind 3'"):
        label(table, names={2: "kind 3"})
    third = cluster(emb, n_clusters=4, random_state=0, previous=table)
    assert third.names == {0: "kind 0", 2: "kind 3", 3: "kind 3"}


def test_what_was_not_edited_is_no_decision(table: Path) -> None:
    emb = replace(bundles(ALL), top5=[[(f"kind {row // 10}", 0.9)] for row in ALL])
    table = cluster(emb, n_clusters=4, random_state=0).to_csv(table, overwrite=True)
    assert not cluster(emb, n_clusters=4, random_state=0, previous=table).decisions
    before = table.read_bytes()
    shown = label(table)
    assert (shown.decisions, table.read_bytes()) == (Decisions(), before)
    assert "no decisions yet" in shown.to_text()


def test_names_without_a_description_are_kept(table: Path) -> None:
    label(table, names={1: "foxes"})
    table.with_suffix(".json").unlink()
    assert go_on(table).names == {1: "foxes"}
    table.with_suffix(".json").write_text('{"clusters": 3}')
    with pytest.warns(Notice, match="damaged"):
        assert go_on(table).names == {1: "foxes"}


def test_an_edit_in_words() -> None:
    edited = read_edits(
        ["a", "b", "c", "d"],
        [0, 0, 1, 7],
        ["fox", "fox", "wolf", "wolf"],
        written={"a": 0, "b": 0, "c": 1, "d": 1},
        digests={},
        names={0: "fox", 1: "wolf"},
    )
    # The name of an image's previous cluster is not a new name.
    assert edited.labels == [0, 0, 1, 7]
    assert edited.decisions == Decisions({}, frozenset({7}), (Placed("d", None, 7),))


@pytest.mark.parametrize("names", [{}, {0: "dog", 1: "cat"}])
def test_a_number_counts_beside_the_new_name_of_the_old_cluster(names: dict[int, str]) -> None:
    edited = read_edits(
        ["a", "b", "c", "d"],
        [0, 0, 1, 0],
        ["fox", "fox", "wolf", "wolf"],
        written={"a": 0, "b": 0, "c": 1, "d": 1},
        digests={},
        names=names,
    )
    assert edited.labels == [0, 0, 1, 0]
    assert edited.decisions == Decisions({0: "fox", 1: "wolf"}, placed=(Placed("d", None, 0),))


def test_decisions_are_read_as_they_were_written() -> None:
    placed = Placed("\udcff.png", None, -1), Placed("a.png", None, MAX_CLUSTER)
    decisions = Decisions({3: "fox \udcff"}, frozenset({1, MAX_CLUSTER}), placed)
    text = json.dumps(decisions.to_dict())
    with pytest.raises(InvalidInputError, match="'pinned' must be a list"):
        Decisions.from_dict(json.loads(text) | {"pinned": ["1"]})
    assert Decisions.from_dict(json.loads(text)) == decisions


def test_a_table_keeps_its_other_columns(table: Path) -> None:
    edit(table, {"00.png": {"note": "=blurred"}, "01.png": {"cluster": ""}})
    with pytest.warns(Notice, match="have no cluster"):
        label(table, names={0: "foxes"}, moves={"11.png": 0})
    with table.open(newline="") as stream:
        rows = {row["path"]: row for row in csv.DictReader(stream)}
    assert rows["00.png"]["note"].endswith("=blurred")
    assert rows["00.png"]["name"] == rows["11.png"]["name"] == "foxes"
    assert (rows["01.png"]["cluster"], rows["01.png"]["name"]) == ("", "")
    assert (rows["11.png"]["distance"], rows["11.png"]["exemplar"]) == ("", "false")
    assert rows["12.png"]["distance"] != ""


def test_a_later_run_keeps_the_other_columns(table: Path) -> None:
    edit(table, {"00.png": {"note": "=blurred", "seen by": "Eve"}, "05.png": {"note": "good"}})
    moved = bundles(ALL[:20])
    moved.paths[5] = "elsewhere.png"
    later = go_on(go_on(table), moved, k=2)
    later.to_csv(table, overwrite=True)
    with table.open(newline="") as stream:
        rows = {row["path"]: row for row in csv.DictReader(stream)}
    assert list(rows["00.png"])[-2:] == ["note", "seen by"]
    assert (rows["00.png"]["note"], rows["00.png"]["seen by"]) == ("'=blurred", "Eve")
    assert (rows["elsewhere.png"]["note"], rows["01.png"]["note"]) == ("good", "")
    assert go_on(table, moved, k=2).notes["note"]["00.png"] == "=blurred"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": {7: "fox"}}, "no cluster 7 in the table, which has 0, 1, 2, 3"),
        # As in JSON; cluster 0 exists.
        ({"names": {"0": "fox"}}, "a cluster must be given by its number. Received: '0'"),
        ({"moves": {"05.png": "2"}}, "a cluster must be given by its number. Received: '2'"),
        ({"names": {0: 5}}, "the name of a cluster must be a text. Received: 5"),
        ({"not_copies": ("00.png", "01.png")}, "a pair must be two images. Received: '00.png'"),
        ({"pin": [7]}, "no cluster 7"),
        ({"names": {1: "NA"}}, "missing value"),
        ({"pin": [1], "unpin": [1]}, "pinned and unpinned at once"),
        ({"moves": {"05.png": -2}}, "numbers from 0"),
        ({"moves": {"05.png": 10**20}}, f"numbers from 0 to 9007199254740991, .* 05.png={10**20}"),
        ({"moves": {"05.png": 2, "/photos/05.png": 3}}, "cannot be in clusters 2 and 3"),
        (
            {"moves": {f"1{row}.png": 0 for row in range(10)}, "pin": [1]},
            "no image is in cluster",
        ),
    ],
)
def test_decisions_that_cannot_be(table: Path, arguments: dict, message: str) -> None:
    before = table.read_bytes(), table.with_suffix(".json").read_bytes()
    with pytest.raises(InvalidInputError, match=message):
        label(table, **arguments)
    with pytest.raises(NotFoundError, match="is not among the 40 images"):
        label(table, moves={"none.png": 2})
    assert (table.read_bytes(), table.with_suffix(".json").read_bytes()) == before


def test_a_number_that_no_program_keeps_is_an_error(table: Path) -> None:
    edit(table, {"05.png": {"cluster": "9007199254740991"}})
    assert go_on(table, k=5).sizes[2**53 - 1] == 1
    edit(table, {"05.png": {"cluster": "99999999999999999999"}})
    message = r"must be at most 9007199254740991\. Received: 99999999999999999999 in .*clusters.csv"
    for read in (label, go_on):
        with pytest.raises(InvalidInputError, match=message):
            read(table)


def test_edits_by_name_are_evaluated(table: Path) -> None:
    truth = {f"{row:02d}.png": row // 5 for row in ALL}
    assert evaluate(truth, table).accuracy == 0.5
    edit(table, {f"{row:02d}.png": {"name": "half"} for row in range(5)})
    found = evaluate(truth, table)
    assert (found.accuracy, found.clusters, found.names[4]) == (0.625, [0, 1, 2, 3, 4], "half")


def test_on_the_command_line(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(table.parent)
    runner = CliRunner()
    command = ["label", "clusters.csv", "--name", "1=my tigers", "--move", "05.png=9", "--pin", "2"]
    done = runner.invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "1 image moved" in done.stdout
    assert "10 images, named  my tigers" in done.stdout
    document = json.loads(runner.invoke(main, ["label", "clusters.csv", "--json"]).stdout)
    assert document["decisions"]["pinned"] == [2, 9]
    assert document["sizes"] == {"0": 9, "1": 10, "2": 10, "3": 10, "9": 1}
    for words in (["--name", "tiger"], ["--move", "05.png"], ["--name", "1=a", "--name", "1=b"]):
        assert runner.invoke(main, ["label", "clusters.csv", *words]).exit_code == 2
    done = runner.invoke(main, ["label", "clusters.csv", "--pin", "1"])
    assert "10 images, named and pinned  my tigers" in done.stdout
    named = runner.invoke(main, ["label", "clusters.csv", "--unpin", "1"])
    assert "kept by its name 'my tigers'" in named.output
    assert runner.invoke(main, ["label", "clusters.csv", "--unpin", "9"]).exit_code == 0
