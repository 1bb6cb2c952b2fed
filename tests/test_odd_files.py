"""Broken and odd image files: each alone, and all together through the pipeline."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from clusterkit.embedding import workers as embed_run
from clusterkit.embedding.embed import embed, embed_to_store
from clusterkit.errors import ImageError
from clusterkit.images.folder import ImageFolder, read_bytes, read_image
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import Store
from clusterkit.utils.text import escape_path
from tests.grid_colours import REPOSITORY, GridColours, embed_command, without_privileges
from tests.odd_files import ODD_FILES, Corners, OddFile, make_all

STILL = [odd for odd in ODD_FILES if odd.event is None]
EVENTFUL = [odd for odd in ODD_FILES if odd.event is not None]
# Maximum change of colours by JPEG, and by resizing across the edges of the quarters.
TOLERANCE = 12


def name(odd: OddFile) -> str:
    return escape_path(odd.name)[:40]


def check_corners(image: np.ndarray, expected: Corners) -> None:
    height, width = image.shape[:2]
    rows, columns = (height // 4, 3 * height // 4), (width // 4, 3 * width // 4)
    seen = [image[row, column].astype(int) for row in rows for column in columns]
    np.testing.assert_allclose(seen, expected, atol=TOLERANCE)


def test_the_table_covers_enough() -> None:
    assert len({odd.name for odd in ODD_FILES}) == len(ODD_FILES) >= 35
    assert all((odd.corners is None) == bool(odd.reason) for odd in ODD_FILES)


@pytest.mark.parametrize("odd", STILL, ids=name)
@pytest.mark.parametrize("size", [None, (40, 20)])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_read_image(odd: OddFile, size: tuple[int, int] | None, tmp_path: Path) -> None:
    path = tmp_path / odd.name
    try:
        odd.make(path)
    except (OSError, UnicodeError) as error:
        pytest.skip(f"this file system cannot hold it: {error}")
    if odd.name == "unreadable.png" and os.access(path, os.R_OK):
        pytest.skip("root may read everything; the whole folder is read without that right")
    if odd.corners is None:
        with pytest.raises(ImageError, match=odd.reason.replace("[", r"\[")):
            read_image(path, size)
        return
    image = read_image(path, size)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert size is None or image.shape == (*size, 3)
    check_corners(image, odd.corners)


@pytest.mark.parametrize("resize", ["crop", "pad"])
@pytest.mark.parametrize("odd", [o for o in STILL if "10000" in o.name], ids=name)
def test_extreme_shapes_fit_any_way(odd: OddFile, resize: str, tmp_path: Path) -> None:
    odd.make(tmp_path / odd.name)
    image = read_image(tmp_path / odd.name, (32, 32), resize=resize)
    assert image.shape == (32, 32, 3)
    assert image.any()


def check_all(emb: Embeddings, odds: list[OddFile]) -> None:
    """Check that every file is embedded with the right colours, or failed for the right reason."""
    reasons = {failure.path: failure.reason for failure in emb.failures}
    assert sorted([*emb.paths, *reasons]) == sorted(odd.name for odd in odds)
    for odd in odds:
        if odd.corners is None:
            assert odd.reason in reasons[odd.name]
        else:
            vector = emb[odd.name].vectors[0]
            np.testing.assert_allclose(vector.reshape(4, 3), odd.corners, atol=TOLERANCE)


def test_a_folder_of_all_of_them_is_embedded_in_one_go(tmp_path: Path) -> None:
    folder, store = tmp_path / "photos", tmp_path / "store"
    folder.mkdir()
    odds = [odd for odd in make_all(folder) if odd.event is None]
    for odd in EVENTFUL:
        (folder / odd.name).unlink()
    command = without_privileges(embed_command(folder, store))
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    bad = [odd for odd in odds if odd.corners is None]
    assert report["images"] == len(odds)
    assert report["embedded"] == len(odds) - len(bad)
    assert sorted(report["failures"]) == sorted(escape_path(odd.name) for odd in bad)
    check_all(Store(store).space().read(), odds)


def test_files_that_change_under_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for odd in EVENTFUL:
        odd.make(folder / odd.name)
    listed = ImageFolder(folder)
    event_of = {folder / odd.name: odd for odd in EVENTFUL}
    for path, odd in event_of.items():
        if odd.moment == "listed":
            odd.event(path)

    def read_then_change(path: str) -> bytes:
        data = read_bytes(path)
        odd = event_of[Path(path)]
        if odd.moment == "read":
            odd.event(Path(path))
        return data

    monkeypatch.setattr(embed_run, "read_bytes", read_then_change)
    check_all(embed(listed, GridColours(), store=tmp_path / "store"), EVENTFUL)
    monkeypatch.undo()
    # Files that were changed are complete by now, and are embedded by the next run.
    report = embed_to_store(ImageFolder(folder), GridColours(), tmp_path / "store")
    assert (report.embedded, report.reused, report.failed) == (1, 1, 0)
