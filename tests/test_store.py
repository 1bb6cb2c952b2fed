"""The store on disk: damage, locks, full disks and read-only folders."""

import errno
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clusterkit.embedding.embed import embed_to_store
from clusterkit.errors import InvalidInputError, NotFoundError, SpaceMismatchError, StoreError
from clusterkit.images.folder import ImageFolder
from clusterkit.store.embeddings import Embeddings, Failure
from clusterkit.store.part_file import Row
from clusterkit.store.space import Space
from clusterkit.store.store import Store
from tests.grid_colours import REPOSITORY, GridColours, embed_command, without_privileges
from tests.stores import SPACE, make_photos, make_row, rows_of


def numbers(emb: Embeddings) -> list[int]:
    return emb.vectors[:, 0].astype(int).tolist()


def test_stream_gives_what_read_gives_in_order_of_writing(space: Space, tmp_path: Path) -> None:
    # Written again, and from another folder: the last row of each file counts.
    space.append([make_row(8, "2.png"), make_row(4, "5.png"), make_row(7, "old/1.png", "other")])
    stream, emb = space.stream(), space.read()
    assert stream.paths[:3] == ["photos/0.png", "photos/1.png", "photos/3.png"]
    assert stream.root == emb.root == tmp_path
    assert stream.shape == (len(stream), 3) == emb.shape
    for n_rows in (1, 2, 100):
        batches = list(stream.iter_batches(n_rows))
        assert max(map(len, batches)) <= n_rows
        assert np.array_equal(np.concatenate(batches), emb[stream.paths].vectors)
    assert repr(stream) == "VectorStream(8 x 3, own-01234567)"
    assert stream.files == [tmp_path / path for path in stream.paths]
    assert stream.fingerprint == emb.fingerprint
    assert stream.failures == emb.failures
    assert stream.top5 is not None
    assert list(stream.top5) == list(stream.top5) == emb[stream.paths].top5


def test_stream_of_an_empty_space(tmp_path: Path) -> None:
    stream = Store(tmp_path).open_space(SPACE).stream()
    assert stream.shape == (0, 3)
    assert list(stream.iter_batches(10)) == []


def test_stream_names_parts_that_are_damaged_or_rewritten(space: Space) -> None:
    stream = space.stream()
    part = space.folder / "part-000002.parquet"
    whole = part.read_bytes()
    part.write_bytes(b"cut off")
    with pytest.raises(StoreError, match=r"part-000002.parquet is damaged"):
        list(stream.iter_batches(2))
    with pytest.raises(StoreError, match=r"part-000002.parquet is damaged"):
        space.stream()
    part.write_bytes(whole)
    space.append([make_row(0)])
    stream = space.stream()
    space.clean()
    with pytest.raises(StoreError, match=r"part-000001.parquet was replaced while it was read"):
        list(stream.iter_batches(2))
    assert len(list(space.stream().iter_batches(100))) == len(space.parts) - 1


def test_what_is_written_is_read(space: Space, tmp_path: Path) -> None:
    emb = space.read()
    assert emb.paths == [f"{i}.png" for i in (0, 1, 2, 3, 5, 6, 7, 8)]
    assert np.array_equal(emb.vectors, [make_row(int(path[0])).vector for path in emb.paths])
    assert emb.root == tmp_path / "photos"
    assert emb.digests == [f"{int(path[0]):064x}" for path in emb.paths]
    assert emb.top5 == [[("fox", 0.75), ("cat", 0.25)]] * 8
    assert emb.failures == [Failure("4.png", "the file is empty")]
    assert emb.fingerprint == SPACE["fingerprint"]
    names = ["part-000001", "part-000002", "failures-000002", "part-000003"]
    assert [part.stem for part in space.parts] == names


def test_parts_are_plain_parquet(space: Space) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(space.folder)
    columns = "path root digest size mtime_ns ctime_ns inode"
    assert list(table.columns) == [*columns.split(), "width", "height", "vector", "top5"]
    assert len(table) == 8
    assert table["vector"].notna().all()
    failures = pandas.read_parquet(next(space.folders.about.glob("failures-*.parquet")))
    assert list(failures.columns) == [*columns.split(), "error"]
    assert failures["error"].tolist() == ["the file is empty"]


def test_the_later_row_of_a_file_counts(space: Space, tmp_path: Path) -> None:
    space.append([make_row(9, root="elsewhere"), make_row(50, path="5.png")])
    emb = space.read()
    assert emb["photos/5.png"].vectors[0, 0] == 50
    assert emb.root == tmp_path
    assert "elsewhere/9.png" in emb.paths
    assert space.known_rows()[str(tmp_path / "photos/5.png")].part == "part-000004.parquet"


def test_cleaning_drops_what_is_superseded(space: Space, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(9):
        (tmp_path / f"photos/{i}.png").touch()
    space.append([make_row(i) for i in (0, 1, 2)])
    before = space.read()
    assert space.clean() == 0
    names = ["part-000002", "failures-000002", "part-000003", "part-000004"]
    assert [part.stem for part in space.parts] == names
    assert sorted(space.folders.part_files()) == sorted(space.parts)
    after = space.read()
    assert numbers(after) == numbers(before)
    assert after.failures == before.failures


def test_only_some_images(space: Space, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("1.png", "4.png", "new.png"):
        (folder / name).touch()
    emb = space.read(ImageFolder(folder))
    assert emb.paths == ["1.png"]
    assert [failure.path for failure in emb.failures] == ["4.png"]


def test_names_that_are_not_utf8(space: Space, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    root = space.root_of(tmp_path / name)
    root.encode()
    assert space.file_of(root, "a.png") == str(tmp_path / name / "a.png")


def test_spaces_are_found_by_name(space: Space, tmp_path: Path) -> None:
    store = Store(tmp_path / ".clusterkit")
    other = store.open_space(SPACE | {"extractor": "other", "fingerprint": "fedcba9876543210"})
    assert [space.folder.name for space in store.spaces()] == ["own-01234567"]
    other.append([make_row(0)])
    os.utime(space.info_file, (1, 1))
    assert store.space().folder.name == "other-fedcba98"
    with space.writing():
        pass
    assert store.space().folder.name == "own-01234567"
    assert store.space("other").folder.name == store.space("other-fedcba98").folder.name
    model = tmp_path / "ae.keras"
    model.write_bytes(b"")
    with pytest.raises(NotFoundError, match=r"'third' in .* It holds: own-01234567, other-fedc"):
        store.space("third")
    with pytest.raises(NotFoundError, match=r"ae\.keras"):
        store.space(str(model))
    with pytest.raises(NotFoundError, match="run `clusterkit embed FOLDER` first"):
        Store(tmp_path / "nowhere").space()


def test_a_space_keeps_to_its_fingerprint(space: Space, tmp_path: Path) -> None:
    store = Store(tmp_path / ".clusterkit")
    assert store.open_space(SPACE | {"created": "later"}).info == space.info
    with pytest.raises(SpaceMismatchError, match=r"0123456789abcdef\. Received: 01234567ffffffff"):
        store.open_space(SPACE | {"fingerprint": "01234567ffffffff"})


def test_a_newer_format_is_left_alone(space: Space, tmp_path: Path) -> None:
    text = json.dumps({"format": 99, "unheard": "of"})
    space.info_file.write_text(text)
    store = Store(tmp_path / ".clusterkit")
    for action in (space.read, lambda: store.open_space(SPACE), lambda: space.append([])):
        with pytest.raises(StoreError, match=r"format 99, made by a newer clusterkit.*upgrade"):
            action()
    assert space.info_file.read_text() == text
    with pytest.raises(StoreError, match="newer clusterkit"), space.writing():
        pass


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": 1}', "null", '{"format": "x"}']
)
def test_a_damaged_description_is_written_again(space: Space, tmp_path: Path, content: str) -> None:
    store = Store(tmp_path / ".clusterkit")
    other = store.open_space(SPACE | {"extractor": "other", "fingerprint": "fedcba9876543210"})
    other.append([make_row(0)])
    space.info_file.write_text(content)
    with pytest.raises(StoreError, match=r"space\.json is missing or damaged: `clusterkit embed`"):
        Space(space.folder).read()
    assert len(store.space("other").read()) == 1
    assert len(store.open_space(SPACE).read()) == 8


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    """Change one bit among the vectors, which only a checksum can notice."""
    at = data.index(np.float32(0.1).tobytes())
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def zero(data: bytes) -> bytes:
    return bytes(len(data))


DAMAGES = [cut, flip, zero, lambda _: b"", lambda _: b"no Parquet at all"]


def test_a_space_is_a_folder_of_the_store(tmp_path: Path) -> None:
    for name in ("a/b", "../b", "x" * 250):
        with pytest.raises(InvalidInputError, match=f"slashes and .* Received: '{name}'"):
            Store(tmp_path).open_space({"extractor": name, "fingerprint": "0" * 64, "dimension": 3})


def test_the_default_does_not_change_while_it_cannot_be_read(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(space.folder.parent)
    store.use("own")
    other = store.open_space(SPACE | {"extractor": "other", "fingerprint": "fedcba9876543210"})
    other.append([make_row(1)])

    def refuse(file: Path, **_: object) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refuse)
        with (
            pytest.raises(StoreError, match=r"store\.json.*: Too many open files\. Make it"),
            store.writing(other),
        ):
            pass
    assert store.space().folder == space.folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_leaves_the_rest_usable(
    space: Space, damage: Callable[[bytes], bytes]
) -> None:
    part = space.parts[1]
    part.write_bytes(damage(part.read_bytes()))
    message = r"part-000002.* is damaged.*\. Run `clusterkit embed` again to restore its images"
    with pytest.warns(UserWarning, match=f"{message}; until then they are left out"):
        emb = space.read()
    with pytest.raises(StoreError, match=message):
        list(space.stream().iter_batches(9))
    assert numbers(emb) == [0, 1, 2, 6, 7, 8]
    ((found, reason),) = space.verify()
    assert found == part
    assert reason.startswith("damaged or cannot be read")


def test_every_flipped_byte_is_noticed_or_harmless(space: Space) -> None:
    part = space.parts[1]
    whole, expected = part.read_bytes(), space.read()
    noticed = 0
    for at in range(0, len(whole), 37):
        part.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        if space.verify():
            noticed += 1
        else:
            assert np.array_equal(space.read().vectors, expected.vectors)
    assert noticed > len(whole) / 37 / 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_embedding_again_restores_a_damaged_part(
    tmp_path: Path, damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.embedding.embed.PART_ROWS", 8)
    photos = make_photos(tmp_path / "photos", 30)
    images, store = ImageFolder(photos), tmp_path / ".clusterkit"
    embed_to_store(images, GridColours(cells=1), store)
    before = rows_of(store)
    space = Store(store).space()
    part = space.folder / "part-000002.parquet"
    content = part.read_bytes()
    if damage is flip:
        content += np.float32(0.1).tobytes()  # so that there is something to flip
    part.write_bytes(damage(content))
    with pytest.warns(UserWarning, match=r"set aside as .*part-000002\.parquet\.damaged"):
        report = embed_to_store(images, GridColours(cells=1), store)
    assert report.embedded + report.reused == 26
    assert 6 <= report.embedded <= 8
    assert rows_of(store) == before
    assert space.verify() == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert embed_to_store(images, GridColours(cells=1), store).embedded == 0


def test_a_part_of_another_dimension_is_damage(space: Space, tmp_path: Path) -> None:
    other = Store(tmp_path / "other").open_space(SPACE | {"dimension": 2})
    other.append([Row("x.png", "photos", vector=np.zeros(2, np.float32))])
    shutil.copy(other.parts[0], space.parts[0])
    assert [reason for _, reason in space.verify()] == ["of another shape than its space"]


def test_leftovers_of_a_killed_run_go(space: Space) -> None:
    for name in (".part-000004.parquet.tmp", ".space.json.123.tmp"):
        (space.folder / name).write_bytes(b"half")
        (space.folders.about / name).write_bytes(b"half")
    assert len(space.read()) == 8
    with space.writing():
        assert not list(space.folder.parent.rglob(".*.tmp"))


def test_a_lock_is_given_back(space: Space) -> None:
    with space.writing():
        with (
            pytest.raises(StoreError, match="another run is writing"),
            Space(space.folder).writing(),
        ):
            pass
        assert len(space.read()) == 8
    with pytest.raises(ZeroDivisionError), space.writing():
        raise ZeroDivisionError
    with space.writing():
        pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_said_and_what_is_written_stays(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.embedding.embed.PART_ROWS", 8)
    images, store = ImageFolder(make_photos(tmp_path / "photos", 100)), small_disk / ".clusterkit"
    extractor = GridColours(cells=16)
    with pytest.raises(StoreError, match=r"cannot write .*No space left on device"):
        embed_to_store(images, extractor, store)
    assert not list(store.rglob("*.tmp*"))
    n_kept = len(Store(store).space().read())
    assert 0 < n_kept < 86
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    report = embed_to_store(images, extractor, store)
    # A complete part that could not be listed because the disk was full counts, too.
    assert report.reused >= n_kept
    assert report.embedded == 86 - report.reused
    embed_to_store(images, extractor, tmp_path / "uninterrupted")
    assert rows_of(store) == rows_of(tmp_path / "uninterrupted")


@pytest.mark.skipif(os.name != "posix", reason="needs ulimit")
def test_a_file_that_may_not_grow_is_said(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 40)
    command = [
        "sh",
        "-c",
        'ulimit -f 8; exec "$@"',
        "-",
        *embed_command(photos, tmp_path / "store"),
    ]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "StoreError: cannot write" in run.stderr
    assert run.stderr.endswith(".parquet: File too large\n")
    assert not list((tmp_path / "store").rglob("*.tmp*"))


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 3)
    (tmp_path / "closed").mkdir(mode=0o500)
    command = without_privileges(embed_command(photos, tmp_path / "closed/store"))
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    expected = f"cannot write the store {tmp_path}/closed/store: Permission denied. Choose another"
    assert expected in run.stderr


def test_a_read_only_store_can_be_read_but_not_written(tmp_path: Path) -> None:
    photos, store = make_photos(tmp_path / "photos", 3), tmp_path / "store"
    embed_to_store(ImageFolder(photos), GridColours(), store)
    (photos / "new.png").write_bytes((photos / "000.png").read_bytes())
    space = Store(store).space()
    (space.folders.about / ".lock").unlink()
    for path in (*store.rglob("*"), store):
        path.chmod(0o500)
    code = f"from clusterkit import Store; print(Store({str(store)!r}).space().read())"
    for command in ([sys.executable, "-c", code], embed_command(photos, store)):
        run = subprocess.run(
            without_privileges(command), cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        if command[1] == "-c":
            assert run.stdout.startswith("Embeddings(3 x 12, grid-colours-"), run.stderr
        else:
            assert f"StoreError: cannot write the store {store}: Permission denied" in run.stderr
