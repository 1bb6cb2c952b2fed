"""Nearly matching pictures are aligned and compared, regardless of their brightness."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clusterkit.images.alignment import align, compose, correlate, detail, invert, warp


def picture(seed: int, side: int = 64) -> NDArray[np.float32]:
    """Return a smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), 3), np.float32)


MAPS = np.array(
    [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
        [[0.85, 0.0, 0.1], [0.0, 0.9, -0.05]],
        [[0.9, -0.3, 0.0], [0.3, 0.9, 0.05]],
        [[-1.0, 0.05, 0.0], [0.05, 0.95, 0.05]],
    ],
    np.float32,
)


def test_a_map_is_found_from_one_nearby() -> None:
    second = np.stack([picture(seed) for seed in range(4)])
    first, inside = warp(second, MAPS)
    off = MAPS + np.array([[0.04, 0.03, 0.05], [-0.03, -0.04, -0.05]], np.float32)
    found = align(first * 0.5 + 30, second, off, inside, n_steps=15)
    assert np.abs(found - MAPS).max() < 0.005
    seen, there = warp(second, found)
    assert correlate(first, seen, inside & there).min() > 0.999


def test_maps_are_composed_and_inverted() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-1, 1, (2, 50)), np.ones((1, 50))]).astype(np.float32)
    mapped = MAPS @ points
    back = invert(MAPS) @ np.concatenate([mapped, np.ones((4, 1, 50), np.float32)], axis=1)
    assert np.abs(back - points[:2]).max() < 1e-5
    twice = compose(MAPS, MAPS) @ points
    again = MAPS @ np.concatenate([mapped, np.ones((4, 1, 50), np.float32)], axis=1)
    assert np.abs(twice - again).max() < 1e-5


def test_what_lies_outside_is_told() -> None:
    shifted = np.array([[[1, 0, 0.5], [0, 1, 0]]], np.float32)
    seen, inside = warp(picture(0)[None], shifted)
    assert inside.mean() == pytest.approx(0.75, abs=0.02)
    assert np.allclose(seen[0, :, :40], picture(0)[:, 16:56], atol=0.1)


def test_flat_pictures_are_neither_moved_nor_alike() -> None:
    flat = np.full((1, 32, 32), 7, np.float32)
    mask = np.ones((1, 32, 32), bool)
    still = MAPS[:1]
    assert np.array_equal(align(flat, picture(0, 32)[None], still, mask), still)
    assert correlate(flat, picture(0, 32)[None], mask) == 0
    assert align(flat[:0], flat[:0], still[:0], mask[:0]).shape == (0, 2, 3)


def test_detail_has_no_coarse_shapes() -> None:
    ramp = np.tile(np.arange(64, dtype=np.float32), (1, 64, 1))
    stripes = 10 * np.sin(np.arange(64, dtype=np.float32) * np.pi / 2)
    fine = detail(ramp + stripes, 4)[0, 16:48, 16:48]
    assert np.corrcoef(fine[0], stripes[16:48])[0, 1] > 0.99
