"""Spaces are ranked by what they show of the images, on the images that they have in common."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score

from clusterkit.cli import main
from clusterkit.elbow import curve
from clusterkit.embedding.embed import embed_to_store
from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.images.folder import ImageFolder
from clusterkit.similarity.scaling import unit_rows
from clusterkit.space_comparison import SpaceComparison, compare_spaces, read_spaces, scores
from clusterkit.space_comparison.scores import agreement, measure, rank_one_scores
from clusterkit.space_comparison.shared_images import name_spaces, share_rows
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import Store
from tests.grid_colours import GridColours

KINDS = 5
TRUTH = np.repeat(np.arange(KINDS), 24)
# For tests that do not depend on the scores.
QUICK: dict[str, Any] = {"n_clusters": 2, "max_samples": 20, "random_state": 0}
Spaces = dict[str, NDArray[np.float32]]


def view(noise: float, seed: int, dimension: int = 40) -> NDArray[np.float32]:
    """Return the true groups in a random space, with random errors."""
    rng = np.random.default_rng(seed)
    centers = np.abs(rng.normal(size=(KINDS, dimension)))
    return (centers[TRUTH] + rng.normal(0, noise, (len(TRUTH), dimension))).astype(np.float32)


def brightness(seed: int) -> NDArray[np.float32]:
    """Return a smooth and stable space that is independent of the groups."""
    rng = np.random.default_rng(seed)
    light = rng.uniform(size=(len(TRUTH), 1))
    return (1 + light @ rng.normal(size=(1, 60)) + rng.normal(0, 0.05, (len(TRUTH), 60))).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def spaces() -> Spaces:
    return {
        "bright": brightness(1),
        "blurred": view(0.9, 2),
        "clear": view(0.5, 3),
        "noise": np.random.default_rng(4).normal(size=(len(TRUTH), 30)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def found(spaces: Spaces) -> SpaceComparison:
    return compare_spaces(spaces, n_clusters=KINDS, labels=TRUTH, random_state=0)


@pytest.fixture(scope="module")
def pair(spaces: Spaces) -> Spaces:
    return {name: spaces[name] for name in ("noise", "clear")}


@pytest.fixture(scope="module")
def found_of_pair(pair: Spaces) -> SpaceComparison:
    return compare_spaces(pair, n_clusters=KINDS, labels=TRUTH, random_state=0)


def test_the_ranks_are_those_of_the_accuracy(found: SpaceComparison) -> None:
    assert found.rank[:2] == ["clear", "blurred"]
    clear, blurred, *poor = found.spaces
    assert clear.accuracy > 0.95 > blurred.accuracy > max(one.accuracy for one in poor) + 0.1
    assert clear.score > 1.1 * blurred.score
    assert blurred.score > 2 * max(one.score for one in poor)
    assert found.correlations["score"] >= 0.8


def test_neighbors_and_silhouette_alone_would_not_do(found: SpaceComparison) -> None:
    scores = {one.space: one for one in found.spaces}
    assert scores["bright"].silhouette == max(one.silhouette for one in found.spaces)
    assert scores["bright"].neighbors > scores["blurred"].neighbors
    assert scores["bright"].agreement < 0.1 < scores["blurred"].agreement


def test_scores_do_not_know_the_labels(pair: Spaces, found_of_pair: SpaceComparison) -> None:
    without = compare_spaces(pair, n_clusters=KINDS, random_state=0)
    assert without.rank == found_of_pair.rank
    assert [one.score for one in without.spaces] == [one.score for one in found_of_pair.spaces]
    assert {one.accuracy for one in without.spaces} == {None}
    assert without.n_labels is without.correlations is None
    assert "accuracy" not in without.to_text()


def test_neither_order_nor_scale_nor_rotation_matters(
    pair: Spaces, found_of_pair: SpaceComparison
) -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 40)))[0]
    turned = dict(reversed(pair.items())) | {"clear": 7 * pair["clear"] @ rotation}
    again = compare_spaces(turned, n_clusters=KINDS, random_state=0)
    assert again.rank == found_of_pair.rank
    for one, other in zip(again.spaces, found_of_pair.spaces, strict=True):
        assert one.score == pytest.approx(other.score, abs=0.05)


def test_one_good_space_is_found_among_poor_ones(spaces: Spaces) -> None:
    poor = {"bright": spaces["bright"], "bright too": brightness(5)}
    all_spaces = poor | {"clear": spaces["clear"]}
    assert compare_spaces(all_spaces, n_clusters=KINDS, random_state=0).rank[0] == "clear"


def test_the_number_of_clusters_need_not_be_known(spaces: Spaces) -> None:
    result = compare_spaces({name: spaces[name] for name in ("blurred", "clear")}, random_state=0)
    assert result.n_clusters == (3, 4, 5, 6, 8, 10, 12, 15, 20)
    assert result.rank == ["clear", "blurred"]


def test_two_spaces_are_enough(found_of_pair: SpaceComparison) -> None:
    assert found_of_pair.rank == ["clear", "noise"]
    assert found_of_pair.n_clusters == (4, 5, 6)
    assert found_of_pair.correlations is None


def test_few_images_are_compared_for_few_clusters() -> None:
    rng = np.random.default_rng(0)
    assert compare_spaces(
        [rng.normal(size=(8, 3)) for _ in range(2)], random_state=0
    ).n_clusters == (2,)
    assert compare_spaces(
        [rng.normal(size=(16, 3)) for _ in range(2)], random_state=0
    ).n_clusters == (3, 4)


def test_a_sample_stands_for_many_images(pair: Spaces) -> None:
    unnamed = list(pair.values())
    result = compare_spaces(unnamed, n_clusters=KINDS, max_samples=60, labels=TRUTH, random_state=0)
    assert result.n == len(TRUTH)
    assert result.rank == ["space 2", "space 1"]


def test_a_table_of_rank_one_gives_its_factors() -> None:
    factors = np.array([0.9, 0.7, 0.1])
    np.testing.assert_allclose(rank_one_scores(np.outer(factors, factors)[None]), factors)


def test_scores_are_of_the_same_clusters_and_of_one_sweep(
    spaces: Spaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, numbers = unit_rows(spaces["blurred"]), (3, 5, 8)
    sweep, swept = scores.kmeans_sweep, []

    def count(*args: Any, **kwargs: Any) -> Any:
        swept.append(args)
        return sweep(*args, **kwargs)

    for module in (scores, curve):
        monkeypatch.setattr(module, "kmeans_sweep", count)
    found = measure(rows, numbers, 0)
    assert len(swept) == 1
    silhouettes = [silhouette_score(rows, labels) for labels in found.labels]
    np.testing.assert_allclose(found.silhouette, silhouettes, atol=1e-5)
    assert (found.stability > 0).all()
    assert (found.stability <= 1).all()


def test_agreement_is_symmetric_and_within_bounds(spaces: Spaces) -> None:
    measured = [measure(spaces[name], (3, 5), 0) for name in ("bright", "blurred", "clear")]
    table = agreement(measured)
    assert table.shape == (2, 3, 3)
    assert np.array_equal(table, table.transpose(0, 2, 1))
    assert table.min() >= 0
    assert table.max() <= 1
    assert table[1, 2, 1] > 0.3 > table[1, 2, 0]


def test_identical_vectors_come_last_with_a_warning(pair: Spaces) -> None:
    same = np.ones((len(TRUTH), 4), np.float32)
    alike = {"same": same, "same too": 2 * same}
    with pytest.warns(UserWarning, match=r"all vectors of same.* are identical"):
        result = compare_spaces(alike | pair, n_clusters=KINDS, labels=TRUTH, random_state=0)
    assert result.rank[-2:] == ["same", "same too"]
    assert result.spaces[-1].score == result.spaces[-1].stability == 0
    json.dumps(result.to_dict(), allow_nan=False)
    alike |= {"same again": 3 * same}
    with pytest.warns(UserWarning, match=r"all vectors of same.* are identical"):
        result = compare_spaces(alike, n_clusters=KINDS, labels=TRUTH, random_state=0)
    assert result.correlations is not None
    assert np.isnan(result.correlations["score"])
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["correlations"] == (
        dict.fromkeys(result.correlations)
    )


def test_few_different_vectors_stop_nothing(spaces: Spaces) -> None:
    few = np.eye(2, dtype=np.float32)[TRUTH % 2]
    result = compare_spaces(
        {"few": few, "clear": spaces["clear"]}, n_clusters=KINDS, random_state=0
    )
    assert all(0 < one.score <= 1 for one in result.spaces)


def with_nan(X: NDArray[np.float32]) -> NDArray[np.float32]:
    X = X.copy()
    X[7, 2] = np.nan
    return X


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda s: {"one": s["clear"]}, {}, "at least two spaces. Received: one. Embed the same"),
        (lambda s: [], {}, "at least two spaces. Received: none"),
        (lambda s: None, {}, "spaces must be a store, its path, or .* Received: None"),
        (lambda s: s | {"bad": with_nan(s["clear"])}, {}, "NaN or infinity in bad, image 7"),
        (lambda s: s | {"short": s["clear"][:50]}, {}, "same number of rows. Received: .*short 50"),
        (lambda s: {name: X[:7] for name, X in s.items()}, {}, "at least 8 images .* Received: 7"),
        (lambda s: s, {"n_clusters": 31}, "from 2 to 30, .* 120 images .* Received: 31"),
        (
            lambda s: s,
            {"n_clusters": 1},
            "n_clusters must be an integer of at least 2. Received: n_clusters=1",
        ),
        (lambda s: s, {"labels": {"a.png": "a"}}, "name none of the 120 images"),
        (
            lambda s: s,
            {"labels": ["a"] * 7},
            "one label per image, .* 7 labels, 120 images",
        ),
        (lambda s: s | {"flat": s["clear"][0]}, {}, "vectors must have shape"),
    ],
)
def test_what_cannot_be_compared_is_told(
    spaces: Spaces, change: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        compare_spaces(change(spaces), **options)


def test_too_many_labels_give_no_accuracy(pair: Spaces) -> None:
    with pytest.warns(UserWarning, match="no accuracy: 120 labels are too many for 120 images"):
        result = compare_spaces(pair, labels=np.arange(len(TRUTH)), **QUICK)
    assert result.n_labels is None


def test_images_without_a_label_count_for_the_scores_only(pair: Spaces) -> None:
    labels = [None if row % 3 else str(kind) for row, kind in enumerate(TRUTH)]
    result = compare_spaces(pair, n_clusters=KINDS, labels=labels, random_state=0)
    assert (result.n, result.n_labels) == (len(TRUTH), KINDS)
    assert result.spaces[0].accuracy > 0.95
    named = {str(row): label for row, label in enumerate(labels)}
    for form in (named, pd.Series(named)[::-1]):
        again = compare_spaces(pair, n_clusters=KINDS, labels=form, random_state=0)
        assert again.to_dict() == result.to_dict()
    with pytest.raises(TypeError, match="'k'"):
        compare_spaces(pair, k=KINDS)  # type: ignore[call-arg]


def embeddings(X: NDArray[np.float32], rows: Any, **changes: Any) -> Embeddings:
    """Return some images of a space as a store would."""
    fields: dict[str, Any] = {
        "paths": [f"{TRUTH[row]}/{row}.png" for row in rows],
        "root": Path("/photos"),
        "digests": [f"digest {row}" for row in rows],
    }
    return Embeddings(X[rows], **fields | changes)


def test_only_shared_images_are_compared_in_any_order(spaces: Spaces) -> None:
    rng = np.random.default_rng(0)
    clear = embeddings(spaces["clear"], np.arange(20, 120))
    blurred = embeddings(spaces["blurred"], rng.permutation(100))
    both = {"clear": clear, "blurred": blurred}
    result = compare_spaces(both, n_clusters=KINDS, labels="folders", random_state=0)
    assert (result.n, result.n_labels) == (80, 5)
    assert [one.n_images for one in result.spaces] == [100, 100]
    assert result.spaces[0].accuracy > 0.95


def test_folders_are_labels_only_if_a_person_says_so(spaces: Spaces) -> None:
    pair = {name: embeddings(spaces[name], np.arange(120)) for name in ("clear", "noise")}
    found = compare_spaces(pair, **QUICK)
    assert found.n_labels is None
    assert "accuracy" not in found.to_text() + "".join(found.to_frame().columns)
    found = compare_spaces(pair, labels="folders", **QUICK)
    assert "accuracy" in found.to_text()
    assert found.to_frame()["accuracy"].tolist() == [one.accuracy for one in found.spaces]
    flat = {name: embeddings(spaces[name], np.arange(8)) for name in pair}
    for space in flat.values():
        space.paths[:] = [f"all/{i}.png" for i in range(8)]
    with pytest.warns(UserWarning, match="no accuracy: all images have the same label"):
        assert compare_spaces(flat, labels="folders", **QUICK).n_labels is None


def test_moved_images_are_known_by_content_and_copies_count_once(spaces: Spaces) -> None:
    rows = np.arange(120)
    here = embeddings(spaces["clear"], rows)
    moved = embeddings(spaces["blurred"], rows, root=Path("/elsewhere"))
    assert compare_spaces({"here": here, "moved": moved}, **QUICK).n == 120
    twice = embeddings(spaces["blurred"], [*rows, 0], paths=[*here.paths, "copy.png"])
    assert count_shared(here=here, twice=twice) == 120
    nowhere = embeddings(spaces["blurred"][::-1], rows, root=None, digests=None)
    assert count_shared(nowhere=nowhere, too=nowhere[rows[:99]]) == 99
    unknown = embeddings(spaces["blurred"], rows, root=Path("/elsewhere"), digests=None)
    with pytest.raises(InvalidInputError, match=r"none in common.*here 120, unknown 120"):
        compare_spaces({"here": here, "unknown": unknown})


def count_shared(**spaces: Embeddings) -> int:
    """Return how many images of some spaces are the same."""
    counts = {len(rows) for rows in share_rows(name_spaces(spaces, ())).values()}
    assert len(counts) == 1
    return counts.pop()


def test_the_same_space_twice_is_refused(spaces: Spaces) -> None:
    one = embeddings(spaces["clear"], np.arange(120), space={"fingerprint": "f" * 64})
    with pytest.raises(InvalidInputError, match=r"must come once. Twice: unknown-ffffffff"):
        compare_spaces([one, one])


def test_a_label_file(spaces: Spaces, tmp_path: Path) -> None:
    lines = ["file,label", *(f"{row}.png,kind {TRUTH[row]}" for row in range(0, 120, 2))]
    lines.append("z.png,kind 0")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    pair = {
        name: embeddings(spaces[name], np.arange(120), paths=[f"{row}.png" for row in range(120)])
        for name in ("clear", "noise")
    }
    assert compare_spaces(pair, **QUICK).n_labels is None
    with pytest.warns(Notice, match=r"a label for 60 of 120 images, and 1 for other files: z\.png"):
        result = compare_spaces(
            pair, n_clusters=KINDS, labels=tmp_path / "labels.csv", random_state=0
        )
    assert result.n_labels == 5
    assert result.spaces[0].accuracy > 0.95


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["compare-spaces", *map(str, arguments)])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder whose images differ in the colour of their corners, embedded twice."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for kind, corners in enumerate(rng.integers(30, 220, (4, 2, 2, 3))):
        folder = tmp_path / f"photos/{kind}"
        folder.mkdir(parents=True)
        for i in range(10):
            pixels = corners.repeat(16, 0).repeat(16, 1) + rng.integers(-30, 30, (32, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    for cells in (1, 2):
        embed_to_store(ImageFolder("photos"), GridColours(cells), ".clusterkit")
    return tmp_path


def test_the_command_ranks_the_spaces_of_the_store(store: Path) -> None:
    result = run("--json", "--labels", "folders")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    names = {space.folder.name for space in Store().spaces()}
    assert {space["space"] for space in document["spaces"]} == names
    assert [space["rank"] for space in document["spaces"]] == [1, 2]
    assert (document["n"], document["n_labels"]) == (40, 4)
    assert document["spaces"][0]["accuracy"] == 1.0
    assert (
        "Compared on the 40 images that all of the spaces hold; equal files count once."
        in result.stderr
    )
    assert "--labels" not in result.stderr
    result = run("-k", "4")
    assert "For the accuracy, give --labels FILE, or --labels folders" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        *("rank", "space", "score", "stability", "neighbours", "silhouette", "agreement")
    ]
    assert lines[1].split()[1] == document["spaces"][0]["space"]


@pytest.mark.filterwarnings("ignore:labels.csv has a label for")
def test_the_command_takes_some_spaces_a_number_and_labels(store: Path) -> None:
    (store / "labels.csv").write_text(
        "file,label\n"
        + "\n".join(f"{kind}/{i}.png,{kind % 2}" for kind in range(4) for i in (0, 1))
    )
    names = [space.folder.name for space in Store().spaces()]
    chosen = ("-e", names[0], "-e", names[1], "-k", "4", "--labels", "labels.csv")
    document = json.loads(run(*chosen, "--json").stdout)
    assert document["n_labels"] == 2
    assert document["n_clusters"] == [3, 4, 5]
    result = run("-e", names[0])
    assert result.exit_code == 1
    assert "at least two spaces" in result.stderr
    result = run("-e", "nothing")
    assert result.exit_code == 1
    assert "no space of 'nothing'" in result.stderr


def test_the_command_draws(store: Path) -> None:
    assert run("-k", "2", "-o", "spaces.png").exit_code == 0
    assert (store / "spaces.png").read_bytes().startswith(b"\x89PNG")
    assert run("-o", "spaces.png").exit_code == 1


def test_spaces_of_a_store_are_chosen_by_name(store: Path) -> None:
    names = [space.folder.name for space in Store().spaces()]
    assert set(compare_spaces(".clusterkit", extractors=names, **QUICK).rank) == set(names)
    with pytest.raises(InvalidInputError, match="at least two spaces"):
        compare_spaces(".clusterkit", extractors=names[:1])
    with pytest.raises(InvalidInputError, match="extractors choose among the spaces of a store"):
        compare_spaces([np.eye(8), np.eye(8)], extractors=names)


def test_an_empty_store(tmp_path: Path) -> None:
    result = run("-s", tmp_path)
    assert result.exit_code == 1
    assert "clusterkit embed FOLDER" in result.stderr
    with pytest.raises(NotFoundError):
        read_spaces(Store(tmp_path), ["xception"])


def test_what_is_damaged_or_empty_is_left_out_with_a_warning(store: Path) -> None:
    space, _ = Store().spaces()
    copy = shutil.copytree(space.folder, store / ".clusterkit/other-00000000")
    (copy / "space.json").write_text("")
    (store / "broken").mkdir()
    (store / "broken/0.png").write_bytes(b"no picture")
    embed_to_store(ImageFolder("broken"), GridColours(4), ".clusterkit")
    with (
        pytest.warns(UserWarning, match="other-00000000 is left out: .* missing or damaged"),
        pytest.warns(UserWarning, match="left out: it holds no embedded image"),
    ):
        assert compare_spaces(".clusterkit", **QUICK).n == 40
