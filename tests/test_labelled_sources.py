"""Labelled folders and tables in common forms are read correctly, or rejected."""

import csv
import json
import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from clusterkit.classifiers import Classifier
from clusterkit.classifiers import train as training
from clusterkit.classifiers.comparison.records import check_own, record_own
from clusterkit.classifiers.evaluation import ClassificationReport
from clusterkit.classifiers.predict import open_images
from clusterkit.cli import main
from clusterkit.clustering.evaluation import evaluate
from clusterkit.clustering.promotion import promote
from clusterkit.datasets.label_tables import read_label_table
from clusterkit.datasets.labelled_images import LabelledImages, read_labelled
from clusterkit.datasets.labels import align_labels
from clusterkit.datasets.split import split
from clusterkit.errors import InvalidInputError, NotFoundError, Notice, OutputExistsError
from clusterkit.store.embeddings import Embeddings

pytestmark = pytest.mark.filterwarnings(
    "ignore::clusterkit.errors.Notice",
    "ignore:__array__ implementation:DeprecationWarning",  # Keras saves in NumPy 1's way
)


def paint(*files: str | Path) -> None:
    """Write different small pictures."""
    for file in map(Path, files):
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(zlib.crc32(os.fsencode(file))).integers(
            0, 256, (6, 6, 3), dtype=np.uint8
        )
        with file.open("wb") as stream:
            Image.fromarray(pixels).save(stream, "png")


def fill(folder: Path, *parts: str, classes: str = "cat dog", n: int = 4) -> Path:
    for part in parts:
        paint(*(folder / part / name / f"{i}.png" for name in classes.split() for i in range(n)))
    return folder


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        ("Training Testing", "train test"),
        ("Train Test", "train test"),
        ("training_set test_set", "train test"),
        ("seg_train seg_test", "train test"),
        ("train dev", "train val"),
        ("TRAIN valid eval", "train val test"),
        ("train2017 val2017", "train val"),
        ("train-images test-images", "train test"),
        ("trainset", "train"),
        # Like unpacked archives of Kaggle.
        ("seg_train/seg_train seg_test/seg_test", "train test"),
        ("archive/../training/training test", "train test"),
    ],
)
def test_parts_of_any_name_are_kept(folders: str, parts: str, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    data = read_labelled(fill(tmp_path / "d", *folders.split()).resolve(), exclude=["archive"])
    assert data.class_counts == {"cat": 4 * len(parts.split()), "dog": 4 * len(parts.split())}
    assert data.parts is not None
    assert set(data.parts) == set(parts.split())
    for name, part in zip(folders.split(), parts.split(), strict=True):
        top = Path(os.path.normpath(name)).parts[0]
        assert {p for n, p in zip(data.names, data.parts, strict=True) if n.startswith(top)} == {
            part
        }


@pytest.mark.parametrize("beside", ["pred", "seg_pred/seg_pred", "unlabelled", "samples", "test2"])
def test_what_lies_beside_parts_is_left_out_and_said(beside: str, tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", "train", "val")
    paint(*(folder / beside / f"{i}.png" for i in range(3)), folder / "stray.png")
    with pytest.warns(UserWarning, match=f"left out {beside.split('/')[0]}, stray.png in .*train"):
        data = read_labelled(folder)
    assert data.class_counts == {"cat": 8, "dog": 8}


def test_a_train_is_a_class_beside_others(tmp_path: Path) -> None:
    data = read_labelled(fill(tmp_path / "d", "", classes="bus train car"))
    assert (data.class_counts, data.parts) == ({"bus": 4, "car": 4, "train": 4}, None)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["one", "two"], "one, two in .* all hold the folders cat, dog. Call parts"),
        (["train/one", "train/two", "test/one", "test/two"], "which folders are the classes"),
        (["train", "samples"], "train may be a class, or hold the classes cat, dog: name it"),
        (["test", "val"], "must have training images.* Received: test, val"),
    ],
)
def test_folders_that_are_hardly_classes_are_refused(
    parts: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_labelled(fill(tmp_path / "d", *parts))


def test_one_folder_more_in_each_class_does_no_harm(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", "", classes="n01/images n02/images")
    assert read_labelled(folder).class_counts == {"n01": 4, "n02": 4}


def test_a_table_finds_its_files(tmp_path: Path) -> None:
    paint(tmp_path / "train/001.png", tmp_path / "train/01.png", tmp_path / "train/cafe\u0301.png")
    table = tmp_path / "labels.csv"
    pd.DataFrame({"id": ["001", "01", "caf\u00e9"], "breed": list("xyz")}).to_csv(table)
    with pytest.warns(Notice, match="3 of the 3 files .* are found by their names below"):
        data = read_labelled(table)
    assert [Path(file).name for file in data.images] == ["001.png", "01.png", "cafe\u0301.png"]
    assert (data.names, data.labels) == (["001", "01", "caf\u00e9"], ["x", "y", "z"])
    pd.DataFrame({"id": ["001", "1", "2", "3", "4"], "breed": list("xyzxy")}).to_csv(table)
    with pytest.raises(NotFoundError, match=r"4 of the 5 files .* 1, 2, 3 and 1 more.*--path-col"):
        read_labelled(table)
    paint(tmp_path / "test/001.png")
    with pytest.raises(InvalidInputError, match="001 fits 2 images"):
        read_labelled(table)


def test_parts_of_a_table_are_the_split(tmp_path: Path) -> None:
    paint(*(tmp_path / f"{i}.png" for i in range(9)))
    pd.DataFrame(
        {
            "filename": [f"{i}.png" for i in range(9)],
            "split": ["train"] * 5 + ["test"] * 3 + ["pred"],
            "label": list("abababaab"),
        }
    ).to_csv(tmp_path / "t.csv", index=False)
    with pytest.warns(UserWarning, match="left out 1 file of no part for learning"):
        data = read_labelled(tmp_path / "t.csv")
    assert data.names[-1] == "7.png"
    assert split(data, validation_split=0, random_state=0)["test"].tolist() == [5, 6, 7]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_pixel_tables_of_any_kind(delimiter: str, encoding: str, tmp_path: Path) -> None:
    pixels = np.arange(16).reshape(4, 4)
    table = pd.DataFrame(pixels, columns=[f"pixel{i}" for i in range(4)])
    table.insert(1, "class", ["01", "1", "Löwe", "x"])
    table.to_csv(tmp_path / "t.csv", sep=delimiter, encoding=encoding)
    data = read_labelled(tmp_path / "t.csv")
    assert data.labels == ["01", "1", "Löwe", "x"]
    np.testing.assert_array_equal(np.reshape(data.images, (4, 4)), pixels)
    table.drop(columns="class").to_csv(tmp_path / "test.csv", sep=delimiter, index_label="id")
    assert read_labelled(tmp_path / "test.csv").labels is None


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["pixel0", "pixel1", "pixel10", "pixel2"], ["pixel0", "pixel1", "pixel2", "pixel10"]),
        (["3", "2", "1", "0"], ["0", "1", "2", "3"]),
        (["1x1", "1x10", "1x2", "2x1"], ["1x1", "1x2", "1x10", "2x1"]),
        # Columns before rows may be meant.
        (["1x1", "2x1", "1x2", "2x2"], ["1x1", "2x1", "1x2", "2x2"]),
    ],
)
def test_pixel_columns_in_another_order(names: list[str], found: list[str], tmp_path: Path) -> None:
    table = pd.DataFrame(np.arange(8).reshape(2, 4), columns=names)
    table.insert(2, "label", ["a", "b"])
    table.to_csv(tmp_path / "t.csv", index=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = read_labelled(tmp_path / "t.csv")
    np.testing.assert_array_equal(np.reshape(data.images, (2, 4)), table[found])
    assert ["in the order of their numbers" in str(one.message) for one in said] == [True] * (
        names != found
    )


def test_the_labels_of_pixels_may_be_in_a_column_of_any_name(tmp_path: Path) -> None:
    table = pd.DataFrame(np.arange(8).reshape(2, 4), columns=[f"pixel{i}" for i in range(4)])
    table["Digit"], table["target"] = ["a", "b"], [0, 1]
    table.to_csv(tmp_path / "t.csv", index=False)
    data = read_labelled(tmp_path / "t.csv", label_column="digit")
    assert data.labels == ["a", "b"]
    assert np.reshape(data.images, (2, 4)).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    table.drop(columns="target").to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InvalidInputError, match="and Digit: if it holds the labels, name it with"):
        read_labelled(tmp_path / "t.csv")
    table.drop(columns="Digit").to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InvalidInputError, match=r"must be a column of .*t.csv. Received: digit"):
        read_labelled(tmp_path / "t.csv", label_column="digit")
    with pytest.raises(InvalidInputError, match=r"must be a column of .*t.csv. Received: digit$"):
        read_labelled(tmp_path / "t.csv", label_column=["target", "digit"])


def test_a_pixel_table_whose_header_is_of_code_page_1252(tmp_path: Path) -> None:
    lines = ["étiquette;pixel0;pixel1;pixel2;pixel3", "à;0;1;2;3", "b;4;5;6;7"]
    (tmp_path / "t.csv").write_text("\r\n".join(lines), encoding="cp1252")
    data = read_labelled(tmp_path / "t.csv", label_column="étiquette")
    assert (data.labels, np.ravel(data.images).tolist()) == (["à", "b"], list(range(8)))


def test_columns_and_patterns_come_in_any_sequence(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", tmp_path / "b.png")
    (tmp_path / "t.csv").write_text("file,breed,age\na.png,x,1\nb.png,y,2\n")
    for column in (pd.Index(["breed"]), np.array(["breed"]), ("breed",)):
        data = read_labelled(tmp_path / "t.csv", label_column=column, exclude=iter(()))
        assert data.labels == ["x", "y"]
    with pytest.raises(InvalidInputError, match="--exclude cannot be used"):
        read_labelled(tmp_path / "t.csv", exclude=np.array(["a*", "b*"]))


def test_pixels_beside_files_and_labels_are_no_pixel_table(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", tmp_path / "b.png")
    lines = ["label,filename,pixel0,pixel1,pixel2", "x,a.png,0,1,2", "y,b.png,3,4,5"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = read_labelled(tmp_path / "t.csv")
    assert (data.names, data.labels) == (["a.png", "b.png"], ["x", "y"])


def test_classes_that_are_called_by_numbers_are_no_pixels(tmp_path: Path) -> None:
    paint(tmp_path / "1.png", tmp_path / "2.png")
    table = tmp_path / "t.csv"
    table.write_text("image_id,0,1,2,3\n1,0,0,1,0\n2,1,0,0,0\n", encoding="utf-8")
    assert read_labelled(table).labels == ["2", "0"]
    # Without a column that could name files, they are.
    table.write_text("0,1,2,3\n0,0,1,0\n1,0,0,0\n", encoding="utf-8")
    assert read_labelled(table).labels is None


def test_a_pixel_table_that_excel_wrote_with_its_delimiter(tmp_path: Path) -> None:
    lines = ["sep=;", "", "label;pixel0;pixel1;pixel2;pixel3", "a;0;1;2;3", "b;4;5;6;7"]
    (tmp_path / "t.csv").write_text("\r\n".join(lines), encoding="utf-8-sig")
    data = read_labelled(tmp_path / "t.csv")
    assert (data.labels, np.ravel(data.images).tolist()) == (["a", "b"], list(range(8)))


@pytest.mark.parametrize("names", [["digit"], ["class", "label"], ["id", "digit"]])
def test_prediction_needs_no_name_of_the_column_of_labels(names: list[str], tmp_path: Path) -> None:
    header = [*names, *(f"pixel{i}" for i in range(4))]
    (tmp_path / "t.csv").write_text(f"{','.join(header)}\n{'7,' * len(names)}0,1,2,3\n")
    with pytest.raises(InvalidInputError, match="name it with --label-column"):
        read_labelled(tmp_path / "t.csv")
    assert np.ravel(open_images([tmp_path / "t.csv"]).images).tolist() == [0, 1, 2, 3]


def test_a_first_line_with_a_long_text_is_read(tmp_path: Path) -> None:
    paint(*(tmp_path / f"{name}.png" for name in "ab"))
    (tmp_path / "t.csv").write_text(f"a.png,{'x' * 300}\nb.png,y\n")
    assert read_labelled(tmp_path / "t.csv").labels == ["x" * 300, "y"]


@pytest.mark.parametrize("other", ["./a.png", "C:\\photos\\a.png"])
def test_two_lines_for_one_file_are_refused(other: str, tmp_path: Path) -> None:
    paint(*(tmp_path / f"{name}.png" for name in "ab"))
    (tmp_path / "t.csv").write_text(f"path,label\na.png,x\nb.png,y\n{other},y\n")
    with pytest.raises(InvalidInputError, match=r"two lines for one file, a\.png and .*remove one"):
        read_labelled(tmp_path / "t.csv")


@pytest.mark.parametrize("make", [pa.array, polars.Series, pd.Series, np.array, tuple, iter])
def test_labels_come_in_many_forms(make: Callable[[list[str]], Any]) -> None:
    found = align_labels(make(["x", "y"]), ["a.png", "b.png"])
    assert found == ["x", "y"]
    assert all(isinstance(label, str) for label in found)


@pytest.mark.parametrize("labels", [polars.DataFrame({"x": [1, 2]}), {"x", "y"}, b"xy", np.eye(2)])
def test_what_is_not_one_label_per_image_is_refused(labels: Any) -> None:
    with pytest.raises(InvalidInputError, match="one label, or None, per image"):
        align_labels(labels, ["a.png", "b.png"])


@pytest.mark.parametrize("source", ["folder", "t.csv", "pixels.csv", "idx"])
def test_options_of_another_kind_of_source_are_refused(source: str, tmp_path: Path) -> None:
    paint(*(tmp_path / "folder" / name / f"{i}.png" for name in "ab" for i in range(3)))
    (tmp_path / "t.csv").write_text("filename,label\nfolder/a/0.png,a\nfolder/b/0.png,b\n")
    (tmp_path / "pixels.csv").write_text("label,pixel0,pixel1,pixel2,pixel3\na,0,1,2,3\n")
    (tmp_path / "idx").mkdir()
    (tmp_path / "idx" / "train-images-idx3-ubyte").touch()
    options: dict[str, dict[str, Any]] = {
        "--exclude": {"exclude": ["*_small.png"]},
        "--label-column": {"label_column": ("breed",)},
        "--path-column": {"path_column": "file"},
        "--label-separator": {"label_separator": ";"},
    }
    used = {
        "folder": ["--exclude"],
        "t.csv": ["--label-column", "--path-column", "--label-separator"],
        "pixels.csv": ["--label-column"],
        "idx": [],
    }
    if source.endswith(".csv"):
        with pytest.raises(InvalidInputError, match="--exclude cannot be used"):
            open_images([tmp_path / source], exclude=["*_small.png"])
    for option in options.keys() - set(used[source]):
        with pytest.raises(InvalidInputError, match=f"{option} cannot be used: .*{source} is "):
            read_labelled(tmp_path / source, **options[option])


NOISY: dict[str, list[Any]] = {
    "int": [0, 0, -1, 1, 1, -1],
    "float": [0.0, 0.0, -1.0, 1.0, 1.0, -1.0],
    "names": ["cats", "cats", "-1", "dogs", "dogs", "-1"],
    "noise": ["cats", "cats", "noise", "dogs", "dogs", "Noise"],
    "mixed": ["cats", "cats", -1, "dogs", "dogs", -1.0],
}


@pytest.mark.parametrize("kind", NOISY)
@pytest.mark.parametrize("form", [list, np.array, pd.Series, "table"])
def test_noise_is_noise_everywhere(kind: str, form: Any, tmp_path: Path) -> None:
    paths = [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3)]
    if form == "table":
        table = pd.DataFrame({"path": paths, "cluster": NOISY[kind]})
        table.to_csv(tmp_path / "c.csv", index=False)
        found = evaluate(None, tmp_path / "c.csv")
    else:
        found = evaluate([path[:3] for path in paths], form(NOISY[kind]))
    assert (found.purity, found.n_noise, found.clusters[0]) == (pytest.approx(4 / 6), 2, -1)
    assert len(found.clusters) == 3


@pytest.mark.parametrize(
    "missing", [None, np.nan, pd.NA, pd.NaT, np.datetime64("NaT", "s"), ""], ids=repr
)
@pytest.mark.parametrize("form", [list, pd.Series])
def test_what_is_missing_is_left_out(missing: Any, form: Any) -> None:
    found = evaluate(form(["a", missing, "b", "b"]), [0, 0, 1, 1])
    assert (found.n, found.n_unlabelled, found.accuracy, found.label_names) == (3, 1, 1, ["a", "b"])
    found = evaluate(list("abbb"), form([0, missing, 1, 1]))
    assert (found.n, found.n_unused, found.clusters) == (3, 1, [0, 1])
    with pytest.raises(InvalidInputError, match="none of the 2 images"):
        evaluate([missing, missing], [0, 1])


def test_folders_may_be_called_like_nothing_and_numbers_stay_names() -> None:
    assert evaluate(["nan", "None", "NA"], [0, 1, 2]).label_names == ["NA", "None", "nan"]
    assert evaluate([1, 2, 3], ["01", "1", "001"]).clusters == ["001", "01", "1"]
    assert evaluate(np.array(["a", np.nan]), [0, 1]).n_unlabelled == 1


def test_promotion_takes_a_table_that_pandas_joined(tmp_path: Path) -> None:
    paint(*(tmp_path / f"photos/{i}.png" for i in range(5)))
    pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(5)],
            "cluster": [0.0, 0.0, -1.0, 1.0, np.nan],
            "name": ["cats", "cats", None, "dogs", None],
        }
    ).to_csv(tmp_path / "c.csv", index=False, sep=";")
    done = promote(tmp_path / "c.csv", tmp_path / "classes", root=tmp_path / "photos")
    assert done.folders == {"cats": 2, "dogs": 1}


def test_evaluate_says_what_matched(tmp_path: Path) -> None:
    clusters, table = tmp_path / "clusters.csv", tmp_path / "labels.csv"
    clusters.write_text("path,cluster\nx/a.png,0\nx/b.png,1\nx/c.png,1\n")
    table.write_bytes("id;split;art\na;1;Löwe\nd;1;fox\nb;1;fox\n".encode("cp1252"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = run("evaluate", clusters, "--labels", table)
    assert done.exit_code == 0, done.output
    assert "semicolons between its columns" in done.stderr
    assert "labels from column 'art'" in done.stderr
    assert "Löwe" in done.stderr
    assert "labels.csv has a label for 2 of the images." in done.stderr
    assert "Left out: 1 image without a label: x/c.png." in done.stderr
    assert "Left out: 1 label of files that were not clustered: d." in done.stderr
    columns = ["--label-column", "split", "--path-column", "id", "--json"]
    again = run("evaluate", clusters, "--labels", table, *columns)
    assert json.loads(again.stdout)["label_names"] == ["1"]
    table.write_text("id,label\nx,a\ny,b\n")
    refused = run("evaluate", clusters, "--labels", table)
    assert refused.exit_code == 1
    assert "has a label for none of the 3 images" in refused.stderr
    assert "name it with --path-column" in refused.stderr


@pytest.fixture
def odd_folder(tmp_path: Path) -> Path:
    """Write class folders named by non-UTF-8 bytes or a formula, with files that are no images."""
    folder = tmp_path / "photos"
    for name in (os.fsdecode(b"L\xf6we"), "=1+1", "$x_{"):
        paint(*(folder / name / f"{'=' if i else '-'}{i}.png" for i in range(6)))
    os.mkfifo(folder / "=1+1/pipe.png")
    (folder / "=1+1/zero.png").symlink_to("/dev/zero")
    (folder / "$x_{/nowhere.png").symlink_to("nowhere")
    (folder / "$x_{/cut.png").write_bytes(b"x")
    return folder


@pytest.mark.usefixtures("untrained")
@pytest.mark.filterwarnings("ignore:left out")
def test_names_of_any_bytes_and_entries_of_any_kind(odd_folder: Path, tmp_path: Path) -> None:
    options = ["--network", "nn", "--epochs", "1", "--image-size", "4"]
    done = run("train", "classifier", odd_folder, *options, "-o", tmp_path / "c.keras", "--json")
    assert done.exit_code == 0, done.output
    reasons = {Path(one["path"]).name: one["reason"] for one in json.loads(done.stdout)["failures"]}
    assert set(reasons) == {"pipe.png", "zero.png", "nowhere.png", "cut.png"}
    assert reasons["pipe.png"] == reasons["zero.png"] == "not a regular file"
    table = tmp_path / "c-report/predictions.csv"
    truth = read_label_table(table, label_column="truth")
    names = {os.fsdecode(b"L\xf6we"), "=1+1", "$x_{"}
    assert set(truth.labels) == names
    with table.open(newline="", encoding="utf-8") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert not [cell for cell in cells if cell[0] in "=+-@"]
    predicted = run(
        "predict", odd_folder, "--model", tmp_path / "c.keras", "--table", tmp_path / "t.csv"
    )
    assert predicted.exit_code == 0, predicted.output
    assert set(read_label_table(tmp_path / "t.csv").labels) <= names
    assert set(map(str, Classifier.load(tmp_path / "c.keras").classes_)) == names


@pytest.mark.filterwarnings("ignore:left out")
def test_a_transfer_opens_only_what_can_be_read(
    odd_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def embed(data: LabelledImages, *_: Any) -> Any:
        opened.extend(map(Path, data.images))
        return Embeddings(np.eye(len(data), dtype=np.float32)), np.arange(len(data)), []

    monkeypatch.setattr(training, "_embed", embed)
    data = read_labelled(odd_folder)
    parts = split(data, random_state=0)
    classifier: Any = SimpleNamespace(takes_embeddings=True)
    inputs, rows, failures = training.read_inputs(data, parts, classifier, None)
    assert len(opened) == 18
    assert all(file.is_file() for file in opened)
    assert {Path(name).name for name, _ in failures} == {
        "pipe.png",
        "zero.png",
        "nowhere.png",
        "cut.png",
    }
    for part, members in parts.items():
        assert rows[part].tolist() == members.tolist()
        assert len(inputs[part]) == len(members)


def test_bad_labels_are_found_before_any_work(tmp_path: Path) -> None:
    paint(*(tmp_path / f"{i}.png" for i in range(4)))
    table = tmp_path / "labels.csv"
    table.write_bytes(b"filename,label\n0.png,a\n1.png,\x81\x8f\n2.png,a\n3.png,b\n")
    for command in (["train", "classifier"], ["compare"]):
        output = tmp_path / "out.keras"
        done = run(*command, table, "--network", "nn", "-o", output)
        assert done.exit_code == 1
        assert "neither UTF-8 nor of Windows' code page 1252" in done.stderr
        assert not output.exists()


def test_compare_replaces_only_what_it_wrote(tmp_path: Path) -> None:
    names = ("comparison.csv", "comparison.png")
    check_own(tmp_path, names, overwrite=False)
    (tmp_path / "comparison.csv").write_text("my,own\nnumbers,1\n")
    paint(*(tmp_path / f"photos/{name}/{i}.png" for name in "ab" for i in range(5)))
    done = run("compare", tmp_path / "photos", "--network", "nn", "-o", tmp_path)
    assert done.exit_code == 1
    assert "comparison.csv exists" in done.stderr
    assert not (tmp_path / "nn.keras").exists()
    assert (tmp_path / "comparison.csv").read_text() == "my,own\nnumbers,1\n"
    check_own(tmp_path, names, overwrite=True)
    # What a comparison wrote is its own until someone changes it.
    record_own(tmp_path, "comparison.csv")
    check_own(tmp_path, names, overwrite=False)
    (tmp_path / "comparison.csv").write_text("my,own\nnumbers,2\n")
    with pytest.raises(OutputExistsError, match=r"comparison\.csv exists"):
        check_own(tmp_path, names, overwrite=False)
    # Folders of the version that recorded nothing.
    (tmp_path / "comparison.json").unlink()
    (tmp_path / "comparison.csv").write_text("network,train,val\nnn,1,1\n")
    check_own(tmp_path, names, overwrite=False)


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    names = ["-1.png", "\tx", os.fsdecode(b"\xff.png"), "'=x"]
    classes = ["=a", os.fsdecode(b"\xfe"), "-1", "b"]
    truth = np.eye(4, dtype=bool)
    report = ClassificationReport(classes, names, truth, truth, np.eye(4) - 0.5, False, None)
    report.to_csv(tmp_path / "p.csv")
    table = read_label_table(tmp_path / "p.csv", label_column="truth")
    assert table.labels == classes
    assert "-0.500000" in (tmp_path / "p.csv").read_text()


def test_the_order_of_several_labels_does_not_matter(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png")
    table = tmp_path / "labels.csv"
    table.write_text("path,labels\na.png,cat|dog\na.png,dog|cat\nb.png,dog\nc.png,cat\n")
    assert [set(labels) for labels in read_labelled(table).labels] == [
        {"cat", "dog"},
        {"dog"},
        {"cat"},
    ]


def test_classes_that_read_alike_are_named(tmp_path: Path) -> None:
    fill(tmp_path / "set", "train", classes="Cat dog")
    fill(tmp_path / "set", "test", classes="cat dog")
    with pytest.warns(Notice, match=r"set read alike, .* its own: Cat, cat$"):
        assert set(read_labelled(tmp_path / "set").class_counts) == {"Cat", "cat", "dog"}
    table = tmp_path / "labels.csv"
    # The last is e and an accent: another way to write the same name.
    table.write_text("path,labels\na.png,Été|Dog\nb.png,dog\nc.png,e\u0301te\u0301\n", "utf-8")
    with pytest.warns(Notice, match="read alike, .*: Dog, dog; e\u0301te\u0301, Été$"):
        read_label_table(table)
    # As tools write a column of numbers with an empty cell.
    table.write_text("path,label\na.png,1.0\nb.png,1\nc.png,10\nd.png,\n")
    with pytest.warns(Notice, match=r"its own: 1, 1\.0$"):
        read_label_table(table)
    pixels = "\n".join(["label,1x1,1x2,2x1,2x2", *(f"{label},0,0,0,0" for label in ("1", "1.0"))])
    table.write_text(pixels)
    with pytest.warns(Notice, match=r"its own: 1, 1\.0$"):
        read_labelled(table)
    many = [f"{i}.png,{name}{i}" for i in range(9) for name in ("a", "A")]
    table.write_text("\n".join(["path,label", *(f"{row}_{line}" for row, line in enumerate(many))]))
    with pytest.warns(Notice, match="its own: A0, a0; A1, a1; A2, a2 and 6 more$"):
        read_label_table(table)
