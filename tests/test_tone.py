"""Colour tone of pictures: conversions compared with known values, and removal of tone."""

from itertools import pairwise

import numpy as np
import pytest

from clusterkit.images.tone import (
    Tone,
    compare_tones,
    from_lab,
    give_tone,
    in_grey,
    measure_tone,
    to_lab,
)

rng = np.random.default_rng(0)
NOISE = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
# Coarse patches of moderate colours, which are not clipped in another tone.
PATCHES = rng.integers(90, 170, (6, 5, 3), dtype=np.uint8).repeat(4, axis=0)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        # Bruce Lindbloom's calculator (sRGB, D65).
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_lab_is_that_of_the_standard(
    rgb: tuple[int, int, int], lab: tuple[float, float, float]
) -> None:
    np.testing.assert_allclose(to_lab(np.array(rgb, np.uint8)), lab, atol=0.05)


def test_lab_and_back_is_the_same_picture() -> None:
    np.testing.assert_array_equal(from_lab(to_lab(NOISE)), NOISE)


def test_colours_that_no_screen_shows_are_clipped() -> None:
    assert from_lab(np.array([50.0, 300, 300], np.float32)).tolist()[1:] == [0, 0]


def test_grey_keeps_the_luma_only() -> None:
    grey = in_grey(NOISE)
    assert grey.shape == NOISE.shape
    assert (grey == grey[..., :1]).all()
    np.testing.assert_allclose(grey[..., 0], NOISE @ [0.299, 0.587, 0.114], atol=0.5001)


def test_a_picture_gets_the_tone_that_is_given() -> None:
    wanted = Tone(np.array([55.0, 8.0, -12.0]), np.array([9.0, 4.0, 6.0]))
    found = measure_tone(give_tone(PATCHES, wanted))
    np.testing.assert_allclose(found.mean, wanted.mean, atol=0.3)
    np.testing.assert_allclose(found.spread, wanted.spread, atol=0.3)
    # Its own tone changes nothing except rounding.
    own = give_tone(PATCHES, measure_tone(PATCHES))
    assert np.abs(own.astype(int) - PATCHES).max() <= 1


def test_an_even_picture_moves_without_noise() -> None:
    even = np.full((4, 4, 3), 100, np.uint8)
    given = give_tone(even, Tone(np.array([70.0, 0.0, 0.0]), np.array([20.0, 5.0, 5.0])))
    assert len(np.unique(given)) == 1
    np.testing.assert_allclose(to_lab(given)[0, 0], [70, 0, 0], atol=0.5)


def test_tones_are_alike_by_colours_not_by_places() -> None:
    shuffled = rng.permutation(NOISE.reshape(-1, 3)).reshape(NOISE.shape)
    assert compare_tones(NOISE, shuffled) == pytest.approx(1)
    # Not above 1 by rounding.
    assert compare_tones(*[np.full((8, 8, 3), 5, np.uint8)] * 2) == 1
    red, green = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0] = green[..., 1] = 255
    assert compare_tones(red, green) == 0
    # Nearly the same colour is nearly the same tone, on both sides of the edge of a bin.
    steps = [np.full((8, 8, 3), (120, 90, 60 + step), np.uint8) for step in range(40)]
    alike = [compare_tones(one, other) for one, other in pairwise(steps)]
    assert min(alike) > 0.9
    assert 0 < compare_tones(steps[0], steps[-1]) < min(alike)


def test_pictures_of_other_sizes_compare() -> None:
    assert compare_tones(NOISE, NOISE.repeat(2, axis=0)) == pytest.approx(1)
