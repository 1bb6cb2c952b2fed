"""Stores and images on object storage: the same rows as on disk, many writers, clear errors."""

import io
import json
import os
import pickle
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from clusterkit.cli import main
from clusterkit.embedding.embed import embed, embed_to_store
from clusterkit.errors import (
    ImageError,
    InvalidInputError,
    MissingDependencyError,
    NotFoundError,
    RemoteError,
    StoreError,
    UnreachableError,
)
from clusterkit.images.folder import FileStatus, ImageFolder, read_bytes
from clusterkit.preparation import check, split_folder
from clusterkit.routing import sort_into_folders, undo
from clusterkit.serve import create_app
from clusterkit.serve.page import make_page
from clusterkit.serve.served import Sources
from clusterkit.similarity.similar import find_similar
from clusterkit.store import import_vectors, markers
from clusterkit.store.part_file import read_part
from clusterkit.store.space_files import read_sealed, write_sealed
from clusterkit.store.store import Store
from clusterkit.utils.files import check_output
from clusterkit.utils.locations import RemotePath, as_path, common_folder, is_gone, join, relative
from tests.kills import Killed
from tests.object_storage import killed_at, make_bucket, running, upload
from tests.stores import SPACE, make_photos, make_row, rows_of

CLOSED = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run an S3 server, and yield its address."""
    with running() as address:
        yield address


@pytest.fixture
def bucket(server: str, request: pytest.FixtureRequest) -> RemotePath:
    """Return an empty bucket."""
    number = request.session.__dict__.setdefault("_buckets", [])
    number.append(None)
    return make_bucket(server, f"bucket{len(number)}")


@pytest.fixture
def photos(bucket: RemotePath, tmp_path: Path) -> RemotePath:
    """Return a folder of ten pictures, one of which is broken."""
    return upload(make_photos(tmp_path / "photos", 10), bucket / "photos")


def run(*arguments: Any, status: int = 0) -> str:
    """Run a command, and return what it prints."""
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code == status, result.output
    return result.output


def vectors_of(store: Any) -> dict[str, tuple[float, ...]]:
    """Return the vector of each path in a store."""
    read = Store(store).read()
    return dict(zip(read.paths, map(tuple, read.vectors.tolist()), strict=True))


def files_of(store: RemotePath) -> set[str]:
    """Return the relative paths of all files of a store."""
    return {file.path for file in store.list_files()}


# Addresses


def test_an_address_and_what_pathlib_makes_of_it_are_the_same_place() -> None:
    place = as_path("s3://bucket/photos/")
    assert str(place) == "s3://bucket/photos"
    assert as_path(Path("s3://bucket/photos")) == place
    assert place / "a/b.jpg" == as_path("s3://bucket/photos/a/b.jpg")
    assert (place / "b.tar.gz").name == "b.tar.gz"
    assert [str(one) for one in (place / "a").parents] == ["s3://bucket/photos", "s3://bucket"]
    assert pickle.loads(pickle.dumps(place)) == place
    assert as_path("photos") == Path("photos")
    assert as_path("C:/photos") == Path("C:/photos")
    assert as_path("file:///photos/a.jpg") == Path("/photos/a.jpg")
    assert as_path("file://localhost/my%20photos/a.jpg") == Path("/my photos/a.jpg")


def test_the_address_of_a_file_on_this_machine_is_its_path(tmp_path: Path) -> None:
    assert is_gone(f"file://{tmp_path}/a.jpg")
    (tmp_path / "a.jpg").touch()
    assert not is_gone(f"file://{tmp_path}/a.jpg")


def test_paths_of_both_kinds_are_joined_and_related() -> None:
    assert join("s3://bucket", "photos", "../a.jpg") == "s3://bucket/a.jpg"
    assert join("/home", "s3://bucket/photos", "a.jpg") == "s3://bucket/photos/a.jpg"
    assert join("s3://bucket", "/home", "a.jpg") == os.path.normpath("/home/a.jpg")
    assert relative("s3://bucket/photos/a.jpg", "s3://bucket/photos") == "a.jpg"
    assert relative("s3://bucket/photos/a.jpg", "/home") == "s3://bucket/photos/a.jpg"
    assert common_folder(["s3://bucket/a", "s3://bucket/b/c"]) == "s3://bucket"
    for folders in (["s3://one/a", "s3://two/a"], ["s3://one/a", "/home"]):
        with pytest.raises(ValueError, match="common"):
            common_folder(folders)


@pytest.mark.parametrize("address", ["s3://", "s3:///", "s3://bucket/a?endpoint_override=b"])
def test_no_place(address: str) -> None:
    with pytest.raises(InvalidInputError, match="address"):
        as_path(address)


def test_what_opens_local_files_says_that_this_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = as_path("s3://bucket/a.png")
    with pytest.raises(InvalidInputError, match=r"s3://bucket/a\.png is on object storage"):
        Path(place)
    with pytest.raises(InvalidInputError, match="name a file on this machine"):
        check_output("s3://bucket/a.png")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "a.png"
    file.touch()
    for call in (
        lambda: sort_into_folders([file], ["cat"], "s3://bucket/sorted"),
        lambda: undo("s3://bucket/sorted"),
        lambda: split_folder(tmp_path, "s3://bucket/parts"),
        lambda: check(tmp_path, quarantine_into="s3://bucket/aside"),
        lambda: import_vectors("s3://bucket/a.npz", tmp_path / "store"),
    ):
        with pytest.raises(InvalidInputError, match=r"s3://bucket/\S+ is on object storage"):
            call()
    assert [*tmp_path.iterdir()] == [file]


# Images


def test_images_are_listed_as_in_a_folder(bucket: RemotePath, tmp_path: Path) -> None:
    folder = make_photos(tmp_path / "photos", 3)
    names = (".hidden/a.png", "sub/b.png", "sub/.c.png", "__MACOSX/d.png", "e.mov", "f.cr2", "g.md")
    for name in (*names, "sub/small/h.png", "sub/i_small.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((folder / "000.png").read_bytes())
    there = upload(folder, bucket / "photos")
    for exclude in ([], ["*_small.png"], ["sub/small/"], ["sub"]):
        here, remote = ImageFolder(folder, exclude=exclude), ImageFolder(there, exclude=exclude)
        assert remote.paths == here.paths
        assert remote.passed_over == here.passed_over
    assert remote.root == there
    np.testing.assert_array_equal(remote[0], here[0])
    assert ImageFolder(there / "sub/b.png").paths == ["b.png"]


def test_lists_name_images_of_both_kinds(photos: RemotePath, tmp_path: Path) -> None:
    (photos / "list.txt").write_bytes(b"000.png\n001.png\n")
    assert ImageFolder(photos / "list.txt").paths == ["000.png", "001.png"]
    (tmp_path / "list.txt").write_text(f"{photos}/002.png\n")
    assert ImageFolder(tmp_path / "list.txt").files == [photos / "002.png"]
    (tmp_path / "list.txt").write_text(f"{photos}/002.png\nphotos/003.png\n")
    with pytest.raises(InvalidInputError, match="have no common folder"):
        ImageFolder(tmp_path / "list.txt")


def test_an_image_that_is_replaced_after_the_listing_is_read_as_it_is(photos: RemotePath) -> None:
    images = ImageFolder(photos)
    (photos / "000.png").write_bytes((photos / "001.png").read_bytes())
    (photos / "002.png").unlink()
    made = embed(images, "pixels")
    np.testing.assert_array_equal(made["000.png"], made["001.png"])
    assert ("002.png", "the file does not exist") in made.failures


def test_a_time_that_is_not_known_says_nothing() -> None:
    assert FileStatus.of_object(5, None) == FileStatus()


# The same rows as on disk


def test_the_same_rows_as_on_disk(photos: RemotePath, bucket: RemotePath, tmp_path: Path) -> None:
    embed_to_store(ImageFolder(tmp_path / "photos"), "pixels", tmp_path / "store")
    report = embed_to_store(ImageFolder(photos), "pixels", bucket / "store")
    here, there = Store(tmp_path / "store").read(), Store(bucket / "store").read()
    np.testing.assert_array_equal(there.vectors, here.vectors)
    assert (there.paths, there.digests) == (here.paths, here.digests)
    assert there.failures == here.failures == report.failures
    assert there.root == photos
    # Below the store's bucket, paths are relative, so that all can move together.
    assert {row.root for row in Store(bucket / "store").space().known_rows().values()} == {"photos"}
    stream = Store(bucket / "store").space().stream()
    rows = np.concatenate(list(stream.iter_batches(4)))
    np.testing.assert_array_equal(rows, there[stream.paths])
    again = embed_to_store(ImageFolder(photos), "pixels", bucket / "store")
    assert (again.embedded, again.reused, again.failed) == (0, 9, 1)
    assert Store(bucket / "store").verify() == []


def test_an_image_that_changes_is_embedded_again(photos: RemotePath, bucket: RemotePath) -> None:
    embed_to_store(ImageFolder(photos), "pixels", bucket / "store")
    (photos / "000.png").write_bytes((photos / "001.png").read_bytes() + b"other")
    (photos / "new").write_bytes(b"")
    report = embed_to_store(ImageFolder(photos), "pixels", bucket / "store")
    assert (report.embedded, report.reused) == (1, 8)
    (photos / "moved.png").write_bytes((photos / "002.png").read_bytes())
    (photos / "002.png").unlink()
    report = embed_to_store(ImageFolder(photos), "pixels", bucket / "store")
    assert (report.embedded, report.reused, report.failed) == (0, 9, 1)
    assert "002.png" not in vectors_of(bucket / "store")


def test_prune_forgets_what_is_gone(photos: RemotePath, bucket: RemotePath) -> None:
    embed_to_store(ImageFolder(photos), "pixels", bucket / "store")
    (photos / "000.png").unlink()
    assert Store(bucket / "store").summaries()[0]["gone"] == 1
    report = embed_to_store(ImageFolder(photos), "pixels", bucket / "store", prune=True)
    assert report.pruned == 1
    assert "000.png" not in vectors_of(bucket / "store")


def test_a_bucket_that_is_not_there_does_not_mean_that_its_files_are_gone(
    photos: RemotePath, tmp_path: Path
) -> None:
    embed_to_store(ImageFolder(photos), "pixels", tmp_path / "store")
    space = Store(tmp_path / "store").space()
    with pytest.raises(NotFoundError, match="no such bucket: s3://elsewhere"):
        is_gone("s3://elsewhere/photos/000.png")
    assert len(space.known_rows()) == 10


def test_images_of_this_machine_and_of_object_storage_do_not_mix(
    photos: RemotePath, tmp_path: Path
) -> None:
    embed_to_store(ImageFolder(photos), "pixels", tmp_path / "store")
    with pytest.raises(StoreError, match="no folder in common"):
        embed_to_store(ImageFolder(tmp_path / "photos"), "pixels", tmp_path / "store")
    assert len(Store(tmp_path / "store").read()) == 9


def test_a_store_of_any_file_system_of_fsspec(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    folder = make_photos(tmp_path / "photos", 5)
    place = as_path("memory://some/store")
    embed_to_store(ImageFolder(folder), "pixels", place)
    embed_to_store(ImageFolder(folder), "pixels", tmp_path / "store")
    assert vectors_of(place) == vectors_of(tmp_path / "store")
    there = upload(folder, as_path("memory://some/photos"))  # type: ignore[arg-type]
    assert ImageFolder(there).paths == ImageFolder(folder).paths


# Runs that are killed, and parallel runs


def test_a_run_that_is_killed_anywhere_is_resumed(
    bucket: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run makes about twenty changes.
    for count in range(1, 40, 4):
        store = Store(bucket / f"store{count}")
        is_killed, done = False, 0
        try:
            with killed_at(count):
                space = store.open_space(SPACE)
                with space.writing():
                    for start in (0, 3):
                        space.append([make_row(i) for i in range(start, start + 3)])
                        done = start + 3
        except Killed:
            is_killed = True
        # Like the next run, while the file of the killed one still exists.
        space = store.open_space(SPACE)
        with space.writing():
            known = {int(row.size or 0) for row in space.known_rows().values()}
            assert known >= set(range(done))
            space.append([make_row(i) for i in range(9) if i not in known])
            space.clean()
        rows = rows_of(bucket / f"store{count}")
        # When the killed run no longer counts, the lists are merged and its file is removed.
        monkeypatch.setattr(markers, "_LIFE_SECONDS", -1.0)
        with space.writing():
            space.clean()
        monkeypatch.undo()
        assert rows_of(bucket / f"store{count}") == rows
        assert len(rows) == 9
        assert store.verify() == []
        about = [path for path in files_of(store.folder) if path.startswith("about/own-")]
        names = {path.rpartition("/")[2] for path in about if "failures" not in path}
        assert names == {"space.json", "parts.json"}
        if not is_killed:
            return
    pytest.fail("the run was killed each time")


def test_two_runs_at_once_lose_nothing(bucket: RemotePath) -> None:
    store = bucket / "store"
    first, second = (Store(store).open_space(SPACE) for _ in range(2))
    with first.writing():
        first.append([make_row(0)])
        with second.writing():
            second.append([make_row(1)])
            first.append([make_row(2)])
            assert second.clean() == 0
            assert len(Store(store).read()) == 3
            with pytest.raises(StoreError, match="another run is writing"):
                second.clean(prune=True)
        first.append([make_row(3)])
        first.clean()
    assert len(Store(store).read()) == 4
    assert {path for path in files_of(store) if "lock" in path or "parts." in path} == {
        f"about/{first.folder.name}/parts.json"
    }
    assert Store(store).verify() == []


def test_two_runs_that_find_each_other_write_a_list_each(bucket: RemotePath) -> None:
    first, second = (Store(bucket / "store").open_space(SPACE) for _ in range(2))
    # Both have announced that they write before either looks for others.
    with first.ledgers.marked() as one, second.ledgers.marked() as other:
        assert first.ledgers.live() == [other.writer]
        assert second.ledgers.live() == [one.writer]


def test_runs_in_threads(photos: RemotePath, bucket: RemotePath, tmp_path: Path) -> None:
    upload(make_photos(tmp_path / "more", 8, seed=1), bucket / "more")
    errors = []

    def work(folder: str) -> None:
        try:
            embed_to_store(ImageFolder(bucket / folder), "pixels", bucket / "store")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("photos", "more", "photos")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    embed_to_store(ImageFolder(bucket / "more"), "pixels", bucket / "store")
    rows = rows_of(bucket / "store")
    assert len(rows) == 18
    for folder in ("photos", "more"):
        embed_to_store(ImageFolder(tmp_path / folder), "pixels", tmp_path / "store")
    here = Store(tmp_path / "store").read()
    there = Store(bucket / "store").read()
    assert there.paths == here.paths
    np.testing.assert_array_equal(there.vectors, here.vectors)


def test_shards_beside_each_other(bucket: RemotePath) -> None:
    first, second = (Store(bucket / "store").open_space(SPACE) for _ in range(2))
    # Two processes with the same name do not disturb each other either.
    with first.adding("1of2"), second.adding("1of2"):
        first.append([make_row(0)])
        second.append([make_row(1)])
    with first.writing():
        first.clean()
    assert len(rows_of(bucket / "store")) == 2


def test_a_run_that_others_take_for_dead_stops(
    bucket: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep, awake = (Store(bucket / "store").open_space(SPACE) for _ in range(2))
    with asleep.writing():
        asleep.append([make_row(0)])
        monkeypatch.setattr(markers, "_LIFE_SECONDS", -1.0)
        with awake.writing():
            awake.append([make_row(1)])
        with pytest.raises(StoreError, match="cannot write the store"):
            asleep.append([make_row(2)])
    assert len(Store(bucket / "store").read()) == 2


def test_a_store_without_images_leaves_nothing(bucket: RemotePath) -> None:
    with Store(bucket / "store").open_space(SPACE).writing():
        pass
    assert files_of(bucket / "store") == set()


def test_a_run_without_new_images_keeps_a_store_without_failures(bucket: RemotePath) -> None:
    space = Store(bucket / "store").open_space(SPACE)
    with space.writing():
        space.append([make_row(0)])
    with space.writing():
        pass
    assert len(Store(bucket / "store").read()) == 1


# Errors


def test_a_bucket_that_is_not_there(photos: RemotePath, tmp_path: Path) -> None:
    for work in (
        lambda: ImageFolder("s3://nowhere/photos"),
        lambda: Store("s3://nowhere/store").read(),
        lambda: embed_to_store(ImageFolder(photos), "pixels", "s3://nowhere/store"),
    ):
        with pytest.raises(NotFoundError, match="no such bucket: s3://nowhere"):
            work()
    with pytest.raises(NotFoundError, match=f"no such file or folder: {photos}/none"):
        ImageFolder(photos / "none")


def test_credentials_that_are_refused(
    photos: RemotePath, bucket: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ImageFolder(photos)
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
    for work in (
        lambda: ImageFolder(photos),
        lambda: Store(bucket / "store").read(),
        lambda: embed_to_store(images, "pixels", bucket / "store"),
    ):
        with pytest.raises(RemoteError, match=r"denies access: .*AWS_ACCESS_KEY_ID"):
            work()
    with pytest.raises(ImageError, match="denies access"):
        read_bytes(photos / "000.png")


def test_a_server_that_is_not_there(
    photos: RemotePath, bucket: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ImageFolder(photos)
    store = Store(bucket / "store")
    with store.open_space(SPACE).writing():
        store.open_space(SPACE).append([make_row(0)])
    part = store.space().parts[0]
    with part.open() as stream:
        monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED)
        with pytest.raises(UnreachableError, match=f"cannot reach {CLOSED}"):
            ImageFolder(photos)
        # No row says that an image is broken.
        with pytest.raises(UnreachableError):
            embed(images, "pixels")
        with pytest.raises(UnreachableError):
            store.space()
        assert stream.read(4) == b"PAR1"


def test_a_service_that_fails_is_no_damage(
    bucket: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Store(bucket / "store").open_space(SPACE)
    with space.writing():
        space.append([make_row(0)])
    file = space.parts[0]

    class Failing(io.BytesIO):
        """A stream that is interrupted."""

        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("AWS Error NETWORK_CONNECTION during GetObject operation: reset")

    monkeypatch.setattr(RemotePath, "open", lambda *_: Failing(bytes(1000)))
    from clusterkit.store.part_file import find_damage, read_part

    for read in (
        lambda: read_part(file, ["path"]),
        lambda: find_damage(file, 3, SPACE["fingerprint"], space.ledgers.own().parts[0]),
    ):
        with pytest.raises(UnreachableError, match="cannot reach"):
            read()


def test_a_part_that_is_lost_is_embedded_again(photos: RemotePath, bucket: RemotePath) -> None:
    store = bucket / "store"
    embed_to_store(ImageFolder(photos), "pixels", store)
    before = vectors_of(store)
    (part,) = [file for file in Store(store).space().parts if file.name.startswith("part")]
    part.unlink()
    with pytest.raises(StoreError, match="is missing"):
        Store(store).space().known_rows()
    with pytest.warns(UserWarning, match="is missing. Its images are embedded again"):
        report = embed_to_store(ImageFolder(photos), "pixels", store)
    assert report.embedded == 9
    assert vectors_of(store) == before


def test_a_scheme_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(InvalidInputError, match="must begin with s3://"):
        ImageFolder("somewhere://bucket/photos")


def test_fsspec_is_needed_for_other_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingDependencyError, match="pip install fsspec"):
        ImageFolder("abfs://bucket/photos")


# Commands


def test_commands(photos: RemotePath, bucket: RemotePath, tmp_path: Path) -> None:
    store = ("-s", bucket / "store")
    assert "9 embedded" in run("embed", photos, "-e", "pixels", *store)
    assert "9 images" in run("store", "info", *store)
    found = json.loads(run("similar", photos / "000.png", "-n", 3, "--json", *store))
    here = find_similar("000.png", Store(bucket / "store").read(), n_neighbors=3)
    paths = [here.embeddings.paths[row] for row in here.rows]
    assert [one["path"] for one in found["results"]] == paths
    run("similar", "000.png", "-o", tmp_path / "similar.png", *store)
    run("cluster", "-k", 2, "-o", tmp_path / "clusters.csv", *store)
    run("inspect", tmp_path / "clusters.csv", *store)
    run("export", "-o", tmp_path / "vectors.npz", *store)
    run("check", photos, *store)
    only = run("cluster", "-k", 2, "--only", f"{photos}/", "-o", tmp_path / "all.csv", *store)
    assert "Error" not in only


def test_a_server_sends_the_pictures_of_its_page(photos: RemotePath, tmp_path: Path) -> None:
    run("embed", photos, "-e", "pixels", "-s", tmp_path / "store")
    sources = Sources(tmp_path / "store")
    page = make_page(sources.load(), sources)
    data = re.search(rb'id="data">(.*)</script>', page.html)
    assert data is not None
    assert json.loads(data[1])["links"] == {"base": "images/", "moved": {}}
    with TestClient(create_app(tmp_path / "store"), base_url="http://localhost") as client:
        assert client.get("/images/000.png").headers["content-type"] == "image/jpeg"


def test_the_variable_names_a_store(
    photos: RemotePath, bucket: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTERKIT_STORE", str(bucket / "store"))
    run("embed", photos, "-e", "pixels")
    assert len(Store(bucket / "store").read()) == 9


def test_commands_that_need_this_machine_say_so(
    photos: RemotePath, bucket: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    embed_to_store(ImageFolder(photos), "pixels", bucket / "store")
    store = ("-s", bucket / "store")
    into = run("cluster", "-k", 2, "--into", "groups", "-o", "c.csv", *store, status=1)
    assert "only files of this machine can be sorted" in into
    assert "on this machine" in run("cluster", "-k", 2, "-o", "s3://b/c.csv", *store, status=2)
    assert "on this machine" in run("train", "classifier", photos, status=2)
    assert "on this machine" in run("split", photos, "--into", "parts", status=2)
    assert "on object storage" in run("check", photos, "--quarantine", "aside", status=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.parametrize("store", ["s3://nowhere/store", "somewhere://bucket", "s3://"])
def test_a_command_says_in_one_line_what_is_wrong(server: str, store: str) -> None:
    output = run("store", "info", "-s", store, status=1)
    assert output.startswith("Error: ")
    assert output.count("\n") == 1


def test_a_file_that_is_replaced_or_deleted_while_it_is_read(bucket: RemotePath) -> None:
    listed, deleted, has_ended = bucket / "parts.json", bucket / "parts.a.json", threading.Event()
    write_sealed(listed, {"parts": ""})

    def write() -> None:
        number = 0
        while not has_ended.is_set():
            number += 1
            write_sealed(listed, {"parts": "x" * (number % 7 * 200)})
            deleted.write_bytes(b"x" * 300)
            deleted.unlink()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(80):
            assert set(read_sealed(listed)["parts"]) <= {"x"}
            with suppress(NotFoundError):
                assert len(deleted.read_bytes()) == 300
    finally:
        has_ended.set()
        writer.join()


def test_a_part_that_is_deleted_while_it_is_read_is_missing(
    bucket: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("AWS Error INTERNAL_FAILURE during GetObject operation: Failed to flush")

    part = bucket / "part-000001.parquet"
    part.write_bytes(b"some")
    monkeypatch.setattr("clusterkit.store.part_file.pq.ParquetFile", fail)
    with pytest.raises(RemoteError, match="Failed to flush"):
        read_part(part, ["path"])
    monkeypatch.setattr(RemotePath, "open", fail)
    part.unlink()
    with pytest.raises(StoreError, match="is missing"):
        read_part(part, ["path"])
