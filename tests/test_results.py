"""All results can be printed, displayed, saved as JSON and, if they are tables, exported."""

import base64
import csv
import dataclasses
import io
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clusterkit.classifiers.label_errors import LabelErrors
from clusterkit.classifiers.predict import Prediction, Predictions
from clusterkit.clustering.cluster import cluster
from clusterkit.clustering.evaluation import evaluate
from clusterkit.clustering.inspection import inspect_clusters
from clusterkit.clustering.levels import find_levels
from clusterkit.clustering.matching import match_clusters
from clusterkit.elbow.curve import elbow_curve
from clusterkit.embedding.embed import EmbedReport, embed
from clusterkit.errors import MissingDependencyError, OutputExistsError
from clusterkit.similarity.similar import explain, find_similar
from clusterkit.space_comparison.compare import compare_spaces
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.text import json_text
from tests.stores import make_photos

# The prefix prevents formulas in spreadsheets; a line end must not create two lines.
NAMES = ["=1.png", "two\nlines.png", *(f"{i}.png" for i in range(2, 24))]
LABELS = np.repeat([0, 1], 12)
rng = np.random.default_rng(0)
EMB = Embeddings(np.eye(2)[LABELS] + rng.normal(0, 0.05, (24, 2)), paths=NAMES)
MAKE: dict[str, Any] = {
    "clustering": lambda: cluster(EMB, n_clusters=2, random_state=0, previous=first()),
    "evaluation": lambda: evaluate(["=a"] * 12 + ["b"] * 12, LABELS),
    "identity": lambda: match_clusters(LABELS, 1 - LABELS),
    "curve": lambda: elbow_curve(EMB, k_min=2, k_max=4, n_resamples=4, random_state=0),
    "levels": lambda: find_levels(EMB, k_max=4, random_state=0),
    "similar": lambda: find_similar("5.png", EMB),
    "explanation": lambda: explain(0, 1, EMB),
    "spaces": lambda: compare_spaces({"a": EMB, "b": EMB}, n_clusters=2, random_state=0),
    "predictions": lambda: Predictions(
        [Prediction(name, ("cat",), {"cat": 0.75, "dog": 0.25}) for name in NAMES], []
    ),
    "label errors": lambda: LabelErrors.from_predictions(
        ["a", "a", "b"] * 8, [[0.9, 0.1], [0.1, 0.9], [0.2, 0.8]] * 8, names=NAMES
    ),
    "embedding": lambda: EmbedReport(
        3, 2, 1, 0, [], "pixels", 2, 1.0, "pixels-1", "/photos", "pixels-1"
    ),
}
N_ROWS = {"clustering": 24, "evaluation": 2, "curve": 3, "levels": 2, "similar": 10, "spaces": 2}
N_ROWS |= {"predictions": 24, "label errors": 8}


def first() -> Any:
    return cluster(EMB, n_clusters=3, random_state=0)


@pytest.fixture(params=MAKE)
def made(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, MAKE[request.param]()


def test_a_result_is_text_and_json(made: tuple[str, Any]) -> None:
    result = made[1]
    json_text(result.to_dict())
    lines = result.to_text().split("\n")
    assert all(line.isprintable() for line in lines)
    assert "lines.png" not in lines


class Tags(HTMLParser):
    """Counts tags, and fails if they are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.pictures: list[str] = []
        self.opened: list[str] = []
        self.feed(text)
        self.close()
        assert not self.opened

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] += 1
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        else:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag


def test_a_result_is_one_line_in_a_console_and_html_in_a_notebook(made: tuple[str, Any]) -> None:
    name, result = made
    assert repr(result).startswith(f"<{type(result).__name__}: ")
    assert repr(result).isprintable()
    assert len(repr(result)) < 250
    counts = Tags(result._repr_html_()).counts
    n_rows = {"clustering": 2, "levels": 1}.get(name, min(N_ROWS.get(name, 0), 20))
    assert counts["tr"] == (n_rows + 1 if n_rows else 0)
    assert counts["pre"] == 1


def test_names_are_no_html(tmp_path: Path) -> None:
    emb = dataclasses.replace(EMB, paths=[f"<img src={i}>&.png" for i in range(24)])
    for result in (find_similar("<img src=5>&.png", emb), explain(0, 1, emb)):
        assert not Tags(result._repr_html_()).pictures


def size_of(picture: str) -> tuple[int, int]:
    content = base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"))
    return Image.open(io.BytesIO(content)).size


def test_results_with_images_show_them(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 6)
    Image.new("RGB", (10, 50), "white").save(photos / "tall.png")
    emb = embed(photos, "pixels")
    found = find_similar(photos / "001.png", emb, n_neighbors=3)
    assert len(Tags(found._repr_html_()).pictures) == 4
    groups = cluster(emb, n_clusters=2, random_state=0)
    tags = Tags(groups._repr_html_())
    assert tags.counts["tr"] == 3
    assert 2 <= len(tags.pictures) == len(emb)
    assert (14, 72) in [size_of(picture) for picture in tags.pictures]
    inspection = inspect_clusters(groups)
    shown = sum(
        len(part(label))
        for label in groups.sizes
        for part in (inspection.central, inspection.doubtful, inspection.odd)
    )
    assert len(Tags(inspection._repr_html_()).pictures) == shown > 2
    noise = replace(groups, labels=np.full(len(emb), -1))
    assert not Tags(inspect_clusters(noise)._repr_html_()).pictures  # Noise has no centre.
    predictions = Predictions([Prediction(str(photos / "001.png"), ("cat",), {"cat": 1.0})], [])
    assert [size_of(one) for one in Tags(predictions._repr_html_()).pictures] == [(72, 60)]
    for file in photos.iterdir():
        file.unlink()
    assert not Tags(groups._repr_html_()).pictures


def test_a_table_is_a_data_frame(made: tuple[str, Any], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    name, result = made
    assert hasattr(result, "to_frame") == (name in N_ROWS)
    if name not in N_ROWS:
        return
    frame = result.to_frame()
    assert len(frame) == N_ROWS[name]
    written = pandas.read_csv(result.to_csv(tmp_path / "table.csv"))
    assert list(written.columns) == [column.replace("=a", "'=a") for column in map(str, frame)]
    for column, other in zip(frame, written, strict=True):
        if frame[column].dtype.kind in "fiub":
            assert frame[column].dtype == written[other].dtype
            np.testing.assert_allclose(frame[column], written[other], atol=1e-6)


def test_a_data_frame_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    result = MAKE["evaluation"]()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r"to_frame needs pandas: pip install"):
        result.to_frame()


def test_a_table_replaces_no_file_unasked(made: tuple[str, Any], tmp_path: Path) -> None:
    name, result = made
    assert hasattr(result, "to_csv") == (name in N_ROWS)
    if name not in N_ROWS:
        return
    file = tmp_path / "table.csv"
    assert result.to_csv(str(file)) == file
    with file.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert len(rows) == N_ROWS[name] + 1
    assert {len(row) for row in rows} == {len(rows[0])}
    assert not [cell for row in rows for cell in row if cell.startswith("=")]
    with pytest.raises(OutputExistsError, match=r"table\.csv exists"):
        result.to_csv(file)
    assert result.to_csv(file, overwrite=True) == file
