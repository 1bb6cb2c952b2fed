"""Tests of clusterkit.images.resizing."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clusterkit.errors import InvalidInputError
from clusterkit.images import resizing
from clusterkit.images.decoding import decode_image
from clusterkit.images.resizing import resize_image
from tests.image_writers import encode
from tests.odd_files import PICTURE, picture

BICUBIC = Image.Resampling.BICUBIC


def photo_like(height: int, width: int) -> NDArray[np.uint8]:
    """A smooth picture with a sharp edge, in full colour."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    channels = 127 + 100 * np.sin(9 * x), 255 * y, 200 * (x + y > 0.7)
    return np.stack(channels, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("shape", [(512, 512), (40, 60), (299, 150), (7, 1), (1, 1), (600, 33)])
@pytest.mark.parametrize("size", [(299, 299), (32, 48), (9, 64)])
def test_stretch_agrees_with_pillow(shape: tuple[int, int], size: tuple[int, int]) -> None:
    image = photo_like(*shape)
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], BICUBIC), float)
    difference = np.abs(resize_image(image, size) - expected)
    assert difference.mean() < 0.35
    # Pillow clips between the two sides, which shows at a corner of sharp edges.
    assert np.quantile(difference, 0.99) <= 1


@pytest.mark.parametrize("shape", [(512, 300), (60, 90), (50, 50)])
@pytest.mark.parametrize("size", [(64, 64), (40, 120)])
def test_crop_agrees_with_pillow(shape: tuple[int, int], size: tuple[int, int]) -> None:
    image = photo_like(*shape)
    expected = np.asarray(ImageOps.fit(Image.fromarray(image), size[::-1], BICUBIC), float)
    assert np.abs(resize_image(image, size, "crop") - expected).mean() < 0.35


def test_pad_keeps_the_ratio_between_black_bars() -> None:
    padded = resize_image(np.full((50, 100, 3), 200, np.uint8), (40, 40), "pad")
    assert (padded[10:30] == 200).all()
    assert (padded[:10] == 0).all()
    assert (padded[30:] == 0).all()


def test_pad_keeps_a_line_of_a_very_narrow_picture() -> None:
    padded = resize_image(np.full((1000, 1, 3), 200, np.uint8), (20, 20), "pad")
    assert (padded.max(axis=(0, 2)) == 200).sum() == 1


def test_a_picture_of_the_wanted_size_is_unchanged() -> None:
    image = photo_like(30, 20)
    np.testing.assert_array_equal(resize_image(image, (30, 20)), image)


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo_like(90, 70)
    whole = resize_image(image, (33, 44))
    monkeypatch.setattr(resizing, "_STRIP_VALUES", 1000)
    np.testing.assert_array_equal(resize_image(image, (33, 44)), whole)


def test_a_turned_view_resizes_like_its_copy() -> None:
    turned = photo_like(60, 80)[::-1].swapaxes(0, 1)
    np.testing.assert_array_equal(
        resize_image(turned, (20, 30)), resize_image(np.ascontiguousarray(turned), (20, 30))
    )


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (224, r"size must be \(height, width\) in pixels. Received: 224"),
        ((5,), r"Received: \(5,\)"),
        ((0, 5), "height must be an integer of at least 1. Received: height=0"),
        ((5, 2.5), "Received: width=2.5"),
    ],
)
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_wrong_size_is_no_damage_of_the_image(size: Any, message: str, kind: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        decode_image(encode(PICTURE, kind), size)
    with pytest.raises(InvalidInputError, match=message):
        resize_image(picture(), size)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_size_may_be_a_list_or_of_numpy(kind: str) -> None:
    for size in ([6, 8], np.array([6, 8]), (np.int64(6), np.int32(8))):
        assert decode_image(encode(PICTURE, kind), size)[0].shape == (6, 8, 3)


@pytest.mark.parametrize("shape", [(9, 9), (9, 9, 4), (0, 9, 3)])
def test_only_colour_pictures_are_resized(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match=r"must be uint8 of shape \(height, width, 3\)"):
        resize_image(np.zeros(shape, np.uint8), (5, 5))
    with pytest.raises(InvalidInputError, match="Received: float64"):
        resize_image(np.zeros((9, 9, 3)), (5, 5))


def test_an_unknown_mode_names_the_known() -> None:
    with pytest.raises(InvalidInputError, match=r"stretch, crop, pad. Received: 'zoom'"):
        resize_image(photo_like(4, 4), (2, 2), "zoom")
