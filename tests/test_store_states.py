"""A store is in one consistent state for readers and writers, also after kills and damage."""

import errno
import json
import multiprocessing
import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from clusterkit.embedding.embed import embed, embed_to_store
from clusterkit.errors import SpaceMismatchError, StoreError
from clusterkit.extractors.base import Extraction
from clusterkit.images.folder import ImageFolder
from clusterkit.store import part_file as parts
from clusterkit.store.embeddings import Failure
from clusterkit.store.ledgers import Ledgers
from clusterkit.store.part_file import Row
from clusterkit.store.space import Space
from clusterkit.store.space_files import Folders, PartList
from clusterkit.store.store import Store
from tests.grid_colours import GridColours
from tests.kills import Changes, Killed
from tests.stores import SPACE, make_photos, make_row, rows_of

DATA = Path(__file__).parent / "data"


# A reader in parallel with a writer

READS: dict[str, Callable[[Space, ImageFolder], Any]] = {
    "read": lambda space, _: [*space.read().paths, *space.read().vectors[:, 0].tolist()],
    "subset": lambda space, images: space.read(images).vectors[:, 0].tolist(),
    "known_rows": lambda space, _: sorted(space.known_rows()),
    "summary": lambda space, _: {
        key: space.summary()[key] for key in ("images", "embedded", "failed")
    },
    "stream": lambda space, _: space.stream().paths,
    "top5": lambda space, _: sorted(space.read_top5()),
    "verify": lambda space, _: space.verify(),
}


@pytest.mark.parametrize("name", READS)
def test_a_reader_starts_over_where_a_writer_was_quicker(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The writer runs between any two reads of the file system, one after the other."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(9):
        (folder / f"{i}.png").touch()
    images = ImageFolder(folder)
    opened = parts._opened
    calls, moment = 0, -1

    def opened_late(file: Path) -> Any:
        nonlocal calls
        calls += 1
        if calls == moment:
            with monkeypatch.context() as patched:
                patched.setattr(parts, "_opened", opened)
                space.append([make_row(i) for i in (0, 3, 6, 8)])
                assert space.clean() == 0
        return opened(file)

    monkeypatch.setattr(parts, "_opened", opened_late)
    expected = READS[name](space, images)
    n_calls, moment = calls, 1
    assert n_calls > 3
    while moment <= n_calls:
        calls = 0
        assert sorted(READS[name](space, images), key=str) == sorted(expected, key=str)
        moment += 1
    assert not list(space.folder.glob("*-000001.parquet"))


def test_a_reader_gives_up_beside_a_writer_that_never_ends(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(10, 10_000))
    monkeypatch.setattr(
        Ledgers, "joined", lambda _: PartList.of_files([f"part-{next(numbers):06}.parquet"])
    )
    with pytest.raises(StoreError, match=r"rewritten 100 times while it was read: wait"):
        space.known_rows()


def prune_again_and_again(photos: Path, store: Path, rounds: int) -> None:
    """Delete a photo and embed with --prune, several times."""
    warnings.simplefilter("error")
    for file in sorted(photos.glob("*.png"))[:rounds]:
        file.unlink()
        embed_to_store(ImageFolder(photos), GridColours(), store, prune=True)


def test_two_processes_a_reader_and_a_writer(tmp_path: Path) -> None:
    """The long version is tests/benchmarks/store.py."""
    photos, store = make_photos(tmp_path / "photos", 30), tmp_path / "store"
    embed_to_store(ImageFolder(photos), GridColours(), store)
    first = Store(store).space().read()
    truth = dict(zip(first.paths, first.vectors, strict=True))
    fork = multiprocessing.get_context("spawn")
    writer = fork.Process(target=prune_again_and_again, args=(photos, store, 6))
    writer.start()
    sizes = []
    before = Store(store).space().ledgers.list_file().read_bytes()
    while writer.is_alive() and Store(store).space().ledgers.list_file().read_bytes() == before:
        time.sleep(0.01)  # Leaves the CPU to the imports of the writer.
    while writer.is_alive():
        emb = Store(store).space().read()
        sizes.append(len(emb) + len(emb.failures))
        for path, vector in zip(emb.paths, emb.vectors, strict=True):
            assert np.array_equal(vector, truth[path])
    writer.join()
    assert writer.exitcode == 0
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] >= 24


# A writer that is killed


def test_a_run_killed_at_any_change_of_the_disk_loses_at_most_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.embedding.embed.PART_ROWS", 4)
    photos, before = make_photos(tmp_path / "photos", 10), tmp_path / "before"
    embed_to_store(ImageFolder(photos), GridColours(), before)
    (photos / "000.png").rename(photos / "moved.png")
    (photos / "001.png").unlink()
    make_photos(photos, 4, seed=1)
    shutil.copytree(before, tmp_path / "whole")
    with monkeypatch.context() as patched:
        changes = Changes(patched)
        embed_to_store(ImageFolder(photos), GridColours(), tmp_path / "whole", prune=True)
    expected = rows_of(tmp_path / "whole")
    assert changes.n > 10
    for last in range(changes.n):
        store = tmp_path / f"killed-{last}"
        shutil.copytree(before, store)
        with monkeypatch.context() as patched:
            Changes(patched, last)
            with pytest.raises(Killed):
                embed_to_store(ImageFolder(photos), GridColours(), store, prune=True)
        emb = Store(store).space().read()  # without a warning
        assert len(emb) >= 7
        report = embed_to_store(ImageFolder(photos), GridColours(), store, prune=True)
        assert report.embedded + report.reused == report.images - report.failed
        assert rows_of(store) == expected
        assert Store(store).verify() == []
        listed = {file.name for file in Store(store).space().parts}
        assert listed == {file.name for file in store.rglob("*.parquet")}


def test_names_of_parts_are_never_used_again(space: Space) -> None:
    names = {file.name for file in space.parts}
    space.clean(prune=True)  # all files are gone
    assert space.parts == []
    space.append([make_row(0)])
    assert not names & {file.name for file in space.parts}


def test_a_part_that_a_killed_run_did_not_list_counts(space: Space, tmp_path: Path) -> None:
    before = space.ledgers.list_file().read_bytes()
    space.append([make_row(20), Row("21.png", "photos", error="broken")])
    space.ledgers.list_file().write_bytes(before)
    assert space.verify() == []
    with space.writing():
        assert sorted(path for path in space.known_rows() if "2" in Path(path).stem) == [
            str(tmp_path / f"photos/{i}.png") for i in (2, 20, 21)
        ]


def test_small_parts_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterkit.store.space._MANY_SMALL", 6)
    space = Store(tmp_path / "store").open_space(SPACE)
    (tmp_path / "photos").mkdir()
    for i in range(7):
        (tmp_path / f"photos/{i}.png").touch()
        space.append([make_row(i)])
    before = space.read()
    space.clean()
    assert [file.stem for file in space.parts] == ["part-000007-000008", "failures-000007-000008"]
    assert space.read().paths == before.paths
    assert np.array_equal(space.read().vectors, before.vectors)


# Damage


def rewritten(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Return what writes a part with other rows, and all that it says of itself."""

    def rewrite(file: Path) -> None:
        table = pq.read_table(file)
        pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), file)

    return rewrite


def with_vectors(change: Callable[[list[Any]], list[Any]]) -> Callable[[Path], None]:
    """Return what writes a part with other vectors."""

    def set_vectors(table: pa.Table) -> pa.Table:
        values = pa.array(change(table["vector"].to_pylist()), pa.list_(pa.float32()))
        return table.set_column(table.column_names.index("vector"), "vector", values)

    return rewritten(set_vectors)


def of_another_network(file: Path) -> None:
    description = SPACE | {"extractor": "other", "fingerprint": "fedcba9876543210"}
    other = Store(file.parent.parent.parent / "elsewhere").open_space(description)
    other.append([make_row(i) for i in (3, 5)])
    shutil.copy(other.parts[0], file)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "NaN": with_vectors(lambda rows: [[np.nan] * 3, *rows[1:]]),
    "infinity": with_vectors(lambda rows: [[np.inf] * 3, *rows[1:]]),
    "null vector": with_vectors(lambda rows: [None, *rows[1:]]),
    "null in a vector": with_vectors(lambda rows: [[None, 1, 1], *rows[1:]]),
    "longer vectors": with_vectors(lambda rows: [[*row, 1] for row in rows]),
    "other vectors": with_vectors(lambda rows: [[*map(float, row[::-1])] for row in rows]),
    "swapped": with_vectors(lambda rows: rows[::-1]),
    "other paths": rewritten(
        lambda table: table.set_column(0, "path", pa.array(["x.png", "y.png"]))
    ),
    "other paths, which no file can have": rewritten(
        lambda table: table.set_column(0, "path", pa.array(["x\0.png", ""]))
    ),
    "paths that are numbers": rewritten(
        lambda table: table.set_column(0, "path", pa.array([1, 2]))
    ),
    "no paths": rewritten(
        lambda table: table.set_column(0, "path", pa.array([None, None], pa.string()))
    ),
    "fewer rows": rewritten(lambda table: table.slice(1)),
    "no rows": rewritten(lambda table: table.slice(2)),
    "fewer columns": rewritten(lambda table: table.drop_columns(["digest"])),
    "says nothing of itself": lambda file: pq.write_table(
        pq.read_table(file).replace_schema_metadata({}), file
    ),
    "of another network": of_another_network,
    "another part": lambda file: shutil.copy(file.with_name("part-000003.parquet"), file),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_never_read_and_the_rest_kept(
    space: Space, tmp_path: Path, name: str
) -> None:
    part = space.folder / "part-000002.parquet"
    DAMAGES[name](part)
    store = Store(tmp_path / ".clusterkit")
    assert [file for file, _ in store.verify()] == [part]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        emb = space.read()
        for action in (space.summary, space.known_rows, space.read_top5, space.stream):
            with suppress(StoreError):
                action()
        for path, vector in zip(emb.paths, emb.vectors, strict=True):
            if path in ("3.png", "5.png"):  # a change of values shows in the checksum only
                assert name.split()[0] in ("other", "swapped", "fewer")
            elif path not in ("x.png", "y.png", "x\0.png", "."):
                assert np.array_equal(vector, make_row(int(path[0])).vector)
    with (
        pytest.warns(UserWarning, match=r"part-000002\.parquet is .*embedded again"),
        space.writing(),
    ):
        pass
    assert store.verify() == []
    assert space.read().paths == [f"{i}.png" for i in (0, 1, 2, 6, 7, 8)]
    assert space.read().failures == [Failure("4.png", "the file is empty")]


def test_a_stray_part_of_another_network_is_found(space: Space) -> None:
    stray = space.folder / "part-000009.parquet"
    of_another_network(stray)
    ((found, reason),) = space.verify()
    assert found == stray
    assert reason.startswith("of another network (fingerprint fedcba98")
    with pytest.warns(UserWarning, match="of another network"), space.writing():
        pass
    assert len(space.read()) == 8


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"parts": [], "next_number": 1}', '{"parts": [["../x.parquet", 1, "a"]]}'],
)
def test_a_damaged_list_is_said_and_written_again_from_the_parts(space: Space, text: str) -> None:
    before = space.read()
    space.ledgers.list_file().write_text(text)
    for action in (space.read, space.stream, space.known_rows, space.summary):
        with pytest.raises(StoreError, match=r"parts\.json is damaged.*embed"):
            action()
    assert space.read_top5() == {}  # Naming clusters works without them.
    assert [file.name for file, _ in Store(space.folder.parent).verify()] == ["parts.json"]
    with pytest.warns(UserWarning, match="written again from the parts"), space.writing():
        pass
    assert Store(space.folder.parent).verify() == []
    assert np.array_equal(space.read().vectors, before.vectors)


@pytest.mark.parametrize("kind", ["part", "list", "info"])
def test_a_file_that_cannot_be_opened_is_not_taken_for_damaged(
    space: Space, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(really: Callable[..., Any]) -> Callable[..., Any]:
        def read(path: Path, *args: Any, **options: Any) -> Any:
            if path == file:
                raise OSError(errno.EMFILE, "Too many open files")
            return really(path, *args, **options)

        return read

    files = {"part": space.parts[1], "list": space.ledgers.list_file(), "info": space.info_file}
    file = files[kind]
    before, state = file.read_bytes(), space.state

    with monkeypatch.context() as patch:
        for name in ("open", "read_text"):
            patch.setattr(Path, name, refused(getattr(Path, name)))
        with (
            pytest.raises(StoreError, match=r"cannot open .*: Too many open files"),
            space.writing(),
        ):
            pass
        ((_, reason),) = Store(space.folder.parent).verify()
        assert f"cannot open {file}: Too many open files" in reason
    assert file.read_bytes() == before
    assert space.state == state
    assert not list(space.folders.about.glob("*.damaged"))


def test_a_missing_list_is_said_and_written_again_from_the_parts(space: Space) -> None:
    space.ledgers.list_file().unlink()
    with pytest.raises(StoreError, match=r"parts\.json is missing"):
        Space(space.folder).read()
    assert [file.name for file, _ in Store(space.folder.parent).verify()] == ["parts.json"]
    with space.writing():
        assert len(space.read()) == 8


def test_no_wrong_digit_in_a_description_costs_a_vector(tmp_path: Path) -> None:
    photos, store = make_photos(tmp_path / "photos", 5), tmp_path / "store"
    embed_to_store(ImageFolder(photos), GridColours(), store)
    space = Store(store).space()
    text = space.info_file.read_text()
    for place in (text.index('"dimension": ') + 13, text.index('"fingerprint": "') + 30):
        wrong = str((int(text[place], 16) + 1) % 10)
        space.info_file.write_text(text[:place] + wrong + text[place + 1 :])
        with pytest.raises(StoreError, match=r"space\.json is missing or damaged"):
            Space(space.folder).read()
        assert [file.name for file, _ in Store(store).verify()] == ["space.json"]
        report = embed_to_store(ImageFolder(photos), GridColours(), store)
        assert (report.embedded, report.reused) == (0, 5)
        assert Store(store).verify() == []
        assert Store(store).space().summary()["embedded"] == 5


class Unreliable(GridColours):
    """Gives no numbers for the first image of a batch."""

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        vectors = super()._forward(images).vectors
        vectors[0, 1] = np.nan
        vectors[1, 0] = np.inf
        return Extraction(vectors)


def test_what_a_network_gives_that_is_no_number_is_a_failure(tmp_path: Path) -> None:
    photos, store = make_photos(tmp_path / "photos", 6), tmp_path / "store"
    report = embed_to_store(ImageFolder(photos), Unreliable(), store)
    assert (report.embedded, report.failed) == (4, 2)
    assert report.failures[0] == Failure("000.png", "the network's output contains NaN or infinity")
    assert len(embed(photos, Unreliable())) == 4
    assert Store(store).verify() == []
    # Another run tries again; nothing was stored.
    assert embed_to_store(ImageFolder(photos), GridColours(), store).embedded == 2


def test_every_byte_of_a_part_can_be_wrong_without_a_traceback(space: Space) -> None:
    part = space.folder / "part-000002.parquet"
    whole, expected = part.read_bytes(), space.read()
    footer = len(whole) - int.from_bytes(whole[-8:-4], "little") - 8
    rng = np.random.default_rng(0)
    places = [*rng.integers(footer, len(whole), 30), *rng.integers(0, footer, 5)]
    for place in places:
        wrong = bytes([whole[place] ^ rng.integers(1, 256)])
        part.write_bytes(whole[:place] + wrong + whole[place + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            emb, damages = space.read(), space.verify()
            for action in (space.known_rows, space.summary, space.read_top5):
                with suppress(StoreError):
                    action()
            with suppress(StoreError):
                list(space.stream().iter_batches(2))
        if not damages:
            assert np.array_equal(emb.vectors, expected.vectors)


# Stores of earlier formats


@pytest.fixture
def format_1(tmp_path: Path) -> Path:
    """Copy a store that the last version of format 1 wrote, beside its photos."""
    shutil.copytree(DATA / "format_1", tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def format_2(format_1: Path) -> Path:
    """Copy a store of the same photos that the last version of format 2 wrote."""
    shutil.rmtree(format_1 / "store")
    shutil.copytree(DATA / "format_2/store", format_1 / "store")
    return format_1


def test_a_store_of_format_1_is_read(format_1: Path) -> None:
    space = Store(format_1 / "store").space()
    assert json.loads(space.info_file.read_text())["format"] == 1
    emb = space.read()
    reference = embed(format_1 / "photos", GridColours(cells=1))
    assert emb.paths == reference.paths
    np.testing.assert_allclose(emb.vectors, reference.vectors, atol=1e-4)
    assert [failure.path for failure in emb.failures] == ["006.png"]
    assert len(space.read(ImageFolder(format_1 / "photos"))) == 8
    assert space.stream().shape == (8, 3)
    assert sum(map(len, space.stream().iter_batches(3))) == 8
    assert (space.summary()["embedded"], space.summary()["failed"]) == (8, 1)
    assert Store(format_1 / "store").verify() == []


@pytest.mark.parametrize("wrong", [False, True])
def test_a_store_of_format_1_is_embedded_into(format_1: Path, wrong: bool) -> None:
    store = format_1 / "store"
    if wrong:
        info = Store(store).space().info_file
        info.write_text(info.read_text().replace('"dimension": 3', '"dimension": 4'))
        assert [file.name for file, _ in Store(store).verify()] == ["space.json"]
    make_photos(format_1 / "more", 3, seed=7)
    extractor = GridColours(cells=1)
    assert embed_to_store(ImageFolder(format_1 / "more"), extractor, store).embedded == 3
    assert len(Store(store).space().read()) == 11
    report = embed_to_store(ImageFolder(format_1 / "photos"), extractor, store)
    assert (report.embedded, report.reused, report.failed) == (0, 8, 1)
    assert Store(store).verify() == []
    assert not list(store.rglob("part-000001.parquet"))
    assert embed_to_store(ImageFolder(format_1 / "photos"), extractor, store).reused == 8
    assert len(rows_of(store)) == 12


@pytest.mark.parametrize("file", ["part-000001.parquet", "part-000003.parquet"])
def test_damage_in_a_store_of_format_1(format_1: Path, file: str) -> None:
    store = format_1 / "store"
    part = Store(store).space().folder / file
    part.write_bytes(part.read_bytes()[:-9])
    assert [found.name for found, _ in Store(store).verify()] == [file]
    with pytest.warns(UserWarning, match="set aside"):
        embed_to_store(ImageFolder(format_1 / "photos"), GridColours(cells=1), store)
    assert Store(store).verify() == []
    assert len(Store(store).space().read()) == 8


def test_a_store_of_format_2_is_read_and_its_folder_tidied(format_2: Path) -> None:
    store = format_2 / "store"
    space = Store(store).space()
    emb, vectors = space.read(), embed(format_2 / "photos", GridColours(cells=1)).vectors
    np.testing.assert_allclose(emb.vectors, vectors, atol=1e-6)
    assert [failure.path for failure in emb.failures] == ["006.png"]
    assert (space.summary()["images"], Store(store).verify()) == (9, [])
    assert space.info_file.parent == space.folder  # Nothing was written.
    report = embed_to_store(ImageFolder(format_2 / "photos"), GridColours(cells=1), store)
    assert (report.embedded, report.reused, report.failed) == (0, 8, 1)
    assert {file.name[:5] for file in space.folder.iterdir()} == {"part-"}
    assert json.loads(space.info_file.read_text())["format"] == 4
    assert Store(store).verify() == []
    assert np.array_equal(space.read().vectors, emb.vectors)


def test_a_reader_beside_the_tidying_of_format_2_and_a_kill_at_any_moment_of_it(
    format_2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every change of the file system the store is read, and then the run is killed."""
    before = rows_of(format_2 / "store")
    for last in range(7):
        store = format_2 / f"killed-{last}"
        shutil.copytree(format_2 / "store", store)
        space = Store(store).space()
        with monkeypatch.context() as patched, suppress(Killed):
            Changes(patched, last)
            with space.writing():
                pass
        assert rows_of(store) == before
        for read in (space.read, space.stream, space.known_rows, space.summary):
            read()
        assert [failure.path for failure in space.read().failures] == ["006.png"]
        with space.writing():
            assert Store(store).verify() == []
        assert rows_of(store) == before


@pytest.mark.parametrize("name", READS)
def test_a_reader_starts_over_where_a_file_is_moved(
    format_2: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Each place of a file is asked for; it is elsewhere when the file is opened."""
    space, images = Store(format_2 / "store").space(), ImageFolder(format_2 / "photos")
    expected = READS[name](space, images)
    find = Folders.find
    n_found, moment = 0, 1

    def find_early(folders: Folders, file: str) -> Path:
        nonlocal n_found
        place = find(folders, file)
        n_found += 1
        if n_found == moment:
            with monkeypatch.context() as patched:
                patched.setattr(Folders, "find", find)
                space.folders.tidy()
        return place

    for moment in range(1, 12):  # noqa: B007
        shutil.rmtree(format_2 / "store")
        shutil.copytree(DATA / "format_2/store", format_2 / "store")
        space.folders.make()
        n_found = 0
        with monkeypatch.context() as patched:
            patched.setattr(Folders, "find", find_early)
            assert READS[name](space, images) == expected


# The store in other programs


def engines() -> dict[str, Callable[[Path], Any]]:
    """Return how each program reads a folder as one table: its columns as lists."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    duckdb, dataset = pytest.importorskip("duckdb"), pytest.importorskip("pyarrow.dataset")
    return {
        "pandas": lambda folder: pandas.read_parquet(folder).to_dict("list"),
        "polars": lambda folder: polars.read_parquet(folder).to_dict(as_series=False),
        "pyarrow": lambda folder: dataset.dataset(folder).to_table().to_pydict(),
        "duckdb": lambda folder: (
            duckdb.sql(f"from read_parquet('{folder}/*.parquet')").to_arrow_table().to_pydict()
        ),
    }


def test_the_folder_of_a_space_is_a_table_for_other_programs(space: Space) -> None:
    before = space.read()
    (space.folder / "part-000002.parquet").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="set aside"), space.writing():
        pass
    with space.writing():
        space.append([make_row(i) for i in (3, 4, 5)])  # the fourth cannot be embedded
        for name, read in engines().items():  # While a writer holds the lock.
            table = read(space.folder)
            paths = [Path(path).name for path in table["path"]]
            assert sorted(paths) == sorted(before.paths), name
            vectors = np.array([list(vector) for vector in table["vector"]])
            for path, vector in zip(paths, vectors, strict=True):
                assert np.array_equal(vector, before.vectors[before.row(path)]), name
    assert len(space.read().failures) == 1


# Vectors in float16


def test_half_the_bits_of_each_number_are_kept(tmp_path: Path) -> None:
    photos = ImageFolder(make_photos(tmp_path / "photos", 60))
    for name, half in (("single", False), ("half", True)):
        embed_to_store(photos, "pixels", tmp_path / name, half=half)
    single, space = (Store(tmp_path / name).space() for name in ("single", "half"))
    assert (single.numbers, space.numbers) == ("float32", "float16")
    expected, emb = single.read(), space.read()
    assert emb.vectors.dtype == np.float32
    assert np.array_equal(emb.vectors, expected.vectors.astype(np.float16).astype(np.float32))
    assert emb.fingerprint == expected.fingerprint
    streamed = np.concatenate(list(space.stream().iter_batches(7)))
    assert np.array_equal(streamed, emb[space.stream().paths].vectors)
    assert space.verify() == []
    # Later runs go on with it, unasked; moved images keep their vectors, and clean ones theirs.
    make_photos(tmp_path / "photos", 5, seed=3)
    (photos.root / "058.png").rename(photos.root / "moved.png")
    (photos.root / "057.png").unlink()
    report = embed_to_store(ImageFolder(photos.root), "pixels", tmp_path / "half", prune=True)
    assert (report.embedded, report.pruned) == (5, 2)
    types = {str(pq.read_schema(part).field("vector").type.value_type) for part in space.parts
             if part.name.startswith("part")}  # fmt: skip
    assert types == {"halffloat"}
    assert np.array_equal(space.read()["moved.png"].vectors, emb["058.png"].vectors)
    assert space.verify() == []


def test_vectors_of_float16_take_half_the_space(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(100, 512)).astype(np.float32)
    sizes = []
    for numbers in ("float32", "float16"):
        description = SPACE | {"dimension": 512, "vectors": numbers}
        space = Store(tmp_path / numbers).open_space(description)
        space.append([Row(f"{i}.png", "x", vector=vector) for i, vector in enumerate(vectors)])
        sizes.append(space.summary()["bytes"])
    assert sizes[1] < 0.55 * sizes[0]


def test_numbers_of_two_kinds_never_mix(tmp_path: Path) -> None:
    photos = ImageFolder(make_photos(tmp_path / "photos", 8))
    embed_to_store(photos, GridColours(), tmp_path / "store")
    with pytest.raises(SpaceMismatchError, match=r"holds only float32 vectors.* Received: float16"):
        embed_to_store(photos, GridColours(), tmp_path / "store", half=True)
    embed_to_store(photos, GridColours(), tmp_path / "half", half=True)
    space, half = (Store(tmp_path / name).space() for name in ("store", "half"))
    shutil.copy(half.parts[0], space.parts[0])
    assert [reason for _, reason in space.verify()] == ["of another shape than its space"]
    late = Store(tmp_path / "new").open_space(space.info | {"vectors": "float16"})
    embed_to_store(photos, GridColours(), tmp_path / "new")  # began a moment earlier
    for run in (late.writing, lambda: late.adding("1of2")):
        with pytest.raises(SpaceMismatchError, match=r"holds only float32 vectors"), run():
            pass
    # The parts tell what they hold where the description is lost.
    before = half.read()
    half.info_file.unlink()
    with pytest.raises(SpaceMismatchError, match=r"holds only float16 vectors"):
        Store(tmp_path / "half").open_space(before.space | {"vectors": "float32"})
    report = embed_to_store(photos, GridColours(), tmp_path / "half")
    assert (report.embedded, report.reused) == (0, 7)
    assert np.array_equal(half.read().vectors, before.vectors)
    assert half.numbers == "float16"


class Far(GridColours):
    """Has numbers beyond those of float16 for the first image of a batch."""

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        vectors = super()._forward(images).vectors
        vectors[0, 1] = -70_000
        return Extraction(vectors)


def test_a_number_that_float16_cannot_hold_is_a_failure(tmp_path: Path) -> None:
    photos = ImageFolder(make_photos(tmp_path / "photos", 6))
    report = embed_to_store(photos, Far(), tmp_path / "store", half=True)
    assert report.embedded == 5
    reason = "the network's output exceeds 65504, the largest of float16"
    assert report.failures == [Failure("000.png", reason)]
    assert embed_to_store(photos, Far(), tmp_path / "single").failed == 0


# Nothing is left behind


class NoNetwork(GridColours):
    """A network that is not available."""

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        raise StoreError("no weights")


def test_a_network_that_cannot_be_had_leaves_no_folder(tmp_path: Path) -> None:
    photos, store = make_photos(tmp_path / "photos", 3), tmp_path / "store"
    for _ in range(2):
        with pytest.raises(StoreError, match="no weights"):
            embed_to_store(ImageFolder(photos), NoNetwork(), store)
        assert not store.exists()
    Store(store).open_space(SPACE).read()
    assert not store.exists()
    embed_to_store(ImageFolder(photos), GridColours(cells=1), store)
    with pytest.raises(StoreError, match="no weights"):
        embed_to_store(ImageFolder(photos), NoNetwork(), store)
    assert [space.folder.name for space in Store(store).spaces()] == ["grid-colours-d21b89ca"]
    assert {file.name for file in store.iterdir()} == {"about", "grid-colours-d21b89ca"}
    about = {file.name for file in (store / "about").iterdir()}
    assert about == {"grid-colours-d21b89ca", "store.json"}
