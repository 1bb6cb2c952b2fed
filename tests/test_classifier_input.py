"""Forms of X and y that classifiers take: the right result, or one clear message."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.model_selection import cross_val_score, train_test_split

from clusterkit.classifiers import Classifier
from clusterkit.classifiers.tasks import BINARY, MULTICLASS, MULTILABEL, Task, as_labels
from clusterkit.errors import InvalidInputError
from clusterkit.extractors import Pixels
from clusterkit.images.folder import ImageFolder
from clusterkit.images.pixels import as_images
from clusterkit.store.embeddings import Embeddings

NUMBERS = [0, 1, 2, 1, 2, 0]
NAMES = ["cat", "dog", "fox", "dog", "fox", "cat"]
SEVERAL = [("cat", "dog"), ("dog",), (), ("fox",), ("cat",), ("dog", "fox")]
TABLE = np.array([[name in names for name in ("cat", "dog", "fox")] for names in SEVERAL])
MIXED_INDEX = [9, 8, 30, 4, 5, 6]


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (NAMES, NAMES),
        (tuple(NAMES), NAMES),
        (iter(NAMES), NAMES),
        (np.array(NAMES), NAMES),
        (np.array(NAMES, dtype=object), NAMES),
        (np.array(NAMES)[:, None], NAMES),
        ([np.array([name]) for name in NAMES], NAMES),
        ([np.array(name) for name in NAMES], NAMES),
        ([np.array(number) for number in NUMBERS], NUMBERS),
        (list(np.array(NAMES)), NAMES),
        (pd.Series(NAMES, index=MIXED_INDEX), NAMES),
        (pd.Series(NAMES, dtype="category"), NAMES),
        (pd.Series(NAMES, dtype="string"), NAMES),
        (pd.Categorical(NAMES), NAMES),
        (pd.Index(NAMES), NAMES),
        (pd.DataFrame({"label": NAMES}, index=MIXED_INDEX), NAMES),
        (NUMBERS, NUMBERS),
        (np.array(NUMBERS, np.uint8)[:, None], NUMBERS),
        (pd.Series(NUMBERS, dtype="Int64"), NUMBERS),
        (np.array(NUMBERS, float), NUMBERS),
        (np.eye(3)[NUMBERS], NUMBERS),
        (np.eye(3, dtype=bool)[NUMBERS], NUMBERS),
        (np.eye(3)[NUMBERS].tolist(), NUMBERS),
        (list(np.eye(3, dtype=np.float32)[NUMBERS]), NUMBERS),
        (pd.get_dummies(pd.Series(NAMES)), NAMES),
        (SEVERAL, SEVERAL),
        ([list(names) for names in SEVERAL], SEVERAL),
        ([set(names) for names in SEVERAL[1:5]], SEVERAL[1:5]),
        ([frozenset(names) for names in SEVERAL[1:5]], SEVERAL[1:5]),
        ([np.array(names) for names in SEVERAL], SEVERAL),
        (pd.Series(SEVERAL, index=MIXED_INDEX), SEVERAL),
        (pd.DataFrame(TABLE, columns=["cat", "dog", "fox"]), SEVERAL),
        (TABLE.astype(int), [("0", "1"), ("1",), (), ("2",), ("0",), ("1", "2")]),
        (TABLE.tolist(), [("0", "1"), ("1",), (), ("2",), ("0",), ("1", "2")]),
        (np.array([["cat", "dog"], ["fox", "dog"]]), [("cat", "dog"), ("fox", "dog")]),
        ([["cat", "dog"], "fox"], [("cat", "dog"), ("fox",)]),
        (["fox", ["cat", "dog"]], [("fox",), ("cat", "dog")]),
        ([[1, 2], 3], [("1", "2"), ("3",)]),
    ],
)
def test_labels_of_every_usual_form(y: Any, expected: list[Any]) -> None:
    labels = as_labels(y)
    assert labels == expected
    assert as_labels(labels) == expected
    assert all(type(label) in (str, int, float, tuple) for label in labels)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ("cat", "label for each image, in order. Received: 'cat'"),
        ({"a.png": "cat"}, "label for each image, in order"),
        ({"cat", "dog"}, "label for each image, in order"),
        (None, "Received: None"),
        (7, "Received: 7"),
        (np.array("cat"), "y must hold a label for each image"),
        ([None, "dog"], "leave out those without. Received: None for image 0"),
        (["cat", np.nan], "Received: nan for image 1"),
        (np.array([0, np.nan]), "Received: nan for image 1"),
        (pd.Series(["cat", None]), "for image 1"),
        (pd.Series(["cat", pd.NA], dtype="string"), "for image 1"),
        (pd.Series([1, None], dtype="Int64"), "for image 1"),
        (pd.Categorical(["cat", None]), "for image 1"),
        ([("cat", None), ("dog",)], "Received: None for image 0"),
        ([["cat", "dog"], None], "Received: None for image 1"),
        (["cat", 1], "all names, or all numbers. Received: 'cat' and 1"),
        ([{"cat": 1}, {"dog": 1}], "names or numbers, or lists, tuples or sets"),
        ([(("cat",), "dog"), ("fox",)], "names or numbers, or lists"),
        (np.array([[0.2, 0.8], [0.6, 0.4]]), "columns of y must be 0 or 1"),
        (np.array([[2, 3], [4, 5]]), "columns of y must be 0 or 1"),
        (pd.DataFrame({"path": ["a.png"], "label": [1]}), "columns of y must be 0 or 1"),
        ([date(2020, 1, 1), date(2020, 1, 2)], r"dates, as text. Received: datetime.date\(2020"),
        (np.array(["2020-01-01"], "datetime64[ns]"), "dates, as text. Received: .*2020-01-01"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), "dates, as text. Received: .*2020-01-01"),
        ([("cat", date(2020, 1, 1))], "dates, as text"),
        ([Path("cat"), Path("dog")], r"names or numbers.*Received: .*Path\('cat'\)"),
        ([1.0, np.inf], "names or numbers.*Received: inf for image 1"),
        ([1j, 2j], "names or numbers.*Received: 1j"),
        (np.zeros((2, 3, 4)), r"Received: \(2, 3, 4\)"),
        (np.zeros((2, 0)), r"Received: \(2, 0\)"),
    ],
)
def test_labels_that_are_none(y: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        as_labels(y)


def test_tasks_of_labels() -> None:
    assert Task.from_labels(np.eye(3)[NUMBERS]).classes.tolist() == [0, 1, 2]
    assert Task.from_labels(np.eye(3)[NUMBERS]).kind == MULTICLASS
    assert Task.from_labels(pd.Series(["b", "a"], index=[5, 3])).kind == BINARY
    task = Task.from_labels([["cat", "dog"], "fox"])
    assert (task.kind, task.classes.tolist()) == (MULTILABEL, ["cat", "dog", "fox"])
    assert task.indicators(["dog", ["fox", "cat"]]).tolist() == [[0, 1, 0], [1, 0, 1]]
    # Indicators of a few images may look like one class per image.
    task = Task.from_labels(TABLE.astype(int))
    assert task.indicators(np.eye(3)).tolist() == np.eye(3).tolist()
    # Classes are in the order of the columns: as text, 10 would be before 2.
    wide = Task.from_labels(1 - np.eye(12))
    assert wide.classes.tolist() == [str(column) for column in range(12)]
    assert wide.indicators(1 - np.eye(12)).tolist() == (1 - np.eye(12)).tolist()
    with pytest.raises(InvalidInputError, match=r"among cat, dog. Received: \('cat',\)"):
        Task.from_labels(["cat", "dog"]).indicators([["cat"], ["dog"]])


PICTURES = np.random.default_rng(0).integers(0, 255, (6, 12, 11, 3), np.uint8)


@pytest.mark.parametrize(
    "X",
    [
        PICTURES,
        list(PICTURES),
        tuple(PICTURES),
        iter(PICTURES),
        np.array([*PICTURES, None], dtype=object)[:-1],
        pd.Series(list(PICTURES)),
    ],
    ids=lambda X: type(X).__name__,
)
def test_pictures_of_every_usual_form(X: Any) -> None:
    np.testing.assert_array_equal(as_images(X), PICTURES)


def test_files_of_every_usual_form(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for file, pixels in zip(files, PICTURES, strict=True):
        Image.fromarray(pixels).save(file)
    names = [str(file) for file in files]
    frame = pd.DataFrame({"path": names})
    for X in (files, tuple(files), np.array(names), pd.Series(files, index=MIXED_INDEX), frame):
        assert [str(file) for file in as_images(X)] == names
    expected = Pixels().transform(files)
    for X in (ImageFolder(tmp_path), names, np.array(files), pd.Series(names)):
        np.testing.assert_array_equal(Pixels().transform(X), expected)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (PICTURES[0], r"give one as X\[None\]. Received: one of shape \(12, 11, 3\)"),
        (PICTURES[0, :, :, :1], r"give one as X\[None\]"),
        (list(PICTURES[0]), "images must have shape|give one as"),
        (PICTURES.reshape(6, -1), r"reshape flat rows of pixels.* Received: \(6, 396\)"),
        (pd.DataFrame(PICTURES.reshape(6, -1)), "reshape flat rows"),
        (np.eye(4), "give vectors as Embeddings"),
        ("photos", r"ImageFolder\(folder\). Received: photos"),
        (Path("a.png"), "images must be several"),
        ([PICTURES[0], PICTURES[0, :5]], r"one size.* \(5, 11, 3\) and \(12, 11, 3\)"),
        ([PICTURES[0], "a.png"], "all files, or all arrays of pixels. Received: str"),
        ([Image.fromarray(PICTURES[0])], "Received: Image"),
        ([None], "Received: NoneType"),
        ({"a.png": 1}, "Received: dict"),
        (None, "Received: NoneType"),
    ],
)
def test_what_is_no_list_of_images_is_named(X: Any, message: str) -> None:
    for take in (as_images, Pixels().transform):
        with pytest.raises(InvalidInputError, match=message):
            take(X)


@pytest.mark.usefixtures("untrained")
def test_a_classifier_takes_what_its_functions_take() -> None:
    dark = np.arange(24) % 2
    X = (200 * dark[:, None, None, None] + PICTURES[0] % 50).astype(np.uint8)
    clf = Classifier("nn", epochs=1, random_state=0)
    y = pd.Series(np.where(dark, "light", "dark"), index=range(100, 124))
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=8, random_state=0)
    clf.fit(X_train, y_train, validation_data=(list(X_test), y_test))
    assert clf.classes_.tolist() == ["dark", "light"]
    right = clf.predict(X_test) == y_test.to_numpy()
    assert clf.score(list(X_test), y_test) == right.mean()
    weights = np.arange(8)
    expected = pytest.approx(np.average(right, weights=weights))
    assert clf.score(X_test, np.asarray(y_test)[:, None], sample_weight=weights) == expected
    for use in (clf.predict, clf.predict_proba):
        with pytest.raises(InvalidInputError, match=r"give one as X\[None\]"):
            use(X[0])
    assert clf.predict(X[:1])[0] == clf.predict([X[0]])[0]
    for X_wrong, y_wrong, wrong in ((X[:0], [], None), (X_test, y_test, weights[1:])):
        with pytest.raises(InvalidInputError, match="one sample weight per image"):
            clf.score(X_wrong, y_wrong, sample_weight=wrong)
    for none in (0 * weights, weights * np.nan):
        with pytest.raises(InvalidInputError, match="sum of the sample weights"):
            clf.score(X_test, y_test, sample_weight=none)
    for given, message in (
        ((X[:0], []), "at least one image. Received: none"),
        ((X_test, y_test, weights), r"two values, \(X, y\). Received: 3 values"),
        (X_test, r"two values, \(X, y\)"),
    ):
        with pytest.raises(InvalidInputError, match=f"validation_data must .*{message}"):
            clf.fit(X, y, validation_data=given)
    with pytest.raises(InvalidInputError, match="24 images, 23 labels"):
        clf.fit(X, y[1:])
    with pytest.raises(InvalidInputError, match=r"from 0 to 255.* Received: float64"):
        clf.fit(X / 255, y)


@pytest.mark.usefixtures("untrained")
def test_cross_validation_with_a_column_of_a_table() -> None:
    scores = cross_val_score(
        Classifier("nn", epochs=1, random_state=0),
        np.random.default_rng(0).integers(0, 255, (24, 12, 11, 3), np.uint8),
        pd.Series(list("abab") * 6, index=range(50, 74)),
        cv=2,
        error_score="raise",
    )
    assert np.isfinite(scores).all()


def test_labels_that_name_the_images_in_another_order_are_refused() -> None:
    emb = Embeddings(np.eye(6), paths=[f"{row}.png" for row in range(6)])
    y = pd.Series(NAMES, index=emb.paths)
    model = Classifier("xception", epochs=1, random_state=0).fit(emb, y)
    assert 0 <= model.score(emb, y) <= 1
    # Other names say nothing of the order.
    model.score(emb, y.set_axis(list("abcdef")))
    for wrong in (y[::-1], y[[*emb.paths[1:], "0.png"]], pd.get_dummies(y)[::-1]):
        for call in (model.fit, model.score):
            with pytest.raises(InvalidInputError, match=r"y\.loc\[X\.paths\] has theirs"):
                call(emb, wrong)


def test_several_labels_are_scored_as_sets() -> None:
    task = Task.from_labels(SEVERAL)
    assert task.same(("cat", "dog"), ("dog", "cat"))
    assert task.same(("cat",), "cat")
    assert not task.same(("cat", "dog"), "cat")
    assert not Task.from_labels(NAMES).same("cat", "dog")
    # A fold of a table whose images have one class each, against one in which some have two.
    alone = Task.from_labels(np.eye(3))
    predicted = alone.names(alone.indicators([0, 1, 2]))
    truth = as_labels(np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]]))
    assert list(map(alone.same, predicted, truth)) == [True, False, False]
