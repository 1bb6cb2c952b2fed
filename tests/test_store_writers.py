"""Several writers in one space: their parts form one store, whichever ends, is killed or cleans."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from clusterkit.errors import InvalidInputError, StoreError
from clusterkit.store.ledgers import ORDINARY, Ledgers
from clusterkit.store.part_file import Row
from clusterkit.store.snapshot import Snapshot
from clusterkit.store.space import Space
from clusterkit.store.space_files import Part, PartList, is_part, part_name
from clusterkit.store.store import Store
from tests.kills import Changes, Killed
from tests.stores import SPACE, make_row, rows_of


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Create the files of the rows 0 to 29."""
    (tmp_path / "photos").mkdir()
    for i in range(30):
        (tmp_path / f"photos/{i}.png").touch()
    return tmp_path / "photos"


def another(space: Space) -> Space:
    """Return the same space as another process sees it."""
    return Space(space.folder, SPACE)


def numbers(space: Space) -> list[int]:
    return sorted(space.read().vectors[:, 0].astype(int).tolist())


def test_names_tell_place_and_writer() -> None:
    names = [
        part_name("part", 9),
        part_name("failures", 9),
        part_name("part", 9, rewritten=30),
        part_name("part", 9, "2of8"),
        part_name("part", 10),
        part_name("part", 100, "2of8"),
        part_name("part", 1_000_000),
    ]
    assert names[3] == "part-000009.2of8.parquet"
    assert all(map(is_part, names))
    listed = PartList.of_files(reversed(names))
    assert [part.name for part in listed.parts] == names
    assert listed.next_number == 1_000_001


@pytest.mark.parametrize("writer", ["", "3/8", "../x", "A", "a b", "é"])
def test_a_writers_name_is_one_of_a_file(space: Space, writer: str) -> None:
    with pytest.raises(InvalidInputError, match="digits and letters"), space.adding(writer):
        pass


def test_lists_are_joined_in_any_order() -> None:
    one = PartList((Part("part-000001.parquet"), Part("part-000002.parquet")), 3)
    two = PartList((Part("part-000001.a.parquet"), Part("part-000009.a.parquet")), 10)
    cleaned = PartList((Part("part-000002-000010.parquet"),), 11, frozenset(two.names))
    assert PartList.joined([one, two]) == PartList.joined([two, one])
    assert PartList.joined([one, two]).next_number == 10
    found = PartList.joined([two, cleaned, two])
    assert [part.name for part in found.parts] == ["part-000002-000010.parquet"]


def test_writers_beside_each_other_are_one_space(space: Space, photos: Path) -> None:
    one, two = another(space), another(space)
    with one.adding("1of2"), two.adding("2of2"), another(space).writing():
        one.append([make_row(10)])
        two.append([make_row(20), Row("21.png", "photos", error="broken")])
        one.append([make_row(11)])
        assert numbers(space) == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 20]
        assert one.known_rows() == two.known_rows() == space.known_rows()
        assert space.verify() == []
    assert [file.name for file in space.ledgers.list_files()] == [
        "parts.json",
        "parts.1of2.json",
        "parts.2of2.json",
    ]
    assert (space.summary()["images"], space.summary()["failed"]) == (13, 2)
    assert not list(space.folders.about.glob(".lock.*"))
    before = rows_of(space.folder.parent)
    # The next run merges the lists.
    with space.writing():
        assert space.ledgers.list_files() == [space.ledgers.list_file()]
    assert rows_of(space.folder.parent) == before
    assert space.verify() == []
    assert [failure.path for failure in space.read().failures] == ["21.png", "4.png"]


def test_two_writers_of_one_name(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterkit.store.space.PATIENCE", 0.2)
    with (
        space.adding("3of8"),
        pytest.raises(StoreError, match=r"another run is writing to .*own-01234567 as 3of8: wait"),
        another(space).adding("3of8"),
    ):
        pass
    with another(space).adding("3of8"):
        pass


def test_the_latest_row_of_a_file_counts_whoever_wrote_it(space: Space) -> None:
    other = another(space)
    with other.adding("a"):
        for i in (1, 2):
            space.append([make_row(10 + i, "0.png")])
            assert space.read()["0.png"].vectors[0, 0] == 10 + i
            other.append([make_row(20 + i, "0.png")])
            assert space.read()["0.png"].vectors[0, 0] == 20 + i


def test_a_writer_begins_a_space_and_leaves_none_behind(tmp_path: Path, photos: Path) -> None:
    store = Store(tmp_path / "store")
    space = store.open_space(SPACE)
    with store.adding(space, "1of2"):
        assert json.loads(space.info_file.read_text())["format"] == 4
    assert not store.folder.exists()
    with store.adding(space, "1of2"), another(space).adding("2of2"):
        space.append([make_row(1)])
    assert space.ledgers.list_files()[1:] == [space.folders.about / "parts.1of2.json"]
    assert (numbers(space), store.verify()) == ([1], [])
    assert [found.folder.name for found in store.spaces()] == ["own-01234567"]


@pytest.mark.parametrize("writer", ["", "1of2"])
@pytest.mark.parametrize("is_written_again", [False, True])
def test_a_store_that_is_deleted_while_a_run_writes(
    tmp_path: Path, photos: Path, writer: str, is_written_again: bool
) -> None:
    """Its parts and its lock are gone: it ends, and does not change the store of another."""
    store = tmp_path / "store"
    run = Store(store).open_space(SPACE)
    other = another(run)
    with run.adding(writer) if writer else run.writing(), ExitStack() as stack:
        run.append([make_row(1), make_row(2)])
        shutil.rmtree(store)
        if is_written_again:
            stack.enter_context(other.writing())
            other.append([make_row(3)])
        with pytest.raises(StoreError, match=r"deleted while this run was writing .*: run again"):
            run.append([make_row(5)])
        stack.close()
    assert store.exists() == is_written_again
    if is_written_again:
        assert (numbers(other), Store(store).verify()) == ([3], [])


@pytest.mark.parametrize("writer", ["", "1of2"])
def test_a_description_that_is_lost_while_a_run_writes(
    space: Space, photos: Path, writer: str
) -> None:
    with space.adding(writer) if writer else space.writing():
        space.info_file.unlink()
        space.append([make_row(10)])
    assert (10 in numbers(another(space)), space.verify()) == (True, [])


def test_rows_outside_of_a_run_wait_for_the_one_that_begins_the_space(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.store.space.PATIENCE", 0.1)
    space = Store(tmp_path / "store").open_space(SPACE)
    with (
        another(space).ledgers.holding(ORDINARY),
        pytest.raises(StoreError, match=r"another run is writing to .*own-01234567: wait"),
    ):
        space.append([make_row(1)])
    space.append([make_row(1)])
    assert numbers(space) == [1]


# Cleaning in parallel with writers


@pytest.mark.parametrize("is_live", [True, False])
def test_cleaning_keeps_what_a_writer_adds(space: Space, photos: Path, is_live: bool) -> None:
    for name in ("1.png", "12.png"):
        (photos / name).unlink()
    with ExitStack() as stack:
        other = another(space)
        with ExitStack() as ending:
            (stack if is_live else ending).enter_context(other.adding("a"))
            other.append([make_row(10, "0.png"), make_row(11), make_row(12)])
        with space.writing():
            n_pruned = space.clean(prune=True)
        assert space.verify() == []
        # A row in a part of a running writer stays.
        assert n_pruned == (1 if is_live else 2)
        assert space.read()["0.png"].vectors[0, 0] == 10
        expected = [2, 3, 5, 6, 7, 8, 10, 11, *([12] if is_live else [])]
        assert numbers(space) == expected
    with space.writing():
        space.clean(prune=True)
    assert numbers(space) == [2, 3, 5, 6, 7, 8, 10, 11]
    rows_of(space.folder.parent)
    assert sorted(space.folders.part_files()) == sorted(space.parts)


def test_a_cleaned_row_never_counts_before_a_later_one_of_a_writer(
    space: Space, photos: Path
) -> None:
    """The writer began first, and its part is written while another run cleans."""
    (photos / "1.png").unlink()
    other = another(space)
    read = Snapshot.read_part
    with other.adding("a"), pytest.MonkeyPatch.context() as patched:

        def read_late(found: Snapshot, *arguments: object) -> object:
            if arguments[1] != ["path", "root", "digest"] and "vector" in arguments[1]:
                patched.setattr(Snapshot, "read_part", read)
                other.append([make_row(20, "0.png")])
            return read(found, *arguments)

        patched.setattr(Snapshot, "read_part", read_late)
        assert space.clean(prune=True) == 1
    assert space.read()["0.png"].vectors[0, 0] == 20
    space.clean()
    assert space.read()["0.png"].vectors[0, 0] == 20


def test_small_parts_wait_until_nobody_else_writes(
    space: Space, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.store.space._MANY_SMALL", 2)
    with another(space).adding("a"):
        space.clean()
        assert len(space.parts) == 4
    space.clean()
    assert [file.name for file in space.parts] == [
        "part-000003-000004.parquet",
        "failures-000003-000004.parquet",
    ]
    assert numbers(space) == [0, 1, 2, 3, 5, 6, 7, 8]


def test_moved_files_are_followed_beside_a_writer(space: Space, photos: Path) -> None:
    with another(space).adding("a"):
        (photos / "1.png").rename(photos / "new.png")
        space.follow({str(photos / "1.png"): str(photos / "new.png")})
        assert "1.png" not in space.read().paths
        assert space.read()["new.png"].vectors[0, 0] == 1


def test_known_content_is_found_where_another_run_moved_it(space: Space, photos: Path) -> None:
    """A writer copies a vector from a part that another run replaces meanwhile."""
    other = another(space)
    with other.adding("a"):
        row = next(row for row in other.known_rows().values() if row.path == "0.png")
        (photos / "1.png").unlink()
        space.clean(prune=True)
        assert row.part not in {file.name for file in space.parts}
        kept = make_row(0, "copy.png")
        kept.vector, kept.kept = None, (row.part, row.position)
        other.append([kept, make_row(20)])
        gone = make_row(1, "copy of 1.png")
        gone.vector, gone.kept = None, (row.part, 1)
        with pytest.raises(StoreError, match=r"1 image .* run again"):
            other.append([gone, make_row(21)])
    assert space.read()["copy.png"].vectors[0, 0] == 0
    assert {"20.png", "21.png"} < set(space.read().paths)


def test_a_vector_without_a_digest_is_not_taken_for_another(space: Space, photos: Path) -> None:
    """Of imported vectors whose files cannot be read, no digest is known."""
    imported = [make_row(20), make_row(21)]
    for row in imported:
        row.digest = None
    space.append(imported)
    other = another(space)
    with other.adding("a"):
        row = next(row for row in other.known_rows().values() if row.path == "20.png")
        (photos / "0.png").unlink()
        (photos / "20.png").unlink()
        space.clean(prune=True)
        kept = make_row(20, "moved.png")
        kept.digest, kept.vector, kept.kept = None, None, (row.part, row.position)
        with pytest.raises(StoreError, match=r"1 image .* run again"):
            other.append([kept])
    assert "moved.png" not in space.read().paths


# Writers that are killed


def test_a_writer_killed_at_any_change_of_the_disk_loses_at_most_a_part(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(store: Path) -> None:
        space = Store(store).open_space(SPACE)
        with space.adding("1of2"):
            space.append([make_row(10), make_row(4)])
            space.append([make_row(11)])

    def clean(store: Path) -> None:
        space = Store(store).open_space(SPACE)
        with space.writing():
            space.clean(prune=True)

    def write_and_clean(store: Path) -> None:
        write(store)
        clean(store)

    before = tmp_path / "before"
    other = Store(before).open_space(SPACE)
    other.append([make_row(0), make_row(1)])
    (photos / "1.png").unlink()
    whole = tmp_path / "whole"
    shutil.copytree(before, whole)
    with monkeypatch.context() as patched:
        changes = Changes(patched)
        write(whole)
        n_changes = changes.n
        clean(whole)
    assert n_changes > 5
    assert changes.n > n_changes + 5
    for last in range(changes.n):
        store = tmp_path / f"killed-{last}"
        shutil.copytree(before, store)
        with monkeypatch.context() as patched:
            Changes(patched, last)
            with pytest.raises(Killed):
                write_and_clean(store)
        space = Store(store).open_space(SPACE)
        found = set(numbers(space))
        assert found >= {0}
        if last >= n_changes:
            assert found >= {0, 10, 11}
        assert found <= {0, 1, 10, 11}
        assert space.verify() == []
        write_and_clean(store)
        assert rows_of(store) == rows_of(whole)
        assert Store(store).verify() == []
        assert sorted(space.folders.part_files()) == sorted(space.parts)
        assert not [file for file in store.rglob("*") if ".tmp" in file.name]


@pytest.fixture
def killed(space: Space) -> Space:
    """Leave a space whose further writer was killed before it listed its last part."""
    other = another(space)
    with other.adding("a"):
        other.append([make_row(10)])
        listed = space.ledgers.list_files()[1].read_bytes()
        other.append([make_row(11)])
    space.ledgers.list_files()[1].write_bytes(listed)
    (space.folders.about / ".lock.a").touch()
    (space.folders.about / ".part-000009.a.123-4.tmp.parquet").write_bytes(b"half")
    return space


def test_what_a_killed_writer_did_not_list_counts(killed: Space) -> None:
    assert numbers(killed)[-1] == 10
    assert killed.verify() == []
    with killed.writing():
        assert numbers(killed)[-2:] == [10, 11]
        assert killed.ledgers.list_files() == [killed.ledgers.list_file()]
        assert not list(killed.folders.about.glob(".lock.*")) + list(
            killed.folders.about.glob("*.tmp*")
        )


def test_a_killed_writer_goes_on(killed: Space) -> None:
    other = another(killed)
    with other.adding("a"):
        assert numbers(killed)[-2:] == [10, 11]
        other.append([make_row(12)])
    assert numbers(killed)[-3:] == [10, 11, 12]
    assert [file.name for file in killed.parts][-3:] == [
        f"part-00000{number}.a.parquet" for number in (4, 5, 6)
    ]


def test_parts_and_files_of_a_running_writer_are_left_alone(space: Space) -> None:
    other = another(space)
    with other.adding("a"):
        other.append([make_row(10)])
        listed = space.ledgers.list_files()[1].read_bytes()
        other.append([make_row(11)])
        space.ledgers.list_files()[1].write_bytes(listed)  # as in the moment before it is listed
        hidden = space.folders.about / ".part-000009.a.123-4.tmp.parquet"
        hidden.write_bytes(b"half")
        with space.writing():
            space.clean(prune=True)
        assert (space.folder / "part-000005.a.parquet").exists()
        assert hidden.exists()


def test_a_list_that_cannot_be_deleted_brings_nothing_back(
    space: Space, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = another(space)
    with other.adding("a"):
        other.append([make_row(10), make_row(11)])
    (photos / "11.png").unlink()
    listed = space.ledgers.list_files()[1]
    content = listed.read_bytes()
    with space.writing():
        listed.write_bytes(content)
        monkeypatch.setattr(Ledgers, "absorb", lambda _: None)
        assert space.clean(prune=True) == 1
        monkeypatch.undo()
    assert numbers(space)[-1] == 10
    assert space.verify() == []
    with space.writing():
        assert space.ledgers.list_files() == [space.ledgers.list_file()]
    assert numbers(space)[-1] == 10


@pytest.mark.parametrize("text", ["", '{"parts": [["../x.parquet", 1, "a"]]}'])
def test_a_damaged_list_of_a_writer(space: Space, text: str) -> None:
    other = another(space)
    with other.adding("a"):
        other.append([make_row(10)])
    listed = space.ledgers.list_files()[1]
    for run in (lambda: other.adding("a"), space.writing):
        listed.write_text(text)
        with pytest.raises(StoreError, match=r"parts\.a\.json is damaged"):
            space.read()
        assert [file.name for file, _ in space.verify()] == ["parts.a.json"]
        with pytest.warns(UserWarning, match="written again from the parts"), run():
            assert numbers(space)[-1] == 10
    assert space.verify() == []


def test_vectors_of_all_writers_stream_in_one_order(space: Space) -> None:
    with space.adding("b"):
        space.append([make_row(10)])
    with space.adding("a"):
        space.append([make_row(11), make_row(12)])
    stream = space.stream()
    assert stream.paths[-3:] == ["10.png", "11.png", "12.png"]
    assert np.concatenate(list(stream.iter_batches(2)))[-3:, 0].tolist() == [10, 11, 12]
