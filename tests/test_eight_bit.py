"""Tests of clusterkit.images.eight_bit."""

import numpy as np
import pytest

from clusterkit.images.eight_bit import on_white, to_8_bit


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 128, 255], "u1", [0, 128, 255]),
        ([0, 257, 65535], "u2", [0, 1, 255]),
        # Integers of more bits define their scale.
        ([0, 128, 255], "u4", [0, 128, 255]),
        ([0, 257, 65535], "i4", [0, 1, 255]),
        ([0, 2**31, 2**32 - 1], "u4", [0, 128, 255]),
        ([0, 2**16, 2**17 - 1], "u4", [0, 128, 255]),
        # Signed numbers: negative ones are black.
        ([-128, 0, 127], "i1", [0, 0, 255]),
        ([-1, 128, 255], "i2", [0, 128, 255]),
        ([-32768, 16384, 32767], "i2", [0, 128, 255]),
        # Fractions.
        ([-1.0, 0.5, 1.0], "f4", [0, 128, 255]),
        ([0.0, 128.0, 255.0], "f4", [0, 128, 255]),
        ([0.0, 257.0, 65535.0], "f8", [0, 1, 255]),
        ([0.0, 50_000.0, 100_000.0], "f4", [0, 128, 255]),
        ([0.0, 0.5, 1.0], "f2", [0, 128, 255]),
        # Missing values are black, and do not count for the scale.
        ([np.nan, 0.5, 1.0], "f4", [0, 128, 255]),
        ([np.inf, 0.5, 1.0], "f4", [0, 128, 255]),
        ([-np.inf, 0.5, 1.0], "f8", [0, 128, 255]),
        ([3.4028235e38, 0.5, 1.0], "f4", [0, 128, 255]),
        ([1e20, 0.5, 1.0], "f8", [0, 128, 255]),
        ([1e30, 1e30, 2e30], "f8", [128, 128, 255]),
        ([np.nan, np.nan, np.nan], "f4", [0, 0, 0]),
    ],
)
def test_scales(values: list[float], dtype: str, expected: list[int]) -> None:
    samples = np.array([values], dtype)
    before = samples.copy()
    np.testing.assert_array_equal(to_8_bit(samples), [expected])
    np.testing.assert_array_equal(samples, before)


def test_used_bits_and_named_missing_values() -> None:
    assert to_8_bit(np.array([0, 2048, 4095], np.uint16), 12).tolist() == [0, 128, 255]
    assert to_8_bit(np.array([0, 1, 3], np.uint8), 2).tolist() == [0, 85, 255]
    fractions = np.array([99999.1, 0.5, 1.0], np.float32)
    assert to_8_bit(fractions, no_data=99999.1).tolist() == [0, 128, 255]
    counts = np.array([2**32 - 1, 128, 255], np.uint32)
    assert to_8_bit(counts, no_data=2.0**32 - 1).tolist() == [0, 128, 255]
    assert to_8_bit(counts, no_data=-1.0).tolist() != [0, 128, 255]


def test_large_pictures_are_scaled_as_a_whole() -> None:
    values = np.zeros((3000, 200), np.float32)
    values[0, 0], values[-1, -1], values[1500] = 1000.0, np.inf, 500.0
    result = to_8_bit(values)
    np.testing.assert_array_equal(result, np.rint(np.where(values < 1e4, values, 0) * 255 / 65535))


def test_on_white() -> None:
    rgb, alpha = np.full((2, 3, 3), 100, np.uint8), np.array([[0, 51, 255]] * 2, np.uint8)
    assert on_white(rgb, alpha)[0, :, 0].tolist() == [255, 224, 100]
    premultiplied = np.array([[[0] * 3, [20] * 3, [100] * 3]] * 2, np.uint8)
    assert on_white(premultiplied, alpha, premultiplied=True)[0, :, 0].tolist() == [255, 224, 100]
    # Damaged: a colour exceeds its opacity.
    assert on_white(rgb, alpha, premultiplied=True)[0, 0].tolist() == [255] * 3
