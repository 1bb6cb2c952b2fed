"""Damaged files of every kind are decoded or rejected with a reason: the benchmark in short."""

import pytest

from tests.benchmarks.fuzz_decoders import SEEDS, fuzz, mutations


@pytest.mark.parametrize("kind", SEEDS)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_files_end_in_a_picture_or_a_reason(kind: str) -> None:
    ends = fuzz(kind, 120)
    assert set(ends) <= {"picture", "reason"}
    if SEEDS[kind]():
        assert sum(ends.values()) == 120
        assert ends["picture"] > 0


def test_the_damage_is_the_same_each_time() -> None:
    seeds = SEEDS["png"]()
    assert list(mutations(seeds, 50, 1)) == list(mutations(seeds, 50, 1))
    assert list(mutations(seeds, 50, 1)) != list(mutations(seeds, 50, 2))
