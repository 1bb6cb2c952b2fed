"""Wrong labels are found, like by cleanlab, with predictions for images not used in training."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator

from clusterkit.classifiers import Classifier, LabelErrors, find_label_errors
from clusterkit.classifiers.confident_learning import confident_joint, find_errors
from clusterkit.classifiers.label_errors import predict_folds
from clusterkit.cli import main
from clusterkit.datasets.labelled_images import LabelledImages
from clusterkit.datasets.split import draw_folds
from clusterkit.errors import InvalidInputError
from clusterkit.plots import PredictionsDisplay
from tests.small_sets import paint

# Labels, probabilities in percent, and what cleanlab 2.9.0 makes of them: its
# compute_confident_joint, and its find_label_issues ranked by normalized_margin.
CLEANLAB: list[Any] = [
    (
        [2, 1, 0, 1, 0, 2, 2, 1, 0, 0, 0, 1, 2, 1, 2, 0, 2, 2],
        "81 4 15 87 8 5 67 22 11 91 4 5 94 5 1 2 3 95 4 4 92 5 66 29 81 7 12 12 77 11 29 28 43 "
        "15 60 25 3 91 6 5 92 3 45 28 27 78 6 16 1 14 85 5 26 69",
        [[5, 1, 0], [2, 3, 0], [1, 1, 5]],
        [3, 12, 1, 0, 9],
    ),
    (
        [1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0],
        "46 54 4 96 15 85 5 95 51 49 36 64 19 81 95 5 89 11 99 1 82 18 41 59 18 82 53 47",
        [[4, 1], [2, 7]],
        [3, 10, 4],
    ),
    (
        [1, 2, 3, 3, 0, 2, 3, 2, 0, 2, 1, 1, 1, 3, 1, 2, 1, 2, 0, 0, 3, 3],
        "19 65 9 7 15 8 73 4 2 2 2 94 21 1 1 77 43 7 7 43 28 5 54 13 11 3 1 85 8 2 4 86 "
        "61 12 14 13 2 83 9 6 1 6 2 91 1 95 3 1 5 84 9 2 2 7 4 87 23 26 14 37 8 57 22 13 "
        "36 10 41 13 4 12 83 1 43 28 23 6 69 9 9 13 3 2 2 93 2 18 21 59",
        [[4, 0, 0, 0], [0, 4, 1, 1], [0, 2, 3, 1], [0, 0, 0, 6]],
        [10, 7, 9, 15, 16],
    ),
]


def read_case(case: Any) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    labels, percent, joint, _ = case
    return np.array(labels), np.array(percent.split(), float).reshape(-1, len(joint)) / 100


@pytest.mark.parametrize("case", CLEANLAB)
def test_the_same_labels_as_cleanlab(case: Any) -> None:
    labels, probabilities = read_case(case)
    *_, joint, issues = case
    np.testing.assert_array_equal(confident_joint(labels, probabilities), joint)
    assert find_errors(labels, probabilities)[0].tolist() == issues
    # float32, which classifiers return, gives the same result.
    assert find_errors(labels, probabilities.astype(np.float32))[0].tolist() == issues


@pytest.mark.parametrize("seed", range(20))
def test_what_holds_for_any_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_classes = int(rng.integers(2, 7))
    labels = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, 40)])
    probabilities = rng.dirichlet(np.ones(n_classes), len(labels))
    joint = confident_joint(labels, probabilities)
    assert (joint >= 0).all()
    np.testing.assert_array_equal(joint.sum(axis=1), np.bincount(labels))
    rows, scores = find_errors(labels, probabilities)
    assert (probabilities.argmax(axis=1)[rows] != labels[rows]).all()
    assert (np.diff(scores[rows]) >= 0).all()
    assert (scores[rows] < 0.5).all()
    # Each class keeps at least one image.
    assert set(np.delete(labels, rows)) == set(range(n_classes))


def test_a_class_of_no_image_and_one_of_a_single_image() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.6, 0.2, 0.2], [0.9, 0.1, 0.0]])
    assert confident_joint(np.array([0, 0, 0, 1]), probabilities)[2].tolist() == [0, 0, 0]
    assert find_errors(np.array([0, 0, 0, 1]), probabilities)[0].tolist() == []


def test_names_of_classes_and_images() -> None:
    labels, probabilities = read_case(CLEANLAB[0])
    y = np.array(["cat", "dog", "fox"])[labels]
    found = LabelErrors.from_predictions(
        y, probabilities, names=[f"{row}.jpg" for row in range(18)]
    )
    first = found.errors[0]
    assert (first.name, first.given, first.suggested) == ("3.jpg", "dog", "cat")
    assert (first.given_probability, first.suggested_probability) == (0.04, 0.91)
    assert first.score == pytest.approx((0.04 - 0.91 + 1) / 2)
    assert found.to_text().split("\n")[:2] == [
        "5 labels of 18 images are probably wrong",
        "given dog 0.040, probably cat 0.910  3.jpg",
    ]
    wide = np.hstack([probabilities, np.zeros((18, 1))])
    with_fourth = LabelErrors.from_predictions(y, wide, classes=["cat", "dog", "fox", "wolf"])
    assert [error.row for error in with_fourth.errors] == CLEANLAB[0][3]


def test_several_labels_are_looked_at_one_by_one() -> None:
    y = [("a",), ("a", "b"), ("b",), ("b",), ("a",), ("a",)]
    p = [[0.9, 0.1], [0.1, 0.9], [0.1, 0.8], [0.2, 0.9], [0.8, 0.9], [0.9, 0.2]]
    found = LabelErrors.from_predictions(y, p)
    shown = [(error.row, error.given, error.suggested) for error in found.errors]
    assert shown == [(1, "a", "not a"), (4, "not b", "b")]


def test_the_columns_of_a_data_frame_are_its_classes() -> None:
    y = ["cat"] * 5 + ["dog"] * 5
    p = np.array([[0.9, 0.1]] * 4 + [[0.1, 0.9]] * 6)
    frame = pd.DataFrame(p, columns=["cat", "dog"])
    for given in (frame, frame[["dog", "cat"]], frame.set_axis([0, 1], axis=1), p):
        found = LabelErrors.from_predictions(y, given)
        assert found.to_frame()[["path", "given", "suggested"]].values.tolist() == [
            ["4", "cat", "dog"]
        ]
    with pytest.raises(InvalidInputError, match="must have the shape"):
        LabelErrors.from_predictions(y, frame[["dog", "cat", "cat"]])
    # Those of a table of labels, too: one class each, in whatever order.
    table = pd.DataFrame({"dog": [0, 1, 1, 0, 1], "cat": [1, 1, 0, 1, 1]})
    right = np.where(table, 0.9, 0.1)
    for given in (right, pd.DataFrame(right)):
        assert not LabelErrors.from_predictions(table, given).errors


def test_what_cannot_be_compared() -> None:
    y, p = ["a", "a", "b"], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]
    with pytest.raises(InvalidInputError, match="at least 2 classes"):
        LabelErrors.from_predictions(["a", "a", "a"], p)
    with pytest.raises(InvalidInputError, match=r"= \(3, 2\).*\(3, 3\)"):
        LabelErrors.from_predictions(y, np.full((3, 3), 1 / 3))
    for wrong in ([[1.5, -0.5]] * 3, [[np.nan, 0.5]] * 3):
        with pytest.raises(InvalidInputError, match="from 0 to 1"):
            LabelErrors.from_predictions(y, wrong)
    with pytest.raises(InvalidInputError, match=r"sum to 1. Received: 0.400"):
        LabelErrors.from_predictions(y, np.full((3, 2), 0.2))
    with pytest.raises(InvalidInputError, match="one name per label"):
        LabelErrors.from_predictions(y, p, names=["x"])
    with pytest.raises(InvalidInputError, match="among a, c"):
        LabelErrors.from_predictions(y, p, classes=["a", "c"])


# Folds.


def draw_images(n: int, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=1).repeat(10, axis=2)


def as_data(images: Any, labels: list[Any], **kwargs: Any) -> LabelledImages:
    return LabelledImages(images, [str(row) for row in range(len(labels))], labels, **kwargs)


def test_folds_are_stratified_and_keep_copies_together() -> None:
    images = draw_images(44)
    # Mirrored, and brighter.
    images[1], images[23] = images[0][:, ::-1], images[22] // 2 + 90
    labels = ["a"] * 22 + ["b"] * 22
    folds = draw_folds(as_data(images, labels), n_folds=4, random_state=0)
    assert folds[0] == folds[1]
    assert folds[22] == folds[23]
    for rows in (slice(22), slice(22, 44)):
        assert set(np.bincount(folds[rows])) <= {5, 6}
    assert set(np.bincount(folds)) == {11}
    again = draw_folds(as_data(images, labels), n_folds=4, random_state=0)
    assert again.tolist() == folds.tolist()
    # Copies with different labels, too.
    labels[1] = "b"
    for seed in range(4):
        folds = draw_folds(as_data(images, labels), n_folds=4, random_state=seed)
        assert folds[0] == folds[1]


def test_images_that_cannot_be_read_are_in_no_fold(tmp_path: Path) -> None:
    files = [tmp_path / f"{row}.png" for row in range(8)]
    for file, pixels in zip(files, draw_images(8), strict=True):
        Image.fromarray(pixels).save(file)
    files[2].write_bytes(b"no image")
    folds = draw_folds(as_data(files, ["a"] * 4 + ["b"] * 4), n_folds=3, random_state=0)
    assert np.flatnonzero(folds == -1).tolist() == [2]


def test_what_cannot_be_divided() -> None:
    data = as_data(draw_images(6), ["a"] * 4 + ["b"] * 2)
    with pytest.raises(
        InvalidInputError, match="3 different images to divide into 3 folds"
    ) as error:
        draw_folds(data, n_folds=3)
    assert str(error.value).endswith("Received: 2 of b. Gather more of them, or leave them out")
    with pytest.raises(InvalidInputError, match="n_folds must be an integer of at least 3"):
        draw_folds(data, n_folds=2)
    with pytest.raises(InvalidInputError, match="at least 2 classes"):
        draw_folds(as_data(draw_images(6), ["a"] * 6))
    with pytest.raises(InvalidInputError, match="no labels"):
        draw_folds(replace(data, labels=None))


# Images.


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paint cats, dogs and wild animals, with a cat among the dogs and a dog among the wild."""
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(("cat", "dog", "wild")):
        paint(folder, name, 9, seed=number)
    (folder / "cat/0-0.png").rename(folder / "dog/a-cat.png")
    (folder / "dog/1-0.png").rename(folder / "wild/a-dog.png")
    (folder / "wild/broken.png").write_bytes(b"no image")
    return folder


@pytest.mark.usefixtures("tiny_network")
def test_wrong_labels_are_found(photos: Path, tiny_weights: Path, tmp_path: Path) -> None:
    classifier = Classifier("tinynet", weights=tiny_weights, random_state=0)
    found = find_label_errors(photos, classifier, n_folds=3, store=tmp_path / "store")
    shown = {(error.name, error.given, error.suggested) for error in found.errors}
    assert shown == {("dog/a-cat.png", "dog", "cat"), ("wild/a-dog.png", "wild", "dog")}
    assert (found.n_images, [path for path, _ in found.failures]) == (27, ["wild/broken.png"])
    assert not hasattr(classifier, "classes_")
    # The names of figures and table.
    images = found.images
    assert isinstance(images, list)
    assert all(images[error.row] == photos / error.name for error in found.errors)
    display = PredictionsDisplay.from_label_errors(found)
    assert [line.text for line in display.lines[0]] == [
        found.errors[0].given,
        found.errors[0].suggested,
    ]
    assert display.title == (
        "2 labels of 27 images are probably wrong, the worst first; "
        "orange: given, blue: probably right"
    )


class Watched(BaseEstimator):
    """Predicts the most frequent class, and checks that no predicted image was in training."""

    def __init__(self, progress: bool = False) -> None:
        self.progress = progress

    def fit(self, X: Any, y: Any) -> "Watched":
        self.learned_ = set(map(str, X))
        self.classes_ = np.unique(np.concatenate([np.atleast_1d(label) for label in y]))
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        assert not self.learned_ & set(map(str, X))
        assert len(self.learned_ | set(map(str, X))) == 9
        return np.full((len(X), len(self.classes_)), 0.5)


@pytest.mark.parametrize("inputs", [np.arange(9), [Path(f"{row}.png") for row in range(9)]])
def test_no_image_is_predicted_by_what_learned_it(inputs: Any) -> None:
    # The classifier that predicts the only image of a class was not trained on that class.
    y = [("a",), ("b",), ("a", "b")] * 2 + [("a",), ("b",), ("a", "rare")]
    classifier: Any = Watched()
    task, probabilities = predict_folds(classifier, inputs, y, np.arange(9) % 3)
    assert task.classes.tolist() == ["a", "b", "rare"]
    assert probabilities[:, 2].tolist() == [0.5, 0.5, 0] * 3
    assert (probabilities[:, :2] == 0.5).all()
    assert not hasattr(classifier, "learned_")


@pytest.mark.usefixtures("tiny_network")
def test_on_the_command_line(photos: Path, tiny_weights: Path, tmp_path: Path) -> None:
    table, picture = tmp_path / "errors.csv", tmp_path / "errors.png"
    command = ["label-errors", str(photos), "--network", "tinynet", "--weights", str(tiny_weights)]
    command += ["--folds", "3", "-s", str(tmp_path / "store"), "--json"]
    result = CliRunner().invoke(main, [*command, "--table", str(table), "-o", str(picture)])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["n"], document["n_errors"], len(document["failures"])) == (27, 2, 1)
    lines = table.read_text().splitlines()
    assert lines[0] == "path,given,suggested,given_probability,suggested_probability,score"
    assert {line.partition(",")[0] for line in lines[1:]} == {"dog/a-cat.png", "wild/a-dog.png"}
    with Image.open(picture) as shown:
        assert shown.width > 300
    result = CliRunner().invoke(main, [*command, "--folds", "20"])
    assert result.exit_code == 1
    assert "at least 20 different images to divide into 20 folds" in result.stderr


@pytest.mark.usefixtures("tiny_network")
def test_without_errors_no_picture_is_said_to_be_written(
    photos: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    (photos / "dog/a-cat.png").unlink()
    (photos / "wild/a-dog.png").unlink()
    command = ["label-errors", str(photos), "--network", "tinynet", "--weights", str(tiny_weights)]
    command += ["--folds", "3", "-s", str(tmp_path / "store"), "--json"]
    result = CliRunner().invoke(main, [*command, "-o", str(tmp_path / "errors.png")])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["n_errors"], document["output"]) == (0, None)
    assert "errors.png is not written: there are no images to draw" in result.stderr
    assert not (tmp_path / "errors.png").exists()


def test_no_picture_without_images() -> None:
    with pytest.raises(InvalidInputError, match="without their images"):
        PredictionsDisplay.from_label_errors(LabelErrors([], 0))
