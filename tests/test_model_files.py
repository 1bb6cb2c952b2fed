"""Model files and checkpoints from any source: damaged, malicious, or of another kind."""

import base64
import io
import json
import marshal
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import clusterkit.classifiers.model_file as model_file
from clusterkit.classifiers import Classifier
from clusterkit.classifiers.classifier import training_parameters
from clusterkit.classifiers.predict import classify
from clusterkit.classifiers.training.checkpoint import Checkpoint
from clusterkit.errors import WeightsError
from clusterkit.extractors.autoencoder.extractor import Autoencoder, load_autoencoder, read_metadata
from clusterkit.images.folder import ImageFolder
from clusterkit.networks.keras_file import load_network, read_document, save_network
from clusterkit.networks.training import BestEpoch

REPOSITORY = Path(__file__).parent.parent
# A classifier from before the first release, with its predictions for two sample images.
MODEL_1 = REPOSITORY / "tests/data/model_1"
WRONG = [None, True, -1, 0, 1.5, float("nan"), 10**30, "", "x", [], ["x"], [[]], {}, {"a": []}]
CLASSIFIER = {
    "task": "multilabel",
    "classes": ["cat", "dog"],
    "input_shape": [4, 4, 3],
    "temperature": 1.25,
    "thresholds": [0.5, 0.25],
    "parameters": training_parameters(Classifier("nn", image_size=4).get_params()),
    "fingerprint": None,
    "history": {"loss": [1.0, 0.5], "val_loss": [1.0, float("nan")]},
    "best_epoch": 1,
    "versions": {"clusterkit": "0.1", "keras": "3"},
}
AUTOENCODER = {"image_size": [4, 4], "latent_size": 5, "resize": "stretch", "training": {}}


def build_network(name: str) -> keras.Model:
    """Build the smallest network of a kind."""
    inputs = keras.Input((4, 4, 3))
    flat = keras.layers.Flatten()(inputs)
    if name == "classifier":
        head = keras.layers.Dense(2, activation="sigmoid", name="head")(flat)
        return keras.Model(inputs, head, name="classifier")
    latent = keras.layers.Dense(5, name="latent")(flat)
    picture = keras.layers.Reshape((4, 4, 3))(keras.layers.Dense(48)(latent))
    return keras.Model(inputs, picture)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a valid file of each kind."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for kind, document in (("classifier", CLASSIFIER), ("autoencoder", AUTOENCODER)):
        found[kind] = folder / f"{kind}.keras"
        save_network(build_network(kind), found[kind], kind, document)
    return found


def rewrite(file: Path, output: Path, entry: str, content: str | bytes, **options: Any) -> Path:
    """Copy a model file, with different content of one entry."""
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(output, "w") as target:
        for name in source.namelist():
            if name != entry:
                target.writestr(name, source.read(name))
        target.writestr(entry, content, **options)
    return output


def mutations(document: Any) -> Iterator[Any]:
    """Yield a document with each of its values, at any depth, missing or of a wrong type."""
    if isinstance(document, dict | list):
        yield from ([], {}, None, "x", 3)
        for key in document if isinstance(document, dict) else range(len(document)):
            smaller = document.copy()
            del smaller[key]
            yield smaller
            for value in [*WRONG, *mutations(document[key])]:
                changed = document.copy()
                changed[key] = value
                yield changed


def refused(read: Callable[[Path], Any], file: Path) -> bool:
    """Return whether a file is rejected with an error of clusterkit that names it."""
    try:
        read(file)
    except WeightsError as error:
        return str(file) in str(error) or pytest.fail(str(error))
    return False


def predict_one(file: Path) -> None:
    """Load a classifier, and predict one image."""
    classifier = Classifier.load(file)
    probabilities = np.full((1, len(classifier.classes_)), 0.5, np.float32)
    assert len(classifier.task_.decide(probabilities, classifier.thresholds_)) == 1


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_files_are_written_where_warnings_are_errors(tmp_path: Path) -> None:
    save_network(build_network("classifier"), tmp_path / "a.keras", "classifier", CLASSIFIER)
    predict_one(tmp_path / "a.keras")


def test_sound_files_are_read(files: dict[str, Path]) -> None:
    classifier = Classifier.load(files["classifier"])
    assert classifier.classes_.tolist() == ["cat", "dog"]
    assert classifier.predict_proba(np.zeros((1, 4, 4, 3), np.uint8)).shape == (1, 2)
    assert read_metadata(files["autoencoder"])["latent_size"] == 5
    assert Autoencoder(files["autoencoder"]).extract(np.zeros((1, 4, 4, 3), np.uint8))


def test_every_value_of_a_classifiers_document_is_checked(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network("classifier")
    monkeypatch.setattr(model_file, "load_network", lambda *_, **__: network)
    whole = read_document(files["classifier"], "classifier")
    n_refused = 0
    for document in mutations(whole):
        file = rewrite(
            files["classifier"], tmp_path / "a.keras", "clusterkit.json", json.dumps(document)
        )
        n_refused += refused(predict_one, file)
    assert n_refused > 200


def test_every_value_of_an_autoencoders_document_is_checked(
    files: dict[str, Path], tmp_path: Path
) -> None:
    n_refused = 0
    for document in mutations(read_document(files["autoencoder"], "autoencoder")):
        text = json.dumps(document)
        file = rewrite(files["autoencoder"], tmp_path / "a.keras", "clusterkit.json", text)
        n_refused += refused(
            lambda path: [*Autoencoder(path).image_size, Autoencoder(path).dimension], file
        )
    assert n_refused > 80


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("classifier", {"input_shape": [4, 5, 3]}),
        ("classifier", {"classes": ["a", "b", "c"], "thresholds": [0.5, 0.5, 0.5]}),
        ("autoencoder", {"image_size": [5, 4]}),
        ("autoencoder", {"latent_size": 6}),
    ],
)
def test_a_network_that_its_document_does_not_tell_of(
    files: dict[str, Path], tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    document = read_document(files[kind], kind) | changes
    text = json.dumps(document)
    file = rewrite(files[kind], tmp_path / "a.keras", "clusterkit.json", text)
    with pytest.raises(WeightsError, match="its network has the shapes"):
        Classifier.load(file) if kind == "classifier" else load_autoencoder(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "a"]}, "two of its classes are equal"),
        ({"classes": ["a", "b", "c"], "task": "binary", "thresholds": None}, "has 2 classes"),
        ({"task": "multilabel", "thresholds": [0.5]}, "must be 2 thresholds. Received: 1"),
        ({"task": "multiclass", "thresholds": [0.5, 0.5]}, "must be 0 thresholds. Received: 2"),
    ],
)
def test_classes_that_do_not_fit_the_task(
    files: dict[str, Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    text = json.dumps(read_document(files["classifier"], "classifier") | changes)
    file = rewrite(files["classifier"], tmp_path / "a.keras", "clusterkit.json", text)
    with pytest.raises(WeightsError, match=message):
        Classifier.load(file)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format": 1' + "0" * 5000 + "}", "\xff", "", "3"]
)
def test_a_document_that_is_no_document(files: dict[str, Path], tmp_path: Path, text: str) -> None:
    content = text.encode("latin-1")
    file = rewrite(files["classifier"], tmp_path / "a.keras", "clusterkit.json", content)
    with pytest.raises(WeightsError, match=r"a\.keras is damaged"):
        read_document(file, "classifier")


@pytest.mark.parametrize("entry", ["clusterkit.json", "model.weights.h5", "more"])
def test_nothing_is_unpacked_that_is_far_larger_than_its_file(
    files: dict[str, Path], tmp_path: Path, entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"compress_type": zipfile.ZIP_DEFLATED}
    content = b" " * 2**25
    file = rewrite(files["classifier"], tmp_path / "a.keras", entry, content, **options)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("was unpacked"))
    with pytest.raises(WeightsError, match=f"{entry} would unpack from"):
        read_document(file, "classifier")


def test_damaged_bytes_are_told_as_such(files: dict[str, Path], tmp_path: Path) -> None:
    content = files["classifier"].read_bytes()
    rng = np.random.default_rng(0)
    file = tmp_path / "a.keras"
    n_refused = 0
    for trial in range(300):
        damaged = bytearray(content)
        # The directory, whose damage matters most, is at the end.
        last = len(content) if trial % 2 else 900
        for position in rng.integers(1, last, rng.integers(1, 4)):
            damaged[-position] = rng.integers(256)
        file.write_bytes(damaged[: rng.integers(len(content))] if trial % 5 == 0 else damaged)
        n_refused += refused(lambda path: read_document(path, "classifier"), file)
    assert n_refused > 250


def test_only_keras_files_are_loaded(files: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "a.h5"
    file.write_bytes(files["classifier"].read_bytes())
    with pytest.raises(WeightsError, match=r"must end in \.keras"):
        Classifier.load(file)


def lambda_of(code: str) -> dict[str, Any]:
    """Return the function of a Lambda layer, as Keras writes code into a file."""
    dumped = base64.b64encode(marshal.dumps(compile(code, "x", "eval"))).decode()
    return {
        "class_name": "__lambda__",
        "config": {"code": dumped, "defaults": None, "closure": None},
    }


def named(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def layer(name: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": name, "config": {"name": name} | config}


def hostile_layers(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return layers that would run code, or read or download a file, when they are loaded."""
    mark = folder / "mark"
    touch = f"__import__('pathlib').Path({str(mark)!r}).touch() or x"
    fetch = {"origin": (folder / "secret").as_uri(), "cache_dir": str(folder), "fname": "mark"}
    unsafe = layer("Lambda", function=named("keras.config", "enable_unsafe_deserialization"))
    return {
        "code": [layer("Lambda", function=lambda_of(touch))],
        "function": [
            layer("Lambda", function=named("os", "system"), arguments={"x": f"touch {mark}"})
        ],
        "class": [
            {
                "module": "subprocess",
                "class_name": "Popen",
                "config": {"args": ["touch", str(mark)]},
            }
        ],
        "call": [named("os", "system") | {"config": f"touch {mark}"}],
        "activation": [layer("Activation", activation=named("os", "system"))],
        "fetch": [layer("Lambda", function=named("keras.utils", "get_file"), arguments=fetch)],
        "switch off": [unsafe, layer("Lambda", function=lambda_of(touch))],
        "switch": [
            layer("Activation", activation=named("keras.config", "enable_unsafe_deserialization")),
            layer("Lambda", function=lambda_of(touch)),
        ],
        "saved model": [layer("TFSMLayer", filepath=str(folder), call_endpoint="serve")],
        "vocabulary": [layer("StringLookup", vocabulary=str(folder / "secret"))],
    }


@pytest.mark.parametrize("name", hostile_layers(Path("/")))
def test_a_hostile_network_runs_nothing(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret\n")
    layers = [layer("InputLayer", batch_shape=[None, 4, 4, 3]), *hostile_layers(tmp_path)[name]]
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "a", "layers": layers},
    }
    file = rewrite(files["classifier"], tmp_path / "a.keras", "config.json", json.dumps(config))
    with pytest.raises(WeightsError, match=r"a\.keras cannot be loaded by Keras"):
        Classifier.load(file)
    assert not list(tmp_path.rglob("mark"))
    assert not keras.src.saving.serialization_lib.in_safe_mode()


def test_a_hostile_function_is_not_called(files: dict[str, Path], tmp_path: Path) -> None:
    first = layer("InputLayer", batch_shape=[None, 4, 4, 3]) | {"name": "x", "inbound_nodes": []}
    call = {"args": [f"touch {tmp_path / 'mark'}"], "kwargs": {}}
    evil = named("os", "system") | {"name": "evil", "inbound_nodes": [call]}
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["x", 0, 0]]}
    config = {
        "module": "keras",
        "class_name": "Functional",
        "config": {"name": "a", "layers": [first, evil]} | ends,
    }
    file = rewrite(files["classifier"], tmp_path / "a.keras", "config.json", json.dumps(config))
    with pytest.raises(WeightsError, match=r"a\.keras cannot be loaded by Keras"):
        Classifier.load(file)
    assert not list(tmp_path.rglob("mark"))


def test_weights_are_never_read_from_another_file(files: dict[str, Path], tmp_path: Path) -> None:
    secret, weights = tmp_path / "secret.h5", io.BytesIO()
    with zipfile.ZipFile(files["classifier"]) as archive:
        weights.write(archive.read("model.weights.h5"))
    with h5py.File(secret, "w") as target:
        target["kernel"] = np.ones((48, 2), np.float32)
    for link in (h5py.ExternalLink(secret, "kernel"), None):
        content = io.BytesIO(weights.getvalue())
        with h5py.File(content, "r+") as target:
            group = target["layers/dense/vars"]
            del group["0"]
            if link is not None:
                group["0"] = link
            else:
                layout = h5py.VirtualLayout((48, 2), np.float32)
                layout[:] = h5py.VirtualSource(secret, "kernel", (48, 2))
                group.create_virtual_dataset("0", layout)
        file = rewrite(
            files["classifier"], tmp_path / "a.keras", "model.weights.h5", content.getvalue()
        )
        with pytest.raises(WeightsError, match=r"a\.keras cannot be loaded by Keras"):
            Classifier.load(file)


def test_the_old_format_is_not_read_for_a_keras_file(tmp_path: Path) -> None:
    file = tmp_path / "a.keras"
    with h5py.File(file, "w") as target:
        target.attrs["model_config"] = "{}"
    with pytest.raises(WeightsError, match=r"a\.keras is damaged or not a \.keras file"):
        Classifier.load(file)
    with pytest.raises(WeightsError, match=r"a\.keras cannot be loaded by Keras"):
        load_network(file, input_shape=(4, 4, 3), output_shape=(2,), layers={})


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    model = build_network("classifier")
    model.compile(keras.optimizers.Adam(), loss="binary_crossentropy")
    return model


def write_checkpoint(model: keras.Model, file: Path) -> dict[str, Any]:
    """Write a checkpoint after one epoch, and return its arrays."""
    best = BestEpoch(3)
    best.history, best.epoch, best.loss = {"loss": [1.0], "val_loss": [0.5]}, 1, 0.5
    best.weights = model.get_weights()
    Checkpoint(file, "key").save(model, best)
    with np.load(file) as arrays:
        return dict(arrays)


def test_every_value_of_a_checkpoint_is_checked(trained: keras.Model, tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    arrays = write_checkpoint(trained, file)
    before = trained.get_weights()
    best = BestEpoch(3)
    Checkpoint(file, "key").restore(trained, best)
    assert (best.epoch, best.n_epochs) == (1, 1)
    state = json.loads(str(arrays["state"]))
    broken = [arrays | {"state": np.array(json.dumps(other))} for other in mutations(state)]
    for name in ("now-0", "best-1", "state"):
        broken += [
            {key: value for key, value in arrays.items() if key != name},
            arrays | {name: np.zeros((3, 3))},
            arrays | {name: np.array("text")},
            arrays | {name: np.zeros(arrays[name].shape, "S3")},
        ]
    n_told = 0
    for changed in broken:
        with file.open("wb") as stream:
            np.savez(stream, **changed)
        best = BestEpoch(3)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            Checkpoint(file, "key").restore(trained, best)
        n_told += len(told)
        if told:
            assert "training starts again, and it is replaced" in str(told[0].message)
            assert best.n_epochs == 0
        for value, kept in zip(trained.get_weights(), before, strict=True):
            np.testing.assert_array_equal(value, kept)
    assert n_told > 50


def test_damaged_checkpoints_are_told_as_such(trained: keras.Model, tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    write_checkpoint(trained, file)
    content, rng = file.read_bytes(), np.random.default_rng(0)
    for trial in range(150):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] = rng.integers(256)
        file.write_bytes(damaged[: rng.integers(len(content))] if trial % 5 == 0 else damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Checkpoint(file, "key").restore(trained, BestEpoch(3))
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000000,), }"
    huge = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("state.npy", huge)
    with pytest.warns(UserWarning, match="damaged or not a checkpoint"):
        Checkpoint(file, "key").restore(trained, BestEpoch(3))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("state.npy", b"\0" * 2**25)
    with pytest.warns(UserWarning, match=r"would unpack from"):
        Checkpoint(file, "key").restore(trained, BestEpoch(3))


def test_an_earlier_file_predicts_what_it_predicted_then() -> None:
    then = json.loads((MODEL_1 / "predictions.json").read_text())
    images = ImageFolder([REPOSITORY / "data/digits" / path for path in then])
    classifier = Classifier.load(MODEL_1 / "classifier.keras")
    for found, expected in zip(
        classify(images, classifier).predictions, then.values(), strict=True
    ):
        assert found.probabilities == pytest.approx(expected, abs=1e-4)
