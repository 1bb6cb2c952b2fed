"""The store remembers which space is current, and how each space was made."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import clusterkit as ck
from clusterkit.cli import main
from clusterkit.errors import InvalidInputError, NotFoundError, Notice, StoreError
from clusterkit.extractors import recall_extractor, recall_weights
from clusterkit.store.store import Store
from tests.grid_colours import GridColours
from tests.stores import SPACE, make_photos, make_row


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


# The current space.


def test_a_second_space_changes_no_answer_of_the_first(photos: Path) -> None:
    done("embed", "photos", "-e", "pixels")
    questions = [
        ("similar", "photos/000.png"),
        ("explain", "photos/000.png", "photos/001.png"),
        ("elbow", "--k-max", "2"),
        ("cluster", "-k", "3", "--overwrite"),
    ]
    answers = [done(*question, "--json").stdout for question in questions]
    ck.embed(photos, GridColours(), store=".clusterkit")
    helped = done("embed", "photos", "-e", "pixels", "--again")
    assert "Commands still use" not in helped.stderr
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
    assert f"Commands still use {first}" in embedded.stderr
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
    # Of two spaces with one name, the last embedded is used, with a message.
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
    shutil.rmtree(kept.folders.about)
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
    # Like in earlier versions, the last embedded one is chosen; from now on, it is kept.
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


# The origin of a space.


@pytest.fixture
def weights(photos: Path, tiny_network: None, tiny_weights: Path) -> Path:
    """Embed the photos by the small network, and return its weights, which a test may delete."""
    file = photos.parent / "tiny.weights.h5"
    shutil.copy(tiny_weights, file)
    options = ("--runtime", "keras", "--precision", "float32", "--resize", "pad")
    done("embed", "photos", "-e", "tinynet", "--weights", file.name, *options)
    return file


def add(name: str) -> None:
    """Add a photo that is not in the store."""
    make_photos(Path("other"), 1, seed=7)
    shutil.copy("other/000.png", name)


def test_a_complete_store_needs_no_weights(weights: Path) -> None:
    weights.unlink()
    document = json.loads(done("embed", "photos", "-e", "tinynet", "--json").stdout)
    assert (document["embedded"], document["reused"], document["failed"]) == (0, 12, 1)
    assert len(ck.embed("photos", "tinynet", store=".clusterkit")) == 12
    for question in (
        ("similar", "photos/000.png"),
        ("explain", "photos/000.png", "photos/001.png", "-e", "tinynet"),
        ("cluster", "-k", "2"),
    ):
        done(*question)


def test_new_images_need_the_weights_and_say_which(weights: Path) -> None:
    add("photos/new.png")
    document = json.loads(done("embed", "photos", "-e", "tinynet", "--json").stdout)
    assert (document["embedded"], document["reused"]) == (1, 12)
    weights.unlink()
    add("new.png")
    Path("photos/new.png").write_bytes(Path("photos/000.png").read_bytes() + b"\0")
    for command in (
        ("embed", "photos", "-e", "tinynet"),
        ("similar", "photos/new.png"),
        ("embed", "photos", "-e", "tinynet", "--again"),
    ):
        result = run(*command)
        assert result.exit_code == 1
        assert f"no weights file {weights}: new images need" in result.stderr
        assert "made the space tinynet. Give their file with --weights" in result.stderr
    # No data are lost by this.
    assert len(Store().read()) == 13


def test_weights_that_moved_are_remembered_where_they_are(weights: Path) -> None:
    moved = weights.rename(weights.with_name("moved.weights.h5"))
    add("photos/new.png")
    done("embed", "photos", "-e", "tinynet", "--weights", moved.name)
    assert Store().space().info["weights_source"] == str(moved)
    add("new.png")
    Path("new.png").write_bytes(Path("new.png").read_bytes() + b"\0")
    done("similar", "new.png")
    wrong = moved.with_name("wrong.weights.h5")
    wrong.write_bytes(moved.read_bytes() + b"\0")
    result = run("similar", "new.png", "--weights", wrong)
    assert "is not what made the embeddings of tinynet" in result.stderr


def test_the_variable_names_weights_everywhere(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beside a space it helps where the file of the space is gone.
    moved = weights.rename(weights.with_name("moved.weights.h5"))
    monkeypatch.setenv("CLUSTERKIT_WEIGHTS", str(moved))
    add("photos/new.png")
    done("embed", "photos", "-e", "tinynet")
    assert len(Store().read()) == 13
    exact = {"precision": "float32", "runtime": "keras"}
    emb = ck.embed("photos", ck.create_extractor("tinynet", resize="pad", **exact))
    assert emb.fingerprint == Store().read().fingerprint
    assert emb.space["weights_source"] == str(moved)
    monkeypatch.setenv("CLUSTERKIT_WEIGHTS", "nowhere.h5")
    result = run("embed", "photos", "-e", "mobilenet")
    assert "no weights file nowhere.h5 (CLUSTERKIT_WEIGHTS)" in result.stderr
    monkeypatch.setenv("CLUSTERKIT_WEIGHTS", "photos")
    result = run("embed", "photos", "-e", "mobilenet")
    assert "weights are a file, but photos (CLUSTERKIT_WEIGHTS) is a folder" in result.stderr


@pytest.mark.filterwarnings("always:using ")
def test_options_are_remembered_and_can_be_changed(weights: Path) -> None:
    def info() -> list[Any]:
        space = Store().space("tinynet")
        return [space.info[name] for name in ("resize", "precision", "runtime")]

    assert info() == ["pad", "float32", "keras"]
    again = done("embed", "photos", "-e", "tinynet", "--precision", "auto").stderr
    assert "also" not in again
    assert info() == ["pad", "auto", "keras"]
    done("embed", "photos", "-e", "tinynet", "--resize", "crop")
    assert Store().space("tinynet").info["weights_source"] == str(weights)
    assert info()[0] == "crop"
    both = done("embed", "photos", "-e", "tinynet")
    first, second = (space.folder.name for space in Store().spaces())
    assert f"Note: using {second}, the last embedded" in both.stderr
    assert f"tinynet may also be {first}" in both.stderr
    named = done("embed", "photos", "-e", first, "--json")
    assert "Note" not in named.stderr
    assert json.loads(named.stdout)["reused"] == 12
    assert info()[0] == "pad"


def test_another_output_of_a_network_takes_the_weights_that_the_store_knows(
    weights: Path, tiny_weights_with_head: Path
) -> None:
    # Without the head, it is as if the store had no weights.
    assert recall_extractor("tinynet-predictions", ".clusterkit").get_params()["weights"] is None
    full = shutil.copy(tiny_weights_with_head, "full.weights.h5")
    options = ("--weights", full, "--runtime", "keras", "--precision", "float32")
    done("embed", "photos", "-e", "tinynet", *options)
    found = recall_extractor("tinynet-predictions", ".clusterkit")
    assert found.get_params()["weights"] == str(Path(full).absolute())
    assert (found.name, found.get_params()["runtime"]) == ("tinynet-predictions", "keras")
    done("embed", "photos", "-e", "tinynet-predictions")
    assert f"made with {Path(full).absolute()}\n" in done("store", "info").stdout


def test_an_autoencoder_that_is_gone_is_known_by_its_path(photos: Path) -> None:
    known = {"extractor": "autoencoder", "weights_source": str(photos.parent / "ae.keras")}
    known |= {"image_size": [8, 8], "resize": "stretch", "parameters": {"weights": "unknown"}}
    Store().open_space(SPACE | known).append([make_row(0), make_row(1)])
    assert len(Store().read("ae.keras")) == 2
    assert len(json.loads(done("similar", "0.png", "-e", "ae.keras", "--json").stdout)["results"])
    result = run("similar", "photos/000.png", "-e", "ae.keras")
    assert result.exit_code == 1
    assert "no weights file ae.keras: new images need the weights" in result.stderr
    assert "Give their file with -e" in result.stderr
    with pytest.raises(NotFoundError, match=r"no space of 'other\.keras'"):
        Store().read("other.keras")


def test_spaces_that_only_their_maker_knows(photos: Path) -> None:
    ck.embed(photos, GridColours(), store=".clusterkit")
    add("photos/new.png")
    result = run("embed", "photos", "-e", "grid-colours")
    assert result.exit_code == 1
    assert "the network that made them is not known" in result.stderr
    with pytest.raises(InvalidInputError, match="extractor must be"):
        recall_extractor("grid-colours-00000000", ".clusterkit")


# A part of the images, and the space of a table.


@pytest.fixture
def years(photos: Path) -> Path:
    """Sort the photos by year, one of which has two folders, and embed them."""
    for number, photo in enumerate(sorted(photos.iterdir())):
        folder = photos / ("2018", "2019", "trip/2019")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        photo.rename(folder / photo.name)
    done("embed", "photos", "-e", "pixels")
    return photos


def table(file: str) -> list[list[str]]:
    with Path(file).open() as lines:
        return [line.strip().split(",")[:2] for line in lines][1:]


def test_a_folder_of_the_images_is_clustered(years: Path) -> None:
    for number, (pattern, n) in enumerate(
        [("2019/", 8), ("2019/*", 4), ("photos/2019", 4), ("00?.png", 9), ("trip/**/*.png", 4)]
    ):
        done("cluster", "-k", "2", "--only", pattern, "-o", f"{number}.csv")
        assert len(table(f"{number}.csv")) == n, pattern
    both = done(
        "cluster", "-k", "2", "--only", "2018", "--only", "trip", "-o", "both.csv", "--json"
    )
    assert sum(json.loads(both.stdout)["sizes"].values()) == 8
    assert json.loads(done("elbow", "--only", "2018/", "--k-max", "2", "--json").stdout)["curve"]
    result = run("cluster", "-k", "2", "--only", "2020/", "-o", "none.csv")
    assert result.exit_code == 1
    assert f"no image fits 2020/. Their paths are below {years}, such as 2018/" in result.stderr
    assert not Path("none.csv").exists()


def test_a_cluster_is_split_further(years: Path) -> None:
    done("cluster", "-k", "3")
    members = {path for path, number in table("clusters.csv") if number == "0"}
    split = ("--only-cluster", "0", "-o", "parts.csv", "--overwrite")
    for algorithm in ("kmeans", "minibatch-kmeans"):
        done("cluster", "-k", "2", "-a", algorithm, *split)
        assert {path for path, _ in table("parts.csv")} == members
    done("label", "clusters.csv", "--name", "0=my tigers")
    done("cluster", "-k", "2", "--only-cluster", "my tigers", "-o", "named.csv")
    assert {path for path, _ in table("named.csv")} == members
    wrong = run("cluster", "-k", "2", "--only-cluster", "my tiger", "-o", "x.csv")
    assert "there is no cluster my tiger in clusters.csv, which has 0, 1, 2, my" in wrong.stderr
    assert "Did you mean my tigers?" in wrong.stderr
    same = run("cluster", "-k", "2", "--only-cluster", "0", "--overwrite")
    assert (same.exit_code, "give another -o" in same.stderr) == (2, True)
    nowhere = run("cluster", "-k", "2", "--only-cluster", "0", "--of", "no.csv", "-o", "x.csv")
    assert (nowhere.exit_code, "no.csv" in nowhere.stderr) == (1, True)
    assert not Path("x.csv").exists()


@pytest.mark.filterwarnings("always::clusterkit.errors.Notice")
def test_a_clustering_of_a_part_says_so(years: Path) -> None:
    done("cluster", "-k", "3")
    whole = json.loads(Path("clusters.json").read_text())
    assert whole["selections"] == []
    members = {path for path, number in table("clusters.csv") if number == "0"}
    for algorithm in ("kmeans", "minibatch-kmeans"):
        part = ("--only-cluster", "0", "-k", "2", "-o", "part of 0.csv", "--overwrite")
        said = f"\nOnly cluster 0 of clusters.csv ({len(members)} of 12 images)\n"
        assert said in done("cluster", "-a", algorithm, *part).stdout
        (selection,) = json.loads(Path("part of 0.json").read_text())["selections"]
        assert (selection["clusters"], selection["only"]) == (["0"], [])
        assert selection["n_images"] == len(members)
    done("label", "part of 0.csv", "--pin", "0")
    # The same part continues silently; for others, a message says how to get it.
    again = ("cluster", "-k", "2", "--previous", "part of 0.csv", "-o", "again.csv", "--overwrite")
    assert "earlier" not in done(*again, "--only-cluster", "0").stderr
    assert "--only-cluster 0 --of clusters.csv selects the same again" in done(*again).stderr
    both = ck.select(ck.select(Store().read(), only="2019/"), only=["trip*", "x"])
    said = [chosen.options for chosen in both[:3].selections]
    assert said == ["--only 2019/", "--only 'trip*' --only x"]
    assert "(kmeans)\nOnly 2019/ (" in ck.cluster(both, n_clusters=1).to_text()
    # A damaged description is reported, and the table is used.
    damaged = json.loads(Path("part of 0.json").read_text()) | {"selections": [{"only": 3}]}
    Path("part of 0.json").write_text(json.dumps(damaged))
    assert "it is damaged" in done(*again).stderr


def test_images_are_selected_in_python(years: Path) -> None:
    emb = Store().read()
    assert ck.select(emb, only="2019/").paths == [p for p in emb.paths if "2019/" in p]
    assert ck.select(emb) is emb
    assert ck.select(emb, only="photos") is emb
    part = ck.select(Store().folder, only=Path("photos/2019"))
    assert part.paths == ck.select(Store(), only="./2019/").paths
    assert part.paths == [p for p in emb.paths if p.startswith("2019/")] != []
    clustering = ck.cluster(emb, n_clusters=3, random_state=0)
    one = ck.select(emb, clusters=clustering.labels[0], of=clustering)  # a number of NumPy
    assert one.paths == ck.select(emb, clusters=int(clustering.labels[0]), of=clustering).paths
    noisy = replace(clustering, labels=np.where(clustering.labels == 0, -1, clustering.labels))
    for noise in (-1, "noise"):
        assert ck.select(emb, clusters=noise, of=noisy).paths == emb[noisy.labels == -1].paths
    part = ck.select(emb, clusters=[0, 1], of=clustering, only=["2018/", "trip/"])
    chosen = np.isin(clustering.labels, [0, 1]) & ["2018/" in p or "trip/" in p for p in emb.paths]
    assert part.paths == emb[chosen].paths
    stream = Store().space().stream()
    some = ck.select(stream, only="2018/")
    batches = np.concatenate(list(some.iter_batches(2)))
    assert some.paths == [path for path in stream.paths if "2018/" in path]
    np.testing.assert_array_equal(batches, emb[some.paths].vectors)
    assert some.digests == emb[some.paths].digests
    # If only a part was embedded, a message says how many images are missing.
    with pytest.warns(Notice, match="images of these clusters of the clustering are not among"):
        ck.select(emb[chosen], clusters=[0, 1, 2], of=clustering)
    elsewhere = emb.paths[int(np.flatnonzero(clustering.labels == 1)[0])]
    with pytest.raises(InvalidInputError, match=f"no image of the clusters 0 fits {elsewhere}"):
        ck.select(emb, clusters=0, of=clustering, only=elsewhere)


def test_the_space_of_a_table_is_used_with_it(years: Path) -> None:
    ck.embed(years, GridColours(), store=".clusterkit")
    done("cluster", "-k", "3", "-e", "grid-colours")
    made_from = json.loads(Path("clusters.json").read_text())["space"]
    for options in (("--previous", "clusters.csv"), ("--only-cluster", "0")):
        result = done("cluster", "-k", "2", *options, "-o", f"{options[1]}.again.csv", "--json")
        assert json.loads(result.stdout)["space"] == made_from
        assert f"Using {made_from}, which clusters.csv was made from" in result.stderr
    other = done(
        "cluster", "-k", "2", "--only-cluster", "0", "-e", "pixels", "-o", "p.csv", "--json"
    )
    assert json.loads(other.stdout)["space"] == "pixels-0816849b"
    space = Store().space("grid-colours")
    for folder in (space.folder, space.folders.about):
        shutil.rmtree(folder)
    without = run("cluster", "-k", "2", "--only-cluster", "0", "-o", "without.csv")
    assert "Using" not in without.stderr


def test_files_that_moved_are_no_use_of_their_space(years: Path) -> None:
    ck.embed(years, GridColours(), store=".clusterkit")
    Path(".clusterkit/about/store.json").unlink()
    before = [(space.folder.name, space.used_ns) for space in Store().spaces()]
    new = (years / "2018/000.png").rename(years / "moved.png")
    Store().follow({str(years / "2018/000.png"): str(new)})
    assert [(space.folder.name, space.used_ns) for space in Store().spaces()] == before
    assert all("moved.png" in space.read().paths for space in Store().spaces())


def test_a_classifier_takes_the_weights_that_the_store_knows(
    years: Path, tiny_network: None, tiny_weights: Path
) -> None:
    done("embed", "photos", "-e", "tinynet", "--weights", tiny_weights, "--runtime", "keras")
    known = str(tiny_weights)
    assert recall_weights("tinynet", ".clusterkit") == known
    assert recall_weights("vgg16", ".clusterkit") is None
    clf = ck.Classifier("tinynet", store=".clusterkit")
    assert clf.extractor.get_params()["weights"] == known
    clf.fit(sorted(years.rglob("00[0-5].png")), list("abcabc"))
    assert clf.fingerprint_ == Store().read("tinynet").fingerprint
    training = ck.train_classifier(
        years, "clf.keras", ck.Classifier("tinynet", random_state=0), store=".clusterkit"
    )
    assert training.classifier.weights == known
    # In the store under the network's name, and not embedded again.
    assert len(Store().spaces_of("tinynet")) == 1
