"""The networks that are trained from scratch, and the augmentation of their images."""

from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from clusterkit.classifiers.training.networks import AUGMENTATIONS, RECIPES
from clusterkit.errors import InvalidInputError


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    """Return coloured noise on the scale 0-1."""
    return np.random.default_rng(0).uniform(size=(8, 24, 24, 3)).astype(np.float32)


def augmentation(*names: str, network: str = "two-conv", channels: int = 3) -> list[keras.Layer]:
    """Return the layers of a network that vary images."""
    model = RECIPES[network].build((24, 24, channels), 3, "softmax", augmentation=names)
    return [layer for layer in model.layers if type(layer).__name__.startswith("Random")]


def layer_kinds(model: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_images_are_varied_in_training_only(name: str, images: NDArray[np.float32]) -> None:
    (layer,) = augmentation(name)
    varied = np.asarray(layer(images, training=True))
    assert varied.shape == images.shape
    assert np.abs(varied - images).max() > 0.01
    assert varied.min() >= -1e-5
    assert varied.max() <= 1 + 1e-5
    np.testing.assert_array_equal(layer(images, training=False), images)


def test_images_stay_sharp(images: NDArray[np.float32]) -> None:
    varied = np.tile(images, (8, 1, 1, 1))
    for layer in augmentation("rotation", "shift", "zoom", "shear"):
        varied = np.asarray(layer(varied, training=True))
    steps = [np.abs(np.diff(pixels, axis=2)).mean() for pixels in (images, varied)]
    # Noise is pure detail: zooming in makes some neighbours equal, blur leaves less than half.
    assert steps[1] > 0.75 * steps[0]


@pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS) - {"flip"}))
def test_digits_are_varied_less_than_photos(name: str, images: NDArray[np.float32]) -> None:
    def change(network: str) -> float:
        keras.utils.set_random_seed(0)
        (layer,) = augmentation(name, network=network)
        return float(np.abs(np.asarray(layer(images, training=True)) - images).mean())

    assert 1e-5 < change("nn") < change("two-conv")


def test_names() -> None:
    layers = augmentation("hue", "shear", "flip")
    assert [type(layer).__name__ for layer in layers] == ["RandomFlip", "RandomShear", "RandomHue"]
    # There is no hue without colours.
    assert len(augmentation("hue", "shear", "flip", channels=1)) == 2
    with pytest.raises(InvalidInputError, match=r"flip, rotation, .*\. Received: mirror$"):
        augmentation("flip", "mirror")


@pytest.mark.parametrize("name", RECIPES)
def test_a_network_takes_other_augmentation(name: str) -> None:
    build, shape = RECIPES[name].build, (33, 40, 3)
    plain = build(shape, 3, "softmax", augmentation=())
    varied = build(shape, 3, "softmax", augmentation=tuple(AUGMENTATIONS))
    added = [kind for kind in layer_kinds(varied) if kind not in layer_kinds(plain)]
    assert added == [layer for layer, _ in AUGMENTATIONS.values()]
    assert plain.count_params() == varied.count_params()


@pytest.mark.parametrize("name", RECIPES)
def test_no_normalisation_meets_the_noise_of_a_dropout(name: str) -> None:
    kinds = layer_kinds(RECIPES[name].build((40, 40, 3), 3, "softmax"))
    behind = kinds[kinds.index("Dropout") :] if "Dropout" in kinds else []
    assert "BatchNormalization" not in behind


def test_digits_are_not_mirrored() -> None:
    for name in ("nn", "dnn", "dnn-dropout", "cnn", "dcnn"):
        assert "RandomFlip" not in layer_kinds(RECIPES[name].build((28, 28, 1), 10, "softmax"))


def test_a_file_with_all_augmentation_opens_in_safe_mode(tmp_path: Path) -> None:
    model = RECIPES["nn"].build((40, 40, 3), 2, "softmax", augmentation=tuple(AUGMENTATIONS))
    model.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras", compile=False, safe_mode=True)
    assert layer_kinds(again) == layer_kinds(model)
