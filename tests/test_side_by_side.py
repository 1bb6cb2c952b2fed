"""Networks side by side: one split, one table, one picture; an interrupted run continues."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clusterkit.classifiers import Classifier, compare_networks
from clusterkit.classifiers.training import fitting
from clusterkit.cli import main
from clusterkit.datasets.labelled_images import LabelledImages
from clusterkit.datasets.split import split
from clusterkit.errors import InvalidInputError, NotFoundError, OutputExistsError
from clusterkit.networks.keras_file import read_document
from clusterkit.networks.training import fit_epochs
from clusterkit.plots import NetworkCurvesDisplay
from clusterkit.utils.files import locked
from tests.kills import Killed

COLOURS = {"blue": (30, 30, 200), "green": (30, 200, 30), "red": (200, 30, 30)}


def paint(side: int = 8) -> LabelledImages:
    """Return forty-eight noisy pictures of three colours."""
    noise = np.random.default_rng(0).integers(-30, 30, (48, side, side, 3))
    colours = np.repeat(np.array(list(COLOURS.values())), 16, axis=0)[:, None, None]
    labels = [colour for colour in COLOURS for _ in range(16)]
    return LabelledImages((colours + noise).astype(np.uint8), list(map(str, range(48))), labels)


def quick(*networks: str, **parameters: Any) -> dict[str, Classifier]:
    options = {"epochs": 4, "batch_size": 8, "random_state": 0} | parameters
    return {name: Classifier(name, **options) for name in networks}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compare two networks once."""
    folder = tmp_path_factory.mktemp("compared") / "new" / "comparison"
    found = compare_networks(paint(), quick("nn", "dnn-dropout"), folder, random_state=3)
    assert [result.name for result in found.results] == ["nn", "dnn-dropout"]
    return folder


def compare_again(folder: Path, *networks: str, **options: Any) -> Any:
    parameters = options.pop("parameters", {})
    return compare_networks(
        paint(), quick(*networks, **parameters), folder, **{"random_state": 3} | options
    )


def test_all_are_measured_on_one_split(folder: Path) -> None:
    found = compare_again(folder, "nn", "dnn-dropout")
    parts = split(paint(), random_state=3)
    assert found.counts == {part: len(rows) for part, rows in parts.items()}
    test = paint()[parts["test"]]
    for result in found.results:
        classifier = Classifier.load(str(result.model))
        assert result.test is not None
        assert result.test["accuracy"] == classifier.score(test.images, test.labels)
        assert result.test["n"] == found.counts["test"]
        assert result.val_accuracy == result.history["val_accuracy"][result.best_epoch - 1]
        training = paint()[parts["train"]]
        assert result.train_accuracy == classifier.score(training.images, training.labels)
        assert result.n_parameters == classifier.model_.count_params()
        assert len(result.history["loss"]) <= 4
    assert not found.failures


@pytest.mark.usefixtures("untrained")
def test_what_was_trained_is_not_trained_again(folder: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    found = compare_again(folder, "dnn-dropout", "nn")
    assert [one.name for one in found.results] == ["dnn-dropout", "nn"]
    assert all(one.is_reused for one in found.results)
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    # Networks whose training was interrupted, or whose file is gone, are trained.
    record = json.loads((folder / "nn.json").read_text())
    (folder / "nn.json").write_text(json.dumps(record | {"result": None}))
    found = compare_again(folder, "dnn-dropout", "nn")
    assert [one.is_reused for one in found.results] == [True, False]
    (folder / "dnn-dropout.keras").unlink()
    found = compare_again(folder, "dnn-dropout", "nn")
    assert [one.is_reused for one in found.results] == [False, True]


@pytest.mark.usefixtures("untrained")
def test_networks_of_earlier_runs_stay_in_the_comparison(folder: Path, tmp_path: Path) -> None:
    found = compare_again(folder, "nn")
    assert [result.name for result in found.results] == ["nn", "dnn-dropout"]
    for name in ("dnn-dropout.keras", "dnn-dropout.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    message = r"dnn-dropout\.json is of other images or another split, and the table would lose it"
    with pytest.raises(OutputExistsError, match=message):
        compare_again(tmp_path, "nn", random_state=4)
    assert not (tmp_path / "nn.json").exists()
    found = compare_again(tmp_path, "nn", random_state=4, overwrite=True)
    assert [result.name for result in found.results] == ["nn"]


def test_two_runs_do_not_compare_in_one_folder(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(InvalidInputError, match="another run is comparing networks in"),
    ):
        compare_again(tmp_path, "nn")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("untrained")
def test_other_images_or_parameters_replace_nothing_unasked(folder: Path, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in folder.iterdir()}
    for options in ({"random_state": 4}, {"parameters": {"epochs": 3}}, {"test_split": 0.3}):
        with pytest.raises(OutputExistsError, match=r"nn\.keras is of other images or other par"):
            compare_again(folder, "nn", **options)
    # Unfinished records are no obstacle; other files are.
    record = json.loads((folder / "nn.json").read_text())
    (tmp_path / "dnn.json").write_text(json.dumps(record | {"result": None}))
    assert not compare_again(tmp_path, "dnn").failures
    (tmp_path / "dnn-dropout.json").write_text("[1, 2]")
    with pytest.raises(OutputExistsError, match=r"dnn-dropout\.json is of other"):
        compare_again(tmp_path, "dnn-dropout")
    (tmp_path / "nn.keras").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"nn\.keras is of other"):
        compare_again(tmp_path, "nn")
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    assert not compare_again(tmp_path, "nn", overwrite=True).results[0].is_reused


@pytest.mark.usefixtures("untrained")
def test_one_that_fails_is_listed_and_stops_no_other(tmp_path: Path) -> None:
    networks = {
        "mobilenet": Classifier("mobilenet", weights="no file", random_state=0),
        **quick("nn"),
    }
    found = compare_networks(paint(), networks, tmp_path, random_state=0)
    assert [result.name for result in found.results] == ["nn"]
    assert found.failures == [("mobilenet", "no weights file no file")]
    assert "mobilenet: failed: no weights file" in found.to_text()
    assert found.to_csv(tmp_path / "table.csv") == tmp_path / "table.csv"
    with (tmp_path / "table.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["network"] for row in rows] == ["nn", "mobilenet"]
    assert rows[1]["reason"] == found.failures[0][1]
    assert float(rows[0]["train"]) == found.results[0].train_accuracy
    # Another run does not change trained networks.
    assert compare_networks(paint(), networks, tmp_path, random_state=0).results[0].is_reused


def test_classes_that_cannot_be_learned_stop_before_any_training(tmp_path: Path) -> None:
    data = replace(paint(), labels=["blue"] * 48)
    with pytest.raises(InvalidInputError, match="at least 2 classes"):
        compare_networks(data, ["nn"], tmp_path / "comparison")
    with pytest.raises(NotFoundError, match="no such file or folder"):
        compare_networks(tmp_path / "nowhere", ["nn"], tmp_path / "comparison")
    with pytest.raises(InvalidInputError, match="network must be one of"):
        compare_networks(paint(), ["nn", "cnn9"], tmp_path / "comparison")
    with pytest.raises(InvalidInputError, match="at least one network"):
        compare_networks(paint(), [], tmp_path / "comparison")
    with pytest.raises(InvalidInputError, match=r"a file's name\. Received: '\.\./nn'"):
        compare_networks(paint(), {"../nn": Classifier("nn")}, tmp_path / "comparison")
    assert not (tmp_path / "comparison").exists()


def test_networks_by_name_take_the_parameters_of_their_kind(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"epochs must be .*Received: .*0"):
        compare_networks(paint(), ["nn"], tmp_path, epochs=0, weights="for others.h5")
    with pytest.raises(InvalidInputError, match=r"on the classifiers\. Received: epochs"):
        compare_networks(paint(), quick("nn"), tmp_path, epochs=3)


@pytest.mark.usefixtures("untrained")
def test_without_a_folder_nothing_is_kept() -> None:
    found = compare_networks(paint(), "nn", random_state=0)
    assert found.results[0].model is None
    assert found.best is found.results[0]
    assert "best on" not in found.to_text()


@pytest.mark.usefixtures("untrained")
def test_a_class_with_one_image_left_to_learn_from() -> None:
    data = paint()[[*range(32), 32, 33]]
    assert compare_networks(data, quick("nn"), random_state=0).counts["train"] > 20


def test_the_best_is_chosen_on_the_validation_images(folder: Path) -> None:
    found = compare_again(folder, "nn", "dnn-dropout")
    history = {"val_loss": [0.2], "loss": [0.1]}
    one, two = (
        replace(
            result, history=history, best_epoch=1, val_accuracy=accuracy, test={"accuracy": test}
        )
        for result, accuracy, test in zip(found.results, (0.9, 0.8), (0.5, 0.95), strict=True)
    )
    assert replace(found, results=[two, one]).best is one
    lower = replace(two, val_accuracy=0.9, history=history | {"val_loss": [0.1]})
    assert replace(found, results=[one, lower]).best is lower
    assert "best on the validation images: nn" in replace(found, results=[two, one]).to_text()


def test_several_labels(tmp_path: Path) -> None:
    labels = [("any", colour) if colour != "red" else ("none",) for colour in paint().labels or []]
    data = replace(paint(), labels=labels, is_multilabel=True)
    found = compare_networks(data, quick("nn"), tmp_path, random_state=0)
    assert found.is_multilabel
    assert found.results[0].train_accuracy in found.results[0].history["accuracy"]
    display = NetworkCurvesDisplay.from_comparison(found)
    assert len(display.axes_[0].get_lines()) == 3  # no line of the test


@pytest.mark.parametrize("n_networks", [1, 3, 5])
def test_the_picture_has_a_panel_for_each(folder: Path, n_networks: int) -> None:
    history = {"accuracy": [0.3, 0.9], "val_accuracy": [0.4, 0.7]}
    display = NetworkCurvesDisplay(
        {f"net {i}": history for i in range(n_networks)},
        best_epochs=[2] * n_networks,
        test=[0.65] * n_networks,
    ).plot()
    assert len(display.axes_) == n_networks
    for number, axes in enumerate(display.axes_):
        assert axes.get_title(loc="left") == f"net {number}"
        by_label = {line.get_label(): line for line in axes.get_lines()}
        assert by_label["training"].get_linestyle() == "--"
        assert by_label["validation 0.7000"].get_linestyle() == "-"
        assert "test 0.6500" in by_label
        assert len(axes.get_lines()) == 4 + n_networks - 1


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    data = paint()
    for name, label, image in zip(data.names, data.labels or [], data.images, strict=True):
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / label / f"{name}.png")
    (tmp_path / "photos/red/broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.mark.usefixtures("untrained")
def test_on_the_command_line(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "comparison"
    command = (
        f"compare {photos} --network nn --network mobilenet --epochs 3 --image-size 8 -o {output}"
    )
    environment = {"CLUSTERKIT_WEIGHTS": str(tmp_path / "none.h5")}
    result = CliRunner().invoke(main, [*command.split(), "--json"], env=environment)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["best"] == "nn"
    assert [one["name"] for one in document["networks"]] == ["nn"]
    assert [failure["name"] for failure in document["failures"]] == ["mobilenet"]
    assert {Path(file).name for file in document["written"]} == {
        "comparison.csv",
        "comparison.png",
        "nn.keras",
    }
    assert all(Path(file).stat().st_size for file in document["written"])
    assert read_document(output / "nn.keras", "classifier")["input_shape"] == [8, 8, 3]
    reason = "not an image, or of an unknown format"
    [unreadable] = document["unreadable"]
    assert (unreadable["path"], unreadable["reason"]) == ("red/broken.png", reason)
    assert sum(document["counts"].values()) == 48
    again = CliRunner().invoke(main, command.split())
    assert again.exit_code == 0, again.output
    assert f"Left out of the training: red/broken.png: {reason}" in again.stderr
    assert f"Not trained again: nn, which {output / 'nn.keras'} holds" in again.stderr
    assert again.stdout.splitlines()[1].startswith("nn ")
    none = CliRunner().invoke(main, ["compare", str(photos), "--network", "cnn9"])
    assert (none.exit_code, none.output.startswith("Error: network must be one of")) == (1, True)
    alone = f"compare {photos} --network mobilenet -o {tmp_path / 'other'}".split()
    failed = CliRunner().invoke(main, alone, env=environment)
    assert failed.exit_code == 1
    assert "mobilenet: failed: no weights file" in failed.output


@pytest.mark.usefixtures("untrained")
def test_a_run_that_was_killed_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "comparison"
    command = f"compare {photos} --network nn --network dnn --epochs 3"
    arguments = [*command.split(), "-o", str(output)]

    def fit_until_killed(*args: Any, **options: Any) -> Any:
        if (output / "dnn.json").exists():
            raise Killed
        return fit_epochs(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(fitting, "fit_epochs", fit_until_killed)
        with pytest.raises(Killed):
            CliRunner().invoke(main, arguments)
    assert (output / "dnn.json").exists()
    assert not (output / "dnn.keras").exists()
    before = (output / "nn.keras").read_bytes()
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    networks = json.loads(result.stdout)["networks"]
    assert [(one["name"], one["is_reused"]) for one in networks] == [("nn", True), ("dnn", False)]
    assert (output / "nn.keras").read_bytes() == before


@pytest.mark.parametrize(
    "changes", [{"result": 3}, {"result": {}}, {"seconds": "x"}, {"history": 1}, {"more": 1}]
)
def test_a_damaged_record_counts_as_none(
    folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    record = json.loads((folder / "nn.json").read_text())
    if "result" in changes:
        record |= changes
    else:
        record["result"] |= changes
    (tmp_path / "nn.json").write_text(json.dumps(record))
    with pytest.raises(OutputExistsError, match=r"nn\.json is of other"):
        compare_again(tmp_path, "nn")
