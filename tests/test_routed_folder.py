"""Routing a mixed folder on the command line, with kills that are real."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clusterkit.classifiers import Classifier
from tests.benchmarks.route import check, mix

# Keras turns TensorFlow's variables into arrays in NumPy 1's way when it saves them.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Write thirty photos of three classes."""
    rng = np.random.default_rng(0)
    for place, name in enumerate(("cat", "dog", "wild")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 120, (12, 12, 3), dtype=np.uint8)
            pixels[..., place] += 120
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.jpg")
    return tmp_path / "photos"


def test_moved_killed_resumed_undone(photos: Path, tmp_path: Path) -> None:
    model = tmp_path / "clf.keras"
    files = sorted(photos.rglob("*.jpg"))
    classifier = Classifier("nn", image_size=12, epochs=20, batch_size=4, random_state=0)
    classifier.fit(files, [file.parent.name for file in files]).save(model)
    mix(photos, tmp_path / "mixed", 24)
    found = check(model, tmp_path / "mixed", tmp_path / "sorted")
    assert found["n"] == 24
    assert found["failures"] == 1
    assert 5 <= found["moved_when_killed"] < 23
    assert found["moved_when_killed"] + found["moved_after"] == 23
    assert len(found["folders"]) >= 3
