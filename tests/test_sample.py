"""Images to label next: typical of groups, different, or doubtful; never labelled ones."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from clusterkit.classifiers import Classifier
from clusterkit.cli import main
from clusterkit.clustering import promote
from clusterkit.clustering.cluster import cluster
from clusterkit.datasets.labelled_images import read_labelled
from clusterkit.embedding.embed import embed_to_store
from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.images.folder import ImageFolder
from clusterkit.plots import SampleDisplay
from clusterkit.preparation import sample_images
from clusterkit.routing import undo
from clusterkit.store.embeddings import Embeddings
from tests import tiny_network
from tests.kills import Killed, killed_at

SIZES = {"red": 60, "green": 20, "blue": 4}


def make(sizes: dict[str, int], *, seed: int = 0, d: int = 16) -> tuple[Embeddings, list[str]]:
    """Return a tight group of directions for each class, and the labels."""
    rng = np.random.default_rng(seed)
    labels = [name for name, n in sizes.items() for _ in range(n)]
    axes = np.eye(d)[[list(sizes).index(name) for name in labels]]
    vectors = axes + rng.normal(0, 0.05, (len(labels), d))
    numbers = [sum(other == label for other in labels[:row]) for row, label in enumerate(labels)]
    paths = [f"{label}/{number}.png" for label, number in zip(labels, numbers, strict=True)]
    return Embeddings(vectors.astype(np.float32), paths=paths), labels


@pytest.mark.parametrize("by", ["typical", "diverse"])
@pytest.mark.parametrize("seed", range(5))
def test_as_many_images_as_groups_are_one_of_each(by: str, seed: int) -> None:
    embeddings, labels = make(SIZES)
    found = sample_images(embeddings, 3, by=by, random_state=seed)
    assert {labels[row] for row in found.rows} == set(SIZES)
    again = sample_images(embeddings, 3, by=by, random_state=seed)
    assert again.to_dict() == found.to_dict()


def test_typical_images_are_in_the_middle_of_the_largest_groups() -> None:
    embeddings, labels = make(SIZES)
    found = sample_images(embeddings, 3, random_state=0)
    assert found.by == "typical"
    assert [labels[row] for row in found.rows] == ["red", "green", "blue"]
    assert [image.score for image in found.images] == pytest.approx([60 / 84, 20 / 84, 4 / 84])
    vectors = embeddings.vectors / np.linalg.norm(embeddings.vectors, axis=1, keepdims=True)
    middle = vectors[:60].mean(axis=0)
    assert found.rows[0] == np.linalg.norm(vectors[:60] - middle, axis=1).argmin()


def test_what_is_labelled_or_excluded_is_not_chosen() -> None:
    embeddings, labels = make(SIZES)
    known = [label if label == "red" and row < 10 else None for row, label in enumerate(labels)]
    # Like in pandas, and in tables.
    known[10], known[11] = float("nan"), ""  # type: ignore[call-overload]
    for by in ("typical", "diverse"):
        found = sample_images(
            embeddings, 30, by=by, labels=known, exclude=["blue/"], random_state=0
        )
        options = {"by": by, "labels": known, "random_state": 0}
        assert (
            sample_images(embeddings, 30, exclude="blue/", **options).to_dict() == found.to_dict()
        )
        names = [labels[row] for row in found.rows]
        assert len(set(found.rows)) == 30
        assert min(found.rows) >= 10
        assert "blue" not in names
        assert (found.n_candidates, found.n_labelled) == (70, 10)


def test_any_form_of_embeddings(tmp_path: Path) -> None:
    embeddings = photos(tmp_path / "photos")
    embed_to_store(ImageFolder(tmp_path / "photos"), "pixels", tmp_path / "store")
    found = sample_images(tmp_path / "store", 3, random_state=0)
    assert found.n_candidates == len(embeddings)
    assert len(sample_images(np.eye(5), 2, random_state=0).images) == 2


def test_groups_with_a_labelled_image_come_last() -> None:
    embeddings, labels = make(SIZES)
    known = [label if row in (0, 60) else None for row, label in enumerate(labels)]
    for by in ("typical", "diverse"):
        found = sample_images(embeddings, 1, by=by, labels=known, random_state=0)
        assert [labels[row] for row in found.rows] == ["blue"]


def test_copies_are_chosen_only_if_nothing_else_is_left() -> None:
    embeddings = Embeddings(np.repeat(np.eye(4), 5, axis=0))
    for by in ("typical", "diverse"):
        found = sample_images(embeddings, 6, by=by, random_state=0)
        assert len(set(found.rows)) == 6
        assert len({row // 5 for row in found.rows[:4]}) == 4


def between(n: int = 6) -> tuple[Embeddings, list[str | None]]:
    """Return two groups of which some have labels, and images between them, the last rows."""
    embeddings, labels = make({"cat": 20, "dog": 20})
    rng = np.random.default_rng(1)
    middle = np.eye(16)[0] + np.eye(16)[1] + rng.normal(0, 0.05, (n, 16))
    vectors = np.concatenate([embeddings.vectors, middle.astype(np.float32)])
    paths = [*embeddings.paths, *(f"middle/{number}.png" for number in range(n))]
    known = [label if row % 20 < 5 else None for row, label in enumerate(labels)] + [None] * n
    return Embeddings(vectors, paths=paths, space={"fingerprint": "a" * 64}), known


def test_doubtful_images_are_between_the_labelled_classes() -> None:
    embeddings, known = between()
    found = sample_images(embeddings, 4, labels=known, random_state=0)
    assert found.by == "doubtful"
    assert min(found.rows) >= 40
    first = found.images[0]
    assert first.suggested in ("cat", "dog")
    assert first.why.startswith(first.suggested)
    assert 0.5 < first.score <= 1


def test_doubt_of_a_table_of_predictions(tmp_path: Path) -> None:
    embeddings, _ = between()
    lines = ["filename,prediction,cat,dog"]
    for row, path in enumerate(embeddings.paths):
        p = 0.52 if row in (3, 30) else 0.97
        lines.append(f"photos/{path},1,{p},{1 - p:.2f}")  # the name of a class is a number
    (tmp_path / "p.csv").write_text("\n".join(lines[:-1]))
    found = sample_images(embeddings, 2, predictions=tmp_path / "p.csv", random_state=0)
    assert set(found.rows) == {3, 30}
    assert found.images[0].why == "cat 0.52 or dog 0.48"
    (tmp_path / "p.csv").write_text("filename,prediction\na.png,cat")
    with pytest.raises(InvalidInputError, match="must have a column of probabilities"):
        sample_images(embeddings, 2, predictions=tmp_path / "p.csv")
    sample_images(embeddings, 2, random_state=0).to_csv(tmp_path / "sample.csv")
    with pytest.raises(InvalidInputError, match="must have a column of probabilities"):
        sample_images(embeddings, 2, predictions=tmp_path / "sample.csv")
    (tmp_path / "p.csv").write_text("filename,prediction,cat,dog\na.png,cat,0.9,0.1")
    with pytest.raises(InvalidInputError, match=r"predictions for none of the 46.*such as a\.png"):
        sample_images(embeddings, 2, predictions=tmp_path / "p.csv")


def test_doubt_of_several_labels_is_that_of_one_of_them(tmp_path: Path) -> None:
    embeddings, _ = between()
    lines = ["filename,Action,Drama"]
    lines += [
        f"{path},0.95,{0.5 if row == 7 else 0.9}" for row, path in enumerate(embeddings.paths)
    ]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    found = sample_images(embeddings, 1, predictions=tmp_path / "p.csv", random_state=0)
    assert found.rows.tolist() == [7]
    assert found.images[0].why.startswith("Drama 0.50")
    assert found.images[0].suggested == ""


class _Sure(Classifier):
    """A classifier that is unsure about one image of a folder."""

    takes_embeddings = False  # type: ignore[assignment]
    classes_ = np.array(["cat", "dog"])
    input_shape_ = (8, 8, 3)

    @property
    def task_(self) -> Any:
        from clusterkit.classifiers.tasks import Task

        return Task.from_labels(["cat", "dog"])

    thresholds_ = None

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, X: Any) -> Any:
        dark = np.asarray(X).reshape(len(X), -1).mean(axis=1) < 100
        return np.where(dark[:, None], [[0.55, 0.45]], [[0.99, 0.01]]).astype(np.float32)


def photos(folder: Path) -> Embeddings:
    """Write two groups of pictures, and a dark one; return their embeddings."""
    embeddings, _ = make({"cat": 6, "dog": 6})
    for row, path in enumerate(embeddings.paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        tone = 10 if row == 8 else 200 + row
        Image.fromarray(np.full((8, 8, 3), tone, np.uint8)).save(folder / path)
    return Embeddings(embeddings.vectors, paths=embeddings.paths, root=folder)


def test_doubt_of_a_classifier_that_looks_at_the_files(tmp_path: Path) -> None:
    embeddings = photos(tmp_path)
    found = sample_images(embeddings, 1, model=_Sure(), random_state=0)
    assert found.rows.tolist() == [8]
    assert found.images[0].why == "cat 0.55 or dog 0.45"
    with pytest.raises(InvalidInputError, match="must have a root"):
        sample_images(Embeddings(embeddings.vectors), 1, model=_Sure())


@pytest.mark.usefixtures("tiny_network")
def test_a_classifier_of_the_same_space_takes_the_embeddings(tiny_weights: Path) -> None:
    model = Classifier(tiny_network.NAME, weights=tiny_weights, random_state=0)
    space = {"extractor": tiny_network.NAME, "fingerprint": model.extractor.fingerprint}
    embeddings, labels = make({"cat": 20, "dog": 20}, d=tiny_network.DIMENSION)
    vectors = embeddings.vectors.copy()
    vectors[7] = vectors[[0, 39]].mean(axis=0)
    embeddings = Embeddings(vectors, space=space)
    model.fit(embeddings, labels)
    found = sample_images(embeddings, 1, model=model, random_state=0)
    assert found.rows.tolist() == [7]


def write_clusters(folder: Path, embeddings: Embeddings, labels: list[Any]) -> Path:
    rows = [f"{path},{label}" for path, label in zip(embeddings.paths, labels, strict=True)]
    (folder / "clusters.csv").write_text("\n".join(["path,cluster", *rows]))
    return folder / "clusters.csv"


def test_typical_images_of_clusters_are_as_many_of_each(tmp_path: Path) -> None:
    embeddings, labels = make(SIZES)
    numbers = [list(SIZES).index(label) for label in labels]
    numbers[0] = -1
    table = write_clusters(tmp_path, embeddings, numbers)
    found = sample_images(embeddings, 15, clusters=table, random_state=0)
    assert [image.cluster for image in found.images[:3]] == [0, 1, 2]
    # The smallest has four.
    assert [sum(image.cluster == one for image in found.images) for one in range(3)] == [6, 5, 4]
    assert 0 not in found.rows
    table = write_clusters(tmp_path, embeddings, [-1] * len(labels))
    with pytest.raises(InvalidInputError, match="a cluster that is not noise"):
        sample_images(embeddings, 3, clusters=table)


def test_doubtful_images_of_clusters_are_near_another(tmp_path: Path) -> None:
    embeddings, _ = between()
    table = write_clusters(tmp_path, embeddings, [row // 20 % 2 for row in range(46)])
    found = sample_images(embeddings, 4, by="doubtful", clusters=table, random_state=0)
    assert np.mean(found.rows >= 40) >= 0.75
    assert found.images[0].cluster in (0, 1)


def test_promotion_takes_the_table(tmp_path: Path) -> None:
    embeddings = photos(tmp_path / "photos")
    table = write_clusters(tmp_path, embeddings, [0] * 6 + [1] * 6)
    found = sample_images(embeddings, 6, clusters=table, random_state=0)
    chosen = found.to_csv(tmp_path / "sample.csv")
    sorting = promote(
        chosen, tmp_path / "classes", names={0: "cat", 1: "dog"}, root=tmp_path / "photos"
    )
    assert sorting.folders == {"cat": 3, "dog": 3}


def test_a_folder_by_what_is_suggested_and_back(tmp_path: Path) -> None:
    embeddings = photos(tmp_path / "photos")
    known = ["cat", *[None] * 5, "dog", *[None] * 5]
    found = sample_images(embeddings, 8, labels=known, into=tmp_path / "next", random_state=0)
    assert found.sorting is not None
    data = read_labelled(tmp_path / "next")
    assert sorted(data.names) == sorted(image.path for image in found.images)
    assert undo(tmp_path / "next").n_undone == 8
    first = sample_images(embeddings, 2, into=tmp_path / "first", random_state=0, dry_run=True)
    assert first.sorting is not None
    assert first.sorting.folders == {"to-label": 2}
    assert "2 files would be copied\n2 typical images of 12 to choose from" in first.to_text()
    assert not (tmp_path / "first").exists()


def test_files_that_are_gone_are_not_chosen(tmp_path: Path) -> None:
    embeddings = photos(tmp_path / "photos")
    for path in embeddings.paths[:4]:
        (tmp_path / "photos" / path).unlink()
    for by in ("typical", "diverse"):
        with pytest.warns(Notice, match="left out: 4 of the 12 files are gone"):
            found = sample_images(embeddings, 8, by=by, random_state=0)
        assert sorted(found.rows) == list(range(4, 12))
    for path in embeddings.paths:
        (tmp_path / "photos" / path).unlink(missing_ok=True)
    with pytest.raises(NotFoundError, match="12 of the 12 files are gone"):
        sample_images(embeddings, 2)


def test_a_sample_that_was_killed_goes_on(tmp_path: Path) -> None:
    embeddings = photos(tmp_path / "photos")
    options: dict[str, Any] = {"into": tmp_path / "into", "mode": "move", "random_state": 0}
    planned = sample_images(embeddings, 6, **options, dry_run=True)
    with killed_at(4, victim=(os, "link")), pytest.raises(Killed):
        sample_images(embeddings, 6, **options)
    assert 0 < len(list((tmp_path / "into").rglob("*.png"))) < 6
    assert sample_images(embeddings, 6, **options).rows.tolist() == planned.rows.tolist()
    assert len(list((tmp_path / "into").rglob("*.png"))) == 6


def test_by_default_all_of_a_few_images_are_chosen() -> None:
    embeddings, _ = make(SIZES)
    assert len(sample_images(embeddings, random_state=0).images) == 50
    few = sample_images(embeddings, exclude=["red/"], random_state=0)
    assert len(few.images) == 24


def test_bad_input() -> None:
    embeddings, _ = make(SIZES)
    one = cluster(embeddings, n_clusters=1, random_state=0)
    for options, message in [
        ({"n_images": 0}, "n_images must be an integer of at least 1. Received: n_images=0"),
        ({"n_images": "3"}, "n_images must be an integer of at least 1. Received: n_images='3'"),
        ({"n_images": np.float64(3)}, "n_images must be an integer of at least 1"),
        ({"n_images": 85}, "n_images must be from 1 to 84.*Received: 85"),
        ({"n_images": 30, "exclude": ["red/"]}, "from 1 to 24"),
        ({"exclude": ["*"]}, "none of the 84 images is left to choose"),
        ({"by": "good"}, "by must be one of diverse, typical, doubtful"),
        ({"labels": ["a"]}, "one label per image, or None, .* Received: 1 label, 84 images"),
        ({"labels": "sample.csv"}, "give a table as label_tables='sample.csv'"),
        ({"labels": pd.DataFrame({"path": ["red/0.png"]})}, "one label, or None, per image"),
        ({"labels": {"a.png": "red"}}, "name none of the 84 images, such as red/0.png"),
        ({"by": "doubtful"}, "need labels of at least 2 classes.*Received: none"),
        ({"by": "doubtful", "labels": ["red", *[None] * 83]}, "Received: labels of red"),
        ({"into": "nowhere"}, "must have a root"),
        ({"by": "doubtful", "clusters": one}, "at least 2 clusters. Received: 1"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            sample_images(embeddings, **({"n_images": 3} | options))  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        sample_images(embeddings, 3, clusters="nowhere.csv")
    with pytest.raises(TypeError, match="strategy"):
        sample_images(embeddings, 3, strategy="diverse")  # type: ignore[call-arg]


def test_labels_may_name_their_images() -> None:
    embeddings, labels = make(SIZES)
    given = dict(zip(embeddings.paths, labels, strict=True))
    known = {path: given[path] for path in embeddings.paths[80:2:-9]}
    expected = sample_images(
        embeddings, 5, labels=[known.get(path) for path in embeddings.paths], random_state=0
    )
    for form in (known, pd.Series(known)):
        found = sample_images(embeddings, 5, labels=form, random_state=0)
        assert (found.images, found.n_labelled) == (expected.images, len(known))


def test_few_different_images() -> None:
    embeddings = Embeddings(np.zeros((4, 3)))
    for by in ("typical", "diverse"):
        assert sorted(sample_images(embeddings, 4, by=by, random_state=0).rows) == [0, 1, 2, 3]


def fill_in(table: Path) -> None:
    """Write the label of each image, its folder's name, into the table of a sample."""
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["label"] = row["path"].partition("/")[0]
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.filterwarnings("ignore::clusterkit.errors.Notice")
@pytest.mark.filterwarnings("ignore:left out 12 images")
def test_the_command_from_the_first_labels_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, tone in enumerate([40] * 8 + [220] * 8):
        place = tmp_path / "photos" / ("dark" if number < 8 else "light") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(tone - 30, tone + 30, (8, 8, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(place)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(main, list(arguments))

    assert run("embed", "photos", "-e", "pixels").exit_code == 0
    planned = run("sample", "-n", "4", "--mode", "link", "--dry-run", "--json")
    assert json.loads(planned.stdout)["output"] is None
    assert "Not used: --mode, since no files are sorted without --into" in planned.stderr
    first = run("sample", "-n", "4", "--sheet", "s.png")
    assert (first.exit_code, (tmp_path / "s.png").exists()) == (0, True)
    assert "4 typical images of 16 to choose from" in first.stdout
    unlabelled = run("sample", "-n", "4", "--labels", "sample.csv", "-o", "x.csv")
    assert "no line of sample.csv has a label: fill in its column label" in unlabelled.stderr
    fill_in(tmp_path / "sample.csv")
    again = run("sample", "-n", "4", "--labels", "sample.csv")
    assert (again.exit_code, again.stderr) == (
        1,
        "Error: sample.csv exists; name another file, or allow it with --overwrite "
        "(overwrite=True in Python)\n",
    )
    labels = ["--labels", "sample.csv"]
    assert run("sample", "-n", "4", *labels, "-o", "next.csv").exit_code == 0
    fill_in(tmp_path / "next.csv")
    third = run("sample", "-n", "2", *labels, "--labels", "next.csv", "-o", "third.csv", "--json")
    document = json.loads(third.stdout)
    assert (document["by"], document["n_labelled"], document["n"]) == ("doubtful", 8, 2)
    data = read_labelled(tmp_path / "sample.csv")
    assert data.labels == [Path(file).parent.name for file in data.images]


def test_a_picture_of_the_sample(tmp_path: Path) -> None:
    embeddings = photos(tmp_path)
    found = sample_images(embeddings, 3, random_state=0)
    display = SampleDisplay.from_sample(found)
    texts = [text.get_text() for text in display.ax_.texts]
    assert "3 typical images of 12 to choose from" in texts
    assert {Path(image.path).name for image in found.images} <= set(texts)
    assert found._repr_html_().count("<img") == 3
    frame = found.to_frame()
    assert list(frame["path"]) == [image.path for image in found.images]
    with pytest.raises(InvalidInputError, match="files of these images are not known"):
        SampleDisplay.from_sample(sample_images(Embeddings(np.eye(3)), 2, random_state=0))
