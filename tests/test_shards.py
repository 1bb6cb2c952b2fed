"""Shards of a folder that are embedded in parallel give the same store as one run."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clusterkit.cli import main
from clusterkit.embedding.embed import EmbedReport, embed, embed_to_store
from clusterkit.embedding.shards import Shard
from clusterkit.errors import InvalidInputError, StoreError
from clusterkit.extractors.base import Extractor
from clusterkit.extractors.by_name import create_extractor
from clusterkit.images.folder import ImageFolder
from clusterkit.store.store import Store
from tests.grid_colours import REPOSITORY, GridColours, embed_command
from tests.stores import make_photos, rows_of


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos", 40)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def run(
    photos: Path, store: Path, shard: tuple[int, int] | None = None, **options: bool
) -> EmbedReport:
    return embed_to_store(ImageFolder(photos), GridColours(), store, shard=shard, **options)


# Which images


def test_every_image_is_in_one_shard(tmp_path: Path) -> None:
    paths = [f"{i:04}/é {i}.png" for i in range(4000)]
    images = ImageFolder._from_paths(tmp_path / "photos", paths)
    for of in (1, 2, 8):
        shards = [Shard(number, of).select(images, tmp_path) for number in range(1, of + 1)]
        assert sorted(path for shard in shards for path in shard.paths) == paths
        assert all(shard.paths == sorted(shard.paths) for shard in shards)
        if of == 8:
            # Their sizes are random: 500, with a standard deviation of 21.
            assert all(420 < len(shard) < 580 for shard in shards)


def test_what_is_added_moves_no_other_image(photos: Path, tmp_path: Path) -> None:
    def shards() -> dict[Path, int]:
        images = ImageFolder(tmp_path / "photos", *more)
        selected = {number: Shard(number, 3).select(images, tmp_path) for number in (1, 2, 3)}
        return {file: number for number, shard in selected.items() for file in shard.files}

    more: list[Path] = []
    before = shards()
    Image.new("RGB", (8, 8)).save(photos / "000a.png")
    # With another root of all images.
    more = [make_photos(tmp_path / "more", 3)]
    after = shards()
    assert len(after) == len(before) + 4
    assert {file: after[file] for file in before} == before
    # With images and store moved together.
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(photos, moved)
    images = ImageFolder(moved / "photos")
    for number in (1, 2, 3):
        for file in Shard(number, 3).select(images, moved).files:
            assert after[tmp_path / file.relative_to(moved)] == number


@pytest.mark.parametrize(
    "text", ["0/8", "9/8", "a/b", "3", "3/", "-1/8", "1/0", "1.5/8", "1/999999"]
)
def test_a_shard_out_of_range_is_refused(photos: Path, store: Path, text: str) -> None:
    allowed = "NUMBER/COUNT with 1 <= NUMBER <= COUNT <= 100000"
    with pytest.raises(InvalidInputError, match=f"must be {allowed}.* Received: .*{text}"):
        Shard.parse(text)
    result = CliRunner().invoke(main, ["embed", str(photos), "-s", str(store), "--shard", text])
    assert result.exit_code == 2
    assert f"must be {allowed}" in result.stderr
    assert not store.exists()


def test_a_shard_in_python_is_two_numbers(photos: Path, store: Path) -> None:
    for shard in ((0, 8), (9, 8), (1.5, 2)):
        with pytest.raises(InvalidInputError, match="must be NUMBER/COUNT"):
            run(photos, store, shard)  # type: ignore[arg-type]
    for other in ("3/8", 3, (3,), (1, 2, 3)):
        with pytest.raises(InvalidInputError, match="must be a number and a count"):
            run(photos, store, other)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="shard cannot be pruned"):
        run(photos, store, (1, 2), prune=True)
    assert not store.exists()


# The same store


def test_the_command_embeds_a_shard(photos: Path, store: Path) -> None:
    total = 0
    for number in (1, 2):
        arguments = ["embed", str(photos), "-e", "pixels", "-s", str(store)]
        result = CliRunner().invoke(main, [*arguments, "--shard", f"{number}/2", "--json"])
        assert result.exit_code == 0
        report = json.loads(result.stdout)
        assert report["shard"] == f"{number}/2"
        assert report["images"] == report["embedded"] + report["failed"]
        total += report["images"]
    assert total == 40
    result = CliRunner().invoke(main, [*arguments, "--shard", "1/2"])
    assert result.stdout.startswith("shard 1/2, ")


def change(photos: Path) -> None:
    """Move, copy, change, delete, add and break images."""
    (photos / "000.png").rename(photos / "moved.png")
    (photos / "sub").mkdir()
    for i in range(14, 20):
        (photos / f"{i:03}.png").rename(photos / f"sub/{i:03}.png")
    shutil.copy(photos / "001.png", photos / "copy.png")
    (photos / "002.png").write_bytes((photos / "003.png").read_bytes())
    (photos / "004.png").unlink()
    (photos / "005.png").write_bytes(b"broken now")
    for i in range(5):
        Image.new("RGB", (9, 9), (i, 200, 9)).save(photos / f"new{i}.png")


def test_shards_make_the_store_that_one_run_makes(
    photos: Path, store: Path, tmp_path: Path
) -> None:
    run(photos, tmp_path / "whole")
    for number in (3, 1, 2):
        report = run(photos, store, (number, 3))
        assert report.embedded + report.failed == report.images > 5
    assert rows_of(store) == rows_of(tmp_path / "whole")
    assert Store(store).verify() == []
    one, other = Store(store).space(), Store(tmp_path / "whole").space()
    assert one.read().paths == other.read().paths
    assert np.array_equal(one.read().vectors, other.read().vectors)
    assert one.summary()["images"] == other.summary()["images"] == 40
    # Each shard was the last while it ran.
    assert one.ledgers.list_files() == [one.ledgers.list_file()]
    # Again, after changes, with other shards, and an ordinary run afterwards.
    change(photos)
    run(photos, tmp_path / "whole")
    reports = [run(photos, store, (number, 2)) for number in (1, 2)]
    assert sum(report.embedded for report in reports) == 5
    assert rows_of(store) == rows_of(tmp_path / "whole")
    report = run(photos, store)
    assert (report.embedded, report.reused) == (0, report.images - report.failed)
    assert rows_of(store) == rows_of(tmp_path / "whole")


def test_more_shards_than_images(tmp_path: Path, store: Path) -> None:
    photos = make_photos(tmp_path / "photos", 3)
    for number in range(1, 9):
        run(photos, store, (number, 8))
    assert len(Store(store).space().read()) == 3
    result = CliRunner().invoke(main, ["embed", str(photos), "-s", str(store), "-e", "pixels",
                                       "--shard", "1/50"])  # fmt: skip
    assert (result.exit_code, result.stdout[:20]) == (0, "shard 1/50, 0 images")


@pytest.mark.usefixtures("tiny_network")
def test_the_network_knows_nothing_of_the_others_in_a_batch(
    photos: Path, store: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    def network(batch_size: int) -> Extractor:
        return create_extractor(
            "tinynet", weights=tiny_weights, precision="float32", batch_size=batch_size
        )

    embed_to_store(ImageFolder(photos), network(8), tmp_path / "whole")
    for number in (1, 2, 3):
        embed_to_store(ImageFolder(photos), network(5), store, shard=(number, 3))
    found, whole = (Store(place).read() for place in (store, tmp_path / "whole"))
    rows = [whole.paths.index(path) for path in found.paths]
    assert sorted(rows) == list(range(len(whole)))
    # Another size of batch may be summed in another order; other images would change far more.
    np.testing.assert_allclose(found.vectors, whole.vectors[rows], rtol=1e-4, atol=1e-6)


class Counting(GridColours):
    """Records the number of images for which it is prepared."""

    prepared = 0

    def _prepare(self, n_images: int) -> None:
        Counting.prepared = n_images


def test_the_network_is_chosen_for_all_images(photos: Path, store: Path) -> None:
    """A shard with few images computes like the run on all of them."""
    for number, n_new in ((1, 40), (2, 20 + 6)):
        embed_to_store(ImageFolder(photos), Counting(), store, shard=(number, 2))
        assert n_new - 12 < Counting.prepared <= n_new + 12
    assert Counting.prepared < 40


# In parallel


@contextmanager
def embedding(
    photos: Path, store: Path, shards: list[str], *, seconds: float = 0.05
) -> Iterator[list[subprocess.Popen[str]]]:
    """Embed shards in separate processes, with a pause in each batch."""
    options = {"part_rows": 4, "seconds": seconds}
    processes = [
        subprocess.Popen(
            embed_command(photos, store, shard=shard, **options),
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for shard in shards
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def wait_for_parts(store: Path, n: int) -> None:
    """Wait until processes have written some parts."""
    end = time.monotonic() + 60
    while len([*store.rglob("*.parquet")]) < n:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_shards_are_resumed_and_nothing_is_lost(tmp_path: Path, store: Path) -> None:
    """The long version is tests/benchmarks/shards.py."""
    photos = make_photos(tmp_path / "photos", 120)
    rng = random.Random(0)
    expected = embed(photos, GridColours())
    n_kills, kept = 0, set[str]()
    for n_parts in (2, 8):
        with embedding(photos, store, ["1/2", "2/2"]) as processes:
            wait_for_parts(store, n_parts)
            for process in rng.sample(processes, 2):
                time.sleep(rng.random() * 0.05)
                process.send_signal(signal.SIGKILL)
                n_kills += process.wait() == -signal.SIGKILL
        emb = Store(store).space().read()
        assert kept <= set(emb.paths)
        kept = set(emb.paths)
        assert np.array_equal(emb.vectors, expected[emb.paths].vectors)
        assert Store(store).verify() == []
    assert n_kills >= 2
    reports = [run(photos, store, (number, 2)) for number in (1, 2)]
    assert sum(report.reused for report in reports) >= len(kept) > 10
    run(photos, tmp_path / "whole")
    assert rows_of(store) == rows_of(tmp_path / "whole")
    assert Store(store).space().ledgers.list_files() == [Store(store).space().ledgers.list_file()]
    assert not [file for file in store.rglob("*") if ".tmp" in file.name or ".lock." in file.name]


class Interrupted(GridColours):
    """Calls a function in its second batch, in the middle of a run."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.act = act
        self.n_batches = 0

    _neutral_parameters = GridColours._neutral_parameters | {"act"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return GridColours(self.cells).get_params(deep)

    def _forward(self, images: Any) -> Any:
        self.n_batches += 1
        if self.n_batches == 2:
            self.act()
        return super()._forward(images)


def test_all_else_goes_on_beside_shards(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.embedding.embed.PART_ROWS", 4)
    monkeypatch.setattr("clusterkit.store.space.PATIENCE", 0.1)
    photos = make_photos(tmp_path / "photos", 60)
    others = make_photos(tmp_path / "others", 10, seed=5)
    done = []

    def first() -> None:
        embed_to_store(ImageFolder(photos), Interrupted(second), store, shard=(2, 2))
        done.append("the other shard")

    def second() -> None:
        """In parallel with two shards."""
        report = run(others, store)
        assert (report.embedded, report.failed) == (9, 1)
        (others / "000.png").unlink()
        assert run(others, store, prune=True).pruned == 1
        (others / "001.png").rename(others / "moved.png")
        Store(store).follow({str(others / "001.png"): str(others / "moved.png")})
        space = Store(store).space()
        assert len(space.ledgers.list_files()) == 3
        found = space.read()
        assert {"others/moved.png"} < set(found.paths)
        assert not {"others/000.png", "others/001.png"} & set(found.paths)
        assert space.summary()["images"] == len(found) + len(found.failures)
        assert Store(store).verify() == []
        for number in (1, 2):
            with pytest.raises(StoreError, match=f"another run is writing to .* as {number}of2: w"):
                run(photos, store, (number, 2))
        done.append("all else")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed_to_store(ImageFolder(photos), Interrupted(first), store, shard=(1, 2))
    assert done == ["all else", "the other shard"]
    whole = tmp_path / "whole"
    for folder in (photos, others):
        run(folder, whole)
    assert rows_of(store) == rows_of(whole)
    assert len(Store(store).space().ledgers.list_files()) == 1
