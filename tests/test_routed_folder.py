"""Routing a mixed folder on the command line, killed halfway and resumed."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clusterkit.classifiers import Classifier
from clusterkit.cli import main
from tests.benchmarks.route import NEVER, check, mix
from tests.kills import Killed, killed_at


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


def run(*arguments: object, killed_at_call: int = NEVER) -> dict[str, Any]:
    """Run the command line; return its JSON, or {} if it was killed."""
    command = [*map(str, arguments), "--json"]
    if killed_at_call != NEVER:
        with killed_at(killed_at_call, victim=(os, "link")), pytest.raises(Killed):
            CliRunner().invoke(main, command)
        return {}
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_moved_killed_resumed_undone(photos: Path, tmp_path: Path) -> None:
    model = tmp_path / "clf.keras"
    files = sorted(photos.rglob("*.jpg"))
    classifier = Classifier("nn", image_size=12, epochs=20, batch_size=4, random_state=0)
    classifier.fit(files, [file.parent.name for file in files]).save(model)
    mix(photos, tmp_path / "mixed", 24)
    found = check(model, tmp_path / "mixed", tmp_path / "sorted", run=run)
    assert found["n"] == 24
    assert found["failures"] == 1
    assert 5 <= found["moved_when_killed"] < 23
    assert found["moved_when_killed"] + found["moved_after"] == 23
    assert len(found["folders"]) >= 3
