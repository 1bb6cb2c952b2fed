"""Levels: several numbers of groups, and the names of the groups."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clusterkit.clustering.levels import ChosenLevel, Levels, choose_level, find_levels
from clusterkit.elbow.curve import Level
from clusterkit.errors import InvalidInputError
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store

SIZES = (12, 6, 6)


@pytest.fixture
def emb() -> Embeddings:
    """Return a far bundle of zebras, and two near each other of lions and of leopards."""
    directions = np.array([[0.0, 1, 0], [1, 0, 0.5], [1, 0, -0.5]]).repeat(SIZES, axis=0)
    noise = np.random.default_rng(0).normal(0, 0.02, directions.shape)
    names = np.repeat(["zebra", "lion", "leopard"], SIZES)
    return Embeddings(
        directions + noise,
        paths=[f"{i:02}.png" for i in range(len(names))],
        space={"extractor": "bundles", "fingerprint": "0" * 64},
        top5=[[(str(name), 0.9)] for name in names],
    )


@pytest.mark.usefixtures("two_levels")
def test_the_groups_of_every_level_have_names(emb: Embeddings, tmp_path: Path) -> None:
    found = find_levels(emb)
    assert [level.n_clusters for level in found.levels] == [2, 3]
    assert [set(names.values()) for names in found.names] == [
        {"zebra", "leopard / lion"},
        {"zebra", "lion", "leopard"},
    ]
    document = found.to_dict()
    assert document["k"] == 3
    assert [point["k"] for point in document["curve"]] == [2, 3, 4]
    for level, (k, confidence) in zip(document["levels"], [(2, 0.6), (3, 0.85)], strict=True):
        assert (level["k"], level["confidence"]) == (k, confidence)
        assert level["sizes"].keys() == level["names"].keys() == {str(i) for i in range(k)}
        zebras = next(group for group, name in level["names"].items() if name == "zebra")
        assert level["sizes"][zebras] == 12
    with found.to_csv(tmp_path / "levels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["level"], row["k"], row["cluster"]) for row in rows] == [
        ("1", "2", "0"),
        ("1", "2", "1"),
        ("2", "3", "0"),
        ("2", "3", "1"),
        ("2", "3", "2"),
    ]
    assert {row["name"]: row["images"] for row in rows[2:]} == {
        "zebra": "12",
        "lion": "6",
        "leopard": "6",
    }


@pytest.mark.usefixtures("two_levels")
def test_the_text_lists_the_levels_below_the_verdict(emb: Embeddings) -> None:
    *_, verdict, header, coarse, fine = find_levels(emb).to_text().split("\n")
    assert verdict == "3 clusters: so it is."
    assert header.split() == ["level", "k", "confidence", "groups"]
    # Large groups first; ties in any order.
    assert coarse.split(maxsplit=3)[:3] == ["1", "2", "0.60"]
    assert set(coarse.split(maxsplit=3)[3].split(", ")) == {"zebra", "leopard / lion"}
    assert fine.split()[:5] == ["2", "3", "<", "0.85", "zebra,"]
    assert set(fine.replace(",", "").split()[5:]) == {"lion", "leopard"}


@pytest.mark.usefixtures("two_levels")
def test_names_may_be_from_another_space_or_none(emb: Embeddings, tmp_path: Path) -> None:
    rows = [
        Row(path, "", vector=vector, top5=classes)
        for path, vector, classes in zip(emb.paths, emb.vectors, emb.top5 or (), strict=True)
    ]
    space = Store(tmp_path).open_space(emb.space | {"dimension": 3})
    space.append(rows)
    unknown = replace(space.read(), top5=None)
    assert find_levels(unknown, store=tmp_path).names == find_levels(emb).names
    assert find_levels(unknown, store=tmp_path).names_from == "bundles-00000000"
    found = find_levels(unknown)
    assert (found.names, found.names_from) == (({}, {}), None)
    assert found.to_text().endswith("0.85  sizes 12, 6, 6")


def many(names: list[str], k: int) -> Levels:
    """Return one level of k groups, the first the largest, some of them with a name."""
    level = Level(k, 0.5, np.concatenate([np.arange(k)[: k - i] for i in range(k)]))
    curve: Any = SimpleNamespace(k=k, levels=(level,), verdict="", to_text=lambda: "so it is")
    return Levels(curve, (dict(enumerate(names)),), "a")


@pytest.mark.parametrize(
    ("names", "k", "said"),
    [
        (["cat", "dog"], 2, "cat, dog"),
        (["cat", "dog"], 5, "cat, dog and 3 more"),
        (["x" * 200, "cat"], 2, "x" * 200 + " and 1 more"),
        ([f"animal {i:02}" for i in range(30)], 30, "animal 04, animal 05 and 24 more"),
        ([], 30, "sizes 30, 29, 28, 27, 26, 25"),
    ],
)
def test_many_names_are_shortened(names: list[str], k: int, said: str) -> None:
    line = many(names, k).to_text().split("\n")[-1]
    assert said in line
    assert len(line) < 120 or "x" in said


def test_a_real_curve_has_its_best_number_among_the_levels(emb: Embeddings) -> None:
    rng = np.random.default_rng(0)
    X = np.eye(5)[np.repeat(range(5), 40)] + rng.normal(0, 0.05, (200, 5))
    found = find_levels(X, k_max=8, random_state=0)
    assert found.curve.k == 5
    assert 5 in [level.n_clusters for level in found.levels]
    assert all(sum(sizes.values()) == 200 for sizes in found.sizes)


def test_without_a_clear_number_there_are_no_levels() -> None:
    found = find_levels(np.ones((9, 3)), random_state=0)
    assert (found.levels, found.names) == ((), ())
    assert found.to_dict()["levels"] == []
    assert found.to_text() == found.curve.to_text()
    assert len(found.to_frame()) == 0
    assert "all rows are the same" in found._repr_html_()
    with pytest.raises(InvalidInputError, match=r"^the elbow found no number: .*same.*-k N"):
        choose_level(found.curve, 1)


def test_a_level_is_chosen_by_its_position() -> None:
    levels = tuple(Level(k, k / 10, np.zeros(0, np.int32)) for k in (2, 5, 9))
    curve: Any = SimpleNamespace(k=5, levels=levels, sampled=None)
    assert (
        choose_level(curve) == choose_level(curve, 2) == ChosenLevel(2, (2, 5, 9), (0.2, 0.5, 0.9))
    )
    assert choose_level(curve, 3).k == 9
    assert choose_level(curve, 1).to_dict() == {
        "level": 1,
        "k": 2,
        "confidence": 0.2,
        "levels": [
            {"k": 2, "confidence": 0.2},
            {"k": 5, "confidence": 0.5},
            {"k": 9, "confidence": 0.9},
        ],
        "sample": None,
    }
    assert choose_level(curve, 1).to_text() == (
        "level 1 of 3, 2 clusters, confidence 0.20\n"
        "Other levels: --level 2 (5 clusters, confidence 0.50), "
        "--level 3 (9 clusters, confidence 0.90)"
    )
    with pytest.raises(InvalidInputError, match=r"1 \(2 clusters.*3 \(9 clusters.*level=4"):
        choose_level(curve, 4)
    one: Any = SimpleNamespace(k=5, levels=levels[1:2], sampled=None)
    assert choose_level(one).to_text() == "5 clusters, confidence 0.50"
