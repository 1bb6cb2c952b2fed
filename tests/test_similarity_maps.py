"""Where two pictures match: maps that sum to the cosine, and matching parts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.extractors import Extraction, Extractor, create_extractor
from clusterkit.extractors.applications import NETWORKS, KerasApplication
from clusterkit.images.folder import ImageFolder
from clusterkit.similarity.picture_explanation import PictureEmbedder, find_where
from clusterkit.similarity.similarity_maps import split_by_hiding, split_cosine

rng = np.random.default_rng(0)
PICTURES = rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_maps_sum_to_the_cosine_of_the_averages() -> None:
    features = rng.normal(size=(2, 5, 4, 16))
    where = split_cosine(*features)
    expected = cosine(*features.mean(axis=(1, 2)))
    assert where.method == "exact"
    assert where.map_a.shape == where.map_b.shape == (5, 4)
    assert where.map_a.dtype == np.float64
    for found in (where.cosine, where.map_a.sum(), where.map_b.sum()):
        assert found == pytest.approx(expected, abs=1e-12)
    # The definition, location by location.
    f, g = features[0].reshape(20, 16), features[1].mean(axis=(0, 1))
    lengths = np.linalg.norm(f.mean(axis=0)) * np.linalg.norm(g)
    np.testing.assert_allclose(where.map_a.ravel(), f @ g / (20 * lengths))


def test_effects_are_what_is_lost_without_a_location() -> None:
    features = rng.normal(size=(2, 3, 4, 8)) + 0.5
    where = split_cosine(*features)
    rows, other = features[0].reshape(12, 8), features[1].mean(axis=(0, 1))
    falls = [
        where.cosine - cosine(np.delete(rows, i, axis=0).sum(axis=0), other) for i in range(12)
    ]
    np.testing.assert_allclose(where.effect_a.ravel(), falls, atol=1e-12)
    # A location without a similar one lowers the similarity, however strong it is.
    features = np.zeros((2, 1, 2, 3))
    features[0] = [[1, 0, 0], [0.5, 9, 0]]
    features[1, ..., 0] = 1
    where = split_cosine(*features)
    assert where.effect_a[0, 0] > 0 > where.effect_a[0, 1]
    single = split_cosine(np.ones((1, 1, 3)), np.ones((1, 1, 3)))
    np.testing.assert_allclose(single.effect_a, single.map_a)


def test_maps_of_two_sizes() -> None:
    where = split_cosine(rng.random((2, 3, 8)), rng.random((5, 1, 8)))
    assert (where.map_a.shape, where.map_b.shape) == ((2, 3), (5, 1))
    assert where.map_a.sum() == pytest.approx(where.map_b.sum())


def test_parts_answer_to_each_other() -> None:
    # An eye and a tail at different positions in two pictures, each with different features.
    eye, tail, ground = np.eye(3) + 0.05
    features = np.tile(0.1 * ground, (2, 6, 6, 1))
    features[0, :2, :2], features[0, 4:, 4:] = eye, tail
    features[1, 4:, :2], features[1, :2, 4:] = eye, tail
    parts = split_cosine(*features).parts
    assert len(parts) >= 2
    for part in parts[:2]:
        a, b = (features[i][mask].mean(axis=0) for i, mask in enumerate((part.mask_a, part.mask_b)))
        assert a.argmax() == b.argmax() < 2
        assert part.mask_a.sum() == part.mask_b.sum() == 4
    first, second = parts[:2]
    assert not (first.mask_a & second.mask_a).any()
    assert sum(part.cosine for part in parts) <= split_cosine(*features).cosine + 1e-12


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (7, 7)])
def test_nothing_in_common_has_no_parts(shape: tuple[int, int]) -> None:
    zero, one = np.zeros((*shape, 4)), np.ones((*shape, 4))
    for features in ((zero, one), (zero, zero), (one, -one)):
        where = split_cosine(*features)
        assert where.parts == ()
        assert np.isfinite(where.map_a).all()
    assert len(split_cosine(one, one).parts) == 1


def test_features_must_fit() -> None:
    with pytest.raises(InvalidInputError, match=r"same d.*Received: \(1, 1, 3\) and \(1, 1, 4\)"):
        split_cosine(np.ones((1, 1, 3)), np.ones((1, 1, 4)))


def test_hiding_says_how_much_the_cosine_falls() -> None:
    vectors = np.array([[3, 4, 0], [3, 4, 1]], np.float32)
    hidden = np.tile(vectors[0], (1, 2, 1)).astype(np.float32)
    hidden[0, 0, 1] = 0
    where = split_by_hiding(vectors, hidden, np.tile(vectors[1], (1, 2, 1)))
    expected = cosine(*vectors) - cosine(hidden[0, 0], vectors[1])
    np.testing.assert_allclose(where.map_a, [[expected, 0]], atol=1e-12)
    np.testing.assert_allclose(where.map_b, [[0, 0]], atol=1e-12)
    zero = np.zeros((2, 3), np.float32)
    assert split_by_hiding(zero, hidden, hidden).parts == ()


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize(("head", "batch_size"), [(False, 1), (True, 4)])
def test_maps_of_a_network_average_to_its_vectors(
    head: bool, batch_size: int, tiny_weights: Path, tiny_weights_with_head: Path
) -> None:
    weights = tiny_weights_with_head if head else tiny_weights
    extractor = create_extractor("tinynet", weights=weights, batch_size=batch_size)
    maps = PictureEmbedder(extractor).maps(PICTURES)
    assert maps is not None
    assert (maps.shape, maps.dtype) == ((3, 4, 4, 24), np.float32)
    vectors = extractor.transform(PICTURES)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), vectors, atol=1e-5)
    where = find_where(PICTURES[:2], PictureEmbedder(extractor))
    assert where.method == "exact"
    assert where.map_a.sum() == pytest.approx(cosine(vectors[0], vectors[1]), abs=1e-5)


@pytest.mark.usefixtures("tiny_network")
def test_what_follows_pooling_has_no_maps(
    tiny_weights_with_head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tiny_weights_with_head
    predictions = create_extractor("tinynet-predictions", weights=weights, batch_size=64)
    assert predictions.feature_maps(PICTURES) is None
    where = find_where(PICTURES[:2], PictureEmbedder(predictions))
    assert where.method == "occlusion"
    assert where.map_a.shape == (7, 7)
    roots = np.sqrt(predictions.transform(PICTURES[:2]))
    where = find_where(PICTURES[:2], PictureEmbedder(predictions, "sqrt"))
    assert where.cosine == pytest.approx(cosine(*roots), abs=1e-5)
    row = NETWORKS["tinynet"]._replace(module="convnext")
    monkeypatch.setitem(NETWORKS, "tinynet", row)
    assert KerasApplication("tinynet", weights=weights).feature_maps(PICTURES) is None


class Corner(Extractor):
    """A black box that sees only the upper left corner of a picture."""

    name = "corner"
    image_size = (14, 14)
    dimension = 3

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        return Extraction(images[:, :2, :2].mean(axis=(1, 2)).astype(np.float32))


def test_hiding_finds_what_a_black_box_sees() -> None:
    pictures = np.full((2, 14, 14, 3), 100, np.uint8)
    pictures[:, :2, :2] = [250, 10, 10]
    where = find_where(pictures, PictureEmbedder(Corner()))
    assert where.method == "occlusion"
    assert np.unravel_index(where.map_a.argmax(), (7, 7)) == (0, 0)
    assert np.count_nonzero(np.abs(where.map_a) > 1e-6) == 1


def test_maps_need_a_batch() -> None:
    with pytest.raises(InvalidInputError, match="corner takes uint8 images"):
        Corner().feature_maps(PICTURES)


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "file", "side"),
    [("xception", "xception_imagenet_notop.h5", 10), ("resnet50", "resnet50_imagenet.h5", 7)],
)
def test_maps_of_real_networks_sum_to_the_cosine(
    shared: Path, name: str, file: str, side: int
) -> None:
    extractor = create_extractor(name, weights=shared / "weights" / file, batch_size=2)
    files = ImageFolder(shared / "data/species10").files[::200]
    (pictures,) = extractor._batches(files)
    maps = extractor.feature_maps(pictures)
    assert maps is not None
    assert maps.shape == (2, side, side, 2048)
    where = split_cosine(*maps)
    vectors = extractor.extract(pictures).vectors
    assert where.map_a.sum() == pytest.approx(cosine(*maps.mean(axis=(1, 2))), abs=1e-5)
    assert where.map_b.sum() == pytest.approx(cosine(*vectors), abs=1e-5)


@pytest.mark.network
@pytest.mark.parametrize("name", ["vgg16", "mobilenetv3small", "efficientnetb0", "convnexttiny"])
def test_networks_of_each_kind_end_in_maps_or_not(name: str, tmp_path: Path) -> None:
    import keras

    row = NETWORKS[name]
    builder = getattr(keras.applications, row.builder)
    model = builder(
        weights=None, include_top=False, pooling="avg", input_shape=(row.side,) * 2 + (3,)
    )
    model.save_weights(tmp_path / "random.weights.h5")
    del model
    weights = tmp_path / "random.weights.h5"
    extractor = KerasApplication(name, weights=weights, batch_size=1, precision="float32")
    picture = np.zeros((1, row.side, row.side, 3), np.uint8)
    picture[:, ::2] = 200
    maps = extractor.feature_maps(picture)
    assert (maps is None) == (row.module == "convnext")
    if maps is not None:
        vectors = extractor.extract(picture).vectors
        np.testing.assert_allclose(maps.mean(axis=(1, 2)), vectors, rtol=1e-3, atol=1e-5)
