"""All results can be printed, kept as JSON and, where they are tables, written, in the same way."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clusterkit.classifiers.predict import Prediction, Predictions
from clusterkit.clustering.cluster import cluster
from clusterkit.clustering.evaluation import evaluate
from clusterkit.clustering.matching import match_clusters
from clusterkit.elbow.curve import elbow_curve
from clusterkit.embedding.embed import EmbedReport
from clusterkit.errors import OutputExistsError
from clusterkit.similarity.explain import explain
from clusterkit.similarity.similar import find_similar
from clusterkit.space_comparison.compare import compare_spaces
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.paths import json_text

# The prefix keeps spreadsheets from running a cell; a line end must not make two lines.
NAMES = ["=1.png", "two\nlines.png", *(f"{i}.png" for i in range(2, 24))]
LABELS = np.repeat([0, 1], 12)
rng = np.random.default_rng(0)
EMB = Embeddings(np.eye(2)[LABELS] + rng.normal(0, 0.05, (24, 2)), paths=NAMES)
MAKE: dict[str, Any] = {
    "clustering": lambda: cluster(EMB, n_clusters=2, random_state=0, previous=first()),
    "evaluation": lambda: evaluate(["=a"] * 12 + ["b"] * 12, LABELS),
    "identity": lambda: match_clusters(LABELS, 1 - LABELS),
    "curve": lambda: elbow_curve(EMB, k_min=2, k_max=4, n_resamples=4, random_state=0),
    "similar": lambda: find_similar("5.png", EMB),
    "explanation": lambda: explain(0, 1, EMB),
    "spaces": lambda: compare_spaces({"a": EMB, "b": EMB}, n_clusters=2, random_state=0),
    "predictions": lambda: Predictions(
        [Prediction(name, ("cat",), {"cat": 0.75, "dog": 0.25}) for name in NAMES], []
    ),
    "embedding": lambda: EmbedReport(3, 2, 1, 0, [], "pixels", 2, 1.0, "pixels-1", "/photos"),
}
N_ROWS = {"clustering": 24, "evaluation": 2, "curve": 3, "similar": 10, "spaces": 2}
N_ROWS["predictions"] = 24


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
