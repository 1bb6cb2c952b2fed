"""Classifiers: what they learn, what their file contains, and where they move images."""

import csv
import json
import re
import shutil
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from clusterkit.classifiers import (
    SCRATCH_NETWORKS,
    ClassificationReport,
    Classifier,
    train_classifier,
)
from clusterkit.classifiers.predict import classify, route
from clusterkit.classifiers.tasks import Task
from clusterkit.classifiers.training.calibration import choose_thresholds
from clusterkit.classifiers.training.networks import RECIPES
from clusterkit.cli import main
from clusterkit.datasets import labels_from_folders
from clusterkit.errors import (
    ImageError,
    InvalidInputError,
    NotFoundError,
    Notice,
    SpaceMismatchError,
    WeightsError,
)
from clusterkit.extractors import KerasApplication
from clusterkit.images import ImageFolder
from clusterkit.networks.keras_file import read_document, save_network
from clusterkit.plots import PredictionsDisplay, classifier_report, save_figure
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import Store
from tests import tiny_network

COLOURS = {"blue": (30, 30, 200), "green": (30, 200, 30), "red": (200, 30, 30)}
QUICK: dict[str, Any] = {
    "network": "nn",
    "epochs": 5,
    "batch_size": 8,
    "learning_rate": 0.02,
    "random_state": 0,
}


def paint(colour: str, n: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return noisy pictures of one colour."""
    noise = np.random.default_rng(seed).integers(-30, 30, (n, 10, 12, 3))
    return (np.array(COLOURS[colour]) + noise).astype(np.uint8)


@pytest.fixture(scope="module")
def arrays() -> tuple[NDArray[np.uint8], list[str]]:
    images = np.concatenate([paint(colour, 16) for colour in COLOURS])
    return images, [colour for colour in COLOURS for _ in range(16)]


@pytest.fixture(scope="module")
def fitted(arrays: tuple[NDArray[np.uint8], list[str]]) -> Classifier:
    """Train once in Python."""
    return Classifier(**QUICK).fit(*arrays)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one folder per colour, and a broken file."""
    folder = tmp_path_factory.mktemp("colours")
    for colour in COLOURS:
        (folder / colour).mkdir()
        for number, image in enumerate(paint(colour, 16)):
            Image.fromarray(image).save(folder / colour / f"{number:02}.png")
    (folder / "red/broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Train once on the command line."""
    output = tmp_path_factory.mktemp("model") / "clf.keras"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier_report, "save_figure", partial(save_figure, dpi=30))
        result = run(
            f"train classifier {folder} --network nn --epochs 5 --batch-size 8 "
            f"--learning-rate 0.005 --json -o {output}"
        )
    assert result.exit_code == 0, result.output
    return output, json.loads(result.stdout)


def run(command: str) -> Any:
    return CliRunner().invoke(main, command.split())


@pytest.mark.parametrize("name", SCRATCH_NETWORKS)
def test_every_network_gives_probabilities(name: str) -> None:
    for shape in ((28, 28, 1), (33, 40, 3)):
        model = RECIPES[name].build(shape, 3, "softmax")
        images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
        outputs = np.asarray(model(images, training=False))
        assert outputs.shape == (2, 3)
        np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-5)
    # Prediction uses no augmentation.
    np.testing.assert_array_equal(outputs, model.predict_on_batch(images))


def test_several_classes(fitted: Classifier, arrays: tuple[NDArray[np.uint8], list[str]]) -> None:
    clf, (images, y) = fitted, arrays
    assert clf.classes_.tolist() == list(COLOURS)
    assert clf.score(images, y) == 1
    np.testing.assert_allclose(clf.predict_proba(images).sum(axis=1), 1, rtol=1e-5)
    assert isinstance(clf.model_, keras.Model)
    assert clf.model_.output_shape == (None, 3)
    assert clf.best_epoch_ == 1 + int(np.argmin(clf.history_["val_loss"]))
    assert clone(clf).get_params() == clf.get_params()


def test_two_classes_have_one_output(arrays: tuple[NDArray[np.uint8], list[str]]) -> None:
    images, numbers = arrays[0][:32], np.repeat([3, 7], 16)
    clf = Classifier(**QUICK).fit(images, numbers)
    assert clf.model_.output_shape == (None, 1)
    assert clf.predict(images).tolist() == numbers.tolist()
    np.testing.assert_allclose(clf.predict_proba(images).sum(axis=1), 1, rtol=1e-5)


def test_several_labels_have_thresholds(arrays: tuple[NDArray[np.uint8], list[str]]) -> None:
    images, y = arrays
    labels = [("any", colour) if colour != "red" else () for colour in y]
    clf = Classifier(**QUICK).fit(images, labels)
    assert clf.thresholds_ is not None
    assert clf.thresholds_.shape == (3,)
    predicted = clf.predict(images)
    assert all(isinstance(names, tuple) for names in predicted)
    right = clf.task_.indicators(predicted) == clf.task_.indicators(labels)
    assert right.mean() > 0.9


def test_same_seed_same_network(
    fitted: Classifier, arrays: tuple[NDArray[np.uint8], list[str]]
) -> None:
    images, y = arrays
    again = Classifier(**QUICK).fit(images, y)
    np.testing.assert_array_equal(again.predict_proba(images), fitted.predict_proba(images))


def test_numbers_of_numpy(
    fitted: Classifier, arrays: tuple[NDArray[np.uint8], list[str]], tmp_path: Path
) -> None:
    """A search over np.arange gives NumPy numbers, which JSON and Keras do not accept."""
    numbers = {
        name: np.array(value)[()] if type(value) in (int, float) else value
        for name, value in QUICK.items()
    }
    again = Classifier(**numbers).fit(*arrays)
    np.testing.assert_array_equal(again.predict_proba(arrays[0]), fitted.predict_proba(arrays[0]))
    for name, clf in (
        ("clf", again),
        ("sized", Classifier(**numbers, image_size=np.int64(8)).fit(*arrays)),
    ):
        clf.save(tmp_path / f"{name}.keras")
        assert Classifier.load(tmp_path / f"{name}.keras").get_params()["epochs"] == 5


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"network": "cnn9"}, "network must be one of nn, dnn"),
        ({"network": "xception", "image_size": 99}, "xception has its own"),
        ({"epochs": 0}, "epochs must be an integer of at least 1. Received: epochs=0"),
        ({"epochs": 1.5}, "epochs must be an integer of at least 1. Received: epochs=1.5"),
        ({"image_size": (28, 28)}, r"image_size must be an integer .*Received: .*\(28, 28\)"),
        ({"validation_split": 1.0}, "validation_split must be between"),
        ({"balance": "heavy"}, "balance must be one of auto, weights, oversample, None"),
        ({"resize": "squeeze"}, "resize must be one of stretch, crop, pad"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"augmentation": ["flip", "rain"]}, "augmentation must be among flip, .*Received: rain"),
        ({"augmentation": "flip"}, "augmentation must be among"),
        (
            {"network": "xception", "image_size": None, "augmentation": ()},
            "augmentation is for networks that are trained from scratch",
        ),
        ({"tensorboard": __file__}, "tensorboard must be a folder"),
    ],
)
def test_bad_parameters(
    parameters: dict[str, Any], message: str, arrays: tuple[NDArray[np.uint8], list[str]]
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Classifier(**QUICK | parameters).fit(*arrays)


@pytest.mark.usefixtures("untrained")
def test_augmentation_is_chosen_by_name(
    arrays: tuple[NDArray[np.uint8], list[str]], tmp_path: Path
) -> None:
    options = QUICK | {"epochs": 1, "augmentation": ("shear", "flip")}
    classifier = Classifier(**options).fit(*arrays)
    kinds = [type(layer).__name__ for layer in classifier.model_.layers]
    assert [kind for kind in kinds if kind.startswith("Random")] == ["RandomFlip", "RandomShear"]
    again = Classifier.load(classifier.save(tmp_path / "a.keras"))
    assert again.augmentation == ["shear", "flip"]


@pytest.mark.usefixtures("untrained")
def test_a_file_with_parameters_of_another_version_is_told_as_such(
    arrays: tuple[NDArray[np.uint8], list[str]], tmp_path: Path
) -> None:
    classifier = Classifier(**QUICK | {"epochs": 1}).fit(*arrays)
    document = read_document(classifier.save(tmp_path / "a.keras"), "classifier")
    document["parameters"]["colours"] = 2
    save_network(classifier.model_, tmp_path / "b.keras", "classifier", document)
    with pytest.raises(WeightsError, match=r"b\.keras was trained by clusterkit .*'colours'"):
        Classifier.load(tmp_path / "b.keras")


def test_bad_images_and_labels(arrays: tuple[NDArray[np.uint8], list[str]], folder: Path) -> None:
    images, y = arrays
    with pytest.raises(InvalidInputError, match="48 images, 47 labels"):
        Classifier(**QUICK).fit(images, y[1:])
    with pytest.raises(InvalidInputError, match="at least 2 classes"):
        Classifier(**QUICK).fit(images, ["a"] * 48)
    with pytest.raises(InvalidInputError, match="Received: float64"):
        Classifier(**QUICK).fit(images / 255, y)
    with pytest.raises(InvalidInputError, match="Received: 'pink'"):
        Classifier(**QUICK).fit(images, y, validation_data=(images[:1], ["pink"]))
    with pytest.raises(ImageError, match=r"broken\.png"):
        Classifier(**QUICK).fit([folder / "red/broken.png"] * 48, y)
    with pytest.raises(InvalidInputError, match=r"two-conv needs larger images\. Received: 2x3"):
        Classifier("two-conv").fit(images[:, :2, :3], y)
    with pytest.raises(InvalidInputError, match="nn takes images"):
        Classifier(**QUICK).fit(Embeddings(np.eye(48)), y)


@pytest.mark.usefixtures("untrained")
def test_a_fit_that_fails_leaves_no_classifier(
    arrays: tuple[NDArray[np.uint8], list[str]],
) -> None:
    images, y = arrays
    one_left = ["pink", *y[1:]]
    new, earlier = Classifier(**QUICK), Classifier(**QUICK).fit(images, y)
    for classifier in (new, earlier):
        with pytest.raises(InvalidInputError, match="at least 2 different images"):
            classifier.fit(images, one_left)
        for use in (classifier.predict, partial(classify, classifier=classifier)):
            with pytest.raises(NotFittedError):
                use(images)


@pytest.mark.usefixtures("tiny_network")
def test_transfer_learns_from_embeddings(
    tiny_weights: Path, arrays: tuple[NDArray[np.uint8], list[str]]
) -> None:
    y = arrays[1]
    clf = Classifier(tiny_network.NAME, weights=tiny_weights, epochs=10, random_state=0)
    space = {"extractor": tiny_network.NAME, "fingerprint": clf.extractor.fingerprint}
    rng = np.random.default_rng(0)
    signal = np.repeat(np.eye(3, tiny_network.DIMENSION, dtype=np.float32), 16, axis=0)
    vectors = Embeddings(signal * 4 + rng.normal(0, 0.1, signal.shape), space=space)
    assert clf.fit(vectors, y).score(vectors, y) == 1
    labels = [(colour, "any") if colour != "red" else () for colour in y]
    several = clone(clf).fit(vectors, labels)
    assert several.thresholds_ is not None
    assert several.thresholds_.shape == several.classes_.shape == (3,)
    assert clf.input_shape_ == (tiny_network.SIDE, tiny_network.SIDE, 3)
    with pytest.raises(SpaceMismatchError, match="must be of tinynet"):
        clf.predict(Embeddings(vectors.vectors, space={"fingerprint": "0" * 64}))
    damaged = vectors.vectors.copy()
    damaged[3, 1] = np.nan
    for use in (clf.predict, lambda X: clone(clf).fit(X, y)):
        with pytest.raises(InvalidInputError, match=r"must be finite.*in row 3"):
            use(Embeddings(damaged))


@pytest.mark.usefixtures("tiny_network")
def test_transfer_trains_on_stored_embeddings_and_saves_the_whole_network(
    tiny_weights: Path, folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    clf = Classifier(tiny_network.NAME, weights=tiny_weights, random_state=0)
    report = train_classifier(folder, tmp_path / "clf.keras", clf, store=store)
    assert [path for path, _ in report.failures] == ["red/broken.png"]
    assert list(store.glob("tinynet-*/part-*.parquet"))
    # Other files with the same content do not change the store.
    shutil.copytree(folder, tmp_path / "copies", ignore=lambda *_: {"broken.png"})
    before = sorted(store.rglob("*"))
    again = run(
        f"train classifier {tmp_path / 'copies'} --network tinynet --weights {tiny_weights} "
        f"--epochs 2 --test-split 0 -s {store} -o {tmp_path / 'again.keras'}"
    )
    assert again.exit_code == 0, again.output
    assert "Not used: --epochs" in again.stderr
    assert (tmp_path / "again-report/report.json").exists()
    assert sorted(store.rglob("*")) == before
    # Images of another folder that are added to the store are mentioned.
    for colour in COLOURS:
        for number, pixels in enumerate(paint(colour, 4, seed=5)):
            file = tmp_path / "other" / colour / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    said = f"^adding 12 images of {tmp_path / 'other'} to those of {folder} in "
    with pytest.warns(Notice, match=said):
        train_classifier(tmp_path / "other", tmp_path / "other.keras", clone(clf), store=store)
    # The file predicts from pixels, without weights or store, as was measured on embeddings.
    assert report.test is not None
    files = [folder / name for name in report.test.names]
    found = Classifier.load(report.output).predict_proba(files)
    np.testing.assert_allclose(found, report.test.probabilities, atol=0.02)


@pytest.mark.usefixtures("tiny_network")
def test_a_classifier_with_a_store_runs_no_network_for_images_that_it_knows(
    tiny_weights: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    photos = shutil.copytree(folder, tmp_path / "photos", ignore=lambda *_: {"broken.png"})
    images = ImageFolder(photos)
    y = labels_from_folders(images.paths)
    clf = Classifier(tiny_network.NAME, weights=tiny_weights, store=store, random_state=0)
    first = clf.fit(images, y).predict_proba(images)
    with monkeypatch.context() as patched:
        patched.setattr(KerasApplication, "extract", None)
        scores = cross_val_score(clf, images, y, cv=2)
        assert len(scores) == 2
        assert scores.min() > 0.8
        np.testing.assert_array_equal(clone(clf).fit(images, y).predict_proba(images), first)
        # Under other names, too.
        shutil.copytree(photos, tmp_path / "copies")
        files = [str(tmp_path / "copies" / path) for path in images.paths[:3]]
        np.testing.assert_allclose(clf.predict_proba(files), first[:3], atol=1e-6)
        saved = Classifier.load(clf.save(tmp_path / "clf.keras")).set_params(store=Store(store))
        np.testing.assert_allclose(saved.predict_proba(images), first, atol=1e-6)
    known = len(Store(store).space().read())
    Image.fromarray(paint("red", 1, seed=9)[0]).save(tmp_path / "new.png")
    with pytest.warns(
        Notice, match=r"^adding 1 image of .* to those of .*photos in .*store/tinynet-"
    ):
        clf.predict([tmp_path / "new.png"])
    assert len(Store(store).space().read()) == known + 1
    is_broken = pytest.raises(ImageError, match=r"red/broken\.png: not an image")
    with pytest.warns(Notice, match="adding 1 image of"), is_broken:
        clf.predict(ImageFolder(folder))
    with pytest.raises(ImageError, match="not an image"):
        clf.predict([folder / "blue/../red/broken.png"])
    with pytest.raises(NotFoundError, match=r"no such file or folder: .*gone\.png"):
        clf.predict([photos / "gone.png"])
    pixels = np.concatenate([paint(colour, 2) for colour in COLOURS])
    assert clf.predict_proba(pixels).shape == (6, 3)  # which no store knows


@pytest.mark.usefixtures("tiny_network")
def test_vectors_of_the_store_need_no_weights_any_more(
    tiny_weights: Path, folder: Path, tmp_path: Path
) -> None:
    store, weights = (
        tmp_path / "store",
        Path(shutil.copy(tiny_weights, tmp_path / "own.weights.h5")),
    )
    images = ImageFolder([file for file in folder.rglob("*.png") if file.name != "broken.png"])
    y = labels_from_folders(images.paths)
    clf = Classifier(tiny_network.NAME, weights=weights, store=store, random_state=0)
    first = clf.fit(images, y).predict_proba(images)
    saved = clf.save(tmp_path / "clf.keras")
    Image.fromarray(paint("red", 1, seed=9)[0]).save(new := tmp_path / "new.png")
    weights.unlink()
    for given in (weights, None):
        again = clone(clf).set_params(weights=given)
        np.testing.assert_array_equal(again.fit(images, y).predict_proba(images), first)
        assert again.fingerprint_ == clf.fingerprint_
        assert cross_val_score(again, images, y, cv=2).min() > 0.8
        gone = pytest.raises(WeightsError, match=r"no weights file .*own\.weights\.h5")
        with pytest.warns(Notice, match="adding 1 image of"), gone:
            again.predict([new])
    # A classifier that was loaded knows its space, wherever its weights were.
    loaded = Classifier.load(saved).set_params(store=store, weights=tmp_path / "elsewhere.h5")
    np.testing.assert_allclose(loaded.predict_proba(images), first, atol=1e-6)
    # Other weights that are gone, or another resizing, are no space of the store.
    for change in ({"weights": tmp_path / "other.h5"}, {"resize": "crop"}):
        with pytest.raises(WeightsError, match="no weights file"):
            clone(clf).set_params(**change).fit(images, y)


def test_the_command_measures_on_images_it_never_saw(
    trained: tuple[Path, dict[str, Any]], folder: Path
) -> None:
    output, report = trained
    assert report["task"] == "multiclass"
    assert [failure["path"] for failure in report["failures"]] == ["red/broken.png"]
    assert report["test"]["accuracy"] == 1
    assert np.diag(report["test"]["confusion"]).sum() == report["test"]["n"]
    assert sum(sum(part.values()) for part in report["counts"].values()) == 48
    folder_of_report = output.with_name("clf-report")
    with (folder_of_report / "predictions.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == report["test"]["n"]
    assert all(row["truth"] == row["prediction"] == row["filename"].split("/")[0] for row in rows)
    written = sorted(file.name for file in folder_of_report.iterdir())
    assert written == sorted(Path(file).name for file in report["written"][1:])
    assert {"classes.png", "confusion.png", "curves.png", "predictions.png"} < set(written)
    assert "scores.png" not in written
    again = run(f"train classifier {folder} --network nn -o {output}")
    assert again.exit_code == 1
    assert "exists" in again.output


@pytest.mark.usefixtures("untrained")
def test_a_report_that_cannot_be_written_loses_no_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise InvalidInputError("cannot write clf-report/curves.png: No space left on device")

    monkeypatch.setattr("clusterkit.plots.save_classifier_report", fail)
    output = tmp_path / "clf.keras"
    command = f"train classifier {folder} --network nn --epochs 1 -o {output}"
    result = run(f"{command} --json")
    assert result.exit_code == 1
    assert result.stderr.endswith(f"but the classifier is: {output}\n")
    assert "Error: cannot write clf-report/curves.png: No space left" in result.stderr
    assert json.loads(result.stdout)["test"]["n"] > 0
    result = run(f"{command} --overwrite")
    assert (result.exit_code, "accuracy: " in result.stdout) == (1, True)
    assert len(Classifier.load(output).classes_) == 3


@pytest.mark.usefixtures("tiny_network")
def test_pixels_that_do_not_fit_into_memory(
    folder: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.classifiers.classifier.available_memory", lambda: 2 * 10**9)
    files = ImageFolder(folder, exclude="broken.png").files[:3]
    large, labels = Classifier("nn", image_size=40_000), ["a", "b", "a"]
    message = r"3 images of 40000x40000 pixels take 28.8 GB, with the copy for training, and 2.0 GB"
    with pytest.raises(InvalidInputError, match=rf"{message} .*--image-size"):
        large.fit(files, labels)
    with pytest.raises(InvalidInputError, match=r"pixels take 14.4 GB, and 2.0 GB"):
        large.fit(files, labels, validation_data=(files, labels))
    monkeypatch.setattr("clusterkit.classifiers.classifier.available_memory", lambda: 1_000)
    with pytest.raises(InvalidInputError, match="are free: choose fewer images, or a last layer"):
        Classifier(tiny_network.NAME, weights=tiny_weights, fine_tune=1).fit(files, labels)


def test_an_unknown_network_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    result = run(f"train classifier {folder} --network cnn9 -o {tmp_path / 'clf.keras'}")
    assert result.exit_code == 1
    assert result.output.startswith("Error: network must be one of nn, dnn")


def test_the_file_says_how_it_was_made(trained: tuple[Path, dict[str, Any]]) -> None:
    document = read_document(trained[0], "classifier")
    assert document["classes"] == list(COLOURS)
    assert document["input_shape"] == [28, 28, 3]
    assert document["parameters"]["network"] == "nn"
    assert document["test"]["accuracy"] == 1
    assert document["temperature"] == trained[1]["temperature"] > 0
    assert document["images"]["train"] == trained[1]["counts"]["train"]


def test_files_that_are_no_classifier(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no classifier .* train one with"):
        Classifier.load(tmp_path / "none.keras")
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes(trained[0].read_bytes()[:-200])
    with pytest.raises(WeightsError, match="damaged"):
        Classifier.load(damaged)
    with pytest.raises(WeightsError, match="must be a file of `clusterkit train autoencoder`"):
        read_document(trained[0], "autoencoder")


def test_predict(trained: tuple[Path, dict[str, Any]], folder: Path) -> None:
    result = run(f"predict {folder / 'blue/00.png'} --model {trained[0]}")
    assert re.fullmatch(rf"blue [01]\.\d+  {folder}/blue/00.png\n", result.stdout)
    result = run(f"predict {folder} --model {trained[0]} --json")
    document = json.loads(result.stdout)
    assert [Path(failure["path"]).name for failure in document["failures"]] == ["broken.png"]
    for prediction in document["predictions"]:
        assert prediction["classes"] == [Path(prediction["path"]).parent.name]
        assert prediction["probability"] == max(prediction["probabilities"].values())
    pixels = ",".join(f"pixel{number}" for number in range(4))
    table = folder.parent / "test.csv"
    table.write_text(f"{pixels}\n0,1,2,255\n9,9,9,9\n")
    rows = json.loads(run(f"predict {table} --model {trained[0]} --json").stdout)["predictions"]
    assert [row["path"] for row in rows] == ["test.csv:0", "test.csv:1"]
    assert run(f"predict {folder / 'red/broken.png'} --model {trained[0]}").exit_code == 1
    # In Python, a file can replace the classifier in it.
    found = classify(ImageFolder(folder), trained[0])
    assert [one.classes[0] for one in found.predictions] == [
        prediction["classes"][0] for prediction in document["predictions"]
    ]
    planned = route(ImageFolder(folder), trained[0], folder.parent / "routed", dry_run=True)
    assert len(planned.predictions) == len(found.predictions)
    # A folder, a table or a list can replace the object that is read from it.
    assert classify(folder, trained[0]).to_dict() == found.to_dict()
    assert len(classify(str(table), trained[0]).predictions) == 2
    for images in (str(folder), folder, ImageFolder(folder).files):
        again = route(images, trained[0], folder.parent / "routed", dry_run=True)
        assert again.to_dict() == planned.to_dict()


def test_predict_draws_and_writes_a_table(
    trained: tuple[Path, dict[str, Any]], folder: Path, tmp_path: Path
) -> None:
    picture, table = tmp_path / "predictions.png", tmp_path / "predictions.csv"
    options = f"--model {trained[0]} -o {picture} --table {table}"
    result = run(f"predict {folder / 'blue'} {options}")
    assert result.exit_code == 0, result.output
    with Image.open(picture) as drawn:
        # Sixteen blue pictures, whose noise is as large as their tiles.
        assert min(drawn.size) > 300
        red, _, blue = np.asarray(drawn.convert("RGB"), int).transpose(2, 0, 1)
        assert (blue - red > 100).mean() > 0.3
    with table.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["prediction"] for row in rows] == ["blue"] * 16
    assert sum(float(rows[0][colour]) for colour in COLOURS) == pytest.approx(1, abs=1e-5)
    for option in (f"-o {picture}", f"--table {table}"):
        again = run(f"predict {folder / 'blue'} --model {trained[0]} {option}")
        assert again.exit_code == 1
        assert "exists" in again.output
    assert run(f"predict {folder / 'blue/00.png'} {options} --overwrite").exit_code == 0
    # The same in Python.
    clf = Classifier.load(trained[0])
    display = PredictionsDisplay.from_classifier(clf, [folder / "red/00.png"])
    assert [line.text for line in display.lines[0] if line.is_bold] == ["red"]


def test_route_sends_to_classes_and_unsure_and_back(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    wild, into = tmp_path / "wild", tmp_path / "sorted"
    wild.mkdir()
    for colour in COLOURS:
        for number, image in enumerate(paint(colour, 4, seed=9)):
            Image.fromarray(image).save(wild / f"{colour}{number}.png")
    (wild / "broken.png").write_bytes(b"no image")
    before = {file.name: file.read_bytes() for file in wild.iterdir()}
    command = f"route {wild} --model {trained[0]} --into {into} --mode move"
    planned = run(f"{command} --dry-run")
    assert "12 files would be moved" in planned.stdout
    assert not into.exists()
    done = run(command)
    assert done.exit_code == 0, done.output
    assert "broken.png" in done.stderr
    assert sorted(file.name for file in (into / "red").iterdir()) == [
        f"red{i}.png" for i in range(4)
    ]
    assert [file.name for file in wild.iterdir()] == ["broken.png"]
    assert run(f"undo {into}").exit_code == 0
    assert {file.name: file.read_bytes() for file in wild.iterdir()} == before
    # Pictures between two colours are predicted with at most the confidence of those of one colour.
    for number, pair in enumerate(zip(paint("red", 4), paint("blue", 4), strict=True)):
        Image.fromarray(np.mean(pair, axis=0).astype(np.uint8)).save(wild / f"both{number}.png")
    files = [file for file in sorted(wild.iterdir()) if file.name != "broken.png"]
    confidences = Classifier.load(trained[0]).predict_proba(files).max(axis=1)
    threshold = float(np.median(confidences[[file.name.startswith("both") for file in files]]))
    assert 0 < threshold < 1
    unsure = run(f"{command} --threshold {threshold:.9f} --json")
    n_unsure = int((confidences < float(f"{threshold:.9f}")).sum())
    assert json.loads(unsure.stdout)["folders"]["unsure"] == n_unsure >= 2


def test_thresholds_are_those_of_the_highest_f1() -> None:
    # With nearly certain probabilities, the expected and the observed F1 agree.
    truth = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
    probabilities = np.array([[0.9, 0.8, 0.1], [0.85, 0.1, 0], [0.05, 0.05, 0], [0, 0.05, 0]])
    thresholds = choose_thresholds(truth, probabilities.astype(np.float32))
    np.testing.assert_array_equal((probabilities >= thresholds)[:, :2], truth[:, :2])
    assert thresholds[2] > 0.05


def test_a_threshold_is_not_left_to_one_image() -> None:
    probabilities = np.linspace(0.02, 0.5, 100, dtype=np.float32)[:, None]
    truth = np.arange(100)[:, None] == 99
    # By what is shown alone it would be 0.5; many more images are expected to be of the class.
    assert choose_thresholds(truth, probabilities)[0] < 0.45


def test_thresholds_of_many_images_take_little_memory() -> None:
    probabilities = np.random.default_rng(0).random((20_000, 10), np.float32)
    tracemalloc.start()
    choose_thresholds(probabilities > 0.5, probabilities)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * probabilities.nbytes


def test_a_report_agrees_with_scikit_learn() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(0)
    y = list(rng.choice(["a", "b", "c"], 60))
    probabilities = rng.dirichlet(np.ones(3), 60).astype(np.float32)
    task = Task.from_labels(y)
    report = ClassificationReport.from_predictions(
        task, list(map(str, range(60))), y, probabilities
    )
    predicted = task.classes[probabilities.argmax(axis=1)]
    expected = metrics.classification_report(y, predicted, output_dict=True)
    assert report.accuracy == pytest.approx(expected["accuracy"])
    for average, ours in (("macro avg", report.macro), ("weighted avg", report.weighted)):
        for name, theirs in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
            assert ours[name] == pytest.approx(expected[average][theirs])
    assert report.per_class["b"]["f1"] == pytest.approx(expected["b"]["f1-score"])
    np.testing.assert_array_equal(report.confusion, metrics.confusion_matrix(y, predicted))
    assert "accuracy: 0." in report.to_text()
