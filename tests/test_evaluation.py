"""Agreement of clusters with labels, and reading both from files."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from clusterkit.cli import main
from clusterkit.clustering.cluster import cluster
from clusterkit.clustering.evaluation import evaluate
from clusterkit.clustering.saved import read_clusters
from clusterkit.datasets.labels import labels_from_folders, read_labels
from clusterkit.embedding.embed import embed
from clusterkit.errors import InvalidInputError, NotFoundError
from clusterkit.store.embeddings import Embeddings


def test_accuracy_is_the_best_of_all_matchings():
    rng = np.random.default_rng(0)
    clusters, labels = rng.integers(4, size=80), rng.integers(4, size=80)
    best = max(
        np.mean(np.array(permutation)[clusters] == labels)
        for permutation in itertools.permutations(range(4))
    )
    evaluation = evaluate(labels, clusters)
    assert evaluation.accuracy == pytest.approx(best)
    assert evaluation.nmi == pytest.approx(normalized_mutual_info_score(labels, clusters))
    assert evaluation.ari == pytest.approx(adjusted_rand_score(labels, clusters))
    assert evaluation.purity == pytest.approx(evaluation.table.max(axis=1).sum() / 80)


def test_table_and_matching_name_rows_and_columns():
    evaluation = evaluate(["cat", "cat", "dog", "dog", "dog", "dog"], [7, 7, 7, 2, 2, 10])
    assert evaluation.clusters == [2, 7, 10]
    assert evaluation.label_names == ["cat", "dog"]
    assert evaluation.table.tolist() == [[0, 2], [2, 1], [0, 1]]
    assert evaluation.matching == {2: "dog", 7: "cat", 10: None}
    assert evaluation.accuracy == pytest.approx(4 / 6)
    assert evaluation.purity == pytest.approx(5 / 6)


def test_a_series_with_images_as_its_index_may_have_any_order():
    paths = [f"{i}.png" for i in range(6)]
    clustering = cluster(Embeddings(np.eye(3)[[0, 0, 1, 1, 2, 2]], paths), n_clusters=3)
    labels = pd.Series(list("aabbcc"), index=paths)
    for shuffled in (labels[::-1], labels.sample(frac=1, random_state=1)):
        assert evaluate(shuffled, clustering).accuracy == 1
        assert evaluate(shuffled, pd.Series(clustering.labels, index=paths)).accuracy == 1
    assert evaluate(labels[:4], clustering).unlabelled == ["4.png", "5.png"]
    # A series does not tell what files hold, so a store cannot follow them.
    named = pd.Series(clustering.labels, index=paths)
    assert evaluate(labels[:4], named, store="none").unlabelled == ["4.png", "5.png"]
    # Other indices are no names of images: the values count as they come.
    assert evaluate(labels.set_axis(range(5, -1, -1)), clustering).accuracy == 1
    assert evaluate(labels.set_axis(list("abcabc")), clustering).accuracy == 1


def test_more_labels_than_clusters():
    evaluation = evaluate(["a", "b", "c"], [0, 0, 0])
    assert evaluation.accuracy == pytest.approx(1 / 3)
    assert evaluation.ari == evaluation.nmi == 0


def test_noise_counts_as_wrong():
    evaluation = evaluate(["a", "a", "b", "b"], [-1, -1, 0, 0])
    assert evaluation.accuracy == evaluation.purity == 0.5
    assert evaluation.n_noise == 2
    assert evaluation.matching == {-1: None, 0: "b"}
    assert evaluation.nmi == 1
    assert evaluate(["a", "b"], [-1, -1]).accuracy == 0


def test_equal_partitions_under_other_names_are_perfect():
    evaluation = evaluate([3, 3, 1], np.array(["fox", "fox", "cat"]))
    assert (evaluation.accuracy, evaluation.nmi, evaluation.ari, evaluation.purity) == (1, 1, 1, 1)
    assert evaluation.matching == {"cat": "1", "fox": "3"}


def test_to_dict_is_json():
    evaluation = evaluate(["a", "b", "b", "a"], np.array([0, 1, 1, -1]))
    again = json.loads(json.dumps(evaluation.to_dict()))
    assert again["acc"] == 0.75
    assert again["table"] == [[1, 0], [1, 0], [0, 2]]
    assert again["clusters"] == [-1, 0, 1]
    assert again["matching"] == {"-1": None, "0": "a", "1": "b"}


@pytest.mark.parametrize(("clusters", "labels"), [([0, 1], ["a"]), ([], [])])
def test_lengths_must_agree(clusters, labels):
    message = f"Received: {len(labels)} labels, {len(clusters)} clusters"
    with pytest.raises(InvalidInputError, match=message):
        evaluate(labels, clusters)


@pytest.fixture
def write(tmp_path):
    def _write(name, *lines):
        file = tmp_path / name
        text = "\n".join(lines) + "\n"
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        return file

    return _write


def test_clusters_are_read_with_any_name_and_further_columns(write):
    odd = os.fsdecode(b"fox/\xff.jpg")
    file = write(
        "clusters.csv",
        "path,cluster,distance,exemplar",
        '"fox/a, b.jpg",0,0.5,true',
        '"fox/say ""hi"".jpg",-1,,false',
        '"fox/two\nlines.jpg",1,0.1,false',
        f"{odd},1,0.1,false",
    )
    table = read_clusters(file)
    assert table.paths == ["fox/a, b.jpg", 'fox/say "hi".jpg', "fox/two\nlines.jpg", odd]
    assert table.clusters == [0, -1, 1, 1]


def test_clusters_may_be_names_and_excel_may_have_saved_them(write):
    table = read_clusters(write("c.csv", "\ufeffpath,cluster", "a.jpg,fox", "b.jpg,7"))
    assert table[:2] == (["a.jpg", "b.jpg"], ["fox", "7"])
    digits = "9" * 5000  # more than Python reads
    assert read_clusters(write("c.csv", "path,cluster", f"a.jpg,{digits}")).clusters == [digits]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,group", "a,1"], "columns path and cluster. Received: file,group"),
        (["path,cluster"], "at least one row"),
        ([""], "at least one row"),
        (["path,cluster", "a.jpg,"], "no cluster for a.jpg"),
        (["path,cluster", "a,1", "b,1", "a,2"], "each path once. Twice: a"),
        (["path,cluster", "a,1", "b"], "line 3: must have 2 columns .* Received: 1"),
    ],
)
def test_bad_clusters(write, lines, message):
    with pytest.raises(InvalidInputError, match=message):
        read_clusters(write("clusters.csv", *lines))


def test_missing_file(tmp_path):
    with pytest.raises(NotFoundError, match=r"no such file: .*clusters\.csv"):
        evaluate(None, tmp_path / "clusters.csv")


@pytest.mark.parametrize("labels", [None, {"fox/a.jpg": "fox"}, ["fox"]])
def test_columns_without_a_table_of_labels(write, labels):
    table = write("clusters.csv", "path,cluster", "fox/a.jpg,0")
    with pytest.raises(InvalidInputError, match=r"label_column must be .* \(--labels FILE"):
        evaluate(labels, table, label_column="breed")


def test_labels_from_folders():
    assert labels_from_folders(["fox/a.jpg", "/x/cat/b.jpg", "train/dog/c.jpg"]) == [
        "fox",
        "cat",
        "dog",
    ]
    with pytest.raises(InvalidInputError, match=r"b\.jpg is in no folder .* \(--labels\)"):
        labels_from_folders(["fox/a.jpg", "b.jpg"])


@pytest.mark.parametrize(
    ("paths", "names", "expected"),
    [
        (["fox/a.jpg", "cat/a.jpg"], ["cat/a.jpg", "fox/a.jpg"], [1, 0]),
        (["fox/a.jpg", "cat/a.jpg"], ["photos/fox/a.jpg", "./photos/cat/a.jpg"], [0, 1]),
        (["p/fox/a.jpg", "p/cat/a.jpg"], ["cat/a.jpg", r"fox\a.jpg"], [1, 0]),
        (["fox/a.jpg", "cat/b.jpg"], ["b.jpg", "a.jpg"], [1, 0]),
        (["fox/a.jpg", "cat/b.jpg"], ["elsewhere/b.jpg", "elsewhere/c.jpg"], [None, 0]),
        # The exact path has priority, and its line is not used twice.
        (["fox/a.jpg", "cat/a.jpg"], ["fox/a.jpg"], [0, None]),
        (["fox/a.jpg", "a.jpg"], ["a.jpg", "b.jpg"], [None, 0]),
        (["fox/a.jpg", "cat/a.jpg"], ["fox/a.jpg", "x/a.jpg"], [0, None]),
        # A part of a file name does not match.
        (["fox/aa.jpg", "fox/b.jpg"], ["a.jpg", "b.jpg"], [None, 1]),
    ],
)
def test_labels_find_their_images(write, paths, names, expected):
    lines = [f"{name},label {row}" for row, name in enumerate(names)]
    known = read_labels(write("labels.csv", "filename,class", *lines), paths)
    assert known.labels == [None if row is None else f"label {row}" for row in expected]
    assert len(known.unused) == len(names) - sum(row is not None for row in expected)


@pytest.mark.parametrize(
    ("paths", "lines", "message"),
    [
        (["fox/a.jpg", "cat/a.jpg"], ["f,l", "a.jpg,x"], "a.jpg fits 2 images, such as fox/a.jpg"),
        (["a.jpg"], ["f,l", "x/a.jpg,x", "y/a.jpg,x"], "a.jpg fits 2 lines, such as x/a.jpg and"),
        (["a.jpg"], ["f,l", "a.jpg,x", "a.jpg,y"], "two labels for a.jpg: x and y"),
        (["a.jpg"], ["f,l", "b.jpg,x"], "none of the 1 images.* 1 lines .* b.jpg; .* a.jpg"),
        (["a.jpg"], ["f,l", "a.jpg,"], "no line of .* has a label: fill in its column l"),
        (["a.jpg"], ["f", "a.jpg"], "two columns, file and label .* Received: f"),
    ],
)
def test_bad_labels(write, paths, lines, message):
    with pytest.raises(InvalidInputError, match=message):
        read_labels(write("labels.csv", *lines), paths)


def test_file_against_folders_and_against_labels(write):
    clusters = write("clusters.csv", "path,cluster", "cat/1.jpg,4", "cat/2.jpg,4", "dog/3.jpg,5")
    assert evaluate(None, clusters).matching == {4: "cat", 5: "dog"}
    assert evaluate("folders", clusters).matching == {4: "cat", 5: "dog"}
    result = CliRunner().invoke(main, ["evaluate", str(clusters), "--labels", "folders"])
    assert (result.exit_code, result.stderr) == (0, "")
    labels = write("labels.csv", "filename,label", "1.jpg,old", "2.jpg,new", "9.jpg,new", "3.jpg,")
    evaluation = evaluate(labels, clusters)
    assert (evaluation.n, evaluation.n_unlabelled, evaluation.n_unused) == (2, 1, 1)
    assert evaluation.accuracy == 0.5


def test_a_clustering_is_compared_with_labels_of_any_kind(write, tmp_path):
    paths = ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg", "dog/4.jpg"]
    emb = Embeddings([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], paths=paths)
    groups = cluster(emb, n_clusters=2, random_state=0)
    file = groups.to_csv(tmp_path / "groups.csv")
    table = write("labels.csv", "path,label", *(f"{path},{path[:3]}" for path in paths))
    for clusters in (groups, file, str(file)):
        for labels in (None, [path[:3] for path in paths], {path: path[:3] for path in paths}):
            assert evaluate(labels, clusters).accuracy == 1
        assert evaluate(str(table), clusters).accuracy == 1
        some = {"cat/1.jpg": "cat", "fox/9.jpg": "fox", Path("dog/3.jpg"): "dog"}
        found = evaluate(some, clusters)
        assert (found.n, found.unused) == (2, ["fox/9.jpg"])
        assert found.unlabelled == [paths[1], paths[3]]


@pytest.mark.parametrize(
    ("labels", "clusters", "options", "words"),
    [
        (None, [0, 1], {}, "labels of files need the files.* Received: None"),
        ("labels.csv", [0, 1], {}, "clusters without paths"),
        (7, [0, 1], {}, "labels must be one per image. Received: 7"),
        (pd.DataFrame({"path": ["a"]}), [0], {}, "labels must be one per image. Received: "),
        (cluster(np.eye(2), n_clusters=2), [0, 1], {}, "labels before clusters. Received: <C"),
        (["a", "b"], 7, {}, "clusters must be one per image. Received: 7"),
        (["a", "b"], [0, 1], {"label_column": "x"}, r"of a table of labels.*\['a', 'b'\]"),
    ],
)
def test_what_cannot_be_compared_is_said(labels, clusters, options, words):
    with pytest.raises(InvalidInputError, match=words):
        evaluate(labels, clusters, **options)


def test_thousands_of_equal_file_names_are_told_apart_quickly(write):
    paths = [f"photos/{row}/image.jpg" for row in range(5000)]
    lines = [f"{row}/image.jpg,{row}" for row in reversed(range(5000))]
    known = read_labels(write("labels.csv", "path,label", *lines), paths)
    assert known.labels == [str(row) for row in range(5000)]
    assert not known.unused


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("path,cluster,name\na/1,0,red fox\na/2,0,red fox\nb/3,1,\n", {0: "red fox"}),
        ("path,cluster\na/1,0\nb/3,1\n", {}),
        # A column of another program with that name.
        ("path,cluster,name\na/1,0,1.jpg\na/2,0,2.jpg\nb/3,1,3.jpg\n", {}),
        ("path,cluster,name\na/1,left,x\nb/3,right,y\n", {}),
    ],
)
def test_names_of_clusters_come_along(table, names, tmp_path):
    (tmp_path / "clusters.csv").write_text(table, encoding="utf-8")
    evaluation = evaluate(None, tmp_path / "clusters.csv")
    assert evaluation.names == names
    assert evaluation.to_dict()["names"] == {str(key): name for key, name in names.items()}
    assert evaluation.accuracy == 1


def test_labels_follow_files_that_were_renamed(tmp_path: Path) -> None:
    photos, store, table = tmp_path / "photos", tmp_path / "store", tmp_path / "clusters.csv"
    for number in range(6):
        (photos / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        shade = (40 + 30 * number, 200 * (number % 2), 0)
        Image.new("RGB", (8, 8), shade).save(photos / "ab"[number % 2] / f"{number}.png")
    cluster(embed(photos, "pixels", store=store), n_clusters=2, random_state=0).to_csv(table)
    before = {path: path[0] for path in read_clusters(table).paths}
    (photos / "all").mkdir()
    now = {f"all/new-{number}.png": "ab"[number % 2] for number in range(6)}
    for number in range(6):
        (photos / "ab"[number % 2] / f"{number}.png").rename(photos / f"all/new-{number}.png")
    # As long as the store does not know either, only the names of before are known.
    with pytest.raises(InvalidInputError, match="none of the 6 images has a cluster and a label"):
        evaluate(now, table, store=store)
    embed(photos, "pixels", store=store)
    (tmp_path / "now.csv").write_text(
        "\n".join(["filename,label", *(f"{path},{label}" for path, label in now.items())])
    )
    some = dict(list(now.items())[:3]) | dict(list(before.items())[4:])
    for labels in (before, now, tmp_path / "now.csv", some):
        assert evaluate(labels, table, store=store).accuracy == 1
    assert evaluate(some, table, store=store).n_unlabelled == 1
    assert evaluate(now | {"z.png": "a"}, table, store=store).unused == ["z.png"]
    with pytest.raises(InvalidInputError, match=r"now\.csv has a label for none of the 6 images"):
        evaluate(tmp_path / "now.csv", table)
    # Folders are labels as they were: those of today may be made from the clusters.
    assert evaluate(None, table, store=store).accuracy == 1
    command = ["evaluate", str(table), "--labels", str(tmp_path / "now.csv"), "-s", str(store)]
    result = CliRunner().invoke(main, command)
    assert "accuracy  1.000" in result.output, result.output
