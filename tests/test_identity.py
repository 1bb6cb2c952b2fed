"""Clusters keep their numbers, and changes are reported, in constructed cases."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from clusterkit.clustering.matching import IdentityReport, Move, match_clusters
from clusterkit.errors import InvalidInputError
from clusterkit.utils.text import json_text

BEFORE = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])


def renumbered(labels: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """Renumber the clusters, like another seed of k-means; noise stays."""
    numbers = np.random.default_rng(seed).permutation(labels.max() + 1)
    return np.where(labels < 0, -1, numbers[labels])


def lines(report: IdentityReport) -> list[str]:
    return report.to_text().split("\n")


def changes(report: IdentityReport) -> dict[str, object]:
    """Return the parts of a report that describe changes."""
    return {
        name: value
        for name in ("new", "split", "merged", "vanished", "moved", "n_added", "n_removed")
        if (value := getattr(report, name))
    }


def test_the_same_partition_keeps_its_numbers() -> None:
    report = match_clusters(renumbered(BEFORE), BEFORE)
    np.testing.assert_array_equal(report.labels, BEFORE)
    assert changes(report) == {}
    assert report.n_kept == report.n_common == 100
    assert lines(report) == ["100 of 100 images keep their number"]


@pytest.mark.parametrize("seed", range(5))
def test_as_many_images_keep_their_number_as_the_best_matching_allows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    after = np.where(rng.random(100) < 0.03, rng.integers(4, size=100), BEFORE)
    table = np.zeros((4, 4), int)
    np.add.at(table, (BEFORE, after), 1)
    best = table[linear_sum_assignment(table, maximize=True)].sum()
    report = match_clusters(renumbered(after, seed), BEFORE)
    assert report.n_kept == (report.labels == BEFORE).sum() == best >= 95


def test_moved_images_are_named() -> None:
    after = BEFORE.copy()
    after[[0, 1, 45]] = [1, 1, 3]
    report = match_clusters(renumbered(after), BEFORE)
    np.testing.assert_array_equal(report.labels, after)
    assert changes(report) == {"moved": [Move(0, 0, 1), Move(1, 0, 1), Move(45, 1, 3)]}
    assert lines(report)[1:] == [
        "moved: 2 images from 0 to 1",
        "moved: 1 image from 1 to 3",
    ]


def test_a_split_keeps_the_number_for_its_largest_part() -> None:
    after = BEFORE.copy()
    after[:15] = 4
    after[15:20] = 5
    report = match_clusters(renumbered(after), BEFORE)
    np.testing.assert_array_equal(report.labels[20:], BEFORE[20:])
    assert set(report.labels[:20]) == {4, 5}
    assert changes(report) == {"split": {0: [0, 4, 5]}}
    assert "split: cluster 0 into 0, 4 and 5" in lines(report)


def test_a_merge_keeps_the_number_of_its_largest_source() -> None:
    after = np.where(BEFORE >= 2, 1, BEFORE)
    report = match_clusters(renumbered(after), BEFORE)
    np.testing.assert_array_equal(report.labels, after)
    assert changes(report) == {"merged": {1: [1, 2, 3]}}
    assert "merged: clusters 1, 2 and 3 into 1" in lines(report)


def test_a_cluster_of_added_images_is_new_and_the_others_keep_their_numbers() -> None:
    after = np.concatenate([BEFORE, np.full(8, 4), [0, 1]])
    names = [f"{row}.png" for row in range(110)]
    report = match_clusters(renumbered(after), BEFORE, paths=names, previous_paths=names[:100])
    np.testing.assert_array_equal(report.labels, after)
    assert changes(report) == {"new": [4], "n_added": 10}
    assert lines(report)[1:] == ["new: cluster 4", "added: 10 images"]
    assert report.n_common == report.n_kept == 100


def test_a_stray_image_does_not_hand_down_a_number() -> None:
    # 1 goes to 0 but for one image, which lies among 30 that are added.
    after = np.concatenate([np.where(BEFORE == 1, 0, BEFORE), np.full(30, 1)])
    after[40] = 1
    report = match_clusters(renumbered(after), BEFORE, paths=range(130), previous_paths=range(100))
    assert set(report.labels[100:]) == {4}
    assert changes(report) == {
        "new": [4],
        "merged": {0: [0, 1]},
        "moved": [Move(40, 1, 4)],
        "n_added": 30,
    }


def test_a_cluster_whose_images_are_gone_has_vanished_and_its_number_rests() -> None:
    rows = np.flatnonzero(BEFORE != 1)
    after = np.concatenate([BEFORE[rows], np.full(5, 1)])
    report = match_clusters(
        renumbered(after), BEFORE, paths=[*rows.tolist(), *"abcde"], previous_paths=range(100)
    )
    assert set(report.labels[-5:]) == {4}
    assert changes(report) == {"new": [4], "vanished": [1], "n_added": 5, "n_removed": 30}


def test_everything_at_once() -> None:
    after = BEFORE.copy()
    after[:12] = 4  # 0 is split
    after[BEFORE == 3] = 2  # 3 is merged into 2
    after[39] = 1  # an image moves
    after = np.concatenate([after, np.full(7, 5)])  # a cluster is new
    report = match_clusters(renumbered(after), BEFORE, paths=range(107), previous_paths=range(100))
    assert {len(report.new), *report.new, *report.split[0]} >= {0, 1}
    (new,), (part,) = report.new, report.split[0][1:]
    assert {new, part} == {4, 5}
    assert set(report.labels[100:]) == {new}
    assert set(report.labels[:12]) == {part}
    assert changes(report) == {
        "new": [new],
        "split": {0: [0, part]},
        "merged": {2: [2, 3]},
        "moved": [Move(39, 0, 1)],
        "n_added": 7,
    }


def test_noise_is_matched_with_no_cluster() -> None:
    before = np.where(BEFORE == 0, -1, BEFORE)
    after = np.where(BEFORE == 1, -1, BEFORE)
    report = match_clusters(renumbered(after), before)
    assert set(report.labels[:40]) == {0}
    assert report.new == [0]
    assert report.vanished == [1]
    assert set(report.labels[40:70]) == {-1}
    np.testing.assert_array_equal(report.labels[70:], BEFORE[70:])
    assert len(report.moved) == 70
    assert "moved: 40 images from noise to 0" in lines(report)


@pytest.mark.parametrize(("labels", "previous"), [([-1, -1], [0, 0]), ([0, 0], [-1, -1])])
def test_only_noise(labels: list[int], previous: list[int]) -> None:
    report = match_clusters(labels, previous)
    assert report.labels.tolist() == labels
    assert report.n_kept == 0


def test_one_cluster_and_as_many_clusters_as_images() -> None:
    one, each = np.zeros(20, int), np.arange(20)
    apart = match_clusters(each, one)
    assert sorted(apart.labels) == list(range(20))
    assert apart.split == {0: [apart.labels[row] for row in np.argsort(apart.labels)]}
    assert apart.moved == []
    together = match_clusters(one, each)
    assert changes(together) == {"merged": {together.labels[0]: [*range(20)]}}
    assert lines(together)[1] == "merged: clusters 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 10 more into 0"


def test_numbers_with_gaps_are_kept() -> None:
    report = match_clusters([0, 1, 2, 3], [7, 7, 9, 2], paths="abcd", previous_paths="abcd")
    assert report.labels[3] == 2
    assert report.labels[2] == 9
    assert sorted(report.labels[:2]) == [0, 7]


def test_the_report_is_json_that_any_path_survives() -> None:
    report = match_clusters(
        [0, 1, 1], [0, 0, 1], paths=["a", "\udcff", "c"], previous_paths=["a", "\udcff", "c"]
    )
    (move,) = json.loads(json_text(report.to_dict()))["moved"]
    assert move == {"path": "\\udcff", "from": 0, "to": 1}


def test_many_moves_take_few_lines() -> None:
    rng = np.random.default_rng(0)
    report = match_clusters(rng.integers(20, size=2000), rng.integers(20, size=2000))
    assert len([line for line in lines(report) if line.startswith("moved")]) == 11
    assert report.n_kept + len(report.moved) == 2000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([0], [0]), "must have an image in common"),
        (([0, 0], [0]), "must have an image in common"),
        (([0.5], [0]), "labels must be integers"),
        (([-2], [0]), "such as \\[-2\\]"),
        (([0], ["fox"]), "previous must be integers"),
    ],
)
def test_what_cannot_be_matched_is_said(arguments: tuple[list[int], list[int]], said: str) -> None:
    labels, previous = arguments
    with pytest.raises(InvalidInputError, match=said):
        match_clusters(
            labels,
            previous,
            paths=[f"a{row}" for row in range(len(labels))],
            previous_paths=[f"b{row}" for row in range(len(previous))],
        )


def test_paths_must_fit() -> None:
    with pytest.raises(InvalidInputError, match="1 paths, 1 of them different, 2 labels"):
        match_clusters([0, 0], [0], paths=["a"])
    with pytest.raises(InvalidInputError, match="each once"):
        match_clusters([0, 0], [0], paths=["a", "a"])
