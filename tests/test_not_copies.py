"""Every split respects which images are declared not to be copies, in the table that records it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from clusterkit.classifiers import label_errors
from clusterkit.classifiers.comparison.records import digest_images
from clusterkit.cli import main
from clusterkit.clustering import label
from clusterkit.clustering.cluster import cluster
from clusterkit.clustering.provenance import find_not_copies
from clusterkit.datasets.labelled_images import LabelledImages, read_labelled
from clusterkit.datasets.split import draw_folds, split
from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.images.folder import ImageFolder, digest_file
from clusterkit.store.embeddings import Embeddings

PAIR = ("cat/00.png", "cat/01.png")
APART = "--not-copies clusters.csv"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cluster 24 smooth pictures, and declare that two similar cats are not copies."""
    monkeypatch.chdir(tmp_path)
    for first, name in ((0, "cat"), (100, "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            # The second cat is a paler copy of the first.
            rng = np.random.default_rng(max(first + number, 1))
            coarse = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
            picture = np.asarray(Image.fromarray(coarse).resize((64, 64)))
            picture = picture // 2 if first + number == 1 else picture
            Image.fromarray(picture).save(tmp_path / f"photos/{name}/{number:02}.png")
    images = ImageFolder("photos")
    embeddings = Embeddings(
        np.eye(2, dtype=np.float32).repeat(12, axis=0),
        paths=images.paths,
        root=images.root,
        digests=[digest_file(file) for file in images.files],
        space={"extractor": "made", "fingerprint": "0" * 64},
    )
    table = cluster(embeddings, n_clusters=2, random_state=0).to_csv("clusters.csv")
    label(table, not_copies=[PAIR])
    return table


def run(command: str) -> Result:
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 0, result.output
    return result


def rows_of_pair(data: LabelledImages) -> list[int]:
    """Return the rows of the two images, wherever they are."""
    wanted = [digest_file(Path("photos", name)) for name in PAIR]
    digests = [digest_file(str(file)) for file in data.images]
    return [digests.index(digest) for digest in wanted]


def seed_that_divides(data: LabelledImages, table: Path) -> int:
    """Return a seed with which only one of the two images is in the test part."""
    rows, apart = rows_of_pair(data), find_not_copies(data, table)
    tests = (split(data, random_state=seed, apart=apart)["test"] for seed in range(100))
    return next(seed for seed, test in enumerate(tests) if np.isin(rows, test).sum() == 1)


def test_splits_and_folds_divide_the_pair(table: Path) -> None:
    data = read_labelled("photos")
    rows, apart = rows_of_pair(data), find_not_copies(data, table)
    assert apart == {tuple(sorted(digest_file(Path("photos", name)) for name in PAIR))}
    assert find_not_copies(data) == frozenset()
    n_divided = {"split": 0, "folds": 0}
    for seed in range(10):
        for part in split(data, random_state=seed).values():
            assert np.isin(rows, part).sum() != 1
        parts = split(data, random_state=seed, apart=apart).values()
        n_divided["split"] += any(np.isin(rows, part).sum() == 1 for part in parts)
        one, other = draw_folds(data, random_state=seed)[rows]
        assert one == other
        one, other = draw_folds(data, random_state=seed, apart=apart)[rows]
        n_divided["folds"] += int(one != other)
    assert min(n_divided.values()) > 0


def test_copies_of_a_third_image_stay_together(table: Path) -> None:
    with Image.open(Path("photos", PAIR[0])) as picture:
        picture.resize((96, 96)).save("photos/cat/larger.png")
    data = read_labelled("photos")
    rows = [*rows_of_pair(data), data.names.index("cat/larger.png")]
    for seed in range(10):
        folds = draw_folds(data, random_state=seed, apart=find_not_copies(data, table))
        assert len(set(folds[rows])) == 1


@pytest.mark.filterwarnings("ignore::clusterkit.errors.Notice")
def test_a_table_of_clusters_tells_by_itself(table: Path) -> None:
    apart = find_not_copies(read_labelled("photos"), table)
    # It must be in the folder to which its paths are relative.
    for file in (table, table.with_suffix(".json")):
        file.rename(Path("photos", file.name))
    data = read_labelled("photos/clusters.csv", label_column="cluster")
    assert find_not_copies(data) == apart
    label("photos/clusters.csv", copies=[PAIR])
    assert find_not_copies(data) == frozenset()
    with pytest.warns(Notice, match="holds no decision that images are not copies: `clusterkit la"):
        assert find_not_copies(data, "photos/clusters.csv") == frozenset()
    # Any table may have a file of this name beside it.
    Path("photos/clusters.json").write_text("[]")
    assert find_not_copies(data) == frozenset()


def test_what_is_no_table_of_such_decisions_or_of_other_images(table: Path) -> None:
    data = read_labelled("photos")
    with pytest.raises(NotFoundError, match=r"none\.csv"):
        find_not_copies(data, "none.csv")
    Path("labels.csv").write_text("file,label\nphotos/cat/00.png,cat\n")
    with pytest.raises(InvalidInputError, match="must have the columns path and cluster"):
        find_not_copies(data, "labels.csv")
    with pytest.warns(Notice, match="of the 1 pair of images that are not copies, none is among "):
        split(data, random_state=0, apart={("0" * 64, "1" * 64)})


@pytest.mark.usefixtures("untrained", "undrawn")
@pytest.mark.filterwarnings("default::clusterkit.errors.Notice")
def test_a_training_learns_from_one_and_is_tested_on_the_other(table: Path) -> None:
    result = run("promote clusters.csv --into classes --root photos --name 0=one --name 1=other")
    assert (
        "marks 1 pair of images as no copies: name it with --not-copies clusters.csv"
        in result.stderr
    )
    data = read_labelled("classes")
    names = {data.names[row] for row in rows_of_pair(data)}
    n_tested = []
    for option in ("", APART):
        run(
            f"train classifier classes --network nn --epochs 1 -o clf.keras --overwrite "
            f"--seed {seed_that_divides(data, table)} {option}"
        )
        lines = Path("clf-report/predictions.csv").read_text().splitlines()
        n_tested.append(len(names & {line.partition(",")[0] for line in lines[1:]}))
    assert n_tested[0] in (0, 2)
    assert n_tested[1] == 1


@pytest.mark.usefixtures("untrained", "undrawn")
def test_networks_are_compared_by_such_a_split(table: Path) -> None:
    data = read_labelled("photos")
    seed = seed_that_divides(data, table)
    for option, apart in (("", frozenset()), (APART, find_not_copies(data, table))):
        run(
            f"compare photos --network nn --epochs 1 -o networks --overwrite --seed {seed} {option}"
        )
        recorded = json.loads(Path("networks/nn.json").read_text())["made_from"]["images"]
        assert recorded == digest_images(data, split(data, random_state=seed, apart=apart))


@pytest.mark.usefixtures("untrained")
def test_label_errors_are_found_by_such_folds(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[NDArray[np.intp]] = []

    def watch(*arguments: Any) -> Any:
        seen.append(arguments[-1])
        return predict_folds(*arguments)

    predict_folds = label_errors.predict_folds
    monkeypatch.setattr(label_errors, "predict_folds", watch)
    data = read_labelled("photos")
    for option, apart in (("", frozenset()), (APART, find_not_copies(data, table))):
        run(f"label-errors photos --network nn --folds 3 --seed 1 {option}")
        wanted = draw_folds(data, n_folds=3, random_state=1, apart=apart)
        assert seen.pop().tolist() == wanted.tolist()
        one, other = wanted[rows_of_pair(data)]
        assert (one != other) == bool(apart)
