"""Every network in the table satisfies the contract of extractors."""

import importlib
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags

from clusterkit.embedding.embed import embed
from clusterkit.errors import ImageError, InvalidInputError, WeightsError
from clusterkit.extractors import Extraction, Extractor, Xception, create_extractor, extractor_names
from clusterkit.extractors.applications import NETWORKS, KerasApplication, _pooled_features
from clusterkit.extractors.imagenet import class_names
from clusterkit.utils.imports import Registry
from tests import tiny_network

# One network for each kind of head, quick to build.
ENDINGS = ["convnexttiny", "efficientnetb0", "mobilenet", "mobilenetv3small", "vgg16", "xception"]
# One network for each scaling of pixels.
SCALINGS = [*ENDINGS, "densenet121", "inceptionv3", "mobilenetv2", "resnet50", "resnet50v2"]
EXACT = {"runtime": "keras", "precision": "float32"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Use a separate cache of converted networks, and convert each network once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLUSTERKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pixels(network: str, n: int = 2) -> Any:
    side = NETWORKS[network].side
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_the_table_holds_every_network_of_keras() -> None:
    import keras

    builders = [n for n in dir(keras.applications) if n[0].isupper()]
    assert sorted(row.builder for row in NETWORKS.values()) == sorted(builders)
    assert all(name == row.builder.lower() for name, row in NETWORKS.items())
    assert extractor_names()[:2] == ["xception", "xception-predictions"]


# MobileNetV3 accepts any size; its documentation recommends 224.
@pytest.mark.parametrize("network", [n for n in NETWORKS if not n.startswith("mobilenetv3")])
def test_builder_module_and_side_are_those_of_keras(
    network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    row = NETWORKS[network]
    assert callable(importlib.import_module(f"keras.applications.{row.module}").preprocess_input)
    builder = getattr(keras.applications, row.builder)
    module = sys.modules[builder.__module__]
    sides = []

    def take_side(*args: Any, default_size: int, **kwargs: Any) -> Any:
        sides.append(default_size)
        raise StopIteration

    monkeypatch.setattr(module.imagenet_utils, "obtain_input_shape", take_side)
    with pytest.raises(StopIteration):
        builder(weights=None)
    assert sides == [row.side]
    assert module.__name__.rpartition(".")[2] == row.module


@pytest.mark.network
@pytest.mark.parametrize("network", ENDINGS)
def test_features_of_a_network_with_a_head_are_pooled_as_without(network: str) -> None:
    import keras

    row = NETWORKS[network]
    builder = getattr(keras.applications, row.builder)
    # No weights are created; it is enough that both are computed by the same layers.
    shape = (75, 75, 3)
    with keras.StatelessScope():
        whole = builder(weights=None, input_shape=shape)
        cut = keras.Model(whole.input, _pooled_features(whole))
        plain = builder(weights=None, include_top=False, pooling="avg", input_shape=shape)
    kinds = [[type(layer).__name__ for layer in model.layers] for model in (cut, plain)]
    assert kinds[0] == kinds[1]
    assert cut.output.shape == plain.output.shape == (None, row.dimension)


@pytest.mark.usefixtures("tiny_network")
def test_features_and_probabilities_are_those_of_keras(tiny_weights_with_head: Path) -> None:
    import keras

    weights = tiny_weights_with_head
    extractor = create_extractor("tinynet", weights=weights, batch_size=3, **EXACT)
    images = pixels("tinynet")
    vectors, probabilities = extractor.extract(images)
    whole = keras.applications.TinyNet(weights=str(weights))
    assert isinstance(whole.layers[-2], keras.layers.GlobalAveragePooling2D)
    scaled = keras.applications.mobilenet.preprocess_input(images.astype(np.float32))
    both = keras.Model(whole.input, [whole.layers[-2].output, whole.output])
    expected = both.predict_on_batch(scaled)
    np.testing.assert_allclose(vectors, expected[0], atol=1e-5)
    np.testing.assert_allclose(probabilities, expected[1], atol=1e-6)
    alone = create_extractor("tinynet-predictions", weights=weights, **EXACT)
    np.testing.assert_allclose(alone.extract(images).vectors, expected[1], atol=1e-6)


@pytest.mark.parametrize("network", SCALINGS)
def test_pixels_are_scaled_as_keras_does(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    extractor = KerasApplication(network)
    # A network that returns its input.
    side = keras.Input((*extractor.image_size, 3))
    monkeypatch.setattr(
        extractor, "_build_inner", lambda: keras.Model(side, keras.layers.Identity()(side))
    )
    images = pixels(network)
    module = importlib.import_module(f"keras.applications.{NETWORKS[network].module}")
    scaled = extractor._build("float32").predict_on_batch(images)
    np.testing.assert_allclose(scaled, module.preprocess_input(images.astype("float32")), atol=1e-4)


@pytest.mark.usefixtures("tiny_network")
def test_transform_fit_and_clone_follow_scikit_learn(tiny_weights: Path) -> None:
    extractor = create_extractor("tinynet", weights=tiny_weights, batch_size=2, **EXACT)
    images = pixels("tinynet", 5)
    vectors = extractor.fit(images).transform(images)
    assert (vectors.shape, vectors.dtype) == ((5, tiny_network.DIMENSION), np.float32)
    assert (extractor.runtime_, extractor.precision_) == ("keras", "float32")
    other = clone(extractor).set_params(batch_size=4)
    np.testing.assert_allclose(other.fit_transform(images), vectors, atol=1e-5)
    again = pickle.loads(pickle.dumps(extractor))
    np.testing.assert_allclose(again.transform(images[:1]), vectors[:1], atol=1e-5)


def test_parameters_are_those_of_scikit_learn() -> None:
    extractor = create_extractor("vgg16", weights="vgg.h5", batch_size=3)
    assert list(extractor.get_params()) == sorted(
        ["network", "output", "weights", "batch_size", "resize", "precision", "runtime"]
    )
    assert repr(extractor) == "KerasApplication(batch_size=3, network='vgg16', weights='vgg.h5')"
    with pytest.raises(ValueError, match=r"Invalid parameter 'size' for .*batch_size"):
        extractor.set_params(size=3)
    model = make_pipeline(extractor, FunctionTransformer())
    model.set_params(kerasapplication__batch_size=5)
    assert extractor.batch_size == 5
    assert "KerasApplication" in model._repr_html_()
    assert get_tags(extractor).estimator_type is None


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("name", ["vgg16", "pixels"])
def test_a_batch_is_checked(name: str, batch_size: int | None) -> None:
    extractor = create_extractor(name, batch_size=batch_size)
    assert extractor.full_batch == (batch_size or extractor.full_batch) >= 1
    side, full = extractor.image_size[0], extractor.full_batch
    for wrong in (
        np.zeros((1, side, side, 3), np.float32),
        np.zeros((1, side, side, 4), np.uint8),
        np.zeros((1, 16, 16, 3), np.uint8),
        np.zeros((side, side, 3), np.uint8),
        np.zeros((0, side, side, 3), np.uint8),
        np.broadcast_to(np.uint8(0), (full + 1, side, side, 3)),
    ):
        with pytest.raises(InvalidInputError, match="Received"):
            extractor.extract(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "resnet51"}, "network must be one of xception.*Received: 'resnet51'"),
        ({"output": "logits"}, "output must be one of features, predictions.*'logits'"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1. Received: batch_size=0"),
        ({"resize": "zoom"}, "resize must be one of stretch, crop, pad. Received: 'zoom'"),
        ({"precision": "half"}, "precision must be one of auto, float32, bfloat16"),
        ({"runtime": "tpu"}, "runtime must be one of auto, keras, openvino"),
    ],
)
def test_wrong_parameters_are_told(
    options: dict[str, Any], message: str, tiny_weights: Path
) -> None:
    extractor = KerasApplication(**{"network": "mobilenet", "weights": tiny_weights} | options)
    with pytest.raises(InvalidInputError, match=message):
        extractor.transform(np.zeros((1, 224, 224, 3), np.uint8))


def test_options_reach_the_extractor() -> None:
    options = {"batch_size": 3, "resize": "pad", "precision": "bfloat16", "runtime": "openvino"}
    parameters = create_extractor("vgg16", weights="vgg.h5", **options).get_params()
    assert parameters == options | {"network": "vgg16", "output": "features", "weights": "vgg.h5"}


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(InvalidInputError, match="Did you mean resnet50"):
        create_extractor("resnet5")


def test_the_fingerprint_tells_spaces_apart(tiny_weights: Path, tmp_path: Path) -> None:
    def of(**options: Any) -> str:
        return KerasApplication(
            **{"network": "xception", "weights": tiny_weights} | options
        ).fingerprint

    copy = shutil.copy(tiny_weights, tmp_path / "copy.h5")
    same = [
        of(weights=copy),
        of(weights=str(tiny_weights)),
        of(batch_size=5),
        of(precision="float32"),
        of(precision="bfloat16"),
        of(runtime="keras"),
        Xception(weights=tiny_weights).fingerprint,
        create_extractor("xception", weights=tiny_weights).fingerprint,
    ]
    assert set(same) == {of()}
    other = tmp_path / "other.h5"
    other.write_bytes(tiny_weights.read_bytes() + b"\0")
    different = [
        of(),
        of(weights=other),
        of(weights="imagenet"),
        of(network="inceptionv3"),
        of(output="predictions"),
        of(resize="crop"),
    ]
    assert len(set(different)) == len(different)


@pytest.mark.usefixtures("tiny_network")
def test_weights_that_are_missing_or_wrong(tmp_path: Path) -> None:
    import keras

    images = pixels("tinynet", 1)
    missing = KerasApplication("tinynet", weights=tmp_path / "none.h5", **EXACT)
    for attempt in (lambda: missing.fingerprint, lambda: missing.extract(images)):
        with pytest.raises(WeightsError, match=r"no weights file .*none\.h5"):
            attempt()
    text = tmp_path / "text.h5"
    text.write_text("no HDF5")
    with pytest.raises(WeightsError, match="not a Keras weights file"):
        KerasApplication("tinynet", weights=text, **EXACT).extract(images)
    other = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(other)
    with pytest.raises(WeightsError, match="does not hold weights of tinynet "):
        KerasApplication("tinynet", weights=other, **EXACT).extract(images)


def test_a_download_that_fails_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    with pytest.raises(
        WeightsError,
        match=r"cannot download .* mobilenet .*--weights FILE.*-e pixels.*--network two-conv",
    ):
        KerasApplication("mobilenet", **EXACT).extract(pixels("mobilenet", 1))


def test_pixels_are_a_small_copy_of_the_picture(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    extractor = create_extractor("pixels", weights="of_a_network.h5", batch_size=2)
    vectors = extractor.transform(images)
    assert (vectors.shape, vectors.dtype) == ((5, extractor.dimension), np.float32)
    np.testing.assert_allclose(vectors, images.reshape(5, -1) / 255, atol=1e-6)
    again = pickle.loads(pickle.dumps(clone(extractor).set_params(batch_size=3)))
    np.testing.assert_array_equal(again.fit_transform(images), vectors)
    assert again.fingerprint == extractor.fingerprint
    assert create_extractor("pixels", resize="pad").fingerprint != extractor.fingerprint
    Image.fromarray(np.full((64, 48, 3), (255, 0, 51), np.uint8)).save(tmp_path / "plain.png")
    (plain,) = extractor.transform([tmp_path / "plain.png"]).reshape(-1, 32, 32, 3)
    with pytest.raises(ImageError, match=r"gone\.png: the file does not exist"):
        extractor.transform([tmp_path / "plain.png", tmp_path / "gone.png"])
    np.testing.assert_allclose(plain, np.broadcast_to([1, 0, 0.2], plain.shape), atol=1e-6)
    with pytest.raises(InvalidInputError, match="resize must be one of"):
        create_extractor("pixels", resize="zoom").transform(images)


def test_xception_has_no_head_here(shared: Path) -> None:
    weights = shared / "weights/xception_imagenet_notop.h5"
    extractor = create_extractor("xception-predictions", weights=weights, **EXACT)
    with pytest.raises(WeightsError, match=r"holds no classification head.*extractor xception"):
        extractor.extract(pixels("xception", 1))


def test_class_names() -> None:
    names = class_names()
    assert len(names) == 1000
    assert (names[0], names[277], names[999]) == ("tench", "red fox", "toilet tissue")


@pytest.mark.usefixtures("tiny_network")
def test_the_jax_backend(tiny_weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    images = pixels("tinynet")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np\n"
        "from clusterkit.extractors import KerasApplication\n"
        "from tests.tiny_network import registered\n"
        "with registered():\n"
        "    extractor = KerasApplication('tinynet', weights=sys.argv[1], batch_size=2)\n"
        "    np.save(sys.argv[3], extractor.transform(np.load(sys.argv[2])))\n"
        "import keras\n"
        "assert keras.backend.backend() == 'jax'\n"
        "assert extractor.precision_ == 'float32'\n"
    )
    files = [tiny_weights, tmp_path / "images.npy", tmp_path / "vectors.npy"]
    subprocess.run(
        [sys.executable, "-c", code, *files],
        env={"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PATH": "", "HOME": str(tmp_path)},
        cwd=Path(__file__).parent.parent,
        check=True,
    )
    expected = KerasApplication("tinynet", weights=tiny_weights, batch_size=2, **EXACT)
    np.testing.assert_allclose(np.load(files[2]), expected.transform(images), atol=1e-4)


class Middle(Extractor):
    """The pixel in the middle."""

    name = "middle"
    image_size = (3, 3)
    dimension = 3

    def _forward(self, images: np.ndarray) -> Extraction:
        return Extraction(images[:, 1, 1].astype(np.float32))


def test_one_method_and_a_line_in_the_table_make_an_extractor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CONTRIBUTING.md says."""
    table = Registry("extractor", {"middle": "tests.test_extractors:Middle"})
    monkeypatch.setattr("clusterkit.extractors.by_name.WITHOUT_NETWORK", table)
    Image.new("RGB", (5, 5), (10, 20, 30)).save(tmp_path / "a.png")
    embeddings = embed(tmp_path, "middle")
    assert embeddings.vectors.tolist() == [[10, 20, 30]]
    assert embeddings.space["extractor"] == "middle"
    for option, value in (("resize", "crop"), ("batch_size", 3)):
        said = rf"^the extractor middle has no parameter {option}\. Received: {option}={value!r}$"
        with pytest.raises(InvalidInputError, match=said):
            create_extractor("middle", **{option: value})


@pytest.mark.parametrize("name", ["name", "image_size", "dimension"])
def test_what_an_extractor_lacks_is_named_before_work(name: str, tmp_path: Path) -> None:
    kept = {"name": "corner", "image_size": (3, 3), "dimension": 3}
    corner = type("Corner", (Extractor,), {"_forward": Middle._forward} | kept)
    delattr(corner, name)
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    for store in (None, tmp_path / "store"):
        with pytest.raises(InvalidInputError, match=f"^Corner must define {name}, as in {name} = "):
            embed(tmp_path, corner(), store=store)


def test_what_an_extractor_returns_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.arange(54, dtype=np.uint8).reshape(2, 3, 3, 3)
    expected = images[:, 1, 1].astype(np.float32)
    # Two vectors alone are not vectors and probabilities.
    for found in (expected, expected.tolist(), (expected, None)):
        monkeypatch.setattr(Middle, "_forward", lambda self, batch, found=found: found)
        assert np.array_equal(Middle().transform(images), expected)
    for wrong in (expected[:1], expected[:, :2], images.astype(np.float32)):
        monkeypatch.setattr(Middle, "_forward", lambda self, batch, wrong=wrong: wrong)
        with pytest.raises(InvalidInputError, match=r"Middle\._forward must return .* = \(2, 3\)"):
            Middle().transform(images)
    rows = (row for row in expected)
    for wrong in (rows, [[1, 2], [1]], expected + 1j, [["a"] * 3] * 2, (expected, None, None)):
        monkeypatch.setattr(Middle, "_forward", lambda self, batch, wrong=wrong: wrong)
        with pytest.raises(InvalidInputError, match=r"Middle\._forward must return an array of re"):
            Middle().transform(images)
    monkeypatch.setattr(Middle, "_forward", lambda self, batch: (expected, np.ones((2, 10))))
    with pytest.raises(InvalidInputError, match=r"ImageNet .* = \(2, 1000\).* Received: \(2, 10\)"):
        Middle().transform(images)


@pytest.mark.parametrize("name", ["timm/vit", "..\\middle", ".middle"])
def test_a_name_that_is_no_folder_is_refused_before_anything_is_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Middle, "name", name)
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    assert len(embed(tmp_path, Middle())) == 1
    with pytest.raises(InvalidInputError, match="name of an extractor is that of its folder"):
        embed(tmp_path, Middle(), store=tmp_path / "store")
    assert not (tmp_path / "store").exists()
