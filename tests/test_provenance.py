"""If labels came from clusters, classifiers trained on them say so; otherwise nothing is said."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clusterkit.classifiers import ClassificationReport, LabelErrors
from clusterkit.classifiers.comparison.result import NetworkComparison, NetworkResult
from clusterkit.classifiers.tasks import Task
from clusterkit.cli import main
from clusterkit.clustering.cluster import cluster
from clusterkit.clustering.promotion import promote
from clusterkit.clustering.provenance import LabelOrigin, find_origins, origins_text
from clusterkit.datasets.labelled_images import read_labelled
from clusterkit.errors import InvalidInputError
from clusterkit.networks.keras_file import read_document
from clusterkit.routing.manifest import MANIFEST_NAME, read_manifest
from clusterkit.routing.sorting import sort_into_folders
from clusterkit.routing.undoing import undo
from clusterkit.store.embeddings import Embeddings
from tests.small_sets import paint

SPACE = {"extractor": "made", "fingerprint": "ab" * 32}
ORIGIN = LabelOrigin("clusters.csv", "kmeans", 2, "made-abababab")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Cluster twelve pictures of two colours, and write the table beside them."""
    for number, name in enumerate(("cat", "dog")):
        paint(tmp_path / "photos", name, 6, seed=number)
    paths = [
        f"{name}/{number}-{i}.png" for number, name in enumerate(("cat", "dog")) for i in range(6)
    ]
    vectors = np.eye(2, dtype=np.float32)[[0] * 6 + [1] * 6]
    emb = Embeddings(vectors, paths=paths, space=SPACE, root=tmp_path / "photos")
    return cluster(emb, n_clusters=2, random_state=0).to_csv(tmp_path / "photos/clusters.csv")


@pytest.fixture
def classes(table: Path) -> Path:
    """Promote both clusters to classes."""
    into = table.parent.parent / "classes"
    promote(table, into, names={0: "one", 1: "other"}, root=table.parent)
    return into


def test_a_promoted_folder_tells(classes: Path) -> None:
    data = read_labelled(classes)
    assert find_origins(data) == (ORIGIN,)
    assert find_origins(data[[0, 7]]) == (ORIGIN,)
    # Renamed, corrected and extended by hand, it still comes from clusters.
    (classes / "one").rename(classes / "cats")
    shutil.copy(min((classes / "cats").iterdir()), classes / "other/new.png")
    assert find_origins(read_labelled(classes)) == (ORIGIN,)


def test_what_nobody_noted_is_not_guessed(classes: Path, table: Path, tmp_path: Path) -> None:
    photos = read_labelled(classes)
    assert find_origins(replace(photos, source=None)) == ()
    for text in ("no manifest", ""):
        (classes / MANIFEST_NAME).write_text(text)
        assert find_origins(read_labelled(classes)) == ()
    (classes / MANIFEST_NAME).unlink()
    assert find_origins(read_labelled(classes)) == ()
    files = [str(file) for file in photos.images]
    sort_into_folders(files, photos.labels or [], tmp_path / "sorted")
    assert find_origins(read_labelled(tmp_path / "sorted")) == ()
    assert "origins" not in (tmp_path / "sorted" / MANIFEST_NAME).read_text()


def test_clusters_that_were_sorted_into_folders(table: Path, tmp_path: Path) -> None:
    labels = [0] * 6 + [1] * 6
    paths = [line.partition(",")[0] for line in table.read_text().splitlines()[1:]]
    emb = Embeddings(
        np.eye(2, dtype=np.float32)[labels], paths=paths, space=SPACE, root=table.parent
    )
    found = cluster(emb, n_clusters=2, random_state=0)
    found.sort_into(tmp_path / "sorted", dry_run=True)
    assert not (tmp_path / "sorted").exists()
    found.sort_into(tmp_path / "sorted")
    assert find_origins(read_labelled(tmp_path / "sorted")) == (replace(ORIGIN, table=None),)


def test_a_second_table_is_named_too_and_once(classes: Path, table: Path) -> None:
    other = table.with_name("again.csv")
    shutil.copy(table, other)
    shutil.copy(table.with_suffix(".json"), other.with_suffix(".json"))
    for _ in range(2):
        promote(other, classes, names={0: "one", 1: "other"}, root=table.parent)
    both = (ORIGIN, replace(ORIGIN, table="again.csv"))
    assert find_origins(read_labelled(classes)) == both
    assert origins_text(both).count("kmeans, k = 2") == 2


def test_what_undo_leaves_still_tells(classes: Path) -> None:
    kept = min((classes / "one").iterdir())
    kept.write_bytes(kept.read_bytes() + b"edited")
    undo(classes)
    assert read_manifest(classes).origins == [ORIGIN.to_dict()]


def test_only_the_parts_that_came_from_clusters(classes: Path, tmp_path: Path) -> None:
    classes.rename(tmp_path / "train")
    (tmp_path / "divided").mkdir()
    for part in ("train", "test"):
        shutil.copytree(tmp_path / "train", tmp_path / "divided" / part)
    (tmp_path / "divided/test" / MANIFEST_NAME).unlink()
    data = read_labelled(tmp_path / "divided")
    assert find_origins(data) == (ORIGIN,)
    parts = np.array(data.parts)
    assert find_origins(data[np.flatnonzero(parts == "train")]) == (ORIGIN,)
    # The scores on test images that a person labelled are about these.
    assert find_origins(data[np.flatnonzero(parts == "test")]) == ()


@pytest.mark.filterwarnings("ignore::clusterkit.errors.Notice")
def test_a_table_of_clusters_tells(table: Path) -> None:
    assert find_origins(read_labelled(table)) == (ORIGIN,)
    rows = table.read_text().splitlines()
    named = [f"{row},{'name,species' if not i else 'a,cat'}" for i, row in enumerate(rows)]
    named[-1] = named[-1].replace("a,cat", "b,dog")
    table.write_text("\n".join(named))
    assert find_origins(read_labelled(table, label_column="name")) == (ORIGIN,)
    assert find_origins(read_labelled(table, label_column="species")) == ()
    table.with_suffix(".json").write_text("damaged")
    assert find_origins(read_labelled(table, label_column="cluster")) == (
        LabelOrigin("clusters.csv"),
    )
    assert find_origins(read_labelled(table, label_column="name")) == ()


def test_a_manifest_of_anything_else_is_damaged(classes: Path) -> None:
    file = classes / MANIFEST_NAME
    first, *rest = file.read_text().splitlines()
    for wrong in ("x", [1], [{"k": [2]}]):
        file.write_text("\n".join([json.dumps(json.loads(first) | {"origins": wrong}), *rest]))
        with pytest.raises(InvalidInputError, match="origins must be a list"):
            read_manifest(classes)
    odd = {"table": 7, "algorithm": None, "k": "5", "space": "a\nb"}
    assert LabelOrigin.from_description(odd) == LabelOrigin(space="a\nb")
    assert "\n" not in origins_text([LabelOrigin(space="a\nb")])
    assert origins_text([LabelOrigin()]) == "Labels came from clusters"


# Where the origin is shown.

WHERE = "Labels came from clusters (clusters.csv: kmeans, k = 2, made-abababab)"
SENTENCE = (
    f"{WHERE}: the scores measure how well the classifier repeats the clustering, not how right "
    "the groups are."
)


def test_reports_say_it() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    report = ClassificationReport.from_predictions(
        Task.from_labels(["a", "b"]), ["1", "2"], ["a", "b"], p
    )
    assert "cluster" not in report.to_text() + repr(report)
    assert report.to_dict()["labels_from_clusters"] is None
    told = replace(report, origins=(ORIGIN,))
    assert told.to_text() == f"{report.to_text()}\n{SENTENCE}"
    assert "the labels came from clusters" in repr(told)
    assert told.to_dict()["labels_from_clusters"] == [ORIGIN.to_dict()]
    result = NetworkResult("n", "nn", 1.0, 1.0, told.to_dict(), 1, 1.0, 1, {"loss": [0.0]})
    result = replace(result, history={"loss": [0.0], "val_loss": [0.0]})
    compared = NetworkComparison([result], [], {}, [], is_multilabel=False)
    assert compared.to_text().endswith(SENTENCE)
    unknown = replace(compared, results=[replace(result, test=report.to_dict())])
    assert "cluster" not in unknown.to_text()
    errors = LabelErrors([], 2, origins=(ORIGIN,))
    assert errors.to_text().startswith("0 labels of 2 images are probably wrong\nLabels came from")


@pytest.mark.usefixtures("untrained", "undrawn")
@pytest.mark.parametrize("share", [0.3, 0.0])
def test_a_training_says_it_everywhere(classes: Path, tmp_path: Path, share: float) -> None:
    output = tmp_path / "clf.keras"
    command = ["train", "classifier", str(classes), "--network", "nn", "--image-size", "8"]
    command += ["--epochs", "1", "--test-split", str(share), "-s", str(tmp_path / "store")]
    result = CliRunner().invoke(main, [*command, "-o", str(output)])
    assert result.exit_code == 0, result.output
    last = result.stdout.rstrip().rpartition("\n")[2]
    assert last == (SENTENCE if share else f"{WHERE}.")
    known = [ORIGIN.to_dict()]
    assert read_document(output, "classifier", {})["labels_from_clusters"] == known
    report = json.loads((tmp_path / "clf-report/report.json").read_text())
    assert report["labels_from_clusters"] == known
    result = CliRunner().invoke(main, [*command, "-o", str(output), "--overwrite", "--json"])
    document = json.loads(result.stdout)
    assert document["labels_from_clusters"] == known
    assert (document["test"] or {}).get("labels_from_clusters") == (known if share else None)
