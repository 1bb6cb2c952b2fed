"""How classifiers are trained: balance, calibration, cross-validation, checkpoints and logs."""

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clusterkit.classifiers import Classifier, train_classifier
from clusterkit.classifiers.tasks import Task
from clusterkit.classifiers.train import ClassifierTraining
from clusterkit.classifiers.training.calibration import apply_temperature, fit_temperature
from clusterkit.classifiers.training.checkpoint import Checkpoint, open_checkpoint
from clusterkit.classifiers.training.fitting import (
    FitParameters,
    LabelledBatches,
    balance_classes,
    train_network,
)
from clusterkit.classifiers.training.heads import train_head
from clusterkit.classifiers.training.networks import HEAD, RECIPES, Recipe
from clusterkit.errors import InvalidInputError, NotFoundError
from clusterkit.extractors.autoencoder.training import train_autoencoder
from clusterkit.networks.keras_file import read_document
from clusterkit.networks.training import BestEpoch
from clusterkit.utils.files import locked_output
from tests.kills import Killed, killed_at


def draw_vectors(n: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return vectors of three overlapping classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return (np.eye(3, 8)[y] * 2 + rng.normal(size=(n, 8))).astype(np.float32), y


def test_every_epoch_shows_each_image_once_in_an_order_of_its_own() -> None:
    inputs, y = draw_vectors(10)
    batches = LabelledBatches(inputs, np.eye(3)[y], np.ones(10), batch_size=4, random_state=0)
    orders = []
    for _ in range(2):
        orders.append(batches.rows.tolist())
        shown = np.concatenate([batches[index][0] for index in range(len(batches))])
        np.testing.assert_array_equal(shown, inputs[orders[-1]])
        batches.on_epoch_end()
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    assert orders[0] != orders[1]
    batches.set_epoch(0)
    assert batches.rows.tolist() == orders[0]


def test_variants_take_turns() -> None:
    inputs = np.stack([np.zeros((50, 2)), np.ones((50, 2))])
    batches = LabelledBatches(
        inputs, np.zeros((50, 1)), np.ones(50), batch_size=50, random_state=0, n_variants=2
    )
    shown = batches[0][0]
    assert shown.shape == (50, 2)
    assert 10 < shown[:, 0].sum() < 40


@pytest.mark.parametrize("balance", ["auto", "weights", "oversample", None])
def test_rare_classes_count_as_much(balance: str | None) -> None:
    truth = np.eye(2, dtype=bool)[[0] * 9 + [1] * 3]
    weights, repeats = balance_classes(Task.from_labels(["a", "b"]), truth, balance)
    batches = LabelledBatches(truth, truth, weights, batch_size=5, random_state=0, repeats=repeats)
    counted = np.zeros(2)
    for index in range(len(batches)):
        _, targets, weight = batches[index]
        counted += (targets * weight[:, None]).sum(axis=0)
    assert counted[0] / counted[1] == pytest.approx(1 if balance else 3)


@pytest.mark.parametrize(("n", "n_rare"), [(64, 13), (30, 7), (9, 1), (100, 33)])
@pytest.mark.parametrize("batch_size", [1, 8, 100])
def test_every_epoch_of_oversampling_has_full_batches(n: int, n_rare: int, batch_size: int) -> None:
    truth = np.eye(2, dtype=bool)[[0] * n + [1] * n_rare]
    weights, repeats = balance_classes(Task.from_labels(["a", "b"]), truth, "oversample")
    assert repeats is not None
    inputs = np.arange(n + n_rare)
    batches = LabelledBatches(
        inputs, truth, weights, batch_size=batch_size, random_state=0, repeats=repeats
    )
    shown = np.zeros(n + n_rare)
    for epoch in range(100):
        batches.set_epoch(epoch)
        parts = [batches[index][0] for index in range(len(batches))]
        assert {len(part) for part in parts[:-1]} <= {batch_size}
        assert 1 <= len(parts[-1]) <= batch_size
        times = np.bincount(np.concatenate(parts), minlength=len(shown))
        assert (times >= 1).all()
        assert (np.abs(times - repeats) < 1.1).all()
        shown += times
    # On average, all rows as often as expected, and all classes equally often.
    assert np.abs(shown / 100 / repeats - 1).max() < 0.12
    assert shown[:n].sum() / shown[n:].sum() == pytest.approx(1, rel=0.03)


def test_auto_leaves_even_classes_alone() -> None:
    truth = np.eye(2, dtype=bool)[[0] * 6 + [1] * 3]
    weights, repeats = balance_classes(Task.from_labels(["a", "b"]), truth, "auto")
    assert (weights == 1).all()
    assert repeats is None


@pytest.mark.parametrize("labels", [["a", "b", "c"], ["a", "b"], [("a",), ("b", "c"), ("a", "c")]])
def test_the_temperature_finds_how_far_a_network_is_too_sure(labels: list[Any]) -> None:
    task = Task.from_labels(labels)
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (3000, task.n_outputs))
    if task.activation == "softmax":
        true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        sure = np.exp(3 * logits) / np.exp(3 * logits).sum(axis=1, keepdims=True)
        truth = np.stack([rng.multinomial(1, p) for p in true]).astype(bool)
    else:
        true, sure = 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-3 * logits))
        truth = rng.random(true.shape) < true
        truth = np.hstack([~truth, truth]) if task.kind == "binary" else truth
    assert fit_temperature(task, sure.astype(np.float32), truth) == pytest.approx(3, rel=0.1)


def test_a_few_images_that_are_all_right_do_not_make_a_network_certain() -> None:
    task = Task.from_labels(["a", "b"])
    truth = np.eye(2, dtype=bool)[[0, 1, 0, 1]]
    outputs = np.array([[0.2], [0.8], [0.2], [0.8]])
    assert 0.4 < fit_temperature(task, outputs, truth) < 1


def test_the_temperature_is_part_of_the_layer() -> None:
    layer = keras.layers.Dense(3)
    inputs = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    before = np.asarray(layer(inputs))
    apply_temperature(layer, 2.0)
    np.testing.assert_allclose(np.asarray(layer(inputs)), before / 2, rtol=1e-5)


def test_a_head_is_measured_on_images_that_it_did_not_learn_from() -> None:
    # Random labels can be memorised, but not predicted.
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(90, 200)).astype(np.float32)
    task = Task.from_labels(["a", "b", "c"])
    truth = np.eye(3, dtype=bool)[rng.integers(3, size=90)]
    learned = train_head(task, (vectors, truth), balance=None, random_state=0)
    assert max(learned.history["accuracy"]) > 0.9
    assert max(learned.history["val_accuracy"]) < 0.6
    assert learned.best_epoch == 1 + int(np.argmin(learned.history["val_loss"]))


@pytest.mark.parametrize("balance", [None, "oversample"])
def test_a_head_is_calibrated(balance: str | None) -> None:
    vectors, y = draw_vectors(300)
    task = Task.from_labels(["a", "b", "c"])
    part = vectors, np.eye(3, dtype=bool)[y]
    learned = train_head(task, part, balance=balance, random_state=0)
    fresh, true = draw_vectors(3000, seed=1)
    outputs = learned.network.predict(fresh, verbose=0)
    hits = outputs.argmax(axis=1) == true
    assert hits.mean() > 0.8
    assert outputs.max(axis=1).mean() == pytest.approx(hits.mean(), abs=0.04)
    assert learned.temperature > 0


def test_the_best_epoch_is_no_lucky_one() -> None:
    losses = [3.0, 2.0, 0.9, 2.0, 1.6, 1.2, 1.1, 1.1, 1.3]
    found = {}
    for span in (1, 3):
        best = BestEpoch(9, span=span)
        best.set_model(RECIPES["nn"].build((2, 2, 3), 2, "softmax"))
        best.on_train_begin()
        for epoch, loss in enumerate(losses):
            best.on_epoch_end(epoch, {"val_loss": loss})
        found[span] = best.epoch
    assert found == {1: 3, 3: 8}


def test_a_few_steps_without_improvement_do_not_end_a_training() -> None:
    # Nothing can be learned from noise, and one epoch is 1 step or 54 of them.
    pixels = np.random.default_rng(0).integers(0, 255, (60, 4, 4, 3), np.uint8)
    y = np.random.default_rng(1).choice(["a", "b"], 60)
    n_epochs = {}
    for batch_size in (64, 1):
        classifier = Classifier(
            "nn", epochs=30, batch_size=batch_size, learning_rate=0.5, random_state=0
        )
        n_epochs[batch_size] = len(classifier.fit(pixels, y).history_["loss"])
    assert n_epochs[64] == 30
    assert n_epochs[1] < 30


def test_a_training_that_diverges_says_so() -> None:
    def build() -> keras.Model:
        """Return a network that has already diverged."""
        network = RECIPES["nn"].build((4, 4, 3), 2, "softmax")
        network.get_layer("head").bias.assign([np.nan, 0])
        return network

    part = np.zeros((4, 4, 4, 3), np.uint8), np.eye(2, dtype=bool)[[0, 1, 0, 1]]
    task = Task("multiclass", np.array(["a", "b"]))
    parameters = FitParameters(2, 2, 0.5, None, None, 0)
    with pytest.raises(InvalidInputError, match=r"diverged.*Received: learning_rate=0\.5"):
        train_network(build, task, part, part, parameters)


def test_half_precision_leaves_a_plain_network(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 128, (40, 12, 12), dtype=np.uint8)
    images[::2, :, 6:] += 100
    images[1::2, :, :6] += 100
    y = ["right", "left"] * 20
    clf = Classifier("dnn", epochs=3, batch_size=8, precision="bfloat16", random_state=0).fit(
        images, y
    )
    assert clf.score(images, y) == 1
    copy = Classifier.load(clf.save(tmp_path / "clf.keras"))
    assert {layer.compute_dtype for layer in copy.model_.layers if layer.weights} == {"float32"}
    np.testing.assert_allclose(copy.predict_proba(images), clf.predict_proba(images), rtol=1e-5)


def test_tensorboard_logs_hold_the_history(tmp_path: Path) -> None:
    import tensorflow as tf

    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    y = ["a", "b"] * 6
    clf = Classifier("nn", epochs=2, tensorboard=tmp_path / "logs", random_state=0).fit(images, y)
    for run, prefix in (("train", ""), ("validation", "val_")):
        (file,) = (tmp_path / "logs" / run).iterdir()
        found: dict[str, list[float]] = {}
        for record in tf.data.TFRecordDataset(str(file)):
            for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
        for name in ("loss", "accuracy"):
            assert found[f"epoch_{name}"] == pytest.approx(clf.history_[prefix + name])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write pictures of two classes that differ a little."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number, name in enumerate(("dark", "light")):
        (folder / name).mkdir()
        for i in range(30):
            pixels = rng.integers(0, 200, (12, 12, 3)) + 20 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i:02}.png")
    return folder


def build_restless(
    shape: tuple[int, int, int], n_outputs: int, activation: str, **_: Any
) -> keras.Model:
    """Build a small network with every kind of state: weights, statistics and seeds."""
    inputs = keras.Input(shape)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.BatchNormalization()(x)
    head = keras.layers.Dense(n_outputs, activation=activation, name=HEAD)
    return keras.Model(inputs, head(keras.layers.Dropout(0.5)(x)))


def test_a_killed_training_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "cnn", Recipe(build_restless, 12, 4))
    options: dict[str, Any] = {"image_size": 12, "epochs": 4, "batch_size": 8, "patience": 5}

    def train(output: Path) -> ClassifierTraining:
        classifier = Classifier("cnn", random_state=0, **options)
        return train_classifier(folder, output, classifier, test_split=0)

    whole = train(tmp_path / "whole.keras")
    output = tmp_path / "clf.keras"
    checkpoint = tmp_path / "clf-checkpoint.npz"
    with killed_at(3, victim=(os, "replace")), pytest.raises(Killed):
        train(output)
    assert not output.exists()
    with np.load(checkpoint) as file:
        n_epochs = len(json.loads(str(file["state"]))["history"]["loss"])
    assert n_epochs == 2
    saved = []
    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda self, *args: saved.append(save(self, *args)))
    report = train(output)
    assert len(saved) == 2
    assert not checkpoint.exists()
    for name, values in whole.classifier.history_.items():
        assert report.classifier.history_[name] == pytest.approx(values, rel=1e-3), name
    assert report.classifier.best_epoch_ == whole.classifier.best_epoch_
    assert read_document(output, "classifier")["temperature"] == pytest.approx(
        whole.classifier.temperature_, rel=1e-2
    )


def test_two_runs_do_not_train_one_output(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "clf.keras"
    classifier = Classifier("nn", image_size=12, epochs=1, random_state=0)
    with locked_output(output):
        with pytest.raises(InvalidInputError, match=r"another run is writing clf\.keras in .*wait"):
            train_classifier(folder, output, classifier)
        assert not list(tmp_path.glob("clf*"))
        with pytest.raises(InvalidInputError, match=r"another run is writing clf\.keras"):
            train_autoencoder(folder, output, image_size=16, epochs=1)
        # Others may be trained beside it.
        train_classifier(folder, tmp_path / "other.keras", classifier)
    assert [file.name for file in tmp_path.iterdir()] == ["other.keras"]


def test_a_checkpoint_is_of_one_training_only(tmp_path: Path) -> None:
    file, images = tmp_path / "clf-checkpoint.npz", np.random.default_rng(0).random((20, 8, 8))
    pixels, y = (images * 255).astype(np.uint8), ["a", "b"] * 10
    options: dict[str, Any] = {"network": "nn", "epochs": 2, "random_state": 0}
    first = Classifier(**options).fit(pixels, y, checkpoint=file)
    state = file.read_bytes()
    # All epochs were run already: the result is there at once, and the same.
    again = Classifier(**options).fit(pixels, y, checkpoint=file)
    assert file.read_bytes() == state
    assert again.history_ == first.history_
    np.testing.assert_array_equal(again.predict_proba(pixels), first.predict_proba(pixels))
    key = open_checkpoint(file, {}, pixels).key
    assert open_checkpoint(file, {}, pixels).key == key
    assert open_checkpoint(file, {"epochs": 3}, pixels).key != key
    assert open_checkpoint(file, {}, 255 - pixels).key != key
    file.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="damaged or not a checkpoint"):
        other = Classifier(**options | {"random_state": 1}).fit(pixels, y, checkpoint=file)
    assert other.history_["loss"][0] != first.history_["loss"][0]
    with pytest.warns(UserWarning, match="is of another training"):
        Classifier(**options).fit(pixels, y, checkpoint=file)
    assert file.read_bytes() == state


def test_a_checkpoint_in_no_folder_is_refused_before_work(tmp_path: Path, untrained: None) -> None:
    pixels = np.zeros((8, 8, 8), np.uint8)
    with pytest.raises(NotFoundError, match=r"no such folder: .*none"):
        Classifier("nn").fit(pixels, ["a", "b"] * 4, checkpoint=tmp_path / "none" / "c.npz")
