"""Input on which no classifier can be trained is rejected with one line, before any work."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from sklearn.linear_model import LogisticRegression

from clusterkit.classifiers.classifier import Classifier
from clusterkit.classifiers.comparison.compare import compare_networks
from clusterkit.classifiers.label_errors import find_label_errors
from clusterkit.classifiers.train import train_classifier
from clusterkit.cli import main
from clusterkit.errors import InvalidInputError

HEADER = "label,pixel0,pixel1,pixel2,pixel3"
GOOD = "0,2,3,4,5"


def save(folder: Path, n: int, seed: int = 0) -> None:
    """Write different photos into a folder."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed)
    for number in range(n):
        pixels = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def one_class(folder: Path) -> Path:
    save(folder / "fox", 5)
    return folder


def class_of_one_image(folder: Path) -> Path:
    save(folder / "fox", 5)
    save(folder / "wolf", 1, seed=1)
    return folder


def class_of_one_image_twice(folder: Path) -> Path:
    class_of_one_image(folder)
    (folder / "wolf/copy.png").write_bytes((folder / "wolf/0.png").read_bytes())
    return folder


def class_of_broken_files(folder: Path) -> Path:
    class_of_one_image(folder)
    (folder / "wolf/0.png").write_bytes(b"no image")
    return folder


def empty_class(folder: Path) -> Path:
    (folder / "wolf").mkdir(parents=True)
    return one_class(folder)


def labels_of_missing_files(folder: Path) -> Path:
    save(folder, 4)
    table = folder / "labels.csv"
    table.write_text("filename,label\n0.png,a\n1.png,b\ngone.png,a\n")
    return table


def too_few_labels(folder: Path) -> Path:
    save(folder, 4)
    table = folder / "labels.csv"
    table.write_text("filename,label\n0.png,a\n1.png,a\n2.png,\n")
    return table


def more_classes_in_test(folder: Path) -> Path:
    for number, name in enumerate(
        ("train/fox", "train/wolf", "test/fox", "test/wolf", "test/lion")
    ):
        save(folder / name, 3, seed=number)
    return folder


def pixels(*lines: str, header: str = HEADER) -> Callable[[Path], Path]:
    """Return a function that writes a table of pixels."""

    def write(folder: Path) -> Path:
        folder.mkdir()
        (folder / "pixels.csv").write_text("\n".join([header, *lines, ""]))
        return folder / "pixels.csv"

    return write


SOURCES = {
    "one class": (one_class, "a classifier needs at least 2 classes. Received: fox"),
    "a class of one image": (
        class_of_one_image,
        "2 different images to learn from. Received: 1 of",
    ),
    "a class of one image twice": (class_of_one_image_twice, "Received: 1 of wolf"),
    "a class of broken files": (class_of_broken_files, "of wolf can be read, such as wolf/0.png"),
    "an empty class": (empty_class, "wolf holds no image"),
    "labels of missing files": (labels_of_missing_files, "do not exist in"),
    "too few labels": (too_few_labels, "at least 2 classes. Received: a"),
    "more classes in test": (more_classes_in_test, "among the training images. Not there: lion"),
    "too few columns": (pixels(GOOD, "1,2,3,4"), "Expected 5 columns, got 4"),
    "too many columns": (pixels(GOOD, "1,2,3,4,5,6"), "Expected 5 columns, got 6"),
    "no number": (pixels(GOOD, "1,2,x,4,5"), "from 0 to 255. Received: 'x'"),
    "a fraction": (pixels(GOOD, "1,2,0.5,4,5"), "from 0 to 255. Received: 0.5"),
    "a value above 255": (pixels(GOOD, "1,2,3,4,256"), "column pixel3, image 1: pixels must"),
    "a value below 0": (pixels(GOOD, "1,-2,3,4,5"), "from 0 to 255. Received: -2"),
    "no square": (pixels("1,2,3,4,5,6", header=f"{HEADER},pixel4"), "Received: 5 pixel columns"),
    "pixels without labels": (
        pixels("2,3,4,5", header=HEADER[6:]),
        "can be predicted, not learned",
    ),
}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize(
    "command", [["train", "classifier"], ["compare"]], ids=["train", "compare"]
)
@pytest.mark.parametrize("name", SOURCES)
def test_training_is_refused(name: str, command: list[str], tmp_path: Path) -> None:
    make, message = SOURCES[name]
    done = run(*command, make(tmp_path / "source"), "--network", "nn")
    assert done.exit_code == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith("Error: ")
    assert message in error
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"], "something was written"


@pytest.mark.parametrize(
    "call",
    [
        lambda other: train_classifier("none", "x.keras", other),
        lambda other: find_label_errors("none", other),
        lambda other: compare_networks("none", {"nn": other}),
    ],
    ids=["train", "label errors", "compare"],
)
def test_what_is_no_classifier(call: Callable[[Any], Any]) -> None:
    for other in ("nn", LogisticRegression(), Classifier):
        with pytest.raises(InvalidInputError, match="must be a Classifier, such as"):
            call(other)


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    make, message = SOURCES["a class of one image"]
    source = make(tmp_path / "source")
    command = [sys.executable, "-m", "clusterkit", "train", "classifier", str(source)]
    path = str(Path(__file__).parent.parent)
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    (error,) = done.stderr.splitlines()
    assert error.startswith("Error: ")
    assert message in error


def no_zip(file: Path) -> None:
    file.write_bytes(b"no model")


def other_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "{}")


def cut(file: Path) -> None:
    other_zip(file)
    file.write_bytes(file.read_bytes()[:-30])


def flipped(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("clusterkit.json", '{"format": 1, "kind": "classifier"}' * 9)
    data = bytearray(file.read_bytes())
    data[60] ^= 255
    file.write_bytes(data)


def autoencoder(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("clusterkit.json", '{"format": 1, "kind": "autoencoder"}')


def nothing(file: Path) -> None:
    assert not file.exists()


MODELS = {
    no_zip: "is damaged or not a .keras file",
    cut: "is damaged or not a .keras file",
    flipped: "is damaged or not a .keras file",
    other_zip: "is not a clusterkit classifier",
    autoencoder: "must be a file of `clusterkit train classifier`",
    nothing: "train one with `clusterkit train classifier",
}


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_models_that_are_none(make: Callable[[Path], None], tmp_path: Path) -> None:
    model = tmp_path / "clf.keras"
    make(model)
    save(tmp_path / "photos", 2)
    before = sorted(tmp_path.rglob("*"))
    for command in (["predict"], ["route", "--into", "sorted", "--mode", "move"]):
        done = run(*command, "photos", "--model", model)
        assert done.exit_code == 1
        (error,) = done.stderr.splitlines()
        assert error.startswith("Error: ")
        assert MODELS[make] in error
    assert sorted(tmp_path.rglob("*")) == before
